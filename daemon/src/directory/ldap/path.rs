//! By which groups an account belongs to another: the way upwards, for `explain`. A verdict knows only that there is one.

use std::collections::BTreeMap;
use std::sync::Arc;

use rekeyd_core::domain::{Account, Dn};
use rekeyd_core::flavour::Flavour;
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::product::Product;

use super::nature::{self, Nature};
use super::request::Query;
use super::upstream::Upstream;
use super::wire::Failure;
use super::{Ldap, failed};
use crate::directory::Error;

/// How many groups are gone through.
const MOST: usize = 1000;
/// How many questions are under way at once.
const AT_ONCE: usize = 64;

impl Ldap {
    /// The groups from the one that names the account to `group`; empty where no way was found.
    pub(in crate::directory) async fn path(&self, account: &Account, group: &Dn) -> Result<Vec<String>, Error> {
        let Some(upstream) = self.named(&account.server.name) else { return Ok(Vec::new()) };
        match self.path_on(upstream, account, group).await {
            Ok(path) => Ok(path),
            Err(failure) => Err(self.no_answer(Some(failed(upstream, failure)))),
        }
    }

    async fn path_on(&self, upstream: &Upstream, account: &Account, group: &Dn) -> Result<Vec<String>, Failure> {
        let mut session = upstream.session(&self.wanted).await?;
        let nature = Arc::clone(&session.nature);
        let attributes = ["memberOf", "uid", "gidNumber"].map(str::to_owned);
        let Some(entry) = nature::entry(&mut session.link, &account.name.0, &attributes).await? else {
            return Ok(Vec::new());
        };
        // From each group to the name below it; the first step has none.
        let seeds = entry.texts("memberOf").filter_map(|name| Some((Dn::parse(name).ok()?, name.to_owned())));
        let mut level: Vec<(Dn, String)> = seeds.collect();
        let mut below: BTreeMap<Dn, Option<(Dn, String)>> =
            level.iter().map(|(name, _)| (name.clone(), None)).collect();
        let first = [(None, account.name.0.clone())];
        let mut asking: Vec<(Option<(Dn, String)>, String)> = first.to_vec();
        loop {
            if let Some((name, text)) = level.iter().find(|(name, _)| name == group) {
                return Ok(way(&below, name.clone(), text.clone()));
            }
            asking.extend(level.drain(..).map(|(name, text)| (Some((name, text.clone())), text)));
            if asking.is_empty() || below.len() > MOST {
                return Ok(Vec::new());
            }
            for some in asking.chunks(AT_ONCE) {
                let questions: Vec<Query<'_>> = some
                    .iter()
                    .map(|(from, name)| self.parents(&nature, name, from.is_none().then_some(&entry)))
                    .collect();
                let answers = session.link.searches(&questions).await?;
                for ((from, _), answer) in some.iter().zip(answers) {
                    for found in answer.entries {
                        let text = found.name().0.clone();
                        let Ok(name) = Dn::parse(&text) else { continue };
                        if !below.contains_key(&name) {
                            below.insert(name.clone(), from.clone());
                            level.push((name, text));
                        }
                    }
                }
            }
            asking.clear();
            if level.is_empty() {
                return Ok(Vec::new());
            }
        }
    }

    /// Asks for the groups that name an entry; for the account itself also by its login and number.
    fn parents<'q>(&'q self, nature: &'q Nature, name: &str, account: Option<&Entry>) -> Query<'q> {
        let mut any: Vec<Filter> = ["member", "uniqueMember"]
            .into_iter()
            .filter(|attribute| nature.defines(attribute))
            .map(|attribute| nature.flavour.groups_with(attribute, name))
            .collect();
        if let Some(account) = account {
            let logins = account.texts("uid").filter(|_| nature.defines("memberUid"));
            any.extend(logins.map(Flavour::groups_with_login));
            let class = Filter::equal("objectClass", "posixGroup");
            let number = account.texts("gidNumber").next();
            any.extend(number.map(|number| Filter::And(vec![class, Filter::equal("gidNumber", number)])));
        }
        let base = self.wanted.search.group_base.0.as_str();
        // Groups that every domain has lie elsewhere, and count wherever they lie.
        let wide = nature.flavour.product() == Product::ActiveDirectory;
        let base = nature.root.context_of(base).filter(|_| wide).unwrap_or(base);
        Query::below(base, Filter::Or(any), &[])
    }
}

/// The way down from a group, turned round.
fn way(below: &BTreeMap<Dn, Option<(Dn, String)>>, from: Dn, text: String) -> Vec<String> {
    let mut way = vec![text];
    let mut at = from;
    while let Some(Some((name, text))) = below.get(&at) {
        // Nobody stands below themselves: each was noted once, from an earlier level.
        way.push(text.clone());
        at = name.clone();
    }
    way.reverse();
    way
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_way_begins_at_the_account() {
        let dn = |text: &str| Dn::parse(text).unwrap();
        let below = BTreeMap::from([
            (dn("cn=a"), None),
            (dn("cn=b"), Some((dn("cn=a"), "cn=A".to_owned()))),
            (dn("cn=c"), Some((dn("cn=b"), "cn=B".to_owned()))),
        ]);
        assert_eq!(way(&below, dn("cn=c"), "cn=C".into()), ["cn=A", "cn=B", "cn=C"]);
        assert_eq!(way(&below, dn("cn=a"), "cn=A".into()), ["cn=A"]);
    }
}
