//! A worker answers an accepted request: look up, judge, send a link or end it with a reason.

use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::{Account, EmailAddress, Event, EventKind, NoticeKind, Purpose};
use rekeyd_core::policy::eligibility::{self, Eligibility, Refusal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::health;
use super::link::{self, Answer};
use super::operator::refusal_of;
use super::rekeyd::{Gathered, Rekeyd};
use super::start::{act_of, rank_of};
use super::trouble::{self, Trouble, backoff};
use crate::directory::Found;
use crate::store::{self, Ended, LeasedRequest};

/// How many requests are in hand at once: enough to keep the directory's connections busy while the answers to others are
/// written down together, few enough to be kind to both.
const AT_ONCE: usize = 32;
/// A worker that says nothing for so long is taken for dead, and its request is handed out again.
const LEASE: Duration = Duration::from_mins(1);
/// With nothing to do the queue is looked at this often, for requests that were put back.
const IDLE: Duration = Duration::from_millis(500);

/// Answers requests until `stop` turns true; those in hand are finished.
pub async fn run(rekeyd: Arc<Rekeyd>, mut stop: watch::Receiver<bool>) {
    let mut hands: JoinSet<()> = JoinSet::new();
    let mut more = true;
    while !*stop.borrow() {
        // Several at once: a lease for each that ends would be a change of the store for each.
        let free = AT_ONCE.saturating_sub(hands.len());
        if more && free >= AT_ONCE / 2 {
            match rekeyd.store.lease_requests(free, LEASE, rekeyd.now()).await {
                Ok(leased) => {
                    more = leased.len() == free;
                    for request in leased {
                        let rekeyd = Arc::clone(&rekeyd);
                        hands.spawn(async move { answer(&rekeyd, request).await });
                    }
                }
                Err(error) => {
                    trouble::tell(&error, "the queue of requests can't be read");
                    tokio::time::sleep(IDLE).await;
                    continue;
                }
            }
        }
        tokio::select! {
            _ = stop.changed() => {}
            Some(_) = hands.join_next(), if !hands.is_empty() => {}
            () = rekeyd.requests_wake.notified(), if !more => more = true,
            () = tokio::time::sleep(IDLE) => more = true,
        }
    }
    while hands.join_next().await.is_some() {}
}

/// Answers one request; whatever goes wrong puts it back until its deadline.
async fn answer(rekeyd: &Rekeyd, request: LeasedRequest) {
    let (id, attempts, deadline) = (request.id, request.attempts, request.deadline);
    let now = rekeyd.now();
    if now > deadline {
        let event = Event::new(now, EventKind::RequestEnded, request.actor, None, "expired").because("deadline");
        report(rekeyd.store.end_request(id, Ended::Expired, None, event).await);
        return;
    }
    let are_up = rekeyd.parts().directories.all().iter().all(|one| one.directory.is_up());
    let tried = try_answer(rekeyd, request).await;
    // Whether or not there is a message: the outbox is looked at and the disk waited for behind every answer, since whoever
    // asks next would feel the difference.
    rekeyd.outbox_wake.notify_one();
    if let Err(trouble) = tried {
        log::warn!(event = "request-postponed", attempts = attempts; "a request waits: {trouble}");
        // Those that were put back together don't come again together.
        let spread = id.bytes().first().copied().map_or(0, u32::from);
        let wait = backoff(attempts, Duration::from_secs(1), Duration::from_mins(1));
        let wait = wait + wait.saturating_mul(spread) / 2550;
        let reason = if are_up { trouble.to_string() } else { health::DIRECTORY_DOWN.to_owned() };
        report(rekeyd.store.postpone(id, rekeyd.now().plus(wait), &reason).await);
    }
}

async fn try_answer(rekeyd: &Rekeyd, request: LeasedRequest) -> Result<(), Trouble> {
    let parts = rekeyd.parts();
    let before = rekeyd.turns.now();
    let gathered = match rekeyd.find_in(&parts, request.directory, &request.login).await? {
        Ok(gathered) => gathered,
        Err(found) => return nobody(rekeyd, request, &found).await,
    };
    // One ticket at a time per account. A freeze or a newer password may have passed by since it was read.
    let (_turn, is_stale) = rekeyd.turns.take_since(&gathered.account.id, before).await;
    let gathered =
        if is_stale { rekeyd.find_in(&parts, request.directory, &request.login).await? } else { Ok(gathered) };
    let Gathered { account, facts } = match gathered {
        Ok(gathered) => gathered,
        Err(found) => return nobody(rekeyd, request, &found).await,
    };
    let now = rekeyd.now();
    let rules = parts.rules_of(&account.id);
    let act = act_of(request.purpose, request.origin);
    let verdict = eligibility::judge(&account, &facts, act, rank_of(request.origin), rules, now);
    let terms = match verdict {
        Eligibility::Allow(terms) => terms,
        Eligibility::Refuse(why) => return refuse(rekeyd, request, &account, why).await,
    };
    let contacts = match eligibility::contacts(&account, act, rules) {
        Ok(contacts) => contacts,
        Err(why) => return refuse(rekeyd, request, &account, why).await,
    };
    let event = Event::new(now, EventKind::TicketIssued, request.actor.clone(), Some(account.id.clone()), "queued");
    let answer = Answer {
        request: request.id,
        origin: request.origin,
        account: &account,
        terms: &terms,
        contacts,
        languages: &request.languages,
        event,
    };
    rekeyd.store.issue(rekeyd.issue_of(&parts, answer, now)).await?;
    Ok(())
}

/// Ends a request for which there is not exactly one account; the trail names those that match.
async fn nobody(rekeyd: &Rekeyd, request: LeasedRequest, found: &Found) -> Result<(), Trouble> {
    let mut event = link::refused(request.actor, refusal_of(found).code(), rekeyd.now());
    if let Found::Ambiguous(ids) = found {
        for id in ids {
            event = event.with("match", id.to_string());
        }
    }
    Ok(rekeyd.store.end_request(request.id, Ended::Refused, None, event).await?)
}

/// Ends a request about an existing account; where policy says so, the person is told whom to turn to.
async fn refuse(rekeyd: &Rekeyd, request: LeasedRequest, account: &Account, why: Refusal) -> Result<(), Trouble> {
    let parts = rekeyd.parts();
    let now = rekeyd.now();
    let mut event = link::refused(request.actor, why.code(), now);
    event.account = Some(account.id.clone());
    let tell =
        parts.rules_of(&account.id).tell_refused && request.purpose == Purpose::Reset && why != Refusal::NoContact;
    // Only a proved address hears of it, since the message says that the account exists.
    let proved = |address: &EmailAddress| {
        account.contacts.iter().any(|contact| contact.proof.is_some() && &contact.address == address)
    };
    let (notices, _) = rekeyd.tell(&parts, account, NoticeKind::RecoveryRefused, now);
    let notice = notices.into_iter().find(|notice| tell && proved(&notice.recipient.address));
    let notice = if notice.is_some() && first_today(rekeyd, account).await? { notice } else { None };
    Ok(rekeyd.store.end_request(request.id, Ended::Refused, notice, event).await?)
}

/// At most one such message a day: whether this is it.
async fn first_today(rekeyd: &Rekeyd, account: &Account) -> Result<bool, Trouble> {
    let quota = rekeyd_core::policy::pace::Quota { count: 1, per: Duration::from_hours(24) };
    let counter = store::Counter { scope: "refused-day", whom: account.id.to_string(), quota };
    Ok(rekeyd.store.count(vec![counter], rekeyd.now()).await?.is_none())
}

fn report(result: Result<(), store::Error>) {
    if let Err(error) = result {
        log::error!(error:? = error; "a request's end could not be recorded; it will be tried again");
    }
}
