//! Writes a dump: zeroes are found and left out, data is compressed, everything is hashed.

use std::io::Write;

use super::format::{
    Base, CHUNK_BYTES_MAX, Encoding, Header, Manifest, RecordHeader, RecordKind, Totals,
};

/// Zeroes of whole pieces of this size, from a multiple of it on, cost nothing.
const ZERO_PIECE_BYTES: usize = 64 << 10;
/// zstd's default: it keeps up with a 10 Gbit/s network on a few cores and gains most of what there is to gain.
const LEVEL: i32 = 3;

/// Writes one dump, from its header to its manifest.
pub(crate) struct DumpWriter<W> {
    sink: W,
    hasher: blake3::Hasher,
    compressor: zstd::bulk::Compressor<'static>,
    number: u32,
    size_bytes: u64,
    totals: Totals,
    /// Zeroes that may go on with the next call.
    zeroes: std::ops::Range<u64>,
    stored_bytes: u64,
}

/// Where an interrupted dump goes on.
#[derive(Clone, Debug)]
pub(crate) struct Resumption {
    /// Hash of all that is there.
    pub(crate) hasher: blake3::Hasher,
    /// Number of the next record.
    pub(crate) number: u32,
    /// What is there.
    pub(crate) totals: Totals,
    /// Length of what is there.
    pub(crate) stored_bytes: u64,
    /// Bytes of the volume up to here are there.
    pub(crate) end: u64,
}

/// What a finished dump came to.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    /// As it was written.
    pub(crate) manifest: Manifest,
    /// Length of the dump.
    pub(crate) stored_bytes: u64,
}

impl Finished {
    /// Names the dump of that header to a later one.
    pub(crate) fn base(header: &Header, manifest: &Manifest) -> Base {
        Base { id: header.id.clone(), blake3: manifest.blake3.clone() }
    }
}

impl<W: Write> DumpWriter<W> {
    /// Begins a dump.
    pub(crate) fn begin(sink: W, header: &Header) -> std::io::Result<Self> {
        let nothing = Resumption {
            hasher: blake3::Hasher::new(),
            number: 0,
            totals: Totals::default(),
            stored_bytes: 0,
            end: 0,
        };
        let mut writer = Self::resume(sink, header, nothing)?;
        let json = serde_json::to_vec(header)?;
        writer.record(RecordKind::Header, Encoding::Plain, 0..0, &json)?;
        Ok(writer)
    }

    /// Goes on where `resumption` says.
    pub(crate) fn resume(sink: W, header: &Header, from: Resumption) -> std::io::Result<Self> {
        Ok(Self {
            sink,
            hasher: from.hasher,
            compressor: zstd::bulk::Compressor::new(LEVEL)?,
            number: from.number,
            size_bytes: header.size_bytes,
            totals: from.totals,
            zeroes: from.end..from.end,
            stored_bytes: from.stored_bytes,
        })
    }

    /// Adds bytes of the volume, behind all that was added before.
    pub(crate) fn data(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        let mut at = offset;
        // Runs of pieces that are alike; the first piece ends at a multiple.
        let mut rest = bytes;
        while !rest.is_empty() {
            let zeroes = is_zero(first_piece(at, rest));
            let mut run = 0;
            while run < rest.len() {
                let piece = first_piece(at + run as u64, &rest[run..]);
                if is_zero(piece) != zeroes {
                    break;
                }
                run += piece.len();
            }
            let (taken, left) = rest.split_at(run);
            if zeroes {
                self.zeroes(at, run as u64)?;
            } else {
                self.chunks(at, taken)?;
            }
            at += run as u64;
            rest = left;
        }
        Ok(())
    }

    /// Adds zeroes, behind all that was added before.
    pub(crate) fn zeroes(&mut self, offset: u64, bytes: u64) -> std::io::Result<()> {
        if self.zeroes.end != offset {
            self.put_zeroes()?;
            self.zeroes = offset..offset;
        }
        self.zeroes.end += bytes;
        Ok(())
    }

    /// Ends the dump.
    pub(crate) fn finish(mut self) -> std::io::Result<(W, Finished)> {
        self.put_zeroes()?;
        let told = self.totals.data_bytes + self.totals.zero_bytes;
        self.totals.unchanged_bytes = self.size_bytes.saturating_sub(told);
        let manifest = Manifest {
            records: self.number + 1,
            totals: self.totals,
            blake3: self.hasher.finalize().to_hex().to_string(),
        };
        let json = serde_json::to_vec(&manifest)?;
        self.record(RecordKind::Manifest, Encoding::Plain, 0..0, &json)?;
        self.sink.flush()?;
        Ok((self.sink, Finished { manifest, stored_bytes: self.stored_bytes }))
    }

    fn chunks(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.put_zeroes()?;
        let mut at = offset;
        for chunk in bytes.chunks(usize::try_from(CHUNK_BYTES_MAX).unwrap_or(usize::MAX)) {
            let range = at..at + chunk.len() as u64;
            at = range.end;
            self.totals.data_bytes += chunk.len() as u64;
            let packed = self.compressor.compress(chunk)?;
            if packed.len() < chunk.len() {
                self.record(RecordKind::Data, Encoding::Zstd, range, &packed)?;
            } else {
                self.record(RecordKind::Data, Encoding::Plain, range, chunk)?;
            }
        }
        Ok(())
    }

    fn put_zeroes(&mut self) -> std::io::Result<()> {
        let range = self.zeroes.clone();
        self.zeroes.start = range.end;
        if range.is_empty() {
            return Ok(());
        }
        self.totals.zero_bytes += range.end - range.start;
        self.record(RecordKind::Zeroes, Encoding::Plain, range, &[])
    }

    fn record(
        &mut self,
        kind: RecordKind,
        encoding: Encoding,
        range: std::ops::Range<u64>,
        payload: &[u8],
    ) -> std::io::Result<()> {
        let too_long = || std::io::Error::other("a record is longer than the format allows");
        let header = RecordHeader {
            kind,
            encoding,
            number: self.number,
            payload_bytes: u32::try_from(payload.len()).map_err(|_| too_long())?,
            offset: range.start,
            bytes: range.end - range.start,
            payload_crc: crc32c::crc32c(payload),
        };
        let header = header.encode();
        self.sink.write_all(&header)?;
        self.sink.write_all(payload)?;
        self.hasher.update(&header).update(payload);
        self.number = self.number.checked_add(1).ok_or_else(too_long)?;
        self.stored_bytes += (header.len() + payload.len()) as u64;
        Ok(())
    }
}

/// The bytes up to the next multiple of a piece.
fn first_piece(at: u64, bytes: &[u8]) -> &[u8] {
    let within = usize::try_from(at % ZERO_PIECE_BYTES as u64).unwrap_or_default();
    &bytes[..bytes.len().min(ZERO_PIECE_BYTES - within)]
}

fn is_zero(bytes: &[u8]) -> bool {
    // Compared in long words by the compiler.
    bytes.iter().fold(0, |all, &byte| all | byte) == 0
}
