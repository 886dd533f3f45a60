//! The operators' door: HTTP/1.1 with JSON on a Unix socket, for `rekeyctl`, `curl --unix-socket` and scripts.
//!
//! Who calls is what the kernel says of the other end of the connection (`SO_PEERCRED`), and nothing in a request. What
//! they may do is looked up for each request. A connection keeps the rights it was made with even when its process
//! gives them up or hands it on, so it lives ten minutes at most; and a request is told as a story to its end, whether
//! or not somebody still waits for the answer.
//!
//! [`protocol`] is what crosses the socket; [`routes`] says what can be asked, [`walks`] what of everybody, [`doctor`] what of
//! the directories, [`answer`] what
//! comes back, [`stream`] how it comes line by line,
//! [`socket`] how the socket comes to be, [`peer`] who calls.

mod answer;
mod config;
mod doctor;
mod peer;
pub mod protocol;
mod routes;
mod socket;
mod stream;
mod walks;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::config::AdminConfig;

use self::answer::Answer;
use self::routes::Asked;
use self::stream::Sent;
use crate::flow::Rekeyd;

/// Open connections of one uid.
const CONNECTIONS: usize = 16;
/// The head of a request must be there within this time of the connection's begin or of the answer before.
const HEAD: Duration = Duration::from_secs(10);
/// How long looking up a caller's groups may take.
const RANK: Duration = Duration::from_secs(5);
/// How long a story may take before its caller gets an answer without its outcome.
const STORY: Duration = Duration::from_mins(1);
/// How long a connection lives.
const CONNECTION: Duration = Duration::from_mins(10);

/// The operators' socket, listening.
pub struct Door {
    socket: socket::Socket,
    shared: Arc<Shared>,
}

struct Shared {
    rekeyd: Arc<Rekeyd>,
    group: Option<String>,
    connections: Mutex<HashMap<u32, usize>>,
}

impl Door {
    /// Makes the socket and begins to listen.
    ///
    /// # Errors
    /// Words that say what is wrong and what to do.
    pub fn bind(config: &AdminConfig, rekeyd: Arc<Rekeyd>) -> Result<Self, String> {
        let shared = Shared { rekeyd, group: config.group.clone(), connections: Mutex::default() };
        Ok(Self { socket: socket::open(config)?, shared: Arc::new(shared) })
    }

    /// Serves until `stop` turns true; then answers under way are finished, and the socket is removed.
    pub async fn serve(self, mut stop: watch::Receiver<bool>) {
        let listener = match self.socket.listener.try_clone().and_then(UnixListener::from_std) {
            Ok(listener) => listener,
            Err(error) => {
                log::error!("the admin socket can't be waited on: {error}");
                return;
            }
        };
        let mut tasks = JoinSet::new();
        while !*stop.borrow() {
            tokio::select! {
                _ = stop.changed() => {}
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if let Some((stream, seat)) = self.shared.seat(stream) {
                            tasks.spawn(converse(stream, seat, stop.clone()));
                        }
                    }
                    Err(error) => {
                        // Out of descriptors, mostly: connections that end will free some.
                        log::warn!(event = "accept-failed"; "an operator's connection could not be accepted: {error}");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        }
        drop(listener);
        while tasks.join_next().await.is_some() {}
    }
}

/// The place of one connection, given back when dropped.
struct Seat {
    shared: Arc<Shared>,
    uid: u32,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut connections = self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connections.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.uid);
            }
        }
    }
}

impl Shared {
    /// Learns from the kernel who calls, and gives them a place; those who have too many are told so and cut.
    fn seat(self: &Arc<Self>, stream: UnixStream) -> Option<(UnixStream, Seat)> {
        let uid = match stream.peer_cred() {
            Ok(peer) => peer.uid(),
            Err(error) => {
                log::warn!(event = "peer-unknown"; "the kernel does not say who calls: {error}");
                return None;
            }
        };
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connections.entry(uid).or_default();
        if *count >= CONNECTIONS {
            log::warn!(event = "too-many-connections", uid; "uid {uid} has {CONNECTIONS} connections already");
            let told =
                stream.try_write(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            if let Err(error) = told {
                log::debug!("and could not be told: {error}");
            }
            return None;
        }
        *count += 1;
        drop(connections);
        Some((stream, Seat { shared: Arc::clone(self), uid }))
    }

    async fn answer(&self, uid: u32, request: Request<Incoming>, stop: watch::Receiver<bool>) -> Answer {
        let group = self.group.clone();
        let ranking = tokio::task::spawn_blocking(move || peer::rank(uid, group.as_deref()));
        // A name service that hangs or fails says nothing, and nothing is no rank.
        let Ok(Ok(Some(operator))) = tokio::time::timeout(RANK, ranking).await else {
            log::warn!(event = "no-operator", uid; "uid {uid} called the admin socket without a rank");
            return answer::no_rank(uid, self.group.as_deref());
        };
        let asked = match Asked::read(request).await {
            Ok(asked) => asked,
            Err(answer) => return answer,
        };
        let changes = asked.changes();
        // A task of its own: neither a dropped connection nor a panic in it ends anything else.
        let story = tokio::spawn(asked.tell(Arc::clone(&self.rekeyd), operator, stop));
        match tokio::time::timeout(STORY, story).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) if changes => answer::unsure("rekeyd itself failed; see its log"),
            Ok(Err(_)) => {
                let detail = "rekeyd itself failed; see its log";
                let problem = answer::problem(StatusCode::INTERNAL_SERVER_ERROR, "failed", "rekeyd failed", detail);
                Answer::problem(&problem)
            }
            Err(_) if changes => answer::unsure("it takes longer than a minute"),
            Err(_) => answer::unavailable("it takes longer than a minute"),
        }
    }
}

/// One connection, from its begin to its end.
async fn converse(stream: UnixStream, seat: Seat, mut stop: watch::Receiver<bool>) {
    let stopping = stop.clone();
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, uid, stop) = (Arc::clone(&seat.shared), seat.uid, stopping.clone());
        async move {
            if request.method() == Method::GET && request.uri().path() == "/healthz" {
                return Ok::<_, Infallible>(Response::new(Sent::Whole(Full::new(Bytes::from_static(b"ok\n")))));
            }
            Ok(respond(shared.answer(uid, request, stop).await))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(64)
        .max_buf_size(32 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let life = tokio::time::sleep(CONNECTION);
    let mut life = std::pin::pin!(life);
    let mut ending = *stop.borrow();
    if ending {
        connection.as_mut().graceful_shutdown();
    }
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    log::debug!("an operator's connection ended early: {error}");
                }
                return;
            }
            _ = stop.changed(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = life.as_mut(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn respond(answer: Answer) -> Response<Sent> {
    let whole = Full::new(answer.body);
    let mut response = Response::new(answer.lines.map_or(Sent::Whole(whole), Sent::Lines));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.media_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use nix::unistd::{Group, getegid};
    use rekeyd_core::domain::MasterKey;
    use rekeyd_plugins::Messages;
    use ring::rand::SystemRandom;
    use serde_json::{Value, json};
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::config::Config;
    use crate::flow::{Clock, Directories, Faults, Parts};
    use crate::store::Store;

    /// A door in a folder of its own, in front of a small directory.
    struct World {
        folder: TempDir,
        stop: watch::Sender<bool>,
        faults: Faults,
        task: JoinHandle<()>,
    }

    impl World {
        async fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
            let write = |name: &str, text: &str| {
                let path = folder.path().join(name);
                std::fs::write(&path, text).unwrap();
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
            };
            write("keys", &MasterKey::from_bytes([7; 32]).encode());
            write("people.ldif", PEOPLE);
            for part in ["store", "epoch", "mail"] {
                std::fs::create_dir(folder.path().join(part)).unwrap();
            }
            let group = Group::from_gid(getegid()).unwrap().unwrap().name;
            let text = CONFIG.replace("DIR", &folder.path().display().to_string()).replace("GROUP", &group);
            let config = Config::parse(&text).unwrap_or_else(|faults| panic!("{faults:?}"));
            let keys = config.keys().unwrap();
            let (clock, faults) = (Clock::default(), Faults::default());
            let opened = Store::open(config.store.clone(), &keys, clock.watch(), SystemRandom::new()).unwrap();
            let key = opened.store.directory_key("trial").await.unwrap();
            let messages = Arc::new(Messages::load(config.messages.clone()).unwrap());
            let parts = Parts {
                directories: Directories::new(vec![config.directories[0].open(key).unwrap()]),
                channels: config.open_channels(&messages).unwrap(),
                identity: config.identity(),
                general: config.rules.clone(),
                messages,
                keys,
            };
            let rekeyd = Arc::new(Rekeyd::new(parts, opened.store, clock, faults.clone()));
            let door = Door::bind(&config.admin, rekeyd).unwrap();
            let (stop, stopped) = watch::channel(false);
            Self { folder, stop, faults, task: tokio::spawn(door.serve(stopped)) }
        }

        fn socket(&self) -> PathBuf {
            self.folder.path().join("admin.sock")
        }

        async fn connect(&self) -> UnixStream {
            UnixStream::connect(self.socket()).await.unwrap()
        }

        async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
            let length = body.len();
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: rekeyd\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            let mut stream = self.connect().await;
            // The door may answer and close before it has read all of it.
            drop(stream.write_all(request.as_bytes()).await);
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            let answer = String::from_utf8(answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("cache-control: no-store"), "{head}");
            (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
        }

        async fn post(&self, path: &str, body: Value) -> (u16, Value) {
            self.ask("POST", path, &body.to_string()).await
        }
    }

    const CONFIG: &str = r#"
public_url = "http://127.0.0.1:8080"
key_file = "DIR/keys"
[admin]
socket = "DIR/admin.sock"
group = "GROUP"
allow_user_namespace = true
[store]
path = "DIR/store/rekeyd.db"
epoch_file = "DIR/epoch/epoch"
[[directory]]
name = "trial"
kind = "ldif"
file = "DIR/people.ldif"
base = "dc=example,dc=org"
[directory.markers]
disabled = ["employeeType=disabled"]
[[channel]]
kind = "file"
folder = "DIR/mail"
from = "no-reply@example.org"
[policy]
privileged_groups = []
[messages]
organisation = "Example School"
help = "the desk"
"#;

    const PEOPLE: &str = "dn: dc=example,dc=org
objectClass: domain
dc: example

dn: uid=ada,dc=example,dc=org
objectClass: inetOrgPerson
uid: ada
cn: Ada Lovelace
sn: Lovelace
mail: ada@example.org
entryUUID: 75b7c289-df25-49dc-8fa2-081933c803f5
pwdChangedTime: 20260105090000Z
userPassword: {ARGON2}$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$9sTbSlTio3Biev89thdrlQ

dn: uid=turing,dc=example,dc=org
objectClass: inetOrgPerson
uid: turing
cn: Alan Turing
sn: Turing
mail: turing@example.org
entryUUID: 75b7c289-df25-49dc-8fa2-081933c803f6
pwdChangedTime: 20260105090000Z
employeeType: disabled
userPassword: {ARGON2}$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$9sTbSlTio3Biev89thdrlQ
";

    #[tokio::test]
    async fn every_verb_tells_its_story() {
        let world = World::start().await;
        let (code, status) = world.ask("GET", "/v1/status", "").await;
        assert_eq!(
            (code, &status["requests_waiting"], &status["directories"][0]["name"]),
            (200, &json!(0), &json!("trial"))
        );
        assert_eq!(status["panics"], 0);
        world.faults.add();
        assert_eq!(world.ask("GET", "/v1/status", "").await.1["panics"], 1, "a fault of its own shows");

        let (code, told) = world.post("/v1/explain", json!({"login": "turing"})).await;
        assert_eq!((code, &told["account"]["findings"][0]["finding"]), (200, &json!("disabled")));
        let (code, told) = world.post("/v1/explain", json!({"login": "turing", "directory": "trial"})).await;
        assert_eq!((code, &told["account"]["directory"]), (200, &json!("trial")));
        let (code, told) = world.post("/v1/explain", json!({"login": "nobody"})).await;
        assert_eq!((code, &told["found"]), (200, &json!("not-found")));

        let (code, sent) = world.post("/v1/send-code", json!({"login": "ada", "reason": "first day"})).await;
        assert_eq!((code, &sent["to"]), (200, &json!(["a…@e….org"])));
        let (code, refused) = world.post("/v1/send-code", json!({"login": "turing", "reason": "x"})).await;
        assert_eq!((code, &refused["code"]), (409, &json!("disabled")));
        let (code, refused) = world.post("/v1/send-code", json!({"login": "nobody", "reason": "x"})).await;
        assert_eq!((code, &refused["code"]), (404, &json!("not-found")));

        let (code, weak) =
            world.post("/v1/set-password", json!({"login": "ada", "reason": "x", "password": "lovelace"})).await;
        assert_eq!(
            (code, &weak["code"], &weak["violations"][0]["id"]),
            (422, &json!("weak"), &json!("weakness-too-short"))
        );
        let (code, set) =
            world.post("/v1/set-password", json!({"login": "ada", "reason": "x", "generate": true})).await;
        assert_eq!((code, &set["must_change"]), (200, &json!(true)));
        assert!(set["password"].as_str().is_some_and(|password| password.len() >= 26));

        let (code, thawed) = world.post("/v1/thaw", json!({"login": "ada", "reason": "x"})).await;
        assert_eq!((code, &thawed["thawed"]), (200, &json!(false)));
        let (code, audit) = world.ask("GET", "/v1/audit?login=ada&limit=1", "").await;
        assert_eq!((code, &audit["events"][0]["outcome"]), (200, &json!("replaced")));
        let id = "75b7c289-df25-49dc-8fa2-081933c803f5";
        let (code, same) = world.ask("GET", &format!("/v1/audit?login={id}&limit=1"), "").await;
        assert_eq!((code, &same["events"][0]["number"]), (200, &audit["events"][0]["number"]));
        let (code, refused) = world.ask("GET", "/v1/audit?login=nobody", "").await;
        assert_eq!((code, &refused["code"], refused["remedy"].is_string()), (404, &json!("not-found"), true));
        let (code, chain) = world.ask("GET", "/v1/audit/verify", "").await;
        assert_eq!((code, &chain["whole"]), (200, &json!(true)));
        let (code, outbox) = world.ask("GET", "/v1/outbox?waiting=true", "").await;
        assert_eq!((code, outbox["notices"].as_array().map(Vec::len)), (200, Some(1)));
        if nix::unistd::geteuid().is_root() {
            let (code, restored) = world.post("/v1/restored", json!({"reason": "x"})).await;
            assert_eq!((code, restored["voided"].is_u64()), (200, true));
        }
        world.stop.send_replace(true);
        world.task.await.unwrap();
        assert!(!world.folder.path().join("admin.sock").exists());
    }

    #[tokio::test]
    async fn t121_what_is_not_known_is_refused_and_nothing_done() {
        let world = World::start().await;
        for (method, path, body, status) in [
            ("GET", "/", "", 404),
            ("GET", "/v1/../v1/status", "", 404),
            ("POST", "/v1/erase", "{}", 404),
            ("POST", "/v1/explain", r#"{"login":"ada","directory":"other"}"#, 400),
            ("GET", "/v1/audit?login=ada&directory=other", "", 400),
            ("POST", "/v1/status", "{}", 405),
            ("GET", "/v1/explain", "", 405),
            ("DELETE", "/v1/status", "", 405),
            ("GET", "/v1/status?verbose=1", "", 400),
            ("GET", "/v1/audit?limit=0", "", 400),
            ("POST", "/v1/explain", "", 400),
            ("POST", "/v1/explain", "[]", 400),
            ("POST", "/v1/explain", r#"{"login":""}"#, 400),
            ("POST", "/v1/explain", r#"{"login":"ada","admin":true}"#, 400),
            ("POST", "/v1/send-code", r#"{"login":"ada"}"#, 400),
            ("POST", "/v1/send-code", r#"{"login":"ada","reason":" "}"#, 400),
            ("POST", "/v1/set-password", r#"{"login":"ada","reason":"x"}"#, 400),
            ("POST", "/v1/set-password", r#"{"login":"ada","reason":"x","password":""}"#, 400),
            ("POST", "/v1/set-password", r#"{"login":"ada","reason":"x","password":"p","generate":true}"#, 400),
        ] {
            let (code, problem) = world.ask(method, path, body).await;
            assert_eq!(code, status, "{method} {path} {body}: {problem}");
        }
        let (_, audit) = world.ask("GET", "/v1/audit", "").await;
        assert_eq!(audit["events"], json!([]));
    }

    #[tokio::test]
    async fn t127_bodies_and_connections_are_bounded() {
        let world = World::start().await;
        let (code, _) = world.ask("POST", "/v1/explain", &"x".repeat(protocol::LONGEST_BODY + 1)).await;
        assert_eq!(code, 413);
        let held: Vec<_> = futures_util::future::join_all((0..CONNECTIONS).map(|_| world.connect())).await;
        let mut one_more = world.connect().await;
        let mut answer = String::new();
        one_more.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        drop(held);
        for _ in 0..100 {
            let mut stream = world.connect().await;
            drop(stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await);
            answer.clear();
            drop(stream.read_to_string(&mut answer).await);
            if answer.ends_with("ok\n") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("places are not given back");
    }
}
