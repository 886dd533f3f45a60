//! How often may somebody ask? A pure step; the store applies it inside the transaction of what it lets through.
//!
//! The step is the generic cell rate algorithm: a counter is one moment, the *theoretical arrival time*. Nothing is ever
//! locked: a limit decays by itself, and a victim's own requests are merged, not refused.

use std::time::Duration;

use crate::domain::Timestamp;

/// How many in how long: a burst of `count`, refilled evenly over `per`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quota {
    /// How many.
    pub count: u32,
    /// In how long.
    pub per: Duration,
}

/// What a counter remembers: when it would be empty again. A counter never seen is `None`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace(pub Timestamp);

/// The step's verdict.
#[must_use]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Go on; this is the counter's new state.
    Go(Pace),
    /// Not before so long a time; the counter stays as it is.
    Wait(Duration),
}

/// Takes one step: may one more come now, given what the counter remembers?
///
/// A counter from the future (the clock was set back) counts as just full, so that a clock can't lock anybody out.
pub fn step(state: Option<Pace>, quota: Quota, now: Timestamp) -> Step {
    let interval = quota.per / quota.count.max(1);
    let full = now.plus(quota.per);
    let tat = state.map_or(now, |Pace(tat)| tat.max(now).min(full));
    let next = tat.plus(interval);
    if next > full { Step::Wait(next.since(full)) } else { Step::Go(Pace(next)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUOTA: Quota = Quota { count: 3, per: Duration::from_hours(1) };

    fn run(times: &[i64]) -> Vec<bool> {
        let mut state = None;
        times
            .iter()
            .map(|at| match step(state, QUOTA, Timestamp::from_millis(*at)) {
                Step::Go(next) => {
                    state = Some(next);
                    true
                }
                Step::Wait(_) => false,
            })
            .collect()
    }

    #[test]
    fn a_burst_then_an_even_flow() {
        assert_eq!(run(&[0, 1, 2, 3, 4, 1_200_000, 1_200_001]), [true, true, true, false, false, true, false]);
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out() {
        let far = Pace(Timestamp::from_millis(i64::MAX / 2));
        let waits = matches!(step(Some(far), QUOTA, Timestamp::from_millis(0)), Step::Wait(wait) if wait <= QUOTA.per);
        assert!(waits);
    }

    proptest! {
        #[test]
        fn never_more_than_twice_the_quota_in_any_window(mut times in proptest::collection::vec(0i64..20_000_000, 1..200)) {
            times.sort_unstable();
            let passed: Vec<i64> = times.iter().zip(run(&times)).filter(|(_, go)| *go).map(|(at, _)| *at).collect();
            for first in &passed {
                let in_window = passed.iter().filter(|at| (*first..*first + 3_600_000).contains(at)).count();
                prop_assert!(in_window <= 6);
            }
        }
    }
}
