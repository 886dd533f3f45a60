//! A mail server that takes everything at once and remembers when: one thread, no encryption, no sign-in. It can be told to
//! be slow, to hold everybody at the door, or to be down. Its own rate is measured too, as the baseline of deliveries.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rekeyd_tests::{mail::Message, process::free_port};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
};

/// How the server behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// Refuses connections, and ends those that there are.
    Down,
    /// Takes connections and says nothing on them.
    Hold,
    /// Waits before each answer.
    Slow(Duration),
    /// Answers at once.
    Take,
}

/// The running server. Dropping it ends it.
pub(crate) struct Sink {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    taken: Arc<Taken>,
}

#[derive(Default)]
struct Taken {
    count: AtomicU64,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// When messages came, by recipient.
    arrivals: HashMap<String, Vec<Instant>>,
    /// The messages themselves, where they are wanted.
    messages: Option<Vec<Message>>,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let (mode, modes) = watch::channel(Mode::Take);
        let taken = Arc::new(Taken::default());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        thread::spawn({
            let taken = Arc::clone(&taken);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(serve(address, modes, taken));
            }
        });
        let sink = Self { address, mode, taken };
        while TcpStream::connect(address).is_err() {
            thread::sleep(Duration::from_millis(1));
        }
        sink
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn behave(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many messages were taken.
    pub(crate) fn count(&self) -> u64 {
        self.taken.count.load(Ordering::Relaxed)
    }

    /// When messages to this login's address came.
    pub(crate) fn arrivals(&self, login: &str) -> Vec<Instant> {
        self.book().arrivals.get(&address_of(login)).cloned().unwrap_or_default()
    }

    /// Keeps the messages themselves from now on, or no longer; gives those that were kept.
    pub(crate) fn keep_messages(&self, keep: bool) -> Vec<Message> {
        std::mem::replace(&mut self.book().messages, keep.then(Vec::new)).unwrap_or_default()
    }

    /// How many messages of this size so many clients hand over in a second, each over connections of its own: a new one
    /// for each message, or always the same.
    pub(crate) fn own_rate(&self, clients: usize, size: usize, kept: bool, length: Duration) -> f64 {
        let (address, end) = (self.address, Instant::now() + length);
        let clients: Vec<_> = (0..clients)
            .map(|number| {
                thread::spawn(move || {
                    let body =
                        format!("Subject: baseline\r\n\r\n{}.\r\n", "0123456789 ... 98765\r\n".repeat(size / 22));
                    let mut count = 0_u64;
                    while Instant::now() < end {
                        let mut client = Client::enter(address).expect("a session");
                        loop {
                            client
                                .hand_over(&format!("baseline-{number}@example.org"), &body)
                                .expect("a taken message");
                            count += 1;
                            if !kept || Instant::now() >= end {
                                break;
                            }
                        }
                    }
                    count
                })
            })
            .collect();
        let count: u64 = clients.into_iter().map(|client| client.join().expect("a client")).sum();
        count as f64 / length.as_secs_f64()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.taken.book.lock().expect("the book")
    }
}

/// The address of somebody of the directory.
fn address_of(login: &str) -> String {
    format!("{login}@example.org")
}

/// A client that hands over messages as plainly as possible.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn enter(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream: BufReader::new(stream) };
        client.hears("220")?;
        client.says("EHLO localhost\r\n", "250")?;
        Ok(client)
    }

    fn hand_over(&mut self, to: &str, body: &str) -> io::Result<()> {
        self.says("MAIL FROM:<noreply@example.org>\r\n", "250")?;
        self.says(&format!("RCPT TO:<{to}>\r\n"), "250")?;
        self.says("DATA\r\n", "354")?;
        self.says(body, "250")
    }

    fn says(&mut self, text: &str, wanted: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes())?;
        self.hears(wanted)
    }

    fn hears(&mut self, wanted: &str) -> io::Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            if line.get(3..4) != Some("-") {
                let fine = line.starts_with(wanted);
                return if fine { Ok(()) } else { Err(io::Error::other(format!("{line:?} instead of {wanted}"))) };
            }
        }
    }
}

async fn serve(address: SocketAddr, mut modes: watch::Receiver<Mode>, taken: Arc<Taken>) {
    loop {
        // Whoever asks in vain shall be refused, not wait at a socket that nobody reads.
        if *modes.borrow_and_update() == Mode::Down {
            if modes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let listener = TcpListener::bind(address).await.expect("the port");
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted.expect("a connection");
                    let (modes, taken) = (modes.clone(), Arc::clone(&taken));
                    tokio::spawn(async move {
                        // A client that goes away is no concern of the server.
                        drop(converse(stream, modes, &taken).await);
                    });
                }
                changed = modes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if *modes.borrow_and_update() == Mode::Down {
                        break;
                    }
                }
            }
        }
    }
}

async fn converse(
    mut stream: tokio::net::TcpStream,
    mut modes: watch::Receiver<Mode>,
    taken: &Taken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut heard: Vec<u8> = Vec::with_capacity(16 * 1024);
    let mut to = String::new();
    let mut in_data = false;
    let mut reply: &[u8] = b"220 localhost ESMTP\r\n";
    loop {
        if !may_answer(&mut modes).await {
            return Ok(());
        }
        stream.write_all(reply).await?;
        // One command, or one message, at a time: nobody is offered to send several at once.
        let line = loop {
            let end: &[u8] = if in_data { b"\r\n.\r\n" } else { b"\r\n" };
            // Only what is new can hold the end; a message comes in one or two pieces.
            if heard.ends_with(end) {
                break std::mem::take(&mut heard);
            }
            let read = tokio::select! {
                read = stream.read_buf(&mut heard) => read?,
                () = goes_down(&mut modes) => return Ok(()),
            };
            if read == 0 {
                return Ok(());
            }
        };
        reply = if in_data {
            in_data = false;
            take(taken, &to, line);
            b"250 2.0.0 taken\r\n"
        } else {
            match line.get(..4).unwrap_or_default() {
                b"DATA" => {
                    in_data = true;
                    b"354 go on\r\n"
                }
                b"EHLO" => b"250-localhost\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 1000000\r\n",
                b"QUIT" => return Ok(()),
                b"RCPT" => {
                    let text = String::from_utf8_lossy(&line);
                    text.split(['<', '>']).nth(1).unwrap_or_default().clone_into(&mut to);
                    b"250 2.1.5 fine\r\n"
                }
                _ => b"250 2.0.0 fine\r\n",
            }
        };
        heard.reserve(16 * 1024);
    }
}

/// Waits as the server's mode wants before an answer; no when the connection is to end.
async fn may_answer(modes: &mut watch::Receiver<Mode>) -> bool {
    loop {
        let mode = *modes.borrow_and_update();
        match mode {
            Mode::Down => return false,
            Mode::Hold => {
                if modes.changed().await.is_err() {
                    return false;
                }
            }
            Mode::Slow(wait) => {
                tokio::time::sleep(wait).await;
                return true;
            }
            Mode::Take => return true,
        }
    }
}

async fn goes_down(modes: &mut watch::Receiver<Mode>) {
    // An owner that is gone ends the server, too.
    drop(modes.wait_for(|mode| *mode == Mode::Down).await);
}

fn take(taken: &Taken, to: &str, raw: Vec<u8>) {
    let mut book = taken.book.lock().expect("the book");
    book.arrivals.entry(to.to_owned()).or_default().push(Instant::now());
    if let Some(messages) = &mut book.messages {
        // A line that begins with a dot was given a second one.
        let text = String::from_utf8_lossy(&raw[..raw.len() - 3]).replace("\r\n..", "\r\n.");
        messages.push(Message { from: String::new(), to: vec![to.to_owned()], raw: text.into_bytes() });
    }
    taken.count.fetch_add(1, Ordering::Relaxed);
}
