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
const RULES: [(&str, Rejection); 7] = [
    ("too short", Rejection::TooShort),
    ("too long", Rejection::TooLong),
    ("complexity", Rejection::NotComplex),
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
