//! Somebody holds a link: looking at it changes nothing, setting a password uses it up.
//!
//! Setting a password derives every proof anew: the account is read again on a server that takes writes, judged again, the
//! password is accepted for that very account, the ticket is claimed by one conditional update, and the write carries the
//! condition where the server can. All before the claim is only looking, under the account's turn: nothing is to be undone
//! where it ends, and one commit before the write notes both whose the ticket is and where the write goes. What ends
//! without an answer is settled by the account's stamp, never by a guess.

use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::{Account, Actor, Event, EventKind, NewPassword, Purpose, Ticket, Timestamp, Token};
use rekeyd_core::flavour::{Demands, Rejection};
use rekeyd_core::policy::eligibility::{self, Eligibility, Terms};
use rekeyd_core::policy::password::{self, AcceptedPassword, Weakness};
use rekeyd_core::policy::permit::{Claimed, Mandate, Permit};
use rekeyd_core::policy::rules::PasswordRules;
use tokio::time::{Instant, timeout_at};

use super::link;
use super::rekeyd::{Gathered, Parts, Rekeyd};
use super::setting::{Setting, reference_of};
use super::start::{act_of, rank_of};
use super::trouble::Trouble;
use crate::store::{StoredTicket, TicketState};

/// The longest that one setting may take before its holder is told that the outcome is unknown; shorter than the time
/// that a door gives a whole request, so that it is this answer that is seen.
const DEADLINE: Duration = Duration::from_secs(12);
/// The longest that everything before the claim may take: then nothing was changed, and it is better to say so than to
/// begin what can't end in time, on a verdict that is old.
pub(super) const BEFORE_WRITE: Duration = Duration::from_secs(7);

/// What a link shows when it is opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// What it is for.
    pub purpose: Purpose,
    /// The account's login name, so that its holder sees whose password this is.
    pub login: String,
    /// When it ends, once its message is known to be delivered.
    pub expires: Option<Timestamp>,
    /// What the password must be.
    pub rules: PasswordRules,
}

/// What opening a link finds.
#[derive(Debug)]
pub enum Look {
    /// Unknown, used, expired, void: all the same.
    Gone,
    /// It can be used.
    Live(Opened),
    /// The store can't be asked now, or the account's directory is out of the configuration.
    Unavailable,
}

/// How setting a password ended.
#[derive(Debug)]
pub enum SetOutcome {
    /// The link is unknown, used, expired or void.
    Gone,
    /// The account may not be reset any more; the reference finds the reason in the audit trail.
    Refused {
        /// What the person can read out to the service desk.
        reference: String,
    },
    /// The directory refused it; `again` says whether another password could pass on the same link.
    Rejected {
        /// The rule it broke.
        rejection: Rejection,
        /// What the directory demands, as far as it shows that.
        demands: Demands,
        /// Whether the link still works.
        again: bool,
    },
    /// The directory has the new password.
    Set {
        /// A lock by wrong passwords that stays until then.
        locked_until: Option<Timestamp>,
    },
    /// Nothing was changed and the link still works.
    Unavailable,
    /// It may or may not have been set; a notice will follow if it was.
    Unsure,
    /// rekeyd's own rules refused it; the link still works.
    Weak(Vec<Weakness>),
}

/// Opens a link. GET, HEAD, scanners and previews come here as often as they like: nothing changes.
pub async fn look(rekeyd: &Rekeyd, token: &Token, now: Timestamp) -> Look {
    let parts = rekeyd.parts();
    match find(rekeyd, &parts, token, now).await {
        Ok(Some(stored)) if stored.usable => match parts.directories.of(&stored.ticket.account) {
            Ok(one) => Look::Live(Opened {
                purpose: stored.ticket.purpose,
                login: stored.ticket.login,
                expires: stored.ticket.expires,
                rules: one.rules.password_of(stored.ticket.profile.as_deref()).clone(),
            }),
            Err(trouble) => {
                log::warn!(event = "set-unavailable"; "a link can't be used now: {trouble}");
                Look::Unavailable
            }
        },
        Ok(_) => Look::Gone,
        Err(trouble) => {
            log::error!("a link can't be looked up: {trouble}");
            Look::Unavailable
        }
    }
}

/// Sets a password by a link, in a task of its own that a dropped connection does not cancel. `nonce` names the form:
/// the same POST again shows the same result.
pub async fn set_password(
    rekeyd: &Arc<Rekeyd>,
    token: Token,
    password: NewPassword,
    nonce: [u8; 16],
    actor: Actor,
) -> SetOutcome {
    let task = {
        let rekeyd = Arc::clone(rekeyd);
        tokio::spawn(async move { set(&rekeyd, &token, password, nonce, actor).await })
    };
    match tokio::time::timeout(DEADLINE, task).await {
        Ok(Ok(Ok(outcome))) => outcome,
        Ok(Ok(Err(trouble))) => {
            log::warn!(event = "set-unavailable"; "a password could not be set, nothing was changed: {trouble}");
            SetOutcome::Unavailable
        }
        Ok(Err(_)) => {
            log::error!(event = "set-panicked"; "setting a password ended in a fault; its outcome will be settled");
            SetOutcome::Unsure
        }
        Err(_) => SetOutcome::Unsure,
    }
}

/// The story of one setting. An error means that nothing was written and the ticket is live.
async fn set(
    rekeyd: &Rekeyd,
    token: &Token,
    password: NewPassword,
    nonce: [u8; 16],
    actor: Actor,
) -> Result<SetOutcome, Trouble> {
    let parts = rekeyd.parts();
    let latest = Instant::now() + BEFORE_WRITE;
    let before = rekeyd.turns.now();
    // Only who may get somewhere waits: a ticket that can be claimed, or a repeat of the form that holds it.
    let found = find(rekeyd, &parts, token, rekeyd.now()).await?;
    let Some(stored) = found.filter(|stored| stored.usable || stored.held_by == Some(nonce)) else {
        return Ok(SetOutcome::Gone);
    };
    let one = parts.directories.of(&stored.ticket.account)?;
    let turn = timeout_at(latest, rekeyd.turns.queue_since(&stored.ticket.account, before)).await;
    let (_turn, others_ended) = match turn {
        Ok(Some(turn)) => turn,
        Ok(None) => {
            log::warn!(event = "shed"; "too many settings of one account's password are under way");
            return Ok(SetOutcome::Unavailable);
        }
        Err(_) => {
            log::warn!(event = "set-unavailable"; "another setting of the same account's password takes too long");
            return Ok(SetOutcome::Unavailable);
        }
    };
    // Who waits for a turn has no seat, so that one account never takes more than one.
    let Ok(_seat) = rekeyd.sets.try_acquire() else {
        log::warn!(event = "shed"; "too many passwords are being set at once");
        return Ok(SetOutcome::Unavailable);
    };
    let set = Set { rekeyd, parts: &parts, token, nonce, actor };
    if others_ended || !stored.usable {
        // It may have been used up meanwhile; then nothing more is said of this password.
        match find(rekeyd, &parts, token, rekeyd.now()).await? {
            Some(stored) if stored.usable => {}
            _ => return set.again().await,
        }
    }
    let ticket = stored.ticket;

    let Gathered { account, facts } = match timeout_at(latest, rekeyd.read(&parts, &ticket.account)).await {
        Ok(Ok(Ok(gathered))) => gathered,
        Ok(Ok(Err(_))) => return set.refuse("not-found").await,
        Ok(Err(trouble)) => return Err(trouble),
        Err(_) => return Err(Trouble::Late(BEFORE_WRITE)),
    };
    let act = act_of(ticket.purpose, ticket.origin);
    let verdict = eligibility::judge(&account, &facts, act, rank_of(ticket.origin), &one.rules, rekeyd.now());
    let terms = match verdict {
        Eligibility::Allow(terms) => terms,
        Eligibility::Refuse(why) => return set.refuse(why.code()).await,
    };
    if let Some(why) = misfit(rekeyd, &parts, &ticket, &account, &terms) {
        return set.refuse(why).await;
    }
    let password = match accept(rekeyd, password, &account, &parts).await {
        Ok(password) => password,
        Err(weaknesses) => return Ok(SetOutcome::Weak(weaknesses)),
    };
    let (server, stamp) = (terms.server().name.clone(), terms.stamp().clone());
    // Two changes in one second share a stamp, so the write waits until the present stamp's second is over.
    tokio::time::sleep(one.directory.hold(&server, &stamp, rekeyd.now())).await;
    in_time(latest)?;
    // The last thing before the write, and on disk before it: whatever voided the ticket since it was found ("not me", an
    // operator, a restore) is seen here.
    let Some(claimed) = set.claim(Some(&server)).await? else { return set.again().await };
    let permit = match Permit::new(terms, password, Mandate::Ticket(claimed), false) {
        Ok(permit) => permit,
        Err(mismatch) => {
            // The claim went with the proofs; the open claim is settled like one that a crash left.
            log::error!(mismatch:? = mismatch; "proofs that do not fit each other");
            return Ok(SetOutcome::Unavailable);
        }
    };
    let (mandate, written) = one.directory.write(permit).await;
    let Mandate::Ticket(claimed) = mandate else { return Ok(SetOutcome::Unsure) };
    let Set { actor, .. } = set;
    let setting =
        Setting { parts: &parts, directory: &one.directory, ticket: &ticket, account: &account, nonce, actor };
    Ok(setting.conclude(rekeyd, claimed, written).await)
}

/// Whether there is time for the claim and the write; what came before may have waited for its turn, too.
fn in_time(latest: Instant) -> Result<(), Trouble> {
    if Instant::now() < latest { Ok(()) } else { Err(Trouble::Late(BEFORE_WRITE)) }
}

/// The ticket of a token that sets a password.
async fn find(rekeyd: &Rekeyd, parts: &Parts, token: &Token, now: Timestamp) -> Result<Option<StoredTicket>, Trouble> {
    let stored = link::ticket_of(rekeyd, parts, token, now).await?;
    Ok(stored.filter(|stored| stored.ticket.purpose != Purpose::NotMe))
}

/// What one setting does with its ticket.
struct Set<'a> {
    rekeyd: &'a Rekeyd,
    parts: &'a Parts,
    token: &'a Token,
    nonce: [u8; 16],
    actor: Actor,
}

impl Set<'_> {
    /// Makes the ticket this setting's own, to write to `server`; nobody else can use it from then on.
    async fn claim(&self, server: Option<&str>) -> Result<Option<Claimed>, Trouble> {
        let hash = self.rekeyd.store.data_key().token_hash(self.token);
        Ok(self.rekeyd.store.claim(hash, self.nonce, server, self.rekeyd.now()).await?)
    }

    /// A ticket that could not be claimed: the same form sent again sees its own result, everybody else sees nothing.
    async fn again(&self) -> Result<SetOutcome, Trouble> {
        let stored = find(self.rekeyd, self.parts, self.token, self.rekeyd.now()).await?;
        Ok(match stored {
            Some(stored) if stored.held_by == Some(self.nonce) => match stored.state {
                TicketState::Spent => SetOutcome::Set { locked_until: None },
                TicketState::Claimed | TicketState::Unsure => SetOutcome::Unsure,
                TicketState::Live | TicketState::Void => SetOutcome::Gone,
            },
            _ => SetOutcome::Gone,
        })
    }

    /// Ends a ticket that no longer fits its account.
    async fn refuse(self, why: &str) -> Result<SetOutcome, Trouble> {
        let Some(claimed) = self.claim(None).await? else { return self.again().await };
        let ticket = claimed.ticket();
        let reference = reference_of(ticket);
        let account = ticket.account.clone();
        let event = Event::new(self.rekeyd.now(), EventKind::TicketRefused, self.actor, Some(account), "refused")
            .because(why)
            .with("reference", reference.clone());
        self.rekeyd.store.void(claimed, event).await?;
        Ok(SetOutcome::Refused { reference })
    }
}

/// Why a ticket no longer fits the account it was made for.
fn misfit(rekeyd: &Rekeyd, parts: &Parts, ticket: &Ticket, account: &Account, terms: &Terms) -> Option<&'static str> {
    if terms.stamp() != &ticket.stamp {
        return Some("newer-password");
    }
    if terms.purpose() != ticket.purpose {
        return Some("other-purpose");
    }
    if account.login != ticket.login {
        return Some("renamed");
    }
    let data = rekeyd.store.data_key();
    let still_there = account
        .contacts
        .iter()
        .filter(|contact| parts.rules_of(&account.id).contacts.permits(contact))
        .any(|contact| data.address_hash(&contact.address.folded()) == ticket.contact);
    if still_there { None } else { Some("contact-changed") }
}

/// Accepts the password for this account, on a thread where a slow check holds nobody up; no more at once than there are
/// processors, so that a crowd waits here and not everywhere.
pub(super) async fn accept(
    rekeyd: &Rekeyd,
    password: NewPassword,
    account: &Account,
    parts: &Arc<Parts>,
) -> Result<AcceptedPassword, Vec<Weakness>> {
    let _seat = rekeyd.checks.acquire().await;
    let (account, parts) = (account.clone(), Arc::clone(parts));
    let checked = tokio::task::spawn_blocking(move || {
        let (rules, _) = parts.rules_of(&account.id).password_for(&account);
        password::accept(password, &account, rules).map_err(|(_, weaknesses)| weaknesses)
    });
    checked.await.unwrap_or_else(|_| Err(Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t78_what_comes_too_late_is_not_begun() {
        assert!(in_time(Instant::now() + BEFORE_WRITE).is_ok());
        assert!(matches!(in_time(Instant::now()), Err(Trouble::Late(_))));
    }
}
