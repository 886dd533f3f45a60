//! What an SMTP server of the tests says to one client, step by step, with the faults that a test has scripted.

use std::{collections::VecDeque, io, time::Duration};

use data_encoding::BASE64;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::{
    mail::Message,
    smtp::{Fault, LOGIN, PASSWORD, Shared, Step, Tls},
};

/// Speaks with one client until it goes.
pub(crate) async fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if shared.tls == Tls::Implicit {
        return Session::new(shared.acceptor.accept(stream).await?, shared, true).run(true).await.map(drop);
    }
    let session = Session::new(stream, shared, false);
    if let Some(stream) = session.run(true).await? {
        // Bytes that came before the handshake must not count as sent within it: the reader's buffer is dropped here.
        Session::new(shared.acceptor.accept(stream).await?, shared, true).run(false).await?;
    }
    Ok(())
}

/// How a step ends.
enum Next {
    End,
    Failed,
    Go,
    TakeAndEnd,
    TakeAndWait(Duration),
}

struct Session<'a, S> {
    stream: BufReader<S>,
    shared: &'a Shared,
    secure: bool,
    trusted: bool,
    from: Option<String>,
    to: Vec<String>,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Session<'a, S> {
    fn new(stream: S, shared: &'a Shared, secure: bool) -> Self {
        Self { stream: BufReader::new(stream), shared, secure, trusted: false, from: None, to: Vec::new() }
    }

    /// Speaks until the end; gives the stream back when TLS is to begin on it.
    async fn run(mut self, greet: bool) -> io::Result<Option<S>> {
        if greet {
            match self.step(Step::Connect).await? {
                Next::Go => self.reply("220 localhost ESMTP").await?,
                _ => return Ok(None),
            }
        }
        let mut line = String::new();
        loop {
            line.clear();
            if self.stream.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            let line = line.trim_end();
            let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
            let verb = verb.to_ascii_uppercase();
            let step = match verb.as_str() {
                "AUTH" => Step::Auth,
                "DATA" => Step::Data,
                "EHLO" => Step::Ehlo,
                "MAIL" => Step::MailFrom,
                "RCPT" => Step::RcptTo,
                "STARTTLS" => Step::StartTls,
                "NOOP" | "RSET" => {
                    (self.from, self.to) = (None, Vec::new());
                    self.reply("250 2.0.0 fine").await?;
                    continue;
                }
                "QUIT" => {
                    self.reply("221 2.0.0 bye").await?;
                    return Ok(None);
                }
                _ => {
                    self.reply("502 5.5.2 unknown").await?;
                    continue;
                }
            };
            match self.step(step).await? {
                Next::Go => {}
                Next::Failed => continue,
                Next::End | Next::TakeAndEnd | Next::TakeAndWait(_) => return Ok(None),
            }
            match step {
                Step::Ehlo => self.greet().await?,
                Step::StartTls if self.shared.tls == Tls::StartTls && !self.secure => {
                    self.reply("220 2.0.0 begin").await?;
                    return Ok(Some(self.stream.into_inner()));
                }
                _ if !self.secure && self.shared.tls != Tls::None => {
                    self.reply("530 5.7.0 Must issue a STARTTLS command first").await?;
                }
                Step::Auth => self.log_in(rest).await?,
                _ if !self.trusted => self.reply("530 5.7.0 Authentication required").await?,
                Step::MailFrom => {
                    self.from = Some(address(rest));
                    self.reply("250 2.1.0 fine").await?;
                }
                Step::RcptTo if self.from.is_some() => {
                    self.to.push(address(rest));
                    self.reply("250 2.1.5 fine").await?;
                }
                Step::Data if !self.to.is_empty() => {
                    if !self.take().await? {
                        return Ok(None);
                    }
                }
                _ => self.reply("503 5.5.1 not now").await?,
            }
        }
    }

    async fn greet(&mut self) -> io::Result<()> {
        let mut offers = vec!["localhost", "PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 1000000"];
        if self.secure || self.shared.tls == Tls::None {
            offers.push("AUTH PLAIN");
        } else {
            offers.push("STARTTLS");
        }
        let last = offers.len() - 1;
        for (place, offer) in offers.iter().enumerate() {
            self.reply(&format!("250{}{offer}", if place == last { ' ' } else { '-' })).await?;
        }
        Ok(())
    }

    async fn log_in(&mut self, rest: &str) -> io::Result<()> {
        let mut answer = rest.strip_prefix("PLAIN").map(str::trim).unwrap_or_default().to_owned();
        if answer.is_empty() {
            self.reply("334 ").await?;
            self.stream.read_line(&mut answer).await?;
        }
        let right = format!("\0{LOGIN}\0{PASSWORD}");
        self.trusted = BASE64.decode(answer.trim().as_bytes()).is_ok_and(|given| given == right.as_bytes());
        self.reply(if self.trusted { "235 2.7.0 welcome" } else { "535 5.7.8 wrong" }).await
    }

    /// Takes the bytes of a message; no when the session ends with it.
    async fn take(&mut self) -> io::Result<bool> {
        self.reply("354 go on").await?;
        let mut raw = Vec::new();
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(false);
            }
            if line == b".\r\n" {
                break;
            }
            raw.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        let message = Message { from: self.from.take().unwrap_or_default(), to: std::mem::take(&mut self.to), raw };
        let next = self.step(Step::Body).await?;
        if matches!(next, Next::Go | Next::TakeAndEnd | Next::TakeAndWait(_)) {
            self.shared.state.lock().expect("the state").messages.push(message);
        }
        if let Next::TakeAndWait(delay) = next {
            tokio::time::sleep(delay).await;
        }
        if matches!(next, Next::Go | Next::TakeAndWait(_)) {
            self.reply("250 2.0.0 taken").await?;
        }
        Ok(matches!(next, Next::Go | Next::Failed | Next::TakeAndWait(_)))
    }

    /// Lets a scripted fault happen.
    async fn step(&mut self, step: Step) -> io::Result<Next> {
        let fault = {
            let mut state = self.shared.state.lock().expect("the state");
            let once = state.once.get_mut(&step).and_then(VecDeque::pop_front);
            once.or_else(|| state.always.get(&step).cloned())
        };
        match fault {
            None => Ok(Next::Go),
            Some(Fault::Drop) => Ok(Next::End),
            Some(Fault::Reply(reply)) => {
                self.reply(reply).await?;
                Ok(Next::Failed)
            }
            Some(Fault::Slow(delay)) => {
                tokio::time::sleep(delay).await;
                Ok(Next::Go)
            }
            Some(Fault::TakeAndDrop) => Ok(Next::TakeAndEnd),
            Some(Fault::TakeAndWait(delay)) => Ok(Next::TakeAndWait(delay)),
        }
    }

    async fn reply(&mut self, line: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await?;
        self.stream.get_mut().flush().await
    }
}

/// The address in `FROM:<ada@example.org> SIZE=1`.
fn address(rest: &str) -> String {
    let inner = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(|| rest.to_owned(), |(address, _)| address.to_owned())
}
