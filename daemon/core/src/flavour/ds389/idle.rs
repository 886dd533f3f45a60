//! Accounts that nobody has used for too long, as the Account Policy plugin of 389 Directory Server ends them. The
//! plugin leaves no mark on an account: its rule is computed here as the server computes it at a bind.

use std::time::Duration;

use crate::domain::{Dn, Evidence, Finding, Standing};
use crate::flavour::Reading;
use crate::flavour::entry::Unreadable;

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
            policy: "acctPolicySubentry".into(),
            common: None,
            policies: Vec::new(),
        }
    }
}

impl Idleness {
    /// The attributes that decide.
    pub(super) fn attributes(&self) -> impl Iterator<Item = &str> {
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
    let mut decides = [Some(limits.used.as_str()), limits.otherwise.as_deref()].into_iter().flatten();
    let Some(attribute) = decides.find(|attribute| entry.has(attribute)) else {
        return Err(bad(&limits.used, "neither it nor what stands in for it is there"));
    };
    let used = entry.moment(attribute)?.ok_or_else(|| Unreadable::hidden(attribute))?;
    if used.plus(limit) < reading.now {
        let value = entry.texts(attribute).next().unwrap_or_default();
        let value = format!("{value}, and accounts end after {} s without use", limit.as_secs());
        standing.add(Evidence { until: None, ..reading.evidence(Finding::Expired, attribute, &value) });
    }
    Ok(())
}
