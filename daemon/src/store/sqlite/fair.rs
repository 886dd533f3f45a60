//! Who comes first in a queue: each further entry of one source stands a second behind its last one.
//!
//! So whoever asks ten thousand times stands behind everybody who asks once, and nobody waits while there is nothing else
//! to do: a place says an order, not a time. Places are forgotten with the process; what is queued keeps its own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use rekeyd_core::domain::{Actor, Timestamp};
use rusqlite::Connection;

use super::fault::Fault;
use super::turn::Turn;

/// How far behind its last entry the next one of the same source stands, in milliseconds.
const STEP: i64 = 1000;
/// How far behind everybody else a source may stand at most, in milliseconds; so a clock that is set back does no harm.
const FARTHEST: i64 = 600_000;
/// What has waited for so long takes turns with what is younger, in milliseconds: a backlog is worked off, and whoever
/// comes now does not wait for its end.
const YOUNG: i64 = 5000;
/// So many sources are remembered before those are dropped that have no place to lose.
const SWEEP: usize = 1024;

/// The places of one queue.
#[derive(Default)]
pub(super) struct Fair {
    last: Mutex<HashMap<Whom, i64>>,
}

/// Who counts as one.
#[derive(Eq, Hash, PartialEq)]
enum Whom {
    /// A login page that does not say for whom it asks.
    Client(String),
    /// An address, or the network that one customer has.
    Network(u128),
}

impl Fair {
    /// The place of a new entry. What operators and rekeyd itself ask for stands where it comes.
    pub(super) fn place(&self, actor: &Actor, now: Timestamp) -> i64 {
        let now = now.millis();
        let Some(whom) = whom(actor) else { return now };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= SWEEP && last.len() == last.capacity() {
            last.retain(|_, place| *place > now);
        }
        let place = last.get(&whom).map_or(now, |place| (place + STEP).clamp(now, now + FARTHEST));
        last.insert(whom, place);
        place
    }
}

fn whom(actor: &Actor) -> Option<Whom> {
    let ip = match (actor.source(), actor) {
        (Some(source), _) => source.ip.to_canonical(),
        (None, Actor::Client { name, .. }) => return Some(Whom::Client(name.clone())),
        _ => return None,
    };
    Some(Whom::Network(match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip) >> 64 << 64,
    }))
}

/// The next entries of a queue: young and older ones in turn, and of the older ones those first that have waited longest
/// since they were queued or since their next try was due. `table` has `id`, `due` and `attempts`; entries that were never
/// tried have their place in `due`, whenever that is.
pub(super) fn next(
    connection: &Connection,
    turn: &mut Turn,
    table: &str,
    most: usize,
    now: Timestamp,
) -> Result<Vec<[u8; 22]>, Fault> {
    let now = now.millis();
    let due = |condition: &str, moment: i64| -> Result<Vec<(i64, [u8; 22])>, Fault> {
        let sql = format!("SELECT due, id FROM {table} AND {condition} ORDER BY due LIMIT ?2");
        let mut statement = connection.prepare_cached(&sql)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let found = statement.query_map((moment, most), |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.collect::<Result<_, _>>()?)
    };
    let young = due("attempts = 0 AND due > ?1", now - YOUNG)?;
    let mut older = due("attempts = 0 AND due <= ?1", now - YOUNG)?;
    older.extend(due("attempts > 0 AND due <= ?1", now)?);
    older.sort_unstable();
    Ok(turn.take(most, young, older).into_iter().map(|(_, id)| id).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rekeyd_core::domain::Source;

    use super::*;

    #[test]
    fn t111_one_source_stands_behind_itself_alone() {
        let fair = Fair::default();
        let visitor = |ip: &str| Actor::Visitor { source: Source { ip: ip.parse().unwrap() } };
        let now = Timestamp::from_millis(1_000_000);
        let places: Vec<_> =
            (0..3).map(|n| fair.place(&visitor(&format!("2001:db8::{n}")), now).millis_after(now)).collect();
        assert_eq!(places, [0, 1000, 2000], "one /64 is one source");
        assert_eq!(fair.place(&visitor("2001:db8:0:1::1"), now), now.millis());
        assert_eq!(fair.place(&visitor("::ffff:192.0.2.1"), now), now.millis());
        assert_eq!(fair.place(&visitor("192.0.2.1"), now).millis_after(now), 1000);
        let page = Actor::Client { name: "wiki".into(), source: None };
        assert_eq!((fair.place(&page, now), fair.place(&page, now)), (now.millis(), now.millis() + STEP));
        assert_eq!((fair.place(&Actor::System, now), fair.place(&Actor::System, now)), (now.millis(), now.millis()));
        let later = Timestamp::from_millis(1_009_000);
        assert_eq!(fair.place(&visitor("2001:db8::1"), later), later.millis(), "and not for ever");
    }

    trait After {
        fn millis_after(self, now: Timestamp) -> i64;
    }

    impl After for i64 {
        fn millis_after(self, now: Timestamp) -> i64 {
            self - now.millis()
        }
    }

    #[test]
    fn places_that_are_over_are_forgotten() {
        let fair = Fair::default();
        for n in 0..100_000_u32 {
            let source = Source { ip: IpAddr::V4(n.into()) };
            fair.place(&Actor::Visitor { source }, Timestamp::from_millis(i64::from(n)));
        }
        assert!(fair.last.lock().unwrap().len() < 10_000);
    }
}
