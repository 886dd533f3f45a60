//! Translators between a directory product and the nouns. None of them touches the network: they name the attributes
//! to read, turn an [`Entry`] into an [`Account`](crate::domain::Account), a [`Permit`](crate::policy::permit::Permit) into a
//! [`Change`] and an answer into an [`Outcome`].
//!
//! Another product is another variant of [`Flavour`], another arm of each question in `dispatch`, and another file here.

mod account;
pub mod active_directory;
mod dispatch;
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
pub mod signs;
pub mod time;

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::domain::{DirectoryKey, Dn, Evidence, Finding, Server, Stamp, Timestamp};
use crate::flavour::active_directory::ActiveDirectory;
use crate::flavour::ds389::Ds389;
use crate::flavour::entry::Entry;
use crate::flavour::freeipa::FreeIpa;
use crate::flavour::markers::Markers;
use crate::flavour::openldap::OpenLdap;
use crate::flavour::policy_entry::PolicyView;
use crate::flavour::ppolicy::PolicyAnswer;
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

/// What a server shows only of an entry that is read alone.
#[derive(Clone, Copy, Debug)]
pub struct ShownAlone {
    /// The attributes, which a search over many leaves out.
    pub attributes: &'static [&'static str],
    /// The OID and value of the control that is asked with.
    pub control: (&'static str, &'static [u8]),
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
