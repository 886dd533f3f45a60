//! The outside: the directory that an organisation already has.
//!
//! [`Directory`] is a closed set: a server that speaks LDAP, or one LDIF file for trial and tests. Both answer with
//! nouns of `rekeyd_core`; the file `ldap.rs` alone knows the LDAP library. An account is found only where exactly one
//! entry matches, and a password is written only with a [`Permit`].

use rekeyd_core::domain::{Account, AccountId, DirectoryKey, Login, NewPassword, Stamp, Timestamp};
use rekeyd_core::flavour::Rejection;
use rekeyd_core::policy::permit::{Mandate, Permit};

/// A directory that rekeyd stands in front of.
pub enum Directory {}

/// The answer to a look-up.
#[derive(Debug)]
pub enum Found {
    /// Exactly one entry.
    Account(Box<Account>),
    /// Several; nobody guesses which.
    Ambiguous(Vec<AccountId>),
    /// None.
    NotFound,
}

/// Why a directory could not be asked. Nothing was written.
#[derive(Debug)]
pub enum Error {
    /// It answered, but not to us: wrong credentials, missing right, wrong base. Retrying won't help before somebody acts.
    Misconfigured(String),
    /// No server answered in time; it may be back soon.
    Unavailable(String),
}

/// How a write ended.
#[derive(Debug)]
pub enum Written {
    /// The directory has the new password.
    Done,
    /// Certainly nothing was written: no server took the write.
    NotDone(String),
    /// The directory refused the password or the write, and says why.
    Rejected(Rejection),
    /// The account changed between reading and writing (locked meanwhile, or a newer password); nothing was written.
    Stale,
    /// No answer: it may or may not have been written. The server is the one to ask again.
    Unsure {
        /// The server that was written to.
        server: String,
    },
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

/// One thing that a probe found.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What was tried.
    pub what: String,
    /// How it went, in words.
    pub outcome: String,
    /// Whether it is as it should be.
    pub grade: Grade,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// How a probe went.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Grade {
    /// As it should be.
    Fine,
    /// Works, but somebody should know.
    Note,
    /// Does not work.
    Broken,
}

impl Directory {
    /// The key that rekeyd knows it by.
    pub fn key(&self) -> DirectoryKey {
        unimplemented!()
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        unimplemented!()
    }

    /// Finds the one account that a login means, with all its groups and its standing, on any server.
    pub async fn find(&self, login: &Login, now: Timestamp) -> Result<Found, Error> {
        let _ = (login, now);
        unimplemented!()
    }

    /// Reads an account again, by its stable id, on a server that takes writes.
    pub async fn read(&self, id: &AccountId, now: Timestamp) -> Result<Found, Error> {
        let _ = (id, now);
        unimplemented!()
    }

    /// Writes one password: exactly one write reaches the directory. The mandate comes back, to be spent or released.
    pub async fn write(&self, permit: Permit) -> (Mandate, Written) {
        let _ = permit;
        unimplemented!()
    }

    /// Looks at the server of an unsure write again: has the stamp changed?
    pub async fn settle(&self, id: &AccountId, before: &Stamp, server: &str, now: Timestamp) -> Result<Settled, Error> {
        let _ = (id, before, server, now);
        unimplemented!()
    }

    /// Checks a password by a bind of its own connection. It counts as a sign-in attempt in the directory.
    pub async fn verify(&self, account: &Account, password: &NewPassword) -> Result<Verified, Error> {
        let _ = (account, password);
        unimplemented!()
    }

    /// Tries what rekeyd will need, writes nothing but the canary, and says in words how each thing went.
    pub async fn probe(&self, now: Timestamp) -> Vec<Probe> {
        let _ = now;
        unimplemented!()
    }

    /// Whether the last operation reached a server, for status and health; asks nothing.
    pub fn is_up(&self) -> bool {
        unimplemented!()
    }
}

/// How long a write must wait so that its stamp differs from the present one: stamps have a resolution of one second.
pub fn hold(stamp: &Stamp, now: Timestamp) -> std::time::Duration {
    let Some(second) = stamp.second() else { return std::time::Duration::ZERO };
    let over = second.plus(std::time::Duration::from_millis(1050));
    if second.since(now) > std::time::Duration::from_secs(2) { std::time::Duration::ZERO } else { over.since(now) }
}
