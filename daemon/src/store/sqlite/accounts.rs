//! What is remembered of accounts beyond single tickets.

use rekeyd_core::domain::{AccountId, AddressHash, DirectoryKey, Event, Facts, Proof, Timestamp};
use rusqlite::{Connection, OptionalExtension};

use super::fault::Fault;
use super::seal::{maybe_moment, moment};
use super::{Sqlite, adoption, events};
use crate::store::Error;

/// What is remembered of an account, and which of its addresses are proved.
pub(super) fn facts_of(connection: &Connection, account: &str) -> Result<(Facts, Vec<(AddressHash, Proof)>), Fault> {
    let adopted = adoption::adopted(connection, account)?;
    let facts = connection
        .prepare_cached("SELECT * FROM accounts WHERE account = ?1")?
        .query_row([account], |row| {
            Ok(maybe_moment(row, "activated").and_then(|activated| {
                let frozen_until = maybe_moment(row, "frozen_until")?;
                Ok(Facts { activated, frozen_until, undecided: row.get("undecided")?, adopted })
            }))
        })
        .optional()?
        .transpose()?
        .unwrap_or(Facts { adopted, ..Facts::default() });
    let mut statement = connection.prepare_cached("SELECT * FROM contacts WHERE account = ?1")?;
    let mut found = statement.query([account])?;
    let mut proofs = Vec::new();
    while let Some(row) = found.next()? {
        let proof = Proof { at: moment(row, "proved")?, how: row.get("how")? };
        proofs.push((AddressHash(row.get("address")?), proof));
    }
    Ok((facts, proofs))
}

impl Sqlite {
    /// See [`crate::store::Store::facts`].
    pub(in crate::store) async fn facts(
        &self,
        account: &AccountId,
    ) -> Result<(Facts, Vec<(AddressHash, Proof)>), Error> {
        let account = account.to_string();
        self.readers.read(move |connection| facts_of(connection, &account)).await
    }

    /// See [`crate::store::Store::thaw`].
    pub(in crate::store) async fn thaw(
        &self,
        account: &AccountId,
        now: Timestamp,
        event: Event,
    ) -> Result<bool, Error> {
        let account = account.to_string();
        self.writer
            .change(move |desk| {
                let rows = desk
                    .connection
                    .prepare_cached("UPDATE accounts SET frozen_until = NULL WHERE account = ?1 AND frozen_until > ?2")?
                    .execute((account, now.millis()))?;
                if rows == 1 {
                    events::append(desk, &event)?;
                }
                Ok(rows == 1)
            })
            .await
    }

    /// See [`crate::store::Store::accounts_named`].
    pub(in crate::store) async fn accounts_named(&self, stable: &str) -> Result<Vec<AccountId>, Error> {
        let stable = stable.to_lowercase();
        self.readers
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT key FROM (SELECT key, key || ':' || ?1 AS whom FROM directories)
                     WHERE EXISTS (SELECT 1 FROM accounts WHERE account = whom)
                         OR EXISTS (SELECT 1 FROM adopted WHERE account = whom)
                         OR EXISTS (SELECT 1 FROM events WHERE account = whom)
                         OR EXISTS (SELECT 1 FROM tickets WHERE account = whom)
                         OR EXISTS (SELECT 1 FROM outbox WHERE account = whom)
                     ORDER BY key",
                )?;
                let keys = statement.query_map([&stable], |row| row.get(0))?;
                let named = |key| AccountId { directory: DirectoryKey(key), stable: stable.clone() };
                Ok(keys.map(|key| key.map(named)).collect::<Result<_, _>>()?)
            })
            .await
    }

    /// See [`crate::store::Store::erase`].
    pub(in crate::store) async fn erase(&self, account: &AccountId, event: Event) -> Result<u64, Error> {
        let account = account.to_string();
        self.writer
            .change(move |desk| {
                for sql in [
                    "DELETE FROM outbox WHERE account = ?1",
                    "DELETE FROM tickets WHERE account = ?1",
                    "DELETE FROM replacements WHERE account = ?1",
                    "DELETE FROM contacts WHERE account = ?1",
                    "DELETE FROM accounts WHERE account = ?1",
                    "DELETE FROM adopted WHERE account = ?1",
                ] {
                    desk.connection.prepare_cached(sql)?.execute([&account])?;
                }
                let erased = events::erase(desk, &account)?;
                events::append(desk, &event)?;
                Ok(erased as u64)
            })
            .await
    }
}
