//! A server that nobody should believe: it shows any certificate, answers the wish for TLS with anything, and keeps
//! every byte that it hears, apart by whether TLS protected it.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    proxy::message::{read, result},
    tls::Certificate,
};

/// ExtendedResponse to message 1, success: what a server says that agrees to TLS.
pub const AGREED: &[u8] = &[0x30, 0x0c, 0x02, 0x01, 0x01, 0x78, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00];

/// How TLS begins there.
pub enum Begin {
    /// Never; it goes on listening after this answer to the first message.
    Answer(Vec<u8>),
    /// With the first byte.
    AtOnce(Certificate),
    /// After this answer to the first message.
    After(Vec<u8>, Certificate),
}

/// What it has heard.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// How many connections there were.
    pub connections: usize,
    /// What came without TLS.
    pub clear: Vec<u8>,
    /// What came within TLS.
    pub protected: Vec<u8>,
}

/// A running server. Dropping it ends it.
pub struct Answerer {
    port: u16,
    heard: Arc<Mutex<Heard>>,
    task: JoinHandle<()>,
}

impl Answerer {
    /// Starts one. Once TLS stands it takes every bind and finds nothing in any search.
    pub async fn start(begin: Begin) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::<Mutex<Heard>>::default();
        let task = tokio::spawn({
            let (heard, begin) = (Arc::clone(&heard), Arc::new(begin));
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    heard.lock().expect("the bytes").connections += 1;
                    tokio::spawn(serve(client, Arc::clone(&begin), Arc::clone(&heard)));
                }
            }
        });
        Self { port, heard, task }
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has heard so far.
    pub fn heard(&self) -> Heard {
        self.heard.lock().expect("the bytes").clone()
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut client: TcpStream, begin: Arc<Begin>, heard: Arc<Mutex<Heard>>) {
    let certificate = match &*begin {
        Begin::AtOnce(certificate) => certificate,
        Begin::Answer(answer) | Begin::After(answer, _) => {
            let Some(asked) = read(&mut client).await else { return };
            heard.lock().expect("the bytes").clear.extend(asked);
            if client.write_all(answer).await.is_err() {
                return;
            }
            match &*begin {
                Begin::After(_, certificate) => certificate,
                _ => return listen(client, |bytes| heard.lock().expect("the bytes").clear.extend(bytes)).await,
            }
        }
    };
    if let Ok(mut client) = acceptor(certificate).accept(client).await {
        let keep = |bytes: &[u8]| heard.lock().expect("the bytes").protected.extend(bytes);
        while let Some(asked) = read(&mut client).await {
            keep(&asked);
            if client.write_all(&result(&asked, 0, None)).await.is_err() {
                return;
            }
        }
    }
}

async fn listen(mut client: impl AsyncRead + AsyncWrite + Unpin, keep: impl Fn(&[u8])) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = client.read(&mut bytes).await {
        keep(&bytes[..length]);
    }
}

fn acceptor(certificate: &Certificate) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(&certificate.certificate).expect("a certificate file");
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate with its key");
    TlsAcceptor::from(Arc::new(config))
}
