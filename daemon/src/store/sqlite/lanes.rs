//! What waits for the one thread that writes, in two lanes.
//!
//! Somebody waits for what was *asked*; nobody waits for the work *behind* an answer. The thread takes all that was asked
//! first, and of the other lane a slice at a time, so that work behind earlier answers never holds up a later one by more
//! than one slice, however much of it there is.
//!
//! How many share a commit goes by load: who comes alone is taken at once. After a commit that many shared, the thread
//! waits a moment for as many again, since their next requests are on their way; without that every second commit would be
//! one of a single change.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::writer::{Step, Task};
use crate::store::Error;

/// How many asked changes may wait.
const QUEUE: usize = 4096;
/// How many changes share a commit at most; more would make the first of them wait for nothing.
const BATCH: usize = 256;
/// How many changes behind answers share a commit. Each is some 0.05 ms of work, and somebody may ask meanwhile.
const SLICE: usize = 8;
/// How long the thread waits at most for as many as came before.
const GATHER: Duration = Duration::from_micros(300);
/// After so long without any, whoever comes next comes alone.
const LULL: Duration = Duration::from_millis(1);

/// Which lane a task waits in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lane {
    /// Somebody waits for the answer.
    Asked,
    /// Nobody does.
    Behind,
}

/// The end where tasks come in.
pub(super) struct Entrance {
    shared: Arc<Shared>,
}

/// The end where the thread takes them.
pub(super) struct Exit {
    shared: Arc<Shared>,
    /// How many asked changes shared the last commit that had any.
    last: usize,
    /// Whether the other lane has its turn.
    is_their_turn: bool,
}

struct Shared {
    waiting: Mutex<Waiting>,
    came: Condvar,
    places: Semaphore,
}

#[derive(Default)]
struct Waiting {
    asked: VecDeque<Task>,
    behind: VecDeque<Task>,
    /// How many asked tasks the thread sleeps for; 0 while it is awake.
    sleeps_for: usize,
    entrance_closed: bool,
    exit_closed: bool,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a task could not come in.
pub(super) enum NoEntry {
    /// Too many wait.
    Full,
    /// The thread is gone.
    Gone,
}

/// Two empty lanes.
pub(super) fn lanes() -> (Entrance, Exit) {
    let waiting = Mutex::default();
    let shared = Arc::new(Shared { waiting, came: Condvar::new(), places: Semaphore::new(QUEUE) });
    (Entrance { shared: Arc::clone(&shared) }, Exit { shared, last: 0, is_their_turn: false })
}

impl Entrance {
    /// Hands a task over; waits so long at most for a place among those asked. Work behind answers is bounded by those who
    /// do it, and always finds a place.
    pub(super) async fn enter(&self, lane: Lane, task: Task, patience: Duration) -> Result<(), NoEntry> {
        if lane == Lane::Asked {
            let place = match self.shared.places.try_acquire() {
                Ok(place) => place,
                Err(_) => match tokio::time::timeout(patience, self.shared.places.acquire()).await {
                    Ok(Ok(place)) => place,
                    Ok(Err(_)) => return Err(NoEntry::Gone),
                    Err(_) => return Err(NoEntry::Full),
                },
            };
            // Given back when the thread takes the task.
            place.forget();
        }
        let mut waiting = self.shared.waiting();
        if waiting.exit_closed {
            return Err(NoEntry::Gone);
        }
        match lane {
            Lane::Asked => waiting.asked.push_back(task),
            Lane::Behind => waiting.behind.push_back(task),
        }
        let wakes = match waiting.sleeps_for {
            0 => false,
            // Asleep until anything comes.
            1 => true,
            many => waiting.asked.len() >= many,
        };
        if wakes {
            waiting.sleeps_for = 0;
            drop(waiting);
            self.shared.came.notify_one();
        }
        Ok(())
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.shared.waiting().entrance_closed = true;
        self.shared.came.notify_one();
    }
}

impl Exit {
    /// The next tasks, all of one lane, to be done together; waits until there are any. `None` once all are done and the
    /// entrance is closed.
    pub(super) fn next(&mut self) -> Option<(Lane, Vec<Task>)> {
        let shared = Arc::clone(&self.shared);
        let mut waiting = shared.waiting();
        loop {
            let is_their_turn = std::mem::take(&mut self.is_their_turn);
            if !waiting.behind.is_empty() && (is_their_turn || waiting.asked.is_empty()) {
                let most = waiting.behind.len().min(SLICE);
                return Some((Lane::Behind, waiting.behind.drain(..most).collect()));
            }
            if !waiting.asked.is_empty() {
                waiting = self.gather(&shared, waiting);
                let most = waiting.asked.len().min(BATCH);
                let batch: Vec<_> = waiting.asked.drain(..most).collect();
                drop(waiting);
                shared.places.add_permits(batch.len());
                self.last = batch.len();
                self.is_their_turn = true;
                return Some((Lane::Asked, batch));
            }
            if waiting.entrance_closed {
                return None;
            }
            let begin = Instant::now();
            waiting.sleeps_for = 1;
            waiting = shared.came.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            waiting.sleeps_for = 0;
            if begin.elapsed() > LULL {
                self.last = 0;
            }
        }
    }

    /// What was asked while a batch could not begin, up to `most`: its patience runs as well.
    pub(super) fn asked_meanwhile(&mut self, most: usize) -> Vec<Step> {
        let tasks: Vec<_> = {
            let mut waiting = self.shared.waiting();
            let most = waiting.asked.len().min(most);
            waiting.asked.drain(..most).collect()
        };
        self.shared.places.add_permits(tasks.len());
        let steps = tasks.into_iter().filter_map(|task| match task {
            Task::Change(step) => Some(step),
            // Upkeep waits in the other lane.
            Task::Upkeep(job) => {
                job.answer(Err(Error::Busy));
                None
            }
        });
        steps.collect()
    }

    /// Waits for as many as came before, for a moment at most.
    fn gather<'s>(&self, shared: &'s Shared, mut waiting: MutexGuard<'s, Waiting>) -> MutexGuard<'s, Waiting> {
        let wanted = self.last;
        let begin = Instant::now();
        while wanted > 1 && waiting.asked.len() < wanted && !waiting.entrance_closed {
            let Some(left) = GATHER.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) else { break };
            waiting.sleeps_for = wanted;
            let woken = shared.came.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
            waiting.sleeps_for = 0;
        }
        waiting
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        let left = {
            let mut waiting = self.shared.waiting();
            waiting.exit_closed = true;
            (std::mem::take(&mut waiting.asked), std::mem::take(&mut waiting.behind))
        };
        // Whoever waits for one of these is told by its end.
        drop(left);
        self.shared.places.close();
    }
}
