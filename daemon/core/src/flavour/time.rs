//! Moments as directories write them: GeneralizedTime (RFC 4517 section 3.3.13), read exactly or not at all.

use std::fmt;

use crate::domain::Timestamp;

/// The moment that OpenLDAP's password policy takes as "locked by an administrator, without end": `000001010000Z`.
pub const YEAR_ZERO: Timestamp = Timestamp::from_millis(-62_167_219_200_000);

/// A value that is no GeneralizedTime. Whatever rests on it is unknown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadTime;

impl fmt::Display for BadTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no GeneralizedTime")
    }
}

/// Reads `YYYYMMDDHH[MM[SS]][.fraction](Z|±HH[MM])`. Minutes and seconds may be missing, the fraction belongs to the
/// smallest unit that is there, and the zone must be there. Digits beyond milliseconds are dropped.
///
/// # Errors
/// [`BadTime`] for everything else, days and hours that don't exist among it.
pub fn parse(value: &[u8]) -> Result<Timestamp, BadTime> {
    let mut rest = value;
    let mut digits = |count: usize| -> Option<i64> {
        let (head, tail) = rest.split_at_checked(count)?;
        let number = head
            .iter()
            .try_fold(0, |number: i64, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))?;
        rest = tail;
        Some(number)
    };
    let (year, month, day, hour) =
        (digits(4).ok_or(BadTime)?, digits(2).ok_or(BadTime)?, digits(2).ok_or(BadTime)?, digits(2).ok_or(BadTime)?);
    let minute = digits(2);
    let second = if minute.is_some() { digits(2) } else { None };
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => return Err(BadTime),
    };
    // A leap second is allowed by the syntax; it is the first moment of the next minute here.
    let fits = (1..=days_in_month).contains(&day)
        && hour <= 23
        && minute.is_none_or(|minute| minute <= 59)
        && second.is_none_or(|second| second <= 60);
    if !fits {
        return Err(BadTime);
    }
    let unit: i64 = match (minute, second) {
        (None, _) => 3_600_000,
        (Some(_), None) => 60_000,
        (Some(_), Some(_)) => 1000,
    };
    let mut millis = 0;
    if let Some((b'.' | b',', tail)) = rest.split_first() {
        let length = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (fraction, after) = tail.split_at_checked(length).ok_or(BadTime)?;
        if fraction.is_empty() {
            return Err(BadTime);
        }
        // Twelve digits are finer than a millisecond of an hour by far, and can't overflow.
        let (mut part, mut whole) = (0_i64, 1_i64);
        for digit in fraction.iter().take(12) {
            part = part * 10 + i64::from(digit - b'0');
            whole *= 10;
        }
        millis = i64::try_from(i128::from(part) * i128::from(unit) / i128::from(whole)).map_err(|_| BadTime)?;
        rest = after;
    }
    let offset = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), zone @ ..] => {
            let two = |pair: &[u8]| match pair {
                [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Ok(i64::from(a - b'0') * 10 + i64::from(b - b'0')),
                _ => Err(BadTime),
            };
            let (hours, minutes) = match zone.len() {
                2 => (two(zone)?, 0),
                4 => (two(zone.get(..2).ok_or(BadTime)?)?, two(zone.get(2..).ok_or(BadTime)?)?),
                _ => return Err(BadTime),
            };
            if hours > 23 || minutes > 59 {
                return Err(BadTime);
            }
            let offset = (hours * 60 + minutes) * 60_000;
            if *sign == b'+' { offset } else { -offset }
        }
        _ => return Err(BadTime),
    };
    let seconds = days_before(year, month, day) * 86400 + hour * 3600 + minute.unwrap_or(0) * 60 + second.unwrap_or(0);
    Ok(Timestamp::from_millis(seconds * 1000 + millis - offset))
}

/// Writes a moment with seconds, `20261030120000Z`, as servers do.
pub fn write(moment: Timestamp) -> String {
    let seconds = moment.seconds();
    let (year, month, day) = date_of(seconds.div_euclid(86400));
    let of_day = seconds.rem_euclid(86400);
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, counted in years that begin in March.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_before`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn t54_every_form_is_read_exactly() {
        for (text, millis) in [
            ("19700101000000Z", 0),
            ("000001010000Z", YEAR_ZERO.millis()),
            ("00000101000000Z", YEAR_ZERO.millis()),
            ("197001010001Z", 60_000),
            ("1970010101Z", 3_600_000),
            ("19700101000000.5Z", 500),
            ("19700101000000,123456Z", 123),
            ("1970010100.5Z", 1_800_000),
            ("1970010100.999999999999999999Z", 3_599_999),
            ("197001010000.25Z", 15_000),
            ("19700101020000+0200", 0),
            ("19700101020000+02", 0),
            ("19691231220000-0200", 0),
            ("19700101000060Z", 60_000),
            ("20000229000000Z", 951_782_400_000),
            ("20261030120000Z", 1_793_361_600_000),
            ("99991231235959Z", 253_402_300_799_000),
        ] {
            assert_eq!(parse(text.as_bytes()).map(Timestamp::millis), Ok(millis), "{text}");
        }
    }

    #[test]
    fn t54_what_is_no_time_is_an_error() {
        for text in [
            "",
            "0",
            "Z",
            "19700101000000",
            "1970010100000Z",
            "19701301000000Z",
            "19700001000000Z",
            "19700132000000Z",
            "19700100000000Z",
            "19000229000000Z",
            "19700101240000Z",
            "19700101006000Z",
            "19700101000061Z",
            "19700101000000.Z",
            "19700101000000z",
            "19700101000000+2",
            "19700101000000+2400",
            "19700101000000+0260",
            "19700101000000+02000",
            "-9700101000000Z",
            "19700101000000Z ",
            " 19700101000000Z",
            "19700101000000ZZ",
            "1970-01-01T00:00:00Z",
            "never",
            "197001010000000Z",
            "19700101000000.5.5Z",
        ] {
            assert_eq!(parse(text.as_bytes()), Err(BadTime), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(seconds in -62_167_219_200_i64..253_402_300_799) {
            let moment = Timestamp::from_millis(seconds * 1000);
            prop_assert_eq!(parse(write(moment).as_bytes()), Ok(moment));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(parse(&bytes).is_err() || bytes.len() > 10);
        }
    }
}
