//! A real SMTP server that keeps what it takes, and fails where a test says so.

use std::{
    collections::{HashMap, VecDeque},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::{
    mail::Message,
    process::free_port,
    smtp_session,
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

pub(crate) struct Shared {
    pub(crate) tls: Tls,
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) messages: Vec<Message>,
    pub(crate) once: HashMap<Step, VecDeque<Fault>>,
    pub(crate) always: HashMap<Step, Fault>,
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
        let is_to_it = |message: &&Message| message.to.iter().any(|to| to == address);
        self.state(|state| state.messages.iter().filter(is_to_it).cloned().collect())
    }

    /// How many messages to one address there are so far, and the last of them.
    pub fn last_to(&self, address: &str) -> (usize, Option<Message>) {
        let is_to_it = |message: &&Message| message.to.iter().any(|to| to == address);
        self.state(|state| {
            let all = || state.messages.iter().filter(is_to_it);
            (all().count(), all().next_back().cloned())
        })
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
            drop(smtp_session::serve(stream, &shared).await);
        });
    }
}
