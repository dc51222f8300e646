//! The file that a dump is written into, or standard output; and earlier dumps.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::DumpOptions;
use super::error::DumpError;
use super::format::{Header, Manifest};
use super::reader::{Damage, DumpReader};
use super::writer::{DumpWriter, Finished, Resumption};

/// A dump that is being written.
pub(super) type DumpFile = DumpWriter<Place>;

/// Where a dump is written.
#[derive(Debug)]
pub(super) enum Place {
    /// Into a file.
    File(BufWriter<File>, PathBuf),
    /// To standard output.
    Stdout(BufWriter<std::io::Stdout>, PathBuf),
}

impl Place {
    /// For messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::File(_, path) | Self::Stdout(_, path) => path,
        }
    }
}

impl Write for Place {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::File(file, _) => file.write(bytes),
            Self::Stdout(stdout, _) => stdout.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::File(file, _) => file.flush(),
            Self::Stdout(stdout, _) => stdout.flush(),
        }
    }
}

/// Bytes between two writes into a dump.
const BUFFER_BYTES: usize = 1 << 20;

/// Opens the place of a dump: a new file, standard output, or what an interrupted dump left, with its header.
pub(super) fn open(
    options: &DumpOptions,
    header: Header,
) -> Result<(Header, Place, Option<Resumption>), DumpError> {
    let Some(path) = &options.file else {
        let stdout = BufWriter::with_capacity(BUFFER_BYTES, std::io::stdout());
        return Ok((header, Place::Stdout(stdout, "standard output".into()), None));
    };
    let place = |file| Place::File(BufWriter::with_capacity(BUFFER_BYTES, file), path.clone());
    if options.resume {
        let (file, header, resumption) = resume(path, &header)?;
        return Ok((header, place(file), Some(resumption)));
    }
    match File::create_new(path) {
        Ok(file) => Ok((header, place(file), None)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(DumpError::Exists(path.clone()))
        }
        Err(error) => Err(DumpError::file("create", path)(error)),
    }
}

/// Keeps what is whole of an interrupted dump, when it is of the same image as `expected`.
fn resume(path: &Path, expected: &Header) -> Result<(File, Header, Resumption), DumpError> {
    let damaged = |damage| DumpError::Damaged { path: path.to_owned(), damage };
    let opened = OpenOptions::new().read(true).write(true).open(path);
    let mut file = opened.map_err(DumpError::file("open", path))?;
    let mut reader = DumpReader::open(BufReader::new(&file)).map_err(damaged)?;
    check_same_image(path, reader.header(), expected)?;
    loop {
        match reader.next_piece() {
            Ok(Some(_)) => {}
            Ok(None) => return Err(DumpError::Complete(path.to_owned())),
            // What follows is dumped again.
            Err(Damage::EndsEarly { .. } | Damage::Record { .. }) => break,
            Err(other) => return Err(damaged(other)),
        }
    }
    let (header, resumption) = (reader.header().clone(), reader.resumption());
    file.set_len(resumption.stored_bytes)
        .and_then(|()| file.seek(SeekFrom::Start(resumption.stored_bytes)))
        .map_err(DumpError::file("cut off the damaged end of", path))?;
    Ok((file, header, resumption))
}

/// Only a copy's target shows the same image for sure as it did then.
fn check_same_image(path: &Path, begun: &Header, now: &Header) -> Result<(), DumpError> {
    let refused = |why: String| Err(DumpError::NotResumable { path: path.to_owned(), why });
    if begun.volume != now.volume || begun.size_bytes != now.size_bytes {
        return refused(format!(
            "it is of volume {} with {} bytes, not of {} with {}",
            begun.volume, begun.size_bytes, now.volume, now.size_bytes
        ));
    }
    if begun.copies.is_empty() {
        return refused(format!("volume {} was not the target of a copy", now.volume));
    }
    if begun.copies != now.copies {
        return refused(format!(
            "volume {} is not the target of the same copy any more",
            now.volume
        ));
    }
    if begun.base != now.base {
        return refused("it does not add to the same earlier dump".to_owned());
    }
    Ok(())
}

/// Ends a dump: manifest, then file and directory made durable.
pub(super) fn finish(writer: DumpFile) -> Result<Finished, DumpError> {
    let (place, finished) = writer.finish().map_err(|source| DumpError::File {
        action: "write the end of",
        path: "the dump".into(),
        source,
    })?;
    if let Place::File(file, path) = place {
        let failed = DumpError::file("sync", &path);
        file.get_ref().sync_all().map_err(&failed)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    }
    Ok(finished)
}

/// Header and manifest of an earlier dump.
pub(super) fn skim(path: &Path) -> Result<(Header, Manifest), DumpError> {
    let file = File::open(path).map_err(DumpError::file("open", path))?;
    DumpReader::open(BufReader::new(file))
        .and_then(DumpReader::skim)
        .map_err(|damage| DumpError::Damaged { path: path.to_owned(), damage })
}
