//! The outside: what rekeyd remembers.
//!
//! [`Store`] is a closed set: SQLite now, a server for several nodes later; `contract.rs` is one suite for all of them.
//! Every method is one transaction; each change carries the [`Event`] that tells of it. What is accepted is on disk
//! before it is answered.

use std::time::Duration;

use rekeyd_core::domain::{
    AccountId, Actor, AddressHash, DataKey, DirectoryKey, Event, Facts, NoticeId, NoticeKind, Origin, Proof, Purpose,
    Recipient, RequestId, Ticket, TicketId, Timestamp, TokenHash,
};
use rekeyd_core::policy::pace::Quota;
use rekeyd_core::policy::permit::Claimed;

/// What rekeyd remembers.
pub enum Store {}

/// Why the store could not do something. The change was not made.
#[derive(Debug)]
pub enum Error {
    /// Somebody else holds it, or its queue is full; try again.
    Busy,
    /// It is damaged, full, read-only or of another version; somebody must act.
    Broken(String),
}

/// One counter and its quota: all counters of a step go on together, or none does.
#[derive(Clone, Debug)]
pub struct Counter {
    /// What is counted (`source`, `account`); part of the key and of what operators see.
    pub scope: &'static str,
    /// Whom it counts: an address, an account id. Kept as a keyed hash.
    pub whom: String,
    /// How many in how long.
    pub quota: Quota,
}

/// A request as a door hands it over.
pub struct NewRequest {
    /// Its handle, fresh chance.
    pub id: RequestId,
    /// Reset or activation.
    pub purpose: Purpose,
    /// Who started it; decides which verdict is asked for.
    pub origin: Origin,
    /// What was typed, sealed at rest.
    pub login: rekeyd_core::domain::Login,
    /// Who asked.
    pub actor: Actor,
    /// Language tags that the browser or client asked for.
    pub languages: Vec<String>,
    /// When.
    pub at: Timestamp,
    /// When it is given up.
    pub deadline: Timestamp,
}

/// The answer to a new request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Acceptance {
    /// On disk.
    Accepted,
    /// The backlog is full, for everybody.
    Full,
    /// The source asks too often; not before so long a time.
    TooOften(Duration),
}

/// A request in a worker's hands.
pub struct LeasedRequest {
    /// Its handle.
    pub id: RequestId,
    /// Reset or activation.
    pub purpose: Purpose,
    /// Who started it; decides which verdict is asked for.
    pub origin: Origin,
    /// What was typed.
    pub login: rekeyd_core::domain::Login,
    /// Who asked.
    pub actor: Actor,
    /// Language tags that were asked for.
    pub languages: Vec<String>,
    /// When it was accepted.
    pub at: Timestamp,
    /// When it is given up.
    pub deadline: Timestamp,
    /// How often it was tried before.
    pub attempts: u32,
}

/// How a request ended without a ticket of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// Given up after its deadline.
    Expired,
    /// Refused; the event says why.
    Refused,
}

/// A message to be queued with the change that it tells of.
pub struct NewNotice {
    /// Its id: idempotency key.
    pub id: NoticeId,
    /// What it tells.
    pub kind: NoticeKind,
    /// Whom it is about.
    pub account: AccountId,
    /// The login name to show.
    pub login: String,
    /// The person's name.
    pub name: Option<String>,
    /// Language tags, best first.
    pub languages: Vec<String>,
    /// Where it goes; sealed at rest.
    pub recipient: Recipient,
    /// The ticket whose link it carries.
    pub ticket: Option<TicketId>,
    /// The ticket of its "this was not me" link.
    pub not_me: Option<TicketId>,
    /// When what it tells happened.
    pub at: Timestamp,
    /// When delivery is given up.
    pub deadline: Timestamp,
}

/// A ticket to be made, with the keyed hash of its token and how long it will live from delivery.
pub struct NewTicket {
    /// The ticket; `expires` is set at delivery where it is `None`.
    pub ticket: Ticket,
    /// What is kept of its token.
    pub hash: TokenHash,
    /// How long it lives from delivery.
    pub life: Duration,
}

/// Everything that answering one request with a link writes.
pub struct Issue {
    /// The request that is answered.
    pub request: RequestId,
    /// The link's ticket, and the "this was not me" tickets of the notices.
    pub tickets: Vec<NewTicket>,
    /// The messages.
    pub notices: Vec<NewNotice>,
    /// The account's and contacts' counters for a message.
    pub counters: Vec<Counter>,
    /// The counter that still lets one through when those are spent.
    pub spare: Counter,
    /// The counter of the same message going out again.
    pub resend: Counter,
    /// A ticket of the same purpose and addresses made after this moment is joined instead.
    pub merge_after: Timestamp,
    /// The row of the audit trail, for a ticket that is made.
    pub event: Event,
}

/// How an [`Issue`] ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Issued {
    /// Tickets made, messages queued, older tickets of the purpose void.
    Made,
    /// The request joined a ticket that was fresh; `again` says whether its message goes out again.
    Merged {
        /// Whether the message was queued again.
        again: bool,
    },
    /// The account's or contact's budget is spent; the request ends refused.
    Paced,
}

/// A ticket as it lies in the store.
#[derive(Clone, Debug)]
pub struct StoredTicket {
    /// The ticket.
    pub ticket: Ticket,
    /// Where it is in its life.
    pub state: TicketState,
    /// The form nonce of the SET that spent it, for a repeat of the same POST.
    pub spent_by: Option<[u8; 16]>,
}

/// Where a ticket is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TicketState {
    /// In somebody's hands.
    Claimed,
    /// Can be claimed, unless its time is over.
    Live,
    /// Used.
    Spent,
    /// A write of unknown outcome holds it.
    Unsure,
    /// Dead, unused.
    Void,
}

/// Everything that a password set by a ticket writes.
pub struct Spend {
    /// The form nonce, so that a repeat of the same POST shows the same result.
    pub nonce: [u8; 16],
    /// When.
    pub at: Timestamp,
    /// How the address was proved by following the link.
    pub proof: Proof,
    /// Notices about the change.
    pub notices: Vec<NewNotice>,
    /// Tickets of those notices.
    pub tickets: Vec<NewTicket>,
    /// The row of the audit trail.
    pub event: Event,
}

/// A claim that was open when the daemon died, or a write of unknown outcome.
#[derive(Clone, Debug)]
pub struct OpenClaim {
    /// The ticket.
    pub ticket: Ticket,
    /// The form nonce of the SET that holds it.
    pub nonce: [u8; 16],
    /// The server that was written to, where the write was sent.
    pub server: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

/// A message in the outbox worker's hands.
pub struct LeasedNotice {
    /// The message.
    pub notice: NewNotice,
    /// The link's ticket with its life, read with it.
    pub ticket: Option<(Ticket, Duration)>,
    /// The "this was not me" ticket.
    pub not_me: Option<Ticket>,
    /// How often it was tried before.
    pub attempts: u32,
}

/// How one try at delivery ended.
pub enum Delivery {
    /// Given up, for a reason.
    Failed(String),
    /// To be tried again then.
    Later {
        /// When.
        due: Timestamp,
        /// Why not now.
        reason: String,
    },
    /// The far side has it.
    Sent,
}

/// A row of the outbox, for operators: no token, no whole address.
#[derive(Clone, Debug)]
pub struct OutboxRow {
    /// The message.
    pub id: NoticeId,
    /// What it tells.
    pub kind: NoticeKind,
    /// Whom it is about.
    pub account: AccountId,
    /// The login shown in it.
    pub login: String,
    /// Where it goes, masked.
    pub recipient: String,
    /// `queued`, `sending`, `sent`, `failed`, `cancelled` or `expired`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was queued.
    pub created: Timestamp,
    /// When it is tried next.
    pub due: Option<Timestamp>,
    /// The last reason.
    pub reason: Option<String>,
}

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
}

impl Store {
    /// The store's own key, which hashes tokens and addresses.
    pub fn data_key(&self) -> &DataKey {
        unimplemented!()
    }

    /// Writes a row of the trail by itself, for what is about to happen outside the store.
    pub async fn record(&self, event: Event) -> Result<(), Error> {
        let _ = event;
        unimplemented!()
    }

    /// The key of a directory, drawn when its name is first seen.
    pub async fn directory_key(&self, name: &str) -> Result<DirectoryKey, Error> {
        let _ = name;
        unimplemented!()
    }

    /// Takes a request if its source's counters allow it. On disk when this returns.
    pub async fn accept(&self, request: NewRequest, counters: Vec<Counter>) -> Result<Acceptance, Error> {
        let _ = (request, counters);
        unimplemented!()
    }

    /// Hands out up to `most` due requests for the length of a lease, fresh ones and deferred ones in turn.
    pub async fn lease_requests(
        &self,
        most: usize,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<LeasedRequest>, Error> {
        let _ = (most, lease, now);
        unimplemented!()
    }

    /// Puts a request back until `due`, with the reason.
    pub async fn postpone(&self, id: RequestId, due: Timestamp, reason: &str) -> Result<(), Error> {
        let _ = (id, due, reason);
        unimplemented!()
    }

    /// Ends a request without a ticket, with an optional notice (RecoveryRefused).
    pub async fn end_request(
        &self,
        id: RequestId,
        ended: Ended,
        notice: Option<NewNotice>,
        event: Event,
    ) -> Result<(), Error> {
        let _ = (id, ended, notice, event);
        unimplemented!()
    }

    /// Answers a request with a link: merges, paces or makes tickets and messages.
    pub async fn issue(&self, issue: Issue) -> Result<Issued, Error> {
        let _ = issue;
        unimplemented!()
    }

    /// The ticket of a token.
    pub async fn ticket(&self, hash: TokenHash) -> Result<Option<StoredTicket>, Error> {
        let _ = hash;
        unimplemented!()
    }

    /// Claims a ticket: live, in time, of this epoch; for exactly one caller. `None` for everybody else.
    pub async fn claim(&self, hash: TokenHash, nonce: [u8; 16], now: Timestamp) -> Result<Option<Claimed>, Error> {
        let _ = (hash, nonce, now);
        unimplemented!()
    }

    /// Notes the server just before the password is written there, so that a crash can be settled.
    pub async fn writing(&self, ticket: TicketId, server: &str) -> Result<(), Error> {
        let _ = (ticket, server);
        unimplemented!()
    }

    /// Makes a claimed ticket live again: nothing was written. `tried` counts a refusal by the directory.
    pub async fn release(&self, claimed: Claimed, tried: bool, event: Option<Event>) -> Result<(), Error> {
        let _ = (claimed, tried, event);
        unimplemented!()
    }

    /// Ends a claimed ticket unused: it no longer fits its account.
    pub async fn void(&self, claimed: Claimed, event: Event) -> Result<(), Error> {
        let _ = (claimed, event);
        unimplemented!()
    }

    /// Ends a claimed ticket as used, the account's other tickets as void, and queues the notices.
    pub async fn spend(&self, ticket: TicketId, spend: Spend) -> Result<(), Error> {
        let _ = (ticket, spend);
        unimplemented!()
    }

    /// Keeps a claimed ticket as unsure: its write has no answer.
    pub async fn strand(&self, claimed: Claimed, event: Event) -> Result<(), Error> {
        let _ = (claimed, event);
        unimplemented!()
    }

    /// Claims and unsure writes that nobody holds: all at start, later those older than `before`.
    pub async fn open_claims(&self, before: Timestamp) -> Result<Vec<OpenClaim>, Error> {
        let _ = before;
        unimplemented!()
    }

    /// Makes an open claim live again (nothing was written), or void where that can't be known.
    pub async fn settle(&self, ticket: TicketId, free: bool, event: Event) -> Result<(), Error> {
        let _ = (ticket, free, event);
        unimplemented!()
    }

    /// What is remembered of an account, and which of its addresses are proved.
    pub async fn facts(&self, account: &AccountId) -> Result<(Facts, Vec<(AddressHash, Proof)>), Error> {
        let _ = account;
        unimplemented!()
    }

    /// Spends a "this was not me" ticket: voids the account's other tickets and freezes self-service until then.
    pub async fn freeze(&self, ticket: TicketId, until: Timestamp, event: Event) -> Result<bool, Error> {
        let _ = (ticket, until, event);
        unimplemented!()
    }

    /// Lifts a freeze; says whether there was one.
    pub async fn thaw(&self, account: &AccountId, now: Timestamp, event: Event) -> Result<bool, Error> {
        let _ = (account, now, event);
        unimplemented!()
    }

    /// Records a password that an operator replaced: tickets void, notices queued.
    pub async fn replaced(
        &self,
        account: &AccountId,
        notices: Vec<NewNotice>,
        tickets: Vec<NewTicket>,
        event: Event,
    ) -> Result<(), Error> {
        let _ = (account, notices, tickets, event);
        unimplemented!()
    }

    /// Hands out up to `most` due messages for the length of a lease.
    pub async fn lease_notices(
        &self,
        most: usize,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<LeasedNotice>, Error> {
        let _ = (most, lease, now);
        unimplemented!()
    }

    /// Records how one try at delivery ended; a link's life begins when it is sent.
    pub async fn delivery(
        &self,
        id: NoticeId,
        delivery: Delivery,
        now: Timestamp,
        event: Option<Event>,
    ) -> Result<(), Error> {
        let _ = (id, delivery, now, event);
        unimplemented!()
    }

    /// Takes one step of some counters outside any other change (sign-in); `Some` says how long to wait.
    pub async fn count(&self, counters: Vec<Counter>, now: Timestamp) -> Result<Option<Duration>, Error> {
        let _ = (counters, now);
        unimplemented!()
    }

    /// The outbox, newest first.
    pub async fn outbox(&self, most: usize, waiting_only: bool) -> Result<Vec<OutboxRow>, Error> {
        let _ = (most, waiting_only);
        unimplemented!()
    }

    /// The trail, newest first, of one account where asked.
    pub async fn audit(&self, account: Option<AccountId>, most: usize) -> Result<Vec<AuditRow>, Error> {
        let _ = (account, most);
        unimplemented!()
    }

    /// Checks the whole chain.
    pub async fn verify_audit(&self) -> Result<Chain, Error> {
        unimplemented!()
    }

    /// Voids every live ticket and begins a new epoch; says how many tickets.
    pub async fn restored(&self, event: Event) -> Result<u64, Error> {
        let _ = event;
        unimplemented!()
    }

    /// Counts for status.
    pub async fn counts(&self, now: Timestamp) -> Result<Counts, Error> {
        let _ = now;
        unimplemented!()
    }

    /// Deletes what has outlived its retention, in small slices; says whether there is more.
    pub async fn prune(&self, now: Timestamp) -> Result<bool, Error> {
        let _ = now;
        unimplemented!()
    }

    /// Whether the store answers, for health.
    pub async fn ping(&self) -> Result<(), Error> {
        unimplemented!()
    }
}
