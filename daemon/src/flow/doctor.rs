//! The doctor: has every directory looked at from end to end, tells what it finds as it goes, says what is new since the
//! last time, and keeps the findings for the next.

use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::{Actor, Event, EventKind, Timestamp};
use tokio::sync::{mpsc, watch};

pub use super::drift::{Change, Found};

use super::drift;
use super::rekeyd::Rekeyd;
use crate::directory::probe::Cause;
use crate::directory::{Care, Directory, Grade, Listener};

/// How often it is looked whether a look is due, and when one is: after the last, or after the start where there was none.
const EVERY: Duration = Duration::from_mins(10);
const DAY: Duration = Duration::from_hours(24);
const FIRST: Duration = Duration::from_hours(1);

/// What was found last.
#[derive(Clone, Copy, Debug)]
pub struct Last {
    /// When.
    pub at: Timestamp,
    /// Things that do not work.
    pub broken: usize,
    /// Things that somebody should know.
    pub notes: usize,
}

/// What is told.
#[derive(Debug)]
pub enum Told {
    /// A directory's turn.
    Begun {
        /// Its name.
        directory: String,
        /// When it was looked at last.
        since: Option<Timestamp>,
    },
    /// One thing was tried.
    Probe(Line),
    /// What was found last time, and is no more.
    Gone(Found),
    /// A directory is done.
    Ended(Counts),
    /// It can't go on, for this reason.
    Failed(String),
}

/// One thing that was tried.
#[derive(Debug)]
pub struct Line {
    /// The cause's code, where something is wrong.
    pub code: Option<&'static str>,
    /// The server, where it is about one.
    pub server: Option<String>,
    /// `fine`, `note` or `broken`.
    pub grade: &'static str,
    /// What was tried.
    pub what: String,
    /// How it went.
    pub evidence: String,
    /// What mends it, in words.
    pub remedy: Option<String>,
    /// The same as commands.
    pub command: Option<String>,
    /// What became of it since the last time; `None` where nothing is wrong, and the first time.
    pub change: Option<Change>,
}

/// How a directory does, in numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Things that do not work.
    pub broken: u64,
    /// Things that somebody should know.
    pub notes: u64,
    /// Of these, so many that were not there last time.
    pub new: u64,
    /// So many that are there in another way.
    pub changed: u64,
    /// So many that were there last time only.
    pub gone: u64,
}

/// Looks at all directories, or at one, on behalf of somebody.
pub async fn run(rekeyd: Arc<Rekeyd>, actor: Actor, only: Option<String>, tell: mpsc::Sender<Told>) {
    let parts = rekeyd.parts();
    let mine = |directory: &Directory| only.as_deref().is_none_or(|name| name == directory.name());
    for one in parts.directories.all().iter().filter(|one| mine(&one.directory)) {
        if let Err(error) = look(&rekeyd, &one.directory, &actor, &tell).await {
            let why = super::trouble::Trouble::from(error).to_string();
            drop(tell.send(Told::Failed(why)).await);
            return;
        }
        if tell.is_closed() {
            return;
        }
    }
}

/// Has each directory looked at once a day, until `stop` turns true, and warns of what is new.
pub async fn daily(rekeyd: Arc<Rekeyd>, mut stop: watch::Receiver<bool>) {
    let work = async {
        loop {
            for one in rekeyd.parts().directories.all().iter().filter(|one| one.looked_after) {
                let last = match rekeyd.store.last_doctor_run(one.directory.key()).await {
                    Ok(last) => last.map(|run| run.at),
                    Err(error) => {
                        log::error!(error:? = error; "nobody knows when the doctor looked last");
                        continue;
                    }
                };
                if is_due(last, rekeyd.started(), rekeyd.now()) {
                    alone(&rekeyd, &one.directory).await;
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::select! {
        // The sender outlives the tasks.
        _ = stop.wait_for(|stop| *stop) => {}
        () = work => {}
    }
}

/// A day after the last look, or an hour after the start where there was none.
fn is_due(last: Option<Timestamp>, started: Timestamp, now: Timestamp) -> bool {
    let (since, wait) = last.map_or((started, FIRST), |last| (last, DAY));
    now >= since.plus(wait)
}

/// Looks at one directory while nobody listens.
async fn alone(rekeyd: &Rekeyd, directory: &Directory) {
    let (tell, mut told) = mpsc::channel(8);
    let listen = async {
        while let Some(told) = told.recv().await {
            match told {
                Told::Probe(Line {
                    change: Some(change @ (Change::New | Change::Changed)),
                    code: Some(code),
                    server,
                    evidence,
                    ..
                }) => {
                    let (name, server) = (directory.name(), server.unwrap_or_default());
                    let change = change.word();
                    log::warn!(event = "doctor-drift", directory = name, code = code, change = change, server = server; "{evidence}");
                }
                Told::Failed(why) => log::error!("{why}"),
                _ => {}
            }
        }
    };
    let look = async move {
        let looked = look(rekeyd, directory, &Actor::System, &tell).await;
        drop(tell);
        looked
    };
    if let (Err(error), ()) = tokio::join!(look, listen) {
        log::error!(error:? = error; "what the doctor found could not be kept");
    }
}

/// What was found last, for the status: when, and how much of it is broken and how much a note.
pub(super) async fn last(rekeyd: &Rekeyd, directory: &Directory) -> Option<Last> {
    let run = rekeyd.store.last_doctor_run(directory.key()).await.ok().flatten()?;
    let found: Vec<Found> = serde_json::from_str(&run.findings).ok()?;
    let broken = found.iter().filter(|one| one.grade == Grade::Broken.word()).count();
    Some(Last { at: run.at, broken, notes: found.len() - broken })
}

/// Looks at one directory. What was found is kept only where the look came to its end.
async fn look(
    rekeyd: &Rekeyd,
    directory: &Directory,
    actor: &Actor,
    tell: &mpsc::Sender<Told>,
) -> Result<(), crate::store::Error> {
    let now = rekeyd.now();
    let last = rekeyd.store.last_doctor_run(directory.key()).await?;
    let since = last.as_ref().map(|run| run.at);
    // What an older program has kept in another form counts as never seen.
    let mut before: Option<Vec<Found>> = last.and_then(|run| serde_json::from_str(&run.findings).ok());
    drop(tell.send(Told::Begun { directory: directory.name().to_owned(), since }).await);
    let (listener, mut heard) = Listener::new();
    let mut found: Vec<Found> = Vec::new();
    let mut counts = Counts::default();
    let listen = async {
        while let Some(probe) = heard.recv().await {
            let mut change = None;
            if let Some(cause) = probe.cause {
                let one = Found {
                    code: cause.code().to_owned(),
                    server: probe.server.clone(),
                    grade: probe.grade.word().to_owned(),
                    evidence: probe.outcome.clone(),
                };
                change = before.as_mut().map(|before| drift::became(before, &one));
                counts.new += u64::from(change == Some(Change::New));
                counts.changed += u64::from(change == Some(Change::Changed));
                found.push(one);
            }
            counts.broken += u64::from(probe.grade == Grade::Broken);
            counts.notes += u64::from(probe.grade == Grade::Note && probe.cause.is_some());
            let line = Line {
                code: probe.cause.map(Cause::code),
                server: probe.server,
                grade: probe.grade.word(),
                what: probe.what,
                evidence: probe.outcome,
                remedy: probe.remedy,
                command: probe.command,
                change,
            };
            if tell.send(Told::Probe(line)).await.is_err() {
                return false;
            }
        }
        true
    };
    let ((), whole) = tokio::join!(directory.probe(Care::Doctor, now, listener), listen);
    if !whole {
        return Ok(());
    }
    for gone in before.into_iter().flatten() {
        counts.gone += 1;
        drop(tell.send(Told::Gone(gone)).await);
    }
    let outcome = match counts {
        Counts { broken: 1.., .. } => "broken",
        Counts { notes: 1.., .. } => "notes",
        _ => "well",
    };
    let event = Event::new(now, EventKind::Doctor, actor.clone(), None, outcome)
        .with("directory", directory.name())
        .with("broken", counts.broken.to_string())
        .with("notes", counts.notes.to_string())
        .with("new", counts.new.to_string())
        .with("changed", counts.changed.to_string())
        .with("gone", counts.gone.to_string());
    let findings = serde_json::to_string(&found).unwrap_or_default();
    rekeyd.store.keep_doctor_run(directory.key(), now, findings, event).await?;
    drop(tell.send(Told::Ended(counts)).await);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_due_a_day_after_the_last() {
        let hour = |hours: u64| Timestamp::from_millis(0).plus(Duration::from_hours(hours));
        assert!(!is_due(None, hour(5), hour(5)) && is_due(None, hour(5), hour(6)));
        assert!(!is_due(Some(hour(1)), hour(20), hour(24)) && is_due(Some(hour(1)), hour(24), hour(25)));
    }
}
