//! What waits for the one thread that writes, in two lanes.
//!
//! Somebody waits for what was *asked*; nobody waits for the work *behind* an answer. The thread takes all that was asked
//! first, and of the other lane a slice at a time, so that work behind earlier answers never holds up a later one by more
//! than one slice, however much of it there is. And it begins a slice only once nobody has asked for a moment: whoever
//! comes right after others would otherwise feel in the time of an answer what theirs made to do. No slice waits for long:
//! where people never stop to ask, the lanes take turns.
//!
//! How many share a commit goes by load: who comes alone is taken at once. After a commit that many shared, the thread
//! waits a moment for as many again, since their next requests are on their way; without that every second commit would be
//! one of a single change.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::change::{Job, Waiting};

/// How many asked changes may wait.
pub(super) const QUEUE: usize = 4096;
/// How many changes share a commit at most; more would make the first of them wait for nothing.
const BATCH: usize = 256;
/// How many changes behind answers share a commit. Each is some 0.05 ms of work, and somebody may ask meanwhile.
const SLICE: usize = 8;
/// How long nobody must have asked before work behind answers begins.
const QUIET: Duration = Duration::from_millis(2);
/// How long such work waits for that at most. Each request waits so long twice where people never stop to ask.
const BOUND: Duration = Duration::from_millis(8);
/// How long the thread waits at most for as many as came before.
const GATHER: Duration = Duration::from_micros(300);
/// After so long without any, whoever comes next comes alone.
const LULL: Duration = Duration::from_millis(1);

/// One thing for the thread to do.
pub(super) enum Task {
    /// Within a transaction shared with others.
    Change(Waiting),
    /// Between transactions: checkpoints, epochs.
    Upkeep(Box<dyn Job>),
}

/// What the thread does next.
pub(super) enum Turn {
    /// These together.
    Changes(Vec<Waiting>),
    /// This alone.
    Upkeep(Box<dyn Job>),
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
    /// When the last asked changes were done.
    asked: Option<Instant>,
    quiet: Duration,
    bound: Duration,
}

struct Shared {
    lines: Mutex<Lines>,
    came: Condvar,
    places: Semaphore,
}

#[derive(Default)]
struct Lines {
    asked: VecDeque<Waiting>,
    behind: VecDeque<Waiting>,
    upkeep: VecDeque<Box<dyn Job>>,
    /// How many asked tasks the thread sleeps for; 0 while it is awake.
    sleeps_for: usize,
    entrance_closed: bool,
    exit_closed: bool,
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
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
    let lines = Mutex::default();
    let shared = Arc::new(Shared { lines, came: Condvar::new(), places: Semaphore::new(QUEUE) });
    let entrance = Entrance { shared: Arc::clone(&shared) };
    (entrance, Exit { shared, last: 0, is_their_turn: false, asked: None, quiet: QUIET, bound: BOUND })
}

impl Entrance {
    /// Hands a task over; waits so long at most for a place among those asked. Work behind answers is bounded by those who
    /// do it, and always finds a place.
    pub(super) async fn enter(&self, task: Task, patience: Duration) -> Result<(), NoEntry> {
        if matches!(&task, Task::Change(waiting) if waiting.manner.is_asked) {
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
        let mut lines = self.shared.lines();
        if lines.exit_closed {
            return Err(NoEntry::Gone);
        }
        match task {
            Task::Change(waiting) if waiting.manner.is_asked => lines.asked.push_back(waiting),
            Task::Change(waiting) => lines.behind.push_back(waiting),
            Task::Upkeep(job) => lines.upkeep.push_back(job),
        }
        let wakes = match lines.sleeps_for {
            0 => false,
            // Asleep until anything comes.
            1 => true,
            many => lines.asked.len() >= many,
        };
        if wakes {
            lines.sleeps_for = 0;
            drop(lines);
            self.shared.came.notify_one();
        }
        Ok(())
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.shared.lines().entrance_closed = true;
        self.shared.came.notify_one();
    }
}

impl Exit {
    /// What to do next; waits until there is something. `None` once all is done and the entrance is closed.
    pub(super) fn next(&mut self) -> Option<Turn> {
        let shared = Arc::clone(&self.shared);
        if self.is_their_turn {
            self.asked = Some(Instant::now());
        }
        let mut lines = shared.lines();
        loop {
            let nobody_asks = lines.asked.is_empty();
            if (nobody_asks || self.is_their_turn)
                && let Some(job) = lines.upkeep.pop_front()
            {
                self.is_their_turn = false;
                return Some(Turn::Upkeep(job));
            }
            let hold = self.hold(&lines);
            if (nobody_asks || self.is_their_turn) && hold.is_some_and(|hold| hold.is_zero()) {
                self.is_their_turn = false;
                let most = lines.behind.len().min(SLICE);
                return Some(Turn::Changes(lines.behind.drain(..most).collect()));
            }
            if !nobody_asks {
                lines = self.gather(&shared, lines);
                let most = lines.asked.len().min(BATCH);
                let batch: Vec<_> = lines.asked.drain(..most).collect();
                drop(lines);
                shared.places.add_permits(batch.len());
                self.last = batch.len();
                self.is_their_turn = true;
                return Some(Turn::Changes(batch));
            }
            if lines.entrance_closed {
                return None;
            }
            let begin = Instant::now();
            lines.sleeps_for = 1;
            lines = match hold {
                Some(hold) => shared.came.wait_timeout(lines, hold).unwrap_or_else(PoisonError::into_inner).0,
                None => shared.came.wait(lines).unwrap_or_else(PoisonError::into_inner),
            };
            lines.sleeps_for = 0;
            if begin.elapsed() > LULL {
                self.last = 0;
            }
        }
    }

    /// How much longer the work behind answers waits; `None` where there is none.
    fn hold(&self, lines: &Lines) -> Option<Duration> {
        let age = lines.behind.front()?.age();
        let bound = if lines.entrance_closed { Duration::ZERO } else { self.bound.saturating_sub(age) };
        // Somebody waits: no moment is quiet.
        if !lines.asked.is_empty() {
            return Some(bound);
        }
        let quiet = self.asked.map_or(Duration::ZERO, |asked| self.quiet.saturating_sub(asked.elapsed()));
        Some(bound.min(quiet))
    }

    /// Adds all changes that wait, up to `most` in all.
    pub(super) fn fill(&mut self, batch: &mut Vec<Waiting>, most: usize) {
        let mut lines = self.shared.lines();
        let asked = lines.asked.len().min(most.saturating_sub(batch.len()));
        batch.extend(lines.asked.drain(..asked));
        let behind = lines.behind.len().min(most.saturating_sub(batch.len()));
        batch.extend(lines.behind.drain(..behind));
        drop(lines);
        self.shared.places.add_permits(asked);
    }

    /// Waits for as many as came before, for a moment at most.
    fn gather<'s>(&self, shared: &'s Shared, mut lines: MutexGuard<'s, Lines>) -> MutexGuard<'s, Lines> {
        let wanted = self.last;
        let begin = Instant::now();
        while wanted > 1 && lines.asked.len() < wanted && !lines.entrance_closed {
            let Some(left) = GATHER.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) else { break };
            lines.sleeps_for = wanted;
            let woken = shared.came.wait_timeout(lines, left);
            lines = woken.unwrap_or_else(PoisonError::into_inner).0;
            lines.sleeps_for = 0;
        }
        lines
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        let left = {
            let mut lines = self.shared.lines();
            lines.exit_closed = true;
            (std::mem::take(&mut lines.asked), std::mem::take(&mut lines.behind), std::mem::take(&mut lines.upkeep))
        };
        // Whoever waits for one of these is told by its end.
        drop(left);
        self.shared.places.close();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::sync::oneshot;

    use super::super::change::{Change, Manner, once};
    use super::*;

    async fn enter(entrance: &Entrance, manner: Manner) {
        let (back, _) = oneshot::channel();
        let job = Box::new(Change::new(once(|_| Ok(())), back));
        assert!(entrance.enter(Task::Change(Waiting::new(job, manner)), Duration::ZERO).await.is_ok());
    }

    /// How many changes come together next, and whether somebody waits for them.
    fn next(exit: &mut Exit) -> (usize, bool) {
        match exit.next().unwrap() {
            Turn::Changes(batch) => (batch.len(), batch.iter().all(|waiting| waiting.manner.is_asked)),
            Turn::Upkeep(_) => (0, false),
        }
    }

    #[tokio::test]
    async fn p3_work_behind_answers_holds_up_the_next_one_by_no_more_than_a_slice() {
        let (entrance, mut exit) = lanes();
        exit.bound = Duration::ZERO;
        for _ in 0..100 {
            enter(&entrance, Manner::BEHIND).await;
        }
        assert_eq!(next(&mut exit), (SLICE, false), "nobody asks");
        for _ in 0..300 {
            enter(&entrance, Manner::ASKED).await;
        }
        let turns: Vec<_> = (0..4).map(|_| next(&mut exit)).collect();
        assert_eq!(turns, [(BATCH, true), (SLICE, false), (300 - BATCH, true), (SLICE, false)]);
    }

    #[tokio::test]
    async fn p3_work_behind_answers_waits_for_a_quiet_moment() {
        let (entrance, mut exit) = lanes();
        (exit.quiet, exit.bound) = (Duration::MAX, Duration::MAX);
        for _ in 0..5 {
            enter(&entrance, Manner::ASKED).await;
            enter(&entrance, Manner::BEHIND).await;
            assert_eq!(next(&mut exit), (1, true), "who asks again at once comes before what was left to do");
        }
        exit.quiet = Duration::from_millis(1);
        assert_eq!(next(&mut exit), (5, false));
        enter(&entrance, Manner::ASKED).await;
        enter(&entrance, Manner::BEHIND).await;
        assert_eq!(next(&mut exit), (1, true));
        (exit.quiet, exit.bound) = (Duration::MAX, Duration::from_millis(1));
        assert_eq!(next(&mut exit), (1, false), "and waits no longer than that");
        enter(&entrance, Manner::BEHIND).await;
        exit.bound = Duration::MAX;
        drop(entrance);
        assert_eq!(next(&mut exit), (1, false), "at the end all is done");
    }

    #[tokio::test]
    async fn r23_who_finds_no_place_is_told_and_work_behind_answers_goes_on() {
        let (entrance, mut exit) = lanes();
        for _ in 0..QUEUE {
            enter(&entrance, Manner::ASKED).await;
        }
        let (back, _) = oneshot::channel();
        let job = Box::new(Change::new(once(|_| Ok(())), back));
        let one_more = Task::Change(Waiting::new(job, Manner::ASKED));
        assert!(matches!(entrance.enter(one_more, Duration::ZERO).await, Err(NoEntry::Full)));
        enter(&entrance, Manner::BEHIND).await;
        assert_eq!(next(&mut exit), (BATCH, true));
        enter(&entrance, Manner::ASKED).await;
    }

    #[tokio::test]
    async fn what_is_left_when_the_thread_ends_is_let_go() {
        let (entrance, exit) = lanes();
        let (back, answer) = oneshot::channel::<Result<(), _>>();
        let job = Box::new(Change::new(once(|_| Ok(())), back));
        assert!(entrance.enter(Task::Change(Waiting::new(job, Manner::ASKED)), Duration::ZERO).await.is_ok());
        drop(exit);
        assert!(answer.await.is_err());
        let (back, _) = oneshot::channel();
        let job = Box::new(Change::new(once(|_| Ok(())), back));
        let late = Task::Change(Waiting::new(job, Manner::ASKED));
        assert!(matches!(entrance.enter(late, Duration::ZERO).await, Err(NoEntry::Gone)));
    }
}
