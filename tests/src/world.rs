//! A world: the real daemon with a directory, a mail server and an administrator's door, which checks itself at its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hyper::{Method, body::Bytes};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    branch::{Branch, PASSWORD},
    http::{Answer, Door},
    mail::Message,
    process::{Process, free_port},
    scratch, secrets,
    slapd::{SERVICE_PASSWORD, Slapd, Variant},
    smtp::{self, Smtp, Tls},
    world_config,
};

/// Whatever takes longer has failed.
const LIMIT: Duration = Duration::from_secs(20);

/// What a world is made of. Made by [`World::builder`].
pub struct Builder {
    directory: Kind,
    mail: Option<Tls>,
    settings: BTreeMap<String, String>,
}

enum Kind {
    Given(Arc<Slapd>),
    Shared(Variant),
}

impl Builder {
    /// Stands on the shared server of this kind, in a branch of its own.
    #[must_use]
    pub fn shared(mut self, variant: Variant) -> Self {
        self.directory = Kind::Shared(variant);
        self
    }

    /// Stands on this server, which the test may stop.
    #[must_use]
    pub fn slapd(mut self, slapd: &Arc<Slapd>) -> Self {
        self.directory = Kind::Given(Arc::clone(slapd));
        self
    }

    /// Sends mail to a server that speaks TLS like this.
    #[must_use]
    pub fn smtp(mut self, tls: Tls) -> Self {
        self.mail = Some(tls);
        self
    }

    /// Writes mail into a folder instead of sending it.
    #[must_use]
    pub fn mail_folder(mut self) -> Self {
        self.mail = None;
        self
    }

    /// Sets a key of the configuration, such as `pace.per_account`, to a value as it is written in the file.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Starts everything, and waits until the daemon is ready.
    pub async fn start(self) -> World {
        let slapd = match self.directory {
            Kind::Given(slapd) => slapd,
            Kind::Shared(variant) => Slapd::shared(variant).await,
        };
        let branch = Branch::grow(&slapd).await;
        let smtp = match self.mail {
            Some(tls) => Some(Smtp::start(tls).await),
            None => None,
        };
        let folder = scratch::folder("w");
        for part in ["state", "secrets", "mail"] {
            fs::create_dir(folder.join(part)).expect("a new folder");
        }
        let key = format!("hook-key-{}-{}", std::process::id(), scratch::next());
        for (name, secret) in [("bind", SERVICE_PASSWORD), ("smtp", smtp::PASSWORD), ("hook", &key)] {
            let file = folder.join("secrets").join(name);
            fs::write(&file, secret).expect("a written file");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("permissions");
        }
        let known = [PASSWORD, SERVICE_PASSWORD, smtp::PASSWORD, &key].map(str::to_owned);
        let mut world = World {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            branch,
            folder,
            key,
            may_leave_mail: AtomicBool::new(false),
            process: Mutex::new(None),
            secrets: Mutex::new(known.into()),
            settings: Mutex::new(self.settings),
            smtp,
        };
        for _ in 0..5 {
            world.address.set_port(free_port());
            world.write_config();
            world.launch();
            if world.becomes_ready().await {
                return world;
            }
            let taken = world.log().contains("in use");
            assert!(taken, "the daemon does not start:\n{}", world.log());
        }
        panic!("no free port for the daemon");
    }
}

/// A running daemon, everything around it, and what a visitor, a login page and an administrator do with it.
///
/// Dropping it checks that every notice was delivered and that no secret was written anywhere, and ends the daemon.
pub struct World {
    /// The people, and the directory that holds them.
    pub branch: Branch,
    /// The mail server, unless mail goes to a folder.
    smtp: Option<Smtp>,
    address: SocketAddr,
    folder: PathBuf,
    key: String,
    may_leave_mail: AtomicBool,
    process: Mutex<Option<Process>>,
    secrets: Mutex<BTreeSet<String>>,
    settings: Mutex<BTreeMap<String, String>>,
}

impl World {
    /// A world with a password policy and mail over STARTTLS.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A world that is not like every other.
    pub fn builder() -> Builder {
        Builder { directory: Kind::Shared(Variant::Policy), mail: Some(Tls::StartTls), settings: BTreeMap::new() }
    }

    // What the parts are.

    /// The mail server.
    pub fn smtp(&self) -> &Smtp {
        self.smtp.as_ref().expect("a world with a mail server")
    }

    /// The directory's server.
    pub fn slapd(&self) -> &Slapd {
        &self.branch.slapd
    }

    /// The entry of somebody.
    pub fn dn(&self, login: &str) -> String {
        self.branch.dn(login)
    }

    /// The pages and the hook.
    pub fn door(&self) -> Door {
        Door::Tcp(self.address)
    }

    /// The address of the pages, as people see it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The folder in which the daemon keeps what it remembers.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
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

    /// This test ends while notices wait, and means to.
    pub fn leaves_mail_behind(&self) {
        self.may_leave_mail.store(true, Ordering::Relaxed);
    }

    // What a visitor does.

    /// Fills in the page for those who forgot their password.
    pub async fn forgets(&self, login: &str) -> Answer {
        let fields = self.door().get("/forgot").await.hidden_fields();
        self.send_form("/forgot", &fields, &[("login", login)]).await
    }

    /// Waits for so many messages to an address, and gives the path of the reset link in the last one.
    pub async fn link(&self, address: &str, count: usize) -> String {
        let messages = self.smtp().wait_for_mail_to(address, count).await;
        let link = messages.last().expect("a message").link("/r/");
        link.strip_prefix(&self.url("")).unwrap_or_else(|| panic!("a link to somewhere else: {link}")).to_owned()
    }

    /// Somebody forgets the password, and gets a link. Gives its path.
    pub async fn forgets_and_gets_link(&self, login: &str) -> String {
        let address = format!("{login}@example.org");
        let count = self.smtp().messages_to(&address).len() + 1;
        let answer = self.forgets(login).await;
        assert!(answer.status.is_success() || answer.status.is_redirection(), "{answer:?}");
        self.link(&address, count).await
    }

    /// Opens a link and sets a password on its page.
    pub async fn sets_password(&self, link: &str, password: &str) -> Answer {
        self.secret(password);
        let fields = self.door().get(link).await.hidden_fields();
        self.send_form(link, &fields, &[("password", password), ("confirm", password)]).await
    }

    async fn send_form(&self, path: &str, hidden: &[(String, String)], fields: &[(&str, &str)]) -> Answer {
        let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let fields: Vec<_> = hidden.chain(fields.iter().copied()).collect();
        self.door().post_form(path, &fields).await
    }

    // What a login page does.

    /// Calls the hook with the right key.
    pub async fn hook(&self, path: &str, body: &Value) -> Answer {
        self.door().post_json(path, Some(&self.key), body).await
    }

    /// Asks whether a password is right.
    pub async fn signs_in(&self, login: &str, password: &str) -> Answer {
        self.secret(password);
        self.hook("/v1/sign-in", &json!({"login": login, "password": password})).await
    }

    // What an administrator does.

    /// Calls the administrator's socket.
    pub async fn admin(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let kind = [("content-type", "application/json")];
        Door::Unix(self.admin_socket()).send(method, path, if body.is_empty() { &[] } else { &kind }, body).await
    }

    /// Runs `rekeyctl`, typing these lines when it asks.
    pub fn rekeyctl(&self, arguments: &[&str], typed: &str) -> Output {
        let mut command = Command::new(program("rekeyctl"));
        command.arg("--socket").arg(self.admin_socket()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("rekeyctl");
        // A program that asks for nothing may have ended already.
        child.stdin.take().expect("its input").write_all(typed.as_bytes()).ok();
        child.wait_with_output().expect("its output")
    }

    /// The administrator's socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.folder.join("admin.sock")
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
        let mut process = locked(&self.process).take().expect("a running daemon");
        process.signal(Signal::SIGTERM);
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

    /// Changes a key of the configuration file. The daemon reads it when it is told to, or started again.
    pub fn set(&self, key: &str, value: &str) {
        locked(&self.settings).insert(key.to_owned(), value.to_owned());
        self.write_config();
    }

    fn write_config(&self) {
        let smtp = self.smtp.as_ref();
        let place = world_config::Place {
            address: self.address,
            base: self.branch.base(),
            folder: &self.folder,
            slapd: self.slapd(),
            smtp,
        };
        fs::write(self.config(), world_config::text(&place, &locked(&self.settings))).expect("a written file");
    }

    fn launch(&self) {
        let config = self.config();
        let arguments = ["--config", config.to_str().expect("a path in UTF-8")];
        *locked(&self.process) = Some(Process::start(&program("rekeyd"), &arguments, &self.folder.join("log")));
    }

    /// Waits until the daemon says that it is ready; no when it has ended.
    async fn becomes_ready(&self) -> bool {
        let start = Instant::now();
        loop {
            if locked(&self.process).as_mut().expect("a daemon").ended().is_some() {
                return false;
            }
            let listens = tokio::net::TcpStream::connect(self.address).await.is_ok();
            if listens && self.door().get("/readyz").await.status.is_success() {
                return true;
            }
            assert!(start.elapsed() < LIMIT, "the daemon does not become ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until nothing is left to send; says what is left when the time is over.
    ///
    /// It blocks, because it belongs to the end of a test, where nothing can be awaited.
    fn undelivered(&self) -> Option<String> {
        let start = Instant::now();
        loop {
            let left = blocking_get(&self.admin_socket(), "/v1/outbox");
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
        let secrets: Vec<_> = locked(&self.secrets).iter().cloned().chain(self.tokens()).collect();
        let places = [self.folder.join("log"), self.state()];
        let found: Vec<_> = places.iter().flat_map(|place| secrets::found_in(place, &secrets)).collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}

/// A program of the workspace, which lies where the test program's own folder lies.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the test program");
    let program = own.parent().and_then(Path::parent).expect("a folder").join(name);
    assert!(program.exists(), "{name} is not built");
    program
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn blocking_get(socket: &Path, path: &str) -> Value {
    let mut stream = UnixStream::connect(socket).expect("the administrator's socket");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a sent request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    serde_json::from_str(body).unwrap_or_else(|fault| panic!("no JSON ({fault}): {body}"))
}
