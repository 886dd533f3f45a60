//! The dialogue with one smart host (RFC 5321), up to the point where it has taken a letter or surely has not.
//!
//! It is ours because the end of a delivery hangs on the phase in which a connection broke, because bytes that came
//! before encryption must not be read after it, and because a letter leaves in one write on a socket without delay.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::mime::Letter;
use crate::reply::Reply;
use crate::secret::Secret;
use crate::tls;

/// A server that says more than this in one answer says nothing of use.
const LONGEST_ANSWER: usize = 16 * 1024;

/// A smart host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Host {
    /// Its name, which its certificate must have, or its address without brackets.
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// How the way there is encrypted.
#[derive(Clone)]
pub(crate) enum Security {
    /// From the first byte.
    Implicit(Arc<ClientConfig>),
    /// Not at all, which only a host on this machine may be.
    None,
    /// By the command STARTTLS, before anything else is said.
    Upgrade(Arc<ClientConfig>),
}

/// Who we are to the host.
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: Secret,
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For the name and the connection.
    pub(crate) connect: Duration,
    /// For each stretch of the dialogue: getting in, offering the letter.
    pub(crate) answer: Duration,
}

/// What was being done when the host refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    Auth,
    Data,
    Ehlo,
    End,
    Greeting,
    Mail,
    Noop,
    Rcpt,
    StartTls,
}

/// Why a letter did not go its way.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The connection broke, or the host does not keep to the protocol. The letter may have been taken only if its
    /// end had been sent.
    Broken(String),
    /// The host can't carry what the letter needs.
    Lacking(String),
    /// The host said no.
    Refused(Step, Reply),
}

/// An open connection on which letters can be handed over, one after the other.
pub(crate) struct Dialogue {
    wire: Wire,
    heard: Vec<u8>,
    utf8: bool,
    encryption: Option<String>,
    signed_in: Option<&'static str>,
}

enum Wire {
    Clear(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl Dialogue {
    /// Connects, encrypts, introduces and signs in.
    pub(crate) async fn open(
        host: &Host,
        security: &Security,
        hello: &str,
        login: Option<&Login>,
        limits: Limits,
    ) -> Result<Self, Trouble> {
        let connected = timeout(limits.connect, connect(host)).await;
        let stream = connected.map_err(|_| broken("it could not be reached in time"))??;
        if matches!(security, Security::None) && !stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback()) {
            return Err(broken("it is not on this machine, so nothing is said to it in clear text"));
        }
        within(limits.answer, Self::enter(stream, host, security, hello, login)).await
    }

    async fn enter(
        stream: TcpStream,
        host: &Host,
        security: &Security,
        hello: &str,
        login: Option<&Login>,
    ) -> Result<Self, Trouble> {
        let mut dialogue =
            Self { wire: Wire::Clear(stream), heard: Vec::new(), utf8: false, encryption: None, signed_in: None };
        if let Security::Implicit(config) = security {
            dialogue = dialogue.encrypt(host, config).await?;
        }
        dialogue.answer(Step::Greeting, 220).await?;
        let ehlo = format!("EHLO {hello}");
        let mut offers = dialogue.command(Step::Ehlo, &ehlo, 250).await?;
        if let Security::Upgrade(config) = security {
            if offers.keyword("STARTTLS").is_none() {
                return Err(broken("it offers no encryption (STARTTLS), so nothing more is said to it"));
            }
            dialogue.command(Step::StartTls, "STARTTLS", 220).await?;
            dialogue = dialogue.encrypt(host, config).await?;
            offers = dialogue.command(Step::Ehlo, &ehlo, 250).await?;
        }
        dialogue.utf8 = offers.keyword("SMTPUTF8").is_some();
        if let Some(login) = login {
            dialogue.sign_in(login, &offers).await?;
        }
        Ok(dialogue)
    }

    async fn encrypt(self, host: &Host, config: &Arc<ClientConfig>) -> Result<Self, Trouble> {
        // Whoever put bytes after the answer to STARTTLS wants them to be taken for encrypted ones.
        if !self.heard.is_empty() {
            return Err(broken("it sent more than its answer before encryption began"));
        }
        let Wire::Clear(stream) = self.wire else { return Ok(self) };
        let name = tls::server_name(&host.name).map_err(Trouble::Broken)?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| Trouble::Broken(tls::describe(&error)))?;
        let version = stream.get_ref().1.protocol_version();
        let encryption = version.and_then(|version| version.as_str()).map(|name| name.replace("TLSv1_", "TLS 1."));
        Ok(Self { wire: Wire::Encrypted(Box::new(stream)), encryption, ..self })
    }

    async fn sign_in(&mut self, login: &Login, offers: &Reply) -> Result<(), Trouble> {
        let offered = offers.keyword("AUTH").unwrap_or_default();
        let coded = |text: &[u8]| Zeroizing::new(BASE64.encode(text));
        if offered.contains(&"PLAIN") {
            let both = Zeroizing::new(format!("\0{}\0{}", login.username, login.password.expose()));
            let line = Zeroizing::new(format!("AUTH PLAIN {}", *coded(both.as_bytes())));
            self.command(Step::Auth, &line, 235).await?;
            self.signed_in = Some("PLAIN");
        } else if offered.contains(&"LOGIN") {
            self.command(Step::Auth, "AUTH LOGIN", 334).await?;
            self.command(Step::Auth, &coded(login.username.as_bytes()), 334).await?;
            self.command(Step::Auth, &coded(login.password.expose().as_bytes()), 235).await?;
            self.signed_in = Some("LOGIN");
        } else {
            return Err(broken("it offers no way to sign in that is known here (AUTH PLAIN or LOGIN)"));
        }
        Ok(())
    }

    /// Offers a letter up to the point where its text would be sent. After an error it has surely not been taken.
    pub(crate) async fn offer(&mut self, letter: &Letter, limits: Limits) -> Result<(), Trouble> {
        let parameters = match (letter.needs_utf8, self.utf8) {
            (false, _) => "",
            (true, true) => " SMTPUTF8 BODY=8BITMIME",
            (true, false) => {
                return Err(Trouble::Lacking("the address needs a smart host that carries SMTPUTF8".into()));
            }
        };
        let (mail, rcpt) =
            (format!("MAIL FROM:<{}>{parameters}", letter.bounce_to), format!("RCPT TO:<{}>", letter.to));
        within(limits.answer, async {
            self.command(Step::Mail, &mail, 250).await?;
            self.command(Step::Rcpt, &rcpt, 250).await?;
            self.command(Step::Data, "DATA", 354).await?;
            Ok(())
        })
        .await
    }

    /// Sends the text of an offered letter. Where this ends as [`Trouble::Broken`], it may have been taken.
    pub(crate) async fn hand_over(&mut self, letter: &Letter, limits: Limits) -> Result<(), Trouble> {
        // Hosts look for viruses and spam before they answer here.
        within(limits.answer.saturating_mul(3), async {
            self.write(&stuffed(&letter.bytes)).await?;
            self.answer(Step::End, 250).await?;
            Ok(())
        })
        .await
    }

    /// Whether the host still listens, and what was agreed with it.
    pub(crate) async fn check(&mut self, limits: Limits) -> Result<String, Trouble> {
        within(limits.answer, self.command(Step::Noop, "NOOP", 250)).await?;
        let encryption = self.encryption.as_deref().unwrap_or("in clear text on this machine");
        let signed_in = self.signed_in.map_or("not signed in".to_owned(), |how| format!("signed in by {how}"));
        let utf8 = if self.utf8 { "" } else { ", without SMTPUTF8 (no letters to addresses such as jürgen@…)" };
        Ok(format!("ready ({encryption}, {signed_in}{utf8})"))
    }

    /// Says goodbye without waiting for an answer.
    pub(crate) async fn leave(mut self) {
        drop(timeout(Duration::from_secs(1), self.write(b"QUIT\r\n")).await);
    }

    async fn command(&mut self, step: Step, line: &str, wanted: u16) -> Result<Reply, Trouble> {
        // An answer to nothing would be taken for the answer to this, and soon for the one that a letter was taken.
        if !self.heard.is_empty() {
            return Err(broken("it gives answers to nothing"));
        }
        if line.contains(['\r', '\n', '\0']) {
            return Err(broken("a command would have had two lines"));
        }
        self.write(Zeroizing::new(format!("{line}\r\n")).as_bytes()).await?;
        self.answer(step, wanted).await
    }

    async fn answer(&mut self, step: Step, wanted: u16) -> Result<Reply, Trouble> {
        let reply = loop {
            if let Some((reply, length)) = Reply::parse(&self.heard).map_err(broken)? {
                self.heard.drain(..length);
                break reply;
            }
            if self.heard.len() > LONGEST_ANSWER {
                return Err(broken("its answer has no end"));
            }
            let read = match &mut self.wire {
                Wire::Clear(stream) => stream.read_buf(&mut self.heard).await,
                Wire::Encrypted(stream) => stream.read_buf(&mut self.heard).await,
            };
            if read.map_err(|error| lost(&error))? == 0 {
                return Err(broken("it closed the connection"));
            }
        };
        match reply.code {
            code if code == wanted || (wanted == 250 && code == 251) => Ok(reply),
            400..=599 => Err(Trouble::Refused(step, reply)),
            code => Err(Trouble::Broken(format!("it answered {code}, which means nothing here"))),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let written = match &mut self.wire {
            Wire::Clear(stream) => stream.write_all(bytes).await,
            Wire::Encrypted(stream) => match stream.write_all(bytes).await {
                Ok(()) => stream.flush().await,
                failed => failed,
            },
        };
        written.map_err(|error| lost(&error))
    }
}

impl Trouble {
    /// What happened, for logs and operators; `letter_to` is left out of it.
    pub(crate) fn words(&self, letter_to: &str) -> String {
        match self {
            Self::Broken(why) | Self::Lacking(why) => why.clone(),
            // What a host says of a failed sign-in may repeat the name or more.
            Self::Refused(step @ Step::Auth, reply) => format!("{step} refused: {}", reply.code),
            Self::Refused(step, reply) => format!("{step} refused: {}", reply.words(letter_to)),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auth => "our sign-in was",
            Self::Data => "the text of the letter was",
            Self::Ehlo => "our introduction was",
            Self::End => "the letter was",
            Self::Greeting => "our connection was",
            Self::Mail => "our sender's address was",
            Self::Noop => "NOOP was",
            Self::Rcpt => "the recipient's address was",
            Self::StartTls => "encryption was",
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

async fn connect(host: &Host) -> Result<TcpStream, Trouble> {
    let found = tokio::net::lookup_host((host.name.as_str(), host.port)).await;
    let addresses: Vec<SocketAddr> = found.map_err(|_| broken("its name has no address"))?.collect();
    let mut last = broken("its name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(|error| lost(&error))?;
                return Ok(stream);
            }
            Err(error) => last = Trouble::Broken(format!("it can't be reached: {}", error.kind())),
        }
    }
    Err(last)
}

/// The letter as DATA needs it: a dot more before each line that begins with one, and the end (RFC 5321, 4.5.2).
fn stuffed(letter: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(letter.len() + letter.len() / 32 + 8));
    for line in letter.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            bytes.push(b'.');
        }
        bytes.extend_from_slice(line);
    }
    if !bytes.ends_with(b"\r\n") {
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b".\r\n");
    bytes
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(broken("it did not answer in time")))
}

fn broken(why: &str) -> Trouble {
    Trouble::Broken(why.to_owned())
}

fn lost(error: &io::Error) -> Trouble {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error.kind() {
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => broken("it closed the connection"),
        kind => Trouble::Broken(format!("the connection broke: {kind}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t81_dots_do_not_end_a_letter() {
        assert_eq!(*stuffed(b".\r\n..a\r\nb.\r\n"), b"..\r\n...a\r\nb.\r\n.\r\n");
        assert_eq!(*stuffed(b"a"), b"a\r\n.\r\n");
    }
}
