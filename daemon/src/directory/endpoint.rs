//! Where a server is and how it is reached: the URLs of `[[directory]]`. None that would send a password in clear text over
//! the network is one.

use std::net::IpAddr;
use std::path::PathBuf;

use rekeyd_core::text::percent_decoded;

/// One server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Its URL as configured: its name in evidence and messages.
    pub url: String,
    /// How it is reached.
    pub transport: Transport,
}

/// How a server is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Transport {
    /// Over TCP.
    Tcp {
        /// Its name or address, IPv6 without brackets.
        host: String,
        /// Its port.
        port: u16,
        /// What protects the connection.
        security: Security,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// What protects a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Security {
    /// Nothing; only within this machine.
    Clear,
    /// TLS after a request in clear text, or no connection at all.
    StartTls,
    /// TLS from the first byte.
    Tls,
}

impl Endpoint {
    /// Reads a URL. `start_tls` asks for TLS on `ldap://`, `clear` lets such a connection within this machine go without.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str, start_tls: bool, clear: bool) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or("it is no URL")?;
        if rest.contains(['?', '#', '@']) {
            return Err("it says more than a server".into());
        }
        let transport = match scheme {
            "ldapi" => Transport::Unix(socket_path(rest)?),
            "ldap" | "ldaps" => {
                let rest = rest.strip_suffix('/').unwrap_or(rest);
                if rest.contains('/') {
                    return Err("it says more than a server".into());
                }
                let (host, port, bracketed) = host_and_port(rest)?;
                let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
                let security = match (scheme, start_tls) {
                    ("ldaps", _) => Security::Tls,
                    (_, true) => Security::StartTls,
                    _ if clear && loopback => Security::Clear,
                    _ if loopback => {
                        return Err(
                            "it speaks clear text; on this machine that needs `clear_text_on_loopback = true`".into()
                        );
                    }
                    _ => return Err("it would send passwords in clear text over the network".into()),
                };
                if bracketed && security != Security::Clear {
                    return Err("a certificate is checked against a name, and this is an IPv6 address".into());
                }
                let port = port.unwrap_or(if security == Security::Tls { 636 } else { 389 });
                Transport::Tcp { host, port, security }
            }
            _ => return Err("its scheme is none of ldaps, ldap and ldapi".into()),
        };
        Ok(Self { url: text.to_owned(), transport })
    }
}

fn socket_path(text: &str) -> Result<PathBuf, String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() {
        return Ok(PathBuf::from("/run/slapd/ldapi"));
    }
    let path = PathBuf::from(percent_decoded(text.as_bytes()).ok_or("it has a bad escape")?.as_str());
    if path.is_absolute() { Ok(path) } else { Err("its path must be whole, with %2F for each slash".into()) }
}

/// Host, port, and whether the host stood in brackets.
fn host_and_port(text: &str) -> Result<(String, Option<u16>, bool), String> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or("its port is no port".to_owned());
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("its bracket does not close")?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(number(port)?),
            None if rest.is_empty() => None,
            None => return Err("something follows its bracket".into()),
        };
        let address: std::net::Ipv6Addr = host.parse().map_err(|_| "there is no IPv6 address in its brackets")?;
        return Ok((address.to_string(), port, true));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(number(port)?)),
        None => (text, None),
    };
    let fine =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if fine { Ok((host.to_owned(), port, false)) } else { Err("it names no server".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t65_urls_that_would_tell_secrets_are_refused() {
        for (url, start_tls, clear, fine) in [
            ("ldap://ldap.example.org", false, true, false),
            ("ldap://ldap.example.org", true, false, true),
            ("ldap://127.0.0.1:389", false, false, false),
            ("ldap://127.0.0.1:389", false, true, true),
            ("ldap://[::1]:389", false, true, true),
            ("ldap://localhost", false, true, true),
            ("ldaps://[::1]:636", false, false, false),
            ("ldap://[::1]", true, true, false),
            ("ldapi://%2Frun%2Fslapd%2Fldapi", false, false, true),
            ("ldapi:///", false, false, true),
            ("ldapi://run", false, false, false),
            ("ldapi://%2", false, false, false),
            ("ldaps://a/dc=x", false, false, false),
            ("ldaps://a?x", false, false, false),
            ("ldaps://u@a", false, false, false),
            ("ldaps://", false, false, false),
            ("ldaps://a:0", false, false, false),
            ("ldaps://a:99999", false, false, false),
            ("https://a", false, false, false),
            ("a", false, false, false),
        ] {
            assert_eq!(Endpoint::parse(url, start_tls, clear).is_ok(), fine, "{url}");
        }
    }
}
