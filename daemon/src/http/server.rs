//! The accept loop: plain HTTP/1.1 with a limit on every wait and on every count.
//!
//! Each connection has a seat, which knows what the connection is doing and since when; `seats` decides who stays.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::config::Limits;
use super::seats::{Busy, Pulse, Seat, Seats, network};
use super::strict::Strict;

/// The largest head of a request, in bytes, and the most fields in it.
const LARGEST_HEAD: usize = 16 * 1024;
const MOST_FIELDS: usize = 64;

/// Connections that the kernel holds until they are accepted. A crowd that comes at once must not make others come twice.
const WAITING: u32 = 4096;
/// Descriptors that connections leave to everything else: the operators' socket, the store, the directory and the mail.
const KEPT_DESCRIPTORS: usize = 160;
/// Connections that have lost their place and are about to end.
const LEAVING: usize = 32;
/// What a connection hears that finds no place, and nobody there who only waits.
const NO_SEAT: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The other end.
    pub remote: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
}

/// A socket that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Begins to listen, on a runtime. Port 0 lets the system choose; [`Server::address`] tells.
    pub fn bind(listen: SocketAddr) -> io::Result<Self> {
        let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(listen)?;
        let listener = socket.listen(WAITING)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` turns true, then ends in order: no new connections, answers in work are finished within
    /// their limit. `near` names peers on this machine and the proxies: their connections are not counted as one
    /// source's, and where others could reach the listener, too, they alone are heard, since nothing is encrypted here.
    /// `handle` never panics.
    pub async fn run<N, H, F>(self, limits: Limits, near: N, handle: H, mut stop: watch::Receiver<bool>)
    where
        N: Fn(IpAddr) -> bool,
        H: Fn(Request<Arriving>, Peer) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let limits = Limits { connections: affordable(limits.connections), ..limits };
        let seats = Arc::new(Seats::new(limits));
        let mut tasks = JoinSet::new();
        while !*stop.borrow() {
            let accepted = tokio::select! {
                changed = stop.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => break,
                },
                Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
                // Whoever made room for another ends within moments; until then they hold a descriptor.
                accepted = self.listener.accept(), if tasks.len() < limits.connections + LEAVING => accepted,
            };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly: connections that end will free some.
                    log::warn!(event = "accept-failed"; "a connection could not be accepted: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let ip = remote.ip().to_canonical();
            let near = near(ip);
            if !near && !self.address.ip().is_loopback() {
                log::warn!(event = "direct-connection", source = ip.to_string(); "a connection that came by no proxy is dropped");
                continue;
            }
            let source = (!near).then(|| network(ip));
            let Some(seat) = seats.take(source) else {
                if let Err(error) = stream.try_write(NO_SEAT) {
                    log::debug!("a connection without a place could not be told: {error}");
                }
                continue;
            };
            let peer = Peer { remote, local: stream.local_addr().unwrap_or(self.address) };
            tasks.spawn(converse(stream, peer, seat, limits, handle.clone(), stop.clone()));
        }
        drop(self.listener);
        let drained = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limits.request, drained).await.is_err() {
            log::warn!(event = "connections-cut"; "connections were still open at the end and are cut");
        }
    }
}

/// So many connections as the process's descriptors allow, where those are fewer than wanted.
fn affordable(wanted: usize) -> usize {
    let descriptors = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((limit, _)) => usize::try_from(limit).unwrap_or(usize::MAX),
        Err(error) => {
            log::warn!("the limit of descriptors can't be read: {error}");
            return wanted;
        }
    };
    let most = most_connections(descriptors);
    if most < wanted {
        log::warn!(event = "few-descriptors", connections = most; "of {descriptors} descriptors {most} are for connections, not the {wanted} of the configuration; raise LimitNOFILE=");
    }
    wanted.min(most)
}

/// What is left for connections; never so little that nobody could come in.
fn most_connections(descriptors: usize) -> usize {
    descriptors.saturating_sub(KEPT_DESCRIPTORS + LEAVING).max(descriptors / 8).max(1)
}

/// One connection, from its begin to its end.
async fn converse<H, F>(
    stream: TcpStream,
    peer: Peer,
    seat: Seat,
    limits: Limits,
    handle: H,
    mut stop: watch::Receiver<bool>,
) where
    H: Fn(Request<Arriving>, Peer) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("a connection ended before it began: {error}");
        return;
    }
    let pulse = &seat.pulse;
    let service = service_fn(|request: Request<Incoming>| {
        let busy = Busy::new(Arc::clone(pulse), !request.body().is_end_stream());
        let request = request.map(|body| Arriving { body, pulse: Arc::clone(pulse) });
        // Where a chunked body ends is in its bytes alone, so nothing behind it is taken for a request.
        let last = request.headers().contains_key(TRANSFER_ENCODING);
        // In a box of its own: else each connection, also one that asks for nothing, has room for the largest story.
        let answer = Box::pin(handle(request, peer));
        async move {
            let mut answer = answer.await;
            if last {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            drop(busy);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The pulse keeps the tighter limits; this one holds should it ever miss a beat.
        .header_read_timeout(limits.idle.max(limits.header))
        .max_headers(MOST_FIELDS)
        .max_header_size(LARGEST_HEAD)
        .max_buf_size(2 * LARGEST_HEAD)
        .half_close(true)
        .serve_connection(
            TokioIo::new(Watched { stream, pulse: Arc::clone(pulse), strict: Strict::default() }),
            service,
        );
    let mut connection = std::pin::pin!(connection);
    let mut ending = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    log::debug!("a connection ended early: {error}");
                }
                break;
            }
            () = pulse.evicted.notified() => break,
            _ = stop.changed(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep_until(pulse.deadline(&limits)) => {
                if pulse.is_overdue(&limits) {
                    break;
                }
            }
        }
    }
}

/// A body whose end is noticed.
pub struct Arriving {
    body: Incoming,
    pulse: Arc<Pulse>,
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.pulse.received();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose first bytes after a pause are noticed, and whose odd heads are made unreadable.
struct Watched {
    stream: TcpStream,
    pulse: Arc<Pulse>,
    strict: Strict,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(new) = buf.filled_mut().get_mut(before..)
            && !new.is_empty()
        {
            self.pulse.beat();
            self.strict.pass(new);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    struct Running {
        address: SocketAddr,
        stop: watch::Sender<bool>,
        task: JoinHandle<()>,
    }

    /// A server whose answers take as long as their path says.
    fn start(limits: Limits, near: bool) -> Running {
        start_on("127.0.0.1:0", limits, near)
    }

    fn start_on(listen: &str, limits: Limits, near: bool) -> Running {
        let server = Server::bind(listen.parse().unwrap()).unwrap();
        let address = SocketAddr::new([127, 0, 0, 1].into(), server.address().port());
        let (stop, stopped) = watch::channel(false);
        let handle = |request: Request<Arriving>, _| async move {
            let wait = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            Response::new(Full::new(Bytes::from_static(b"done")))
        };
        let task = tokio::spawn(server.run(limits, move |_| near, handle, stopped));
        Running { address, stop, task }
    }

    fn short() -> Limits {
        Limits {
            header: Duration::from_millis(300),
            idle: Duration::from_millis(900),
            request: Duration::from_secs(2),
            ..Limits::default()
        }
    }

    async fn connect(running: &Running) -> TcpStream {
        TcpStream::connect(running.address).await.unwrap()
    }

    /// Reads until the server closes; how long that took, and what came.
    async fn until_closed(stream: &mut TcpStream) -> (Duration, String) {
        let begin = Instant::now();
        let mut text = Vec::new();
        let read = stream.read_to_end(&mut text);
        drop(tokio::time::timeout(Duration::from_secs(8), read).await.unwrap());
        (begin.elapsed(), String::from_utf8_lossy(&text).into_owned())
    }

    async fn ask(stream: &mut TcpStream, path: &str) -> String {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = vec![0; 4096];
        let read = stream.read(&mut text).await.unwrap();
        text.truncate(read);
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn t104_silent_partial_and_idle_connections_end() {
        let running = start(short(), true);
        let mut silent = connect(&running).await;
        let mut partial = connect(&running).await;
        partial.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        let mut idle = connect(&running).await;
        assert!(ask(&mut idle, "/").await.ends_with("done"));
        let ((silent, _), (partial, _), (idle, _)) =
            tokio::join!(until_closed(&mut silent), until_closed(&mut partial), until_closed(&mut idle));
        assert!(silent < Duration::from_millis(800), "{silent:?}");
        assert!(partial < Duration::from_millis(800), "{partial:?}");
        assert!((Duration::from_millis(600)..Duration::from_secs(3)).contains(&idle), "{idle:?}");
    }

    #[tokio::test]
    async fn t104_a_second_request_that_dribbles_ends_too() {
        let running = start(short(), true);
        let mut stream = connect(&running).await;
        assert!(ask(&mut stream, "/").await.ends_with("done"));
        let dribble = async {
            let begin = Instant::now();
            while stream.write_all(b"G").await.is_ok() && begin.elapsed() < Duration::from_secs(5) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            begin.elapsed()
        };
        let lasted = dribble.await;
        assert!(lasted < Duration::from_secs(2), "{lasted:?}");
    }

    #[tokio::test]
    async fn t104_waiting_connections_make_room() {
        let running = start(Limits { connections: 8, ..Limits::default() }, true);
        let mut crowd = Vec::new();
        for _ in 0..50 {
            crowd.push(connect(&running).await);
        }
        let mut stream = connect(&running).await;
        assert!(ask(&mut stream, "/").await.ends_with("done"));
        let (_, left) = until_closed(&mut crowd.remove(0)).await;
        assert_eq!(left, "");
    }

    #[tokio::test]
    async fn t104_one_source_makes_room_among_its_own_and_busy_ones_stay() {
        let running = start(Limits { connections_per_source: 2, ..Limits::default() }, false);
        let mut busy = (connect(&running).await, connect(&running).await);
        let answers = async { tokio::join!(ask(&mut busy.0, "/600"), ask(&mut busy.1, "/600")) };
        let late = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            until_closed(&mut connect(&running).await).await.1
        };
        let ((one, two), refused) = tokio::join!(answers, late);
        assert!(one.ends_with("done") && two.ends_with("done"));
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    }

    #[test]
    fn r23_descriptors_are_kept_for_everything_else() {
        let left = [16, 64, 256, 1024, 524_288].map(most_connections);
        assert_eq!(left, [2, 8, 64, 832, 524_096]);
    }

    #[tokio::test]
    async fn t108_beyond_loopback_only_proxies_and_this_machine_are_heard() {
        let stranger = start_on("0.0.0.0:0", Limits::default(), false);
        let (after, heard) = until_closed(&mut connect(&stranger).await).await;
        assert!(heard.is_empty() && after < Duration::from_secs(2), "{after:?} {heard}");
        let proxy = start_on("0.0.0.0:0", Limits::default(), true);
        assert!(ask(&mut connect(&proxy).await, "/").await.ends_with("done"));
    }

    #[tokio::test]
    async fn the_end_waits_for_answers_in_work() {
        let running = start(short(), true);
        let mut stream = connect(&running).await;
        let mut idle = connect(&running).await;
        assert!(ask(&mut idle, "/").await.ends_with("done"));
        let end = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            running.stop.send(true).unwrap();
        };
        let (answer, ()) = tokio::join!(ask(&mut stream, "/500"), end);
        assert!(answer.ends_with("done"), "{answer}");
        running.task.await.unwrap();
        assert!(TcpStream::connect(running.address).await.is_err());
    }

    #[tokio::test]
    async fn t103_smuggling_is_refused() {
        let running = start(Limits::default(), true);
        for (request, status) in [
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "400"),
            ("GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost : x\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", "400"),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello", "400"),
            ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\nhello", "400"),
        ] {
            let mut stream = connect(&running).await;
            stream.write_all(request.as_bytes()).await.unwrap();
            let (_, answer) = until_closed(&mut stream).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:?} {answer}");
        }
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(100));
        let large = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "b".repeat(20_000));
        for request in [many, large] {
            let mut stream = connect(&running).await;
            stream.write_all(request.as_bytes()).await.unwrap();
            let (_, answer) = until_closed(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_head_is_an_answer_without_its_body() {
        let running = start(Limits::default(), true);
        let mut stream = connect(&running).await;
        let two = "HEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(two.as_bytes()).await.unwrap();
        let (_, answers) = until_closed(&mut stream).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
        assert_eq!(answers.matches("content-length: 4").count(), 2, "{answers}");
        assert_eq!(answers.matches("done").count(), 1, "{answers}");
    }
}
