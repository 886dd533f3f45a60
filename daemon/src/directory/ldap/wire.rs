//! The operations on a connection, each with a deadline. Those of rekeyd itself and the binds by which people's passwords
//! are checked are of different types: no story can use the connection of one for the other.

use std::fmt;
use std::time::Duration;

use rekeyd_core::domain::EntryName;
use rekeyd_core::flavour::Reply;
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;

use super::connection::{Answered, Connection};
use super::pool::Place;
use super::request::{Modify, Page, Query, Request};

/// What an operation ends with when the server can't answer it now: operationsError, timeLimitExceeded, adminLimitExceeded,
/// busy, unavailable, other. It says nothing about the entries, so that nothing may be concluded or kept.
pub(super) const PASSING: [u32; 6] = [1, 3, 11, 51, 52, 80];
/// Those of them that a search ends with when it alone asks for too much: timeLimitExceeded, adminLimitExceeded.
const LIMITS: [u32; 2] = [3, 11];
/// Those of them that may be about one question alone: a plugin or a constructed attribute fails on one entry, or what holds
/// a part of the entries is away. operationsError, unavailable, other.
const DOUBTFUL: [u32; 3] = [1, 52, 80];

/// Why an operation has no answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// The server is there, and this one question has no answer: it goes beyond a limit, the server's or ours, or what
    /// the server needs for it fails. Other questions fare as they would without it, so that nobody but the one who asked
    /// has a disadvantage of it: whoever knows such a question could shut everybody out with it.
    Beyond(String),
    /// All connections that there may be are in use. Nothing was done, and it says nothing of the server.
    Busy(String),
    /// The connection ended while the operation was under way.
    Broken(String),
    /// The server answers that it can't answer this. Whether it could answer anything else only other questions tell.
    Doubtful(String),
    /// The server is reached and does not let us in, or is not what the configuration says.
    Refused(String),
    /// No answer in time.
    Silent(String),
    /// Nothing was done: no connection, or a server that can't answer searches at the moment.
    Unreachable(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Beyond(why)
        | Self::Broken(why)
        | Self::Busy(why)
        | Self::Doubtful(why)
        | Self::Refused(why)
        | Self::Silent(why)
        | Self::Unreachable(why)) = self;
        f.write_str(why)
    }
}

impl Failure {
    /// What it means where rekeyd asks for itself, always the same and before any story: a server that can't answer even
    /// that can't be used.
    pub(super) fn asked_for_ourselves(self) -> Self {
        match self {
            Self::Beyond(why) | Self::Doubtful(why) => Self::Unreachable(why),
            other => other,
        }
    }
}

/// A connection on which rekeyd is known as itself, in the hands of one story.
pub(super) struct Link {
    place: Place,
    deadline: Duration,
}

/// A connection on which one person's bind after the other is tried, and nothing else.
pub(super) struct BindLink {
    place: Place,
    deadline: Duration,
}

/// What a search found.
pub(super) struct Results {
    /// The entries.
    pub(super) entries: Vec<Entry>,
    /// Whether it was referred to other servers, too. Nobody asks them, since nobody gives them our credentials.
    pub(super) references: bool,
    /// The server's last word.
    pub(super) reply: Reply,
}

impl Link {
    pub(super) fn new(place: Place, deadline: Duration) -> Self {
        Self { place, deadline }
    }

    /// Whether it is good for another operation.
    pub(super) fn is_usable(&self) -> bool {
        self.place.connection.as_ref().is_some_and(Connection::is_settled)
    }

    /// Searches. A server that can't answer now is a failure; every other end is for the caller to read.
    pub(super) async fn search(&mut self, query: &Query<'_>) -> Result<Results, Failure> {
        let answered = self.one(Request::Search(query)).await?;
        self.results(vec![answered])?.pop().ok_or_else(|| Failure::Broken("the server's answer makes no sense".into()))
    }

    /// One page of a search, and where the next begins; none after the last. How it ended is for the caller to read.
    pub(super) async fn page(
        &mut self,
        query: &Query<'_>,
        cookie: &[u8],
    ) -> Result<(Results, Option<Vec<u8>>), Failure> {
        let Answered { entries, references, reply, cookie, .. } =
            self.one(Request::Page(query, Page { cookie })).await?;
        Ok((Results { entries, references, reply }, cookie))
    }

    /// Sends several searches together; their results come in the same order.
    pub(super) async fn searches(&mut self, queries: &[Query<'_>]) -> Result<Vec<Results>, Failure> {
        let requests: Vec<Request<'_>> = queries.iter().map(Request::Search).collect();
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let answered = exchange(&mut self.place, &requests, self.deadline).await?;
        self.results(answered)
    }

    fn results(&mut self, answered: Vec<Answered>) -> Result<Vec<Results>, Failure> {
        if answered.iter().any(|answered| answered.reply.code == 1) {
            // Active Directory answers so where it no longer knows who asks.
            self.place.connection = None;
        }
        answered.into_iter().map(results).collect()
    }

    /// Replaces attributes, if the entry fits the condition at that moment.
    pub(super) async fn modify(&mut self, name: &EntryName, modify: Modify<'_>) -> Result<Reply, Failure> {
        if let Some(Err(bad)) = modify.condition.map(Filter::parse) {
            return Err(Failure::Refused(format!("the condition of a write: {bad}")));
        }
        Ok(self.one(Request::Modify { name, modify }).await?.reply)
    }

    /// Tries to remove a value of an attribute. Whoever asks knows that it is not there, and learns whether we may.
    pub(super) async fn remove(&mut self, name: &EntryName, attribute: &str, value: &[u8]) -> Result<Reply, Failure> {
        Ok(self.one(Request::Remove { name, attribute, value }).await?.reply)
    }

    /// The password-modify operation.
    pub(super) async fn set_password(&mut self, name: &EntryName, password: &str) -> Result<Reply, Failure> {
        Ok(self.one(Request::PasswordModify { name, password }).await?.reply)
    }

    /// Who the server says we are, such as `dn:cn=rekeyd,dc=example,dc=org`.
    pub(super) async fn who_am_i(&mut self) -> Result<Option<String>, Failure> {
        let Answered { reply, value, .. } = self.one(Request::WhoAmI).await?;
        Ok(value.filter(|_| reply.code == 0).and_then(|value| String::from_utf8(value).ok()))
    }

    async fn one(&mut self, request: Request<'_>) -> Result<Answered, Failure> {
        only(&mut self.place, request, self.deadline).await
    }
}

impl BindLink {
    pub(super) fn new(place: Place, deadline: Duration) -> Self {
        Self { place, deadline }
    }

    /// One person's bind. It is sent once: a server counts each wrong one.
    pub(super) async fn bind(mut self, name: &EntryName, password: &str) -> Result<Reply, Failure> {
        let reply = only(&mut self.place, bind_request(name, password)?, self.deadline).await?.reply;
        let plain = match reply.code {
            0 => reply.policy.is_none_or(|policy| policy.error.is_none() && policy.grace.is_none()),
            // Nobody is known on the connection any more (RFC 4513, section 4).
            49 => true,
            _ => false,
        };
        if !plain {
            // A server may hold whoever must change a password to that, for as long as the connection lives.
            self.place.connection = None;
        }
        Ok(reply)
    }
}

/// A simple bind. The password must not be empty: that would be an anonymous success.
pub(super) fn bind_request<'r>(name: &'r EntryName, password: &'r str) -> Result<Request<'r>, Failure> {
    if name.0.is_empty() || password.is_empty() || password.contains('\0') {
        return Err(Failure::Refused("a bind without a name or a password is never sent".into()));
    }
    Ok(Request::Bind { name, password })
}

async fn exchange(place: &mut Place, requests: &[Request<'_>], deadline: Duration) -> Result<Vec<Answered>, Failure> {
    match &mut place.connection {
        Some(connection) => connection.exchange(requests, deadline).await,
        None => Err(Failure::Unreachable("the connection has ended".into())),
    }
}

async fn only(place: &mut Place, request: Request<'_>, deadline: Duration) -> Result<Answered, Failure> {
    let answered = exchange(place, &[request], deadline).await?.pop();
    answered.ok_or_else(|| Failure::Broken("the server's answer makes no sense".into()))
}

fn results(answered: Answered) -> Result<Results, Failure> {
    match answered.reply.code {
        code if LIMITS.contains(&code) => return Err(Failure::Beyond(answered.reply.words())),
        code if DOUBTFUL.contains(&code) => return Err(Failure::Doubtful(answered.reply.words())),
        code if PASSING.contains(&code) => return Err(Failure::Unreachable(answered.reply.words())),
        _ => {}
    }
    Ok(Results { entries: answered.entries, references: answered.references, reply: answered.reply })
}
