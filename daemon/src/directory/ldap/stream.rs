//! The three ways to a server as one stream, and whether a kept one is still there.

use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// A way to a server.
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// What lies at our end of a connection on which nothing is under way.
enum Waiting {
    Bytes,
    End,
    Nothing,
}

impl Stream {
    /// Whether the server has neither ended the connection nor said anything unasked: only then it is sure that a
    /// request that goes out now finds somebody. The kernel is asked, since the runtime may not have heard of it yet.
    pub(super) fn is_quiet(&mut self) -> bool {
        match (self.waiting(), &mut *self) {
            (Waiting::Nothing, _) => true,
            // Tickets for a later handshake come when the server likes; everything else ends the connection.
            (Waiting::Bytes, Self::Tls(stream)) => {
                let mut byte = [0];
                let mut into = ReadBuf::new(&mut byte);
                let mut context = Context::from_waker(Waker::noop());
                Pin::new(stream).poll_read(&mut context, &mut into).is_pending()
                    && matches!(self.waiting(), Waiting::Nothing)
            }
            _ => false,
        }
    }

    fn waiting(&self) -> Waiting {
        let socket = match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Tls(stream) => stream.get_ref().0.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        };
        match recv(socket, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN) => Waiting::Nothing,
            Ok(0) | Err(_) => Waiting::End,
            Ok(_) => Waiting::Bytes,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
