//! What one server is: which attributes it knows, whether it keeps a password policy, which policy is the default, whose
//! account ours is, and how far a write can carry a condition. Learnt from the server itself and, where one is
//! configured, from the canary: an entry of rekeyd's own whose password it may read.

use rekeyd_core::domain::{Dn, EntryName, Timestamp};
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::openldap::{Conditions, OpenLdap};
use rekeyd_core::flavour::{Flavour, Mapping, policy_entry, ppolicy};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::request::{ASSERTION, PASSWORD_MODIFY, Query, Scope};
use super::wire::{Failure, Link, PASSING};
use crate::directory::config::{DefaultPolicy, Identity, LdapConfig, Overlay, Search};

/// The attributes by which groups name their members.
pub(super) const MEMBERSHIP: [&str; 4] = ["member", "uniqueMember", "memberUid", "gidNumber"];

/// What is to be learnt, and where.
pub(super) struct Wanted {
    pub(super) mapping: Mapping,
    pub(super) search: Search,
    pub(super) watched: Vec<Dn>,
    pub(super) ldap: LdapConfig,
    /// The product, before anything is known of the server.
    pub(super) flavour: Flavour,
}

/// What one server is.
pub(super) struct Nature {
    /// How to speak of its entries.
    pub(super) flavour: Flavour,
    /// The attributes that are asked for of a person.
    pub(super) attributes: Vec<String>,
    /// The policy of accounts that name none: its entry, that there is none, or why that is not known.
    pub(super) default_policy: Result<Option<EntryName>, String>,
    /// The names in lower case of the attributes that its schema defines, of those that matter here.
    pub(super) defined: Vec<String>,
    /// Second names of such attributes with the first, under which the server shows them; both in lower case.
    pub(super) aliases: Vec<(String, String)>,
    /// Our own entry.
    pub(super) own: Option<Dn>,
    /// Why the groups of nobody are known.
    pub(super) groups_in_doubt: Option<String>,
    /// Attributes that nobody's entry shows us, as the canary proves.
    pub(super) blind: Vec<String>,
    /// What its root entry says that it can do.
    pub(super) root: Root,
    /// What the canary has shown.
    pub(super) proof: Proof,
}

/// What a server says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Root {
    /// Whether it takes a condition on a write.
    pub(super) assertion: bool,
    /// Whether it has the password-modify operation.
    pub(super) password_modify: bool,
    /// Whether it answers the password policy control.
    pub(super) policy_control: bool,
    /// Where its data begins.
    pub(super) contexts: Vec<String>,
    /// Where its schema is.
    pub(super) schema: Option<String>,
}

/// What writing the canary's password has shown.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    /// How far a write can carry a condition.
    pub(super) conditions: Conditions,
    /// How it went, in words.
    pub(super) words: String,
    /// Whether that is as good as it can be.
    pub(super) whole: bool,
    /// Whether the server takes no writes at all, so that nothing could be shown.
    pub(super) copy: bool,
    /// Whether its password was written.
    pub(super) written: bool,
    /// What the server says was the moment of that, if it shows it.
    pub(super) stamped: Option<Timestamp>,
    /// Whether the password policy overlay is on this database, where the canary could tell.
    pub(super) overlay: Option<bool>,
}

impl Nature {
    /// Learns what a server is. The canary is written only where `proof` is still empty.
    pub(super) async fn learn(link: &mut Link, wanted: &Wanted, proof: &mut Option<Proof>) -> Result<Self, Failure> {
        let root = root(link).await?;
        let (defined, aliases) = schema(link, &root, wanted).await?;
        // The schema comes with the overlay's module; whether the overlay is on this database is another question.
        let possible = wanted.ldap.ppolicy != Overlay::No && defines(&defined, "pwdChangedTime");
        let proof = match proof {
            Some(proof) => proof.clone(),
            None => proof.insert(prove(link, wanted, &defined, possible, &root).await?).clone(),
        };
        let ppolicy = match (wanted.ldap.ppolicy, proof.overlay) {
            (Overlay::Yes, _) => true,
            (Overlay::Auto, Some(there)) => there,
            (Overlay::Auto, None) if possible => overlay_leaves_signs(link, wanted, &root).await?,
            (Overlay::Auto | Overlay::No, _) => false,
        };
        let conditions = if ppolicy { proof.conditions } else { Conditions::None };
        let own = match &wanted.ldap.identity {
            Identity::Simple { dn, .. } => Dn::parse(&dn.0).ok(),
            Identity::External => {
                link.who_am_i().await?.and_then(|name| name.strip_prefix("dn:").and_then(|dn| Dn::parse(dn).ok()))
            }
        };
        let flavour = Flavour::OpenLdap(OpenLdap { ppolicy, conditions, defined: defined.clone() });
        Ok(Self {
            attributes: flavour.attributes(&wanted.mapping),
            flavour,
            default_policy: if ppolicy { default_policy(link, wanted, &root).await? } else { Ok(None) },
            groups_in_doubt: watched_groups(link, wanted, &defined).await?,
            // The canary's password was written, so that whoever sees no mark of it sees nobody's.
            blind: if ppolicy && proof.written && proof.stamped.is_none() {
                vec!["pwdChangedTime".into()]
            } else {
                Vec::new()
            },
            defined,
            aliases,
            own,
            root,
            proof,
        })
    }

    /// Whether the password policy overlay keeps the state of accounts.
    pub(super) fn has_policies(&self) -> bool {
        let Flavour::OpenLdap(openldap) = &self.flavour;
        openldap.ppolicy
    }

    /// The name under which the server shows an attribute, where that is another one than this.
    pub(super) fn shown_as(&self, attribute: &str) -> Option<&str> {
        let bare = attribute.split(';').next().unwrap_or(attribute);
        self.aliases.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(bare)).map(|(_, first)| first.as_str())
    }

    /// Whether the server's schema knows an attribute.
    pub(super) fn defines(&self, attribute: &str) -> bool {
        defines(&self.defined, attribute)
    }
}

fn defines(defined: &[String], attribute: &str) -> bool {
    let bare = attribute.split(';').next().unwrap_or(attribute);
    defined.iter().any(|known| known.eq_ignore_ascii_case(bare))
}

/// Reads one entry by its name; `None` where there is none, or none that we may see.
pub(super) async fn entry(link: &mut Link, name: &str, attributes: &[String]) -> Result<Option<Entry>, Failure> {
    let found = link.search(&entry_query(name, attributes)).await?;
    Ok(found.entries.into_iter().next())
}

/// Asks for one entry by its name.
pub(super) fn entry_query<'q>(name: &'q str, attributes: &'q [String]) -> Query<'q> {
    Query { base: name, scope: Scope::Base, filter: Filter::present("objectClass"), attributes, limit: 1 }
}

async fn root(link: &mut Link) -> Result<Root, Failure> {
    let names = ["supportedControl", "supportedExtension", "namingContexts", "subschemaSubentry"].map(str::to_owned);
    let Some(entry) = entry(link, "", &names).await? else {
        return Err(Failure::Refused("the server's root entry can't be read".into()));
    };
    let lists = |name: &str, oid: &str| entry.texts(name).any(|value| value == oid);
    Ok(Root {
        assertion: lists("supportedControl", ASSERTION),
        password_modify: lists("supportedExtension", PASSWORD_MODIFY),
        policy_control: lists("supportedControl", ppolicy::OID),
        contexts: entry.texts("namingContexts").map(str::to_owned).collect(),
        schema: entry.texts("subschemaSubentry").next().map(str::to_owned),
    })
}

/// The names of the attributes that matter here and that the schema defines, and which of them are second names of
/// others; all in lower case.
async fn schema(
    link: &mut Link,
    root: &Root,
    wanted: &Wanted,
) -> Result<(Vec<String>, Vec<(String, String)>), Failure> {
    let place = root.schema.as_deref().unwrap_or("cn=Subschema");
    let Some(entry) = entry(link, place, &["attributeTypes".to_owned()]).await? else {
        return Err(Failure::Refused(format!("the server's schema ({place}) can't be read")));
    };
    let mut matters = wanted.flavour.attributes(&wanted.mapping);
    matters.extend(MEMBERSHIP.into_iter().chain(policy_entry::ATTRIBUTES).map(str::to_owned));
    let mut asked = Vec::new();
    wanted.search.filter.attributes(&mut asked);
    matters.extend(asked.into_iter().map(str::to_owned));
    let matters: Vec<String> =
        matters.iter().map(|name| name.split(';').next().unwrap_or(name).to_ascii_lowercase()).collect();
    let mut defined = Vec::new();
    let mut aliases = Vec::new();
    for names in entry.texts("attributeTypes").map(names_in) {
        let Some(first) = names.first() else { continue };
        let others = names.iter().skip(1).filter(|name| matters.contains(name));
        aliases.extend(others.map(|alias| (alias.clone(), first.clone())));
        defined.extend(names.iter().filter(|name| matters.contains(name)).cloned());
    }
    if defined.is_empty() {
        return Err(Failure::Refused(format!("the server's schema ({place}) shows no attribute types")));
    }
    defined.sort_unstable();
    defined.dedup();
    Ok((defined, aliases))
}

/// The names of one attribute type as a schema describes it: `( 1.2 NAME 'a' …` or `( 1.2 NAME ( 'a' 'b' ) …`.
fn names_in(description: &str) -> Vec<String> {
    let Some((_, rest)) = description.split_once(" NAME ") else { return Vec::new() };
    let rest = rest.trim_start();
    let end = if rest.starts_with('(') { rest.find(')') } else { rest.match_indices('\'').nth(1).map(|(at, _)| at) };
    let names = end.and_then(|end| rest.get(..end)).unwrap_or_default();
    names.split('\'').skip(1).step_by(2).map(str::to_ascii_lowercase).collect()
}

/// The policy of accounts that name none, where the configuration leaves it to be found: the only one there is.
async fn default_policy(
    link: &mut Link,
    wanted: &Wanted,
    root: &Root,
) -> Result<Result<Option<EntryName>, String>, Failure> {
    match &wanted.ldap.default_policy {
        DefaultPolicy::None => return Ok(Ok(None)),
        DefaultPolicy::Named(name) => return Ok(Ok(Some(name.clone()))),
        DefaultPolicy::Discovered => {}
    }
    let base = Dn::parse(&wanted.search.base.0).ok();
    let holds = |context: &&String| {
        Dn::parse(context)
            .is_ok_and(|context| base.as_ref().is_some_and(|base| *base == context || base.is_below(&context)))
    };
    let context = root.contexts.iter().find(holds).map_or(wanted.search.base.0.as_str(), String::as_str);
    let filter = Filter::equal("objectClass", "pwdPolicy");
    let found = link.search(&Query { base: context, scope: Scope::Subtree, filter, attributes: &[], limit: 2 }).await?;
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

/// Whether the groups that verdicts rest on are there and show their members.
async fn watched_groups(link: &mut Link, wanted: &Wanted, defined: &[String]) -> Result<Option<String>, Failure> {
    let members: Vec<&str> = MEMBERSHIP.into_iter().filter(|name| defines(defined, name)).collect();
    let searchable = Filter::And(members.iter().map(|name| Filter::readable(name)).collect());
    for group in &wanted.watched {
        let name = group.as_str();
        let query = |filter| Query { base: name, scope: Scope::Base, filter, attributes: &[], limit: 1 };
        if link.search(&query(searchable.clone())).await?.entries.is_empty() {
            let there = !link.search(&query(Filter::present("objectClass"))).await?.entries.is_empty();
            let what = if there { "rekeyd's account may not see its members" } else { "it is not there" };
            return Ok(Some(format!("verdicts rest on the group {name}, and {what}")));
        }
    }
    Ok(None)
}

/// Whether there is any sign of the password policy overlay: a policy, or an account with the mark of a password. Where
/// such marks can't be seen it counts as there, since the state of accounts is then unknown and not absent.
async fn overlay_leaves_signs(link: &mut Link, wanted: &Wanted, root: &Root) -> Result<bool, Failure> {
    if wanted.ldap.default_policy != DefaultPolicy::Discovered {
        return Ok(wanted.ldap.default_policy != DefaultPolicy::None);
    }
    if default_policy(link, wanted, root).await?.is_ok() {
        return Ok(true);
    }
    let mut person = async |more: Vec<Filter>| {
        let filter = Filter::And([vec![wanted.search.filter.clone()], more].concat());
        let base = wanted.search.base.0.as_str();
        let found = link.search(&Query { base, scope: Scope::Subtree, filter, attributes: &[], limit: 1 }).await?;
        Ok(!found.entries.is_empty())
    };
    Ok(person(vec![Filter::present("pwdChangedTime")]).await?
        || !person(vec![Filter::readable("pwdChangedTime")]).await?)
}

/// How often another rekeyd may come in between on the same canary.
const RACES: usize = 5;

/// Writes a random password to the canary with a condition, and looks at what the server made of it.
async fn prove(
    link: &mut Link,
    wanted: &Wanted,
    defined: &[String],
    possible: bool,
    root: &Root,
) -> Result<Proof, Failure> {
    let none = |words: String| Proof {
        conditions: Conditions::None,
        words,
        whole: false,
        copy: false,
        written: false,
        stamped: None,
        overlay: None,
    };
    if !possible {
        return Ok(Proof { whole: true, ..none("by the password-modify operation, right after a look".into()) });
    }
    let Some(canary) = &wanted.ldap.canary else {
        return Ok(none("by the password-modify operation, right after a look: no canary is configured".into()));
    };
    let speaking = |conditions| Flavour::OpenLdap(OpenLdap { ppolicy: true, conditions, defined: defined.to_vec() });
    let attributes = wanted.flavour.attributes(&wanted.mapping);
    let Some(mut before) = entry(link, &canary.0, &attributes).await? else {
        return Ok(none(format!("the canary {} can't be read", canary.0)));
    };
    let Ok(password) = random_password() else {
        return Ok(none("the system gives no randomness".into()));
    };
    let replace = [("userPassword", Zeroizing::new(password.as_bytes().to_vec()))];
    let mut reached = None;
    let mut trouble = "the server has no assertion control".to_owned();
    let tries = if root.assertion { &[Conditions::Full, Conditions::Core][..] } else { &[] };
    'kinds: for conditions in tries {
        for _ in 0..RACES {
            let stamp = match speaking(*conditions).stamp(&before, &wanted.mapping) {
                Ok(stamp) => stamp,
                Err(bad) => return Ok(none(format!("{} of the canary: {}", bad.attribute, bad.why))),
            };
            let reply = link.modify(canary, &replace, stamp.guard()).await?;
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
                    return Ok(Proof { copy: wanted.flavour.is_copy(&reply), ..none(words) });
                }
            }
            let Some(now) = entry(link, &canary.0, &attributes).await? else {
                return Ok(none(format!("the canary {} can't be read", canary.0)));
            };
            let same = speaking(*conditions).stamp(&now, &wanted.mapping).is_ok_and(|now| now.guard() == stamp.guard());
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
    let query = Query { base: &canary.0, scope: Scope::Base, filter, attributes: &[], limit: 1 };
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

/// A password that nobody knows and every quality check likes.
fn random_password() -> Result<Zeroizing<String>, ring::error::Unspecified> {
    let mut bytes = Zeroizing::new([0_u8; 24]);
    SystemRandom::new().fill(bytes.as_mut_slice())?;
    Ok(Zeroizing::new(format!("aA1!{}", data_encoding::BASE64URL_NOPAD.encode(bytes.as_slice()))))
}

#[cfg(test)]
mod tests {
    use super::names_in;

    #[test]
    fn names_of_attribute_types_are_read() {
        for (text, names) in [
            ("( 2.5.4.3 NAME ( 'cn' 'commonName' ) DESC 'the ( name )' SUP name )", &["cn", "commonname"][..]),
            ("( 1.3.6.1.4.1.42.2.27.8.1.16 NAME 'pwdChangedTime' DESC 'x' )", &["pwdchangedtime"]),
            ("( 1.2.3 DESC 'nameless' )", &[]),
            ("( 1.2 NAME (", &[]),
            ("", &[]),
        ] {
            assert_eq!(names_in(text), names, "{text}");
        }
    }
}
