//! The configuration as a whole: sections put together, checks across them, faults all at once.
//!
//! Each part owns the struct of its own section; this file knows which sections there are. Secrets never stand in the
//! file: keys that end in `_file` name a file, or `credential:NAME` for a systemd credential.

mod directories;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::LevelFilter;
use rekeyd_core::domain::KeyRing;
use rekeyd_core::policy::rules::Rules;
use rekeyd_core::settings::{Document, Fault, Section};
use rekeyd_plugins::secret::SecretSource;
use rekeyd_plugins::{Channel, ChannelConfig, Messages, MessagesConfig, list, words};

pub use self::directories::ConfiguredDirectory;
use crate::admin::AdminConfig;
use crate::directory::Directory;
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
    pub key_file: KeyFile,
    /// How much of its own doing rekeyd logs.
    pub log_level: LevelFilter,
    /// `[http]`: hook and pages.
    pub http: http::Config,
    /// `[admin]`: the operators' socket.
    pub admin: AdminConfig,
    /// `[store]`.
    pub store: StoreConfig,
    /// Each `[[directory]]`, in the order in which they are asked.
    pub directories: Vec<ConfiguredDirectory>,
    /// `[policy]`, where no directory says otherwise.
    pub rules: Rules,
    /// `[messages]`: who speaks, and in what words.
    pub messages: MessagesConfig,
    /// Each `[[channel]]`, in the order in which they are tried.
    pub channels: Vec<Box<dyn ChannelConfig>>,
}

/// Where the keys are that make tokens.
pub struct KeyFile {
    /// The file, or the credential.
    pub source: SecretSource,
    line: usize,
}

impl Config {
    /// Reads a file; none of the files that it names.
    ///
    /// # Errors
    /// Every fault of the file, or the one that it can't be read.
    pub fn load(file: &Path) -> Result<Self, Vec<Fault>> {
        Self::parse(&text_of(file)?)
    }

    /// Reads a file and the files that it names (keys, certificates, passwords, templates, words), for whoever wants to
    /// know everything that is wrong at once. The configuration is there if its own text has no fault.
    pub fn examine(file: &Path) -> (Option<Self>, Vec<Fault>) {
        let text = match text_of(file) {
            Ok(text) => text,
            Err(faults) => return (None, faults),
        };
        let document = Document::parse(&text);
        let (config, of_files) = Self::read(&document, file_faults);
        let mut faults = document.into_faults();
        let config = config.filter(|_| faults.is_empty());
        // What a key names is not looked into where the key itself is wrong: a default stands in its place.
        let of_files: Vec<_> =
            of_files.into_iter().filter(|found| faults.iter().all(|fault| fault.key != found.key)).collect();
        faults.extend(of_files);
        faults.sort();
        faults.dedup();
        (config, faults)
    }

    /// Reads the text of a configuration.
    ///
    /// # Errors
    /// Every fault, in the order of lines.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        let document = Document::parse(text);
        let (config, _) = Self::read(&document, |_| Vec::new());
        let faults = document.into_faults();
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(faults),
        }
    }

    /// Reads what is there; `look` sees the parts that could be read, whether or not all could.
    fn read(document: &Document<'_>, look: fn(&Named<'_>) -> Vec<Fault>) -> (Option<Self>, Vec<Fault>) {
        let root = document.root();
        let public_url = root.parsed_required(
            "public_url",
            "Write the address that people reach the pages at, such as \"https://reset.example.org\".",
            public_url,
        );
        let key_file = root.parsed_required("key_file", SecretSource::REMEDY, SecretSource::parse);
        let key_file = key_file.map(|source| KeyFile { source, line: root.line_of("key_file") });
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
        let (directories, rules) = directories::read(&root);
        let messages = read_messages(&root);
        let channels = list::read(&root);
        if !root.has("channel") {
            root.fault("channel", "there is no way to reach anybody", "Add a [[channel]] with kind = \"email\".");
        }
        root.finish();
        let found = look(&Named {
            key_file: key_file.as_ref(),
            directories: &directories,
            messages: &messages,
            channels: &channels,
        });
        let whole = public_url.zip(key_file).map(|(public_url, key_file)| Self {
            public_url,
            key_file,
            log_level,
            http,
            admin,
            store,
            directories,
            rules,
            messages,
            channels,
        });
        (whole, found)
    }

    /// Reads the key file.
    ///
    /// # Errors
    /// A fault that says what is wrong with it; its content is never repeated.
    pub fn keys(&self) -> Result<KeyRing, Fault> {
        self.key_file.read()
    }

    /// Builds the channels.
    ///
    /// # Errors
    /// Every fault that only the files could show.
    pub fn open_channels(&self, messages: &Arc<Messages>) -> Result<Vec<Box<dyn Channel>>, Vec<Fault>> {
        open_channels(&self.channels, messages)
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
        // Taken apart whole, so that a key that comes later is not forgotten here.
        let AdminConfig { socket, group, allow_user_namespace } = &self.admin;
        let StoreConfig { path, epoch_file, backlog, keep_requests, keep_notices, keep_tickets, keep_events } =
            &self.store;
        let changed = [
            ("log_level", self.log_level != old.log_level),
            ("http.listen", self.http.listen != old.http.listen),
            ("http.limits", self.http.limits != old.http.limits),
            ("admin.socket", *socket != old.admin.socket),
            ("admin.group", *group != old.admin.group),
            ("admin.allow_user_namespace", *allow_user_namespace != old.admin.allow_user_namespace),
            ("store.path", *path != old.store.path),
            ("store.epoch_file", *epoch_file != old.store.epoch_file),
            ("store.backlog", *backlog != old.store.backlog),
            ("store.keep_requests", *keep_requests != old.store.keep_requests),
            ("store.keep_notices", *keep_notices != old.store.keep_notices),
            ("store.keep_tickets", *keep_tickets != old.store.keep_tickets),
            ("store.keep_events", *keep_events != old.store.keep_events),
        ];
        changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
    }
}

impl KeyFile {
    fn read(&self) -> Result<KeyRing, Fault> {
        let fault =
            |what, remedy: &str| Fault { line: self.line, key: "key_file".into(), what, remedy: remedy.to_owned() };
        let text = self.source.read_lines(credentials().as_deref()).map_err(|why| {
            fault(why, "Make one with `(umask 077; rekeyctl new-key > FILE)`, and name it or its credential here.")
        })?;
        KeyRing::parse(text.expose()).map_err(|why| fault(why, "Make a new key with `rekeyctl new-key`."))
    }
}

/// What a configuration names that lies in files of its own, as far as it could be read.
struct Named<'c> {
    key_file: Option<&'c KeyFile>,
    directories: &'c [ConfiguredDirectory],
    messages: &'c MessagesConfig,
    channels: &'c [Box<dyn ChannelConfig>],
}

/// Every fault that only the files show.
fn file_faults(named: &Named<'_>) -> Vec<Fault> {
    let mut faults: Vec<_> = named.key_file.and_then(|file| file.read().err()).into_iter().collect();
    faults.extend(named.directories.iter().flat_map(|one| Directory::file_faults(&one.directory)));
    let messages = Messages::load(named.messages.clone()).or_else(|found| {
        faults.extend(found);
        // Faulty templates must not hide a password file: the channels are opened with the built-in ones.
        let mut built_in = named.messages.clone();
        (built_in.templates, built_in.words) = (None, None);
        words::COMPLETE.clone_into(&mut built_in.default_language);
        Messages::load(built_in)
    });
    match messages {
        Ok(messages) => faults.extend(open_channels(named.channels, &Arc::new(messages)).err().into_iter().flatten()),
        Err(found) => faults.extend(found),
    }
    faults
}

fn open_channels(
    configs: &[Box<dyn ChannelConfig>],
    messages: &Arc<Messages>,
) -> Result<Vec<Box<dyn Channel>>, Vec<Fault>> {
    let credentials = credentials();
    let mut faults = Vec::new();
    let mut channels = Vec::new();
    for config in configs {
        match config.open(messages, credentials.as_deref()) {
            Ok(opened) => channels.push(opened),
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() { Ok(channels) } else { Err(faults) }
}

fn text_of(file: &Path) -> Result<String, Vec<Fault>> {
    std::fs::read_to_string(file).map_err(|error| {
        vec![Fault {
            line: 0,
            key: "(file)".into(),
            what: format!("{} can't be read: {error}", file.display()),
            remedy: "Name the file with --config, and let the user rekeyd read it.".into(),
        }]
    })
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
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WHOLE: &str = "\
public_url = \"https://reset.example.org\"
key_file = \"/nowhere/keys\"
[[directory]]
urls = [\"ldaps://ldap.example.org\"]
base = \"dc=example,dc=org\"
bind_dn = \"cn=svc,dc=example,dc=org\"
bind_password_file = \"/nowhere/bind\"
ca_file = \"/nowhere/ca.pem\"
[messages]
templates = \"/nowhere/templates\"
[[channel]]
kind = \"email\"
from = \"no-reply@example.org\"
hosts = [\"smtp.example.org\"]
username = \"rekeyd\"
password_file = \"/nowhere/smtp\"
[policy]
privileged_groups = []
";

    fn examine(text: &str) -> (bool, Vec<String>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let (config, faults) = Config::examine(file.path());
        (config.is_some(), faults.iter().map(|fault| format!("{} {}", fault.line, fault.key)).collect())
    }

    fn parsed(text: &str) -> Config {
        Config::parse(text).map_err(|faults| format!("{faults:?}")).ok().unwrap()
    }

    #[test]
    fn faults_of_the_files_are_named_with_those_of_the_text() {
        let of_files = [
            "2 key_file",
            "7 directory.bind_password_file",
            "8 directory.ca_file",
            "10 messages.templates",
            "16 channel.password_file",
        ];
        let (whole, faults) = examine(WHOLE);
        assert!(whole, "the text has no fault");
        assert_eq!(faults, of_files);
        let broken = WHOLE.replace("https://reset", "gopher://reset").replace("privileged_groups", "privilegd_groups");
        let (whole, faults) = examine(&broken);
        assert!(!whole);
        let expected: Vec<_> = ["1 public_url"]
            .into_iter()
            .chain(of_files)
            .chain(["17 policy.privileged_groups", "18 policy.privilegd_groups"])
            .collect();
        assert_eq!(faults, expected);
        // A key that is wrong itself is told once.
        let (_, faults) = examine(&WHOLE.replace("\"/nowhere/bind\"", "\"bind\"").replace("ldaps://", "smb://"));
        assert_eq!(faults.iter().filter(|fault| fault.starts_with("7 ")).count(), 1, "{faults:?}");
        assert!(faults.iter().any(|fault| fault == "8 directory.ca_file"), "{faults:?}");
    }

    #[test]
    fn refusing_shared_addresses_has_them_looked_for() {
        let detects =
            |more: &str| parsed(&format!("{WHOLE}{more}")).directories.remove(0).directory.search.detect_shared;
        assert!(!detects(""));
        assert!(detects("[policy.contacts]\nrefuse_shared = true\n"));
    }

    #[test]
    fn t57_groups_that_nobody_looks_for_are_faults() {
        let examined = |text: &str| examine(text).1.into_iter().filter(|fault| fault.contains("policy")).count();
        let groups = |groups: &str| WHOLE.replace("privileged_groups = []", &format!("privileged_groups = [{groups}]"));
        let based = |base: &str| WHOLE.replace("[messages]", &format!("group_base = \"{base}\"\n[messages]"));
        let profile = "[[policy.profile]]\nname = \"staff\"\ngroups = [\"cn=staff,ou=groups,dc=example,dc=org\"]\n";
        assert_eq!(examined(&groups("\"cn=a,DC=Example, dc=org\", \"dc=example,dc=org\"")), 0);
        assert_eq!(examined(&groups("\"cn=a,dc=example,dc=net\", \"cn=b,dc=org\"")), 2);
        assert_eq!(examined(&format!("{WHOLE}{profile}")), 0);
        assert_eq!(examined(&format!("{}{profile}", based("ou=groups,dc=example,dc=org"))), 0);
        assert_eq!(examined(&format!("{}{profile}", based("ou=people,dc=example,dc=org"))), 1);
    }

    #[test]
    fn a_reload_names_what_it_can_not_apply() {
        let old = parsed(WHOLE);
        assert_eq!(parsed(WHOLE).needs_restart(&old), [""; 0]);
        assert_eq!(parsed(&WHOLE.replace("[policy]", "[policy]\nfreeze = \"1h\"")).needs_restart(&old), [""; 0]);
        let new = parsed(&format!(
            "log_level = \"debug\"\n{WHOLE}[http]\nlisten = \"127.0.0.1:1\"\n[http.limits]\nidle = \"9s\"\n[admin]\n\
             socket = \"/run/x/a.sock\"\ngroup = \"g\"\nallow_user_namespace = true\n[store]\npath = \"/srv/r/x.db\"\n\
             epoch_file = \"/srv/e/epoch\"\nbacklog = 100\nkeep_requests = \"2d\"\nkeep_notices = \"2d\"\n\
             keep_tickets = \"2d\"\nkeep_events = \"2d\"\n"
        ));
        assert_eq!(new.needs_restart(&old).len(), 13, "{:?}", new.needs_restart(&old));
    }

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
