//! What `check` says about the servers, in words: whether each is reached, who we are there, what we may see, and how a
//! password will be written.

use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::{Finding, Timestamp};
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::openldap::Conditions;
use rekeyd_core::flavour::policy_entry::{Policy, PolicyView};
use rekeyd_core::settings::in_words;

use super::upstream::{Session, Upstream};
use super::wire::Failure;
use super::{Ldap, gather};
use crate::directory::{Grade, Probe};

/// How far clocks may differ before it is said.
const CLOCKS: i64 = 5000;

/// Probes of one server as they are collected.
struct Findings {
    server: String,
    probes: Vec<Probe>,
}

impl Findings {
    fn say(&mut self, what: &str, outcome: impl Into<String>, grade: Grade, remedy: Option<&str>) {
        let what = format!("{}: {what}", self.server);
        self.probes.push(Probe { what, outcome: outcome.into(), grade, remedy: remedy.map(str::to_owned) });
    }

    fn fine(&mut self, what: &str, outcome: impl Into<String>) {
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
        let who = session.link.who_am_i().await?.filter(|name| !name.is_empty());
        match who {
            Some(who) => to.fine("reach it", format!("as {who}")),
            None => to.say(
                "reach it",
                "the server takes us for nobody",
                Grade::Broken,
                Some("Map the socket's identity with authz-regexp, or use bind_dn."),
            ),
        }
        self.people_there(session, to).await?;
        self.groups_there(session, to);
        Self::writing(session, now, to);
        if session.nature.has_policies {
            Self::policies_there(upstream, session, to).await?;
        } else {
            self.without_policies(to);
        }
        Ok(())
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
                    if let (Err(why), None) = (self.groups(session, person).await?, &session.nature.groups_in_doubt) {
                        let remedy = "Set `group_base` to an entry below which all groups are on this server.";
                        to.say("groups", why, Grade::Broken, Some(remedy));
                    }
                    self.passwords_there(person, to);
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
    fn passwords_there(&self, person: &Entry, to: &mut Findings) {
        let marked = self.wanted.mapping.markers.iter().any(|(finding, _)| finding == Finding::PasswordElsewhere);
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

    fn writing(session: &mut Session, now: Timestamp, to: &mut Findings) {
        let (proof, root) = (&session.nature.proof, &session.nature.root);
        if proof.whole {
            to.fine("writing", proof.words.clone());
        } else {
            to.say(
                "writing",
                proof.words.clone(),
                Grade::Note,
                Some(
                    "Set `canary` to an entry of rekeyd's own, with `access to dn.exact=\"canary\" attrs=userPassword by \
                     dn.exact=\"rekeyd's account\" write`, and turn on ppolicy_hash_cleartext: then an administrator's \
                     lock can never be erased by a reset.",
                ),
            );
        }
        if proof.conditions == Conditions::None && !root.password_modify {
            to.say(
                "writing",
                "the server has no password-modify operation",
                Grade::Broken,
                Some("Let the server offer RFC 3062, or see the canary above."),
            );
        }
        if session.nature.has_policies && !root.policy_control {
            to.say(
                "reasons",
                "the server does not answer the password policy control, so that refusals have no reason",
                Grade::Note,
                Some("Load slapo-ppolicy for this database."),
            );
        }
        if session.nature.has_policies && proof.written && proof.stamped.is_none() {
            to.say(
                "state of accounts",
                "pwdChangedTime of the canary is not shown after a write of its password",
                Grade::Broken,
                Some("Let rekeyd's account read pwdChangedTime, and load slapo-ppolicy for this database."),
            );
        }
        match proof.stamped.map(|stamped| stamped.millis() - now.millis()) {
            Some(difference) if difference.abs() > CLOCKS => {
                let ahead = if difference > 0 { "ahead of" } else { "behind" };
                let by = in_words(Duration::from_secs(difference.unsigned_abs() / 1000));
                let outcome = format!("the server's clock is {by} {ahead} ours");
                to.say("clocks", outcome, Grade::Note, Some("Let both follow the same time servers."));
            }
            Some(_) => to.fine("clocks", "agree"),
            None => {}
        }
    }

    async fn policies_there(upstream: &Upstream, session: &mut Session, to: &mut Findings) -> Result<(), Failure> {
        match &Arc::clone(&session.nature).default_policy {
            Err(why) => to.say(
                "password policy",
                why.clone(),
                Grade::Broken,
                Some("Until then the state of accounts that name no policy is unknown, which is no."),
            ),
            Ok(None) => to.fine("password policy", "accounts that name none have none, by the configuration"),
            Ok(Some(name)) => match gather::read_policy(session, &name.0).await? {
                PolicyView::InForce(policy) => {
                    upstream.learnt_policy(&name.0, &PolicyView::InForce(policy.clone()));
                    policy_in_words(&policy, to);
                }
                PolicyView::Unreadable(why) => {
                    to.say("password policy", why, Grade::Broken, Some("Let rekeyd's account read all of it."));
                }
                PolicyView::None => {}
            },
        }
        Ok(())
    }

    fn without_policies(&self, to: &mut Findings) {
        let marked: Vec<&str> = self.wanted.mapping.markers.iter().map(|(finding, _)| finding.words()).collect();
        let outcome = if marked.is_empty() {
            "there is no password policy overlay, and no markers are configured: nobody counts as never activated, \
             disabled or locked, and only shadowExpire ends an account"
                .to_owned()
        } else {
            format!("there is no password policy overlay; by your markers: {}", marked.join("; "))
        };
        to.say(
            "password policy",
            outcome,
            Grade::Note,
            Some("Say in [directory.markers] how such accounts are told, or load slapo-ppolicy."),
        );
    }
}

fn policy_in_words(policy: &Policy, to: &mut Findings) {
    to.fine("password policy", format!("{} is the default", policy.name));
    if policy.safe_modify {
        to.say(
            "password policy",
            "pwdSafeModify wants the old password, so that nobody who forgot it can set a new one",
            Grade::Broken,
            Some("Set pwdSafeModify to FALSE."),
        );
    }
    if let Some(age) = policy.min_age {
        to.say(
            "password policy",
            format!("pwdMinAge refuses a new password within {} of the last change", in_words(age)),
            Grade::Note,
            Some("People who reset twice within that time are refused; lower pwdMinAge if that hurts."),
        );
    }
    if !policy.must_change {
        to.say(
            "password policy",
            "pwdMustChange is not TRUE, so that an operator's temporary password need not be changed",
            Grade::Note,
            Some("Set pwdMustChange to TRUE if operators set passwords."),
        );
    }
    if !policy.allow_user_change {
        to.say(
            "password policy",
            "pwdAllowUserChange is FALSE, so that nobody may reset without an operator",
            Grade::Note,
            Some("Set pwdAllowUserChange to TRUE if people are to help themselves."),
        );
    }
    if policy.check_quality == 0 {
        to.say(
            "password policy",
            "pwdCheckQuality is 0: the server checks neither length nor quality",
            Grade::Note,
            Some("Set pwdCheckQuality to 2; until then the rules of `policy.password` are the only ones."),
        );
    }
}
