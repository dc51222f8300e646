//! Commands on their way: what each does to the model until its answer comes, and what that answer may be.
//!
//! What is done to the model here is confirmed in `answers` when the command was carried out, and taken back when it
//! was refused; of a command that a crash interrupted `crash` finds out.

use std::collections::BTreeSet;

use super::directory::{CopyKind, KnownCopy, Verdict};
use super::model::{Leaves, Pair};
use super::parts::Part;
use super::world::World;
use crate::admin::{
    Command, CopyMode, EstablishAction, EstablishSpec, Freeze, Incremental, WithdrawSpec,
};

/// A command that is in flight.
#[derive(Clone, Debug)]
pub(super) enum Commanded {
    PoolCreate {
        name: String,
        may_fill: bool,
    },
    PoolDelete {
        name: String,
    },
    VolumeCreate {
        name: String,
        must: bool,
    },
    VolumeDelete {
        volume: u32,
        verdict: Verdict,
    },
    Establish {
        pairs: Vec<Pair>,
        images: Vec<usize>,
        kind: CopyKind,
        verdict: Verdict,
        /// The relationship that gets a new T0.
        renewed: Option<u32>,
        /// What a fast reverse restore may leave anything on: an image, where it lies, and by which number.
        emptied: Option<(usize, Pair, u32)>,
        /// Its sources' writes are held from then on, in microseconds.
        freezes: Option<u64>,
    },
    /// The relationships that it ends, with the number of the withdraw.
    Withdraw {
        copies: Vec<(u32, u32)>,
        /// Those that go on in part.
        parts: Vec<Part>,
        /// It may be refused.
        lenient: bool,
    },
    /// The relationships that the list must show.
    CopyList {
        must: Vec<u32>,
    },
    /// Pools, which must be empty when nothing uses them.
    PoolList {
        unused: bool,
    },
    Thaw,
    Convert,
    Other,
    /// The answer is kept for the world (see `World::inspect`).
    Inspect,
}

impl World {
    /// What the command does to the model while it is in flight, and what its answer may be.
    pub(super) fn expect(&mut self, command: &Command) -> Commanded {
        match command {
            Command::PoolCreate { name, capacity_bytes } => {
                Commanded::PoolCreate { name: name.clone(), may_fill: *capacity_bytes < 64 << 20 }
            }
            Command::PoolDelete { name } => Commanded::PoolDelete { name: name.clone() },
            Command::VolumeCreate(spec) => {
                let must = self.commanded.is_empty();
                Commanded::VolumeCreate { name: spec.name.clone(), must }
            }
            Command::VolumeDelete { name } => {
                let volume = self.directory.volume_named(name).map_or(u32::MAX, |(id, _)| id);
                let verdict = self.judge_delete(volume);
                if let Some(known) = self.directory.volumes.get_mut(&volume) {
                    known.usable = false;
                }
                Commanded::VolumeDelete { volume, verdict }
            }
            Command::CopyEstablish(spec) => self.expect_establish(spec),
            Command::CopyConvert { source } => {
                self.convert(source);
                Commanded::Convert
            }
            Command::Thaw { .. } => {
                self.directory.frozen.clear();
                Commanded::Thaw
            }
            Command::CopyWithdraw(spec) if !spec.extents.is_empty() => self.expect_split(spec),
            Command::CopyWithdraw(selector) => self.expect_withdraw(selector),
            Command::DatasetDefine { name, extents } => {
                self.directory.datasets.insert(name.clone(), extents.clone());
                Commanded::Other
            }
            Command::DatasetCopy(spec) => self.expect_dataset_copy(spec),
            Command::CopyList { volume: None } => {
                let certain = |copy: &KnownCopy| !copy.ends_itself && !copy.leaving && !copy.failed;
                let copies = self.directory.copies.iter().filter(|(_, copy)| certain(copy));
                Commanded::CopyList { must: copies.map(|(id, _)| *id).collect() }
            }
            Command::PoolList {} => {
                let thin = self.directory.volumes.values().any(|volume| volume.pool.is_some());
                Commanded::PoolList { unused: !thin && self.directory.copies.is_empty() }
            }
            _ => Commanded::Other,
        }
    }

    fn expect_establish(&mut self, spec: &EstablishSpec) -> Commanded {
        let renewed = self.renewed_by(spec);
        let verdict = match renewed {
            Some(_) => Verdict::Either,
            None if spec.action != EstablishAction::Establish => Verdict::Either,
            None => self.directory.judge_establish(spec, self.commanded.is_empty()),
        };
        let pairs = self.directory.pairs(spec).unwrap_or_default();
        let emptied = self.emptied_by(spec, renewed);
        let without = emptied.map(|(.., number)| number);
        let images = match verdict {
            Verdict::Refuse => Vec::new(),
            Verdict::Accept | Verdict::Either => self.model.begin_establish(&pairs, without).1,
        };
        if spec.incremental == Incremental::Yes {
            self.directory.inhibited.extend(pairs.iter().map(|pair| pair.target));
        }
        if renewed.is_some() {
            // What inhibits one target inhibits the other one after a reversal.
            let of_pair = |pair: &Pair| [pair.source, pair.target];
            let volumes: Vec<u32> = pairs.iter().flat_map(of_pair).collect();
            if volumes.iter().any(|volume| self.directory.inhibited.contains(volume)) {
                self.directory.inhibited.extend(volumes);
            }
        }
        let records = match (renewed.and_then(|id| self.directory.copies.get(&id)), spec.action) {
            (Some(copy), EstablishAction::Refresh) => copy.kind.incremental,
            (Some(copy), _) if copy.kind.incremental => true,
            _ => matches!(spec.incremental, Incremental::Yes | Incremental::TargetWritable),
        };
        let kind = CopyKind {
            mode: spec.mode,
            incremental: records && spec.incremental != Incremental::Last,
            whole: spec.pairs.iter().all(|pair| pair.extents.is_empty()),
        };
        let holds = spec.freeze == Freeze::HoldWrites;
        let until_us =
            self.now.monotonic_us + u64::from(self.directory.policy.freeze_seconds) * 1_000_000;
        Commanded::Establish {
            pairs,
            images,
            kind,
            verdict,
            renewed,
            emptied,
            freezes: holds.then_some(until_us),
        }
    }

    /// After a fast reverse restore the old target misses what was never copied to it (semantics 3.4).
    fn emptied_by(
        &mut self,
        spec: &EstablishSpec,
        renewed: Option<u32>,
    ) -> Option<(usize, Pair, u32)> {
        if spec.action != EstablishAction::FastReverse {
            return None;
        }
        let copy = self.directory.copies.get(&renewed?)?;
        let (image, pair) = (copy.image, copy.pair);
        let number = self.model.next_number();
        self.model.begin_withdraw(image, pair, number, Leaves::Unknown);
        Some((image, pair, number))
    }

    /// There was no fast reverse restore.
    pub(super) fn not_emptied(&mut self, emptied: Option<(usize, Pair, u32)>) {
        if let Some((image, pair, number)) = emptied {
            self.model.retract_withdraw(image, pair, number);
        }
    }

    /// The relationship of whole volumes that the command takes to a new T0.
    fn renewed_by(&self, spec: &EstablishSpec) -> Option<u32> {
        let plain = spec.action == EstablishAction::Establish;
        if plain && spec.incremental == Incremental::No {
            return None;
        }
        let [pair] = &spec.pairs[..] else { return None };
        let (source, _) = self.directory.volume_named(&pair.source)?;
        let (target, _) = self.directory.volume_named(&pair.target)?;
        let same = |pair: &Pair| (pair.source, pair.target) == (source, target);
        let reversed = |pair: &Pair| (pair.target, pair.source) == (source, target);
        let meant = |copy: &KnownCopy| match spec.action {
            EstablishAction::Establish => {
                copy.kind.incremental && (same(&copy.pair) || reversed(&copy.pair))
            }
            EstablishAction::Refresh => same(&copy.pair),
            EstablishAction::Reverse | EstablishAction::FastReverse => reversed(&copy.pair),
        };
        // An older one may have ended by itself, unseen.
        let mut copies = self.directory.copies.iter().rev();
        copies.find(|(_, copy)| copy.kind.whole && meant(copy)).map(|(id, _)| *id)
    }

    /// The NOCOPY relationships of a source may end by themselves from now on.
    pub(super) fn convert(&mut self, source: &str) {
        let Some((source, _)) = self.directory.volume_named(source) else { return };
        let thin: BTreeSet<u32> = self
            .directory
            .volumes
            .iter()
            .filter(|(_, known)| known.pool.is_some())
            .map(|(id, _)| *id)
            .collect();
        for copy in self.directory.copies.values_mut() {
            if copy.pair.source == source && !thin.contains(&copy.pair.target) {
                copy.kind.mode = CopyMode::Copy;
                copy.ends_itself = !copy.kind.incremental;
            }
        }
    }

    fn expect_withdraw(&mut self, spec: &WithdrawSpec) -> Commanded {
        let number = self.model.next_number();
        let named = |volume: u32, name: &String| {
            self.directory.volumes.get(&volume).is_some_and(|known| known.name == *name)
        };
        let meant: Vec<u32> = self
            .directory
            .copies
            .iter()
            .filter(|(id, copy)| {
                spec.id.is_none_or(|wanted| wanted.0 == **id)
                    && spec.source.as_ref().is_none_or(|name| {
                        named(copy.pair.source, name) || spec.ddsw && named(copy.pair.target, name)
                    })
                    && spec.target.as_ref().is_none_or(|name| named(copy.pair.target, name))
            })
            .filter(|(_, copy)| !copy.leaving)
            // With DDSW only those end at once that have the volume as their target.
            .filter(|(_, copy)| {
                !spec.ddsw || spec.source.as_ref().is_none_or(|name| named(copy.pair.target, name))
            })
            .map(|(id, _)| *id)
            .collect();
        for id in &meant {
            let leaves =
                self.directory.copies.get(id).map(|copy| self.directory.leaves(copy.pair.target));
            if let (Some(copy), Some(leaves)) = (self.directory.copies.get_mut(id), leaves) {
                copy.leaving = true;
                self.model.begin_withdraw(copy.image, copy.pair, number, leaves);
            }
        }
        if let (true, Some(source)) = (spec.ddsw, &spec.source) {
            self.convert(source);
        }
        Commanded::Withdraw {
            parts: Vec::new(),
            lenient: spec.ddsw,
            copies: meant.into_iter().map(|id| (id, number)).collect(),
        }
    }

    fn judge_delete(&self, volume: u32) -> Verdict {
        let related = |copy: &&KnownCopy| copy.pair.source == volume || copy.pair.target == volume;
        let certain = |copy: &KnownCopy| !copy.ends_itself && !copy.leaving;
        if self.directory.copies.values().filter(related).any(certain) {
            Verdict::Refuse
        } else if self.commanded.is_empty()
            && !self.directory.copies.values().any(|copy| related(&copy))
        {
            Verdict::Accept
        } else {
            Verdict::Either
        }
    }
}
