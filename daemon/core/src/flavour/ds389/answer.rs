//! What 389 Directory Server's answers mean, and those of FreeIPA's password plugin. A Modify names its rule in words; its
//! control says "too simple" for "too short", too, and says nothing about the present password used again. The
//! password-modify operation has one text for all rules, and only its control tells them apart.

use crate::flavour::ppolicy::PolicyError;
use crate::flavour::{Outcome, Rejection, Reply, Verified};

/// What the answer to a write means.
pub(super) fn outcome(reply: &Reply, must_change: bool) -> Outcome {
    let refused = |rejection| Outcome::Rejected(rejection);
    match reply.code {
        0 => Outcome::Done,
        _ if is_copy(reply) => Outcome::NotDone(if reply.code == 10 {
            "the server is a read-only copy".into()
        } else {
            format!("the server's database is set to read-only ({})", reply.words())
        }),
        1 | 51 => Outcome::NotDone(reply.words()),
        3 | 11 | 52 | 80 => Outcome::Unsure(reply.words()),
        13 => refused(Rejection::NoTls(reply.words())),
        32 => Outcome::Stale,
        // The control says then, too, that the password may not be changed; that is about us and not about the account.
        8 | 50 => refused(missing_right(reply, must_change)),
        _ => refused(by_text(&reply.text).or_else(|| by_control(reply)).unwrap_or_else(|| match reply.code {
            53 => Rejection::NotAllowed,
            _ => Rejection::Other(reply.words()),
        })),
    }
}

/// What to give rekeyd's account. A database that is set to read-only says the same of the password-modify operation.
fn missing_right(reply: &Reply, must_change: bool) -> Rejection {
    let doubt = if must_change { ", unless the server's database is set to read-only" } else { "" };
    Rejection::MissingRight(format!(
        "rekeyd's account needs `aci: (targetattr=\"userPassword\")(version 3.0; acl \"rekeyd sets passwords\"; allow \
         (write) userdn=\"ldap:///its name\";)` on the suffix{doubt} ({})",
        reply.words()
    ))
}

/// The rule that the control names.
fn by_control(reply: &Reply) -> Option<Rejection> {
    Some(match reply.policy.and_then(|policy| policy.error)? {
        PolicyError::ChangeAfterReset => {
            Rejection::MissingRight("rekeyd's own account must have its password changed first".into())
        }
        PolicyError::InHistory => Rejection::InHistory,
        PolicyError::MustSupplyOld => Rejection::MustSupplyOld,
        PolicyError::NotAllowed => Rejection::NotAllowed,
        PolicyError::NotComplex => Rejection::NotComplex,
        PolicyError::TooLong => Rejection::TooLong,
        PolicyError::TooShort => Rejection::TooShort,
        PolicyError::TooYoung => Rejection::TooYoung,
        PolicyError::Expired | PolicyError::Locked | PolicyError::Other(_) => return None,
    })
}

/// The rule that a text names, before the control does. What is not listed names none.
fn by_text(text: &str) -> Option<Rejection> {
    let text = text.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|words| text.contains(words));
    if says(&["password in history", "password reuse not permitted"]) {
        Some(Rejection::InHistory)
    } else if says(&["within password minimum age", "too soon to change password"]) {
        Some(Rejection::TooYoung)
    } else if says(&["characters long", "password is too short"]) {
        Some(Rejection::TooShort)
    } else if says(&["storage scheme", "pre-hashed", "pre-encoded"]) {
        // A password that begins like a hash of one; it is no such thing, but the server takes it for one.
        Some(Rejection::NotComplex)
    } else if says(&["account expired"]) {
        Some(Rejection::NotAllowed)
    } else if says(&FREEIPA) {
        Some(Rejection::NotComplex)
    } else {
        None
    }
}

/// FreeIPA's texts for passwords that are too simple, which come without a control.
const FREEIPA: [&str; 7] = [
    "password is too simple",
    "too many consecutive characters",
    "contains a monotonic sequence",
    "based on a dictionary word",
    "password is a palindr",
    "password contains username",
    "does not meet the policy requirements",
];

/// Whether the answer to a write says that this server takes none: a consumer, or a database that is set to read-only.
/// The latter speaks of a privilege, but with another code than a right that is missing.
pub(super) fn is_copy(reply: &Reply) -> bool {
    reply.code == 10 || reply.code == 53 && reply.text.to_lowercase().contains("insufficient 'write' privilege")
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
        // A referral: this server has not looked at the password.
        (1 | 2 | 3 | 7 | 8 | 10 | 11 | 13 | 51 | 52 | 80, _) => Err(reply.words()),
        // Disabled, locked, idle: 53 and 19 come with a wrong password, too.
        _ => Ok(Verified::Wrong),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flavour::ppolicy::PolicyAnswer;

    fn reply(code: u32, text: &str, error: Option<PolicyError>) -> Reply {
        let policy = error.map(|error| PolicyAnswer { error: Some(error), ..PolicyAnswer::default() });
        Reply { code, text: text.into(), policy }
    }

    /// Recorded from 389-ds 2.3.1.
    #[test]
    fn s4_2_refusals_of_a_password_name_their_rule() {
        let syntax = Some(PolicyError::NotComplex);
        for (text, error, expected) in [
            ("invalid password syntax - password must be at least 8 characters long", syntax, Rejection::TooShort),
            (
                "invalid password syntax - password must contain at least 3 character categories (valid categories are \
                 digit, uppercase, lowercase, special, and 8-bit characters)",
                syntax,
                Rejection::NotComplex,
            ),
            ("invalid password syntax - password based off of user entry", syntax, Rejection::NotComplex),
            (
                "invalid password syntax - a character cannot be repeated more than 3 times",
                syntax,
                Rejection::NotComplex,
            ),
            ("invalid password syntax - passwords with storage scheme are not allowed", syntax, Rejection::NotComplex),
            (
                "invalid password syntax - password must contain at least 3 digit characters",
                syntax,
                Rejection::NotComplex,
            ),
            ("Password is a palindrome", syntax, Rejection::NotComplex),
            ("Password contains a restricted word", syntax, Rejection::NotComplex),
            ("Password contains a monotonic sequence", syntax, Rejection::NotComplex),
            // The present password again, by a Modify; the same by the operation names nothing at all.
            ("password in history", None, Rejection::InHistory),
            ("Failed to update password", None, Rejection::Other("result 19: Failed to update password".into())),
            ("Failed to update password", syntax, Rejection::NotComplex),
            ("Failed to update password", Some(PolicyError::InHistory), Rejection::InHistory),
            ("Failed to update password", Some(PolicyError::TooYoung), Rejection::TooYoung),
            ("within password minimum age", Some(PolicyError::TooYoung), Rejection::TooYoung),
        ] {
            assert_eq!(outcome(&reply(19, text, error), false), Outcome::Rejected(expected), "{text}");
        }
    }

    /// After the sources of FreeIPA's plugin, which sends no control.
    #[test]
    fn s4_2_refusals_by_freeipa_name_their_rule() {
        for (text, expected) in [
            ("Account expired", Rejection::NotAllowed),
            ("Too soon to change password", Rejection::TooYoung),
            ("Password is too short", Rejection::TooShort),
            ("Password reuse not permitted", Rejection::InHistory),
            ("Password is too simple", Rejection::NotComplex),
            ("Password contains username", Rejection::NotComplex),
            ("Password does not meet the policy requirements", Rejection::NotComplex),
            ("Pre-Encoded passwords are not valid\n", Rejection::NotComplex),
        ] {
            assert_eq!(outcome(&reply(19, text, None), false), Outcome::Rejected(expected), "{text}");
        }
    }

    /// The first five are recorded from 389-ds 2.3.1.
    #[test]
    fn r4_refusals_that_are_not_about_the_password_say_whose_they_are() {
        let no_right = "Insufficient 'write' privilege to the 'userPassword' attribute of entry 'uid=g0,dc=x'.";
        let denied = Some(PolicyError::NotAllowed);
        let right = |outcome| matches!(outcome, Outcome::Rejected(Rejection::MissingRight(_)));
        assert!(right(outcome(&reply(50, no_right, denied), false)));
        assert!(right(outcome(&reply(50, "Insufficient access rights", denied), true)));
        let read_only = reply(53, no_right, denied);
        assert!(is_copy(&read_only) && matches!(outcome(&read_only, false), Outcome::NotDone(_)));
        let referral = reply(10, "", None);
        assert!(is_copy(&referral) && matches!(outcome(&referral, false), Outcome::NotDone(_)));
        let plain = reply(13, "Operation requires a secure connection.", None);
        assert!(matches!(outcome(&plain, true), Outcome::Rejected(Rejection::NoTls(_))));

        assert_eq!(outcome(&reply(53, "", None), false), Outcome::Rejected(Rejection::NotAllowed));
        assert_eq!(outcome(&reply(32, "", None), false), Outcome::Stale);
        assert!(matches!(outcome(&reply(51, "", None), false), Outcome::NotDone(_)));
        assert!(matches!(outcome(&reply(80, "", None), false), Outcome::Unsure(_)));
        assert!(right(outcome(&reply(53, "", Some(PolicyError::ChangeAfterReset)), false)));
        assert!(matches!(outcome(&reply(65, "", None), false), Outcome::Rejected(Rejection::Other(_))));
        assert!(
            [&reply(50, no_right, denied), &reply(53, "Account inactivated.", None)].into_iter().all(|no| !is_copy(no))
        );
    }

    /// Recorded from 389-ds 2.3.1.
    #[test]
    fn s6_1_only_the_server_s_yes_is_one() {
        let grace =
            Reply { policy: Some(PolicyAnswer { grace: Some(1), ..PolicyAnswer::default() }), ..reply(0, "", None) };
        for (reply, expected) in [
            (reply(0, "", None), Ok(Verified::Right)),
            (reply(0, "", Some(PolicyError::ChangeAfterReset)), Ok(Verified::RightButMustChange)),
            (grace, Ok(Verified::RightButMustChange)),
            (reply(49, "password expired!", Some(PolicyError::Expired)), Ok(Verified::RightButMustChange)),
            (reply(49, "", None), Ok(Verified::Wrong)),
            // These come whatever the password is.
            (
                reply(19, "Exceed password retry limit. Please try later.", Some(PolicyError::Locked)),
                Ok(Verified::Wrong),
            ),
            (
                reply(53, "Account inactivated. Contact system administrator.", Some(PolicyError::Locked)),
                Ok(Verified::Wrong),
            ),
            (reply(19, "TPR checking. Contact system administrator", None), Ok(Verified::Wrong)),
            (
                reply(19, "Account inactivity limit exceeded. Contact system administrator to reset.", None),
                Ok(Verified::Wrong),
            ),
            (reply(10, "", None), Err("result 10".into())),
            (reply(53, "", None), Ok(Verified::Wrong)),
            (
                reply(13, "Operation requires a secure connection", None),
                Err("result 13: Operation requires a secure connection".into()),
            ),
        ] {
            assert_eq!(verified(&reply), expected, "{reply:?}");
        }
    }

    proptest! {
        #[test]
        fn s4_2_no_answer_but_success_means_done(code in 1_u32..130, text in "\\PC{0,40}", must_change: bool) {
            prop_assert_ne!(outcome(&reply(code, &text, None), must_change), Outcome::Done);
            prop_assert_ne!(verified(&reply(code, &text, None)), Ok(Verified::Right));
        }
    }
}
