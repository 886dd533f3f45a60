//! How an account stands, by the attributes in which FreeIPA and its Kerberos keep that.

use std::time::Duration;

use crate::domain::{Dn, Evidence, Finding, Standing, Timestamp};
use crate::flavour::Reading;
use crate::flavour::ds389;
use crate::flavour::entry::{Entry, Unreadable};
use crate::flavour::freeipa::FreeIpa;
use crate::flavour::openldap_state;
use crate::flavour::policy_entry::PolicyView;

/// The attributes in which the state of an account is kept.
pub(super) const STATE: [&str; 10] = [
    "ipaUserAuthType",
    "krbLastAdminUnlock",
    "krbLastFailedAuth",
    "krbLastPwdChange",
    "krbLoginFailedCount",
    "krbPasswordExpiration",
    "krbPrincipalExpiration",
    "krbPrincipalName",
    "krbPwdPolicyReference",
    "nsAccountLock",
];

/// Those that a write must find as they were read.
pub(super) const GUARDED: [&str; 6] = [
    "ipaUserAuthType",
    "krbLastAdminUnlock",
    "krbLastPwdChange",
    "krbPasswordExpiration",
    "krbPrincipalExpiration",
    "nsAccountLock",
];

/// A password set within this time of the account's creation was set with it.
const AT_CREATION: Duration = Duration::from_mins(1);

/// Adds what an entry says of itself. A value that can't be read is an unknown state.
pub(super) fn read(server: &FreeIpa, reading: &Reading<'_>, standing: &mut Standing) {
    openldap_state::hash(reading, standing);
    ds389::state::disabled(reading, standing);
    privileged(server, reading, standing);
    let doubts = [
        place(server, reading, standing),
        password(reading, standing),
        locked(reading, standing),
        ways_in(reading, standing),
        ds389::idle::read(&server.ds.idleness, reading, standing),
        openldap_state::shadow(reading, standing),
    ];
    for bad in doubts.into_iter().filter_map(Result::err) {
        standing.add(reading.evidence(Finding::Unknown, &bad.attribute, &bad.why));
    }
}

/// Where the entry stands: staged users have not begun, preserved ones were deleted.
fn place(server: &FreeIpa, reading: &Reading<'_>, standing: &mut Standing) -> Result<(), Unreadable> {
    let bad = |why: String| Unreadable { attribute: "entry".into(), why };
    let name = Dn::parse(&reading.entry.name().0).map_err(|why| bad(why.to_string()))?;
    for (container, finding) in [("cn=staged users", Finding::NeverActivated), ("cn=deleted users", Finding::Disabled)]
    {
        let base = format!("{container},cn=accounts,cn=provisioning,{}", server.suffix);
        let base = Dn::parse(&base).map_err(|why| bad(why.to_string()))?;
        if name.is_below(&base) {
            standing.add(reading.evidence(finding, "entry", &format!("below {base}")));
        }
    }
    Ok(())
}

/// Whether somebody else set the present password: what such a one sets has expired when it is set.
pub(super) fn is_set_by_another(entry: &Entry) -> Result<bool, Unreadable> {
    let (changed, expires) = (entry.moment("krbLastPwdChange")?, entry.moment("krbPasswordExpiration")?);
    Ok(changed.zip(expires).is_some_and(|(changed, expires)| expires <= changed))
}

/// What is said of the password and of the account's end; `Err` is the first that can't be read.
fn password(reading: &Reading<'_>, standing: &mut Standing) -> Result<(), Unreadable> {
    let entry = reading.entry;
    let mut found = |finding, attribute: &str| {
        let value = entry.texts(attribute).next().unwrap_or("absent");
        standing.add(reading.evidence(finding, attribute, value));
    };
    if entry.moment("krbPrincipalExpiration")?.is_some_and(|end| end <= reading.now) {
        found(Finding::Expired, "krbPrincipalExpiration");
    }
    let changed = entry.moment("krbLastPwdChange")?;
    let expires = entry.moment("krbPasswordExpiration")?;
    let created = entry.moment("createTimestamp")?;
    let by_another = is_set_by_another(entry)?;
    match (changed, expires) {
        (None, None) => found(Finding::NeverActivated, "krbLastPwdChange"),
        (_, Some(expires)) if by_another || expires == Timestamp::from_millis(0) => {
            found(Finding::MustChange, "krbPasswordExpiration");
        }
        (_, Some(expires)) if expires <= reading.now => found(Finding::PasswordExpired, "krbPasswordExpiration"),
        _ => {}
    }
    let with_account = changed.zip(created).is_some_and(|(changed, created)| changed <= created.plus(AT_CREATION));
    if by_another && with_account {
        found(Finding::Undecided, "krbLastPwdChange");
    }
    Ok(())
}

/// The lock by wrong passwords, as each server counts them for itself.
fn locked(reading: &Reading<'_>, standing: &mut Standing) -> Result<(), Unreadable> {
    let entry = reading.entry;
    let count = entry.number("krbLoginFailedCount")?.unwrap_or(0);
    let failed = entry.moment("krbLastFailedAuth")?;
    let unlocked = entry.moment("krbLastAdminUnlock")?;
    let policy = match reading.policy {
        PolicyView::InForce(policy) => policy,
        PolicyView::None => return Ok(()),
        PolicyView::Unreadable(why) => {
            return Err(Unreadable { attribute: "krbPwdPolicyReference".into(), why: why.clone() });
        }
    };
    if !policy.lockout || count < policy.max_failures.max(1) {
        return Ok(());
    }
    if failed.zip(unlocked).is_some_and(|(failed, unlocked)| failed <= unlocked) {
        return Ok(());
    }
    let value = format!("{count} wrong passwords");
    let mut found = |finding, until: Option<Timestamp>| {
        standing.add(Evidence { until, ..reading.evidence(finding, "krbLoginFailedCount", &value) });
    };
    match (policy.lockout_duration, failed) {
        (None, _) => found(Finding::LockedByAdmin, None),
        (Some(duration), Some(failed)) => {
            let until = failed.plus(duration);
            if until > reading.now {
                found(Finding::LockedByFailures, Some(until));
            }
        }
        (Some(_), None) => {}
    }
    Ok(())
}

/// By what a person may sign in: where a password is not among it, a new one is of no use.
fn ways_in(reading: &Reading<'_>, standing: &mut Standing) -> Result<(), Unreadable> {
    let values = reading.entry.values("ipaUserAuthType");
    let ways: Vec<String> = values.iter().map(|way| String::from_utf8_lossy(way).to_lowercase()).collect();
    let known = ["password", "radius", "otp", "pkinit", "hardened", "idp", "passkey", "disabled"];
    if let Some(odd) = ways.iter().find(|way| !known.contains(&way.as_str())) {
        return Err(Unreadable { attribute: "ipaUserAuthType".into(), why: format!("{odd} is not known here") });
    }
    // `hardened` is a password by another exchange, `disabled` switches the choice off.
    let by_password = ways.iter().any(|way| ["password", "hardened", "disabled"].contains(&way.as_str()));
    if !ways.is_empty() && !by_password {
        standing.add(reading.evidence(Finding::PasswordElsewhere, "ipaUserAuthType", &ways.join(", ")));
    }
    Ok(())
}

/// Whether the account administers something: FreeIPA's own groups and every role. `memberOf` holds indirect ones, too.
fn privileged(server: &FreeIpa, reading: &Reading<'_>, standing: &mut Standing) {
    let suffix = &server.suffix;
    let groups = [
        format!("cn=admins,cn=groups,cn=accounts,{suffix}"),
        format!("cn=trust admins,cn=groups,cn=accounts,{suffix}"),
    ];
    let trees = [format!("cn=roles,cn=accounts,{suffix}"), format!("cn=pbac,{suffix}")];
    let parsed = |names: &[String]| names.iter().filter_map(|name| Dn::parse(name).ok()).collect::<Vec<_>>();
    let (groups, trees) = (parsed(&groups), parsed(&trees));
    let mut mine: Vec<Dn> = reading.groups.iter().flatten().cloned().collect();
    for value in reading.entry.values("memberOf") {
        match std::str::from_utf8(value).ok().and_then(|name| Dn::parse(name).ok()) {
            Some(name) => mine.push(name),
            None => standing.add(reading.evidence(Finding::Unknown, "memberOf", "a value is no name")),
        }
    }
    if let Some(group) =
        mine.iter().find(|group| groups.contains(group) || trees.iter().any(|tree| group.is_below(tree)))
    {
        standing.add(reading.evidence(Finding::Privileged, "memberOf", group.as_str()));
    }
}
