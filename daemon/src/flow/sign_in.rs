//! A login page has a password checked: granted or denied. What a person must still do comes later.

use std::time::Duration;

use rekeyd_core::domain::{Actor, Facts, Login, NewPassword, Timestamp};
use rekeyd_core::policy::eligibility::{self, Act, Eligibility};

use super::directories::Look;
use super::forgotten;
use super::rekeyd::Rekeyd;
use super::trouble::Trouble;
use crate::directory::{Found, Verified};
use crate::store::Counter;

/// What a login page learns of an account that it may let in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Granted {
    /// The login name as the directory has it.
    pub login: String,
    /// The stable id.
    pub account: String,
    /// The name of its directory: two people of different directories may have one login name.
    pub directory: String,
}

/// The answer to a login page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// No; the page learns no reason.
    Denied,
    /// Yes.
    Granted(Granted),
    /// The source tries too often.
    TooOften(Duration),
    /// The directory can't be asked now.
    Unavailable,
}

/// Checks a password.
pub async fn sign_in(rekeyd: &Rekeyd, login: &Login, password: &NewPassword, actor: Actor, now: Timestamp) -> Outcome {
    match try_sign_in(rekeyd, login, password, actor, now).await {
        Ok(outcome) => outcome,
        Err(trouble) => {
            log::warn!(event = "sign-in-unavailable"; "a sign-in can't be checked: {trouble}");
            Outcome::Unavailable
        }
    }
}

async fn try_sign_in(
    rekeyd: &Rekeyd,
    login: &Login,
    password: &NewPassword,
    actor: Actor,
    now: Timestamp,
) -> Result<Outcome, Trouble> {
    let parts = rekeyd.parts();
    let mut counters = Vec::from_iter(forgotten::of_client(&actor, &parts.general));
    if let Some(source) = actor.source() {
        // A place behind one address signs in as often as its people do; its login page's own counter is what bounds it.
        if parts.general.shared_network(source.ip).is_none() {
            let whom = forgotten::network(source.ip, 32, 64);
            counters.push(Counter { scope: "sign-in", whom, quota: parts.general.paces.sign_in });
        }
    }
    if let Some(wait) = rekeyd.tries.count(counters, now) {
        return Ok(Outcome::TooOften(wait));
    }
    let Found::Account(account) = parts.directories.find(login, Look::Glance, now).await? else {
        return Ok(Outcome::Denied);
    };
    let one = parts.directories.of(&account.id)?;
    let verified = one.directory.verify(&account, password).await;
    if verified.map_err(|error| parts.directories.named(one, error))? != Verified::Right {
        return Ok(Outcome::Denied);
    }
    // The directory took the password; what it does not enforce itself (an expired account on some servers) is judged here.
    // Nothing that rekeyd remembers decides a sign-in, as the table of the law says, so that nothing is read for it.
    match eligibility::judge(&account, &Facts::default(), Act::SignIn, None, &one.rules, now) {
        Eligibility::Allow(_) => {
            let directory = one.directory.name().to_owned();
            Ok(Outcome::Granted(Granted { login: account.login, account: account.id.stable, directory }))
        }
        Eligibility::Refuse(why) => {
            log::info!(event = "sign-in-denied", account = account.id.to_string(), reason = why.code(); "a right password was not let in");
            Ok(Outcome::Denied)
        }
    }
}
