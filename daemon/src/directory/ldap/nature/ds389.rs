//! What one 389 Directory Server is: the policy on passwords in its configuration, whether subtrees and accounts have policies
//! of their own, and what ends accounts that nobody uses. An account that is no administrator sees nothing of the
//! configuration by default; what it may not see makes the state of accounts unknown.

use rekeyd_core::domain::{Dn, EntryName};
use rekeyd_core::flavour::Flavour;
use rekeyd_core::flavour::ds389::{Ds389, Idleness, idle, policy};
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;

use super::proof::{self, Proof};
use super::{Ground, Learnt, entry, watched_groups};
use crate::directory::config::DefaultPolicy;
use crate::directory::ldap::request::{Query, Scope};
use crate::directory::ldap::wire::{Failure, Link};

/// What the policies that can apply say of a write.
struct Policies {
    /// See [`Ds389::must_change`].
    must_change: Option<bool>,
    /// See [`Ds389::tracked`].
    tracked: bool,
    /// Whether subtrees and accounts may have their own.
    own: bool,
    /// Whom they name as administrators of passwords, or why that is not known.
    administrators: Result<Vec<Dn>, String>,
}

/// Learns it. The canary is written only where `proof` is still empty.
pub(super) async fn learn(link: &mut Link, ground: &Ground<'_>, proof: &mut Option<Proof>) -> Result<Learnt, Failure> {
    let policies = policies(link, ground).await?;
    let administrators = match policies.administrators {
        Ok(named) => with_members(link, named, ground.own.as_ref()).await?,
        Err(why) => Err(why),
    };
    let (administrators, in_doubt) = match administrators {
        Ok(all) => (all, None),
        Err(why) => (Vec::new(), Some(format!("verdicts rest on the administrators of passwords, and {why}"))),
    };
    let flavour = Flavour::Ds389(Ds389 {
        defined: ground.schema.defined.clone(),
        idleness: idleness(link, ground).await?,
        must_change: policies.must_change,
        tracked: policies.tracked,
        administrators,
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
        groups_in_doubt: watched_groups(link, ground.wanted, &ground.schema).await?.or(in_doubt),
        blind: Vec::new(),
    })
}

/// What can be said of all policies at once. Where the configuration can't be read, nothing.
async fn policies(link: &mut Link, ground: &Ground<'_>) -> Result<Policies, Failure> {
    let names: Vec<String> = policy::ATTRIBUTES.into_iter().chain([policy::LOCAL]).map(str::to_owned).collect();
    let nothing = Policies { must_change: None, tracked: false, own: true, administrators: Ok(Vec::new()) };
    let Some(global) = entry(link, policy::GLOBAL, &names).await? else { return Ok(nothing) };
    let (Ok(common), Ok(own)) = (policy::read(&global), policy::has_local(&global)) else { return Ok(nothing) };
    let mut all = Policies {
        must_change: Some(common.must_change),
        tracked: policy::tracks(&global).unwrap_or(false),
        own,
        administrators: administrators(&global).map(|named| named.into_iter().collect()),
    };
    if own {
        let Some(locals) = below(link, ground, "passwordPolicy", &names).await? else { return Ok(nothing) };
        for local in locals {
            let must_change = policy::read(&local).ok().map(|read| read.must_change);
            all.must_change = all.must_change.filter(|so_far| must_change == Some(*so_far));
            all.tracked &= policy::tracks(&local).unwrap_or(false);
            match (&mut all.administrators, administrators(&local)) {
                (Ok(so_far), Ok(named)) => so_far.extend(named),
                (so_far, Err(why)) => *so_far = Err(why),
                (Err(_), Ok(_)) => {}
            }
        }
    }
    Ok(all)
}

/// Whom one policy names.
fn administrators(policy: &Entry) -> Result<Option<Dn>, String> {
    let named = policy::administrators(policy);
    named.map_err(|bad| format!("{} of {}: {}", bad.attribute, policy.name().0, bad.why))
}

/// Administrators of passwords with the members of those that are groups: direct ones, as the server reckons. The second
/// error is why they may not be all.
async fn with_members(link: &mut Link, named: Vec<Dn>, own: Option<&Dn>) -> Result<Result<Vec<Dn>, String>, Failure> {
    let attributes = ["objectClass", "member", "uniqueMember"].map(str::to_owned);
    let shown = Filter::And(vec![Filter::readable("member"), Filter::readable("uniqueMember")]);
    let mut all = named.clone();
    // rekeyd's own account may be named there, which `doctor` tells; it is apart from people anyway.
    for name in named.iter().filter(|name| Some(*name) != own) {
        let base = name.as_str();
        let Some(found) = entry(link, base, &attributes).await? else {
            return Ok(Err(format!("{base} is not there, or rekeyd's account may not see it")));
        };
        // An account has no members that could be hidden.
        let is_group = found.texts("objectClass").any(|class| {
            let class = class.to_ascii_lowercase();
            class.contains("group") || class == "extensibleobject"
        });
        let query = Query { base, scope: Scope::Base, filter: shown.clone(), attributes: &[], limit: 1, control: None };
        if is_group && link.search(&query).await?.entries.is_empty() {
            return Ok(Err(format!("rekeyd's account may not see the members of {base}")));
        }
        let members = found.texts("member").chain(found.texts("uniqueMember"));
        all.extend(members.filter_map(|member| Dn::parse(member).ok()));
    }
    Ok(Ok(all))
}

/// What ends accounts that nobody uses.
pub(super) async fn idleness(link: &mut Link, ground: &Ground<'_>) -> Result<Idleness, Failure> {
    let names = idle::ATTRIBUTES.map(str::to_owned);
    let plugin = entry(link, idle::PLUGIN, &names).await?;
    let settings = entry(link, idle::SETTINGS, &names).await?;
    let everything = ["*".to_owned()];
    let Some(policies) = below(link, ground, "accountPolicy", &everything).await? else {
        return Ok(Idleness::Unreadable("there are more account policies than one answer holds".into()));
    };
    Ok(Idleness::read(plugin.as_ref(), settings.as_ref(), &policies))
}

/// All entries of a class in the naming context; `None` where there are more than can be told. Policies are often
/// subentries, which the server leaves out of every answer to a filter that doesn't name their class.
async fn below(
    link: &mut Link,
    ground: &Ground<'_>,
    class: &str,
    attributes: &[String],
) -> Result<Option<Vec<Entry>>, Failure> {
    let base = ground.wanted.search.base.0.as_str();
    let base = ground.root.context_of(base).unwrap_or(base);
    let any = Filter::Or(vec![Filter::equal("objectClass", "ldapsubentry"), Filter::present("objectClass")]);
    let filter = Filter::And(vec![any, Filter::equal("objectClass", class)]);
    let found = link.search(&Query::below(base, filter, attributes)).await?;
    Ok((found.reply.code == 0).then_some(found.entries))
}
