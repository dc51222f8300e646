//! Where the bytes of a 4 KiB read are: the lookup that every read makes, without relationships and with them.

use std::hint::black_box;

use criterion::Criterion;
use flashtrack_engine::admin::CopyMode;
use flashtrack_engine::geometry::{Geometry, VolumeType};
use flashtrack_engine::lookup::{Piece, View};
use flashtrack_engine::pace::Pace;
use flashtrack_engine::stage::Stage;
use flashtrack_engine::state::{NewRelationship, Record, Recording, Scope, State, TargetWrites};
use flashtrack_engine::units::{ByteRange, PoolId, RelationshipId, Seq, Slot, VolumeId};

use crate::stage::staged;

const BLOCK: u64 = 4 << 10;
const BLOCKS: u32 = 256 << 10;
const SOURCE: VolumeId = VolumeId(1);
const THIN: VolumeId = VolumeId(2);
const FULL: VolumeId = VolumeId(3);
const POOL: PoolId = PoolId(1);

pub(crate) fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lookup of a 4 KiB read");
    let (alone, related) = (state(false), state(true));
    let (nothing, many) = (Stage::default(), staged(SOURCE, 64 << 10));
    let cases = [
        ("volume without copies", &alone, &nothing, SOURCE),
        ("source with copies", &related, &nothing, SOURCE),
        ("source with staged writes", &related, &many, SOURCE),
        ("thin target, half preserved", &related, &many, THIN),
        ("full target that reads its source", &related, &many, FULL),
    ];
    for (name, state, stage, volume) in cases {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut block = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                // Steps that come by every block, far from the one before.
                block = (block + 100_003) % BLOCKS;
                let start = u64::from(block) * BLOCK;
                let range = ByteRange { start, end: start + BLOCK };
                pieces.clear();
                let view = View { state, stage };
                view.read(volume, range, &mut pieces).expect("no image is gone");
                black_box(&pieces);
            });
        });
    }
    group.finish();
}

/// A source, a thin and a full volume; related, if asked for, and then every second block preserved.
fn state(related: bool) -> State {
    let bytes = u64::from(BLOCKS) * BLOCK;
    let geometry = Geometry::new(VolumeType::Fb, Some(bytes), None).expect("a volume's size");
    let mut state = State::default();
    let mut apply = |seq, record| drop(state.apply(Seq(seq), &record));
    apply(0, Record::PoolCreated { id: POOL, name: "pool".to_owned(), slots: BLOCKS });
    for (id, name, pool) in
        [(SOURCE, "source", None), (THIN, "thin", Some(POOL)), (FULL, "full", None)]
    {
        let device = u16::try_from(id.0).expect("a small number");
        apply(0, Record::VolumeCreated { id, name: name.to_owned(), geometry, device, pool });
    }
    if !related {
        return state;
    }
    let pair = |id, target| NewRelationship {
        id: RelationshipId(id),
        source: SOURCE,
        target,
        source_track: 0,
        target_track: 0,
        tracks: geometry.tracks,
        mode: CopyMode::Nocopy,
        scope: Scope::Volume,
        recording: Recording::Off,
        target_writes: TargetWrites::Allowed,
        pace: Pace::default(),
    };
    let relationships = vec![pair(1, THIN), pair(2, FULL)];
    apply(1, Record::Established { at: 0, relationships, renewed: Vec::new() });
    let blocks = (0..BLOCKS / 2).map(|block| (2 * block, Slot(block))).collect();
    apply(2, Record::Preserved { source: SOURCE, pool: POOL, t0: Seq(1), blocks });
    state
}
