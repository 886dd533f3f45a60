//! The one thread that writes, at work: how changes share a commit, and what an error means.
//!
//! It takes the changes that wait, runs each in a savepoint of its own, commits once and only then answers, so that the cost
//! of reaching the disk is shared by as many as there are. A change that fails is rolled back alone. An error of the disk
//! itself is final: an fsync that failed once can lie when it is repeated, so everybody is told that the store is broken
//! and the daemon ends. What can pass by itself is waited for: a lock that somebody else holds, and space (see `space`).

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::DataKey;
use ring::rand::SystemRandom;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::watch;

use super::change::{Manner, Waiting, refuse, refuse_new};
use super::clock;
use super::fault::Fault;
use super::lanes::{Exit, QUEUE, Turn};
use super::latest::Latest;
use super::memory::Memory;
use super::open::PATIENCE as UPKEEP_PATIENCE;
use super::space::Space;
use super::writer::Desk;
use crate::store::Error;

/// How long one try at a lock that somebody else holds lasts; then those who have waited long enough are told.
pub(super) const STEP: Duration = Duration::from_millis(50);
/// The size of the write-ahead log, in bytes, from which its pages are moved into the database between two batches. The
/// file is cut back to it when the log begins anew, so that a longer file means as many pages that wait.
pub(super) const LOG_SIZE: u64 = 4 << 20;
/// How much longer the log must be before it is tried again, where a reader held on to it.
const LOG_STEP: u64 = 1 << 20;

/// Tells that the store is broken, also when its thread unwinds.
pub(super) struct Verdict(pub(super) watch::Sender<Option<String>>);

impl Drop for Verdict {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send_replace(Some("the store's thread has panicked".into()));
        }
    }
}

/// The thread's near end.
pub(super) struct Hand {
    pub(super) connection: Connection,
    pub(super) key: Arc<DataKey>,
    pub(super) latest: Arc<Latest>,
    pub(super) chance: SystemRandom,
    pub(super) memory: Cell<Memory>,
    pub(super) log: PathBuf,
    /// How long the log was when it was last tried; 0 once it has begun anew.
    pub(super) log_tried: Cell<u64>,
    /// Whether a commit waits for the disk, as the connection was last told.
    pub(super) syncs: Cell<Option<bool>>,
    /// Whether the next commit that work behind answers has on the disk must get there, even with nothing of its own.
    pub(super) is_sync_due: Cell<bool>,
    pub(super) space: Space,
    pub(super) broken: Verdict,
}

impl Hand {
    pub(super) fn work(self, mut exit: Exit) {
        while let Some(tasks) = exit.next() {
            match tasks {
                Turn::Changes(batch) => {
                    self.commit(batch, &mut exit);
                    self.shorten_log();
                }
                Turn::Upkeep(mut job) => {
                    let verdict = match self.why_broken() {
                        Some(why) => Err(Error::Broken(why)),
                        None => self.judge(self.patiently(|| job.run(&self.desk()))),
                    };
                    job.answer(verdict);
                }
            }
        }
        // Others find damage, too.
        if self.why_broken().is_some() {
            self.leave_as_it_is();
        }
    }

    /// Closing a broken database would move its log into it, and with that write to what is damaged, or repeat an fsync that
    /// failed.
    fn leave_as_it_is(&self) {
        if let Err(error) = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
            log::debug!("the database may be tidied up at its end: {error}");
        }
    }

    /// Upkeep is not asked for by people, so it waits longer for a lock at one go.
    fn patiently<T>(&self, act: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        self.sync(true)?;
        self.connection.busy_timeout(UPKEEP_PATIENCE)?;
        let done = act();
        self.connection.busy_timeout(STEP)?;
        done
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
    fn commit(&self, mut batch: Vec<Waiting>, exit: &mut Exit) {
        // Nothing is tried again once it is broken, and looking for space may show that it is.
        let short = if self.why_broken().is_none() { self.shortage() } else { None };
        if let Some(why) = self.why_broken() {
            return refuse(batch, &Error::Broken(why));
        }
        if let Some(short) = short {
            batch = refuse_new(batch, &short);
        }
        let outcome = match self.attempt(&mut batch, Some(exit)) {
            Err(fault) => match self.space.shortage(&fault) {
                Some(short) => {
                    batch = refuse_new(batch, &short);
                    self.with_the_reserve(&mut batch)
                }
                None => Err(fault),
            },
            done => done,
        };
        match self.judge(outcome) {
            Ok(verdicts) => {
                for (waiting, verdict) in batch.into_iter().zip(verdicts) {
                    waiting.job.answer(verdict);
                }
            }
            Err(error) => refuse(batch, &error),
        }
    }

    /// What is short, if the disk was full and is still: it is looked at again once a second.
    fn shortage(&self) -> Option<Error> {
        let looked = self.space.still_short(|| self.latest.keep(&self.connection));
        self.judge(looked).unwrap_or_else(Some)
    }

    /// What is owed is tried alone, and with the reserve's space where it needs that.
    fn with_the_reserve(&self, owed: &mut Vec<Waiting>) -> Result<Vec<Result<(), Error>>, Fault> {
        match self.attempt(owed, None) {
            Err(fault) if self.space.shortage(&fault).is_some() && self.space.give_back() => self.attempt(owed, None),
            done => done,
        }
    }

    /// Tries a batch; nothing of one that fails stays.
    fn attempt(&self, batch: &mut Vec<Waiting>, exit: Option<&mut Exit>) -> Result<Vec<Result<(), Error>>, Fault> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let before = self.memory.get();
        let outcome = self.begin(batch, exit).and_then(|()| self.transact(batch));
        if outcome.is_err() {
            self.memory.set(before);
            if !self.connection.is_autocommit()
                && let Err(error) = self.connection.execute_batch("ROLLBACK")
            {
                log::debug!("rollback after a failed batch: {error}");
            }
        }
        outcome
    }

    /// Begins a transaction. While somebody else holds the lock, more changes may join, and those who have waited long
    /// enough are told; nothing of theirs was begun.
    fn begin(&self, batch: &mut Vec<Waiting>, mut exit: Option<&mut Exit>) -> Result<(), Fault> {
        loop {
            self.sync(batch.iter().any(|waiting| waiting.manner.is_kept))?;
            let fault = match self.connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([]))
            {
                Ok(_) => return Ok(()),
                Err(error) => Fault::from(error),
            };
            if !fault.is_a_lock() {
                return Err(fault);
            }
            if let Some(exit) = &mut exit {
                exit.fill(batch, QUEUE);
            }
            let (patient, tired) = std::mem::take(batch).into_iter().partition(Waiting::has_patience);
            *batch = patient;
            refuse(tired, &Error::Busy);
            if batch.is_empty() {
                return Err(fault);
            }
        }
    }

    /// Has the next commits wait for the disk, or not.
    fn sync(&self, wanted: bool) -> Result<(), Fault> {
        if self.syncs.get() != Some(wanted) {
            self.connection.pragma_update(None, "synchronous", if wanted { "FULL" } else { "NORMAL" })?;
            self.syncs.set(Some(wanted));
        }
        Ok(())
    }

    /// One transaction, one savepoint a change. An error here is one of the whole batch.
    fn transact(&self, batch: &mut [Waiting]) -> Result<Vec<Result<(), Error>>, Fault> {
        let desk = self.desk();
        let say = |sql: &str| self.connection.prepare_cached(sql)?.execute([]);
        let (began, changes) = (self.memory.get(), self.connection.total_changes());
        clock::mind(&desk)?;
        let mut verdicts = Vec::with_capacity(batch.len());
        for waiting in batch.iter_mut() {
            if !waiting.manner.is_guarded {
                waiting.job.run(&desk)?;
                verdicts.push(Ok(()));
                continue;
            }
            let held = self.memory.get();
            say("SAVEPOINT job")?;
            match waiting.job.run(&desk) {
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
        let is_changed = || self.connection.total_changes() != changes;
        let is_there = |is_kept: bool| {
            let of = |manner: Manner| !manner.is_asked && manner.is_kept == is_kept && (is_kept || !manner.is_owed);
            batch.iter().any(|waiting| of(waiting.manner))
        };
        // What only tells of something done needs no disk: it is told of again.
        let (settles, unsettles) = (is_there(true), is_there(false) && is_changed());
        if settles && self.is_sync_due.get() && !is_changed() {
            // A commit of nothing does not wait for the disk. This one does, though somebody's may have taken along what was
            // before: behind an answer the disk is waited for whether or not there is a message. A value that stays the same
            // would not be written.
            say(
                "INSERT INTO meta (name, value) VALUES ('synced', 0) ON CONFLICT (name) DO UPDATE SET value = 1 - value",
            )?;
        }
        say("COMMIT")?;
        if settles || unsettles {
            self.is_sync_due.set(!settles);
        }
        Ok(verdicts)
    }

    /// Turns a fault into what callers are told; one of the disk ends the store.
    fn judge<T>(&self, outcome: Result<T, Fault>) -> Result<T, Error> {
        outcome.map_err(|fault| {
            if let Some(short) = self.space.shortage(&fault) {
                return short;
            }
            let (is_final, is_damage) = (fault.is_final(), fault.is_damage());
            let error = fault.into_error();
            if let (true, Error::Broken(why)) = (is_final, &error) {
                let why = if is_damage { self.space.damaged(why) } else { why.clone() };
                log::error!(event = "store-broken"; "the store is broken and takes nothing more: {why}");
                self.leave_as_it_is();
                self.broken.0.send_replace(Some(why));
            }
            error
        })
    }

    /// Moves the write-ahead log into the database once it is long. Automatic checkpoints are off, since an error there
    /// would look like an error of the commit before.
    fn shorten_log(&self) {
        if self.why_broken().is_some() {
            return;
        }
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
