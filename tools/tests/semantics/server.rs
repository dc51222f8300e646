//! A server under a profile, with the host commands as its clients. Volumes are written and read in letters, one a
//! track, `.` for zeroes.

use std::io::{Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use flashtrack_engine::admin::{Command, CopyReport, Profile, Report, VolumeReport, VolumeSpec};
use flashtrack_engine::geometry::VolumeType;

use crate::flashtrackd::Flashtrackd;
use crate::run::Run;

const TRACK: usize = 65_536;
/// Background copies take less, or something hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server, and the profile that it is under.
pub(crate) struct Server {
    flashtrackd: Flashtrackd,
    profile: Profile,
}

impl Server {
    /// Serves a new store under a profile.
    pub(crate) fn start(profile: Profile) -> Self {
        Self { flashtrackd: Flashtrackd::start(profile, |worker| worker), profile }
    }

    /// The word of the profile, for messages.
    pub(crate) fn name(&self) -> &'static str {
        self.profile.name()
    }

    /// Makes a generic volume of as many tracks as there are letters, and writes them.
    pub(crate) fn volume(&self, name: &str, device: u16, letters: &str) {
        self.command(Command::VolumeCreate(VolumeSpec {
            name: name.to_owned(),
            size_bytes: Some((letters.len() * TRACK) as u64),
            cylinders: None,
            volume_type: VolumeType::Fb,
            device: Some(device),
            thin: None,
        }));
        self.write(name, 0, letters);
    }

    /// Writes tracks from the first one on.
    pub(crate) fn write(&self, volume: &str, first: usize, letters: &str) {
        self.flashtrackd.with_export(volume, |client| {
            client.seek(SeekFrom::Start((first * TRACK) as u64)).expect("it seeks");
            for letter in letters.bytes() {
                client.write_all(&vec![letter; TRACK]).expect("it is written");
            }
        });
    }

    /// The letters of a volume; `?` for a track that is not the same all over.
    pub(crate) fn read(&self, volume: &str) -> String {
        let mut letters = String::new();
        let tracks = self.shown(volume).tracks;
        self.flashtrackd.with_export(volume, |client| {
            let mut track = vec![0; TRACK];
            for _ in 0..tracks {
                client.read_exact(&mut track).expect("it is read");
                let same = track.iter().all(|&byte| byte == track[0]);
                letters.push(match track[0] {
                    _ if !same => '?',
                    0 => '.',
                    byte => char::from(byte),
                });
            }
        });
        letters
    }

    /// Runs `flashtrack` with some words and a text on standard input.
    fn run(&self, words: &[&str], input: &str) -> Run {
        Run::of_flashtrack(&self.flashtrackd.path("control"), words, input)
    }

    pub(crate) fn tso(&self, command: &str) -> Run {
        self.run(&["tso", command], "")
    }

    pub(crate) fn dss(&self, deck: &str) -> Run {
        self.run(&["dss", "-"], deck)
    }

    pub(crate) fn ickdsf(&self, deck: &str) -> Run {
        self.run(&["ickdsf", "-"], deck)
    }

    /// Has a command of the control API carried out.
    pub(crate) fn command(&self, command: Command) -> Report {
        self.flashtrackd.command(command)
    }

    /// Live relationships as (source, first track there, target, first track there, tracks), in order.
    pub(crate) fn extents(&self) -> Vec<(String, u32, String, u32, u32)> {
        let extent = |copy: CopyReport| {
            (copy.source, copy.source_track, copy.target, copy.target_track, copy.tracks)
        };
        let mut extents: Vec<_> = self.live().into_iter().map(extent).collect();
        extents.sort_unstable();
        extents
    }

    /// Live relationships.
    pub(crate) fn live(&self) -> Vec<CopyReport> {
        match self.command(Command::CopyList { volume: None }) {
            Report::Copies(copies) => copies,
            other => panic!("no relationships: {other:?}"),
        }
    }

    /// The report of a volume.
    pub(crate) fn shown(&self, name: &str) -> VolumeReport {
        match self.command(Command::VolumeShow { name: name.to_owned() }) {
            Report::Volumes(mut volumes) => volumes.remove(0),
            other => panic!("no volume: {other:?}"),
        }
    }

    /// Waits until no relationship is left.
    pub(crate) fn until_simplex(&self) {
        let began = Instant::now();
        while !self.live().is_empty() {
            assert!(began.elapsed() < PATIENCE, "under {}, {:?}", self.name(), self.live());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
