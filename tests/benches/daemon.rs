//! The measured daemon: its configuration, its start to the moment at which it says READY, what it says of itself.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::SocketAddr,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixDatagram, UnixStream},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use nix::sys::signal::Signal;
use rekeyd_tests::{
    builder::write_secret,
    process::Process,
    scratch,
    slapd::{CANARY, SERVICE, SERVICE_PASSWORD, SUFFIX},
    world_config::{key_hash, render},
};
use ring::digest;
use serde_json::Value;

use crate::{
    directory::{Directory, admins},
    sink::Sink,
    wire::{self, Talk},
};

/// A daemon that takes longer to start or to stop is broken.
const LIMIT: Duration = Duration::from_secs(30);
/// No measurement is to be held up by a pace.
const NO_PACE: &str = "\"1000000 in 1s\"";

/// A daemon. Dropping it kills it.
pub(crate) struct Daemon {
    binary: PathBuf,
    folder: PathBuf,
    key: String,
    keys: BTreeMap<String, String>,
    process: Option<Process>,
    address: Option<SocketAddr>,
}

impl Daemon {
    /// Starts a daemon on an empty store, with keys of the configuration that are not as in the others.
    pub(crate) fn start(binary: &Path, directory: &Directory, sink: &Sink, more: &[(&str, &str)]) -> Self {
        let mut daemon = Self::prepare(binary, directory.address(), sink.address(), more);
        daemon.launch();
        daemon
    }

    /// Makes everything but the process.
    pub(crate) fn prepare(binary: &Path, directory: SocketAddr, mail: SocketAddr, more: &[(&str, &str)]) -> Self {
        let folder = scratch::folder("d");
        for part in ["state", "secrets", "epoch"] {
            fs::create_dir(folder.join(part)).expect("a new folder");
            fs::set_permissions(folder.join(part), fs::Permissions::from_mode(0o700)).expect("permissions");
        }
        let key = format!("hook-key-{}", scratch::next());
        let ring = BASE64.encode(digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
        write_secret(&folder.join("secrets/bind"), SERVICE_PASSWORD);
        write_secret(&folder.join("secrets/keys"), &ring);
        let place = folder.display();
        let quoted = |text: String| format!("{text:?}");
        let paces = ["source", "account", "account_day", "contact_day", "account_spent", "resend", "sign_in", "client"];
        let paces = paces.map(|pace| (format!("policy.paces.{pace}"), NO_PACE.to_owned()));
        let keys: BTreeMap<String, String> = [
            ("public_url", quoted("http://127.0.0.1:8080".into())),
            ("key_file", quoted(format!("{place}/secrets/keys"))),
            ("log_level", quoted("warn".into())),
            ("http.listen", quoted("127.0.0.1:0".into())),
            ("http.client.name", quoted("bench".into())),
            ("http.client.key_hashes", format!("[{}]", quoted(key_hash(&key)))),
            ("http.client.scopes", r#"["recovery", "ticket", "password", "sign-in"]"#.into()),
            ("admin.socket", quoted(format!("{place}/admin.sock"))),
            ("store.path", quoted(format!("{place}/state/rekeyd.db"))),
            ("store.epoch_file", quoted(format!("{place}/epoch/epoch"))),
            ("store.backlog", "1000000".into()),
            ("directory.urls", format!("[{}]", quoted(format!("ldap://{directory}")))),
            ("directory.clear_text_on_loopback", "true".into()),
            ("directory.bind_dn", quoted(SERVICE.into())),
            ("directory.bind_password_file", quoted(format!("{place}/secrets/bind"))),
            ("directory.canary", quoted(CANARY.into())),
            ("directory.base", quoted(SUFFIX.into())),
            ("directory.group_base", quoted(format!("ou=groups,{SUFFIX}"))),
            ("directory.default_policy", quoted(format!("cn=default,ou=policies,{SUFFIX}"))),
            ("policy.privileged_groups", format!("[{}]", quoted(admins()))),
            ("messages.organisation", quoted("Example University".into())),
            ("channel.kind", quoted("email".into())),
            ("channel.from", quoted("noreply@example.org".into())),
            ("channel.hosts", format!("[{}]", quoted(mail.to_string()))),
            ("channel.tls", quoted("none".into())),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .chain(paces)
        .chain(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
        .collect();
        let daemon = Self { binary: binary.to_owned(), folder, key, keys, process: None, address: None };
        daemon.write_config();
        daemon
    }

    /// Changes a key of the configuration for the next start.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.keys.insert(key.to_owned(), value.to_owned());
        self.write_config();
    }

    fn write_config(&self) {
        fs::write(self.folder.join("rekeyd.toml"), render(&self.keys)).expect("a written file");
    }

    /// Starts the process, and gives how long it took to say READY.
    pub(crate) fn launch(&mut self) -> Duration {
        let path = self.folder.join("notify");
        // The socket of a former start.
        fs::remove_file(&path).ok();
        let notices = UnixDatagram::bind(&path).expect("a socket");
        notices.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
        let config = self.folder.join("rekeyd.toml").display().to_string();
        let socket = path.display().to_string();
        let began = Instant::now();
        let mut process = Process::start_in(
            &self.binary,
            &["--config", &config],
            &[("NOTIFY_SOCKET", &socket)],
            &self.folder.join("log"),
        );
        let mut buffer = [0; 1024];
        loop {
            if let Ok(length) = notices.recv(&mut buffer) {
                let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if said.contains("READY=1") {
                    let took = began.elapsed();
                    let address = said.lines().find_map(|line| line.strip_prefix("STATUS=answering on "));
                    self.address = address.and_then(|address| address.parse().ok());
                    assert!(self.address.is_some(), "no address in {said}");
                    self.process = Some(process);
                    return took;
                }
            }
            let fine = process.ended().is_none() && began.elapsed() < LIMIT;
            assert!(fine, "the daemon does not start:\n{}", process.log());
        }
    }

    /// Ends the process as the system does.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("a running daemon");
        process.signal(Signal::SIGTERM);
        let status = process.wait(LIMIT);
        assert!(status.success(), "the daemon ended with {status}:\n{}", process.log());
    }

    /// Ends the process as a power cut does.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("a running daemon").signal(Signal::SIGKILL);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running daemon").pid()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("admin.sock")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("a daemon that has been ready")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.join("state/rekeyd.db")
    }

    /// Calls of the hook with the bodies that are made for each number.
    pub(crate) fn hook(&self, path: &'static str, body: impl Fn(u64) -> String + Send + Sync + 'static) -> Talk {
        let (address, key) = (self.address(), self.key.clone());
        Talk::http(address, move |number| wire::post_json(address, &key, path, &body(number)))
    }

    /// Requests of recovery on the hook.
    pub(crate) fn recoveries(&self, login: impl Fn(u64) -> String + Send + Sync + 'static) -> Talk {
        self.hook("/v1/recovery", move |number| format!("{{\"login\":\"{}\"}}", login(number)))
    }

    /// Requests of recovery on the page.
    pub(crate) fn forms(&self, login: impl Fn(u64) -> String + Send + Sync + 'static) -> Talk {
        let address = self.address();
        Talk::http(address, move |number| wire::post_form(address, "/forgot", &format!("login={}", login(number))))
    }

    /// What the daemon says of itself on the administrator's socket.
    pub(crate) fn status(&self) -> Value {
        let mut stream = UnixStream::connect(self.folder.join("admin.sock")).expect("the administrator's socket");
        let request = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("a sent request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
        serde_json::from_str(body).unwrap_or_else(|fault| panic!("no JSON ({fault}): {answer}"))
    }

    /// How many requests and messages wait.
    pub(crate) fn waiting(&self) -> (u64, u64) {
        let status = self.status();
        let number = |name: &str| status[name].as_u64().unwrap_or_else(|| panic!("no {name} in {status}"));
        (number("requests_waiting"), number("notices_waiting"))
    }

    /// Waits until the directory has been asked for the first time.
    pub(crate) fn reaches_the_directory(&self) {
        let start = Instant::now();
        // A build to compare with may still have one directory alone.
        let is_up = |status: Value| status["directories"][0]["up"] == true || status["directory"]["up"] == true;
        while !is_up(self.status()) {
            assert!(start.elapsed() < LIMIT, "the directory is not reached: {}", self.status());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until nothing waits; says what still does when nothing was worked off for so long.
    pub(crate) fn drains(&self, patience: Duration) -> Option<(u64, u64)> {
        let (mut before, mut changed) = ((u64::MAX, u64::MAX), Instant::now());
        loop {
            let waiting = self.waiting();
            if waiting == (0, 0) {
                return None;
            }
            if waiting != before {
                (before, changed) = (waiting, Instant::now());
            } else if changed.elapsed() > patience {
                return Some(waiting);
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}
