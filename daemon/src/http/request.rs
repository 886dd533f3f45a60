//! What a request must be before anything else looks at it: its target, its host, its media type, the site it comes
//! from, and the size and time of its body. Everything here is strict; what is odd is refused, never mended.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{self, HeaderMap};
use hyper::{Uri, Version};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::answer::Refusal;

/// The longest body taken, in bytes.
pub const LONGEST_BODY: usize = 16 * 1024;
/// Bytes of a body that must come in a second, once half of its time is over.
const SLOWEST_BODY: u64 = 1024;
/// The longest target taken, in bytes.
pub const LONGEST_TARGET: usize = 2 * 1024;

/// A host name or address with its port, as `Host` and origins write it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authority {
    host: String,
    port: Option<u16>,
}

impl Authority {
    /// Reads `name`, `name:port`, `address:port` or `[v6]:port`; user names, paths and everything else are `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                let address: std::net::Ipv6Addr = address.parse().ok()?;
                (format!("[{address}]"), rest)
            }
            None => match text.find(':') {
                Some(colon) => (text.get(..colon)?.to_ascii_lowercase(), text.get(colon..)?),
                None => (text.to_ascii_lowercase(), ""),
            },
        };
        let named = host.starts_with('[')
            || ((1..=253).contains(&host.len())
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)));
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some(digits) if (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            _ => return None,
        };
        named.then_some(Self { host, port })
    }

    fn is(&self, other: &Self, default_port: u16) -> bool {
        self.host == other.host && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }

    /// Whether this names the very socket that a connection came in by.
    fn is_socket(&self, local: SocketAddr) -> bool {
        let ip = local.ip().to_canonical();
        let named = match ip {
            IpAddr::V4(ip) => self.host == ip.to_string(),
            IpAddr::V6(ip) => self.host == format!("[{ip}]"),
        };
        (named || (ip.is_loopback() && self.host == "localhost")) && self.port.unwrap_or(80) == local.port()
    }
}

/// Where people reach this door, from the configuration alone.
#[derive(Clone, Debug)]
pub struct Site {
    authority: Option<Authority>,
    hosts: Vec<Authority>,
    /// Whether people come by HTTPS.
    pub https: bool,
    /// The path in front of every page, without a slash at its end; mostly empty.
    pub base: String,
}

impl Site {
    /// From the public URL, and the names besides its own.
    pub fn new(public_url: &str, hosts: Vec<Authority>) -> Self {
        let uri = public_url.parse::<Uri>().unwrap_or_default();
        Self {
            authority: uri.authority().and_then(|authority| Authority::parse(authority.as_str())),
            hosts,
            https: uri.scheme_str() == Some("https"),
            base: uri.path().trim_end_matches('/').to_owned(),
        }
    }

    fn default_port(&self) -> u16 {
        if self.https { 443 } else { 80 }
    }

    /// Whether a host is ours: the public one, one of the names besides, or the socket itself.
    fn is_ours(&self, host: &Authority, local: SocketAddr) -> bool {
        self.authority.as_ref().is_some_and(|ours| ours.is(host, self.default_port()))
            || self.hosts.iter().any(|ours| ours.is(host, 80))
            || host.is_socket(local)
    }

    /// Whether an origin is ours, its scheme included: the public one by its own scheme, all others by plain HTTP.
    fn is_our_origin(&self, origin: &str, local: SocketAddr) -> bool {
        let Some((scheme, host)) = origin.split_once("://") else { return false };
        let Some(host) = Authority::parse(host) else { return false };
        let public = self.authority.as_ref().is_some_and(|ours| ours.is(&host, self.default_port()));
        match scheme {
            "https" => public && self.https,
            "http" => (public && !self.https) || (!public && self.is_ours(&host, local)),
            _ => false,
        }
    }
}

/// The raw path and the query of a target in origin form.
///
/// # Errors
/// Absolute and authority forms are refused, so that no host but that of the header is ever looked at.
pub fn target(uri: &Uri) -> Result<(&str, Option<&str>), Refusal> {
    if uri.scheme().is_some() || uri.authority().is_some() {
        return Err(Refusal::BadRequest("the target of the request must be a path"));
    }
    let length = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if length > LONGEST_TARGET {
        return Err(Refusal::TargetTooLong);
    }
    Ok((uri.path(), uri.query()))
}

/// Checks the `Host` header.
///
/// # Errors
/// A host that is not ours is misdirected, so that no request causes anything under a foreign name.
pub fn host(headers: &HeaderMap, version: Version, site: &Site, local: SocketAddr) -> Result<(), Refusal> {
    let refused = Refusal::BadRequest("the request needs exactly one Host header");
    let Some(value) = single(headers, "host").map_err(|_| refused.clone())? else {
        return if version == Version::HTTP_10 { Err(Refusal::Misdirected) } else { Err(refused) };
    };
    let authority = Authority::parse(value).ok_or(refused)?;
    if site.is_ours(&authority, local) { Ok(()) } else { Err(Refusal::Misdirected) }
}

/// Refuses a form that another site had the browser send.
///
/// A browser says where a form comes from in `Sec-Fetch-Site`, older ones in `Origin`. Since our pages send no referrer,
/// the latter is `null` for our own forms, which names no site and so accuses none: a page that knows the link in the
/// path needs no victim's browser, and asking for a message does nothing for the asker.
///
/// # Errors
/// [`Refusal::ForeignSite`].
pub fn same_site(headers: &HeaderMap, site: &Site, local: SocketAddr) -> Result<(), Refusal> {
    let of = |name| single(headers, name).map_err(|_| Refusal::ForeignSite);
    let fetched = of("sec-fetch-site")?;
    let origin = of("origin")?;
    let fine = matches!(fetched, None | Some("same-origin" | "none"))
        && origin.is_none_or(|origin| origin == "null" || site.is_our_origin(origin, local));
    if fine { Ok(()) } else { Err(Refusal::ForeignSite) }
}

/// Checks that a body is of one media type, plain and in UTF-8.
///
/// # Errors
/// [`Refusal::MediaType`] for anything else, and for compressed bodies, which are never unpacked.
pub fn media_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), Refusal> {
    let refused = Refusal::MediaType(wanted);
    let plain = single(headers, "content-encoding").map_err(|_| refused.clone())?;
    let value = single(headers, "content-type").map_err(|_| refused.clone())?.ok_or(refused.clone())?;
    let mut parts = value.split(';').map(str::trim);
    let fits = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(wanted))
        && parts
            .all(|part| part.eq_ignore_ascii_case("charset=utf-8") || part.eq_ignore_ascii_case("charset=\"utf-8\""));
    if fits && plain.is_none_or(|coding| coding.eq_ignore_ascii_case("identity")) { Ok(()) } else { Err(refused) }
}

/// Reads a whole body, within its size and its time. It is wiped when dropped.
///
/// Half of the time is given; the other half is earned by what came, so that a dribble ends early.
///
/// # Errors
/// Too large, too slow, or broken off.
pub async fn body<B>(body: B, headers: &HeaderMap, within: Duration) -> Result<Zeroizing<Vec<u8>>, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Said to be too large is too large: nothing of it is read.
    let said = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if said.is_some_and(|length| length > LONGEST_BODY) {
        return Err(Refusal::BodyTooLarge);
    }
    let begin = Instant::now();
    let mut body = std::pin::pin!(Limited::new(body, LONGEST_BODY));
    let mut read = Zeroizing::new(Vec::with_capacity(said.unwrap_or(1024)));
    loop {
        let earned = Duration::from_millis(read.len() as u64 * 1000 / SLOWEST_BODY);
        let frame = tokio::time::timeout_at(begin + within.min(within / 2 + earned), body.frame());
        match frame.await {
            Ok(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    read.extend_from_slice(data);
                }
            }
            Ok(Some(Err(error))) if error.is::<LengthLimitError>() => return Err(Refusal::BodyTooLarge),
            Ok(Some(Err(_))) => return Err(Refusal::BadRequest("the body broke off")),
            Ok(None) => return Ok(read),
            Err(_) => return Err(Refusal::TooSlow),
        }
    }
}

/// A header that stands there twice, or is no text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OddHeader;

/// A header that stands there at most once.
///
/// # Errors
/// [`OddHeader`].
pub fn single<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h str>, OddHeader> {
    let mut lines = headers.get_all(name).iter();
    let Some(first) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(OddHeader);
    }
    first.to_str().map(Some).map_err(|_| OddHeader)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::Full;
    use hyper::header::HeaderName;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    fn site() -> Site {
        Site::new("https://reset.example.org", vec![Authority::parse("rekeyd.internal:8080").unwrap()])
    }

    fn local() -> SocketAddr {
        "127.0.0.1:8080".parse().unwrap()
    }

    #[test]
    fn t94_foreign_hosts_are_misdirected() {
        for (value, fine) in [
            ("reset.example.org", true),
            ("RESET.example.org", true),
            ("reset.example.org:443", true),
            ("127.0.0.1:8080", true),
            ("localhost:8080", true),
            ("rekeyd.internal:8080", true),
            ("reset.example.org:80", false),
            ("reset.example.org:8443", false),
            ("reset.example.org.", false),
            ("evil.example", false),
            ("reset.example.org.evil.example", false),
            ("evil-reset.example.org", false),
            ("127.0.0.1:8081", false),
            ("127.0.0.1", false),
            ("localhost", false),
            ("rekeyd.internal", false),
        ] {
            let expected = if fine { Ok(()) } else { Err(Refusal::Misdirected) };
            let found = host(&headers(&[("host", value)]), Version::HTTP_11, &site(), local());
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn t94_odd_hosts_are_bad_requests() {
        let bad = Refusal::BadRequest("the request needs exactly one Host header");
        for value in [
            "",
            "user@reset.example.org",
            "reset.example.org/path",
            "reset.example.org:",
            "reset.example.org:443x",
            "reset.example.org:99999",
            "reset.example.org:+443",
            "https://reset.example.org",
            "reset.example.org evil.example",
            "reset.example.org,evil.example",
            "[::1",
            "[evil]",
            "[::1]x",
            "a:b:c",
        ] {
            let found = host(&headers(&[("host", value)]), Version::HTTP_11, &site(), local());
            assert_eq!(found, Err(bad.clone()), "{value}");
        }
        let twice = headers(&[("host", "reset.example.org"), ("host", "reset.example.org")]);
        assert_eq!(host(&twice, Version::HTTP_11, &site(), local()), Err(bad.clone()));
        assert_eq!(host(&HeaderMap::new(), Version::HTTP_11, &site(), local()), Err(bad));
        assert_eq!(host(&HeaderMap::new(), Version::HTTP_10, &site(), local()), Err(Refusal::Misdirected));
    }

    #[test]
    fn t94_forwarded_hosts_mean_nothing() {
        let lines = headers(&[
            ("host", "reset.example.org"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "host=evil.example"),
            ("x-original-url", "/admin"),
        ]);
        assert_eq!(host(&lines, Version::HTTP_11, &site(), local()), Ok(()));
    }

    #[test]
    fn t101_forms_of_other_sites_are_refused() {
        for (lines, fine) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "same-origin"), ("origin", "null")], true),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://reset.example.org")], true),
            (&[("origin", "https://reset.example.org")], true),
            (&[("origin", "https://reset.example.org:443")], true),
            (&[("origin", "http://127.0.0.1:8080")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "")], false),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://reset.example.org")], false),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")], false),
            (&[("origin", "https://evil.example")], false),
            (&[("origin", "http://reset.example.org")], false),
            (&[("origin", "https://reset.example.org:8443")], false),
            (&[("origin", "https://reset.example.org.evil.example")], false),
            (&[("origin", "https://127.0.0.1:8080")], false),
            (&[("origin", "reset.example.org")], false),
            (&[("origin", "")], false),
        ] {
            let expected = if fine { Ok(()) } else { Err(Refusal::ForeignSite) };
            assert_eq!(same_site(&headers(lines), &site(), local()), expected, "{lines:?}");
        }
    }

    #[test]
    fn t94_only_a_path_is_a_target() {
        for (uri, expected) in [
            ("/forgot", Ok(("/forgot", None))),
            ("/forgot?a=b", Ok(("/forgot", Some("a=b")))),
            ("/%66orgot", Ok(("/%66orgot", None))),
            ("//evil.example/forgot", Ok(("//evil.example/forgot", None))),
        ] {
            assert_eq!(target(&uri.parse().unwrap()), expected, "{uri}");
        }
        for uri in ["http://reset.example.org/forgot", "https://evil.example/", "evil.example:80"] {
            assert!(matches!(target(&uri.parse().unwrap()), Err(Refusal::BadRequest(_))), "{uri}");
        }
        let long = format!("/{}", "a".repeat(LONGEST_TARGET));
        assert_eq!(target(&long.parse().unwrap()), Err(Refusal::TargetTooLong));
    }

    #[test]
    fn media_types_are_exact() {
        for (lines, fine) in [
            (&[("content-type", "application/json")][..], true),
            (&[("content-type", "Application/JSON; charset=UTF-8")], true),
            (&[], false),
            (&[("content-type", "text/plain")], false),
            (&[("content-type", "application/json; charset=utf-16")], false),
            (&[("content-type", "application/jsonx")], false),
            (&[("content-type", "application/json, text/plain")], false),
            (&[("content-type", "application/json"), ("content-type", "application/json")], false),
            (&[("content-type", "application/json"), ("content-encoding", "gzip")], false),
        ] {
            assert_eq!(media_type(&headers(lines), "application/json").is_ok(), fine, "{lines:?}");
        }
    }

    #[tokio::test]
    async fn t106_bodies_have_a_size() {
        let within = Duration::from_secs(5);
        let none = HeaderMap::new();
        let read = |size: usize| body(Full::new(Bytes::from(vec![b'a'; size])), &none, within);
        assert_eq!(read(LONGEST_BODY).await.unwrap().len(), LONGEST_BODY);
        for size in [LONGEST_BODY + 1, 1 << 20, 10 << 20] {
            assert_eq!(read(size).await.map(|_| ()), Err(Refusal::BodyTooLarge));
        }
        let said = headers(&[("content-length", "99999999999")]);
        assert_eq!(body(Full::default(), &said, within).await.map(|_| ()), Err(Refusal::BodyTooLarge));
    }

    #[test]
    fn a_public_url_may_have_a_path() {
        let site = Site::new("http://intranet:8080/reset", Vec::new());
        assert_eq!((site.https, site.base.as_str()), (false, "/reset"));
        assert_eq!(Site::new("https://reset.example.org", Vec::new()).base, "");
    }
}
