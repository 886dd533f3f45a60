//! What one domain controller is: the domain's policy on passwords and those that stand over it, the identifiers of the groups
//! that verdicts rest on, and who we are there, so that the access list of an entry says what we may see of it.

use rekeyd_core::flavour::Flavour;
use rekeyd_core::flavour::active_directory::group;
use rekeyd_core::flavour::active_directory::policy::{OF_AN_OBJECT, OF_THE_DOMAIN, PasswordSettings};
use rekeyd_core::flavour::active_directory::sid::Sid;
use rekeyd_core::flavour::active_directory::sight::{OF_THE_SCHEMA, Property, Sight};
use rekeyd_core::flavour::active_directory::{ActiveDirectory, Maker, POWERFUL_BY_NAME};
use rekeyd_core::flavour::filter::Filter;

use super::proof::{self, Proof};
use super::{Ground, Learnt, entry};
use crate::directory::ldap::request::Query;
use crate::directory::ldap::wire::{Failure, Link, Results};

/// Learns it. The canary is written only where `proof` is still empty.
pub(super) async fn learn(link: &mut Link, ground: &Ground<'_>, proof: &mut Option<Proof>) -> Result<Learnt, Failure> {
    let (root, base) = (&ground.root, ground.wanted.search.base.0.as_str());
    let domain = root.context_of(base).unwrap_or(base).to_owned();
    let known = ActiveDirectory::detect(&root.entry);
    let mut ad = known.unwrap_or(ActiveDirectory::new(Maker::Microsoft));
    let head = entry(link, &domain, &OF_THE_DOMAIN.map(str::to_owned)).await?;
    ad.policy = head.and_then(|head| PasswordSettings::of_the_domain(&head).ok());
    ad.objects = policies(link, &domain).await?;
    let mut groups_in_doubt = None;
    for group in &ground.wanted.watched {
        let found = entry(link, group.as_str(), &group::ATTRIBUTES.map(str::to_owned)).await?;
        match group::counted(found.as_ref()) {
            Ok(sid) => ad.watched.push((sid, group.clone())),
            Err(why) => {
                groups_in_doubt = Some(format!("verdicts rest on the group {}, and {why}", group.as_str()));
            }
        }
    }
    match named(&powerful(link, &domain).await?) {
        Ok(powerful) => ad.powerful = powerful,
        Err(why) => groups_in_doubt = Some(why),
    }
    ad.sight = sight(link, ground, &ad).await?;
    let sight = Some(ad.sight.clone());
    let flavour = Flavour::ActiveDirectory(ad);
    let copy = ActiveDirectory::is_read_only(&root.entry);
    let proof = match proof {
        Some(proof) => proof.clone(),
        None if copy => proof.insert(Proof { copy, ..Proof::none("it is a read-only domain controller") }).clone(),
        None => proof.insert(proof::plain(link, ground, &flavour).await?).clone(),
    };
    Ok(Learnt {
        flavour,
        has_policies: false,
        default_policy: Ok(None),
        has_own_policies: false,
        sight,
        groups_in_doubt,
        blind: Vec::new(),
        proof,
    })
}

/// The fine-grained policies that we may read; few may.
async fn policies(link: &mut Link, domain: &str) -> Result<Vec<PasswordSettings>, Failure> {
    let base = format!("CN=Password Settings Container,CN=System,{domain}");
    let found = all(link, &base, Filter::equal("objectClass", "msDS-PasswordSettings"), &OF_AN_OBJECT).await?;
    // One that is missing here makes what rests on it unknown.
    Ok(found.entries.iter().filter_map(|object| PasswordSettings::of_an_object(object).ok()).collect())
}

/// The groups that rule over others and are known by their names only.
async fn powerful(link: &mut Link, domain: &str) -> Result<Results, Failure> {
    let named = POWERFUL_BY_NAME.map(|name| Filter::equal("sAMAccountName", name)).to_vec();
    let filter = Filter::And(vec![Filter::equal("objectClass", "group"), Filter::Or(named)]);
    all(link, domain, filter, &["objectSid", "sAMAccountName"]).await
}

/// What was found of them, or why that may not be all.
fn named(found: &Results) -> Result<Vec<(Sid, String)>, String> {
    let doubt = |why: &str| format!("verdicts rest on the groups of those who rule the domain, and {why}");
    if found.reply.code != 0 {
        return Err(doubt(&format!("the search for them has no whole answer: {}", found.reply.words())));
    }
    let named = found.entries.iter().map(|group| {
        let sid = group.values("objectSid").first().and_then(|sid| Sid::parse(sid).ok());
        let name = group.texts("sAMAccountName").next().unwrap_or(&group.name().0);
        Ok((sid.ok_or_else(|| doubt(&format!("the objectSid of {name} can't be read")))?, name.to_owned()))
    });
    named.collect()
}

/// Who we are, and what the schema says of the attributes whose absence counts.
async fn sight(link: &mut Link, ground: &Ground<'_>, ad: &ActiveDirectory) -> Result<Sight, Failure> {
    let root = &ground.root.entry;
    // Without any of these no absence would prove anything, and each would look like a proof.
    let refused = |what: &str| Failure::Refused(format!("the server's root entry {what}"));
    let token: Result<Vec<Sid>, _> = root.values("tokenGroups").iter().map(|sid| Sid::parse(sid)).collect();
    let token = token.map_err(|bad| refused(&format!("shows a tokenGroups that can't be read: {bad}")))?;
    if token.is_empty() {
        return Err(refused("does not show who rekeyd's account is there (tokenGroups)"));
    }
    let schema = root.texts("schemaNamingContext").next();
    let schema = schema.ok_or_else(|| refused("does not show where the schema is (schemaNamingContext)"))?;
    let names = ad.looked_up(&ground.mapping.markers);
    let any = names.iter().map(|name| Filter::equal("lDAPDisplayName", name.as_str())).collect();
    let filter = Filter::And(vec![Filter::equal("objectClass", "attributeSchema"), Filter::Or(any)]);
    let found = all(link, schema, filter, &OF_THE_SCHEMA).await?;
    if found.reply.code != 0 {
        return Err(Failure::Refused(format!("the schema below {schema} can't be read: {}", found.reply.words())));
    }
    let properties: Vec<Property> = found.entries.iter().filter_map(|entry| Property::read(entry).ok()).collect();
    let unseen = |name: &String| !properties.iter().any(|property| property.name.eq_ignore_ascii_case(name));
    let (defined, undefined): (Vec<_>, Vec<_>) =
        names.into_iter().filter(unseen).partition(|name| ground.schema.defines(name));
    match defined.first() {
        Some(name) => Err(Failure::Refused(format!("the schema's entry of {name} can't be read below {schema}"))),
        None => Ok(Sight::new(token, properties).without(undefined)),
    }
}

/// Entries below one that fit, and whether these are all.
async fn all(link: &mut Link, base: &str, filter: Filter, names: &[&str]) -> Result<Results, Failure> {
    let attributes: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    link.search(&Query::below(base, filter, &attributes)).await
}

#[cfg(test)]
mod tests {
    use rekeyd_core::domain::EntryName;
    use rekeyd_core::flavour::Reply;

    use super::*;

    #[test]
    fn t57_groups_that_may_not_be_all_are_in_doubt() {
        let found = |code, sid: Option<&str>| {
            let mut group = Entry::new(EntryName("CN=DnsAdmins,DC=x".into()));
            group.add("sAMAccountName", "DnsAdmins");
            if let Some(sid) = sid.and_then(|sid| Sid::from_text(sid).ok()) {
                group.add("objectSid", sid.bytes());
            }
            let reply = Reply { code, text: "why".into(), policy: None };
            named(&Results { entries: vec![group], references: true, reply })
        };
        let sid = "S-1-5-21-1-2-3-1101";
        assert!(found(0, Some(sid)).is_ok_and(|named| named.len() == 1));
        for doubt in [found(4, Some(sid)), found(1, Some(sid)), found(32, Some(sid)), found(0, None)] {
            assert!(doubt.is_err(), "{doubt:?}");
        }
    }
}
