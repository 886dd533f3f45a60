//! How often sign-ins are tried, counted in memory: a sign-in writes nothing, so that it need not wait for a disk. A restart
//! forgets the counters, and each node has its own; the directory's own lockout is what bounds guesses at one account.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rekeyd_core::domain::Timestamp;
use rekeyd_core::policy::pace::{Pace, Step, step};

use crate::store::Counter;

/// How many counters are kept. Beyond it those go that are empty, and then those that are soonest empty: a flood of new
/// addresses can't wash out a counter that is nearly full.
const MOST: usize = 100_000;

/// The counters of sign-ins.
#[derive(Default)]
pub(super) struct Tries {
    counters: Mutex<HashMap<&'static str, HashMap<String, Pace>>>,
}

impl Tries {
    /// Takes one step on all counters, or on none; `Some` says for how long there is none to be taken.
    pub(super) fn count(&self, counters: Vec<Counter>, now: Timestamp) -> Option<Duration> {
        let mut known = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let mut steps = Vec::with_capacity(counters.len());
        let mut longest = None;
        for Counter { scope, whom, quota } in counters {
            let pace = known.get(scope).and_then(|counters| counters.get(&whom)).copied();
            match step(pace, quota, now) {
                Step::Go(next) => steps.push((scope, whom, next)),
                Step::Wait(wait) => longest = longest.max(Some(wait)),
            }
        }
        if longest.is_some() {
            return longest;
        }
        for (scope, whom, next) in steps {
            let counters = known.entry(scope).or_default();
            if let Some(pace) = counters.get_mut(&whom) {
                *pace = next;
                continue;
            }
            if counters.len() >= MOST {
                sweep(counters, now);
            }
            counters.insert(whom, next);
        }
        None
    }
}

/// Makes room: a quarter at least.
fn sweep(counters: &mut HashMap<String, Pace>, now: Timestamp) {
    counters.retain(|_, pace| pace.0 > now);
    if counters.len() > MOST / 4 * 3 {
        let mut ends: Vec<Timestamp> = counters.values().map(|pace| pace.0).collect();
        let (_, middle, _) = ends.select_nth_unstable(MOST / 4);
        let bound = *middle;
        counters.retain(|_, pace| pace.0 > bound);
    }
}

#[cfg(test)]
mod tests {
    use rekeyd_core::policy::pace::Quota;

    use super::*;

    fn counter(whom: &str, count: u32) -> Counter {
        Counter { scope: "sign-in", whom: whom.into(), quota: Quota { count, per: Duration::from_mins(10) } }
    }

    #[test]
    fn all_counters_take_a_step_or_none_does() {
        let tries = Tries::default();
        let now = Timestamp::from_millis(1_000_000);
        assert_eq!(tries.count(vec![counter("a", 1), counter("b", 3)], now), None);
        // "a" is full, so that "b" is not counted either.
        for _ in 0..5 {
            assert!(tries.count(vec![counter("a", 1), counter("b", 3)], now).is_some());
        }
        assert_eq!(tries.count(vec![counter("b", 3)], now), None);
        assert_eq!(tries.count(vec![counter("b", 3)], now), None);
        assert!(tries.count(vec![counter("b", 3)], now).is_some());
    }

    #[test]
    fn t97_a_flood_of_addresses_neither_fills_the_memory_nor_washes_out_a_full_counter() {
        let tries = Tries::default();
        let now = Timestamp::from_millis(1_000_000);
        while tries.count(vec![counter("victim", 5)], now).is_none() {}
        for number in 0..2 * MOST {
            assert_eq!(tries.count(vec![counter(&number.to_string(), 5)], now), None);
        }
        assert!(tries.count(vec![counter("victim", 5)], now).is_some());
        let known = tries.counters.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(known.values().all(|counters| counters.len() <= MOST));
    }
}
