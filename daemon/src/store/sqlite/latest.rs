//! The highest moment ever seen, so that a clock that is set back revives no link.
//!
//! A link's end counts twice: by the clock as it is, and by the highest moment seen, which goes on with the time that the
//! machine runs, whatever becomes of the clock. What is made while the clock is behind that moment carries the difference
//! (`lag`), so that a clock that once ran far ahead kills no later link.

use std::sync::atomic::{AtomicI64, Ordering};

use rekeyd_core::domain::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::fault::Fault;
use crate::store::Watch;

/// The highest moment, shared by the thread that writes and those that read.
pub(super) struct Latest {
    /// As the moment at which the machine would have begun, so that it goes on by itself.
    beginning: AtomicI64,
    pub(super) watch: Watch,
}

/// What was kept by an earlier process.
struct Kept {
    latest: i64,
    clock: i64,
    uptime: i64,
}

impl Latest {
    /// As it was last kept, and on with the time that has passed since.
    pub(super) fn load(connection: &Connection, watch: Watch) -> Result<Self, Fault> {
        let uptime = watch.uptime();
        let beginning = kept(connection)?
            .map_or(i64::MIN, |kept| kept.latest.saturating_add(passed(&kept, uptime)).saturating_sub(uptime));
        Ok(Self { beginning: AtomicI64::new(beginning), watch })
    }

    /// When the machine began by the clock as it was last kept; see [`Watch::beginning`]. Where the machine has begun anew
    /// since, it is too early by the time that it was off.
    pub(super) fn last_beginning(&self, connection: &Connection) -> Result<Option<i64>, Fault> {
        let uptime = self.watch.uptime();
        Ok(kept(connection)?.map(|kept| kept.clock.saturating_add(passed(&kept, uptime)).saturating_sub(uptime)))
    }

    /// The highest moment with this one.
    pub(super) fn see(&self, now: Timestamp) -> Timestamp {
        let uptime = self.watch.uptime();
        let beginning = now.millis().saturating_sub(uptime);
        let before = self.beginning.fetch_max(beginning, Ordering::Relaxed);
        Timestamp::from_millis(before.max(beginning).saturating_add(uptime))
    }

    /// How far a moment is behind the highest one, in milliseconds.
    pub(super) fn lag(&self, now: Timestamp) -> i64 {
        self.see(now).millis().saturating_sub(now.millis())
    }

    /// Keeps it for the next process.
    pub(super) fn keep(&self, connection: &Connection) -> Result<(), Fault> {
        let now = self.watch.now();
        for (name, value) in
            [("latest", self.see(now).millis()), ("clock", now.millis()), ("uptime", self.watch.uptime())]
        {
            connection.execute(
                "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, value),
            )?;
        }
        Ok(())
    }
}

fn kept(connection: &Connection) -> Result<Option<Kept>, Fault> {
    let value = |name: &str| {
        connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get::<_, i64>(0)).optional()
    };
    let (latest, clock, uptime) = (value("latest")?, value("clock")?, value("uptime")?);
    Ok(latest.zip(clock).zip(uptime).map(|((latest, clock), uptime)| Kept { latest, clock, uptime }))
}

/// How long ago something was kept, at the least: all of the machine's time since, or all that it runs, where it has begun
/// anew.
fn passed(kept: &Kept, uptime: i64) -> i64 {
    if uptime >= kept.uptime { uptime.saturating_sub(kept.uptime) } else { uptime }
}
