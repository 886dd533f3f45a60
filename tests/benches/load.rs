//! The load tool: many clients that ask one after the other, and clients that ask by the clock whatever the answers do.
//!
//! It shares the processors with what it measures, so it does little: one thread with an event loop for the first kind,
//! threads that sleep for the second.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rekeyd_tests::figures::Times;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{machine, wire::Talk};

/// What is asked in this time at the beginning does not count.
const WARM_UP: Duration = Duration::from_millis(300);
/// No answer takes longer, unless something hangs.
const LIMIT: Duration = Duration::from_mins(1);

/// What came of a load.
#[derive(Default)]
pub(crate) struct Run {
    /// How long each counted request took.
    pub(crate) times: Times,
    /// The time in which they were counted.
    pub(crate) elapsed: Duration,
    /// All requests that were answered by yes, counted or not.
    pub(crate) answered: u64,
    /// Answers that were no yes, and the first of them.
    pub(crate) wrong: u64,
    pub(crate) example: Option<String>,
    /// How long each of the watched processes computed in that time.
    pub(crate) cpu: Vec<Duration>,
}

impl Run {
    /// Counted requests in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.times.count() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Milliseconds that a watched process computed for each counted request.
    pub(crate) fn cpu_ms(&self, process: usize) -> f64 {
        let spent = self.cpu.get(process).copied().unwrap_or_default();
        spent.as_secs_f64() * 1000.0 / self.times.count().max(1) as f64
    }

    /// What is wrong with it, if anything.
    pub(crate) fn fault(&self, what: &str) -> Option<String> {
        let example = self.example.as_deref().unwrap_or_default();
        (self.wrong > 0)
            .then(|| format!("{what}: {} of {} answers were wrong: {example}", self.wrong, self.wrong + self.answered))
    }
}

/// One answer.
struct Sample {
    /// When it was complete.
    at: Instant,
    took: Duration,
}

/// What one client has seen.
#[derive(Default)]
struct Seen {
    samples: Vec<Sample>,
    wrong: u64,
    example: Option<String>,
}

impl Seen {
    fn add(&mut self, began: Instant, fine: bool, answer: &[u8]) {
        if fine {
            let at = Instant::now();
            self.samples.push(Sample { at, took: at - began });
        } else {
            self.wrong += 1;
            self.example.get_or_insert_with(|| String::from_utf8_lossy(&answer[..answer.len().min(300)]).into_owned());
        }
    }
}

/// Lets so many clients ask for so long, each as soon as it has its answer, on a connection that it keeps.
///
/// `watched` are processes whose computing time is wanted.
pub(crate) fn closed(talk: &Talk, clients: usize, length: Duration, watched: &[u32]) -> Run {
    let begin = Instant::now() + WARM_UP;
    let end = begin + length;
    let runtime = runtime();
    let cpu = Arc::new(Mutex::new(Vec::new()));
    let seen = runtime.block_on(async {
        let observer = tokio::spawn({
            let (watched, cpu) = (watched.to_vec(), Arc::clone(&cpu));
            async move {
                for moment in [begin, end] {
                    tokio::time::sleep_until(moment.into()).await;
                    cpu.lock().expect("the figures").push(machine::cpu(&watched));
                }
            }
        });
        let clients: Vec<_> = (0..clients).map(|_| tokio::spawn(client(talk.clone(), end))).collect();
        let mut seen = Vec::new();
        for client in clients {
            seen.push(client.await.expect("a client"));
        }
        observer.await.expect("the observer");
        seen
    });
    let cpu = cpu.lock().expect("the figures").clone();
    sum_up(seen, begin, end, &cpu)
}

/// Lets so many clients ask for everything that a talk has within its numbers, each as soon as it has its answer.
pub(crate) fn all(talk: &Talk, clients: usize, watched: &[u32]) -> Run {
    let begin = Instant::now();
    let before = machine::cpu(watched);
    let seen = runtime().block_on(async {
        let never = begin + Duration::from_hours(24);
        let clients: Vec<_> = (0..clients).map(|_| tokio::spawn(client(talk.clone(), never))).collect();
        let mut seen = Vec::new();
        for client in clients {
            seen.push(client.await.expect("a client"));
        }
        seen
    });
    sum_up(seen, begin, Instant::now(), &[before, machine::cpu(watched)])
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn client(talk: Talk, end: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut stream = tokio::net::TcpStream::connect(talk.address).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let mut read = Vec::with_capacity(32 * 1024);
    if let Some(hello) = &talk.hello {
        stream.write_all(hello).await.expect("a sent hello");
        let fine = answer(&talk, &mut stream, &mut read).await.expect("an answer to hello");
        assert!(fine, "the hello of a client was refused");
    }
    while Instant::now() < end
        && let Some(request) = talk.request()
    {
        let began = Instant::now();
        stream.write_all(&request).await.expect("a sent request");
        read.clear();
        let fine = tokio::time::timeout(LIMIT, answer(&talk, &mut stream, &mut read)).await.expect("an answer in time");
        seen.add(began, fine.unwrap_or(false), &read);
        if fine.is_none() {
            stream = tokio::net::TcpStream::connect(talk.address).await.expect("a connection");
        }
    }
    seen
}

/// Reads one answer and says whether it is a yes; `None` where the connection ended.
async fn answer(talk: &Talk, stream: &mut tokio::net::TcpStream, read: &mut Vec<u8>) -> Option<bool> {
    loop {
        if stream.read_buf(read).await.ok()? == 0 {
            return None;
        }
        if let Some(frame) = (talk.framing)(read) {
            assert!(frame.length == read.len(), "bytes after an answer");
            read.truncate(frame.length);
            return Some(frame.fine);
        }
    }
}

/// Asks at so many fixed moments a second for so long, and measures from those moments: where an answer is late and the
/// next moment passes meanwhile, the wait of the next request counts, too. `clients` bounds how many are under way.
pub(crate) fn open(talk: &Talk, clients: usize, rate: f64, length: Duration, watched: &[u32]) -> Run {
    let start = Instant::now() + Duration::from_millis(50);
    let (begin, end) = (start + WARM_UP, start + WARM_UP + length);
    let place = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let (talk, place) = (talk.clone(), Arc::clone(&place));
            thread::spawn(move || {
                // The default lets the kernel be late by a twentieth of a millisecond.
                nix::sys::prctl::set_timerslack(1_000).expect("a finer clock");
                let mut line = Line::new(talk);
                let mut seen = Seen::default();
                loop {
                    let number = place.fetch_add(1, Ordering::Relaxed);
                    let due = start + Duration::from_secs_f64(number as f64 / rate);
                    if due >= end {
                        return seen;
                    }
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    line.ask_into(due, &mut seen);
                }
            })
        })
        .collect();
    let mut cpu = Vec::new();
    for moment in [begin, end] {
        thread::sleep(moment.saturating_duration_since(Instant::now()));
        cpu.push(machine::cpu(watched));
    }
    let seen = clients.into_iter().map(|client| client.join().expect("a client")).collect();
    sum_up(seen, begin, end, &cpu)
}

/// A blocking connection: one client whose times nobody else's event loop touches.
pub(crate) struct Line {
    talk: Talk,
    stream: TcpStream,
    request: Vec<u8>,
    read: Vec<u8>,
}

impl Line {
    pub(crate) fn new(talk: Talk) -> Self {
        let stream = connect(talk.address);
        let mut line = Self { talk, stream, request: Vec::new(), read: vec![0; 32 * 1024] };
        if let Some(hello) = line.talk.hello.clone() {
            line.request = hello;
            assert!(line.exchange().is_some_and(|(_, fine)| fine), "the hello of a client was refused");
        }
        line
    }

    /// Asks for the next thing, and says how long it took and whether the answer was a yes.
    pub(crate) fn ask(&mut self) -> (Duration, bool) {
        self.request = self.talk.request().expect("one more request");
        let began = Instant::now();
        let fine = self.exchange().is_some_and(|(_, fine)| fine);
        (began.elapsed(), fine)
    }

    /// Sends these bytes and gives the whole answer.
    pub(crate) fn send(&mut self, request: Vec<u8>) -> Vec<u8> {
        self.request = request;
        let (length, _) = self.exchange().expect("an answer");
        self.read[..length].to_vec()
    }

    fn ask_into(&mut self, began: Instant, seen: &mut Seen) {
        self.request = self.talk.request().expect("one more request");
        if let Some((length, fine)) = self.exchange() {
            seen.add(began, fine, &self.read[..length]);
        } else {
            seen.add(began, false, b"the connection ended");
            self.stream = connect(self.talk.address);
        }
    }

    fn exchange(&mut self) -> Option<(usize, bool)> {
        self.stream.write_all(&self.request).ok()?;
        let mut length = 0;
        loop {
            let more = self.stream.read(&mut self.read[length..]).ok()?;
            length += more;
            if more == 0 {
                return None;
            }
            if let Some(frame) = (self.talk.framing)(&self.read[..length]) {
                return Some((frame.length, frame.fine));
            }
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    stream.set_read_timeout(Some(LIMIT)).expect("a socket");
    stream
}

fn sum_up(seen: Vec<Seen>, begin: Instant, end: Instant, cpu: &[Vec<Duration>]) -> Run {
    let mut run = Run { elapsed: end - begin, ..Run::default() };
    let mut times = Vec::new();
    for one in seen {
        run.answered += one.samples.len() as u64;
        run.wrong += one.wrong;
        run.example = run.example.or(one.example);
        let counted = one.samples.iter().filter(|sample| sample.at >= begin && sample.at < end);
        times.extend(counted.map(|sample| sample.took));
    }
    run.times = Times::new(times);
    if let [before, after] = cpu {
        run.cpu = before.iter().zip(after).map(|(before, after)| after.saturating_sub(*before)).collect();
    }
    run
}
