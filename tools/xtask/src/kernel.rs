//! A Linux kernel to try the server with: the host's own, or user-mode Linux as a process.
//!
//! 1. Either way there is one shell with root's rights, and scripts are run in it one by one.
//! 2. User-mode Linux sees the host's files read-only, `/run` apart, and reaches the host by a tap device.
//! 3. A shell that says nothing for too long fails the run: nothing here waits for ever.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::error::{Outcome, TaskError};
use crate::process;
use crate::setup;

/// Which kernel attaches the volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Driver {
    /// The host's nbd driver.
    Host,
    /// A user-mode Linux guest.
    Uml,
}

impl Driver {
    /// The host's driver where there is one that can be used, else user-mode Linux.
    pub(crate) fn available() -> Self {
        let root = rustix::process::geteuid().is_root();
        let loaded = || {
            setup::present("/dev/nbd0")
                || setup::installed("modprobe")
                    && process::output(process::system("modprobe").arg("nbd")).is_ok()
                    && setup::present("/dev/nbd0")
        };
        if root && loaded() { Self::Host } else { Self::Uml }
    }

    /// As it is named on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Uml => "uml",
        }
    }

    /// Address at which the server listens for this kernel.
    pub(crate) fn server_address(self) -> &'static str {
        match self {
            Self::Host => "127.0.0.1",
            Self::Uml => TAP_HOST,
        }
    }
}

const TAP: &str = "flashtrack0";
const TAP_HOST: &str = "10.98.0.1";
const TAP_GUEST: &str = "10.98.0.2";
/// Devices that a run attaches at the same time, at most.
const DEVICES_MIN: usize = 4;
/// A script that takes longer has hung, unless it was allowed more.
const SCRIPT_SECONDS: u64 = 90;
/// A kernel that takes longer to stop has hung.
const STOP_SECONDS: u64 = 10;
/// Lines of output that a failure shows.
const LINES_SHOWN: usize = 25;

/// The shell of a running kernel.
pub(crate) struct Kernel {
    driver: Driver,
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    scripts: PathBuf,
    count: u32,
    devices: Vec<String>,
    /// A script may take so long.
    patience_seconds: u64,
}

impl Kernel {
    /// Starts the shell; `folder` is the run's own.
    ///
    /// # Errors
    /// The tap device cannot be made, or the kernel does not come up.
    pub(crate) fn start(driver: Driver, folder: &Path) -> Outcome<Self> {
        Self::with_disks(driver, folder, &[])
    }

    /// Starts the shell; a user-mode Linux guest has these files as `/dev/ubda`, `/dev/ubdb` and so on.
    ///
    /// # Errors
    /// The tap device cannot be made, or the kernel does not come up.
    pub(crate) fn with_disks(driver: Driver, folder: &Path, disks: &[PathBuf]) -> Outcome<Self> {
        let scripts = folder.join("scripts");
        let work = match driver {
            Driver::Host => folder.join("guest"),
            Driver::Uml => PathBuf::from("/run/guest"),
        };
        fs::create_dir_all(&scripts).map_err(TaskError::file(&scripts))?;
        let agent = write_script(&scripts, "agent", &agent(&work, &scripts))?;
        let mut command = match driver {
            Driver::Host => Command::new(&agent),
            Driver::Uml => {
                make_tap()?;
                let init = write_script(&scripts, "init", &guest_init(&agent))?;
                user_mode_linux(&init, folder, disks)
            }
        };
        let log = folder.join("kernel.log");
        let errors = fs::File::create(&log).map_err(TaskError::file(&log))?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|source| process::start(&command, source))?;
        let stdin = child.stdin.take().expect("the standard input was asked for as a pipe");
        let lines = read_lines(child.stdout.take().expect("the output was asked for as a pipe"));
        let mut kernel = Self {
            driver,
            child,
            stdin,
            lines,
            scripts,
            count: 0,
            devices: Vec::new(),
            patience_seconds: SCRIPT_SECONDS,
        };
        kernel.script("true")?;
        kernel.devices = kernel.free_devices()?;
        Ok(kernel)
    }

    /// The kernel's release, such as `6.1.0`.
    pub(crate) fn release(&mut self) -> Outcome<String> {
        Ok(self.script("uname -r")?.trim().to_owned())
    }

    /// Lets every script from now on take at most so many seconds.
    pub(crate) fn allow(&mut self, seconds: u64) {
        self.patience_seconds = seconds;
    }

    /// The `n`th nbd device that this run may use.
    pub(crate) fn device(&self, n: usize) -> &str {
        &self.devices[n]
    }

    /// Attaches the export `volume` at `server` to the `n`th device, with two connections.
    pub(crate) fn attach(&mut self, server: SocketAddr, volume: &str, n: usize) -> Outcome {
        let (address, port, device) = (server.ip(), server.port(), self.device(n));
        let connect = format!("nbd-client {address} {port} {device} -N {volume} -b 4096 -C 2");
        self.script(&connect).map(drop)
    }

    /// Runs `text` with `sh -e` and gives what it printed, its errors included.
    ///
    /// # Errors
    /// It ends with another status than 0, or not in the time that is allowed: 90 seconds.
    pub(crate) fn script(&mut self, text: &str) -> Outcome<String> {
        let (status, output) = self.run(text)?;
        if status == "0" {
            return Ok(output);
        }
        Err(TaskError::Failed { command: text.trim().to_owned(), status, output })
    }

    /// Whether `text`, run with `sh -e`, ends with status 0; with what it printed.
    pub(crate) fn succeeds(&mut self, text: &str) -> Outcome<(bool, String)> {
        self.run(text).map(|(status, output)| (status == "0", output))
    }

    fn run(&mut self, text: &str) -> Outcome<(String, String)> {
        self.count += 1;
        let name = format!("step-{}", self.count);
        write_script(&self.scripts, &name, &format!("#!/bin/sh -e\n{text}\n"))?;
        writeln!(self.stdin, "{name}")
            .and_then(|()| self.stdin.flush())
            .map_err(TaskError::file(&self.scripts.join(&name)))?;
        let end = format!("@end-of {name} ");
        let deadline = Instant::now() + Duration::from_secs(self.patience_seconds);
        let mut output: Vec<String> = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match line.strip_prefix(&end) {
                    Some(status) => return Ok((status.to_owned(), output.join("\n"))),
                    None => output.push(line),
                },
                Err(reason) => return Err(self.silent(reason, text, &output)),
            }
        }
    }

    fn silent(&self, reason: RecvTimeoutError, text: &str, output: &[String]) -> TaskError {
        let last = output.len().saturating_sub(LINES_SHOWN);
        let output = output[last..].join("\n");
        let what = format!("in the kernel's shell `{}`", text.trim());
        match reason {
            RecvTimeoutError::Timeout => {
                TaskError::Late { what, seconds: self.patience_seconds, output }
            }
            RecvTimeoutError::Disconnected => TaskError::Failed {
                command: what,
                status: "the kernel or its shell has ended".to_owned(),
                output,
            },
        }
    }

    fn free_devices(&mut self) -> Outcome<Vec<String>> {
        let listed = self.script(
            "for n in /sys/block/nbd*; do [ -e $n/pid ] || echo /dev/${n##*/}; done | sort -V",
        )?;
        let devices: Vec<String> = listed.lines().map(str::to_owned).collect();
        if devices.len() >= DEVICES_MIN {
            return Ok(devices);
        }
        Err(TaskError::Missing {
            missing: format!("{DEVICES_MIN} unused nbd devices (there are {})", devices.len()),
            help: "Disconnect some, or load the driver with more: modprobe nbd nbds_max=16".into(),
        })
    }

    /// Ends the kernel, or the shell on the host's.
    ///
    /// # Errors
    /// It is still there after ten seconds.
    pub(crate) fn stop(mut self) -> Outcome {
        let name = self.scripts.join("agent");
        // The pipe stays open: a guest whose console hangs up does not get as far as powering off.
        writeln!(self.stdin, "end").map_err(TaskError::file(&name))?;
        process::ended_within(&mut self.child, STOP_SECONDS, "stopping the kernel").map(drop)
    }

    /// Which kernel this is, in words.
    pub(crate) fn describe(&self) -> &'static str {
        match self.driver {
            Driver::Host => "the host's own kernel",
            Driver::Uml => "a user-mode Linux guest",
        }
    }
}

fn write_script(folder: &Path, name: &str, text: &str) -> Outcome<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    fs::write(&path, text)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
        .map_err(TaskError::file(&path))?;
    Ok(path)
}

/// The shell: reads the name of a script, runs it, says how it ended.
fn agent(work: &Path, scripts: &Path) -> String {
    format!(
        "#!/bin/sh\n\
         export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         mkdir -p {work}; cd {work}\n\
         while read -r name; do\n\
         \x20 [ \"$name\" = end ] && exit 0\n\
         \x20 sh -e {scripts}/$name </dev/null 2>&1\n\
         \x20 echo \"@end-of $name $?\"\n\
         done\n",
        work = work.display(),
        scripts = scripts.display()
    )
}

/// What the guest runs as its first process. `nosuid`: to a guest of an ordinary user, the host's root
/// is somebody else, and a set-user-ID program such as `mount` would lose its rights by it.
fn guest_init(agent: &Path) -> String {
    format!(
        "#!/bin/sh\n\
         export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run\n\
         busybox mount -t proc proc /proc; busybox mount -o remount,nosuid /\n\
         mount -t sysfs sys /sys\n\
         mount -t devtmpfs dev /dev 2>/dev/null; mount -t tmpfs run /run\n\
         stty -echo -onlcr; dmesg -n 1\n\
         ip link set lo up; ip addr add {TAP_GUEST}/30 dev vec0; ip link set vec0 up\n\
         busybox insmod $(find /usr/lib/uml/modules/$(uname -r) -name nbd.ko) nbds_max={DEVICES_MIN}\n\
         {agent}\n\
         busybox poweroff -f\n",
        agent = agent.display()
    )
}

fn user_mode_linux(init: &Path, folder: &Path, disks: &[PathBuf]) -> Command {
    let mut command = Command::new("linux.uml");
    command
        .args(["mem=512M", "rootfstype=hostfs", "rootflags=/", "root=/dev/root", "ro", "quiet"])
        .arg(format!("init={}", init.display()))
        .arg(format!("vec0:transport=tap,ifname={TAP},depth=128,gro=1"))
        .arg(format!("uml_dir={}", folder.display()))
        .args(["con=null", "con0=fd:0,fd:1"])
        .args(disks.iter().enumerate().map(|(n, disk)| format!("ubd{n}={}", disk.display())));
    // The guest's memory is a file: in memory where there is such a file system.
    command.env("TMPDIR", if setup::present("/dev/shm") { Path::new("/dev/shm") } else { folder });
    command
}

/// A tap device in the run's own network namespace.
fn make_tap() -> Outcome {
    let address = format!("{TAP_HOST}/30");
    for words in [
        vec!["link", "set", "lo", "up"],
        vec!["tuntap", "add", "dev", TAP, "mode", "tap"],
        vec!["addr", "add", &address, "dev", TAP],
        vec!["link", "set", TAP, "up"],
    ] {
        process::output(process::system("ip").args(words))?;
    }
    Ok(())
}

fn read_lines(stdout: std::process::ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    receiver
}
