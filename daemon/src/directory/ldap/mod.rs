//! A directory of servers that speak LDAP.
//!
//! Look-ups take the first server that answers, verdicts before a write take one that takes writes, and a write goes to
//! the very server that the verdict was made on. Searches ask for exact attributes and at most two people; absent
//! attributes count as absent only where the server confirms it by a filter.
//!
//! `request` is what can be asked, `connection` asks it by way of the LDAP library, and `guard` stands between that and the
//! server: it holds answers to limits that the library does not know; `strainer` reads an entry of any size. `walk` sees all
//! people, by `pages` and `members`; `path` and `names` tell operators of groups. `pool` keeps connections by what they are used for,
//! `breaker` leaves a server alone that fails.

mod breaker;
mod connect;
mod connection;
mod doctor;
mod gather;
mod guard;
mod lackers;
mod members;
mod names;
mod nature;
mod pages;
mod path;
mod pool;
mod pulse;
mod refused;
mod request;
mod shared;
mod spread;
mod strainer;
mod tls;
mod upstream;
mod walk;
mod wire;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rekeyd_core::domain::{Account, AccountId, DirectoryKey, Login, NewPassword, Stamp, Timestamp};
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::product::Product;
use rekeyd_core::flavour::{Flavour, Settled, Verified};
use rekeyd_core::settings::Fault;

use self::connect::{Connector, Who};
pub use self::guard::{Unfit, whole_messages};
use self::nature::{Nature, Wanted};
use self::request::{FIRST_THREE, Query};
use self::upstream::{Session, Upstream};
pub use self::walk::LdapWalk;
use self::wire::{Failure, Results};
use super::config::{DirectoryConfig, Identity, LdapConfig};
use super::{Error, Found, Times};

/// The server has too much to do, and did nothing of this.
const BUSY: u32 = 51;

/// How much of an account is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Depth {
    /// The entry alone, for a sign-in. Groups and the proofs of absence cost more questions and decide nothing there;
    /// the account says that it was not asked, so that no other verdict can rest on it.
    Glance,
    /// Everything that a verdict may rest on.
    Whole,
}

/// A directory of servers that speak LDAP.
pub struct Ldap {
    key: DirectoryKey,
    name: String,
    wanted: Arc<Wanted>,
    upstreams: Vec<Arc<Upstream>>,
    up: AtomicBool,
}

impl Ldap {
    pub(super) fn open(config: &DirectoryConfig, ldap: &LdapConfig, key: DirectoryKey) -> Result<Self, Fault> {
        let connector = Connector::new(ldap).map_err(|what| Fault {
            line: 0,
            key: "directory.ca_file".into(),
            what,
            remedy: "Name a file of certificates in PEM.".into(),
        })?;
        let connector = Arc::new(connector);
        let upstreams = ldap.endpoints.iter();
        Ok(Self {
            key,
            name: config.name.clone(),
            upstreams: upstreams
                .map(|one| Arc::new(Upstream::new(one.clone(), ldap, Arc::clone(&connector))))
                .collect(),
            wanted: Arc::new(Wanted {
                mapping: config.mapping.clone(),
                search: config.search.clone(),
                watched: config.watched_groups.clone(),
                ldap: ldap.clone(),
            }),
            up: AtomicBool::new(false),
        })
    }

    /// The same servers as another configuration would see them. It has no connections of its own.
    pub(super) fn beside(&self, other: &DirectoryConfig) -> Self {
        let wanted = Wanted {
            mapping: other.mapping.clone(),
            search: other.search.clone(),
            watched: other.watched_groups.clone(),
            ldap: self.wanted.ldap.clone(),
        };
        let (name, wanted) = (self.name.clone(), Arc::new(wanted));
        Self { key: self.key, name, wanted, upstreams: Vec::new(), up: AtomicBool::new(false) }
    }

    pub(super) fn key(&self) -> DirectoryKey {
        self.key
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn times(&self) -> Times {
        let ldap = &self.wanted.ldap;
        // Two looks and two writes, and two connections that are made for them, each with a bind.
        let write = ldap.operation_timeout * 6 + ldap.connect_timeout * 2;
        Times { operation: ldap.operation_timeout, write }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    pub(super) async fn find(&self, login: &Login, depth: Depth, now: Timestamp) -> Result<Found, Error> {
        let mut last = None;
        for upstream in &self.upstreams {
            if let Err(failure) = upstream.admit() {
                last = Some(worse(last, failure));
                continue;
            }
            let mut found = self.find_on(upstream, login, depth, now).await;
            if let Err(Failure::Broken(_) | Failure::Doubtful(_) | Failure::Unreachable(_)) = found {
                // A connection that was kept may have ended unnoticed; a second failure is the server's.
                found = self.find_on(upstream, login, depth, now).await;
            }
            match found {
                Ok(found) => return Ok(self.answered(upstream, found)),
                Err(failure) => last = Some(worse(last, failed(upstream, failure))),
            }
        }
        Err(self.no_answer(last))
    }

    async fn find_on(
        &self,
        upstream: &Upstream,
        login: &Login,
        depth: Depth,
        now: Timestamp,
    ) -> Result<Found, Failure> {
        let mut session = upstream.session(&self.wanted).await?;
        let nature = Arc::clone(&session.nature);
        for attribute in nature.mapping.logins.iter().filter(|name| nature.defines(name)) {
            let step = Filter::equal(attribute, login.as_str());
            let filter = Filter::And(vec![nature.people.clone(), step]);
            let (entries, more) = self.people(&mut session, filter, &nature.attributes).await?;
            // The server's own matching is wider than what was typed, and a look-alike must not find another account.
            let mut same: Vec<Entry> =
                entries.into_iter().filter(|entry| entry.texts(attribute).any(|value| login.is(value))).collect();
            match (same.pop(), same.pop()) {
                (Some(entry), None) if !more => {
                    let account = match depth {
                        Depth::Glance => self.glance(upstream, &mut session, &entry, now).await?,
                        Depth::Whole => self.account(upstream, &mut session, &entry, now).await?,
                    };
                    return Ok(Found::Account(Box::new(account)));
                }
                (None, _) if !more => {}
                (one, other) => {
                    let ids = one.into_iter().chain(other);
                    let ids = ids.filter_map(|entry| nature.flavour.id(self.key, &entry).ok());
                    return Ok(Found::Ambiguous(ids.collect()));
                }
            }
        }
        Ok(Found::NotFound)
    }

    pub(super) async fn read(&self, id: &AccountId, now: Timestamp) -> Result<Found, Error> {
        let mut last = None;
        for upstream in self.upstreams.iter().filter(|upstream| upstream.server().writable) {
            if let Err(failure) = upstream.admit() {
                last = Some(worse(last, failure));
                continue;
            }
            let mut found = self.read_on(upstream, id, now).await;
            if let Err(Failure::Broken(_) | Failure::Doubtful(_) | Failure::Unreachable(_)) = found {
                found = self.read_on(upstream, id, now).await;
            }
            match found {
                Ok(found) => return Ok(self.answered(upstream, found)),
                Err(failure) => last = Some(worse(last, failed(upstream, failure))),
            }
        }
        Err(self.no_answer(last.or(Some(Failure::Unreachable("no server takes writes".into())))))
    }

    async fn read_on(&self, upstream: &Upstream, id: &AccountId, now: Timestamp) -> Result<Found, Failure> {
        let mut session = upstream.session(&self.wanted).await?;
        let nature = Arc::clone(&session.nature);
        let Some(id_is) = nature.flavour.id_filter(id) else { return Ok(Found::NotFound) };
        let person = Filter::And(vec![nature.people.clone(), id_is]);
        let (mut entries, _) = self.people(&mut session, person, &nature.attributes).await?;
        match (entries.pop(), entries.pop()) {
            (Some(entry), None) => {
                Ok(Found::Account(Box::new(self.account(upstream, &mut session, &entry, now).await?)))
            }
            (None, _) => Ok(Found::NotFound),
            (Some(_), Some(_)) => Ok(Found::Ambiguous(vec![id.clone()])),
        }
    }

    pub(super) async fn settle(&self, id: &AccountId, before: &Stamp, server: &str) -> Result<Settled, Error> {
        // This very server is asked, also while it rests after a failure: no other one can say what it has written.
        let Some(upstream) = self.named(server) else { return Ok(Settled::Undecidable) };
        let settled = async {
            let mut session = upstream.session_on(upstream.fresh(Who::Rekeyd).await?, &self.wanted).await?;
            let nature = Arc::clone(&session.nature);
            let Some(filter) = nature.flavour.id_filter(id) else { return Ok(Settled::Undecidable) };
            let (entries, _) = self.people(&mut session, filter, &nature.attributes).await?;
            let Some(found) = entries.first() else { return Ok(Settled::Undecidable) };
            let entry = gather::whole(&mut session, found).await?;
            let stamp = nature.flavour.stamp(&entry, &nature.mapping).ok();
            Ok(stamp.map_or(Settled::Undecidable, |after| nature.flavour.settled(before, &after)))
        };
        match settled.await {
            Ok(settled) => Ok(self.answered(upstream, settled)),
            Err(failure) => {
                let failure = failed(upstream, failure);
                Err(self.no_answer(Some(failure)))
            }
        }
    }

    pub(super) async fn verify(&self, account: &Account, password: &NewPassword) -> Result<Verified, Error> {
        let mut last = None;
        let first = self.named(&account.server.name);
        let others = self.upstreams.iter().map(Arc::as_ref);
        let others = others.filter(|other| other.endpoint.url != account.server.name);
        for upstream in first.into_iter().chain(others) {
            if let Err(failure) = upstream.admit() {
                last = Some(worse(last, failure));
                continue;
            }
            let bound = async { upstream.bind_link().await?.bind(&account.name, password.expose()).await };
            let failure = match bound.await {
                Ok(reply) => match self.flavour_of(upstream).verified(&reply) {
                    Ok(verified) => return Ok(self.answered(upstream, verified)),
                    Err(words) if reply.code == BUSY => Failure::Unreachable(words),
                    // Whoever answers so may have counted a wrong password before, or asked somebody who did. It says
                    // nothing of others' passwords: they may be somewhere else.
                    Err(words) => Failure::Beyond(words),
                },
                Err(failure) => failure,
            };
            let sent = matches!(failure, Failure::Beyond(_) | Failure::Broken(_) | Failure::Silent(_));
            last = Some(worse(last, failed(upstream, failure)));
            if sent {
                break;
            }
        }
        Err(self.no_answer(last))
    }

    /// People that fit a filter, and whether there are more of them than two.
    async fn people(
        &self,
        session: &mut Session,
        filter: Filter,
        attributes: &[String],
    ) -> Result<(Vec<Entry>, bool), Failure> {
        let found = session.link.search(&self.people_query(&session.nature, filter, attributes)).await?;
        self.people_in(found)
    }

    fn people_query<'q>(&'q self, nature: &Nature, filter: Filter, attributes: &'q [String]) -> Query<'q> {
        let query = Query { limit: 2, ..Query::below(&self.wanted.search.base.0, filter, attributes) };
        if nature.limits { query } else { Query { limit: 3, control: Some((FIRST_THREE.0, &FIRST_THREE.1)), ..query } }
    }

    /// The people that a search found, and whether there are more.
    fn people_in(&self, found: Results) -> Result<(Vec<Entry>, bool), Failure> {
        let base = self.wanted.search.base.0.as_str();
        match found.reply.code {
            0 => {
                let more = found.entries.len() > 2;
                Ok((found.entries.into_iter().take(2).collect(), more))
            }
            4 => Ok((found.entries, true)),
            32 => Err(Failure::Refused(format!("{base} is not there, or rekeyd's account may not see it"))),
            10 => Err(Failure::Refused(format!("{base} is on another server"))),
            _ => Err(Failure::Refused(format!("the search for people is refused: {}", found.reply.words()))),
        }
    }

    /// How a server speaks; as the others do, before anything is known of it.
    fn flavour_of(&self, upstream: &Upstream) -> Flavour {
        let others = self.upstreams.iter().map(Arc::as_ref);
        let known = [upstream].into_iter().chain(others).find_map(Upstream::flavour);
        known.unwrap_or_else(|| Flavour::before_all(self.wanted.ldap.product.unwrap_or(Product::OpenLdap)))
    }

    fn named(&self, server: &str) -> Option<&Upstream> {
        self.upstreams.iter().map(Arc::as_ref).find(|upstream| upstream.endpoint.url == server)
    }

    fn answered<T>(&self, upstream: &Upstream, answer: T) -> T {
        upstream.answered();
        self.up.store(true, Ordering::Relaxed);
        answer
    }

    fn no_answer(&self, last: Option<Failure>) -> Error {
        // Whether others are answered shows in the servers, and not in what became of one question.
        if self.upstreams.iter().all(|upstream| upstream.resting().is_some()) {
            self.up.store(false, Ordering::Relaxed);
        }
        match last {
            Some(Failure::Refused(why)) => Error::Misconfigured(why),
            Some(failure) => Error::Unavailable(failure.to_string()),
            None => Error::Unavailable("no server is configured".into()),
        }
    }
}

/// Tells a server's record of a failure.
fn failed(upstream: &Upstream, failure: Failure) -> Failure {
    upstream.failed(&failure);
    failure
}

/// Of two failures the one that somebody must act on.
fn worse(so_far: Option<Failure>, failure: Failure) -> Failure {
    match so_far {
        Some(refused @ Failure::Refused(_)) => refused,
        _ => failure,
    }
}
