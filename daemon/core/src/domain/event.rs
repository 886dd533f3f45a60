//! A row of the audit trail: who did what to which account, why, with what outcome.

use super::{AccountId, Actor, Timestamp};

/// What happened.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum EventKind {
    /// Accounts that are older than rekeyd were taken as activated or not, or that was undone.
    Adoption,
    /// A channel does not get its messages through, or not all of its ways work.
    ChannelDown,
    /// A channel works again.
    ChannelUp,
    /// The clock was set by more than a clock is that is kept right.
    ClockSet,
    /// A server of the directory does not do its work, or does it again.
    DirectoryFault,
    /// A directory was looked at from end to end.
    Doctor,
    /// An operator asked for a link on somebody's behalf.
    LinkRequested,
    /// A notice reached its channel's far side.
    NoticeDelivered,
    /// A notice was given up.
    NoticeFailed,
    /// A notice was refused for now, or its answer was lost; it is tried again.
    NoticePostponed,
    /// A person said "this was not me".
    NotMe,
    /// A password was refused by the directory.
    PasswordRejected,
    /// An operator replaced a password.
    PasswordReplaced,
    /// A person set a password by a ticket.
    PasswordSet,
    /// An accepted request ended without a message, for a reason.
    RequestEnded,
    /// An accepted request joined a ticket that was still fresh.
    RequestMerged,
    /// The store was restored from a copy; tickets made before are void.
    Restored,
    /// A set password's outcome could not be learnt.
    SetUnsure,
    /// A ticket no longer fitted its account.
    TicketRefused,
    /// A ticket was made and its message queued.
    TicketIssued,
    /// An operator lifted a freeze.
    Thawed,
}

impl EventKind {
    /// The word in the trail.
    pub fn word(self) -> &'static str {
        match self {
            Self::Adoption => "adoption",
            Self::ChannelDown => "channel-down",
            Self::ChannelUp => "channel-up",
            Self::ClockSet => "clock-set",
            Self::DirectoryFault => "directory-fault",
            Self::Doctor => "doctor",
            Self::LinkRequested => "link-requested",
            Self::NoticeDelivered => "notice-delivered",
            Self::NoticeFailed => "notice-failed",
            Self::NoticePostponed => "notice-postponed",
            Self::NotMe => "not-me",
            Self::PasswordRejected => "password-rejected",
            Self::PasswordReplaced => "password-replaced",
            Self::PasswordSet => "password-set",
            Self::RequestEnded => "request-ended",
            Self::RequestMerged => "request-merged",
            Self::Restored => "restored",
            Self::SetUnsure => "set-unsure",
            Self::TicketRefused => "ticket-refused",
            Self::TicketIssued => "ticket-issued",
            Self::Thawed => "thawed",
        }
    }
}

/// One thing that happened. The store writes it in the transaction of the change it tells of and chains it to the
/// row before.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// Who did it.
    pub actor: Actor,
    /// To whom.
    pub account: Option<AccountId>,
    /// How it ended, in a word (`set`, `refused`, `delivered`).
    pub outcome: String,
    /// Why, as a reason code or an operator's words.
    pub reason: Option<String>,
    /// More, as name and value: never a secret, never a whole address.
    pub details: Vec<(String, String)>,
}

impl Event {
    /// An event with no more than its outcome.
    pub fn new(
        at: Timestamp,
        kind: EventKind,
        actor: Actor,
        account: Option<AccountId>,
        outcome: impl Into<String>,
    ) -> Self {
        Self { at, kind, actor, account, outcome: outcome.into(), reason: None, details: Vec::new() }
    }

    /// Adds the reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.details.push((name.into(), value.into()));
        self
    }
}
