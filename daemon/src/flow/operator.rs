//! An operator helps: sends a link, replaces a password, lifts a freeze, declares a restore.

use std::sync::Arc;

use rekeyd_core::domain::{
    Account, AccountId, Event, EventKind, NewPassword, NoticeKind, Origin, Purpose, RequestId, Timestamp,
};
use rekeyd_core::flavour::{Demands, Rejection};
use rekeyd_core::policy::authority::{Operator, Rank, Verb};
use rekeyd_core::policy::eligibility::{self, Act, Eligibility, Refusal};
use rekeyd_core::policy::password::{AcceptedPassword, Weakness};
use rekeyd_core::policy::permit::{Mandate, Permit};
use zeroize::Zeroizing;

use super::directories::Whom;
use super::rekeyd::{Gathered, Parts, Rekeyd};
use super::reset;
use super::start::addresses;
use super::trouble::Trouble;
use crate::directory::{Found, Settled, Written};
use crate::store::{Acceptance, NewRequest, Replacement};

/// How sending a link ended.
#[derive(Debug)]
pub enum SendOutcome {
    /// A message is on its way.
    Queued {
        /// The account.
        account: AccountId,
        /// Whether it is a first password or a new one.
        purpose: Purpose,
        /// The handle of the request.
        request: RequestId,
        /// Where it goes, masked.
        to: Vec<String>,
    },
    /// This operator may not.
    NotAllowed,
    /// The account may not get one.
    Refused(Refusal),
    /// Nothing was done; try again.
    Unavailable(String),
}

/// Where the password that replaces the old one comes from.
pub enum By {
    /// rekeyd draws one.
    Generate,
    /// The operator typed it.
    Typed(NewPassword),
}

/// How replacing a password ended.
pub enum ReplaceOutcome {
    /// This operator may not.
    NotAllowed,
    /// The account's password may not be replaced.
    Refused(Refusal),
    /// The directory refused it; with what it demands, as far as it shows that.
    Rejected(Rejection, Demands),
    /// The old password has stopped.
    Replaced {
        /// The account.
        account: AccountId,
        /// The password that was drawn, to be shown once.
        generated: Option<Zeroizing<String>>,
        /// Whether it must be changed at the next sign-in.
        must_change: bool,
        /// That the directory does not show that it must be.
        must_change_unseen: bool,
    },
    /// Nothing was done; try again.
    Unavailable(String),
    /// The directory did not answer; it may have been replaced.
    Unsure(String),
    /// rekeyd's own rules refused it.
    Weak(Vec<Weakness>),
}

/// How lifting a freeze ended.
#[derive(Debug)]
pub enum ThawOutcome {
    /// This operator may not.
    NotAllowed,
    /// There was no freeze.
    NotFrozen(AccountId),
    /// No single account matches.
    Refused(Refusal),
    /// Lifted.
    Thawed(AccountId),
    /// Nothing was done; try again.
    Unavailable(String),
}

/// How declaring a restore ended.
#[derive(Debug)]
pub enum RestoredOutcome {
    /// This operator may not.
    NotAllowed,
    /// Nothing was done; try again.
    Unavailable(String),
    /// So many tickets are void.
    Voided(u64),
}

/// Sends a link: an activation link to somebody who never had a password, a reset link to everybody else. The old
/// password works until the person sets the new one.
pub async fn send_code(rekeyd: &Rekeyd, operator: &Operator, whom: Whom, reason: &str, now: Timestamp) -> SendOutcome {
    if !operator.may(Verb::SendCode) {
        return SendOutcome::NotAllowed;
    }
    match try_send(rekeyd, operator, whom, reason, now).await {
        Ok(outcome) => outcome,
        Err(trouble) => SendOutcome::Unavailable(trouble.to_string()),
    }
}

async fn try_send(
    rekeyd: &Rekeyd,
    operator: &Operator,
    whom: Whom,
    reason: &str,
    now: Timestamp,
) -> Result<SendOutcome, Trouble> {
    let parts = rekeyd.parts();
    let Gathered { account, facts } = match rekeyd.find_for(&parts, &whom).await? {
        Ok(gathered) => gathered,
        Err(found) => return Ok(SendOutcome::Refused(refusal_of(&found))),
    };
    let refuse = async |why: Refusal| {
        let event =
            Event::new(now, EventKind::LinkRequested, operator.actor().clone(), Some(account.id.clone()), "refused")
                .because(reason)
                .with("refusal", why.code());
        rekeyd.store.record(event).await.map(|()| SendOutcome::Refused(why)).map_err(Trouble::from)
    };
    let rules = parts.rules_of(&account.id);
    let terms = match eligibility::judge(&account, &facts, Act::SendLink, Some(operator.standing()), rules, now) {
        Eligibility::Allow(terms) => terms,
        Eligibility::Refuse(why) => return refuse(why).await,
    };
    let contacts = match eligibility::contacts(&account, Act::SendLink, rules) {
        Ok(contacts) => contacts,
        Err(why) => return refuse(why).await,
    };
    let to = addresses(&contacts).iter().map(|address| address.masked()).collect();
    let request = rekeyd.fresh_request();
    let event =
        Event::new(now, EventKind::LinkRequested, operator.actor().clone(), Some(account.id.clone()), "accepted")
            .because(reason)
            .with("purpose", terms.purpose().word());
    let new = NewRequest {
        id: request,
        purpose: terms.purpose(),
        origin: match operator.standing() {
            Rank::Operator => Origin::Operator,
            Rank::Owner => Origin::Owner,
        },
        login: whom.login,
        // Whoever helps looked at this account, and no other is meant when the message is made.
        directory: Some(account.id.directory),
        actor: operator.actor().clone(),
        languages: Vec::new(),
        at: now,
        deadline: now.plus(parts.general.lives.request),
    };
    Ok(match rekeyd.store.accept(new, Vec::new(), Some(event)).await? {
        Acceptance::Accepted => {
            rekeyd.requests_wake.notify_one();
            SendOutcome::Queued { account: account.id, purpose: terms.purpose(), request, to }
        }
        Acceptance::Full | Acceptance::TooOften(_) => SendOutcome::Unavailable("the backlog is full".into()),
    })
}

/// Replaces a password by hand: the old one stops at once. By default the person must change it at the next sign-in.
/// Runs in a task of its own that a dropped connection does not cancel.
pub async fn set_password(
    rekeyd: &Arc<Rekeyd>,
    operator: &Operator,
    whom: Whom,
    replacement: By,
    must_change: bool,
    reason: String,
) -> ReplaceOutcome {
    if !operator.may(Verb::SetPassword) {
        return ReplaceOutcome::NotAllowed;
    }
    let (rekeyd, operator) = (Arc::clone(rekeyd), operator.clone());
    let story =
        tokio::spawn(async move { replace(&rekeyd, &operator, &whom, replacement, must_change, &reason).await });
    match story.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(trouble)) => ReplaceOutcome::Unavailable(trouble.to_string()),
        Err(_) => ReplaceOutcome::Unsure("rekeyd itself failed; see its log".into()),
    }
}

async fn replace(
    rekeyd: &Arc<Rekeyd>,
    operator: &Operator,
    whom: &Whom,
    replacement: By,
    must_change: bool,
    reason: &str,
) -> Result<ReplaceOutcome, Trouble> {
    let parts = rekeyd.parts();
    let found = match rekeyd.find_for(&parts, whom).await? {
        Ok(gathered) => gathered,
        Err(found) => return Ok(ReplaceOutcome::Refused(refusal_of(&found))),
    };
    let id = found.account.id.clone();
    let one = parts.directories.of(&id)?;
    let rank = Some(operator.standing());
    let judge = |Gathered { account, facts }: &Gathered| {
        eligibility::judge(account, facts, Act::ReplacePassword, rank, &one.rules, rekeyd.now())
    };
    let event = |outcome: &str| {
        Event::new(rekeyd.now(), EventKind::PasswordReplaced, operator.actor().clone(), Some(id.clone()), outcome)
            .because(reason)
            .with("must-change", if must_change { "yes" } else { "no" })
    };
    let refuse = async |why: Refusal| {
        rekeyd.store.record(event("refused").with("refusal", why.code())).await?;
        Ok(ReplaceOutcome::Refused(why))
    };
    // What the first look refuses needs no second one, and an account whose id is hidden would not be found again.
    if let Eligibility::Refuse(why) = judge(&found) {
        return refuse(why).await;
    }
    let _turn = rekeyd.turns.take(&id).await;
    let gathered = match rekeyd.read(&parts, &id).await? {
        Ok(gathered) => gathered,
        Err(found) => return Ok(ReplaceOutcome::Refused(refusal_of(&found))),
    };
    let terms = match judge(&gathered) {
        Eligibility::Allow(terms) => terms,
        Eligibility::Refuse(why) => return refuse(why).await,
    };
    let account = gathered.account;
    let Some(authorized) = operator.authorize(Verb::SetPassword, &terms) else { return Ok(ReplaceOutcome::NotAllowed) };
    // Its person never set one, and does not by what an operator does.
    let first = terms.purpose() == Purpose::Activation;
    let (password, generated) = match accepted(rekeyd, replacement, &account, &parts).await {
        Ok(password) => password,
        Err(weaknesses) => return Ok(ReplaceOutcome::Weak(weaknesses)),
    };
    let (server, stamp) = (terms.server().name.clone(), terms.stamp().clone());
    let permit = match Permit::new(terms, password, Mandate::Operator(authorized), must_change) {
        Ok(permit) => permit,
        Err(mismatch) => {
            log::error!(mismatch:? = mismatch; "proofs that do not fit each other");
            return Ok(ReplaceOutcome::Unavailable("the proofs do not fit each other".into()));
        }
    };
    tokio::time::sleep(one.directory.hold(&server, &stamp, rekeyd.now())).await;
    // The store knows of it before the directory does, so that no replacement goes unrecorded whatever happens next.
    let begun = Replacement {
        id: rekeyd.fresh_request(),
        account: account.id.clone(),
        stamp: stamp.clone(),
        server: server.clone(),
        actor: operator.actor().clone(),
        reason: reason.to_owned(),
        first,
        since: rekeyd.now(),
    };
    let id = begun.id;
    rekeyd.store.begin_replacement(begun, event("begun")).await?;
    let (_, written) = one.directory.write(permit).await;
    let written = match written {
        Written::Unsure { server } => match one.directory.settle(&account.id, &stamp, &server, rekeyd.now()).await {
            Ok(Settled::Changed) => Written::Done { must_change_unseen: false },
            _ => Written::Unsure { server },
        },
        other => other,
    };
    let event = |outcome| event(outcome).with("server", server.clone());
    // Whatever can't be recorded now is settled later by the account's stamp; the operator hears what happened.
    let recorded = match &written {
        Written::Done { must_change_unseen } => {
            let event =
                if *must_change_unseen { event("replaced").with("must-change-seen", "no") } else { event("replaced") };
            let (notices, tickets) = rekeyd.tell(&parts, &account, NoticeKind::PasswordReplaced, rekeyd.now());
            rekeyd.store.replaced(id, notices, tickets, event).await
        }
        Written::NotDone(_) | Written::Stale => rekeyd.store.end_replacement(id, event("not-done")).await,
        Written::Rejected(rejection, _) => {
            rekeyd.store.end_replacement(id, event("rejected").with("rejection", rejection.code())).await
        }
        Written::Unsure { .. } => Ok(()),
    };
    if let Err(error) = recorded {
        log::error!(event = "not-recorded"; "how a password was replaced could not be recorded; it will be settled: {error}");
    }
    rekeyd.outbox_wake.notify_one();
    Ok(match written {
        Written::Done { must_change_unseen } => {
            ReplaceOutcome::Replaced { account: account.id, generated, must_change, must_change_unseen }
        }
        Written::NotDone(why) => ReplaceOutcome::Unavailable(why),
        Written::Rejected(rejection, demands) => ReplaceOutcome::Rejected(rejection, demands),
        Written::Stale => ReplaceOutcome::Unavailable("the account changed meanwhile; look again and repeat".into()),
        Written::Unsure { server } => ReplaceOutcome::Unsure(format!("{server} did not answer")),
    })
}

/// The password in its accepted form, and its text where it was drawn here; on a thread where a slow check holds nobody
/// up.
async fn accepted(
    rekeyd: &Arc<Rekeyd>,
    replacement: By,
    account: &Account,
    parts: &Arc<Parts>,
) -> Result<(AcceptedPassword, Option<Zeroizing<String>>), Vec<Weakness>> {
    match replacement {
        By::Generate => {
            let _seat = rekeyd.checks.acquire().await;
            let (rekeyd, account, parts) = (Arc::clone(rekeyd), account.clone(), Arc::clone(parts));
            let drawn = tokio::task::spawn_blocking(move || {
                let (rules, _) = parts.rules_of(&account.id).password_for(&account);
                AcceptedPassword::generate(&account, rules, &mut |bytes| rekeyd.fill(bytes))
            });
            // A fault while one was drawn leaves none, and no rule to name.
            let password = drawn.await.map_err(|_| Vec::new())?;
            let text = Zeroizing::new(password.expose().to_owned());
            Ok((password, Some(text)))
        }
        By::Typed(typed) => reset::accept(rekeyd, typed, account, parts).await.map(|password| (password, None)),
    }
}

/// Lifts a freeze.
pub async fn thaw(rekeyd: &Rekeyd, operator: &Operator, whom: &Whom, reason: &str, now: Timestamp) -> ThawOutcome {
    if !operator.may(Verb::Thaw) {
        return ThawOutcome::NotAllowed;
    }
    let parts = rekeyd.parts();
    let account = match rekeyd.find_for(&parts, whom).await {
        Ok(Ok(gathered)) => gathered.account.id,
        Ok(Err(found)) => return ThawOutcome::Refused(refusal_of(&found)),
        Err(trouble) => return ThawOutcome::Unavailable(trouble.to_string()),
    };
    let event =
        Event::new(now, EventKind::Thawed, operator.actor().clone(), Some(account.clone()), "thawed").because(reason);
    match rekeyd.store.thaw(&account, now, event).await {
        Ok(true) => ThawOutcome::Thawed(account),
        Ok(false) => ThawOutcome::NotFrozen(account),
        Err(error) => ThawOutcome::Unavailable(Trouble::from(error).to_string()),
    }
}

/// Declares that the store was restored from a copy: every live ticket is void, since some may have been used after
/// the copy was made.
pub async fn restored(rekeyd: &Rekeyd, operator: &Operator, reason: &str, now: Timestamp) -> RestoredOutcome {
    if !operator.may(Verb::Restored) {
        return RestoredOutcome::NotAllowed;
    }
    let event = Event::new(now, EventKind::Restored, operator.actor().clone(), None, "declared").because(reason);
    match rekeyd.store.restored(event).await {
        Ok(voided) => RestoredOutcome::Voided(voided),
        Err(error) => RestoredOutcome::Unavailable(Trouble::from(error).to_string()),
    }
}

/// Why a look-up that did not find exactly one account ends.
pub(super) fn refusal_of(found: &Found) -> Refusal {
    match found {
        Found::Ambiguous(_) => Refusal::Ambiguous,
        Found::Account(_) | Found::NotFound => Refusal::NotFound,
    }
}
