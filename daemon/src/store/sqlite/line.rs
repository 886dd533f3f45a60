//! What waits for the one thread that writes: changes, and upkeep between them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::fault::Fault;
use super::writer::{Desk, PATIENCE};
use crate::store::Error;

/// How many changes share a commit at most; more would make the first of them wait for nothing.
pub(super) const BATCH: usize = 256;
/// How long a change that is owed waits for such a lock.
const OWED_PATIENCE: Duration = Duration::from_secs(30);

/// A change with its types erased.
pub(super) trait Job: Send {
    fn run(&mut self, desk: &Desk<'_>) -> Result<(), Fault>;
    fn answer(self: Box<Self>, verdict: Result<(), Error>);
}

pub(super) struct Change<T, F> {
    pub(super) act: F,
    pub(super) result: Option<T>,
    pub(super) back: oneshot::Sender<Result<T, Error>>,
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

/// A change that waits for its commit.
pub(super) struct Waiting {
    pub(super) job: Box<dyn Job>,
    /// Whether it tells of something that was done already.
    pub(super) is_owed: bool,
    pub(super) since: Instant,
}

impl Waiting {
    pub(super) fn has_patience(&self) -> bool {
        self.since.elapsed() < if self.is_owed { OWED_PATIENCE } else { PATIENCE }
    }
}

/// One thing for the thread to do.
pub(super) enum Task {
    /// Within a transaction shared with others.
    Change(Waiting),
    /// Between transactions: checkpoints, epochs.
    Upkeep(Box<dyn Job>),
}

/// What waits for the thread.
pub(super) struct Line {
    pub(super) queue: mpsc::Receiver<Task>,
    /// Upkeep that came while a batch was gathered.
    pub(super) upkeep: VecDeque<Box<dyn Job>>,
}

impl Line {
    /// The next thing to do; `None` once nobody can ask for anything any more.
    pub(super) fn next(&mut self) -> Option<Task> {
        self.upkeep.pop_front().map(Task::Upkeep).or_else(|| self.queue.blocking_recv())
    }

    /// Adds the changes that wait, up to `most` in all.
    pub(super) fn fill(&mut self, batch: &mut Vec<Waiting>, most: usize) {
        while batch.len() < most {
            match self.queue.try_recv() {
                Ok(Task::Change(waiting)) => batch.push(waiting),
                Ok(Task::Upkeep(job)) => self.upkeep.push_back(job),
                Err(_) => return,
            }
        }
    }
}

/// An act that can't be run a second time: whoever asked is told to ask again.
pub(super) fn once<T>(act: impl FnOnce(&Desk<'_>) -> Result<T, Fault>) -> impl FnMut(&Desk<'_>) -> Result<T, Fault> {
    let mut act = Some(act);
    move |desk| act.take().map_or_else(|| Err(Fault::busy()), |act| act(desk))
}

pub(super) fn refuse(batch: Vec<Waiting>, error: &Error) {
    for waiting in batch {
        waiting.job.answer(Err(error.clone()));
    }
}

/// Refuses what was not begun yet, and gives what is owed.
pub(super) fn refuse_new(batch: Vec<Waiting>, error: &Error) -> Vec<Waiting> {
    let (owed, new) = batch.into_iter().partition(|waiting| waiting.is_owed);
    refuse(new, error);
    owed
}
