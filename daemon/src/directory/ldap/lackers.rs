//! A second search that goes beside a walk: it names those who lack what most people lack, so that one of its rows proves for an
//! account what a look-up asks the server for.

use std::collections::VecDeque;

use rekeyd_core::flavour::entry::Entry;

use super::members::Mark;
use super::pages::{PAGE, Pages};
use super::wire::Failure;

/// Those who lack what most people lack, in the order of the walk, as far as they are known to come.
pub(super) enum Lackers {
    /// Nobody knows yet what most people lack.
    Unknown,
    /// There is nothing that most people lack.
    None,
    Some {
        attributes: Vec<String>,
        coming: VecDeque<Mark>,
        pages: Option<Pages>,
    },
}

impl Lackers {
    /// Those who lack these attributes, as they come in pages.
    pub(super) fn of(attributes: Vec<String>, pages: Pages) -> Self {
        Self::Some { attributes, coming: VecDeque::new(), pages: Some(pages) }
    }

    /// Takes from what an entry lacks that which is proved to be absent. Both searches come in the server's one order; where
    /// they do not, less is proved, and asked for one by one.
    pub(super) async fn prove(&mut self, entry: &Entry, lacking: &mut Vec<String>) -> Result<(), Failure> {
        let Self::Some { attributes, coming, pages } = self else { return Ok(()) };
        if !attributes.iter().any(|name| lacking.contains(name)) {
            return Ok(());
        }
        let wanted = Mark::new("row", &entry.name().0);
        loop {
            if let Some(place) = coming.iter().position(|mark| *mark == wanted) {
                // Those before it have gone by: entries that came or changed meanwhile.
                coming.drain(..=place);
                lacking.retain(|name| !attributes.contains(name));
                return Ok(());
            }
            if coming.len() > usize::from(PAGE) {
                return Ok(());
            }
            let Some(source) = pages else { return Ok(()) };
            match source.next().await? {
                Some(page) => coming.extend(page.iter().map(|entry| Mark::new("row", &entry.name().0))),
                None => *pages = None,
            }
        }
    }
}
