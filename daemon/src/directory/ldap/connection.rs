//! One connection: requests go out in one write, answers come back within limits of size, number and time. Whatever goes
//! wrong ends the connection; nobody reads on after an answer that makes no sense.

use std::time::Duration;

use rekeyd_core::flavour::Reply;
use rekeyd_core::flavour::entry::Entry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::answer::{Answer, Body};
use super::ber::{Header, Malformed, SEQUENCE, Writer};
use super::request::Request;
use super::stream::Stream;
use super::wire::Failure;

/// The longest message of a server.
const LONGEST_MESSAGE: usize = 1 << 20;
/// The most bytes of all answers of one exchange.
const MOST_BYTES: usize = 8 << 20;
/// The most answers to one request that are no entries.
const MOST_ASIDES: usize = 1000;
/// What is read at once, and what a connection keeps of the room that a long answer took.
const ROOM: usize = 4096;
const KEPT_ROOM: usize = 1 << 16;
/// Ids start again before they could become negative.
const LAST_ID: u32 = 1 << 30;

/// A connection that is in use by one story at a time.
pub(super) struct Connection {
    stream: Stream,
    last_id: u32,
    /// What has been read, and how much of it was understood already.
    read: Vec<u8>,
    done: usize,
    /// Whether every request has its whole answer.
    settled: bool,
}

/// What one request was answered with.
pub(super) struct Answered {
    pub(super) entries: Vec<Entry>,
    /// Whether a search was referred to other servers.
    pub(super) references: bool,
    pub(super) reply: Reply,
    /// The value of an extended operation.
    pub(super) value: Option<Vec<u8>>,
}

/// A request on the way.
struct Open {
    id: u32,
    kind: u8,
    limit: usize,
    asides: usize,
    entries: Vec<Entry>,
    references: bool,
    end: Option<(Reply, Option<Vec<u8>>)>,
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, last_id: 0, read: Vec::new(), done: 0, settled: true }
    }

    /// The stream, if nothing was read beyond the last answer.
    pub(super) fn into_stream(self) -> Option<Stream> {
        (self.settled && self.read.len() == self.done).then_some(self.stream)
    }

    /// Whether it is certain that nothing is under way on it, and the server is there.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.settled && self.read.len() == self.done && self.stream.is_quiet()
    }

    /// Whether the last exchange came to its end.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Sends requests together and waits for all their answers, which come in the order of the requests.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] where the requests did not go out whole, so that no server can have acted on the last
    /// one; [`Failure::Silent`] where the answers did not come in time; [`Failure::Broken`] for every other end.
    pub(super) async fn exchange(
        &mut self,
        requests: &[Request<'_>],
        deadline: Duration,
    ) -> Result<Vec<Answered>, Failure> {
        // Whoever drops this half-way leaves a connection that nobody uses again.
        if !std::mem::replace(&mut self.settled, false) {
            return Err(Failure::Unreachable("the connection has ended".into()));
        }
        let until = Instant::now() + deadline;
        let answers = tokio::time::timeout_at(until, async {
            let mut open = self.send(requests, deadline).await?;
            while open.iter().any(|one| one.end.is_none()) {
                let answer = self.receive().await?;
                take(&mut open, answer)?;
            }
            Ok(open)
        });
        let open = answers
            .await
            .unwrap_or_else(|_| Err(Failure::Silent(format!("no answer within {} ms", deadline.as_millis()))))?;
        self.tidy();
        self.settled = true;
        Ok(open.into_iter().filter_map(Open::whole).collect())
    }

    async fn send(&mut self, requests: &[Request<'_>], deadline: Duration) -> Result<Vec<Open>, Failure> {
        let mut bytes = Writer::with_room(requests.iter().map(Request::room).sum());
        // Somewhat longer than we wait: the server's own limit is for searches that nobody waits for any more.
        let seconds = u32::try_from(deadline.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        let mut open = Vec::with_capacity(requests.len());
        for request in requests {
            self.last_id = if self.last_id >= LAST_ID { 1 } else { self.last_id + 1 };
            request.write(self.last_id, seconds, &mut bytes);
            open.push(Open {
                id: self.last_id,
                kind: request.answered_by(),
                limit: request.limit(),
                asides: 0,
                entries: Vec::new(),
                references: false,
                end: None,
            });
        }
        let ended = |_| Failure::Unreachable("the connection has ended".into());
        self.stream.write_all(bytes.bytes()).await.map_err(ended)?;
        self.stream.flush().await.map_err(ended)?;
        Ok(open)
    }

    /// The next message.
    async fn receive(&mut self) -> Result<Answer, Failure> {
        loop {
            let unread = self.read.get(self.done..).unwrap_or_default();
            if let Some(length) = length_of(unread).map_err(senseless)? {
                if let Some(message) = unread.get(..length) {
                    let answer = Answer::read(message).map_err(senseless)?;
                    self.done += length;
                    if self.done > MOST_BYTES {
                        return Err(Failure::Broken("the server's answer has no end".into()));
                    }
                    return Ok(answer);
                }
                self.read.reserve(length.saturating_sub(unread.len()).min(LONGEST_MESSAGE));
            } else {
                self.read.reserve(ROOM);
            }
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) => return Err(Failure::Broken("the server ended the connection".into())),
                Ok(_) => {}
                Err(error) => return Err(Failure::Broken(format!("the connection ended: {error}"))),
            }
        }
    }

    /// Gives back what long answers took.
    fn tidy(&mut self) {
        self.read.drain(..self.done.min(self.read.len()));
        self.done = 0;
        self.read.shrink_to(KEPT_ROOM);
    }
}

impl Open {
    fn whole(self) -> Option<Answered> {
        let (reply, value) = self.end?;
        Some(Answered { entries: self.entries, references: self.references, reply, value })
    }
}

/// The length of the message that these bytes begin, once that is known.
fn length_of(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    match Header::read(bytes)? {
        Some(header) if header.tag != SEQUENCE || header.content > LONGEST_MESSAGE => Err(Malformed),
        header => Ok(header.map(|header| header.own + header.content)),
    }
}

/// Takes an answer for the request that it belongs to.
fn take(open: &mut [Open], answer: Answer) -> Result<(), Failure> {
    if answer.id == 0 {
        let words = match answer.body {
            Body::Result { reply, .. } => reply.words(),
            Body::Entry(_) | Body::Intermediate | Body::Reference => return Err(senseless(Malformed)),
        };
        return Err(Failure::Broken(format!("the server ended the connection: {words}")));
    }
    let Some(one) = open.iter_mut().find(|one| one.id == answer.id && one.end.is_none()) else {
        return Err(senseless(Malformed));
    };
    match answer.body {
        Body::Entry(entry) if one.entries.len() < one.limit => one.entries.push(entry),
        Body::Intermediate | Body::Reference if one.asides < MOST_ASIDES => {
            one.asides += 1;
            one.references |= matches!(answer.body, Body::Reference);
        }
        Body::Result { kind, reply, value } if kind == one.kind => one.end = Some((reply, value)),
        _ => return Err(senseless(Malformed)),
    }
    Ok(())
}

fn senseless(_: Malformed) -> Failure {
    Failure::Broken("the server's answer makes no sense".into())
}
