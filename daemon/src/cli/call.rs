//! One request on the operators' socket, one answer; and every way in which that can fail, with what to do about it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use nix::unistd::{Gid, Group};
use rekeyd_core::text::escaped;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::AbortHandle;
use zeroize::Zeroizing;

use super::print::Screen;
use crate::admin::protocol::Problem;

/// How long connecting may take, and how long the daemon may work on one request (it gives up after a minute itself).
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(75);
/// The largest answer that is read.
const LARGEST: usize = 64 * 1024 * 1024;

/// Asks the daemon.
pub(super) struct Client {
    socket: PathBuf,
}

/// The bytes of an answer; they may hold a password.
pub(super) struct Body(pub(super) Zeroizing<Vec<u8>>);

/// Why there is no answer to show.
#[derive(Debug)]
pub(super) enum Failure {
    /// The caller may not even connect.
    Denied(String),
    /// Something that should always work did not.
    Failed(String),
    /// The answer is no.
    No(String),
    /// The daemon says why not.
    Problem(Box<Problem>),
    /// The daemon does not answer.
    Unreachable(String),
    /// It was asked in the wrong way.
    Usage(String),
}

impl Failure {
    /// Says what is wrong and what to do, and gives the status to end with.
    pub(super) fn report(&self, screen: &Screen) -> ExitCode {
        let status = match self {
            Self::Denied(_) => 77,
            Self::Failed(_) => 70,
            Self::No(_) => 1,
            Self::Problem(problem) => match problem.status {
                400 | 405 | 413 => 64,
                403 => 77,
                404 if problem.code == "no-such-path" => 70,
                404 | 409 | 422 => 1,
                408 | 503 | 504 => 75,
                _ => 70,
            },
            Self::Unreachable(_) => 69,
            Self::Usage(_) => 64,
        };
        match self {
            Self::Denied(why) | Self::Failed(why) | Self::No(why) | Self::Unreachable(why) | Self::Usage(why) => {
                screen.complain(why);
            }
            Self::Problem(problem) => screen.complain_of(problem),
        }
        ExitCode::from(status)
    }
}

/// Understands an answer.
pub(super) fn answered<T: DeserializeOwned>(body: &Body) -> Result<T, Failure> {
    // The text of the fault could repeat what the answer holds.
    serde_json::from_slice(&body.0)
        .map_err(|_| Failure::Failed("the daemon's answer is not understood; is it of another version?".into()))
}

impl Client {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Body, Failure> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    pub(super) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Body, Failure> {
        let bytes = serde_json::to_vec(body).map_err(|error| Failure::Failed(error.to_string()))?;
        self.ask(Method::POST, path, Bytes::from_owner(Zeroizing::new(bytes))).await
    }

    /// Asks for an answer that comes line by line; `each` sees every line. Without a last line it was not whole, which
    /// `each` has to notice.
    pub(super) async fn lines(
        &self,
        path: &str,
        body: &impl Serialize,
        mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(body).map_err(|error| Failure::Failed(error.to_string()))?;
        let (answer, driver) = self.begin(Method::POST, path, Bytes::from(bytes)).await?;
        let status = answer.status();
        let mut body = answer.into_body();
        let mut waiting: Vec<u8> = Vec::new();
        let read = async {
            loop {
                let frame = match tokio::time::timeout(ANSWER, body.frame()).await {
                    Ok(Some(Ok(frame))) => frame,
                    Ok(None) => return Ok(()),
                    Ok(Some(Err(error))) => {
                        return Err(Failure::Failed(format!("the daemon's answer broke off: {error}")));
                    }
                    Err(_) => return Err(self.unreachable(ErrorKind::TimedOut, "it does not go on")),
                };
                let Ok(data) = frame.into_data() else { continue };
                if waiting.len() + data.len() > LARGEST {
                    return Err(Failure::Failed("the daemon's answer has no end".into()));
                }
                waiting.extend_from_slice(&data);
                if status.is_success()
                    && let Some(end) = waiting.iter().rposition(|byte| *byte == b'\n')
                {
                    let rest = waiting.split_off(end + 1);
                    let whole = std::mem::replace(&mut waiting, rest);
                    for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                        each(line)?;
                    }
                }
            }
        };
        let ended = read.await;
        driver.abort();
        ended?;
        if status.is_success() { Ok(()) } else { Err(self.problem(status, &waiting)) }
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Body, Failure> {
        let exchange = async {
            let (answer, driver) = self.begin(method, path, body).await?;
            let status = answer.status();
            let read = Limited::new(answer.into_body(), LARGEST).collect().await;
            driver.abort();
            let bytes = read.map_err(|error| Failure::Failed(format!("the daemon's answer broke off: {error}")))?;
            Ok((status, Body(Zeroizing::new(bytes.to_bytes().to_vec()))))
        };
        let answered = tokio::time::timeout(ANSWER, exchange).await;
        let (status, body) =
            answered.map_err(|_| self.unreachable(ErrorKind::TimedOut, "it took the request and says nothing"))??;
        if status.is_success() { Ok(body) } else { Err(self.problem(status, &body.0)) }
    }

    /// Sends a request, and gives the answer's begin with the task that the connection lives in.
    async fn begin(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(Response<Incoming>, AbortHandle), Failure> {
        let failed = |error: hyper::Error| Failure::Failed(format!("{}: {error}", self.socket.display()));
        let stream = match tokio::time::timeout(CONNECT, UnixStream::connect(&self.socket)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.unreachable(error.kind(), &error.to_string())),
            Err(_) => return Err(self.unreachable(ErrorKind::TimedOut, "it takes no connection")),
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let driver = tokio::spawn(connection).abort_handle();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "rekeyd")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| Failure::Failed(error.to_string()))?;
        match tokio::time::timeout(ANSWER, sender.send_request(request)).await {
            Ok(answer) => Ok((answer.map_err(failed)?, driver)),
            Err(_) => Err(self.unreachable(ErrorKind::TimedOut, "it took the request and says nothing")),
        }
    }

    fn problem(&self, status: StatusCode, body: &[u8]) -> Failure {
        serde_json::from_slice(body)
            .map_or_else(|_| self.without_words(status), |problem| Failure::Problem(Box::new(problem)))
    }

    fn without_words(&self, status: StatusCode) -> Failure {
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Failure::Unreachable(
                "you have too many connections to the daemon open; end some, then try again".into(),
            );
        }
        Failure::Failed(format!("{} answers {status}; does rekeyd listen there?", self.socket.display()))
    }

    fn unreachable(&self, kind: ErrorKind, why: &str) -> Failure {
        let shown = escaped(&self.socket.display().to_string());
        match kind {
            ErrorKind::PermissionDenied => Failure::Denied(format!(
                "you may not use {shown}: it is for root{}. Use sudo, or have yourself added and log in again",
                group_of(&self.socket).map_or_else(String::new, |group| format!(" and members of the group {group}"))
            )),
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Failure::Unreachable(format!(
                "the daemon does not answer on {shown}: is rekeyd running? `systemctl status rekeyd` tells; \
                 --socket names another socket"
            )),
            _ => Failure::Unreachable(format!("the daemon does not answer on {shown}: {why}")),
        }
    }
}

/// The group that may use a socket: the socket's own, or that of its folder where one can't even look inside.
fn group_of(socket: &Path) -> Option<String> {
    let found = fs::metadata(socket).or_else(|_| fs::metadata(socket.parent().unwrap_or(Path::new("/")))).ok()?;
    let group = Group::from_gid(Gid::from_raw(found.gid())).ok()??;
    (found.gid() != 0).then(|| escaped(&group.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_status() {
        let screen = Screen::new(false);
        let problem = |status: u16, code: &str| {
            Failure::Problem(Box::new(Problem {
                kind: String::new(),
                title: String::new(),
                status,
                detail: "x".into(),
                code: code.into(),
                remedy: None,
                violations: Vec::new(),
            }))
        };
        for (failure, status) in [
            (Failure::Usage("x".into()), 64),
            (Failure::Unreachable("x".into()), 69),
            (Failure::Denied("x".into()), 77),
            (Failure::No("x".into()), 1),
            (problem(400, "bad-request"), 64),
            (problem(403, "not-an-operator"), 77),
            (problem(404, "not-found"), 1),
            (problem(404, "no-such-path"), 70),
            (problem(409, "disabled"), 1),
            (problem(422, "weak"), 1),
            (problem(500, "failed"), 70),
            (problem(503, "unavailable"), 75),
            (problem(504, "unsure"), 75),
        ] {
            assert_eq!(
                format!("{:?}", failure.report(&screen)),
                format!("{:?}", ExitCode::from(status)),
                "{failure:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_daemon_that_is_not_there_is_named_with_its_socket() {
        let told = Client::new("/nowhere/admin.sock".into()).get("/v1/status").await.err();
        assert!(
            matches!(told, Some(Failure::Unreachable(why)) if why.contains("/nowhere/admin.sock: is rekeyd running?"))
        );
    }
}
