//! Images of volumes as files: taken with `nbdcopy`, compared in blocks of 4 KiB.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use crate::error::{Outcome, TaskError};
use crate::process;

/// The grain of a thin copy.
pub(crate) const BLOCK_BYTES: u64 = 4096;
const CHUNK_BYTES: usize = 1 << 20;

/// Reads the whole export at `uri` into a sparse file at `image`.
pub(crate) fn save_image(uri: &str, image: &Path) -> Outcome {
    process::output(Command::new("nbdcopy").arg(uri).arg(image)).map(drop)
}

/// How many blocks of two images of the same length differ.
///
/// # Errors
/// One cannot be read, or they are not equally long.
pub(crate) fn different_blocks(left: &Path, right: &Path) -> Outcome<u64> {
    let length =
        |path: &Path| path.metadata().map(|data| data.len()).map_err(TaskError::file(path));
    if length(left)? != length(right)? {
        return Err(TaskError::Unexpected(format!(
            "{} has {} bytes, {} has {}",
            left.display(),
            length(left)?,
            right.display(),
            length(right)?
        )));
    }
    let mut files = (
        File::open(left).map_err(TaskError::file(left))?,
        File::open(right).map_err(TaskError::file(right))?,
    );
    let mut chunks = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let block = usize::try_from(BLOCK_BYTES).expect("a block fits the address space");
    let mut different = 0;
    loop {
        let read = fill(&mut files.0, &mut chunks.0).map_err(TaskError::file(left))?;
        fill(&mut files.1, &mut chunks.1).map_err(TaskError::file(right))?;
        if read == 0 {
            return Ok(different);
        }
        let pairs = chunks.0[..read].chunks(block).zip(chunks.1[..read].chunks(block));
        different += pairs.map(|(left, right)| u64::from(left != right)).sum::<u64>();
    }
}

/// Fills `chunk` as far as the file goes.
fn fill(file: &mut File, chunk: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < chunk.len() {
        match file.read(&mut chunk[filled..])? {
            0 => break,
            bytes => filled += bytes,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn one_changed_byte_makes_one_block_different() {
        let folder = std::env::temp_dir().join(format!("xtask-images-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder can be made");
        let paths = (folder.join("left"), folder.join("right"));
        let mut image = vec![7_u8; CHUNK_BYTES * 2 + 8192];
        fs::write(&paths.0, &image).expect("a temporary file can be written");
        image[CHUNK_BYTES + 5000] = 8;
        fs::write(&paths.1, &image).expect("a temporary file can be written");

        let different = different_blocks(&paths.0, &paths.1).expect("both files are there");

        fs::remove_dir_all(&folder).expect("the temporary folder is ours");
        assert_eq!(different, 1);
    }
}
