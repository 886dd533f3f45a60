//! What a person typed to say who they are.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// The longest login taken, in characters; longer than any login name or address a directory holds.
const LONGEST: usize = 256;

/// A login as typed, trimmed and in NFC. It may be a login name or an address; the directory's ordered rule decides.
///
/// It has no `Debug`: people type their password into this field.
#[derive(Clone, Eq, PartialEq)]
pub struct Login(String);

/// Why a text can't be a login.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadLogin {
    /// Nothing but white space.
    Empty,
    /// It holds control or line-break characters.
    Forbidden,
    /// More than 256 characters.
    TooLong,
}

impl fmt::Display for BadLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the login is empty",
            Self::Forbidden => "the login holds characters that no login has",
            Self::TooLong => "the login is longer than 256 characters",
        })
    }
}

impl Login {
    /// Parses what was typed.
    ///
    /// # Errors
    /// [`BadLogin`] says why it is none; that depends on the text alone, never on an account.
    pub fn parse(typed: &str) -> Result<Self, BadLogin> {
        if typed.len() > LONGEST * 4 {
            return Err(BadLogin::TooLong);
        }
        let login: String = typed.trim().nfc().collect();
        if login.is_empty() {
            return Err(BadLogin::Empty);
        }
        if login.chars().count() > LONGEST {
            return Err(BadLogin::TooLong);
        }
        if login.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            return Err(BadLogin::Forbidden);
        }
        Ok(Self(login))
    }

    /// The login, for a filter or a prompt.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form under which limits are counted: compatibility forms folded, case gone, so that no spelling has a
    /// budget of its own.
    pub fn folded(&self) -> String {
        self.0.nfkc().flat_map(char::to_lowercase).filter(|c| !c.is_whitespace()).collect()
    }

    /// Whether a value that the directory returned is what was typed: ASCII letters without case, all else exactly.
    /// Servers match more widely (width, dotless i, ignored marks), and a look-alike must not find another account.
    pub fn is(&self, value: &str) -> bool {
        let value: String = value.nfc().collect();
        self.0.eq_ignore_ascii_case(&value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_are_not_the_login() {
        let login =
            Login::parse(" mike@example.org ").ok().map(|l| (l.is("MIKE@Example.ORG"), l.is("m\u{131}ke@example.org")));
        assert_eq!(login, Some((true, false)));
        for (typed, stored) in
            [("\u{FB01}nn", "finn"), ("\u{430}da", "ada"), ("andr\u{e9}", "andre"), ("\u{FF4D}ike", "mike")]
        {
            assert_eq!(Login::parse(typed).ok().map(|login| login.is(stored)), Some(false), "{typed}");
        }
    }

    #[test]
    fn every_spelling_has_one_folded_form() {
        let folded: Vec<_> = ["Alice", "ALICE ", "\u{FF21}lice", "alice"]
            .iter()
            .filter_map(|typed| Login::parse(typed).ok())
            .map(|login| login.folded())
            .collect();
        assert_eq!(folded, ["alice"; 4]);
    }

    #[test]
    fn nonsense_is_refused() {
        let long = "a".repeat(257);
        for (typed, why) in
            [("", BadLogin::Empty), (" \t", BadLogin::Empty), ("a\nb", BadLogin::Forbidden), (&long, BadLogin::TooLong)]
        {
            assert_eq!(Login::parse(typed).err(), Some(why));
        }
    }
}
