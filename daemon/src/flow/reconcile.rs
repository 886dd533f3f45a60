//! What a crash or a lost answer left open is settled by the account's stamp.
//!
//! A claim whose write was never sent is free again. One whose write was sent is used if the stamp has changed on that
//! server, and free if it has not; where nothing decides, the ticket stays dead.

use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::{Actor, Event, EventKind, Timestamp};
use tokio::sync::watch;

use super::rekeyd::Rekeyd;
use super::reset;
use super::trouble::Trouble;
use crate::directory::Settled;
use crate::store::OpenClaim;

/// Claims younger than this belong to a story that is still running.
const AGE: Duration = Duration::from_secs(30);
/// How often open claims are looked for.
const EVERY: Duration = Duration::from_secs(5);

/// Settles open claims until `stop` turns true. At the start every claim is a dead process's.
pub async fn run(rekeyd: Arc<Rekeyd>, mut stop: watch::Receiver<bool>) {
    let mut before = Timestamp::from_millis(i64::MAX);
    while !*stop.borrow() {
        match rekeyd.store.open_claims(before).await {
            Ok(claims) => {
                for claim in claims {
                    if let Err(trouble) = settle(&rekeyd, &claim).await {
                        log::warn!(event = "claim-open"; "an open claim can't be settled yet: {trouble}");
                    }
                }
            }
            Err(error) => log::error!(error:? = error; "open claims can't be read"),
        }
        tokio::select! {
            _ = stop.changed() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
        before = rekeyd.started().max(rekeyd.now().minus(AGE));
    }
}

async fn settle(rekeyd: &Rekeyd, claim: &OpenClaim) -> Result<(), Trouble> {
    let parts = rekeyd.parts();
    let ticket = &claim.ticket;
    let _turn = rekeyd.turns.take(&ticket.account).await;
    let event = |outcome: &str, why: &str| {
        Event::new(rekeyd.now(), EventKind::SetUnsure, Actor::System, Some(ticket.account.clone()), outcome)
            .because(why)
    };
    let Some(server) = &claim.server else {
        return Ok(rekeyd.store.settle(ticket.id, true, event("freed", "never-sent")).await?);
    };
    match parts.directory.settle(&ticket.account, &ticket.stamp, server, rekeyd.now()).await? {
        Settled::Changed => {
            let Ok(gathered) = rekeyd.read(&parts, &ticket.account).await? else {
                return Ok(rekeyd.store.settle(ticket.id, false, event("void", "not-found")).await?);
            };
            log::info!(event = "claim-settled"; "a password whose answer was lost had been set");
            reset::done(rekeyd, &parts, ticket, &gathered.account, claim.nonce, Actor::System).await;
            Ok(())
        }
        Settled::Unchanged => Ok(rekeyd.store.settle(ticket.id, true, event("freed", "not-written")).await?),
        Settled::Undecidable => Ok(rekeyd.store.settle(ticket.id, false, event("void", "undecidable")).await?),
    }
}
