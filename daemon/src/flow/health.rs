//! Whether the daemon can do its work, for supervisors, proxies and operators: what is wrong now, since when, and a row of
//! the trail when it begins and when it is over.
//!
//! The directory is asked whether it is there also when nobody needs it, and those who wait for it are not left waiting
//! for their next turn once it is back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rekeyd_core::domain::{Actor, Event, EventKind, Login};
use tokio::sync::watch;

use super::rekeyd::{Parts, Rekeyd};
use super::trouble::Trouble;
use super::watchlist::{Change, Standing, Watchlist};
use crate::directory::{Directory, Flaw};

/// Why a request is put back that came while a directory was down.
pub(super) const DIRECTORY_DOWN: &str = "directory-down";

/// How often it is looked what is wrong.
const EVERY: Duration = Duration::from_secs(1);

/// What works.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Health {
    /// Requests can be accepted.
    pub store: bool,
    /// How each directory does, by its name; requests are accepted all the same.
    pub directories: Vec<(String, DirectoryHealth)>,
}

/// How a directory does; the worst comes first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum DirectoryHealth {
    /// It did not answer last time.
    Down,
    /// It answers, and something is wrong.
    Impaired,
    /// It answers.
    Up,
}

impl Health {
    /// The worst of what the directories are.
    pub fn directory(&self) -> DirectoryHealth {
        self.directories.iter().map(|(_, health)| *health).min().unwrap_or(DirectoryHealth::Down)
    }
}

/// Asks the store, and what the last operations said of the directories.
pub async fn ready(rekeyd: &Rekeyd) -> Health {
    let parts = rekeyd.parts();
    let health = |directory: &Directory| {
        let health = match (directory.is_up(), standing(rekeyd, directory.name()).is_empty()) {
            (false, _) => DirectoryHealth::Down,
            (true, false) => DirectoryHealth::Impaired,
            (true, true) => DirectoryHealth::Up,
        };
        (directory.name().to_owned(), health)
    };
    let directories = parts.directories.all().iter().map(|one| health(&one.directory)).collect();
    Health { store: rekeyd.store.ping().await.is_ok(), directories }
}

/// What is wrong with the directory of this name now.
pub(super) fn standing(rekeyd: &Rekeyd, directory: &str) -> Vec<Standing> {
    with_lists(rekeyd, |lists| lists.get(directory).map(Watchlist::standing).unwrap_or_default())
}

/// Looks after the directory until `stop` turns true.
pub async fn watch(rekeyd: Arc<Rekeyd>, mut stop: watch::Receiver<bool>) {
    let work = async {
        greet(&rekeyd).await;
        tokio::join!(examine(&rekeyd), tell(&rekeyd))
    };
    tokio::select! {
        // The sender outlives the tasks.
        _ = stop.wait_for(|stop| *stop) => {}
        _ = work => {}
    }
}

/// Asks the directories for nobody, so that status and health speak of them from the start and the first person does not
/// wait for their connections.
async fn greet(rekeyd: &Rekeyd) {
    let Ok(nobody) = Login::parse("(nobody)") else { return };
    let (parts, now) = (rekeyd.parts(), rekeyd.now());
    let greeted = parts.directories.all().iter().map(async |one| {
        if let Err(error) = one.directory.find(&nobody, now).await {
            let (name, trouble) = (one.directory.name(), Trouble::Directory(parts.directories.named(one, error)));
            log::warn!(event = "directory-down", directory = name; "requests are accepted and wait: {trouble}");
        }
    });
    futures_util::future::join_all(greeted).await;
}

/// Has the directories looked at, and when one is back the requests that wait for it tried at once: their next turn may be
/// a minute away. One that failed while others were answered has itself to blame, and waits for its turn: brought forward
/// again and again it would fail as often.
async fn examine(rekeyd: &Rekeyd) {
    let up = |parts: &Parts| -> BTreeSet<String> {
        let up = parts.directories.all().iter().filter(|one| one.directory.is_up());
        up.map(|one| one.directory.name().to_owned()).collect()
    };
    let mut were_up = up(&rekeyd.parts());
    loop {
        let parts = rekeyd.parts();
        let now = rekeyd.now();
        futures_util::future::join_all(parts.directories.all().iter().map(|one| one.directory.examine(now))).await;
        let are_up = up(&parts);
        if !are_up.is_subset(&were_up) {
            match rekeyd.store.hurry_requests(DIRECTORY_DOWN, rekeyd.now()).await {
                Ok(()) => rekeyd.requests_wake.notify_one(),
                Err(error) => log::error!(error:? = error; "what waits for the directory could not be hurried"),
            }
        }
        were_up = are_up;
        tokio::time::sleep(EVERY).await;
    }
}

/// Keeps the lists of what is wrong, and has the trail told when something begins and when it is over.
async fn tell(rekeyd: &Rekeyd) {
    loop {
        for (directory, change) in look(rekeyd) {
            let (outcome, flaw) = match &change {
                Change::Began(flaw) => ("began", flaw),
                Change::Over(flaw) => ("over", flaw),
            };
            let event = Event::new(rekeyd.now(), EventKind::DirectoryFault, Actor::System, None, outcome)
                .because(flaw.kind.word())
                .with("directory", directory.clone())
                .with("server", flaw.server.clone())
                .with("why", flaw.why.clone());
            match rekeyd.store.record(event).await {
                Ok(()) => {
                    let (kind, server, name) = (flaw.kind.word(), flaw.server.as_str(), directory.as_str());
                    log::warn!(event = "directory-fault", outcome = outcome, kind = kind, directory = name, server = server; "{}", flaw.why);
                    with_lists(rekeyd, |lists| lists.get_mut(&directory).map(|list| list.told(&change)));
                }
                // It is told at the next look.
                Err(error) => log::error!(error:? = error; "the trail could not be told of the directory"),
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Looks what is wrong now, and gives what the trail has yet to hear of it, with the directory's name. Of one that was taken
/// out of the configuration everything is over.
fn look(rekeyd: &Rekeyd) -> Vec<(String, Change)> {
    let (parts, now) = (rekeyd.parts(), rekeyd.now());
    let mut seen: BTreeMap<String, Vec<Flaw>> =
        parts.directories.all().iter().map(|one| (one.directory.name().to_owned(), one.directory.flaws(now))).collect();
    with_lists(rekeyd, |lists| {
        let names: BTreeSet<String> = lists.keys().chain(seen.keys()).cloned().collect();
        let mut untold = Vec::new();
        for name in names {
            let list = lists.entry(name.clone()).or_default();
            list.look(seen.remove(&name).unwrap_or_default(), now);
            untold.extend(list.untold().into_iter().map(|change| (name.clone(), change)));
        }
        lists.retain(|_, list| !list.is_empty());
        untold
    })
}

fn with_lists<T>(rekeyd: &Rekeyd, act: impl FnOnce(&mut BTreeMap<String, Watchlist>) -> T) -> T {
    act(&mut rekeyd.watchlists.lock().unwrap_or_else(PoisonError::into_inner))
}
