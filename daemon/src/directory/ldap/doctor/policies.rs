//! How a password will be written on one server, and what its password policy makes of it, as the policy's own entry says.
//! What of that holds for us is proved elsewhere.

use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::Timestamp;
use rekeyd_core::flavour::Flavour;
use rekeyd_core::flavour::active_directory::ActiveDirectory;
use rekeyd_core::flavour::openldap::Conditions;
use rekeyd_core::flavour::policy_entry::{Policy, PolicyView};
use rekeyd_core::flavour::product::Product;
use rekeyd_core::flavour::remedy::Place;
use rekeyd_core::settings::in_words;

use super::seen::Chart;
use crate::directory::ldap::nature::Nature;
use crate::directory::ldap::upstream::{Session, Upstream};
use crate::directory::ldap::wire::Failure;
use crate::directory::ldap::{Ldap, gather};
use crate::directory::probe::{Cause, Grade, Probe};

/// How far clocks may differ before it is said.
const CLOCKS: i64 = 5000;

impl Ldap {
    /// Says how a password will be written.
    pub(super) fn writing(&self, session: &Session, place: &Place, now: Timestamp, to: &mut Chart<'_>) {
        let (nature, proof, root) = (&session.nature, &session.nature.proof, &session.nature.root);
        let openldap = nature.flavour.product() == Product::OpenLdap;
        if proof.whole {
            to.add(Probe::fine("writing", proof.words.clone()));
        } else if proof.copy {
            to.add(
                Probe::found(Cause::ReadOnly, Grade::Note, "writing", proof.words.clone())
                    .mended_by("Name a server that takes writes in `urls`, too."),
            );
        } else if openldap {
            to.add(self.unconditional(nature, place));
        } else {
            to.add(
                Probe::found(Cause::CanaryUnusable, Grade::Broken, "writing", proof.words.clone()).mended_by(
                    "Give rekeyd's account the right to set the canary's password, as it needs it for people.",
                ),
            );
        }
        if openldap && proof.conditions == Conditions::None && !root.password_modify {
            to.add(
                Probe::found(
                    Cause::ResetDenied,
                    Grade::Broken,
                    "writing",
                    "the server has no password-modify operation",
                )
                .mended_by("Let the server offer RFC 3062, or see the canary above."),
            );
        }
        if openldap && nature.has_policies && !root.policy_control {
            to.add(
                Probe::found(
                    Cause::ReasonsMissing,
                    Grade::Note,
                    "reasons",
                    "the server does not answer the password policy control, so that refusals have no reason",
                )
                .mended_by("Load slapo-ppolicy for this database."),
            );
        }
        if openldap && nature.has_policies && proof.written && proof.stamped.is_none() {
            to.add(
                Probe::found(
                    Cause::StateHidden,
                    Grade::Broken,
                    "state of accounts",
                    "pwdChangedTime of the canary is not shown after a write of its password",
                )
                .mended_by("Let rekeyd's account read pwdChangedTime, and load slapo-ppolicy for this database.")
                .with(place.access(&place.suffix, &["pwdChangedTime"], "read")),
            );
        }
        match proof.stamped.map(|stamped| stamped.millis() - now.millis()) {
            Some(difference) if difference.abs() > CLOCKS => {
                let ahead = if difference > 0 { "ahead of" } else { "behind" };
                let by = in_words(Duration::from_secs(difference.unsigned_abs() / 1000));
                to.add(
                    Probe::found(
                        Cause::Clock,
                        Grade::Note,
                        "clocks",
                        format!("the server's clock is {by} {ahead} ours"),
                    )
                    .mended_by("Let both follow the same time servers.")
                    .with("chronyc tracking  # on both machines\n".to_owned()),
                );
            }
            Some(_) => to.add(Probe::fine("clocks", "agree")),
            None => {}
        }
    }

    /// Why a write on OpenLDAP carries no condition.
    fn unconditional(&self, nature: &Nature, place: &Place) -> Probe {
        let words = nature.proof.words.clone();
        let found = |cause| Probe::found(cause, Grade::Note, "writing", words.clone());
        let lock = "then an administrator's lock can never be erased by a reset";
        match &self.wanted.ldap.canary {
            None => found(Cause::CanaryMissing).mended_by(format!(
                "Set `canary` to an entry of rekeyd's own, whose password it may write and read (config/openldap-acl.ldif), \
                 and turn on ppolicy_hash_cleartext: {lock}."
            )),
            Some(_) if words.contains("ppolicy_hash_cleartext") => {
                found(Cause::ClearText).mended_by(format!("Turn it on: {lock}.")).with(place.hashes())
            }
            Some(canary) if words.contains("canary") => found(Cause::CanaryUnusable)
                .mended_by(format!("Let rekeyd's account write and read the password of its canary: {lock}."))
                .with(place.access(&canary.0, &[], "write")),
            Some(_) => found(Cause::ConditionMissing)
                .mended_by("Let the server offer the assertion control (RFC 4528), on which an administrator's lock rests."),
        }
    }

    /// Says what the password policy of the server is, as far as it concerns a new password. Gives it where it can be read.
    pub(super) async fn policies_there(
        &self,
        upstream: &Upstream,
        session: &mut Session,
        place: &Place,
        to: &mut Chart<'_>,
    ) -> Result<Option<Policy>, Failure> {
        let nature = Arc::clone(&session.nature);
        if let Flavour::ActiveDirectory(ad) = &nature.flavour {
            domain_in_words(ad, to);
            return Ok(None);
        }
        if !nature.has_policies {
            without(&nature, to);
            return Ok(None);
        }
        let hidden = |why: String, remedy: &str| {
            Probe::found(Cause::PolicyHidden, Grade::Broken, "password policy", why).mended_by(remedy)
        };
        match &nature.default_policy {
            Err(why) => to.add(hidden(
                why.clone(),
                "Until then the state of accounts that name no policy is unknown, which is no.",
            )),
            Ok(None) => {
                to.add(Probe::fine("password policy", "accounts that name none have none, by the configuration"));
            }
            Ok(Some(name)) => match gather::read_policy(session, &name.0).await? {
                PolicyView::InForce(policy) => {
                    upstream.learnt_policy(&name.0, &PolicyView::InForce(policy.clone()));
                    to.add(Probe::fine("password policy", format!("{} is the default", policy.name)));
                    in_force(&policy, &Words::of(nature.flavour.product()), place, to);
                    return Ok(Some(policy));
                }
                PolicyView::Unreadable(why) => {
                    let all = nature.flavour.policy_attributes().iter().copied();
                    let all = all.chain(["objectClass", rekeyd_core::flavour::ds389::policy::LOCAL]);
                    // This one came with a later version, and the server refuses rules on what it does not know.
                    let attributes: Vec<&str> = if place.product == Product::OpenLdap {
                        Vec::new()
                    } else {
                        all.filter(|name| *name != "passwordAdminSkipInfoUpdate").collect()
                    };
                    to.add(hidden(why, "Let rekeyd's account read all of it.").with(place.access(
                        &name.0,
                        &attributes,
                        "read",
                    )));
                }
                PolicyView::None => {}
            },
        }
        Ok(None)
    }
}

fn domain_in_words(ad: &ActiveDirectory, to: &mut Chart<'_>) {
    match &ad.policy {
        Some(_) => {
            to.add(Probe::fine("password policy", format!("the domain's, and {} for some accounts", ad.objects.len())));
        }
        None => to.add(
            Probe::found(
                Cause::PolicyHidden,
                Grade::Note,
                "password policy",
                "the domain's can't be read, so that refusals have no numbers",
            )
            .mended_by("Let rekeyd's account read the head of the domain."),
        ),
    }
    if !ad.not_enforced().is_empty() {
        to.add(
            Probe::found(
                Cause::HistoryBypassed,
                Grade::Note,
                "password policy",
                format!(
                    "a reset skips {}: the server has no policy hints control (1.2.840.113556.1.4.2239)",
                    ad.not_enforced().join(" and ")
                ),
            )
            .mended_by(
                "Nothing makes this server look at old passwords in a reset; Windows Server 2012 and later do. Tell people \
                 so, and do not rely on history.",
            ),
        );
    }
}

fn without(nature: &Nature, to: &mut Chart<'_>) {
    let marked: Vec<&str> = nature.mapping.markers.iter().map(|(finding, _)| finding.words()).collect();
    let outcome = if marked.is_empty() {
        "there is no password policy overlay, and no markers are configured: nobody counts as never activated, \
         disabled or locked, and only shadowExpire ends an account"
            .to_owned()
    } else {
        format!("there is no password policy overlay; by your markers: {}", marked.join("; "))
    };
    to.add(
        Probe::found(Cause::PolicyMissing, Grade::Note, "password policy", outcome)
            .mended_by("Say in [directory.markers] how such accounts are told, or load slapo-ppolicy."),
    );
}

/// What a product calls the parts of a policy, each with the value that it should have.
struct Words {
    must_change: (&'static str, &'static str),
    least_age: &'static str,
    user_change: (&'static str, &'static str),
    quality: (&'static str, &'static str),
    history: Option<(&'static str, &'static str)>,
}

impl Words {
    fn of(product: Product) -> Self {
        match product {
            Product::Ds389 => Self {
                must_change: ("passwordMustChange", "on"),
                least_age: "passwordMinAge",
                user_change: ("passwordChange", "on"),
                quality: ("passwordCheckSyntax", "on"),
                history: Some(("passwordHistory", "on")),
            },
            // Such policies leave no choice in the other points.
            Product::ActiveDirectory | Product::FreeIpa => Self {
                must_change: ("", ""),
                least_age: "krbMinPwdLife",
                user_change: ("", ""),
                quality: ("", ""),
                history: None,
            },
            Product::OpenLdap => Self {
                must_change: ("pwdMustChange", "TRUE"),
                least_age: "pwdMinAge",
                user_change: ("pwdAllowUserChange", "TRUE"),
                quality: ("pwdCheckQuality", "2"),
                history: Some(("pwdInHistory", "5")),
            },
        }
    }
}

fn in_force(policy: &Policy, words: &Words, place: &Place, to: &mut Chart<'_>) {
    let mut say = |cause, grade, outcome: String, (name, value): (&str, &str), why: &str| {
        to.add(
            Probe::found(cause, grade, "password policy", outcome)
                .mended_by(format!("Set {name} to {value}{why}."))
                .with(place.set(&policy.name, name, value)),
        );
    };
    if policy.safe_modify {
        let outcome = "pwdSafeModify wants the old password, so that nobody who forgot it can set a new one";
        say(Cause::SafeModify, Grade::Broken, outcome.into(), ("pwdSafeModify", "FALSE"), "");
    }
    if let Some(age) = policy.min_age {
        let name = words.least_age;
        let outcome = format!("{name} refuses a new password within {} of the last change", in_words(age));
        let why = ", or live with it: people who reset twice within that time are refused";
        say(Cause::MinAge, Grade::Note, outcome, (name, "0"), why);
    }
    if !policy.must_change {
        let outcome =
            format!("{} is off, so that an operator's temporary password need not be changed", words.must_change.0);
        say(Cause::MustChangeOff, Grade::Note, outcome, words.must_change, " if operators set passwords");
    }
    if !policy.allow_user_change {
        let outcome = format!("{} is off, so that nobody may reset without an operator", words.user_change.0);
        say(Cause::UserChangeOff, Grade::Note, outcome, words.user_change, " if people are to help themselves");
    }
    if policy.check_quality == 0 {
        let outcome = format!("{} is off: the server checks neither length nor quality", words.quality.0);
        let why = "; until then the rules of `policy.password` are the only ones";
        say(Cause::QualityOff, Grade::Note, outcome, words.quality, why);
    }
    if let (0, Some(history)) = (policy.in_history, words.history) {
        let outcome = format!("{} is off: old passwords may be set again", history.0);
        say(Cause::HistoryOff, Grade::Note, outcome, history, "");
    }
}
