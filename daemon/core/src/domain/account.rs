//! What the directory says of one person, at the moment it was read.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Contact, Dn, Standing, Timestamp};

/// The key under which rekeyd itself knows a directory. It outlives every change of the configuration's names.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct DirectoryKey(pub u32);

/// The directory's own stable id of an account (entryUUID, objectGUID, nsUniqueId), and which directory that is.
/// A renamed account keeps it; an account deleted and created again under the same login has another.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct AccountId {
    /// The directory.
    pub directory: DirectoryKey,
    /// The stable id as text, folded to lower case.
    pub stable: String,
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.directory.0, self.stable)
    }
}

/// An entry's name exactly as the server gave it. It goes back to the server unchanged and is never compared as text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EntryName(pub String);

/// The server that an account was read on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    /// Its URL, or the file of an LDIF directory.
    pub name: String,
    /// Whether it takes writes. Verdicts that lead to a write need a reading from such a server.
    pub writable: bool,
}

/// The mark that changes whenever the password does (on OpenLDAP with ppolicy, `pwdChangedTime`).
/// Stamps are compared for equality only: their resolution is one second and server clocks differ.
#[derive(Clone, Debug)]
pub struct Stamp {
    text: String,
    second: Option<Timestamp>,
    guard: Option<String>,
}

impl Stamp {
    /// A stamp as read: `text` names the attribute and its value (or its absence); `second` is the moment it speaks
    /// of, where it is one.
    pub fn new(text: impl Into<String>, second: Option<Timestamp>) -> Self {
        Self { text: text.into(), second, guard: None }
    }

    /// Adds what must still hold of the whole account when its password is written, in the directory's own terms. It
    /// belongs to this one reading: it takes no part in comparisons and is not kept with a ticket.
    #[must_use]
    pub fn guarded(self, guard: String) -> Self {
        Self { guard: Some(guard), ..self }
    }

    /// What [`Stamp::guarded`] added.
    pub fn guard(&self) -> Option<&str> {
        self.guard.as_deref()
    }

    /// The form that is kept with a ticket.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The second that the stamp names, so that a write can be held until that second has passed.
    pub fn second(&self) -> Option<Timestamp> {
        self.second
    }
}

impl PartialEq for Stamp {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Stamp {}

/// One person's account, as read.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its stable id.
    pub id: AccountId,
    /// Where it stands now.
    pub name: EntryName,
    /// The login name that is shown and written into notices.
    pub login: String,
    /// Names of the person, for greeting and for the words a password may not be made of.
    pub names: Vec<String>,
    /// Language the directory wants (`preferredLanguage`), as written there.
    pub language: Option<String>,
    /// Addresses in the directory, in the order of the configured attributes.
    pub contacts: Vec<Contact>,
    /// All groups it is in, directly or through other groups to any depth.
    pub groups: Vec<Dn>,
    /// What was found about it.
    pub standing: Standing,
    /// The mark of its present password.
    pub stamp: Stamp,
    /// The server it was read on.
    pub server: Server,
}

/// What rekeyd itself remembers of an account.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Facts {
    /// When its person set a password through rekeyd.
    pub activated: Option<Timestamp>,
    /// Self-service is frozen until then, by "this was not me" or by an operator.
    pub frozen_until: Option<Timestamp>,
    /// An operator set a first password, and nothing shows yet that its person ever did.
    pub undecided: bool,
    /// What an adoption took it for.
    pub adopted: Option<Adopted>,
}

/// What an account that is older than rekeyd was taken for, and when.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Adopted {
    /// Its person has set a password.
    Activated(Timestamp),
    /// Nobody has activated it yet.
    NeverActivated(Timestamp),
}
