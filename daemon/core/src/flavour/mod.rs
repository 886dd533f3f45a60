//! Translators between a directory product and the nouns.

use std::fmt;

/// Why a directory refused a password or a write, as a value; the texts of servers are read once, in the flavours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rejection {
    /// It was used before.
    InHistory,
    /// rekeyd's own identity lacks the right; the person can't mend that.
    MissingRight(String),
    /// The server wants the old password (`pwdSafeModify`), so no reset is possible there.
    MustSupplyOld,
    /// The server holds it to be too simple.
    NotComplex,
    /// The account may not be changed now, or not by anybody.
    NotAllowed,
    /// Refused, without a rule named.
    Other(String),
    /// Longer than the server takes.
    TooLong,
    /// Shorter than the server takes.
    TooShort,
    /// The present password is too young to be changed.
    TooYoung,
}

impl Rejection {
    /// Whether another password could pass. Where not, the ticket is of no use until somebody acts.
    pub fn is_about_the_password(&self) -> bool {
        matches!(self, Self::InHistory | Self::NotComplex | Self::TooLong | Self::TooShort | Self::Other(_))
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InHistory => "it was used before",
            Self::MissingRight(_) => "the directory does not let rekeyd set this password",
            Self::MustSupplyOld => "the directory wants the old password as well",
            Self::NotComplex => "the directory holds it to be too simple",
            Self::NotAllowed => "the directory does not allow this password to be changed now",
            Self::Other(_) => "the directory refused it without naming a rule",
            Self::TooLong => "it is longer than the directory takes",
            Self::TooShort => "it is shorter than the directory takes",
            Self::TooYoung => "the present password is too young to be changed",
        })
    }
}
