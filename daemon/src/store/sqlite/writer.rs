//! The one thread that writes, as others see it: changes go in, and come back answered.
//!
//! A change is a closure over a [`Desk`]; how changes share a commit is the thread's own affair (see `hand`).
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
use std::time::Duration;

use rekeyd_core::domain::DataKey;
use ring::rand::SystemRandom;
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::change::{Change, Manner, Waiting, once};
use super::fault::Fault;
use super::hand::{self, Hand, Verdict};
use super::lanes::{Entrance, NoEntry, Task, lanes};
use super::latest::Latest;
use super::memory::Memory;
use super::space::Space;
use crate::store::Error;

/// How long a change waits for a place in the queue, and then for a lock that somebody else holds.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

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

/// The thread's far end.
pub(super) struct Writer {
    tasks: Option<Entrance>,
    thread: Option<JoinHandle<()>>,
    broken: watch::Receiver<Option<String>>,
    breaker: watch::Sender<Option<String>>,
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
        let (tasks, exit) = lanes();
        let (breaker, broken) = watch::channel(None);
        let tell = breaker.clone();
        let hand = Hand {
            connection,
            key,
            latest,
            chance,
            memory: Cell::new(memory),
            log,
            log_tried: Cell::new(0),
            syncs: Cell::new(None),
            is_sync_due: Cell::new(false),
            space,
            broken: Verdict(tell),
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || hand.work(exit))
            .map_err(|error| Error::Broken(format!("the store's thread can't be started: {error}")))?;
        Ok(Self { tasks: Some(tasks), thread: Some(thread), broken, breaker })
    }

    /// Runs a change in a transaction; on disk when this returns `Ok`.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Desk<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.queue(Manner::ASKED, once(act)).await
    }

    /// Runs a change in a transaction, in this manner.
    pub(super) async fn make<T: Send + 'static>(
        &self,
        manner: Manner,
        act: impl FnOnce(&Desk<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.queue(manner, once(act)).await
    }

    /// As [`Writer::change`], for what tells of something that was done already. It may be run more than once; what an
    /// earlier run did was rolled back.
    pub(super) async fn owed<T: Send + 'static>(
        &self,
        act: impl FnMut(&Desk<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.queue(Manner::OWED, act).await
    }

    /// As [`Writer::owed`], as work behind an answer: a power cut may undo it, and then it is told of again.
    pub(super) async fn owed_behind<T: Send + 'static>(
        &self,
        act: impl FnMut(&Desk<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        self.queue(Manner::BEHIND_OWED, act).await
    }

    /// Runs upkeep between transactions.
    pub(super) async fn upkeep<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Desk<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let (back, answer) = oneshot::channel();
        self.hand_over(Task::Upkeep(Box::new(Change::new(once(act), back))), answer).await
    }

    async fn queue<T: Send + 'static>(
        &self,
        manner: Manner,
        act: impl FnMut(&Desk<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let (back, answer) = oneshot::channel();
        let job = Box::new(Change::new(act, back));
        self.hand_over(Task::Change(Waiting::new(job, manner)), answer).await
    }

    async fn hand_over<T>(&self, task: Task, answer: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
        let tasks = self.tasks.as_ref().ok_or_else(|| self.gone())?;
        match tasks.enter(task, PATIENCE).await {
            Ok(()) => answer.await.map_err(|_| self.gone())?,
            Err(NoEntry::Full) => Err(Error::Busy),
            Err(NoEntry::Gone) => Err(self.gone()),
        }
    }

    fn gone(&self) -> Error {
        let why = self.broken.borrow().clone();
        Error::Broken(why.unwrap_or_else(|| "the store's thread has ended".into()))
    }

    /// Where others tell that the store is broken for good.
    pub(super) fn breaker(&self) -> watch::Sender<Option<String>> {
        self.breaker.clone()
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

/// For tests: the statements that the thread runs.
#[cfg(test)]
pub(super) mod statements {
    use std::cell::RefCell;

    use rusqlite::trace::{TraceEvent, TraceEventCodes};

    use super::Writer;

    thread_local! {
        static RUN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    /// All that were run since this was asked for the last time; the first time it begins to look.
    pub(in super::super) async fn since(writer: &Writer) -> Vec<String> {
        let note = |event: TraceEvent<'_>| {
            if let TraceEvent::Stmt(_, sql) = event {
                RUN.with_borrow_mut(|run| run.push(sql.split_whitespace().collect::<Vec<_>>().join(" ")));
            }
        };
        let look = writer.upkeep(move |desk| {
            let run = RUN.take();
            desk.connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note));
            Ok(run)
        });
        look.await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::time::Instant;

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
    async fn r15_a_database_that_others_find_damaged_is_left_as_it_is() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let whole = writer(&other);
        insert(&whole, 1).await.unwrap();
        drop(whole);
        assert!(!other.path().join("x.db-wal").exists(), "otherwise the log is moved into it");
        let log = folder.path().join("x.db-wal");
        let writer = writer(&folder);
        insert(&writer, 2).await.unwrap();
        let (database, length) = (folder.path().join("x.db"), std::fs::metadata(&log).unwrap().len());
        let before = std::fs::read(&database).unwrap();
        writer.breaker().send_replace(Some("a check found damage".into()));
        drop(writer);
        assert_eq!((std::fs::read(&database).unwrap(), std::fs::metadata(&log).unwrap().len()), (before, length));
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
