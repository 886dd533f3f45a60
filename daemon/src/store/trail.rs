//! What operators see: the audit trail and counts.

use rekeyd_core::domain::{AccountId, Timestamp};

use super::{Error, Store};

/// A row of the audit trail.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// Its number, without gaps.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: String,
    /// The kind of actor.
    pub actor_kind: String,
    /// The actor; gone where it was erased.
    pub actor: Option<String>,
    /// The account; gone where it was erased.
    pub account: Option<String>,
    /// How it ended.
    pub outcome: String,
    /// Why.
    pub reason: Option<String>,
    /// More.
    pub details: Vec<(String, String)>,
}

/// What a check of the chain says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Chain {
    /// The row whose hash does not fit.
    Broken(u64),
    /// So many rows, each fitting the one before.
    Whole(u64),
}

/// The clock was set by more than a clock is that is kept right.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClockSet {
    /// When, by the clock as it was set.
    pub at: Timestamp,
    /// By how much; less than 0 where it was set back.
    pub by_seconds: i64,
}

/// Counts for status.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Requests that wait for a worker.
    pub requests_waiting: u64,
    /// When the oldest of them was accepted.
    pub oldest_request: Option<Timestamp>,
    /// Messages that wait.
    pub notices_waiting: u64,
    /// When the oldest of them was queued.
    pub oldest_notice: Option<Timestamp>,
    /// Messages given up in the last day.
    pub notices_failed: u64,
    /// Tickets that can be claimed.
    pub tickets_live: u64,
    /// Claims and writes of unknown outcome.
    pub claims_open: u64,
    /// Rows of the audit trail.
    pub events: u64,
    /// That the clock was set, for a day.
    pub clock_set: Option<ClockSet>,
}

/// What is kept for a directory that is not in the configuration any more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeftBehind {
    /// Its name, as it was last.
    pub name: String,
    /// Accounts of which something is remembered.
    pub accounts: u64,
    /// Links that could be used if it were there.
    pub tickets_live: u64,
    /// Settings of unknown outcome that only it can tell of.
    pub unsettled: u64,
}

impl Store {
    /// The trail, newest first, of one account where asked.
    pub async fn audit(&self, account: Option<AccountId>, most: usize) -> Result<Vec<AuditRow>, Error> {
        match self {
            Self::Sqlite(store) => store.audit(account, most).await,
        }
    }

    /// The accounts of a stable id that the store knows, in whatever directory: also those that are gone from there.
    pub async fn accounts_named(&self, stable: &str) -> Result<Vec<AccountId>, Error> {
        match self {
            Self::Sqlite(store) => store.accounts_named(stable).await,
        }
    }

    /// Checks the whole chain, in slices that let other looks come between.
    pub async fn verify_audit(&self) -> Result<Chain, Error> {
        match self {
            Self::Sqlite(store) => store.verify_audit().await,
        }
    }

    /// Counts for status.
    pub async fn counts(&self, now: Timestamp) -> Result<Counts, Error> {
        match self {
            Self::Sqlite(store) => store.counts(now).await,
        }
    }
}
