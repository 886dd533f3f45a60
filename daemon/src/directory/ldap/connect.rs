//! Reaching one server: TCP without delay, TLS that is checked, within a time limit. Nothing is sent before TLS stands.

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::connection::Connection;
use super::request::{Request, START_TLS};
use super::stream::Stream;
use super::tls;
use super::wire::{Failure, bind_request};
use crate::directory::config::{Endpoint, Identity, LdapConfig, Security, Transport};

/// How connections are made.
pub(super) struct Connector {
    tls: Option<TlsConnector>,
    identity: Identity,
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
        Ok(Self {
            tls: needs_tls.then(|| tls::client_config(config.ca_file.as_deref())).transpose()?.map(TlsConnector::from),
            identity: config.identity.clone(),
            connect_timeout: config.connect_timeout,
            operation_timeout: config.operation_timeout,
        })
    }

    /// A connection on which rekeyd is known as itself.
    pub(super) async fn service(&self, endpoint: &Endpoint) -> Result<Connection, Failure> {
        // A missing password is said before anybody is bothered.
        let password = match &self.identity {
            Identity::External => None,
            Identity::Simple { password, .. } => Some(password.read().map_err(Failure::Refused)?),
        };
        let mut connection = self.anonymous(endpoint).await?;
        let request = match (&self.identity, &password) {
            (Identity::Simple { dn, .. }, Some(password)) => bind_request(dn, password)?,
            _ => Request::BindExternal,
        };
        let answered = connection.exchange(&[request], self.operation_timeout).await?.pop();
        let reply = answered.ok_or_else(|| Failure::Broken("the server's answer makes no sense".into()))?.reply;
        match reply.code {
            0 => Ok(connection),
            // Nobody is told which of the two is wrong, by no server.
            49 => Err(Failure::Refused(format!(
                "{} does not let rekeyd in: its name or its password is wrong ({})",
                endpoint.url,
                reply.words()
            ))),
            51 | 52 | 80 => Err(Failure::Unreachable(format!("{}: {}", endpoint.url, reply.words()))),
            _ => Err(Failure::Refused(format!("{} does not let rekeyd in: {}", endpoint.url, reply.words()))),
        }
    }

    /// A connection on which nobody is known yet.
    pub(super) async fn anonymous(&self, endpoint: &Endpoint) -> Result<Connection, Failure> {
        let late = || format!("no connection within {} ms", self.connect_timeout.as_millis());
        let opened = timeout(self.connect_timeout, self.open(endpoint)).await;
        let named = |why: &str| format!("{}: {why}", endpoint.url);
        match opened.unwrap_or_else(|_| Err(Failure::Unreachable(late()))) {
            Ok(stream) => Ok(Connection::new(stream)),
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

    /// Asks for TLS in clear text; nothing that comes before TLS stands is ever taken for a part of it.
    async fn ask_for_tls(&self, stream: TcpStream) -> Result<TcpStream, Failure> {
        let mut connection = Connection::new(Stream::Tcp(stream));
        let request = Request::Extended { operation: START_TLS };
        let answered = connection.exchange(&[request], self.connect_timeout).await?.pop();
        let code = answered.map_or(2, |answered| answered.reply.code);
        if code != 0 {
            return Err(Failure::Refused(format!("StartTLS is refused ({code})")));
        }
        match connection.into_stream() {
            Some(Stream::Tcp(stream)) => Ok(stream),
            _ => Err(Failure::Refused(
                "it said more than its answer before TLS began; somebody on the way may have put it there".into(),
            )),
        }
    }
}
