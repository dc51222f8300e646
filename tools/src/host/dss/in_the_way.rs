//! Relationships on tracks that a copy is to overwrite: which of them DFSMSdss withdraws first.
//!
//! For a whole volume or a run of tracks: those whose target tracks are overwritten (T1-10). For a dataset (T2-16,
//! decision D10): under `ibm` the overlapped part; under `xp7` whole those that were established for whole volumes
//! or lie inside, while one that was made with extents and is covered in part stays, so that nothing is copied.
//!
//! Invariant: what is to be withdrawn is known completely before anything is.

use std::ops::Range;

use flashtrack_engine::admin::{
    Command, CopyReport, ExtentSpec, PairSpec, Profile, Refusal, RefusalKind, WithdrawSpec,
};
use flashtrack_engine::limits::EXTENTS_PER_COMMAND;
use flashtrack_engine::units::RelationshipId;

use crate::host::control::{Control, Stop};
use crate::host::messages::Message;

/// Tracks of a volume that are to be overwritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) volume: String,
    pub(super) tracks: Range<u32>,
}

/// Something to withdraw, and how it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Withdrawal {
    spec: WithdrawSpec,
    text: String,
}

/// Of `related`, those whose target tracks the pair overwrites: of a run of tracks only those wholly inside it.
pub(super) fn on_target(pair: &PairSpec, related: &[CopyReport]) -> Vec<CopyReport> {
    let overwritten = |copy: &&CopyReport| {
        let tracks = copy.target_track..copy.target_track.saturating_add(copy.tracks);
        let inside = |extent: &ExtentSpec| {
            let end = extent.target_track.saturating_add(extent.tracks);
            extent.target_track <= tracks.start && tracks.end <= end
        };
        copy.target == pair.target && (pair.extents.is_empty() || pair.extents.iter().any(inside))
    };
    related.iter().filter(overwritten).cloned().collect()
}

/// All of them, whole.
pub(super) fn whole(copies: &[CopyReport]) -> Vec<Withdrawal> {
    copies.iter().map(whole_one).collect()
}

fn whole_one(copy: &CopyReport) -> Withdrawal {
    Withdrawal {
        spec: WithdrawSpec { id: Some(RelationshipId(copy.id)), ..WithdrawSpec::default() },
        text: format!(
            "EARLIER RELATIONSHIP {} FROM {} TO {} WITHDRAWN",
            copy.id, copy.source, copy.target
        ),
    }
}

/// What is withdrawn so that a dataset can be copied onto `spaces`.
pub(super) fn for_dataset(
    related: &[CopyReport],
    spaces: &[Space],
    profile: Profile,
) -> Result<Vec<Withdrawal>, Refusal> {
    let mut withdrawals = Vec::new();
    for copy in related {
        let overlaps = overlaps(copy, spaces);
        if overlaps.is_empty() {
            continue;
        }
        if profile == Profile::Ibm {
            withdrawals
                .extend(overlaps.chunks(EXTENTS_PER_COMMAND).map(|part| partial(copy, part)));
        } else if copy.whole || overlaps.iter().any(|part| part.tracks == copy.tracks) {
            withdrawals.push(whole_one(copy));
        } else {
            return Err(kept(copy));
        }
    }
    Ok(withdrawals)
}

/// The parts of the relationship that have source or target tracks in one of the spaces.
fn overlaps(copy: &CopyReport, spaces: &[Space]) -> Vec<ExtentSpec> {
    let mut parts = Vec::new();
    for space in spaces {
        for (volume, first) in
            [(&copy.target, copy.target_track), (&copy.source, copy.source_track)]
        {
            let start = first.max(space.tracks.start);
            let end = first.saturating_add(copy.tracks).min(space.tracks.end);
            if *volume == space.volume && start < end {
                let offset = start - first;
                parts.push(ExtentSpec {
                    source_track: copy.source_track.saturating_add(offset),
                    target_track: copy.target_track.saturating_add(offset),
                    tracks: end - start,
                });
            }
        }
    }
    parts
}

fn partial(copy: &CopyReport, parts: &[ExtentSpec]) -> Withdrawal {
    let tracks: u64 = parts.iter().map(|part| u64::from(part.tracks)).sum();
    Withdrawal {
        spec: WithdrawSpec {
            source: Some(copy.source.clone()),
            target: Some(copy.target.clone()),
            extents: parts.to_vec(),
            ..WithdrawSpec::default()
        },
        text: format!(
            "{tracks} TRACKS OF EARLIER RELATIONSHIP {} FROM {} TO {} WITHDRAWN",
            copy.id, copy.source, copy.target
        ),
    }
}

fn kept(copy: &CopyReport) -> Refusal {
    Refusal {
        kind: RefusalKind::TargetRelated,
        message: format!(
            "relationship {} from {} to {} was made with extents, and the dataset covers only a part of it: it is not \
             withdrawn",
            copy.id, copy.source, copy.target
        ),
        help: Some(
            "end it with FCWITHDR, or wait until its background copy is complete".to_owned(),
        ),
    }
}

/// Carries the withdrawals out.
pub(super) async fn withdraw(
    withdrawals: &[Withdrawal],
    control: Control<'_>,
    messages: &mut Vec<Message>,
) -> Result<(), Stop> {
    for withdrawal in withdrawals {
        let command = Command::CopyWithdraw(withdrawal.spec.clone());
        match control.copies(&command).await {
            // It has ended by itself meanwhile.
            Err(Stop::Refused(refusal)) if refusal.kind == RefusalKind::NotFound => {}
            other => {
                other?;
                messages.push(Message::info("ADR995I", withdrawal.text.clone()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::example::copy;

    fn space(volume: &str, tracks: Range<u32>) -> Space {
        Space { volume: volume.to_owned(), tracks }
    }

    fn plan(copy: &CopyReport, space: Space, profile: Profile) -> Result<Vec<WithdrawSpec>, ()> {
        let planned = for_dataset(std::slice::from_ref(copy), &[space], profile);
        planned.map(|all| all.into_iter().map(|one| one.spec).collect()).map_err(drop)
    }

    fn by_id(id: u32) -> WithdrawSpec {
        WithdrawSpec { id: Some(RelationshipId(id)), ..WithdrawSpec::default() }
    }

    #[test]
    fn t2_16_xp7_a_volume_relationship_in_the_way_is_withdrawn_whole_in_both_roles() {
        let volume = CopyReport { whole: true, ..copy(7, "a", "b") };

        assert_eq!(plan(&volume, space("a", 10..20), Profile::Xp7), Ok(vec![by_id(7)]));
        assert_eq!(plan(&volume, space("b", 110..120), Profile::Xp7), Ok(vec![by_id(7)]));
        assert_eq!(plan(&volume, space("b", 0..100), Profile::Xp7), Ok(vec![]));
        assert_eq!(plan(&volume, space("c", 0..999), Profile::Xp7), Ok(vec![]));
    }

    #[test]
    fn t2_16_xp7_one_made_with_extents_goes_only_when_it_lies_inside() {
        let extents = copy(7, "a", "b");

        assert_eq!(plan(&extents, space("b", 100..150), Profile::Xp7), Ok(vec![by_id(7)]));
        assert_eq!(plan(&extents, space("b", 100..149), Profile::Xp7), Err(()));
        assert_eq!(plan(&extents, space("a", 10..20), Profile::Xp7), Err(()));
    }

    #[test]
    fn t2_16_ibm_only_the_overlapped_part_goes() {
        let volume = CopyReport { whole: true, ..copy(7, "a", "b") };
        let part = |source_track, target_track, tracks| WithdrawSpec {
            source: Some("a".to_owned()),
            target: Some("b".to_owned()),
            extents: vec![ExtentSpec { source_track, target_track, tracks }],
            ..WithdrawSpec::default()
        };

        assert_eq!(plan(&volume, space("b", 110..120), Profile::Ibm), Ok(vec![part(10, 110, 10)]));
        assert_eq!(plan(&volume, space("a", 40..90), Profile::Ibm), Ok(vec![part(40, 140, 10)]));
    }

    #[test]
    fn a_run_of_tracks_frees_only_what_lies_inside_it() {
        let related = [copy(7, "a", "b"), copy(8, "b", "c")];
        let ids = |extents| {
            let pair = PairSpec { source: "s".to_owned(), target: "b".to_owned(), extents };
            on_target(&pair, &related).iter().map(|copy| copy.id).collect::<Vec<_>>()
        };

        assert_eq!(ids(vec![]), [7]);
        assert_eq!(ids(vec![ExtentSpec { source_track: 0, target_track: 100, tracks: 50 }]), [7]);
        assert_eq!(
            ids(vec![ExtentSpec { source_track: 0, target_track: 100, tracks: 49 }]),
            [0; 0]
        );
    }
}
