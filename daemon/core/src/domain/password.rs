//! A password as typed.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The longest password that is even looked at, in bytes.
const LONGEST: usize = 4096;

/// A password as somebody typed it, in NFC, wiped when dropped. It can't be printed, compared or cloned.
pub struct NewPassword(Zeroizing<String>);

impl NewPassword {
    /// Takes what was typed. Empty texts and texts beyond 4 KiB or with NUL are `None`: they must never reach a
    /// directory, where an empty password turns a bind into an anonymous success (RFC 4513 section 5.1.2).
    pub fn parse(typed: &str) -> Option<Self> {
        if typed.is_empty() || typed.len() > LONGEST || typed.contains('\0') {
            return None;
        }
        Some(Self(Zeroizing::new(typed.nfc().collect())))
    }

    /// The text, for the rules and for the directory.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t64_empty_and_nul_never_become_a_password() {
        for typed in ["", "\0", "abc\0def"] {
            assert!(NewPassword::parse(typed).is_none());
        }
        assert!(NewPassword::parse(&"x".repeat(5000)).is_none());
    }

    #[test]
    fn t74_composed_and_decomposed_are_one() {
        let password = NewPassword::parse("caf\u{65}\u{301}");
        assert_eq!(password.as_ref().map(NewPassword::expose), Some("caf\u{e9}"));
    }
}
