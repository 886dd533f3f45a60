//! Ids that rekeyd draws itself: a moment and 128 random bits, written as 30 characters of base64url.
//!
//! The moment stands first so that what is made together lies together in the store: a row with an id of chance alone goes
//! to a page of its own, and each of these pages goes to the disk. It tells no more than the answer or message that carries
//! the id, which is dated.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;

use super::Timestamp;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name([u8; 22]);

        impl $name {
            /// A new one, from the present moment and the system's randomness.
            pub fn new(now: Timestamp, chance: [u8; 16]) -> Self {
                let mut bytes = [0; 22];
                let moment = now.millis().to_be_bytes();
                bytes.iter_mut().zip(moment.iter().skip(2).chain(&chance)).for_each(|(to, from)| *to = *from);
                Self(bytes)
            }

            /// From the store.
            pub const fn from_bytes(bytes: [u8; 22]) -> Self {
                Self(bytes)
            }

            /// The bits, for the store.
            pub const fn bytes(&self) -> &[u8; 22] {
                &self.0
            }

            /// Reads the written form; any other length, alphabet or padding is `None`.
            pub fn parse(text: &str) -> Option<Self> {
                if text.len() != 30 {
                    return None;
                }
                BASE64URL_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&BASE64URL_NOPAD.encode(&self.0))
            }
        }
    )+};
}

ids! {
    /// Names one message in the outbox; also its idempotency key and part of its Message-ID.
    NoticeId,
    /// The handle of an accepted request.
    RequestId,
    /// Names a ticket in the store; not a secret by itself, since a token needs the key as well.
    TicketId,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::string_slice)]
    use super::*;

    #[test]
    fn ids_lie_in_the_order_of_their_moments() {
        let at = |millis| RequestId::new(Timestamp::from_millis(millis), [7; 16]);
        assert!(at(1) < at(2) && at(255) < at(256) && at(1_795_000_000_999) < at(1_795_000_001_000));
        assert_eq!(at(0x0102_0304_0506).bytes()[..], [[1, 2, 3, 4, 5, 6].as_slice(), &[7; 16]].concat());
    }

    #[test]
    fn only_the_written_form_reads_back() {
        let id = RequestId::from_bytes([7; 22]);
        let text = id.to_string();
        assert_eq!(RequestId::parse(&text), Some(id));
        for wrong in ["", "AAAA", &text[1..], &format!("{text}="), &format!("{text}A"), &text.replace('B', "+")] {
            assert_eq!(RequestId::parse(wrong), None, "{wrong}");
        }
    }
}
