//! Every refusal names the object and the reason, and a refused command changes nothing: neither what the
//! control API tells, nor what lies on the disk.

use flashtrack_engine::admin::{
    Command, EstablishAction, EstablishSpec, Incremental, Profile, RefusalKind, WithdrawSpec,
};
use flashtrack_engine::examine;
use flashtrack_engine::geometry::VolumeType;
use flashtrack_engine::io::local::{Access, LocalStorage};
use flashtrack_engine::units::Seq;

use crate::asking::{
    ckd, convert, copy, dataset, dataset_copy, nocopy, thaw_and_verify, withdraw_from, withdraw_id,
    withdraw_onto,
};
use crate::process::STORE;
use crate::store::{BOTH, Store, store_with};

/// A command that is refused, the kind where the documents name one, and words of the message.
type Row = (Command, Option<RefusalKind>, &'static [&'static str]);

/// A store in which there is something of everything, and room for two copy tables more.
fn furnished(profile: Profile) -> Store {
    let (copies, tables) = match profile {
        Profile::Xp7 => (16, "22"),
        Profile::Ibm => (12, "18"),
    };
    let store = store_with(profile, &["--copy-tables", tables]);
    for volume in ["s", "t", "u", "v", "free", "w"] {
        store.volume(volume, 8);
    }
    store.volume("small", 4);
    store.thin_volume("thin", 8);
    store.ask(&ckd("ckd", VolumeType::M3390A, Some(1)));
    store.write("s", 0, "ABCDEFGH");
    for number in 0..copies {
        let target = format!("copy{number}");
        store.volume(&target, 1);
        store.establish(nocopy("free", &target).tracks(7, 0, 1));
    }
    store.establish(nocopy("s", "t").incremental(Incremental::Yes));
    store.establish(nocopy("u", "v").tracks(0, 4, 4));
    store.ask(&dataset("data", &[("s", 0, 2), ("u", 6, 1)]));
    store.ask(&dataset("other", &[("w", 0, 3)]));
    store.write("s", 3, "z");
    store.drain();
    store
}

fn extents() -> Vec<Row> {
    let invalid = Some(RefusalKind::Invalid);
    let overlap = Some(RefusalKind::Overlap);
    let within = || nocopy("w", "w");
    let many = (0..33).fold(within(), |what, track| what.tracks(0, 1 + track % 7, 1));
    vec![
        (Command::CopyEstablish(EstablishSpec::default()), invalid, &["source", "target"]),
        (within().tracks(0, 1, 0).command(), invalid, &["0 tracks"]),
        (within().tracks(7, 0, 2).command(), invalid, &["`w`", "8 tracks"]),
        (within().tracks(0, 7, 2).command(), invalid, &["`w`", "8 tracks"]),
        (within().tracks(u32::MAX, 0, 2).command(), invalid, &["`w`", "4294967295"]),
        (many.command(), invalid, &["33", "32"]),
        (within().command(), overlap, &["`w`"]),
        (within().tracks(0, 1, 2).command(), overlap, &["`w`"]),
        (within().tracks(0, 3, 2).tracks(2, 4, 1).command(), overlap, &["`w`"]),
        (within().tracks(0, 2, 2).tracks(3, 5, 1).command(), overlap, &["`w`"]),
    ]
}

fn pairs() -> Vec<Row> {
    let not_found = Some(RefusalKind::NotFound);
    let device_type = Some(RefusalKind::DeviceType);
    let target_related = Some(RefusalKind::TargetRelated);
    let source_related = Some(RefusalKind::SourceRelated);
    let space_efficient = Some(RefusalKind::SpaceEfficient);
    let one = |source, target| nocopy(source, target).tracks(0, 0, 1);
    let seventh = nocopy("free", "small").tracks(7, 0, 1);
    let recorded = nocopy("u", "w").incremental(Incremental::Yes);
    vec![
        (nocopy("nobody", "w").command(), not_found, &["volume `nobody`"]),
        (nocopy("u", "nobody").command(), not_found, &["volume `nobody`"]),
        (nocopy("u", "ckd").command(), device_type, &["`u`", "fb", "`ckd`", "3390-a"]),
        (nocopy("ckd", "w").command(), device_type, &["`ckd`", "3390-a", "`w`", "fb"]),
        (
            nocopy("u", "small").command(),
            Some(RefusalKind::Size),
            &["`u`", "8 tracks", "`small`", "4"],
        ),
        (one("u", "t").command(), target_related, &["`t`", "target"]),
        (one("w", "s").command(), source_related, &["`s`", "source"]),
        (one("t", "w").command(), target_related, &["`t`", "target"]),
        (nocopy("u", "s").command(), source_related, &["`s`", "source"]),
        (seventh.command(), Some(RefusalKind::TooManyCopies), &["`free`", "track"]),
        (nocopy("u", "thin").command(), space_efficient, &["`thin`"]),
        (copy("u", "thin").space_efficient().command(), space_efficient, &["`thin`"]),
        (one("u", "thin").space_efficient().command(), space_efficient, &["`thin`"]),
        (recorded.command(), Some(RefusalKind::NoResources), &["table"]),
    ]
}

fn changes() -> Vec<Row> {
    let recorded = |source, target| nocopy(source, target).incremental(Incremental::Yes);
    let incomplete = Some(RefusalKind::Incomplete);
    let action = |source, target, action| recorded(source, target).action(action).command();
    vec![
        // One incremental relationship per source, of whole volumes.
        (recorded("s", "w").command(), None, &["`s`"]),
        (recorded("u", "w").tracks(0, 0, 1).command(), None, &["`u`"]),
        // The copy is unfinished.
        (recorded("t", "s").command(), incomplete, &["relationship", "tracks left"]),
        (action("t", "s", EstablishAction::Reverse), incomplete, &["relationship", "tracks left"]),
        // No such pair, not an incremental one, the wrong direction.
        (action("u", "w", EstablishAction::Refresh), None, &["`u`", "`w`"]),
        (action("w", "u", EstablishAction::Reverse), None, &["`u`", "`w`"]),
        (action("w", "u", EstablishAction::FastReverse), None, &["`u`", "`w`"]),
        (action("u", "v", EstablishAction::Refresh), None, &["`u`", "`v`"]),
        (action("v", "u", EstablishAction::Reverse), None, &["`u`", "`v`"]),
        (action("t", "s", EstablishAction::Refresh), Some(RefusalKind::Direction), &["`s`", "`t`"]),
        (action("s", "t", EstablishAction::Reverse), Some(RefusalKind::Direction), &["`s`", "`t`"]),
        (
            action("s", "t", EstablishAction::FastReverse),
            Some(RefusalKind::Direction),
            &["`s`", "`t`"],
        ),
    ]
}

fn ends() -> Vec<Row> {
    let invalid = Some(RefusalKind::Invalid);
    let not_found = Some(RefusalKind::NotFound);
    let delete = |name: &str| Command::VolumeDelete { name: name.to_owned() };
    vec![
        (Command::CopyWithdraw(WithdrawSpec::default()), invalid, &["source", "target"]),
        (withdraw_id(4711).command(), not_found, &["4711"]),
        (withdraw_id(4711).ddsw().command(), not_found, &["4711"]),
        (withdraw_from("nobody").command(), not_found, &["volume `nobody`"]),
        (withdraw_from("nobody").ddsw().command(), not_found, &["volume `nobody`"]),
        (withdraw_onto("nobody").command(), not_found, &["volume `nobody`"]),
        (convert("nobody"), not_found, &["volume `nobody`"]),
        (thaw_and_verify(0, "nobody"), not_found, &["volume `nobody`"]),
        (delete("s"), Some(RefusalKind::Busy), &["`s`", "relationship"]),
        (delete("v"), Some(RefusalKind::Busy), &["`v`", "relationship"]),
    ]
}

fn datasets() -> Vec<Row> {
    let invalid = Some(RefusalKind::Invalid);
    let not_found = Some(RefusalKind::NotFound);
    let name = || "nothing".to_owned();
    let copied = |name: &str, targets: &[&str]| Command::DatasetCopy(dataset_copy(name, targets));
    let onto = |name: &str, other: &str| {
        let mut spec = dataset_copy(name, &[]);
        spec.onto = Some(other.to_owned());
        Command::DatasetCopy(spec)
    };
    vec![
        (dataset("data", &[("s", 0, 1)]), Some(RefusalKind::Exists), &["`data`"]),
        (dataset("a/b", &[("s", 0, 1)]), invalid, &["`a/b`"]),
        (dataset("more", &[]), invalid, &["extent"]),
        (dataset("more", &[("s", 0, 0)]), invalid, &["0 tracks"]),
        (dataset("more", &[("s", 4, 5)]), invalid, &["`s`", "8 tracks"]),
        (dataset("more", &[("nobody", 0, 1)]), not_found, &["volume `nobody`"]),
        (Command::DatasetShow { name: name() }, not_found, &["`nothing`"]),
        (Command::DatasetDelete { name: name() }, not_found, &["`nothing`"]),
        (copied("nothing", &["w"]), not_found, &["`nothing`"]),
        (copied("data", &[]), invalid, &["`data`"]),
        (copied("data", &["w"]), invalid, &["`data`", "2"]),
        (copied("data", &["w", "nobody"]), not_found, &["volume `nobody`"]),
        (copied("data", &["w", "t"]), Some(RefusalKind::TargetRelated), &["`t`"]),
        (onto("data", "nothing"), not_found, &["`nothing`"]),
        (onto("data", "other"), None, &["`data`", "`other`"]),
    ]
}

fn rows() -> Vec<Row> {
    [extents(), pairs(), changes(), ends(), datasets()].concat()
}

/// What a later opening would find of volumes, relationships and the rest.
fn on_disk(store: Store) -> (String, Store) {
    let mut metadata = String::new();
    let store = store.restarted_after(|folder| {
        let opened = LocalStorage::open(&folder.join(STORE), Access::ReadOnly);
        let mut storage = opened.expect("the server has gone");
        let mut found = examine(&mut storage).expect("a store in order");
        assert_eq!(found.refusal, None);
        let state = found.state.as_mut().expect("an opening would not be refused");
        // How far the journal is home, which goes on with every opening.
        state.released = Seq(0);
        metadata = format!("{state:#?}");
    });
    (metadata, store)
}

/// What is wrong with the refusal of a row's command.
fn wrong(store: &Store, (command, kind, words): &Row) -> Option<String> {
    let wrong = match store.judged(command, words) {
        Ok(refusal) if kind.is_none_or(|kind| kind == refusal.kind) => return None,
        Ok(refusal) => format!("it is not of kind {kind:?}: {refusal:?}"),
        Err(wrong) => wrong,
    };
    Some(format!("{command:?}: {wrong}"))
}

#[test]
fn r_01_every_refusal_names_object_and_reason_and_changes_nothing() {
    for profile in BOTH {
        let (before, store) = on_disk(furnished(profile));
        let wrong: Vec<String> = rows().iter().filter_map(|row| wrong(&store, row)).collect();
        assert!(wrong.is_empty(), "under {}: {wrong:#?}", store.name());
        let (after, store) = on_disk(store);
        assert_eq!(after, before, "under {}", store.name());
        // And the store works.
        store.establish(nocopy("s", "w"));
    }
}

#[test]
fn r_02_a_target_with_clients_is_refused_when_that_was_asked() {
    for profile in BOTH {
        let store = furnished(profile);
        let client = store.disk("w");
        let offline = || nocopy("u", "w").tracks(6, 0, 1).offline_target();
        store.refused_as(RefusalKind::Online, &offline().command(), &["`w`"]);
        drop(client);
        let established = || store.server.try_command(&offline().command()).is_ok();
        store.until("the client to be gone", established);
    }
}
