//! How an account stands, by the attributes in which 389 Directory Server keeps that. `mod` names what to ask for and
//! writes; this file alone says what the values mean.

use crate::domain::{Evidence, Finding, Standing, Timestamp};
use crate::flavour::Reading;
use crate::flavour::ds389::{Ds389, idle};
use crate::flavour::entry::Unreadable;
use crate::flavour::openldap_state;
use crate::flavour::policy_entry::{Policy, PolicyView};

/// The attributes in which the server keeps an account's state. Some came with later versions, and `nsAccountLock` and
/// the names of policies may be computed.
pub(super) const STATE: [&str; 14] = [
    "accountUnlockTime",
    "acctPolicySubentry",
    "lastLoginTime",
    "nsAccountLock",
    "passwordAllowChangeTime",
    "passwordExpirationTime",
    "passwordRetryCount",
    "pwdReset",
    "pwdTPRExpireAt",
    "pwdTPRReset",
    "pwdTPRUseCount",
    "pwdTPRValidFrom",
    "pwdUpdateTime",
    "pwdpolicysubentry",
];

/// Those of them that a mere attempt to sign in changes, right or wrong. They say nothing about the password.
pub(super) const COUNTED: [&str; 4] = ["accountUnlockTime", "lastLoginTime", "passwordRetryCount", "pwdTPRUseCount"];

/// Those of them that tell of the password; where Kerberos keeps that, they say nothing.
pub(in crate::flavour) const PASSWORD: [&str; 8] = [
    "passwordAllowChangeTime",
    "passwordExpirationTime",
    "pwdReset",
    "pwdTPRExpireAt",
    "pwdTPRReset",
    "pwdTPRUseCount",
    "pwdTPRValidFrom",
    "pwdUpdateTime",
];

/// The roles of an account: as computed, and as written into the entry.
pub(super) const ROLES: [&str; 2] = ["nsRole", "nsRoleDN"];

/// `passwordExpirationTime` of a password that somebody else has set and that must be changed.
const MUST_CHANGE: Timestamp = Timestamp::from_millis(0);
/// `passwordExpirationTime` of a password that its holder has used or chosen, where passwords don't expire.
const USED: Timestamp = Timestamp::from_millis(1000);
/// `passwordExpirationTime` of a password that never expires: 2038-01-19 03:14:07 UTC.
const NEVER: Timestamp = Timestamp::from_millis(2_147_483_647_000);

/// Adds what an entry says of itself. A value that can't be read is an unknown state.
pub(super) fn read(server: &Ds389, reading: &Reading<'_>, standing: &mut Standing) {
    openldap_state::hash(reading, standing);
    disabled(reading, standing);
    let policy = match reading.policy {
        PolicyView::InForce(policy) => Ok(Some(policy)),
        PolicyView::None => Ok(None),
        PolicyView::Unreadable(why) => Err(Unreadable { attribute: "pwdpolicysubentry".into(), why: why.clone() }),
    };
    let kept = match policy {
        Ok(policy) => password(server, policy, reading, standing).and_then(|()| locked(policy, reading, standing)),
        Err(bad) => Err(bad),
    };
    let idle = idle::read(&server.idleness, reading, standing);
    for bad in [kept, idle, openldap_state::shadow(reading, standing)].into_iter().filter_map(Result::err) {
        standing.add(reading.evidence(Finding::Unknown, &bad.attribute, &bad.why));
    }
}

/// The switch of an account, its own or given by a role. The server takes `true` for off and every other value for on:
/// whoever wrote `yes` did not mean that, so that it is not taken for on here.
pub(in crate::flavour) fn disabled(reading: &Reading<'_>, standing: &mut Standing) {
    for value in reading.entry.values("nsAccountLock") {
        let value = String::from_utf8_lossy(value);
        if value.eq_ignore_ascii_case("true") {
            standing.add(reading.evidence(Finding::Disabled, "nsAccountLock", &value));
        } else if !value.eq_ignore_ascii_case("false") {
            let why = format!("{value}: the server takes nothing but `true` for disabled");
            standing.add(reading.evidence(Finding::Unknown, "nsAccountLock", &why));
        }
    }
}

/// What is said of the password itself; `Err` is the first that can't be read.
fn password(
    server: &Ds389,
    policy: Option<&Policy>,
    reading: &Reading<'_>,
    standing: &mut Standing,
) -> Result<(), Unreadable> {
    let entry = reading.entry;
    let mut found = |finding, attribute: &str, until: Option<Timestamp>| {
        let value = entry.texts(attribute).next().unwrap_or("absent");
        standing.add(Evidence { until, ..reading.evidence(finding, attribute, value) });
    };
    let reset = entry.flag("pwdReset")?;
    let updated = entry.moment("pwdUpdateTime")?;
    let expires = entry.moment("passwordExpirationTime")?;
    let must_change = policy.is_none_or(|policy| policy.must_change);

    // Somebody else's password: the flag for each write but the very first, for which only the moment stands.
    if reset == Some(true) {
        found(Finding::MustChange, "pwdReset", None);
    } else if expires == Some(MUST_CHANGE) && must_change {
        found(Finding::MustChange, "passwordExpirationTime", None);
    }
    if reset.is_none() && updated.is_none() {
        match expires {
            Some(MUST_CHANGE) => found(Finding::NeverActivated, "passwordExpirationTime", None),
            // A server that marks each write after the first, or each by somebody else, has seen none.
            None if server.tracked => found(Finding::Undecided, "pwdUpdateTime", None),
            None if policy.is_some_and(|policy| policy.must_change) => found(Finding::Undecided, "pwdReset", None),
            _ => {}
        }
    }

    let ends = expires.filter(|moment| ![MUST_CHANGE, USED, NEVER].contains(moment));
    if ends.is_some_and(|end| end <= reading.now) && policy.is_none_or(|policy| policy.max_age.is_some()) {
        found(Finding::PasswordExpired, "passwordExpirationTime", None);
    }
    if policy.is_some_and(|policy| !policy.allow_user_change) {
        found(Finding::HolderMayNotChange, "passwordChange", None);
    }
    temporary(reading, standing)
}

/// The rules on temporary passwords. One that is used up or over lets nobody in, and one that is not valid yet must be
/// waited for: each is a password that must be replaced, and none says anything about the account.
fn temporary(reading: &Reading<'_>, standing: &mut Standing) -> Result<(), Unreadable> {
    let entry = reading.entry;
    if entry.flag("pwdTPRReset")? != Some(true) {
        return Ok(());
    }
    standing.add(reading.evidence(Finding::MustChange, "pwdTPRReset", "TRUE"));
    entry.number("pwdTPRUseCount")?;
    if let Some(from) = entry.moment("pwdTPRValidFrom")?.filter(|from| *from > reading.now) {
        let value = entry.texts("pwdTPRValidFrom").next().unwrap_or_default();
        let evidence = reading.evidence(Finding::MustChange, "pwdTPRValidFrom", value);
        standing.add(Evidence { until: Some(from), ..evidence });
    }
    if entry.moment("pwdTPRExpireAt")?.is_some_and(|end| end <= reading.now) {
        let value = entry.texts("pwdTPRExpireAt").next().unwrap_or_default();
        standing.add(reading.evidence(Finding::PasswordExpired, "pwdTPRExpireAt", value));
    }
    Ok(())
}

/// The lock by wrong passwords: it takes both the count and the moment.
fn locked(policy: Option<&Policy>, reading: &Reading<'_>, standing: &mut Standing) -> Result<(), Unreadable> {
    let entry = reading.entry;
    let count = entry.number("passwordRetryCount")?.unwrap_or(0);
    let unlock = entry.moment("accountUnlockTime")?;
    let (lockout, most) = policy.map_or((true, 1), |policy| (policy.lockout, policy.max_failures.max(1)));
    let Some(unlock) = unlock.filter(|_| lockout && count >= most) else { return Ok(()) };
    let value =
        format!("{}, after {count} wrong passwords", entry.texts("accountUnlockTime").next().unwrap_or_default());
    let mut found = |finding, until| {
        standing.add(Evidence { until, ..reading.evidence(finding, "accountUnlockTime", &value) });
    };
    if unlock == MUST_CHANGE {
        found(Finding::LockedByAdmin, None);
    } else if unlock > reading.now {
        found(Finding::LockedByFailures, Some(unlock));
    }
    Ok(())
}
