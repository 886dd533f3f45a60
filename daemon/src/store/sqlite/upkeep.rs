//! Counts for operators, health, and forgetting what has outlived its time.

use std::time::Duration;

use rekeyd_core::domain::Timestamp;
use rusqlite::{Connection, params_from_iter};

use super::change::Manner;
use super::fault::Fault;
use super::open::PATIENCE;
use super::writer::Desk;
use super::{Sqlite, clock, events};
use crate::store::{Counts, Error, StoreConfig};

/// How many rows of a table go in one transaction.
const SLICE: i64 = 500;
/// How many freed pages go back to the file system at once.
const PAGES: u32 = 1000;

fn prune(desk: &Desk<'_>, config: &StoreConfig, now: Timestamp) -> Result<bool, Fault> {
    if clock::last_set(desk.connection, now)?.is_some() {
        return Ok(false);
    }
    let mut most = 0;
    for (sql, keep) in [
        ("DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE ended < ?1 LIMIT ?2)", config.keep_requests),
        ("DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE ended < ?1 LIMIT ?2)", config.keep_notices),
        (
            "DELETE FROM tickets WHERE id IN
                 (SELECT id FROM tickets WHERE ends < ?1 AND state NOT IN ('claimed', 'unsure') LIMIT ?2)",
            config.keep_tickets,
        ),
    ] {
        most = most.max(desk.connection.prepare_cached(sql)?.execute((now.minus(keep).millis(), SLICE))?);
    }
    let empty = desk
        .connection
        .prepare_cached("DELETE FROM paces WHERE key IN (SELECT key FROM paces WHERE tat <= ?1 LIMIT ?2)")?
        .execute((now.millis(), SLICE))?;
    desk.remember(|memory| memory.paces = memory.paces.saturating_sub(empty as u64));
    let told = events::prune(desk, now.minus(config.keep_events), SLICE)?;
    Ok(i64::try_from(most.max(empty).max(told)) == Ok(SLICE))
}

/// Wipes what was deleted from the log as well, and gives a slice of the space back; says whether there is more.
fn sweep(desk: &Desk<'_>) -> Result<bool, Fault> {
    let mut vacuum = desk.connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    // Each step gives one page back.
    let mut pages = vacuum.query([])?;
    while pages.next()?.is_some() {}
    drop(pages);
    empty_log(desk.connection)?;
    let free: u32 = desk.connection.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
    Ok(free > 0)
}

/// Moves the write-ahead log into the database and cuts it off. Where a reader still needs it, it stays for another
/// time: changes must not wait for a long look.
pub(super) fn empty_log(connection: &Connection) -> Result<(), Fault> {
    connection.busy_timeout(Duration::ZERO)?;
    let emptied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    connection.busy_timeout(PATIENCE)?;
    Ok(emptied?)
}

fn counts(connection: &Connection, now: Timestamp) -> Result<Counts, Fault> {
    let day_ago = now.minus(Duration::from_hours(24)).millis();
    let count = |sql: &str, params: &[i64]| -> Result<(u64, Option<Timestamp>), Fault> {
        Ok(connection.prepare_cached(sql)?.query_row(params_from_iter(params), |row| {
            let oldest: Option<i64> = row.get(1)?;
            Ok((row.get::<_, i64>(0)?.unsigned_abs(), oldest.map(Timestamp::from_millis)))
        })?)
    };
    let (requests_waiting, oldest_request) =
        count("SELECT count(*), min(at) FROM requests WHERE state = 'waiting'", &[])?;
    let (notices_waiting, oldest_notice) =
        count("SELECT count(*), min(created) FROM outbox WHERE due IS NOT NULL", &[])?;
    let (notices_failed, _) =
        count("SELECT count(*), NULL FROM outbox WHERE ended > ?1 AND state IN ('failed', 'expired')", &[day_ago])?;
    let (tickets_live, _) =
        count("SELECT count(*), NULL FROM tickets WHERE ends > ?1 AND state = 'live'", &[now.millis()])?;
    let (claims_open, _) = count(
        "SELECT count(*), NULL FROM tickets WHERE claimed_at IS NOT NULL AND state IN ('claimed', 'unsure')",
        &[],
    )?;
    let (events, _) = count("SELECT count(*), NULL FROM events", &[])?;
    let clock_set = clock::last_set(connection, now)?;
    Ok(Counts {
        requests_waiting,
        oldest_request,
        notices_waiting,
        oldest_notice,
        notices_failed,
        tickets_live,
        claims_open,
        events,
        clock_set,
    })
}

impl Sqlite {
    /// See [`crate::store::Store::counts`].
    pub(in crate::store) async fn counts(&self, now: Timestamp) -> Result<Counts, Error> {
        self.readers.read(move |connection| counts(connection, now)).await
    }

    /// See [`crate::store::Store::prune`].
    pub(in crate::store) async fn prune(&self, now: Timestamp) -> Result<bool, Error> {
        let config = self.config.clone();
        let more = self.writer.make(Manner::BEHIND, move |desk| prune(desk, &config, now)).await?;
        if more {
            return Ok(true);
        }
        self.writer.upkeep(sweep).await
    }

    /// See [`crate::store::Store::ping`].
    pub(in crate::store) async fn ping(&self) -> Result<(), Error> {
        self.writer.change(|_| Ok(())).await?;
        let one = "SELECT 1";
        self.readers.read(move |connection| Ok(connection.query_row(one, [], |_| Ok(()))?)).await
    }
}
