//! Passwords that operators replace: begun before the directory is written, ended when the outcome is known.

use rekeyd_core::domain::{DataKey, Event, RequestId, Stamp, Timestamp};
use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::requests::WrittenActor;
use super::seal::{account, maybe_moment, moment, open, seal};
use super::tickets::{Which, void_others};
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
                let ended: Option<(String, bool)> = desk
                    .connection
                    .prepare_cached("DELETE FROM replacements WHERE id = ?1 RETURNING account, first")?
                    .query_row([id.bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                let Some((whom, first)) = ended else { return Ok(()) };
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
                    open.extend(read(row, &key)?);
                }
                Ok(open)
            })
            .await
    }
}
