//! A way to a directory on which a test can stop one write: before it arrives, or before its answer comes back.
//!
//! It speaks clear text on loopback, reads where each LDAP message begins and ends, and knows no more of it than its kind.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinHandle,
};

/// The kinds of message that write: add, delete, modify, rename, and the extended operation that sets a password.
const WRITES: [u8; 5] = [0x68, 0x4a, 0x66, 0x6c, 0x77];
/// The extended operation that changes a password (RFC 3062); other extended operations write nothing.
const PASSWORD_MODIFY: &[u8] = b"1.3.6.1.4.1.4203.1.11.1";
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

/// A running proxy. Dropping it ends it.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    target: SocketAddr,
    fate: Mutex<Option<Fate>>,
    stopped: Notify,
    released: watch::Sender<u32>,
}

impl Proxy {
    /// Starts a proxy before the server at this URI, which speaks clear text.
    pub async fn start(uri: &str) -> Self {
        let target = uri.trim_start_matches("ldap://").parse().expect("an address");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            target,
            fate: Mutex::default(),
            stopped: Notify::new(),
            released: watch::Sender::new(0),
        });
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(serve(client, Arc::clone(&shared)));
                }
            }
        });
        Self { address, shared, task }
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
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(shared.target).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    // The id of a message whose answer is to be stopped, and what is to happen then.
    let (answer, stops) = watch::channel::<Option<(Vec<u8>, Fate)>>(None);
    let requests = {
        let shared = Arc::clone(&shared);
        async move {
            while let Some(message) = read(&mut from_client).await {
                let fate = if writes(&message) { shared.fate.lock().expect("the fate").take() } else { None };
                match fate {
                    Some(Fate::LoseRequest) => {
                        shared.stopped.notify_one();
                        return;
                    }
                    Some(Fate::HoldRequest) => shared.wait().await,
                    Some(Fate::LoseAfterHold) => {
                        shared.wait().await;
                        return;
                    }
                    Some(fate) => {
                        answer.send_replace(Some((id(&message).to_vec(), fate)));
                    }
                    None => {}
                }
                if to_server.write_all(&message).await.is_err() {
                    return;
                }
            }
        }
    };
    let answers = async move {
        while let Some(message) = read(&mut from_server).await {
            let fate = stops.borrow().as_ref().filter(|(stopped, _)| stopped == id(&message)).map(|(_, fate)| *fate);
            match fate {
                Some(Fate::LoseAnswer) => {
                    shared.stopped.notify_one();
                    return;
                }
                Some(_) => shared.wait().await,
                None => {}
            }
            if to_client.write_all(&message).await.is_err() {
                return;
            }
        }
    };
    // Whichever ends first ends the connection on both sides.
    tokio::select! {
        () = requests => {}
        () = answers => {}
    }
}

impl Shared {
    async fn wait(&self) {
        let mut released = self.released.subscribe();
        self.stopped.notify_one();
        // The proxy has ended, and with it the connection.
        drop(released.changed().await);
    }
}

/// One whole message; `None` at the end of the connection.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut message = vec![0; 2];
    stream.read_exact(&mut message).await.ok()?;
    assert_eq!(message[0], 0x30, "no LDAP message: is this TLS?");
    let length = if message[1] < 0x80 {
        usize::from(message[1])
    } else {
        let mut long = vec![0; usize::from(message[1] & 0x7f)];
        stream.read_exact(&mut long).await.ok()?;
        message.extend(&long);
        long.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
    };
    let start = message.len();
    message.resize(start + length, 0);
    stream.read_exact(&mut message[start..]).await.ok()?;
    Some(message)
}

/// What stands between the outer header and the operation: the message id, with its own header.
fn id(message: &[u8]) -> &[u8] {
    let start = 2 + if message[1] < 0x80 { 0 } else { usize::from(message[1] & 0x7f) };
    &message[start..start + 2 + usize::from(message[start + 1])]
}

fn writes(message: &[u8]) -> bool {
    let id = id(message);
    let start = id.as_ptr() as usize - message.as_ptr() as usize + id.len();
    let kind = message[start];
    let sets_password = || message.windows(PASSWORD_MODIFY.len()).any(|window| window == PASSWORD_MODIFY);
    WRITES.contains(&kind) && (kind != 0x77 || sets_password())
}
