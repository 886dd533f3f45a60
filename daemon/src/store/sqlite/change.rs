//! A change that waits for its commit: what it does, who waits for it, and what a full disk or a power cut may do to it.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::fault::Fault;
use super::writer::{Desk, PATIENCE};
use crate::store::Error;

/// How long a change that is owed waits for a lock that somebody else holds.
const OWED_PATIENCE: Duration = Duration::from_secs(30);

/// How a change is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Manner {
    /// Whether somebody waits for it; otherwise it is work behind an answer.
    pub(super) is_asked: bool,
    /// Whether it tells of something that was done already, so that it is waited for longer and gets the last space.
    pub(super) is_owed: bool,
    /// Whether it is on disk when it is answered. Otherwise a power cut may undo it, and it is then done again.
    pub(super) is_kept: bool,
    /// Whether it can fail halfway, so that it needs a savepoint. One that can't has looked before it writes; should it
    /// fail all the same, so does its whole batch.
    pub(super) is_guarded: bool,
}

impl Manner {
    /// Somebody waits for it, and it is on disk when it is answered.
    pub(super) const ASKED: Self = Self { is_asked: true, is_owed: false, is_kept: true, is_guarded: true };
    /// As [`Manner::ASKED`], made whole or not at all.
    pub(super) const PLAIN: Self = Self { is_guarded: false, ..Self::ASKED };
    /// As [`Manner::ASKED`], about something that was done already.
    pub(super) const OWED: Self = Self { is_owed: true, ..Self::ASKED };
    /// Work behind an answer that may be done again.
    pub(super) const BEHIND: Self = Self { is_asked: false, is_kept: false, ..Self::ASKED };
    /// Work behind an answer whose outcome goes out into the world: with all that was before, it is on disk.
    pub(super) const BEHIND_KEPT: Self = Self { is_kept: true, ..Self::BEHIND };
    /// Work behind an answer that tells of something done already, which may be told of again.
    pub(super) const BEHIND_OWED: Self = Self { is_owed: true, ..Self::BEHIND };
}

/// A change with its types erased.
pub(super) trait Job: Send {
    fn run(&mut self, desk: &Desk<'_>) -> Result<(), Fault>;
    fn answer(self: Box<Self>, verdict: Result<(), Error>);
}

/// An act, and whom to tell how it went.
pub(super) struct Change<T, F> {
    act: F,
    result: Option<T>,
    back: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Change<T, F> {
    pub(super) fn new(act: F, back: oneshot::Sender<Result<T, Error>>) -> Self {
        Self { act, result: None, back }
    }
}

impl<T: Send, F: FnMut(&Desk<'_>) -> Result<T, Fault> + Send> Job for Change<T, F> {
    fn run(&mut self, desk: &Desk<'_>) -> Result<(), Fault> {
        self.result = Some((self.act)(desk)?);
        Ok(())
    }

    fn answer(self: Box<Self>, verdict: Result<(), Error>) {
        let Self { result, back, .. } = *self;
        // Whoever asked may be gone; what was done stays done.
        drop(back.send(verdict.and_then(|()| result.ok_or(Error::Busy))));
    }
}

/// An act that can't be run a second time: whoever asked is told to ask again.
pub(super) fn once<T>(act: impl FnOnce(&Desk<'_>) -> Result<T, Fault>) -> impl FnMut(&Desk<'_>) -> Result<T, Fault> {
    let mut act = Some(act);
    move |desk| act.take().map_or_else(|| Err(Fault::busy()), |act| act(desk))
}

/// A change that waits for its commit.
pub(super) struct Waiting {
    pub(super) job: Box<dyn Job>,
    pub(super) manner: Manner,
    since: Instant,
}

impl Waiting {
    pub(super) fn new(job: Box<dyn Job>, manner: Manner) -> Self {
        Self { job, manner, since: Instant::now() }
    }

    /// How long it has waited.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether it still waits for a lock that somebody else holds.
    pub(super) fn has_patience(&self) -> bool {
        self.age() < if self.manner.is_owed { OWED_PATIENCE } else { PATIENCE }
    }
}

/// Tells all of these that they were not made.
pub(super) fn refuse(batch: Vec<Waiting>, error: &Error) {
    for waiting in batch {
        waiting.job.answer(Err(error.clone()));
    }
}

/// Refuses what was not begun yet, and gives what is owed.
pub(super) fn refuse_new(batch: Vec<Waiting>, error: &Error) -> Vec<Waiting> {
    let (owed, new) = batch.into_iter().partition(|waiting| waiting.manner.is_owed);
    refuse(new, error);
    owed
}
