//! `flashtrackd`, the server: reads its configuration, starts everything, waits for the end.
//!
//! The workers have threads of their own; all else runs on this one. The order of the start is the order of
//! `start`, that of the end is told in `shutdown`.

#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use flashtrack_nbd_server::config::{Config, Settings};
use flashtrack_nbd_server::control::{self, WorkerAdministrator};
use flashtrack_nbd_server::shutdown::Signals;
use flashtrack_nbd_server::unix_socket::{self, SocketName};
use flashtrack_nbd_server::worker::{self, WorkerHandle, WorkerOptions};
use flashtrack_nbd_server::{listen, log, metrics};
use sd_notify::NotifyState;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The server could not start.
const EXIT_START: u8 = 1;
/// Usage or configuration make no sense.
const EXIT_CONFIGURATION: u8 = 2;
/// The server failed while it was serving.
const EXIT_FAILED: u8 = 3;
/// A second signal cut the orderly end short.
const EXIT_CUT_SHORT: u8 = 4;

fn main() -> ExitCode {
    unix_socket::restrict_new_files();
    let config = match Config::from_flags(Settings::parse()) {
        Ok(config) => config,
        Err(error) => return tell(EXIT_CONFIGURATION, &error),
    };
    if let Err(error) = log::start(&config.log_level, &config.log_target) {
        let target = format!("cannot open the log {:?}", config.log_target);
        return tell(EXIT_CONFIGURATION, &Failure::new(target, error));
    }
    match serve(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, failure)) => tell(code, &failure),
    }
}

/// What could not be done, and why.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Failure {
    what: String,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl Failure {
    fn new(
        what: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { what: what.into(), cause: cause.into() }
    }
}

/// One line on standard error: the chain of causes, but those that the one before tells already.
fn tell(code: u8, error: &dyn std::error::Error) -> ExitCode {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    eprintln!("flashtrackd: {line}");
    ExitCode::from(code)
}

fn serve(config: &Config) -> Result<(), (u8, Failure)> {
    let cannot_start = |failure| (EXIT_START, failure);
    let options = WorkerOptions {
        journal_bytes: config.journal_bytes,
        io: config.io,
        workers: config.workers,
        reflink: config.reflink,
        policy: config.policy,
        connections_max: config.connections_max,
        ..WorkerOptions::default()
    };
    let store = config.store.display();
    let worker = worker::start(&config.store, options).map_err(|error| {
        cannot_start(Failure::new(format!("cannot serve store {store}"), error))
    })?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| cannot_start(Failure::new("cannot start the control thread", error)))?
        .block_on(async {
            let server = match start(config, &worker).await {
                Ok(server) => server,
                Err(failure) => {
                    worker.mailbox.shut_down();
                    // Why it cannot start is told; how the worker ends does not matter beside it.
                    let _ = worker.ended().await;
                    return Err(cannot_start(failure));
                }
            };
            server.run(worker).await
        })
}

/// Everything around the worker.
struct Server {
    signals: Signals,
    /// Accept NBD connections until `stop_accepting`.
    acceptors: JoinSet<()>,
    stop_accepting: watch::Sender<bool>,
    /// Control API and metrics, until `stop_answering`.
    services: JoinSet<()>,
    stop_answering: watch::Sender<bool>,
    /// Removed when dropped, at the very end.
    _socket_names: Vec<SocketName>,
}

/// Listens everywhere, tells where on standard output, and says that it is ready.
async fn start(config: &Config, worker: &WorkerHandle) -> Result<Server, Failure> {
    let signals = Signals::catch().map_err(|error| Failure::new("cannot catch signals", error))?;
    let (stop_accepting, accepting) = watch::channel(false);
    let (stop_answering, answering) = watch::channel(false);
    let administrator = WorkerAdministrator::new(worker.mailbox.clone());
    let mut acceptors = JoinSet::new();
    let mut services = JoinSet::new();
    let mut names = Vec::new();
    let mut addresses = Vec::new();

    for address in &config.listen {
        let (listener, bound) = bind_tcp(*address, "--listen").await?;
        addresses.push(format!("nbd tcp {bound}"));
        let mailbox = worker.mailbox.clone();
        acceptors.spawn(listen::accept(listener, mailbox, accepting.clone()));
    }
    if let Some((path, mode)) = &config.unix {
        let (listener, name) = bind_unix(path, *mode, "--unix")?;
        addresses.push(format!("nbd unix {}", path.display()));
        names.push(name);
        let mailbox = worker.mailbox.clone();
        acceptors.spawn(listen::accept(listener, mailbox, accepting.clone()));
    }
    let (listener, name) = bind_unix(&config.control, config.control_mode, "--control")?;
    addresses.push(format!("control {}", config.control.display()));
    names.push(name);
    services.spawn(control::serve(listener, administrator.clone(), answering.clone()));
    if let Some(address) = config.metrics {
        let (listener, bound) = bind_tcp(address, "--metrics").await?;
        addresses.push(format!("metrics http://{bound}/metrics"));
        services.spawn(metrics::serve(listener, administrator, answering));
    }

    announce(&addresses);
    Ok(Server {
        signals,
        acceptors,
        stop_accepting,
        services,
        stop_answering,
        _socket_names: names,
    })
}

async fn bind_tcp(
    address: std::net::SocketAddr,
    option: &str,
) -> Result<(tokio::net::TcpListener, std::net::SocketAddr), Failure> {
    listen::bind_tcp(address).await.map_err(|error| {
        let what = format!("cannot listen on {address}; choose another address with {option}");
        Failure::new(what, error)
    })
}

fn bind_unix(
    path: &std::path::Path,
    mode: u32,
    option: &str,
) -> Result<(UnixListener, SocketName), Failure> {
    let failed = || format!("cannot listen on {}, given by {option}", path.display());
    let socket = unix_socket::bind(path, mode).map_err(|error| Failure::new(failed(), error))?;
    let listener =
        UnixListener::from_std(socket.listener).map_err(|error| Failure::new(failed(), error))?;
    Ok((listener, socket.name))
}

fn announce(addresses: &[String]) {
    for address in addresses {
        tracing::info!("serving {address}");
    }
    let mut lines = addresses.join("\n");
    lines.push_str("\nready\n");
    let mut stdout = std::io::stdout().lock();
    // Nobody may be reading, and the log has it too.
    let _ = stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush());
    notify(&NotifyState::Ready);
}

/// Tells systemd, if it has started us.
fn notify(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::warn!(%error, "systemd cannot be notified");
    }
}

impl Server {
    /// Serves until a signal or a failure of the worker.
    async fn run(mut self, worker: WorkerHandle) -> Result<(), (u8, Failure)> {
        let mailbox = worker.mailbox.clone();
        let mut ended = std::pin::pin!(worker.ended());
        let failed =
            |error| (EXIT_FAILED, Failure::new("the server failed while it was serving", error));
        tokio::select! {
            signal = self.signals.next() => tracing::info!(signal, "draining and ending"),
            result = &mut ended => {
                self.end().await;
                return result.map_err(failed);
            }
        }
        notify(&NotifyState::Stopping);
        // Listeners are closed before the worker is told, so that nobody is accepted and then dropped.
        self.stop_accepting.send_replace(true);
        while self.acceptors.join_next().await.is_some() {}
        mailbox.shut_down();
        let result = tokio::select! {
            result = &mut ended => result,
            signal = self.signals.next() => {
                let text = format!("{signal} came before everything was drained; \
                    what was flushed is safe, the store recovers at the next start");
                return Err((EXIT_CUT_SHORT, Failure::new("ended early", text)));
            }
        };
        self.end().await;
        tracing::info!("ended");
        result.map_err(failed)
    }

    /// Ends what still runs around the worker.
    async fn end(&mut self) {
        self.stop_accepting.send_replace(true);
        self.stop_answering.send_replace(true);
        while self.acceptors.join_next().await.is_some() {}
        while self.services.join_next().await.is_some() {}
    }
}
