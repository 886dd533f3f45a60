//! The one thread that writes, as others see it: changes go in, and are on disk when they are answered.
//!
//! A change is a closure over a [`Desk`]. The thread (see `hand`) takes all changes that wait, runs each in a savepoint of its
//! own, commits once and only then answers, so that the cost of reaching the disk is shared by as many as there are.
//!
//! What was asked is on the disk when it is answered. Work behind an answer is not held up by the disk where a power cut
//! that undoes it does no harm: it is then done again. The next change that must be on the disk takes it along.
//!
//! A change that tells of something already done outside the store is *owed*: it is waited for longer where somebody else
//! holds a lock, and gets the last space there is.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rekeyd_core::domain::DataKey;
use ring::rand::SystemRandom;
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::fault::Fault;
use super::hand::{self, Hand};
use super::lanes::{Entrance, Lane, NoEntry, lanes};
use super::latest::Latest;
use super::memory::Memory;
use super::space::Space;
use crate::store::Error;

/// How long a change waits for a place in the queue, and then for a lock that somebody else holds.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a change that is owed waits for such a lock.
const OWED_PATIENCE: Duration = Duration::from_secs(30);

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
    act: F,
    result: Option<T>,
    back: oneshot::Sender<Result<T, Error>>,
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

/// A change that waits for its commit.
pub(super) struct Step {
    pub(super) manner: Manner,
    /// Whether it tells of something that was done already.
    pub(super) is_owed: bool,
    since: Instant,
    pub(super) job: Box<dyn Job>,
}

impl Step {
    pub(super) fn has_patience(&self) -> bool {
        self.since.elapsed() < if self.is_owed { OWED_PATIENCE } else { PATIENCE }
    }
}

/// One thing for the thread to do.
pub(super) enum Task {
    /// Within a transaction shared with others.
    Change(Step),
    /// Between transactions: checkpoints, epochs.
    Upkeep(Box<dyn Job>),
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
        space: Space,
    ) -> Result<Self, Error> {
        connection.busy_timeout(hand::STEP).map_err(|error| Fault::from(error).into_error())?;
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
            space,
            syncs: Cell::new(None),
            broken: Verdict(tell),
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || hand.work(queue))
            .map_err(|error| Error::Broken(format!("the store's thread can't be started: {error}")))?;
        Ok(Self { tasks: Some(tasks), thread: Some(thread), broken })
    }

    /// Runs a change that was asked for; on disk when this returns `Ok`.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Desk<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.make(Manner::Asked, act).await
    }

    /// Runs a change in this manner.
    pub(super) async fn make<T: Send + 'static>(
        &self,
        manner: Manner,
        act: impl FnOnce(&Desk<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.queue(manner, false, once(act)).await
    }

    /// As [`Writer::change`], for what tells of something that was done already. It may be run more than once; what an
    /// earlier run did was rolled back.
    pub(super) async fn owed<T: Send + 'static>(
        &self,
        act: impl FnMut(&Desk<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.queue(Manner::Asked, true, act).await
    }

    /// As [`Writer::owed`], where nobody waits for it and a power cut may undo it.
    pub(super) async fn owed_behind<T: Send + 'static>(
        &self,
        act: impl FnMut(&Desk<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.queue(Manner::Behind, true, act).await
    }

    /// Runs upkeep between transactions.
    pub(super) async fn upkeep<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Desk<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let (back, answer) = oneshot::channel();
        let job = Box::new(Change { act: once(act), result: None, back });
        self.hand_over(Lane::Behind, Task::Upkeep(job), answer).await
    }

    async fn queue<T: Send + 'static>(
        &self,
        manner: Manner,
        is_owed: bool,
        act: impl FnMut(&Desk<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let (back, answer) = oneshot::channel();
        let job = Box::new(Change { act, result: None, back });
        let step = Step { manner, is_owed, since: Instant::now(), job };
        self.hand_over(manner.lane(), Task::Change(step), answer).await
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

/// An act that can't be run a second time: whoever asked is told to ask again.
fn once<T>(act: impl FnOnce(&Desk<'_>) -> Result<T, Fault>) -> impl FnMut(&Desk<'_>) -> Result<T, Fault> {
    let mut act = Some(act);
    move |desk| act.take().map_or_else(|| Err(Fault::busy()), |act| act(desk))
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
pub(super) struct Verdict(pub(super) watch::Sender<Option<String>>);

impl Drop for Verdict {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send_replace(Some("the store's thread has panicked".into()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::super::hand::LOG_SIZE;
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
        let watch = crate::store::Watch::new(|| rekeyd_core::domain::Timestamp::from_millis(0), || Duration::ZERO);
        let memory = Memory::load(&connection).unwrap();
        let latest = Arc::new(Latest::load(&connection, watch).unwrap());
        let key = Arc::new(DataKey::from_bytes([1; 32]));
        let log = folder.path().join("x.db-wal");
        Writer::start(connection, key, latest, SystemRandom::new(), memory, log, Space::new(&path)).unwrap()
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
        assert!(matches!(&full, Err(Error::Full(why)) if why.contains("no space is left")), "{full:?}");
        let owed = |value: i64| {
            writer.owed(move |desk| {
                desk.remember(|memory| memory.waiting += 1);
                Ok(desk.connection.execute("INSERT INTO t VALUES (?1)", [value])?)
            })
        };
        assert!(matches!(insert(&writer, 3).await, Err(Error::Full(_))), "nothing new, though it would fit");
        assert_eq!(owed(4).await, Ok(1));
        limit(1_000_000).await.unwrap();
        let began = Instant::now();
        while insert(&writer, 2).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(5), "it has not come back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(seen(&writer).await, (3, 3));
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
