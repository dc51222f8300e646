//! The main job on a real kernel, told as it goes: copy a volume in mid-write and prove the copy right.
//!
//! The same run is the kernel test of `cargo xtask test`: every claim it prints is checked, and the
//! first that does not hold fails it.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::{Outcome, TaskError};
use crate::files::{BLOCK_BYTES, different_blocks, save_image};
use crate::kernel::{Driver, Kernel};
use crate::kernel_run::KernelRun;
use crate::process;
use crate::report::{self, Report, milliseconds};
use crate::server::Server;

/// Options of `cargo xtask demo`.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    #[command(flatten)]
    run: KernelRun,
}

/// Installs, builds, and runs the demo in namespaces of its own.
pub(crate) fn run(options: &Options) -> Outcome {
    match options.run.inside() {
        Some((driver, folder)) => Demo::new(driver, folder)?.run(),
        None => options.run.enter(&["demo"]),
    }
}

/// Size of the volumes.
const VOLUME_SIZE: &str = "1G";
/// Room for what the source changes while the thin copy lives.
const POOL_SIZE: &str = "512M";
/// fio's writes to the source: 4 KiB each, at random in a file of its own.
const FIO: &str = "fio --name=load --filename=/MOUNT/load --size=192M --rw=randwrite --bs=4k \
    --direct=1 --ioengine=libaio --iodepth=16 --rate_iops=3000 --time_based --runtime=600 \
    --refill_buffers --randrepeat=0";
/// What a thin copy may use beyond the blocks that changed, in percent.
const SPACE_PERCENT_MAX: u64 = 110;

struct Demo {
    report: Report,
    kernel: Kernel,
    server: Server,
    folder: PathBuf,
}

impl Demo {
    fn new(driver: Driver, folder: &Path) -> Outcome<Self> {
        let report = Report::new();
        report.step("Booting the kernel, starting flashtrackd on an empty store");
        let mut kernel = Kernel::start(driver, folder)?;
        let server = Server::start(folder, driver.server_address(), &[])?;
        println!(
            "           Linux {} ({}), NBD at {}",
            kernel.release()?,
            kernel.describe(),
            server.nbd()
        );
        Ok(Self { report, kernel, server, folder: folder.to_owned() })
    }

    fn run(mut self) -> Outcome {
        self.make_volumes()?;
        self.fill_source()?;
        self.report.step("fio writes to the source from now on, 4 KiB at random places");
        self.start_writing()?;
        self.thin_copy_in_mid_write()?;
        self.look_at_thin_copy()?;
        self.count_space()?;
        self.full_copy()?;
        self.withdraw()?;
        self.finish()
    }

    fn make_volumes(&mut self) -> Outcome {
        self.report.step("A source, a full target, and a thin target in a pool");
        self.command(&["pool", "create", "pool0", "--capacity", POOL_SIZE])?;
        self.command(&["volume", "create", "source", "--size", VOLUME_SIZE])?;
        self.command(&["volume", "create", "thin", "--size", VOLUME_SIZE, "--thin", "pool0"])?;
        self.command(&["volume", "create", "full", "--size", VOLUME_SIZE]).map(drop)
    }

    fn fill_source(&mut self) -> Outcome {
        self.report.step("The source gets ext4 and 48 files with known checksums");
        self.attach("source", 0)?;
        let connections = self.volume("source")?["connections"].as_u64();
        self.report.check("two connections serve the source", connections == Some(2))?;
        let device = self.kernel.device(0).to_owned();
        // Without lazy initialisation: it writes zeroes over zeroes later, blocks that are preserved
        // and yet do not differ.
        self.kernel.script(&format!(
            "mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 {device}
             mkdir -p source thin; mount {device} source
             mkdir source/kept; cd source/kept
             for n in $(seq 48); do head -c 1M /dev/urandom >file$n; done
             sha256sum * >../../before.sums; sync -f ."
        ))?;
        Ok(())
    }

    fn start_writing(&mut self) -> Outcome {
        let fio = FIO.replace("/MOUNT", "source");
        // The file is laid out first, so that the copy is made among its overwrites.
        self.kernel.script(&format!(
            "[ -e source/load ] || head -c 192M /dev/zero >source/load; sync -f source
             rm -f fio.ended
             ({fio} >fio.log 2>&1 & echo $! >fio.pid; wait; touch fio.ended) &"
        ))?;
        self.wait_for_writes()
    }

    fn thin_copy_in_mid_write(&mut self) -> Outcome {
        self.report.step("flashtrack copy establish source thin --nocopy --space-efficient");
        let words = ["copy", "establish", "source", "thin", "--nocopy", "--space-efficient"];
        let asked = Instant::now();
        self.command(&words)?;
        self.report.measure("establish, command line included", milliseconds(asked.elapsed()));
        // T0 has passed: what happens now must not be in the copy.
        self.kernel.script(
            "cd source/kept
             for n in $(seq 1 12); do head -c 1M /dev/urandom >file$n; done
             for n in $(seq 13 24); do rm file$n; done
             mkdir ../later; for n in $(seq 8); do head -c 1M /dev/urandom >../later/file$n; done
             sync -f .; sha256sum * ../later/* >../../after.sums",
        )?;
        save_image(&self.server.uri("thin"), &self.image("t0"))?;
        self.wait_for_writes()
    }

    fn look_at_thin_copy(&mut self) -> Outcome {
        self.report.step("The thin copy is attached and mounted beside the changing source");
        self.attach("thin", 1)?;
        let device = self.kernel.device(1).to_owned();
        self.kernel.script(&format!("mount {device} thin"))?;
        self.claim(
            "all 48 files in the copy have the checksums of that moment",
            "cd thin/kept; sha256sum -c --quiet ../../before.sums; [ $(ls | wc -l) = 48 ]",
        )?;
        self.claim("nothing made after the establish is in the copy", "[ ! -e thin/later ]")?;
        self.wait_for_writes()?;
        self.claim(
            "the source has its later content, while fio goes on",
            "cd source/kept; sha256sum -c --quiet ../../after.sums; [ ! -e ../../fio.ended ]",
        )?;
        self.claim(
            "e2fsck finds the copy clean after its journal's replay",
            &format!("umount thin; e2fsck -fn {device}; nbd-client -d {device}"),
        )
    }

    fn count_space(&mut self) -> Outcome {
        self.report.step("fio stops; what the copy has used is compared with what has changed");
        self.stop_writing()?;
        self.kernel.script("umount source")?;
        self.command(&["store", "drain"])?;
        save_image(&self.server.uri("source"), &self.image("now"))?;
        let changed = different_blocks(&self.image("t0"), &self.image("now"))?;
        let pool = self.pool()?;
        let preserved = number(&pool, "preserved_bytes")? / BLOCK_BYTES;
        let used = number(&pool, "used_bytes")? / BLOCK_BYTES;
        self.report.measure("blocks of 4 KiB changed since the establish", changed.to_string());
        self.report.measure(
            "blocks of 4 KiB preserved in the pool",
            format!("{preserved} ({} %)", preserved * 100 / changed.max(1)),
        );
        self.report.measure("blocks that the copy wrote itself", (used - preserved).to_string());
        self.report.check("fio has changed more than 1,000 blocks", changed > 1000)?;
        self.report.check(
            "the pool holds every changed block, and at most 1.1 times as many",
            used >= changed && preserved * 100 <= changed * SPACE_PERCENT_MAX,
        )
    }

    fn full_copy(&mut self) -> Outcome {
        self.report.step("flashtrack copy establish source full; the source is written again");
        let asked = Instant::now();
        self.command(&["copy", "establish", "source", "full"])?;
        let wait = ["copy", "wait", "--target", "full", "--timeout", "90s"];
        let mut wait = self.server.command_line(&wait);
        let wait = thread::spawn(move || process::visible(&mut wait).map(|()| asked.elapsed()));
        let device = self.kernel.device(0).to_owned();
        self.kernel.script(&format!("mount {device} source"))?;
        self.start_writing()?;
        let took = wait.join().expect("waiting for a program does not panic")?;
        self.stop_writing()?;
        let live = self.live_copies("full")?;
        self.report.check("the relationship has ended by itself", live == 0)?;
        save_image(&self.server.uri("full"), &self.image("full"))?;
        let different = different_blocks(&self.image("now"), &self.image("full"))?;
        self.report.check(
            "the full target is byte for byte the source at the establish",
            different == 0,
        )?;
        let copied = number(&self.volume("full")?, "allocated_bytes")?;
        self.report.measure("allocated by the background copy, under load", speed(copied, took));
        Ok(())
    }

    fn withdraw(&mut self) -> Outcome {
        self.report.step("flashtrack copy withdraw --source source");
        self.command(&["copy", "withdraw", "--source", "source"])?;
        let live = self.live_copies("source")?;
        self.report.check("no relationship is left", live == 0)?;
        self.command(&["store", "drain"])?;
        let preserved = number(&self.pool()?, "preserved_bytes")?;
        self.report.check("the pool preserves nothing any more", preserved == 0)
    }

    fn finish(mut self) -> Outcome {
        self.report.step("Detach, stop the server with SIGTERM");
        let device = self.kernel.device(0).to_owned();
        self.kernel
            .script(&format!("umount source; e2fsck -fn {device}; nbd-client -d {device}"))?;
        let metrics = self.server.scrape()?;
        let series = metrics.lines().filter(|line| line.starts_with("flashtrack_")).count();
        self.report.check("Prometheus finds the server's metrics", series > 0)?;
        let memory = self.server.peak_memory()?;
        self.report.measure("peak memory of flashtrackd", report::bytes(memory));
        self.kernel.stop()?;
        let code = self.server.stop()?;
        self.report.check("flashtrackd drains and exits with 0", code == Some(0))?;
        self.report.summary();
        println!(
            "\nWhere to look next: README.md (a tour by hand), `flashtrack --help`, deploy/ (systemd,\n\
             Prometheus, a dashboard, the runbook), ARCHITECTURE.md (how a write goes its way)."
        );
        Ok(())
    }

    /// Attaches the export to the `n`th device with two connections.
    fn attach(&mut self, volume: &str, n: usize) -> Outcome {
        self.kernel.attach(self.server.nbd(), volume, n)
    }

    fn stop_writing(&mut self) -> Outcome {
        self.kernel
            .script(
                "kill $(cat fio.pid)
                 while [ ! -e fio.ended ]; do sleep 0.05; done; sync -f source",
            )
            .map(drop)
    }

    /// Waits until fio has written 2,000 blocks more: it is at work, and the source changes.
    fn wait_for_writes(&mut self) -> Outcome {
        let device = self.kernel.device(0).trim_start_matches("/dev/").to_owned();
        let script = format!(
            "blocks() {{ awk '{{print int($7 / 8)}}' /sys/block/{device}/stat; }}
             goal=$(($(blocks) + 2000))
             while [ $(blocks) -lt $goal ]; do [ ! -e fio.ended ] || {{ cat fio.log; exit 1; }}; sleep 0.05; done"
        );
        self.kernel.script(&script).map(drop)
    }

    fn claim(&mut self, claim: &str, script: &str) -> Outcome {
        let (holds, output) = self.kernel.succeeds(script)?;
        if !holds {
            println!("{output}");
        }
        self.report.check(claim, holds)
    }

    fn command(&self, words: &[&str]) -> Outcome<Value> {
        self.server.flashtrack(words)
    }

    fn volume(&self, name: &str) -> Outcome<Value> {
        self.command(&["volume", "show", name])
    }

    fn pool(&self) -> Outcome<Value> {
        self.command(&["pool", "show", "pool0"])
    }

    /// Relationships of `volume` that have not ended.
    fn live_copies(&self, volume: &str) -> Outcome<usize> {
        let copies = self.command(&["copy", "list", "--volume", volume])?;
        let copies = copies.as_array().map(Vec::as_slice).unwrap_or_default();
        let target = |copy: &&Value| volume == "source" || copy["target"] == volume;
        Ok(copies.iter().filter(target).filter(|copy| copy["ended"].is_null()).count())
    }

    fn image(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.img"))
    }
}

fn number(object: &Value, key: &str) -> Outcome<u64> {
    object[key]
        .as_u64()
        .ok_or_else(|| TaskError::Unexpected(format!("no number `{key}` in {object}")))
}

/// Bytes in a time, with the rate.
fn speed(bytes: u64, time: Duration) -> String {
    let rate = u128::from(bytes) * 1000 / time.as_millis().max(1);
    let rate = u64::try_from(rate).unwrap_or(u64::MAX);
    format!("{} in {} ({}/s)", report::bytes(bytes), milliseconds(time), report::bytes(rate))
}
