//! What a crash or a lost answer left open is settled by the account's stamp.
//!
//! A claim whose write was never sent is free again. One whose write was sent is used if the stamp has changed on that
//! server; if it has not, it is free once the write can't be under way any more. Where nothing decides, the ticket stays
//! dead and the person is told that nobody knows. An operator's replacement is settled in the same way.

use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::{AccountId, Actor, Event, EventKind, NoticeKind, Timestamp};
use tokio::sync::watch;

use super::rekeyd::{Gathered, Parts, Rekeyd};
use super::setting::Setting;
use super::trouble::Trouble;
use crate::directory::{Directory, Settled};
use crate::store::{NewNotice, NewTicket, OpenClaim, Replacement};

/// Claims younger than this may belong to a story that is still running in this process.
const AGE: Duration = Duration::from_secs(15);
/// What is added to a directory's own time limits before a write counts as no longer under way.
const MARGIN: Duration = Duration::from_secs(3);
/// How often open claims are looked for.
const EVERY: Duration = Duration::from_secs(2);

/// Settles what is open until `stop` turns true. At the start every claim is a dead process's.
pub async fn run(rekeyd: Arc<Rekeyd>, mut stop: watch::Receiver<bool>) {
    let mut before = Timestamp::from_millis(i64::MAX);
    while !*stop.borrow() {
        if let Err(trouble) = settle_all(&rekeyd, before).await {
            log::warn!(event = "claim-open"; "what is open can't be settled yet: {trouble}");
        }
        tokio::select! {
            _ = stop.changed() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
        before = rekeyd.started().max(rekeyd.now().minus(AGE));
    }
}

async fn settle_all(rekeyd: &Rekeyd, before: Timestamp) -> Result<(), Trouble> {
    let mut last = Ok(());
    for claim in rekeyd.store.open_claims(before).await? {
        last = settle_claim(rekeyd, &claim).await.and(last);
    }
    for replacement in rekeyd.store.open_replacements(before).await? {
        last = settle_replacement(rekeyd, &replacement).await.and(last);
    }
    last
}

async fn settle_claim(rekeyd: &Rekeyd, seen: &OpenClaim) -> Result<(), Trouble> {
    let parts = rekeyd.parts();
    let _turn = rekeyd.turns.take(&seen.ticket.account).await;
    // Its own story may have ended it while this one waited.
    let Some(claim) = rekeyd.store.open_claim(seen.ticket.id).await? else { return Ok(()) };
    let ticket = &claim.ticket;
    let event = |outcome: &str, why: &str| {
        let account = Some(ticket.account.clone());
        Event::new(rekeyd.now(), EventKind::SetUnsure, Actor::System, account, outcome).because(why)
    };
    let Some(server) = &claim.server else {
        let event = event("freed", "never-sent");
        return Ok(rekeyd.store.settle(ticket.id, true, event, Vec::new(), Vec::new()).await?);
    };
    // What belongs to a directory that was taken out of the configuration stays open until that is back.
    let Ok(one) = parts.directories.of(&ticket.account) else { return Ok(()) };
    match one.directory.settle(&ticket.account, &ticket.stamp, server, rekeyd.now()).await? {
        Settled::Changed => {
            let Ok(Gathered { account, .. }) = rekeyd.read(&parts, &ticket.account).await? else {
                let event = event("void", "not-found");
                return Ok(rekeyd.store.settle(ticket.id, false, event, Vec::new(), Vec::new()).await?);
            };
            let nonce = claim.nonce;
            let setting = Setting {
                parts: &parts,
                directory: &one.directory,
                ticket,
                account: &account,
                nonce,
                actor: Actor::System,
            };
            if rekeyd.store.spend_settled(ticket.id, nonce, setting.spend(rekeyd)).await? {
                log::info!(event = "claim-settled"; "a password whose answer was lost had been set");
            } else {
                // It was void by then, so the newer password may be an operator's or nobody knows whose.
                let (notices, tickets) = rekeyd.tell(&parts, &account, NoticeKind::PasswordUnsure, rekeyd.now());
                rekeyd.store.settle(ticket.id, false, event("void", "not-its-own"), notices, tickets).await?;
            }
            rekeyd.outbox_wake.notify_one();
            Ok(())
        }
        Settled::Unchanged if may_be_under_way(rekeyd, &one.directory, claim.since) => Ok(()),
        Settled::Unchanged => {
            let event = event("freed", "not-written");
            Ok(rekeyd.store.settle(ticket.id, true, event, Vec::new(), Vec::new()).await?)
        }
        Settled::Undecidable => {
            let (notices, tickets) = told(rekeyd, &parts, &ticket.account, NoticeKind::PasswordUnsure).await?;
            rekeyd.store.settle(ticket.id, false, event("void", "undecidable"), notices, tickets).await?;
            rekeyd.outbox_wake.notify_one();
            Ok(())
        }
    }
}

async fn settle_replacement(rekeyd: &Rekeyd, begun: &Replacement) -> Result<(), Trouble> {
    let parts = rekeyd.parts();
    let _turn = rekeyd.turns.take(&begun.account).await;
    let event = |outcome: &str| {
        let account = Some(begun.account.clone());
        Event::new(rekeyd.now(), EventKind::PasswordReplaced, begun.actor.clone(), account, outcome)
            .because(begun.reason.clone())
            .with("server", begun.server.clone())
            .with("settled", "afterwards")
    };
    let Ok(one) = parts.directories.of(&begun.account) else { return Ok(()) };
    match one.directory.settle(&begun.account, &begun.stamp, &begun.server, rekeyd.now()).await? {
        Settled::Changed => {
            let (notices, tickets) = told(rekeyd, &parts, &begun.account, NoticeKind::PasswordReplaced).await?;
            rekeyd.store.replaced(begun.id, notices, tickets, event("replaced")).await?;
            rekeyd.outbox_wake.notify_one();
            Ok(())
        }
        Settled::Unchanged if may_be_under_way(rekeyd, &one.directory, begun.since) => Ok(()),
        Settled::Unchanged => Ok(rekeyd.store.end_replacement(begun.id, event("not-done")).await?),
        Settled::Undecidable => Ok(rekeyd.store.end_replacement(begun.id, event("unsure")).await?),
    }
}

/// Whether a write that began at `since` may still arrive. A dead process tries nothing again, so that only what it had
/// sent may still be under way.
fn may_be_under_way(rekeyd: &Rekeyd, directory: &Directory, since: Timestamp) -> bool {
    let times = directory.times();
    let over = if since < rekeyd.started() { times.operation } else { times.write };
    rekeyd.now().since(since) < over + MARGIN
}

/// The notices that tell the person of what was settled; none where the account is gone.
async fn told(
    rekeyd: &Rekeyd,
    parts: &Parts,
    account: &AccountId,
    kind: NoticeKind,
) -> Result<(Vec<NewNotice>, Vec<NewTicket>), Trouble> {
    Ok(match rekeyd.read(parts, account).await? {
        Ok(Gathered { account, .. }) => rekeyd.tell(parts, &account, kind, rekeyd.now()),
        Err(_) => (Vec::new(), Vec::new()),
    })
}
