//! The end of the server, expected or not, and what new clients find when it is back.

use flashtrack_engine::admin::{Command, Report};
use flashtrack_engine::sim::model::View;
use flashtrack_engine::sim::workload::Ask;
use flashtrack_engine::units::ByteRange;

use crate::client::Progress;
use crate::hearing::end_unheard;
use crate::world::{Commanded, NAMES, World};

/// How much an audit reads at once.
const AUDIT_BYTES: u64 = 32 << 10;

impl World {
    /// The process or the machine dies; everything is opened again and read.
    pub(crate) fn crash(&mut self, power_cut: bool) -> Result<(), String> {
        self.note(|| format!("crash, power cut: {power_cut}"));
        for (_, client) in std::mem::take(&mut self.clients) {
            for sent in client.waiting.values().filter(|sent| sent.progress != Progress::Taken) {
                end_unheard(&mut self.truth, sent);
            }
        }
        self.interrupted = self.commanded.take();
        let view = self.reopen(power_cut)?;
        self.audit(Some(view))
    }

    /// The server goes down in order: everything is durable, and stays so.
    pub(crate) fn shut_down(&mut self) -> Result<(), String> {
        self.note(|| "shutdown".to_owned());
        self.truth.shutting_down = true;
        self.server.begin_shutdown();
        self.until(|world| {
            world.server.engine.is_shut_down() && world.server.connections.is_empty()
        })?;
        self.truth.shutting_down = false;
        if self.server.disk.in_flight() > 0 || self.commanded.is_some() {
            return Err("shut down with work in flight".to_owned());
        }
        let since = self.truth.model.begin_read();
        let volumes: Vec<u32> = self.truth.sizes.keys().copied().collect();
        for volume in volumes {
            self.truth.model.flushed(volume, since);
        }
        let power_cut = self.prng.once_in(2);
        self.reopen(power_cut)?;
        self.audit(None)
    }

    /// Opens the store again and learns which relationships there are.
    fn reopen(&mut self, power_cut: bool) -> Result<View, String> {
        self.truth.model.crash();
        if power_cut {
            self.server.disk.cut_power();
        } else {
            self.server.disk.kill();
        }
        let opened = self.server.reopen(&self.options);
        opened.map_err(|error| format!("the store does not open: {error}"))?;
        self.summary.openings += 1;
        let (mut establishing, mut withdrawing) = (None, None);
        match self.interrupted.take() {
            Some(Commanded::Establish { copy, .. }) => establishing = Some(copy),
            Some(Commanded::Withdraw { target, number }) => withdrawing = Some((target, number)),
            Some(Commanded::Inspect) | None => {}
        }
        let Report::Copies(copies) = self.inspect(Command::CopyList { volume: None })? else {
            return Err("no list of relationships".to_owned());
        };
        self.truth.reconcile(&copies, establishing, withdrawing)?;
        let since = self.truth.model.begin_read();
        self.truth.model.end_read(since);
        Ok(if power_cut { View::AfterPowerCut } else { View::Live(since) })
    }

    /// New clients read every volume; with a view, what they get becomes the truth.
    pub(crate) fn audit(&mut self, settle: Option<View>) -> Result<(), String> {
        for name in NAMES {
            let id = self.connect(name);
            let size = self.plan.bytes;
            let Some(client) = self.clients.get_mut(&id) else {
                continue;
            };
            for start in (0..size).step_by(usize::try_from(AUDIT_BYTES).unwrap_or(1)) {
                let range = ByteRange { start, end: size.min(start + AUDIT_BYTES) };
                client.script.push_back((Ask::Read(range), settle));
            }
        }
        self.quiet()
    }
}
