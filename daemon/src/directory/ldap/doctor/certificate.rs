//! The way to a server: whether it is protected, by which authority, for which name and for how long.

use rekeyd_core::domain::Timestamp;
use rekeyd_core::flavour::time;

use super::seen::Chart;
use crate::directory::endpoint::{Security, Transport};
use crate::directory::ldap::upstream::Upstream;
use crate::directory::ldap::wire::Failure;
use crate::directory::probe::{Cause, Grade, Probe};

/// A certificate that ends within so many days is to be renewed now.
const SOON: i64 = 30;
/// One day, in milliseconds.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// Looks at the server's certificate; the handshake itself has checked chain and name.
pub(super) async fn look(upstream: &Upstream, now: Timestamp, to: &mut Chart<'_>) -> Result<(), Failure> {
    let Some(shown) = upstream.certificate().await? else {
        match &upstream.endpoint.transport {
            Transport::Unix(_) => to.add(Probe::fine("protected", "by the kernel: it is a socket of this machine")),
            Transport::Tcp { .. } => to.add(
                Probe::found(Cause::TlsClear, Grade::Note, "protected", "clear text, on this machine alone")
                    .mended_by("Use ldapi:// or ldaps://; whoever may listen on loopback reads passwords."),
            ),
        }
        return Ok(());
    };
    let begun = match &upstream.endpoint.transport {
        Transport::Tcp { security: Security::StartTls, .. } => " by StartTLS, which is required",
        _ => "",
    };
    let Some((issuer, end)) = read(&shown.certificate) else {
        to.add(Probe::fine("protected", format!("{}{begun}, for {}", shown.version, shown.name)));
        return Ok(());
    };
    let days = end.millis().saturating_sub(now.millis()) / DAY;
    let words = format!("{}{begun}; {issuer} vouches for {}, for {days} more days", shown.version, shown.name);
    if days < SOON {
        to.add(
            Probe::found(Cause::TlsExpires, Grade::Note, "protected", words)
                .mended_by("Renew the server's certificate; on the day it ends, nobody can reset a password any more."),
        );
    } else {
        to.add(Probe::fine("protected", words));
    }
    Ok(())
}

/// Who vouches for a certificate, and until when (RFC 5280, 4.1). It was taken for good before, so that what can't be read
/// here is no fault of it.
fn read(certificate: &[u8]) -> Option<(String, Timestamp)> {
    let (_, whole, _) = element(certificate)?;
    let (_, mut rest, _) = element(whole)?;
    // The version is there or not; then serial number and algorithm.
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    let rest = element(element(rest)?.2)?.2;
    let (_, issuer, rest) = element(rest)?;
    let (_, validity, _) = element(rest)?;
    let (kind, end, _) = element(element(validity)?.2)?;
    let text = std::str::from_utf8(end).ok()?;
    // Two digits of a year are of the years from 1950 on.
    let whole = match (kind, text.get(..2)?.parse::<u8>().ok()?) {
        (0x17, year) if year >= 50 => format!("19{text}"),
        (0x17, _) => format!("20{text}"),
        _ => text.to_owned(),
    };
    Some((name(issuer)?, time::parse(whole.as_bytes()).ok()?))
}

/// The common name in a name, or else whatever comes last in it.
fn name(mut parts: &[u8]) -> Option<String> {
    let mut found = None;
    while let Some((_, set, rest)) = element(parts) {
        let (_, pair, _) = element(set)?;
        let (_, kind, value) = element(pair)?;
        let text = String::from_utf8_lossy(element(value)?.1).into_owned();
        if kind == [0x55, 4, 3] {
            return Some(text);
        }
        found = Some(text);
        parts = rest;
    }
    found
}

/// Tag, content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, first, rest @ ..] = bytes else { return None };
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let sum = length.iter().try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add(usize::from(*byte)));
        (sum?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        match u8::try_from(content.len()).unwrap() {
            length if length < 0x80 => bytes.push(length),
            length => bytes.extend([0x81, length]),
        }
        bytes.extend(content);
        bytes
    }

    #[test]
    fn who_vouches_and_until_when_is_read() {
        let part = |oid: u8, text: &str| {
            der(0x31, &der(0x30, &[der(6, &[0x55, 4, oid]), der(0x0c, text.as_bytes())].concat()))
        };
        let issuer = der(0x30, &[part(10, "Example"), part(3, "Example Root")].concat());
        let validity = der(0x30, &[der(0x17, b"200101000000Z"), der(0x17, b"300102030405Z")].concat());
        let body = [der(0xa0, &der(2, &[2])), der(2, &[7]), der(0x30, &[]), issuer, validity, der(0x30, &[])].concat();
        let certificate = der(0x30, &[der(0x30, &body), der(0x30, &[])].concat());
        let (issuer, end) = read(&certificate).unwrap();
        assert_eq!((issuer.as_str(), time::write(end).as_str()), ("Example Root", "20300102030405Z"));
        for cut in 0..certificate.len() {
            // Whatever comes, nothing breaks.
            drop(read(certificate.get(..cut).unwrap()));
        }
    }
}
