//! What stands between the LDAP library and a server: the ways to a server as one stream, and the limits on what may come
//! from it.
//!
//! The library takes an answer of any length and nesting. It is given one end of a pair of sockets, and only whole messages
//! within the limits are passed on to it; anything else ends the connection. What goes to the server is passed on in one
//! write, and wiped.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream as Pair;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::strainer::{Pieces, Strainer};

/// The longest message of a server.
pub(super) const LONGEST_MESSAGE: usize = 1 << 20;
/// The most bytes that may come from a server after the last request.
const MOST_BYTES: usize = 8 << 20;
/// How deep an answer may be nested; entries and controls need six.
const DEEPEST: usize = 32;
/// What is read at once.
const ROOM: usize = 4096;

/// A way to a server.
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// A second handle on a connection, to see whether the server is there, and what the guard has seen of it.
pub(super) struct Sight {
    socket: OwnedFd,
    beyond: Arc<AtomicBool>,
}

impl Sight {
    /// Whether the server has neither ended the connection nor said anything unasked: only then it is sure that a
    /// request that goes out now finds somebody. The kernel is asked, since the runtime may not have heard of it yet.
    pub(super) fn is_quiet(&self) -> bool {
        let peek = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        matches!(recv(self.socket.as_raw_fd(), &mut [0], peek), Err(Errno::EAGAIN))
    }

    /// Whether the guard ended the connection because an answer went beyond the limits.
    pub(super) fn is_beyond(&self) -> bool {
        self.beyond.load(Ordering::Acquire)
    }
}

/// Puts the guard before a server. Gives the end for the library, which the guard serves until either side ends or it is
/// aborted.
///
/// # Errors
/// Where the system has no more descriptors.
pub(super) fn before(stream: Stream) -> io::Result<(Pair, Sight, AbortHandle)> {
    let (theirs, sight, ours) = between(&stream)?;
    let passing = tokio::spawn(pass(stream, ours, Arc::clone(&sight.beyond))).abort_handle();
    Ok((theirs, sight, passing))
}

/// As [`before`], but what searches find is taken out and handed on in pieces. A server that says nothing for so long, while
/// somebody waits for it, ends the connection.
///
/// # Errors
/// Where the system has no more descriptors.
pub(super) fn before_strained(
    stream: Stream,
    pieces: Pieces,
    patience: Duration,
) -> io::Result<(Pair, Sight, AbortHandle)> {
    let (theirs, sight, ours) = between(&stream)?;
    Ok((theirs, sight, tokio::spawn(strain(stream, ours, pieces, patience)).abort_handle()))
}

/// The library's end, what shows whether the server is there, and our end.
fn between(stream: &Stream) -> io::Result<(Pair, Sight, UnixStream)> {
    let sight = match stream {
        Stream::Tcp(stream) => stream.as_fd(),
        Stream::Tls(stream) => stream.get_ref().0.as_fd(),
        Stream::Unix(stream) => stream.as_fd(),
    };
    let sight = Sight { socket: sight.try_clone_to_owned()?, beyond: Arc::default() };
    let (theirs, ours) = Pair::pair()?;
    ours.set_nonblocking(true)?;
    Ok((theirs, sight, UnixStream::from_std(ours)?))
}

/// Passes requests on whole, answers without what was found, until either side ends or nobody takes the pieces.
async fn strain(stream: Stream, library: UnixStream, pieces: Pieces, patience: Duration) {
    let (mut from_server, mut to_server) = tokio::io::split(stream);
    let (mut from_library, mut to_library) = library.into_split();
    let out = async move {
        // The password of our own bind passes here.
        let mut bytes = Zeroizing::new(vec![0; ROOM]);
        while let Ok(count @ 1..) = from_library.read(&mut bytes).await {
            let whole = to_server.write_all(bytes.get(..count).unwrap_or_default()).await;
            if whole.is_err() || to_server.flush().await.is_err() {
                return;
            }
        }
    };
    let back = async move {
        let mut strainer = Strainer::default();
        let mut bytes = Vec::with_capacity(ROOM);
        while let Ok(Ok(1..)) = tokio::time::timeout(patience, from_server.read_buf(&mut bytes)).await {
            let Ok(strained) = strainer.strain(&bytes) else { return };
            // The pieces first: whoever sees the end of a search has all that it found.
            if !pieces.send(strained.pieces).await || to_library.write_all(&strained.passed).await.is_err() {
                return;
            }
            bytes.drain(..strained.done);
        }
    };
    tokio::select! {
        () = out => {}
        () = back => {}
    }
}

/// Passes bytes on in both directions until one of them ends; `beyond` tells whether that was for the sake of the limits.
async fn pass(stream: Stream, library: UnixStream, beyond: Arc<AtomicBool>) {
    let (mut from_server, mut to_server) = tokio::io::split(stream);
    let (mut from_library, mut to_library) = library.into_split();
    let left = Arc::new(AtomicUsize::new(MOST_BYTES));
    let renewed = Arc::clone(&left);
    let out = async move {
        // Passwords pass here.
        let mut bytes = Zeroizing::new(vec![0; ROOM]);
        loop {
            let count = match from_library.read(&mut bytes).await {
                Ok(count) if count > 0 => count,
                _ => return,
            };
            renewed.store(MOST_BYTES, Ordering::Relaxed);
            let whole = to_server.write_all(bytes.get(..count).unwrap_or_default()).await;
            if whole.is_err() || to_server.flush().await.is_err() {
                return;
            }
        }
    };
    let back = async move {
        let mut bytes = Vec::with_capacity(ROOM);
        loop {
            match from_server.read_buf(&mut bytes).await {
                Ok(count) if count > 0 => {}
                _ => return,
            }
            let whole = whole_messages(&bytes).and_then(|whole| {
                let budget = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(whole));
                budget.map(|_| whole).map_err(|_| Unfit::Beyond)
            });
            let whole = match whole {
                Ok(whole) => whole,
                Err(unfit) => {
                    // The library hears of the end only after this.
                    beyond.store(unfit == Unfit::Beyond, Ordering::Release);
                    return;
                }
            };
            if to_library.write_all(bytes.get(..whole).unwrap_or_default()).await.is_err() {
                return;
            }
            bytes.drain(..whole);
            // A long answer does not leave its room behind.
            if bytes.is_empty() {
                bytes.shrink_to(ROOM);
            }
        }
    };
    tokio::select! {
        () = out => {}
        () = back => {}
    }
}

/// Why bytes are not passed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unfit {
    /// A message beyond the limits: too long, or too deep.
    Beyond,
    /// No message of LDAP.
    Malformed,
}

/// How many bytes at the beginning are whole messages within the limits.
///
/// # Errors
/// [`Unfit`] as soon as the bytes can't become such messages any more.
pub fn whole_messages(bytes: &[u8]) -> Result<usize, Unfit> {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        let Some(header) = Header::read(rest)? else { break };
        // A message is a SEQUENCE (RFC 4511, 4.1.1).
        if header.tag != 0x30 {
            return Err(Unfit::Malformed);
        }
        if header.content > LONGEST_MESSAGE {
            return Err(Unfit::Beyond);
        }
        let Some(content) = rest.get(header.own..header.own + header.content) else { break };
        nested(content)?;
        done += header.own + header.content;
    }
    Ok(done)
}

/// What the first bytes of an element say.
pub(super) struct Header {
    pub(super) tag: u8,
    /// How many bytes tag and length take.
    pub(super) own: usize,
    /// How many bytes follow.
    pub(super) content: usize,
}

impl Header {
    /// Reads it; `None` where there are not enough bytes yet. Lengths may have the long form of up to four bytes, which
    /// some servers always use; the indefinite form and tags of several bytes do not come in LDAP.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, Unfit> {
        let (tag, first) = match bytes {
            [tag, ..] if tag & 0x1f == 0x1f => return Err(Unfit::Malformed),
            [tag, first, ..] => (*tag, *first),
            _ => return Ok(None),
        };
        if first < 0x80 {
            return Ok(Some(Self { tag, own: 2, content: usize::from(first) }));
        }
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return Err(Unfit::Malformed);
        }
        let Some(length) = bytes.get(2..2 + count) else { return Ok(None) };
        let content = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        Ok(Some(Self { tag, own: 2 + count, content }))
    }
}

/// Checks that elements end where those around them end, and how deep they lie; in one pass, without recursion.
fn nested(bytes: &[u8]) -> Result<(), Unfit> {
    let mut ends = vec![bytes.len()];
    let mut at = 0;
    while let Some(end) = ends.last().copied() {
        if at == end {
            ends.pop();
            continue;
        }
        let header = Header::read(bytes.get(at..end).unwrap_or_default())?.ok_or(Unfit::Malformed)?;
        at += header.own;
        let content_end = at + header.content;
        if content_end > end {
            return Err(Unfit::Malformed);
        }
        if header.tag & 0x20 == 0 {
            at = content_end;
        } else if ends.len() > DEEPEST {
            return Err(Unfit::Beyond);
        } else {
            ends.push(content_end);
        }
    }
    Ok(())
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t68_only_whole_messages_within_the_limits_pass() {
        let done = [0x30, 12, 2, 1, 7, 0x65, 7, 10, 1, 0, 4, 0, 4, 0];
        assert_eq!(whole_messages(&done), Ok(14));
        let two = [&done[..], &done, &done[..5]].concat();
        assert_eq!(whole_messages(&two), Ok(28));
        for length in 0..done.len() {
            assert_eq!(whole_messages(done.get(..length).unwrap_or_default()), Ok(0), "{length}");
        }
        let odd: [&[u8]; 6] = [
            b"HTTP/1.1 400 Bad Request",
            &[0x04, 1, 1],
            &[0x30, 0x80],
            &[0x30, 0x85, 0, 0, 0, 0, 1],
            &[0x30, 3, 4, 9, 0],
            &[0x30, 2, 0x3f, 0],
        ];
        for bytes in odd {
            assert_eq!(whole_messages(bytes), Err(Unfit::Malformed), "{bytes:?}");
        }
        assert_eq!(whole_messages(&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]), Err(Unfit::Beyond));
    }

    #[test]
    fn t68_depth_has_a_limit() {
        let deep = |levels: usize| {
            let mut bytes = vec![2, 1, 7];
            for _ in 0..levels {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
                bytes = [&[0x30, 0x84], &length[..], &bytes].concat();
            }
            bytes
        };
        assert!(whole_messages(&deep(30)).is_ok_and(|count| count > 0));
        for levels in [40, 10_000] {
            assert_eq!(whole_messages(&deep(levels)), Err(Unfit::Beyond), "{levels}");
        }
    }
}
