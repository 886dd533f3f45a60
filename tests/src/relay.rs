//! Another address for a server: bytes go through unread, so that a certificate is shown under a name that it does not have.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// An address of loopback that stands in no certificate of the tests.
const NAMELESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);

/// A running relay. Dropping it ends it.
pub struct Relay {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts a relay to the server at this `ldaps://` URI.
    pub async fn start(uri: &str) -> Self {
        let target = uri.trim_start_matches("ldaps://").to_owned();
        let target = if target.contains(':') { target } else { format!("{target}:636") };
        let listener = TcpListener::bind((NAMELESS, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let Ok(mut server) = TcpStream::connect(&target).await else { continue };
                // Whichever side ends first ends it; how is not of interest here.
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await.ok() });
            }
        });
        Self { address, task }
    }

    /// Where it is.
    pub fn uri(&self) -> String {
        format!("ldaps://{}", self.address)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
