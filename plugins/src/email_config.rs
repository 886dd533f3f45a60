//! What a section of the kind `email` says, and the channel that it makes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::settings::{Fault, Section, in_words};

use crate::email::{Email, Way};
use crate::mime::Sender;
use crate::secret::SecretSource;
use crate::smtp::{Host, Limits, Login, Security};
use crate::{Channel, ChannelConfig, Messages, tls};

/// One delivery surely ends within this time: shorter than the outbox waits before it tries the same message again.
const WHOLE: Duration = Duration::from_mins(15);

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
    connections: usize,
    sender: Sender,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Encryption {
    Implicit,
    None,
    Upgrade,
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
        let connections = section.number("connections", 1..=64, 8);
        let sender = Sender::read(section, None)?;
        Some(Box::new(Self {
            name,
            connections: usize::try_from(connections).unwrap_or(1),
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
        Ok(Box::new(Email {
            name: self.name.clone(),
            hosts: self.hosts.iter().cloned().map(Way::to).collect(),
            security,
            login,
            hello: self.hello.clone(),
            limits: self.limits,
            connections: self.connections,
            sender: self.sender.clone(),
            messages: Arc::clone(messages),
        }))
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
