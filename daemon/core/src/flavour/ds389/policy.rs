//! A password policy as 389 Directory Server keeps it: in `cn=config` for all, or in an entry of class `passwordPolicy`
//! that an account names by `pwdpolicysubentry`.

use std::time::Duration;

use crate::flavour::entry::{Entry, Unreadable};
use crate::flavour::policy_entry::Policy;

/// The entry with the policy of accounts that name none.
pub const GLOBAL: &str = "cn=config";

/// The switch in [`GLOBAL`] without which policies of subtrees and accounts are not looked at.
pub const LOCAL: &str = "nsslapd-pwpolicy-local";

/// The attributes that verdicts and checks need. In [`GLOBAL`] each of them is there.
pub const ATTRIBUTES: [&str; 21] = [
    "passwordAdminDN",
    "passwordChange",
    "passwordCheckSyntax",
    "passwordExp",
    "passwordHistory",
    "passwordInHistory",
    "passwordLockout",
    "passwordLockoutDuration",
    "passwordMaxAge",
    "passwordMaxFailure",
    "passwordMinAge",
    "passwordMinAlphas",
    "passwordMinCategories",
    "passwordMinDigits",
    "passwordMinLength",
    "passwordMinLowers",
    "passwordMinSpecials",
    "passwordMinUppers",
    "passwordMustChange",
    "passwordTrackUpdateTime",
    "passwordUnlock",
];

/// Reads a policy. What an entry does not say is as the server has it by default; whoever asks must have proved that
/// what is not shown is not there.
///
/// # Errors
/// [`Unreadable`] for a value of another type than it should be, and for [`GLOBAL`] where it does not show what it must
/// have.
pub fn read(entry: &Entry) -> Result<Policy, Unreadable> {
    if entry.name().0.eq_ignore_ascii_case(GLOBAL) {
        let needed = ["passwordLockout", "passwordExp", "passwordMustChange", "passwordChange"];
        if let Some(hidden) = needed.into_iter().find(|name| !entry.has(name)) {
            return Err(Unreadable::hidden(hidden));
        }
    }
    let number = |name: &str, default: i64| Ok(entry.number(name)?.unwrap_or(default));
    let seconds = |name: &str, default: i64| -> Result<Option<Duration>, Unreadable> {
        let number = number(name, default)?;
        Ok(u64::try_from(number).ok().filter(|number| *number > 0).map(Duration::from_secs))
    };
    let kinds = ["Alphas", "Digits", "Lowers", "Specials", "Uppers"].map(|kind| format!("passwordMin{kind}"));
    let mut complex = number("passwordMinCategories", 3)? > 1;
    for kind in kinds {
        complex |= number(&kind, 0)? > 0;
    }
    Ok(Policy {
        name: entry.name().0.clone(),
        allow_user_change: switch(entry, "passwordChange", true)?,
        check_quality: if switch(entry, "passwordCheckSyntax", false)? { 2 } else { 0 },
        complex,
        in_history: if switch(entry, "passwordHistory", false)? { number("passwordInHistory", 6)? } else { 0 },
        lockout: switch(entry, "passwordLockout", false)?,
        lockout_duration: if switch(entry, "passwordUnlock", true)? {
            seconds("passwordLockoutDuration", 3600)?
        } else {
            None
        },
        max_failures: number("passwordMaxFailure", 3)?,
        max_age: if switch(entry, "passwordExp", false)? { seconds("passwordMaxAge", 8_640_000)? } else { None },
        min_age: seconds("passwordMinAge", 0)?,
        min_length: number("passwordMinLength", 8)?,
        must_change: switch(entry, "passwordMustChange", false)?,
        safe_modify: false,
    })
}

/// Whether a policy has each write of a password marked on the account.
///
/// # Errors
/// [`Unreadable`] for a value that is no switch.
pub fn tracks(entry: &Entry) -> Result<bool, Unreadable> {
    switch(entry, "passwordTrackUpdateTime", false)
}

/// Whether policies of subtrees and accounts are looked at, by [`GLOBAL`].
///
/// # Errors
/// [`Unreadable`] where that is not shown, or no switch.
pub fn has_local(global: &Entry) -> Result<bool, Unreadable> {
    if global.has(LOCAL) { switch(global, LOCAL, false) } else { Err(Unreadable::hidden(LOCAL)) }
}

/// A switch, of which the server writes `on` or `off`, and takes `1` and `true` as well.
fn switch(entry: &Entry, name: &str, default: bool) -> Result<bool, Unreadable> {
    let Some(text) = entry.text(name)? else { return Ok(default) };
    match text.to_ascii_lowercase().as_str() {
        "on" | "1" | "true" | "yes" => Ok(true),
        "off" | "0" | "false" | "no" => Ok(false),
        _ => Err(Unreadable { attribute: name.to_owned(), why: "it is neither on nor off".into() }),
    }
}
