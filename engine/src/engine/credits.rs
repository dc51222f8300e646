//! Slot credits: nothing fails for want of a slot after it was answered (rule O7).
//!
//! A credit is the promise of one slot, taken before the frame is appended that will need it. A thin volume's
//! write without credit is refused; a source's write goes on, and the copies that it would need a slot for fail, by a
//! record before the frame (W3).

use super::Engine;
use crate::request::RequestError;
use crate::state::{Backing, Health, Record};
use crate::units::{Block, ByteRange, RelationshipId, VolumeId};

impl Engine {
    /// Takes a credit for every block that the write makes a thin volume's own.
    pub(super) fn take_own_credits(
        &mut self,
        id: VolumeId,
        range: ByteRange,
    ) -> Result<(), RequestError> {
        let Some(volume) = self.state.volumes.get_mut(&id) else {
            return Ok(());
        };
        let Backing::Thin(thin) = &mut volume.backing else {
            return Ok(());
        };
        let needed: Vec<u32> = range
            .blocks()
            .filter(|&block| !thin.owns(Block(block)) && !thin.owed.contains(block))
            .collect();
        let Some(pool) = self.state.pools.get_mut(&thin.pool) else {
            return Ok(());
        };
        if !pool.allocator.take_credits(needed.len() as u64) {
            return Err(RequestError::NoSpace);
        }
        for block in needed {
            thin.owed.set(block..block + 1);
        }
        Ok(())
    }

    /// Takes a credit in each pool for every block that must be preserved before home may advance;
    /// copies for which there is none fail (rule O7).
    pub(super) fn take_preserve_credits(&mut self, id: VolumeId, range: ByteRange) {
        let mut failed: Vec<RelationshipId> = Vec::new();
        for (&pool_id, pool) in &mut self.state.pools {
            let Some(chain) = pool.chains.get_mut(&id) else {
                continue;
            };
            for block in range.blocks().map(Block) {
                // Two questions in one search, `needs_charge` among them: nearly every write gets here.
                if pool.allocator.free_slots() > 0 {
                    if chain.charge(block) {
                        pool.allocator.take_credits(1);
                        self.stats.first_writes += 1;
                    }
                    continue;
                }
                if !chain.needs_charge(block) {
                    continue;
                }
                let unserved = chain.unserved(block);
                for (&relationship, known) in &mut self.state.relationships {
                    let concerned = known.health == Health::Good
                        && known.pool == Some(pool_id)
                        && known.pair.source == id
                        && unserved.contains(&known.t0);
                    if concerned {
                        known.health = Health::Failing;
                        failed.push(relationship);
                    }
                }
            }
        }
        if !failed.is_empty() {
            self.append(Record::Failed { ids: failed }, None);
        }
    }
}
