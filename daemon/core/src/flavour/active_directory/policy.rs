//! What a domain, or a fine-grained policy (a Password Settings Object) in its place, demands of passwords.

use std::time::Duration;

use crate::domain::Dn;
use crate::flavour::Demands;
use crate::flavour::active_directory::filetime::{self, Length};
use crate::flavour::entry::{Entry, Unreadable};

/// The attributes of the domain's head that hold its password policy. It has all of them.
pub const OF_THE_DOMAIN: [&str; 6] =
    ["minPwdLength", "pwdHistoryLength", "pwdProperties", "minPwdAge", "lockoutDuration", "lockoutThreshold"];

/// The same of a Password Settings Object (class `msDS-PasswordSettings`), in the same order.
pub const OF_AN_OBJECT: [&str; 6] = [
    "msDS-MinimumPasswordLength",
    "msDS-PasswordHistoryLength",
    "msDS-PasswordComplexityEnabled",
    "msDS-MinimumPasswordAge",
    "msDS-LockoutDuration",
    "msDS-LockoutThreshold",
];

/// The bit of `pwdProperties` that wants several kinds of characters.
const COMPLEX: i64 = 1;

/// One policy, read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PasswordSettings {
    /// Its entry: the domain's head, or the object.
    pub name: Dn,
    /// Least length, in UTF-16 units.
    pub length: u32,
    /// How many earlier passwords are remembered.
    pub history: u32,
    /// Whether three of five kinds of characters are wanted, and no name of the person.
    pub complex: bool,
    /// How long a password must stand before the person may change it.
    pub least_age: Duration,
    /// How long a lock by failures lasts; `None` until somebody lifts it.
    pub lock: Option<Duration>,
    /// After how many failures an account is locked; 0 is never.
    pub failures: u32,
}

impl PasswordSettings {
    /// Reads the head of a domain.
    ///
    /// # Errors
    /// [`Unreadable`] where a value is not shown or can't be read.
    pub fn of_the_domain(head: &Entry) -> Result<Self, Unreadable> {
        let properties = needed(head.number("pwdProperties")?, "pwdProperties")?;
        Self::read(head, OF_THE_DOMAIN, properties & COMPLEX != 0)
    }

    /// Reads a Password Settings Object.
    ///
    /// # Errors
    /// [`Unreadable`] where a value is not shown or can't be read.
    pub fn of_an_object(object: &Entry) -> Result<Self, Unreadable> {
        let complex = "msDS-PasswordComplexityEnabled";
        Self::read(object, OF_AN_OBJECT, needed(object.flag(complex)?, complex)?)
    }

    fn read(entry: &Entry, names: [&str; 6], complex: bool) -> Result<Self, Unreadable> {
        let [length, history, _, least_age, lock, failures] = names;
        let count = |name: &str| -> Result<u32, Unreadable> {
            u32::try_from(needed(entry.number(name)?, name)?).map_err(|_| bad(name, "it is no count"))
        };
        let lasts = |name: &str| -> Result<Length, Unreadable> {
            let value = needed(entry.text(name)?, name)?;
            filetime::length(value.as_bytes()).map_err(|wrong| bad(name, &wrong.to_string()))
        };
        let name = Dn::parse(&entry.name().0).map_err(|wrong| bad("entry", &wrong.to_string()))?;
        Ok(Self {
            name,
            length: count(length)?,
            history: count(history)?,
            complex,
            least_age: match lasts(least_age)? {
                Length::Endless => Duration::MAX,
                Length::For(age) => age,
            },
            // Nothing is until somebody lifts it, too: that is how the tools write it on some versions.
            lock: match lasts(lock)? {
                Length::Endless | Length::For(Duration::ZERO) => None,
                Length::For(time) => Some(time),
            },
            failures: count(failures)?,
        })
    }

    /// For the words of a refusal. `whole` says whether a reset must also keep to history and least age.
    pub(super) fn demands(&self, whole: bool) -> Demands {
        Demands {
            length: Some(self.length).filter(|length| *length > 0),
            history: Some(self.history).filter(|history| whole && *history > 0),
            complex: self.complex,
            least_age: Some(self.least_age).filter(|age| whole && !age.is_zero()),
            free_from: None,
        }
    }
}

fn needed<T>(value: Option<T>, name: &str) -> Result<T, Unreadable> {
    value.ok_or_else(|| Unreadable::hidden(name))
}

fn bad(attribute: &str, why: &str) -> Unreadable {
    Unreadable { attribute: attribute.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::domain::EntryName;

    fn entry(names: [&str; 6], values: [&str; 6]) -> Entry {
        let mut entry = Entry::new(EntryName("DC=ad,DC=example,DC=org".into()));
        for (name, value) in names.iter().zip(values) {
            entry.add(name, value);
        }
        entry
    }

    #[test]
    fn both_kinds_read_alike() {
        let of_the_domain = ["7", "24", "1", "-864000000000", "-18000000000", "0"];
        let of_an_object = ["7", "24", "TRUE", "-864000000000", "-18000000000", "0"];
        let domain = PasswordSettings::of_the_domain(&entry(OF_THE_DOMAIN, of_the_domain)).unwrap();
        assert_eq!(PasswordSettings::of_an_object(&entry(OF_AN_OBJECT, of_an_object)), Ok(domain.clone()));
        assert_eq!(domain.lock, Some(Duration::from_mins(30)));
        let all = Demands {
            length: Some(7),
            history: Some(24),
            complex: true,
            least_age: Some(Duration::from_hours(24)),
            free_from: None,
        };
        assert_eq!(domain.demands(true), all);
        assert_eq!(domain.demands(false), Demands { history: None, least_age: None, ..all });
    }

    #[test]
    fn locks_without_end_are_known_by_two_values() {
        for (lock, expected) in [("0", None), ("-9223372036854775808", None), ("-1", Some(Duration::from_nanos(100)))] {
            let read =
                PasswordSettings::of_the_domain(&entry(OF_THE_DOMAIN, ["0", "0", "16", "0", lock, "3"])).unwrap();
            assert_eq!((read.lock, read.complex), (expected, false), "{lock}");
            assert_eq!(read.demands(true), Demands::default());
        }
    }

    #[test]
    fn t51_what_is_hidden_or_odd_is_unreadable() {
        let good = ["7", "24", "1", "-1", "-1", "0"];
        for name in OF_THE_DOMAIN {
            let mut hidden = entry(OF_THE_DOMAIN, good);
            hidden.replace(name, vec![]);
            assert_eq!(PasswordSettings::of_the_domain(&hidden), Err(Unreadable::hidden(name)));
            let mut odd = entry(OF_THE_DOMAIN, good);
            odd.replace(name, vec![b"x".to_vec()]);
            assert_eq!(PasswordSettings::of_the_domain(&odd).unwrap_err().attribute, name);
        }
    }
}
