//! What the load is made of: the bytes of each kind of request, and where the answer to one ends.
//!
//! Requests are built once and only the name in them changes; of an answer no more is read than its length and its verdict.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// An answer at the beginning of what was read.
pub(crate) struct Frame {
    /// How many bytes it has.
    pub(crate) length: usize,
    /// Whether it says yes.
    pub(crate) fine: bool,
}

/// What a client says on each of its connections.
#[derive(Clone)]
pub(crate) struct Talk {
    /// Who listens.
    pub(crate) address: SocketAddr,
    /// What is said first on each connection and must be answered by yes, such as a bind.
    pub(crate) hello: Option<Vec<u8>>,
    /// Makes the request of this number. Every request of a talk has a number of its own.
    pub(crate) ask: Arc<dyn Fn(u64) -> Vec<u8> + Send + Sync>,
    /// Gives the answer that what was read begins with, once it is whole.
    pub(crate) framing: fn(&[u8]) -> Option<Frame>,
    /// The number of the next request, and of the first that is not asked any more.
    next: Arc<AtomicU64>,
    end: u64,
}

impl Talk {
    /// A talk over HTTP.
    pub(crate) fn http(address: SocketAddr, ask: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self { address, hello: None, ask: Arc::new(ask), framing: http_frame, next: Arc::default(), end: u64::MAX }
    }

    /// A talk over LDAP, in clear text.
    pub(crate) fn ldap(
        address: SocketAddr,
        hello: Option<Vec<u8>>,
        ask: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self { address, hello, ask: Arc::new(ask), framing: ldap_frame, next: Arc::default(), end: u64::MAX }
    }

    /// The same talk, with the requests of these numbers only.
    pub(crate) fn within(&self, numbers: Range<u64>) -> Self {
        Self { next: Arc::new(numbers.start.into()), end: numbers.end, ..self.clone() }
    }

    /// The next request, where there is one.
    pub(crate) fn request(&self) -> Option<Vec<u8>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.end).then(|| (self.ask)(number))
    }
}

/// A POST to the hook.
pub(crate) fn post_json(address: SocketAddr, key: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A form as a browser sends it.
pub(crate) fn post_form(address: SocketAddr, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: Mozilla/5.0\r\naccept: text/html\r\naccept-language: en\r\norigin: http://{address}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Fine is every answer below 400.
fn http_frame(read: &[u8]) -> Option<Frame> {
    const LENGTH: &[u8] = b"\r\ncontent-length: ";
    let head = find(read, b"\r\n\r\n")?;
    let fine = matches!(read.get(9), Some(b'2' | b'3'));
    let body = find(&read[..head + 2], LENGTH).map_or(0, |at| {
        let digits = read[at + LENGTH.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
    });
    let length = head + 4 + body;
    (read.len() >= length).then_some(Frame { length, fine })
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// A simple bind.
pub(crate) fn bind(dn: &str, password: &str) -> Vec<u8> {
    let credentials = tagged(0x80, &[password.as_bytes()]);
    message(&tagged(0x60, &[&[0x02, 0x01, 0x03], &tagged(0x04, &[dn.as_bytes()]), &credentials]))
}

/// The extended operation that sets somebody's password (RFC 3062).
pub(crate) fn password_modify(dn: &str, password: &str) -> Vec<u8> {
    let wanted = tagged(0x30, &[&tagged(0x80, &[dn.as_bytes()]), &tagged(0x82, &[password.as_bytes()])]);
    message(&tagged(0x77, &[&tagged(0x80, &[b"1.3.6.1.4.1.4203.1.11.1"]), &tagged(0x81, &[&wanted])]))
}

/// One request at a time is under way on a connection, so all have the same message id.
fn message(operation: &[u8]) -> Vec<u8> {
    tagged(0x30, &[&[0x02, 0x01, 0x01], operation])
}

fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    if let Ok(length @ 0..=0x7f) = u8::try_from(content.len()) {
        out.push(length);
    } else {
        let length = u16::try_from(content.len()).expect("a short message");
        out.push(0x82);
        out.extend(length.to_be_bytes());
    }
    out.extend(content);
    out
}

/// Fine is the result code 0. Messages are shorter than 64 KiB.
fn ldap_frame(read: &[u8]) -> Option<Frame> {
    let (header, length) = ldap_header(read)?;
    let end = header + length;
    let inner = read.get(header..end)?;
    // The message id with its header, then the operation's header, then an ENUMERATED of one byte.
    let operation = inner.get(2 + usize::from(*inner.get(1)?)..)?;
    let (start, _) = ldap_header(operation)?;
    Some(Frame { length: end, fine: operation.get(start..start + 3) == Some(&[0x0a, 0x01, 0x00]) })
}

/// How long the header of an element is, and its content.
fn ldap_header(read: &[u8]) -> Option<(usize, usize)> {
    match *read.get(1)? {
        length @ 0..=0x7f => Some((2, usize::from(length))),
        0x81 => Some((3, usize::from(*read.get(2)?))),
        _ => Some((4, usize::from(*read.get(2)?) << 8 | usize::from(*read.get(3)?))),
    }
}
