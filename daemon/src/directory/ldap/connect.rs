//! Reaching one server: TCP without delay, TLS that is checked, within a time limit. Nothing is sent before TLS stands.

use std::sync::Arc;
use std::time::Duration;

use ldap3::{LdapConnAsync, LdapConnSettings, LdapError, StdStream};
use rustls::ClientConfig;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use super::wire::{Failure, Link};
use super::{start_tls, tls};
use crate::directory::config::{Endpoint, Identity, LdapConfig, Security, Transport};

/// How connections are made.
pub(super) struct Connector {
    tls: Option<Arc<ClientConfig>>,
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
            tls: needs_tls.then(|| tls::client_config(config.ca_file.as_deref())).transpose()?,
            identity: config.identity.clone(),
            connect_timeout: config.connect_timeout,
            operation_timeout: config.operation_timeout,
        })
    }

    /// A connection on which rekeyd is known as itself.
    pub(super) async fn service(&self, endpoint: &Endpoint) -> Result<Link, Failure> {
        // A missing password is said before anybody is bothered.
        let password = match &self.identity {
            Identity::External => None,
            Identity::Simple { password, .. } => Some(password.read().map_err(Failure::Refused)?),
        };
        let link = self.anonymous(endpoint).await?;
        let reply = match (&self.identity, password) {
            (Identity::Simple { dn, .. }, Some(password)) => link.bind(dn, password).await?,
            _ => link.bind_external().await?,
        };
        match reply.code {
            0 => Ok(link),
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

    /// A connection on which nobody is known yet, for one person's bind.
    pub(super) async fn anonymous(&self, endpoint: &Endpoint) -> Result<Link, Failure> {
        let until = Instant::now() + self.connect_timeout;
        let unreachable = |why: String| Failure::Unreachable(format!("{}: {why}", endpoint.url));
        let late = |_| unreachable(format!("no connection within {} ms", self.connect_timeout.as_millis()));
        let mut settings = LdapConnSettings::new();
        let (stream, url) = match &endpoint.transport {
            Transport::Unix(path) => {
                let stream = timeout_at(until, UnixStream::connect(path)).await.map_err(late)?;
                let stream = stream.and_then(UnixStream::into_std).map_err(|error| unreachable(error.to_string()))?;
                (StdStream::Unix(stream), "ldapi:///".to_owned())
            }
            Transport::Tcp { host, port, security } => {
                let stream = timeout_at(until, TcpStream::connect((host.as_str(), *port))).await.map_err(late)?;
                let mut stream = stream.map_err(|error| unreachable(error.to_string()))?;
                if *security == Security::StartTls {
                    let agreed = timeout_at(until, start_tls::ask(&mut stream)).await.map_err(late)?;
                    agreed.map_err(|failure| failure.of(&endpoint.url))?;
                }
                let stream = prepared(stream).map_err(|error| unreachable(error.to_string()))?;
                if let Some(config) = &self.tls {
                    settings = settings.set_config(Arc::clone(config));
                }
                let scheme = if *security == Security::Clear { "ldap" } else { "ldaps" };
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                (StdStream::Tcp(stream), format!("{scheme}://{host}:{port}"))
            }
        };
        let settings = settings.set_std_stream(stream);
        // In a task of its own, since the library can panic.
        let shaking = tokio::spawn(async move { LdapConnAsync::with_settings(settings, &url).await });
        let stop = shaking.abort_handle();
        let shaken = timeout_at(until, shaking).await.map_err(|elapsed| {
            stop.abort();
            late(elapsed)
        })?;
        let (connection, ldap) = match shaken {
            Ok(Ok(connected)) => connected,
            Ok(Err(LdapError::Io { source })) => {
                return Err(match tls::words(&source) {
                    Some(words) => Failure::Refused(format!("{}: {words}", endpoint.url)),
                    None => unreachable(source.to_string()),
                });
            }
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(_) => return Err(unreachable("its answer makes no sense".into())),
        };
        tokio::spawn(async move {
            // How a connection ends is seen by the operations on it.
            drop(connection.drive().await);
        });
        Ok(Link::new(ldap, self.operation_timeout))
    }
}

/// Sends at once instead of waiting for more: without it the first request after a TLS handshake takes 40 ms longer.
fn prepared(stream: TcpStream) -> std::io::Result<std::net::TcpStream> {
    stream.set_nodelay(true)?;
    stream.into_std()
}
