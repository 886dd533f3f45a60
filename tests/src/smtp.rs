//! A real SMTP server that keeps what it takes, and fails where a test says so.

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    mail::Message,
    process::free_port,
    tls::{self, Certificate},
};

/// The login that the server asks for.
pub const LOGIN: &str = "mailer";
/// Its password.
pub const PASSWORD: &str = "smtp-Pw-1618";

/// How long [`Smtp::wait_for`] waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// When TLS begins. Before it nothing but `STARTTLS` is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tls {
    /// With the first byte.
    Implicit,
    /// Never: the server does not even offer it.
    None,
    /// When asked for.
    StartTls,
}

/// Where a session can be made to fail.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Step {
    /// The login.
    Auth,
    /// The final dot: all bytes of a message are there.
    Body,
    /// A new connection.
    Connect,
    /// The wish to send the bytes of a message.
    Data,
    /// The greeting.
    Ehlo,
    /// The sender.
    MailFrom,
    /// A recipient.
    RcptTo,
    /// The wish for TLS.
    StartTls,
}

/// What happens there instead.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection ends without an answer. At [`Step::Body`] the message is *not* kept.
    Drop,
    /// This answer, such as `451 4.3.0 later`.
    Reply(&'static str),
    /// The right thing, so much later.
    Slow(Duration),
    /// At [`Step::Body`]: the message is kept, and the connection ends without an answer.
    TakeAndDrop,
    /// At [`Step::Body`]: the message is kept, and the answer comes so much later.
    TakeAndWait(Duration),
}

/// A running server. Dropping it ends it.
pub struct Smtp {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    tls: Tls,
    acceptor: TlsAcceptor,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    messages: Vec<Message>,
    once: HashMap<Step, VecDeque<Fault>>,
    always: HashMap<Step, Fault>,
    connections: usize,
}

impl Smtp {
    /// Starts a server with a good certificate for `localhost` and `127.0.0.1`.
    pub async fn start(tls: Tls) -> Self {
        Self::start_with(tls, tls::server()).await
    }

    /// Starts a server that shows this certificate.
    pub async fn start_with(tls: Tls, certificate: &Certificate) -> Self {
        let chain = CertificateDer::pem_file_iter(&certificate.certificate).expect("a certificate file");
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate with its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let shared = Arc::new(Shared { tls, acceptor, state: Mutex::default() });
        let listener = listen().await;
        let address = listener.local_addr().expect("an address");
        let task = Mutex::new(Some(tokio::spawn(accept(listener, Arc::clone(&shared)))));
        Self { shared, address, task }
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// When TLS begins.
    pub fn tls(&self) -> Tls {
        self.shared.tls
    }

    /// Refuses connections from now on, until [`Self::open`].
    pub async fn close(&self) {
        let task = self.task.lock().expect("the server").take();
        let task = task.expect("an open server");
        task.abort();
        // Aborting is what makes it end.
        drop(task.await);
    }

    /// Takes connections again after [`Self::close`], on the same port.
    pub async fn open(&self) {
        let listener = TcpListener::bind(self.address).await.expect("the same port");
        *self.task.lock().expect("the server") = Some(tokio::spawn(accept(listener, Arc::clone(&self.shared))));
    }

    /// Lets the next session that comes to this step fail. Several wait for their turn.
    pub fn fail_once(&self, step: Step, fault: Fault) {
        self.state(|state| state.once.entry(step).or_default().push_back(fault));
    }

    /// Lets every session that comes to this step fail, until [`Self::heal`].
    pub fn fail(&self, step: Step, fault: Fault) {
        self.state(|state| state.always.insert(step, fault));
    }

    /// Ends all failures.
    pub fn heal(&self) {
        self.state(|state| {
            state.always.clear();
            state.once.clear();
        });
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.state(|state| state.connections)
    }

    /// All messages so far, in order.
    pub fn messages(&self) -> Vec<Message> {
        self.state(|state| state.messages.clone())
    }

    /// All messages to one address so far, in order.
    pub fn messages_to(&self, address: &str) -> Vec<Message> {
        self.messages().into_iter().filter(|message| message.to.iter().any(|to| to == address)).collect()
    }

    /// Waits until there are so many messages, and gives all; fails the test if they do not come.
    pub async fn wait_for(&self, count: usize) -> Vec<Message> {
        wait(count, || self.messages()).await
    }

    /// Waits until there are so many messages to one address, and gives all of them.
    pub async fn wait_for_mail_to(&self, address: &str, count: usize) -> Vec<Message> {
        wait(count, || self.messages_to(address)).await
    }

    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.shared.state.lock().expect("the state"))
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().expect("the server").take() {
            task.abort();
        }
    }
}

async fn wait(count: usize, messages: impl Fn() -> Vec<Message>) -> Vec<Message> {
    let start = Instant::now();
    loop {
        let messages = messages();
        if messages.len() >= count {
            return messages;
        }
        assert!(start.elapsed() < PATIENCE, "{} messages came instead of {count}", messages.len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Takes a port that no other program gets while the server is closed.
async fn listen() -> TcpListener {
    loop {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).await {
            return listener;
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        shared.state.lock().expect("the state").connections += 1;
        tokio::spawn(async move {
            // A client that goes away is no concern of the server.
            drop(serve(stream, &shared).await);
        });
    }
}

async fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if shared.tls == Tls::Implicit {
        return Session::new(shared.acceptor.accept(stream).await?, shared, true).run(true).await.map(drop);
    }
    let session = Session::new(stream, shared, false);
    if let Some(stream) = session.run(true).await? {
        // Bytes that came before the handshake must not count as sent within it: the reader's buffer is dropped here.
        Session::new(shared.acceptor.accept(stream).await?, shared, true).run(false).await?;
    }
    Ok(())
}

/// How a step ends.
enum Next {
    End,
    Failed,
    Go,
    TakeAndEnd,
    TakeAndWait(Duration),
}

struct Session<'a, S> {
    stream: BufReader<S>,
    shared: &'a Shared,
    secure: bool,
    trusted: bool,
    from: Option<String>,
    to: Vec<String>,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Session<'a, S> {
    fn new(stream: S, shared: &'a Shared, secure: bool) -> Self {
        Self { stream: BufReader::new(stream), shared, secure, trusted: false, from: None, to: Vec::new() }
    }

    /// Speaks until the end; gives the stream back when TLS is to begin on it.
    async fn run(mut self, greet: bool) -> io::Result<Option<S>> {
        if greet {
            match self.step(Step::Connect).await? {
                Next::Go => self.reply("220 localhost ESMTP").await?,
                _ => return Ok(None),
            }
        }
        let mut line = String::new();
        loop {
            line.clear();
            if self.stream.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            let line = line.trim_end();
            let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
            let verb = verb.to_ascii_uppercase();
            let step = match verb.as_str() {
                "AUTH" => Step::Auth,
                "DATA" => Step::Data,
                "EHLO" => Step::Ehlo,
                "MAIL" => Step::MailFrom,
                "RCPT" => Step::RcptTo,
                "STARTTLS" => Step::StartTls,
                "NOOP" | "RSET" => {
                    (self.from, self.to) = (None, Vec::new());
                    self.reply("250 2.0.0 fine").await?;
                    continue;
                }
                "QUIT" => {
                    self.reply("221 2.0.0 bye").await?;
                    return Ok(None);
                }
                _ => {
                    self.reply("502 5.5.2 unknown").await?;
                    continue;
                }
            };
            match self.step(step).await? {
                Next::Go => {}
                Next::Failed => continue,
                Next::End | Next::TakeAndEnd | Next::TakeAndWait(_) => return Ok(None),
            }
            match step {
                Step::Ehlo => self.greet().await?,
                Step::StartTls if self.shared.tls == Tls::StartTls && !self.secure => {
                    self.reply("220 2.0.0 begin").await?;
                    return Ok(Some(self.stream.into_inner()));
                }
                _ if !self.secure && self.shared.tls != Tls::None => {
                    self.reply("530 5.7.0 Must issue a STARTTLS command first").await?;
                }
                Step::Auth => self.log_in(rest).await?,
                _ if !self.trusted => self.reply("530 5.7.0 Authentication required").await?,
                Step::MailFrom => {
                    self.from = Some(address(rest));
                    self.reply("250 2.1.0 fine").await?;
                }
                Step::RcptTo if self.from.is_some() => {
                    self.to.push(address(rest));
                    self.reply("250 2.1.5 fine").await?;
                }
                Step::Data if !self.to.is_empty() => {
                    if !self.take().await? {
                        return Ok(None);
                    }
                }
                _ => self.reply("503 5.5.1 not now").await?,
            }
        }
    }

    async fn greet(&mut self) -> io::Result<()> {
        let mut offers = vec!["localhost", "8BITMIME", "SMTPUTF8", "SIZE 1000000"];
        if self.secure || self.shared.tls == Tls::None {
            offers.push("AUTH PLAIN");
        } else {
            offers.push("STARTTLS");
        }
        let last = offers.len() - 1;
        for (place, offer) in offers.iter().enumerate() {
            self.reply(&format!("250{}{offer}", if place == last { ' ' } else { '-' })).await?;
        }
        Ok(())
    }

    async fn log_in(&mut self, rest: &str) -> io::Result<()> {
        let mut answer = rest.strip_prefix("PLAIN").map(str::trim).unwrap_or_default().to_owned();
        if answer.is_empty() {
            self.reply("334 ").await?;
            self.stream.read_line(&mut answer).await?;
        }
        let right = format!("\0{LOGIN}\0{PASSWORD}");
        self.trusted = BASE64.decode(answer.trim().as_bytes()).is_ok_and(|given| given == right.as_bytes());
        self.reply(if self.trusted { "235 2.7.0 welcome" } else { "535 5.7.8 wrong" }).await
    }

    /// Takes the bytes of a message; no when the session ends with it.
    async fn take(&mut self) -> io::Result<bool> {
        self.reply("354 go on").await?;
        let mut raw = Vec::new();
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(false);
            }
            if line == b".\r\n" {
                break;
            }
            raw.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        let message = Message { from: self.from.take().unwrap_or_default(), to: std::mem::take(&mut self.to), raw };
        let next = self.step(Step::Body).await?;
        if matches!(next, Next::Go | Next::TakeAndEnd | Next::TakeAndWait(_)) {
            self.shared.state.lock().expect("the state").messages.push(message);
        }
        if let Next::TakeAndWait(delay) = next {
            tokio::time::sleep(delay).await;
        }
        if matches!(next, Next::Go | Next::TakeAndWait(_)) {
            self.reply("250 2.0.0 taken").await?;
        }
        Ok(matches!(next, Next::Go | Next::Failed | Next::TakeAndWait(_)))
    }

    /// Lets a scripted fault happen.
    async fn step(&mut self, step: Step) -> io::Result<Next> {
        let fault = {
            let mut state = self.shared.state.lock().expect("the state");
            let once = state.once.get_mut(&step).and_then(VecDeque::pop_front);
            once.or_else(|| state.always.get(&step).cloned())
        };
        match fault {
            None => Ok(Next::Go),
            Some(Fault::Drop) => Ok(Next::End),
            Some(Fault::Reply(reply)) => {
                self.reply(reply).await?;
                Ok(Next::Failed)
            }
            Some(Fault::Slow(delay)) => {
                tokio::time::sleep(delay).await;
                Ok(Next::Go)
            }
            Some(Fault::TakeAndDrop) => Ok(Next::TakeAndEnd),
            Some(Fault::TakeAndWait(delay)) => Ok(Next::TakeAndWait(delay)),
        }
    }

    async fn reply(&mut self, line: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await?;
        self.stream.get_mut().flush().await
    }
}

/// The address in `FROM:<ada@example.org> SIZE=1`.
fn address(rest: &str) -> String {
    let inner = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(|| rest.to_owned(), |(address, _)| address.to_owned())
}
