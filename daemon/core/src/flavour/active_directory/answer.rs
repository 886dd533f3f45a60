//! What Active Directory's answers mean. LDAP result codes are coarse there; the error number of Windows that opens the
//! server's text, and the one behind `data` in the answer to a bind, say more. A number or text that nobody knows never
//! makes a password right or a write done.

use crate::flavour::{Outcome, Rejection, Reply, Verified};

/// Error numbers of Windows, as they open the text of an answer in eight hexadecimal digits.
mod number {
    pub(super) const ACCESS_DENIED: u32 = 0x5;
    pub(super) const NOT_PROTECTED: u32 = 0x1f;
    pub(super) const PASSWORD_RESTRICTION: u32 = 0x52d;
    pub(super) const ACCOUNT_RESTRICTION: u32 = 0x52f;
    pub(super) const REFERRAL: u32 = 0x202b;
}

/// The rule that a text names, as Samba's texts do; Windows names none.
const RULES: [(&str, Rejection); 8] = [
    ("too short", Rejection::TooShort),
    ("too long", Rejection::TooLong),
    ("complexity", Rejection::NotComplex),
    ("check password script", Rejection::NotComplex),
    ("already used", Rejection::InHistory),
    ("history", Rejection::InHistory),
    ("too young", Rejection::TooYoung),
    ("too recently", Rejection::TooYoung),
];

/// What the answer to a write means. `protected` says that the entry bears `adminCount=1`, so that a missing right has
/// another cause (AdminSDHolder).
pub(super) fn outcome(reply: &Reply, must_change: bool, protected: bool) -> Outcome {
    let refused = |rejection| Outcome::Rejected(rejection);
    let words = reply.words();
    match (reply.code, opening(&reply.text)) {
        (0, _) => Outcome::Done,
        (10, _) | (_, Some(number::REFERRAL)) => Outcome::NotDone("the server is a read-only copy".into()),
        (1 | 51, _) => Outcome::NotDone(words),
        (3 | 11 | 52 | 80, _) => Outcome::Unsure(words),
        (32, _) => Outcome::Stale,
        (_, Some(number::PASSWORD_RESTRICTION)) => refused(rule(reply)),
        (8 | 13, _) | (53, Some(number::NOT_PROTECTED)) => refused(Rejection::NoTls(words)),
        (12, _) => {
            refused(Rejection::MissingRight(format!("the server no longer takes the policy hints control ({words})")))
        }
        (50, _) | (_, Some(number::ACCESS_DENIED)) if protected => refused(Rejection::Protected(words)),
        (50, _) | (_, Some(number::ACCESS_DENIED)) if must_change => refused(Rejection::MissingRight(format!(
            "rekeyd's account needs the right \"Reset Password\" and \"Write pwdLastSet\" on people's accounts ({words})"
        ))),
        (50, _) | (_, Some(number::ACCESS_DENIED)) => refused(Rejection::MissingRight(format!(
            "rekeyd's account needs the right \"Reset Password\" on people's accounts ({words})"
        ))),
        (53, _) | (_, Some(number::ACCOUNT_RESTRICTION)) => refused(Rejection::NotAllowed),
        (19, _) => refused(rule(reply)),
        _ => refused(Rejection::Other(words)),
    }
}

/// Whether the answer to a write says that the server takes none: it refers to another.
pub(super) fn is_copy(reply: &Reply) -> bool {
    reply.code == 10 || reply.code != 0 && opening(&reply.text) == Some(number::REFERRAL)
}

/// What the answer to a person's bind means; `Err` where it says nothing about the password.
pub(super) fn verified(reply: &Reply) -> Result<Verified, String> {
    match reply.code {
        0 => Ok(Verified::Right),
        49 => match reason(&reply.text) {
            // Both come only when the password is right.
            Some(Reason::MustChange | Reason::PasswordExpired) => Ok(Verified::RightButMustChange),
            Some(Reason::NoServer) => Err(reply.words()),
            Some(Reason::Denied) | None => Ok(Verified::Wrong),
        },
        1 | 2 | 3 | 7 | 8 | 10 | 11 | 13 | 51 | 52 | 80 => Err(reply.words()),
        _ => Ok(Verified::Wrong),
    }
}

/// The rule that refused a password. The number is the same for all of them, and none is guessed.
fn rule(reply: &Reply) -> Rejection {
    let text = reply.text.to_lowercase();
    let named = RULES.into_iter().find(|(words, _)| text.contains(words));
    named.map_or_else(|| Rejection::Other(reply.words()), |(_, rejection)| rejection)
}

/// Why a bind was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reason {
    /// For any other reason, that the password is wrong among them.
    Denied,
    /// The password is right, and must be changed first.
    MustChange,
    /// Nobody was there who could tell.
    NoServer,
    /// The password is right, and has expired.
    PasswordExpired,
}

/// Why a bind was refused, by the number behind `data`, else by the name of an NT status.
fn reason(text: &str) -> Option<Reason> {
    if let Some(number) = text.split_once(", data ").and_then(|(_, rest)| hexadecimal(rest)) {
        return Some(match number {
            0x532 => Reason::PasswordExpired,
            0x773 => Reason::MustChange,
            0x51f => Reason::NoServer,
            // 525 no such account, 52e wrong, 530 hours, 531 workstation, 533 disabled, 568 too many groups, 701 the
            // account's end, 775 locked, and all that are not known.
            _ => Reason::Denied,
        });
    }
    let status = text.split_once("NT_STATUS_").map(|(_, rest)| rest)?;
    let end = status.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(status.len());
    Some(match status.get(..end)? {
        "PASSWORD_EXPIRED" => Reason::PasswordExpired,
        "PASSWORD_MUST_CHANGE" => Reason::MustChange,
        "NO_LOGON_SERVERS" => Reason::NoServer,
        _ => Reason::Denied,
    })
}

/// The error number that opens a text, `0000052D: …`.
fn opening(text: &str) -> Option<u32> {
    let (digits, _) = text.split_once(':')?;
    if digits.len() == 8 { hexadecimal(digits) } else { None }
}

/// The hexadecimal number that a text begins with.
fn hexadecimal(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len());
    u32::from_str_radix(text.get(..end)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply(code: u32, text: &str) -> Reply {
        Reply { code, text: text.to_owned(), policy: None }
    }

    const SAMBA: &str = "0000052D: Constraint violation - check_password_restrictions: ";
    const WINDOWS: &str = "0000052D: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0";

    #[test]
    fn answers_to_writes() {
        let other = |code, text: &str| Rejection::Other(reply(code, text).words());
        for (code, text, expected) in [
            (
                19,
                format!("{SAMBA}the password is too short. It should be equal or longer than 7 characters!"),
                Rejection::TooShort,
            ),
            (19, format!("{SAMBA}the password does not meet the complexity criteria!"), Rejection::NotComplex),
            (19, format!("{SAMBA}the password was already used (in history)!"), Rejection::InHistory),
            (19, format!("{SAMBA}the password was already used (previous password)!"), Rejection::InHistory),
            (19, format!("{SAMBA}password is too young to change!"), Rejection::TooYoung),
            (
                19,
                format!("{SAMBA}the password was not accepted by the configured check password script!"),
                Rejection::NotComplex,
            ),
            (53, WINDOWS.into(), other(53, WINDOWS)),
            (19, "0000052D: AtrErr: DSID-03190FD6, #1:".into(), other(19, "0000052D: AtrErr: DSID-03190FD6, #1:")),
            (
                53,
                "00002035: setup_io: it's not allowed to set the NT hash password directly'".into(),
                Rejection::NotAllowed,
            ),
            (
                53,
                "0000052F: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0".into(),
                Rejection::NotAllowed,
            ),
            (19, String::new(), other(19, "")),
            (21, "x".into(), other(21, "x")),
        ] {
            assert_eq!(outcome(&reply(code, &text), false, false), Outcome::Rejected(expected), "{code} {text}");
        }
        for (code, text, rejection) in [
            (50, "error in module acl: insufficient access rights during LDB_MODIFY (50)", "missing-right"),
            (50, "00000005: SecErr: DSID-031A11CE, problem 4003 (INSUFF_ACCESS_RIGHTS), data 0", "missing-right"),
            (12, "00000057: LdapErr: DSID-0C090D8C, comment: Error processing control", "missing-right"),
            (8, "BindSimple: Transport encryption required.", "no-tls"),
            (13, "", "no-tls"),
            (53, "0000001F: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0", "no-tls"),
        ] {
            for must_change in [false, true] {
                let Outcome::Rejected(found) = outcome(&reply(code, text), must_change, false) else {
                    unreachable!("{code} {text}")
                };
                assert_eq!(found.code(), rejection, "{code} {text}");
                assert!(!found.is_about_the_password());
            }
        }
        let denied = reply(50, "00002098: SecErr: DSID-03150F94, problem 4003 (INSUFF_ACCESS_RIGHTS), data 0");
        let protected = Outcome::Rejected(Rejection::Protected(denied.words()));
        assert_eq!((outcome(&denied, false, true), outcome(&denied, true, true)), (protected.clone(), protected));
        assert_eq!(outcome(&reply(0, ""), true, true), Outcome::Done);
        assert_eq!(outcome(&reply(32, "00002030: No such Base DN: CN=noone"), false, false), Outcome::Stale);
    }

    #[test]
    fn answers_about_the_server() {
        let referral = "0000202B: RefErr: DSID-0310084A, data 0, 1 access points";
        for copy in [reply(10, referral), reply(10, ""), reply(53, referral)] {
            assert!(is_copy(&copy));
            assert!(matches!(outcome(&copy, false, true), Outcome::NotDone(_)));
        }
        assert!(!is_copy(&reply(0, referral)) && !is_copy(&reply(53, WINDOWS)));
        for (code, unsure) in [(1, false), (51, false), (3, true), (11, true), (52, true), (80, true)] {
            let found = outcome(&reply(code, "0000052D: x"), false, false);
            assert_eq!(matches!(found, Outcome::Unsure(_)), unsure, "{code}");
            assert_eq!(matches!(found, Outcome::NotDone(_)), !unsure, "{code}");
        }
    }

    #[test]
    fn answers_to_binds() {
        let wrong = Ok(Verified::Wrong);
        let right = Ok(Verified::RightButMustChange);
        for (data, expected) in [
            ("525", &wrong),
            ("52e", &wrong),
            ("52f", &wrong),
            ("530", &wrong),
            ("531", &wrong),
            ("532", &right),
            ("533", &wrong),
            ("568", &wrong),
            ("701", &wrong),
            ("773", &right),
            ("775", &wrong),
            ("7730", &wrong),
            ("0", &wrong),
            ("", &wrong),
            ("x773", &wrong),
            ("ffffffff773", &wrong),
        ] {
            for version in ["v1db1", "v4563"] {
                let text = format!(
                    "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {data}, {version}"
                );
                assert_eq!(&verified(&reply(49, &text)), expected, "{text}");
            }
        }
        for (text, expected) in [
            ("Simple Bind Failed: NT_STATUS_PASSWORD_MUST_CHANGE", &right),
            ("NT_STATUS_PASSWORD_EXPIRED", &right),
            ("NT_STATUS_PASSWORD_EXPIRED_NOT", &wrong),
            // An account that has ended is no password that has.
            ("NT_STATUS_ACCOUNT_EXPIRED", &wrong),
            ("NT_STATUS_ACCOUNT_LOCKED_OUT", &wrong),
            ("NT_STATUS_LOGON_FAILURE", &wrong),
            ("NT_STATUS_", &wrong),
            ("", &wrong),
            ("773", &wrong),
        ] {
            assert_eq!(&verified(&reply(49, text)), expected, "{text}");
        }
        assert_eq!(verified(&reply(0, "")), Ok(Verified::Right));
        assert!(verified(&reply(49, "80090308: x, data 51f, v1db1")).is_err());
        for code in [1, 2, 3, 7, 8, 10, 11, 13, 51, 52, 80] {
            assert!(verified(&reply(code, "")).is_err(), "{code}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_password_right_or_a_write_done(code in 1_u32..130, text in ".{0,60}", data in any::<u32>()) {
            let told = reply(code, &format!("{text}, data {data:x}, v1"));
            prop_assert!(verified(&told) != Ok(Verified::Right));
            prop_assert!(outcome(&told, false, false) != Outcome::Done);
            let named = [0x532, 0x773].contains(&data) && code == 49;
            prop_assert!(named || verified(&told) != Ok(Verified::RightButMustChange) || text.contains("data "));
        }
    }
}
