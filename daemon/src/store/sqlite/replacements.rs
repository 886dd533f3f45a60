//! Passwords that operators replace: begun before the directory is written, ended when the outcome is known.

use rekeyd_core::domain::{DataKey, Event, EventKind, RequestId, Stamp, Timestamp};
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::fault::{Fault, unless_damaged};
use super::requests::WrittenActor;
use super::seal::{account, maybe_moment, moment, open, seal};
use super::tickets::{Which, void_others};
use super::writer::Desk;
use super::{Sqlite, events, outbox};
use crate::store::{Error, NewNotice, NewTicket, Replacement};

/// What is sealed of a replacement.
#[derive(Deserialize, Serialize)]
struct Cause {
    actor: WrittenActor,
    reason: String,
}

fn read(row: &Row<'_>, key: &DataKey) -> Result<Option<Replacement>, Fault> {
    let id = RequestId::from_bytes(row.get("id")?);
    let cause = open::<Cause>(key, "replacement", id.bytes(), row.get("sealed")?);
    let Some((cause, account)) = cause.zip(account(&row.get::<_, String>("account")?)) else {
        log::error!(event = "store-damaged"; "the replacement {id} can't be read: its row is damaged");
        return Ok(None);
    };
    Ok(Some(Replacement {
        id,
        account,
        stamp: Stamp::new(row.get::<_, String>("stamp")?, maybe_moment(row, "stamp_second")?),
        server: row.get("server")?,
        actor: cause.actor.into(),
        reason: cause.reason,
        first: row.get("first")?,
        since: moment(row, "since")?,
    }))
}

/// Ends the open replacements of an account that began at a mark of its password at which another change was done: from
/// now on a changed mark says nothing about them.
pub(super) fn overtake(desk: &Desk<'_>, account: &str, stamp: &str, now: Timestamp) -> Result<(), Fault> {
    let mut statement =
        desk.connection.prepare_cached("DELETE FROM replacements WHERE account = ?1 AND stamp = ?2 RETURNING *")?;
    let mut rows = statement.query((account, stamp))?;
    while let Some(row) = rows.next()? {
        let Some(begun) = read(row, desk.key)? else { continue };
        let event = Event::new(now, EventKind::PasswordReplaced, begun.actor, Some(begun.account), "unsure");
        events::append(desk, &event.because(begun.reason).with("server", begun.server).with("settled", "overtaken"))?;
    }
    Ok(())
}

impl Sqlite {
    /// See [`crate::store::Store::begin_replacement`].
    pub(in crate::store) async fn begin_replacement(
        &self,
        replacement: Replacement,
        event: Event,
    ) -> Result<(), Error> {
        let Replacement { id, account, stamp, server, actor, reason, first, since } = replacement;
        let cause = Cause { actor: actor.into(), reason };
        let sealed = seal(&self.key, &self.chance, "replacement", id.bytes(), &cause)?;
        self.writer
            .change(move |desk| {
                desk.connection
                    .prepare_cached(
                        "INSERT INTO replacements (id, account, sealed, stamp, stamp_second, server, first, since)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    )?
                    .execute((
                        id.bytes(),
                        account.to_string(),
                        sealed,
                        stamp.as_str(),
                        stamp.second().map(Timestamp::millis),
                        server,
                        first,
                        since.millis(),
                    ))?;
                events::append(desk, &event)
            })
            .await
    }

    /// See [`crate::store::Store::replaced`].
    pub(in crate::store) async fn replaced(
        &self,
        id: RequestId,
        notices: Vec<NewNotice>,
        tickets: Vec<NewTicket>,
        event: Event,
    ) -> Result<(), Error> {
        self.writer
            .owed(move |desk| {
                let ended: Option<(String, bool, String)> = desk
                    .connection
                    .prepare_cached("DELETE FROM replacements WHERE id = ?1 RETURNING account, first, stamp")?
                    .query_row([id.bytes()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                    .optional()?;
                let Some((whom, first, stamp)) = ended else { return Ok(()) };
                overtake(desk, &whom, &stamp, event.at)?;
                if first {
                    desk.connection
                        .prepare_cached(
                            "INSERT INTO accounts (account, undecided) VALUES (?1, 1)
                             ON CONFLICT (account) DO UPDATE SET undecided = 1 WHERE activated IS NULL",
                        )?
                        .execute([&whom])?;
                }
                let account = account(&whom).ok_or_else(|| Fault::damaged("replacements"))?;
                void_others(desk, &account, &Which::Acting, event.at)?;
                outbox::queue_all(desk, &notices, &tickets, event.at)?;
                events::append(desk, &event)
            })
            .await
    }

    /// See [`crate::store::Store::end_replacement`].
    pub(in crate::store) async fn end_replacement(&self, id: RequestId, event: Event) -> Result<(), Error> {
        self.writer
            .owed(move |desk| {
                let ended =
                    desk.connection.prepare_cached("DELETE FROM replacements WHERE id = ?1")?.execute([id.bytes()])?;
                if ended == 1 { events::append(desk, &event) } else { Ok(()) }
            })
            .await
    }

    /// See [`crate::store::Store::open_replacements`].
    pub(in crate::store) async fn open_replacements(&self, before: Timestamp) -> Result<Vec<Replacement>, Error> {
        let key = self.key.clone();
        self.readers
            .read(move |connection| {
                let mut statement = connection
                    .prepare_cached("SELECT * FROM replacements WHERE since <= ?1 ORDER BY since LIMIT 1000")?;
                let mut rows = statement.query([before.millis()])?;
                let mut open = Vec::new();
                while let Some(row) = rows.next()? {
                    open.extend(unless_damaged(read(row, &key))?);
                }
                Ok(open)
            })
            .await
    }
}
