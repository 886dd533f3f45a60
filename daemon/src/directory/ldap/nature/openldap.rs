//! What one OpenLDAP server is: whether the password policy overlay is on this database, which policy is the default, and how
//! far a write can carry a condition. The last is proved on the canary.

use rekeyd_core::domain::EntryName;
use rekeyd_core::flavour::Flavour;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::openldap::{Conditions, OpenLdap};
use zeroize::Zeroizing;

use super::proof::{Proof, random_password};
use super::{Ground, Learnt, entry, watched_groups};
use crate::directory::config::{DefaultPolicy, Overlay};
use crate::directory::ldap::request::{Modify, Query, Scope};
use crate::directory::ldap::wire::{Failure, Link, PASSING};

/// Learns it. The canary is written only where `proof` is still empty.
pub(super) async fn learn(link: &mut Link, ground: &Ground<'_>, proof: &mut Option<Proof>) -> Result<Learnt, Failure> {
    let wanted = ground.wanted;
    // The schema comes with the overlay's module; whether the overlay is on this database is another question.
    let possible = wanted.ldap.ppolicy != Overlay::No && ground.schema.defines("pwdChangedTime");
    let proof = match proof {
        Some(proof) => proof.clone(),
        None => proof.insert(prove(link, ground, possible).await?).clone(),
    };
    let ppolicy = match (wanted.ldap.ppolicy, proof.overlay) {
        (Overlay::Yes, _) => true,
        (Overlay::Auto, Some(there)) => there,
        (Overlay::Auto, None) if possible => overlay_leaves_signs(link, ground).await?,
        (Overlay::Auto | Overlay::No, _) => false,
    };
    let conditions = if ppolicy { proof.conditions } else { Conditions::None };
    let defined = ground.schema.defined.clone();
    Ok(Learnt {
        flavour: Flavour::OpenLdap(OpenLdap { ppolicy, conditions, defined }),
        has_policies: ppolicy,
        default_policy: if ppolicy { default_policy(link, ground).await? } else { Ok(None) },
        has_own_policies: true,
        sight: None,
        groups_in_doubt: watched_groups(link, wanted, &ground.schema).await?,
        // The canary's password was written, so that whoever sees no mark of it sees nobody's.
        blind: if ppolicy && proof.written && proof.stamped.is_none() {
            vec!["pwdChangedTime".into()]
        } else {
            Vec::new()
        },
        proof,
    })
}

/// The policy of accounts that name none, where the configuration leaves it to be found: the only one there is.
async fn default_policy(link: &mut Link, ground: &Ground<'_>) -> Result<Result<Option<EntryName>, String>, Failure> {
    let wanted = ground.wanted;
    match &wanted.ldap.default_policy {
        DefaultPolicy::None => return Ok(Ok(None)),
        DefaultPolicy::Named(name) => return Ok(Ok(Some(name.clone()))),
        DefaultPolicy::Discovered => {}
    }
    let base = wanted.search.base.0.as_str();
    let context = ground.root.context_of(base).unwrap_or(base);
    let filter = Filter::equal("objectClass", "pwdPolicy");
    let found = link
        .search(&Query { base: context, scope: Scope::Subtree, filter, attributes: &[], limit: 2, control: None })
        .await?;
    let mut policies = found.entries.into_iter();
    Ok(match (policies.next(), policies.next()) {
        (Some(only), None) => Ok(Some(only.name().clone())),
        (None, _) => Err(format!(
            "no password policy can be seen below {context}; set default_policy to ppolicy_default, or to \"none\""
        )),
        (Some(_), Some(_)) => {
            Err(format!("there are several password policies below {context}; set default_policy to ppolicy_default"))
        }
    })
}

/// Whether there is any sign of the password policy overlay: a policy, or an account with the mark of a password. Where
/// such marks can't be seen it counts as there, since the state of accounts is then unknown and not absent.
async fn overlay_leaves_signs(link: &mut Link, ground: &Ground<'_>) -> Result<bool, Failure> {
    let wanted = ground.wanted;
    if wanted.ldap.default_policy != DefaultPolicy::Discovered {
        return Ok(wanted.ldap.default_policy != DefaultPolicy::None);
    }
    if default_policy(link, ground).await?.is_ok() {
        return Ok(true);
    }
    let mut person = async |more: Vec<Filter>| {
        let filter = Filter::And([vec![ground.people.clone()], more].concat());
        let base = wanted.search.base.0.as_str();
        let found = link
            .search(&Query { base, scope: Scope::Subtree, filter, attributes: &[], limit: 1, control: None })
            .await?;
        Ok(!found.entries.is_empty())
    };
    Ok(person(vec![Filter::present("pwdChangedTime")]).await?
        || !person(vec![Filter::readable("pwdChangedTime")]).await?)
}

/// How often another rekeyd may come in between on the same canary.
const RACES: usize = 5;

/// Writes a random password to the canary with a condition, and looks at what the server made of it.
async fn prove(link: &mut Link, ground: &Ground<'_>, possible: bool) -> Result<Proof, Failure> {
    let wanted = ground.wanted;
    let none = |words: String| Proof::none(words);
    if !possible {
        return Ok(Proof { whole: true, ..none("by the password-modify operation, right after a look".into()) });
    }
    let Some(canary) = &wanted.ldap.canary else {
        return Ok(none("by the password-modify operation, right after a look: no canary is configured".into()));
    };
    let speaking =
        |conditions| Flavour::OpenLdap(OpenLdap { ppolicy: true, conditions, defined: ground.schema.defined.clone() });
    let attributes = speaking(Conditions::Full).attributes(&ground.mapping);
    let Some(mut before) = entry(link, &canary.0, &attributes).await? else {
        return Ok(none(format!("the canary {} can't be read", canary.0)));
    };
    let Ok(password) = random_password() else {
        return Ok(none("the system gives no randomness".into()));
    };
    let replace = [("userPassword", Zeroizing::new(password.as_bytes().to_vec()))];
    let mut reached = None;
    let mut trouble = "the server has no assertion control".to_owned();
    let tries = if ground.root.assertion { &[Conditions::Full, Conditions::Core][..] } else { &[] };
    'kinds: for conditions in tries {
        for _ in 0..RACES {
            let stamp = match speaking(*conditions).stamp(&before, &ground.mapping) {
                Ok(stamp) => stamp,
                Err(bad) => return Ok(none(format!("{} of the canary: {}", bad.attribute, bad.why))),
            };
            let modify = Modify { replace: &replace, condition: stamp.guard(), hints: None };
            let reply = link.modify(canary, modify).await?;
            match reply.code {
                0 => {
                    reached = Some(*conditions);
                    break 'kinds;
                }
                122 => {}
                // Kept as a proof, this would hold long after the trouble.
                passing if PASSING.contains(&passing) => return Err(Failure::Unreachable(reply.words())),
                _ => {
                    let words = format!("the canary's password can't be set: {}", reply.words());
                    return Ok(Proof { copy: speaking(*conditions).is_copy(&reply), ..none(words) });
                }
            }
            let Some(now) = entry(link, &canary.0, &attributes).await? else {
                return Ok(none(format!("the canary {} can't be read", canary.0)));
            };
            let same = speaking(*conditions).stamp(&now, &ground.mapping).is_ok_and(|now| now.guard() == stamp.guard());
            before = now;
            if same {
                // The canary is as it was read, so that the server can't work out what the condition says.
                trouble = "the server can't work the condition out".into();
                break;
            }
            // Another rekeyd has just written the canary.
            trouble = "somebody else keeps writing the canary".into();
        }
    }
    let Some(conditions) = reached else { return Ok(none(trouble)) };
    let Some(after) = entry(link, &canary.0, &attributes).await? else {
        return Ok(none("the canary can't be read again".into()));
    };
    let stamped = after.moment("pwdChangedTime").ok().flatten();
    let values = after.values("userPassword");
    let hashed = values
        .iter()
        .all(|value| value.starts_with(b"{") && value.contains(&b'}') && value.as_slice() != password.as_bytes());
    if !hashed {
        // Nobody knows this password, yet clear text is not left lying about.
        link.set_password(canary, &password).await?;
    }
    let filter = Filter::readable("pwdChangedTime");
    let query = Query { base: &canary.0, scope: Scope::Base, filter, attributes: &[], limit: 1, control: None };
    let visible = !link.search(&query).await?.entries.is_empty();
    let overlay = (stamped.is_some() || visible).then_some(stamped.is_some());
    let seen = Proof { written: true, stamped, overlay, ..none(String::new()) };
    if overlay == Some(false) {
        let words = "by the password-modify operation, right after a look: there is no password policy overlay";
        return Ok(Proof { words: words.into(), whole: true, ..seen });
    }
    if values.is_empty() {
        return Ok(Proof { words: "rekeyd may not read the canary's userPassword".into(), ..seen });
    }
    if !hashed {
        let words = "the server keeps a password from a Modify in clear text; turn on ppolicy_hash_cleartext";
        return Ok(Proof { words: words.into(), ..seen });
    }
    let whole = conditions == Conditions::Full;
    let words = if whole {
        "by a Modify that carries the whole account's state as its condition"
    } else {
        "by a Modify that carries the policy's state as its condition, without your markers"
    };
    Ok(Proof { conditions, words: words.into(), whole, ..seen })
}
