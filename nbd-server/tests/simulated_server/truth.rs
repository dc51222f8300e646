//! What was promised to clients and the administrator, and whether it is kept: the engine's naive model,
//! fed with what clients send and hear.
//!
//! - A request begins when its first byte is sent and ends when its reply is heard; who never hears
//!   goes by what the engine had answered.
//! - A request whose bytes never arrived in full is taken back: it must leave no trace (I19).

use std::collections::BTreeMap;

use flashtrack_engine::admin::{CopyMode, CopyReport};
use flashtrack_engine::request::RequestError;
use flashtrack_engine::sim::Value;
use flashtrack_engine::sim::model::{Leaves, Model, Pair, View};
use flashtrack_engine::sim::workload::Ask;
use flashtrack_engine::units::ByteRange;
use flashtrack_nbd_server::protocol::constants as nbd;

use crate::wire::Outcome;

/// `EINVAL` of the protocol.
const INVALID: u32 = 22;
/// `ENOSPC`: a write past the end.
const NO_SPACE: u32 = 28;
/// `ESHUTDOWN`.
const SHUTDOWN: u32 = 108;

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) volume: u32,
    pub(crate) ask: Ask,
    /// Number of the write, for its data.
    pub(crate) number: u32,
    /// When the question began.
    since: u64,
    /// It passes the end: the session refuses it.
    pub(crate) past_end: bool,
    /// A read after a crash: what it gives becomes the truth.
    settle: Option<View>,
    /// `REQ_ONE` was set.
    pub(crate) one_extent: bool,
}

/// A relationship, or an establish of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relationship {
    pair: Pair,
    image: usize,
    mode: CopyMode,
}

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Truth {
    pub(crate) model: Model,
    /// Sizes of the volumes in bytes.
    pub(crate) sizes: BTreeMap<u32, u64>,
    /// The thin volume.
    thin: Option<u32>,
    /// Relationships by target: a COPY may have ended by itself. With their numbers.
    pub(crate) copies: BTreeMap<u32, (u32, Relationship)>,
    /// The largest number of a relationship so far.
    newest: Option<u32>,
    /// The server is going down.
    pub(crate) shutting_down: bool,
    /// Bytes compared.
    pub(crate) compared: u64,
}

impl Truth {
    pub(crate) fn create(&mut self, volume: u32, bytes: u64, thin: bool) {
        self.model.create_volume(volume, bytes);
        self.sizes.insert(volume, bytes);
        if thin {
            self.thin = Some(volume);
        }
    }

    /// A client begins to send a request.
    pub(crate) fn begin(&mut self, volume: u32, ask: Ask, settle: Option<View>) -> Asked {
        let mut asked =
            Asked { volume, ask, number: 0, since: 0, past_end: false, settle, one_extent: false };
        asked.past_end = range(ask).is_some_and(|range| range.end > self.sizes[&volume]);
        let (range, value, certain) = match ask {
            _ if asked.past_end => return asked,
            Ask::Read(_) | Ask::Status(_) | Ask::Flush => {
                asked.since = self.model.begin_read();
                return asked;
            }
            Ask::Write(range, _) => (range, None, true),
            Ask::Trim(range, _) => (range, Some(Value::Zero), false),
            Ask::Zeroes(range, ..) => (range, Some(Value::Zero), true),
        };
        asked.number = self.model.next_number();
        let value = value.unwrap_or(Value::Data { write: asked.number, shift: 0 });
        self.model.begin_write(volume, range, asked.number, value, certain);
        asked
    }

    /// A client hears the reply.
    pub(crate) fn heard(&mut self, asked: &Asked, outcome: &Outcome) -> Result<(), String> {
        let wrong = || Err(format!("{outcome:?} is no reply to {asked:?}"));
        let wanted = match (asked.ask, asked.past_end) {
            (_, false) => 0,
            (Ask::Write(..) | Ask::Zeroes(..), true) => NO_SPACE,
            (_, true) => INVALID,
        };
        match outcome {
            Outcome::Failed(SHUTDOWN) if self.shutting_down => {
                self.unheard(asked, Err(RequestError::Shutdown));
                Ok(())
            }
            Outcome::Failed(error) if *error == wanted => Ok(()),
            Outcome::Failed(_) => wrong(),
            _ if asked.past_end => wrong(),
            Outcome::Data(bytes) => self.judge_read(asked, bytes),
            Outcome::Status(extents) => self.judge_status(asked, extents),
            Outcome::Done if matches!(asked.ask, Ask::Read(_) | Ask::Status(_)) => wrong(),
            Outcome::Done => {
                if matches!(asked.ask, Ask::Flush) {
                    self.model.flushed(asked.volume, asked.since);
                }
                self.unheard(asked, Ok(()));
                Ok(())
            }
        }
    }

    /// The engine has answered, and nobody will hear it.
    pub(crate) fn unheard(&mut self, asked: &Asked, result: Result<(), RequestError>) {
        match asked.ask {
            _ if asked.past_end => {}
            Ask::Read(_) | Ask::Status(_) | Ask::Flush => self.model.end_read(asked.since),
            Ask::Write(range, durable)
            | Ask::Trim(range, durable)
            | Ask::Zeroes(range, _, durable) => {
                if result.is_ok() {
                    self.model.end_write(asked.volume, range, asked.number, durable);
                } else {
                    self.model.doubt_write(asked.volume, range, asked.number);
                }
            }
        }
    }

    /// The request never reached the engine.
    pub(crate) fn never_arrived(&mut self, asked: &Asked) {
        match asked.ask {
            _ if asked.past_end => {}
            Ask::Read(_) | Ask::Status(_) | Ask::Flush => self.model.end_read(asked.since),
            Ask::Write(range, _) | Ask::Trim(range, _) | Ask::Zeroes(range, ..) => {
                self.model.retract_write(asked.volume, range, asked.number);
            }
        }
    }

    fn judge_read(&mut self, asked: &Asked, bytes: &[u8]) -> Result<(), String> {
        let Ask::Read(range) = asked.ask else {
            return Err(format!("data is no reply to {asked:?}"));
        };
        self.compared += range.bytes();
        match asked.settle {
            Some(view) => self.model.settle(asked.volume, range.start, bytes, view)?,
            None => self.model.judge(asked.volume, range.start, bytes, View::Live(asked.since))?,
        }
        self.model.end_read(asked.since);
        Ok(())
    }

    fn judge_status(&mut self, asked: &Asked, extents: &[(u32, u32)]) -> Result<(), String> {
        let Ask::Status(range) = asked.ask else {
            return Err(format!("extents are no reply to {asked:?}"));
        };
        let total: u64 = extents.iter().map(|(bytes, _)| u64::from(*bytes)).sum();
        let one = extents.len() == 1 && (1..=range.bytes()).contains(&total);
        let all = !asked.one_extent && total == range.bytes();
        if !one && !all {
            return Err(format!("{extents:?} do not describe {range:?}"));
        }
        let mut start = range.start;
        for (bytes, state) in extents {
            if state & nbd::STATE_ZERO != 0 {
                let zeroes = vec![0; *bytes as usize];
                self.model.judge(asked.volume, start, &zeroes, View::Live(asked.since))?;
            }
            start += u64::from(*bytes);
        }
        self.model.end_read(asked.since);
        Ok(())
    }

    /// An establish of the whole source is sent.
    pub(crate) fn begin_establish(
        &mut self,
        source: u32,
        target: u32,
        mode: CopyMode,
    ) -> Relationship {
        let bytes = self.sizes[&source];
        let pair = Pair { source, target, source_start: 0, target_start: 0, bytes };
        let image = self.model.begin_establish(&[pair], None).1[0];
        Relationship { pair, image, mode }
    }

    /// The establish was answered, or found done after a crash.
    pub(crate) fn established(&mut self, copy: Relationship, id: u32) {
        self.model.end_establish(&[copy.image]);
        self.newest = self.newest.max(Some(id));
        self.copies.insert(copy.pair.target, (id, copy));
    }

    /// The establish was refused, or found undone.
    pub(crate) fn not_established(&mut self, copy: Relationship) {
        self.model.retract_establish(&[copy.image]);
    }

    /// True when an establish onto this target must be accepted.
    pub(crate) fn is_free(&self, target: u32) -> bool {
        !self.copies.contains_key(&target)
    }

    /// A withdraw of what is on this target is sent; gives its number.
    pub(crate) fn begin_withdraw(&mut self, target: u32) -> u32 {
        let number = self.model.next_number();
        let leaves = self.leaves(target);
        if let Some((_, copy)) = self.copies.get(&target) {
            self.model.begin_withdraw(copy.image, copy.pair, number, leaves);
        }
        number
    }

    /// The withdraw was answered.
    pub(crate) fn withdrawn(
        &mut self,
        target: u32,
        number: u32,
        reports: &[CopyReport],
    ) -> Result<(), String> {
        let Some((id, copy)) = self.copies.remove(&target) else {
            return Ok(());
        };
        let report = reports.iter().find(|report| report.id == id);
        if report.is_none() && copy.mode == CopyMode::Nocopy {
            return Err(format!("relationship {id} was not withdrawn: {reports:?}"));
        }
        let leaves = self.leaves(target);
        let exact = |report: &CopyReport| leaves == Leaves::Unknown && report.tracks_left == 0;
        if report.is_none_or(exact) {
            self.model.retract_withdraw(copy.image, copy.pair, number);
        } else {
            self.model.end_withdraw(copy.pair, number, leaves);
        }
        Ok(())
    }

    /// The relationships that a crash has left, with the command that it cut short.
    pub(crate) fn reconcile(
        &mut self,
        reports: &[CopyReport],
        establishing: Option<Relationship>,
        withdrawing: Option<(u32, u32)>,
    ) -> Result<(), String> {
        let known = std::mem::take(&mut self.copies);
        for (target, (id, copy)) in known {
            let live = reports.iter().any(|report| report.id == id && report.ended.is_none());
            let withdrawal = withdrawing.filter(|(of, _)| *of == target).map(|(_, number)| number);
            match (live, withdrawal) {
                (true, Some(number)) => self.model.retract_withdraw(copy.image, copy.pair, number),
                (false, Some(number)) => {
                    let leaves = self.leaves(target);
                    self.model.end_withdraw(copy.pair, number, leaves);
                }
                (false, None) if copy.mode == CopyMode::Nocopy => {
                    return Err(format!("relationship {id} is lost"));
                }
                _ => {}
            }
            if live {
                self.copies.insert(target, (id, copy));
            }
        }
        let mut new = reports.iter().map(|one| one.id).filter(|id| Some(*id) > self.newest);
        match (establishing, new.next()) {
            (Some(copy), Some(id)) => self.established(copy, id),
            (Some(copy), None) => self.not_established(copy),
            (None, Some(id)) => return Err(format!("relationship {id} came from nowhere")),
            (None, None) => {}
        }
        self.learn(reports);
        Ok(())
    }

    /// Takes over what a list of relationships tells.
    pub(crate) fn learn(&mut self, reports: &[CopyReport]) {
        for report in reports.iter().filter(|report| report.durable && report.ended.is_none()) {
            let copy = self.copies.values().find(|(id, _)| *id == report.id);
            if let Some((_, copy)) = copy {
                self.model.image_is_durable(copy.image);
            }
        }
    }

    fn leaves(&self, target: u32) -> Leaves {
        if self.thin == Some(target) { Leaves::Zeroes } else { Leaves::Unknown }
    }
}

/// The bytes that a request is about.
pub(crate) fn range(ask: Ask) -> Option<ByteRange> {
    match ask {
        Ask::Flush => None,
        Ask::Read(range)
        | Ask::Write(range, _)
        | Ask::Trim(range, _)
        | Ask::Zeroes(range, ..)
        | Ask::Status(range) => Some(range),
    }
}
