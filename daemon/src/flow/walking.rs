//! What the stories that look at everybody have in common: one at a time, page by page, each account with what rekeyd
//! remembers of it, and an end when nobody listens any more.

use std::sync::Arc;

use rekeyd_core::domain::{Account, DirectoryKey, Facts};
use tokio::sync::OwnedSemaphorePermit;

use super::rekeyd::Rekeyd;
use crate::directory::Walked;
use crate::store;

/// The right to walk. Dropping it lets the next one walk.
pub(super) struct Turn(#[expect(dead_code, reason = "it is held, not read")] OwnedSemaphorePermit);

impl Rekeyd {
    /// The directory of this name, or the only one.
    ///
    /// # Errors
    /// The names that there are.
    pub fn directory_to_walk(&self, name: Option<&str>) -> Result<(DirectoryKey, String), Vec<String>> {
        let parts = self.parts();
        let all = parts.directories.all();
        let named = match name {
            Some(name) => all.iter().find(|one| one.directory.name() == name),
            None => all.first().filter(|_| all.len() == 1),
        };
        let found = named.map(|one| (one.directory.key(), one.directory.name().to_owned()));
        found.ok_or_else(|| self.directory_names())
    }

    /// Asks for the right to walk; `None` while somebody else does.
    pub(super) fn turn_to_walk(&self) -> Option<Turn> {
        Arc::clone(&self.walks).try_acquire_owned().ok().map(Turn)
    }

    /// Adds to a page of accounts what is remembered of them, and to their addresses which are proved.
    pub(super) async fn remember(&self, page: Vec<Walked>) -> Result<Vec<(Walked, Facts)>, store::Error> {
        let known = |walked: &Walked| walked.seen.iter().flatten().next().map(|account| account.id.clone());
        let ids: Vec<_> = page.iter().filter_map(known).collect();
        let mut facts = self.store.facts_of(&ids).await?.into_iter();
        let with = |mut walked: Walked| {
            let (facts, proofs) = known(&walked).and_then(|_| facts.next()).unwrap_or_default();
            // Hashing each address of everybody would cost more than all the rest, for the few that are proved.
            let contacts = walked.seen.iter_mut().flatten().flat_map(|account: &mut Account| &mut account.contacts);
            for contact in contacts.filter(|_| !proofs.is_empty()) {
                let hash = self.store.data_key().address_hash(&contact.address.folded());
                contact.proof = proofs.iter().find(|(proved, _)| *proved == hash).map(|(_, proof)| proof.clone());
            }
            (walked, facts)
        };
        Ok(page.into_iter().map(with).collect())
    }
}
