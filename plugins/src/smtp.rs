//! The dialogue with one smart host (RFC 5321), up to the point where it has taken a letter or surely has not.
//!
//! It is ours because the end of a delivery hangs on the phase in which a connection broke, because bytes that came
//! before encryption must not be read after it, and because a letter leaves in one write on a socket without delay.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use rustls::ClientConfig;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::mime::Letter;
use crate::reply::Reply;
use crate::secret::Secret;
use crate::wire::Wire;

/// A server that says more than this in one answer says nothing of use.
const LONGEST_ANSWER: usize = 16 * 1024;
/// How long the end of a connection may take that is no longer needed.
const GOODBYE: Duration = Duration::from_millis(200);

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
    Reset,
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
    offers: Offers,
    encryption: Option<String>,
    signed_in: Option<&'static str>,
    at: Place,
}

/// What a host can do that matters here.
#[derive(Clone, Copy, Default)]
struct Offers {
    /// It takes several commands in one write (RFC 2920).
    pipelining: bool,
    /// The largest letter that it takes, in bytes.
    size: Option<usize>,
    /// It carries addresses beyond ASCII.
    utf8: bool,
}

/// Where a dialogue stands between two letters.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Place {
    /// The host waits for a letter.
    Free,
    /// The host may still hold a letter that it refused; it is told to forget it first.
    Refused,
    /// The host waits for the text of a letter that it must not get: nothing can be said any more.
    Text,
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
        let connected = timeout(limits.connect, Wire::connect(host)).await;
        let wire = connected.map_err(|_| broken("it could not be reached in time"))?.map_err(Trouble::Broken)?;
        if matches!(security, Security::None) && !wire.is_local() {
            return Err(broken("it is not on this machine, so nothing is said to it in clear text"));
        }
        within(limits.answer, Self::enter(wire, host, security, hello, login)).await
    }

    async fn enter(
        wire: Wire,
        host: &Host,
        security: &Security,
        hello: &str,
        login: Option<&Login>,
    ) -> Result<Self, Trouble> {
        let (offers, heard) = (Offers::default(), Vec::new());
        let mut dialogue = Self { wire, heard, offers, encryption: None, signed_in: None, at: Place::Free };
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
        dialogue.offers = Offers {
            pipelining: offers.keyword("PIPELINING").is_some(),
            size: offers.keyword("SIZE").and_then(|size| size.first()?.parse().ok()).filter(|size| *size > 0),
            utf8: offers.keyword("SMTPUTF8").is_some(),
        };
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
        let (wire, version) = self.wire.encrypt(host, config).await.map_err(Trouble::Broken)?;
        Ok(Self { wire, encryption: Some(version), ..self })
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
    ///
    /// Where the host takes several commands at once they leave in one write. Its answers come in the same order, and the
    /// first refusal is the one that tells why: those after it only follow from it.
    pub(crate) async fn offer(&mut self, letter: &Letter, limits: Limits) -> Result<(), Trouble> {
        let parameters = match (letter.needs_utf8, self.offers.utf8) {
            (false, _) => "",
            (true, true) => " SMTPUTF8 BODY=8BITMIME",
            (true, false) => {
                return Err(Trouble::Lacking("the address needs a smart host that carries SMTPUTF8".into()));
            }
        };
        if self.offers.size.is_some_and(|most| letter.bytes.len() > most) {
            return Err(Trouble::Lacking("the letter is larger than it takes".into()));
        }
        let mut commands = vec![
            (Step::Mail, format!("MAIL FROM:<{}>{parameters}", letter.bounce_to), 250),
            (Step::Rcpt, format!("RCPT TO:<{}>", letter.to), 250),
            (Step::Data, "DATA".to_owned(), 354),
        ];
        if self.at == Place::Refused {
            commands.insert(0, (Step::Reset, "RSET".to_owned(), 250));
        }
        self.at = Place::Refused;
        let mut refusal = None;
        let group = if self.offers.pipelining { commands.len() } else { 1 };
        let said = within(limits.answer, async {
            for group in commands.chunks(group) {
                self.say(group.iter().map(|(_, line, _)| line.as_str())).await?;
                for (step, _, wanted) in group {
                    match self.answer(*step, *wanted).await {
                        Ok(_) if *step == Step::Data => self.at = Place::Text,
                        Ok(_) => {}
                        Err(refused @ Trouble::Refused(..)) => refusal = refusal.take().or(Some(refused)),
                        Err(trouble) => return Err(trouble),
                    }
                }
                if refusal.is_some() {
                    break;
                }
            }
            self.must_be_silent()
        });
        let said = said.await;
        if said.is_err() {
            // Answers are still owed, so that the next letter can't be told from this one: what was refused is known, and
            // the connection ends.
            self.at = Place::Text;
        }
        match refusal {
            Some(refused) => Err(refused),
            None => said,
        }
    }

    /// Sends the text of an offered letter. Where this ends as [`Trouble::Broken`], it may have been taken.
    pub(crate) async fn hand_over(&mut self, letter: &Letter, limits: Limits) -> Result<(), Trouble> {
        // Hosts look for viruses and spam before they answer here.
        within(limits.answer.saturating_mul(3), async {
            self.write(&stuffed(&letter.bytes)).await?;
            let answer = self.answer(Step::End, 250).await;
            self.at = Place::Free;
            answer.map(|_| ())
        })
        .await
    }

    /// Whether the next letter can be offered on this connection after a trouble with one.
    pub(crate) fn outlives(&self, trouble: &Trouble) -> bool {
        match trouble {
            Trouble::Broken(_) => false,
            Trouble::Lacking(_) => true,
            Trouble::Refused(_, reply) => reply.code != 421 && self.at != Place::Text,
        }
    }

    /// Whether the host still listens, and what was agreed with it.
    pub(crate) async fn check(&mut self, limits: Limits) -> Result<String, Trouble> {
        within(limits.answer, self.command(Step::Noop, "NOOP", 250)).await?;
        let encryption = self.encryption.as_deref().unwrap_or("in clear text on this machine");
        let signed_in = self.signed_in.map_or("not signed in".to_owned(), |how| format!("signed in by {how}"));
        let utf8 =
            if self.offers.utf8 { "" } else { ", without SMTPUTF8 (no letters to addresses such as jürgen@…)" };
        Ok(format!("ready ({encryption}, {signed_in}{utf8})"))
    }

    /// Says goodbye, and lets the host close the connection: one that it still counts may be one too many for it.
    pub(crate) async fn leave(mut self) {
        // Where the text of a letter is waited for, it would be taken for that.
        if self.at == Place::Text {
            return;
        }
        let gone = async {
            self.write(b"QUIT\r\n").await?;
            while self.wire.read(&mut self.heard).await.is_ok() && self.heard.len() < LONGEST_ANSWER {}
            Ok::<_, Trouble>(())
        };
        // How that goes is of no interest to anybody.
        drop(timeout(GOODBYE, gone).await);
    }

    async fn command(&mut self, step: Step, line: &str, wanted: u16) -> Result<Reply, Trouble> {
        self.say([line]).await?;
        self.answer(step, wanted).await
    }

    /// Sends commands in one write.
    async fn say<'l>(&mut self, lines: impl IntoIterator<Item = &'l str>) -> Result<(), Trouble> {
        self.must_be_silent()?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(512));
        for line in lines {
            if line.contains(['\r', '\n', '\0']) {
                return Err(broken("a command would have had two lines"));
            }
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        self.write(&bytes).await
    }

    /// An answer to nothing would be taken for the answer to what comes next, and soon for the one that a letter was taken.
    fn must_be_silent(&self) -> Result<(), Trouble> {
        if self.heard.is_empty() { Ok(()) } else { Err(broken("it gives answers to nothing")) }
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
            self.wire.read(&mut self.heard).await.map_err(Trouble::Broken)?;
        };
        match reply.code {
            code if code == wanted || (wanted == 250 && code == 251) => Ok(reply),
            400..=599 => Err(Trouble::Refused(step, reply)),
            code => Err(Trouble::Broken(format!("it answered {code}, which means nothing here"))),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.wire.write(bytes).await.map_err(Trouble::Broken)
    }
}

impl Trouble {
    /// Whether the connection is at its end, so that this says more of the host than of the letter.
    pub(crate) fn breaks_off(&self) -> bool {
        match self {
            Self::Broken(_) => true,
            Self::Lacking(_) => false,
            Self::Refused(_, reply) => reply.code == 421,
        }
    }

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
            Self::Reset => "a new beginning was",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t81_dots_do_not_end_a_letter() {
        assert_eq!(*stuffed(b".\r\n..a\r\nb.\r\n"), b"..\r\n...a\r\nb.\r\n.\r\n");
        assert_eq!(*stuffed(b"a"), b"a\r\n.\r\n");
    }
}
