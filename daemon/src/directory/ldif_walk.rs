//! A walk over the people of a file, some at a time, so that nobody else waits long for the file; and the way from one of them
//! to a group.

use std::sync::Arc;

use rekeyd_core::domain::{Account, Dn, EntryName, Timestamp};
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::signs;

use super::Error;
use super::ldif::{Inner, Ldif};
use super::walk::{Survey, Walked};

/// How many people are looked at in one go.
const PAGE: usize = 100;

/// A walk under way.
pub struct LdifWalk<'d> {
    ldif: &'d Ldif,
    others: Arc<Vec<Inner>>,
    signs: bool,
    now: Timestamp,
    /// Who is still to come, the next one last.
    left: Vec<EntryName>,
}

impl Ldif {
    /// Begins a walk.
    pub(super) async fn survey(&self, survey: Survey<'_>) -> Result<LdifWalk<'_>, Error> {
        let others: Vec<Inner> = survey.others.iter().map(|other| self.inner().beside(other)).collect();
        let others = Arc::new(others);
        let (eyes, filter) = (Arc::clone(&others), survey.filter.unwrap_or(Filter::And(Vec::new())));
        let ids = survey.ids.map(<[_]>::to_vec);
        let left = self
            .on_file(move |inner, snapshot| {
                let people = snapshot.entries().filter(|entry| {
                    let is_person = inner.is_person(entry) || eyes.iter().any(|other| other.is_person(entry));
                    let is_wanted = ids.as_ref().is_none_or(|ids| inner.id(entry).is_some_and(|id| ids.contains(&id)));
                    is_person && is_wanted && filter.matches(entry)
                });
                let mut names: Vec<EntryName> = people.map(|entry| entry.name().clone()).collect();
                names.reverse();
                Ok(names)
            })
            .await?;
        Ok(LdifWalk { ldif: self, others, signs: survey.signs, now: survey.now, left })
    }
}

impl Ldif {
    /// See [`crate::directory::Directory::path`].
    pub(super) async fn path(&self, account: &Account, group: &Dn) -> Result<Vec<String>, Error> {
        let (name, group) = (account.name.clone(), group.clone());
        self.on_file(move |_, snapshot| {
            let mut waiting: Vec<(Vec<String>, Dn)> =
                Dn::parse(&name.0).ok().map(|name| (Vec::new(), name)).into_iter().collect();
            let mut known = Vec::new();
            while let Some((way, below)) = waiting.pop() {
                if below == group && !way.is_empty() {
                    return Ok(way);
                }
                for entry in snapshot.entries() {
                    let mut members = entry.texts("member").chain(entry.texts("uniqueMember"));
                    let Ok(own) = Dn::parse(&entry.name().0) else { continue };
                    if !known.contains(&own) && members.any(|member| Dn::parse(member).is_ok_and(|one| one == below)) {
                        known.push(own.clone());
                        // The next level comes after all of this one.
                        waiting.insert(0, ([way.clone(), vec![entry.name().0.clone()]].concat(), own));
                    }
                }
            }
            Ok(Vec::new())
        })
        .await
    }
}

impl LdifWalk<'_> {
    /// See [`crate::directory::Walk::page`].
    pub(super) async fn page(&mut self) -> Result<Option<Vec<Walked>>, Error> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let names = self.left.split_off(self.left.len().saturating_sub(PAGE));
        let (others, with_signs, now) = (Arc::clone(&self.others), self.signs, self.now);
        let page = self.ldif.on_file(move |inner, snapshot| {
            let entries = names.iter().rev().filter_map(|name| snapshot.entries().find(|entry| entry.name() == name));
            let walked = entries.map(|entry| {
                let see = |eyes: &Inner| eyes.is_person(entry).then(|| eyes.account(snapshot, entry, now));
                let seen: Vec<_> = std::iter::once(inner).chain(others.iter()).map(see).collect();
                let account = seen.first().and_then(Option::as_ref).filter(|_| with_signs);
                let sign = account.map(|account| inner.sign(entry, &account.standing, !entry.has(signs::PASSWORD)));
                Walked { seen, sign }
            });
            Ok(walked.collect())
        });
        page.await.map(Some)
    }
}
