//! Something to tell a person. A channel says it in its own way; it gets no account, no key and no choice of recipient.

use std::time::Duration;

use zeroize::Zeroizing;

use super::{ContactKind, EmailAddress, NoticeId, Timestamp};

/// What is told.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum NoticeKind {
    /// Here is the link that sets your first password.
    ActivationLink,
    /// Your password was changed by means of a link.
    PasswordChanged,
    /// Your password was replaced by an operator.
    PasswordReplaced,
    /// The directory did not say whether your password was changed.
    PasswordUnsure,
    /// You asked, and it can't be done this way; here is whom to turn to.
    RecoveryRefused,
    /// Here is the link that sets a new password.
    ResetLink,
}

impl NoticeKind {
    /// All of them, for templates and tests.
    pub const ALL: [Self; 6] = [
        Self::ActivationLink,
        Self::PasswordChanged,
        Self::PasswordReplaced,
        Self::PasswordUnsure,
        Self::RecoveryRefused,
        Self::ResetLink,
    ];

    /// The word in store, template folder and audit trail.
    pub fn word(self) -> &'static str {
        match self {
            Self::ActivationLink => "activation-link",
            Self::PasswordChanged => "password-changed",
            Self::PasswordReplaced => "password-replaced",
            Self::PasswordUnsure => "password-unsure",
            Self::RecoveryRefused => "recovery-refused",
            Self::ResetLink => "reset-link",
        }
    }

    /// Reads [`NoticeKind::word`].
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// A URL with a token in it: it can be shown to its recipient and to nobody else, so it has no `Debug`.
#[derive(Clone)]
pub struct Link(Zeroizing<String>);

impl Link {
    /// Made by a token, see [`Token::link`](super::Token::link).
    pub fn new(url: String) -> Self {
        Self(Zeroizing::new(url))
    }

    /// The URL, for the message.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// One thing to tell one person. The same notice renders to the same bytes each time, so that a message sent again
/// after a crash is recognisable as the same one.
pub struct Notice {
    /// Its id: idempotency key, and part of the Message-ID.
    pub id: NoticeId,
    /// What is told.
    pub kind: NoticeKind,
    /// Language tags in order of preference (BCP 47), the directory's first.
    pub languages: Vec<String>,
    /// The login name of the account it is about.
    pub login: String,
    /// The person's name, as the directory has it: untrusted text.
    pub name: Option<String>,
    /// The link to follow, for notices that carry one.
    pub link: Option<Link>,
    /// The link that says "this was not me".
    pub not_me: Option<Link>,
    /// How long the link lives from delivery.
    pub valid_for: Option<Duration>,
    /// When what it tells happened; the message's Date.
    pub at: Timestamp,
}

/// Whom a notice goes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recipient {
    /// The address, exactly as the directory has it.
    pub address: EmailAddress,
}

impl Recipient {
    /// The kind of channel that reaches it.
    pub fn kind(&self) -> ContactKind {
        ContactKind::Email
    }
}
