//! Everything about one entry that makes it an account: its groups to any depth, the policy in force, what is hidden
//! from us, and who shares its addresses. What can be asked for together is asked for together.

use std::borrow::Cow;
use std::sync::Arc;

use rekeyd_core::domain::{Account, Dn, EmailAddress, EntryName, Timestamp};
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::groups::Walk;
use rekeyd_core::flavour::policy_entry::PolicyView;
use rekeyd_core::flavour::{Demands, Flavour, Reading};

use super::nature::{MEMBERSHIP, Nature};
use super::request::{Query, Scope};
use super::upstream::{Session, Upstream};
use super::wire::{Failure, Results};
use super::{Ldap, nature};

/// The most groups in one answer.
const MOST_GROUPS: u16 = 1000;

/// What is to be asked of one entry, all at once. The answers are taken in this order.
struct Questions<'q> {
    groups: Option<Query<'q>>,
    absent: Option<Query<'q>>,
    policy: Option<Query<'q>>,
    shared: Vec<(EmailAddress, Query<'q>)>,
}

impl Ldap {
    /// Makes an account of an entry.
    pub(super) async fn account(
        &self,
        upstream: &Upstream,
        session: &mut Session,
        entry: &Entry,
        now: Timestamp,
    ) -> Result<Account, Failure> {
        let nature = Arc::clone(&session.nature);
        let entry = &*whole(session, entry).await?;
        let lacking = lacking(&nature, entry);
        let mut walk = Self::walk(&nature, entry);
        let policy = Self::policy_of(upstream, &nature, entry);
        let policy_attributes = policy_attributes(&nature);
        let shared = self.addresses(&nature, entry).into_iter();
        let questions = Questions {
            groups: match &mut walk {
                Way::Ask(steps) => self.question(&nature, steps),
                Way::Known(_) => None,
            },
            absent: (!lacking.is_empty() && nature.sight.is_none()).then(|| absence(entry, &lacking)),
            policy: policy.as_ref().err().map(|name| nature::entry_query(name, &policy_attributes)),
            shared: shared.map(|address| (address.clone(), self.shared_query(&nature, &address))).collect(),
        };
        let asked = (questions.groups.is_some(), questions.absent.is_some(), questions.policy.is_some());
        let (addresses, shared): (Vec<_>, Vec<_>) = questions.shared.into_iter().unzip();
        let first = questions.groups.into_iter().chain(questions.absent).chain(questions.policy);
        let all: Vec<Query<'_>> = first.chain(shared).collect();
        let mut found = session.link.searches(&all).await?.into_iter();
        let mut next = |asked: bool| if asked { found.next() } else { None };
        let (groups, absent, policy_entry) = (next(asked.0), next(asked.1), next(asked.2));

        let mut shared = Vec::new();
        for (address, found) in addresses.into_iter().zip(found) {
            let (people, more) = self.people_in(found)?;
            if more || people.len() > 1 {
                shared.push(address.folded());
            }
        }
        let groups = match walk {
            Way::Ask(steps) => self.walked(session, steps, groups).await?,
            Way::Known(groups) => groups,
        };
        let hidden = match (&nature.sight, absent) {
            (Some(sight), _) => sight.hidden(entry, lacking.iter().map(String::as_str)),
            (None, Some(found)) if found.entries.is_empty() => hidden_of(session, entry, lacking).await?,
            (None, _) => Vec::new(),
        };
        let policy = match policy {
            Ok(view) => view,
            Err(name) => {
                let entry = policy_entry.and_then(|found| found.entries.into_iter().next());
                let view = policy_view(session, &name, entry).await?;
                if let PolicyView::InForce(_) = view {
                    upstream.learnt_policy(&name, &view);
                }
                view
            }
        };
        let hidden: Vec<String> = hidden.into_iter().chain(nature.blind.iter().cloned()).collect();
        Ok(self.judged(upstream, &nature, entry, &groups, &policy, &hidden, &shared, now))
    }

    /// Makes of an entry what a sign-in needs of its account.
    pub(super) async fn glance(
        &self,
        upstream: &Upstream,
        session: &mut Session,
        entry: &Entry,
        now: Timestamp,
    ) -> Result<Account, Failure> {
        let nature = Arc::clone(&session.nature);
        let entry = &*whole(session, entry).await?;
        let policy = match Self::policy_of(upstream, &nature, entry) {
            Ok(view) => view,
            Err(name) => {
                let view = read_policy(session, &name).await?;
                if let PolicyView::InForce(_) = view {
                    upstream.learnt_policy(&name, &view);
                }
                view
            }
        };
        let groups = Err("groups are not asked for at a sign-in".to_owned());
        Ok(self.judged(upstream, &nature, entry, &groups, &policy, &nature.blind, &[], now))
    }

    /// What is demanded of the next password of an entry, for the words of a refusal.
    pub(super) async fn demands(&self, upstream: &Upstream, name: &EntryName) -> Result<Demands, Failure> {
        let mut session = upstream.session(&self.wanted).await?;
        let nature = Arc::clone(&session.nature);
        let found = session.link.search(&nature.whole(&name.0)).await?;
        let Some(entry) = found.entries.first() else { return Ok(Demands::default()) };
        let policy = match Self::policy_of(upstream, &nature, entry) {
            Ok(view) => view,
            Err(name) => read_policy(&mut session, &name).await?,
        };
        Ok(nature.flavour.demands(entry, &policy))
    }

    #[expect(clippy::too_many_arguments, reason = "each is one of the things that are known of the entry")]
    pub(super) fn judged(
        &self,
        upstream: &Upstream,
        nature: &Nature,
        entry: &Entry,
        groups: &Result<Vec<Dn>, String>,
        policy: &PolicyView,
        hidden: &[String],
        shared: &[String],
        now: Timestamp,
    ) -> Account {
        let server = upstream.server();
        let reading = Reading { entry, directory: self.key, server: &server, groups, policy, hidden, shared, now };
        let mut account = nature.flavour.account(&reading, &nature.mapping);
        let name = Dn::parse(&entry.name().0).ok();
        if name.is_some() && name == nature.own && !nature.mapping.apart.iter().any(|own| Some(own) == name.as_ref()) {
            account.standing.add(reading.evidence(
                rekeyd_core::domain::Finding::NotAPerson,
                "entry",
                "rekeyd's own account",
            ));
        }
        account
    }

    /// The attributes whose absence from this entry proves nothing.
    pub(super) async fn hidden(&self, session: &mut Session, entry: &Entry) -> Result<Vec<String>, Failure> {
        let lacking = lacking(&session.nature, entry);
        if let Some(sight) = &session.nature.sight {
            return Ok(sight.hidden(entry, lacking.iter().map(String::as_str)));
        }
        not_absent(session, entry, lacking).await
    }

    /// All groups of an account, or why they are not all known.
    pub(super) async fn groups(
        &self,
        session: &mut Session,
        account: &Entry,
    ) -> Result<Result<Vec<Dn>, String>, Failure> {
        let nature = Arc::clone(&session.nature);
        let mut walk = match Self::walk(&nature, account) {
            Way::Ask(steps) => steps,
            Way::Known(groups) => return Ok(groups),
        };
        let found = match self.question(&nature, &mut walk) {
            Some(query) => Some(session.link.search(&query).await?),
            None => None,
        };
        self.walked(session, walk, found).await
    }

    /// The walk through an account's groups before its first step, or what is known of them without one.
    fn walk(nature: &Nature, account: &Entry) -> Way {
        if let Some(doubt) = &nature.groups_in_doubt {
            return Way::Known(Err(doubt.clone()));
        }
        if let Some(shown) = nature.flavour.groups_shown(account) {
            return Way::Known(shown);
        }
        // Groups of POSIX name their members by login or by number.
        let mut by_login: Vec<Filter> = Vec::new();
        if nature.defines("memberUid") {
            by_login.extend(account.texts("uid").map(Flavour::groups_with_login));
        }
        if let Some(number) = account.texts("gidNumber").next().filter(|_| nature.defines("gidNumber")) {
            let class = Filter::equal("objectClass", "posixGroup");
            by_login.push(Filter::And(vec![class, Filter::equal("gidNumber", number)]));
        }
        Way::Ask(Steps { walk: Walk::new(account.name(), nature.flavour.groups_named(account)), by_login })
    }

    /// What the next step asks; `None` at the end of the walk.
    fn question(&self, nature: &Nature, steps: &mut Steps) -> Option<Query<'_>> {
        let names = steps.walk.question();
        if names.is_empty() {
            return None;
        }
        let mut any = std::mem::take(&mut steps.by_login);
        for attribute in MEMBERSHIP.into_iter().take(2).filter(|name| nature.defines(name)) {
            any.extend(names.iter().map(|name| nature.flavour.groups_with(attribute, &name.0)));
        }
        let base = self.wanted.search.group_base.0.as_str();
        Some(Query {
            base,
            scope: Scope::Subtree,
            filter: Filter::Or(any),
            attributes: &[],
            limit: MOST_GROUPS,
            control: None,
        })
    }

    /// Goes on from the answer to the first question to the end.
    async fn walked(
        &self,
        session: &mut Session,
        mut steps: Steps,
        mut found: Option<Results>,
    ) -> Result<Result<Vec<Dn>, String>, Failure> {
        let base = self.wanted.search.group_base.0.as_str();
        while let Some(results) = found.take() {
            let walk = &mut steps.walk;
            match results.reply.code {
                0 if results.references => {
                    walk.give_up(format!("some of the groups below {base} are on another server"));
                }
                0 => walk.learn(results.entries.iter().map(|group| group.name().clone())),
                32 => walk.give_up(format!("{base} is not there, or rekeyd's account may not see it")),
                _ => walk.give_up(format!("the search for groups has no whole answer: {}", results.reply.words())),
            }
            if let Some(query) = self.question(&session.nature, &mut steps) {
                found = Some(session.link.search(&query).await?);
            }
        }
        Ok(steps.walk.finish())
    }

    /// The policy that applies to an entry as far as that is known, or the name of the one that is to be read.
    fn policy_of(upstream: &Upstream, nature: &Nature, entry: &Entry) -> Result<PolicyView, String> {
        Self::policy_named(nature, entry).or_else(|name| upstream.known_policy(&name).ok_or(name))
    }

    /// That an entry has no policy, or the name of its policy.
    pub(super) fn policy_named(nature: &Nature, entry: &Entry) -> Result<PolicyView, String> {
        if !nature.has_policies {
            return Ok(PolicyView::None);
        }
        let name = match nature.flavour.policy_named(entry) {
            Ok(Some(name)) if nature.has_own_policies => name,
            Err(bad) => return Ok(PolicyView::Unreadable(bad.why)),
            Ok(_) => match &nature.default_policy {
                Ok(Some(name)) => name.0.as_str(),
                Ok(None) => return Ok(PolicyView::None),
                Err(why) => return Ok(PolicyView::Unreadable(why.clone())),
            },
        };
        Err(name.to_owned())
    }

    /// The addresses of an entry that another person might have too, where that is to be looked up.
    pub(super) fn addresses(&self, nature: &Nature, entry: &Entry) -> Vec<EmailAddress> {
        if !self.wanted.search.detect_shared {
            return Vec::new();
        }
        let values = nature.mapping.emails.iter().flat_map(|attribute| entry.texts(attribute));
        let mut addresses: Vec<EmailAddress> = values.filter_map(|value| EmailAddress::parse(value).ok()).collect();
        addresses.dedup();
        addresses
    }

    /// Who lists an address.
    fn shared_query(&self, nature: &Nature, address: &EmailAddress) -> Query<'_> {
        let emails = nature.mapping.emails.iter().filter(|name| nature.defines(name));
        let lists = emails.map(|attribute| Filter::equal(attribute, address.as_str())).collect();
        self.people_query(nature, Filter::And(vec![nature.people.clone(), Filter::Or(lists)]), &[])
    }
}

/// The attributes that an entry lacks and that say something by it.
fn lacking(nature: &Nature, entry: &Entry) -> Vec<String> {
    let needed = nature.flavour.must_read(&nature.mapping).into_iter();
    needed.filter(|name| !entry.has(name)).collect()
}

/// How the groups of an account become known.
enum Way {
    /// By asking.
    Ask(Steps),
    /// They are known already, or it is known that they can't be.
    Known(Result<Vec<Dn>, String>),
}

/// A walk through groups, and what is asked with its first question only.
struct Steps {
    walk: Walk,
    by_login: Vec<Filter>,
}

/// Reads a policy, with proof that what it lacks is not there.
pub(super) async fn read_policy(session: &mut Session, name: &str) -> Result<PolicyView, Failure> {
    let attributes = policy_attributes(&session.nature);
    let entry = nature::entry(&mut session.link, name, &attributes).await?;
    policy_view(session, name, entry).await
}

fn policy_attributes(nature: &Nature) -> Vec<String> {
    nature.flavour.policy_attributes().iter().map(|name| (*name).to_owned()).collect()
}

/// The entry with everything that a verdict needs, read alone where the server shows some of it only then. One that is gone by
/// then lacks what every account has, which makes its state unknown.
pub(super) async fn whole<'e>(session: &mut Session, entry: &'e Entry) -> Result<Cow<'e, Entry>, Failure> {
    if session.nature.alone.is_none() {
        return Ok(Cow::Borrowed(entry));
    }
    let found = session.link.search(&session.nature.whole(&entry.name().0)).await?;
    Ok(Cow::Owned(found.entries.into_iter().next().unwrap_or_else(|| Entry::new(entry.name().clone()))))
}

/// What a policy says, with proof that what it lacks is not there.
async fn policy_view(session: &mut Session, name: &str, entry: Option<Entry>) -> Result<PolicyView, Failure> {
    let Some(entry) = entry else {
        return Ok(PolicyView::Unreadable(format!("the policy {name} can't be read")));
    };
    let attributes = policy_attributes(&session.nature).into_iter();
    let lacking = attributes.filter(|name| session.nature.defines(name) && !entry.has(name)).collect();
    let hidden = not_absent(session, &entry, lacking).await?;
    if !hidden.is_empty() {
        let hidden = hidden.join(", ");
        return Ok(PolicyView::Unreadable(format!("rekeyd's account may not see {hidden} of the policy {name}")));
    }
    Ok(match session.nature.flavour.policy(&entry) {
        Ok(policy) => PolicyView::InForce(policy),
        Err(bad) => PolicyView::Unreadable(format!("{} of the policy {name}: {}", bad.attribute, bad.why)),
    })
}

/// Those of an entry's lacking attributes that the server does not confirm as absent. Where we may search an attribute and
/// not read it, a value that is there is not shown, and the filter for its absence fails; where we may do neither, the
/// filter is undefined and fails, too.
async fn not_absent(session: &mut Session, entry: &Entry, lacking: Vec<String>) -> Result<Vec<String>, Failure> {
    if lacking.is_empty() || !session.link.search(&absence(entry, &lacking)).await?.entries.is_empty() {
        return Ok(Vec::new());
    }
    hidden_of(session, entry, lacking).await
}

/// Which of some attributes are not absent, where not all of them are.
pub(super) async fn hidden_of(
    session: &mut Session,
    entry: &Entry,
    lacking: Vec<String>,
) -> Result<Vec<String>, Failure> {
    let each: Vec<Query<'_>> = lacking.iter().map(|name| absence(entry, std::slice::from_ref(name))).collect();
    let found = session.link.searches(&each).await?;
    let hidden = lacking.into_iter().zip(found).filter(|(_, found)| found.entries.is_empty());
    Ok(hidden.map(|(name, _)| name).collect())
}

/// Asks whether an entry lacks all of some attributes.
pub(super) fn absence<'q>(entry: &'q Entry, lacking: &[String]) -> Query<'q> {
    let filter = Filter::And(lacking.iter().map(|name| Filter::present(name.as_str()).negated()).collect());
    Query { base: entry.name().0.as_str(), scope: Scope::Base, filter, attributes: &[], limit: 1, control: None }
}
