//! What one server is: its product, which attributes it knows, whether it keeps password policies, whose account ours is,
//! and how far a write can carry a condition. Learnt from the server itself and, where one is configured, from the canary:
//! an entry of rekeyd's own whose password it may read.

mod openldap;
mod proof;
mod root;
mod schema;

use rekeyd_core::domain::{Dn, EntryName};
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::mapping::{self, Configured};
use rekeyd_core::flavour::product::Product;
use rekeyd_core::flavour::{Flavour, Mapping};

pub(super) use self::proof::Proof;
pub(super) use self::root::Root;
use self::schema::Schema;
use super::request::{Query, Scope};
use super::wire::{Failure, Link};
use crate::directory::config::{Identity, LdapConfig, Search};

/// The attributes by which groups name their members.
pub(super) const MEMBERSHIP: [&str; 4] = ["member", "uniqueMember", "memberUid", "gidNumber"];

/// What is to be learnt, and where.
pub(super) struct Wanted {
    pub(super) mapping: Configured,
    pub(super) search: Search,
    pub(super) watched: Vec<Dn>,
    pub(super) ldap: LdapConfig,
}

/// What one server is.
pub(super) struct Nature {
    /// How to speak of its entries.
    pub(super) flavour: Flavour,
    /// Which of their attributes mean what.
    pub(super) mapping: Mapping,
    /// What makes an entry a person's.
    pub(super) people: Filter,
    /// The attributes that are asked for of a person.
    pub(super) attributes: Vec<String>,
    /// Whether it keeps password policies, and the state of accounts by them.
    pub(super) has_policies: bool,
    /// The policy of accounts that name none: its entry, that there is none, or why that is not known.
    pub(super) default_policy: Result<Option<EntryName>, String>,
    /// Our own entry.
    pub(super) own: Option<Dn>,
    /// Why the groups of nobody are known.
    pub(super) groups_in_doubt: Option<String>,
    /// Attributes that nobody's entry shows us, as the canary proves.
    pub(super) blind: Vec<String>,
    /// What its root entry says that it can do.
    pub(super) root: Root,
    /// What the canary has shown.
    pub(super) proof: Proof,
    schema: Schema,
}

/// What is known of any server before its product says more.
struct Ground<'w> {
    wanted: &'w Wanted,
    root: Root,
    schema: Schema,
    mapping: Mapping,
    people: Filter,
}

/// What each product's own file learns.
struct Learnt {
    flavour: Flavour,
    has_policies: bool,
    default_policy: Result<Option<EntryName>, String>,
    groups_in_doubt: Option<String>,
    blind: Vec<String>,
    proof: Proof,
}

impl Nature {
    /// Learns what a server is. The canary is written only where `proof` is still empty.
    pub(super) async fn learn(link: &mut Link, wanted: &Wanted, proof: &mut Option<Proof>) -> Result<Self, Failure> {
        let root = Root::read(link).await?;
        let product = match wanted.ldap.product {
            Some(product) => product,
            None => root.detected.clone().map_err(|unknown| Failure::Refused(unknown.to_string()))?,
        };
        let mapping = wanted.mapping.on(product);
        let people = wanted.search.filter.clone().unwrap_or_else(|| mapping::people(product));
        let mut matters = Flavour::before_all(product).attributes(&mapping);
        matters.extend(MEMBERSHIP.into_iter().chain(Flavour::policy_attributes(product)).map(str::to_owned));
        let mut asked = Vec::new();
        people.attributes(&mut asked);
        matters.extend(asked.into_iter().map(str::to_owned));
        let schema = Schema::read(link, &root, &matters).await?;
        let own = match &wanted.ldap.identity {
            Identity::Simple { dn, .. } => Dn::parse(&dn.0).ok(),
            Identity::External => {
                link.who_am_i().await?.and_then(|name| name.strip_prefix("dn:").and_then(|dn| Dn::parse(dn).ok()))
            }
        };
        let ground = Ground { wanted, root, schema, mapping, people };
        let learnt = match product {
            Product::OpenLdap => openldap::learn(link, &ground, proof).await?,
            other => return Err(Failure::Refused(format!("{other} is not spoken here yet"))),
        };
        let Ground { root, schema, mapping, people, .. } = ground;
        let Learnt { flavour, has_policies, default_policy, groups_in_doubt, blind, proof } = learnt;
        Ok(Self {
            attributes: flavour.attributes(&mapping),
            flavour,
            mapping,
            people,
            has_policies,
            default_policy,
            own,
            groups_in_doubt,
            blind,
            root,
            proof,
            schema,
        })
    }

    /// The name under which the server shows an attribute, where that is another one than this.
    pub(super) fn shown_as(&self, attribute: &str) -> Option<&str> {
        self.schema.shown_as(attribute)
    }

    /// Whether the server's schema knows an attribute.
    pub(super) fn defines(&self, attribute: &str) -> bool {
        self.schema.defines(attribute)
    }
}

/// Reads one entry by its name; `None` where there is none, or none that we may see.
pub(super) async fn entry(link: &mut Link, name: &str, attributes: &[String]) -> Result<Option<Entry>, Failure> {
    let found = link.search(&entry_query(name, attributes)).await?;
    Ok(found.entries.into_iter().next())
}

/// Asks for one entry by its name.
pub(super) fn entry_query<'q>(name: &'q str, attributes: &'q [String]) -> Query<'q> {
    Query { base: name, scope: Scope::Base, filter: Filter::present("objectClass"), attributes, limit: 1 }
}

/// Whether the groups that verdicts rest on are there and show their members.
async fn watched_groups(link: &mut Link, wanted: &Wanted, schema: &Schema) -> Result<Option<String>, Failure> {
    let members: Vec<&str> = MEMBERSHIP.into_iter().filter(|name| schema.defines(name)).collect();
    let searchable = Filter::And(members.iter().map(|name| Filter::readable(name)).collect());
    for group in &wanted.watched {
        let name = group.as_str();
        let query = |filter| Query { base: name, scope: Scope::Base, filter, attributes: &[], limit: 1 };
        if link.search(&query(searchable.clone())).await?.entries.is_empty() {
            let there = !link.search(&query(Filter::present("objectClass"))).await?.entries.is_empty();
            let what = if there { "rekeyd's account may not see its members" } else { "it is not there" };
            return Ok(Some(format!("verdicts rest on the group {name}, and {what}")));
        }
    }
    Ok(None)
}
