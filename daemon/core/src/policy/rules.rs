//! The `[policy]` section: what counts as what, how long things live, how often somebody may ask. Every default is safe.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::domain::{Account, Contact, Dn, Evidence, Finding};
use crate::policy::pace::Quota;
use crate::settings::Section;

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

/// How often somebody may ask.
#[derive(Clone, Copy, Debug)]
pub struct Paces {
    /// Requests from one address (IPv6: one /64).
    pub source: Quota,
    /// Requests from one wider network (IPv6: one /48).
    pub network: Quota,
    /// Messages to one account.
    pub account: Quota,
    /// Messages to one account in a day.
    pub account_day: Quota,
    /// Messages to one address in a day.
    pub contact_day: Quota,
    /// After the day's budget still so many, so that a stranger who uses it up can't shut the person out.
    pub account_spent: Quota,
    /// The same message again, after a merged request.
    pub resend: Quota,
    /// Sign-ins from one address.
    pub sign_in: Quota,
    /// Everything that one login page asks for, whoever it asks for: what a stolen key can do at most.
    pub client: Quota,
}

/// A place whose many people share a few addresses (a school, a campus behind NAT): it has one limit of its own.
#[derive(Clone, Debug)]
pub struct SharedNetwork {
    /// Its name; all its networks count as one.
    pub name: String,
    /// Where its people come from.
    pub networks: Vec<IpNet>,
    /// Requests from all of it together.
    pub source: Quota,
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
    /// Reads `[policy]`. Faults are reported to the section's document.
    pub fn read(section: Section<'_>) -> Self {
        let dn = |text: &str| Dn::parse(text).map_err(|bad| bad.to_string());
        let dn_remedy = "Write a distinguished name, such as \"cn=admins,ou=groups,dc=example,dc=org\".";
        let privileged_groups = section.list("privileged_groups", dn_remedy, dn);
        if privileged_groups.is_none() {
            section.fault(
                "privileged_groups",
                "it is missing, so nobody would count as an administrator",
                "List the groups whose members have administrator access; write [] if there really is none.",
            );
        }
        let password_section = section.section("password");
        let password = PasswordRules::read(&password_section, &PasswordRules::default());
        password_section.finish();
        let profiles = section
            .sections("profile")
            .into_iter()
            .map(|profile| {
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
            })
            .collect();
        let shared_networks = section.sections("shared_network").into_iter().map(SharedNetwork::read).collect();
        let rules = Self {
            shared_networks,
            privileged_groups: privileged_groups.unwrap_or_default(),
            privileged_accounts: section.list("privileged_accounts", dn_remedy, dn).unwrap_or_default(),
            unlock_by_reset: section.flag("unlock_by_reset", true),
            reset_expired_passwords: section.flag("reset_expired_passwords", true),
            tell_refused: section.flag("tell_refused", false),
            freeze: section.duration("freeze", MINUTE..=DAY, DAY),
            contacts: ContactRules::read(section.section("contacts")),
            lives: Lives::read(section.section("lives")),
            paces: Paces::read(section.section("paces")),
            password,
            profiles,
        };
        section.finish();
        rules
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

impl SharedNetwork {
    fn read(section: Section<'_>) -> Self {
        let remedy = "Write a network such as \"192.0.2.0/24\" or \"2001:db8::/32\".";
        let network = |text: &str| text.parse::<IpNet>().map_err(|_| "it is no network".to_owned());
        let read = Self {
            name: section.required("name", "Name the place.").unwrap_or_default(),
            networks: section.list("networks", remedy, network).unwrap_or_default(),
            source: quota(&section, "source", Quota { count: 600, per: 10 * MINUTE }),
        };
        section.finish();
        read
    }
}

impl ContactRules {
    fn read(section: Section<'_>) -> Self {
        let domain = |text: &str| {
            crate::domain::EmailAddress::parse(&format!("x@{text}"))
                .map(|address| address.ascii_domain().to_owned())
                .map_err(|_| "it is no domain".to_owned())
        };
        let rules = Self {
            require_proof: section.flag("require_proof", false),
            refuse_shared: section.flag("refuse_shared", false),
            denied_domains: section
                .list("denied_domains", "Write a domain such as \"example.org\".", domain)
                .unwrap_or_default(),
            generic_names: section.texts("generic_names").unwrap_or_default(),
        };
        section.finish();
        rules
    }
}

impl Lives {
    fn read(section: Section<'_>) -> Self {
        let lives = Self {
            reset: section.duration("reset", 5 * MINUTE..=DAY, 30 * MINUTE),
            activation: section.duration("activation", HOUR..=30 * DAY, 7 * DAY),
            not_me: section.duration("not_me", HOUR..=30 * DAY, 7 * DAY),
            request: section.duration("request", MINUTE..=7 * DAY, DAY),
            merge: section.duration("merge", Duration::from_secs(1)..=30 * MINUTE, 5 * MINUTE),
            retry: section.duration("retry", Duration::from_secs(1)..=10 * MINUTE, MINUTE),
        };
        section.finish();
        lives
    }
}

impl Paces {
    fn read(section: Section<'_>) -> Self {
        let quota = |key, count, per| quota(&section, key, Quota { count, per });
        let paces = Self {
            source: quota("source", 20, 10 * MINUTE),
            network: quota("network", 160, 10 * MINUTE),
            account: quota("account", 3, HOUR),
            account_day: quota("account_day", 6, DAY),
            contact_day: quota("contact_day", 12, DAY),
            account_spent: quota("account_spent", 1, HOUR),
            resend: quota("resend", 1, MINUTE),
            sign_in: quota("sign_in", 600, 10 * MINUTE),
            client: quota("client", 60_000, 10 * MINUTE),
        };
        section.finish();
        paces
    }
}

/// Reads a quota such as `"20 in 10m"`.
fn quota(section: &Section<'_>, key: &'static str, default: Quota) -> Quota {
    section
        .parsed(key, "Write a quota such as \"20 in 10m\"; limits can be wide, never off.", |text| {
            let (count, per) = text.split_once(" in ").ok_or("it is no quota")?;
            let count: u32 = count.trim().parse().map_err(|_| "its count is no whole number")?;
            let per = crate::settings::parse_duration(per.trim()).ok_or("its time is no length of time")?;
            if count == 0 || per.is_zero() || per > 7 * DAY {
                return Err("it is out of range".into());
            }
            Ok(Quota { count, per })
        })
        .unwrap_or(default)
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
        let document = crate::settings::Document::parse("privileged_groups = []");
        Self::read(document.root())
    }
}
