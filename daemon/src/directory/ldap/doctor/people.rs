//! What we may see of people: whether any are there, what their state rests on, their groups, and nothing that we need not
//! see.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rekeyd_core::domain::Finding;
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::product::Product;
use rekeyd_core::flavour::remedy::Place;

use super::seen::Chart;
use crate::directory::ldap::nature::Nature;
use crate::directory::ldap::request::Query;
use crate::directory::ldap::upstream::Session;
use crate::directory::ldap::wire::Failure;
use crate::directory::ldap::{Ldap, gather};
use crate::directory::probe::{Cause, Grade, Probe};

/// A search for one person's groups that takes longer has no index to go by.
const SLOW: Duration = Duration::from_millis(500);

impl Ldap {
    /// Says which product it is, and whether it shows itself to be another one than is configured.
    fn product_there(&self, nature: &Nature, to: &mut Chart<'_>) {
        let product = nature.flavour.product();
        match (&self.wanted.ldap.product, &nature.root.detected) {
            (Some(configured), Ok(shown)) if configured != shown => to.add(
                Probe::found(
                    Cause::Unclear,
                    Grade::Note,
                    "product",
                    format!("`kind` says {configured}, and the server shows itself to be {shown}"),
                )
                .mended_by("Remove `kind`, unless you know better than the server."),
            ),
            _ => to.add(Probe::fine("product", product.to_string())),
        }
    }

    /// Looks for people, and says what can be seen of the first. Gives that one, as a sample for what comes after.
    pub(super) async fn people_there(
        &self,
        session: &mut Session,
        place: &Place,
        to: &mut Chart<'_>,
    ) -> Result<Option<Entry>, Failure> {
        let nature = Arc::clone(&session.nature);
        self.product_there(&nature, to);
        let mut sample = None;
        let needed = nature.attributes.iter().map(String::as_str).filter(|name| *name != "userPassword");
        let needed: Vec<&str> = needed.chain(["entry"]).collect();
        let hidden = |why: String| {
            let referred = why.ends_with("is on another server");
            let cause = if referred { Cause::Referral } else { Cause::PeopleHidden };
            Probe::found(cause, Grade::Broken, "people", why)
                .mended_by("Mend `base` and `filter`, or let rekeyd's account read people.")
                .with(if referred || place.product != Product::OpenLdap {
                    None
                } else {
                    place.access(&place.base, &needed, "read")
                })
        };
        match self.people(session, nature.people.clone(), &nature.attributes).await {
            Err(Failure::Refused(why)) => to.add(hidden(why)),
            Err(failure) => return Err(failure),
            Ok((people, _)) if people.is_empty() => {
                to.add(hidden(format!("nobody below {} fits the filter", place.base)));
            }
            Ok((people, more)) => {
                let count = if more { "more than 2".to_owned() } else { people.len().to_string() };
                to.add(Probe::fine("people", format!("{count} below {} fit the filter", place.base)));
                let id = nature.flavour.id_attribute();
                if !people.iter().all(|person| person.has(id)) {
                    to.add(
                        Probe::found(
                            Cause::IdHidden,
                            Grade::Broken,
                            "stable ids",
                            format!("{id} is not shown for all of them"),
                        )
                        .mended_by("Let rekeyd's account read it.")
                        .with(place.access(&place.base, &[id], "read")),
                    );
                }
                if let Some(person) = people.first() {
                    let whole = gather::whole(session, person).await?.into_owned();
                    self.seen_of(session, &whole, place, to).await?;
                    sample = Some(whole);
                }
            }
        }
        let configured = nature.mapping.logins.iter().chain(&nature.mapping.emails);
        for name in configured.map(String::as_str).chain(nature.mapping.markers.attributes()) {
            let found = |grade, outcome| Probe::found(Cause::AttributeUnknown, grade, "attributes", outcome);
            if !nature.defines(name) {
                let outcome = format!("the server's schema has no attribute {name}");
                to.add(found(Grade::Note, outcome).mended_by("Check its spelling in the configuration."));
            }
            if let Some(first) = nature.shown_as(name) {
                let outcome = format!("{name} is a second name, and the server shows the attribute as {first}");
                to.add(found(Grade::Broken, outcome).mended_by("Write the first name in the configuration."));
            }
        }
        Ok(sample)
    }

    /// What can be seen of one person.
    async fn seen_of(
        &self,
        session: &mut Session,
        person: &Entry,
        place: &Place,
        to: &mut Chart<'_>,
    ) -> Result<(), Failure> {
        let nature = Arc::clone(&session.nature);
        let begun = Instant::now();
        if let (Err(why), None) = (self.groups(session, person).await?, &nature.groups_in_doubt) {
            to.add(
                Probe::found(Cause::GroupsHidden, Grade::Broken, "groups", why)
                    .mended_by("Set `group_base` to an entry below which all groups are on this server."),
            );
        }
        let took = begun.elapsed();
        if took > SLOW {
            to.add(
                Probe::found(
                    Cause::GroupsSlow,
                    Grade::Note,
                    "groups",
                    format!("the groups of one person took {} ms to find", took.as_millis()),
                )
                .mended_by(
                    "Index member, uniqueMember and memberUid for equality on this server, or narrow `group_base`.",
                ),
            );
        }
        if nature.flavour.product() != Product::ActiveDirectory {
            Self::passwords_there(&nature, person, to);
        }
        let unseen = self.hidden(session, person).await?;
        if unseen.is_empty() {
            to.add(Probe::fine("state of accounts", "can be read"));
        } else {
            let names: Vec<&str> = unseen.iter().map(String::as_str).collect();
            to.add(
                Probe::found(
                    Cause::StateHidden,
                    Grade::Broken,
                    "state of accounts",
                    format!(
                        "rekeyd's account may not see {}, of {} at least; what is absent can't be told from what is hidden",
                        unseen.join(", "),
                        person.name().0
                    ),
                )
                .mended_by("Let it read them; until then the state of these accounts is unknown, which is no.")
                .with(place.access(&place.base, &names, "read")),
            );
        }
        Ok(())
    }

    /// Says what stays unseen where passwords can't be read, which is as it should be.
    fn passwords_there(nature: &Nature, person: &Entry, to: &mut Chart<'_>) {
        let marked = nature.mapping.markers.iter().any(|(finding, _)| finding == Finding::PasswordElsewhere);
        if !marked && !person.has("userPassword") {
            to.add(Probe {
                grade: Grade::Note,
                ..Probe::fine(
                    "passwords",
                    "can't be read, as it should be; so nobody sees here that one is kept elsewhere ({SASL}) or shut off \
                     (a hash that begins with !)",
                )
                .mended_by(
                    "If there are such accounts, mark them: `password_elsewhere` or `disabled` in [directory.markers].",
                )
            });
        }
    }

    pub(super) fn groups_there(&self, session: &Session, place: &Place, to: &mut Chart<'_>) {
        match &session.nature.groups_in_doubt {
            Some(doubt) => {
                let base = &self.wanted.search.group_base.0;
                to.add(
                    Probe::found(Cause::GroupsHidden, Grade::Broken, "groups", doubt.clone())
                        .mended_by(
                            "Name groups that exist and let rekeyd's account read their members; until then nobody may \
                             reset.",
                        )
                        .with(
                            place
                                .access(base, &["entry", "objectClass", "member"], "read")
                                .filter(|_| place.product == Product::OpenLdap),
                        ),
                );
            }
            None if self.wanted.watched.is_empty() => {}
            None => to.add(Probe::fine(
                "groups",
                format!("the {} that verdicts rest on can be read", self.wanted.watched.len()),
            )),
        }
    }

    /// Says whether the server gives us as many entries as an answer may have.
    pub(super) async fn limits(&self, session: &mut Session, place: &Place, to: &mut Chart<'_>) -> Result<(), Failure> {
        let query = Query::below(&place.base, Filter::present("objectClass"), &[]);
        let most = usize::from(query.limit);
        let found = session.link.search(&query).await?;
        let count = found.entries.len();
        match found.reply.code {
            4 | 11 if count < most => to.add(
                Probe::found(
                    Cause::SizeLimit,
                    Grade::Note,
                    "size of answers",
                    format!("the server stops after {count} entries, and an answer may have {most}"),
                )
                .mended_by(
                    "Give rekeyd's account a size limit of its own; until then people with more groups than that may not \
                     reset.",
                )
                .with(place.whole_answers()),
            ),
            _ => to.add(Probe::fine("size of answers", format!("{count} entries came at once"))),
        }
        if found.references {
            to.add(
                Probe::found(
                    Cause::Referral,
                    Grade::Note,
                    "other servers",
                    format!("part of what is below {} is on other servers, which are never asked", place.base),
                )
                .mended_by("Set `base` and `group_base` to entries that are on this server as a whole."),
            );
        }
        Ok(())
    }
}
