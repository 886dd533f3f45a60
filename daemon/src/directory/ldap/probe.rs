//! What `check` says about the servers, in words: whether each is reached, who we are there, what we may see, and how a
//! password will be written.

use std::sync::Arc;

use rekeyd_core::domain::{Finding, Timestamp};
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::product::Product;

use super::nature::Nature;
use super::upstream::{Session, Upstream};
use super::wire::Failure;
use super::{Ldap, gather, probe_policy};
use crate::directory::{Grade, Probe};

/// Probes of one server as they are collected.
pub(super) struct Findings {
    server: String,
    probes: Vec<Probe>,
}

impl Findings {
    pub(super) fn say(&mut self, what: &str, outcome: impl Into<String>, grade: Grade, remedy: Option<&str>) {
        let what = format!("{}: {what}", self.server);
        self.probes.push(Probe { what, outcome: outcome.into(), grade, remedy: remedy.map(str::to_owned) });
    }

    pub(super) fn fine(&mut self, what: &str, outcome: impl Into<String>) {
        self.say(what, outcome, Grade::Fine, None);
    }
}

impl Ldap {
    pub(in crate::directory) async fn probe(&self, now: Timestamp) -> Vec<Probe> {
        let mut all = Vec::new();
        for upstream in &self.upstreams {
            let mut findings = Findings { server: upstream.endpoint.url.clone(), probes: Vec::new() };
            upstream.forget().await;
            match upstream.session(&self.wanted).await {
                Ok(mut session) => {
                    if let Err(failure) = self.look_around(upstream, &mut session, now, &mut findings).await {
                        findings.say("answers", failure.to_string(), Grade::Broken, Some("Look at the server's log."));
                    }
                }
                Err(failure) => {
                    let remedy = match failure {
                        Failure::Refused(_) => "Mend what it says, in the configuration or in the directory.",
                        _ => "Start the server, or mend `urls`; check firewalls between here and there.",
                    };
                    findings.say("reach it", failure.to_string(), Grade::Broken, Some(remedy));
                }
            }
            all.append(&mut findings.probes);
        }
        all
    }

    async fn look_around(
        &self,
        upstream: &Upstream,
        session: &mut Session,
        now: Timestamp,
        to: &mut Findings,
    ) -> Result<(), Failure> {
        // Samba has no such operation; whoever was let in there is who was named.
        let own = session.nature.own.as_ref().map(|own| own.as_str().to_owned());
        let named = own.filter(|_| session.nature.flavour.product() == Product::ActiveDirectory);
        let who = session.link.who_am_i().await?.filter(|name| !name.is_empty());
        match who.or(named) {
            Some(who) => to.fine("reach it", format!("as {who}")),
            None => to.say(
                "reach it",
                "the server takes us for nobody",
                Grade::Broken,
                Some("Map the socket's identity to an entry of the directory, or use bind_dn."),
            ),
        }
        self.product_there(session, to);
        self.people_there(session, to).await?;
        self.groups_there(session, to);
        probe_policy::writing(session, now, to);
        probe_policy::policies(upstream, session, to).await
    }

    /// Says which product it is, and whether it shows itself to be another one than is configured.
    fn product_there(&self, session: &Session, to: &mut Findings) {
        let product = session.nature.flavour.product();
        match (&self.wanted.ldap.product, &session.nature.root.detected) {
            (Some(configured), Ok(shown)) if configured != shown => to.say(
                "product",
                format!("`kind` says {configured}, and the server shows itself to be {shown}"),
                Grade::Note,
                Some("Remove `kind`, unless you know better than the server."),
            ),
            _ => to.fine("product", product.to_string()),
        }
    }

    async fn people_there(&self, session: &mut Session, to: &mut Findings) -> Result<(), Failure> {
        let search = &self.wanted.search;
        let nature = Arc::clone(&session.nature);
        let found = self.people(session, nature.people.clone(), &nature.attributes).await;
        let remedy = "Mend `base` and `filter`, or let rekeyd's account read people.";
        match found {
            Err(Failure::Refused(why)) => to.say("people", why, Grade::Broken, Some(remedy)),
            Err(failure) => return Err(failure),
            Ok((people, _)) if people.is_empty() => {
                to.say(
                    "people",
                    format!("nobody below {} fits the filter", search.base.0),
                    Grade::Broken,
                    Some(remedy),
                );
            }
            Ok((people, more)) => {
                let count = if more { "more than 2".to_owned() } else { people.len().to_string() };
                to.fine("people", format!("{count} below {} fit the filter", search.base.0));
                let id = session.nature.flavour.id_attribute();
                if !people.iter().all(|person| person.has(id)) {
                    let outcome = format!("{id} is not shown for all of them");
                    to.say("stable ids", outcome, Grade::Broken, Some("Let rekeyd's account read it."));
                }
                if let Some(person) = people.first() {
                    let whole = gather::whole(session, person).await?;
                    if let (Err(why), None) = (self.groups(session, &whole).await?, &session.nature.groups_in_doubt) {
                        let remedy = "Set `group_base` to an entry below which all groups are on this server.";
                        to.say("groups", why, Grade::Broken, Some(remedy));
                    }
                    let person = &*gather::whole(session, person).await?;
                    if nature.flavour.product() != Product::ActiveDirectory {
                        Self::passwords_there(&nature, person, to);
                    }
                    probe_policy::rights(&nature, person, to);
                    let unseen = self.hidden(session, person).await?;
                    if unseen.is_empty() {
                        to.fine("state of accounts", "can be read");
                    } else {
                        let outcome = format!("rekeyd's account may not see {}", unseen.join(", "));
                        to.say(
                            "state of accounts",
                            outcome,
                            Grade::Broken,
                            Some("Let it read them; until then the state of these accounts is unknown, which is no."),
                        );
                    }
                }
            }
        }
        let configured = nature.mapping.logins.iter().chain(&nature.mapping.emails);
        for name in configured.map(String::as_str).chain(nature.mapping.markers.attributes()) {
            if !session.nature.defines(name) {
                let outcome = format!("the server's schema has no attribute {name}");
                to.say("attributes", outcome, Grade::Note, Some("Check its spelling in the configuration."));
            }
            if let Some(first) = session.nature.shown_as(name) {
                let outcome = format!("{name} is a second name, and the server shows the attribute as {first}");
                to.say("attributes", outcome, Grade::Broken, Some("Write the first name in the configuration."));
            }
        }
        Ok(())
    }

    /// Says what stays unseen where passwords can't be read, which is as it should be.
    fn passwords_there(nature: &Nature, person: &Entry, to: &mut Findings) {
        let marked = nature.mapping.markers.iter().any(|(finding, _)| finding == Finding::PasswordElsewhere);
        if !marked && !person.has("userPassword") {
            to.say(
                "passwords",
                "can't be read, as it should be; so nobody sees here that one is kept elsewhere ({SASL}) or shut off \
                 (a hash that begins with !)",
                Grade::Note,
                Some(
                    "If there are such accounts, mark them: `password_elsewhere` or `disabled` in [directory.markers].",
                ),
            );
        }
    }

    fn groups_there(&self, session: &mut Session, to: &mut Findings) {
        match &session.nature.groups_in_doubt {
            Some(doubt) => to.say(
                "groups",
                doubt.clone(),
                Grade::Broken,
                Some(
                    "Name groups that exist and let rekeyd's account read their members; until then nobody may reset.",
                ),
            ),
            None if self.wanted.watched.is_empty() => {}
            None => to.fine("groups", format!("the {} that verdicts rest on can be read", self.wanted.watched.len())),
        }
    }
}
