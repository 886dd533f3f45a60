//! The outside: what rekeyd remembers.
//!
//! [`Store`] is a closed set: SQLite now, a server for several nodes later; `contract` is one suite for all of them.
//! Every method is one transaction; each change carries the [`Event`] that tells of it. What is accepted is on disk
//! before it is answered.

mod adoption;
mod config;
#[cfg(test)]
mod contract;
mod doctor;
mod outbox;
mod replacement;
mod request;
mod sqlite;
mod ticket;
mod trail;
mod watch;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::{
    AccountId, AddressHash, DataKey, DirectoryKey, Event, Facts, KeyRing, NoticeId, Proof, RequestId, TicketId,
    Timestamp, TokenHash,
};
use rekeyd_core::policy::permit::Claimed;
use ring::rand::SystemRandom;

pub use self::adoption::{Adoption, AdoptionBegun, AdoptionState, NewAdoption};
pub use self::config::StoreConfig;
pub use self::doctor::DoctorRun;
pub use self::outbox::{Delivery, LeasedNotice, NewNotice, OutboxRow};
pub use self::replacement::Replacement;
pub use self::request::{Acceptance, Counter, Ended, LeasedRequest, NewRequest};
pub use self::sqlite::Sqlite;
pub use self::ticket::{Issue, Issued, NewTicket, OpenClaim, Spend, StoredTicket, TicketState};
pub use self::trail::{AuditRow, Chain, ClockSet, Counts, LeftBehind};
pub use self::watch::Watch;

/// What rekeyd remembers.
pub enum Store {
    /// One file on this machine.
    Sqlite(Sqlite),
}

/// A store that was opened.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// How many tickets died, where the store turned out to be a copy from earlier that was put back.
    pub voided: Option<u64>,
}

/// Why the store could not do something. The change was not made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Error {
    /// Somebody else holds it or has ended it, or its queue is full; try again.
    Busy,
    /// It is damaged or of another version; somebody must act.
    Broken(String),
    /// Nothing can be written where it lies: no space, no quota, read-only. It goes on by itself once that has passed.
    Full(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the store is busy"),
            Self::Broken(why) | Self::Full(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}

impl Store {
    /// Opens the store of a configuration, or makes it. Blocks; meant for the start. `ring` unlocks the data key.
    ///
    /// # Errors
    /// Words that name the file and the remedy: not readable, not a database, of a newer version, in use by another
    /// rekeyd, keys that do not fit. Then nothing was changed.
    pub fn open(config: StoreConfig, ring: &KeyRing, watch: Watch, chance: SystemRandom) -> Result<Opened, Error> {
        let (store, voided) = Sqlite::open(config, ring, watch, chance)?;
        Ok(Opened { store: Self::Sqlite(store), voided })
    }

    /// Says in words what lies at the configured place, or why it can't be used. Changes nothing, and may be asked while
    /// a daemon runs.
    pub fn probe(config: &StoreConfig, ring: &KeyRing) -> Result<String, Error> {
        Sqlite::probe(config, ring)
    }

    /// Copies the configured store into a new file, all of it as of one moment, whether a daemon runs or not, and holds
    /// nobody up. When the copy is put back, it shows as one, and its links are void. Blocks.
    ///
    /// # Errors
    /// Words that say which file can't be read or written; then there is no copy.
    pub fn backup(config: &StoreConfig, to: &Path) -> Result<(), Error> {
        Sqlite::backup(config, to)
    }

    /// Waits until the store is broken for good (the disk fails, the file is damaged) and says why. Nothing can be
    /// accepted from then on; the daemon ends with an error.
    pub async fn broken(&self) -> String {
        match self {
            Self::Sqlite(store) => store.broken().await,
        }
    }

    /// Wraps the data key under the newest key of a ring, so that the older ones are not needed to open the store again.
    /// Meant for a reload, before the ring is used for tokens.
    ///
    /// # Errors
    /// It could not be written; the store still opens with the ring before, so that one must stay.
    pub async fn rewrap(&self, ring: &KeyRing) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.rewrap(ring).await,
        }
    }

    /// Begins a new epoch, so that a copy taken before shows when it is put back. Meant for every hour.
    pub async fn new_epoch(&self) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.new_epoch().await,
        }
    }

    /// Ends in order: a new epoch, everything in the one file. Whatever is asked for later is done all the same.
    pub async fn close(&self, now: Timestamp) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.close(now).await,
        }
    }

    /// Forgets a person: tickets, messages, proofs, facts, and who and why in the trail, whose chain stays whole. `event`
    /// tells of it without naming them. Says how many rows of the trail were emptied.
    pub async fn erase(&self, account: &AccountId, event: Event) -> Result<u64, Error> {
        match self {
            Self::Sqlite(store) => store.erase(account, event).await,
        }
    }

    /// The store's own key, which hashes tokens and addresses.
    pub fn data_key(&self) -> &Arc<DataKey> {
        match self {
            Self::Sqlite(store) => store.data_key(),
        }
    }

    /// Writes a row of the trail by itself, for what is about to happen outside the store.
    pub async fn record(&self, event: Event) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.record(event).await,
        }
    }

    /// The key of a directory, drawn when its name is first seen.
    pub async fn directory_key(&self, name: &str) -> Result<DirectoryKey, Error> {
        match self {
            Self::Sqlite(store) => store.directory_key(name).await,
        }
    }

    /// Has the directory that was known by one of its former names go on under its present one, with all that is remembered
    /// of its accounts; says whether it does. It does not where the present name has accounts of its own already.
    pub async fn rename_directory(&self, formerly: &[String], name: &str) -> Result<bool, Error> {
        match self {
            Self::Sqlite(store) => store.rename_directory(formerly, name).await,
        }
    }

    /// The directories that were ever seen, with their keys.
    pub async fn directory_names(&self) -> Result<Vec<(DirectoryKey, String)>, Error> {
        match self {
            Self::Sqlite(store) => store.directory_names().await,
        }
    }

    /// What is kept for directories that are not among those present, until they are back.
    pub async fn left_behind(&self, present: Vec<DirectoryKey>, now: Timestamp) -> Result<Vec<LeftBehind>, Error> {
        match self {
            Self::Sqlite(store) => store.left_behind(present, now).await,
        }
    }

    /// Takes a request if its source's counters allow it, with the event that tells of it. On disk when this returns. The
    /// backlog's bound is for what people ask themselves, not for operators.
    pub async fn accept(
        &self,
        request: NewRequest,
        counters: Vec<Counter>,
        event: Option<Event>,
    ) -> Result<Acceptance, Error> {
        match self {
            Self::Sqlite(store) => store.accept(request, counters, event).await,
        }
    }

    /// Hands out up to `most` due requests for the length of a lease: those of operators first, then fresh ones and
    /// deferred ones in turn.
    pub async fn lease_requests(
        &self,
        most: usize,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<LeasedRequest>, Error> {
        match self {
            Self::Sqlite(store) => store.lease_requests(most, lease, now).await,
        }
    }

    /// Puts a request back until `due`, with the reason.
    pub async fn postpone(&self, id: RequestId, due: Timestamp, reason: &str) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.postpone(id, due, reason).await,
        }
    }

    /// Makes every request due that was put back for this reason and waits for its next turn.
    pub async fn hurry_requests(&self, reason: &'static str, now: Timestamp) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.hurry_requests(reason, now).await,
        }
    }

    /// Ends a request without a ticket, with an optional notice (RecoveryRefused).
    pub async fn end_request(
        &self,
        id: RequestId,
        ended: Ended,
        notice: Option<NewNotice>,
        event: Event,
    ) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.end_request(id, ended, notice, event).await,
        }
    }

    /// Answers a request with a link: merges, paces or makes tickets and messages.
    pub async fn issue(&self, issue: Issue) -> Result<Issued, Error> {
        match self {
            Self::Sqlite(store) => store.issue(issue).await,
        }
    }

    /// The ticket of a token, and whether it could be used at `now`.
    pub async fn ticket(&self, hash: TokenHash, now: Timestamp) -> Result<Option<StoredTicket>, Error> {
        match self {
            Self::Sqlite(store) => store.ticket(hash, now).await,
        }
    }

    /// Claims a ticket: live, in time, of this epoch; for exactly one caller. `None` for everybody else. `server` is where
    /// the password is about to be written, so that a crash can be settled: from `now` on the write may be under way. A
    /// claim without one writes nothing.
    pub async fn claim(
        &self,
        hash: TokenHash,
        nonce: [u8; 16],
        server: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Claimed>, Error> {
        match self {
            Self::Sqlite(store) => store.claim(hash, nonce, server, now).await,
        }
    }

    /// Makes a claimed ticket live again: nothing was written. `tried` counts a refusal by the directory.
    pub async fn release(&self, claimed: Claimed, tried: bool, event: Option<Event>) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.release(claimed, tried, event).await,
        }
    }

    /// Ends a claimed ticket unused: it no longer fits its account.
    pub async fn void(&self, claimed: Claimed, event: Event) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.void(claimed, event).await,
        }
    }

    /// Ends a claimed ticket as used, the account's other tickets as void, and queues the notices.
    pub async fn spend(&self, ticket: TicketId, spend: Spend) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.spend(ticket, spend).await,
        }
    }

    /// As [`Store::spend`], for a claim that is settled after its story: `false`, and nothing is changed, where the ticket
    /// is no longer held by the SET of that nonce.
    pub async fn spend_settled(&self, ticket: TicketId, nonce: [u8; 16], spend: Spend) -> Result<bool, Error> {
        match self {
            Self::Sqlite(store) => store.spend_settled(ticket, nonce, spend).await,
        }
    }

    /// Keeps a claimed ticket as unsure: its write has no answer.
    pub async fn strand(&self, claimed: Claimed, event: Event) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.strand(claimed, event).await,
        }
    }

    /// Claims and unsure writes that nobody holds: all at start, later those older than `before`.
    pub async fn open_claims(&self, before: Timestamp) -> Result<Vec<OpenClaim>, Error> {
        match self {
            Self::Sqlite(store) => store.open_claims(before).await,
        }
    }

    /// One of [`Store::open_claims`] as it is now; `None` where it has been settled.
    pub async fn open_claim(&self, ticket: TicketId) -> Result<Option<OpenClaim>, Error> {
        match self {
            Self::Sqlite(store) => store.open_claim(ticket).await,
        }
    }

    /// Makes an open claim live again (nothing was written), or void where that can't be known, and queues what is to be
    /// told of it. Does nothing where it was settled before.
    pub async fn settle(
        &self,
        ticket: TicketId,
        free: bool,
        event: Event,
        notices: Vec<NewNotice>,
        tickets: Vec<NewTicket>,
    ) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.settle(ticket, free, event, notices, tickets).await,
        }
    }

    /// What is remembered of an account, and which of its addresses are proved.
    pub async fn facts(&self, account: &AccountId) -> Result<(Facts, Vec<(AddressHash, Proof)>), Error> {
        match self {
            Self::Sqlite(store) => store.facts(account).await,
        }
    }

    /// Spends a "this was not me" ticket: voids the account's other tickets and freezes self-service until then.
    pub async fn freeze(&self, ticket: TicketId, until: Timestamp, event: Event) -> Result<bool, Error> {
        match self {
            Self::Sqlite(store) => store.freeze(ticket, until, event).await,
        }
    }

    /// Lifts a freeze; says whether there was one.
    pub async fn thaw(&self, account: &AccountId, now: Timestamp, event: Event) -> Result<bool, Error> {
        match self {
            Self::Sqlite(store) => store.thaw(account, now, event).await,
        }
    }

    /// Notes that an operator is about to replace a password, before the directory is written, so that no replacement
    /// can go unrecorded.
    pub async fn begin_replacement(&self, replacement: Replacement, event: Event) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.begin_replacement(replacement, event).await,
        }
    }

    /// Ends a replacement that was done: the account's tickets are void, its facts say whether its person is still to set
    /// a password, notices are queued. Does nothing where it has ended before.
    pub async fn replaced(
        &self,
        id: RequestId,
        notices: Vec<NewNotice>,
        tickets: Vec<NewTicket>,
        event: Event,
    ) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.replaced(id, notices, tickets, event).await,
        }
    }

    /// Ends a replacement that was not done, or of which nobody can know. Does nothing where it has ended before.
    pub async fn end_replacement(&self, id: RequestId, event: Event) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.end_replacement(id, event).await,
        }
    }

    /// Replacements whose end is not recorded: all at start, later those begun before `before` or then.
    pub async fn open_replacements(&self, before: Timestamp) -> Result<Vec<Replacement>, Error> {
        match self {
            Self::Sqlite(store) => store.open_replacements(before).await,
        }
    }

    /// Hands out up to `most` due messages for the length of a lease.
    pub async fn lease_notices(
        &self,
        most: usize,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<LeasedNotice>, Error> {
        match self {
            Self::Sqlite(store) => store.lease_notices(most, lease, now).await,
        }
    }

    /// Records how one try at delivery ended. A link's life begins when its message is sent, or may have been, and anew
    /// when that is sent again.
    pub async fn delivery(
        &self,
        id: NoticeId,
        delivery: Delivery,
        now: Timestamp,
        event: Option<Event>,
    ) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.delivery(id, delivery, now, event).await,
        }
    }

    /// Takes one step of some counters outside any other change (sign-in); `Some` says how long to wait.
    pub async fn count(&self, counters: Vec<Counter>, now: Timestamp) -> Result<Option<Duration>, Error> {
        match self {
            Self::Sqlite(store) => store.count(counters, now).await,
        }
    }

    /// The outbox, newest first.
    pub async fn outbox(&self, most: usize, waiting_only: bool) -> Result<Vec<OutboxRow>, Error> {
        match self {
            Self::Sqlite(store) => store.outbox(most, waiting_only).await,
        }
    }

    /// Voids every live ticket and begins a new epoch; says how many tickets.
    pub async fn restored(&self, event: Event) -> Result<u64, Error> {
        match self {
            Self::Sqlite(store) => store.restored(event).await,
        }
    }

    /// Deletes what has outlived its retention, in small slices; says whether there is more.
    pub async fn prune(&self, now: Timestamp) -> Result<bool, Error> {
        match self {
            Self::Sqlite(store) => store.prune(now).await,
        }
    }

    /// Whether the store answers, for health.
    pub async fn ping(&self) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.ping().await,
        }
    }
}
