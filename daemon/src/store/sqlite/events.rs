//! The audit trail: a chain of hashes over salted commitments.
//!
//! Each row's hash covers the row before, its number, moment, kind and the commitment to all else. Who, to whom and why
//! can be erased without breaking the chain: the commitment stays, and without the salt it can't be guessed back.

use std::cmp::Ordering;

use rekeyd_core::domain::{AccountId, Event, Timestamp, sha256};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::Sqlite;
use super::fault::Fault;
use super::memory::head;
use super::seal::{draw, moment};
use super::writer::Desk;
use crate::store::{AuditRow, Chain, Error};

/// How many rows of the chain are checked in one look.
const SLICE: u32 = 2000;

/// What a row says beyond number, moment and kind.
#[derive(Deserialize, Serialize)]
struct Payload {
    actor_kind: String,
    actor: String,
    account: Option<String>,
    outcome: String,
    reason: Option<String>,
    details: Vec<(String, String)>,
}

/// Appends an event to the trail, as part of the change that it tells of.
pub(super) fn append(desk: &Desk<'_>, event: &Event) -> Result<(), Fault> {
    let account = event.account.as_ref().map(ToString::to_string);
    let payload = serde_json::to_string(&Payload {
        actor_kind: event.actor.kind().into(),
        actor: event.actor.name(),
        account: account.clone(),
        outcome: event.outcome.clone(),
        reason: event.reason.clone(),
        details: event.details.clone(),
    })
    .map_err(|error| Error::Broken(format!("an event can't be written: {error}")))?;
    let salt: [u8; 16] = draw(desk.chance)?;
    let commitment = sha256(&[&salt, payload.as_bytes()]);
    let memory = desk.memory.get();
    let (number, before) = (memory.last_event + 1, memory.last_hash);
    let hash = link(&before, number, event.at, event.kind.word(), &commitment);
    desk.connection
        .prepare_cached(
            "INSERT INTO events (seq, at, kind, account, payload, salt, commitment, prev, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute((number, event.at.millis(), event.kind.word(), account, payload, salt, commitment, before, hash))?;
    desk.remember(|memory| {
        memory.last_event = number;
        memory.last_hash = hash;
    });
    Ok(())
}

fn link(before: &[u8], number: i64, at: Timestamp, kind: &str, commitment: &[u8]) -> [u8; 32] {
    sha256(&[before, &number.to_be_bytes(), &at.millis().to_be_bytes(), kind.as_bytes(), commitment])
}

/// Where the trail begins after rows were pruned: the last number and hash that are gone.
pub(super) fn floor(connection: &Connection) -> Result<(i64, Vec<u8>), Fault> {
    Ok(connection.query_row(
        "SELECT coalesce((SELECT value FROM meta WHERE name = 'floor'), 0),
                coalesce((SELECT value FROM meta WHERE name = 'floor_hash'), zeroblob(32))",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?)
}

/// Deletes up to `most` rows from the beginning of the trail that are older than `before`; says how many.
pub(super) fn prune(desk: &Desk<'_>, before: Timestamp, most: i64) -> Result<usize, Fault> {
    let (first, _) = floor(desk.connection)?;
    let young = desk
        .connection
        .prepare_cached("SELECT min(seq) FROM events WHERE seq <= ?1 AND at >= ?2")?
        .query_row((first + most, before.millis()), |row| row.get::<_, Option<i64>>(0))?;
    let last = young.map_or(first + most, |young| young - 1).min(desk.memory.get().last_event);
    let hash: Option<Vec<u8>> = desk
        .connection
        .prepare_cached("SELECT hash FROM events WHERE seq = ?1")?
        .query_row([last], |row| row.get(0))
        .optional()?;
    let Some(hash) = hash.filter(|_| last > first) else { return Ok(0) };
    desk.connection
        .prepare_cached(
            "INSERT INTO meta (name, value) VALUES ('floor', ?1), ('floor_hash', ?2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )?
        .execute((last, hash))?;
    Ok(desk.connection.prepare_cached("DELETE FROM events WHERE seq <= ?1")?.execute([last])?)
}

/// Forgets what events say of an account; their chain stays whole.
pub(super) fn erase(desk: &Desk<'_>, account: &str) -> Result<usize, Fault> {
    Ok(desk
        .connection
        .prepare_cached("UPDATE events SET payload = NULL, salt = NULL, account = NULL WHERE account = ?1")?
        .execute([account])?)
}

/// Whether a row fits the row before it (number and hash) and itself.
fn fits(row: &Row<'_>, number: i64, before: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let (kind, commitment): (String, Vec<u8>) = (row.get("kind")?, row.get("commitment")?);
    let (payload, salt): (Option<String>, Option<Vec<u8>>) = (row.get("payload")?, row.get("salt")?);
    let account: Option<String> = row.get("account")?;
    let hash: Vec<u8> = row.get("hash")?;
    let is_told = match (payload, salt) {
        (Some(payload), Some(salt)) => {
            sha256(&[&salt, payload.as_bytes()]).as_slice() == commitment
                && serde_json::from_str::<Payload>(&payload).is_ok_and(|payload| payload.account == account)
        }
        (None, None) => account.is_none(),
        _ => false,
    };
    let is_linked = row.get::<_, i64>("seq")? == number
        && row.get::<_, Vec<u8>>("prev")? == before
        && link(before, number, moment(row, "at")?, &kind, &commitment).as_slice() == hash;
    Ok((is_told && is_linked).then_some(hash))
}

/// How far a check of the chain has come.
#[derive(Clone, Default)]
struct Checked {
    /// The number of the last row that was checked, or of the last that is gone.
    number: i64,
    /// Its hash.
    hash: Vec<u8>,
    /// How many rows were checked.
    rows: u64,
}

/// Checks the next slice of the chain; the verdict where that was the last.
fn verify(connection: &Connection, checked: &mut Checked) -> Result<Option<Chain>, Fault> {
    let (floor, floor_hash) = floor(connection)?;
    if checked.rows == 0 || checked.number < floor {
        // The beginning, or rows that were pruned between two slices.
        (checked.number, checked.hash) = (floor, floor_hash);
    }
    let mut statement = connection.prepare_cached("SELECT * FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let mut found = statement.query((checked.number, SLICE))?;
    let mut rows = 0;
    while let Some(row) = found.next()? {
        checked.number += 1;
        match fits(row, checked.number, &checked.hash)? {
            Some(hash) => checked.hash = hash,
            None => return Ok(Some(Chain::Broken(checked.number.unsigned_abs()))),
        }
        rows += 1;
    }
    checked.rows += u64::from(rows);
    if rows == SLICE {
        return Ok(None);
    }
    let (last, last_hash) = head(connection)?;
    Ok(Some(match checked.number.cmp(&last) {
        Ordering::Equal if checked.hash == last_hash => Chain::Whole(checked.rows),
        Ordering::Equal => Chain::Broken(last.unsigned_abs()),
        Ordering::Less => Chain::Broken(checked.number.unsigned_abs() + 1),
        Ordering::Greater => Chain::Broken(last.unsigned_abs() + 1),
    }))
}

fn audit_row(row: &Row<'_>) -> Result<AuditRow, Fault> {
    let payload = row
        .get::<_, Option<String>>("payload")?
        .map(|text| serde_json::from_str::<Payload>(&text).map_err(|_| Fault::damaged("events")))
        .transpose()?;
    let (number, at, kind) = (row.get::<_, i64>("seq")?.unsigned_abs(), moment(row, "at")?, row.get("kind")?);
    Ok(match payload {
        Some(Payload { actor_kind, actor, account, outcome, reason, details }) => {
            AuditRow { number, at, kind, actor_kind, actor: Some(actor), account, outcome, reason, details }
        }
        None => AuditRow {
            number,
            at,
            kind,
            actor_kind: "erased".into(),
            actor: None,
            account: None,
            outcome: "erased".into(),
            reason: None,
            details: Vec::new(),
        },
    })
}

impl Sqlite {
    /// See [`crate::store::Store::record`].
    pub(in crate::store) async fn record(&self, event: Event) -> Result<(), Error> {
        self.writer.change(move |desk| append(desk, &event)).await
    }

    /// See [`crate::store::Store::audit`].
    pub(in crate::store) async fn audit(
        &self,
        account: Option<AccountId>,
        most: usize,
    ) -> Result<Vec<AuditRow>, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.readers
            .read(move |connection| {
                let mut statement = match account {
                    Some(_) => connection
                        .prepare_cached("SELECT * FROM events WHERE account = ?2 ORDER BY seq DESC LIMIT ?1")?,
                    None => connection.prepare_cached("SELECT * FROM events ORDER BY seq DESC LIMIT ?1")?,
                };
                let mut found = match account {
                    Some(account) => statement.query((most, account.to_string()))?,
                    None => statement.query([most])?,
                };
                let mut rows = Vec::new();
                while let Some(row) = found.next()? {
                    rows.push(audit_row(row)?);
                }
                Ok(rows)
            })
            .await
    }

    /// See [`crate::store::Store::verify_audit`].
    pub(in crate::store) async fn verify_audit(&self) -> Result<Chain, Error> {
        let mut checked = Checked::default();
        loop {
            let (verdict, so_far) =
                self.readers.read(move |connection| Ok((verify(connection, &mut checked)?, checked))).await?;
            match verdict {
                Some(chain) => return Ok(chain),
                None => checked = so_far,
            }
        }
    }
}
