//! LDAP messages as a proxy sees them: where each begins and ends, of what kind it is, and how a refusal is written.

use tokio::io::{AsyncRead, AsyncReadExt};

/// The kinds of message that write: add, delete, modify, rename, and the extended operation that sets a password.
const WRITES: [u8; 5] = [0x68, 0x4a, 0x66, 0x6c, EXTENDED];
const BIND: u8 = 0x60;
const SEARCH: u8 = 0x63;
const EXTENDED: u8 = 0x77;
/// The extended operation that changes a password (RFC 3062); other extended operations write nothing.
const PASSWORD_MODIFY: &[u8] = b"1.3.6.1.4.1.4203.1.11.1";

/// What a message asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// To be let in.
    Bind,
    /// Something else, such as the end.
    Other,
    /// To be told of entries.
    Search,
    /// A change.
    Write,
}

/// One whole message; `None` at the end of the connection.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut message = vec![0; 2];
    stream.read_exact(&mut message).await.ok()?;
    assert_eq!(message[0], 0x30, "no LDAP message: is this TLS?");
    let length = if message[1] < 0x80 {
        usize::from(message[1])
    } else {
        let mut long = vec![0; usize::from(message[1] & 0x7f)];
        stream.read_exact(&mut long).await.ok()?;
        message.extend(&long);
        long.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
    };
    let start = message.len();
    message.resize(start + length, 0);
    stream.read_exact(&mut message[start..]).await.ok()?;
    Some(message)
}

/// What stands between the outer header and the operation: the message id, with its own header.
pub(crate) fn id(message: &[u8]) -> &[u8] {
    let start = 2 + if message[1] < 0x80 { 0 } else { usize::from(message[1] & 0x7f) };
    &message[start..start + 2 + usize::from(message[start + 1])]
}

/// What a request asks for.
pub(crate) fn kind(message: &[u8]) -> Kind {
    match operation(message) {
        BIND => Kind::Bind,
        SEARCH => Kind::Search,
        EXTENDED if !contains(message, PASSWORD_MODIFY) => Kind::Other,
        written if WRITES.contains(&written) => Kind::Write,
        _ => Kind::Other,
    }
}

/// Whether these bytes are anywhere in a message.
pub(crate) fn contains(message: &[u8], part: &[u8]) -> bool {
    message.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// A server's last word on a request: a result code, and a referral where one is named.
pub(crate) fn result(request: &[u8], code: u8, referral: Option<&str>) -> Vec<u8> {
    let operation = match operation(request) {
        SEARCH => 0x65,
        0x4a => 0x6b,
        asked => asked + 1,
    };
    let mut parts = [&[0x0a, 1, code, 4, 0][..], &element(4, b"made by a test")].concat();
    if let Some(referral) = referral {
        parts.extend(element(0xa3, &element(4, referral.as_bytes())));
    }
    element(0x30, &[id(request), &element(operation, &parts)].concat())
}

/// A reference to another server, as it comes among the entries of a search.
pub(crate) fn reference(request: &[u8], uri: &str) -> Vec<u8> {
    element(0x30, &[id(request), &element(0x73, &element(4, uri.as_bytes()))].concat())
}

fn operation(message: &[u8]) -> u8 {
    let id = id(message);
    let start = id.as_ptr() as usize - message.as_ptr() as usize + id.len();
    message[start]
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("a short message");
    let header = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [&header[..], content].concat()
}
