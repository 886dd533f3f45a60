//! Is this password good enough? Length, characters, words that are too near, strength, and the list of the commonest.

use std::fmt;

use crate::domain::{Account, AccountId, NewPassword};
use crate::policy::rules::PasswordRules;

/// A password that passed the rules for one account. Only [`accept`] makes it.
pub struct AcceptedPassword {
    account: AccountId,
    password: NewPassword,
}

impl AcceptedPassword {
    /// The account whose rules it passed.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The text, for the directory.
    pub fn expose(&self) -> &str {
        self.password.expose()
    }
}

/// A rule that a password breaks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Weakness {
    /// Shorter than so many characters.
    TooShort(u32),
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort(least) => write!(f, "it is shorter than {least} characters"),
        }
    }
}

/// Accepts a password for an account, or names every rule that it breaks.
///
/// # Errors
/// The password is given back with its weaknesses.
pub fn accept(
    password: NewPassword,
    account: &Account,
    rules: &PasswordRules,
) -> Result<AcceptedPassword, (NewPassword, Vec<Weakness>)> {
    if password.expose().chars().count() < rules.min_length as usize {
        return Err((password, vec![Weakness::TooShort(rules.min_length)]));
    }
    Ok(AcceptedPassword { account: account.id.clone(), password })
}
