//! Tickets on their way into the store, through a claim, and out of it.

use std::time::Duration;

use rekeyd_core::domain::{Event, Proof, RequestId, Ticket, Timestamp, TokenHash};

use super::{Counter, NewNotice};

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
    /// The counter that still lets one through where that of the scope `account-day` is the one that is spent.
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
    /// The form nonce of the SET that holds or has spent it, for a repeat of the same POST.
    pub held_by: Option<[u8; 16]>,
    /// Whether it could be claimed (one of "this was not me": be spent) at the moment of the look.
    pub usable: bool,
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
