//! Restore: a dump, and those that it adds to, back onto a volume.
//!
//! Invariants
//! - S1 Nothing is written before everything was read once and verified. A stream is kept in an unnamed temporary file
//!   meanwhile, since it cannot be read twice; it holds no more than the dumped volume's size and its records.
//! - S2 Each record is verified again when it is written, and the manifest at the end: the files may have changed since.
//! - S3 The volume then reads as the dumped one did, and as zeroes behind it. It is flushed before the command ends.

use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use flashtrack_engine::admin::VolumeReport;
use indicatif::ProgressBar;
use serde::Serialize;

use super::error::DumpError;
use super::format::{Base, Header, Piece};
use super::reader::DumpReader;
use super::writer::Finished;
use super::{blocking, progress};
use crate::client::Client;
use crate::failure::Failure;
use crate::native::volume;
use crate::nbd::{Address, Connection};
use crate::output::Output;

/// Writes in flight.
const DEPTH: usize = 16;
/// Longest range of one request for zeroes.
const ZEROES_BYTES_MAX: u64 = 64 << 20;

/// What is to be restored, and where to.
#[derive(Clone, Debug)]
pub(crate) struct RestoreOptions {
    /// The dump; none for standard input.
    pub(crate) file: Option<PathBuf>,
    /// The dumps that it adds to, the oldest first.
    pub(crate) bases: Vec<PathBuf>,
    /// Name of the volume.
    pub(crate) volume: String,
    /// Overwrite a volume that is connected or related.
    pub(crate) force: bool,
    /// Where the volume is served.
    pub(crate) nbd: Address,
}

/// What a restore came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RestoreSummary {
    /// Name of the volume.
    pub(crate) volume: String,
    /// Ids of the dumps, the oldest first.
    pub(crate) dumps: Vec<String>,
    /// Name of the dumped volume.
    pub(crate) dumped_volume: String,
    /// Size of the dumped volume.
    pub(crate) size_bytes: u64,
    /// Bytes that were written.
    pub(crate) data_bytes: u64,
    /// Bytes that were made zeroes, those behind the dump's end included.
    pub(crate) zero_bytes: u64,
}

/// A dump that was verified.
struct Verified {
    path: PathBuf,
    file: File,
    header: Header,
    base: Base,
}

/// Restores a dump.
pub(crate) async fn restore(
    options: RestoreOptions,
    client: &Client,
    output: Output,
) -> Result<RestoreSummary, Failure> {
    let volume = volume::named(client, &options.volume).await?;
    let relationships = volume.source_relationships + volume.target_relationships;
    if !options.force && (volume.connections > 0 || relationships > 0) {
        let (volume, connections) = (volume.name, volume.connections);
        return Err(DumpError::InUse { volume, connections, relationships }.into());
    }
    let summary = blocking(move || {
        let dumps = verify_all(&options, &volume)?;
        write_dumps(dumps, &volume, &options.nbd, output)
    });
    Ok(summary.await??)
}

/// The chain of dumps, each read to its end (S1).
fn verify_all(options: &RestoreOptions, volume: &VolumeReport) -> Result<Vec<Verified>, DumpError> {
    let mut dumps: Vec<Verified> = Vec::new();
    for path in options.bases.iter().chain(&options.file) {
        let file = File::open(path).map_err(DumpError::file("open", path))?;
        let (header, base) = verify(&file, path, dumps.last(), volume)?;
        dumps.push(Verified { path: path.clone(), file, header, base });
    }
    if options.file.is_none() {
        let path = Path::new("standard input");
        let failed = DumpError::file("make", Path::new("a temporary file"));
        let file = tempfile::tempfile().map_err(failed)?;
        let stream = Tee { from: std::io::stdin().lock(), copy: &file };
        let (header, base) = verify(stream, path, dumps.last(), volume)?;
        dumps.push(Verified { path: path.to_owned(), file, header, base });
    }
    Ok(dumps)
}

fn verify(
    source: impl Read,
    path: &Path,
    before: Option<&Verified>,
    volume: &VolumeReport,
) -> Result<(Header, Base), DumpError> {
    let damaged = |damage| DumpError::Damaged { path: path.to_owned(), damage };
    let mut reader =
        DumpReader::open(BufReader::with_capacity(1 << 20, source)).map_err(damaged)?;
    check_chain(reader.header(), path, before)?;
    let needed_bytes = reader.header().size_bytes;
    if needed_bytes > volume.size_bytes {
        let (volume, size_bytes) = (volume.name.clone(), volume.size_bytes);
        return Err(DumpError::TooSmall { volume, size_bytes, needed_bytes });
    }
    while reader.next_piece().map_err(damaged)?.is_some() {}
    let header = reader.header().clone();
    let manifest = reader.manifest().expect("reading ends at the manifest");
    let base = Finished::base(&header, manifest);
    Ok((header, base))
}

/// A dump adds to the one before it, or to none when it is the first.
fn check_chain(header: &Header, path: &Path, before: Option<&Verified>) -> Result<(), DumpError> {
    let refused = |why| Err(DumpError::Chain { path: path.to_owned(), why });
    match (&header.base, before) {
        (Some(base), None) => {
            refused(format!("it adds to dump {}, which is not named before it", base.id))
        }
        (None, Some(before)) => {
            refused(format!("it is a whole dump and adds nothing to {}", before.path.display()))
        }
        (Some(base), Some(before)) if *base != before.base => refused(format!(
            "it adds to dump {}, but {} is dump {} or was changed",
            base.id,
            before.path.display(),
            before.header.id
        )),
        (Some(_), Some(before)) if header.size_bytes != before.header.size_bytes => {
            refused(format!(
                "it is of {} bytes, {} of {}",
                header.size_bytes,
                before.path.display(),
                before.header.size_bytes
            ))
        }
        (None, None) | (Some(_), Some(_)) => Ok(()),
    }
}

fn write_dumps(
    dumps: Vec<Verified>,
    volume: &VolumeReport,
    nbd: &Address,
    output: Output,
) -> Result<RestoreSummary, DumpError> {
    let connection = Connection::open(nbd.connect()?, &volume.name)?;
    connection.check_can_restore()?;
    let export_bytes = connection.size_bytes();
    if export_bytes != volume.size_bytes {
        let (volume, size_bytes) = (volume.name.clone(), volume.size_bytes);
        return Err(DumpError::OtherServer { volume, size_bytes, export_bytes });
    }
    let dumped_bytes: u64 = dumps.iter().map(|dump| dump.header.size_bytes).sum();
    let mut target = Target {
        connection,
        bar: progress::bar(dumped_bytes, output),
        data_bytes: 0,
        zero_bytes: 0,
    };
    let partly =
        |source| DumpError::Partly { volume: volume.name.clone(), source: Box::new(source) };
    for dump in &dumps {
        target.write_dump(dump).map_err(partly)?;
    }
    let last = dumps.last().expect("at least one dump is named");
    target.finish(last.header.size_bytes, volume.size_bytes).map_err(partly)?;
    Ok(RestoreSummary {
        volume: volume.name.clone(),
        dumped_volume: last.header.volume.clone(),
        size_bytes: last.header.size_bytes,
        data_bytes: target.data_bytes,
        zero_bytes: target.zero_bytes,
        dumps: dumps.into_iter().map(|dump| dump.header.id).collect(),
    })
}

/// The volume that is written.
struct Target<S> {
    connection: Connection<S>,
    bar: ProgressBar,
    data_bytes: u64,
    zero_bytes: u64,
}

impl<S: Read + Write> Target<S> {
    fn write_dump(&mut self, dump: &Verified) -> Result<(), DumpError> {
        let damaged = |damage| DumpError::Damaged { path: dump.path.clone(), damage };
        (&dump.file).rewind().map_err(DumpError::file("read", &dump.path))?;
        let source = BufReader::with_capacity(1 << 20, &dump.file);
        let mut reader = DumpReader::open(source).map_err(damaged)?;
        while let Some(piece) = reader.next_piece().map_err(damaged)? {
            match piece {
                Piece::Data { offset, bytes } => self.write(offset, &bytes)?,
                Piece::Zeroes { offset, bytes } => self.write_zeroes(offset, bytes)?,
            }
            self.bar.set_position(reader.end());
        }
        let manifest = reader.manifest().expect("reading ends at the manifest");
        if Finished::base(reader.header(), manifest) != dump.base {
            let why = "it was changed after it was verified".to_owned();
            return Err(DumpError::Chain { path: dump.path.clone(), why });
        }
        // Requests in flight have no order, and the next dump may write the same places.
        self.drain(0)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DumpError> {
        let longest = usize::try_from(self.connection.payload_bytes_max()).unwrap_or(usize::MAX);
        let mut at = offset;
        for part in bytes.chunks(longest) {
            self.drain(DEPTH - 1)?;
            self.connection.write(at, part)?;
            at += part.len() as u64;
        }
        self.data_bytes += bytes.len() as u64;
        Ok(())
    }

    fn write_zeroes(&mut self, offset: u64, bytes: u64) -> Result<(), DumpError> {
        let (mut at, end) = (offset, offset + bytes);
        while at < end {
            self.drain(DEPTH - 1)?;
            let part = (end - at).min(ZEROES_BYTES_MAX);
            self.connection.write_zeroes(at, u32::try_from(part).unwrap_or(u32::MAX))?;
            at += part;
        }
        self.zero_bytes += bytes;
        Ok(())
    }

    /// Waits until at most `left` requests are in flight.
    fn drain(&mut self, left: usize) -> Result<(), DumpError> {
        while self.connection.in_flight() > left {
            self.connection.reply()?;
        }
        Ok(())
    }

    /// Zeroes behind the dump, then a flush (S3).
    fn finish(&mut self, dumped_bytes: u64, volume_bytes: u64) -> Result<(), DumpError> {
        self.write_zeroes(dumped_bytes, volume_bytes.saturating_sub(dumped_bytes))?;
        self.drain(0)?;
        self.connection.flush()?;
        self.drain(0)?;
        self.bar.finish();
        Ok(())
    }
}

/// Reads and keeps a copy of what was read.
struct Tee<'a, R> {
    from: R,
    copy: &'a File,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.from.read(buffer)?;
        self.copy.write_all(buffer.get(..bytes).unwrap_or_default()).map_err(|error| {
            let text = format!("it cannot be kept in a temporary file (see TMPDIR): {error}");
            std::io::Error::new(error.kind(), text)
        })?;
        Ok(bytes)
    }
}
