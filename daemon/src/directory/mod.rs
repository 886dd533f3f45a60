//! The outside: the directory that an organisation already has.
//!
//! [`Directory`] is a closed set: servers that speak LDAP, or one LDIF file for trial and tests. Both answer with nouns
//! of `rekeyd_core`; the files of `ldap` alone know the LDAP library. An account is found only where exactly one entry
//! matches, and a password is written only with a [`Permit`].

pub mod config;
pub mod endpoint;
pub mod ldap;
pub mod ldif;
mod ldif_file;
pub mod ldif_format;
mod ldif_password;
mod ldif_policy;
mod ldif_walk;
pub mod probe;
mod walk;

use std::time::Duration;

use rekeyd_core::domain::{Account, AccountId, DirectoryKey, Dn, Login, NewPassword, Stamp, Timestamp};
use rekeyd_core::flavour::{Demands, Rejection};
pub use rekeyd_core::flavour::{Settled, Verified};
use rekeyd_core::policy::permit::{Mandate, Permit};
use rekeyd_core::settings::Fault;

pub use self::config::DirectoryConfig;
use self::config::{Identity, Kind, LdapConfig};
use self::endpoint::{Endpoint, Security, Transport};
use self::ldap::{Depth, Ldap};
use self::ldif::Ldif;
pub use self::probe::{Care, Grade, Listener, Probe};
pub use self::walk::{Survey, Walk, Walked};

/// A directory that rekeyd stands in front of.
pub enum Directory {
    /// Servers that speak LDAP.
    Ldap(Box<Ldap>),
    /// One LDIF file.
    Ldif(Ldif),
}

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

/// How long a directory's operations may take at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// One operation.
    pub operation: Duration,
    /// A whole write, with the look before it, its second try and the look after that.
    pub write: Duration,
}

/// A group of an account, for operators.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Membership {
    /// Its entry, or its identifier where its entry can't be seen.
    pub name: String,
    /// What its members rule over others by, in words and with its identifier, where the product itself has it so.
    pub power: Option<String>,
}

/// How a write ended.
#[derive(Debug)]
pub enum Written {
    /// The directory has the new password.
    Done {
        /// It was to be changed at the next sign-in, and the directory does not show that it must be.
        must_change_unseen: bool,
    },
    /// Certainly nothing was written: no server took the write.
    NotDone(String),
    /// The directory refused the password or the write, and says why; with what it demands, where it shows that.
    Rejected(Rejection, Demands),
    /// The account changed between reading and writing (locked meanwhile, or a newer password); nothing was written.
    Stale,
    /// No answer: it may or may not have been written. The server is the one to ask again.
    Unsure {
        /// The server that was written to.
        server: String,
    },
}

/// What keeps a server from its work now, or will keep somebody from theirs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Flaw {
    /// The server, by its URL as configured, or the file.
    pub server: String,
    /// What it is.
    pub kind: FlawKind,
    /// What was seen of it, in words for operators.
    pub why: String,
}

/// The kinds of flaw.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FlawKind {
    /// It had not taken over in time a password that another server took.
    Behind,
    /// Its clock and ours differ by more than stamps can bear.
    Clock,
    /// It can't be reached, or ends connections.
    Down,
    /// It takes no writes, and no other server does.
    ReadOnly,
    /// It answers, but not to us: credentials, certificate, rights, or the base. Somebody must act.
    Refused,
    /// It is reached, and answers late or not at all.
    Slow,
    /// It answers, and the last password could not be written for a reason that is not the account's.
    Writes,
}

impl Membership {
    /// A group of which there is no more to be told.
    fn plain(name: &str) -> Self {
        Self { name: name.to_owned(), power: None }
    }
}

impl FlawKind {
    /// The word in the trail and in the status.
    pub fn word(self) -> &'static str {
        match self {
            Self::Behind => "behind",
            Self::Clock => "clock",
            Self::Down => "down",
            Self::ReadOnly => "read-only",
            Self::Refused => "refused",
            Self::Slow => "slow",
            Self::Writes => "writes",
        }
    }
}

impl Directory {
    /// Prepares a directory; it need not be up.
    ///
    /// # Errors
    /// A fault of the configuration that only this machine can show, such as an unreadable file of authorities.
    pub fn open(config: &DirectoryConfig, key: DirectoryKey) -> Result<Self, Fault> {
        match &config.kind {
            Kind::Ldap(ldap) => Ldap::open(config, ldap, key)
                .map(|opened| Self::Ldap(Box::new(opened)))
                .map_err(|fault| Fault { line: ldap.ca_file_line, ..fault }),
            Kind::Ldif(file) => Ok(Self::Ldif(Ldif::open(config, file, key))),
        }
    }

    /// All faults of a configuration that only the files show that it names; no server is asked.
    pub fn file_faults(config: &DirectoryConfig) -> Vec<Fault> {
        let Kind::Ldap(ldap) = &config.kind else { return Vec::new() };
        // The key under which the store knows the directory plays no part in opening it.
        let key = DirectoryKey(0);
        let mut faults: Vec<_> = Self::open(config, key).err().into_iter().collect();
        if ldap.endpoints.is_empty() && ldap.ca_file.is_some() {
            // None of the servers could be read, so nobody asked for the authorities yet.
            let (host, port) = ("localhost".to_owned(), 636);
            let transport = Transport::Tcp { host, port, security: Security::Tls };
            let endpoints = vec![Endpoint { url: String::new(), transport }];
            let ldap = LdapConfig { endpoints, ..LdapConfig::clone(ldap) };
            faults
                .extend(Self::open(&DirectoryConfig { kind: Kind::Ldap(Box::new(ldap)), ..config.clone() }, key).err());
        }
        for identity in [Some(&ldap.identity), ldap.operator.as_ref()].into_iter().flatten() {
            let Identity::Simple { password, .. } = identity else { continue };
            faults.extend(password.read().err().map(|what| Fault {
                line: password.line,
                key: format!("directory.{}", password.key),
                what,
                remedy: "Let the service, and nobody else, read the file.".into(),
            }));
        }
        faults
    }

    /// The key that rekeyd knows it by.
    pub fn key(&self) -> DirectoryKey {
        match self {
            Self::Ldap(ldap) => ldap.key(),
            Self::Ldif(ldif) => ldif.key(),
        }
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        match self {
            Self::Ldap(ldap) => ldap.name(),
            Self::Ldif(ldif) => ldif.name(),
        }
    }

    /// All groups of an account as operators are shown them, also those that no verdict rests on.
    pub async fn memberships(&self, account: &Account) -> Result<Vec<Membership>, Error> {
        match self {
            Self::Ldap(ldap) => ldap.memberships(account).await,
            Self::Ldif(_) => Ok(account.groups.iter().map(|group| Membership::plain(group.as_str())).collect()),
        }
    }

    /// The groups by which an account belongs to a group that it is known to belong to, from the one that names it upwards;
    /// empty where no way is found.
    pub async fn path(&self, account: &Account, group: &Dn) -> Result<Vec<String>, Error> {
        match self {
            Self::Ldap(ldap) => ldap.path(account, group).await,
            Self::Ldif(ldif) => ldif.path(account, group).await,
        }
    }

    /// Finds the one account that a login means, with all its groups and its standing, on any server.
    pub async fn find(&self, login: &Login, now: Timestamp) -> Result<Found, Error> {
        match self {
            Self::Ldap(ldap) => ldap.find(login, Depth::Whole, now).await,
            Self::Ldif(ldif) => ldif.find(login, now).await,
        }
    }

    /// Finds the account that a login means by one question where one suffices: without its groups, and without proof
    /// that what it lacks is not there. It is good for a sign-in; every other verdict on it is unknown, which is no.
    pub async fn glance(&self, login: &Login, now: Timestamp) -> Result<Found, Error> {
        match self {
            Self::Ldap(ldap) => ldap.find(login, Depth::Glance, now).await,
            Self::Ldif(ldif) => ldif.find(login, now).await,
        }
    }

    /// Reads an account again, by its stable id, on a server that takes writes.
    pub async fn read(&self, id: &AccountId, now: Timestamp) -> Result<Found, Error> {
        match self {
            Self::Ldap(ldap) => ldap.read(id, now).await,
            Self::Ldif(ldif) => ldif.read(id, now).await,
        }
    }

    /// Writes one password: exactly one write reaches the directory. The mandate comes back, to be spent or released.
    pub async fn write(&self, permit: Permit) -> (Mandate, Written) {
        match self {
            Self::Ldap(ldap) => ldap.write(permit).await,
            Self::Ldif(ldif) => ldif.write(permit).await,
        }
    }

    /// Looks at the server of an unsure write again: has the stamp changed?
    pub async fn settle(&self, id: &AccountId, before: &Stamp, server: &str, now: Timestamp) -> Result<Settled, Error> {
        match self {
            Self::Ldap(ldap) => ldap.settle(id, before, server).await,
            // One file is one server.
            Self::Ldif(ldif) => ldif.settle(id, before, now).await,
        }
    }

    /// Checks a password by a bind. It counts as a sign-in attempt in the directory, and is never sent a second time.
    pub async fn verify(&self, account: &Account, password: &NewPassword) -> Result<Verified, Error> {
        match self {
            Self::Ldap(ldap) => ldap.verify(account, password).await,
            Self::Ldif(ldif) => ldif.verify(account, password).await,
        }
    }

    /// Tries what rekeyd needs, and says in words how each thing went, to a listener as it goes. Nothing is written but the
    /// canary's password. It works on connections of its own, so that nobody's story meets it.
    pub async fn probe(&self, care: Care, now: Timestamp, listener: Listener) {
        match self {
            Self::Ldap(ldap) => ldap.apart().probe(care, now, &listener).await,
            Self::Ldif(ldif) => {
                for probe in ldif.probe(now).await {
                    listener.hear(probe).await;
                }
            }
        }
    }

    /// How long its operations may take.
    pub fn times(&self) -> Times {
        match self {
            Self::Ldap(ldap) => ldap.times(),
            Self::Ldif(_) => Times::default(),
        }
    }

    /// Asks each server that nobody has used lately, so that a fault shows, and its end too, without anybody in need of it.
    /// A server that fails is asked again at short intervals; one that does not is hardly ever bothered.
    pub async fn examine(&self, now: Timestamp) {
        match self {
            Self::Ldap(ldap) => ldap.examine(now).await,
            // A file is there or not when it is read.
            Self::Ldif(_) => {}
        }
    }

    /// What is wrong now, as far as is known; asks nothing.
    pub fn flaws(&self, now: Timestamp) -> Vec<Flaw> {
        match self {
            Self::Ldap(ldap) => ldap.flaws(now),
            Self::Ldif(_) => Vec::new(),
        }
    }

    /// How long a write to this server must wait so that its stamp differs from the present one. The server's clock
    /// stamps, so that it counts as far as it is known.
    pub fn hold(&self, server: &str, stamp: &Stamp, now: Timestamp) -> Duration {
        let ahead = match self {
            Self::Ldap(ldap) => ldap.clock_of(server, now),
            Self::Ldif(_) => 0,
        };
        hold(stamp, Timestamp::from_millis(now.millis().saturating_add(ahead)))
    }

    /// Whether a server answers, as far as is known, for status and health; asks nothing.
    pub fn is_up(&self) -> bool {
        match self {
            Self::Ldap(ldap) => ldap.is_up(),
            Self::Ldif(ldif) => ldif.is_up(),
        }
    }
}

/// Stamps have a resolution of one second. The server's clock is known roughly, so that a stamp within a few seconds of
/// its present is waited for in full; waiting a second from the reading is always enough.
fn hold(stamp: &Stamp, now: Timestamp) -> Duration {
    const WHOLE: Duration = Duration::from_millis(1050);
    const CLOCKS: Duration = Duration::from_secs(5);
    match stamp.second() {
        Some(second) if now.since(second) < CLOCKS => WHOLE,
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_stamp_is_waited_for() {
        let second = Timestamp::from_millis(1_000_000);
        let stamp = Stamp::new("pwdChangedTime=x", Some(second));
        for (after, held) in [(0, true), (900, true), (4000, true), (6000, false), (-3000, true), (-60_000, true)] {
            let now = Timestamp::from_millis(second.millis() + after);
            assert_eq!(hold(&stamp, now) > Duration::ZERO, held, "{after}");
        }
        assert_eq!(hold(&Stamp::new("entryCSN=x", None), second), Duration::ZERO);
    }
}
