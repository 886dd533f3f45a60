//! What one server is: its product, which attributes it knows, whether it keeps password policies, whose account ours is,
//! and how far a write can carry a condition. Learnt from the server itself and, where one is configured, from the canary:
//! an entry of rekeyd's own whose password it may read.

mod active_directory;
mod ds389;
mod freeipa;
mod openldap;
pub(super) mod proof;
mod root;
mod schema;

use rekeyd_core::domain::{Dn, EntryName};
use rekeyd_core::flavour::active_directory::sight::Sight;
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::groups::LOGIN_IN_ANY_CASE;
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
    /// The attributes that are asked for of people in a search.
    pub(super) attributes: Vec<String>,
    /// Those that are asked for of one entry alone, where a search does not show them all, and what is asked for with
    /// them.
    pub(super) alone: Option<Alone>,
    /// Whether it takes notice of the most entries that a search asks for.
    pub(super) limits: bool,
    /// Whether it keeps password policies, and the state of accounts by them.
    pub(super) has_policies: bool,
    /// The policy of accounts that name none: its entry, that there is none, or why that is not known.
    pub(super) default_policy: Result<Option<EntryName>, String>,
    /// Whether what an account names as its own policy counts.
    pub(super) has_own_policies: bool,
    /// What we may see of an entry, where its own access list says so and filters prove nothing.
    pub(super) sight: Option<Sight>,
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

/// What one entry is asked for alone.
pub(super) struct Alone {
    /// The attributes.
    pub(super) attributes: Vec<String>,
    /// The control without which the server does not show them all.
    pub(super) control: (&'static str, &'static [u8]),
}

/// What is known of any server before its product says more.
struct Ground<'w> {
    wanted: &'w Wanted,
    root: Root,
    schema: Schema,
    mapping: Mapping,
    people: Filter,
    own: Option<Dn>,
}

/// What each product's own file learns.
struct Learnt {
    flavour: Flavour,
    has_policies: bool,
    default_policy: Result<Option<EntryName>, String>,
    has_own_policies: bool,
    sight: Option<Sight>,
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
        let flavour = Flavour::before_all(product);
        let mut matters = flavour.attributes(&mapping);
        matters.extend(MEMBERSHIP.iter().chain(flavour.policy_attributes()).map(|name| (*name).to_owned()));
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
        let ground = Ground { wanted, root, schema, mapping, people, own };
        let learnt = match product {
            Product::ActiveDirectory => active_directory::learn(link, &ground, proof).await?,
            Product::Ds389 => ds389::learn(link, &ground, proof).await?,
            Product::FreeIpa => freeipa::learn(link, &ground, proof).await?,
            Product::OpenLdap => openldap::learn(link, &ground, proof).await?,
        };
        let Ground { root, schema, mapping, people, own, .. } = ground;
        let flavour = learnt.flavour;
        let mut attributes = flavour.attributes(&mapping);
        let alone = flavour.alone().map(|shown| {
            let all = attributes.clone();
            attributes.retain(|name| !shown.attributes.contains(&name.as_str()));
            Alone { attributes: all, control: shown.control }
        });
        Ok(Self {
            attributes,
            alone,
            flavour,
            mapping,
            people,
            limits: product != Product::ActiveDirectory,
            has_policies: learnt.has_policies,
            default_policy: learnt.default_policy,
            has_own_policies: learnt.has_own_policies,
            sight: learnt.sight,
            own,
            groups_in_doubt: learnt.groups_in_doubt,
            blind: learnt.blind,
            root,
            proof: learnt.proof,
            schema,
        })
    }

    /// Asks for one entry with everything that a verdict on it needs.
    pub(super) fn whole<'q>(&'q self, name: &'q str) -> Query<'q> {
        match &self.alone {
            Some(alone) => Query { control: Some(alone.control), ..entry_query(name, &alone.attributes) },
            None => entry_query(name, &self.attributes),
        }
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
    let filter = Filter::present("objectClass");
    Query { base: name, scope: Scope::Base, filter, attributes, limit: 1, control: None }
}

/// Whether the groups that verdicts rest on are there and show their members.
async fn watched_groups(link: &mut Link, wanted: &Wanted, schema: &Schema) -> Result<Option<String>, Failure> {
    let members: Vec<&str> = MEMBERSHIP.into_iter().filter(|name| schema.defines(name)).collect();
    let mut all: Vec<Filter> = members.iter().map(|name| Filter::readable(name)).collect();
    if schema.defines("memberUid") {
        // A server without this rule would miss members whose login stands there in another case.
        let folded = || Filter::Extensible(LOGIN_IN_ANY_CASE.to_owned(), b"x".to_vec());
        all.push(Filter::Or(vec![folded(), folded().negated()]));
    }
    let searchable = Filter::And(all);
    for group in &wanted.watched {
        let name = group.as_str();
        let query = |filter| Query { base: name, scope: Scope::Base, filter, attributes: &[], limit: 1, control: None };
        if link.search(&query(searchable.clone())).await?.entries.is_empty() {
            let there = !link.search(&query(Filter::present("objectClass"))).await?.entries.is_empty();
            let what = if there { "rekeyd's account may not see its members" } else { "it is not there" };
            return Ok(Some(format!("verdicts rest on the group {name}, and {what}")));
        }
    }
    Ok(None)
}
