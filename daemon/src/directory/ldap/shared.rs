//! Which addresses several people list, for a walk over everybody: sixteen bytes are kept for each address, and all are
//! compared at once.

use rekeyd_core::domain::EmailAddress;

use super::members::Mark;
use super::pages::Pages;
use super::wire::Failure;

/// What stands for an address.
pub(super) fn mark_of(address: &EmailAddress) -> Mark {
    Mark::new("address", &address.folded())
}

/// The addresses that more than one entry lists in these attributes, in order.
///
/// # Errors
/// Why not all entries were seen; then nothing may be concluded.
pub(super) async fn listed_twice(mut pages: Pages, emails: &[String]) -> Result<Vec<Mark>, Failure> {
    let mut marks = Vec::new();
    while let Some(page) = pages.next().await? {
        for entry in page {
            let values = emails.iter().flat_map(|attribute| entry.texts(attribute));
            let mut own: Vec<Mark> =
                values.filter_map(|value| EmailAddress::parse(value).ok()).map(|one| mark_of(&one)).collect();
            own.sort_unstable();
            own.dedup();
            marks.extend(own);
        }
    }
    marks.sort_unstable();
    let mut shared: Vec<Mark> =
        marks.windows(2).filter_map(|pair| pair.first().filter(|one| pair.last() == Some(one)).copied()).collect();
    shared.dedup();
    Ok(shared)
}
