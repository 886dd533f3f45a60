//! The `[[directory]]` section: which directory, how it is reached, and which of its attributes mean what.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rekeyd_core::domain::{Dn, EntryName};
use rekeyd_core::flavour::active_directory::MADE_WITH;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::mapping::Configured;
use rekeyd_core::flavour::markers::Markers;
use rekeyd_core::flavour::product::Product;
use rekeyd_core::policy::rules::Rules;
use rekeyd_core::settings::Section;
use rekeyd_plugins::secret::{Secret, SecretSource};
use zeroize::Zeroizing;

use super::endpoint::{Endpoint, Transport};

const SECOND: Duration = Duration::from_secs(1);
const DN_REMEDY: &str = "Write a distinguished name, such as \"ou=people,dc=example,dc=org\".";
const NAME_REMEDY: &str = "Write names of attributes, such as \"uid\".";

/// One directory, as configured. It holds no secret.
#[derive(Clone, Debug)]
pub struct DirectoryConfig {
    /// Its name in the configuration.
    pub name: String,
    /// What kind it is and how it is reached.
    pub kind: Kind,
    /// Where people and groups are looked for.
    pub search: Search,
    /// Which attributes mean what, as far as it is said; the product decides the rest.
    pub mapping: Configured,
    /// Groups that verdicts rest on. Until each of them was seen to be readable, the groups of no account are known.
    pub watched_groups: Vec<Dn>,
}

/// The kinds of directory.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Servers that speak LDAP.
    Ldap(Box<LdapConfig>),
    /// One LDIF file.
    Ldif(PathBuf),
}

/// Where people and groups are looked for.
#[derive(Clone, Debug)]
pub struct Search {
    /// The entry below which people are.
    pub base: EntryName,
    /// What makes an entry a person's; the product decides where it is not said.
    pub filter: Option<Filter>,
    /// The entry below which groups are.
    pub group_base: EntryName,
    /// Whether it is looked up if another account lists the same address.
    pub detect_shared: bool,
}

/// How LDAP servers are reached.
#[derive(Clone, Debug)]
pub struct LdapConfig {
    /// What they are, where it is said; otherwise each tells it itself.
    pub product: Option<Product>,
    /// The servers, in order of preference.
    pub endpoints: Vec<Endpoint>,
    /// Certificate authorities in PEM; the system's where absent.
    pub ca_file: Option<PathBuf>,
    /// Who rekeyd is there.
    pub identity: Identity,
    /// Who sets passwords there in the name of operators, where that is somebody else.
    pub operator: Option<Identity>,
    /// An entry of rekeyd's own, on which it learns how the server behaves.
    pub canary: Option<EntryName>,
    /// Whether the password policy overlay is there.
    pub ppolicy: Overlay,
    /// The policy of accounts that name none.
    pub default_policy: DefaultPolicy,
    /// On Active Directory, up to which count of passwords the present one is taken for its account's maker's.
    pub first_passwords: i64,
    /// The most connections for our own operations, per server: so many of them run at once.
    pub connections: usize,
    /// The most connections on which people's passwords are tried, per server.
    pub sign_in_connections: usize,
    /// How long connecting may take, TLS included.
    pub connect_timeout: Duration,
    /// How long one operation may take.
    pub operation_timeout: Duration,
    /// How long a server that failed is left alone.
    pub cool_down: Duration,
    /// The line of `ca_file` in the configuration, for faults that show when the file is read.
    pub ca_file_line: usize,
}

/// Who rekeyd is to a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Identity {
    /// Whoever the kernel says (SASL EXTERNAL on a Unix socket).
    External,
    /// An entry with a password.
    Simple {
        /// The entry.
        dn: EntryName,
        /// Where its password is.
        password: BindPassword,
    },
}

/// Where the password of rekeyd's own account is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BindPassword {
    /// The file, or the credential.
    pub source: SecretSource,
    /// The folder of systemd's credentials, if there is one.
    pub credentials: Option<PathBuf>,
    /// The key in the configuration that names it, and its line.
    pub key: &'static str,
    /// See `key`.
    pub line: usize,
}

/// Whether OpenLDAP's password policy overlay keeps the state of accounts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Overlay {
    /// The server's schema decides.
    Auto,
    /// It does not.
    No,
    /// It does.
    Yes,
}

/// The policy of accounts that name none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DefaultPolicy {
    /// The only one in the directory, if there is exactly one.
    Discovered,
    /// This one.
    Named(EntryName),
    /// None, by the administrator's word.
    None,
}

#[derive(Clone, Copy)]
enum KindWord {
    Auto,
    Ldif,
    Is(Product),
}

impl DirectoryConfig {
    /// Reads one `[[directory]]`. Faults are reported to the section's document. `credentials` is the folder of
    /// systemd's credentials, if there is one.
    pub fn read(section: Section<'_>, credentials: Option<&Path>) -> Self {
        let name = section.text("name").unwrap_or_else(|| "directory".into());
        let products = Product::ALL.map(|(word, product)| (word, KindWord::Is(product)));
        let words = [&[("auto", KindWord::Auto), ("ldif", KindWord::Ldif)], products.as_slice()].concat();
        let word = section.choice("kind", &words, KindWord::Auto);
        let base = section.parsed("base", DN_REMEDY, dn);
        let group_base = section.parsed("group_base", DN_REMEDY, dn);
        let filter =
            section.parsed("filter", "Write a filter of RFC 4515, such as \"(objectClass=inetOrgPerson)\".", |text| {
                Filter::parse(text).map_err(|bad| bad.to_string())
            });
        let names = |key| {
            let list = section.list(key, NAME_REMEDY, attribute);
            if list.as_ref().is_some_and(Vec::is_empty) {
                section.fault(key, "it is empty", NAME_REMEDY);
            }
            list
        };
        let mut mapping = Configured {
            logins: names("login_attributes"),
            emails: names("email_attributes"),
            names: names("name_attributes"),
            language: section.parsed("language_attribute", NAME_REMEDY, attribute),
            markers: Markers::read(section.section("markers")),
            apart: Vec::new(),
        };
        let detect_shared = section.flag("detect_shared", false);
        let kind = match word {
            KindWord::Ldif => {
                Kind::Ldif(section.required("file", "Name the LDIF file.").map(PathBuf::from).unwrap_or_default())
            }
            KindWord::Auto | KindWord::Is(_) => {
                if !section.has("base") {
                    section.fault("base", "it is missing", DN_REMEDY);
                }
                let product = if let KindWord::Is(product) = word { Some(product) } else { None };
                Kind::Ldap(Box::new(LdapConfig::read(&section, product, credentials, &mut mapping)))
            }
        };
        section.finish();
        let base = base.unwrap_or(EntryName(String::new()));
        let search = Search { group_base: group_base.unwrap_or_else(|| base.clone()), base, filter, detect_shared };
        Self { name, kind, search, mapping, watched_groups: Vec::new() }
    }
}

impl DirectoryConfig {
    /// Takes up what the rules want to know of it: the groups that they name must be readable, or nobody's groups are known,
    /// and a rule about shared addresses that nobody looks for would refuse nothing.
    pub fn heed(&mut self, rules: &Rules) {
        let profiles = rules.profiles.iter().flat_map(|profile| &profile.groups);
        self.watched_groups = rules.privileged_groups.iter().chain(profiles).cloned().collect();
        self.search.detect_shared |= rules.contacts.refuse_shared;
    }
}

impl LdapConfig {
    fn read(
        section: &Section<'_>,
        product: Option<Product>,
        credentials: Option<&Path>,
        mapping: &mut Configured,
    ) -> Self {
        let start_tls = section.flag("start_tls", false);
        let clear = section.flag("clear_text_on_loopback", false);
        let endpoints = section.list(
            "urls",
            "Write URLs such as \"ldaps://ldap.example.org\", \"ldapi://%2Frun%2Fslapd%2Fldapi\", or \"ldap://…\" with \
             `start_tls = true`.",
            |text| Endpoint::parse(text, start_tls, clear),
        );
        if endpoints.as_ref().is_none_or(Vec::is_empty) && section.texts("urls").is_none_or(|urls| urls.is_empty()) {
            section.fault("urls", "no server is named", "Write urls = [\"ldaps://ldap.example.org\"].");
        }
        let endpoints = endpoints.unwrap_or_default();
        let external = section.choice("sasl", &[("none", false), ("external", true)], false);
        let bind_dn = section.parsed("bind_dn", DN_REMEDY, dn);
        let password = BindPassword::read_key(section, "bind_password_file", credentials);
        let identity = match (external, bind_dn, password) {
            (true, None, None) => {
                if endpoints.iter().any(|endpoint| !matches!(endpoint.transport, Transport::Unix(_))) {
                    section.fault("sasl", "EXTERNAL works on a Unix socket only", "Use an ldapi:// URL, or bind_dn.");
                }
                Identity::External
            }
            (true, _, _) => {
                section.fault("sasl", "it excludes bind_dn and bind_password_file", "Remove one or the other.");
                Identity::External
            }
            (false, Some(dn), Some(password)) => Identity::Simple { dn, password },
            (false, dn, _) => {
                // A key that is there and wrong has its own fault already.
                if !section.has("bind_dn") {
                    section.fault("bind_dn", "it is missing", DN_REMEDY);
                }
                if !section.has("bind_password_file") {
                    let remedy = "Name the file that holds the password of bind_dn.";
                    section.fault("bind_password_file", "it is missing", remedy);
                }
                let dn = dn.unwrap_or(EntryName(String::new()));
                Identity::Simple { dn, password: BindPassword::nowhere() }
            }
        };
        let operator_dn = section.parsed("operator_bind_dn", DN_REMEDY, dn);
        let operator_password = BindPassword::read_key(section, "operator_bind_password_file", credentials);
        for (key, other) in
            [("operator_bind_dn", "operator_bind_password_file"), ("operator_bind_password_file", "operator_bind_dn")]
        {
            if section.has(other) && !section.has(key) {
                section.fault(key, "it is missing", "Name both the operators' account and its password, or neither.");
            }
        }
        let operator = operator_dn.zip(operator_password).map(|(dn, password)| Identity::Simple { dn, password });
        let canary = section.parsed("canary", DN_REMEDY, dn);
        let own = [Some(&identity), operator.as_ref()].into_iter().flatten().filter_map(|identity| match identity {
            Identity::Simple { dn, .. } => Some(dn),
            Identity::External => None,
        });
        mapping.apart = own.chain(&canary).filter_map(|name| Dn::parse(&name.0).ok()).collect();
        let default_policy = section.parsed(
            "default_policy",
            "Write the distinguished name of ppolicy_default, or \"none\" where there is none.",
            |text| if text == "none" { Ok(DefaultPolicy::None) } else { dn(text).map(DefaultPolicy::Named) },
        );
        Self {
            product,
            endpoints,
            ca_file: section.text("ca_file").map(PathBuf::from),
            identity,
            operator,
            canary,
            ppolicy: section.choice(
                "ppolicy",
                &[("auto", Overlay::Auto), ("yes", Overlay::Yes), ("no", Overlay::No)],
                Overlay::Auto,
            ),
            default_policy: default_policy.unwrap_or(DefaultPolicy::Discovered),
            first_passwords: i64::try_from(section.number("first_passwords", 1..=9, 2)).unwrap_or(MADE_WITH),
            connections: usize::try_from(section.number("connections", 1..=64, 8)).unwrap_or(8),
            sign_in_connections: usize::try_from(section.number("sign_in_connections", 1..=256, 32)).unwrap_or(32),
            connect_timeout: section.duration("connect_timeout", SECOND / 10..=30 * SECOND, 3 * SECOND),
            operation_timeout: section.duration("operation_timeout", SECOND / 10..=60 * SECOND, 5 * SECOND),
            cool_down: section.duration("cool_down", SECOND / 10..=600 * SECOND, 5 * SECOND),
            ca_file_line: section.line_of("ca_file"),
        }
    }
}

impl BindPassword {
    fn read_key(section: &Section<'_>, key: &'static str, credentials: Option<&Path>) -> Option<Self> {
        let source = section.parsed(key, SecretSource::REMEDY, SecretSource::parse)?;
        Some(Self { source, credentials: credentials.map(Path::to_owned), key, line: section.line_of(key) })
    }

    /// Stands in the place of one whose key has a fault.
    fn nowhere() -> Self {
        let source = SecretSource::File(PathBuf::new());
        Self { source, credentials: None, key: "bind_password_file", line: 0 }
    }

    /// Reads the password. It is read anew for each connection, so that a rotated one is found.
    ///
    /// # Errors
    /// What is wrong with the file, never what is in it.
    pub fn read(&self) -> Result<Zeroizing<String>, String> {
        let secret = self.source.read(self.credentials.as_deref());
        secret.map(Secret::into_text).map_err(|why| format!("{}: {why}", self.key))
    }
}

fn dn(text: &str) -> Result<EntryName, String> {
    Dn::parse(text).map(|_| EntryName(text.to_owned())).map_err(|bad| bad.to_string())
}

fn attribute(text: &str) -> Result<String, String> {
    let fine = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b';'));
    if fine { Ok(text.to_owned()) } else { Err("it names no attribute".into()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use rekeyd_core::settings::Document;

    use super::*;
    use crate::directory::endpoint::Security;

    fn read(text: &str) -> (DirectoryConfig, Vec<String>) {
        let document = Document::parse(text);
        let root = document.root();
        let config = DirectoryConfig::read(root.sections("directory").pop().unwrap(), None);
        root.finish();
        let faults = document.into_faults().iter().map(|fault| format!("{}: {}", fault.key, fault.what)).collect();
        (config, faults)
    }

    const WHOLE: &str = "[[directory]]\nurls = [\"ldaps://a.example.org\", \"ldaps://b:1636/\"]\nbase = \"dc=x\"\n\
        bind_dn = \"cn=svc,dc=x\"\nbind_password_file = \"credential:bind\"\ncanary = \"uid=c,dc=x\"\n";

    #[test]
    fn the_smallest_section_is_enough() {
        let (config, faults) = read(WHOLE);
        assert_eq!(faults, Vec::<String>::new());
        let Kind::Ldap(ldap) = config.kind else { panic!("no LDAP") };
        let tls = |host: &str, port| Transport::Tcp { host: host.into(), port, security: Security::Tls };
        let transports: Vec<_> = ldap.endpoints.iter().cloned().map(|endpoint| endpoint.transport).collect();
        assert_eq!(transports, [tls("a.example.org", 636), tls("b", 1636)]);
        assert_eq!((config.mapping.apart.len(), ldap.product), (2, None));
        let (config, faults) = read("[[directory]]\nkind = \"ldif\"\nfile = \"people.ldif\"\n");
        assert_eq!(faults, Vec::<String>::new());
        assert!(matches!(config.kind, Kind::Ldif(_)));
    }

    #[test]
    fn the_product_is_said_or_left_to_the_server() {
        let (config, faults) = read(&format!("{WHOLE}first_passwords = 1\n"));
        assert_eq!(faults, Vec::<String>::new());
        assert!(matches!(config.kind, Kind::Ldap(ldap) if ldap.first_passwords == 1));
        let (config, _) = read(WHOLE);
        assert!(matches!(config.kind, Kind::Ldap(ldap) if ldap.first_passwords == MADE_WITH));
        for (kind, product) in [("auto", None), ("openldap", Some(Product::OpenLdap)), ("ds389", Some(Product::Ds389))]
        {
            let (config, faults) = read(&WHOLE.replacen('\n', &format!("\nkind = {kind:?}\n"), 1));
            assert_eq!(faults, Vec::<String>::new());
            let Kind::Ldap(ldap) = config.kind else { panic!("no LDAP") };
            assert_eq!(ldap.product, product);
        }
    }

    #[test]
    fn t70_operators_have_an_account_of_their_own_or_not() {
        let both = "operator_bind_dn = \"cn=ops,dc=x\"\noperator_bind_password_file = \"credential:ops\"\n";
        let (config, faults) = read(&format!("{WHOLE}{both}"));
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(config.mapping.apart.len(), 3);
        let Kind::Ldap(ldap) = config.kind else { panic!("no LDAP") };
        assert!(matches!(ldap.operator, Some(Identity::Simple { dn, .. }) if dn.0 == "cn=ops,dc=x"));
        for (half, missing) in both.lines().zip(["operator_bind_password_file", "operator_bind_dn"]) {
            let (_, faults) = read(&format!("{WHOLE}{half}\n"));
            assert_eq!(faults, [format!("directory.{missing}: it is missing")]);
        }
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let (_, faults) = read(
            "[[directory]]\nurls = [\"ldap://far.example.org\"]\nfilter = \"(uid=a\"\nlogin_attributes = []\n\
             sasl = \"external\"\nbind_dn = \"nobody\"\ndefault_policy = \"x\"\nconnections = 99\nbnid = 1\n",
        );
        for wanted in [
            "directory.urls: it would send",
            "directory.filter: it is no filter",
            "directory.login_attributes: it is empty",
            "directory.bind_dn: it is no dist",
            "directory.default_policy: it is no dist",
            "directory.connections: it is out of range",
            "directory.base: it is missing",
            "directory.bnid: no such key",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(wanted)), "{wanted} is not in {faults:#?}");
        }
        let (_, faults) = read("[[directory]]\nbase = \"dc=x\"\n");
        assert_eq!(
            faults,
            [
                "directory.bind_dn: it is missing",
                "directory.bind_password_file: it is missing",
                "directory.urls: no server is named"
            ]
        );
        let (_, faults) = read("[[directory]]\nkind = \"ldif\"\nurls = [\"ldaps://a\"]\n");
        assert_eq!(faults.len(), 2, "{faults:?}");
    }
}
