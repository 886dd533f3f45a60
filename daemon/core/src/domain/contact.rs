//! Addresses by which a channel reaches a person.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The kind of channel that an address belongs to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContactKind {
    /// A mailbox.
    Email,
}

impl ContactKind {
    /// The word in configuration, store and audit trail.
    pub fn word(self) -> &'static str {
        match self {
            Self::Email => "email",
        }
    }
}

/// How and when an address was proved to reach its person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// When.
    pub at: Timestamp,
    /// How, in a word (`activation`, `reset`, `link`).
    pub how: String,
}

/// One address of one person.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contact {
    /// The address itself, exactly as stored in the directory.
    pub address: EmailAddress,
    /// The attribute it was read from.
    pub source: String,
    /// How it was proved, if it was.
    pub proof: Option<Proof>,
    /// Whether another account lists the same address, as far as that was asked.
    pub shared: bool,
}

impl Contact {
    /// The kind of channel it needs.
    pub fn kind(&self) -> ContactKind {
        ContactKind::Email
    }
}

/// A mail address of the strict form `local@domain` (a subset of RFC 5321's `Mailbox`): no quoting, comments, groups,
/// routes or spaces, since each of those has been used to send somebody's link elsewhere.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct EmailAddress {
    written: String,
    ascii_domain: String,
    at: usize,
}

/// Why a value is not taken as a mail address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadAddress;

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is not a plain address of the form name@domain")
    }
}

impl EmailAddress {
    /// Parses an address as a directory stores it.
    ///
    /// # Errors
    /// [`BadAddress`] for everything but one plain address.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let (local, domain) = text.rsplit_once('@').ok_or(BadAddress)?;
        let atoms_fine = local.split('.').all(|atom| {
            !atom.is_empty()
                && atom.chars().all(|c| {
                    c.is_ascii_alphanumeric()
                        || "!#$%&'*+-/=?^_`{|}~".contains(c)
                        || (!c.is_ascii() && c.is_alphanumeric())
                })
        });
        if !atoms_fine || local.len() > 64 || text.len() > 254 || local.starts_with("=?") {
            return Err(BadAddress);
        }
        let ascii_domain = idna::domain_to_ascii_strict(domain).map_err(|_| BadAddress)?;
        let is_domain = ascii_domain.contains('.')
            && ascii_domain.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            });
        if !is_domain {
            return Err(BadAddress);
        }
        Ok(Self { written: text.to_owned(), ascii_domain, at: local.len() })
    }

    /// The address exactly as the directory has it.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The part before the `@`.
    pub fn local(&self) -> &str {
        self.written.get(..self.at).unwrap_or("")
    }

    /// The domain with A-labels, lower case, as SMTP and comparisons need it.
    pub fn ascii_domain(&self) -> &str {
        &self.ascii_domain
    }

    /// The form under which equality, limits and hashes are counted: domain in A-labels, all lower case.
    pub fn folded(&self) -> String {
        format!("{}@{}", self.local().to_lowercase(), self.ascii_domain)
    }

    /// The form for operators and logs: `a…@e….org` keeps enough to recognise, not enough to write to.
    pub fn masked(&self) -> String {
        let first = self.local().chars().next().unwrap_or('?');
        let domain_first = self.ascii_domain.chars().next().unwrap_or('?');
        let top = self.ascii_domain.rsplit('.').next().unwrap_or("");
        format!("{first}…@{domain_first}….{top}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t10_only_one_plain_address_is_taken() {
        for fine in ["ada@example.org", "o'brien+x@sub.example.org", "ada@bücher.example", "jürgen@example.org"] {
            assert!(EmailAddress::parse(fine).is_ok(), "{fine}");
        }
        for wrong in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@localhost",
            "<a@x.org>b@y.org",
            "\"a b\"@x.org",
            "a@x.org,b@y.org",
            "a@x.org b@y.org",
            "=?utf-8?q?a?=@x.org",
            "a@x.org\r\nBcc: b@y.org",
            "a@[127.0.0.1]",
            "a..b@x.org",
            ".a@x.org",
            "a@x..org",
            "a@-x.org",
            "Ada <a@x.org>",
            "a@b@x.org",
            "a@x.org.",
            "a\u{202e}b@x.org",
        ] {
            assert!(EmailAddress::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn masks_and_folds() {
        let address = EmailAddress::parse("Ada@Bücher.example").ok();
        assert_eq!(address.as_ref().map(EmailAddress::folded).as_deref(), Some("ada@xn--bcher-kva.example"));
        assert_eq!(address.as_ref().map(EmailAddress::masked).as_deref(), Some("A…@x….example"));
        assert_eq!(address.as_ref().map(EmailAddress::as_str), Some("Ada@Bücher.example"));
    }
}
