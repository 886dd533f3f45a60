//! A password policy as 389 Directory Server keeps it: in `cn=config` for all, or in an entry of class `passwordPolicy`
//! that an account names by `pwdpolicysubentry`.

use std::time::Duration;

use crate::domain::Dn;
use crate::flavour::entry::{Entry, Unreadable};
use crate::flavour::policy_entry::Policy;

/// The entry with the policy of accounts that name none.
pub const GLOBAL: &str = "cn=config";

/// The switch in [`GLOBAL`] without which policies of subtrees and accounts are not looked at.
pub const LOCAL: &str = "nsslapd-pwpolicy-local";

/// The attributes that verdicts and checks need. In [`GLOBAL`] each of them is there.
pub const ATTRIBUTES: [&str; 22] = [
    "passwordAdminDN",
    "passwordAdminSkipInfoUpdate",
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
        max_idle: None,
        min_age: seconds("passwordMinAge", 0)?,
        min_length: number("passwordMinLength", 8)?,
        must_change: switch(entry, "passwordMustChange", false)?,
        safe_modify: false,
    })
}

/// Whether a policy has each write of a password marked on the account, by whomever.
///
/// # Errors
/// [`Unreadable`] for a value that is no switch.
pub fn tracks(entry: &Entry) -> Result<bool, Unreadable> {
    Ok(switch(entry, "passwordTrackUpdateTime", false)? && !switch(entry, "passwordAdminSkipInfoUpdate", false)?)
}

/// The administrators of passwords under a policy: an account or a group. They skip its rules.
///
/// # Errors
/// [`Unreadable`] for a value that is no name.
pub fn administrators(entry: &Entry) -> Result<Option<Dn>, Unreadable> {
    let name = entry.text("passwordAdminDN")?.filter(|name| !name.is_empty());
    let bad = |why: crate::domain::BadDn| Unreadable { attribute: "passwordAdminDN".into(), why: why.to_string() };
    name.map(|name| Dn::parse(name).map_err(bad)).transpose()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::EntryName;
    use crate::flavour::Demands;

    /// `cn=config` of a new 389-ds 2.3.1, as recorded.
    const RECORDED: &str = "passwordAdminDN: \npasswordChange: on\npasswordCheckSyntax: off\npasswordExp: off\n\
        passwordHistory: off\npasswordInHistory: 6\npasswordLockout: off\npasswordLockoutDuration: 3600\n\
        passwordMaxAge: 8640000\npasswordMaxFailure: 3\npasswordMinAge: 0\npasswordMinAlphas: 0\n\
        passwordMinCategories: 3\npasswordMinDigits: 0\npasswordMinLength: 8\npasswordMinLowers: 0\n\
        passwordMinSpecials: 0\npasswordMinUppers: 0\npasswordMustChange: off\npasswordTrackUpdateTime: off\n\
        passwordUnlock: on\nnsslapd-pwpolicy-local: off";

    fn entry(name: &str, lines: &str, more: &[(&str, &str)]) -> Entry {
        let mut entry = Entry::new(EntryName(name.into()));
        for (name, value) in lines.lines().filter_map(|line| line.split_once(": ")) {
            entry.add(name, value);
        }
        for (name, value) in more {
            entry.replace(name, vec![value.as_bytes().to_vec()]);
        }
        entry
    }

    #[test]
    fn s2_2_a_policy_reads_as_the_server_applies_it() {
        let plain = read(&entry("cn=config", RECORDED, &[]));
        let expected = Policy {
            name: "cn=config".into(),
            allow_user_change: true,
            check_quality: 0,
            complex: true,
            in_history: 0,
            lockout: false,
            lockout_duration: Some(Duration::from_hours(1)),
            max_failures: 3,
            max_age: None,
            max_idle: None,
            min_age: None,
            min_length: 8,
            must_change: false,
            safe_modify: false,
        };
        assert_eq!(plain.as_ref(), Ok(&expected));
        assert_eq!(plain.map(|policy| policy.demands()), Ok(Demands::default()));
        let on = [
            ("passwordCheckSyntax", "on"),
            ("passwordHistory", "on"),
            ("passwordExp", "on"),
            ("passwordLockout", "on"),
            ("passwordUnlock", "off"),
            ("passwordMinAge", "3600"),
            ("passwordMinCategories", "1"),
            ("passwordMinDigits", "1"),
        ];
        let strict = read(&entry("cn=config", RECORDED, &on));
        let all = strict.as_ref().map(|policy| (policy.lockout, policy.lockout_duration, policy.max_age));
        assert_eq!(all, Ok((true, None, Some(Duration::from_hours(2400)))));
        let least_age = Some(Duration::from_hours(1));
        let demands = Demands { length: Some(8), history: Some(6), complex: true, least_age, free_from: None };
        assert_eq!(strict.map(|policy| policy.demands()), Ok(demands));
        let lax = [("passwordCheckSyntax", "on"), ("passwordMinCategories", "1")];
        assert_eq!(read(&entry("cn=config", RECORDED, &lax)).map(|policy| policy.demands().complex), Ok(false));
    }

    /// A policy of a subtree inherits nothing from the common one: recorded, a lock of that one did not happen.
    #[test]
    fn s2_2_a_local_policy_stands_alone() {
        let local = read(&entry("cn=pol1,cn=nsPwPolicyContainer,ou=people,dc=x", "passwordMustChange: on", &[]));
        let local = local.map(|policy| (policy.must_change, policy.lockout, policy.min_age, policy.max_age));
        assert_eq!(local, Ok((true, false, None, None)));
    }

    #[test]
    fn t51_what_is_hidden_or_odd_is_no_policy() {
        for (name, value) in [
            ("passwordLockout", "maybe"),
            ("passwordMaxFailure", "few"),
            ("passwordMinAge", "1 day"),
            ("passwordMinDigits", ""),
        ] {
            let bad = read(&entry("cn=config", RECORDED, &[(name, value)]));
            assert_eq!(bad.map_err(|bad| bad.attribute), Err(name.to_owned()));
        }
        let hidden = RECORDED.replace("passwordLockout: off\n", "");
        assert_eq!(read(&entry("CN=config", &hidden, &[])), Err(Unreadable::hidden("passwordLockout")));
        assert_eq!(has_local(&entry("cn=config", "", &[])), Err(Unreadable::hidden(LOCAL)));
        assert_eq!(administrators(&entry("cn=config", RECORDED, &[])), Ok(None));
        let named = |name| administrators(&entry("cn=config", RECORDED, &[("passwordAdminDN", name)]));
        assert_eq!(named("cn=a,dc=x").ok().flatten(), Dn::parse("cn=a,dc=x").ok());
        assert!(named("nobody").is_err());
    }
}
