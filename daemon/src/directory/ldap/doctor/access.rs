//! What our accounts may do in Active Directory: by the groups of their token, by the access list of a person's entry, and by
//! the attributes that the server says they may write.

use rekeyd_core::flavour::active_directory::sid::Sid;
use rekeyd_core::flavour::active_directory::sight::{Power, Sight};
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::remedy::{Delegated, Place};

use super::rights::{is_spare, some_of, too_much};
use super::seen::Chart;
use crate::directory::ldap::nature;
use crate::directory::ldap::wire::{Failure, Link};
use crate::directory::probe::{Cause, Grade, Probe};

/// Whether an account is in a group that rules over others.
pub(super) fn of_a_token(token: &[Vec<u8>], place: &Place, to: &mut Chart<'_>) {
    let sids = token.iter().filter_map(|sid| Sid::parse(sid).ok());
    let powers: Vec<&str> = sids.filter_map(|sid| sid.power()).collect();
    if powers.is_empty() {
        to.add(Probe::fine("rank", format!("{} is in no group that rules over others", place.own)));
        return;
    }
    let commands = powers.iter().filter(|name| !name.starts_with("the ")).map(|group| place.leave(group));
    to.add(
        Probe::found(
            Cause::PrivilegedService,
            Grade::Broken,
            "rank",
            format!("{} has the powers of {}", place.own, powers.join(", ")),
        )
        .mended_by(
            "Take it out of these groups and delegate to it what it needs (config/active-directory-delegation.sh); a \
             reset by an administrator skips more rules, and whoever takes rekeyd over takes the domain.",
        )
        .with(Some(commands.collect::<String>()).filter(|text| !text.is_empty())),
    );
}

/// By the access list of the sample's entry.
pub(super) fn by_access_list(sight: &Sight, sample: &Entry, place: &Place, to: &mut Chart<'_>) {
    let of = format!("of {}", sample.name().0);
    let powers = match sight.powers(sample) {
        Ok(powers) => powers,
        Err(hidden) => {
            to.add(
                Probe::found(
                    Cause::StateHidden,
                    Grade::Broken,
                    "rights",
                    format!("{} {of}: {}", hidden.attribute, hidden.why),
                )
                .mended_by("Let rekeyd's account read the access lists of people, as everybody may by default."),
            );
            return;
        }
    };
    let needed = [
        (Power::Reset, Delegated::Reset, Cause::ResetDenied, Grade::Broken, "set the password"),
        (Power::MustChange, Delegated::MustChange, Cause::MustChangeDenied, Grade::Note, "have the password changed"),
        (Power::Unlock, Delegated::Unlock, Cause::UnlockDenied, Grade::Note, "lift a lock by failures"),
    ];
    for (power, right, cause, grade, words) in needed {
        if powers.contains(&power) {
            to.add(Probe::fine("rights", format!("{} may {words} {of}", place.own)));
            continue;
        }
        to.add(
            Probe::found(cause, grade, "rights", format!("{} may not {words} {of}", place.own))
                .mended_by(
                    "Delegate it on the people's entries. Protected accounts (AdminSDHolder) stay out of its reach, as \
                     they should.",
                )
                .with(place.delegate(&[right])),
        );
    }
    let spare = [
        (Power::Delete, "delete"),
        (Power::Permit, "change the access list"),
        (Power::Switch, "enable, disable and change (userAccountControl)"),
    ];
    let spare: Vec<&str> =
        spare.into_iter().filter(|(power, _)| powers.contains(power)).map(|(_, words)| words).collect();
    if !spare.is_empty() {
        to.add(too_much(format!("{} may {} {of}", place.own, spare.join(", ")), place.list()));
    }
}

/// By the attributes that the server says we may write.
pub(super) async fn effectively_allowed(
    link: &mut Link,
    sample: &Entry,
    place: &Place,
    to: &mut Chart<'_>,
) -> Result<(), Failure> {
    let names = ["allowedAttributesEffective".to_owned()];
    let Some(entry) = nature::entry(link, &sample.name().0, &names).await? else { return Ok(()) };
    let spare: Vec<&str> = entry.texts("allowedAttributesEffective").filter(|name| is_spare(name)).collect();
    if !spare.is_empty() {
        let words = format!("{} may write {} of {}", place.own, some_of(&spare), sample.name().0);
        to.add(too_much(words, place.list()));
    }
    Ok(())
}
