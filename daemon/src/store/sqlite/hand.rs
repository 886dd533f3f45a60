//! The one thread that writes, at work: how changes share a commit, and what an error means.
//!
//! Changes that wait together share a transaction, each in a savepoint of its own; one that fails is rolled back alone. An
//! error of the disk itself is final: an fsync that failed once can lie when it is repeated, so everybody is told that the
//! store is broken and the daemon ends. What can pass by itself is waited for: a lock that somebody else holds, and space
//! (see `space`).

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::DataKey;
use ring::rand::SystemRandom;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::clock;
use super::fault::Fault;
use super::lanes::Exit;
use super::latest::Latest;
use super::memory::Memory;
use super::open::PATIENCE as UPKEEP_PATIENCE;
use super::space::Space;
use super::writer::{Desk, Manner, Step, Task, Verdict};
use crate::store::Error;

/// How long one try at a lock that somebody else holds lasts; then those who have waited long enough are told.
pub(super) const STEP: Duration = Duration::from_millis(50);
/// How many asked changes may gather while such a lock is waited for.
const CROWD: usize = 4096;
/// The size of the write-ahead log, in bytes, from which its pages are moved into the database between two batches. The
/// file is cut back to it when the log begins anew, so that a longer file means as many pages that wait.
pub(super) const LOG_SIZE: u64 = 4 << 20;
/// How much longer the log must be before it is tried again, where a reader held on to it.
const LOG_STEP: u64 = 1 << 20;

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
    pub(super) space: Space,
    /// Whether a commit waits for the disk, as the connection was last told.
    pub(super) syncs: Cell<Option<bool>>,
    pub(super) broken: Verdict,
}

impl Hand {
    pub(super) fn work(self, mut queue: Exit) {
        while let Some((_, tasks)) = queue.next() {
            let mut batch = Vec::with_capacity(tasks.len());
            for task in tasks {
                match task {
                    Task::Change(step) => batch.push(step),
                    Task::Upkeep(mut job) => {
                        self.commit(std::mem::take(&mut batch), &mut queue);
                        let verdict = match self.why_broken() {
                            Some(why) => Err(Error::Broken(why)),
                            None => self.judge(self.patiently(|| job.run(&self.desk()))),
                        };
                        job.answer(verdict);
                    }
                }
            }
            self.commit(batch, &mut queue);
            self.shorten_log();
        }
    }

    /// Upkeep is not asked for by people, so it waits longer for a lock at one go.
    fn patiently<T>(&self, act: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        self.connection.busy_timeout(UPKEEP_PATIENCE)?;
        let done = self.sync(true).and_then(|()| act());
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
    fn commit(&self, mut batch: Vec<Step>, queue: &mut Exit) {
        if batch.is_empty() {
            return;
        }
        if let Some(why) = self.why_broken() {
            return refuse(batch, &Error::Broken(why));
        }
        if let Some(short) = self.shortage() {
            batch = refuse_new(batch, &short);
        }
        let outcome = match self.attempt(&mut batch, Some(queue)) {
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
                for (step, verdict) in batch.into_iter().zip(verdicts) {
                    step.job.answer(verdict);
                }
            }
            Err(error) => refuse(batch, &error),
        }
    }

    /// What is short, if the disk was full and is still: it is looked at again once a second.
    fn shortage(&self) -> Option<Error> {
        self.space.still_short(|| Ok(self.latest.keep(&self.connection)?))
    }

    /// What is owed is tried alone, and with the reserve's space where it needs that.
    fn with_the_reserve(&self, owed: &mut Vec<Step>) -> Result<Vec<Result<(), Error>>, Fault> {
        match self.attempt(owed, None) {
            Err(fault) if self.space.shortage(&fault).is_some() && self.space.give_back() => self.attempt(owed, None),
            done => done,
        }
    }

    /// Tries a batch; nothing of one that fails stays.
    fn attempt(&self, batch: &mut Vec<Step>, queue: Option<&mut Exit>) -> Result<Vec<Result<(), Error>>, Fault> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let before = self.memory.get();
        let outcome = self.begin(batch, queue).and_then(|()| self.transact(batch));
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
    fn begin(&self, batch: &mut Vec<Step>, mut queue: Option<&mut Exit>) -> Result<(), Fault> {
        loop {
            // The way of a commit is set before its transaction begins.
            self.sync(batch.iter().any(|step| step.manner != Manner::Behind))?;
            let fault = match self.connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([]))
            {
                Ok(_) => return Ok(()),
                Err(error) => Fault::from(error),
            };
            if !fault.is_a_lock() {
                return Err(fault);
            }
            if let Some(queue) = &mut queue {
                batch.extend(queue.asked_meanwhile(CROWD.saturating_sub(batch.len())));
            }
            let (patient, tired) = std::mem::take(batch).into_iter().partition(Step::has_patience);
            *batch = patient;
            refuse(tired, &Error::Busy);
            if batch.is_empty() {
                return Err(fault);
            }
        }
    }

    /// One transaction, one savepoint a change. An error here is one of the whole batch.
    fn transact(&self, batch: &mut [Step]) -> Result<Vec<Result<(), Error>>, Fault> {
        let desk = self.desk();
        let say = |sql: &str| self.connection.prepare_cached(sql)?.execute([]);
        let began = self.memory.get();
        clock::mind(&desk)?;
        let mut verdicts = Vec::with_capacity(batch.len());
        for Step { manner, job, .. } in batch {
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
            if let Some(short) = self.space.shortage(&fault) {
                return short;
            }
            let is_final = fault.is_final();
            let error = fault.into_error();
            if let (true, Error::Broken(why)) = (is_final, &error) {
                log::error!(event = "store-broken"; "the store is broken and takes nothing more: {why}");
                // Closing it would move its log into it, with the fsync that has just failed.
                if let Err(error) = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
                    log::debug!("the database may be tidied up at its end: {error}");
                }
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

fn refuse(batch: Vec<Step>, error: &Error) {
    for step in batch {
        step.job.answer(Err(error.clone()));
    }
}

/// Refuses what was not begun yet, and gives what is owed.
fn refuse_new(batch: Vec<Step>, error: &Error) -> Vec<Step> {
    let (owed, new) = batch.into_iter().partition(|step| step.is_owed);
    refuse(new, error);
    owed
}
