//! "This was not me": somebody got a message that they did not cause.
//!
//! The page asks for the login name, so that a robot that submits forms does nothing. Then the account's tickets die
//! and self-service is frozen for at most a day; signing in and help by an operator go on.

use rekeyd_core::domain::{Actor, Event, EventKind, Login, Purpose, Ticket, Timestamp, Token};

use super::link;
use super::rekeyd::Rekeyd;
use super::reset::BEFORE_WRITE;
use super::trouble::Trouble;

/// What opening the link finds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Look {
    /// Unknown, used or expired.
    Gone,
    /// It can be used.
    Live,
    /// The store can't be asked now.
    Unavailable,
}

/// How the report ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Tickets are void, self-service is frozen.
    Done,
    /// The link is unknown, used or expired.
    Gone,
    /// What was typed is not this account's login name; nothing was done.
    Mismatch,
    /// Nothing was done; try again.
    Unavailable,
}

/// Opens the link; nothing changes.
pub async fn look(rekeyd: &Rekeyd, token: &Token, now: Timestamp) -> Look {
    match find(rekeyd, token, now).await {
        Ok(Some(_)) => Look::Live,
        Ok(None) => Look::Gone,
        Err(trouble) => {
            log::error!("a link can't be looked up: {trouble}");
            Look::Unavailable
        }
    }
}

/// Takes the report.
pub async fn report(rekeyd: &Rekeyd, token: &Token, login: &Login, actor: Actor, now: Timestamp) -> Outcome {
    match try_report(rekeyd, token, login, actor, now).await {
        Ok(outcome) => outcome,
        Err(trouble) => {
            log::error!("a report \"not me\" could not be taken: {trouble}");
            Outcome::Unavailable
        }
    }
}

async fn try_report(
    rekeyd: &Rekeyd,
    token: &Token,
    login: &Login,
    actor: Actor,
    now: Timestamp,
) -> Result<Outcome, Trouble> {
    let Some(ticket) = find(rekeyd, token, now).await? else { return Ok(Outcome::Gone) };
    let parts = rekeyd.parts();
    // Whoever signs in by a longer form of the login types that here, too.
    let typed = parts.directories.of(&ticket.account).map_or_else(|_| login.clone(), |one| one.claims.stripped(login));
    let written = Login::parse(&ticket.login)
        .is_ok_and(|written| [&typed, login].into_iter().any(|login| written.folded() == login.folded()));
    if !written {
        return Ok(Outcome::Mismatch);
    }
    let Some(_turn) = rekeyd.turns.take_within(&ticket.account, BEFORE_WRITE).await else {
        return Err(Trouble::Late(BEFORE_WRITE));
    };
    let until = now.plus(parts.rules_of(&ticket.account).freeze);
    let event = Event::new(now, EventKind::NotMe, actor, Some(ticket.account.clone()), "frozen")
        .with("until", until.millis().to_string());
    log::warn!(event = "not-me", account = ticket.account.to_string(); "a person says that they did not ask; self-service is frozen");
    Ok(if rekeyd.store.freeze(ticket.id, until, event).await? { Outcome::Done } else { Outcome::Gone })
}

async fn find(rekeyd: &Rekeyd, token: &Token, now: Timestamp) -> Result<Option<Ticket>, Trouble> {
    let stored = link::ticket_of(rekeyd, &rekeyd.parts(), token, now).await?;
    Ok(stored.filter(|stored| stored.usable && stored.ticket.purpose == Purpose::NotMe).map(|stored| stored.ticket))
}
