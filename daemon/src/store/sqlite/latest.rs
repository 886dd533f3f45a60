//! The highest moment ever seen, so that a clock that is set back revives no link.
//!
//! A link's end counts twice: by the clock as it is, and by the highest moment seen. What is made while the clock is
//! behind that moment carries the difference (`lag`), so that a clock that once ran far ahead kills no later link.

use std::sync::atomic::{AtomicI64, Ordering};

use rekeyd_core::domain::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::fault::Fault;

/// The highest moment, shared by the thread that writes and those that read.
pub(super) struct Latest(AtomicI64);

impl Latest {
    /// As it was last kept; that is now and then, so a little before the last one seen.
    pub(super) fn load(connection: &Connection) -> Result<Self, Fault> {
        let kept = connection.query_row("SELECT value FROM meta WHERE name = 'latest'", [], |row| row.get(0));
        Ok(Self(AtomicI64::new(kept.optional()?.unwrap_or(i64::MIN))))
    }

    /// The highest moment with this one.
    pub(super) fn see(&self, now: Timestamp) -> Timestamp {
        let before = self.0.fetch_max(now.millis(), Ordering::Relaxed);
        Timestamp::from_millis(before.max(now.millis()))
    }

    /// How far a moment is behind the highest one, in milliseconds.
    pub(super) fn lag(&self, now: Timestamp) -> i64 {
        self.see(now).millis().saturating_sub(now.millis())
    }

    /// Keeps it for the next process.
    pub(super) fn keep(&self, connection: &Connection) -> Result<(), Fault> {
        let latest = self.0.load(Ordering::Relaxed);
        connection.execute(
            "INSERT INTO meta (name, value) VALUES ('latest', ?1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [latest],
        )?;
        Ok(())
    }
}
