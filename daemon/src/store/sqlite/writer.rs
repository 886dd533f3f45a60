//! The one thread that writes, and how changes share a commit.
//!
//! A change is a closure over a [`Desk`]. The thread takes the changes that wait, runs each in a savepoint of its own,
//! commits once and only then answers, so that the cost of reaching the disk is shared by as many as there are. A change
//! that fails is rolled back alone. An error of the disk itself is final: an fsync that failed once can lie when it is
//! repeated, so everybody is told that the store is broken and the daemon ends.
//!
//! What was asked is on the disk when it is answered. Work behind an answer is not held up by the disk where a power cut
//! that undoes it does no harm: it is then done again. The next change that must be on the disk takes it along.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rekeyd_core::domain::DataKey;
use ring::rand::SystemRandom;
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::fault::Fault;
use super::lanes::{Entrance, Exit, Lane, NoEntry, lanes};
use super::latest::Latest;
use super::memory::Memory;
use crate::store::Error;

/// How long a caller waits for a place in the queue.
const PATIENCE: Duration = Duration::from_secs(2);
/// The size of the write-ahead log, in bytes, from which its pages are moved into the database between two batches. The
/// file is cut back to it when the log begins anew, so that a longer file means as many pages that wait.
pub(super) const LOG_SIZE: u64 = 4 << 20;
/// How much longer the log must be before it is tried again, where a reader held on to it.
const LOG_STEP: u64 = 1 << 20;

/// What a change works with: the open transaction, the keys, and what the thread keeps in memory.
pub(super) struct Desk<'w> {
    pub(super) connection: &'w Connection,
    pub(super) key: &'w DataKey,
    pub(super) chance: &'w SystemRandom,
    pub(super) memory: &'w Cell<Memory>,
    pub(super) latest: &'w Latest,
}

impl Desk<'_> {
    /// Changes what is kept in memory. It goes back together with the savepoint or transaction that it belongs to.
    pub(super) fn remember(&self, change: impl FnOnce(&mut Memory)) {
        let mut memory = self.memory.get();
        change(&mut memory);
        self.memory.set(memory);
    }
}

/// A change with its types erased.
pub(super) trait Job: Send {
    fn run(&mut self, desk: &Desk<'_>) -> Result<(), Fault>;
    fn answer(self: Box<Self>, verdict: Result<(), Error>);
}

struct Change<T, F> {
    act: Option<F>,
    result: Option<T>,
    back: oneshot::Sender<Result<T, Error>>,
}

impl<T: Send, F: FnOnce(&Desk<'_>) -> Result<T, Fault> + Send> Job for Change<T, F> {
    fn run(&mut self, desk: &Desk<'_>) -> Result<(), Fault> {
        if let Some(act) = self.act.take() {
            self.result = Some(act(desk)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, verdict: Result<(), Error>) {
        let Self { result, back, .. } = *self;
        // Whoever asked may be gone; what was done stays done.
        drop(back.send(verdict.and_then(|()| result.ok_or(Error::Busy))));
    }
}

/// How a change is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Manner {
    /// Somebody waits for it, and it is on disk when it is answered.
    Asked,
    /// As [`Manner::Asked`], for a change that is made whole or not at all without a savepoint: what can fail in it comes
    /// before what it writes.
    Plain,
    /// Nobody waits for it; a power cut may undo it.
    Behind,
    /// Nobody waits for it, but it is on disk, with all that was before it, when it is done.
    BehindOnDisk,
}

impl Manner {
    fn lane(self) -> Lane {
        match self {
            Self::Asked | Self::Plain => Lane::Asked,
            Self::Behind | Self::BehindOnDisk => Lane::Behind,
        }
    }
}

/// One thing for the thread to do.
pub(super) enum Task {
    /// Within a transaction shared with others.
    Change(Step),
    /// Between transactions: checkpoints, epochs.
    Upkeep(Box<dyn Job>),
}

/// A change within a batch.
pub(super) struct Step {
    manner: Manner,
    job: Box<dyn Job>,
}

/// The thread's far end.
pub(super) struct Writer {
    tasks: Option<Entrance>,
    thread: Option<JoinHandle<()>>,
    broken: watch::Receiver<Option<String>>,
}

impl Writer {
    /// Starts the thread. `log` is the path of the write-ahead log.
    pub(super) fn start(
        connection: Connection,
        key: Arc<DataKey>,
        latest: Arc<Latest>,
        chance: SystemRandom,
        memory: Memory,
        log: PathBuf,
    ) -> Result<Self, Error> {
        let (tasks, queue) = lanes();
        let (tell, broken) = watch::channel(None);
        let hand = Hand {
            connection,
            key,
            latest,
            chance,
            memory: Cell::new(memory),
            log,
            log_tried: Cell::new(0),
            syncs: Cell::new(None),
            broken: Verdict(tell),
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || hand.work(queue))
            .map_err(|error| Error::Broken(format!("the store's thread can't be started: {error}")))?;
        Ok(Self { tasks: Some(tasks), thread: Some(thread), broken })
    }

    /// Runs a change in a transaction; on disk when this returns `Ok`.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Desk<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.make(Manner::Asked, act).await
    }

    /// Runs a change in a transaction, in this manner.
    pub(super) async fn make<T: Send + 'static>(
        &self,
        manner: Manner,
        act: impl FnOnce(&Desk<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let (back, answer) = oneshot::channel();
        let job = Box::new(Change { act: Some(act), result: None, back });
        self.hand_over(manner.lane(), Task::Change(Step { manner, job }), answer).await
    }

    /// Runs upkeep between transactions.
    pub(super) async fn upkeep<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Desk<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let (back, answer) = oneshot::channel();
        let job = Box::new(Change { act: Some(act), result: None, back });
        self.hand_over(Lane::Behind, Task::Upkeep(job), answer).await
    }

    async fn hand_over<T>(
        &self,
        lane: Lane,
        task: Task,
        answer: oneshot::Receiver<Result<T, Error>>,
    ) -> Result<T, Error> {
        let tasks = self.tasks.as_ref().ok_or_else(|| self.gone())?;
        match tasks.enter(lane, task, PATIENCE).await {
            Ok(()) => answer.await.map_err(|_| self.gone())?,
            Err(NoEntry::Full) => Err(Error::Busy),
            Err(NoEntry::Gone) => Err(self.gone()),
        }
    }

    fn gone(&self) -> Error {
        let why = self.broken.borrow().clone();
        Error::Broken(why.unwrap_or_else(|| "the store's thread has ended".into()))
    }

    /// Tells when the store is broken for good, and why.
    pub(super) fn broken(&self) -> watch::Receiver<Option<String>> {
        self.broken.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.tasks.take();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told through `broken`.
            drop(thread.join());
        }
    }
}

/// Tells that the store is broken, also when its thread unwinds.
struct Verdict(watch::Sender<Option<String>>);

impl Drop for Verdict {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send_replace(Some("the store's thread has panicked".into()));
        }
    }
}

/// The thread's near end.
struct Hand {
    connection: Connection,
    key: Arc<DataKey>,
    latest: Arc<Latest>,
    chance: SystemRandom,
    memory: Cell<Memory>,
    log: PathBuf,
    /// How long the log was when it was last tried; 0 once it has begun anew.
    log_tried: Cell<u64>,
    /// Whether a commit waits for the disk, as the connection was last told.
    syncs: Cell<Option<bool>>,
    broken: Verdict,
}

impl Hand {
    fn work(self, mut queue: Exit) {
        while let Some((_, tasks)) = queue.next() {
            let mut batch = Vec::with_capacity(tasks.len());
            for task in tasks {
                match task {
                    Task::Change(step) => batch.push(step),
                    Task::Upkeep(mut job) => {
                        self.commit(std::mem::take(&mut batch));
                        let verdict = match self.why_broken() {
                            Some(why) => Err(Error::Broken(why)),
                            None => self.judge(self.sync(true).and_then(|()| job.run(&self.desk()))),
                        };
                        job.answer(verdict);
                    }
                }
            }
            self.commit(batch);
            self.shorten_log();
        }
    }

    fn desk(&self) -> Desk<'_> {
        Desk {
            connection: &self.connection,
            key: &self.key,
            chance: &self.chance,
            memory: &self.memory,
            latest: &self.latest,
        }
    }

    fn why_broken(&self) -> Option<String> {
        self.broken.0.borrow().clone()
    }

    /// Runs and commits a batch, then answers each of its jobs.
    fn commit(&self, mut batch: Vec<Step>) {
        if batch.is_empty() {
            return;
        }
        let before = self.memory.get();
        let outcome = if let Some(why) = self.why_broken() {
            Err(Error::Broken(why))
        } else {
            let outcome = self.transact(&mut batch);
            if outcome.is_err() {
                self.memory.set(before);
                if !self.connection.is_autocommit()
                    && let Err(error) = self.connection.execute_batch("ROLLBACK")
                {
                    log::debug!("rollback after a failed batch: {error}");
                }
            }
            self.judge(outcome)
        };
        match outcome {
            Ok(verdicts) => {
                for (step, verdict) in batch.into_iter().zip(verdicts) {
                    step.job.answer(verdict);
                }
            }
            Err(error) => {
                for step in batch {
                    step.job.answer(Err(error.clone()));
                }
            }
        }
    }

    /// One transaction, one savepoint a change. An error here is one of the whole batch.
    fn transact(&self, batch: &mut [Step]) -> Result<Vec<Result<(), Error>>, Fault> {
        self.sync(batch.iter().any(|step| step.manner != Manner::Behind))?;
        let desk = self.desk();
        let say = |sql: &str| self.connection.prepare_cached(sql)?.execute([]);
        let began = self.memory.get();
        say("BEGIN IMMEDIATE")?;
        let mut verdicts = Vec::with_capacity(batch.len());
        for Step { manner, job } in batch {
            if *manner == Manner::Plain {
                job.run(&desk)?;
                verdicts.push(Ok(()));
                continue;
            }
            let held = self.memory.get();
            say("SAVEPOINT job")?;
            match job.run(&desk) {
                Ok(()) => {
                    say("RELEASE job")?;
                    verdicts.push(Ok(()));
                }
                Err(fault) if fault.spoils_all() => return Err(fault),
                Err(fault) => {
                    say("ROLLBACK TO job")?;
                    say("RELEASE job")?;
                    self.memory.set(held);
                    verdicts.push(Err(fault.into_error()));
                }
            }
        }
        self.memory.get().keep_head(began, &self.connection)?;
        say("COMMIT")?;
        Ok(verdicts)
    }

    /// Has the next commits wait for the disk, or not.
    fn sync(&self, wanted: bool) -> Result<(), Fault> {
        if self.syncs.get() != Some(wanted) {
            self.connection.pragma_update(None, "synchronous", if wanted { "FULL" } else { "NORMAL" })?;
            self.syncs.set(Some(wanted));
        }
        Ok(())
    }

    /// Turns a fault into what callers are told; one of the disk ends the store.
    fn judge<T>(&self, outcome: Result<T, Fault>) -> Result<T, Error> {
        outcome.map_err(|fault| {
            let is_final = fault.is_final();
            let error = fault.into_error();
            if let (true, Error::Broken(why)) = (is_final, &error) {
                log::error!(event = "store-broken"; "the store is broken and takes nothing more: {why}");
                self.broken.0.send_replace(Some(why.clone()));
            }
            error
        })
    }

    /// Moves the write-ahead log into the database once it is long. Automatic checkpoints are off, since an error there
    /// would look like an error of the commit before.
    fn shorten_log(&self) {
        let length = std::fs::metadata(&self.log).map_or(0, |log| log.len());
        if length <= LOG_SIZE {
            self.log_tried.set(0);
        } else if length >= self.log_tried.get() + LOG_STEP {
            self.log_tried.set(length);
            let moved = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
            if let Err(error) = self.judge(moved.map_err(Fault::from)) {
                log::warn!(event = "store-checkpoint"; "the store's log can't be shortened: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn writer(folder: &tempfile::TempDir) -> Writer {
        let path = folder.path().join("x.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; CREATE TABLE t (v ANY UNIQUE); CREATE TABLE meta (name PRIMARY KEY, value);
                 CREATE TABLE requests (state, origin); CREATE TABLE paces (key); CREATE TABLE events (seq);",
            )
            .unwrap();
        let memory = Memory::load(&connection).unwrap();
        let latest = Arc::new(Latest::load(&connection).unwrap());
        let key = Arc::new(DataKey::from_bytes([1; 32]));
        Writer::start(connection, key, latest, SystemRandom::new(), memory, folder.path().join("x.db-wal")).unwrap()
    }

    async fn insert(writer: &Writer, value: i64) -> Result<(), Error> {
        writer
            .change(move |desk| {
                desk.remember(|memory| memory.waiting += 1);
                desk.connection.execute("INSERT INTO t VALUES (?1)", [value])?;
                Ok(())
            })
            .await
    }

    async fn seen(writer: &Writer) -> (i64, u64) {
        writer
            .change(|desk| {
                let rows = desk.connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
                Ok((rows, desk.memory.get().waiting))
            })
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_change_that_fails_fails_alone_within_a_shared_commit() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder);
        // Holds the thread until all others wait, so that they share one commit.
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let hold = writer.change(move |_| {
            // Ends with an error once `go` is dropped.
            assert!(wait.recv().is_err());
            Ok(())
        });
        let changes = futures_util::future::join_all((0..100).map(|n| insert(&writer, n % 90)));
        let release = async {
            tokio::task::yield_now().await;
            drop(go);
        };
        let (first, outcomes, ()) = tokio::join!(hold, changes, release);
        assert_eq!(first, Ok(()));
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 10);
        assert_eq!(seen(&writer).await, (90, 90), "what is kept in memory went back as well");
    }

    #[tokio::test]
    async fn r11_a_full_disk_is_told_of_and_recovers() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder);
        assert_eq!(insert(&writer, 1).await, Ok(()));
        let limit = |pages: u32| {
            writer.upkeep(move |desk| {
                Ok(desk.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?)
            })
        };
        limit(1).await.unwrap();
        let big = |desk: &Desk<'_>| Ok(desk.connection.execute("INSERT INTO t VALUES (zeroblob(99999))", [])?);
        let full = writer.change(big).await;
        assert!(matches!(&full, Err(Error::Broken(why)) if why.contains("no space is left")), "{full:?}");
        limit(1_000_000).await.unwrap();
        assert_eq!(insert(&writer, 2).await, Ok(()));
        assert_eq!(seen(&writer).await, (2, 2));
        assert!(writer.broken().borrow().is_none());
    }

    #[tokio::test]
    async fn the_log_is_emptied_when_it_is_long_and_then_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder);
        let limit = |desk: &Desk<'_>| {
            desk.connection.execute_batch("PRAGMA wal_autocheckpoint = 0")?;
            Ok(desk.connection.query_row(&format!("PRAGMA journal_size_limit = {LOG_SIZE}"), [], |_| Ok(()))?)
        };
        writer.upkeep(limit).await.unwrap();
        let log = folder.path().join("x.db-wal");
        let length = || std::fs::metadata(&log).unwrap().len();
        let big = |desk: &Desk<'_>| Ok(desk.connection.execute("INSERT INTO t VALUES (randomblob(1000000))", [])?);
        for _ in 0..6 {
            writer.change(big).await.unwrap();
        }
        // Answers come before the log is looked at, so this waits for that.
        writer.upkeep(|_| Ok(())).await.unwrap();
        for n in 0..3 {
            insert(&writer, n).await.unwrap();
            assert!(length() <= LOG_SIZE, "a log that begins anew is short: {}", length());
        }
    }

    #[tokio::test]
    async fn a_failing_disk_ends_the_store_for_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder);
        let fsync = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        let failed = move |_: &Desk<'_>| Err(rusqlite::Error::SqliteFailure(fsync, None).into());
        assert!(writer.change::<()>(failed).await.is_err());
        assert!(writer.broken().borrow().is_some());
        assert!(matches!(insert(&writer, 1).await, Err(Error::Broken(_))));
        assert!(matches!(writer.upkeep(|_| Ok(())).await, Err(Error::Broken(_))));
    }

    #[tokio::test]
    async fn a_panic_of_the_thread_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder);
        assert!(writer.change::<()>(|_| panic!("a fault of ours")).await.is_err());
        assert!(writer.broken().wait_for(Option::is_some).await.is_ok());
        assert_eq!(insert(&writer, 1).await, Err(Error::Broken("the store's thread has panicked".into())));
    }
}
