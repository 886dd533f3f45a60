//! The outbox: messages queued with the change they tell of, leased, delivered, given up.

use std::time::Duration;

use rekeyd_core::domain::{
    AccountId, Actor, DataKey, EmailAddress, Event, EventKind, NoticeId, NoticeKind, Recipient, TicketId, Timestamp,
};
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::change::Manner;
use super::fault::{Fault, unless_damaged};
use super::seal::{account, maybe_moment, moment, open, seal};
use super::tickets::{find, insert};
use super::writer::Desk;
use super::{Sqlite, events, fair};
use crate::store::{Delivery, Error, LeasedNotice, NewNotice, NewTicket, OutboxRow, TicketState};

/// How many lost answers make a message count as sent.
const MOST_UNSURE: u32 = 2;
/// What a message is told by that ended so.
const LOST: &str = "the answer was lost";

/// What is sealed of a message.
#[derive(Deserialize, Serialize)]
struct Sensitive {
    login: String,
    name: Option<String>,
    languages: Vec<String>,
    recipient: String,
}

/// Queues messages with the tickets of their links.
pub(super) fn queue_all(
    desk: &Desk<'_>,
    notices: &[NewNotice],
    tickets: &[NewTicket],
    now: Timestamp,
) -> Result<(), Fault> {
    insert(desk, tickets, notices)?;
    notices.iter().try_for_each(|notice| queue(desk, notice, now))
}

/// Queues a message.
pub(super) fn queue(desk: &Desk<'_>, notice: &NewNotice, now: Timestamp) -> Result<(), Fault> {
    queue_in(desk, now.millis(), notice, now)
}

/// Queues a message in a place of its own.
pub(super) fn queue_in(desk: &Desk<'_>, place: i64, notice: &NewNotice, now: Timestamp) -> Result<(), Fault> {
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
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
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
            place,
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
            "UPDATE outbox SET state = 'queued', due = ?2, attempts = 0, unsure = 0, channel = NULL, reason = NULL, ended = NULL,
                 deadline = max(deadline, coalesce(?3, deadline))
             WHERE id = ?1",
        )?
        .execute((id.bytes(), now.millis(), deadline.map(Timestamp::millis)))?;
    Ok(())
}

/// Cancels the waiting messages that carry the links of tickets.
pub(super) fn cancel(desk: &Desk<'_>, tickets: &[[u8; 22]], reason: &str, now: Timestamp) -> Result<(), Fault> {
    for ticket in tickets {
        let mut statement =
            desk.connection.prepare_cached("SELECT id FROM outbox WHERE ticket = ?1 AND state = 'queued'")?;
        let waiting = statement.query_map([ticket], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?;
        waiting.into_iter().try_for_each(|id| give_up(desk, id, "cancelled", reason, now))?;
    }
    Ok(())
}

/// Cancels the waiting messages of all void tickets.
pub(super) fn cancel_void(desk: &Desk<'_>, now: Timestamp) -> Result<(), Fault> {
    let mut statement = desk.connection.prepare(
        "SELECT id FROM outbox
         WHERE due IS NOT NULL AND state = 'queued' AND ticket IN (SELECT id FROM tickets WHERE state = 'void')",
    )?;
    let waiting = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?;
    waiting.into_iter().try_for_each(|id| give_up(desk, id, "cancelled", "its link is void", now))
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

/// Ends a message; says whom it was about.
fn end(desk: &Desk<'_>, id: [u8; 22], state: &str, reason: &str, now: Timestamp) -> Result<Option<AccountId>, Fault> {
    let whom: Option<String> = desk
        .connection
        .prepare_cached(
            "UPDATE outbox SET state = ?2, due = NULL, reason = ?3, ended = ?4 WHERE id = ?1 RETURNING account",
        )?
        .query_row((id, state, reason, now.millis()), |row| row.get(0))
        .optional()?;
    Ok(whom.as_deref().and_then(account))
}

/// Ends a message without handing it out, and tells the trail.
fn give_up(desk: &Desk<'_>, id: [u8; 22], state: &str, reason: &str, now: Timestamp) -> Result<(), Fault> {
    let account = end(desk, id, state, reason, now)?;
    let event = Event::new(now, EventKind::NoticeFailed, Actor::System, account, state).because(reason);
    events::append(desk, &event.with("notice", NoticeId::from_bytes(id).to_string()))
}

/// Leases messages, each source in its place. Those that came to their deadline, lost their link or
/// can't be read any more end here.
fn lease(desk: &Desk<'_>, most: usize, until: Timestamp, now: Timestamp) -> Result<Vec<LeasedNotice>, Fault> {
    let mut turn = desk.memory.get().notice_turn;
    let ids = fair::next(desk.connection, &mut turn, "outbox WHERE due IS NOT NULL", most, now)?;
    desk.remember(|memory| memory.notice_turn = turn);
    let mut leased = Vec::new();
    for id in ids {
        let (notice, attempts, only) =
            desk.connection.prepare_cached("SELECT * FROM outbox WHERE id = ?1")?.query_row([id], |row| {
                let (attempts, channel) =
                    (row.get("attempts").unwrap_or_default(), row.get("channel").unwrap_or_default());
                Ok((unless_damaged(read(row, desk.key)), attempts, channel))
            })?;
        let Some(notice) = notice? else {
            log::error!(event = "store-damaged"; "a message can't be read: its row is damaged; it is kept as failed");
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
            only,
        });
    }
    Ok(leased)
}

/// Begins the life of a message's links that nobody has used, or begins it anew: a message that goes out again says the
/// same as before of how long its link works.
fn begin_life(desk: &Desk<'_>, id: NoticeId, now: Timestamp) -> Result<(), Fault> {
    desk.connection
        .prepare_cached(
            "UPDATE tickets SET expires = ?2 + life, ends = ?2 + life, lag = ?3
             WHERE state NOT IN ('spent', 'void')
                 AND id IN (SELECT ticket FROM outbox WHERE id = ?1 AND state <> 'sent'
                     UNION SELECT not_me FROM outbox WHERE id = ?1 AND state <> 'sent')",
        )?
        .execute((id.bytes(), now.millis(), desk.latest.lag(now)))?;
    Ok(())
}

/// Records a try whose answer was lost. The person may have the message from the first such try on, so the link's life
/// begins there; a message that was lost too often counts as sent, since each repeat may be one too many.
fn lost(
    desk: &Desk<'_>,
    id: NoticeId,
    channel: &str,
    due: Timestamp,
    reason: &str,
    now: Timestamp,
    event: Option<&Event>,
) -> Result<(), Fault> {
    let before: Option<u32> = desk
        .connection
        .prepare_cached("SELECT unsure FROM outbox WHERE id = ?1 AND state = 'sending'")?
        .query_row([id.bytes()], |row| row.get(0))
        .optional()?;
    let Some(before) = before else { return Ok(()) };
    if before == 0 {
        begin_life(desk, id, now)?;
    }
    desk.connection
        .prepare_cached(
            "UPDATE outbox SET state = 'queued', unsure = unsure + 1, channel = ?2, due = ?3, reason = ?4 WHERE id = ?1",
        )?
        .execute((id.bytes(), channel, due.millis(), reason))?;
    if before + 1 < MOST_UNSURE {
        return event.map_or(Ok(()), |event| events::append(desk, event));
    }
    let account = end(desk, *id.bytes(), "sent", LOST, now)?;
    let own = Event::new(now, EventKind::NoticeDelivered, Actor::System, account, "unsure").because(LOST);
    events::append(desk, &own.with("notice", id.to_string()))
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
            begin_life(desk, id, now)?;
            desk.connection
                .prepare_cached(
                    "UPDATE outbox SET state = 'sent', due = NULL, reason = NULL, ended = ?2
                     WHERE id = ?1 AND state <> 'sent'",
                )?
                .execute((id.bytes(), now.millis()))?
        }
        Delivery::Unsure { channel, due, reason } => return lost(desk, id, channel, *due, reason, now, event),
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
        self.latest.see(now);
        // On disk before it goes out, and with it the ticket of its link.
        self.writer.make(Manner::BEHIND_KEPT, move |desk| lease(desk, most, now.plus(length), now)).await
    }

    /// See [`crate::store::Store::delivery`].
    pub(in crate::store) async fn delivery(
        &self,
        id: NoticeId,
        delivery: Delivery,
        now: Timestamp,
        event: Option<Event>,
    ) -> Result<(), Error> {
        self.writer.owed_behind(move |desk| deliver(desk, id, &delivery, now, event.as_ref())).await
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
                    let notice = unless_damaged(read(row, &key))?;
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
