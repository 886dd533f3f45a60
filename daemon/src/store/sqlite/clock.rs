//! When the clock is set: everything that waits waits as long as before, and the trail hears of it.
//!
//! What waits is due at a moment by the clock. A clock that is set back would hold it up, one that is set forward would end
//! it as too late. So each batch of changes looks first whether the clock was set, and moves those moments along. The
//! links that people hold are not moved: their end counts by the older of two ages, see `latest`.

use std::time::Duration;

use rekeyd_core::domain::{Actor, Event, EventKind, Timestamp};
use rusqlite::{Connection, OptionalExtension};

use super::events;
use super::fault::Fault;
use super::seal::millis;
use super::writer::Desk;
use crate::store::ClockSet;

/// A clock that is kept right by the network moves by less than this.
const STEP: Duration = Duration::from_mins(2);
/// After the clock was set nothing is pruned for so long: if it is wrong, somebody has this long to notice.
const TRUST: Duration = Duration::from_hours(24);

/// The moments at which something is due or given up. `?1` is by how much the clock was set, `?2` what it showed before.
const MOVES: [&str; 6] = [
    "UPDATE requests SET due = due + ?1, deadline = deadline + ?1 WHERE state = 'waiting' AND ?2 IS NOT NULL",
    "UPDATE outbox SET due = due + ?1, deadline = deadline + ?1 WHERE due IS NOT NULL AND ?2 IS NOT NULL",
    // Nobody has the links yet, and their life begins when they are delivered.
    "UPDATE tickets SET issued = issued + ?1, ends = ends + ?1
     WHERE state = 'live' AND expires IS NULL AND ?2 IS NOT NULL",
    "UPDATE tickets SET claimed_at = claimed_at + ?1 WHERE claimed_at IS NOT NULL AND ?2 IS NOT NULL",
    "UPDATE replacements SET since = since + ?1 WHERE ?2 IS NOT NULL",
    "UPDATE accounts SET frozen_until = frozen_until + ?1 WHERE frozen_until > ?2",
];

/// Looks whether the clock was set since the last look, as part of the batch that begins.
pub(super) fn mind(desk: &Desk<'_>) -> Result<(), Fault> {
    let beginning = desk.latest.watch.beginning();
    let Some(before) = desk.memory.get().beginning else {
        desk.remember(|memory| memory.beginning = Some(beginning));
        return Ok(());
    };
    let by = beginning.saturating_sub(before);
    if by.abs() <= millis(STEP) {
        // Small steps add up, so that each look begins from the last.
        desk.remember(|memory| memory.beginning = Some(beginning));
        return Ok(());
    }
    let now = desk.latest.watch.now();
    let outcome = if by < 0 { "back" } else { "forward" };
    let seconds = by.unsigned_abs() / 1000;
    log::warn!(event = "clock-set", seconds; "the clock was set {outcome} by {seconds} s");
    for sql in MOVES {
        desk.connection.execute(sql, (by, now.millis().saturating_sub(by)))?;
    }
    for (name, value) in [("clock_set", now.millis()), ("clock_set_by", by)] {
        desk.connection.execute(
            "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )?;
    }
    desk.latest.keep(desk.connection)?;
    desk.remember(|memory| memory.beginning = Some(beginning));
    let event = Event::new(now, EventKind::ClockSet, Actor::System, None, outcome);
    events::append(desk, &event.with("seconds", seconds.to_string()))
}

/// When the clock was last set, where that was within a day.
pub(super) fn last_set(connection: &Connection, now: Timestamp) -> Result<Option<ClockSet>, Fault> {
    let value = |name: &str| {
        let sql = "SELECT value FROM meta WHERE name = ?1";
        connection.prepare_cached(sql)?.query_row([name], |row| row.get::<_, i64>(0)).optional()
    };
    let set = value("clock_set")?.zip(value("clock_set_by")?);
    let set = set.map(|(at, by)| ClockSet { at: Timestamp::from_millis(at), by_seconds: by / 1000 });
    Ok(set.filter(|set| now.since(set.at) < TRUST))
}
