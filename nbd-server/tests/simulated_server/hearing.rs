//! What comes back to clients and the administrator, judged: each request gets one reply, and it is right.

use flashtrack_engine::admin::{Answer, RefusalKind, Report};
use flashtrack_engine::sim::workload::Ask;

use crate::client::{Progress, Sent, State};
use crate::server::Happening;
use crate::truth::Truth;
use crate::wire::Heard;
use crate::world::{Commanded, World};

impl World {
    /// Bytes arrive at a client, or the end of its stream.
    pub(crate) fn deliver(&mut self, place: usize) -> Result<(), String> {
        let count = self.piece();
        let connection = &mut self.server.connections[place];
        let (bytes, ended) = (connection.output.take(count), connection.output.has_ended());
        let client = self.clients.iter_mut().find(|(_, client)| client.place == place);
        let Some((id, client)) = client.filter(|(_, client)| client.state != State::Dead) else {
            return Ok(());
        };
        let id = *id;
        let heard = client.wire.receive(&bytes).map_err(|error| format!("client {id}: {error}"))?;
        for heard in heard {
            self.heard(id, heard)?;
        }
        if ended { self.stream_ended(id) } else { Ok(()) }
    }

    fn heard(&mut self, id: u64, heard: Heard) -> Result<(), String> {
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(());
        };
        match heard {
            Heard::Chosen(size) => {
                client.state = State::Serving;
                if size != self.plan.bytes {
                    return Err(format!("an export of {size} bytes"));
                }
            }
            Heard::Refused if self.truth.shutting_down => {}
            Heard::Refused => return Err("a handshake was refused".to_owned()),
            Heard::Reply(cookie, outcome) => {
                let sent = client.waiting.remove(&cookie);
                let sent = sent.ok_or_else(|| format!("{cookie:x} is no cookie (I18)"))?;
                let answered = matches!(sent.progress, Progress::Answered(_));
                if !answered && !sent.asked.past_end && !self.truth.shutting_down {
                    return Err(format!("{sent:?} was replied to before it was answered"));
                }
                self.summary.replies += 1;
                self.flushes += u64::from(matches!(sent.asked.ask, Ask::Flush));
                let heard = self.truth.heard(&sent.asked, &outcome);
                let ok = heard.is_ok();
                self.note(|| format!("client {id} hears {cookie:x}, as promised: {ok}"));
                heard.map_err(|error| format!("client {id}, {cookie:x}: {error}"))?;
            }
        }
        Ok(())
    }

    /// The server closed: after `DISC` everything was answered; else it must be shutting down.
    fn stream_ended(&mut self, id: u64) -> Result<(), String> {
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(());
        };
        let left = client.state == State::Leaving;
        if !left && !self.truth.shutting_down {
            return Err(format!("the server closed the connection of client {id}"));
        }
        let arrived = |sent: &&Sent| sent.progress != Progress::Sent;
        let owed = |sent: &&Sent| !self.truth.shutting_down || arrived(sent);
        if let Some(sent) = client.waiting.values().find(owed) {
            return Err(format!("client {id} waits for a reply in vain (I18): {sent:?}"));
        }
        self.server.cut(client.place, 0);
        for sent in client.die(0) {
            end_unheard(&mut self.truth, &sent);
        }
        self.note(|| format!("client {id} sees the end"));
        Ok(())
    }

    /// Carries what the server gave to where it belongs.
    pub(crate) fn carry(&mut self) -> Result<(), String> {
        let mut answers = std::mem::take(&mut self.answers);
        let happenings = self.server.turn(&mut answers);
        if let Some(violation) = self.server.disk.violations().first() {
            return Err(violation.clone());
        }
        for happening in happenings {
            self.happened(happening)?;
        }
        for answer in answers.drain(..) {
            self.answered(answer)?;
        }
        self.answers = answers;
        Ok(())
    }

    fn happened(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Taken { client: id, token, action, data } => {
                self.note(|| format!("client {id}: {token:?} is {action}"));
                let Some(client) = self.clients.get_mut(&id) else {
                    return Err(format!("{action} of nobody"));
                };
                client.taken(token, &action, &data)?;
            }
            Happening::Answered { client: id, token, result } => {
                self.note(|| format!("client {id}: {token:?} ends with {result:?}"));
                let client = self.clients.get_mut(&id);
                let client = client.ok_or_else(|| format!("{token:?} of nobody"))?;
                if let Some(sent) = client.answered(token, result)? {
                    end_unheard(&mut self.truth, &sent);
                }
            }
            Happening::Gone { client: id } => {
                let client = self.clients.remove(&id);
                self.note(|| format!("client {id} is gone"));
                // What the session still held back never reaches the engine.
                for sent in client.map(|client| client.waiting).unwrap_or_default().values() {
                    end_unheard(&mut self.truth, sent);
                }
            }
        }
        Ok(())
    }

    fn answered(&mut self, answer: Answer) -> Result<(), String> {
        self.note(|| format!("answer {answer:?}"));
        let commanded = self.commanded.take().ok_or("a command was answered twice")?;
        let report = match answer.result {
            Ok(report) => report,
            Err(refusal) if refusal.kind == RefusalKind::Shutdown && self.truth.shutting_down => {
                self.interrupted = Some(commanded);
                return Ok(());
            }
            Err(refusal) => {
                let Commanded::Establish { copy, must: false } = commanded else {
                    return Err(format!("{commanded:?} was refused: {refusal}"));
                };
                self.truth.not_established(copy);
                return Ok(());
            }
        };
        match (commanded, report) {
            (Commanded::Inspect, report) => self.report = Some(report),
            (Commanded::Establish { copy, .. }, Report::Copies(copies)) => {
                let id = copies.first().ok_or("an establish that made nothing")?.id;
                self.truth.established(copy, id);
                self.summary.copies += 1;
            }
            (Commanded::Withdraw { target, number }, Report::Copies(copies)) => {
                self.truth.withdrawn(target, number, &copies)?;
            }
            (commanded, report) => return Err(format!("{report:?} answers {commanded:?}")),
        }
        Ok(())
    }
}

/// Tells the truth of a request whose reply nobody hears.
pub(crate) fn end_unheard(truth: &mut Truth, sent: &Sent) {
    match sent.progress {
        Progress::Answered(result) => truth.unheard(&sent.asked, result),
        Progress::Sent | Progress::Taken => truth.never_arrived(&sent.asked),
    }
}
