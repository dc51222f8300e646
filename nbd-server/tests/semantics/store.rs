//! A store under one profile, with volumes written and read in letters: one letter a track, `.` for zeroes.
//!
//! Reading a target may itself copy (T2-01), so tests count tracks before they look at data. First writes are
//! staged before what they owe is copied: `left` and `used` drain the store first.

use std::ops::Range;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use flashtrack_engine::admin::{
    Command, CopyReport, CopySelector, CopyState, DatasetReport, EndReason, PoolReport, Profile,
    Refusal, RefusalKind, Report, StoreReport, VolumeReport,
};
use flashtrack_engine::units::RelationshipId;
use tempfile::TempDir;

use crate::asking::{self, Establish, Withdraw};
use crate::commands;
use crate::disk::Disk;
use crate::process::{PATIENCE, Server};

/// Bytes of a track of the volumes of these tests.
pub(crate) const TRACK: usize = 65_536;
/// A row that speaks of no profile holds under each.
pub(crate) const BOTH: [Profile; 2] = [Profile::Xp7, Profile::Ibm];
/// Between two looks at something that goes on in the background.
const PAUSE: Duration = Duration::from_millis(2);

/// A server on a store of its own.
pub(crate) struct Store {
    /// Before the folder, so that it is dropped first.
    pub(crate) server: Server,
    pub(crate) profile: Profile,
    options: Vec<String>,
    pub(crate) folder: TempDir,
}

/// A new store under a profile.
pub(crate) fn store(profile: Profile) -> Store {
    store_with(profile, &[])
}

/// The same with more options of `flashtrackd`.
pub(crate) fn store_with(profile: Profile, options: &[&str]) -> Store {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let usual = ["--journal-size", "64M", "--profile", profile.name()];
    let options: Vec<String> =
        usual.iter().chain(options).map(|&option| option.to_owned()).collect();
    let server = start(&folder, &options);
    Store { server, profile, options, folder }
}

fn start(folder: &TempDir, options: &[String]) -> Server {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Server::start_with(folder.path(), &options)
}

/// A store with volumes `s` and `t` of so many tracks each, `s` full of `A` and `t` of `x`.
pub(crate) fn pair(profile: Profile, tracks: u32) -> Store {
    let store = store(profile);
    store.volume("s", tracks);
    store.volume("t", tracks);
    store.write("s", 0, &letters('A', tracks));
    store.write("t", 0, &letters('x', tracks));
    store
}

/// A letter so many times.
pub(crate) fn letters(letter: char, tracks: u32) -> String {
    std::iter::repeat_n(letter, tracks as usize).collect()
}

/// Everything that the control API tells, but what changes by itself: connections that are being closed, counters,
/// the journal, copies that become durable.
#[derive(Debug, PartialEq)]
pub(crate) struct Everything {
    pools: Vec<PoolReport>,
    volumes: Vec<VolumeReport>,
    copies: Vec<CopyReport>,
    datasets: Vec<DatasetReport>,
    store: StoreReport,
}

impl Store {
    /// Ends the server in order and starts it again.
    pub(crate) fn restarted(self) -> Self {
        self.again(Server::end, |_| ())
    }

    /// The same, with a look at the store's folder while no server uses it.
    pub(crate) fn restarted_after(self, look: impl FnOnce(&Path)) -> Self {
        self.again(Server::end, look)
    }

    /// Kills the server and starts it again.
    pub(crate) fn killed(self) -> Self {
        self.again(Server::end_by_kill, |_| ())
    }

    fn again(self, end: impl FnOnce(Server), look: impl FnOnce(&Path)) -> Self {
        let Self { server, profile, options, folder } = self;
        end(server);
        look(folder.path());
        let server = start(&folder, &options);
        Self { server, profile, options, folder }
    }

    /// Makes a generic volume.
    pub(crate) fn volume(&self, name: &str, tracks: u32) {
        self.ask(&commands::full(name, u64::from(tracks) * TRACK as u64));
    }

    /// Makes a pool `pool` and a thin volume in it.
    pub(crate) fn thin_volume(&self, name: &str, tracks: u32) {
        let bytes = u64::from(tracks) * TRACK as u64;
        if commands::pools(&self.server).is_empty() {
            self.ask(&commands::pool("pool", 2 * bytes));
        }
        self.ask(&commands::thin(name, bytes, "pool"));
    }

    /// Writes tracks from the first one on, each full of its letter.
    pub(crate) fn write(&self, volume: &str, first: u32, letters: &str) {
        let mut disk = self.disk(volume);
        let data: Vec<u8> = letters.bytes().flat_map(track_of).collect();
        for (number, part) in data.chunks(16 * TRACK).enumerate() {
            let written = disk.write(at(first) + (number * 16 * TRACK) as u64, part);
            assert_eq!(written, Ok(()), "a write of {volume}");
        }
    }

    /// Writes the first block of each of some tracks.
    pub(crate) fn write_a_part(&self, volume: &str, tracks: &[u32], letter: char) {
        let mut disk = self.disk(volume);
        for &track in tracks {
            let block = [u8::try_from(letter).expect("an ASCII letter"); 4096];
            assert_eq!(disk.write(at(track), &block), Ok(()), "a write of {volume}");
        }
    }

    /// The letters of some tracks; `?` for one that is not the same all over.
    pub(crate) fn read(&self, volume: &str, tracks: Range<u32>) -> String {
        let mut disk = self.disk(volume);
        let letter = |track| {
            let data = disk.read(at(track), TRACK).expect("the volume can be read");
            let same = data.iter().all(|&byte| byte == data[0]);
            match data[0] {
                _ if !same => '?',
                0 => '.',
                byte => char::from(byte),
            }
        };
        tracks.map(letter).collect()
    }

    /// Reads a whole volume and compares.
    #[track_caller]
    pub(crate) fn expect(&self, volume: &str, letters: &str) {
        let tracks = u32::try_from(letters.len()).expect("few tracks");
        assert_eq!(self.read(volume, 0..tracks), letters, "{volume} under {}", self.name());
    }

    /// A connection to the export of a volume.
    pub(crate) fn disk(&self, volume: &str) -> Disk {
        Disk::of(&self.server, volume)
    }

    /// The word of the profile, for messages.
    pub(crate) fn name(&self) -> &'static str {
        self.profile.name()
    }

    /// Has a command carried out.
    #[track_caller]
    pub(crate) fn ask(&self, command: &Command) -> Report {
        match self.server.try_command(command) {
            Ok(report) => report,
            Err(refusal) => panic!("under {}, {command:?}: {refusal:?}", self.name()),
        }
    }

    /// The relationships that a command made, changed or ended.
    #[track_caller]
    pub(crate) fn copies_of(&self, command: &Command) -> Vec<CopyReport> {
        match self.ask(command) {
            Report::Copies(copies) => copies,
            other => panic!("no relationships: {other:?}"),
        }
    }

    /// Establishes one relationship; gives its id.
    #[track_caller]
    pub(crate) fn establish(&self, what: Establish) -> u32 {
        let made = self.copies_of(&what.command());
        assert_eq!(made.len(), 1, "one relationship: {made:?}");
        made[0].id
    }

    /// Establishes one relationship that stays when it is complete, and waits until it is; gives its id.
    #[track_caller]
    pub(crate) fn completed(&self, what: Establish) -> u32 {
        let id = self.establish(what);
        self.until_complete(id);
        id
    }

    /// Establishes some relationships; gives their ids.
    #[track_caller]
    pub(crate) fn establish_all(&self, what: Establish) -> Vec<u32> {
        self.copies_of(&what.command()).iter().map(|made| made.id).collect()
    }

    #[track_caller]
    pub(crate) fn withdraw(&self, what: Withdraw) {
        self.ask(&what.command());
    }

    /// The command is refused, says these words, and has changed nothing that can be asked for.
    #[track_caller]
    pub(crate) fn refused(&self, command: &Command, words: &[&str]) -> Refusal {
        match self.judged(command, words) {
            Ok(refusal) => refusal,
            Err(wrong) => panic!("under {}, {command:?}: {wrong}", self.name()),
        }
    }

    /// The refusal, or what is wrong with it.
    pub(crate) fn judged(&self, command: &Command, words: &[&str]) -> Result<Refusal, String> {
        let before = self.everything();
        let refusal = match self.server.try_command(command) {
            Err(refusal) => refusal,
            Ok(report) => return Err(format!("it is not refused: {report:?}")),
        };
        let missing: Vec<_> =
            words.iter().filter(|&&word| !refusal.message.contains(word)).collect();
        if refusal.kind == RefusalKind::Unsupported || !missing.is_empty() {
            return Err(format!("no {missing:?} in {refusal:?}"));
        }
        let after = self.everything();
        if after != before {
            return Err(format!("something has changed:\n{before:?}\n{after:?}"));
        }
        Ok(refusal)
    }

    /// The same for a certain kind of refusal.
    #[track_caller]
    pub(crate) fn refused_as(&self, kind: RefusalKind, command: &Command, words: &[&str]) {
        let refusal = self.refused(command, words);
        assert_eq!(refusal.kind, kind, "under {}: {command:?}: {refusal:?}", self.name());
    }

    /// What the control API tells of everything.
    pub(crate) fn everything(&self) -> Everything {
        let mut volumes = commands::volumes(&self.server);
        for volume in &mut volumes {
            volume.connections = 0;
            volume.frozen_seconds_left = volume.frozen_seconds_left.map(|_| 0);
        }
        let Report::Datasets(datasets) = self.ask(&Command::DatasetList {}) else {
            panic!("no list of datasets")
        };
        let store = StoreReport { counters: [].into(), journal_used_bytes: 0, ..self.status() };
        let mut copies = commands::copies(&self.server);
        for copy in &mut copies {
            copy.durable = true;
        }
        Everything { pools: commands::pools(&self.server), volumes, copies, datasets, store }
    }

    /// The store's own report.
    pub(crate) fn status(&self) -> StoreReport {
        match self.ask(&Command::StoreStatus {}) {
            Report::Store(store) => *store,
            other => panic!("no report of the store: {other:?}"),
        }
    }

    /// Waits until everything that is staged is home, and with it what it owed.
    pub(crate) fn drain(&self) {
        self.ask(&Command::StoreDrain {});
    }

    /// A relationship that lives or ended of late.
    #[track_caller]
    pub(crate) fn show(&self, id: u32) -> CopyReport {
        let shown = self.copies_of(&Command::CopyShow(CopySelector::Id(RelationshipId(id))));
        assert_eq!(shown.len(), 1, "one relationship: {shown:?}");
        shown.into_iter().next().expect("one was counted")
    }

    /// The live relationships of a volume, by id.
    pub(crate) fn live(&self, volume: &str) -> Vec<CopyReport> {
        let mut live = self.copies_of(&Command::CopyList { volume: Some(volume.to_owned()) });
        live.retain(|copy| copy.ended.is_none());
        live.sort_by_key(|copy| copy.id);
        live
    }

    /// The source extents of a volume's live relationships as (first track, tracks), in order.
    pub(crate) fn extents(&self, source: &str) -> Vec<(u32, u32)> {
        let live = self.live(source);
        let of_it = live.iter().filter(|copy| copy.source == source);
        let mut extents: Vec<_> = of_it.map(|copy| (copy.source_track, copy.tracks)).collect();
        extents.sort_unstable();
        extents
    }

    /// Tracks that are not on the target yet, once everything staged is home.
    #[track_caller]
    pub(crate) fn left(&self, id: u32) -> u32 {
        self.drain();
        self.show(id).tracks_left
    }

    /// Waits until no more than so many tracks are left to copy.
    #[track_caller]
    pub(crate) fn until_left(&self, id: u32, tracks: u32) {
        self.until(&format!("{id} to have {tracks} tracks left"), || self.left(id) <= tracks);
    }

    /// Waits until a relationship has ended by itself; all tracks are on the target then.
    #[track_caller]
    pub(crate) fn until_ended(&self, id: u32) {
        self.until(&format!("{id} to end"), || self.show(id).ended.is_some());
        let ended = self.show(id);
        assert_eq!(ended.ended, Some(EndReason::Completed), "{ended:?}");
    }

    /// Waits until all tracks of a relationship that stays are on the target.
    #[track_caller]
    pub(crate) fn until_complete(&self, id: u32) {
        self.until(&format!("{id} to be complete"), || self.show(id).tracks_left == 0);
        let copy = self.show(id);
        assert_eq!((copy.state, copy.ended), (CopyState::Complete, None), "{copy:?}");
    }

    #[track_caller]
    pub(crate) fn until(&self, what: &str, done: impl Fn() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < PATIENCE, "under {}, waited for {what}", self.name());
            thread::sleep(PAUSE);
        }
    }

    /// What is on the target itself: the letters after the withdraw of all relationships onto it.
    pub(crate) fn withdrawn(&self, target: &str, tracks: u32) -> String {
        self.withdraw(asking::withdraw_onto(target));
        self.read(target, 0..tracks)
    }

    /// The report of a volume.
    pub(crate) fn shown_volume(&self, name: &str) -> VolumeReport {
        let mut volumes = commands::volumes(&self.server);
        volumes.retain(|volume| volume.name == name);
        volumes.pop().expect("the volume exists")
    }

    /// ACT of FCQUERY: relationships of a volume in both roles.
    pub(crate) fn act(&self, volume: &str) -> u32 {
        let shown = self.shown_volume(volume);
        shown.source_relationships + shown.target_relationships
    }

    /// Bytes of slots that are used in the pool.
    pub(crate) fn used(&self) -> u64 {
        self.drain();
        commands::pools(&self.server)[0].used_bytes
    }
}

/// Where a track begins.
pub(crate) fn at(track: u32) -> u64 {
    u64::from(track) * TRACK as u64
}

/// A track full of a letter.
pub(crate) fn track_of(letter: u8) -> Vec<u8> {
    let byte = if letter == b'.' { 0 } else { letter };
    vec![byte; TRACK]
}
