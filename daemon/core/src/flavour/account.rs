//! An entry becomes an account: what its product says of its standing, and what is the same for all products.

use crate::domain::{Account, AccountId, Contact, Dn, EmailAddress, Finding, Stamp, Standing};
use crate::flavour::entry::Entry;
use crate::flavour::{Flavour, Mapping, Reading};

impl Flavour {
    /// Turns an entry into an account. Every doubt becomes a [`Finding::Unknown`].
    pub fn account(&self, reading: &Reading<'_>, mapping: &Mapping) -> Account {
        let entry = reading.entry;
        let mut standing = Standing::default();
        for attribute in reading.hidden {
            standing.add(reading.evidence(Finding::Unknown, attribute, "rekeyd's account may not see it"));
        }
        let name = Dn::parse(&entry.name().0);
        match &name {
            Ok(name) if mapping.apart.contains(name) => {
                standing.add(reading.evidence(Finding::NotAPerson, "entry", "rekeyd's own account or its canary"));
            }
            Ok(_) => {}
            Err(bad) => standing.add(reading.evidence(Finding::Unknown, "entry", &bad.to_string())),
        }
        for (finding, marker) in mapping.markers.iter() {
            if let Some((attribute, value)) = marker.holds(entry)
                && !standing.evidence().iter().any(|found| found.finding == finding && found.attribute == attribute)
            {
                standing.add(reading.evidence(finding, &attribute, &value));
            }
        }
        match self {
            Self::ActiveDirectory(ad) => ad.standing(reading, &mut standing),
            Self::Ds389(ds) => ds.standing(reading, &mut standing),
            Self::FreeIpa(ipa) => ipa.standing(reading, &mut standing),
            Self::OpenLdap(openldap) => openldap.standing(reading, &mut standing),
        }
        standing.forget_unseen(reading.hidden);
        let groups = match reading.groups {
            Ok(groups) => groups.clone(),
            Err(why) => {
                standing.add(reading.evidence(Finding::Unknown, "member", why));
                Vec::new()
            }
        };
        let login = mapping.logins.iter().find_map(|attribute| entry.texts(attribute).min());
        // An account whose id is hidden is still somebody, whom the audit trail must be able to name.
        let id = self.id(reading.directory, entry).unwrap_or_else(|bad| {
            standing.add(reading.evidence(Finding::Unknown, &bad.attribute, &bad.why));
            let name = name.as_ref().map_or(entry.name().0.as_str(), Dn::as_str);
            AccountId { directory: reading.directory, stable: format!("entry {name}") }
        });
        let stamp = self.stamp(entry, mapping).unwrap_or_else(|bad| {
            standing.add(reading.evidence(Finding::Unknown, &bad.attribute, &bad.why));
            Stamp::new(format!("{} unreadable", bad.attribute), None)
        });
        Account {
            name: entry.name().clone(),
            login: login.unwrap_or(&id.stable).to_owned(),
            names: distinct(&mapping.names, entry),
            language: mapping.language.as_ref().and_then(|name| entry.texts(name).next()).map(str::to_owned),
            contacts: contacts(entry, mapping, reading.shared),
            groups,
            standing,
            stamp,
            server: reading.server.clone(),
            id,
        }
    }
}

/// The plain addresses among the configured attributes, in their order; within one attribute, whose values have none,
/// by the alphabet. A value that is no plain address is left out.
fn contacts(entry: &Entry, mapping: &Mapping, shared: &[String]) -> Vec<Contact> {
    let mut contacts: Vec<Contact> = Vec::new();
    for attribute in &mapping.emails {
        let mut values: Vec<&str> = entry.texts(attribute).collect();
        values.sort_unstable();
        for address in values.into_iter().filter_map(|value| EmailAddress::parse(value).ok()) {
            let folded = address.folded();
            if contacts.iter().all(|contact| contact.address.folded() != folded) {
                let shared = shared.contains(&folded);
                contacts.push(Contact { address, source: attribute.clone(), proof: None, shared });
            }
        }
    }
    contacts
}

fn distinct(attributes: &[String], entry: &Entry) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in attributes.iter().flat_map(|attribute| entry.texts(attribute)) {
        if !all.iter().any(|known| known == name) {
            all.push(name.to_owned());
        }
    }
    all
}
