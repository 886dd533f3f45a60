//! Whether the daemon can do its work, for supervisors, proxies and operators: what is wrong now, since when, and a row of
//! the trail when it begins and when it is over.
//!
//! The directory is asked whether it is there also when nobody needs it, and those who wait for it are not left waiting
//! for their next turn once it is back.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rekeyd_core::domain::{Actor, Event, EventKind, Login};
use tokio::sync::watch;

use super::rekeyd::Rekeyd;
use super::watchlist::{Change, Standing, Watchlist};

/// Why a request is put back that came while the directory was down.
pub(super) const DIRECTORY_DOWN: &str = "directory-down";

/// How often it is looked what is wrong.
const EVERY: Duration = Duration::from_secs(1);

/// What works.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Health {
    /// Requests can be accepted.
    pub store: bool,
    /// How the directory does; requests are accepted all the same.
    pub directory: DirectoryHealth,
}

/// How a directory does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DirectoryHealth {
    /// It did not answer last time.
    Down,
    /// It answers, and something is wrong.
    Impaired,
    /// It answers.
    Up,
}

/// Asks the store, and what the last operations said of the directory.
pub async fn ready(rekeyd: &Rekeyd) -> Health {
    let directory = match (rekeyd.parts().directory.is_up(), standing(rekeyd).is_empty()) {
        (false, _) => DirectoryHealth::Down,
        (true, false) => DirectoryHealth::Impaired,
        (true, true) => DirectoryHealth::Up,
    };
    Health { store: rekeyd.store.ping().await.is_ok(), directory }
}

/// What is wrong with the directory now.
pub(super) fn standing(rekeyd: &Rekeyd) -> Vec<Standing> {
    with_list(rekeyd, |list| list.standing())
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

/// Asks the directory for nobody, so that status and health speak of it from the start and the first person does not
/// wait for its connections.
async fn greet(rekeyd: &Rekeyd) {
    let Ok(nobody) = Login::parse("(nobody)") else { return };
    if let Err(trouble) = rekeyd.find(&rekeyd.parts(), &nobody).await {
        log::warn!(event = "directory-down"; "requests are accepted and wait: {trouble}");
    }
}

/// Has the directory looked at, and when it is back the requests that wait for it tried at once: their next turn may be
/// a minute away. One that failed while others were answered has itself to blame, and waits for its turn: brought forward
/// again and again it would fail as often.
async fn examine(rekeyd: &Rekeyd) {
    let mut was_up = rekeyd.parts().directory.is_up();
    loop {
        rekeyd.parts().directory.examine(rekeyd.now()).await;
        let is_up = rekeyd.parts().directory.is_up();
        if is_up && !was_up {
            match rekeyd.store.hurry_requests(DIRECTORY_DOWN, rekeyd.now()).await {
                Ok(()) => rekeyd.requests_wake.notify_one(),
                Err(error) => log::error!(error:? = error; "what waits for the directory could not be hurried"),
            }
        }
        was_up = is_up;
        tokio::time::sleep(EVERY).await;
    }
}

/// Keeps the list of what is wrong, and has the trail told when something begins and when it is over.
async fn tell(rekeyd: &Rekeyd) {
    loop {
        let now = rekeyd.now();
        let flaws = rekeyd.parts().directory.flaws(now);
        let untold = with_list(rekeyd, |list| {
            list.look(flaws, now);
            list.untold()
        });
        for change in untold {
            let (outcome, flaw) = match &change {
                Change::Began(flaw) => ("began", flaw),
                Change::Over(flaw) => ("over", flaw),
            };
            let event = Event::new(now, EventKind::DirectoryFault, Actor::System, None, outcome)
                .because(flaw.kind.word())
                .with("server", flaw.server.clone())
                .with("why", flaw.why.clone());
            match rekeyd.store.record(event).await {
                Ok(()) => {
                    let (kind, server) = (flaw.kind.word(), flaw.server.as_str());
                    log::warn!(event = "directory-fault", outcome = outcome, kind = kind, server = server; "{}", flaw.why);
                    with_list(rekeyd, |list| list.told(&change));
                }
                // It is told at the next look.
                Err(error) => log::error!(error:? = error; "the trail could not be told of the directory"),
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn with_list<T>(rekeyd: &Rekeyd, act: impl FnOnce(&mut Watchlist) -> T) -> T {
    act(&mut rekeyd.watchlist.lock().unwrap_or_else(PoisonError::into_inner))
}
