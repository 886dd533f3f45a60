//! Tickets: how they lie in the store, how they end.

use std::time::Duration;

use rekeyd_core::domain::{
    AccountId, AddressHash, DataKey, KeyId, NoticeId, Origin, Purpose, Stamp, Ticket, TicketId, Timestamp, TokenHash,
};
use rusqlite::{OptionalExtension, Row, params};

use super::fault::{Fault, unless_damaged};
use super::latest::Latest;
use super::seal::{account, maybe_moment, millis, moment, open, seal};
use super::writer::Desk;
use super::{Sqlite, outbox};
use crate::store::{Error, NewNotice, NewTicket, StoredTicket, TicketState};

/// The condition under which a ticket's row can be used: alive, in time by the clock and by the highest moment seen, not
/// made in the future, of this era, and not refused ten times by the directory. [`moments`] gives `?2` to `?4`.
pub(super) const USABLE: &str = "state = 'live' AND ends > ?2 AND ends + lag > ?3 AND issued <= ?4
    AND era = coalesce((SELECT value FROM meta WHERE name = 'era'), 1) AND tries < 10";
/// How far in the future a ticket may have been made before its clock is not believed.
const CLOCK_SLACK: Duration = Duration::from_mins(2);

/// The values of `?2` to `?4` in [`USABLE`].
pub(super) fn moments(latest: &Latest, now: Timestamp) -> (i64, i64, i64) {
    (now.millis(), latest.see(now).millis(), now.plus(CLOCK_SLACK).millis())
}

/// Inserts tickets. Until a message is delivered, its ticket lives as long as the message is tried.
pub(super) fn insert(desk: &Desk<'_>, tickets: &[NewTicket], notices: &[NewNotice]) -> Result<(), Fault> {
    for NewTicket { ticket, hash, life } in tickets {
        let carries = |notice: &&NewNotice| notice.ticket == Some(ticket.id) || notice.not_me == Some(ticket.id);
        let deadline = notices.iter().filter(carries).map(|notice| notice.deadline).max();
        let deadline = deadline.unwrap_or_else(|| ticket.issued.plus(*life));
        let sealed = seal(desk.key, desk.chance, "ticket", &whole(ticket), &ticket.login)?;
        desk.connection
            .prepare_cached(
                "INSERT INTO tickets (id, hash, purpose, origin, account, sealed, contact, stamp, stamp_second, key, profile,
                     issued, life, expires, ends, lag, tries, era)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
            )?
            .execute(params![
                ticket.id.bytes(),
                hash.0,
                ticket.purpose.word(),
                ticket.origin.word(),
                ticket.account.to_string(),
                sealed,
                ticket.contact.0,
                ticket.stamp.as_str(),
                ticket.stamp.second().map(Timestamp::millis),
                ticket.key.0,
                &ticket.profile,
                ticket.issued.millis(),
                millis(*life),
                ticket.expires.map(Timestamp::millis),
                ticket.expires.unwrap_or(deadline).millis(),
                desk.latest.lag(ticket.issued),
                ticket.tries,
                desk.memory.get().era,
            ])?;
    }
    Ok(())
}

/// What the sealed part of a row is bound to: everything that says whose password a ticket may set. A row of which any of
/// it was changed can't be read.
fn whole(ticket: &Ticket) -> Vec<u8> {
    let Ticket { id, purpose, origin, account, contact, stamp, key, profile, .. } = ticket;
    let (account, profile) = (account.to_string(), profile.as_deref().unwrap_or_default());
    let words = [purpose.word(), origin.word(), &account, stamp.as_str(), profile].join("\0");
    [id.bytes(), contact.0.as_slice(), &key.0, words.as_bytes()].concat()
}

/// A ticket with what lies beside it.
pub(super) struct Found {
    pub(super) ticket: Ticket,
    pub(super) life: Duration,
    pub(super) state: TicketState,
    pub(super) nonce: Option<[u8; 16]>,
    pub(super) server: Option<String>,
    pub(super) claimed_at: Option<Timestamp>,
}

/// Reads a row of `SELECT * FROM tickets`; `None` where it is damaged.
pub(super) fn read(row: &Row<'_>, key: &DataKey) -> Result<Option<Found>, Fault> {
    let found = unless_damaged(try_to_read(row, key))?;
    if found.is_none() {
        log::error!(event = "store-damaged"; "a ticket can't be read: its row is damaged");
    }
    Ok(found)
}

fn try_to_read(row: &Row<'_>, key: &DataKey) -> Result<Option<Found>, Fault> {
    let id = TicketId::from_bytes(row.get("id")?);
    let word = |column: &str| row.get::<_, String>(column);
    let (purpose, origin) = (Purpose::parse(&word("purpose")?), Origin::parse(&word("origin")?));
    let account = account(&word("account")?);
    let state = match word("state")?.as_str() {
        "claimed" => TicketState::Claimed,
        "live" => TicketState::Live,
        "spent" => TicketState::Spent,
        "unsure" => TicketState::Unsure,
        _ => TicketState::Void,
    };
    let (Some(purpose), Some(origin), Some(account)) = (purpose, origin, account) else { return Ok(None) };
    let stamp_second = maybe_moment(row, "stamp_second")?;
    let mut ticket = Ticket {
        id,
        purpose,
        origin,
        account,
        login: String::new(),
        contact: AddressHash(row.get("contact")?),
        stamp: Stamp::new(word("stamp")?, stamp_second),
        key: KeyId(row.get("key")?),
        profile: row.get("profile")?,
        issued: moment(row, "issued")?,
        expires: maybe_moment(row, "expires")?,
        tries: row.get("tries")?,
    };
    let Some(login) = open(key, "ticket", &whole(&ticket), row.get("sealed")?) else { return Ok(None) };
    ticket.login = login;
    Ok(Some(Found {
        ticket,
        life: Duration::from_millis(row.get::<_, i64>("life")?.unsigned_abs()),
        state,
        nonce: row.get("nonce")?,
        server: row.get("server")?,
        claimed_at: maybe_moment(row, "claimed_at")?,
    }))
}

/// The ticket of an id.
pub(super) fn find(connection: &rusqlite::Connection, key: &DataKey, id: &[u8; 22]) -> Result<Option<Found>, Fault> {
    connection
        .prepare_cached("SELECT * FROM tickets WHERE id = ?1")?
        .query_row([id], |row| Ok(read(row, key)))
        .optional()?
        .unwrap_or(Ok(None))
}

/// Which of an account's tickets a change ends.
pub(super) enum Which {
    /// All that could set a password; "this was not me" outlives.
    Acting,
    /// Those of one purpose.
    Of(Purpose),
}

/// Voids an account's live tickets and the messages that still wait with them. One that is claimed right now stays with
/// its holder and is void when it comes back.
pub(super) fn void_others(desk: &Desk<'_>, account: &AccountId, which: &Which, now: Timestamp) -> Result<(), Fault> {
    let purpose = match which {
        Which::Acting => None,
        Which::Of(purpose) => Some(purpose.word()),
    };
    let account = account.to_string();
    let mut statement = desk.connection.prepare_cached(
        "UPDATE tickets SET state = 'void', ends = ?3
         WHERE account = ?1 AND purpose <> 'not-me' AND (?2 IS NULL OR purpose = ?2) AND state = 'live' RETURNING id",
    )?;
    let voided = statement.query_map((&account, purpose, now.millis()), |row| row.get::<_, [u8; 22]>(0))?;
    let voided = voided.collect::<Result<Vec<_>, _>>()?;
    desk.connection
        .prepare_cached(
            "UPDATE tickets SET doomed = 1
             WHERE account = ?1 AND purpose <> 'not-me' AND (?2 IS NULL OR purpose = ?2)
                 AND state IN ('claimed', 'unsure')",
        )?
        .execute((&account, purpose))?;
    outbox::cancel(desk, &voided, "its link is void", now)
}

/// Makes a claimed or unsure ticket live again, or void where it was doomed meanwhile or `free` is false. Says whether
/// it was held at all.
pub(super) fn give_back(
    desk: &Desk<'_>,
    id: &TicketId,
    free: bool,
    tried: bool,
    now: Option<Timestamp>,
) -> Result<bool, Fault> {
    let rows = desk
        .connection
        .prepare_cached(
            "UPDATE tickets SET tries = tries + ?3, nonce = NULL, claimed_at = NULL, server = NULL,
                 ends = CASE WHEN ?2 AND doomed = 0 THEN ends ELSE coalesce(?4, claimed_at) END,
                 state = CASE WHEN ?2 AND doomed = 0 THEN 'live' ELSE 'void' END
             WHERE id = ?1 AND state IN ('claimed', 'unsure')",
        )?
        .execute((id.bytes(), free, tried, now.map(Timestamp::millis)))?;
    Ok(rows == 1)
}

/// Finds the notices that carry a ticket's link and wait no more.
pub(super) fn sent_notices(desk: &Desk<'_>, tickets: &[[u8; 22]]) -> Result<Vec<NoticeId>, Fault> {
    let mut notices = Vec::new();
    for ticket in tickets {
        let mut statement = desk
            .connection
            .prepare_cached("SELECT id FROM outbox WHERE ticket = ?1 AND state NOT IN ('queued', 'sending')")?;
        for id in statement.query_map([ticket], |row| row.get(0))? {
            notices.push(NoticeId::from_bytes(id?));
        }
    }
    Ok(notices)
}

impl Sqlite {
    /// See [`crate::store::Store::ticket`].
    pub(in crate::store) async fn ticket(
        &self,
        hash: TokenHash,
        now: Timestamp,
    ) -> Result<Option<StoredTicket>, Error> {
        let key = self.key.clone();
        let (now, latest, slack) = moments(&self.latest, now);
        self.readers
            .read(move |connection| {
                let mut statement =
                    connection.prepare_cached(&format!("SELECT *, {USABLE} AS usable FROM tickets WHERE hash = ?1"))?;
                let mut rows = statement.query((hash.0, now, latest, slack))?;
                let Some(row) = rows.next()? else { return Ok(None) };
                let usable = row.get("usable")?;
                Ok(read(row, &key)?.map(|found| {
                    let is_held = !matches!(found.state, TicketState::Live | TicketState::Void);
                    StoredTicket {
                        held_by: found.nonce.filter(|_| is_held),
                        ticket: found.ticket,
                        state: found.state,
                        usable,
                    }
                }))
            })
            .await
    }
}
