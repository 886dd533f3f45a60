//! Ids that rekeyd draws itself: 128 random bits, written as 22 characters of base64url.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name([u8; 16]);

        impl $name {
            /// From 128 bits of the system's randomness, or from the store.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The bits, for the store.
            pub const fn bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// Reads the written form; any other length, alphabet or padding is `None`.
            pub fn parse(text: &str) -> Option<Self> {
                if text.len() != 22 {
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
    fn only_the_written_form_reads_back() {
        let id = RequestId::from_bytes([7; 16]);
        let text = id.to_string();
        assert_eq!(RequestId::parse(&text), Some(id));
        for wrong in ["", "AAAA", &text[1..], &format!("{text}="), &format!("{text}A"), &text.replace('B', "+")] {
            assert_eq!(RequestId::parse(wrong), None, "{wrong}");
        }
    }
}
