//! By what keys directories are remembered, whatever they are called in the configuration.

use rekeyd_core::domain::{DirectoryKey, Timestamp};
use rusqlite::{Connection, OptionalExtension};

use super::fault::Fault;
use super::seal::draw;
use super::writer::Desk;
use super::{Sqlite, requests};
use crate::store::{Error, LeftBehind};

/// Whether an account rests on a key; rows of the trail stay readable without it.
const IN_USE: [&str; 5] = [
    "SELECT EXISTS (SELECT 1 FROM accounts WHERE account >= ?1 AND account < ?2)",
    "SELECT EXISTS (SELECT 1 FROM contacts WHERE account >= ?1 AND account < ?2)",
    "SELECT EXISTS (SELECT 1 FROM tickets WHERE account >= ?1 AND account < ?2)",
    "SELECT EXISTS (SELECT 1 FROM outbox WHERE account >= ?1 AND account < ?2)",
    "SELECT EXISTS (SELECT 1 FROM replacements WHERE account >= ?1 AND account < ?2)",
];

impl Sqlite {
    /// See [`crate::store::Store::directory_key`].
    pub(in crate::store) async fn directory_key(&self, name: &str) -> Result<DirectoryKey, Error> {
        let name = name.to_owned();
        // Without it nothing can start, on a full disk either, and for a directory that is known nothing is written.
        self.writer
            .owed(move |desk| {
                if let Some(key) = key_of(desk.connection, &name)? {
                    return Ok(DirectoryKey(key));
                }
                // Drawn, not counted: a database that was lost and begun anew must not give old ids to other directories.
                let key = u32::from_be_bytes(draw(desk.chance)?);
                desk.connection
                    .prepare_cached("INSERT INTO directories (name, key) VALUES (?1, ?2)")?
                    .execute((&name, key))?;
                Ok(DirectoryKey(key))
            })
            .await
    }

    /// See [`crate::store::Store::rename_directory`].
    pub(in crate::store) async fn rename_directory(&self, formerly: &[String], name: &str) -> Result<bool, Error> {
        let (formerly, name) = (formerly.to_owned(), name.to_owned());
        self.writer.owed(move |desk| rename(desk, &formerly, &name)).await
    }

    /// See [`crate::store::Store::directory_names`].
    pub(in crate::store) async fn directory_names(&self) -> Result<Vec<(DirectoryKey, String)>, Error> {
        self.readers.read(names).await
    }

    /// See [`crate::store::Store::left_behind`].
    pub(in crate::store) async fn left_behind(
        &self,
        present: Vec<DirectoryKey>,
        now: Timestamp,
    ) -> Result<Vec<LeftBehind>, Error> {
        self.readers
            .read(move |connection| {
                let mut left = Vec::new();
                for (key, name) in names(connection)?.into_iter().filter(|(key, _)| !present.contains(key)) {
                    let (from, to) = accounts_of(key.0);
                    let count = |sql: &str| -> Result<u64, Fault> {
                        let count =
                            connection.prepare_cached(sql)?.query_row((&from, &to, now.millis()), |row| row.get(0));
                        Ok(i64::unsigned_abs(count?))
                    };
                    let accounts =
                        count("SELECT count(*) FROM accounts WHERE account >= ?1 AND account < ?2 AND ?3 > 0")?;
                    let tickets_live = count(
                        "SELECT count(*) FROM tickets
                         WHERE account >= ?1 AND account < ?2 AND ends > ?3 AND state = 'live'",
                    )?;
                    let unsettled = count(
                        "SELECT count(*) FROM tickets
                         WHERE account >= ?1 AND account < ?2 AND state IN ('claimed', 'unsure') AND ?3 > 0",
                    )? + count(
                        "SELECT count(*) FROM replacements WHERE account >= ?1 AND account < ?2 AND ?3 > 0",
                    )?;
                    left.push(LeftBehind { name, accounts, tickets_live, unsettled });
                }
                Ok(left)
            })
            .await
    }
}

fn rename(desk: &Desk<'_>, formerly: &[String], name: &str) -> Result<bool, Fault> {
    let mut old = None;
    for former in formerly {
        if let Some(key) = key_of(desk.connection, former)? {
            old = Some((former, key));
            break;
        }
    }
    let Some((former, _)) = old else { return Ok(false) };
    if let Some(key) = key_of(desk.connection, name)? {
        let (from, to) = accounts_of(key);
        for sql in IN_USE {
            if desk.connection.prepare_cached(sql)?.query_row((&from, &to), |row| row.get(0))? {
                return Ok(false);
            }
        }
        let adopted = "SELECT EXISTS (SELECT 1 FROM adoptions WHERE directory = ?1)";
        if desk.connection.prepare_cached(adopted)?.query_row([key], |row| row.get(0))? {
            return Ok(false);
        }
        if requests::rest_on(desk, DirectoryKey(key))? {
            return Ok(false);
        }
        // The new name was seen before anybody said what the old one was, and nothing rests on it yet.
        desk.connection.prepare_cached("DELETE FROM directories WHERE name = ?1")?.execute([name])?;
    }
    desk.connection
        .prepare_cached("UPDATE directories SET name = ?2 WHERE name = ?1")?
        .execute([former.as_str(), name])?;
    Ok(true)
}

fn names(connection: &Connection) -> Result<Vec<(DirectoryKey, String)>, Fault> {
    let mut statement = connection.prepare_cached("SELECT key, name FROM directories ORDER BY name")?;
    let names = statement.query_map([], |row| Ok((DirectoryKey(row.get(0)?), row.get(1)?)))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn key_of(connection: &Connection, name: &str) -> Result<Option<u32>, Fault> {
    let mut statement = connection.prepare_cached("SELECT key FROM directories WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

/// The bounds of a directory's accounts among all: `;` follows `:`.
fn accounts_of(key: u32) -> (String, String) {
    (format!("{key}:"), format!("{key};"))
}
