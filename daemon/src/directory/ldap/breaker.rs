//! When a server is left alone. One that can't be reached, or does not let us in, is asked again after a while; one that
//! keeps silent is given up only when it does so again and again, since each silence holds somebody up for seconds. After
//! a rest a single story tries it, and only when that one got an answer the others follow.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::wire::Failure;

/// Silences are counted over this time, against the answers in it.
const WINDOW: Duration = Duration::from_secs(10);
/// A story that tries a server after a rest and never tells how that went is forgotten after so long.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// Whether a server is asked.
pub(super) struct Breaker {
    /// So many silences are borne.
    patience: u32,
    /// How long a rest takes.
    rest: Duration,
    state: Mutex<State>,
}

struct State {
    open: Option<Open>,
    window: Instant,
    silences: u32,
    answers: u32,
    /// Whether it rested since something was learnt of it.
    rested: bool,
}

/// A server that rests.
struct Open {
    since: Instant,
    until: Instant,
    why: Failure,
    /// Since when a story tries whether it is back.
    trying: Option<Instant>,
}

impl Breaker {
    /// `patience` is the number of silences that are too many.
    pub(super) fn new(patience: u32, rest: Duration, now: Instant) -> Self {
        let state = State { open: None, window: now, silences: 0, answers: 0, rested: false };
        Self { patience, rest, state: Mutex::new(state) }
    }

    /// Asks whether a story may ask the server now.
    ///
    /// # Errors
    /// Why the server rests.
    pub(super) fn admit(&self, now: Instant) -> Result<(), Failure> {
        let mut state = self.state();
        let Some(open) = &mut state.open else { return Ok(()) };
        if now < open.until || open.trying.is_some_and(|since| now < since + FORGOTTEN) {
            return Err(open.why.clone());
        }
        open.trying = Some(now);
        Ok(())
    }

    /// Why it rests, if it does, also while a story tries whether it is back.
    pub(super) fn resting(&self) -> Option<Failure> {
        self.state().open.as_ref().map(|open| open.why.clone())
    }

    /// Why nobody may ask it at the moment, not even a story that tries.
    pub(super) fn shut(&self, now: Instant) -> Option<Failure> {
        self.state().open.as_ref().filter(|open| now < open.until).map(|open| open.why.clone())
    }

    /// Counts a failure; `Some` where a rest begins with it that was none before.
    pub(super) fn failed(&self, failure: &Failure, now: Instant) -> Option<Duration> {
        match failure {
            // Says nothing of the server.
            Failure::Busy(_) => return None,
            Failure::Silent(_) => {
                let mut state = self.state();
                state.turn(now);
                state.silences += 1;
                let borne = state.silences < self.patience || state.silences < state.answers;
                if borne && state.open.is_none() {
                    return None;
                }
            }
            Failure::Broken(_) | Failure::Refused(_) | Failure::Unreachable(_) => {}
        }
        self.shuts(failure, now)
    }

    /// Begins a rest, or begins it again; `Some` where it was none before.
    pub(super) fn shuts(&self, failure: &Failure, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        let since = state.open.as_ref().map(|open| open.since);
        let until = now + self.rest;
        state.open = Some(Open { since: since.unwrap_or(now), until, why: failure.clone(), trying: None });
        state.rested = true;
        since.is_none().then_some(self.rest)
    }

    /// Counts an answer; `Some` where a rest of so long ends with it.
    pub(super) fn answered(&self, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        state.turn(now);
        state.answers = state.answers.saturating_add(1);
        let open = state.open.take()?;
        state.silences = 0;
        Some(now.duration_since(open.since))
    }

    /// It has been reached, so that its rest is over, and stories may try it.
    pub(super) fn reached(&self, now: Instant) {
        if let Some(open) = &mut self.state().open {
            (open.until, open.trying) = (now, None);
        }
    }

    /// Whether it rested since something was learnt of it: a server that comes back may have become another one.
    pub(super) fn has_rested(&self) -> bool {
        self.state().rested
    }

    /// What is known of the server was learnt anew.
    pub(super) fn learnt(&self) {
        self.state().rested = false;
    }

    /// Forgets everything.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        (state.open, state.silences, state.answers, state.rested) = (None, 0, 0, false);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn turn(&mut self, now: Instant) {
        if now.duration_since(self.window) > WINDOW {
            (self.window, self.silences, self.answers) = (now, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(5);

    fn silence() -> Failure {
        Failure::Silent("no answer".into())
    }

    #[test]
    fn r5_five_silences_in_ten_seconds_open_it() {
        let now = Instant::now();
        let breaker = Breaker::new(5, REST, now);
        for _ in 0..4 {
            assert_eq!(breaker.failed(&silence(), now), None);
            assert!(breaker.admit(now).is_ok());
        }
        assert_eq!(breaker.failed(&silence(), now), Some(REST));
        assert!(breaker.admit(now).is_err());
        // Further silences of those under way are no news.
        assert_eq!(breaker.failed(&silence(), now), None);
    }

    #[test]
    fn r5_silences_far_apart_or_among_answers_do_not() {
        let now = Instant::now();
        let breaker = Breaker::new(5, REST, now);
        for number in 0..20 {
            assert_eq!(breaker.failed(&silence(), now + number * Duration::from_secs(3)), None);
        }
        let breaker = Breaker::new(5, REST, now);
        for _ in 0..20 {
            breaker.answered(now);
            breaker.answered(now);
            assert_eq!(breaker.failed(&silence(), now), None);
        }
    }

    #[test]
    fn r5_after_a_rest_one_story_tries() {
        let now = Instant::now();
        let breaker = Breaker::new(1, REST, now);
        assert_eq!(breaker.failed(&silence(), now), Some(REST));
        let later = now + REST;
        assert!(breaker.admit(later).is_ok());
        assert!(breaker.admit(later).is_err());
        assert!(breaker.resting().is_some() && breaker.shut(later).is_none());
        assert_eq!(breaker.failed(&silence(), later), None);
        assert!(breaker.admit(later).is_err() && breaker.shut(later).is_some());
        let later = later + REST;
        assert!(breaker.admit(later).is_ok());
        assert_eq!(breaker.answered(later), Some(2 * REST));
        assert!(breaker.admit(later).is_ok() && breaker.resting().is_none());
        assert!(breaker.has_rested());
        breaker.learnt();
        assert!(!breaker.has_rested());
    }

    #[test]
    fn r5_a_story_that_never_tells_does_not_shut_it_for_ever() {
        let now = Instant::now();
        let breaker = Breaker::new(1, REST, now);
        breaker.failed(&Failure::Unreachable("refused".into()), now);
        let later = now + REST;
        assert!(breaker.admit(later).is_ok() && breaker.admit(later).is_err());
        assert!(breaker.admit(later + FORGOTTEN).is_ok());
    }

    #[test]
    fn t112_connections_that_are_all_in_use_say_nothing_of_the_server() {
        let now = Instant::now();
        let breaker = Breaker::new(1, REST, now);
        assert_eq!(breaker.failed(&Failure::Busy("in use".into()), now), None);
        assert!(breaker.admit(now).is_ok());
    }
}
