//! What follows from who started a link: the act that is judged, the rank behind it, the addresses it goes to.

use rekeyd_core::domain::{Contact, EmailAddress, Origin, Purpose};
use rekeyd_core::policy::authority::Rank;
use rekeyd_core::policy::eligibility::Act;

/// The act whose verdict a link of this origin needs.
pub(super) fn act_of(purpose: Purpose, origin: Origin) -> Act {
    match (purpose, origin) {
        (Purpose::Activation, _) => Act::Activate,
        (_, Origin::Person) => Act::SelfReset,
        (_, Origin::Operator | Origin::Owner) => Act::SendLink,
    }
}

/// The rank behind a link of this origin.
pub(super) fn rank_of(origin: Origin) -> Option<Rank> {
    match origin {
        Origin::Operator => Some(Rank::Operator),
        Origin::Owner => Some(Rank::Owner),
        Origin::Person => None,
    }
}

/// The addresses that a message goes to: all values of the first configured attribute that has a usable one, in a
/// fixed order, since the order of an attribute's values means nothing.
pub(super) fn addresses<'a>(contacts: &[&'a Contact]) -> Vec<&'a EmailAddress> {
    const MOST: usize = 5;
    let Some(first) = contacts.first() else { return Vec::new() };
    let mut addresses: Vec<_> =
        contacts.iter().filter(|contact| contact.source == first.source).map(|contact| &contact.address).collect();
    addresses.sort_by_key(|address| address.folded());
    addresses.dedup_by_key(|address| address.folded());
    addresses.truncate(MOST);
    addresses
}
