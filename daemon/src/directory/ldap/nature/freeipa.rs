//! What one FreeIPA server is: what its password plugin takes our accounts for, which stands in each server's own
//! configuration, and where the policy of accounts is that name none.

use rekeyd_core::domain::{Dn, EntryName};
use rekeyd_core::flavour::Flavour;
use rekeyd_core::flavour::ds389::Ds389;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::freeipa::{FreeIpa, LISTS, PLUGIN, Writer, policy};

use super::proof::{self, Proof};
use super::{Ground, Learnt, ds389, entry, watched_groups};
use crate::directory::config::{DefaultPolicy, Identity};
use crate::directory::ldap::request::{Query, Scope};
use crate::directory::ldap::wire::{Failure, Link};

/// Learns it. The canary is written only where `proof` is still empty.
pub(super) async fn learn(link: &mut Link, ground: &Ground<'_>, proof: &mut Option<Proof>) -> Result<Learnt, Failure> {
    let base = ground.wanted.search.base.0.as_str();
    let suffix = ground.root.context_of(base).unwrap_or(base).to_owned();
    let operators = match &ground.wanted.ldap.operator {
        Some(Identity::Simple { dn, .. }) => Dn::parse(&dn.0).ok(),
        Some(Identity::External) | None => None,
    };
    let ds = Ds389 {
        defined: ground.schema.defined.clone(),
        idleness: ds389::idleness(link, ground).await?,
        ..Ds389::default()
    };
    let flavour = Flavour::FreeIpa(FreeIpa {
        ds,
        suffix: Dn::parse(&suffix).map_err(|bad| Failure::Refused(format!("{suffix}: {bad}")))?,
        writer: writer(link, ground.own.as_ref()).await?,
        operators: match &operators {
            Some(operators) => Some(writer(link, Some(operators)).await?),
            None => None,
        },
    });
    Ok(Learnt {
        proof: match proof {
            Some(proof) => proof.clone(),
            None => proof.insert(proof::plain(link, ground, &flavour).await?).clone(),
        },
        flavour,
        has_policies: true,
        default_policy: match &ground.wanted.ldap.default_policy {
            DefaultPolicy::Discovered => global(link, &suffix).await?,
            DefaultPolicy::Named(name) => Ok(Some(name.clone())),
            DefaultPolicy::None => Ok(None),
        },
        has_own_policies: true,
        sight: None,
        groups_in_doubt: watched_groups(link, ground.wanted, &ground.schema).await?,
        blind: Vec::new(),
    })
}

/// What the plugin takes an account for.
async fn writer(link: &mut Link, account: Option<&Dn>) -> Result<Writer, Failure> {
    let Some(account) = account else { return Ok(Writer::Unknown("nobody knows who we are there".into())) };
    let lists = LISTS.map(str::to_owned);
    let settings = entry(link, PLUGIN, &lists).await?;
    let filter = Filter::And(LISTS.iter().map(|list| Filter::readable(list)).collect());
    let query = Query { base: PLUGIN, scope: Scope::Base, filter, attributes: &[], limit: 1, control: None };
    let searchable = !link.search(&query).await?.entries.is_empty();
    Ok(Writer::of(account, settings.as_ref(), searchable))
}

/// The policy of the realm, which is named after it.
async fn global(link: &mut Link, suffix: &str) -> Result<Result<Option<EntryName>, String>, Failure> {
    let base = format!("cn=kerberos,{suffix}");
    let filter = Filter::equal("objectClass", "krbRealmContainer");
    let attributes = ["cn".to_owned()];
    let query = Query { base: &base, scope: Scope::Subtree, filter, attributes: &attributes, limit: 2, control: None };
    let found = link.search(&query).await?.entries;
    let realm = match found.as_slice() {
        [only] => only.texts("cn").next(),
        _ => None,
    };
    let suffix = Dn::parse(suffix).ok();
    Ok(match realm.zip(suffix) {
        Some((realm, suffix)) => Ok(Some(EntryName(policy::global(&suffix, realm)))),
        None => Err(format!("the realm below {base} can't be read; set default_policy to its global policy")),
    })
}
