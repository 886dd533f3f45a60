//! The outbox: messages queued with the change they tell of, leased, delivered, given up.

use std::time::Duration;

use rekeyd_core::domain::{
    Actor, DataKey, EmailAddress, Event, EventKind, NoticeId, NoticeKind, Recipient, TicketId, Timestamp,
};
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::requests::in_turn;
use super::seal::{account, maybe_moment, moment, open, seal};
use super::tickets::find;
use super::writer::Desk;
use super::{Sqlite, events};
use crate::store::{Delivery, Error, LeasedNotice, NewNotice, OutboxRow, TicketState};

/// What is sealed of a message.
#[derive(Deserialize, Serialize)]
struct Sensitive {
    login: String,
    name: Option<String>,
    languages: Vec<String>,
    recipient: String,
}

/// Queues a message.
pub(super) fn queue(desk: &Desk<'_>, notice: &NewNotice, now: Timestamp) -> Result<(), Fault> {
    let sealed = seal(
        desk.key,
        desk.chance,
        "notice",
        notice.id.bytes(),
        &Sensitive {
            login: notice.login.clone(),
            name: notice.name.clone(),
            languages: notice.languages.clone(),
            recipient: notice.recipient.address.as_str().to_owned(),
        },
    )?;
    desk.connection
        .prepare_cached(
            "INSERT INTO outbox (id, kind, account, sealed, ticket, not_me, at, deadline, created, due)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)",
        )?
        .execute((
            notice.id.bytes(),
            notice.kind.word(),
            notice.account.to_string(),
            sealed,
            notice.ticket.as_ref().map(TicketId::bytes),
            notice.not_me.as_ref().map(TicketId::bytes),
            notice.at.millis(),
            notice.deadline.millis(),
            now.millis(),
        ))?;
    Ok(())
}

/// Queues a message once more, the same in every byte; it may be tried for as long as the later of two deadlines.
pub(super) fn queue_again(
    desk: &Desk<'_>,
    id: NoticeId,
    deadline: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Fault> {
    desk.connection
        .prepare_cached(
            "UPDATE outbox SET state = 'queued', due = ?2, attempts = 0, reason = NULL, ended = NULL,
                 deadline = max(deadline, coalesce(?3, deadline))
             WHERE id = ?1",
        )?
        .execute((id.bytes(), now.millis(), deadline.map(Timestamp::millis)))?;
    Ok(())
}

/// Cancels the waiting messages that carry the links of tickets.
pub(super) fn cancel(desk: &Desk<'_>, tickets: &[[u8; 16]], reason: &str, now: Timestamp) -> Result<(), Fault> {
    for ticket in tickets {
        desk.connection
            .prepare_cached(
                "UPDATE outbox SET state = 'cancelled', due = NULL, reason = ?2, ended = ?3
                 WHERE ticket = ?1 AND state = 'queued'",
            )?
            .execute((ticket, reason, now.millis()))?;
    }
    Ok(())
}

fn read(row: &Row<'_>, key: &DataKey) -> Result<Option<NewNotice>, Fault> {
    let id = NoticeId::from_bytes(row.get("id")?);
    let Some(sensitive) = open::<Sensitive>(key, "notice", id.bytes(), row.get("sealed")?) else { return Ok(None) };
    let (kind, whom): (String, String) = (row.get("kind")?, row.get("account")?);
    let Some(((kind, account), address)) =
        NoticeKind::parse(&kind).zip(account(&whom)).zip(EmailAddress::parse(&sensitive.recipient).ok())
    else {
        return Ok(None);
    };
    Ok(Some(NewNotice {
        id,
        kind,
        account,
        login: sensitive.login,
        name: sensitive.name,
        languages: sensitive.languages,
        recipient: Recipient { address },
        ticket: row.get::<_, Option<_>>("ticket")?.map(TicketId::from_bytes),
        not_me: row.get::<_, Option<_>>("not_me")?.map(TicketId::from_bytes),
        at: moment(row, "at")?,
        deadline: moment(row, "deadline")?,
    }))
}

/// Ends a message without handing it out, and tells the trail.
fn give_up(desk: &Desk<'_>, id: [u8; 16], state: &str, reason: &str, now: Timestamp) -> Result<(), Fault> {
    let whom: Option<String> = desk
        .connection
        .prepare_cached(
            "UPDATE outbox SET state = ?2, due = NULL, reason = ?3, ended = ?4 WHERE id = ?1 RETURNING account",
        )?
        .query_row((id, state, reason, now.millis()), |row| row.get(0))
        .optional()?;
    let account = whom.as_deref().and_then(account);
    let event = Event::new(now, EventKind::NoticeFailed, Actor::System, account, state).because(reason);
    events::append(desk, &event.with("notice", NoticeId::from_bytes(id).to_string()))
}

/// Leases due messages, a fresh one and a deferred one in turn. Those that came to their deadline, lost their link or
/// can't be read any more end here.
fn lease(desk: &Desk<'_>, most: usize, until: Timestamp, now: Timestamp) -> Result<Vec<LeasedNotice>, Fault> {
    let due = |sql: &str| -> Result<Vec<[u8; 16]>, Fault> {
        let mut statement = desk.connection.prepare_cached(sql)?;
        let ids = statement.query_map((now.millis(), i64::try_from(most).unwrap_or(i64::MAX)), |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    };
    let fresh = due("SELECT id FROM outbox WHERE due <= ?1 AND attempts = 0 ORDER BY due LIMIT ?2")?;
    let deferred = due("SELECT id FROM outbox WHERE due <= ?1 AND attempts > 0 ORDER BY due LIMIT ?2")?;
    let mut leased = Vec::new();
    for id in in_turn(fresh, deferred).take(most) {
        let (notice, attempts) = desk
            .connection
            .prepare_cached("SELECT * FROM outbox WHERE id = ?1")?
            .query_row([id], |row| Ok((read(row, desk.key), row.get("attempts")?)))?;
        let Some(notice) = notice? else {
            give_up(desk, id, "failed", "damaged", now)?;
            continue;
        };
        let ticket = notice.ticket.map(|id| find(desk.connection, desk.key, id.bytes())).transpose()?.flatten();
        let not_me = notice.not_me.map(|id| find(desk.connection, desk.key, id.bytes())).transpose()?.flatten();
        let is_dead = |found: &super::tickets::Found| matches!(found.state, TicketState::Spent | TicketState::Void);
        if notice.ticket.is_some() && ticket.as_ref().is_none_or(is_dead) {
            give_up(desk, id, "cancelled", "its link is void", now)?;
            continue;
        }
        if notice.deadline <= now {
            give_up(desk, id, "expired", "not delivered in time", now)?;
            continue;
        }
        desk.connection
            .prepare_cached("UPDATE outbox SET state = 'sending', due = ?2, attempts = attempts + 1 WHERE id = ?1")?
            .execute((id, until.millis()))?;
        leased.push(LeasedNotice {
            notice,
            ticket: ticket.map(|found| (found.ticket, found.life)),
            not_me: not_me.map(|found| found.ticket),
            attempts,
        });
    }
    Ok(leased)
}

/// Records a delivery. One that was already recorded, by a lease that had run out, stays as it is.
fn deliver(
    desk: &Desk<'_>,
    id: NoticeId,
    delivery: &Delivery,
    now: Timestamp,
    event: Option<&Event>,
) -> Result<(), Fault> {
    let rows = match delivery {
        Delivery::Failed(reason) => desk
            .connection
            .prepare_cached(
                "UPDATE outbox SET state = 'failed', due = NULL, reason = ?2, ended = ?3
                 WHERE id = ?1 AND state = 'sending'",
            )?
            .execute((id.bytes(), reason, now.millis()))?,
        Delivery::Later { due, reason } => desk
            .connection
            .prepare_cached(
                "UPDATE outbox SET state = 'queued', due = ?2, reason = ?3 WHERE id = ?1 AND state = 'sending'",
            )?
            .execute((id.bytes(), due.millis(), reason))?,
        Delivery::Sent => {
            desk.connection
                .prepare_cached(
                    "UPDATE tickets SET expires = ?2 + life, ends = CASE state WHEN 'void' THEN ends
                         WHEN 'spent' THEN ends ELSE ?2 + life END
                     WHERE expires IS NULL AND id IN (SELECT ticket FROM outbox WHERE id = ?1
                         UNION SELECT not_me FROM outbox WHERE id = ?1)",
                )?
                .execute((id.bytes(), now.millis()))?;
            desk.connection
                .prepare_cached(
                    "UPDATE outbox SET state = 'sent', due = NULL, reason = NULL, ended = ?2
                     WHERE id = ?1 AND state <> 'sent'",
                )?
                .execute((id.bytes(), now.millis()))?
        }
    };
    match event {
        Some(event) if rows == 1 => events::append(desk, event),
        _ => Ok(()),
    }
}

impl Sqlite {
    /// See [`crate::store::Store::lease_notices`].
    pub(in crate::store) async fn lease_notices(
        &self,
        most: usize,
        length: Duration,
        now: Timestamp,
    ) -> Result<Vec<LeasedNotice>, Error> {
        self.writer.change(move |desk| lease(desk, most, now.plus(length), now)).await
    }

    /// See [`crate::store::Store::delivery`].
    pub(in crate::store) async fn delivery(
        &self,
        id: NoticeId,
        delivery: Delivery,
        now: Timestamp,
        event: Option<Event>,
    ) -> Result<(), Error> {
        self.writer.change(move |desk| deliver(desk, id, &delivery, now, event.as_ref())).await
    }

    /// See [`crate::store::Store::outbox`].
    pub(in crate::store) async fn outbox(&self, most: usize, waiting_only: bool) -> Result<Vec<OutboxRow>, Error> {
        let key = self.key.clone();
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.readers
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT * FROM outbox WHERE ?2 = 0 OR state IN ('queued', 'sending')
                     ORDER BY created DESC, id LIMIT ?1",
                )?;
                let mut found = statement.query((most, waiting_only))?;
                let mut rows = Vec::new();
                while let Some(row) = found.next()? {
                    let (kind, whom): (String, String) = (row.get("kind")?, row.get("account")?);
                    let Some((kind, account)) = NoticeKind::parse(&kind).zip(account(&whom)) else { continue };
                    let notice = read(row, &key)?;
                    let unreadable = || "(unreadable)".to_owned();
                    rows.push(OutboxRow {
                        id: NoticeId::from_bytes(row.get("id")?),
                        kind,
                        account,
                        recipient: notice.as_ref().map_or_else(unreadable, |to| to.recipient.address.masked()),
                        login: notice.map_or_else(unreadable, |notice| notice.login),
                        state: row.get("state")?,
                        attempts: row.get("attempts")?,
                        created: moment(row, "created")?,
                        due: maybe_moment(row, "due")?,
                        reason: row.get("reason")?,
                    });
                }
                Ok(rows)
            })
            .await
    }
}
