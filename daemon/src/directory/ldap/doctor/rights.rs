//! What our accounts may do to people's entries, and what they need not: asked of the server where it says so itself (the
//! access list of Active Directory, effective rights of 389-ds), tried elsewhere by removing a value that is not there. The
//! right is looked at first, so that the answer tells it, and nothing is ever written.

use rekeyd_core::domain::{Dn, EntryName};
use rekeyd_core::flavour::Flavour;
use rekeyd_core::flavour::active_directory::sid::Sid;
use rekeyd_core::flavour::active_directory::sight::Sight;
use rekeyd_core::flavour::ds389::policy;
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::product::Product;
use rekeyd_core::flavour::remedy::Place;

use super::access::{by_access_list, effectively_allowed, of_a_token};
use super::rank::{all_powerful, password_administrator, readable_passwords, taken_for};
use super::seen::Chart;
use crate::directory::ldap::nature::proof::random_password;
use crate::directory::ldap::nature::{self, Nature};
use crate::directory::ldap::request::{Query, Scope};
use crate::directory::ldap::wire::{Failure, Link};
use crate::directory::probe::{Cause, Grade, Probe};

/// What rekeyd never writes, on any product.
const NEVER_WRITTEN: [&str; 8] =
    ["mail", "cn", "sn", "displayName", "givenName", "description", "telephoneNumber", "mobile"];
/// What a reset may touch, besides what the server itself writes.
const WRITTEN: [&str; 5] = ["userPassword", "pwdReset", "unicodePwd", "pwdLastSet", "lockoutTime"];
/// The control by which 389-ds says who may do what (draft-ietf-ldapext-acl-model).
const EFFECTIVE_RIGHTS: &str = "1.3.6.1.4.1.42.2.27.9.5.2";
/// The last of what can be missing: there is no such attribute, or no such value.
const NO_SUCH_ATTRIBUTE: u32 = 16;
const NO_RIGHT: u32 = 50;

/// Says what the account for look-ups and self-service may do.
pub(super) async fn of_ours(
    nature: &Nature,
    link: &mut Link,
    sample: &Entry,
    place: &Place,
    to: &mut Chart<'_>,
) -> Result<(), Failure> {
    match nature.flavour.product() {
        Product::ActiveDirectory => {
            if let Some(sight) = &nature.sight {
                of_a_token(nature.root.entry.values("tokenGroups"), place, to);
                by_access_list(sight, sample, place, to);
                effectively_allowed(link, sample, place, to).await?;
            }
        }
        Product::Ds389 | Product::FreeIpa => {
            by_effective_rights(link, sample, place, to).await?;
            an_administrator(nature, link, place, to).await?;
        }
        Product::OpenLdap => by_trying(nature, link, sample, place, to).await?,
    }
    if let Flavour::FreeIpa(ipa) = &nature.flavour {
        taken_for(&ipa.writer, to);
    }
    readable_passwords(nature, link, sample, place, to).await
}

/// Says what the account for operators' passwords may do. That it skips rules is what some products need it for.
pub(super) async fn of_operators(
    nature: &Nature,
    link: &mut Link,
    sample: &Entry,
    place: &Place,
    to: &mut Chart<'_>,
) -> Result<(), Failure> {
    match nature.flavour.product() {
        Product::ActiveDirectory => {
            let Some(root) = nature::entry(link, "", &["tokenGroups".to_owned()]).await? else { return Ok(()) };
            let token = root.values("tokenGroups");
            of_a_token(token, place, to);
            let sight = Sight::new(token.iter().filter_map(|sid| Sid::parse(sid).ok()), Vec::new());
            by_access_list(&sight, sample, place, to);
        }
        Product::Ds389 | Product::FreeIpa => by_effective_rights(link, sample, place, to).await?,
        Product::OpenLdap => by_trying(nature, link, sample, place, to).await?,
    }
    Ok(())
}

/// By what 389-ds says of our effective rights.
async fn by_effective_rights(
    link: &mut Link,
    sample: &Entry,
    place: &Place,
    to: &mut Chart<'_>,
) -> Result<(), Failure> {
    let name = &sample.name().0;
    let subject = format!("dn: {}", place.own);
    let attributes: Vec<String> =
        NEVER_WRITTEN.iter().chain(&["userPassword"]).map(|name| (*name).to_owned()).collect();
    let filter = Filter::present("objectClass");
    let control = Some((EFFECTIVE_RIGHTS, subject.as_bytes()));
    let query = Query { base: name, scope: Scope::Base, filter, attributes: &attributes, limit: 1, control };
    let found = link.search(&query).await?.entries;
    let told: Vec<&str> = found.first().map(|entry| entry.texts("attributeLevelRights").collect()).unwrap_or_default();
    let rights = told.iter().flat_map(|text| text.split(", ")).filter_map(|pair| pair.split_once(':'));
    let (mut reset, mut spare, mut some) = (false, Vec::new(), false);
    for (attribute, letters) in rights {
        some = true;
        // `w`: add values; `o`: remove them.
        let writes = letters != "none" && (letters.contains('w') || letters.contains('o'));
        match attribute {
            "userPassword" => reset = letters.contains('w') && letters.contains('o'),
            _ if writes && is_spare(attribute) => spare.push(attribute),
            _ => {}
        }
    }
    if !some {
        to.add(
            Probe::found(
                Cause::Unclear,
                Grade::Note,
                "rights",
                format!("the server does not say what {} may do to {name} (effective rights)", place.own),
            )
            .mended_by("Let rekeyd's account use the control 1.3.6.1.4.1.42.2.27.9.5.2, as the default rules do."),
        );
    } else if reset {
        to.add(Probe::fine("rights", format!("{} may set the password of {name}", place.own)));
    } else {
        to.add(reset_denied(name, place));
    }
    if !spare.is_empty() {
        let command = place.access(&place.base, &spare, "none");
        to.add(too_much(format!("{} may write {} of {name}", place.own, some_of(&spare)), command));
    }
    Ok(())
}

/// Whether 389-ds takes us for one for whom no rule holds.
async fn an_administrator(nature: &Nature, link: &mut Link, place: &Place, to: &mut Chart<'_>) -> Result<(), Failure> {
    let own = Dn::parse(&place.own).ok();
    let names = ["nsslapd-rootdn".to_owned()];
    let root = nature::entry(link, policy::GLOBAL, &names).await?;
    let root = root.as_ref().and_then(|entry| entry.texts("nsslapd-rootdn").next()).unwrap_or("cn=Directory Manager");
    if own.is_some() && own == Dn::parse(root).ok() {
        to.add(all_powerful(format!("{} is the server's own administrator, whom no rule binds", place.own)));
        return Ok(());
    }
    let Ok(Some(name)) = &nature.default_policy else { return Ok(()) };
    let names = ["passwordAdminDN".to_owned()];
    let Some(entry) = nature::entry(link, &name.0, &names).await? else { return Ok(()) };
    let Ok(Some(listed)) = policy::administrators(&entry) else { return Ok(()) };
    let member = if Some(&listed) == own.as_ref() {
        true
    } else {
        let any = ["member", "uniqueMember"].map(|name| Filter::equal(name, place.own.as_str())).to_vec();
        let (base, filter) = (listed.as_str(), Filter::Or(any));
        let query = Query { base, scope: Scope::Base, filter, attributes: &[], limit: 1, control: None };
        !link.search(&query).await?.entries.is_empty()
    };
    if member {
        let command = if Some(&listed) == own.as_ref() {
            place.set(&name.0, "passwordAdminDN", "")
        } else {
            place.take(listed.as_str(), "member", &place.own)
        };
        to.add(password_administrator(
            format!("passwordAdminDN of {} is {}, which {} belongs to", name.0, listed, place.own),
            command,
        ));
    }
    Ok(())
}

/// By trying, on OpenLDAP.
async fn by_trying(
    nature: &Nature,
    link: &mut Link,
    sample: &Entry,
    place: &Place,
    to: &mut Chart<'_>,
) -> Result<(), Failure> {
    let name = sample.name();
    match may(link, name, "userPassword").await? {
        Some(false) => to.add(reset_denied(&name.0, place)),
        _ => to.add(Probe::fine("rights", format!("{} may set the password of {}", place.own, name.0))),
    }
    if nature.has_policies && !sample.has("pwdReset") && !nature.blind.iter().any(|hidden| hidden == "pwdReset") {
        match link.remove(name, "pwdReset", b"FALSE").await?.code {
            NO_RIGHT => to.add(
                Probe::found(
                    Cause::MustChangeDenied,
                    Grade::Note,
                    "rights",
                    format!(
                        "{} may not write pwdReset of {}, so that operators set no temporary passwords",
                        place.own, name.0
                    ),
                )
                .mended_by("Give it \"manage\" on this attribute alone, or name another account as `operator_bind_dn`.")
                .with(place.access(&place.base, &["pwdReset"], "manage")),
            ),
            NO_SUCH_ATTRIBUTE => {
                to.add(Probe::fine("rights", "temporary passwords can be set, with a change after them"));
            }
            _ => {}
        }
    }
    let mut spare = Vec::new();
    let mut tried = 0;
    for attribute in NEVER_WRITTEN {
        match may(link, name, attribute).await? {
            Some(true) => spare.push(attribute),
            Some(false) => {}
            None => continue,
        }
        tried += 1;
    }
    if spare.is_empty() {
        to.add(Probe::fine("rights", format!("none of {tried} attributes that rekeyd never writes can be written")));
    } else {
        let command = place.access(&place.base, &spare, "read");
        to.add(too_much(format!("{} may write {} of {}", place.own, some_of(&spare), name.0), command));
    }
    Ok(())
}

/// Whether we may write an attribute, where the server's answer tells.
pub(super) async fn may(link: &mut Link, name: &EntryName, attribute: &str) -> Result<Option<bool>, Failure> {
    let Ok(nothing) = random_password() else { return Ok(None) };
    let value = format!("{{none}}{}", nothing.as_str());
    Ok(match link.remove(name, attribute, value.as_bytes()).await?.code {
        NO_SUCH_ATTRIBUTE => Some(true),
        NO_RIGHT => Some(false),
        _ => None,
    })
}

pub(super) fn is_spare(attribute: &str) -> bool {
    !WRITTEN.iter().any(|written| written.eq_ignore_ascii_case(attribute))
}

/// The first few of a list, and how many more there are.
pub(super) fn some_of(names: &[&str]) -> String {
    const FEW: usize = 8;
    let first = names.iter().take(FEW).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(FEW) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

pub(super) fn too_much(words: String, command: impl Into<Option<String>>) -> Probe {
    Probe::found(Cause::WritesTooMuch, Grade::Note, "rights", words)
        .mended_by("Take these rights away; rekeyd writes passwords and what belongs to them.")
        .with(command)
}

fn reset_denied(name: &str, place: &Place) -> Probe {
    Probe::found(
        Cause::ResetDenied,
        Grade::Broken,
        "rights",
        format!("{} may not set the password of {name}", place.own),
    )
    .mended_by("Let it write passwords of people, and neither read nor manage them.")
    .with(place.access(&place.base, &["userPassword"], "=xw"))
}
