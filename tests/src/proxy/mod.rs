//! A way to a directory on which a test can stop one write, before it arrives or before its answer comes back, and on
//! which everything can be made to fail that goes over a network.
//!
//! It speaks clear text on loopback, reads where each LDAP message begins and ends, and knows little more of it than its kind.

pub(crate) mod message;
mod relay;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, watch},
    task::{AbortHandle, JoinHandle},
};

pub use self::message::Kind;
use crate::process::free_port;

/// A write that nobody sends.
const PATIENCE: Duration = Duration::from_secs(20);

/// What happens to the next write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It waits at the proxy until [`Proxy::release`].
    HoldRequest,
    /// It is carried out; its answer waits at the proxy until [`Proxy::release`].
    HoldAnswer,
    /// The connection ends instead of it.
    LoseRequest,
    /// It is carried out, and the connection ends instead of its answer.
    LoseAnswer,
    /// It waits at the proxy until [`Proxy::release`], and then the connection ends instead of it.
    LoseAfterHold,
}

/// Which requests a standing fault meets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Of {
    /// All.
    All,
    /// Those of one kind.
    Kind(Kind),
    /// Those that name this, in any case: an attribute, an entry.
    Naming(String),
    /// Writes that name this.
    Writing(String),
}

/// What happens to them, until [`Proxy::heal`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The connection ends in the middle of the answer.
    Cut,
    /// This operation comes as the answer again and again, so often that nobody should read to the end.
    Flood(&'static [u8]),
    /// These bytes come instead of the answer.
    Garbage(&'static [u8]),
    /// It is carried out, and no answer ever comes.
    Mute,
    /// A search reference to this place comes before the answer.
    Reference(String),
    /// This result comes, perhaps with a referral, and the server never hears of it.
    Result(u8, Option<String>),
    /// Nothing ever comes, and the server never hears of it.
    Silent,
    /// The answer comes so much later.
    Slow(Duration),
}

/// A running proxy. Dropping it ends it.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    target: SocketAddr,
    fate: Mutex<Option<Fate>>,
    faults: Mutex<Vec<(Of, Fault)>>,
    seen: Mutex<Vec<Kind>>,
    writes: Mutex<Vec<Vec<u8>>>,
    swaps: Mutex<Vec<[&'static [u8]; 2]>>,
    connections: Mutex<Vec<AbortHandle>>,
    stopped: Notify,
    released: watch::Sender<u32>,
}

impl Proxy {
    /// Starts a proxy before the server at this URI, which speaks clear text.
    pub async fn start(uri: &str) -> Self {
        let target = uri.trim_start_matches("ldap://").parse().expect("an address");
        let shared = Arc::new(Shared {
            target,
            fate: Mutex::default(),
            faults: Mutex::default(),
            seen: Mutex::default(),
            writes: Mutex::default(),
            swaps: Mutex::default(),
            connections: Mutex::default(),
            stopped: Notify::new(),
            released: watch::Sender::new(0),
        });
        let listener = loop {
            // No connection of somebody else takes this port while the proxy is closed.
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).await {
                break listener;
            }
        };
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, task: Mutex::new(Some(task)) }
    }

    /// Where it is.
    pub fn uri(&self) -> String {
        format!("ldap://{}", self.address)
    }

    /// Decides what happens to the next write.
    pub fn next_write(&self, fate: Fate) {
        *self.shared.fate.lock().expect("the fate") = Some(fate);
    }

    /// Waits until the next write has met its fate.
    pub async fn stopped(&self) {
        tokio::time::timeout(PATIENCE, self.shared.stopped.notified()).await.expect("a write");
    }

    /// Lets go on what waits.
    pub fn release(&self) {
        self.shared.released.send_modify(|count| *count += 1);
    }

    /// Lets all such requests fail from now on. Of several faults the first that fits counts.
    pub fn fail(&self, of: Of, fault: Fault) {
        self.shared.faults.lock().expect("the faults").push((of, fault));
    }

    /// Ends all standing faults.
    pub fn heal(&self) {
        self.shared.faults.lock().expect("the faults").clear();
    }

    /// Lets all answers say something else in place of these bytes, of the same length.
    pub fn swap(&self, from: &'static [u8], to: &'static [u8]) {
        assert_eq!(from.len(), to.len(), "a message keeps its length");
        self.shared.swaps.lock().expect("the swaps").push([from, to]);
    }

    /// The writes since the last call, byte by byte.
    pub fn writes(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.shared.writes.lock().expect("the writes"))
    }

    /// Ends all connections and refuses new ones, until [`Self::open`].
    pub async fn close(&self) {
        let task = self.task.lock().expect("the proxy").take().expect("an open proxy");
        task.abort();
        // Aborting is what makes it end.
        drop(task.await);
        self.cut();
    }

    /// Ends all connections; new ones are taken.
    pub fn cut(&self) {
        self.shared.connections.lock().expect("the connections").drain(..).for_each(|connection| connection.abort());
    }

    /// Takes connections again after [`Self::close`], at the same place.
    pub async fn open(&self) {
        let listener = TcpListener::bind(self.address).await.expect("the same port");
        *self.task.lock().expect("the proxy") = Some(tokio::spawn(accept(listener, Arc::clone(&self.shared))));
    }

    /// How many connections the daemon has here now.
    pub fn connections(&self) -> usize {
        self.shared.connections.lock().expect("the connections").iter().filter(|one| !one.is_finished()).count()
    }

    /// What was asked since the last call, in order.
    pub fn seen(&self) -> Vec<Kind> {
        std::mem::take(&mut self.shared.seen.lock().expect("what was seen"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().expect("the proxy").take() {
            task.abort();
        }
        self.cut();
    }
}

/// A place at which connections are neither taken nor refused, as behind a firewall that drops what it does not like.
pub struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    _fill: Vec<TcpStream>,
}

impl BlackHole {
    /// Makes one: a listener that takes nothing, with a full queue.
    pub async fn start() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        let listener = socket.listen(0).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let mut fill = Vec::new();
        while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            fill.push(stream);
        }
        Self { address, _listener: listener, _fill: fill }
    }

    /// Where it is.
    pub fn uri(&self) -> String {
        format!("ldap://{}", self.address)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let relay = tokio::spawn(relay::serve(client, Arc::clone(&shared))).abort_handle();
        let mut connections = shared.connections.lock().expect("the connections");
        connections.retain(|connection| !connection.is_finished());
        connections.push(relay);
    }
}

impl Shared {
    /// What happens to a request that meets a standing fault.
    fn fault(&self, request: &[u8]) -> Option<Fault> {
        let fits = |of: &Of| match of {
            Of::All => true,
            Of::Kind(kind) => message::kind(request) == *kind,
            Of::Naming(name) => message::contains(request, name.as_bytes()),
            Of::Writing(name) => message::kind(request) == Kind::Write && message::contains(request, name.as_bytes()),
        };
        let faults = self.faults.lock().expect("the faults");
        faults.iter().find(|(of, _)| fits(of)).map(|(_, fault)| fault.clone())
    }

    /// An answer with everything swapped that is to be.
    fn swapped(&self, mut message: Vec<u8>) -> Vec<u8> {
        for [from, to] in self.swaps.lock().expect("the swaps").iter() {
            while let Some(at) = message.windows(from.len()).position(|window| window == *from) {
                message[at..at + to.len()].copy_from_slice(to);
            }
        }
        message
    }

    async fn wait(&self) {
        let mut released = self.released.subscribe();
        self.stopped.notify_one();
        // The proxy has ended, and with it the connection.
        drop(released.changed().await);
    }
}
