//! A walk over all people of a server. What a look-up asks for each account is asked here for a page at a time, or once:
//! groups are read from above ([`Members`]), policies are kept, and a second search beside the first names those that lack
//! what most people lack, so that one of its rows proves for an account what a look-up asks the server for. Whatever is
//! not proved in that way is asked for as a look-up does, many at a time on one connection.

use std::collections::HashMap;
use std::sync::Arc;

use rekeyd_core::domain::{Account, Dn, Timestamp};
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::policy_entry::PolicyView;
use rekeyd_core::flavour::product::Product;
use rekeyd_core::flavour::signs;

use super::connect::Who;
use super::gather::{absence, hidden_of, read_policy};
use super::lackers::Lackers;
use super::members::{Belongs, Mark, Members};
use super::nature::Nature;
use super::pages::Pages;
use super::request::{Query, Scope};
use super::shared::{listed_twice, mark_of};
use super::upstream::{Session, Upstream};
use super::wire::Failure;
use super::{Ldap, failed, worse};
use crate::directory::Error;
use crate::directory::walk::{Survey, Walked};

/// How many questions are under way at once.
const AT_ONCE: usize = 64;

/// A walk under way. Dropping it ends its connections.
pub struct LdapWalk<'d> {
    eyes: Vec<Eyes<'d>>,
    upstream: &'d Upstream,
    pages: Pages,
    lackers: Lackers,
    members: Members,
    shared: Vec<Mark>,
    /// The policies that entries name.
    policies: HashMap<String, PolicyView>,
    filter: Filter,
    /// Whether the eyes differ in who is a person; then what their filters ask about is read, too.
    filters_differ: bool,
    /// What is asked of each entry alone, where the server shows some of it only then.
    alone: Vec<String>,
    signs: bool,
    now: Timestamp,
}

/// One way to see the directory.
struct Eyes<'d> {
    ldap: Sight<'d>,
    nature: Arc<Nature>,
    /// The attributes whose absence must be proved.
    must: Vec<String>,
}

/// Ours, or another's.
enum Sight<'d> {
    Own(&'d Ldap),
    Other(Box<Ldap>),
}

impl Sight<'_> {
    fn ldap(&self) -> &Ldap {
        match self {
            Self::Own(ldap) => ldap,
            Self::Other(ldap) => ldap,
        }
    }
}

impl Ldap {
    /// Begins a walk on the first server that answers.
    pub(in crate::directory) async fn survey(&self, survey: Survey<'_>) -> Result<LdapWalk<'_>, Error> {
        for other in survey.others {
            let same = |ours: &str, theirs: &str| Dn::parse(ours) == Dn::parse(theirs);
            let (ours, theirs) = (&self.wanted.search, &other.search);
            if !same(&ours.base.0, &theirs.base.0) || !same(&ours.group_base.0, &theirs.group_base.0) {
                return Err(Error::Misconfigured(
                    "the other configuration has another base or group_base, so that it is about other people".into(),
                ));
            }
        }
        let mut last = None;
        for upstream in &self.upstreams {
            if let Err(failure) = upstream.admit() {
                last = Some(worse(last, failure));
                continue;
            }
            match self.survey_on(upstream, &survey).await {
                Ok(walk) => return Ok(self.answered(upstream, walk)),
                Err(failure) => last = Some(worse(last, failed(upstream, failure))),
            }
        }
        Err(match last {
            Some(Failure::Beyond(why)) => Error::Misconfigured(why),
            last => self.no_answer(last),
        })
    }

    async fn survey_on<'d>(&'d self, upstream: &'d Upstream, survey: &Survey<'_>) -> Result<LdapWalk<'d>, Failure> {
        let mut session = upstream.session(&self.wanted).await?;
        let own = Arc::clone(&session.nature);
        let mut eyes = vec![Eyes::new(Sight::Own(self), Arc::clone(&own))];
        for other in survey.others {
            let other = self.beside(other);
            // What the canary has shown holds for all of them.
            let mut proof = Some(own.proof.clone());
            let nature = Nature::learn(&mut session.link, &other.wanted, &mut proof).await?;
            eyes.push(Eyes::new(Sight::Other(Box::new(other)), Arc::new(nature)));
        }
        drop(session);
        let mut watched: Vec<Dn> = eyes.iter().flat_map(|eyes| eyes.ldap.ldap().wanted.watched.clone()).collect();
        watched.sort_unstable();
        watched.dedup();
        let members = if own.flavour.product() == Product::ActiveDirectory {
            // There each entry shows its groups itself.
            Members::default()
        } else if let Some(doubt) = &own.groups_in_doubt {
            // Nobody's groups are known, as at every look-up.
            log::debug!("a walk without groups: {doubt}");
            Members::default()
        } else {
            Members::gather(upstream, &self.wanted.search.group_base.0, &watched, &own).await?
        };
        let mut filters: Vec<Filter> = Vec::new();
        for eyes in &eyes {
            let one = &eyes.nature.people;
            if filters.iter().all(|known| known.to_string() != one.to_string()) {
                filters.push(one.clone());
            }
        }
        let mut asked = Vec::new();
        let filters_differ = filters.len() > 1;
        if filters_differ {
            for filter in &filters {
                filter.attributes(&mut asked);
            }
        }
        let mut attributes: Vec<String> = asked.into_iter().map(str::to_owned).collect();
        attributes.extend(eyes.iter().flat_map(|eyes| eyes.nature.attributes.clone()));
        attributes.extend(survey.signs.then(|| signs::CREATED.to_owned()));
        attributes.sort_unstable_by_key(|name| name.to_ascii_lowercase());
        attributes.dedup_by_key(|name| name.to_ascii_lowercase());
        let shown_alone = eyes.first().and_then(|eyes| eyes.nature.alone.as_ref()).map(|alone| &alone.attributes);
        let (attributes, alone) = match shown_alone {
            // Each entry is read again, so that its name is enough here.
            Some(more) => (Vec::new(), attributes.into_iter().chain(more.iter().cloned()).collect()),
            None => (attributes, Vec::new()),
        };
        let people = if filters_differ { Filter::Or(filters) } else { filters.pop().unwrap_or(Filter::And(vec![])) };
        let shared = self.shared_addresses(upstream, &eyes, &people).await?;
        let ids = survey.ids.map(|ids| Filter::Or(ids.iter().filter_map(|id| own.flavour.id_filter(id)).collect()));
        let filter = Filter::And([people].into_iter().chain(survey.filter.clone()).chain(ids).collect());
        let base = self.wanted.search.base.0.clone();
        Ok(LdapWalk {
            pages: Pages::begin(
                upstream.fresh(Who::Rekeyd).await?,
                own.flavour.product(),
                base,
                filter.clone(),
                attributes,
            ),
            lackers: Lackers::Unknown,
            eyes,
            upstream,
            members,
            shared,
            policies: HashMap::new(),
            filter,
            filters_differ,
            alone,
            signs: survey.signs,
            now: survey.now,
        })
    }

    /// The addresses that several people list, where anybody's rules rest on that.
    async fn shared_addresses(
        &self,
        upstream: &Upstream,
        eyes: &[Eyes<'_>],
        people: &Filter,
    ) -> Result<Vec<Mark>, Failure> {
        let detecting = eyes.iter().filter(|eyes| eyes.ldap.ldap().wanted.search.detect_shared);
        let mut emails: Vec<String> = detecting.flat_map(|eyes| eyes.nature.mapping.emails.clone()).collect();
        if emails.is_empty() {
            return Ok(Vec::new());
        }
        emails.sort_unstable();
        emails.dedup();
        let base = self.wanted.search.base.0.clone();
        let Some(product) = eyes.first().map(|eyes| eyes.nature.flavour.product()) else { return Ok(Vec::new()) };
        let pages = Pages::begin(upstream.fresh(Who::Rekeyd).await?, product, base, people.clone(), emails.clone());
        listed_twice(pages, &emails).await
    }
}

fn name_of(entry: &Entry) -> &str {
    entry.name().0.as_str()
}

impl<'d> Eyes<'d> {
    fn new(ldap: Sight<'d>, nature: Arc<Nature>) -> Self {
        let must = nature.flavour.must_read(&nature.mapping);
        Self { ldap, nature, must }
    }
}

impl LdapWalk<'_> {
    /// See [`crate::directory::Walk::page`].
    pub(in crate::directory) async fn page(&mut self) -> Result<Option<Vec<Walked>>, Error> {
        match self.next().await {
            Ok(page) => Ok(page),
            Err(failure) => {
                let failure = failed(self.upstream, failure);
                Err(match failure {
                    Failure::Beyond(why) | Failure::Refused(why) => Error::Misconfigured(why),
                    other => Error::Unavailable(other.to_string()),
                })
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<Walked>>, Failure> {
        let Some(found) = self.pages.next().await? else { return Ok(None) };
        let own = self.eyes.first().map(|eyes| &eyes.ldap.ldap().wanted);
        let Some(own) = own else { return Ok(None) };
        let mut session = self.upstream.session(own).await?;
        let entries = self.whole(&mut session, found).await?;
        self.begin_lackers(&entries).await?;
        let hidden = self.hidden(&mut session, &entries).await?;
        self.read_policies(&mut session, &entries).await?;
        let mut walked = Vec::with_capacity(entries.len());
        for (entry, hidden) in entries.iter().zip(hidden) {
            let groups = match self.belongs(entry) {
                Belongs::To(groups) => groups,
                Belongs::Doubtful => match self.eyes.first() {
                    Some(eyes) => eyes.ldap.ldap().groups(&mut session, entry).await?,
                    None => Err("nobody looks".into()),
                },
            };
            walked.push(Walked { seen: self.seen(entry, &groups, &hidden), sign: None });
        }
        if self.signs {
            self.read_signs(&mut session, &entries, &mut walked).await?;
        }
        Ok(Some(walked))
    }

    /// The entries with everything that verdicts need, read one by one where a search does not show it all.
    async fn whole(&self, session: &mut Session, found: Vec<Entry>) -> Result<Vec<Entry>, Failure> {
        let Some(alone) = self.eyes.first().and_then(|eyes| eyes.nature.alone.as_ref()) else { return Ok(found) };
        let mut entries = Vec::with_capacity(found.len());
        for some in found.chunks(AT_ONCE) {
            let one = |entry| Query {
                base: name_of(entry),
                scope: Scope::Base,
                filter: Filter::present("objectClass"),
                attributes: &self.alone,
                limit: 1,
                control: Some(alone.control),
            };
            let questions: Vec<Query<'_>> = some.iter().map(one).collect();
            // One that is gone by now is nobody's any more.
            entries.extend(session.link.searches(&questions).await?.into_iter().flat_map(|answer| answer.entries));
        }
        Ok(entries)
    }

    /// The watched groups of an account: shown by its own entry, or known from above.
    fn belongs(&self, entry: &Entry) -> Belongs {
        let Some(eyes) = self.eyes.first() else { return Belongs::Doubtful };
        match eyes.nature.flavour.groups_shown(entry) {
            Some(shown) => Belongs::To(shown),
            None => self.members.of(entry, &eyes.nature.flavour),
        }
    }

    /// An entry as all eyes see it.
    fn seen(&self, entry: &Entry, groups: &Result<Vec<Dn>, String>, hidden: &[String]) -> Vec<Option<Account>> {
        let one = |eyes: &Eyes<'_>| {
            let ldap = eyes.ldap.ldap();
            if self.filters_differ && !eyes.nature.people.matches(entry) {
                return None;
            }
            let shared: Vec<String> = if ldap.wanted.search.detect_shared {
                let addresses = ldap.addresses(&eyes.nature, entry).into_iter();
                let shared = addresses.filter(|one| self.shared.binary_search(&mark_of(one)).is_ok());
                shared.map(|one| one.folded()).collect()
            } else {
                Vec::new()
            };
            let policy = Ldap::policy_named(&eyes.nature, entry)
                .unwrap_or_else(|name| self.policies.get(&name).cloned().unwrap_or(PolicyView::None));
            let concerns = |name: &&String| eyes.must.iter().any(|must| must.eq_ignore_ascii_case(name));
            let hidden: Vec<String> = hidden.iter().filter(concerns).chain(&eyes.nature.blind).cloned().collect();
            let doubt = eyes.nature.groups_in_doubt.clone().map(Err);
            // Each configuration names its own groups to watch, and some products show no others.
            let shown = eyes.nature.flavour.groups_shown(entry);
            let groups = doubt.as_ref().or(shown.as_ref()).unwrap_or(groups);
            Some(ldap.judged(self.upstream, &eyes.nature, entry, groups, &policy, &hidden, &shared, self.now))
        };
        self.eyes.iter().map(one).collect()
    }

    /// Once the first page shows what most people lack, has the server name all who lack it.
    async fn begin_lackers(&mut self, entries: &[Entry]) -> Result<(), Failure> {
        if self.eyes.first().is_some_and(|eyes| eyes.nature.sight.is_some()) {
            // What may be seen of an entry stands in the entry, and filters prove nothing.
            self.lackers = Lackers::None;
        }
        if !matches!(self.lackers, Lackers::Unknown) || entries.is_empty() {
            return Ok(());
        }
        let mut kinds: HashMap<Vec<String>, usize> = HashMap::new();
        for entry in entries {
            *kinds.entry(self.lacking(entry)).or_default() += 1;
        }
        let most = kinds.into_iter().max_by_key(|(_, count)| *count).map(|(kind, _)| kind).unwrap_or_default();
        self.lackers = match self.eyes.first() {
            Some(eyes) if !most.is_empty() => {
                let absent = most.iter().map(|name| Filter::present(name.as_str()).negated());
                let filter = Filter::And([self.filter.clone()].into_iter().chain(absent).collect());
                let base = eyes.ldap.ldap().wanted.search.base.0.clone();
                let product = eyes.nature.flavour.product();
                let pages = Pages::begin(self.upstream.fresh(Who::Rekeyd).await?, product, base, filter, Vec::new());
                Lackers::of(most, pages)
            }
            _ => Lackers::None,
        };
        Ok(())
    }

    /// What an entry lacks of what anybody must read, in order.
    fn lacking(&self, entry: &Entry) -> Vec<String> {
        let all = self.eyes.iter().flat_map(|eyes| &eyes.must).filter(|name| !entry.has(name));
        let mut lacking: Vec<String> = all.cloned().collect();
        if self.eyes.len() > 1 {
            lacking.sort_unstable();
            lacking.dedup();
        }
        lacking
    }

    /// For each entry the attributes of which it is not proved that they are absent.
    async fn hidden(&mut self, session: &mut Session, entries: &[Entry]) -> Result<Vec<Vec<String>>, Failure> {
        if let Some(sight) = self.eyes.first().and_then(|eyes| eyes.nature.sight.as_ref()) {
            let hidden = |entry| sight.hidden(entry, self.lacking(entry).iter().map(String::as_str));
            return Ok(entries.iter().map(hidden).collect());
        }
        let mut lacking = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut rest = self.lacking(entry);
            if !rest.is_empty() {
                self.lackers.prove(entry, &mut rest).await?;
            }
            lacking.push(rest);
        }
        let open: Vec<usize> =
            lacking.iter().enumerate().filter(|(_, rest)| !rest.is_empty()).map(|(place, _)| place).collect();
        let mut hidden = vec![Vec::new(); entries.len()];
        for some in open.chunks(AT_ONCE) {
            let pairs: Vec<_> =
                some.iter().filter_map(|place| Some((*place, entries.get(*place)?, lacking.get(*place)?))).collect();
            let questions: Vec<Query<'_>> = pairs.iter().map(|(_, entry, rest)| absence(entry, rest)).collect();
            let answers = session.link.searches(&questions).await?;
            for ((place, entry, rest), answer) in pairs.into_iter().zip(answers) {
                if answer.entries.is_empty()
                    && let Some(of_entry) = hidden.get_mut(place)
                {
                    *of_entry = hidden_of(session, entry, rest.clone()).await?;
                }
            }
        }
        Ok(hidden)
    }

    /// Reads the policies that a page names and that are not known yet.
    async fn read_policies(&mut self, session: &mut Session, entries: &[Entry]) -> Result<(), Failure> {
        for eyes in &self.eyes {
            for entry in entries {
                if let Err(name) = Ldap::policy_named(&eyes.nature, entry)
                    && !self.policies.contains_key(&name)
                {
                    let view = read_policy(session, &name).await?;
                    self.policies.insert(name, view);
                }
            }
        }
        Ok(())
    }

    /// Adds how each password came to be. Where nothing else tells, the server may say that there is none.
    async fn read_signs(&self, session: &mut Session, entries: &[Entry], walked: &mut [Walked]) -> Result<(), Failure> {
        let Some(eyes) = self.eyes.first() else { return Ok(()) };
        let mut pairs: Vec<(&Entry, &mut Walked)> = entries.iter().zip(walked).collect();
        let password = [signs::PASSWORD.to_owned()];
        for some in pairs.chunks_mut(AT_ONCE) {
            let flavour = &eyes.nature.flavour;
            let is_open: Vec<bool> = some.iter().map(|(entry, _)| flavour.is_decided_by_absence(entry)).collect();
            let open = some.iter().zip(&is_open).filter(|(_, is_open)| **is_open);
            let questions: Vec<Query<'_>> = open.map(|((entry, _), _)| absence(entry, &password)).collect();
            let mut answers = session.link.searches(&questions).await?.into_iter();
            for ((entry, walked), is_open) in some.iter_mut().zip(is_open) {
                let bare = is_open && answers.next().is_some_and(|answer| !answer.entries.is_empty());
                let Some(Some(account)) = walked.seen.first() else { continue };
                walked.sign = Some(flavour.sign(entry, &account.standing, bare));
            }
        }
        Ok(())
    }
}
