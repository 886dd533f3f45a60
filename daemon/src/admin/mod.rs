//! The operators' door: HTTP/1.1 with JSON on a Unix socket, for `rekeyctl`, `curl --unix-socket` and scripts.
//!
//! Who calls is what the kernel says of the other end of the connection (`SO_PEERCRED`), and nothing in a request. What
//! they may do is looked up for each request. A connection keeps the rights it was made with even when its process
//! gives them up or hands it on, so it lives ten minutes at most; and a request is told as a story to its end, whether
//! or not somebody still waits for the answer.
//!
//! [`protocol`] is what crosses the socket; [`routes`] says what can be asked, [`answer`] what comes back,
//! [`socket`] how the socket comes to be, [`peer`] who calls.

mod answer;
mod config;
mod peer;
pub mod protocol;
mod routes;
mod socket;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::config::AdminConfig;

use self::answer::Answer;
use self::routes::Asked;
use crate::flow::Rekeyd;

/// Open connections of one uid.
const CONNECTIONS: usize = 16;
/// The head of a request must be there within this time of the connection's begin or of the answer before.
const HEAD: Duration = Duration::from_secs(10);
/// How long looking up a caller's groups may take.
const RANK: Duration = Duration::from_secs(5);
/// How long a story may take before its caller gets an answer without its outcome.
const STORY: Duration = Duration::from_mins(1);
/// How long a connection lives.
const CONNECTION: Duration = Duration::from_mins(10);

/// The operators' socket, listening.
pub struct Door {
    socket: socket::Socket,
    shared: Arc<Shared>,
}

struct Shared {
    rekeyd: Arc<Rekeyd>,
    group: Option<String>,
    connections: Mutex<HashMap<u32, usize>>,
}

impl Door {
    /// Makes the socket and begins to listen.
    ///
    /// # Errors
    /// Words that say what is wrong and what to do.
    pub fn bind(config: &AdminConfig, rekeyd: Arc<Rekeyd>) -> Result<Self, String> {
        let shared = Shared { rekeyd, group: config.group.clone(), connections: Mutex::default() };
        Ok(Self { socket: socket::open(config)?, shared: Arc::new(shared) })
    }

    /// Serves until `stop` turns true; then answers under way are finished, and the socket is removed.
    pub async fn serve(self, mut stop: watch::Receiver<bool>) {
        let listener = match self.socket.listener.try_clone().and_then(UnixListener::from_std) {
            Ok(listener) => listener,
            Err(error) => {
                log::error!("the admin socket can't be waited on: {error}");
                return;
            }
        };
        let mut tasks = JoinSet::new();
        while !*stop.borrow() {
            tokio::select! {
                _ = stop.changed() => {}
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if let Some((stream, seat)) = self.shared.seat(stream) {
                            tasks.spawn(converse(stream, seat, stop.clone()));
                        }
                    }
                    Err(error) => {
                        // Out of descriptors, mostly: connections that end will free some.
                        log::warn!(event = "accept-failed"; "an operator's connection could not be accepted: {error}");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        }
        drop(listener);
        while tasks.join_next().await.is_some() {}
    }
}

/// The place of one connection, given back when dropped.
struct Seat {
    shared: Arc<Shared>,
    uid: u32,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut connections = self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connections.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.uid);
            }
        }
    }
}

impl Shared {
    /// Learns from the kernel who calls, and gives them a place; those who have too many are told so and cut.
    fn seat(self: &Arc<Self>, stream: UnixStream) -> Option<(UnixStream, Seat)> {
        let uid = match stream.peer_cred() {
            Ok(peer) => peer.uid(),
            Err(error) => {
                log::warn!(event = "peer-unknown"; "the kernel does not say who calls: {error}");
                return None;
            }
        };
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let count = connections.entry(uid).or_default();
        if *count >= CONNECTIONS {
            log::warn!(event = "too-many-connections", uid; "uid {uid} has {CONNECTIONS} connections already");
            let told =
                stream.try_write(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            if let Err(error) = told {
                log::debug!("and could not be told: {error}");
            }
            return None;
        }
        *count += 1;
        drop(connections);
        Some((stream, Seat { shared: Arc::clone(self), uid }))
    }

    async fn answer(&self, uid: u32, request: Request<Incoming>) -> Answer {
        let group = self.group.clone();
        let ranking = tokio::task::spawn_blocking(move || peer::rank(uid, group.as_deref()));
        // A name service that hangs or fails says nothing, and nothing is no rank.
        let Ok(Ok(Some(operator))) = tokio::time::timeout(RANK, ranking).await else {
            log::warn!(event = "no-operator", uid; "uid {uid} called the admin socket without a rank");
            return answer::no_rank(uid, self.group.as_deref());
        };
        let asked = match Asked::read(request).await {
            Ok(asked) => asked,
            Err(answer) => return answer,
        };
        let changes = asked.changes();
        // A task of its own: neither a dropped connection nor a panic in it ends anything else.
        let story = tokio::spawn(asked.tell(Arc::clone(&self.rekeyd), operator));
        match tokio::time::timeout(STORY, story).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) if changes => answer::unsure("rekeyd itself failed; see its log"),
            Ok(Err(_)) => {
                let detail = "rekeyd itself failed; see its log";
                let problem = answer::problem(StatusCode::INTERNAL_SERVER_ERROR, "failed", "rekeyd failed", detail);
                Answer::problem(&problem)
            }
            Err(_) if changes => answer::unsure("it takes longer than a minute"),
            Err(_) => answer::unavailable("it takes longer than a minute"),
        }
    }
}

/// One connection, from its begin to its end.
async fn converse(stream: UnixStream, seat: Seat, mut stop: watch::Receiver<bool>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, uid) = (Arc::clone(&seat.shared), seat.uid);
        async move {
            if request.method() == Method::GET && request.uri().path() == "/healthz" {
                return Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok\n"))));
            }
            Ok(respond(shared.answer(uid, request).await))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(64)
        .max_buf_size(32 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let life = tokio::time::sleep(CONNECTION);
    let mut life = std::pin::pin!(life);
    let mut ending = *stop.borrow();
    if ending {
        connection.as_mut().graceful_shutdown();
    }
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    log::debug!("an operator's connection ended early: {error}");
                }
                return;
            }
            _ = stop.changed(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = life.as_mut(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn respond(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.media_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
