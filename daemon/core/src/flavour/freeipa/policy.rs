//! A password policy as FreeIPA keeps it: an entry of class `krbPwdPolicy`, which an account names by the computed
//! `krbPwdPolicyReference`.

use std::time::Duration;

use crate::domain::Dn;
use crate::flavour::entry::{Entry, Unreadable};
use crate::flavour::policy_entry::Policy;

/// The attribute of an account that names its policy.
pub const REFERENCE: &str = "krbPwdPolicyReference";

/// The attributes that verdicts and checks need.
pub const ATTRIBUTES: [&str; 9] = [
    "krbMaxPwdLife",
    "krbMinPwdLife",
    "krbPwdFailureCountInterval",
    "krbPwdHistoryLength",
    "krbPwdLockoutDuration",
    "krbPwdMaxFailure",
    "krbPwdMinDiffChars",
    "krbPwdMinLength",
    "passwordGraceLimit",
];

/// The policy of accounts that name none: `cn=global_policy` of the realm, which is named after the tree.
pub fn global(suffix: &Dn, realm: &str) -> String {
    format!("cn=global_policy,cn={realm},cn=kerberos,{suffix}")
}

/// Reads a policy.
///
/// # Errors
/// [`Unreadable`] for a value of another type than it should be, and where nothing of a policy is shown.
pub fn read(entry: &Entry) -> Result<Policy, Unreadable> {
    if !ATTRIBUTES.iter().any(|name| entry.has(name)) {
        return Err(Unreadable::hidden("krbPwdMaxFailure"));
    }
    let number = |name: &str| Ok(entry.number(name)?.unwrap_or(0));
    let seconds = |name: &str| -> Result<Option<Duration>, Unreadable> {
        Ok(u64::try_from(number(name)?).ok().filter(|number| *number > 0).map(Duration::from_secs))
    };
    let most = number("krbPwdMaxFailure")?;
    Ok(Policy {
        name: entry.name().0.clone(),
        allow_user_change: true,
        check_quality: 2,
        complex: number("krbPwdMinDiffChars")? > 1,
        in_history: number("krbPwdHistoryLength")?,
        lockout: most > 0,
        lockout_duration: seconds("krbPwdLockoutDuration")?,
        max_failures: most,
        max_age: seconds("krbMaxPwdLife")?,
        max_idle: None,
        min_age: seconds("krbMinPwdLife")?,
        min_length: number("krbPwdMinLength")?,
        must_change: true,
        safe_modify: false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::domain::EntryName;
    use crate::flavour::Demands;

    #[test]
    fn s2_2_a_policy_reads_as_freeipa_applies_it() {
        let suffix = Dn::parse("dc=example,dc=org").unwrap();
        let name = global(&suffix, "EXAMPLE.ORG");
        assert_eq!(name, "cn=global_policy,cn=EXAMPLE.ORG,cn=kerberos,dc=example,dc=org");
        let mut entry = Entry::new(EntryName(name));
        assert_eq!(read(&entry).map_err(|bad| bad.attribute), Err("krbPwdMaxFailure".into()));
        for (name, value) in [
            ("krbMaxPwdLife", "7776000"),
            ("krbMinPwdLife", "3600"),
            ("krbPwdFailureCountInterval", "60"),
            ("krbPwdHistoryLength", "0"),
            ("krbPwdLockoutDuration", "600"),
            ("krbPwdMaxFailure", "6"),
            ("krbPwdMinDiffChars", "0"),
            ("krbPwdMinLength", "8"),
        ] {
            entry.add(name, value);
        }
        let policy = read(&entry).unwrap();
        assert_eq!(
            (policy.lockout, policy.max_failures, policy.lockout_duration),
            (true, 6, Some(Duration::from_mins(10)))
        );
        let least_age = Some(Duration::from_hours(1));
        assert_eq!(policy.demands(), Demands { length: Some(8), least_age, ..Demands::default() });
        entry.replace("krbPwdMaxFailure", vec![b"0".to_vec()]);
        entry.replace("krbPwdMinDiffChars", vec![b"3".to_vec()]);
        let policy = read(&entry).unwrap();
        assert!(!policy.lockout && policy.demands().complex);
        entry.replace("krbPwdMaxFailure", vec![b"six".to_vec()]);
        assert_eq!(read(&entry).map_err(|bad| bad.attribute), Err("krbPwdMaxFailure".into()));
    }
}
