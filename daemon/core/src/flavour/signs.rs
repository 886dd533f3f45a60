//! What an entry shows of how its password came to be, for accounts that are older than rekeyd: by the person's own hand,
//! by nobody's, or nobody can tell. A last sign-in is no sign: others may have signed in for them.

use std::time::Duration;

use crate::domain::{Finding, Standing};
use crate::flavour::Flavour;
use crate::flavour::entry::Entry;
use crate::flavour::openldap::OpenLdap;

/// When an entry was made (RFC 4512, 3.4.2).
pub const CREATED: &str = "createTimestamp";

/// What holds a password.
pub const PASSWORD: &str = "userPassword";

/// A password so young in its account was given with it.
const WITH_ITS_ACCOUNT: Duration = Duration::from_secs(5);

/// Whose hand a password shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hand {
    /// Nobody's: there is no password, or a marker says that nobody activated the account.
    Nobody,
    /// The person's.
    Person,
    /// There is no telling.
    Unclear,
}

/// A sign, and what it rests on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sign {
    /// Whose hand it shows.
    pub hand: Hand,
    /// The attribute.
    pub attribute: String,
    /// Its value, or what is seen of it in words.
    pub value: String,
}

impl Sign {
    fn new(hand: Hand, attribute: &str, value: &str) -> Self {
        Self { hand, attribute: attribute.to_owned(), value: value.to_owned() }
    }
}

impl Flavour {
    /// Reads the signs of an entry, whose findings are known. `bare`: it is proved that it has no password.
    pub fn sign(&self, entry: &Entry, standing: &Standing, bare: bool) -> Sign {
        let of = |hand, finding, own: fn(&str) -> bool| {
            let mut found = standing.evidence().iter().filter(|seen| seen.finding == finding && own(&seen.attribute));
            found.next().map(|seen| Sign::new(hand, &seen.attribute, &seen.value))
        };
        if let Some(sign) = of(Hand::Unclear, Finding::Unknown, |_| true) {
            return sign;
        }
        if bare {
            return Sign::new(Hand::Nobody, PASSWORD, "absent");
        }
        // The overlay's missing mark alone proves nothing; what a marker says is the organisation's own word, and what the other
        // products say of newcomers rests on more than one sign.
        let marked = match self {
            Self::OpenLdap(_) => of(Hand::Nobody, Finding::NeverActivated, |attribute| attribute != "pwdChangedTime"),
            _ => of(Hand::Nobody, Finding::NeverActivated, |_| true),
        };
        if let Some(sign) = marked.or_else(|| of(Hand::Unclear, Finding::Undecided, |_| true)) {
            return sign;
        }
        match self {
            // Passwords are counted, whoever sets them.
            Self::ActiveDirectory(_) => unclear(entry, "msDS-KeyVersionNumber"),
            // One that an administrator had set was changed by somebody who is none.
            Self::Ds389(_) if entry.flag("pwdReset") == Ok(Some(false)) => {
                Sign::new(Hand::Person, "pwdReset", "FALSE: a temporary password was changed")
            }
            // These marks are left by every write.
            Self::Ds389(_) if entry.has("pwdUpdateTime") => unclear(entry, "pwdUpdateTime"),
            Self::Ds389(_) => unclear(entry, "passwordGraceUserTime"),
            // What an administrator sets has expired at once, which is a finding.
            Self::FreeIpa(_) => match entry.texts("krbLastPwdChange").next() {
                Some(value) if !standing.has(Finding::MustChange) => Sign::new(Hand::Person, "krbLastPwdChange", value),
                _ => unclear(entry, "krbLastPwdChange"),
            },
            Self::OpenLdap(openldap) => of_openldap(openldap, entry),
        }
    }

    /// Whether a proof that there is no password would decide about an entry that shows none.
    pub fn is_decided_by_absence(&self, entry: &Entry) -> bool {
        matches!(self, Self::OpenLdap(_)) && !entry.has(PASSWORD) && !entry.has("pwdChangedTime")
    }
}

/// A mark that says nothing of whose hand it was.
fn unclear(entry: &Entry, mark: &str) -> Sign {
    let value = match entry.texts(mark).next() {
        Some(value) => format!("{value}: an administrator may have set it as well"),
        None => "absent, and there may be a password all the same".to_owned(),
    };
    Sign::new(Hand::Unclear, mark, &value)
}

/// The overlay marks when a password was set, and whether an administrator wants it changed, but not who set it.
fn of_openldap(openldap: &OpenLdap, entry: &Entry) -> Sign {
    if !openldap.ppolicy {
        return Sign::new(Hand::Unclear, PASSWORD, "the directory keeps no mark of who set it");
    }
    let Ok(Some(changed)) = entry.moment("pwdChangedTime") else {
        // Set before the overlay was there, or loaded past it.
        return Sign::new(Hand::Unclear, "pwdChangedTime", "absent, and there may be a password all the same");
    };
    if entry.flag("pwdReset") == Ok(Some(true)) {
        return Sign::new(Hand::Unclear, "pwdReset", "TRUE: an administrator set the present password");
    }
    let value = entry.texts("pwdChangedTime").next().unwrap_or_default();
    let born = entry.moment(CREATED).ok().flatten();
    if born.is_some_and(|born| changed <= born.plus(WITH_ITS_ACCOUNT) && born <= changed.plus(WITH_ITS_ACCOUNT)) {
        return Sign::new(Hand::Unclear, "pwdChangedTime", &format!("{value}: as old as the account"));
    }
    Sign::new(Hand::Person, "pwdChangedTime", value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EntryName, Evidence};
    use crate::flavour::openldap::Conditions;
    use crate::flavour::product::Product;

    #[test]
    fn t56_only_a_password_of_the_persons_own_is_a_sign_of_them() {
        let flavour =
            |ppolicy| Flavour::OpenLdap(OpenLdap { ppolicy, conditions: Conditions::None, defined: Vec::new() });
        let changed = ("pwdChangedTime", "20260102000000Z");
        for (ppolicy, attributes, bare, hand) in [
            (true, &[changed][..], false, Hand::Person),
            (true, &[changed, (CREATED, "20250101000000Z")], false, Hand::Person),
            (true, &[changed, (CREATED, "20260102000000Z")], false, Hand::Unclear),
            (true, &[changed, (CREATED, "20260101235957Z")], false, Hand::Unclear),
            // A password that is older than its entry was brought along from elsewhere: somebody's own.
            (true, &[changed, (CREATED, "20260301000000Z")], false, Hand::Person),
            (true, &[changed, ("pwdReset", "TRUE")], false, Hand::Unclear),
            (true, &[changed, ("pwdReset", "FALSE")], false, Hand::Person),
            (true, &[], false, Hand::Unclear),
            (true, &[], true, Hand::Nobody),
            (true, &[("pwdChangedTime", "yesterday")], false, Hand::Unclear),
            (false, &[], false, Hand::Unclear),
            (false, &[], true, Hand::Nobody),
        ] {
            let mut entry = Entry::new(EntryName("uid=ada,dc=x".into()));
            for (name, value) in attributes {
                entry.add(name, *value);
            }
            let sign = flavour(ppolicy).sign(&entry, &Standing::default(), bare);
            assert_eq!(sign.hand, hand, "{ppolicy} {attributes:?} {bare}: {sign:?}");
        }
    }

    #[test]
    fn t56_marks_that_administrators_leave_as_well_are_no_signs() {
        for (product, attributes, hand) in [
            (
                Product::ActiveDirectory,
                &[("pwdLastSet", "134397835742054550"), ("msDS-KeyVersionNumber", "5")][..],
                Hand::Unclear,
            ),
            (Product::Ds389, &[("passwordGraceUserTime", "0")], Hand::Unclear),
            (Product::Ds389, &[("pwdUpdateTime", "20261122011035Z")], Hand::Unclear),
            (Product::Ds389, &[("pwdReset", "TRUE"), ("pwdUpdateTime", "20261122011035Z")], Hand::Unclear),
            (Product::Ds389, &[("pwdReset", "FALSE"), ("pwdUpdateTime", "20261122011035Z")], Hand::Person),
            (Product::FreeIpa, &[("krbLastPwdChange", "20260601000000Z")], Hand::Person),
            (Product::FreeIpa, &[], Hand::Unclear),
        ] {
            let mut entry = Entry::new(EntryName("uid=ada,dc=x".into()));
            for (name, value) in attributes {
                entry.add(name, *value);
            }
            let sign = Flavour::before_all(product).sign(&entry, &Standing::default(), false);
            assert_eq!(sign.hand, hand, "{product} {attributes:?}: {sign:?}");
        }
    }

    #[test]
    fn t56_a_marker_is_the_organisations_word_and_doubt_comes_first() {
        let flavour = Flavour::OpenLdap(OpenLdap { ppolicy: true, conditions: Conditions::None, defined: Vec::new() });
        let mut entry = Entry::new(EntryName("uid=ada,dc=x".into()));
        entry.add("pwdChangedTime", "20260102000000Z");
        let mut standing = Standing::default();
        let mut found = |finding, attribute: &str| {
            standing.add(Evidence {
                finding,
                attribute: attribute.into(),
                value: "v".into(),
                server: "s".into(),
                until: None,
            });
            flavour.sign(&entry, &standing, false)
        };
        assert_eq!(found(Finding::NeverActivated, "pwdChangedTime").hand, Hand::Person);
        assert_eq!(found(Finding::NeverActivated, "employeeType"), Sign::new(Hand::Nobody, "employeeType", "v"));
        assert_eq!(found(Finding::Unknown, "member"), Sign::new(Hand::Unclear, "member", "v"));
    }
}
