//! The bytes on their way to a smart host and back: connected without delay, encrypted or not, each write whole.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::smtp::Host;
use crate::tls;

/// An open connection.
pub(crate) enum Wire {
    Clear(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Connects to the first of the host's addresses that answers.
    ///
    /// # Errors
    /// Says in words why there is no connection; likewise below.
    pub(crate) async fn connect(host: &Host) -> Result<Self, String> {
        let nowhere = || "its name has no address".to_owned();
        let found = tokio::net::lookup_host((host.name.as_str(), host.port)).await;
        let addresses: Vec<SocketAddr> = found.map_err(|_| nowhere())?.collect();
        let mut last = nowhere();
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Small commands must not wait for the answer to the one before.
                    stream.set_nodelay(true).map_err(|error| lost(&error))?;
                    return Ok(Self::Clear(stream));
                }
                Err(error) => last = format!("it can't be reached: {}", error.kind()),
            }
        }
        Err(last)
    }

    /// Whether the other end is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        let stream = match self {
            Self::Clear(stream) => stream,
            Self::Encrypted(stream) => stream.get_ref().0,
        };
        stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback())
    }

    /// The same connection, encrypted; and the version of TLS in words.
    pub(crate) async fn encrypt(self, host: &Host, config: &Arc<ClientConfig>) -> Result<(Self, String), String> {
        let Self::Clear(stream) = self else { return Err("it is encrypted already".to_owned()) };
        let name = tls::server_name(&host.name)?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| tls::describe(&error))?;
        let version = stream.get_ref().1.protocol_version().and_then(|version| version.as_str());
        let version = version.unwrap_or("TLS").replace("TLSv1_", "TLS 1.");
        Ok((Self::Encrypted(Box::new(stream)), version))
    }

    /// Appends what came to `heard`.
    pub(crate) async fn read(&mut self, heard: &mut Vec<u8>) -> Result<(), String> {
        let read = match self {
            Self::Clear(stream) => stream.read_buf(heard).await,
            Self::Encrypted(stream) => stream.read_buf(heard).await,
        };
        match read.map_err(|error| lost(&error))? {
            0 => Err("it closed the connection".to_owned()),
            _ => Ok(()),
        }
    }

    /// Sends all of it, in one write where the socket takes it.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = match self {
            Self::Clear(stream) => stream.write_all(bytes).await,
            Self::Encrypted(stream) => match stream.write_all(bytes).await {
                Ok(()) => stream.flush().await,
                failed => failed,
            },
        };
        written.map_err(|error| lost(&error))
    }
}

fn lost(error: &io::Error) -> String {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => "it closed the connection".to_owned(),
        kind => format!("the connection broke: {kind}"),
    }
}
