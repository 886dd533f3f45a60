//! An answer on its way out: what it carries, and the headers that every answer carries.

use std::time::Duration;

use data_encoding::BASE64;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use ring::digest;
use serde_json::Value;

/// An answer before it is dressed.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    /// An answer with nothing in it.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, body: Bytes::new(), headers: Vec::new() }
    }

    /// An answer of some media type.
    pub(super) fn new(status: StatusCode, media: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, body: body.into(), headers: Vec::new() }.header("content-type", media)
    }

    /// An answer to a program.
    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// Problem details of RFC 9457.
    pub(super) fn problem(status: StatusCode, body: &Value) -> Self {
        Self::new(status, "application/problem+json", body.to_string())
    }

    /// Sends the browser elsewhere, to be fetched by GET.
    pub(super) fn see_other(location: &str) -> Self {
        Self::empty(StatusCode::SEE_OTHER).header("location", location)
    }

    /// One more header; a value that can't stand in one is left out.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }

    /// Says when to come again, in whole seconds, rounded up.
    pub(super) fn retry_after(self, wait: Duration) -> Self {
        self.header("retry-after", &wait.as_millis().div_ceil(1000).max(1).to_string())
    }

    /// The response, with the headers that none lacks.
    pub(super) fn dress(self, dress: &Dress) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.clone_from(&dress.headers);
        headers.extend(self.headers);
        response
    }
}

/// The headers that every answer carries: nothing is kept, framed, sniffed, referred or run.
pub(super) struct Dress {
    headers: HeaderMap,
}

impl Dress {
    /// For pages with this one style sheet in them, reached by HTTPS or not.
    pub(super) fn new(style: &str, https: bool) -> Self {
        let hash = BASE64.encode(digest::digest(&digest::SHA256, style.as_bytes()).as_ref());
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; img-src 'self'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'"
        );
        let nothing = HeaderValue::from_static("default-src 'none'");
        let always = ALWAYS.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        // With places for those of the answer itself, so that a copy is not laid out anew.
        let mut headers = HeaderMap::with_capacity(2 * ALWAYS.len());
        headers.extend(always);
        headers.insert("content-security-policy", HeaderValue::try_from(policy).unwrap_or(nothing));
        if https {
            headers.insert("strict-transport-security", HeaderValue::from_static("max-age=63072000"));
        }
        Self { headers }
    }
}

const ALWAYS: [(&str, &str); 7] = [
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t102_every_answer_is_dressed() {
        for https in [true, false] {
            let answer = Answer::see_other("/forgot").retry_after(Duration::from_millis(1));
            let response = answer.dress(&Dress::new("", https));
            let value = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
            for (name, expected) in ALWAYS {
                assert_eq!(value(name), Some(expected));
            }
            let policy = value("content-security-policy").unwrap();
            let hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
            assert!(policy.starts_with(&format!("default-src 'none'; style-src 'sha256-{hash}';")), "{policy}");
            assert_eq!(value("strict-transport-security").is_some(), https);
            assert_eq!((value("location"), value("retry-after"), value("server")), (Some("/forgot"), Some("1"), None));
        }
    }

    #[test]
    fn t103_no_value_adds_a_header() {
        let response = Answer::see_other("/a\r\nSet-Cookie: x=y").dress(&Dress::new("", true));
        assert_eq!((response.headers().get("location"), response.headers().get("set-cookie")), (None, None));
    }
}
