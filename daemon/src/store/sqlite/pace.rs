//! Counters: the pure step of `policy::pace`, taken inside the transaction of what it lets through.

use std::time::Duration;

use rekeyd_core::domain::{DataKey, Timestamp};
use rekeyd_core::policy::pace::{Pace, Quota, Step, step};
use rusqlite::OptionalExtension;

use super::Sqlite;
use super::fault::Fault;
use super::writer::Desk;
use crate::store::{Counter, Error};

/// How many counters are kept. Beyond it those go first that are empty, or soonest empty again: a flood of new
/// addresses can't wash out a counter that is nearly full.
const MOST: u64 = 100_000;
/// How many go at once.
const SLICE: u64 = MOST / 16;

/// A counter under its keyed hash.
pub(super) struct Keyed {
    key: [u8; 16],
    quota: Quota,
}

/// Hashes what counters count.
pub(super) fn keyed(key: &DataKey, counters: &[Counter]) -> Vec<Keyed> {
    counters
        .iter()
        .map(|counter| Keyed { key: key.pace_key(counter.scope, &counter.whom), quota: counter.quota })
        .collect()
}

/// What a look at some counters says: all go on together, or none does.
#[must_use]
pub(super) enum Look {
    /// These are the steps to take.
    Go(Steps),
    /// Not before so long a time.
    Wait(Duration),
}

/// Steps that were found possible and are not taken yet.
pub(super) struct Steps(Vec<Taken>);

struct Taken {
    key: [u8; 16],
    pace: Pace,
    is_new: bool,
}

/// Asks all counters whether one more may come now. Nothing is written.
pub(super) fn look(desk: &Desk<'_>, counters: &[Keyed], now: Timestamp) -> Result<Look, Fault> {
    let mut steps: Vec<Taken> = Vec::with_capacity(counters.len());
    let mut longest = None;
    for counter in counters {
        let earlier = steps.iter().rev().find(|taken| taken.key == counter.key).map(|taken| taken.pace);
        let stored = match earlier {
            Some(pace) => Some(pace),
            None => desk
                .connection
                .prepare_cached("SELECT tat FROM paces WHERE key = ?1")?
                .query_row([counter.key], |row| Ok(Pace(Timestamp::from_millis(row.get(0)?))))
                .optional()?,
        };
        match step(stored, counter.quota, now) {
            Step::Go(pace) => steps.push(Taken { key: counter.key, pace, is_new: stored.is_none() }),
            Step::Wait(wait) => longest = longest.max(Some(wait)),
        }
    }
    Ok(longest.map_or(Look::Go(Steps(steps)), Look::Wait))
}

/// Takes the steps.
pub(super) fn take(desk: &Desk<'_>, steps: Steps) -> Result<(), Fault> {
    for taken in steps.0 {
        if taken.is_new {
            if desk.memory.get().paces >= MOST {
                let gone = desk
                    .connection
                    .prepare_cached("DELETE FROM paces WHERE key IN (SELECT key FROM paces ORDER BY tat LIMIT ?1)")?
                    .execute([SLICE.cast_signed()])?;
                desk.remember(|memory| memory.paces = memory.paces.saturating_sub(gone as u64));
            }
            desk.remember(|memory| memory.paces += 1);
        }
        desk.connection
            .prepare_cached(
                "INSERT INTO paces (key, tat) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET tat = excluded.tat",
            )?
            .execute((taken.key, taken.pace.0.millis()))?;
    }
    Ok(())
}

impl Sqlite {
    /// See [`crate::store::Store::count`].
    pub(in crate::store) async fn count(
        &self,
        counters: Vec<Counter>,
        now: Timestamp,
    ) -> Result<Option<Duration>, Error> {
        let counters = keyed(&self.key, &counters);
        self.writer
            .change(move |desk| match look(desk, &counters, now)? {
                Look::Go(steps) => take(desk, steps).map(|()| None),
                Look::Wait(wait) => Ok(Some(wait)),
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rekeyd_core::domain::{KeyRing, MasterKey};
    use ring::rand::SystemRandom;
    use rusqlite::Connection;

    use super::*;
    use crate::store::{Store, StoreConfig, Watch};

    #[tokio::test]
    async fn t110_counters_are_bounded_however_many_ask() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/rekeyd.db");
        let keys = KeyRing::new(MasterKey::from_bytes([7; 32]));
        let now = Timestamp::from_millis(1_000_000);
        let open = || {
            let config = StoreConfig::new(path.clone(), folder.path().join("epoch/epoch"));
            Store::open(config, &keys, Watch::new(move || now, || Duration::ZERO), SystemRandom::new()).unwrap().store
        };
        drop(open());
        let rows = || {
            let count = "SELECT count(*) FROM paces";
            Connection::open(&path).unwrap().query_row(count, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
        };
        // As many as are kept, less a few: counters of others that are empty again soon.
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                    INSERT INTO paces (key, tat) SELECT randomblob(16), ?2 + i FROM n";
        Connection::open(&path).unwrap().execute(fill, (MOST.cast_signed() - 50, now.millis())).unwrap();
        let store = open();
        let counter =
            |whom: String| Counter { scope: "source", whom, quota: Quota { count: 1, per: Duration::from_hours(1) } };
        for n in 0..200 {
            assert_eq!(store.count(vec![counter(format!("192.0.2.{n}"))], now).await, Ok(None));
        }
        let (left, most) = (rows(), MOST);
        assert!(left <= most && left > most - SLICE - 200, "{left} counters are kept");
        // Those that are full still are.
        for n in 0..200 {
            assert!(store.count(vec![counter(format!("192.0.2.{n}"))], now).await.unwrap().is_some(), "{n}");
        }
    }
}
