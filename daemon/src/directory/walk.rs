//! A walk over all people of a directory: page by page, with a memory that does not grow with their number. Each account is
//! what a look-up by its login would make of it, but for its groups, of which only those are named that verdicts rest on,
//! and for a login that several share: a walk judges accounts, not logins.
//!
//! A walk may look through several pairs of eyes at once: the directory as it is configured, and as another configuration
//! would have it. It reads and proves everything once for all of them.

use rekeyd_core::domain::{Account, AccountId, Timestamp};
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::signs::Sign;

use super::config::DirectoryConfig;
use super::ldap::LdapWalk;
use super::ldif_walk::LdifWalk;
use super::{Directory, Error};

/// What a walk is to do.
pub struct Survey<'c> {
    /// How others would see the directory: their mapping, filter and watched groups. Where it is and how it is reached is
    /// not taken from them.
    pub others: &'c [DirectoryConfig],
    /// Only people that fit this.
    pub filter: Option<Filter>,
    /// Only these accounts.
    pub ids: Option<&'c [AccountId]>,
    /// Whether to read what shows how each password came to be.
    pub signs: bool,
    /// The moment that accounts are judged at.
    pub now: Timestamp,
}

/// One entry of a walk.
#[derive(Debug)]
pub struct Walked {
    /// The account as each pair of eyes sees it, the directory's own first; none where it is no person's for them.
    pub seen: Vec<Option<Account>>,
    /// How its password came to be, where that was asked for.
    pub sign: Option<Sign>,
}

/// A walk under way.
pub enum Walk<'d> {
    /// Over servers.
    Ldap(Box<LdapWalk<'d>>),
    /// Over a file.
    Ldif(LdifWalk<'d>),
}

impl Directory {
    /// Begins a walk.
    ///
    /// # Errors
    /// Why it can't be made as a whole: no server, a limit, another base.
    pub async fn walk(&self, survey: Survey<'_>) -> Result<Walk<'_>, Error> {
        match self {
            Self::Ldap(ldap) => ldap.survey(survey).await.map(|walk| Walk::Ldap(Box::new(walk))),
            Self::Ldif(ldif) => ldif.survey(survey).await.map(Walk::Ldif),
        }
    }
}

impl Walk<'_> {
    /// The next people; none after the last. A page may be empty.
    ///
    /// # Errors
    /// Why the walk ends before its end. It is then incomplete, and has to be begun anew.
    pub async fn page(&mut self) -> Result<Option<Vec<Walked>>, Error> {
        match self {
            Self::Ldap(walk) => walk.page().await,
            Self::Ldif(walk) => walk.page().await,
        }
    }
}
