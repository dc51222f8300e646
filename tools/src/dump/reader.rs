//! Reads a dump and verifies it: what it gives has the right checksums, order and place (F1, F2).

use std::io::{Read, Seek, SeekFrom};

use super::format::{
    CHUNK_BYTES_MAX, Encoding, FORMAT, Header, Manifest, Piece, RECORD_BYTES, RecordHeader,
    RecordKind, Totals,
};
use super::writer::Resumption;

/// Why bytes are no dump.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    /// It cannot be read.
    #[error("it cannot be read at byte {at}")]
    Read {
        /// Where.
        at: u64,
        /// What the system says.
        source: std::io::Error,
    },
    /// It stops before its manifest.
    #[error("it ends within record {record}, at byte {at}: its dump was interrupted")]
    EndsEarly {
        /// The record that is missing or cut off.
        record: u32,
        /// Where that begins.
        at: u64,
    },
    /// A record is not what was written.
    #[error("record {record} at byte {at} is damaged: {how}")]
    Record {
        /// Its number.
        record: u32,
        /// Where it begins.
        at: u64,
        /// What is wrong.
        how: &'static str,
    },
    /// It does not begin like one.
    #[error("it does not begin as a dump does")]
    NoDump,
    /// Of a later version.
    #[error("its format is {0}; this flashtrack reads format {FORMAT}")]
    Format(u32),
}

/// Reads one dump.
pub(crate) struct DumpReader<R> {
    source: R,
    header: Header,
    manifest: Option<Manifest>,
    hasher: blake3::Hasher,
    number: u32,
    /// Where the next record begins.
    at: u64,
    /// Bytes of the volume up to here have been told, or are as in the base.
    end: u64,
    totals: Totals,
}

impl<R: Read> DumpReader<R> {
    /// Reads the header.
    pub(crate) fn open(source: R) -> Result<Self, Damage> {
        let header = Header {
            format: FORMAT,
            id: String::new(),
            volume: String::new(),
            volume_type: String::new(),
            size_bytes: 0,
            track_bytes: 0,
            created_at: 0,
            copies: Vec::new(),
            base: None,
        };
        let mut reader = Self {
            source,
            header,
            manifest: None,
            hasher: blake3::Hasher::new(),
            number: 0,
            at: 0,
            end: 0,
            totals: Totals::default(),
        };
        let (record, payload) = reader.record().map_err(|damage| match damage {
            Damage::Record { .. } | Damage::EndsEarly { at: 0, .. } => Damage::NoDump,
            other => other,
        })?;
        let header: Header = serde_json::from_slice(&payload).map_err(|_| Damage::NoDump)?;
        if record.kind != RecordKind::Header || record.encoding != Encoding::Plain {
            return Err(Damage::NoDump);
        }
        if header.format != FORMAT {
            return Err(Damage::Format(header.format));
        }
        reader.header = header;
        reader.count(&record, &payload);
        Ok(reader)
    }

    /// What the dump is of.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Once everything was read and is right: the end of the dump.
    pub(crate) fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Bytes of the volume up to here have been told.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The next piece; none when the manifest was reached and all is right.
    pub(crate) fn next_piece(&mut self) -> Result<Option<Piece>, Damage> {
        if self.manifest.is_some() {
            return Ok(None);
        }
        let (record, payload) = self.record()?;
        let (offset, bytes) = (record.offset, record.bytes);
        let piece = match record.kind {
            RecordKind::Header => return Err(self.damaged("a second header")),
            RecordKind::Manifest => {
                self.end_with(&record, &payload)?;
                return Ok(None);
            }
            RecordKind::Zeroes if payload.is_empty() => {
                self.take_place(&record)?;
                self.totals.zero_bytes += bytes;
                Piece::Zeroes { offset, bytes }
            }
            RecordKind::Zeroes => return Err(self.damaged("zeroes with a payload")),
            RecordKind::Data => {
                let bytes = self.decoded(&record, &payload)?;
                self.take_place(&record)?;
                self.totals.data_bytes += record.bytes;
                Piece::Data { offset, bytes }
            }
        };
        self.count(&record, &payload);
        Ok(Some(piece))
    }

    /// Where a dump goes on whose next record is missing or damaged.
    pub(crate) fn resumption(&self) -> Resumption {
        Resumption {
            hasher: self.hasher.clone(),
            number: self.number,
            totals: self.totals,
            stored_bytes: self.at,
            end: self.end,
        }
    }

    fn record(&mut self) -> Result<(RecordHeader, Vec<u8>), Damage> {
        let mut header = [0; RECORD_BYTES];
        self.fill(&mut header)?;
        let record =
            RecordHeader::decode(&header).ok_or_else(|| self.damaged("its header is wrong"))?;
        if record.number != self.number || record.number == u32::MAX {
            return Err(self.damaged("it is not the next one"));
        }
        let mut payload = vec![0; record.payload_bytes as usize];
        self.fill(&mut payload)?;
        if crc32c::crc32c(&payload) != record.payload_crc {
            return Err(self.damaged("the checksum of its payload is wrong"));
        }
        Ok((record, payload))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Damage> {
        self.source.read_exact(buffer).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                Damage::EndsEarly { record: self.number, at: self.at }
            }
            _ => Damage::Read { at: self.at, source },
        })
    }

    fn damaged(&self, how: &'static str) -> Damage {
        Damage::Record { record: self.number, at: self.at, how }
    }

    fn count(&mut self, record: &RecordHeader, payload: &[u8]) {
        self.hasher.update(&record.encode()).update(payload);
        self.number += 1;
        self.at += (RECORD_BYTES + payload.len()) as u64;
    }

    fn decoded(&self, record: &RecordHeader, payload: &[u8]) -> Result<Vec<u8>, Damage> {
        if u64::from(record.payload_bytes) > record.bytes {
            return Err(self.damaged("its payload is longer than its data"));
        }
        let capacity = usize::try_from(record.bytes.min(CHUNK_BYTES_MAX)).unwrap_or_default();
        let bytes = match record.encoding {
            Encoding::Plain => payload.to_vec(),
            Encoding::Zstd => zstd::bulk::decompress(payload, capacity)
                .map_err(|_| self.damaged("its payload cannot be decompressed"))?,
        };
        if bytes.len() as u64 != record.bytes {
            return Err(self.damaged("its payload has another length than it says"));
        }
        Ok(bytes)
    }

    fn take_place(&mut self, record: &RecordHeader) -> Result<(), Damage> {
        let end = record.offset.checked_add(record.bytes);
        let end = end.filter(|&end| end <= self.header.size_bytes && end > record.offset);
        let end = end.ok_or_else(|| self.damaged("it passes the end of the volume"))?;
        let leaves_out = record.offset > self.end && self.header.base.is_none();
        if record.offset < self.end || leaves_out {
            return Err(self.damaged("it is at the wrong place of the volume"));
        }
        self.end = end;
        Ok(())
    }

    fn end_with(&mut self, record: &RecordHeader, payload: &[u8]) -> Result<(), Damage> {
        let manifest = self.manifest_of(payload)?;
        if self.header.base.is_none() && self.end != self.header.size_bytes {
            return Err(self.damaged("the manifest comes before the end of the volume"));
        }
        let told = self.totals.data_bytes + self.totals.zero_bytes;
        self.totals.unchanged_bytes = self.header.size_bytes - told;
        let right = Manifest {
            records: self.number + 1,
            totals: self.totals,
            blake3: self.hasher.finalize().to_hex().to_string(),
        };
        if manifest != right {
            return Err(self.damaged("the manifest does not agree with what comes before it"));
        }
        self.count(record, payload);
        let mut more = [0];
        match self.source.read(&mut more) {
            Ok(0) => {}
            Ok(_) => return Err(self.damaged("something follows the manifest")),
            Err(source) => return Err(Damage::Read { at: self.at, source }),
        }
        self.manifest = Some(manifest);
        Ok(())
    }

    fn manifest_of(&self, payload: &[u8]) -> Result<Manifest, Damage> {
        serde_json::from_slice(payload).map_err(|_| self.damaged("the manifest is no JSON"))
    }
}

impl<R: Read + Seek> DumpReader<R> {
    /// The manifest of a dump, without reading its data. The data may be damaged.
    pub(crate) fn skim(mut self) -> Result<(Header, Manifest), Damage> {
        loop {
            let mut header = [0; RECORD_BYTES];
            self.fill(&mut header)?;
            let record =
                RecordHeader::decode(&header).ok_or_else(|| self.damaged("its header is wrong"))?;
            if record.kind == RecordKind::Manifest {
                let mut payload = vec![0; record.payload_bytes as usize];
                self.fill(&mut payload)?;
                let manifest = self.manifest_of(&payload)?;
                return Ok((self.header, manifest));
            }
            self.source
                .seek(SeekFrom::Current(i64::from(record.payload_bytes)))
                .map_err(|source| Damage::Read { at: self.at, source })?;
            self.number += 1;
            self.at += RECORD_BYTES as u64 + u64::from(record.payload_bytes);
        }
    }
}
