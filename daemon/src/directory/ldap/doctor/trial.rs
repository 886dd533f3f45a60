//! Whether the server's rules on passwords hold for us. Written to the canary, an entry of rekeyd's own: a password that
//! must be refused, then good ones, then an old one. And on OpenLDAP asked of a person's entry by a write with a condition
//! that no entry fits: the rules are looked at before the condition, and nothing is ever written.

use std::time::Duration;

use rekeyd_core::domain::{EntryName, Stamp};
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::openldap::Conditions;
use rekeyd_core::flavour::policy_entry::Policy;
use rekeyd_core::flavour::product::Product;
use rekeyd_core::flavour::remedy::Place;
use rekeyd_core::flavour::{Asked, Change, Demands, Outcome, Rejection};
use zeroize::Zeroizing;

use super::rank::{all_powerful, password_administrator};
use super::rights::may;
use super::seen::Chart;
use crate::directory::ldap::Ldap;
use crate::directory::ldap::nature::Nature;
use crate::directory::ldap::nature::proof::random_password;
use crate::directory::ldap::request::{Modify, Query, Scope};
use crate::directory::ldap::upstream::{Session, Upstream};
use crate::directory::ldap::wire::{Failure, Link};
use crate::directory::probe::{Cause, Grade, Probe};

/// A password that no rule on quality lets through.
const BAD: &str = "a";
/// A condition that no entry fits.
const NEVER: &str = "(!(objectClass=*))";
/// How long a server may take to remember a password that it has answered for.
const SETTLING: Duration = Duration::from_millis(200);
/// The condition did not hold.
const ASSERTION_FAILED: u32 = 122;

/// The people of Active Directory whose accounts are set up so that a policy does not hold for them: the bit of
/// `userAccountControl`, by the rule that compares bits.
const PEOPLE_APART: [(Cause, &str, &str); 2] = [
    (
        Cause::PasswordsNeverExpire,
        "65536",
        "have passwords that never expire, so that none can be asked to change theirs",
    ),
    (Cause::PasswordsNotNeeded, "32", "need no password at all"),
];

impl Ldap {
    pub(super) async fn trial(
        &self,
        upstream: &Upstream,
        session: &mut Session,
        sample: Option<&Entry>,
        policy: Option<&Policy>,
        place: &Place,
        to: &mut Chart<'_>,
    ) -> Result<(), Failure> {
        let nature = std::sync::Arc::clone(&session.nature);
        if nature.flavour.product() == Product::ActiveDirectory {
            people_apart(&nature, &mut session.link, place, to).await?;
        }
        if let Some((sample, policy)) = sample.zip(policy)
            && nature.flavour.product() == Product::OpenLdap
            // Not that the server lists the control: the canary has shown that it heeds it. This is a person's entry.
            && nature.proof.conditions != Conditions::None
            && policy.check_quality > 0
        {
            without_writing(&mut session.link, sample.name(), place, to).await?;
        }
        let Some(canary) = &self.wanted.ldap.canary else {
            if nature.flavour.product() != Product::OpenLdap {
                to.add(
                    Probe::found(
                        Cause::CanaryMissing,
                        Grade::Note,
                        "rules on passwords",
                        "what the policy says is not proved for our account: no canary is configured",
                    )
                    .mended_by("Set `canary` to an entry of rekeyd's own, whose password it may write like people's."),
                );
            }
            return Ok(());
        };
        if nature.proof.written {
            let demands = self.demands(upstream, canary).await?;
            on_the_canary(&nature, &mut session.link, canary, &demands, to).await?;
        }
        Ok(())
    }
}

/// Asks whether a bad password would be taken for a person, by a write that can't be done.
async fn without_writing(link: &mut Link, name: &EntryName, place: &Place, to: &mut Chart<'_>) -> Result<(), Failure> {
    let replace = [("userPassword", Zeroizing::new(BAD.as_bytes().to_vec()))];
    let reply = link.modify(name, Modify { replace: &replace, condition: Some(NEVER), hints: None }).await?;
    if reply.code != ASSERTION_FAILED {
        let words = format!("a bad password would be refused for {}: {}", name.0, reply.words());
        to.add(Probe::fine("rules on passwords", words));
        return Ok(());
    }
    let words = format!("a bad password of one letter would be taken for {}, though its policy forbids it", name.0);
    // Whoever may write everything besides is more than that.
    if may(link, name, "description").await? == Some(true) && may(link, name, "mail").await? == Some(true) {
        to.add(all_powerful(format!(
            "{words}, and {} may write the rest, too: rootdn, or \"manage\" on everything",
            place.own
        )));
    } else {
        let words = format!("{words}: {} has \"manage\" on userPassword", place.own);
        to.add(password_administrator(words, place.access(&place.base, &["userPassword"], "=xw")));
    }
    Ok(())
}

async fn on_the_canary(
    nature: &Nature,
    link: &mut Link,
    canary: &EntryName,
    demands: &Demands,
    to: &mut Chart<'_>,
) -> Result<(), Failure> {
    let what = "rules on passwords";
    let Ok(good) = random_password() else { return Ok(()) };
    match write(nature, link, canary, BAD).await? {
        Outcome::Done => {
            let then = match write(nature, link, canary, &good).await? {
                Outcome::Done => "and has a good one again".to_owned(),
                other => format!("and has it still ({}): set another one by hand", words(other)),
            };
            to.add(
                Probe::found(
                    Cause::QualityBypassed,
                    if demands.length.is_some_and(|length| length > 1) { Grade::Broken } else { Grade::Note },
                    what,
                    format!("the server took a bad password of one letter for the canary {}, {then}", canary.0),
                )
                .mended_by(
                    "Have the policy check quality, and see that rekeyd's account is no administrator of passwords.",
                ),
            );
        }
        Outcome::Rejected(rejection @ (Rejection::TooYoung | Rejection::MustSupplyOld)) => {
            to.add(not_proved(format!("the server refuses every password of the canary: {rejection}")));
            return Ok(());
        }
        Outcome::Rejected(rejection @ Rejection::MissingRight(_)) => {
            to.add(
                Probe::found(Cause::CanaryUnusable, Grade::Broken, what, format!("{}: {rejection}", canary.0))
                    .mended_by("Let rekeyd's account set the canary's password."),
            );
            return Ok(());
        }
        Outcome::Rejected(rejection) => {
            to.add(Probe::fine(what, format!("a bad password is refused for the canary: {rejection}")));
        }
        Outcome::NotDone(why) | Outcome::Unsure(why) => to.add(not_proved(why)),
        Outcome::Stale => {}
    }
    if demands.history.is_none() {
        return Ok(());
    }
    let Ok(next) = random_password() else { return Ok(()) };
    for password in [&good, &next] {
        settle(nature).await;
        match write(nature, link, canary, password).await? {
            Outcome::Done | Outcome::Rejected(Rejection::InHistory) => {}
            other => {
                to.add(not_proved(format!("history could not be tried: {}", words(other))));
                return Ok(());
            }
        }
    }
    settle(nature).await;
    match write(nature, link, canary, &good).await? {
        Outcome::Done => to.add(
            Probe::found(
                Cause::HistoryBypassed,
                Grade::Broken,
                what,
                format!(
                    "the canary {} has a password again that it had before, though the policy remembers it",
                    canary.0
                ),
            )
            .mended_by("See that rekeyd's account is no administrator of passwords; people could go on with old ones."),
        ),
        Outcome::Rejected(rejection) => {
            to.add(Probe::fine(what, format!("an old password is refused for the canary: {rejection}")));
        }
        other => to.add(not_proved(words(other))),
    }
    Ok(())
}

/// Waits until the server has remembered the last password: 389-ds answers first and does that then.
async fn settle(nature: &Nature) {
    if matches!(nature.flavour.product(), Product::Ds389 | Product::FreeIpa) {
        tokio::time::sleep(SETTLING).await;
    }
}

fn not_proved(why: String) -> Probe {
    Probe::found(Cause::Unclear, Grade::Note, "rules on passwords", format!("not proved: {why}"))
        .mended_by("Run it again later; until then what the policy says is believed.")
}

fn words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Done => "it was taken".into(),
        Outcome::NotDone(why) | Outcome::Unsure(why) => why,
        Outcome::Rejected(rejection) => rejection.to_string(),
        Outcome::Stale => "somebody else keeps writing the canary".into(),
    }
}

async fn write(nature: &Nature, link: &mut Link, canary: &EntryName, password: &str) -> Result<Outcome, Failure> {
    let reply = match nature.flavour.canary(password) {
        Change::Modify { replace, condition, hints } => {
            link.modify(canary, Modify { replace: &replace, condition: condition.as_deref(), hints }).await?
        }
        Change::Exop { password } => link.set_password(canary, &password).await?,
    };
    let stamp = Stamp::new(String::new(), None);
    Ok(nature.flavour.outcome(&reply, &Asked { must_change: false, unlocks: false, stamp: &stamp }))
}

async fn people_apart(nature: &Nature, link: &mut Link, place: &Place, to: &mut Chart<'_>) -> Result<(), Failure> {
    for (cause, bit, words) in PEOPLE_APART {
        let Ok(has) = Filter::parse(&format!("(userAccountControl:1.2.840.113556.1.4.803:={bit})")) else { continue };
        let filter = Filter::And(vec![nature.people.clone(), has]);
        let query =
            Query { base: &place.base, scope: Scope::Subtree, filter, attributes: &[], limit: 1, control: None };
        let found = link.search(&query).await?.entries;
        if let Some(first) = found.first() {
            let name = first.name().0.clone();
            to.add(
                Probe::found(cause, Grade::Note, "people", format!("some people {words}: {name}"))
                    .mended_by("Take the flag away where it is not meant.")
                    .with(format!(
                        "ldapsearch -LLL -H '{}' -D ADMIN -W -b '{}' \
                         '(userAccountControl:1.2.840.113556.1.4.803:={bit})' sAMAccountName\n",
                        place.url, place.base
                    )),
            );
        }
    }
    Ok(())
}
