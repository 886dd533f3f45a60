//! A world: the real daemon with a directory, a mail server and an administrator's door, which checks itself at its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hyper::{Method, body::Bytes};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    branch::Branch,
    builder::Builder,
    estate::Estate,
    ground::Ground,
    http::Door,
    mail::Message,
    process::Process,
    secrets,
    slapd::Slapd,
    smtp::Smtp,
    world_config::{self, Way},
};

/// Whatever takes longer has failed.
const LIMIT: Duration = Duration::from_secs(20);

/// What the daemon is started in.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// A program with its arguments that starts the daemon and is then gone, such as `nsenter`.
    pub through: Vec<String>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
}

/// A running daemon, everything around it, and what a visitor, a login page and an administrator do with it.
///
/// Dropping it checks that every notice was delivered and that no secret was written anywhere, and ends the daemon.
pub struct World {
    pub(crate) ground: Ground,
    /// The mail server, unless mail goes to a folder.
    pub(crate) smtp: Option<Smtp>,
    pub(crate) address: Mutex<SocketAddr>,
    pub(crate) folder: PathBuf,
    pub(crate) key: String,
    pub(crate) may_leave_mail: AtomicBool,
    pub(crate) process: Mutex<Option<Process>>,
    pub(crate) secrets: Mutex<BTreeSet<String>>,
    pub(crate) settings: Mutex<BTreeMap<String, String>>,
    pub(crate) surroundings: Mutex<Surroundings>,
    pub(crate) way: Way,
}

impl World {
    /// A world with a password policy and mail over STARTTLS.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A world that is not like every other.
    pub fn builder() -> Builder {
        Builder::default()
    }

    // What the parts are.

    /// The mail server.
    pub fn smtp(&self) -> &Smtp {
        self.smtp.as_ref().expect("a world with a mail server")
    }

    /// Whether mail goes to a server.
    pub fn sends_mail(&self) -> bool {
        self.smtp.is_some()
    }

    /// The people, and the directory that holds them.
    pub fn branch(&self) -> &Branch {
        self.ground.branch()
    }

    /// The estate, in a world on one.
    pub fn estate(&self) -> &Estate {
        self.ground.estate()
    }

    /// The directory's server.
    pub fn slapd(&self) -> &Slapd {
        self.ground.slapd()
    }

    /// The entry of somebody.
    pub fn dn(&self, login: &str) -> String {
        self.ground.dn(login)
    }

    /// The pages and the hook.
    pub fn door(&self) -> Door {
        Door::Tcp(self.address())
    }

    /// Where the daemon listens.
    pub fn address(&self) -> SocketAddr {
        *locked(&self.address)
    }

    /// The address of the pages, as people see it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// The folder of everything that belongs to this world.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder in which the daemon keeps what it remembers.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The daemon's database.
    pub fn database(&self) -> PathBuf {
        self.state().join("rekeyd.db")
    }

    /// The administrator's socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.folder.join("admin.sock")
    }

    /// The folder that takes the mail in a world without a mail server.
    pub fn mail_folder(&self) -> PathBuf {
        self.folder.join("mail")
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("rekeyd.toml")
    }

    /// The key of the login page.
    pub fn hook_key(&self) -> &str {
        &self.key
    }

    /// Everything that the daemon has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// Names something that must be found in no file at the end.
    pub fn secret(&self, secret: &str) {
        locked(&self.secrets).insert(secret.to_owned());
    }

    /// Everything that was named so far, and the tokens of all messages.
    pub fn secrets(&self) -> Vec<String> {
        locked(&self.secrets).iter().cloned().chain(self.tokens()).collect()
    }

    /// This test ends while notices wait, and means to.
    pub fn leaves_mail_behind(&self) {
        self.may_leave_mail.store(true, Ordering::Relaxed);
    }

    // What happens to the daemon.

    /// The process id of the daemon.
    pub fn pid(&self) -> u32 {
        locked(&self.process).as_ref().expect("a running daemon").pid()
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) {
        locked(&self.process).as_ref().expect("a running daemon").signal(signal);
    }

    /// Stops the daemon as the system does, and gives how it ended.
    pub fn stop(&self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.ends()
    }

    /// Tells the daemon to end, if it has not ended already.
    pub fn quits(&self) {
        if !self.has_ended() {
            self.signal(Signal::SIGTERM);
        }
    }

    /// Whether the daemon has ended by itself, or by somebody else's hand.
    pub fn has_ended(&self) -> bool {
        locked(&self.process).as_mut().is_none_or(|process| process.ended().is_some())
    }

    /// Waits for a daemon that was told to end, and gives how it ended.
    pub fn ends(&self) -> ExitStatus {
        let mut process = locked(&self.process).take().expect("a running daemon");
        process.wait(LIMIT)
    }

    /// Ends the daemon as a power cut does.
    pub fn kill9(&self) {
        let mut process = locked(&self.process).take().expect("a running daemon");
        process.signal(Signal::SIGKILL);
        process.wait(LIMIT);
    }

    /// Starts the daemon again after [`Self::stop`] or [`Self::kill9`], and waits until it is ready.
    pub async fn restart(&self) {
        self.launch();
        assert!(self.becomes_ready().await, "the daemon does not start again:\n{}", self.log());
    }

    /// Tells the daemon to read its configuration again, and waits until it says how that went.
    pub async fn reload(&self) {
        let told = |log: &str| log.matches("event=reload").count();
        let before = told(&self.log());
        self.signal(Signal::SIGHUP);
        crate::acts::until("the configuration was read again", async || told(&self.log()) > before).await;
    }

    /// From its next start on, the daemon is started in other surroundings.
    pub fn surround(&self, surroundings: Surroundings) {
        *locked(&self.surroundings) = surroundings;
    }

    /// Changes a key of the configuration file. The daemon reads it when it is told to, or started again.
    pub fn set(&self, key: &str, value: &str) {
        locked(&self.settings).insert(key.to_owned(), value.to_owned());
        self.write_config();
    }

    pub(crate) fn write_config(&self) {
        let smtp = self.smtp.as_ref();
        let place = world_config::Place {
            address: self.address(),
            folder: &self.folder,
            hook_key: &self.key,
            ground: &self.ground,
            smtp,
            way: &self.way,
        };
        fs::write(self.config(), world_config::text(&place, &locked(&self.settings))).expect("a written file");
    }

    /// Starts the daemon and waits for nothing.
    pub fn launch(&self) {
        let Surroundings { through, environment } = locked(&self.surroundings).clone();
        let through: Vec<_> = through.iter().map(String::as_str).collect();
        let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.launch_under(&through, &environment);
    }

    /// Starts the daemon this once under another program, such as a tracer, or one that becomes it, such as `prlimit`, with
    /// variables in its environment, and waits for nothing.
    pub fn launch_under(&self, program_before: &[&str], environment: &[(&str, &str)]) {
        let text = |path: PathBuf| path.to_str().expect("a path in UTF-8").to_owned();
        let daemon = [text(program("rekeyd")), "--config".to_owned(), text(self.config())];
        let words: Vec<_> = program_before.iter().copied().chain(daemon.iter().map(String::as_str)).collect();
        let log = self.folder.join("log");
        *locked(&self.process) = Some(Process::start_in(Path::new(words[0]), &words[1..], environment, &log));
    }

    /// Starts the daemon once more where one was killed. The kernel may still be clearing that one away, and another test
    /// may be trying out its port.
    pub async fn revive(&self) {
        let start = Instant::now();
        loop {
            self.launch();
            if self.becomes_ready().await {
                return;
            }
            let log = self.log();
            let is_taken = log.lines().next_back().is_some_and(|last| last.contains("in use"));
            assert!(is_taken && start.elapsed() < LIMIT, "the daemon does not start again:\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the daemon says that it is ready; no when it has ended.
    pub async fn becomes_ready(&self) -> bool {
        let start = Instant::now();
        loop {
            if locked(&self.process).as_mut().expect("a daemon").ended().is_some() {
                return false;
            }
            let ready = self.door().try_send(Method::GET, "/readyz", &[], Bytes::new()).await;
            if ready.is_some_and(|answer| answer.status.is_success()) {
                return true;
            }
            assert!(start.elapsed() < LIMIT, "the daemon does not become ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets the daemon listen on another port from its next start on.
    pub fn moves_to(&self, port: u16) {
        locked(&self.address).set_port(port);
        self.write_config();
    }

    /// Waits until the daemon has asked the directory for the first time, which it does once it is ready.
    pub async fn reaches_the_directory(&self) {
        let up = async || self.door().get("/readyz").await.json()["directory"] == "up";
        crate::acts::until("the directory answers", up).await;
    }

    /// Waits until nothing is left to send; says what is left when the time is over.
    ///
    /// It blocks, because it belongs to the end of a test, where nothing can be awaited.
    fn undelivered(&self) -> Option<String> {
        let start = Instant::now();
        loop {
            let left = blocking_get(&self.admin_socket(), "/v1/outbox?waiting=true&limit=1000");
            let left = world_config::undelivered(&left);
            if left.is_none() || start.elapsed() > LIMIT {
                return left;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The secrets of everything that was sent: what follows the last slash of each link.
    fn tokens(&self) -> Vec<String> {
        let messages: Vec<Message> = self.smtp.as_ref().map(Smtp::messages).unwrap_or_default();
        let links = messages.iter().flat_map(Message::links);
        links.filter_map(|link| link.rsplit_once('/').map(|(_, token)| token.to_owned())).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A test that has failed already has said what matters.
        if thread::panicking() {
            if UnixStream::connect(self.admin_socket()).is_ok() {
                eprintln!("The trail:");
                self.audit().iter().for_each(|row| eprintln!("  {row}"));
            }
            eprintln!("The daemon's log:\n{}", self.log());
            return;
        }
        let runs = locked(&self.process).is_some();
        if runs {
            if !self.may_leave_mail.load(Ordering::Relaxed) {
                let left = self.undelivered();
                assert!(left.is_none(), "notices were not delivered: {left:?}\n{}", self.log());
            }
            let status = self.stop();
            assert!(status.success(), "the daemon ended with {status}:\n{}", self.log());
        }
        let secrets = self.secrets();
        let places = [self.folder.join("log"), self.state()];
        let found: Vec<_> = places.iter().flat_map(|place| secrets::found_in(place, &secrets)).collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

/// A program of the workspace, which lies beside this one, or beside its folder where this one is a test.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the test program");
    let folder = own.parent().expect("a folder");
    let folder = if folder.ends_with("deps") { folder.parent().expect("a folder") } else { folder };
    let program = folder.join(name);
    assert!(program.exists(), "{name} is not built");
    program
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Asks the administrator's socket without awaiting, which the end of a test can not.
pub(crate) fn blocking_get(socket: &Path, path: &str) -> Value {
    let mut stream = UnixStream::connect(socket).expect("the administrator's socket");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a sent request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    serde_json::from_str(body).unwrap_or_else(|fault| panic!("no JSON ({fault}): {body}"))
}
