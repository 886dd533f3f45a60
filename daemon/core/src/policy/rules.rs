//! The `[policy]` section: what counts as what, how long things live, how often somebody may ask. Every default is safe.
//!
//! A directory may have a policy of its own, `[directory.policy]`: what it leaves out is as in `[policy]`. What counts before
//! anybody knows whose account is meant can only be general.

use std::net::IpAddr;
use std::time::Duration;

use crate::domain::{Account, Contact, Dn, Evidence, Finding};
use crate::settings::Section;

pub use crate::policy::paces::{Paces, SharedNetwork};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// The rules that verdicts are made by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Groups whose members, nested to any depth, are privileged.
    pub privileged_groups: Vec<Dn>,
    /// Accounts that are privileged by name.
    pub privileged_accounts: Vec<Dn>,
    /// Whether a reset may lift a lock that wrong passwords caused.
    pub unlock_by_reset: bool,
    /// Whether a person whose password has expired may reset it without help.
    pub reset_expired_passwords: bool,
    /// Whether an existing person who may not reset is told so in a message (at most once a day).
    pub tell_refused: bool,
    /// How long "this was not me" freezes self-service.
    pub freeze: Duration,
    /// Which addresses may be used.
    pub contacts: ContactRules,
    /// How long links live.
    pub lives: Lives,
    /// How often somebody may ask.
    pub paces: Paces,
    /// Networks behind one address, with limits of their own.
    pub shared_networks: Vec<SharedNetwork>,
    /// What a password must be, for everybody.
    pub password: PasswordRules,
    /// What it must be for members of certain groups; the first profile that fits stands for the whole.
    pub profiles: Vec<Profile>,
}

/// Which addresses may be used.
#[derive(Clone, Debug, Default)]
pub struct ContactRules {
    /// Only proved addresses get a link that the person asked for.
    pub require_proof: bool,
    /// Addresses that two accounts share are used for neither.
    pub refuse_shared: bool,
    /// Domains that are never used: the organisation's own, where a mailbox is opened with the very password that is
    /// forgotten, and placeholders. A domain stands for its sub-domains too.
    pub denied_domains: Vec<String>,
    /// Local parts that belong to no one person (`info`, `office`).
    pub generic_names: Vec<String>,
}

impl ContactRules {
    /// Whether an address may be used at all.
    pub fn permits(&self, contact: &Contact) -> bool {
        let domain = contact.address.ascii_domain();
        let denied = self.denied_domains.iter().any(|denied| {
            domain == denied || domain.strip_suffix(denied.as_str()).is_some_and(|rest| rest.ends_with('.'))
        });
        let generic = self.generic_names.iter().any(|name| name.eq_ignore_ascii_case(contact.address.local()));
        !(denied || generic || (self.refuse_shared && contact.shared))
    }
}

/// How long things live.
#[derive(Clone, Copy, Debug)]
pub struct Lives {
    /// A reset link, from delivery.
    pub reset: Duration,
    /// An activation link, from delivery.
    pub activation: Duration,
    /// "This was not me", from the notice that carries it.
    pub not_me: Duration,
    /// How long an accepted request is tried before it is given up.
    pub request: Duration,
    /// For so long a new request joins the ticket that is already under way.
    pub merge: Duration,
    /// The first wait of a message that is refused for now; each further one is twice as long, up to ten minutes.
    pub retry: Duration,
}

/// What a password must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PasswordRules {
    /// Least number of characters.
    pub min_length: u32,
    /// Greatest number of characters.
    pub max_length: u32,
    /// Least zxcvbn score, from 0 (guessed at once) to 4.
    pub min_score: u8,
    /// Words that a password may not be made of, besides the person's own names: the organisation, the town, the year.
    pub words: Vec<String>,
}

/// Stricter or looser password rules for some groups.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name, for `explain`.
    pub name: String,
    /// Members of these groups, nested to any depth, fall under it.
    pub groups: Vec<Dn>,
    /// What their passwords must be.
    pub password: PasswordRules,
}

impl Rules {
    /// Reads `[policy]`. Faults are reported to the section's document. `must_name_groups` wants the groups of
    /// administrators here, unless each directory names its own.
    pub fn read(section: Section<'_>, must_name_groups: bool) -> Self {
        if must_name_groups && !section.has("privileged_groups") {
            section.fault(
                "privileged_groups",
                "it is missing, so nobody would count as an administrator",
                "List the groups whose members have administrator access; write [] if there really is none.",
            );
        }
        let shared_networks = section.sections("shared_network").into_iter().map(SharedNetwork::read).collect();
        let general = Self { shared_networks, ..Self::built_in() };
        general.layered(section, Layer::General)
    }

    /// Reads the `[directory.policy]` of one directory: what it leaves out is as in these rules, and a list or a section that
    /// it writes stands instead of theirs.
    #[must_use]
    pub fn of_directory(&self, section: Section<'_>) -> Self {
        refuse_general(&section, &["shared_network"]);
        self.clone().layered(section, Layer::Directory)
    }

    fn layered(self, section: Section<'_>, layer: Layer) -> Self {
        let dn = |text: &str| Dn::parse(text).map_err(|bad| bad.to_string());
        let dn_remedy = "Write a distinguished name, such as \"cn=admins,ou=groups,dc=example,dc=org\".";
        let password_section = section.section("password");
        let password = PasswordRules::read(&password_section, &self.password);
        password_section.finish();
        let read_profile = |profile: Section<'_>| {
            let read = Profile {
                name: profile.required("name", "Name the profile.").unwrap_or_default(),
                groups: profile.list("groups", dn_remedy, dn).unwrap_or_default(),
                password: PasswordRules::read(&profile, &password),
            };
            if read.groups.is_empty() {
                profile.fault("groups", "no group falls under this profile", "List at least one group.");
            }
            profile.finish();
            read
        };
        let profiles = if section.has("profile") {
            section.sections("profile").into_iter().map(read_profile).collect()
        } else {
            self.profiles
        };
        let rules = Self {
            privileged_groups: section.list("privileged_groups", dn_remedy, dn).unwrap_or(self.privileged_groups),
            privileged_accounts: section.list("privileged_accounts", dn_remedy, dn).unwrap_or(self.privileged_accounts),
            unlock_by_reset: section.flag("unlock_by_reset", self.unlock_by_reset),
            reset_expired_passwords: section.flag("reset_expired_passwords", self.reset_expired_passwords),
            tell_refused: section.flag("tell_refused", self.tell_refused),
            freeze: section.duration("freeze", MINUTE..=DAY, self.freeze),
            contacts: self.contacts.layered(section.section("contacts")),
            lives: self.lives.layered(section.section("lives"), layer),
            paces: self.paces.layered(section.section("paces"), layer),
            shared_networks: self.shared_networks,
            password,
            profiles,
        };
        section.finish();
        rules
    }

    /// What holds where nothing is written.
    fn built_in() -> Self {
        Self {
            privileged_groups: Vec::new(),
            privileged_accounts: Vec::new(),
            unlock_by_reset: true,
            reset_expired_passwords: true,
            tell_refused: false,
            freeze: DAY,
            contacts: ContactRules::default(),
            lives: Lives::BUILT_IN,
            paces: Paces::BUILT_IN,
            shared_networks: Vec::new(),
            password: PasswordRules::default(),
            profiles: Vec::new(),
        }
    }

    /// The shared network that an address belongs to.
    pub fn shared_network(&self, ip: IpAddr) -> Option<&SharedNetwork> {
        let ip = ip.to_canonical();
        self.shared_networks.iter().find(|place| place.networks.iter().any(|network| network.contains(&ip)))
    }

    /// Why an account counts as privileged, if it does.
    pub fn privilege(&self, account: &Account) -> Option<Evidence> {
        let evidence = |attribute: &str, value: &str| Evidence {
            finding: Finding::Privileged,
            attribute: attribute.into(),
            value: value.into(),
            server: account.server.name.clone(),
            until: None,
        };
        if let Some(group) = account.groups.iter().find(|group| self.privileged_groups.contains(group)) {
            return Some(evidence("member of", group.as_str()));
        }
        let name = Dn::parse(&account.name.0).ok()?;
        self.privileged_accounts.contains(&name).then(|| evidence("policy.privileged_accounts", name.as_str()))
    }

    /// The password rules of a profile, or the general ones.
    pub fn password_of(&self, profile: Option<&str>) -> &PasswordRules {
        let named = profile.and_then(|name| self.profiles.iter().find(|profile| profile.name == name));
        named.map_or(&self.password, |profile| &profile.password)
    }

    /// The password rules for an account, and the name of the profile they come from.
    pub fn password_for(&self, account: &Account) -> (&PasswordRules, Option<&str>) {
        self.profiles
            .iter()
            .find(|profile| profile.groups.iter().any(|group| account.groups.contains(group)))
            .map_or((&self.password, None), |profile| (&profile.password, Some(profile.name.as_str())))
    }
}

impl ContactRules {
    fn layered(self, section: Section<'_>) -> Self {
        let domain = |text: &str| {
            crate::domain::EmailAddress::parse(&format!("x@{text}"))
                .map(|address| address.ascii_domain().to_owned())
                .map_err(|_| "it is no domain".to_owned())
        };
        let rules = Self {
            require_proof: section.flag("require_proof", self.require_proof),
            refuse_shared: section.flag("refuse_shared", self.refuse_shared),
            denied_domains: section
                .list("denied_domains", "Write a domain such as \"example.org\".", domain)
                .unwrap_or(self.denied_domains),
            generic_names: section.texts("generic_names").unwrap_or(self.generic_names),
        };
        section.finish();
        rules
    }
}

impl Lives {
    const BUILT_IN: Self = Self {
        reset: Duration::from_mins(30),
        activation: Duration::from_hours(7 * 24),
        not_me: Duration::from_hours(7 * 24),
        request: DAY,
        merge: Duration::from_mins(5),
        retry: MINUTE,
    };

    fn layered(self, section: Section<'_>, layer: Layer) -> Self {
        if layer == Layer::Directory {
            refuse_general(&section, &["request", "retry"]);
        }
        let lives = Self {
            reset: section.duration("reset", 5 * MINUTE..=DAY, self.reset),
            activation: section.duration("activation", HOUR..=30 * DAY, self.activation),
            not_me: section.duration("not_me", HOUR..=30 * DAY, self.not_me),
            request: section.duration("request", MINUTE..=7 * DAY, self.request),
            merge: section.duration("merge", Duration::from_secs(1)..=30 * MINUTE, self.merge),
            retry: section.duration("retry", Duration::from_secs(1)..=10 * MINUTE, self.retry),
        };
        section.finish();
        lives
    }
}

/// Which policy is read.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Layer {
    /// That of one directory.
    Directory,
    /// The one for everybody.
    General,
}

/// Faults of keys that one directory can't have for itself.
pub(super) fn refuse_general(section: &Section<'_>, keys: &[&'static str]) {
    for key in keys.iter().filter(|key| section.has(key)) {
        section.fault(
            key,
            "it counts before anybody knows whose account is meant",
            "Write it in [policy], for all directories together.",
        );
    }
}

impl Default for PasswordRules {
    fn default() -> Self {
        Self { min_length: 12, max_length: 256, min_score: 3, words: Vec::new() }
    }
}

impl PasswordRules {
    fn read(section: &Section<'_>, default: &Self) -> Self {
        let number =
            |key, range, default: u32| u32::try_from(section.number(key, range, default.into())).unwrap_or(default);
        Self {
            min_length: number("min_length", 8..=64, default.min_length),
            max_length: number("max_length", 64..=1024, default.max_length),
            min_score: u8::try_from(section.number("min_score", 0..=4, default.min_score.into()))
                .unwrap_or(default.min_score),
            words: section.texts("words").unwrap_or_else(|| default.words.clone()),
        }
    }
}

impl Default for Rules {
    /// The defaults of every key, with no group privileged: for tests and the trial.
    fn default() -> Self {
        Self::built_in()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::settings::Document;

    /// The general rules and those of a directory, with the faults of both.
    fn read(text: &str) -> (Rules, Rules, Vec<String>) {
        let document = Document::parse(text);
        let root = document.root();
        let general = Rules::read(root.section("policy"), true);
        let own = general.of_directory(root.section("own"));
        root.finish();
        let faults = document.into_faults().into_iter().map(|fault| format!("{} {}", fault.line, fault.key)).collect();
        (general, own, faults)
    }

    #[test]
    fn a_directory_changes_what_it_writes_and_nothing_else() {
        let text = "\
[policy]
privileged_groups = [\"cn=admins,dc=a\"]
reset_expired_passwords = false
[policy.lives]
reset = \"10m\"
[policy.paces]
account = \"9 in 1h\"
[policy.password]
min_length = 14
words = [\"alpha\"]
[[policy.profile]]
name = \"staff\"
groups = [\"cn=staff,dc=a\"]
min_length = 20
[own]
privileged_groups = [\"cn=root,dc=b\"]
tell_refused = true
profile = []
[own.lives]
activation = \"2h\"
[own.contacts]
require_proof = true
[own.password]
min_score = 4
";
        let (general, own, faults) = read(text);
        assert_eq!(faults, [""; 0]);
        assert_eq!(own.privileged_groups, [Dn::parse("cn=root,dc=b").unwrap()]);
        assert!(own.tell_refused && !general.tell_refused && !own.reset_expired_passwords);
        assert!(own.contacts.require_proof && !general.contacts.require_proof);
        assert_eq!((own.lives.reset, own.lives.activation), (10 * MINUTE, 2 * HOUR));
        assert_eq!((own.lives.not_me, general.lives.activation), (7 * DAY, 7 * DAY));
        assert_eq!((own.paces.account.count, own.paces.source.count), (9, 20));
        let PasswordRules { min_length, max_length, min_score, words } = &own.password;
        assert_eq!(
            (*min_length, *max_length, *min_score, words.as_slice()),
            (14, 256, 4, ["alpha".to_owned()].as_slice())
        );
        assert_eq!((own.profiles.len(), general.profiles.len()), (0, 1));
        assert_eq!(general.password.min_score, 3);
    }

    #[test]
    fn what_counts_before_an_account_is_known_is_for_all_directories() {
        let text = "\
[policy]
privileged_groups = []
[own]
shared_network = []
privilegd_groups = []
[own.lives]
request = \"1h\"
retry = \"2m\"
[own.paces]
source = \"1 in 1m\"
sign_in = \"1 in 1m\"
account = \"1 in 1h\"
";
        let (_, _, faults) = read(text);
        let expected = [
            "4 own.shared_network",
            "5 own.privilegd_groups",
            "7 own.lives.request",
            "8 own.lives.retry",
            "10 own.paces.source",
            "11 own.paces.sign_in",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn administrators_are_named_somewhere() {
        assert_eq!(read("[policy]\n[own]\nprivileged_groups = []\n").2, ["1 policy.privileged_groups"]);
        let document = Document::parse("");
        Rules::read(document.root(), false);
        assert_eq!(document.into_faults(), []);
    }
}
