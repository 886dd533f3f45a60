//! How an account stands, by the attributes in which OpenLDAP's password policy overlay, POSIX and the password itself
//! keep that. `openldap` names what to ask for and writes; this file alone says what the values mean.

use std::time::Duration;

use crate::domain::{Evidence, Finding, Standing, Timestamp};
use crate::flavour::entry::Unreadable;
use crate::flavour::policy_entry::PolicyView;
use crate::flavour::{Reading, time};

/// The attributes in which the overlay keeps an account's state. Some came with later versions.
pub(super) const STATE: [&str; 8] = [
    "pwdChangedTime",
    "pwdAccountLockedTime",
    "pwdAccountTmpLockoutEnd",
    "pwdStartTime",
    "pwdEndTime",
    "pwdReset",
    "pwdPolicySubentry",
    LAST_SUCCESS,
];

/// When somebody last signed in, where the database keeps that (`lastbind`). A write of the password erases it.
pub(super) const LAST_SUCCESS: &str = "pwdLastSuccess";

/// Those whose values a write must find as they were read.
pub(super) const GUARDED: [&str; 5] =
    ["pwdChangedTime", "pwdAccountLockedTime", "pwdAccountTmpLockoutEnd", "pwdStartTime", "pwdEndTime"];

/// The end of an account as POSIX keeps it (RFC 2307): days since 1970; absent or negative is never.
pub(super) const SHADOW_EXPIRE: &str = "shadowExpire";
const DAY: i64 = 24 * 60 * 60 * 1000;

/// A lock that lies so little in the future counts: clocks differ. Later ones have not begun.
const CLOCKS: Duration = Duration::from_mins(5);

/// Adds what an entry says of itself. A value that can't be read is an unknown state.
pub(super) fn read(ppolicy: bool, reading: &Reading<'_>, standing: &mut Standing) {
    hash(reading, standing);
    let overlay = if ppolicy { overlay(reading, standing) } else { Ok(()) };
    for bad in [shadow(reading, standing), overlay].into_iter().filter_map(Result::err) {
        standing.add(reading.evidence(Finding::Unknown, &bad.attribute, &bad.why));
    }
}

/// What a password says that is kept as something else than a hash of a password.
pub(super) fn hash(reading: &Reading<'_>, standing: &mut Standing) {
    for value in reading.entry.texts("userPassword") {
        for scheme in ["{SASL}", "{PAM-PASSTHRU}"] {
            if value.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)) {
                standing.add(reading.evidence(Finding::PasswordElsewhere, "userPassword", &format!("{scheme}…")));
            }
        }
        // `passwd -l` and its like put these before a hash, where nothing fits any more.
        let hash = value.strip_prefix('{').and_then(|rest| rest.split_once('}')).map(|(_, hash)| hash);
        if hash.is_some_and(|hash| hash.starts_with(['!', '*'])) {
            standing.add(reading.evidence(Finding::Disabled, "userPassword", "a hash that nothing fits"));
        }
    }
}

/// What the overlay's attributes say; `Err` is the first that can't be read.
fn overlay(reading: &Reading<'_>, standing: &mut Standing) -> Result<(), Unreadable> {
    let entry = reading.entry;
    let now = reading.now;
    let mut found = |finding, attribute: &str, until: Option<Timestamp>| {
        let value = entry.texts(attribute).next().unwrap_or("absent");
        standing.add(Evidence { until, ..reading.evidence(finding, attribute, value) });
    };

    let (start, end) = (entry.moment("pwdStartTime")?, entry.moment("pwdEndTime")?);
    match (start, end) {
        (Some(start), Some(end)) if start >= end => found(Finding::Disabled, "pwdEndTime", None),
        _ => {
            if start.is_some_and(|start| start > now) {
                found(Finding::NotYetValid, "pwdStartTime", start);
            }
            if end.is_some_and(|end| end <= now) {
                found(Finding::Expired, "pwdEndTime", None);
            }
        }
    }

    if entry.flag("pwdReset")? == Some(true) {
        found(Finding::MustChange, "pwdReset", None);
    }
    let changed = entry.moment("pwdChangedTime")?;
    // A password that was there before the overlay, or was loaded past it, leaves no sign either: such accounts are
    // adopted once, by rekeyd's own record.
    if changed.is_none() {
        found(Finding::NeverActivated, "pwdChangedTime", None);
    }
    let locked = entry.moment("pwdAccountLockedTime")?;
    let pause = entry.moment("pwdAccountTmpLockoutEnd")?;
    // The overlay itself ignores this value where the policy has no lockout. An administrator's word is still an
    // administrator's word, and a password write would erase it.
    if locked == Some(time::YEAR_ZERO) {
        found(Finding::LockedByAdmin, "pwdAccountLockedTime", None);
    }
    if pause.is_some_and(|pause| pause > now) {
        found(Finding::LockedByFailures, "pwdAccountTmpLockoutEnd", pause);
    }

    let policy = match reading.policy {
        PolicyView::InForce(policy) => policy,
        PolicyView::None => return Ok(()),
        PolicyView::Unreadable(why) => {
            return Err(Unreadable { attribute: "pwdPolicySubentry".into(), why: why.clone() });
        }
    };
    if let Some(locked) = locked.filter(|locked| policy.lockout && *locked != time::YEAR_ZERO) {
        match policy.lockout_duration {
            _ if locked > now.plus(CLOCKS) => {}
            None => found(Finding::LockedByAdmin, "pwdAccountLockedTime", None),
            Some(duration) => {
                let until = locked.plus(duration);
                if until > now {
                    found(Finding::LockedByFailures, "pwdAccountLockedTime", Some(until));
                }
            }
        }
    }
    if let (Some(changed), Some(max_age)) = (changed, policy.max_age)
        && changed.plus(max_age) <= now
    {
        found(Finding::PasswordExpired, "pwdChangedTime", None);
    }
    // The overlay's own reckoning, which counts from the password where nobody has signed in with it. Whether the database
    // keeps sign-ins at all can't be seen: where it does not, the policy's word is taken for what it says. The overlay
    // slapo-lastbind keeps `authTimestamp`, on which no policy rests.
    let used = entry.moment(LAST_SUCCESS)?.map(|used| (LAST_SUCCESS, used));
    if let (Some((attribute, used)), Some(idle)) =
        (used.or(changed.map(|changed| ("pwdChangedTime", changed))), policy.max_idle)
        && policy.lockout
        // In whole seconds, as the overlay counts.
        && used.plus(idle).seconds() < now.seconds()
    {
        let value = entry.texts(attribute).next().unwrap_or("absent");
        let value = format!("{value}: unused for longer than pwdMaxIdle of {}", policy.name);
        standing.add(reading.evidence(Finding::Expired, attribute, &value));
    }
    if !policy.allow_user_change {
        standing.add(reading.evidence(Finding::HolderMayNotChange, "pwdAllowUserChange", &policy.name));
    }
    Ok(())
}

/// What the end of a POSIX account says. Some programs read 0 as never and some as long ago, so here it is long ago.
pub(super) fn shadow(reading: &Reading<'_>, standing: &mut Standing) -> Result<(), Unreadable> {
    let end = reading.entry.number(SHADOW_EXPIRE)?.filter(|days| *days >= 0);
    if let Some(days) = end
        && days.saturating_mul(DAY) <= reading.now.millis()
    {
        standing.add(reading.evidence(Finding::Expired, SHADOW_EXPIRE, &days.to_string()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flavour::openldap::OpenLdap;
    use crate::flavour::openldap::tests::{CHANGED, account, entry, mapping, server};
    use crate::flavour::policy_entry::{Policy, plain_policy};

    fn policy() -> Policy {
        Policy { lockout_duration: Some(Duration::from_mins(5)), max_age: None, ..plain_policy() }
    }

    fn findings(attributes: &[(&str, &str)], policy: &PolicyView) -> Vec<Finding> {
        let account = account(&server(), &entry(attributes), policy, &mapping(""));
        account.standing.evidence().iter().map(|evidence| evidence.finding).collect()
    }

    #[test]
    fn s2_2_what_the_overlay_says_becomes_findings() {
        let in_force = PolicyView::InForce(policy());
        for (attributes, expected) in [
            (&[][..], &[][..]),
            (&[("pwdReset", "TRUE")], &[Finding::MustChange]),
            (&[("pwdReset", "FALSE")], &[]),
            (&[("pwdAccountLockedTime", "000001010000Z")], &[Finding::LockedByAdmin]),
            (&[("pwdAccountLockedTime", "00000101000000Z")], &[Finding::LockedByAdmin]),
            (&[("pwdAccountLockedTime", "20261030115901Z")], &[Finding::LockedByFailures]),
            (&[("pwdAccountLockedTime", "20261030115500Z")], &[]),
            (&[("pwdAccountLockedTime", "20261030115501Z")], &[Finding::LockedByFailures]),
            (&[("pwdAccountLockedTime", "20261030120001Z")], &[Finding::LockedByFailures]),
            (&[("pwdAccountLockedTime", "20261031000000Z")], &[]),
            (&[("pwdAccountLockedTime", "yesterday")], &[Finding::Unknown]),
            (&[("pwdAccountTmpLockoutEnd", "20261030120100Z")], &[Finding::LockedByFailures]),
            (&[("pwdAccountTmpLockoutEnd", "20261030115900Z")], &[]),
            (&[("pwdEndTime", "20261030120000Z")], &[Finding::Expired]),
            (&[("pwdEndTime", "20261030120001Z")], &[]),
            (&[("pwdEndTime", "20261030130000+0200")], &[Finding::Expired]),
            (&[("pwdStartTime", "20261030120001Z")], &[Finding::NotYetValid]),
            (&[("pwdStartTime", "20261030120000Z")], &[]),
            (&[("pwdStartTime", "20260101000000Z"), ("pwdEndTime", "20260101000000Z")], &[Finding::Disabled]),
            (&[("pwdStartTime", "20990101000000Z"), ("pwdEndTime", "20980101000000Z")], &[Finding::Disabled]),
            (&[("userPassword", "{SASL}ada@EXAMPLE.ORG")], &[Finding::PasswordElsewhere]),
            (&[("userPassword", "{CRYPT}!$6$x")], &[Finding::Disabled]),
            (&[("userPassword", "{SSHA}abc!")], &[]),
        ] {
            let mut with = vec![CHANGED];
            with.extend(attributes);
            assert_eq!(findings(&with, &in_force), expected, "{attributes:?}");
        }
        assert_eq!(findings(&[], &in_force), [Finding::NeverActivated]);
        assert_eq!(findings(&[("pwdChangedTime", "soon")], &in_force), [Finding::Unknown]);
    }

    #[test]
    fn s2_2_the_policy_decides_what_a_lock_means() {
        let locked = [CHANGED, ("pwdAccountLockedTime", "20261030115901Z")];
        let view = |change: &dyn Fn(&mut Policy)| {
            let mut policy = policy();
            change(&mut policy);
            PolicyView::InForce(policy)
        };
        assert_eq!(findings(&locked, &view(&|policy| policy.lockout = false)), []);
        assert_eq!(findings(&locked, &view(&|policy| policy.lockout_duration = None)), [Finding::LockedByAdmin]);
        assert_eq!(findings(&locked, &PolicyView::None), []);
        assert_eq!(findings(&locked, &PolicyView::Unreadable("why".into())), [Finding::Unknown]);
        let forever = [CHANGED, ("pwdAccountLockedTime", "000001010000Z")];
        assert_eq!(findings(&forever, &view(&|policy| policy.lockout = false)), [Finding::LockedByAdmin]);
        assert_eq!(
            findings(&[CHANGED], &view(&|policy| policy.allow_user_change = false)),
            [Finding::HolderMayNotChange]
        );
        let age = Duration::from_hours(24);
        assert_eq!(findings(&[CHANGED], &view(&|policy| policy.max_age = Some(age))), [Finding::PasswordExpired]);
        assert_eq!(findings(&[("pwdChangedTime", "20261030110000Z")], &view(&|policy| policy.max_age = Some(age))), []);
    }

    #[test]
    fn s2_2_an_account_that_nobody_uses_has_expired() {
        let idle = Duration::from_hours(1);
        let view = |lockout| PolicyView::InForce(Policy { lockout, max_idle: Some(idle), ..policy() });
        let long_ago = CHANGED;
        let just_now = ("pwdChangedTime", "20261030113000Z");
        for (attributes, expected) in [
            (&[long_ago][..], &[Finding::Expired][..]),
            (&[just_now], &[]),
            (&[long_ago, (LAST_SUCCESS, "20261030110000Z")], &[]),
            (&[long_ago, (LAST_SUCCESS, "20261030105959Z")], &[Finding::Expired]),
            (&[long_ago, (LAST_SUCCESS, "20261030105959.999999Z")], &[Finding::Expired]),
            (&[just_now, (LAST_SUCCESS, "20261030105959Z")], &[Finding::Expired]),
            (&[long_ago, (LAST_SUCCESS, "lately")], &[Finding::Unknown]),
            // Nothing to count from: the overlay lets in, and the password itself is nobody's.
            (&[], &[Finding::NeverActivated]),
        ] {
            assert_eq!(findings(attributes, &view(true)), expected, "{attributes:?}");
        }
        // The overlay looks at neither where the policy has no lockout, or no limit.
        assert_eq!(findings(&[long_ago], &view(false)), []);
        assert_eq!(findings(&[long_ago, (LAST_SUCCESS, "20200101000000Z")], &PolicyView::InForce(policy())), []);
        assert_eq!(findings(&[long_ago], &PolicyView::None), []);
    }

    #[test]
    fn t54_the_end_of_a_posix_account_is_read_exactly() {
        // The day 20 756 began twelve hours before.
        for (value, expected) in [
            ("-1", None),
            ("0", Some(Finding::Expired)),
            ("1", Some(Finding::Expired)),
            ("20755", Some(Finding::Expired)),
            ("20756", Some(Finding::Expired)),
            ("20757", None),
            ("9223372036854775807", None),
            ("9223372036854775808", Some(Finding::Unknown)),
            ("", Some(Finding::Unknown)),
            ("never", Some(Finding::Unknown)),
        ] {
            let bare = OpenLdap { ppolicy: false, ..server() };
            let account = account(&bare, &entry(&[(SHADOW_EXPIRE, value)]), &PolicyView::None, &mapping(""));
            assert_eq!(account.standing.evidence().first().map(|evidence| evidence.finding), expected, "{value}");
        }
    }
}
