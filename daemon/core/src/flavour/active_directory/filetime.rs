//! FILETIME values: counts of 100 nanoseconds, as moments since 1601 (UTC) or, negative, as lengths of time. LDAP shows
//! them as decimal numbers of 64 bits. A value that is neither a moment, a length nor one of the few that mean *never* is
//! an error, and the verdict that needs it is unknown.

use std::fmt;
use std::time::Duration;

use crate::domain::Timestamp;

/// Counts in a millisecond.
const IN_A_MILLISECOND: i64 = 10_000;

/// Counts in a second.
pub const IN_A_SECOND: i64 = 10_000_000;

/// Milliseconds from 1601 to 1970.
const BEFORE_1970: i64 = 11_644_473_600_000;

/// A value that is no FILETIME, or not one of the kind that the attribute holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadFileTime;

impl fmt::Display for BadFileTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no date that this attribute can have")
    }
}

/// When something ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// Then.
    At(Timestamp),
    /// Never.
    Never,
}

/// How long something lasts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Length {
    /// Without end.
    Endless,
    /// So long; it may be nothing.
    For(Duration),
}

/// Reads the number as servers write it: digits, with a minus before them or without, and nothing else.
///
/// # Errors
/// [`BadFileTime`] for every other text, and for a number of more than 64 bits.
pub fn parse(value: &[u8]) -> Result<i64, BadFileTime> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let proper = match digits {
        [] => false,
        [b'0'] => digits.len() == value.len(),
        [first, ..] => *first != b'0' && digits.iter().all(u8::is_ascii_digit),
    };
    let text = std::str::from_utf8(value).map_err(|_| BadFileTime)?;
    if proper { text.parse().map_err(|_| BadFileTime) } else { Err(BadFileTime) }
}

/// The moment that a positive number is, to the millisecond.
///
/// # Errors
/// [`BadFileTime`] for zero and below.
pub fn moment(number: i64) -> Result<Timestamp, BadFileTime> {
    if number > 0 { Ok(Timestamp::from_millis(number / IN_A_MILLISECOND - BEFORE_1970)) } else { Err(BadFileTime) }
}

/// The end of an account (`accountExpires`): zero and the greatest number are never.
///
/// # Errors
/// [`BadFileTime`] for negative numbers, which servers let in and which mean nothing.
pub fn end_of_account(value: &[u8]) -> Result<End, BadFileTime> {
    match parse(value)? {
        0 | i64::MAX => Ok(End::Never),
        number => moment(number).map(End::At),
    }
}

/// The end of a password (`msDS-UserPasswordExpiryTimeComputed`): the greatest number is never, and zero, for a password
/// that must be changed, is `None`.
///
/// # Errors
/// [`BadFileTime`] for negative numbers.
pub fn end_of_password(value: &[u8]) -> Result<Option<End>, BadFileTime> {
    match parse(value)? {
        0 => Ok(None),
        i64::MAX => Ok(Some(End::Never)),
        number => moment(number).map(End::At).map(Some),
    }
}

/// A length of time as policies have it: a negative number; the least one is endless.
///
/// # Errors
/// [`BadFileTime`] for positive numbers.
pub fn length(value: &[u8]) -> Result<Length, BadFileTime> {
    match parse(value)? {
        i64::MIN => Ok(Length::Endless),
        number @ ..=0 => {
            let (seconds, rest) = (number / IN_A_SECOND, number % IN_A_SECOND);
            let fine = Duration::from_nanos(rest.unsigned_abs() * 100);
            Ok(Length::For(Duration::from_secs(seconds.unsigned_abs()) + fine))
        }
        _ => Err(BadFileTime),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// 2026-10-30 12:00:00 UTC.
    const NOW: i64 = 1_793_361_600_000;

    #[test]
    fn t54_every_edge_of_an_account_s_end_is_read_exactly() {
        let now = (NOW + BEFORE_1970) * IN_A_MILLISECOND;
        let at = |millis| Ok(End::At(Timestamp::from_millis(millis)));
        for (text, end) in [
            ("0".to_owned(), Ok(End::Never)),
            (i64::MAX.to_string(), Ok(End::Never)),
            ((i64::MAX - 1).to_string(), at(910_692_730_085_477)),
            ("1".into(), at(-BEFORE_1970)),
            ("116444736000000000".into(), at(0)),
            ((now - IN_A_SECOND).to_string(), at(NOW - 1000)),
            (now.to_string(), at(NOW)),
            ((now + IN_A_SECOND).to_string(), at(NOW + 1000)),
            ("-1".into(), Err(BadFileTime)),
            (i64::MIN.to_string(), Err(BadFileTime)),
            ("9223372036854775808".into(), Err(BadFileTime)),
            ("never".into(), Err(BadFileTime)),
        ] {
            assert_eq!(end_of_account(text.as_bytes()), end, "{text}");
        }
    }

    #[test]
    fn t54_what_is_no_number_is_an_error() {
        for text in
            ["", "-", "+1", "-0", "00", "01", "-01", " 1", "1 ", "1.0", "0x1", "1e3", "--1", "-9223372036854775809"]
        {
            assert_eq!(parse(text.as_bytes()), Err(BadFileTime), "{text}");
        }
        assert_eq!(parse(b"\xff"), Err(BadFileTime));
        assert_eq!(parse(b"-9223372036854775808"), Ok(i64::MIN));
    }

    #[test]
    fn t54_passwords_end_now_never_or_then() {
        assert_eq!(end_of_password(b"0"), Ok(None));
        assert_eq!(end_of_password(b"9223372036854775807"), Ok(Some(End::Never)));
        assert_eq!(end_of_password(b"116444736000000000"), Ok(Some(End::At(Timestamp::from_millis(0)))));
        assert_eq!(end_of_password(b"-1"), Err(BadFileTime));
    }

    #[test]
    fn t54_lengths_are_negative() {
        for (text, expected) in [
            ("0", Ok(Length::For(Duration::ZERO))),
            ("-1", Ok(Length::For(Duration::from_nanos(100)))),
            ("-864000000000", Ok(Length::For(Duration::from_hours(24)))),
            ("-9223372036854775808", Ok(Length::Endless)),
            ("-9223372036854775807", Ok(Length::For(Duration::new(922_337_203_685, 477_580_700)))),
            ("864000000000", Err(BadFileTime)),
            ("", Err(BadFileTime)),
        ] {
            assert_eq!(length(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_number_reads_back(number in any::<i64>()) {
            prop_assert_eq!(parse(number.to_string().as_bytes()), Ok(number));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            if let Ok(number) = parse(&bytes) {
                prop_assert_eq!(number.to_string().into_bytes(), bytes.clone());
            }
            prop_assert!(end_of_account(&bytes).is_err() || parse(&bytes).unwrap() >= 0);
            prop_assert!(end_of_password(&bytes).is_err() || parse(&bytes).unwrap() >= 0);
            prop_assert!(length(&bytes).is_err() || parse(&bytes).unwrap() <= 0);
        }

        #[test]
        fn moments_keep_their_order(a in 1..i64::MAX, b in 1..i64::MAX) {
            let (one, other) = (moment(a).unwrap(), moment(b).unwrap());
            prop_assert!(a > b || one <= other);
        }
    }
}
