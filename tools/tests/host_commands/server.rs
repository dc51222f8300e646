//! A server under a profile with four small volumes and their data, carrying out what the host commands ask for.

use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::PathBuf;

use flashtrack_engine::admin::{Command, Profile, Report, VolumeSpec};
use flashtrack_engine::geometry::VolumeType;
use serde_json::Value;

use crate::flashtrackd::Flashtrackd;
use crate::run::Run;

/// Bytes of a track of a 3390.
const TRACK_BYTES: u64 = 49_152;

/// A server with volumes SORCEV 0A00, TRGVOL 0A01, THIRD 0A02 and FOURTH 0B00, 20 cylinders each.
pub(crate) struct Server {
    flashtrackd: Flashtrackd,
}

impl Server {
    pub(crate) fn start(profile: Profile) -> Self {
        let server = Self { flashtrackd: Flashtrackd::start(profile, |worker| worker) };
        for (name, device) in
            [("SORCEV", 0x0A00), ("TRGVOL", 0x0A01), ("THIRD", 0x0A02), ("FOURTH", 0x0B00)]
        {
            server.command(Command::VolumeCreate(VolumeSpec {
                name: name.to_owned(),
                size_bytes: None,
                cylinders: Some(20),
                volume_type: VolumeType::M3390A,
                device: Some(device),
                thin: None,
            }));
        }
        server
    }

    /// A path beside the store.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.flashtrackd.path(name)
    }

    /// Runs `flashtrack` with these words; `input` is its standard input.
    pub(crate) fn run(&self, words: &[&str], input: &str) -> Run {
        Run::of_flashtrack(&self.path("control"), words, input)
    }

    pub(crate) fn tso(&self, command: &str) -> Run {
        self.run(&["tso", command], "")
    }

    pub(crate) fn dss(&self, deck: &str) -> Run {
        let nbd = format!("unix:{}", self.path("nbd").display());
        self.run(&["dss", "-", "--nbd", &nbd], deck)
    }

    pub(crate) fn ickdsf(&self, deck: &str) -> Run {
        self.run(&["ickdsf", "-"], deck)
    }

    /// Has the server carry out what must succeed.
    pub(crate) fn command(&self, command: Command) -> Report {
        self.flashtrackd.command(command)
    }

    /// The relationships that live: source, target, first source and target track, number of tracks.
    pub(crate) fn relationships(&self) -> Vec<(String, String, u64, u64, u64)> {
        let mut rows: Vec<_> = self
            .copies()
            .iter()
            .map(|copy| {
                let text = |field: &str| copy[field].as_str().expect("a name").to_owned();
                let number = |field: &str| copy[field].as_u64().expect("a number");
                let tracks = (number("source_track"), number("target_track"), number("tracks"));
                (text("source"), text("target"), tracks.0, tracks.1, tracks.2)
            })
            .collect();
        rows.sort();
        rows
    }

    /// The reports of the relationships that live.
    pub(crate) fn copies(&self) -> Vec<Value> {
        let run = self.run(&["copy", "list", "--json"], "");
        let mut copies: Vec<Value> = serde_json::from_str(&run.stdout).expect("JSON");
        copies.retain(|copy| copy["ended"].is_null());
        copies
    }

    /// Waits until the background copies onto the volume are complete.
    pub(crate) fn wait_for(&self, target: &str) {
        self.run(&["copy", "wait", "--target", target, "--timeout", "60s"], "").ends(0, &[]);
    }

    /// Fills tracks with a byte.
    pub(crate) fn fill(&self, volume: &str, tracks: Range<u64>, byte: u8) {
        let data = vec![byte; usize::try_from(TRACK_BYTES).expect("it fits")];
        self.flashtrackd.with_export(volume, |client| {
            for track in tracks {
                client.seek(SeekFrom::Start(track * TRACK_BYTES)).expect("it seeks");
                client.write_all(&data).expect("it is written");
            }
        });
    }

    /// The byte that a track is filled with.
    #[track_caller]
    pub(crate) fn byte(&self, volume: &str, track: u64) -> u8 {
        let mut data = vec![0; usize::try_from(TRACK_BYTES).expect("it fits")];
        self.flashtrackd.with_export(volume, |client| {
            client.seek(SeekFrom::Start(track * TRACK_BYTES)).expect("it seeks");
            client.read_exact(&mut data).expect("it is read");
        });
        assert!(data.iter().all(|byte| *byte == data[0]), "track {track} of {volume} is mixed");
        data[0]
    }
}
