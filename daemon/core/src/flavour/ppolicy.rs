//! The answer of the password policy control (draft-behera-ldap-password-policy, 1.3.6.1.4.1.42.2.27.8.5.1), read with
//! bounds on everything: it comes from a server and decides what a person is told.
//!
//! ```text
//! SEQUENCE { warning [0] CHOICE { timeBeforeExpiration [0] INTEGER, graceAuthNsRemaining [1] INTEGER } OPTIONAL,
//!            error   [1] ENUMERATED OPTIONAL }
//! ```

use std::fmt;

/// The object identifier of the control, in requests and answers.
pub const OID: &str = "1.3.6.1.4.1.42.2.27.8.5.1";

/// What a server says of a password besides the result code.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PolicyAnswer {
    /// Seconds until the password expires.
    pub expires_in: Option<u32>,
    /// Sign-ins that are left with an expired password.
    pub grace: Option<u32>,
    /// Why it was refused, or what must be done.
    pub error: Option<PolicyError>,
}

/// The errors of the control.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PolicyError {
    /// 0: the password has expired.
    Expired,
    /// 1: the account is locked.
    Locked,
    /// 2: the password must be changed first.
    ChangeAfterReset,
    /// 3: the person may not change it.
    NotAllowed,
    /// 4: the old password is wanted as well.
    MustSupplyOld,
    /// 5: too simple.
    NotComplex,
    /// 6: too short.
    TooShort,
    /// 7: changed too recently.
    TooYoung,
    /// 8: used before.
    InHistory,
    /// 9 (OpenLDAP): too long.
    TooLong,
    /// A number that nobody has given a meaning.
    Other(u32),
}

/// Bytes that are no such answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadAnswer;

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no answer of the password policy control")
    }
}

impl PolicyAnswer {
    /// Reads the value of the control.
    ///
    /// # Errors
    /// [`BadAnswer`] for every other shape, bytes left over among them.
    pub fn parse(value: &[u8]) -> Result<Self, BadAnswer> {
        let (tag, body, rest) = element(value)?;
        if tag != 0x30 || !rest.is_empty() {
            return Err(BadAnswer);
        }
        let mut answer = Self::default();
        let mut rest = body;
        // Each tag at most once and in order, hence no more than two turns.
        if let Some(0xa0) = rest.first() {
            let (_, warning, after) = element(rest)?;
            let (kind, number, left) = element(warning)?;
            match (kind, left) {
                (0x80, []) => answer.expires_in = Some(unsigned(number)?),
                (0x81, []) => answer.grace = Some(unsigned(number)?),
                _ => return Err(BadAnswer),
            }
            rest = after;
        }
        if let Some(0x81) = rest.first() {
            let (_, number, after) = element(rest)?;
            answer.error = Some(PolicyError::from_number(unsigned(number)?));
            rest = after;
        }
        if rest.is_empty() { Ok(answer) } else { Err(BadAnswer) }
    }
}

impl PolicyError {
    fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Expired,
            1 => Self::Locked,
            2 => Self::ChangeAfterReset,
            3 => Self::NotAllowed,
            4 => Self::MustSupplyOld,
            5 => Self::NotComplex,
            6 => Self::TooShort,
            7 => Self::TooYoung,
            8 => Self::InHistory,
            9 => Self::TooLong,
            other => Self::Other(other),
        }
    }
}

/// Splits the first element off: its tag, its content, what follows. Lengths may have the long form of up to four
/// bytes, which some servers always use.
fn element(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), BadAnswer> {
    let (tag, rest) = bytes.split_first().ok_or(BadAnswer)?;
    let (first, rest) = rest.split_first().ok_or(BadAnswer)?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return Err(BadAnswer);
        }
        let (number, rest) = rest.split_at_checked(count).ok_or(BadAnswer)?;
        (number.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length).ok_or(BadAnswer)?;
    Ok((*tag, content, rest))
}

/// A whole number of at most four bytes that is not negative.
fn unsigned(bytes: &[u8]) -> Result<u32, BadAnswer> {
    if bytes.first().is_none_or(|first| *first >= 0x80) {
        return Err(BadAnswer);
    }
    let digits = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    if digits.len() > 4 {
        return Err(BadAnswer);
    }
    Ok(digits.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(expires_in: Option<u32>, grace: Option<u32>, error: Option<PolicyError>) -> PolicyAnswer {
        PolicyAnswer { expires_in, grace, error }
    }

    #[test]
    fn answers_of_real_servers_are_read() {
        for (bytes, expected) in [
            (&[0x30, 0x00][..], PolicyAnswer::default()),
            (&[0x30, 0x03, 0x81, 0x01, 0x02], answer(None, None, Some(PolicyError::ChangeAfterReset))),
            (&[0x30, 0x03, 0x81, 0x01, 0x06], answer(None, None, Some(PolicyError::TooShort))),
            (&[0x30, 0x03, 0x81, 0x01, 0x08], answer(None, None, Some(PolicyError::InHistory))),
            (&[0x30, 0x03, 0x81, 0x01, 0x09], answer(None, None, Some(PolicyError::TooLong))),
            (&[0x30, 0x03, 0x81, 0x01, 0x2a], answer(None, None, Some(PolicyError::Other(42)))),
            (&[0x30, 0x05, 0xa0, 0x03, 0x80, 0x01, 0x3c], answer(Some(60), None, None)),
            (&[0x30, 0x06, 0xa0, 0x04, 0x80, 0x02, 0x0e, 0x10], answer(Some(3600), None, None)),
            (
                &[0x30, 0x08, 0xa0, 0x03, 0x81, 0x01, 0x03, 0x81, 0x01, 0x00],
                answer(None, Some(3), Some(PolicyError::Expired)),
            ),
            (&[0x30, 0x07, 0xa0, 0x05, 0x80, 0x03, 0x00, 0xff, 0xff], answer(Some(65535), None, None)),
            (
                &[0x30, 0x84, 0, 0, 0, 0x07, 0x81, 0x84, 0, 0, 0, 0x01, 0x05],
                answer(None, None, Some(PolicyError::NotComplex)),
            ),
        ] {
            assert_eq!(PolicyAnswer::parse(bytes), Ok(expected), "{bytes:02x?}");
        }
    }

    #[test]
    fn t68_garbage_is_refused() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 0x01],
            &[0x31, 0x00],
            &[0x30, 0x00, 0x00],
            &[0x30, 0x80],
            &[0x30, 0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x02, 0x81, 0x00],
            &[0x30, 0x03, 0x81, 0x01],
            &[0x30, 0x03, 0x81, 0x01, 0x80],
            &[0x30, 0x07, 0x81, 0x05, 1, 2, 3, 4, 5],
            &[0x30, 0x05, 0xa0, 0x03, 0x82, 0x01, 0x01],
            &[0x30, 0x08, 0x81, 0x01, 0x00, 0xa0, 0x03, 0x80, 0x01, 0x01],
            &[0x30, 0x06, 0x81, 0x01, 0x00, 0x81, 0x01, 0x00],
        ] {
            assert_eq!(PolicyAnswer::parse(bytes), Err(BadAnswer), "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn t68_any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(PolicyAnswer::parse(&bytes).is_err() || bytes.len() > 1);
        }
    }
}
