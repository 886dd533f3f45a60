//! When a smart host that does not work is asked again: one delivery at a time finds out, after longer and longer rests.
//!
//! A rest concerns the host alone, whatever letter was to go there: it can't be reached, does not let us in, or breaks
//! off. Deliveries that were under way when it began may still show that the host works, which ends it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The first rest; each further failure doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest rest: so late at most is it noticed that a host works again.
const LONGEST: Duration = Duration::from_secs(5);

/// What is remembered of a host.
#[derive(Default)]
pub(crate) struct Rest {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    trouble: Option<Resting>,
    worked: Option<Instant>,
    /// Whether a try has failed since it worked, which alone is no trouble.
    doubtful: bool,
}

struct Resting {
    why: String,
    failures: u32,
    until: Instant,
}

/// The leave to try the host.
#[derive(Clone, Copy)]
pub(crate) struct Leave {
    began: Instant,
    /// Whether this try is to find out if a host that failed works again.
    probes: bool,
}

impl Rest {
    /// The leave to try the host now, or why it is left alone. After a rest one try has leave; until it has ended, or
    /// another rest has passed, no other has.
    pub(crate) fn ask(&self, now: Instant) -> Result<Leave, String> {
        match &mut self.state().trouble {
            None => Ok(Leave { began: now, probes: false }),
            Some(resting) if resting.until > now => Err(resting.why.clone()),
            Some(resting) => {
                resting.until = now + length(resting.failures);
                Ok(Leave { began: now, probes: true })
            }
        }
    }

    /// The host works.
    pub(crate) fn works(&self, now: Instant) {
        *self.state() = State { trouble: None, worked: Some(now), doubtful: false };
    }

    /// A try has failed for a reason that lies with the host. It counts unless another one has shown since it began that
    /// the host works; of those that fail side by side one counts. The first one after the host has just worked is let
    /// pass: a host that takes no more connections than we have may find one too many while it closes another.
    pub(crate) fn fails(&self, leave: Leave, why: &str, now: Instant) {
        let mut state = self.state();
        if state.worked.is_some_and(|worked| worked > leave.began) {
            return;
        }
        if state.worked.is_some_and(|worked| worked + FIRST > now) && !state.doubtful {
            state.doubtful = true;
            return;
        }
        let failures = match &state.trouble {
            Some(resting) if leave.probes => resting.failures + 1,
            Some(resting) if resting.until > now => return,
            Some(resting) => resting.failures,
            None => 1,
        };
        state.trouble = Some(Resting { why: why.to_owned(), failures, until: now + length(failures) });
    }

    /// Why the host rests and for how much longer, which is nothing where somebody may try it now; `None` where it works
    /// as far as is known.
    pub(crate) fn trouble(&self, now: Instant) -> Option<(String, Duration)> {
        let state = self.state();
        state.trouble.as_ref().map(|resting| (resting.why.clone(), resting.until.saturating_duration_since(now)))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn length(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn r8_a_host_that_fails_is_probed_by_one_after_longer_and_longer_rests() {
        let rest = Rest::default();
        let mut now = Instant::now();
        let leaves: Vec<_> = (0..8).map(|_| rest.ask(now).unwrap()).collect();
        for leave in leaves {
            rest.fails(leave, "down", now);
        }
        for seconds in [1, 2, 4, 5, 5] {
            assert_eq!(rest.trouble(now), Some(("down".to_owned(), Duration::from_secs(seconds))));
            assert!(rest.ask(now).is_err());
            now += Duration::from_secs(seconds);
            assert_eq!(rest.trouble(now).unwrap().1, Duration::ZERO);
            let probe = rest.ask(now).unwrap();
            assert!(rest.ask(now).is_err(), "one is enough");
            now += Duration::from_millis(100);
            rest.fails(probe, "down", now);
        }
        now += LONGEST;
        rest.ask(now).unwrap();
        rest.works(now);
        assert!(rest.trouble(now).is_none() && rest.ask(now).is_ok());
    }

    #[test]
    fn r8_one_broken_connection_among_many_that_work_shuts_no_host() {
        let rest = Rest::default();
        let now = Instant::now();
        let broken = rest.ask(now).unwrap();
        rest.works(now + Duration::from_millis(1));
        rest.fails(broken, "it closed the connection", now + Duration::from_millis(2));
        assert!(rest.trouble(now).is_none());
        let late = now + Duration::from_millis(3);
        rest.fails(rest.ask(late).unwrap(), "421 too many connections", late);
        assert!(rest.trouble(late).is_none(), "it has just worked");
        rest.fails(rest.ask(late).unwrap(), "421 too many connections", late);
        assert!(rest.trouble(late).is_some(), "that was no chance");
    }

    #[test]
    fn r8_a_probe_that_never_ends_keeps_the_next_one_waiting_for_one_rest() {
        let rest = Rest::default();
        let now = Instant::now();
        rest.fails(rest.ask(now).unwrap(), "down", now);
        let later = now + Duration::from_secs(1);
        rest.ask(later).unwrap();
        assert!(rest.ask(later).is_err());
        assert!(rest.ask(later + Duration::from_secs(1)).is_ok());
    }
}
