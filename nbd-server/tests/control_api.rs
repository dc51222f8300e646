//! The control API over its socket, with a fake in the engine's place: wire format, status codes, limits.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use flashtrack_engine::admin::{
    Command, CopyMode, CopySelector, EstablishAction, Freeze, Incremental, Refusal, RefusalKind,
    Report, StoreReport,
};
use flashtrack_engine::units::RelationshipId;
use flashtrack_nbd_server::control::{self, Administrator};
use flashtrack_nbd_server::unix_socket::{self, BoundSocket, SocketName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

/// Gives the same answer to every command and remembers what it was asked.
#[derive(Clone)]
struct Fake {
    answer: Result<Report, Refusal>,
    asked: Arc<Mutex<Vec<Command>>>,
}

impl Administrator for Fake {
    async fn command(&self, command: Command) -> Result<Report, Refusal> {
        self.asked.lock().expect("nobody panics with it").push(command);
        self.answer.clone()
    }
}

/// A control API of its own for one test.
struct Api {
    _directory: TempDir,
    _name: SocketName,
    socket: PathBuf,
    asked: Arc<Mutex<Vec<Command>>>,
    _stop: watch::Sender<bool>,
}

impl Api {
    fn answering(answer: Result<Report, Refusal>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("control.sock");
        let BoundSocket { listener, name } = unix_socket::bind(&socket, 0o600).expect("a socket");
        let asked = Arc::default();
        let fake = Fake { answer, asked: Arc::clone(&asked) };
        let (stop, stopped) = watch::channel(false);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::UnixListener::from_std(listener);
                control::serve(listener.expect("a listener"), fake, stopped).await;
            });
        });
        Self { _directory: directory, _name: name, socket, asked, _stop: stop }
    }

    fn command(&self, body: &str) -> (u16, Value) {
        request(&self.socket, "POST /v1/command", body)
    }

    fn asked(&self) -> Vec<Command> {
        self.asked.lock().expect("nobody panics with it").clone()
    }
}

fn request(socket: &Path, line: &str, body: &str) -> (u16, Value) {
    let head = format!(
        "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    exchange(socket, &[head.as_bytes(), body.as_bytes()].concat())
}

fn exchange(socket: &Path, request: &[u8]) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).expect("the API listens");
    // The server may answer and close before it has read everything: what it says counts.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).expect("text");
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (
        status.unwrap_or_else(|| panic!("no HTTP answer: {answer:?}")),
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer:?}")),
    )
}

fn refusal(kind: RefusalKind) -> Refusal {
    Refusal { kind, message: "no".to_owned(), help: Some("do otherwise".to_owned()) }
}

#[test]
fn a_command_is_carried_out_and_its_report_is_the_body() {
    let api = Api::answering(Ok(Report::Copies(vec![])));

    let (status, body) = api.command(r#"{"copy_show": {"id": 7}}"#);

    assert_eq!((status, body), (200, json!({"copies": []})));
    let show = Command::CopyShow(CopySelector::Id(RelationshipId(7)));
    assert_eq!(api.asked(), [show]);
}

#[test]
fn every_command_of_the_reference_is_understood() {
    let api = Api::answering(Ok(Report::Done));
    let reference = include_str!("../docs/control_api.md");

    let mut examples = 0;
    for line in reference.lines() {
        let Some(body) = line.strip_prefix("| `{").and_then(|rest| rest.split_once("}` |")) else {
            continue;
        };
        let (status, answer) = api.command(&format!("{{{}}}", body.0));
        assert_eq!((status, answer), (200, json!("done")), "{line}");
        examples += 1;
    }

    let mut kinds: Vec<_> = api.asked().iter().map(std::mem::discriminant).collect();
    kinds.dedup();
    assert_eq!((examples, kinds.len()), (22, 22), "a command without an example, or two of one");
}

#[test]
fn every_word_of_the_reference_is_that_of_a_refusal_or_an_option() {
    let reference = include_str!("../docs/control_api.md");
    let (_, refusals) = reference.split_once("## Refusals").expect("the chapter");
    let told: Vec<&str> = refusals
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(word, _)| word))
        .collect();
    for word in &told {
        let kind: Result<RefusalKind, _> = serde_json::from_value(json!(word));
        assert!(kind.is_ok(), "no refusal has the kind {word}");
    }
    assert_eq!(told.len(), 19, "a kind that the reference does not tell");

    let api = Api::answering(Ok(Report::Done));
    for (option, words) in [
        ("incremental", &["no", "yes", "target_writable", "last"][..]),
        ("action", &["establish", "refresh", "reverse", "fast_reverse"]),
        ("freeze", &["no", "hold_writes"]),
        ("online_target", &["allowed", "refused"]),
    ] {
        for word in words {
            assert!(reference.contains(&format!("`{word}`")), "{word} is not told");
            let body = json!({"copy_establish": {"pairs": [], option: word}});
            assert_eq!(api.command(&body.to_string()).0, 200, "{body}");
        }
    }
}

#[test]
fn what_may_be_left_out_has_its_default() {
    let api = Api::answering(Ok(Report::Done));

    api.command(r#"{"copy_establish": {"pairs": [{"source": "a", "target": "b"}]}}"#);
    api.command(r#"{"volume_create": {"name": "v", "size_bytes": 1}}"#);

    let asked = api.asked();
    let Command::CopyEstablish(establish) = &asked[0] else { panic!("{asked:?}") };
    assert_eq!(establish.mode, CopyMode::Copy);
    assert!(!establish.space_efficient && establish.pairs[0].extents.is_empty());
    assert_eq!(establish.action, EstablishAction::Establish);
    assert_eq!((establish.incremental, establish.freeze), (Incremental::No, Freeze::No));
    assert!(matches!(&asked[1], Command::VolumeCreate(spec) if spec.thin.is_none()));
}

#[test]
fn a_refusal_is_the_body_and_its_kind_decides_the_status() {
    for (kind, status) in [
        (RefusalKind::Invalid, 400),
        (RefusalKind::NotFound, 404),
        (RefusalKind::Exists, 409),
        (RefusalKind::Busy, 409),
        (RefusalKind::TargetRelated, 409),
        (RefusalKind::TooManyCopies, 409),
        (RefusalKind::Online, 409),
        (RefusalKind::Direction, 409),
        (RefusalKind::Unsupported, 501),
        (RefusalKind::NoResources, 507),
        (RefusalKind::FailStop, 503),
        (RefusalKind::Shutdown, 503),
    ] {
        let api = Api::answering(Err(refusal(kind)));

        let (found, body) = api.command(r#"{"pool_list": {}}"#);

        assert_eq!(found, status, "{kind:?}");
        let told: Refusal = serde_json::from_value(body).expect("a refusal");
        assert_eq!(told, refusal(kind));
    }
}

#[test]
fn a_body_that_is_no_command_is_refused_and_never_carried_out() {
    let api = Api::answering(Ok(Report::Done));

    for nonsense in [
        "",
        "{",
        "null",
        "[]",
        r#"{"format_disk": {}}"#,
        r#"{"pool_create": {"name": "p"}}"#,
        r#"{"pool_create": {"name": "p", "capacity_bytes": -1}}"#,
        r#"{"pool_create": {"name": "p", "capacity_bytes": 1e30}}"#,
        r#"{"pool_list": {}} trailing"#,
        r#"{"pool_list": {}, "pool_delete": {"name": "p"}}"#,
        r#"{"copy_list": {"volme": "v"}}"#,
        r#"{"copy_establish": {"pairs": [], "freeze": true}}"#,
        r#"{"volume_create": {"name": "v", "size": 1}}"#,
    ] {
        let (status, body) = api.command(nonsense);
        assert_eq!(status, 400, "{nonsense} gave {body}");
        assert_eq!(body["kind"], "invalid", "{nonsense}");
        assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()));
    }

    assert_eq!(api.asked(), []);
}

#[test]
fn a_body_that_is_too_long_is_refused() {
    let api = Api::answering(Ok(Report::Done));
    let long = format!(r#"{{"pool_show": {{"name": "{}"}}}}"#, "x".repeat(2 << 20));

    let (status, body) = api.command(&long);

    assert_eq!((status, &body["kind"]), (413, &json!("invalid")));
    assert_eq!(api.asked(), []);
}

#[test]
fn unknown_paths_and_methods_are_told_in_the_same_form() {
    let api = Api::answering(Ok(Report::Done));

    let (status, body) = request(&api.socket, "GET /v2/command", "");
    assert_eq!((status, &body["kind"]), (404, &json!("not_found")));
    let (status, body) = request(&api.socket, "GET /v1/command", "");
    assert_eq!((status, &body["kind"]), (405, &json!("invalid")));
    let (status, _) = request(&api.socket, "DELETE /healthz", "");
    assert_eq!(status, 405);
    assert_eq!(api.asked(), []);
}

#[test]
fn the_version_names_the_server_and_the_api() {
    let api = Api::answering(Ok(Report::Done));

    let (status, body) = request(&api.socket, "GET /v1/version", "");

    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(status, 200);
    assert_eq!(body, json!({"name": "flashtrackd", "version": version, "api": 1}));
}

#[test]
fn health_tells_whether_writes_are_taken() {
    let store = |fail_stop| {
        let store = StoreReport { fail_stop, ..StoreReport::default() };
        Ok(Report::Store(Box::new(store)))
    };

    let healthy = Api::answering(store(None));
    assert_eq!(request(&healthy.socket, "GET /healthz", "").0, 200);
    let stopped = Api::answering(store(Some("a sync failed".to_owned())));
    let (status, body) = request(&stopped.socket, "GET /healthz", "");
    assert_eq!((status, &body["reason"]), (503, &json!("a sync failed")));
    let gone = Api::answering(Err(refusal(RefusalKind::Shutdown)));
    assert_eq!(request(&gone.socket, "GET /healthz", "").0, 503);
}

#[test]
fn garbage_does_not_keep_the_next_client_from_being_served() {
    let api = Api::answering(Ok(Report::Done));
    let mut garbage = UnixStream::connect(&api.socket).expect("the API listens");
    garbage.write_all(&[0xFF; 4096]).expect("it is taken");
    let silent = UnixStream::connect(&api.socket).expect("the API listens");

    let (status, _) = api.command(r#"{"pool_list": {}}"#);

    assert_eq!(status, 200);
    drop((garbage, silent));
}
