//! The configuration as a whole: sections put together, checks across them, faults all at once.
//!
//! Each part owns the struct of its own section; this file knows which sections there are. Secrets never stand in the
//! file: keys that end in `_file` name a file, or `credential:NAME` for a systemd credential.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::LevelFilter;
use rekeyd_core::domain::KeyRing;
use rekeyd_core::policy::rules::Rules;
use rekeyd_core::settings::{Document, Fault, Section};
use rekeyd_plugins::secret::SecretSource;
use rekeyd_plugins::{Channel, ChannelConfig, Messages, MessagesConfig, list};

use crate::admin::AdminConfig;
use crate::directory::DirectoryConfig;
use crate::flow::Identity;
use crate::http;
use crate::store::StoreConfig;

/// Where the configuration lies unless a program is told otherwise.
pub const DEFAULT_FILE: &str = "/etc/rekeyd/rekeyd.toml";

/// Everything that can be configured.
pub struct Config {
    /// The base of every link, without a slash at its end.
    pub public_url: String,
    /// Where the keys are that make tokens.
    pub key_file: SecretSource,
    /// How much of its own doing rekeyd logs.
    pub log_level: LevelFilter,
    /// `[http]`: hook and pages.
    pub http: http::Config,
    /// `[admin]`: the operators' socket.
    pub admin: AdminConfig,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[[directory]]`.
    pub directory: DirectoryConfig,
    /// `[policy]`.
    pub rules: Rules,
    /// `[messages]`: who speaks, and in what words.
    pub messages: MessagesConfig,
    /// Each `[[channel]]`, in the order in which they are tried.
    pub channels: Vec<Box<dyn ChannelConfig>>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Every fault of the file, or the one that it can't be read.
    pub fn load(file: &Path) -> Result<Self, Vec<Fault>> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            vec![Fault {
                line: 0,
                key: "(file)".into(),
                what: format!("{} can't be read: {error}", file.display()),
                remedy: "Name the file with --config, and let the user rekeyd read it.".into(),
            }]
        })?;
        Self::parse(&text)
    }

    /// Reads the text of a configuration.
    ///
    /// # Errors
    /// Every fault, in the order of lines.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        let document = Document::parse(text);
        let config = Self::read(&document);
        let faults = document.into_faults();
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(faults),
        }
    }

    fn read(document: &Document<'_>) -> Option<Self> {
        let root = document.root();
        let public_url = root.parsed_required(
            "public_url",
            "Write the address that people reach the pages at, such as \"https://reset.example.org\".",
            public_url,
        );
        let key_file = root.parsed_required("key_file", SecretSource::REMEDY, SecretSource::parse);
        let levels = [
            ("error", LevelFilter::Error),
            ("warn", LevelFilter::Warn),
            ("info", LevelFilter::Info),
            ("debug", LevelFilter::Debug),
            ("trace", LevelFilter::Trace),
        ];
        let log_level = root.choice("log_level", &levels, LevelFilter::Info);
        let http = http::Config::read(root.section("http"));
        let admin = AdminConfig::read(root.section("admin"));
        let store = StoreConfig::read(root.section("store"));
        let mut directory = one(&root, root.sections("directory")).map(DirectoryConfig::read);
        let rules = Rules::read(root.section("policy"));
        if let Some(directory) = &mut directory {
            // What verdicts rest on must be readable, or nobody's groups are known.
            let profiles = rules.profiles.iter().flat_map(|profile| &profile.groups);
            directory.watched_groups = rules.privileged_groups.iter().chain(profiles).cloned().collect();
        }
        let messages = read_messages(&root);
        let channels = list::read(&root);
        if !root.has("channel") {
            root.fault("channel", "there is no way to reach anybody", "Add a [[channel]] with kind = \"email\".");
        }
        root.finish();
        Some(Self {
            public_url: public_url?,
            key_file: key_file?,
            log_level,
            http,
            admin,
            store,
            directory: directory?,
            rules,
            messages,
            channels,
        })
    }

    /// Reads the key file.
    ///
    /// # Errors
    /// A fault that says what is wrong with it; its content is never repeated.
    pub fn keys(&self) -> Result<KeyRing, Fault> {
        let fault = |what: String, remedy: &str| Fault { line: 0, key: "key_file".into(), what, remedy: remedy.into() };
        let text = self.key_file.read_lines(credentials().as_deref()).map_err(|why| {
            fault(why, "Make one with `rekeyctl new-key > FILE`, mode 0600, and name it or its credential here.")
        })?;
        KeyRing::parse(text.expose()).map_err(|why| fault(why, "Make a new key with `rekeyctl new-key`."))
    }

    /// Builds the channels.
    ///
    /// # Errors
    /// Every fault that only the files could show.
    pub fn open_channels(&self, messages: &Arc<Messages>) -> Result<Vec<Box<dyn Channel>>, Vec<Fault>> {
        let credentials = credentials();
        let mut faults = Vec::new();
        let mut channels = Vec::new();
        for channel in &self.channels {
            match channel.open(messages, credentials.as_deref()) {
                Ok(opened) => channels.push(opened),
                Err(found) => faults.extend(found),
            }
        }
        if faults.is_empty() { Ok(channels) } else { Err(faults) }
    }

    /// Who rekeyd speaks for.
    pub fn identity(&self) -> Identity {
        Identity {
            organisation: self.messages.organisation.clone(),
            service: self.messages.service.clone(),
            help: self.messages.help.clone().unwrap_or_default(),
            help_url: self.messages.help_url.clone(),
            sign_in_url: self.messages.sign_in_url.clone(),
            public_url: self.public_url.clone(),
        }
    }

    /// The keys whose change a reload can't carry out.
    pub(crate) fn needs_restart(&self, old: &Self) -> Vec<&'static str> {
        let changed = [
            ("http.listen", self.http.listen != old.http.listen),
            ("admin.socket", self.admin.socket != old.admin.socket),
            ("admin.group", self.admin.group != old.admin.group),
            ("store.path", self.store.path != old.store.path),
            ("log_level", self.log_level != old.log_level),
        ];
        changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
    }
}

/// The folder that the unit loads its credentials from, for programs that systemd did not start.
const CREDENTIALS: &str = "/etc/rekeyd/credentials";

/// The folder of credentials: the one that systemd made for this process, or the one that it makes them from, so that
/// `rekeyctl check` in an administrator's shell reads what the daemon will read.
#[expect(clippy::disallowed_methods, reason = "systemd names the folder in the environment and nowhere else")]
pub fn credentials() -> Option<PathBuf> {
    let given = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    given.or_else(|| Path::new(CREDENTIALS).is_dir().then(|| CREDENTIALS.into()))
}

fn read_messages(root: &Section<'_>) -> MessagesConfig {
    let section = root.section("messages");
    let messages = MessagesConfig::read(&section);
    section.finish();
    messages
}

/// `1 fault`, `3 faults`.
pub fn count(faults: usize) -> String {
    if faults == 1 { "1 fault".into() } else { format!("{faults} faults") }
}

fn one<'d>(root: &Section<'_>, mut sections: Vec<Section<'d>>) -> Option<Section<'d>> {
    match sections.len() {
        0 => {
            root.fault("directory", "there is no directory", "Add one [[directory]] section.");
            None
        }
        1 => sections.pop(),
        _ => {
            root.fault("directory", "there is more than one directory", "Keep one [[directory]] section.");
            sections.drain(1..);
            sections.pop()
        }
    }
}

/// Checks and trims the base of links: https, or http on this machine alone.
fn public_url(text: &str) -> Result<String, String> {
    let url = text.trim_end_matches('/');
    let (scheme, rest) = url.split_once("://").ok_or("it is no URL")?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or("");
    if host.is_empty() || host.contains('@') || rest.contains(['?', '#', ' ', '"', '<', '>', '\\']) || !rest.is_ascii()
    {
        return Err("it is no plain URL of a host".into());
    }
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    let local = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
    match scheme {
        "https" => Ok(url.to_owned()),
        "http" if local => Ok(url.to_owned()),
        "http" => Err("links would go out without TLS".into()),
        _ => Err("its scheme is neither https nor http".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t94_the_base_of_links_is_one_plain_url() {
        for fine in
            ["https://reset.example.org", "https://reset.example.org/", "http://127.0.0.1:8080", "https://x.org/base"]
        {
            assert!(public_url(fine).is_ok(), "{fine}");
        }
        for wrong in [
            "",
            "reset.example.org",
            "http://reset.example.org",
            "https://",
            "https://a@b",
            "ftp://x.org",
            "https://x.org/?a",
            "https://x y",
        ] {
            assert!(public_url(wrong).is_err(), "{wrong}");
        }
    }
}
