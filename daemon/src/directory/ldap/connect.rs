//! Reaching one server: TCP without delay, TLS that is checked, within a time limit. Nothing is sent before TLS stands.
//!
//! A connection is driven where the directory was opened, whoever asked for it first: a later story that somebody waits for
//! gets it out of the pool, and must not depend on a thread that makes way for others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ldap3::asn1::{PL, StructureTag, TagClass, parse_tag, parse_uint};
use rekeyd_core::flavour::Reply;
use rekeyd_core::flavour::ppolicy::PolicyError;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::connection::Connection;
use super::guard::{Stream, whole_messages};
use super::refused::Refusals;
use super::request::Request;
use super::strainer::Pieces;
use super::tls;
use super::wire::{Failure, PASSING, bind_request};
use crate::directory::config::{Identity, LdapConfig};
use crate::directory::endpoint::{Endpoint, Security, Transport};

/// The first message of a connection: an extended request with the name 1.3.6.1.4.1.1466.20037 (RFC 4511, 4.14.1).
const START_TLS: [u8; 31] = *b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
/// The longest answer to it that is waited for.
const LONGEST_ANSWER: usize = 1 << 14;
/// What is read of it at once.
const ROOM: usize = 512;

/// As whom rekeyd is known on a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Who {
    /// As itself.
    Rekeyd,
    /// As the account by which operators' passwords are set.
    Operators,
}

/// What a server showed in a handshake that was taken for good.
pub(super) struct Shown {
    /// The version of TLS, as it is called.
    pub(super) version: String,
    /// The server's own certificate, in DER.
    pub(super) certificate: Vec<u8>,
    /// The name that it was checked against.
    pub(super) name: String,
}

/// How connections are made.
pub(super) struct Connector {
    /// Where they are driven; `None` for where they are asked for.
    runtime: Option<Handle>,
    ways: Arc<Ways>,
    identity: Identity,
    operator: Option<Identity>,
    refusals: Refusals,
}

/// What a connection needs before anybody is known on it.
struct Ways {
    tls: Option<TlsConnector>,
    connect_timeout: Duration,
    operation_timeout: Duration,
}

impl Connector {
    /// # Errors
    /// What is wrong with the certificate authorities.
    pub(super) fn new(config: &LdapConfig) -> Result<Self, String> {
        let needs_tls = config.endpoints.iter().any(|endpoint| {
            matches!(endpoint.transport, Transport::Tcp { security: Security::Tls | Security::StartTls, .. })
        });
        let ways = Ways {
            tls: needs_tls.then(|| tls::client_config(config.ca_file.as_deref())).transpose()?.map(TlsConnector::from),
            connect_timeout: config.connect_timeout,
            operation_timeout: config.operation_timeout,
        };
        let (identity, operator) = (config.identity.clone(), config.operator.clone());
        Ok(Self {
            runtime: Handle::try_current().ok(),
            ways: Arc::new(ways),
            identity,
            operator,
            refusals: Refusals::default(),
        })
    }

    /// A connection on which rekeyd is known.
    pub(super) async fn service(&self, endpoint: &Endpoint, who: Who) -> Result<Connection, Failure> {
        let secret = self.secret(endpoint, who)?;
        let connection = self.anonymous(endpoint).await?;
        self.known(connection, who, secret, endpoint).await
    }

    /// A connection on which rekeyd is known as itself, and what searches find goes to the strainer in pieces. A server that
    /// says nothing for longer than an operation may take ends it.
    pub(super) async fn strained(&self, endpoint: &Endpoint, pieces: Pieces) -> Result<Connection, Failure> {
        let secret = self.secret(endpoint, Who::Rekeyd)?;
        let stream = self.ways.stream(endpoint).await?;
        let connection = Connection::strained(stream, pieces, self.ways.operation_timeout).await?;
        self.known(connection, Who::Rekeyd, secret, endpoint).await
    }

    fn identity(&self, who: Who) -> &Identity {
        match who {
            Who::Rekeyd => &self.identity,
            Who::Operators => self.operator.as_ref().unwrap_or(&self.identity),
        }
    }

    /// The password that we are known by, where there is one. One that is missing, or was refused a moment ago, is said
    /// before anybody is bothered.
    fn secret(&self, endpoint: &Endpoint, who: Who) -> Result<Option<Zeroizing<String>>, Failure> {
        let Identity::Simple { password, .. } = self.identity(who) else { return Ok(None) };
        let secret = password.read().map_err(Failure::Refused)?;
        let held = self.refusals.holds(endpoint.url.as_str(), who, &secret, Instant::now());
        held.map_or(Ok(Some(secret)), Err)
    }

    /// Has the server know us on a connection.
    async fn known(
        &self,
        mut connection: Connection,
        who: Who,
        secret: Option<Zeroizing<String>>,
        endpoint: &Endpoint,
    ) -> Result<Connection, Failure> {
        let (Identity::Simple { dn, password }, Some(mut secret)) = (self.identity(who), secret) else {
            let reply = self.bound(&mut connection, Request::BindExternal).await?;
            return let_in(endpoint, &reply).map(|()| connection);
        };
        let mut reply = self.bound(&mut connection, bind_request(dn, &secret)?).await?;
        if reply.code == 49 {
            // It may have been changed since it was read, there and here; the same one is not tried twice.
            let now = password.read().map_err(Failure::Refused)?;
            if *now != *secret {
                secret = now;
                reply = self.bound(&mut connection, bind_request(dn, &secret)?).await?;
            }
        }
        let url = endpoint.url.as_str();
        let let_in = let_in(endpoint, &reply);
        match &let_in {
            Err(failure) if reply.code == 49 => {
                self.refusals.refused(url, who, &secret, failure.clone(), Instant::now());
            }
            Err(_) => {}
            Ok(()) => self.refusals.let_in(url, who),
        }
        let_in.map(|()| connection)
    }

    async fn bound(&self, connection: &mut Connection, request: Request<'_>) -> Result<Reply, Failure> {
        let answered = connection
            .exchange(&[request], self.ways.operation_timeout)
            .await
            .map_err(Failure::asked_for_ourselves)?
            .pop();
        answered
            .map(|answered| answered.reply)
            .ok_or_else(|| Failure::Broken("the server's answer makes no sense".into()))
    }

    /// Shakes hands for the certificate's sake; `None` where no TLS is spoken.
    pub(super) async fn certificate(&self, endpoint: &Endpoint) -> Result<Option<Shown>, Failure> {
        let Transport::Tcp { host, .. } = &endpoint.transport else { return Ok(None) };
        let Stream::Tls(stream) = self.ways.stream(endpoint).await? else { return Ok(None) };
        let (_, handshake) = stream.get_ref();
        let version = handshake.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
        let own = handshake.peer_certificates().and_then(|chain| chain.first());
        Ok(Some(Shown {
            version: version.replace('_', ".").replace("TLSv", "TLS "),
            certificate: own.map_or_else(Vec::new, |certificate| certificate.to_vec()),
            name: host.clone(),
        }))
    }

    /// A connection on which nobody is known yet.
    pub(super) async fn anonymous(&self, endpoint: &Endpoint) -> Result<Connection, Failure> {
        let Some(runtime) = &self.runtime else { return self.ways.connect(endpoint).await };
        let (ways, endpoint) = (Arc::clone(&self.ways), endpoint.clone());
        let connected = runtime.spawn(async move { ways.connect(&endpoint).await }).await;
        connected.unwrap_or_else(|ended| Err(Failure::Unreachable(ended.to_string())))
    }
}

impl Ways {
    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, Failure> {
        Connection::new(self.stream(endpoint).await?).await
    }

    /// The way to a server, opened in time, with its name in every failure.
    async fn stream(&self, endpoint: &Endpoint) -> Result<Stream, Failure> {
        let late = || format!("no connection within {} ms", self.connect_timeout.as_millis());
        let opened = timeout(self.connect_timeout, self.open(endpoint)).await;
        let named = |why: &str| format!("{}: {why}", endpoint.url);
        match opened.unwrap_or_else(|_| Err(Failure::Unreachable(late()))) {
            Ok(stream) => Ok(stream),
            Err(Failure::Refused(why)) => Err(Failure::Refused(named(&why))),
            Err(failure) => Err(Failure::Unreachable(named(&failure.to_string()))),
        }
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<Stream, Failure> {
        let unreachable = |error: std::io::Error| Failure::Unreachable(error.to_string());
        let (host, port, security) = match &endpoint.transport {
            Transport::Unix(path) => return UnixStream::connect(path).await.map(Stream::Unix).map_err(unreachable),
            Transport::Tcp { host, port, security } => (host.as_str(), *port, *security),
        };
        let stream = TcpStream::connect((host, port)).await.map_err(unreachable)?;
        // Sends at once instead of waiting for more: whoever waits for it meets the other side's delayed answer.
        stream.set_nodelay(true).map_err(unreachable)?;
        // What the kernel has not sent when the connection ends is dropped: a write that arrived a minute later, also after
        // a crash, would have been taken for undone by then.
        stream.set_zero_linger().map_err(unreachable)?;
        let stream = match security {
            Security::Clear => return Ok(Stream::Tcp(stream)),
            Security::StartTls => self.ask_for_tls(stream).await?,
            Security::Tls => stream,
        };
        let Some(tls) = &self.tls else { return Err(Failure::Refused("TLS is not set up".into())) };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::Refused(format!("no certificate can be for {host}")))?;
        match tls.connect(name, stream).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            Err(error) => Err(tls::words(&error).map_or_else(|| unreachable(error), Failure::Refused)),
        }
    }

    /// Asks for TLS in clear text; nothing that comes before TLS stands is ever taken for a part of it. It is asked for
    /// here and not by the library, which knows no limits and would take what follows the answer along.
    async fn ask_for_tls(&self, mut stream: TcpStream) -> Result<TcpStream, Failure> {
        let unreachable = |error: std::io::Error| Failure::Unreachable(error.to_string());
        let senseless = || Failure::Broken("StartTLS is answered with something else".into());
        stream.write_all(&START_TLS).await.map_err(unreachable)?;
        let mut answer = Vec::with_capacity(ROOM);
        loop {
            if stream.read_buf(&mut answer).await.map_err(unreachable)? == 0 {
                return Err(Failure::Unreachable("the server ended the connection".into()));
            }
            match whole_messages(&answer).map_err(|_| senseless())? {
                0 if answer.len() < LONGEST_ANSWER => {}
                0 => return Err(senseless()),
                _ => break,
            }
        }
        let (rest, message) = parse_tag(&answer).map_err(|_| senseless())?;
        match result_code(message) {
            Some(0) if rest.is_empty() => Ok(stream),
            Some(0) => Err(Failure::Refused("StartTLS is followed by more in clear text".into())),
            Some(code) => Err(Failure::Refused(format!("StartTLS is refused ({code})"))),
            None => Err(senseless()),
        }
    }
}

/// What the answer to our own bind means.
fn let_in(endpoint: &Endpoint, reply: &Reply) -> Result<(), Failure> {
    let url = &endpoint.url;
    match reply.code {
        // It would let us do nothing but that.
        0 if reply.policy.and_then(|policy| policy.error) == Some(PolicyError::ChangeAfterReset) => {
            Err(Failure::Refused(format!(
                "{url} lets rekeyd in only to change its own password: an administrator has set that; change it as rekeyd"
            )))
        }
        0 => Ok(()),
        // Nobody is told which of the two is wrong, by no server.
        49 => Err(Failure::Refused(format!(
            "{url} does not let rekeyd in: its name or its password is wrong ({})",
            reply.words()
        ))),
        code if PASSING.contains(&code) => Err(Failure::Unreachable(format!("{url}: {}", reply.words()))),
        _ => Err(Failure::Refused(format!("{url} does not let rekeyd in: {}", reply.words()))),
    }
}

/// The result of the answer to the first request, an extended operation.
fn result_code(message: StructureTag) -> Option<u64> {
    let PL::C(parts) = message.payload else { return None };
    let mut parts = parts.into_iter();
    let (id, response) = (parts.next()?, parts.next()?);
    let is_first = matches!(&id.payload, PL::P(bytes) if bytes.as_slice() == [1]);
    // ExtendedResponse is application 24 (RFC 4511, 4.12).
    if !is_first || response.class != TagClass::Application || response.id != 24 {
        return None;
    }
    let PL::C(fields) = response.payload else { return None };
    match fields.into_iter().next()?.payload {
        PL::P(code) => parse_uint(&code).ok().map(|(_, code)| code),
        PL::C(_) => None,
    }
}
