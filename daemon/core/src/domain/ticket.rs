//! What a live link entitles to, and the secret that the link carries.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use super::{AccountId, AddressHash, KeyId, Link, Stamp, TicketId, Timestamp};

/// What a ticket is for. A token of one purpose opens nothing of another.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Purpose {
    /// Proves the address and sets the first password.
    Activation,
    /// Says "this was not me".
    NotMe,
    /// Sets a new password in place of a forgotten one.
    Reset,
}

impl Purpose {
    /// The word in store, token and audit trail.
    pub fn word(self) -> &'static str {
        match self {
            Self::Activation => "activation",
            Self::NotMe => "not-me",
            Self::Reset => "reset",
        }
    }

    /// Reads [`Purpose::word`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Activation, Self::NotMe, Self::Reset].into_iter().find(|purpose| purpose.word() == word)
    }
}

/// Who started what a ticket ends: the verdict at the end is the one for that start.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Origin {
    /// An operator.
    Operator,
    /// An operator of the highest rank.
    Owner,
    /// The person.
    Person,
}

impl Origin {
    /// The word in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Owner => "owner",
            Self::Person => "person",
        }
    }

    /// Reads [`Origin::word`].
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Operator, Self::Owner, Self::Person].into_iter().find(|origin| origin.word() == word)
    }
}

/// What a link entitles its holder to: one purpose, one account, one address, one password generation, a limited time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ticket {
    /// Its id.
    pub id: TicketId,
    /// What it is for.
    pub purpose: Purpose,
    /// Who started it.
    pub origin: Origin,
    /// Whose.
    pub account: AccountId,
    /// The login name as it was shown in the message.
    pub login: String,
    /// The address that the message went to.
    pub contact: AddressHash,
    /// The password generation it was made for.
    pub stamp: Stamp,
    /// The key its token is made with.
    pub key: KeyId,
    /// The name of the password profile that held for the account when it was made.
    pub profile: Option<String>,
    /// When it was made.
    pub issued: Timestamp,
    /// When it ends; `None` while its message has not been delivered yet.
    pub expires: Option<Timestamp>,
    /// How many passwords the directory has refused on it.
    pub tries: u32,
}

/// The secret in a link: the id of its key and an HMAC over the ticket. It has no `Debug`, `Display` or `Clone`.
pub struct Token(Zeroizing<[u8; 36]>);

/// A text that is no token; every such text is answered like a token that is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadToken;

impl fmt::Display for BadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a token")
    }
}

impl Token {
    pub(super) fn new(key: KeyId, mac: [u8; 32]) -> Self {
        let mut bytes = Zeroizing::new([0; 36]);
        let parts = key.0.into_iter().chain(mac);
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        Self(bytes)
    }

    /// Reads the 48 characters of base64url in a link; length and alphabet are checked before anything is looked up.
    ///
    /// # Errors
    /// [`BadToken`] for every other text.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        if text.len() != 48 {
            return Err(BadToken);
        }
        let decoded = Zeroizing::new(BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| BadToken)?);
        decoded.as_slice().try_into().map(|bytes| Self(Zeroizing::new(bytes))).map_err(|_| BadToken)
    }

    /// The id of the key it was made with.
    pub fn key(&self) -> KeyId {
        KeyId(self.0.first_chunk::<4>().copied().unwrap_or_default())
    }

    /// Whether another token is this one, in constant time.
    pub fn is(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(other.0.iter()).fold(0, |so_far, (a, b)| so_far | (a ^ b));
        std::hint::black_box(difference) == 0
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<[u8; 36]> {
        self.0.clone()
    }

    /// The only way out: the link for a message. `base` is the configured public URL without a slash at its end;
    /// `path` is the page, such as `/r/`.
    pub fn link(&self, base: &str, path: &str) -> Link {
        let text = Zeroizing::new(BASE64URL_NOPAD.encode(self.0.as_slice()));
        Link::new(format!("{base}{path}{}", *text))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::string_slice)]
    use super::*;

    #[test]
    fn t30_odd_texts_are_no_tokens() {
        let good = "A".repeat(48);
        assert!(Token::parse(&good).is_ok());
        let long = "A".repeat(10_000);
        for odd in [
            "",
            "null",
            "[]",
            "%00",
            &good[1..],
            &format!("{good}A"),
            &format!("{good}\n"),
            &format!("{}=", &good[1..]),
            &good.replace('A', "/"),
            &long,
        ] {
            assert!(Token::parse(odd).is_err());
        }
    }

    #[test]
    fn a_link_reads_back() {
        let token = Token::new(KeyId([1, 2, 3, 4]), [9; 32]);
        let link = token.link("https://reset.example.org", "/r/");
        let text = link.expose().strip_prefix("https://reset.example.org/r/").unwrap_or("");
        let read = Token::parse(text).ok();
        assert_eq!(read.as_ref().map(Token::key), Some(KeyId([1, 2, 3, 4])));
        assert_eq!(read.map(|token| token.to_bytes().to_vec()), Some(token.to_bytes().to_vec()));
    }
}
