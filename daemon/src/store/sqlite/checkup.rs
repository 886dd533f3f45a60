//! Whether the file is whole: looked at when it is opened, and told of where it is not.
//!
//! All of a database is read, which takes no time for a small one and seconds for a large one. So the start waits a moment
//! for the verdict and then goes on without it; a bad one ends the daemon all the same, and lays a mark beside the database
//! that has the next start wait for the whole check. A database that is known to be damaged is never served from.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle};
use tokio::sync::watch;

use super::fault::Fault;
use super::open::{beside, reader};
use crate::store::Error;

/// How long a start waits for the verdict on a database that nothing is known against.
const MOMENT: Duration = Duration::from_millis(150);

/// A check under way, or done. It is broken off when this is dropped.
pub(super) struct Checkup {
    verdict: Receiver<Verdict>,
    thread: Thread,
}

/// The first thing that is wrong with a database, if anything is; an error where the check did not come to its end, which
/// says nothing either way.
struct Verdict(Result<Option<String>, Fault>);

/// The thread of a check.
pub(super) struct Thread {
    handle: Option<JoinHandle<()>>,
    interrupt: InterruptHandle,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.interrupt.interrupt();
        if let Some(handle) = self.handle.take() {
            // A panic of the thread leaves nothing to tell.
            drop(handle.join());
        }
    }
}

impl Checkup {
    /// Begins to check a database, and waits a moment for the verdict.
    ///
    /// # Errors
    /// It is damaged.
    pub(super) fn begin(database: &Path) -> Result<Self, Error> {
        let connection = reader(database)?;
        let interrupt = connection.get_interrupt_handle();
        let (tell, verdict) = sync_channel(1);
        // Nobody listens where the store was closed meanwhile.
        let handle = start(move || drop(tell.send(check(&connection))))?;
        let checkup = Self { verdict, thread: Thread { handle: Some(handle), interrupt } };
        let known = if beside(database, "damaged").exists() {
            checkup.verdict.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            checkup.verdict.recv_timeout(MOMENT)
        };
        match known {
            Ok(verdict) => verdict.at_start(database)?,
            Err(RecvTimeoutError::Timeout) => {}
            // A check that ended without a word is one that did not come to its end.
            Err(RecvTimeoutError::Disconnected) => Verdict(Err(Fault::busy())).at_start(database)?,
        }
        Ok(checkup)
    }

    /// Ends the store where the verdict turns out to be a bad one.
    pub(super) fn watch(self, database: &Path, breaker: watch::Sender<Option<String>>) -> Result<Thread, Error> {
        let Self { verdict, mut thread } = self;
        let (database, check) = (database.to_owned(), thread.handle.take());
        let waiting = start(move || {
            if let Ok(Verdict(Ok(Some(flaw)))) = verdict.recv() {
                mark(&database);
                let why = damaged(&database, &flaw);
                log::error!(event = "store-broken"; "the store is broken and takes nothing more: {why}");
                breaker.send_replace(Some(why));
            }
            // It has said all that it had to say.
            drop(check.map(JoinHandle::join));
        })?;
        thread.handle = Some(waiting);
        Ok(thread)
    }
}

fn start(work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let thread = std::thread::Builder::new().name("store-checkup".into());
    thread.spawn(work).map_err(|error| Error::Broken(format!("the store's thread can't be started: {error}")))
}

impl Verdict {
    /// What a start makes of it: one mark goes, and none comes.
    fn at_start(self, database: &Path) -> Result<(), Error> {
        let mark = beside(database, "damaged");
        match self.0 {
            Ok(Some(flaw)) => Err(Error::Broken(damaged(database, &flaw))),
            Ok(None) => {
                // There is none beside a database that was always whole.
                drop(fs::remove_file(mark));
                Ok(())
            }
            Err(fault) if mark.exists() => {
                let flaw = format!("as was found earlier; now it could not be checked to its end: {fault}");
                Err(Error::Broken(damaged(database, &flaw)))
            }
            Err(_) => Ok(()),
        }
    }
}

fn check(connection: &Connection) -> Verdict {
    Verdict(match look(connection) {
        Err(fault) if fault.is_damage() => Ok(Some(fault.to_string())),
        Err(fault) => {
            log::warn!(event = "store-unchecked"; "the database could not be checked to its end: {fault}");
            Err(fault)
        }
        found => found,
    })
}

fn look(connection: &Connection) -> Result<Option<String>, Fault> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Ok(Some(found.replace('\n', " ")));
    }
    // SQLite looks whether each row is in a partial index, but not whether the index has rows that do not belong there.
    let mut indexes = connection.prepare(
        "SELECT name, tbl_name, substr(sql, instr(sql, ' WHERE ') + 7) FROM sqlite_schema
         WHERE type = 'index' AND sql LIKE '% WHERE %'",
    )?;
    let mut found = indexes.query([])?;
    while let Some(row) = found.next()? {
        let (index, table, condition): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let fits: bool = connection.query_row(
            &format!(
                "SELECT (SELECT count(*) FROM {table} INDEXED BY {index} WHERE {condition})
                     = (SELECT count(*) FILTER (WHERE {condition}) FROM {table})"
            ),
            [],
            |row| row.get(0),
        )?;
        if !fits {
            return Ok(Some(format!("rows too many in the index {index}")));
        }
    }
    Ok(None)
}

/// Notes beside a database that it is damaged, for the next start.
pub(super) fn mark(database: &Path) {
    // Without the mark the next start finds it out anew.
    drop(fs::write(beside(database, "damaged"), b""));
}

/// What is wrong with a file, and what can be done.
pub(super) fn damaged(database: &Path, flaw: &str) -> String {
    format!(
        "{} is damaged ({flaw}). It is left as it is. Put back a copy of it, start rekeyd and run `rekeyctl restored`; \
         without a copy move it away, and a new store begins, without the trail and without what waited.",
        database.display()
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn r15_only_a_whole_check_lifts_the_mark() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("rekeyd.db");
        let marked = || beside(&database, "damaged").exists();
        let unfinished = || Verdict(Err(Fault::busy())).at_start(&database);
        assert!(unfinished().is_ok() && !marked(), "nothing is known against it");
        mark(&database);
        assert!(matches!(unfinished(), Err(Error::Broken(why)) if why.contains("rekeyctl restored")));
        assert!(marked(), "an unfinished check says nothing");
        assert!(Verdict(Ok(Some("a hole".into()))).at_start(&database).is_err());
        assert!(marked());
        assert!(Verdict(Ok(None)).at_start(&database).is_ok());
        assert!(!marked());
    }

    #[test]
    fn r15_a_check_that_is_broken_off_is_no_verdict() {
        let connection = Connection::open_in_memory().unwrap();
        let many =
            "CREATE TABLE t (v); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
                    INSERT INTO t SELECT hex(i) FROM n; CREATE INDEX v ON t (v)";
        connection.execute_batch(many).unwrap();
        let interrupt = connection.get_interrupt_handle();
        let ended = std::thread::spawn(move || {
            let ended = check(&connection);
            (ended.0.is_ok(), connection)
        });
        // It counts only while something is under way.
        while !ended.is_finished() {
            interrupt.interrupt();
            std::thread::yield_now();
        }
        assert!(!ended.join().unwrap().0);
    }
}
