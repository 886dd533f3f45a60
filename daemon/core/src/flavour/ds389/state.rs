//! How an account stands, by the attributes in which 389 Directory Server keeps that. `mod` names what to ask for and
//! writes; this file alone says what the values mean.

use crate::domain::{Dn, Evidence, Finding, Standing, Timestamp};
use crate::flavour::Reading;
use crate::flavour::ds389::{Ds389, idle};
use crate::flavour::entry::Unreadable;
use crate::flavour::openldap_state;
use crate::flavour::policy_entry::{Policy, PolicyView};

/// The attributes in which the server keeps an account's state. Some came with later versions, and `nsAccountLock` and
/// the names of policies may be computed.
pub(in crate::flavour) const STATE: [&str; 14] = [
    "accountUnlockTime",
    "acctPolicySubentry",
    "lastLoginTime",
    "nsAccountLock",
    "passwordExpirationTime",
    "passwordGraceUserTime",
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
pub(super) const COUNTED: [&str; 5] =
    ["accountUnlockTime", "lastLoginTime", "passwordGraceUserTime", "passwordRetryCount", "pwdTPRUseCount"];

/// The roles of an account: as computed, and as written into the entry.
pub(super) const ROLES: [&str; 2] = ["nsRole", "nsRoleDN"];

/// `passwordExpirationTime` of a password that somebody else has set and that must be changed, and `accountUnlockTime` of
/// a lock without end.
const MUST_CHANGE: Timestamp = Timestamp::from_millis(0);
/// `passwordExpirationTime` of a password that its holder has used or chosen, where passwords don't expire.
const USED: Timestamp = Timestamp::from_millis(1000);
/// `passwordExpirationTime` of a password that never expires: 2038-01-19 03:14:07 UTC.
pub(in crate::flavour) const NEVER: Timestamp = Timestamp::from_millis(2_147_483_647_000);

/// Adds what an entry says of itself. A value that can't be read is an unknown state.
pub(super) fn read(server: &Ds389, reading: &Reading<'_>, standing: &mut Standing) {
    openldap_state::hash(reading, standing);
    disabled(reading, standing);
    privileged(server, reading, standing);
    let policy = match reading.policy {
        PolicyView::InForce(policy) => Ok(Some(policy)),
        PolicyView::None => Ok(None),
        PolicyView::Unreadable(why) => Err(Unreadable { attribute: "pwdpolicysubentry".into(), why: why.clone() }),
    };
    let kept = policy.and_then(|policy| password(policy, reading, standing).and(locked(policy, reading, standing)));
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

/// Whoever sets other people's passwords past the rules: named in a policy, or a member of a group that is.
fn privileged(server: &Ds389, reading: &Reading<'_>, standing: &mut Standing) {
    let own = Dn::parse(&reading.entry.name().0).ok();
    let named = reading.entry.texts("memberOf").filter_map(|name| Dn::parse(name).ok());
    let groups = reading.groups.iter().flatten().cloned().chain(named);
    if let Some(name) = own.into_iter().chain(groups).find(|name| server.administrators.contains(name)) {
        standing.add(reading.evidence(Finding::Privileged, "passwordAdminDN", name.as_str()));
    }
}

/// What is said of the password itself; `Err` is the first that can't be read.
fn password(policy: Option<&Policy>, reading: &Reading<'_>, standing: &mut Standing) -> Result<(), Unreadable> {
    let entry = reading.entry;
    let mut found = |finding, attribute: &str| {
        let value = entry.texts(attribute).next().unwrap_or("absent");
        standing.add(reading.evidence(finding, attribute, value));
    };
    let reset = entry.flag("pwdReset")?;
    let updated = entry.moment("pwdUpdateTime")?;
    let expires = entry.moment("passwordExpirationTime")?;
    let grace = entry.number("passwordGraceUserTime")?;

    // Somebody else's password: the flag for each write but the very first, for which only the moment stands. Without
    // the rule the server lets both in.
    if policy.is_none_or(|policy| policy.must_change) {
        if reset == Some(true) {
            found(Finding::MustChange, "pwdReset");
        } else if expires == Some(MUST_CHANGE) {
            found(Finding::MustChange, "passwordExpirationTime");
        }
    }
    // Under any policy and under none, every write of a password but the one that adds the account leaves one of these.
    if reset.is_none() && updated.is_none() && grace.is_none() {
        if expires == Some(MUST_CHANGE) {
            found(Finding::NeverActivated, "passwordExpirationTime");
        } else {
            found(Finding::Undecided, "passwordGraceUserTime");
        }
    // An administrator's write leaves them as well as the person's. That somebody must change a password does not keep them
    // from a reset, but that nobody knows whether they ever had one of their own does, until rekeyd has seen it or an
    // adoption says so.
    } else if reset == Some(true) {
        found(Finding::Undecided, "pwdReset");
    } else if expires == Some(MUST_CHANGE) {
        found(Finding::Undecided, "passwordExpirationTime");
    }

    let ends = expires.filter(|moment| ![MUST_CHANGE, USED, NEVER].contains(moment));
    if ends.is_some_and(|end| end <= reading.now) && policy.is_none_or(|policy| policy.max_age.is_some()) {
        found(Finding::PasswordExpired, "passwordExpirationTime");
    }
    if policy.is_some_and(|policy| !policy.allow_user_change) {
        standing.add(reading.evidence(
            Finding::HolderMayNotChange,
            "passwordChange",
            policy.map_or("", |policy| policy.name.as_str()),
        ));
    }
    temporary(reading, standing)
}

/// The rules on temporary passwords. One that is used up or over lets nobody in, and one that is not valid yet must be
/// waited for: each is a password that must be replaced, and none says anything about the account.
fn temporary(reading: &Reading<'_>, standing: &mut Standing) -> Result<(), Unreadable> {
    let entry = reading.entry;
    // What the policy does not limit reads -1.
    let limit = |attribute: &str| if entry.texts(attribute).eq(["-1"]) { Ok(None) } else { entry.moment(attribute) };
    let (from, end) = (limit("pwdTPRValidFrom")?, limit("pwdTPRExpireAt")?);
    let tried = entry.number("pwdTPRUseCount")?.unwrap_or(0);
    if entry.flag("pwdTPRReset")? != Some(true) {
        return Ok(());
    }
    let mut found = |finding, attribute: &str, value: &str, until| {
        standing.add(Evidence { until, ..reading.evidence(finding, attribute, value) });
    };
    let value = |attribute: &str| entry.texts(attribute).next().unwrap_or_default();
    found(Finding::MustChange, "pwdTPRReset", &format!("TRUE, after {tried} tries to sign in"), None);
    if from.is_some_and(|from| from > reading.now) {
        found(Finding::MustChange, "pwdTPRValidFrom", value("pwdTPRValidFrom"), from);
    }
    if end.is_some_and(|end| end <= reading.now) {
        found(Finding::PasswordExpired, "pwdTPRExpireAt", value("pwdTPRExpireAt"), None);
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
    let value = entry.texts("accountUnlockTime").next().unwrap_or_default();
    let value = format!("{value}, after {count} wrong passwords");
    let mut found = |finding, until| {
        standing.add(Evidence { until, ..reading.evidence(finding, "accountUnlockTime", &value) });
    };
    // Without end it is only as long as the policy says so.
    if unlock == MUST_CHANGE && policy.is_none_or(|policy| policy.lockout_duration.is_none()) {
        found(Finding::LockedByAdmin, None);
    } else if unlock > reading.now {
        found(Finding::LockedByFailures, Some(unlock));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::Dn;
    use crate::flavour::ds389::tests::{findings, recorded, server};
    use crate::flavour::ds389::{Idleness, Limits};
    use crate::flavour::policy_entry::plain_policy;

    fn policy() -> Policy {
        Policy { max_failures: 3, must_change: false, ..plain_policy() }
    }

    fn view(change: impl Fn(&mut Policy)) -> PolicyView {
        let mut policy = policy();
        change(&mut policy);
        PolicyView::InForce(policy)
    }

    /// What a policy does not say of itself is as in [`policy`]: locks by failures, and no other rule.
    fn found(lines: &str, view: &PolicyView) -> Vec<Finding> {
        findings(&server(), &recorded(lines), view)
    }

    /// Recorded from 389-ds 2.3.1, account by account, with what the server itself did at a bind with the right
    /// password at 01:12:00.
    #[test]
    fn s2_2_recorded_accounts_stand_as_the_server_treats_them() {
        let plain = view(|_| {});
        let must_change = view(|policy| policy.must_change = true);
        let expiring = view(|policy| policy.max_age = Some(Duration::from_secs(2)));
        let forever = view(|policy| policy.lockout_duration = None);
        let unlocked = view(|policy| policy.lockout = false);
        for (view, lines, expected) in [
            // Added by root: 0; nothing tells of a person.
            (&plain, "", &[Finding::Undecided][..]),
            // One limit alone.
            (
                &must_change,
                "passwordExpirationTime: 19700101000000Z\npwdReset: TRUE\npasswordGraceUserTime: 0\n\
                 pwdTPRReset: TRUE\npwdTPRUseCount: 0\npwdTPRExpireAt: -1\npwdTPRValidFrom: 20991231000000Z",
                &[Finding::MustChange, Finding::Undecided, Finding::MustChange, Finding::MustChange],
            ),
            // Then set by an account with the right to: 0.
            (&plain, "passwordGraceUserTime: 0", &[]),
            // Three wrong passwords: 19 and "locked", with a right one, too.
            (
                &plain,
                "passwordGraceUserTime: 0\npasswordRetryCount: 3\naccountUnlockTime: 20261122011434Z\n\
                 retryCountResetTime: 20261122011934Z",
                &[Finding::LockedByFailures],
            ),
            // The lock is over: 0.
            (&plain, "passwordGraceUserTime: 0\npasswordRetryCount: 3\naccountUnlockTime: 20261122011159Z", &[]),
            // Set anew while locked: 0, though the moment still stands.
            (&plain, "passwordGraceUserTime: 0\npasswordRetryCount: 0\naccountUnlockTime: 20261122011434Z", &[]),
            // passwordUnlock off: 19; on again: 0; passwordLockout off: 0.
            (
                &forever,
                "passwordGraceUserTime: 1\npasswordRetryCount: 3\naccountUnlockTime: 19700101000000Z",
                &[Finding::LockedByAdmin],
            ),
            (&plain, "passwordGraceUserTime: 1\npasswordRetryCount: 3\naccountUnlockTime: 19700101000000Z", &[]),
            (&unlocked, "passwordGraceUserTime: 0\npasswordRetryCount: 3\naccountUnlockTime: 20261122011434Z", &[]),
            // passwordMustChange on, added by root: 0 and "change after reset".
            (&must_change, "passwordExpirationTime: 19700101000000Z", &[Finding::MustChange, Finding::NeverActivated]),
            // One limit alone.
            (
                &must_change,
                "passwordExpirationTime: 19700101000000Z\npwdReset: TRUE\npasswordGraceUserTime: 0\n\
                 pwdTPRReset: TRUE\npwdTPRUseCount: 0\npwdTPRExpireAt: -1\npwdTPRValidFrom: 20991231000000Z",
                &[Finding::MustChange, Finding::Undecided, Finding::MustChange, Finding::MustChange],
            ),
            // Then set by an account with the right to: 0.
            (
                &must_change,
                "passwordExpirationTime: 19700101000001Z\npasswordRetryCount: 0\npasswordExpWarned: 0\n\
                 passwordGraceUserTime: 0",
                &[],
            ),
            // Set by root: 0 and "change after reset".
            (
                &must_change,
                "passwordExpirationTime: 19700101000000Z\npwdReset: TRUE\npasswordExpWarned: 0\n\
                 passwordGraceUserTime: 0",
                &[Finding::MustChange, Finding::Undecided],
            ),
            // Set by an account with the right to, after root: 0.
            (
                &must_change,
                "passwordExpirationTime: 19700101000001Z\npwdReset: FALSE\npasswordGraceUserTime: 0\n\
                 pwdUpdateTime: 20261122011035Z",
                &[],
            ),
            // Set by root, and the rule taken away since: 0.
            (
                &plain,
                "passwordExpirationTime: 19700101000001Z\npwdReset: TRUE\npasswordGraceUserTime: 0",
                &[Finding::Undecided],
            ),
            // passwordExp on: 49 and "expired"; after the write, and with passwordExp off: 0.
            (
                &expiring,
                "passwordExpirationTime: 20261122011037Z\npasswordGraceUserTime: 0",
                &[Finding::PasswordExpired],
            ),
            (&expiring, "passwordExpirationTime: 20261122011241Z\npasswordGraceUserTime: 0", &[]),
            (&plain, "passwordExpirationTime: 20261122011041Z\npasswordGraceUserTime: 1", &[]),
            // One that never expires, and one whose expiry has not been reckoned yet.
            (&expiring, "passwordExpirationTime: 20380119031407Z\npasswordGraceUserTime: 0", &[]),
            (&expiring, "passwordExpirationTime: 19700101000001Z\npasswordGraceUserTime: 0", &[]),
            // Disabled: 53, by the account and by its role.
            (&plain, "nsAccountLock: TRUE\npasswordGraceUserTime: 0", &[Finding::Disabled]),
            (
                &plain,
                "nsRole: cn=all,dc=example,dc=org\nnsRole: cn=keepers,dc=example,dc=org\n\
                 nsRoleDN: cn=keepers,dc=example,dc=org\nnsAccountLock: true\npasswordGraceUserTime: 0",
                &[Finding::Disabled],
            ),
            (&plain, "nsAccountLock: false\npasswordGraceUserTime: 0", &[]),
            // 0, though somebody meant to disable it.
            (&plain, "nsAccountLock: yes\npasswordGraceUserTime: 0", &[Finding::Unknown]),
            // A temporary password, not valid yet and over: 19 at each bind.
            (
                &must_change,
                "passwordExpirationTime: 19700101000000Z\npwdReset: TRUE\npasswordGraceUserTime: 0\n\
                 pwdTPRReset: TRUE\npwdTPRUseCount: 0\npwdTPRExpireAt: 20261122011302Z\n\
                 pwdTPRValidFrom: 20261122011300Z",
                &[Finding::MustChange, Finding::Undecided, Finding::MustChange, Finding::MustChange],
            ),
            (
                &must_change,
                "passwordExpirationTime: 19700101000000Z\npwdReset: TRUE\npasswordGraceUserTime: 0\n\
                 pwdTPRReset: TRUE\npwdTPRUseCount: 7\npwdTPRExpireAt: 20261122011102Z\n\
                 pwdTPRValidFrom: 20261122011100Z",
                &[Finding::MustChange, Finding::Undecided, Finding::MustChange, Finding::PasswordExpired],
            ),
            // One limit alone.
            (
                &must_change,
                "passwordExpirationTime: 19700101000000Z\npwdReset: TRUE\npasswordGraceUserTime: 0\n\
                 pwdTPRReset: TRUE\npwdTPRUseCount: 0\npwdTPRExpireAt: -1\npwdTPRValidFrom: 20991231000000Z",
                &[Finding::MustChange, Finding::Undecided, Finding::MustChange, Finding::MustChange],
            ),
            // Then set by an account with the right to: 0.
            (
                &must_change,
                "passwordExpirationTime: 19700101000001Z\npwdReset: FALSE\npasswordGraceUserTime: 0\n\
                 pwdTPRReset: FALSE",
                &[],
            ),
        ] {
            assert_eq!(found(lines, view), expected, "{lines}");
        }
    }

    #[test]
    fn s2_2_what_is_not_known_of_the_policy_is_no_excuse() {
        let set = "passwordGraceUserTime: 0\n";
        let hidden = PolicyView::Unreadable("why".into());
        assert_eq!(found(set, &hidden), [Finding::Unknown]);
        assert_eq!(found(set, &PolicyView::None), []);
        for (lines, expected) in [
            ("passwordRetryCount: 1\naccountUnlockTime: 20261122011434Z", Finding::LockedByFailures),
            ("passwordRetryCount: 1\naccountUnlockTime: 19700101000000Z", Finding::LockedByAdmin),
            ("passwordExpirationTime: 20261122011159Z", Finding::PasswordExpired),
        ] {
            assert_eq!(found(&format!("{set}{lines}"), &PolicyView::None), [expected], "{lines}");
        }
        // Whose the present password is shows whatever the policy.
        for lines in ["passwordExpirationTime: 19700101000000Z", "pwdReset: TRUE"] {
            let found = found(&format!("{set}{lines}"), &PolicyView::None);
            assert_eq!(found, [Finding::MustChange, Finding::Undecided], "{lines}");
        }
        let fixed = view(|policy| policy.allow_user_change = false);
        assert_eq!(found(set, &fixed), [Finding::HolderMayNotChange]);
    }

    #[test]
    fn t54_edges_are_read_exactly_or_not_at_all() {
        let view = view(|policy| policy.max_age = Some(Duration::from_secs(2)));
        for (line, expected) in [
            ("passwordExpirationTime: 20261122011159Z", Some(Finding::PasswordExpired)),
            ("passwordExpirationTime: 20261122011200Z", Some(Finding::PasswordExpired)),
            ("passwordExpirationTime: 20261122011201Z", None),
            ("passwordExpirationTime: 202611220112Z", Some(Finding::PasswordExpired)),
            ("passwordExpirationTime: 20261122021201+0100", None),
            ("passwordExpirationTime: 19700101000002Z", Some(Finding::PasswordExpired)),
            ("passwordExpirationTime: 20380119031406Z", None),
            ("passwordExpirationTime: 20380119031408Z", None),
            ("passwordExpirationTime: 0", Some(Finding::Unknown)),
            ("passwordExpirationTime: never", Some(Finding::Unknown)),
            ("pwdReset: yes", Some(Finding::Unknown)),
            ("pwdReset: FALSE\npwdReset: TRUE", Some(Finding::Unknown)),
            ("pwdTPRReset: 1", Some(Finding::Unknown)),
            ("pwdTPRReset: TRUE\npwdTPRExpireAt: soon", Some(Finding::Unknown)),
            ("passwordRetryCount: many", Some(Finding::Unknown)),
            ("passwordRetryCount: 9223372036854775808", Some(Finding::Unknown)),
            ("accountUnlockTime: soon", Some(Finding::Unknown)),
            ("nsAccountLock: ", Some(Finding::Unknown)),
            ("shadowExpire: 0", Some(Finding::Expired)),
            ("shadowExpire: x", Some(Finding::Unknown)),
            ("userPassword: {SASL}ada@EXAMPLE.ORG", Some(Finding::PasswordElsewhere)),
            ("userPassword: {pam-passthru}ada", Some(Finding::PasswordElsewhere)),
        ] {
            let found = found(&format!("passwordGraceUserTime: 0\n{line}"), &view);
            assert!(expected.map_or(found.is_empty(), |expected| found.contains(&expected)), "{line}: {found:?}");
        }
    }

    #[test]
    fn t57_administrators_of_passwords_are_privileged() {
        let (ada, group) = ("UID=Ada, ou=people,dc=example,dc=org", "cn=keepers,dc=example,dc=org");
        let set = "passwordGraceUserTime: 0";
        for (administrators, lines, expected) in [
            (&[ada][..], set, &[Finding::Privileged][..]),
            (&[group], set, &[]),
            (&[group], "passwordGraceUserTime: 0\nmemberOf: CN=Keepers,dc=example,dc=org", &[Finding::Privileged]),
            (&[], "passwordGraceUserTime: 0\nmemberOf: cn=keepers,dc=example,dc=org", &[]),
        ] {
            let administrators = administrators.iter().map(|name| Dn::parse(name).unwrap()).collect();
            let server = Ds389 { administrators, ..server() };
            assert_eq!(findings(&server, &recorded(lines), &view(|_| {})), expected, "{lines}");
        }
    }

    /// Recorded from 389-ds 2.3.1 with accounts that end after four seconds, and one with a policy of its own.
    #[test]
    fn s2_2_an_account_that_nobody_uses_has_expired() {
        let own = "cn=idle,dc=example,dc=org";
        let policies = vec![(Dn::parse(own).unwrap(), Some(Duration::from_secs(1000)))];
        let limits = |both| Limits {
            common: Some(Duration::from_secs(4)),
            policies: policies.clone(),
            both,
            ..Limits::default()
        };
        let on = |both| Ds389 { idleness: Idleness::Limited(limits(both)), ..server() };
        let view = view(|_| {});
        for (server, lines, expected) in [
            (on(false), "lastLoginTime: 20261122011155Z", &[Finding::Expired][..]),
            (on(false), "lastLoginTime: 20261122011156Z", &[]),
            (on(true), "lastLoginTime: 20261122011156Z", &[Finding::Expired]),
            (on(false), "lastLoginTime: then", &[Finding::Unknown]),
            // Never used: its creation counts.
            (on(false), "", &[Finding::Expired]),
            (on(false), "acctPolicySubentry: CN=idle, dc=example,dc=org", &[]),
            (on(false), "acctPolicySubentry: cn=nope,dc=example,dc=org", &[Finding::Unknown]),
            (on(false), "acctPolicySubentry: nope", &[Finding::Unknown]),
            (Ds389 { idleness: Idleness::Unreadable("why".into()), ..server() }, "", &[Finding::Unknown]),
        ] {
            let lines = format!("passwordGraceUserTime: 0\n{lines}");
            assert_eq!(findings(&server, &recorded(&lines), &view), expected, "{lines}");
        }
    }

    proptest! {
        #[test]
        fn t51_any_value_ends_and_none_is_taken_for_fine(at in 0..STATE.len(), value in "\\PC{0,20}") {
            let name = STATE.get(at).copied().unwrap_or_default();
            let mut entry = recorded("passwordGraceUserTime: 0");
            entry.replace(name, vec![value.clone().into_bytes()]);
            let on = Ds389 { idleness: Idleness::Limited(Limits { common: Some(Duration::from_secs(4)), ..Limits::default() }), ..server() };
            let found = findings(&on, &entry, &view(|policy| policy.max_failures = 1));
            let number = value.parse::<i64>().is_ok();
            let moment = crate::flavour::time::parse(value.as_bytes()).is_ok();
            let flag = ["true", "false"].contains(&value.to_lowercase().as_str());
            // Which policy applies is for whoever reads it.
            let readable = number || moment || flag || name == "pwdpolicysubentry";
            prop_assert!(readable || found.contains(&Finding::Unknown), "{name} {value}: {found:?}");
        }
    }
}
