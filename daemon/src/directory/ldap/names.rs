//! The names of all groups of an account, for `explain`, where its entry shows them by their identifiers alone, as Active
//! Directory does. Verdicts go by the identifiers, so that nobody else asks for this.

use std::collections::BTreeMap;
use std::sync::Arc;

use rekeyd_core::domain::Account;
use rekeyd_core::flavour::active_directory::NumberedGroup;
use rekeyd_core::flavour::active_directory::sid::Sid;
use rekeyd_core::flavour::filter::Filter;

use super::request::Query;
use super::upstream::Upstream;
use super::wire::Failure;
use super::{Ldap, failed};
use crate::directory::{Error, Membership};

/// The most groups that are asked about; a sign-in can carry no more either.
const MOST: usize = 1024;
/// How many are asked about in one question.
const AT_ONCE: usize = 64;

impl Ldap {
    /// All groups of an account; those whose names can't be had by their identifiers.
    pub(in crate::directory) async fn memberships(&self, account: &Account) -> Result<Vec<Membership>, Error> {
        let plain = || account.groups.iter().map(|group| Membership::plain(group.as_str())).collect();
        let Some(upstream) = self.named(&account.server.name) else { return Ok(plain()) };
        match self.memberships_on(upstream, account).await {
            Ok(found) => Ok(found.unwrap_or_else(plain)),
            Err(failure) => Err(self.no_answer(Some(failed(upstream, failure)))),
        }
    }

    async fn memberships_on(&self, upstream: &Upstream, account: &Account) -> Result<Option<Vec<Membership>>, Failure> {
        let mut session = upstream.session(&self.wanted).await?;
        let nature = Arc::clone(&session.nature);
        let found = session.link.search(&nature.whole(&account.name.0)).await?;
        let groups = found.entries.first().and_then(|entry| nature.flavour.numbered_groups(entry));
        // What can't be read is told as an unknown state.
        let Some(Ok(groups)) = groups else { return Ok(None) };
        let base = self.wanted.search.base.0.as_str();
        let domain = nature.root.context_of(base).unwrap_or(base);
        let attributes = ["objectSid".to_owned()];
        let asked: Vec<&Sid> = groups.iter().map(|group| &group.sid).take(MOST).collect();
        let questions: Vec<Query<'_>> = asked
            .chunks(AT_ONCE)
            .map(|some| some.iter().map(|sid| Filter::equal("objectSid", sid.bytes())).collect())
            .map(|any| Query::below(domain, Filter::Or(any), &attributes))
            .collect();
        let mut names: BTreeMap<Sid, String> = BTreeMap::new();
        for answer in session.link.searches(&questions).await? {
            for entry in answer.entries {
                if let Some(Ok(sid)) = entry.values("objectSid").first().map(|value| Sid::parse(value)) {
                    names.insert(sid, entry.name().0.clone());
                }
            }
        }
        let shown = groups.into_iter().map(|NumberedGroup { sid, power }| Membership {
            name: names.remove(&sid).unwrap_or_else(|| sid.to_string()),
            power: power.map(|power| format!("{power}, {sid}")),
        });
        // By number: those that every domain has come first, and of these the domain's before the controllers' own.
        Ok(Some(shown.collect()))
    }
}
