//! Translators between a directory product and the nouns. None of them touches the network: they name the attributes
//! to read, turn an [`Entry`] into an [`Account`], a [`Permit`] into a [`Change`] and an answer into an [`Outcome`].
//!
//! Another product is another variant of [`Flavour`] and another file here.

pub mod active_directory;
pub mod ds389;
pub mod entry;
pub mod filter;
pub mod freeipa;
pub mod groups;
pub mod mapping;
pub mod markers;
pub mod openldap;
mod openldap_state;
pub mod policy_entry;
pub mod ppolicy;
pub mod product;
pub mod remedy;
pub mod time;

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::domain::{
    Account, AccountId, Contact, DirectoryKey, Dn, EmailAddress, Evidence, Finding, Server, Stamp, Standing, Timestamp,
};
use crate::flavour::active_directory::{ActiveDirectory, Maker};
use crate::flavour::ds389::{Ds389, Idleness};
use crate::flavour::entry::{Entry, Unreadable};
use crate::flavour::filter::Filter;
use crate::flavour::freeipa::{FreeIpa, Writer};
use crate::flavour::markers::Markers;
use crate::flavour::openldap::{Conditions, OpenLdap};
use crate::flavour::policy_entry::{Policy, PolicyView};
use crate::flavour::ppolicy::PolicyAnswer;
use crate::flavour::product::Product;
use crate::policy::permit::Permit;
use crate::settings::in_words;

/// A directory product, as one of its servers presents itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Flavour {
    /// Active Directory, of Windows or of Samba.
    ActiveDirectory(ActiveDirectory),
    /// 389 Directory Server.
    Ds389(Ds389),
    /// FreeIPA.
    FreeIpa(FreeIpa),
    /// OpenLDAP.
    OpenLdap(OpenLdap),
}

/// Which attributes mean what, as configured.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The attributes that a login is looked for in, in order: the first in which anybody is found decides.
    pub logins: Vec<String>,
    /// Those that hold mail addresses.
    pub emails: Vec<String>,
    /// Those that hold the person's names, the one for greeting first.
    pub names: Vec<String>,
    /// The one that holds the person's language.
    pub language: Option<String>,
    /// The organisation's own marks.
    pub markers: Markers,
    /// Accounts that are never a person's: rekeyd's own and the canary.
    pub apart: Vec<Dn>,
}

/// Everything that is known of an entry when it becomes an account.
pub struct Reading<'r> {
    /// The entry.
    pub entry: &'r Entry,
    /// The directory it is from.
    pub directory: DirectoryKey,
    /// The server it was read on.
    pub server: &'r Server,
    /// All its groups, or why they are not all known.
    pub groups: &'r Result<Vec<Dn>, String>,
    /// The password policy that applies to it.
    pub policy: &'r PolicyView,
    /// Attributes of which it is not proved that they would be seen if they were there.
    pub hidden: &'r [String],
    /// Mail addresses, folded, that another account lists too.
    pub shared: &'r [String],
    /// When it was read.
    pub now: Timestamp,
}

/// What is to be written, in a directory's own operations.
pub enum Change {
    /// The password-modify operation (RFC 3062). It can carry no condition, so that a fresh look must come right before.
    Exop {
        /// The new password.
        password: Zeroizing<String>,
    },
    /// A Modify.
    Modify {
        /// Attributes and the values that replace theirs.
        replace: Vec<(&'static str, Zeroizing<Vec<u8>>)>,
        /// The filter that the entry must fit at that moment (RFC 4528).
        condition: Option<String>,
        /// A critical control that has the server apply its rules on old passwords to a reset, too: its OID, where the
        /// server has one (Active Directory's policy hints, MS-ADTS 3.1.1.3.4.1.27).
        hints: Option<&'static str>,
    },
}

/// What a directory demands of a password, as far as it shows that, for the words of a refusal.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Demands {
    /// The least length, in the directory's own count.
    pub length: Option<u32>,
    /// How many earlier passwords are refused.
    pub history: Option<u32>,
    /// Whether several kinds of characters are wanted.
    pub complex: bool,
    /// How long a password must stand before the next.
    pub least_age: Option<Duration>,
    /// When the present password will have stood so long.
    pub free_from: Option<Timestamp>,
}

/// What a write asked for besides the password.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The password must be changed at the next sign-in.
    pub must_change: bool,
    /// A lock by failures is lifted.
    pub unlocks: bool,
    /// What the account was when it was judged.
    pub stamp: &'a Stamp,
}

impl fmt::Display for Demands {
    /// What is demanded, in words for operators; nothing where nothing is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = self.least_age.map(|age| format!("{} between two passwords", in_words(age)));
        let all = [
            self.length.map(|length| format!("at least {length} characters")),
            self.complex.then(|| "several kinds of characters".to_owned()),
            self.history.map(|history| format!("none of the last {history} passwords")),
            age,
        ];
        f.write_str(&all.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// A server's answer to a write or a bind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// The result code.
    pub code: u32,
    /// The server's own words; for operators only.
    pub text: String,
    /// What the password policy control says.
    pub policy: Option<PolicyAnswer>,
}

/// What an answer to a write means. Most say that the server has certainly done it or certainly not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Written.
    Done,
    /// Not written, for a reason that passes.
    NotDone(String),
    /// Not written, since the password or the write is refused.
    Rejected(Rejection),
    /// Not written, since the account is no longer what it was.
    Stale,
    /// Whoever answered does not know it either, as good as no answer: a proxy that lost the server, or a server in
    /// trouble.
    Unsure(String),
}

/// How a password check ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verified {
    /// The directory took the password.
    Right,
    /// It took it, and says that the password must be changed first or has expired.
    RightButMustChange,
    /// It did not, for whatever reason; the public learns no more.
    Wrong,
}

/// What a later look at the same server says of a write of unknown outcome.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Settled {
    /// The stamp changed: it was written (or something newer was).
    Changed,
    /// The directory has no stamp that could tell.
    Undecidable,
    /// The stamp is the old one: it was not written.
    Unchanged,
}

impl Reply {
    /// The answer for an operator: code and text.
    pub fn words(&self) -> String {
        if self.text.is_empty() {
            format!("result {}", self.code)
        } else {
            format!("result {}: {}", self.code, self.text)
        }
    }
}

impl Reading<'_> {
    /// Evidence from this reading.
    pub fn evidence(&self, finding: Finding, attribute: &str, value: &str) -> Evidence {
        Evidence {
            finding,
            attribute: attribute.to_owned(),
            value: value.to_owned(),
            server: self.server.name.clone(),
            until: None,
        }
    }
}

impl Flavour {
    /// A product before anything is known of one of its servers, for what does not depend on that.
    pub fn before_all(product: Product) -> Self {
        let ds = || Ds389 { defined: Vec::new(), idleness: Idleness::Off, must_change: None, tracked: false };
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

    /// Those of the attributes that the server shows only of an entry that is read alone, so that a search leaves them out,
    /// and the OID and value of the control that is asked with then.
    pub fn alone(&self) -> Option<(&'static [&'static str], (&'static str, &'static [u8]))> {
        match self {
            Self::ActiveDirectory(_) => {
                let (oid, value) = &active_directory::DESCRIPTOR_CONTROL;
                Some((&active_directory::CONSTRUCTED, (oid, value)))
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
            Self::ActiveDirectory(_) => ActiveDirectory::stamp(entry),
            Self::Ds389(ds) => ds.stamp(entry, &mapping.markers),
            Self::FreeIpa(ipa) => ipa.stamp(entry, &mapping.markers),
            Self::OpenLdap(openldap) => openldap.stamp(entry, &mapping.markers),
        }
    }

    /// Turns an entry into an account. Every doubt becomes a [`Finding::Unknown`].
    pub fn account(&self, reading: &Reading<'_>, mapping: &Mapping) -> Account {
        let entry = reading.entry;
        let mut standing = Standing::default();
        for attribute in reading.hidden {
            standing.add(reading.evidence(Finding::Unknown, attribute, "rekeyd's account may not see it"));
        }
        let name = Dn::parse(&entry.name().0);
        match &name {
            Ok(name) if mapping.apart.contains(name) => {
                standing.add(reading.evidence(Finding::NotAPerson, "entry", "rekeyd's own account or its canary"));
            }
            Ok(_) => {}
            Err(bad) => standing.add(reading.evidence(Finding::Unknown, "entry", &bad.to_string())),
        }
        for (finding, marker) in mapping.markers.iter() {
            if let Some((attribute, value)) = marker.holds(entry)
                && !standing.evidence().iter().any(|found| found.finding == finding && found.attribute == attribute)
            {
                standing.add(reading.evidence(finding, &attribute, &value));
            }
        }
        match self {
            Self::ActiveDirectory(ad) => ad.standing(reading, &mut standing),
            Self::Ds389(ds) => ds.standing(reading, &mut standing),
            Self::FreeIpa(ipa) => ipa.standing(reading, &mut standing),
            Self::OpenLdap(openldap) => openldap.standing(reading, &mut standing),
        }
        let groups = match reading.groups {
            Ok(groups) => groups.clone(),
            Err(why) => {
                standing.add(reading.evidence(Finding::Unknown, "member", why));
                Vec::new()
            }
        };
        let login = mapping.logins.iter().find_map(|attribute| entry.texts(attribute).min());
        // An account whose id is hidden is still somebody, whom the audit trail must be able to name.
        let id = self.id(reading.directory, entry).unwrap_or_else(|bad| {
            standing.add(reading.evidence(Finding::Unknown, &bad.attribute, &bad.why));
            let name = name.as_ref().map_or(entry.name().0.as_str(), Dn::as_str);
            AccountId { directory: reading.directory, stable: format!("entry {name}") }
        });
        let stamp = self.stamp(entry, mapping).unwrap_or_else(|bad| {
            standing.add(reading.evidence(Finding::Unknown, &bad.attribute, &bad.why));
            Stamp::new(format!("{} unreadable", bad.attribute), None)
        });
        Account {
            name: entry.name().clone(),
            login: login.unwrap_or(&id.stable).to_owned(),
            names: distinct(&mapping.names, entry),
            language: mapping.language.as_ref().and_then(|name| entry.texts(name).next()).map(str::to_owned),
            contacts: contacts(entry, mapping, reading.shared),
            groups,
            standing,
            stamp,
            server: reading.server.clone(),
            id,
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

/// The plain addresses among the configured attributes, in their order; within one attribute, whose values have none,
/// by the alphabet. A value that is no plain address is left out.
fn contacts(entry: &Entry, mapping: &Mapping, shared: &[String]) -> Vec<Contact> {
    let mut contacts: Vec<Contact> = Vec::new();
    for attribute in &mapping.emails {
        let mut values: Vec<&str> = entry.texts(attribute).collect();
        values.sort_unstable();
        for address in values.into_iter().filter_map(|value| EmailAddress::parse(value).ok()) {
            let folded = address.folded();
            if contacts.iter().all(|contact| contact.address.folded() != folded) {
                let shared = shared.contains(&folded);
                contacts.push(Contact { address, source: attribute.clone(), proof: None, shared });
            }
        }
    }
    contacts
}

fn distinct(attributes: &[String], entry: &Entry) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in attributes.iter().flat_map(|attribute| entry.texts(attribute)) {
        if !all.iter().any(|known| known == name) {
            all.push(name.to_owned());
        }
    }
    all
}

/// Why a directory refused a password or a write, as a value; the texts of servers are read once, in the flavours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rejection {
    /// It was used before.
    InHistory,
    /// rekeyd's own identity lacks the right; the person can't mend that.
    MissingRight(String),
    /// The server wants the old password (`pwdSafeModify`), so no reset is possible there.
    MustSupplyOld,
    /// The connection is not protected as the server wants it for passwords.
    NoTls(String),
    /// The server holds it to be too simple.
    NotComplex,
    /// The account may not be changed now, or not by anybody.
    NotAllowed,
    /// Refused, without a rule named.
    Other(String),
    /// The account is one that the directory protects from whoever is no administrator (AdminSDHolder).
    Protected(String),
    /// Longer than the server takes.
    TooLong,
    /// Shorter than the server takes.
    TooShort,
    /// The present password is too young to be changed.
    TooYoung,
}

impl Rejection {
    /// The reason code, for the trail and for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InHistory => "in-history",
            Self::MissingRight(_) => "missing-right",
            Self::MustSupplyOld => "must-supply-old",
            Self::NoTls(_) => "no-tls",
            Self::NotComplex => "not-complex",
            Self::NotAllowed => "not-allowed",
            Self::Other(_) => "other",
            Self::Protected(_) => "protected",
            Self::TooLong => "too-long",
            Self::TooShort => "too-short",
            Self::TooYoung => "too-young",
        }
    }

    /// Whether a rule of the directory refused it, so that the rules help the reader.
    pub fn names_a_rule(&self) -> bool {
        self.is_about_the_password() || matches!(self, Self::TooYoung)
    }

    /// Whether another password could pass. Where not, the ticket is of no use until somebody acts.
    pub fn is_about_the_password(&self) -> bool {
        matches!(self, Self::InHistory | Self::NotComplex | Self::TooLong | Self::TooShort | Self::Other(_))
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InHistory => "it was used before",
            Self::MissingRight(_) => "the directory does not let rekeyd set this password",
            Self::MustSupplyOld => "the directory wants the old password as well",
            Self::NoTls(_) => "the directory takes passwords on protected connections only",
            Self::NotComplex => "the directory holds it to be too simple",
            Self::NotAllowed => "the directory does not allow this password to be changed now",
            Self::Other(_) => "the directory refused it without naming a rule",
            Self::Protected(_) => "the directory protects this account",
            Self::TooLong => "it is longer than the directory takes",
            Self::TooShort => "it is shorter than the directory takes",
            Self::TooYoung => "the present password is too young to be changed",
        })
    }
}
