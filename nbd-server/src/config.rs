//! Flags and configuration file into one checked `Config`.
//!
//! Both have the same names, described once in `Settings`; a flag wins over the file, the file over the
//! default. A key that is not known is refused with its line.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Parser;
use flashtrack_engine::admin::Profile;
use flashtrack_engine::io::local::{IoMode, Reflink};
use flashtrack_engine::limits;
use flashtrack_engine::pace::Pace;
use flashtrack_engine::policy::Policy;
use serde::{Deserialize, Deserializer};

use crate::log::{LogLevel, LogTarget};

/// Where the NBD server listens unless told otherwise: the port registered for NBD.
const NBD_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 10_809);
/// Where the metrics are unless told otherwise.
const METRICS_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9810);
/// Mode of the control socket: who may connect may do everything.
const CONTROL_MODE_DEFAULT: SocketMode = SocketMode(0o600);
/// Mode of the NBD socket.
const UNIX_MODE_DEFAULT: SocketMode = SocketMode(0o660);
/// Size of a new store's journal.
const JOURNAL_BYTES_DEFAULT: ByteSize = ByteSize(1 << 30);
/// Most workers that may be asked for.
const WORKERS_MAX: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// Most workers unless told otherwise: they share one engine, which more of them would wait for.
const WORKERS_DEFAULT_MAX: NonZeroUsize = NonZeroUsize::new(4).unwrap();
/// NBD connections unless told otherwise.
const CONNECTIONS_MAX_DEFAULT: usize = 1024;

/// Serve Flashtrack's volumes over NBD.
///
/// Initialises an empty store by itself. SIGTERM and SIGINT end it in order: what is under way is answered and
/// everything is synced; a second one ends it at once.
#[derive(Clone, Debug, Default, Deserialize, Parser)]
#[command(name = "flashtrackd", version, max_term_width = 100)]
#[command(after_help = "\
When it serves, it prints where on standard output, one address a line, then `ready`:
  nbd tcp 127.0.0.1:10809
  nbd unix /run/flashtrack/nbd.sock
  control /var/lib/flashtrack/control.sock
  metrics http://127.0.0.1:9810/metrics
  ready

Exit codes: 0 ended in order, 1 cannot start, 2 bad usage or configuration, 3 failed while serving,
4 ended by a second signal (as after a crash, nothing that was flushed is lost).

Every option but --config can stand in the configuration file, under its name without the dashes:
  store = \"/var/lib/flashtrack\"
  listen = [\"127.0.0.1:10809\", \"[::1]:10809\"]
  journal-size = \"1G\"

Example: flashtrackd --store /var/lib/flashtrack --unix /run/flashtrack/nbd.sock")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Directory of the store; made and initialised when it is missing or empty.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Serve NBD on this TCP address; may be given several times. Port 0 takes a free one; `none`
    /// serves no TCP. [default: 127.0.0.1:10809]
    #[arg(long, value_name = "ADDR:PORT")]
    #[serde(deserialize_with = "texts")]
    listen: Vec<Endpoint>,
    /// Serve NBD on this Unix socket too.
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
    /// Permissions of that socket, octal. [default: 0660]
    #[arg(long, value_name = "MODE")]
    #[serde(deserialize_with = "text")]
    unix_mode: Option<SocketMode>,
    /// Control socket, for the command line `flashtrack`. [default: control.sock in the store]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Permissions of that socket, octal: who may connect may do everything. [default: 0600]
    #[arg(long, value_name = "MODE")]
    #[serde(deserialize_with = "text")]
    control_mode: Option<SocketMode>,
    /// Serve metrics for Prometheus on this TCP address; `none` serves none. [default: 127.0.0.1:9810]
    #[arg(long, value_name = "ADDR:PORT")]
    #[serde(deserialize_with = "text")]
    metrics: Option<Endpoint>,
    /// Size of the journal of a new store; takes K, M, G, T (powers of 1024). [default: 1G]
    #[arg(long, value_name = "SIZE")]
    #[serde(deserialize_with = "text")]
    journal_size: Option<ByteSize>,
    /// How volumes, pools and the journal are read and written: `buffered`, through the system's page cache,
    /// or `direct`, past it. [default: buffered]
    #[arg(long, value_name = "MODE")]
    #[serde(deserialize_with = "text")]
    io: Option<IoMode>,
    /// Threads that serve connections; a single connection is served by one of them. [default: as many as processors, at
    /// most 4]
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// Whether background copies share blocks with their source where the file system can (XFS, btrfs): `auto`, or
    /// `never`, so that each copy is on the disk a second time. [default: auto]
    #[arg(long, value_name = "WHEN")]
    #[serde(deserialize_with = "text")]
    reflink: Option<Reflink>,
    /// Whose rules hold where the two columns of the white paper's tables differ: xp7 or ibm. [default: xp7]
    #[arg(long, value_name = "PROFILE")]
    #[serde(deserialize_with = "text")]
    profile: Option<Profile>,
    /// Seconds after which writes held by a freeze go on by themselves. [default: 120]
    #[arg(long, value_name = "SECONDS")]
    freeze_timeout: Option<NonZeroU32>,
    /// Pace of background copies for which `copy establish` names none: slow, medium, fast, or at most a rate such as
    /// 200MiB/s. [default: medium]
    #[arg(long, value_name = "PACE")]
    #[serde(deserialize_with = "text")]
    pace: Option<Pace>,
    /// Copy tables that all relationships together may take; each serves 20,448 tracks, and an
    /// incremental copy takes three times as many. [default: 209600]
    #[arg(long, value_name = "N")]
    copy_tables: Option<u64>,
    /// Most NBD connections at once. [default: 1024]
    #[arg(long, value_name = "N")]
    max_connections: Option<NonZeroU32>,
    /// What is logged: error, warn, info, debug, trace. [default: info]
    #[arg(long, value_name = "LEVEL")]
    #[serde(deserialize_with = "text")]
    log_level: Option<LogLevel>,
    /// Where the log goes: `stderr`, or `file:PATH`. [default: stderr]
    #[arg(long, value_name = "TARGET")]
    #[serde(deserialize_with = "text")]
    log_target: Option<LogTarget>,
}

/// What the server is to do, complete and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Directory of the store.
    pub store: PathBuf,
    /// TCP addresses of the NBD server.
    pub listen: Vec<SocketAddr>,
    /// Unix socket of the NBD server, and its mode.
    pub unix: Option<(PathBuf, u32)>,
    /// Control socket.
    pub control: PathBuf,
    /// Mode of the control socket.
    pub control_mode: u32,
    /// TCP address of the metrics.
    pub metrics: Option<SocketAddr>,
    /// Size of a new store's journal.
    pub journal_bytes: u64,
    /// How its files are read and written.
    pub io: IoMode,
    /// Threads that serve connections.
    pub workers: NonZeroUsize,
    /// Whether its background copies share blocks.
    pub reflink: Reflink,
    /// Rules and limits that the store is served under.
    pub policy: Policy,
    /// Most NBD connections at once.
    pub connections_max: usize,
    /// What is logged.
    pub log_level: LogLevel,
    /// Where the log goes.
    pub log_target: LogTarget,
}

/// Why flags and file make no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Where the data is must be said.
    #[error("no store is named; give --store DIR, or `store` in the configuration file")]
    NoStore,
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not TOML, has an unknown key or a value that makes no sense.
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from one.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// NBD clients could not reach the server.
    #[error("NBD is served nowhere; give --listen ADDR:PORT or --unix PATH")]
    NoListener,
    /// Each worker is a thread with a ring of its own.
    #[error("{workers} workers are too many; give at most {WORKERS_MAX} with --workers")]
    TooManyWorkers {
        /// As many were asked for.
        workers: NonZeroUsize,
    },
    /// `none` beside addresses.
    #[error("`none` beside other addresses makes no sense; give one or the other")]
    NoneAndMore,
}

impl Config {
    /// The flags' settings, completed by those of the file that they name and by defaults.
    ///
    /// # Errors
    /// The file cannot be used, or something needed is missing.
    pub fn from_flags(flags: Settings) -> Result<Self, ConfigError> {
        match flags.config.clone() {
            None => flags.check(),
            Some(path) => {
                let text = std::fs::read_to_string(&path)
                    .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
                flags.or(Settings::from_file(&path, &text)?).check()
            }
        }
    }
}

impl Settings {
    fn from_file(path: &Path, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.as_bytes().iter().take(start);
            ConfigError::Invalid {
                path: path.to_owned(),
                line: before.filter(|byte| **byte == b'\n').count() + 1,
                message: error.message().replace('\n', " "),
            }
        })
    }

    fn or(self, file: Self) -> Self {
        Self {
            store: self.store.or(file.store),
            config: self.config,
            listen: if self.listen.is_empty() { file.listen } else { self.listen },
            unix: self.unix.or(file.unix),
            unix_mode: self.unix_mode.or(file.unix_mode),
            control: self.control.or(file.control),
            control_mode: self.control_mode.or(file.control_mode),
            metrics: self.metrics.or(file.metrics),
            journal_size: self.journal_size.or(file.journal_size),
            io: self.io.or(file.io),
            workers: self.workers.or(file.workers),
            reflink: self.reflink.or(file.reflink),
            profile: self.profile.or(file.profile),
            freeze_timeout: self.freeze_timeout.or(file.freeze_timeout),
            pace: self.pace.or(file.pace),
            copy_tables: self.copy_tables.or(file.copy_tables),
            max_connections: self.max_connections.or(file.max_connections),
            log_level: self.log_level.or(file.log_level),
            log_target: self.log_target.or(file.log_target),
        }
    }

    fn check(self) -> Result<Config, ConfigError> {
        let store = self.store.ok_or(ConfigError::NoStore)?;
        let listen: Vec<SocketAddr> = match self.listen.as_slice() {
            [] => vec![NBD_DEFAULT],
            endpoints => endpoints.iter().filter_map(|endpoint| endpoint.0).collect(),
        };
        if !listen.is_empty() && self.listen.contains(&Endpoint(None)) {
            return Err(ConfigError::NoneAndMore);
        }
        if listen.is_empty() && self.unix.is_none() {
            return Err(ConfigError::NoListener);
        }
        if let Some(workers) = self.workers.filter(|workers| *workers > WORKERS_MAX) {
            return Err(ConfigError::TooManyWorkers { workers });
        }
        let unix_mode = self.unix_mode.unwrap_or(UNIX_MODE_DEFAULT);
        Ok(Config {
            listen,
            unix: self.unix.map(|path| (path, unix_mode.0)),
            control: self.control.unwrap_or_else(|| store.join("control.sock")),
            control_mode: self.control_mode.unwrap_or(CONTROL_MODE_DEFAULT).0,
            metrics: self.metrics.unwrap_or(Endpoint(Some(METRICS_DEFAULT))).0,
            journal_bytes: self.journal_size.unwrap_or(JOURNAL_BYTES_DEFAULT).0,
            io: self.io.unwrap_or_default(),
            workers: self.workers.unwrap_or_else(workers_default),
            reflink: self.reflink.unwrap_or_default(),
            policy: Policy {
                profile: self.profile.unwrap_or_default(),
                freeze_seconds: self.freeze_timeout.map_or(limits::FREEZE_SECONDS, NonZeroU32::get),
                copy_tables: self.copy_tables.unwrap_or(limits::COPY_TABLES),
                pace: self.pace.unwrap_or_default(),
                ..Policy::default()
            },
            connections_max: self
                .max_connections
                .and_then(|count| usize::try_from(count.get()).ok())
                .unwrap_or(CONNECTIONS_MAX_DEFAULT),
            log_level: self.log_level.unwrap_or_default(),
            log_target: self.log_target.unwrap_or_default(),
            store,
        })
    }
}

/// One for each processor, as long as that helps.
fn workers_default() -> NonZeroUsize {
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    processors.min(WORKERS_DEFAULT_MAX)
}

fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

fn texts<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let texts = Vec::<String>::deserialize(deserializer)?;
    let values = texts.iter().map(|text| text.parse());
    values.collect::<Result<_, _>>().map_err(serde::de::Error::custom)
}

/// A TCP address with its port, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Endpoint(Option<SocketAddr>);

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(None));
        }
        text.parse().map(|address| Self(Some(address))).map_err(|_| {
            format!("`{text}` is no address; write ADDR:PORT such as 127.0.0.1:10809 or [::1]:10809, or none")
        })
    }
}

/// Permissions of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SocketMode(u32);

impl FromStr for SocketMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| *mode <= 0o777 && !text.starts_with('+'))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no mode; write three octal digits such as 0660"))
    }
}

/// A number of bytes, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ByteSize(u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_size::Config::new()
            .with_binary()
            .parse_size(text)
            .ok()
            .filter(|bytes| *bytes > 0)
            .map(Self)
            .ok_or_else(|| {
                format!("`{text}` is no size; write a number of bytes, or one with K, M, G or T such as 1G")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(words: &[&str]) -> Settings {
        let program = std::iter::once("flashtrackd");
        Settings::try_parse_from(program.chain(words.iter().copied())).expect("valid flags")
    }

    fn with_file(words: &[&str], text: &str) -> Result<Config, ConfigError> {
        let file = Settings::from_file(Path::new("f.toml"), text)?;
        flags(words).or(file).check()
    }

    #[test]
    fn defaults_serve_the_loopback_address_and_a_private_control_socket_in_the_store() {
        let config = flags(&["--store", "/s"]).check().expect("complete");

        assert_eq!(config.listen, ["127.0.0.1:10809".parse().expect("an address")]);
        assert_eq!(config.unix, None);
        assert_eq!(config.control, Path::new("/s/control.sock"));
        assert_eq!(config.control_mode, 0o600);
        assert_eq!(config.metrics, Some("127.0.0.1:9810".parse().expect("an address")));
        assert_eq!(config.journal_bytes, 1 << 30);
        assert_eq!((config.io, config.reflink), (IoMode::Buffered, Reflink::Auto));
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let config = with_file(
            &["--journal-size", "2G", "--listen", "[::1]:0"],
            r#"
            store = "/s"
            listen = ["127.0.0.1:1", "127.0.0.1:2"]
            unix = "/u"
            unix-mode = "0600"
            control = "/c"
            control-mode = "0660"
            metrics = "none"
            journal-size = "512M"
            workers = 3
            io = "direct"
            reflink = "never"
            max-connections = 7
            log-level = "debug"
            log-target = "file:/l"
            "#,
        )
        .expect("complete");

        assert_eq!(config.listen, ["[::1]:0".parse().expect("an address")]);
        assert_eq!(config.unix, Some(("/u".into(), 0o600)));
        assert_eq!((config.control, config.control_mode), ("/c".into(), 0o660));
        assert_eq!(config.metrics, None);
        assert_eq!(config.journal_bytes, 2 << 30);
        assert_eq!((config.io, config.reflink), (IoMode::Direct, Reflink::Never));
        assert_eq!(config.workers.get(), 3);
        assert_eq!(config.connections_max, 7);
        assert_eq!(config.log_target, LogTarget::File("/l".into()));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = with_file(&[], "store = \"/s\"\n\nlisten-to = \"x\"\n").expect_err("unknown");

        let text = error.to_string();
        assert!(text.starts_with("f.toml:3: "), "{text}");
        assert!(text.contains("listen-to"), "{text}");
    }

    #[test]
    fn a_value_that_makes_no_sense_is_refused_with_its_line() {
        for (line, named) in [
            ("journal-size = \"0\"", "no size"),
            ("unix-mode = \"0999\"", "octal"),
            ("io = \"cached\"", "buffered and direct"),
            ("listen = [\"localhost\"]", "ADDR:PORT"),
            ("max-connections = 0", "nonzero"),
            ("workers = 0", "nonzero"),
            ("log-level = \"loud\"", "loud"),
            ("store = ", "string"),
        ] {
            let error = with_file(&[], &format!("\n{line}\n")).expect_err("makes no sense");
            let text = error.to_string();
            assert!(text.starts_with("f.toml:2: ") && text.contains(named), "{text}");
        }
    }

    #[test]
    fn there_are_as_many_workers_as_processors_up_to_a_few_and_never_very_many() {
        let workers = |words: &[&str]| flags(words).check().map(|config| config.workers.get());

        let by_itself = workers(&["--store", "/s"]).expect("complete");
        assert!((1..=WORKERS_DEFAULT_MAX.get()).contains(&by_itself), "{by_itself}");
        assert_eq!(workers(&["--store", "/s", "--workers", "64"]).expect("allowed"), 64);
        let refused = workers(&["--store", "/s", "--workers", "65"]).expect_err("too many");
        assert!(refused.to_string().starts_with("65 workers are too many"), "{refused}");
    }

    #[test]
    fn a_store_and_a_place_to_listen_are_needed() {
        let without_store = flags(&[]).check();
        assert!(matches!(without_store, Err(ConfigError::NoStore)));
        let nowhere = flags(&["--store", "/s", "--listen", "none"]).check();
        assert!(matches!(nowhere, Err(ConfigError::NoListener)));
        let both = flags(&["--store", "/s", "--listen", "none", "--listen", "127.0.0.1:1"]).check();
        assert!(matches!(both, Err(ConfigError::NoneAndMore)));
        let unix = flags(&["--store", "/s", "--listen", "none", "--unix", "/u"]).check();
        assert_eq!(unix.expect("complete").listen, []);
    }
}
