//! When a server is left alone. One that can't be reached, or does not let us in, is asked again after a while; one that
//! keeps silent is given up only when it does so again and again, since each silence holds somebody up for seconds. After
//! a rest a single story tries it, and only when that one got an answer the others follow.
//!
//! What concerns one question alone makes no server rest: one that is beyond its limits, one that it is silent on while
//! it answers others, and one that it can't answer. Where it can't answer several, rekeyd's own questions decide.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::wire::Failure;

/// Silences are counted over this time, against the answers in it.
const WINDOW: Duration = Duration::from_secs(10);
/// So many silences make a server rest that is the only one, or that answers others meanwhile.
const SILENCES: u32 = 5;
/// A story that tries a server after a rest and never tells how that went is forgotten after so long.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// Whether a server is asked.
pub(super) struct Breaker {
    /// So many silences are too many, where nobody gets an answer.
    patience: u32,
    /// How long an answer is waited for.
    deadline: Duration,
    /// How long a rest takes.
    rest: Duration,
    state: Mutex<State>,
}

struct State {
    open: Option<Open>,
    window: Instant,
    silences: u32,
    answers: u32,
    /// When the last answer came.
    answered: Option<Instant>,
    /// So many questions it could not answer, though it was there.
    doubts: u32,
    /// Whether it rested, or was doubted, since something was learnt of it.
    doubted: bool,
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
    /// The first silence is one too many where there is another server to ask.
    pub(super) fn new(has_others: bool, deadline: Duration, rest: Duration, now: Instant) -> Self {
        let patience = if has_others { 1 } else { SILENCES };
        let state =
            State { open: None, window: now, silences: 0, answers: 0, answered: None, doubts: 0, doubted: false };
        Self { patience, deadline, rest, state: Mutex::new(state) }
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
            // Says nothing of the server, and whoever tried it after a rest makes way for the next.
            Failure::Beyond(_) | Failure::Busy(_) => {
                self.state().not_tried();
                return None;
            }
            // It holds nobody up, and anybody may know such a question. Who has several of them must not shut out others, so
            // that what is known of the server is learnt anew: one that can't answer that rests.
            Failure::Doubtful(_) => {
                let mut state = self.state();
                state.turn(now);
                state.doubts = state.doubts.saturating_add(1);
                state.doubted |= state.doubts == SILENCES && state.answers < state.doubts;
                state.not_tried();
                return None;
            }
            Failure::Silent(_) => {
                let mut state = self.state();
                state.turn(now);
                state.silences += 1;
                let borne = if state.answers_since(self.deadline, now) {
                    state.silences < SILENCES || state.silences < state.answers
                } else {
                    state.silences < self.patience
                };
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
        state.doubted = true;
        since.is_none().then_some(self.rest)
    }

    /// Counts an answer; `Some` where a rest of so long ends with it.
    pub(super) fn answered(&self, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        state.turn(now);
        state.answers = state.answers.saturating_add(1);
        state.answered = Some(now);
        let open = state.open.take()?;
        state.silences = 0;
        Some(now.duration_since(open.since))
    }

    /// Whether somebody got an answer since a question was asked whose time is over now.
    pub(super) fn answers_others(&self, now: Instant) -> bool {
        self.state().answers_since(self.deadline, now)
    }

    /// It has been reached, so that its rest is over, and stories may try it.
    pub(super) fn reached(&self, now: Instant) {
        if let Some(open) = &mut self.state().open {
            (open.until, open.trying) = (now, None);
        }
    }

    /// Whether something is to be learnt of it anew: one that comes back after a rest may have become another one, and one
    /// that can't answer people's questions may not be able to answer ours either.
    pub(super) fn is_doubted(&self) -> bool {
        self.state().doubted
    }

    /// What is known of the server was learnt anew.
    pub(super) fn learnt(&self) {
        self.state().doubted = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn turn(&mut self, now: Instant) {
        if now.duration_since(self.window) > WINDOW {
            (self.window, self.silences, self.answers, self.doubts) = (now, 0, 0, 0);
        }
    }

    /// Nobody is trying it any more, and nobody knows whether it is back.
    fn not_tried(&mut self) {
        if let Some(open) = &mut self.open {
            open.trying = None;
        }
    }

    /// Whether an answer came within so long before now.
    fn answers_since(&self, time: Duration, now: Instant) -> bool {
        self.answered.is_some_and(|at| now.duration_since(at) < time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);
    const REST: Duration = Duration::from_secs(5);

    fn breaker(has_others: bool, now: Instant) -> Breaker {
        Breaker::new(has_others, DEADLINE, REST, now)
    }

    fn doubt() -> Failure {
        Failure::Doubtful("other".into())
    }

    fn silence() -> Failure {
        Failure::Silent("no answer".into())
    }

    #[test]
    fn r5_five_silences_in_ten_seconds_open_it() {
        let now = Instant::now();
        let breaker = breaker(false, now);
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
        let breaker = breaker(false, now);
        for number in 0..20 {
            assert_eq!(breaker.failed(&silence(), now + number * Duration::from_secs(3)), None);
        }
        let breaker = self::breaker(false, now);
        for _ in 0..20 {
            breaker.answered(now);
            breaker.answered(now);
            assert_eq!(breaker.failed(&silence(), now), None);
        }
    }

    #[test]
    fn r5_a_server_that_answers_others_does_not_rest_for_one_silence() {
        let now = Instant::now();
        let breaker = breaker(true, now);
        let asked = now + Duration::from_secs(1);
        breaker.answered(asked + Duration::from_secs(2));
        assert_eq!(breaker.failed(&silence(), asked + DEADLINE), None);
        assert!(breaker.answers_others(asked + DEADLINE));
        // What it answered before says nothing: since the next question was asked nobody has got an answer.
        assert_eq!(breaker.failed(&silence(), asked + DEADLINE + Duration::from_secs(3)), Some(REST));
    }

    #[test]
    fn r5_a_server_that_falls_silent_after_many_answers_rests_at_once() {
        let now = Instant::now();
        let breaker = breaker(true, now);
        for _ in 0..1000 {
            breaker.answered(now);
        }
        assert_eq!(breaker.failed(&silence(), now + DEADLINE), Some(REST));
    }

    #[test]
    fn t112_a_question_beyond_the_limits_is_its_own_failure() {
        let now = Instant::now();
        let breaker = breaker(true, now);
        for _ in 0..1000 {
            assert_eq!(breaker.failed(&Failure::Beyond("too large".into()), now), None);
        }
        assert!(breaker.admit(now).is_ok() && breaker.resting().is_none());
    }

    #[test]
    fn t68_questions_that_it_can_t_answer_make_it_rest_only_by_our_own() {
        let now = Instant::now();
        let breaker = breaker(true, now);
        for _ in 0..4 {
            assert_eq!(breaker.failed(&doubt(), now), None);
            assert!(!breaker.is_doubted());
        }
        for _ in 0..100 {
            assert_eq!(breaker.failed(&doubt(), now), None);
            assert!(breaker.admit(now).is_ok() && breaker.resting().is_none());
            assert!(breaker.is_doubted());
        }
        breaker.learnt();
        // It answered ours, and is not asked them again and again by whoever knows what it can't answer.
        assert_eq!(breaker.failed(&doubt(), now + WINDOW), None);
        assert!(!breaker.is_doubted());
        let later = now + 2 * WINDOW + Duration::from_secs(1);
        (0..5).for_each(|_| assert_eq!(breaker.failed(&doubt(), later), None));
        assert!(breaker.is_doubted());
        // What it answers others shows as much.
        let breaker = self::breaker(true, now);
        (0..5).for_each(|_| assert_eq!(breaker.answered(now), None));
        (0..100).for_each(|_| assert_eq!(breaker.failed(&doubt(), now), None));
        assert!(!breaker.is_doubted() && breaker.resting().is_none());
    }

    #[test]
    fn t68_whoever_tries_it_after_a_rest_and_learns_nothing_makes_way_for_the_next() {
        for failure in [doubt(), Failure::Beyond("too large".into()), Failure::Busy("in use".into())] {
            let now = Instant::now();
            let breaker = breaker(true, now);
            breaker.failed(&Failure::Unreachable("refused".into()), now);
            let later = now + REST;
            assert!(breaker.admit(later).is_ok() && breaker.admit(later).is_err());
            breaker.failed(&failure, later);
            assert!(breaker.admit(later).is_ok() && breaker.resting().is_some(), "{failure:?}");
        }
    }

    #[test]
    fn r5_after_a_rest_one_story_tries() {
        let now = Instant::now();
        let breaker = breaker(true, now);
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
        assert!(breaker.is_doubted());
        breaker.learnt();
        assert!(!breaker.is_doubted());
    }

    #[test]
    fn r5_a_story_that_never_tells_does_not_shut_it_for_ever() {
        let now = Instant::now();
        let breaker = breaker(true, now);
        breaker.failed(&Failure::Unreachable("refused".into()), now);
        let later = now + REST;
        assert!(breaker.admit(later).is_ok() && breaker.admit(later).is_err());
        assert!(breaker.admit(later + FORGOTTEN).is_ok());
    }

    #[test]
    fn t112_connections_that_are_all_in_use_say_nothing_of_the_server() {
        let now = Instant::now();
        let breaker = breaker(true, now);
        assert_eq!(breaker.failed(&Failure::Busy("in use".into()), now), None);
        assert!(breaker.admit(now).is_ok());
    }
}
