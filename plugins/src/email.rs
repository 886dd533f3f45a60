//! The channel `email`: hands letters to one of several smart hosts over required TLS.
//!
//! The next host is tried only while the letter has surely not been taken by the one before. What a host refuses for
//! good is refused; what is our own fault (signing in, sender, relaying) waits, since an operator can mend it.
//! One delivery takes at most, for each host, `connect_timeout` and six times `timeout`: a kept connection that is dead,
//! a new one, the offer, and three times as long for the letter itself, which the host may still refuse.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rekeyd_core::domain::{ContactKind, Notice, Recipient};
use rekeyd_core::settings::{Fault, Section, in_words};

use crate::mime::{Letter, Sender};
use crate::secret::SecretSource;
use crate::smtp::{Dialogue, Host, Limits, Login, Security, Step, Trouble};
use crate::{Channel, ChannelConfig, Delivered, Messages, tls};

/// A connection that waited longer for its next letter is not used again; hosts close theirs after a minute or more.
const IDLE: Duration = Duration::from_secs(15);
/// So many connections wait for each host.
const WAITING: usize = 8;
/// One delivery surely ends within this time: shorter than the outbox waits before it tries the same message again.
const WHOLE: Duration = Duration::from_mins(15);
/// After so many letters a connection is closed; hosts have limits of their own, of a hundred and more.
const LETTERS: u32 = 90;

/// What a section of the kind `email` says.
pub struct EmailConfig {
    name: String,
    hosts: Vec<Host>,
    tls: Encryption,
    ca_file: Option<PathBuf>,
    ca_file_line: usize,
    login: Option<(String, SecretSource)>,
    password_line: usize,
    hello: String,
    limits: Limits,
    sender: Sender,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Encryption {
    Implicit,
    None,
    Upgrade,
}

/// The channel.
struct Email {
    name: String,
    hosts: Vec<Way>,
    security: Security,
    login: Option<Login>,
    hello: String,
    limits: Limits,
    sender: Sender,
    messages: Arc<Messages>,
}

/// A host, and the connections to it that are open and unused.
struct Way {
    host: Host,
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    dialogue: Dialogue,
    since: Instant,
    letters: u32,
}

/// How it went with one host.
enum Tried {
    /// This is how the delivery ended.
    Ended(Delivered),
    /// It can't carry the letter at all; another may.
    Lacking(String),
    /// It surely did not take the letter; another may.
    NotTaken(String),
}

impl EmailConfig {
    /// Reads the section.
    pub(crate) fn read(section: &Section<'_>, name: String) -> Option<Box<dyn ChannelConfig>> {
        let tls = section.choice(
            "tls",
            &[("starttls", Encryption::Upgrade), ("implicit", Encryption::Implicit), ("none", Encryption::None)],
            Encryption::Upgrade,
        );
        let port = match tls {
            Encryption::Implicit => 465,
            Encryption::None => 25,
            Encryption::Upgrade => 587,
        };
        let remedy = "Write HOST:PORT, such as \"smtp.example.org:587\".";
        let hosts = section.list("hosts", remedy, |text| parse_host(text, port));
        if section.texts("hosts").is_none_or(|hosts| hosts.is_empty()) {
            let what = if section.has("hosts") { "it names no host" } else { "it is missing" };
            section.fault("hosts", what, "Write hosts = [\"HOST:PORT\"], the first choice first.");
        }
        let hosts = hosts.unwrap_or_default();
        if tls == Encryption::None && !hosts.iter().all(is_this_machine) {
            let what = "clear text is only for a smart host on this machine";
            section.fault("tls", what, "Write \"starttls\" or \"implicit\", or a host such as \"127.0.0.1:25\".");
        }
        let ca_file = section.parsed("ca_file", "Write the file's path from the root.", |text| {
            if Path::new(text).is_absolute() {
                Ok(PathBuf::from(text))
            } else {
                Err("it is not an absolute path".into())
            }
        });
        let username = section.parsed("username", "Write the name to sign in with.", |text| {
            let fine = !text.is_empty() && !text.chars().any(char::is_control);
            if fine { Ok(text.to_owned()) } else { Err("it is no name".into()) }
        });
        let password = section.parsed("password_file", SecretSource::REMEDY, SecretSource::parse);
        match (section.has("username"), section.has("password_file")) {
            (true, false) => section.fault("username", "there is no password to go with it", "Set password_file too."),
            (false, true) => {
                let remedy = "Set username too, or remove this line.";
                section.fault("password_file", "there is no username to go with it", remedy);
            }
            _ => {}
        }
        let hello =
            section.parsed("hello", "Write this machine's full name, such as \"rekeyd.example.org\".", |text| {
                let fine = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-[]:".contains(&b));
                if fine { Ok(text.to_owned()) } else { Err("it is no name of a machine".into()) }
            });
        let seconds = Duration::from_secs;
        let limits = Limits {
            connect: section.duration("connect_timeout", seconds(1)..=seconds(60), seconds(10)),
            answer: section.duration("timeout", seconds(1)..=seconds(120), seconds(30)),
        };
        let worst = (limits.connect + 6 * limits.answer) * u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        if worst >= WHOLE {
            let key = if section.has("timeout") { "timeout" } else { "hosts" };
            let what = format!(
                "one try at a message could take {}, and from 15m on another could begin before it has ended",
                in_words(worst)
            );
            let remedy = "Lower timeout or connect_timeout, or name fewer hosts: for each host, connect_timeout and six \
                          times timeout count.";
            section.fault(key, what, remedy);
        }
        let sender = Sender::read(section, None)?;
        Some(Box::new(Self {
            name,
            hosts,
            tls,
            ca_file,
            ca_file_line: section.line_of("ca_file"),
            login: username.zip(password),
            password_line: section.line_of("password_file"),
            hello: hello.unwrap_or_else(|| sender.domain().to_owned()),
            limits,
            sender,
        }))
    }
}

impl ChannelConfig for EmailConfig {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self, messages: &Arc<Messages>, credentials: Option<&Path>) -> Result<Box<dyn Channel>, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut fault = |line: usize, key: &str, what: String, remedy: &str| {
            faults.push(Fault { line, key: format!("channel.{key}"), what, remedy: remedy.to_owned() });
        };
        let security = match self.tls {
            Encryption::None => Ok(Security::None),
            Encryption::Implicit => tls::client(self.ca_file.as_deref()).map(Security::Implicit),
            Encryption::Upgrade => tls::client(self.ca_file.as_deref()).map(Security::Upgrade),
        };
        let security = security
            .map_err(|what| {
                let remedy = "Name a file of PEM certificates that the service may read.";
                fault(self.ca_file_line, "ca_file", what, remedy);
            })
            .ok();
        let login = self.login.as_ref().and_then(|(username, source)| match source.read(credentials) {
            Ok(password) => Some(Login { username: username.clone(), password }),
            Err(what) => {
                fault(self.password_line, "password_file", what, "Let the service, and nobody else, read the file.");
                None
            }
        });
        let Some(security) = security.filter(|_| faults.is_empty()) else { return Err(faults) };
        let way = |host: &Host| Way { host: host.clone(), waiting: Mutex::default() };
        Ok(Box::new(Email {
            name: self.name.clone(),
            hosts: self.hosts.iter().map(way).collect(),
            security,
            login,
            hello: self.hello.clone(),
            limits: self.limits,
            sender: self.sender.clone(),
            messages: Arc::clone(messages),
        }))
    }
}

#[async_trait]
impl Channel for Email {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> ContactKind {
        ContactKind::Email
    }

    async fn deliver(&self, to: &Recipient, notice: &Notice) -> Delivered {
        let organisation = &self.messages.config.organisation;
        let rendered = self.messages.render(notice);
        let letter = match rendered.and_then(|rendered| self.sender.letter(organisation, to, notice, &rendered)) {
            Ok(letter) => letter,
            Err(why) => return Delivered::Never(why),
        };
        let mut reasons = Vec::new();
        let mut hopeless = true;
        for way in &self.hosts {
            let why = match self.try_host(way, &letter).await {
                Tried::Ended(delivered) => return delivered,
                Tried::Lacking(why) => why,
                Tried::NotTaken(why) => {
                    hopeless = false;
                    why
                }
            };
            reasons.push(format!("{}: {why}", way.host));
        }
        let reasons = reasons.join("; ");
        if hopeless { Delivered::Never(reasons) } else { Delivered::Later(reasons) }
    }

    async fn probe(&self) -> Result<String, String> {
        let mut told = Vec::new();
        let mut fine = true;
        for way in &self.hosts {
            let found = match self.open(way).await {
                Ok(mut dialogue) => {
                    let found = dialogue.check(self.limits).await;
                    dialogue.leave().await;
                    found
                }
                Err(trouble) => Err(trouble),
            };
            fine &= found.is_ok();
            told.push(format!("{}: {}", way.host, found.unwrap_or_else(|trouble| trouble.words(""))));
        }
        let told = told.join("; ");
        if fine { Ok(told) } else { Err(told) }
    }
}

impl Email {
    async fn open(&self, way: &Way) -> Result<Dialogue, Trouble> {
        Dialogue::open(&way.host, &self.security, &self.hello, self.login.as_ref(), self.limits).await
    }

    async fn try_host(&self, way: &Way, letter: &Letter) -> Tried {
        let (mut dialogue, letters) = loop {
            let (mut dialogue, letters) = match way.take() {
                Some(waiting) => (waiting.dialogue, waiting.letters),
                None => match self.open(way).await {
                    Ok(dialogue) => (dialogue, 0),
                    Err(trouble) => return Tried::NotTaken(trouble.words(&letter.to)),
                },
            };
            match dialogue.offer(letter, self.limits).await {
                Ok(()) => break (dialogue, letters),
                // The host may close connections that wait; a new one tells more.
                Err(Trouble::Broken(_)) if letters > 0 => way.forget(),
                Err(Trouble::Refused(_, reply)) if letters > 0 && reply.code == 421 => way.forget(),
                Err(trouble) => {
                    dialogue.leave().await;
                    return judge(&trouble, letter);
                }
            }
        };
        match dialogue.hand_over(letter, self.limits).await {
            Ok(()) => {
                if letters + 1 < LETTERS {
                    way.keep(dialogue, letters + 1);
                } else {
                    dialogue.leave().await;
                }
                Tried::Ended(Delivered::Delivered)
            }
            Err(Trouble::Broken(why)) => Tried::Ended(Delivered::Unsure(format!("{}: {why}", way.host))),
            Err(trouble) => judge(&trouble, letter),
        }
    }
}

/// What a refusal means for the letter; whatever broke before its end was sent has not taken it.
fn judge(trouble: &Trouble, letter: &Letter) -> Tried {
    let why = trouble.words(&letter.to);
    let for_good = match trouble {
        Trouble::Lacking(_) => return Tried::Lacking(why),
        Trouble::Refused(Step::End, reply) => reply.code >= 500,
        Trouble::Refused(Step::Data | Step::Rcpt, reply) => reply.code >= 500 && !reply.is_about_us(),
        Trouble::Broken(_) | Trouble::Refused(..) => false,
    };
    if for_good { Tried::Ended(Delivered::Never(why)) } else { Tried::NotTaken(why) }
}

impl Way {
    /// The connection that waited least, if one is fresh enough.
    fn take(&self) -> Option<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|one| one.since.elapsed() < IDLE);
        waiting.pop()
    }

    fn forget(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn keep(&self, dialogue: Dialogue, letters: u32) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING {
            waiting.push(Waiting { dialogue, since: Instant::now(), letters });
        }
    }
}

/// Reads `HOST`, `HOST:PORT`, `ADDRESS:PORT` or `[ADDRESS]:PORT`.
fn parse_host(text: &str, default_port: u16) -> Result<Host, String> {
    let wrong = || "it is not a host with its port".to_owned();
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(wrong)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            (address, port.strip_prefix(':').or(if port.is_empty() { None } else { Some("") }))
        }
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
    let port = port.map_or(Ok(default_port), |port| port.parse().map_err(|_| wrong()))?;
    if name.is_empty() || port == 0 || !name.bytes().all(plain) {
        return Err(wrong());
    }
    Ok(Host { name: name.to_owned(), port })
}

fn is_this_machine(host: &Host) -> bool {
    host.name == "localhost" || host.name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
