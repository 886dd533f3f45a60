//! OpenLDAP, with the password policy overlay (slapo-ppolicy) or without.
//!
//! The overlay keeps what has happened to a password in operational attributes of the account and the rules in policy
//! entries. Without it the server says next to nothing about an account's state, and the findings then rest on the
//! configured markers.

use zeroize::Zeroizing;

use crate::domain::{Evidence, Finding, Stamp, Standing, Timestamp};
use crate::flavour::entry::{Entry, Unreadable};
use crate::flavour::filter::Filter;
use crate::flavour::markers::Markers;
use crate::flavour::policy_entry::{Policy, PolicyView};
use crate::flavour::ppolicy::PolicyError;
use crate::flavour::{Change, Outcome, Reading, Rejection, Reply, Settled, Verified, time};
use crate::policy::permit::Permit;

/// The attributes in which the overlay keeps an account's state. Some came with later versions.
const STATE: [&str; 7] = [
    "pwdChangedTime",
    "pwdAccountLockedTime",
    "pwdAccountTmpLockoutEnd",
    "pwdStartTime",
    "pwdEndTime",
    "pwdReset",
    "pwdPolicySubentry",
];

/// Those whose values a write must find as they were read.
const GUARDED: [&str; 5] =
    ["pwdChangedTime", "pwdAccountLockedTime", "pwdAccountTmpLockoutEnd", "pwdStartTime", "pwdEndTime"];

/// The end of an account as POSIX keeps it (RFC 2307): days since 1970; absent or negative is never.
const SHADOW_EXPIRE: &str = "shadowExpire";
const DAY: i64 = 24 * 60 * 60 * 1000;

/// A lock that lies so little in the future counts: clocks differ. Later ones have not begun.
const CLOCKS: std::time::Duration = std::time::Duration::from_mins(5);

/// What is known of one OpenLDAP server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenLdap {
    /// Whether the password policy overlay keeps the state of accounts.
    pub ppolicy: bool,
    /// How far a write can carry a condition.
    pub conditions: Conditions,
    /// The attributes that the server's schema defines, in lower case, of those that somebody here asks about. A filter
    /// over any other attribute is undefined, and would make every condition fail.
    pub defined: Vec<String>,
}

/// How far a write of the password can carry a condition on this server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Conditions {
    /// The state that the overlay keeps.
    Core,
    /// That, and the configured markers.
    Full,
    /// None: it is not proved that the server hashes a password that comes in a Modify.
    None,
}

impl OpenLdap {
    pub(super) fn attributes() -> impl Iterator<Item = &'static str> {
        STATE.into_iter().chain(["entryUUID", "entryCSN", "memberOf", "gidNumber", "userPassword", SHADOW_EXPIRE])
    }

    /// What must be proved readable before "absent" means anything.
    pub(super) fn must_read(&self, markers: &Markers) -> Vec<String> {
        let state = if self.ppolicy { STATE.as_slice() } else { &["entryCSN"] };
        let state = state.iter().copied().chain([SHADOW_EXPIRE]);
        let mut all: Vec<String> = state.chain(markers.attributes()).map(str::to_owned).collect();
        all.retain(|attribute| self.defines(attribute));
        all.sort_unstable();
        all.dedup();
        all
    }

    fn defines(&self, attribute: &str) -> bool {
        self.defined.iter().any(|defined| defined.eq_ignore_ascii_case(attribute))
    }

    /// The mark of the present password, with the condition that must still hold when it is replaced.
    pub(super) fn stamp(&self, entry: &Entry, markers: &Markers) -> Result<Stamp, Unreadable> {
        let guard = self.guard(entry, markers)?.to_string();
        let stamp = if self.ppolicy {
            match entry.text("pwdChangedTime")? {
                // A value that is no moment still names a generation; `standing` says what it can't.
                Some(value) => {
                    let second = entry.moment("pwdChangedTime").ok().flatten();
                    Stamp::new(format!("pwdChangedTime={value}"), second)
                }
                None => Stamp::new("pwdChangedTime absent", None),
            }
        } else {
            let value = entry.text("entryCSN")?.ok_or_else(|| Unreadable::hidden("entryCSN"))?;
            Stamp::new(format!("entryCSN={value}"), None)
        };
        Ok(stamp.guarded(guard))
    }

    /// The entry is the same one and in the same state.
    fn guard(&self, entry: &Entry, markers: &Markers) -> Result<Filter, Unreadable> {
        let as_read = |attribute: &str| -> Result<Filter, Unreadable> {
            Ok(entry
                .text(attribute)?
                .map_or_else(|| Filter::present(attribute).negated(), |value| Filter::equal(attribute, value)))
        };
        let mut parts = vec![as_read("entryUUID")?];
        let state = if self.ppolicy { GUARDED.as_slice() } else { &["entryCSN"] };
        for attribute in state.iter().copied().chain([SHADOW_EXPIRE]).filter(|attribute| self.defines(attribute)) {
            parts.push(as_read(attribute)?);
        }
        if self.conditions != Conditions::Core {
            let marked = markers.iter().map(|(_, marker)| marker);
            let defined = marked.filter(|marker| marker.attribute().is_some_and(|name| self.defines(name)));
            parts.extend(defined.filter_map(|marker| marker.unchanged(entry)));
        }
        Ok(Filter::And(parts))
    }

    /// What the server says of an account.
    pub(super) fn standing(&self, reading: &Reading<'_>, standing: &mut Standing) {
        for value in reading.entry.texts("userPassword") {
            if value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("{SASL}")) {
                standing.add(reading.evidence(Finding::PasswordElsewhere, "userPassword", "{SASL}…"));
            }
            let hash = value.split_once('}').map_or(value, |(_, hash)| hash);
            if hash.starts_with(['!', '*']) {
                standing.add(reading.evidence(Finding::Disabled, "userPassword", "a hash that nothing fits"));
            }
        }
        let overlay = if self.ppolicy { overlay(reading, standing) } else { Ok(()) };
        for bad in [shadow(reading, standing), overlay].into_iter().filter_map(Result::err) {
            standing.add(reading.evidence(Finding::Unknown, &bad.attribute, &bad.why));
        }
    }

    /// How a password is written here.
    pub(super) fn change(&self, permit: &Permit) -> Result<Change, Rejection> {
        let password = || Zeroizing::new(permit.password().expose().to_owned());
        let bytes = || Zeroizing::new(permit.password().expose().as_bytes().to_vec());
        let condition = permit.stamp().guard().filter(|_| self.conditions != Conditions::None).map(str::to_owned);
        if !permit.must_change() {
            return Ok(match condition {
                Some(condition) => {
                    Change::Modify { replace: vec![("userPassword", bytes())], condition: Some(condition) }
                }
                None => Change::Exop { password: password() },
            });
        }
        if !self.ppolicy {
            return Err(Rejection::MissingRight(
                "this directory has no password policy overlay (slapo-ppolicy), so nobody can be made to change a \
                 password at the next sign-in"
                    .into(),
            ));
        }
        if condition.is_none() {
            return Err(Rejection::MissingRight(
                "must-change needs a Modify, and it is not proved that the server hashes a password written that way: \
                 set `canary`, let rekeyd read its userPassword, and turn on ppolicy_hash_cleartext"
                    .into(),
            ));
        }
        let flag = Zeroizing::new(b"TRUE".to_vec());
        Ok(Change::Modify { replace: vec![("userPassword", bytes()), ("pwdReset", flag)], condition })
    }

    /// What the server's answer to a write means.
    pub(super) fn outcome(reply: &Reply, must_change: bool) -> Outcome {
        let refused = |rejection| Outcome::Rejected(rejection);
        if reply.code == 0 {
            return Outcome::Done;
        }
        match reply.policy.and_then(|policy| policy.error) {
            Some(PolicyError::InHistory) => return refused(Rejection::InHistory),
            Some(PolicyError::NotComplex) => return refused(Rejection::NotComplex),
            Some(PolicyError::TooShort) => return refused(Rejection::TooShort),
            Some(PolicyError::TooLong) => return refused(Rejection::TooLong),
            Some(PolicyError::TooYoung) => return refused(Rejection::TooYoung),
            Some(PolicyError::MustSupplyOld) => return refused(Rejection::MustSupplyOld),
            Some(PolicyError::NotAllowed) => return refused(Rejection::NotAllowed),
            Some(PolicyError::ChangeAfterReset) => {
                let why = "rekeyd's own account must have its password changed first";
                return refused(Rejection::MissingRight(why.into()));
            }
            Some(PolicyError::Expired | PolicyError::Locked | PolicyError::Other(_)) | None => {}
        }
        match reply.code {
            10 => Outcome::NotDone("the server is a read-only copy".into()),
            12 => refused(Rejection::MissingRight("the server no longer takes the assertion control".into())),
            1 | 3 | 11 | 51 | 52 | 80 => Outcome::NotDone(reply.words()),
            32 | 122 => Outcome::Stale,
            8 | 13 | 50 if must_change => refused(Rejection::MissingRight(format!(
                "rekeyd's account needs `access to attrs=pwdReset by dn.exact=\"its name\" manage`, besides write on \
                 userPassword ({})",
                reply.words()
            ))),
            8 | 13 | 50 => refused(Rejection::MissingRight(format!(
                "rekeyd's account needs `access to attrs=userPassword by dn.exact=\"its name\" =xw` ({})",
                reply.words()
            ))),
            53 => refused(Rejection::NotAllowed),
            _ => refused(Rejection::Other(reply.words())),
        }
    }

    /// What the server's answer to a person's bind means; `Err` where it says nothing about the password.
    pub(super) fn verified(reply: &Reply) -> Result<Verified, String> {
        let error = reply.policy.and_then(|policy| policy.error);
        let grace = reply.policy.and_then(|policy| policy.grace);
        match (reply.code, error) {
            // The overlay looks at expiry only once the password has turned out right.
            (0 | 49, Some(PolicyError::Expired)) => Ok(Verified::RightButMustChange),
            (0, Some(PolicyError::ChangeAfterReset)) => Ok(Verified::RightButMustChange),
            (0, _) if grace.is_some() => Ok(Verified::RightButMustChange),
            (0, _) => Ok(Verified::Right),
            (1 | 2 | 3 | 7 | 8 | 11 | 13 | 51 | 52 | 80, _) => Err(reply.words()),
            _ => Ok(Verified::Wrong),
        }
    }

    /// Whether a password was written between two readings.
    pub(super) fn settled(before: &Stamp, after: &Stamp) -> Settled {
        if before == after {
            return Settled::Unchanged;
        }
        // entryCSN changes with everything that happens to an entry.
        let both = |prefix: &str| before.as_str().starts_with(prefix) && after.as_str().starts_with(prefix);
        if both("pwdChangedTime") { Settled::Changed } else { Settled::Undecidable }
    }
}

/// What the end of a POSIX account says. Some programs read 0 as never and some as long ago, so here it is long ago.
fn shadow(reading: &Reading<'_>, standing: &mut Standing) -> Result<(), Unreadable> {
    let end = reading.entry.number(SHADOW_EXPIRE)?.filter(|days| *days >= 0);
    if let Some(days) = end
        && days.saturating_mul(DAY) <= reading.now.millis()
    {
        standing.add(reading.evidence(Finding::Expired, SHADOW_EXPIRE, &days.to_string()));
    }
    Ok(())
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
    if !policy.allow_user_change {
        standing.add(reading.evidence(Finding::HolderMayNotChange, "pwdAllowUserChange", &policy.name));
    }
    Ok(())
}

/// The policy of a directory that keeps none, for the LDIF directory: locks by failures last a quarter of an hour.
pub fn plain_policy() -> Policy {
    Policy {
        name: "built-in".into(),
        allow_user_change: true,
        check_quality: 0,
        in_history: 3,
        lockout: true,
        lockout_duration: Some(std::time::Duration::from_mins(15)),
        max_age: None,
        min_age: None,
        min_length: 0,
        must_change: true,
        safe_modify: false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::domain::{DirectoryKey, EntryName, Server};

    /// What the end of a POSIX account makes of it on the day 20 000.
    fn found(value: &str) -> Option<Finding> {
        let mut entry = Entry::new(EntryName("uid=ada,dc=x".into()));
        entry.add(SHADOW_EXPIRE, value);
        let server = Server { name: "s".into(), writable: true };
        let reading = Reading {
            entry: &entry,
            directory: DirectoryKey(1),
            server: &server,
            groups: &Ok(Vec::new()),
            policy: &PolicyView::None,
            hidden: &[],
            shared: &[],
            now: Timestamp::from_millis(20_000 * DAY),
        };
        let mut standing = Standing::default();
        OpenLdap { ppolicy: false, conditions: Conditions::None, defined: Vec::new() }
            .standing(&reading, &mut standing);
        standing.evidence().first().map(|evidence| evidence.finding)
    }

    #[test]
    fn t54_the_end_of_a_posix_account_is_read_exactly() {
        for (value, expected) in [
            ("-1", None),
            ("0", Some(Finding::Expired)),
            ("1", Some(Finding::Expired)),
            ("19999", Some(Finding::Expired)),
            ("20000", Some(Finding::Expired)),
            ("20001", None),
            ("9223372036854775807", None),
            ("9223372036854775808", Some(Finding::Unknown)),
            ("", Some(Finding::Unknown)),
            ("never", Some(Finding::Unknown)),
        ] {
            assert_eq!(found(value), expected, "{value}");
        }
    }
}
