//! Which product answers: each question to a [`Flavour`] goes to the file of its product. What is the same for all of them is
//! said here once.

use zeroize::Zeroizing;

use crate::domain::{AccountId, DirectoryKey, Dn, Stamp};
use crate::flavour::active_directory::{self, ActiveDirectory, Maker, NumberedGroup};
use crate::flavour::ds389::{self, Ds389, Idleness};
use crate::flavour::entry::{Entry, Unreadable};
use crate::flavour::filter::Filter;
use crate::flavour::freeipa::{self, FreeIpa, Writer};
use crate::flavour::openldap::{Conditions, OpenLdap};
use crate::flavour::policy_entry::{self, Policy, PolicyView};
use crate::flavour::product::Product;
use crate::flavour::{
    Asked, Change, Demands, Flavour, Mapping, Outcome, Rejection, Reply, Settled, ShownAlone, Verified,
};
use crate::policy::permit::Permit;

impl Flavour {
    /// A product before anything is known of one of its servers, for what does not depend on that.
    pub fn before_all(product: Product) -> Self {
        let ds = || Ds389 { idleness: Idleness::Off, ..Ds389::default() };
        match product {
            Product::ActiveDirectory => Self::ActiveDirectory(ActiveDirectory::new(Maker::Microsoft)),
            Product::Ds389 => Self::Ds389(ds()),
            Product::FreeIpa => Self::FreeIpa(FreeIpa {
                ds: ds(),
                suffix: Dn::root(),
                writer: Writer::Unknown("nobody has looked yet".into()),
                operators: None,
            }),
            Product::OpenLdap => {
                Self::OpenLdap(OpenLdap { ppolicy: true, conditions: Conditions::Full, defined: Vec::new() })
            }
        }
    }

    /// The product.
    pub fn product(&self) -> Product {
        match self {
            Self::ActiveDirectory(_) => Product::ActiveDirectory,
            Self::Ds389(_) => Product::Ds389,
            Self::FreeIpa(_) => Product::FreeIpa,
            Self::OpenLdap(_) => Product::OpenLdap,
        }
    }

    /// The attribute with the stable id.
    pub fn id_attribute(&self) -> &'static str {
        match self {
            Self::ActiveDirectory(_) => active_directory::ID,
            Self::Ds389(_) => ds389::ID,
            Self::FreeIpa(_) => freeipa::ID,
            Self::OpenLdap(_) => "entryUUID",
        }
    }

    /// The filter that finds an account by its stable id; `None` where none here can have such an id.
    pub fn id_filter(&self, id: &AccountId) -> Option<Filter> {
        match self {
            Self::ActiveDirectory(_) => ActiveDirectory::by_id(&id.stable),
            _ => Some(Filter::equal(self.id_attribute(), id.stable.as_str())),
        }
    }

    /// The attributes to ask for, without doubles.
    pub fn attributes(&self, mapping: &Mapping) -> Vec<String> {
        let own: Vec<&str> = match self {
            Self::ActiveDirectory(_) => ActiveDirectory::attributes().collect(),
            Self::Ds389(ds) => ds.attributes().collect(),
            Self::FreeIpa(ipa) => ipa.attributes().collect(),
            Self::OpenLdap(_) => OpenLdap::attributes().collect(),
        };
        let mapped = mapping.logins.iter().chain(&mapping.emails).chain(&mapping.names).chain(&mapping.language);
        let mut all: Vec<String> = Vec::new();
        for name in own.into_iter().chain(mapped.map(String::as_str)).chain(mapping.markers.attributes()) {
            if !all.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                all.push(name.to_owned());
            }
        }
        all
    }

    /// What the server shows only of an entry that is read alone.
    pub fn alone(&self) -> Option<ShownAlone> {
        match self {
            Self::ActiveDirectory(_) => {
                let (oid, value) = &active_directory::DESCRIPTOR_CONTROL;
                Some(ShownAlone { attributes: &active_directory::CONSTRUCTED, control: (oid, value) })
            }
            Self::Ds389(_) | Self::FreeIpa(_) | Self::OpenLdap(_) => None,
        }
    }

    /// The groups of an account as its entry alone shows them; `None` where they must be looked for.
    pub fn groups_shown(&self, entry: &Entry) -> Option<Result<Vec<Dn>, String>> {
        match self {
            Self::ActiveDirectory(ad) => Some(ad.groups(entry)),
            Self::Ds389(_) | Self::FreeIpa(_) | Self::OpenLdap(_) => None,
        }
    }

    /// All groups of an account by their identifiers, in order; `None` where the product does not number them.
    ///
    /// # Errors
    /// Why they are not known.
    pub fn numbered_groups(&self, entry: &Entry) -> Option<Result<Vec<NumberedGroup>, String>> {
        match self {
            Self::ActiveDirectory(ad) => Some(ad.numbered_groups(entry)),
            Self::Ds389(_) | Self::FreeIpa(_) | Self::OpenLdap(_) => None,
        }
    }

    /// The groups, and the roles that count like groups, which an entry names itself.
    pub fn groups_named<'e>(&self, entry: &'e Entry) -> Vec<&'e str> {
        match self {
            Self::ActiveDirectory(_) | Self::OpenLdap(_) => entry.texts("memberOf").collect(),
            Self::Ds389(_) | Self::FreeIpa(_) => Ds389::seeds(entry).collect(),
        }
    }

    /// The attributes whose absence means something, so that it must be proved that they would be seen.
    pub fn must_read(&self, mapping: &Mapping) -> Vec<String> {
        match self {
            Self::ActiveDirectory(ad) => ad.must_read(&mapping.markers),
            Self::Ds389(ds) => ds.must_read(&mapping.markers),
            Self::FreeIpa(ipa) => ipa.must_read(&mapping.markers),
            Self::OpenLdap(openldap) => openldap.must_read(&mapping.markers),
        }
    }

    /// The attributes of the entries in which the product keeps its password policies.
    pub fn policy_attributes(&self) -> &'static [&'static str] {
        match self {
            Self::ActiveDirectory(_) => &[],
            Self::Ds389(_) => &ds389::policy::ATTRIBUTES,
            Self::FreeIpa(_) => &freeipa::policy::ATTRIBUTES,
            Self::OpenLdap(_) => &policy_entry::ATTRIBUTES,
        }
    }

    /// The policy that an account's entry names, if it names one.
    ///
    /// # Errors
    /// [`Unreadable`] where it names several.
    pub fn policy_named<'e>(&self, entry: &'e Entry) -> Result<Option<&'e str>, Unreadable> {
        match self {
            // Its own policies are looked for in `ActiveDirectory`, by the server's own reckoning.
            Self::ActiveDirectory(_) => Ok(None),
            Self::Ds389(_) | Self::OpenLdap(_) => entry.text("pwdPolicySubentry"),
            Self::FreeIpa(_) => entry.text(freeipa::policy::REFERENCE),
        }
    }

    /// Reads a policy's entry.
    ///
    /// # Errors
    /// [`Unreadable`] for a value of another type than it should be, and where it does not show what each policy has.
    pub fn policy(&self, entry: &Entry) -> Result<Policy, Unreadable> {
        match self {
            Self::ActiveDirectory(_) | Self::OpenLdap(_) => Policy::read(entry),
            Self::Ds389(_) => ds389::policy::read(entry),
            Self::FreeIpa(_) => freeipa::policy::read(entry),
        }
    }

    /// What is demanded of an account's next password, as far as that is shown.
    pub fn demands(&self, entry: &Entry, policy: &PolicyView) -> Demands {
        let demands = match (self, policy) {
            (Self::ActiveDirectory(ad), _) => ad.demands(entry),
            (_, PolicyView::InForce(policy)) => policy.demands(),
            (_, PolicyView::None | PolicyView::Unreadable(_)) => Demands::default(),
        };
        let after = |attribute: &str| entry.moment(attribute).ok().flatten();
        let set = match self {
            Self::ActiveDirectory(_) => ActiveDirectory::set_at(entry),
            // The server keeps the moment itself.
            Self::Ds389(_) => return Demands { free_from: Ds389::free_from(entry), ..demands },
            Self::FreeIpa(_) => after("krbLastPwdChange"),
            Self::OpenLdap(_) => after("pwdChangedTime"),
        };
        let free_from = set.zip(demands.least_age).map(|(set, age)| set.plus(age));
        Demands { free_from, ..demands }
    }

    /// The stable id of an entry.
    ///
    /// # Errors
    /// [`Unreadable`] where it is not shown.
    pub fn id(&self, directory: DirectoryKey, entry: &Entry) -> Result<AccountId, Unreadable> {
        let attribute = self.id_attribute();
        let stable = match self {
            Self::ActiveDirectory(_) => Some(ActiveDirectory::id(entry)?),
            Self::Ds389(_) | Self::FreeIpa(_) | Self::OpenLdap(_) => entry.text(attribute)?.map(str::to_lowercase),
        };
        stable.map(|stable| AccountId { directory, stable }).ok_or_else(|| Unreadable::hidden(attribute))
    }

    /// The mark of an entry's password.
    ///
    /// # Errors
    /// [`Unreadable`] where what it is made of is not shown.
    pub fn stamp(&self, entry: &Entry, mapping: &Mapping) -> Result<Stamp, Unreadable> {
        match self {
            Self::ActiveDirectory(_) => ActiveDirectory::stamp(entry, &mapping.markers),
            Self::Ds389(ds) => ds.stamp(entry, &mapping.markers),
            Self::FreeIpa(ipa) => ipa.stamp(entry, &mapping.markers),
            Self::OpenLdap(openldap) => openldap.stamp(entry, &mapping.markers),
        }
    }

    /// How a permitted password is written.
    ///
    /// # Errors
    /// [`Rejection`] where this directory has no way to do what is asked.
    pub fn change(&self, permit: &Permit) -> Result<Change, Rejection> {
        match self {
            Self::ActiveDirectory(ad) => ad.change(permit, permit.unlocks()),
            Self::Ds389(ds) => ds.change(permit),
            Self::FreeIpa(ipa) => ipa.change(permit),
            Self::OpenLdap(openldap) => openldap.change(permit),
        }
    }

    /// How the canary is given a password that nobody knows. Only what is written so is its own.
    pub fn canary(&self, password: &str) -> Change {
        let plain = || Zeroizing::new(password.as_bytes().to_vec());
        match self {
            Self::ActiveDirectory(ad) => ad.canary(password),
            Self::Ds389(_) | Self::FreeIpa(_) | Self::OpenLdap(_) => {
                Change::Modify { replace: vec![("userPassword", plain())], condition: None, hints: None }
            }
        }
    }

    /// What the answer to a write means.
    pub fn outcome(&self, reply: &Reply, asked: &Asked<'_>) -> Outcome {
        let must_change = asked.must_change;
        match self {
            Self::ActiveDirectory(_) => {
                let protected = ActiveDirectory::is_protected(asked.stamp);
                match ActiveDirectory::outcome(reply, must_change, protected) {
                    Outcome::Rejected(Rejection::MissingRight(why)) if asked.unlocks => {
                        Outcome::Rejected(Rejection::MissingRight(format!(
                            "{why}; and \"Write lockoutTime\", since policy.unlock_by_reset lets a reset lift a lock"
                        )))
                    }
                    outcome => outcome,
                }
            }
            Self::Ds389(_) => Ds389::outcome(reply, must_change),
            Self::FreeIpa(_) => FreeIpa::outcome(reply, must_change),
            Self::OpenLdap(_) => OpenLdap::outcome(reply, must_change),
        }
    }

    /// Whether an entry that was read after a write with must-change shows that it took; `None` where the write itself
    /// says so.
    pub fn must_be_changed(&self, entry: &Entry) -> Option<bool> {
        match self {
            Self::Ds389(_) => Some(Ds389::must_be_changed(entry)),
            Self::FreeIpa(_) => Some(FreeIpa::must_be_changed(entry)),
            Self::ActiveDirectory(_) | Self::OpenLdap(_) => None,
        }
    }

    /// Whether the answer to a write says that the server is a copy that takes none.
    pub fn is_copy(&self, reply: &Reply) -> bool {
        match self {
            Self::ActiveDirectory(_) => ActiveDirectory::is_copy(reply),
            Self::Ds389(_) => Ds389::is_copy(reply),
            Self::FreeIpa(_) => FreeIpa::is_copy(reply),
            Self::OpenLdap(_) => OpenLdap::is_copy(reply),
        }
    }

    /// What the answer to a person's bind means.
    ///
    /// # Errors
    /// The server's words, where they say nothing about the password.
    pub fn verified(&self, reply: &Reply) -> Result<Verified, String> {
        match self {
            Self::ActiveDirectory(_) => ActiveDirectory::verified(reply),
            Self::Ds389(_) => Ds389::verified(reply),
            Self::FreeIpa(_) => FreeIpa::verified(reply),
            Self::OpenLdap(_) => OpenLdap::verified(reply),
        }
    }

    /// Whether a password was written between two readings.
    pub fn settled(&self, before: &Stamp, after: &Stamp) -> Settled {
        match self {
            Self::ActiveDirectory(_) => ActiveDirectory::settled(before, after),
            Self::Ds389(_) => Ds389::settled(before, after),
            Self::FreeIpa(_) => FreeIpa::settled(before, after),
            Self::OpenLdap(_) => OpenLdap::settled(before, after),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::domain::EntryName;
    use crate::flavour::policy_entry::plain_policy;

    #[test]
    fn ids_are_looked_for_as_each_product_keeps_them() {
        let id = |stable: &str| AccountId { directory: DirectoryKey(1), stable: stable.into() };
        let guid = id("96d1894e-333a-4fd6-aa73-f15802be1580");
        for (_, product) in Product::ALL {
            let flavour = Flavour::before_all(product);
            assert_eq!(flavour.product(), product);
            let filter = flavour.id_filter(&guid).unwrap();
            let expected = match product {
                Product::ActiveDirectory => {
                    // The first three parts of a GUID stand the other way round in its bytes.
                    let head = [0x4e, 0x89, 0xd1, 0x96, 0x3a, 0x33, 0xd6, 0x4f];
                    Filter::equal("objectGUID", [head, [0xaa, 0x73, 0xf1, 0x58, 0x02, 0xbe, 0x15, 0x80]].concat())
                }
                _ => Filter::equal(flavour.id_attribute(), guid.stable.as_str()),
            };
            assert_eq!(filter, expected, "{product}");
        }
        assert_eq!(Flavour::before_all(Product::ActiveDirectory).id_filter(&id("entry cn=x")), None);
    }

    #[test]
    fn demands_say_when_the_next_password_may_come() {
        let mut entry = Entry::new(EntryName("uid=ada,dc=x".into()));
        entry.add("pwdChangedTime", "20260101000000Z");
        let age = Duration::from_hours(2);
        let policy =
            PolicyView::InForce(Policy { min_age: Some(age), min_length: 9, check_quality: 2, ..plain_policy() });
        let demands = Flavour::before_all(Product::OpenLdap).demands(&entry, &policy);
        assert_eq!((demands.length, demands.history, demands.least_age), (Some(9), Some(3), Some(age)));
        assert_eq!(demands.free_from, entry.moment("pwdChangedTime").unwrap().map(|set| set.plus(age)));
        assert_eq!(
            demands.to_string(),
            "at least 9 characters, none of the last 3 passwords, 2h between two passwords"
        );
        let unknown = Flavour::before_all(Product::OpenLdap).demands(&entry, &PolicyView::None);
        assert_eq!((unknown.clone(), unknown.to_string()), (Demands::default(), String::new()));
    }
}
