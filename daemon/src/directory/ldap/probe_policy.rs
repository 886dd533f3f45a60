//! What `check` says about writing a password on one server, in its product's own words: how it is done, which rights rekeyd
//! has for it, and what the password policy makes of it.

use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::Timestamp;
use rekeyd_core::flavour::Flavour;
use rekeyd_core::flavour::active_directory::ActiveDirectory;
use rekeyd_core::flavour::active_directory::sight::Power;
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::openldap::Conditions;
use rekeyd_core::flavour::policy_entry::{Policy, PolicyView};
use rekeyd_core::flavour::product::Product;
use rekeyd_core::settings::in_words;

use super::gather;
use super::nature::Nature;
use super::probe::Findings;
use super::upstream::{Session, Upstream};
use super::wire::Failure;
use crate::directory::Grade;

/// How far clocks may differ before it is said.
const CLOCKS: i64 = 5000;

/// Says how a password will be written.
pub(super) fn writing(session: &Session, now: Timestamp, to: &mut Findings) {
    let (proof, root) = (&session.nature.proof, &session.nature.root);
    let openldap = session.nature.flavour.product() == Product::OpenLdap;
    if proof.whole {
        to.fine("writing", proof.words.clone());
    } else if proof.copy {
        to.say("writing", proof.words.clone(), Grade::Note, Some("Name a server that takes writes in `urls`, too."));
    } else if openldap {
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
    } else {
        let remedy = "Give rekeyd's account the right to set the canary's password, as it needs it for people.";
        to.say("writing", proof.words.clone(), Grade::Broken, Some(remedy));
    }
    if openldap && proof.conditions == Conditions::None && !root.password_modify {
        to.say(
            "writing",
            "the server has no password-modify operation",
            Grade::Broken,
            Some("Let the server offer RFC 3062, or see the canary above."),
        );
    }
    if openldap && session.nature.has_policies && !root.policy_control {
        to.say(
            "reasons",
            "the server does not answer the password policy control, so that refusals have no reason",
            Grade::Note,
            Some("Load slapo-ppolicy for this database."),
        );
    }
    if openldap && session.nature.has_policies && proof.written && proof.stamped.is_none() {
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

/// Says which rights rekeyd has on a person's entry, where its access list shows them, and what a server takes us for.
pub(super) fn rights(nature: &Nature, person: &Entry, to: &mut Findings) {
    if let Flavour::FreeIpa(ipa) = &nature.flavour {
        match ipa.writer.obstacle() {
            None => to.fine("rights", "the server holds our writes to the policy, and lets the password stand"),
            Some(why) => to.say(
                "rights",
                why,
                Grade::Broken,
                Some("Run the command that it names, on every server that rekeyd writes to."),
            ),
        }
    }
    let Some(Ok(powers)) = nature.sight.as_ref().map(|sight| sight.powers(person)) else { return };
    if powers.contains(&Power::Reset) {
        to.fine("rights", "rekeyd may set the password of the first person found");
    } else {
        to.say(
            "rights",
            "rekeyd may not set the password of the first person found",
            Grade::Note,
            Some(
                "Delegate \"Reset Password\" on the people's entries to rekeyd's account. Protected accounts \
                 (AdminSDHolder) stay out of its reach, as they should.",
            ),
        );
    }
}

/// Says what the password policy of the server is, as far as it concerns a new password.
pub(super) async fn policies(upstream: &Upstream, session: &mut Session, to: &mut Findings) -> Result<(), Failure> {
    let nature = Arc::clone(&session.nature);
    if let Flavour::ActiveDirectory(ad) = &nature.flavour {
        domain_in_words(ad, to);
        return Ok(());
    }
    if !nature.has_policies {
        without(&nature, to);
        return Ok(());
    }
    match &nature.default_policy {
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
                to.fine("password policy", format!("{} is the default", policy.name));
                in_force(&policy, Words::of(nature.flavour.product()), to);
            }
            PolicyView::Unreadable(why) => {
                to.say("password policy", why, Grade::Broken, Some("Let rekeyd's account read all of it."));
            }
            PolicyView::None => {}
        },
    }
    Ok(())
}

fn domain_in_words(ad: &ActiveDirectory, to: &mut Findings) {
    match &ad.policy {
        Some(_) => to.fine("password policy", format!("the domain's, and {} for some accounts", ad.objects.len())),
        None => to.say(
            "password policy",
            "the domain's can't be read, so that refusals have no numbers",
            Grade::Note,
            Some("Let rekeyd's account read the head of the domain."),
        ),
    }
    if !ad.not_enforced().is_empty() {
        to.say(
            "password policy",
            format!("a reset skips {}: the server has no policy hints control", ad.not_enforced().join(" and ")),
            Grade::Note,
            None,
        );
    }
}

fn without(nature: &Nature, to: &mut Findings) {
    let marked: Vec<&str> = nature.mapping.markers.iter().map(|(finding, _)| finding.words()).collect();
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

/// What a product calls the parts of a policy, each with what it should be.
struct Words {
    must_change: (&'static str, &'static str),
    least_age: &'static str,
    user_change: (&'static str, &'static str),
    quality: (&'static str, &'static str),
}

impl Words {
    fn of(product: Product) -> Self {
        match product {
            Product::Ds389 => Self {
                must_change: ("passwordMustChange is off", "Set passwordMustChange to on"),
                least_age: "passwordMinAge",
                user_change: ("passwordChange is off", "Set passwordChange to on"),
                quality: ("passwordCheckSyntax is off", "Set passwordCheckSyntax to on"),
            },
            // Such policies leave no choice in the other points.
            Product::ActiveDirectory | Product::FreeIpa => {
                Self { must_change: ("", ""), least_age: "krbMinPwdLife", user_change: ("", ""), quality: ("", "") }
            }
            Product::OpenLdap => Self {
                must_change: ("pwdMustChange is not TRUE", "Set pwdMustChange to TRUE"),
                least_age: "pwdMinAge",
                user_change: ("pwdAllowUserChange is FALSE", "Set pwdAllowUserChange to TRUE"),
                quality: ("pwdCheckQuality is 0", "Set pwdCheckQuality to 2"),
            },
        }
    }
}

fn in_force(policy: &Policy, words: Words, to: &mut Findings) {
    if policy.safe_modify {
        to.say(
            "password policy",
            "pwdSafeModify wants the old password, so that nobody who forgot it can set a new one",
            Grade::Broken,
            Some("Set pwdSafeModify to FALSE."),
        );
    }
    if let Some(age) = policy.min_age {
        let name = words.least_age;
        to.say(
            "password policy",
            format!("{name} refuses a new password within {} of the last change", in_words(age)),
            Grade::Note,
            Some(&format!("People who reset twice within that time are refused; lower {name} if that hurts.")),
        );
    }
    if !policy.must_change {
        let (what, remedy) = words.must_change;
        to.say(
            "password policy",
            format!("{what}, so that an operator's temporary password need not be changed"),
            Grade::Note,
            Some(&format!("{remedy} if operators set passwords.")),
        );
    }
    if !policy.allow_user_change {
        let (what, remedy) = words.user_change;
        to.say(
            "password policy",
            format!("{what}, so that nobody may reset without an operator"),
            Grade::Note,
            Some(&format!("{remedy} if people are to help themselves.")),
        );
    }
    if policy.check_quality == 0 {
        let (what, remedy) = words.quality;
        to.say(
            "password policy",
            format!("{what}: the server checks neither length nor quality"),
            Grade::Note,
            Some(&format!("{remedy}; until then the rules of `policy.password` are the only ones.")),
        );
    }
}
