//! Accounts that nobody has used for too long, as the Account Policy plugin of 389 Directory Server ends them. The
//! plugin leaves no mark on an account: its rule is computed here as the server computes it at a bind.

use std::time::Duration;

use crate::domain::{Dn, Finding, Standing};
use crate::flavour::Reading;
use crate::flavour::entry::{Entry, Unreadable};

/// What ends accounts that nobody uses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Idleness {
    /// The plugin is on, with these settings.
    Limited(Limits),
    /// The plugin is off.
    Off,
    /// Its settings can't be read, for this reason.
    Unreadable(String),
}

/// The plugin's settings, from `cn=config,cn=Account Policy Plugin,cn=plugins,cn=config`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// `stateattrname`: when the account was last used. It decides where it is there.
    pub used: String,
    /// `altstateattrname`: what decides where that is not there; `None` for the value `1.1`, which switches this off.
    pub otherwise: Option<String>,
    /// `checkAllStateAttrs`: whether both must be young enough.
    pub both: bool,
    /// `specattrname`: the attribute of an account that names its policy; often given by a class of service.
    pub policy: String,
    /// The limit of accounts that name no policy (`accountInactivityLimit` in the plugin's settings), if they have one.
    pub common: Option<Duration>,
    /// The policies that accounts may name, with their limits; `None` for a policy without one.
    pub policies: Vec<(Dn, Option<Duration>)>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            used: "lastLoginTime".into(),
            otherwise: Some("createTimestamp".into()),
            both: false,
            policy: "acctPolicySubentry".into(),
            common: None,
            policies: Vec::new(),
        }
    }
}

/// The plugin's own entry, with its switch.
pub const PLUGIN: &str = "cn=Account Policy Plugin,cn=plugins,cn=config";
/// The entry with its settings.
pub const SETTINGS: &str = "cn=config,cn=Account Policy Plugin,cn=plugins,cn=config";
/// What to ask [`PLUGIN`] and [`SETTINGS`] for.
pub const ATTRIBUTES: [&str; 7] = [
    "accountInactivityLimit",
    "altstateattrname",
    "checkAllStateAttrs",
    "limitattrname",
    "nsslapd-pluginEnabled",
    "specattrname",
    "stateattrname",
];

impl Idleness {
    /// What the plugin's entries say, where they can be read. `policies` are the entries that accounts may name: those
    /// of class `accountPolicy`, with all their attributes.
    pub fn read(plugin: Option<&Entry>, settings: Option<&Entry>, policies: &[Entry]) -> Self {
        let read = || -> Result<Self, Unreadable> {
            let shown = |entry: Option<&Entry>, name: &str| -> Result<Option<String>, Unreadable> {
                let entry = entry.ok_or_else(|| Unreadable::hidden(name))?;
                Ok(entry.text(name)?.map(str::to_owned))
            };
            let enabled = shown(plugin, "nsslapd-pluginEnabled")?;
            let enabled = enabled.ok_or_else(|| Unreadable::hidden("nsslapd-pluginEnabled"))?;
            if !enabled.eq_ignore_ascii_case("on") {
                return Ok(Self::Off);
            }
            let plain = Limits::default();
            let limit = shown(settings, "limitattrname")?.unwrap_or_else(|| "accountInactivityLimit".into());
            let of = |entry: &Entry| -> Result<Option<Duration>, Unreadable> {
                let Some(seconds) = entry.number(&limit)? else { return Ok(None) };
                let bad = |_| Unreadable { attribute: limit.clone(), why: "it is negative".into() };
                u64::try_from(seconds).map(|seconds| Some(Duration::from_secs(seconds))).map_err(bad)
            };
            let mut named = Vec::new();
            for policy in policies {
                let name = Dn::parse(&policy.name().0);
                let name = name.map_err(|why| Unreadable { attribute: "entry".into(), why: why.to_string() })?;
                named.push((name, of(policy)?));
            }
            let otherwise = shown(settings, "altstateattrname")?;
            Ok(Self::Limited(Limits {
                used: shown(settings, "stateattrname")?.unwrap_or(plain.used),
                otherwise: otherwise.map_or(plain.otherwise, |name| (name != "1.1").then_some(name)),
                both: shown(settings, "checkAllStateAttrs")?.is_some_and(|text| !text.eq_ignore_ascii_case("no")),
                policy: shown(settings, "specattrname")?.unwrap_or(plain.policy),
                common: settings.map(of).transpose()?.flatten(),
                policies: named,
            }))
        };
        read().unwrap_or_else(|bad| {
            Self::Unreadable(format!("{} of the Account Policy plugin: {}", bad.attribute, bad.why))
        })
    }

    /// The attributes that decide.
    pub(in crate::flavour) fn attributes(&self) -> impl Iterator<Item = &str> {
        let limits = if let Self::Limited(limits) = self { Some(limits) } else { None };
        let decides = limits.map(|limits| [limits.used.as_str(), limits.policy.as_str()]).into_iter().flatten();
        decides.chain(limits.and_then(|limits| limits.otherwise.as_deref()))
    }
}

/// Adds that an account has come to its end by idleness. It counts as expired and not as disabled: nobody decided it, a
/// date has passed.
pub(in crate::flavour) fn read(
    idleness: &Idleness,
    reading: &Reading<'_>,
    standing: &mut Standing,
) -> Result<(), Unreadable> {
    let limits = match idleness {
        Idleness::Limited(limits) => limits,
        Idleness::Off => return Ok(()),
        Idleness::Unreadable(why) => {
            return Err(Unreadable { attribute: "acctPolicySubentry".into(), why: why.clone() });
        }
    };
    let bad = |attribute: &str, why: &str| Unreadable { attribute: attribute.to_owned(), why: why.to_owned() };
    let entry = reading.entry;
    let limit = match entry.text(&limits.policy)? {
        None => limits.common,
        Some(name) => {
            let name = Dn::parse(name).map_err(|why| bad(&limits.policy, &why.to_string()))?;
            let known = limits.policies.iter().find(|(policy, _)| *policy == name);
            known.ok_or_else(|| bad(&limits.policy, "the policy it names can't be read"))?.1
        }
    };
    let Some(limit) = limit else { return Ok(()) };
    let both = [Some(limits.used.as_str()), limits.otherwise.as_deref()].into_iter().flatten();
    let most = if limits.both { 2 } else { 1 };
    let decides: Vec<&str> = both.filter(|attribute| entry.has(attribute)).take(most).collect();
    if decides.is_empty() {
        return Err(bad(&limits.used, "neither it nor what stands in for it is there"));
    }
    for attribute in decides {
        let used = entry.moment(attribute)?.ok_or_else(|| Unreadable::hidden(attribute))?;
        if used.plus(limit) < reading.now {
            let value = entry.texts(attribute).next().unwrap_or_default();
            let value = format!("{value}, and accounts end after {} s without use", limit.as_secs());
            standing.add(reading.evidence(Finding::Expired, attribute, &value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::EntryName;

    fn entry(name: &str, lines: &str) -> Entry {
        let mut entry = Entry::new(EntryName(name.into()));
        for (name, value) in lines.lines().filter_map(|line| line.split_once(": ")) {
            entry.add(name, value);
        }
        entry
    }

    /// Recorded from 389-ds 2.3.1.
    #[test]
    fn s2_2_the_plugin_s_settings_are_read_as_it_reads_them() {
        let on = entry(PLUGIN, "nsslapd-pluginEnabled: on");
        let settings = "alwaysrecordlogin: yes\nstateattrname: lastLoginTime\naltstateattrname: createTimestamp\n\
                        specattrname: acctPolicySubentry\nlimitattrname: accountInactivityLimit\n\
                        accountInactivityLimit: 4";
        let idle = entry("cn=idle,dc=example,dc=org", "cn: idle\naccountInactivityLimit: 1000");
        let expected = Limits {
            common: Some(Duration::from_secs(4)),
            policies: Dn::parse("cn=idle,dc=example,dc=org")
                .map(|name| (name, Some(Duration::from_secs(1000))))
                .into_iter()
                .collect(),
            ..Limits::default()
        };
        let read =
            |settings: &str| Idleness::read(Some(&on), Some(&entry(SETTINGS, settings)), std::slice::from_ref(&idle));
        assert_eq!(read(settings), Idleness::Limited(expected));

        let other = "stateattrname: seen\naltstateattrname: 1.1\nlimitattrname: limit\ncheckAllStateAttrs: yes";
        let Idleness::Limited(other) = read(other) else { unreachable!() };
        assert_eq!((other.used.as_str(), other.otherwise, other.both, other.common), ("seen", None, true, None));
        assert!(other.policies.iter().all(|(_, limit)| limit.is_none()));

        assert_eq!(Idleness::read(Some(&entry(PLUGIN, "nsslapd-pluginEnabled: off")), None, &[]), Idleness::Off);
        for (plugin, settings) in [
            (None, Some("")),
            (Some(""), Some("")),
            (Some("nsslapd-pluginEnabled: on"), None),
            (Some("nsslapd-pluginEnabled: on"), Some("accountInactivityLimit: soon")),
            (Some("nsslapd-pluginEnabled: on"), Some("accountInactivityLimit: -1")),
        ] {
            let (plugin, settings) =
                (plugin.map(|lines| entry(PLUGIN, lines)), settings.map(|lines| entry(SETTINGS, lines)));
            let read = Idleness::read(plugin.as_ref(), settings.as_ref(), &[]);
            assert!(matches!(read, Idleness::Unreadable(_)), "{read:?}");
        }
    }
}
