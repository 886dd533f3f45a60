//! Which address a request really comes from: that of the connection, unless a trusted proxy says otherwise.
//!
//! `X-Forwarded-For` is read from the right: each trusted proxy vouches for the entry to its left, and the first
//! address that is no trusted proxy is the client. What stands further left was written by the client and means nothing.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// The header of a trusted proxy can't be read, so nobody knows who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

/// The client's address. `lines` are all `X-Forwarded-For` lines in their order; `trusts` says whose word counts.
///
/// # Errors
/// [`Malformed`] where a trusted proxy vouches for something that is no address.
pub fn client_address<'h>(
    peer: IpAddr,
    lines: impl DoubleEndedIterator<Item = &'h [u8]>,
    trusts: impl Fn(IpAddr) -> bool,
) -> Result<IpAddr, Malformed> {
    let mut client = peer.to_canonical();
    if !trusts(client) {
        return Ok(client);
    }
    for line in lines.rev() {
        let line = std::str::from_utf8(line).map_err(|_| Malformed)?;
        for entry in line.rsplit(',') {
            client = address(entry.trim_matches([' ', '\t'])).ok_or(Malformed)?;
            if !trusts(client) {
                return Ok(client);
            }
        }
    }
    Ok(client)
}

/// An entry: an address, or, as some proxies write it, an address with its port.
fn address(entry: &str) -> Option<IpAddr> {
    let ip = entry
        .parse::<IpAddr>()
        .or_else(|_| entry.parse::<SocketAddr>().map(|socket| socket.ip()))
        .or_else(|_| format!("{entry}:0").parse::<SocketAddrV6>().map(|socket| IpAddr::V6(*socket.ip())))
        .ok()?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn client(peer: &str, lines: &[&str]) -> Option<String> {
        let trusts = |ip: IpAddr| ["127.0.0.1", "10.0.0.5", "10.0.0.6", "fd00::5"].contains(&ip.to_string().as_str());
        client_address(peer.parse().unwrap(), lines.iter().map(|line| line.as_bytes()), trusts)
            .ok()
            .map(|ip| ip.to_string())
    }

    #[test]
    fn t95_only_trusted_proxies_are_believed() {
        for (peer, lines, expected) in [
            ("192.0.2.1", &["198.51.100.9"][..], Some("192.0.2.1")),
            ("192.0.2.1", &["garbage"], Some("192.0.2.1")),
            ("127.0.0.1", &[], Some("127.0.0.1")),
            ("127.0.0.1", &["192.0.2.7"], Some("192.0.2.7")),
            ("::ffff:127.0.0.1", &["192.0.2.7"], Some("192.0.2.7")),
            ("127.0.0.1", &["1.2.3.4, 192.0.2.7"], Some("192.0.2.7")),
            ("127.0.0.1", &["garbage, 192.0.2.7"], Some("192.0.2.7")),
            ("127.0.0.1", &["1.2.3.4", "192.0.2.7"], Some("192.0.2.7")),
            ("127.0.0.1", &["192.0.2.7, 10.0.0.6", "10.0.0.5"], Some("192.0.2.7")),
            ("127.0.0.1", &["10.0.0.6 ,10.0.0.5"], Some("10.0.0.6")),
            ("127.0.0.1", &["192.0.2.7:4711"], Some("192.0.2.7")),
            ("127.0.0.1", &["2001:db8::1"], Some("2001:db8::1")),
            ("127.0.0.1", &["[2001:db8::1]:4711"], Some("2001:db8::1")),
            ("127.0.0.1", &["[2001:db8::1]"], Some("2001:db8::1")),
            ("127.0.0.1", &["::ffff:192.0.2.7"], Some("192.0.2.7")),
            ("fd00::5", &["192.0.2.7"], Some("192.0.2.7")),
            ("127.0.0.1", &[""], None),
            ("127.0.0.1", &["unknown"], None),
            ("127.0.0.1", &["192.0.2.7,"], None),
            ("127.0.0.1", &["192.0.2.7 evil"], None),
            ("127.0.0.1", &["192.0.2.999"], None),
            ("127.0.0.1", &["0300.0.2.7"], None),
            ("127.0.0.1", &["192.0.2.7, garbage, 10.0.0.5"], None),
        ] {
            assert_eq!(client(peer, lines).as_deref(), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_malformed() {
        let line: &[u8] = b"\xff\xfe";
        assert_eq!(client_address("127.0.0.1".parse().unwrap(), [line].into_iter(), |_| true), Err(Malformed));
    }
}
