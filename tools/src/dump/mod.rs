//! Dump: a volume's image as a file or a stream, over NBD, while the volume is used. Restore is the way back.
//!
//! `format` is the bytes, `writer` and `reader` make and verify them, `image` says which image a volume shows, `stream`
//! reads a volume in order, `file` is the dump's file. A dump counts only when its manifest is written, and that is
//! written only when the image was one and the same from the beginning to the end.

mod error;
mod file;
mod format;
mod image;
mod progress;
mod reader;
mod restore;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};

use flashtrack_engine::admin::{Command, WithdrawSpec};
use flashtrack_engine::units::RelationshipId;
use indicatif::ProgressBar;
use serde::Serialize;

pub(crate) use self::error::DumpError;
pub(crate) use self::restore::{RestoreOptions, RestoreSummary, restore};

use self::file::{DumpFile, Place};
use self::format::{Base, FORMAT, Header, Piece};
use self::image::Image;
use self::writer::{DumpWriter, Finished, Resumption};
use crate::client::Client;
use crate::failure::Failure;
use crate::nbd::{Address, Connection, Stream};
use crate::output::Output;

/// Pieces between the thread that reads the volume and the one that compresses and writes.
const PIECES_BETWEEN: usize = 4;

/// What is to be dumped, and where to.
#[derive(Clone, Debug)]
pub(crate) struct DumpOptions {
    /// Name of the volume.
    pub(crate) volume: String,
    /// File of the dump; none for standard output.
    pub(crate) file: Option<PathBuf>,
    /// Only what differs from this earlier dump.
    pub(crate) since: Option<PathBuf>,
    /// Go on with an interrupted dump.
    pub(crate) resume: bool,
    /// End the relationships onto the volume when the dump is durable.
    pub(crate) withdraw: bool,
    /// Where the volume is served.
    pub(crate) nbd: Address,
}

/// What a dump came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DumpSummary {
    /// Name of the volume.
    pub(crate) volume: String,
    /// The file; none for standard output.
    pub(crate) file: Option<PathBuf>,
    /// Id of the dump.
    pub(crate) id: String,
    /// Id of the dump that it adds to.
    pub(crate) base: Option<String>,
    /// Size of the volume.
    pub(crate) size_bytes: u64,
    /// Bytes of the volume that are in the dump.
    pub(crate) data_bytes: u64,
    /// Bytes of the volume that are zeroes.
    pub(crate) zero_bytes: u64,
    /// Bytes of the volume that are as in the base.
    pub(crate) unchanged_bytes: u64,
    /// Length of the dump.
    pub(crate) stored_bytes: u64,
    /// Hash of the dump.
    pub(crate) blake3: String,
    /// Relationships that were withdrawn.
    pub(crate) withdrawn: Vec<u32>,
}

/// Dumps a volume. What is at the place of an interrupted dump stays there, to be resumed.
pub(crate) async fn dump(
    options: DumpOptions,
    client: &Client,
    output: Output,
) -> Result<DumpSummary, Failure> {
    if options.file.is_none() && (options.withdraw || options.resume) {
        let text = "--withdraw and --resume need a file: whether a stream is stored is not known";
        return Err(Failure::Usage(text.to_owned()));
    }
    let image = image::look(client, &options.volume).await?;
    let (base, mut ranges) = plan(client, &image, &options).await?;
    let header = header(&image, base)?;
    // Before the file is made: what cannot be read leaves no file behind.
    let connection = connect(options.nbd.clone(), &image).await?;
    let (header, place, resumption) = file::open(&options, header)?;
    if let Some(resumption) = &resumption {
        ranges.retain_mut(|range| {
            range.start = range.start.max(resumption.end);
            range.start < range.end
        });
    }
    let bar = progress::bar(ranges.iter().map(|range| range.end - range.start).sum(), output);
    let job = Job { connection, header: header.clone(), ranges, resumption, bar };
    let writer = blocking(move || job.run(place)).await??;
    image::check_it_stands(client, &image).await?;
    let finished = blocking(move || file::finish(writer)).await??;
    let mut withdrawn = Vec::new();
    if options.withdraw {
        withdrawn = withdraw(client, &image).await?;
    }
    let Finished { manifest, stored_bytes } = finished;
    Ok(DumpSummary {
        volume: header.volume,
        file: options.file,
        id: header.id,
        base: header.base.map(|base| base.id),
        size_bytes: header.size_bytes,
        data_bytes: manifest.totals.data_bytes,
        zero_bytes: manifest.totals.zero_bytes,
        unchanged_bytes: manifest.totals.unchanged_bytes,
        stored_bytes,
        blake3: manifest.blake3,
        withdrawn,
    })
}

/// The dump to add to, and what of the volume has to be read.
async fn plan(
    client: &Client,
    image: &Image,
    options: &DumpOptions,
) -> Result<(Option<Base>, Vec<Range<u64>>), Failure> {
    let Some(path) = &options.since else {
        let whole = 0..image.volume.size_bytes;
        return Ok((None, vec![whole]));
    };
    let (header, manifest) = file::skim(path)?;
    let ranges = image::differences(client, image, &header, path).await?;
    Ok((Some(Finished::base(&header, &manifest)), ranges))
}

/// Opens the volume's export.
async fn connect(nbd: Address, image: &Image) -> Result<Connection<Stream>, DumpError> {
    let (volume, size_bytes) = (image.volume.name.clone(), image.volume.size_bytes);
    blocking(move || {
        let connection = Connection::open(nbd.connect()?, &volume)?;
        match connection.size_bytes() {
            same if same == size_bytes => Ok(connection),
            export_bytes => Err(DumpError::OtherServer { volume, size_bytes, export_bytes }),
        }
    })
    .await?
}

fn header(image: &Image, base: Option<Base>) -> Result<Header, Failure> {
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty()).map_err(|error| {
        Failure::Output {
            what: "a dump without random bytes for its id".to_owned(),
            source: error.into(),
        }
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Header {
        format: FORMAT,
        id: format!("{:032x}", u128::from_be_bytes(id)),
        volume: image.volume.name.clone(),
        volume_type: image.volume.volume_type.to_string(),
        size_bytes: image.volume.size_bytes,
        track_bytes: image.volume.track_bytes,
        created_at: now.as_secs(),
        copies: image.copies.clone(),
        base,
    })
}

/// The part of a dump that reads the volume.
struct Job {
    connection: Connection<Stream>,
    header: Header,
    ranges: Vec<Range<u64>>,
    resumption: Option<Resumption>,
    bar: ProgressBar,
}

impl Job {
    /// Reads in this thread, writes in another one. Gives the dump without its end.
    fn run(mut self, place: Place) -> Result<DumpFile, DumpError> {
        let failed = DumpError::file("write", place.path());
        let writer = match self.resumption {
            None => DumpWriter::begin(place, &self.header),
            Some(resumption) => DumpWriter::resume(place, &self.header, resumption),
        }
        .map_err(&failed)?;
        let (pieces, incoming) = sync_channel(PIECES_BETWEEN);
        let bar = self.bar.clone();
        let writing = std::thread::spawn(move || write_all(writer, &incoming, &bar));
        let read = read_all(&mut self.connection, &self.ranges, &pieces);
        drop(pieces);
        let written = writing.join().map_err(|_| DumpError::Panicked)?;
        // Reading ends early when writing fails: that is then the cause.
        let writer = written.map_err(failed)?;
        read?;
        self.bar.finish();
        self.connection.close()?;
        Ok(writer)
    }
}

fn read_all<S: std::io::Read + std::io::Write>(
    connection: &mut Connection<S>,
    ranges: &[Range<u64>],
    pieces: &SyncSender<Piece>,
) -> Result<(), DumpError> {
    stream::stream(connection, ranges, |piece| pieces.send(piece).map_err(|_| DumpError::Panicked))
}

fn write_all(
    mut writer: DumpFile,
    incoming: &Receiver<Piece>,
    bar: &ProgressBar,
) -> std::io::Result<DumpFile> {
    for piece in incoming {
        match piece {
            Piece::Data { offset, bytes } => {
                writer.data(offset, &bytes)?;
                bar.inc(bytes.len() as u64);
            }
            Piece::Zeroes { offset, bytes } => {
                writer.zeroes(offset, bytes)?;
                bar.inc(bytes);
            }
        }
    }
    Ok(writer)
}

/// Ends the relationships that made the image, and no others.
async fn withdraw(client: &Client, image: &Image) -> Result<Vec<u32>, Failure> {
    let mut withdrawn = Vec::new();
    for copy in &image.copies {
        let id = Some(RelationshipId(copy.id));
        let spec = WithdrawSpec { id, ..WithdrawSpec::default() };
        match client.command(&Command::CopyWithdraw(spec)).await {
            Ok(_) => withdrawn.push(copy.id),
            Err(Failure::Refused(refusal))
                if refusal.kind == flashtrack_engine::admin::RefusalKind::NotFound => {}
            Err(other) => return Err(other),
        }
    }
    Ok(withdrawn)
}

/// Has a thread do what blocks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DumpError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| DumpError::Panicked)
}
