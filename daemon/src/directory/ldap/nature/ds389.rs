//! What one 389 Directory Server is: the policy on passwords in its configuration, whether subtrees and accounts have policies
//! of their own, and what ends accounts that nobody uses. An account that is no administrator sees nothing of the
//! configuration by default; what it may not see makes the state of accounts unknown.

use std::time::Duration;

use rekeyd_core::domain::{Dn, EntryName};
use rekeyd_core::flavour::Flavour;
use rekeyd_core::flavour::ds389::{Ds389, Idleness, Limits, policy};
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;

use super::proof::{self, Proof};
use super::{Ground, Learnt, entry, watched_groups};
use crate::directory::config::DefaultPolicy;
use crate::directory::ldap::request::{Query, Scope};
use crate::directory::ldap::wire::{Failure, Link};

/// The Account Policy plugin, and its settings.
const IDLE: &str = "cn=Account Policy Plugin,cn=plugins,cn=config";
const IDLE_SETTINGS: &str = "cn=config,cn=Account Policy Plugin,cn=plugins,cn=config";
const LIMIT: &str = "accountInactivityLimit";

/// The most policies of one kind.
const MOST: u16 = 1000;

/// What the policies that can apply say of a write.
struct Policies {
    /// See [`Ds389::must_change`].
    must_change: Option<bool>,
    /// See [`Ds389::tracked`].
    tracked: bool,
    /// Whether subtrees and accounts may have their own.
    own: bool,
}

/// Learns it. The canary is written only where `proof` is still empty.
pub(super) async fn learn(link: &mut Link, ground: &Ground<'_>, proof: &mut Option<Proof>) -> Result<Learnt, Failure> {
    let policies = policies(link, ground).await?;
    let flavour = Flavour::Ds389(Ds389 {
        defined: ground.schema.defined.clone(),
        idleness: idleness(link, ground).await?,
        must_change: policies.must_change,
        tracked: policies.tracked,
    });
    Ok(Learnt {
        proof: match proof {
            Some(proof) => proof.clone(),
            None => proof.insert(proof::plain(link, ground, &flavour).await?).clone(),
        },
        flavour,
        has_policies: true,
        default_policy: Ok(match &ground.wanted.ldap.default_policy {
            DefaultPolicy::Discovered => Some(EntryName(policy::GLOBAL.to_owned())),
            DefaultPolicy::Named(name) => Some(name.clone()),
            DefaultPolicy::None => None,
        }),
        has_own_policies: policies.own,
        sight: None,
        groups_in_doubt: watched_groups(link, ground.wanted, &ground.schema).await?,
        blind: Vec::new(),
    })
}

/// What can be said of all policies at once. Where the configuration can't be read, nothing.
async fn policies(link: &mut Link, ground: &Ground<'_>) -> Result<Policies, Failure> {
    let names: Vec<String> = policy::ATTRIBUTES.into_iter().chain([policy::LOCAL]).map(str::to_owned).collect();
    let nothing = Policies { must_change: None, tracked: false, own: true };
    let Some(global) = entry(link, policy::GLOBAL, &names).await? else { return Ok(nothing) };
    let (Ok(common), Ok(own)) = (policy::read(&global), policy::has_local(&global)) else { return Ok(nothing) };
    let mut all =
        Policies { must_change: Some(common.must_change), tracked: policy::tracks(&global).unwrap_or(false), own };
    if own {
        let filter = Filter::equal("objectClass", "passwordPolicy");
        for local in below(link, ground, filter, &names).await? {
            let must_change = policy::read(&local).ok().map(|read| read.must_change);
            all.must_change = all.must_change.filter(|so_far| must_change == Some(*so_far));
            all.tracked &= policy::tracks(&local).unwrap_or(false);
        }
    }
    Ok(all)
}

/// What ends accounts that nobody uses.
pub(super) async fn idleness(link: &mut Link, ground: &Ground<'_>) -> Result<Idleness, Failure> {
    let unreadable = |what: &str| Idleness::Unreadable(format!("{what} can't be read"));
    let switch = "nsslapd-pluginEnabled";
    let Some(plugin) = entry(link, IDLE, &[switch.to_owned()]).await? else { return Ok(unreadable(IDLE)) };
    match plugin.texts(switch).next() {
        None => return Ok(unreadable(&format!("{switch} of {IDLE}"))),
        Some(state) if !state.eq_ignore_ascii_case("on") => return Ok(Idleness::Off),
        Some(_) => {}
    }
    let names = ["stateattrname", "altstateattrname", "specattrname", "limitattrname", LIMIT].map(str::to_owned);
    let Some(settings) = entry(link, IDLE_SETTINGS, &names).await? else { return Ok(unreadable(IDLE_SETTINGS)) };
    let said = |name: &str| settings.texts(name).next().map(str::to_owned);
    let limit = said("limitattrname").unwrap_or_else(|| LIMIT.to_owned());
    let seconds = |entry: &Entry| {
        let number = entry.number(&limit).ok().flatten().and_then(|number| u64::try_from(number).ok());
        number.filter(|number| *number > 0).map(Duration::from_secs)
    };
    let usual = Limits::default();
    let filter = Filter::Or(vec![Filter::equal("objectClass", "accountpolicy"), Filter::present(limit.as_str())]);
    let policies = below(link, ground, filter, std::slice::from_ref(&limit)).await?;
    Ok(Idleness::Limited(Limits {
        used: said("stateattrname").unwrap_or(usual.used),
        otherwise: said("altstateattrname").or(usual.otherwise).filter(|name| name != "1.1"),
        policy: said("specattrname").unwrap_or(usual.policy),
        common: seconds(&settings),
        policies: policies
            .iter()
            .filter_map(|policy| Some((Dn::parse(&policy.name().0).ok()?, seconds(policy))))
            .collect(),
    }))
}

/// All entries of the naming context that fit.
async fn below(
    link: &mut Link,
    ground: &Ground<'_>,
    filter: Filter,
    attributes: &[String],
) -> Result<Vec<Entry>, Failure> {
    let base = ground.wanted.search.base.0.as_str();
    let base = ground.root.context_of(base).unwrap_or(base);
    let query = Query { base, scope: Scope::Subtree, filter, attributes, limit: MOST, control: None };
    Ok(link.search(&query).await?.entries)
}
