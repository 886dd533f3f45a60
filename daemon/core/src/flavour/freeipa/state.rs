//! How an account stands, by the attributes in which FreeIPA and its Kerberos keep that.

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
    let by_another = is_set_by_another(entry)?;
    match (changed, expires) {
        (None, None) => found(Finding::NeverActivated, "krbLastPwdChange"),
        (_, Some(expires)) if by_another || expires == Timestamp::from_millis(0) => {
            found(Finding::MustChange, "krbPasswordExpiration");
        }
        // FreeIPA's own word for never is the last second of 32 bits.
        (_, Some(expires)) if expires <= reading.now && expires != ds389::state::NEVER => {
            found(Finding::PasswordExpired, "krbPasswordExpiration");
        }
        _ => {}
    }
    // Nothing shows whether the person had a password before that. That somebody must change one does not keep them from a
    // reset, but this does, until rekeyd has seen one of their own or an adoption says so.
    if by_another {
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
        (Some(_), None) => {
            let why = "it is absent, so that nobody can tell how long the lock lasts".to_owned();
            return Err(Unreadable { attribute: "krbLastFailedAuth".into(), why });
        }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::flavour::freeipa::tests::{entry, findings, server};
    use crate::flavour::policy_entry::{Policy, plain_policy};

    const SUFFIX: &str = "dc=example,dc=org";

    fn policy() -> PolicyView {
        let lockout_duration = Some(Duration::from_mins(10));
        PolicyView::InForce(Policy { max_failures: 6, lockout: true, lockout_duration, ..plain_policy() })
    }

    fn found(lines: &str) -> Vec<Finding> {
        findings(&server(), &entry(lines), &policy())
    }

    /// A password that its holder set half a year before.
    const SET: &str = "krbLastPwdChange: 20260601000000Z\nkrbPasswordExpiration: 20261201000000Z\n";

    #[test]
    fn s2_2_what_kerberos_says_becomes_findings() {
        for (lines, expected) in [
            ("", &[Finding::NeverActivated][..]),
            (SET, &[]),
            // By an administrator, at the creation and later.
            (
                "krbLastPwdChange: 20260101000003Z\nkrbPasswordExpiration: 20260101000003Z",
                &[Finding::MustChange, Finding::Undecided],
            ),
            (
                "krbLastPwdChange: 20261101000000Z\nkrbPasswordExpiration: 20261031235959Z",
                &[Finding::MustChange, Finding::Undecided],
            ),
            ("krbLastPwdChange: 20260101000003Z\nkrbPasswordExpiration: 20270101000003Z", &[]),
            ("krbLastPwdChange: 20260101000000Z\nkrbPasswordExpiration: 20260401000000Z", &[Finding::PasswordExpired]),
            ("krbLastPwdChange: 20260601000000Z", &[]),
            ("krbLastPwdChange: 20260601000000Z\nkrbPasswordExpiration: 20380119031407Z", &[]),
            ("krbLastPwdChange: soon", &[Finding::Unknown]),
            ("krbPasswordExpiration: never", &[Finding::Unknown]),
        ] {
            assert_eq!(found(lines), expected, "{lines}");
        }
        for (line, expected) in [
            ("krbPrincipalExpiration: 20261122011159Z", &[Finding::Expired][..]),
            ("krbPrincipalExpiration: 20261122011201Z", &[]),
            ("krbPrincipalExpiration: x", &[Finding::Unknown]),
            ("nsAccountLock: TRUE", &[Finding::Disabled]),
            ("nsAccountLock: FALSE", &[]),
            ("shadowExpire: 0", &[Finding::Expired]),
            ("ipaUserAuthType: password\nipaUserAuthType: otp", &[]),
            ("ipaUserAuthType: otp", &[Finding::PasswordElsewhere]),
            ("ipaUserAuthType: radius\nipaUserAuthType: pkinit", &[Finding::PasswordElsewhere]),
            ("ipaUserAuthType: idp", &[Finding::PasswordElsewhere]),
            ("ipaUserAuthType: hardened", &[]),
            ("ipaUserAuthType: telepathy", &[Finding::Unknown]),
        ] {
            assert_eq!(found(&format!("{SET}{line}")), expected, "{line}");
        }
    }

    #[test]
    fn s2_2_wrong_passwords_lock_as_the_policy_says() {
        let tried = |count: u32, last: &str| format!("{SET}krbLoginFailedCount: {count}\nkrbLastFailedAuth: {last}\n");
        let now = "20261122011130Z";
        assert_eq!(found(&tried(6, now)), [Finding::LockedByFailures]);
        assert_eq!(found(&tried(5, now)), []);
        assert_eq!(found(&tried(6, "20261122010200Z")), []);
        assert_eq!(found(&tried(6, "20261122010201Z")), [Finding::LockedByFailures]);
        assert_eq!(found(&format!("{}krbLastAdminUnlock: 20261122011131Z", tried(6, now))), []);
        assert_eq!(
            found(&format!("{}krbLastAdminUnlock: 20261122011129Z", tried(6, now))),
            [Finding::LockedByFailures]
        );
        assert_eq!(found(&format!("{SET}krbLoginFailedCount: some")), [Finding::Unknown]);
        // When the last one was is not shown.
        assert_eq!(found(&format!("{SET}krbLoginFailedCount: 6")), [Finding::Unknown]);
        assert_eq!(found(&format!("{SET}krbLoginFailedCount: 5")), []);
        let forever = Policy { max_failures: 6, lockout: true, lockout_duration: None, ..plain_policy() };
        let forever = PolicyView::InForce(forever);
        assert_eq!(findings(&server(), &entry(&tried(6, now)), &forever), [Finding::LockedByAdmin]);
        let none = PolicyView::InForce(Policy { max_failures: 0, lockout: false, ..plain_policy() });
        assert_eq!(findings(&server(), &entry(&tried(9, now)), &none), []);
        assert_eq!(
            findings(&server(), &entry(&tried(6, now)), &PolicyView::Unreadable("x".into())),
            [Finding::Unknown]
        );
    }

    #[test]
    fn t57_who_administers_freeipa_is_privileged() {
        for (group, expected) in [
            ("cn=admins,cn=groups,cn=accounts", true),
            ("CN=Trust Admins, cn=groups,cn=accounts", true),
            ("cn=helpdesk,cn=roles,cn=accounts", true),
            ("cn=user administrators,cn=privileges,cn=pbac", true),
            ("cn=system: change user password,cn=permissions,cn=pbac", true),
            ("cn=ipausers,cn=groups,cn=accounts", false),
            ("cn=admins,cn=groups,cn=compat", false),
        ] {
            let found = found(&format!("{SET}memberOf: {group},{SUFFIX}"));
            assert_eq!(found.contains(&Finding::Privileged), expected, "{group}");
        }
        assert_eq!(found(&format!("{SET}memberOf: nobody")), [Finding::Unknown]);
    }

    #[test]
    fn s2_2_staged_and_preserved_users_stand_elsewhere() {
        for (place, expected) in [
            ("cn=staged users,cn=accounts,cn=provisioning", &[Finding::NeverActivated][..]),
            ("cn=deleted users,cn=accounts,cn=provisioning", &[Finding::Disabled]),
            ("cn=users,cn=accounts", &[]),
        ] {
            let mut moved = Entry::new(crate::domain::EntryName(format!("uid=ada,{place},{SUFFIX}")));
            for attribute in entry(SET).attributes() {
                moved.replace(&attribute.name, attribute.values.clone());
            }
            assert_eq!(findings(&server(), &moved, &policy()), expected, "{place}");
        }
    }

    proptest! {
        #[test]
        fn t51_any_value_ends_and_none_is_taken_for_fine(at in 0..STATE.len(), value in "\\PC{0,20}") {
            let name = STATE.get(at).copied().unwrap_or_default();
            let mut entry = entry(SET);
            entry.replace(name, vec![value.clone().into_bytes()]);
            let found = findings(&server(), &entry, &policy());
            let known = value.parse::<i64>().is_ok() || crate::flavour::time::parse(value.as_bytes()).is_ok()
                || ["true", "false", "otp", "idp"].contains(&value.to_lowercase().as_str())
                || ["krbPrincipalName", "krbPwdPolicyReference"].contains(&name);
            prop_assert!(known || found.contains(&Finding::Unknown), "{name} {value}: {found:?}");
        }
    }
}
