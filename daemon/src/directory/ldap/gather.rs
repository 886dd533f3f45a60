//! Everything about one entry that makes it an account: its groups to any depth, the policy in force, what is hidden
//! from us, and who shares its addresses. All of it is asked for at the same time.

use ldap3::Scope;
use rekeyd_core::domain::{Account, Dn, EmailAddress, Timestamp};
use rekeyd_core::flavour::Reading;
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::groups::Walk;
use rekeyd_core::flavour::policy_entry::{self, Policy, PolicyView};

use super::nature::MEMBERSHIP;
use super::upstream::{Session, Upstream};
use super::wire::{Failure, Query};
use super::{Ldap, nature};

/// The most groups in one answer.
const MOST_GROUPS: u16 = 1000;

impl Ldap {
    /// Makes an account of an entry.
    pub(super) async fn account(
        &self,
        upstream: &Upstream,
        session: &Session,
        entry: Entry,
        now: Timestamp,
    ) -> Result<Account, Failure> {
        let (groups, hidden, policy, shared) = tokio::try_join!(
            self.groups(session, &entry),
            self.hidden(session, &entry),
            self.policy(upstream, session, &entry),
            self.shared(session, &entry)
        )?;
        let server = upstream.server();
        let hidden: Vec<String> = hidden.into_iter().chain(session.nature.blind.iter().cloned()).collect();
        let reading = Reading {
            entry: &entry,
            directory: self.key,
            server: &server,
            groups: &groups,
            policy: &policy,
            hidden: &hidden,
            shared: &shared,
            now,
        };
        let mut account = session.nature.flavour.account(&reading, &self.wanted.mapping);
        let name = Dn::parse(&entry.name().0).ok();
        if name.is_some()
            && name == session.nature.own
            && !self.wanted.mapping.apart.iter().any(|own| Some(own) == name.as_ref())
        {
            account.standing.add(reading.evidence(
                rekeyd_core::domain::Finding::NotAPerson,
                "entry",
                "rekeyd's own account",
            ));
        }
        Ok(account)
    }

    /// The attributes whose absence from this entry proves nothing.
    pub(super) async fn hidden(&self, session: &Session, entry: &Entry) -> Result<Vec<String>, Failure> {
        let needed = session.nature.flavour.must_read(&self.wanted.mapping).into_iter();
        not_absent(session, entry, needed.filter(|name| !entry.has(name)).collect()).await
    }

    /// All groups of an account, or why they are not all known.
    pub(super) async fn groups(&self, session: &Session, account: &Entry) -> Result<Result<Vec<Dn>, String>, Failure> {
        if let Some(doubt) = &session.nature.groups_in_doubt {
            return Ok(Err(doubt.clone()));
        }
        let knows = |name: &str| session.nature.defines(name);
        let mut walk = Walk::new(account.name(), account.texts("memberOf"));
        // Groups of POSIX name their members by login or by number.
        let mut by_login: Vec<Filter> = Vec::new();
        if knows("memberUid") {
            by_login.extend(account.texts("uid").map(|login| Filter::equal("memberUid", login)));
        }
        if let Some(number) = account.texts("gidNumber").next().filter(|_| knows("gidNumber")) {
            let class = Filter::equal("objectClass", "posixGroup");
            by_login.push(Filter::And(vec![class, Filter::equal("gidNumber", number)]));
        }
        loop {
            let names = walk.question();
            if names.is_empty() {
                return Ok(walk.finish());
            }
            let mut any = std::mem::take(&mut by_login);
            for attribute in MEMBERSHIP.into_iter().take(2).filter(|name| knows(name)) {
                any.extend(names.iter().map(|name| Filter::equal(attribute, name.0.as_str())));
            }
            let base = self.wanted.search.group_base.0.as_str();
            let query =
                Query { base, scope: Scope::Subtree, filter: Filter::Or(any), attributes: &[], limit: MOST_GROUPS };
            let found = session.link.search(query).await?;
            match found.reply.code {
                0 if found.references => {
                    walk.give_up(format!("some of the groups below {base} are on another server"));
                }
                0 => walk.learn(found.entries.iter().map(|group| group.name().clone())),
                32 => walk.give_up(format!("{base} is not there, or rekeyd's account may not see it")),
                _ => walk.give_up(format!("the search for groups has no whole answer: {}", found.reply.words())),
            }
        }
    }

    /// The policy that applies to an entry.
    async fn policy(&self, upstream: &Upstream, session: &Session, entry: &Entry) -> Result<PolicyView, Failure> {
        if !session.nature.has_policies() {
            return Ok(PolicyView::None);
        }
        let name = match entry.text("pwdPolicySubentry") {
            Ok(Some(name)) => name,
            Err(bad) => return Ok(PolicyView::Unreadable(bad.why)),
            Ok(None) => match &session.nature.default_policy {
                Ok(Some(name)) => name.0.as_str(),
                Ok(None) => return Ok(PolicyView::None),
                Err(why) => return Ok(PolicyView::Unreadable(why.clone())),
            },
        };
        if let Some(known) = upstream.known_policy(name) {
            return Ok(known);
        }
        let view = read_policy(session, name).await?;
        if let PolicyView::InForce(_) = view {
            upstream.learnt_policy(name, &view);
        }
        Ok(view)
    }

    /// Which of an entry's addresses another person has too.
    async fn shared(&self, session: &Session, entry: &Entry) -> Result<Vec<String>, Failure> {
        let mut shared = Vec::new();
        if !self.wanted.search.detect_shared {
            return Ok(shared);
        }
        let values = self.wanted.mapping.emails.iter().flat_map(|attribute| entry.texts(attribute));
        let mut addresses: Vec<EmailAddress> = values.filter_map(|value| EmailAddress::parse(value).ok()).collect();
        addresses.dedup();
        for address in addresses {
            let emails = self.wanted.mapping.emails.iter().filter(|name| session.nature.defines(name));
            let lists = emails.map(|attribute| Filter::equal(attribute, address.as_str())).collect();
            let filter = Filter::And(vec![self.wanted.search.filter.clone(), Filter::Or(lists)]);
            let (people, more) = self.people(session, filter, &[]).await?;
            if more || people.len() > 1 {
                shared.push(address.folded());
            }
        }
        Ok(shared)
    }
}

/// Reads a policy, with proof that what it lacks is not there.
pub(super) async fn read_policy(session: &Session, name: &str) -> Result<PolicyView, Failure> {
    let attributes = policy_entry::ATTRIBUTES.map(str::to_owned);
    let Some(entry) = nature::entry(&session.link, name, &attributes).await? else {
        return Ok(PolicyView::Unreadable(format!("the policy {name} can't be read")));
    };
    let lacking = attributes.into_iter().filter(|name| session.nature.defines(name) && !entry.has(name)).collect();
    let hidden = not_absent(session, &entry, lacking).await?;
    if !hidden.is_empty() {
        let hidden = hidden.join(", ");
        return Ok(PolicyView::Unreadable(format!("rekeyd's account may not see {hidden} of the policy {name}")));
    }
    Ok(match Policy::read(&entry) {
        Ok(policy) => PolicyView::InForce(policy),
        Err(bad) => PolicyView::Unreadable(format!("{} of the policy {name}: {}", bad.attribute, bad.why)),
    })
}

/// Those of an entry's lacking attributes that the server does not confirm as absent. Where we may search an attribute and
/// not read it, a value that is there is not shown, and the filter for its absence fails; where we may do neither, the
/// filter is undefined and fails, too.
async fn not_absent(session: &Session, entry: &Entry, lacking: Vec<String>) -> Result<Vec<String>, Failure> {
    let base = entry.name().0.as_str();
    let fits = async |filter: Filter| {
        let query = Query { base, scope: Scope::Base, filter, attributes: &[], limit: 1 };
        Ok(!session.link.search(query).await?.entries.is_empty())
    };
    let absent = |name: &String| Filter::present(name.as_str()).negated();
    if lacking.is_empty() || fits(Filter::And(lacking.iter().map(absent).collect())).await? {
        return Ok(Vec::new());
    }
    let mut hidden = Vec::new();
    for name in lacking {
        if !fits(absent(&name)).await? {
            hidden.push(name);
        }
    }
    Ok(hidden)
}
