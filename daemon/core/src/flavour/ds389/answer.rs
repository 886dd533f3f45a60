//! What 389 Directory Server's answers mean. Its control names the rule for each Modify; after the password-modify
//! operation one text stands for all of them.

use crate::flavour::ppolicy::PolicyError;
use crate::flavour::{Outcome, Rejection, Reply, Verified};

/// What the answer to a write means.
pub(super) fn outcome(reply: &Reply, must_change: bool) -> Outcome {
    let refused = |rejection| Outcome::Rejected(rejection);
    if reply.code == 0 {
        return Outcome::Done;
    }
    match reply.policy.and_then(|policy| policy.error) {
        Some(PolicyError::InHistory) => return refused(Rejection::InHistory),
        Some(PolicyError::TooShort) => return refused(Rejection::TooShort),
        Some(PolicyError::TooLong) => return refused(Rejection::TooLong),
        Some(PolicyError::TooYoung) => return refused(Rejection::TooYoung),
        Some(PolicyError::MustSupplyOld) => return refused(Rejection::MustSupplyOld),
        Some(PolicyError::NotAllowed) => return refused(Rejection::NotAllowed),
        Some(PolicyError::ChangeAfterReset) => {
            let why = "rekeyd's own account must have its password changed first";
            return refused(Rejection::MissingRight(why.into()));
        }
        // The control says so for the vague refusal of the operation, too, where the text knows no better.
        Some(PolicyError::NotComplex) => {
            return refused(by_text(&reply.text).unwrap_or(if must_change {
                Rejection::Other(reply.words())
            } else {
                Rejection::NotComplex
            }));
        }
        Some(PolicyError::Expired | PolicyError::Locked | PolicyError::Other(_)) | None => {}
    }
    match reply.code {
        10 => Outcome::NotDone("the server is a read-only copy".into()),
        1 | 51 => Outcome::NotDone(reply.words()),
        3 | 11 | 52 | 80 => Outcome::Unsure(reply.words()),
        13 => refused(Rejection::NoTls(reply.words())),
        19 => refused(by_text(&reply.text).unwrap_or_else(|| Rejection::Other(reply.words()))),
        32 => Outcome::Stale,
        8 | 50 => refused(Rejection::MissingRight(format!(
            "rekeyd's account needs an aci such as `(targetattr=\"userPassword\")(version 3.0; acl \"rekeyd\"; allow \
             (write) userdn=\"ldap:///its name\";)` on the suffix ({})",
            reply.words()
        ))),
        // About the server, not the account: a database that is set to read-only, or one that is going down.
        53 if is_copy(reply) => Outcome::NotDone(reply.words()),
        53 => refused(Rejection::NotAllowed),
        _ => refused(Rejection::Other(reply.words())),
    }
}

/// The rule that a text names. What is not listed names none.
fn by_text(text: &str) -> Option<Rejection> {
    let text = text.to_lowercase();
    let says = |words: &str| text.contains(words);
    if says("password in history") {
        Some(Rejection::InHistory)
    } else if says("within password minimum age") {
        Some(Rejection::TooYoung)
    } else if says("characters long") && says("at least") {
        Some(Rejection::TooShort)
    } else if says("invalid password syntax") && !says("storage scheme") {
        Some(Rejection::NotComplex)
    } else if says("not allowed to change password") {
        Some(Rejection::NotAllowed)
    } else {
        None
    }
}

/// Whether the answer to a write says that this server takes none: a consumer, or a database that is set to read-only.
pub(super) fn is_copy(reply: &Reply) -> bool {
    reply.code == 10 || reply.code == 53 && reply.text.to_lowercase().contains("read-only")
}

/// What the answer to a person's bind means; `Err` where it says nothing about the password.
pub(super) fn verified(reply: &Reply) -> Result<Verified, String> {
    let error = reply.policy.and_then(|policy| policy.error);
    let grace = reply.policy.and_then(|policy| policy.grace);
    match (reply.code, error) {
        // Expiry is looked at only once the password has turned out right.
        (0 | 49, Some(PolicyError::Expired)) => Ok(Verified::RightButMustChange),
        (0, Some(PolicyError::ChangeAfterReset)) => Ok(Verified::RightButMustChange),
        (0, _) if grace.is_some() => Ok(Verified::RightButMustChange),
        (0, _) => Ok(Verified::Right),
        (1 | 2 | 3 | 7 | 8 | 11 | 13 | 51 | 52 | 80, _) => Err(reply.words()),
        // Disabled, locked, idle: 53 and 19 come with a wrong password, too.
        _ => Ok(Verified::Wrong),
    }
}
