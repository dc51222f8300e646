//! Debian packages and Rust components that the tasks use: installs what is missing, saying so.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::error::{Outcome, TaskError};
use crate::process;

/// A program that a task runs, and the Debian package that has it.
pub(crate) struct Tool {
    program: &'static str,
    package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// What a run with a real kernel needs, the kernel itself apart.
pub(crate) const KERNEL_RUN: &[Tool] = &[
    tool("nbd-client", "nbd-client"),
    tool("nbdcopy", "libnbd-bin"),
    tool("fio", "fio"),
    tool("mkfs.ext4", "e2fsprogs"),
    tool("busybox", "busybox"),
    tool("ip", "iproute2"),
    tool("unshare", "util-linux"),
];
/// A Linux kernel that runs as a process, for hosts without an nbd driver.
pub(crate) const USER_MODE_LINUX: &[Tool] = &[tool("linux.uml", "user-mode-linux")];
/// What the tests compare with or check by.
pub(crate) const TESTS: &[Tool] = &[
    tool("nbdinfo", "libnbd-bin"),
    tool("nbdkit", "nbdkit"),
    tool("qemu-nbd", "qemu-utils"),
    tool("qemu-img", "qemu-utils"),
    tool("promtool", "prometheus"),
    tool("prometheus", "prometheus"),
    tool("systemd-analyze", "systemd"),
    tool("mkfs.ext4", "e2fsprogs"),
    tool("mkfs.xfs", "xfsprogs"),
    tool("mkfs.btrfs", "btrfs-progs"),
];
/// What the side-by-side runs measure with and beside; nbd-server apart, see `bench`.
pub(crate) const BENCH: &[Tool] = &[
    tool("fio", "fio"),
    tool("nbdkit", "nbdkit"),
    tool("qemu-nbd", "qemu-utils"),
    // Until Debian 12; later it comes with qemu-utils.
    tool("qemu-storage-daemon", "qemu-system-common"),
];
/// What the guest needs for the copies that Linux itself makes.
pub(crate) const GUEST: &[Tool] = &[tool("dmsetup", "dmsetup")];

/// Where Debian keeps the programs of each major version of PostgreSQL.
const POSTGRES: &str = "/usr/lib/postgresql";
const POSTGRES_PACKAGES: &[&str] = &["postgresql", "postgresql-contrib"];
/// Read by the package when it is about to make a cluster and to start it.
const POSTGRES_SETTINGS: &str = "/etc/postgresql-common/createcluster.d/flashtrack.conf";

/// Installs everything that any task uses.
pub(crate) fn everything() -> Outcome {
    for tools in [KERNEL_RUN, USER_MODE_LINUX, TESTS, BENCH, GUEST] {
        packages(tools)?;
    }
    postgres()?;
    rust_components()?;
    println!("Everything that the tasks use is installed.");
    Ok(())
}

/// Installs the packages of those `tools` that are not there.
///
/// # Errors
/// They cannot be installed: says which are missing and how to get them.
pub(crate) fn packages(tools: &[Tool]) -> Outcome {
    let mut missing: Vec<&str> =
        tools.iter().filter(|tool| !installed(tool.program)).map(|tool| tool.package).collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Installing Debian packages: {}", missing.join(" "));
    let result = apt_get(&["update", "-q"]).and_then(|()| {
        let mut words = vec!["install", "-q", "-y", "--no-install-recommends"];
        words.extend(&missing);
        apt_get(&words)
    });
    let absent: Vec<&str> =
        tools.iter().map(|tool| tool.program).filter(|program| !installed(program)).collect();
    match result {
        Ok(()) if absent.is_empty() => Ok(()),
        outcome => {
            let reason = outcome.err().map(|error| format!(" ({error})")).unwrap_or_default();
            Err(TaskError::Missing {
                missing: absent.join(", "),
                help: format!(
                    "Install as root: apt-get install --no-install-recommends {}{reason}",
                    missing.join(" ")
                ),
            })
        }
    }
}

/// Installs PostgreSQL with `pgbench` and `amcheck`, and no server: none is made or started by it.
///
/// # Errors
/// It cannot be installed: says how to get it.
pub(crate) fn postgres() -> Outcome {
    if postgres_installed() {
        return Ok(());
    }
    let packages = POSTGRES_PACKAGES.join(" ");
    println!("Installing Debian packages, without a server that runs: {packages}");
    let script = format!(
        "mkdir -p $(dirname {POSTGRES_SETTINGS})
         echo 'create_main_cluster = false' >{POSTGRES_SETTINGS}
         apt-get update -q && apt-get install -q -y --no-install-recommends {packages}
         status=$?; rm {POSTGRES_SETTINGS}; exit $status"
    );
    let result = process::visible(as_root("sh").args(["-c", &script]));
    if result.is_ok() && postgres_installed() {
        return Ok(());
    }
    let reason = result.err().map(|error| format!(" ({error})")).unwrap_or_default();
    Err(TaskError::Missing {
        missing: "PostgreSQL with pgbench and amcheck".to_owned(),
        help: format!(
            "Install as root: apt-get install --no-install-recommends {packages}; the cluster \
             that it makes is not used{reason}"
        ),
    })
}

fn postgres_installed() -> bool {
    let Ok(versions) = fs::read_dir(POSTGRES) else { return false };
    versions.flatten().any(|version| {
        let programs = version.path().join("bin");
        ["initdb", "postgres", "psql", "pgbench", "pg_amcheck"]
            .iter()
            .all(|program| programs.join(program).exists())
            && version.path().join("lib/amcheck.so").exists()
    })
}

/// Installs rustfmt and clippy for the toolchain in use.
///
/// # Errors
/// They are missing and `rustup` cannot add them.
pub(crate) fn rust_components() -> Outcome {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if process::output(Command::new("cargo").args([subcommand, "--version"])).is_ok() {
            continue;
        }
        println!("Installing the Rust component {component}");
        process::visible(Command::new("rustup").args(["component", "add", component])).map_err(
            |error| TaskError::Missing {
                missing: component.to_owned(),
                help: format!("Install it: rustup component add {component} ({error})"),
            },
        )?;
    }
    Ok(())
}

/// True when `program` is on the path, or where Debian keeps the administrator's programs.
pub(crate) fn installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(Into::into));
    folders.iter().any(|folder| folder.join(program).exists())
}

fn apt_get(words: &[&str]) -> Outcome {
    if !installed("apt-get") {
        return Err(TaskError::Unexpected("this is not Debian: there is no apt-get".to_owned()));
    }
    process::visible(as_root("apt-get").args(words))
}

/// `program` with the administrator's rights, and told that nobody answers questions.
fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        let mut command = Command::new(program);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        return command;
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["DEBIAN_FRONTEND=noninteractive", program]);
    sudo
}

/// True when `path` is there, for optional parts of the system such as `/dev/shm`.
pub(crate) fn present(path: &str) -> bool {
    Path::new(path).exists()
}
