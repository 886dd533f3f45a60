//! Messages on their way to people.

use std::time::Duration;

use rekeyd_core::domain::{AccountId, NoticeId, NoticeKind, Recipient, Ticket, TicketId, Timestamp};

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
    /// The channel of an earlier try whose answer was lost: it alone may repeat the message.
    pub only: Option<String>,
}

/// How one try at delivery ended.
#[derive(Clone)]
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
    /// The far side may have it: the answer was lost. It is repeated through the same channel, and at the second time
    /// counts as sent.
    Unsure {
        /// The channel.
        channel: String,
        /// When it is repeated.
        due: Timestamp,
        /// What was lost.
        reason: String,
    },
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
