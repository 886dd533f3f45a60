//! Requests: accepted, leased, put back, ended.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::{
    Actor, DataKey, DirectoryKey, Event, EventKind, Login, Origin, Purpose, RequestId, Source, Timestamp,
};
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::change::Manner;
use super::fault::{Fault, unless_damaged};
use super::pace::{Look, keyed, look, take};
use super::seal::{moment, open, seal};
use super::writer::Desk;
use super::{Sqlite, events, fair, outbox};
use crate::store::{Acceptance, Counter, Ended, Error, LeasedRequest, NewNotice, NewRequest};

/// What is sealed of a request.
#[derive(Deserialize, Serialize)]
struct Typed {
    login: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    directory: Option<DirectoryKey>,
    languages: Vec<String>,
    actor: WrittenActor,
}

/// An actor as it is sealed.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub(super) enum WrittenActor {
    Client { name: String, ip: Option<IpAddr> },
    Operator { uid: u32, name: String },
    System,
    Visitor { ip: IpAddr },
}

impl From<Actor> for WrittenActor {
    fn from(actor: Actor) -> Self {
        match actor {
            Actor::Client { name, source } => Self::Client { name, ip: source.map(|source| source.ip) },
            Actor::Operator { uid, name } => Self::Operator { uid, name },
            Actor::System => Self::System,
            Actor::Visitor { source } => Self::Visitor { ip: source.ip },
        }
    }
}

impl From<WrittenActor> for Actor {
    fn from(actor: WrittenActor) -> Self {
        match actor {
            WrittenActor::Client { name, ip } => Self::Client { name, source: ip.map(|ip| Source { ip }) },
            WrittenActor::Operator { uid, name } => Self::Operator { uid, name },
            WrittenActor::System => Self::System,
            WrittenActor::Visitor { ip } => Self::Visitor { source: Source { ip } },
        }
    }
}

/// How a request's row ends.
pub(super) struct End<'e> {
    pub(super) state: &'static str,
    pub(super) reason: Option<&'e str>,
    pub(super) ticket: Option<[u8; 22]>,
    pub(super) at: Timestamp,
}

/// Ends a waiting request and forgets what was typed. `Busy` where somebody else ended it before, or where `leased` is
/// asked for and its lease was given back.
pub(super) fn end(desk: &Desk<'_>, id: RequestId, leased: bool, end: &End<'_>) -> Result<(), Fault> {
    let origin: Option<String> = desk
        .connection
        .prepare_cached(
            "UPDATE requests SET state = ?2, reason = ?3, ticket = ?4, ended = ?5, sealed = NULL, leased = 0
             WHERE id = ?1 AND state = 'waiting' AND leased >= ?6 RETURNING origin",
        )?
        .query_row((id.bytes(), end.state, end.reason, end.ticket, end.at.millis(), i64::from(leased)), |row| {
            row.get(0)
        })
        .optional()?;
    let origin = origin.ok_or_else(Fault::busy)?;
    if origin == Origin::Person.word() {
        desk.remember(|memory| memory.waiting = memory.waiting.saturating_sub(1));
    }
    Ok(())
}

/// Whether a waiting request names a directory. All of them are opened, which is for the start alone.
pub(super) fn rest_on(desk: &Desk<'_>, directory: DirectoryKey) -> Result<bool, Fault> {
    let mut statement = desk.connection.prepare_cached("SELECT * FROM requests WHERE state = 'waiting'")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if read(row, desk.key)?.is_some_and(|request| request.directory == Some(directory)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read(row: &Row<'_>, key: &DataKey) -> Result<Option<LeasedRequest>, Fault> {
    let id = RequestId::from_bytes(row.get("id")?);
    let (purpose, origin): (String, String) = (row.get("purpose")?, row.get("origin")?);
    let typed =
        row.get::<_, Option<Vec<u8>>>("sealed")?.and_then(|sealed| open::<Typed>(key, "request", id.bytes(), sealed));
    let Some((typed, purpose, origin)) = typed
        .zip(Purpose::parse(&purpose))
        .zip(Origin::parse(&origin))
        .map(|((typed, purpose), origin)| (typed, purpose, origin))
    else {
        return Ok(None);
    };
    let Ok(login) = Login::parse(&typed.login) else { return Ok(None) };
    Ok(Some(LeasedRequest {
        id,
        purpose,
        origin,
        login,
        directory: typed.directory,
        actor: typed.actor.into(),
        languages: typed.languages,
        at: moment(row, "at")?,
        deadline: moment(row, "deadline")?,
        attempts: row.get("attempts")?,
    }))
}

/// Leases requests: those of operators first, since somebody waits on the telephone, then those of people, each source in
/// its place.
fn lease(desk: &Desk<'_>, most: usize, until: Timestamp, now: Timestamp) -> Result<Vec<LeasedRequest>, Fault> {
    let mut statement = desk.connection.prepare_cached(
        "SELECT id FROM requests WHERE state = 'waiting' AND origin <> 'person' AND due <= ?1 ORDER BY due LIMIT ?2",
    )?;
    let ids = statement.query_map((now.millis(), i64::try_from(most).unwrap_or(i64::MAX)), |row| row.get(0))?;
    let mut ids = ids.collect::<Result<Vec<_>, _>>()?;
    let mut turn = desk.memory.get().request_turn;
    let free = most.saturating_sub(ids.len());
    ids.extend(fair::next(
        desk.connection,
        &mut turn,
        "requests WHERE state = 'waiting' AND origin = 'person'",
        free,
        now,
    )?);
    desk.remember(|memory| memory.request_turn = turn);
    let mut leased = Vec::new();
    for id in ids {
        let request = desk
            .connection
            .prepare_cached("SELECT * FROM requests WHERE id = ?1")?
            .query_row([id], |row| Ok(unless_damaged(read(row, desk.key))))??;
        let Some(request) = request else {
            log::error!(event = "store-damaged"; "a request can't be read: its row is damaged; it is kept as refused");
            // What is sealed of it stays, for whoever can make something of it.
            let counts: u32 = desk
                .connection
                .prepare_cached(
                    "UPDATE requests SET state = 'refused', reason = 'damaged', ended = ?2, leased = 0 WHERE id = ?1
                     RETURNING origin = 'person'",
                )?
                .query_row((id, now.millis()), |row| row.get(0))?;
            desk.remember(|memory| memory.waiting = memory.waiting.saturating_sub(counts.into()));
            let at = now;
            let event = Event::new(at, EventKind::RequestEnded, Actor::System, None, "refused").because("damaged");
            events::append(desk, &event.with("request", RequestId::from_bytes(id).to_string()))?;
            continue;
        };
        desk.connection
            .prepare_cached("UPDATE requests SET leased = 1, due = ?2, attempts = attempts + 1 WHERE id = ?1")?
            .execute((id, until.millis()))?;
        leased.push(request);
    }
    Ok(leased)
}

impl Sqlite {
    /// See [`crate::store::Store::accept`].
    pub(in crate::store) async fn accept(
        &self,
        request: NewRequest,
        counters: Vec<Counter>,
        event: Option<Event>,
    ) -> Result<Acceptance, Error> {
        let places = Arc::clone(&self.request_places);
        let NewRequest { id, purpose, origin, login, directory, actor, languages, at, deadline } = request;
        // Sealed and hashed here and not in the one thread that writes.
        let counters = keyed(&self.key, &counters);
        let typed = Typed { login: login.as_str().to_owned(), directory, languages, actor: actor.clone().into() };
        let sealed = seal(&self.key, &self.chance, "request", id.bytes(), &typed)?;
        let backlog = self.config.backlog;
        let manner = if event.is_none() { Manner::PLAIN } else { Manner::ASKED };
        self.writer
            .make(manner, move |desk| {
                let steps = match look(desk, &counters, at)? {
                    Look::Go(steps) => steps,
                    Look::Wait(wait) => return Ok(Acceptance::TooOften(wait)),
                };
                let is_bounded = origin == Origin::Person;
                if is_bounded && desk.memory.get().waiting >= backlog {
                    return Ok(Acceptance::Full);
                }
                // What is turned away takes no place.
                let place = places.place(&actor, at);
                desk.connection
                    .prepare_cached(
                        "INSERT INTO requests (id, purpose, origin, sealed, at, deadline, due)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    )?
                    .execute((
                        id.bytes(),
                        purpose.word(),
                        origin.word(),
                        sealed,
                        at.millis(),
                        deadline.millis(),
                        place,
                    ))?;
                take(desk, steps)?;
                if is_bounded {
                    desk.remember(|memory| memory.waiting += 1);
                }
                if let Some(event) = event {
                    events::append(desk, &event)?;
                }
                Ok(Acceptance::Accepted)
            })
            .await
    }

    /// See [`crate::store::Store::lease_requests`].
    pub(in crate::store) async fn lease_requests(
        &self,
        most: usize,
        length: Duration,
        now: Timestamp,
    ) -> Result<Vec<LeasedRequest>, Error> {
        self.latest.see(now);
        self.writer.make(Manner::BEHIND, move |desk| lease(desk, most, now.plus(length), now)).await
    }

    /// See [`crate::store::Store::postpone`].
    pub(in crate::store) async fn postpone(&self, id: RequestId, due: Timestamp, reason: &str) -> Result<(), Error> {
        let reason = reason.to_owned();
        self.writer
            .owed_behind(move |desk| {
                desk.connection
                    .prepare_cached(
                        "UPDATE requests SET leased = 0, due = ?2, reason = ?3 WHERE id = ?1 AND state = 'waiting'",
                    )?
                    .execute((id.bytes(), due.millis(), &reason))?;
                Ok(())
            })
            .await
    }

    /// See [`crate::store::Store::hurry_requests`].
    pub(in crate::store) async fn hurry_requests(&self, reason: &'static str, now: Timestamp) -> Result<(), Error> {
        self.writer
            .change(move |desk| {
                desk.connection
                    .prepare_cached(
                        "UPDATE requests SET due = ?1
                         WHERE state = 'waiting' AND leased = 0 AND due > ?1 AND reason = ?2",
                    )?
                    .execute((now.millis(), reason))?;
                Ok(())
            })
            .await
    }

    /// See [`crate::store::Store::end_request`].
    pub(in crate::store) async fn end_request(
        &self,
        id: RequestId,
        ended: Ended,
        notice: Option<NewNotice>,
        event: Event,
    ) -> Result<(), Error> {
        self.writer
            .make(Manner::BEHIND, move |desk| {
                let state = match ended {
                    Ended::Expired => "expired",
                    Ended::Refused => "refused",
                };
                let reason = event.reason.as_deref();
                end(desk, id, false, &End { state, reason, ticket: None, at: event.at })?;
                if let Some(notice) = notice {
                    outbox::queue(desk, &notice, event.at)?;
                }
                events::append(desk, &event)
            })
            .await
    }
}

/// Gives back what a process that is gone had leased.
pub(super) fn void_leases(connection: &rusqlite::Connection, now: Timestamp) -> Result<(), Fault> {
    connection
        .execute("UPDATE requests SET leased = 0, due = ?1 WHERE state = 'waiting' AND leased = 1", [now.millis()])?;
    connection.execute("UPDATE outbox SET state = 'queued', due = ?1 WHERE state = 'sending'", [now.millis()])?;
    Ok(())
}
