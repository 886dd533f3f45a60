//! One server as it is used: its kept connections, its rests after failures, and what was learnt of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rekeyd_core::domain::{Server, Timestamp};
use rekeyd_core::flavour::Flavour;
use rekeyd_core::flavour::policy_entry::PolicyView;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::breaker::Breaker;
use super::connect::{Connector, Shown, Who};
use super::nature::{Nature, Proof, Wanted};
use super::pool::{Place, Pool};
use super::pulse::Pulse;
use super::strainer::Pieces;
use super::wire::{BindLink, Failure, Link};
use crate::directory::config::LdapConfig;
use crate::directory::endpoint::Endpoint;

/// How long reading one entry of any size may take.
const LONGEST_READ: Duration = Duration::from_mins(15);
/// How long what was learnt of a server holds: what it is, its policies, and that it takes no writes.
const FRESH: Duration = Duration::from_mins(5);
const FRESH_POLICY: Duration = Duration::from_mins(1);
const FRESH_REFUSAL: Duration = Duration::from_mins(1);
/// How long a server counts as behind the others without a password that shows it again.
const FRESH_LAG: Duration = Duration::from_mins(5);
/// How long what the canary has shown holds, unless the server fails before.
const FRESH_PROOF: Duration = Duration::from_hours(24);

/// One server.
pub(super) struct Upstream {
    pub(super) endpoint: Endpoint,
    connector: Arc<Connector>,
    /// Connections on which rekeyd is known as itself.
    own: Arc<Pool>,
    /// Connections on which people's passwords are tried.
    binds: Arc<Pool>,
    deadline: Duration,
    breaker: Breaker,
    read_only: Lock<Option<Instant>>,
    nature: Mutex<Option<(Instant, Arc<Nature>)>>,
    proof: Mutex<Option<(Instant, Proof)>>,
    /// How it speaks, as it was learnt last.
    flavour: Lock<Option<Flavour>>,
    policies: Lock<HashMap<String, (Instant, PolicyView)>>,
    pulse: Lock<Option<Pulse>>,
    unwritten: Lock<Option<(Instant, String)>>,
    /// One password is followed here at a time.
    following: Arc<Semaphore>,
    behind: Lock<Option<(Instant, String)>>,
}

/// A connection in the hands of one story, together with what is known of the server behind it.
pub(super) struct Session {
    pub(super) link: Link,
    pub(super) nature: Arc<Nature>,
}

impl Upstream {
    pub(super) fn new(endpoint: Endpoint, config: &LdapConfig, connector: Arc<Connector>) -> Self {
        Self {
            endpoint,
            connector,
            own: Pool::new(config.connections),
            binds: Pool::new(config.sign_in_connections),
            deadline: config.operation_timeout,
            breaker: Breaker::new(
                config.endpoints.len() > 1,
                config.operation_timeout,
                config.cool_down,
                Instant::now(),
            ),
            read_only: Lock::new(None),
            nature: Mutex::new(None),
            proof: Mutex::new(None),
            flavour: Lock::new(None),
            policies: Lock::new(HashMap::new()),
            pulse: Lock::new(None),
            unwritten: Lock::new(None),
            following: Arc::new(Semaphore::new(1)),
            behind: Lock::new(None),
        }
    }

    /// The same server, with connections of its own and nothing learnt of it.
    pub(super) fn apart(&self, config: &LdapConfig) -> Self {
        Self::new(self.endpoint.clone(), config, Arc::clone(&self.connector))
    }

    /// What its certificate says; `None` where no TLS is spoken.
    pub(super) async fn certificate(&self) -> Result<Option<Shown>, Failure> {
        self.connector.certificate(&self.endpoint).await
    }

    /// Its name in evidence, and whether it takes writes as far as is known.
    pub(super) fn server(&self) -> Server {
        let read_only = held(&self.read_only).is_some_and(|since| since.elapsed() < FRESH_REFUSAL);
        Server { name: self.endpoint.url.clone(), writable: !read_only }
    }

    /// How it speaks, as far as that was ever learnt.
    pub(super) fn flavour(&self) -> Option<Flavour> {
        held(&self.flavour).clone()
    }

    /// Remembers for a while that it is a copy that takes no writes; it may become an original.
    pub(super) fn takes_no_writes(&self) {
        *held(&self.read_only) = Some(Instant::now());
    }

    /// Asks whether a story may ask it now. Who was let in tells how it went, by [`Self::failed`] or [`Self::answered`].
    ///
    /// # Errors
    /// Why it is left alone at the moment.
    pub(super) fn admit(&self) -> Result<(), Failure> {
        self.breaker.admit(Instant::now())
    }

    /// Why it is left alone, if it is.
    pub(super) fn resting(&self) -> Option<Failure> {
        self.breaker.resting()
    }

    /// Gives it up at once: it was asked for nothing but whether it is there, and answers nobody else.
    pub(super) fn gives_up(&self, failure: &Failure) {
        let now = Instant::now();
        let begun = match failure {
            Failure::Silent(_) if self.breaker.answers_others(now) => self.breaker.failed(failure, now),
            _ => self.breaker.shuts(failure, now),
        };
        self.tell_of_rest(begun, failure);
    }

    /// Ends its rest: it has just been reached. What was learnt of it before its trouble is learnt anew.
    pub(super) fn is_reached(&self) {
        self.breaker.reached(Instant::now());
    }

    /// Has its canary written again with the next session, to see whether it takes writes by now.
    pub(super) async fn doubt(&self) {
        *self.nature.lock().await = None;
        *self.proof.lock().await = None;
    }

    /// The canary's stamp, and how long ago it was written; `None` where nobody knows, or somebody is learning it now.
    pub(super) fn stamped(&self) -> Option<(Timestamp, Duration)> {
        let proof = self.proof.try_lock().ok()?;
        let (since, proof) = proof.as_ref()?;
        Some((proof.stamped?, since.elapsed()))
    }

    /// Remembers for a while why a password could not be written, or that one could.
    pub(super) fn wrote(&self, trouble: Option<String>) {
        *held(&self.unwritten) = trouble.map(|why| (Instant::now(), why));
    }

    /// Why passwords can't be written, as far as the last one has shown.
    pub(super) fn unwritten(&self) -> Option<String> {
        let unwritten = held(&self.unwritten);
        unwritten.as_ref().filter(|(since, _)| since.elapsed() < FRESH_REFUSAL).map(|(_, why)| why.clone())
    }

    /// When it was last asked whether it is there, and how that went.
    pub(super) fn pulse(&self) -> Option<Pulse> {
        *held(&self.pulse)
    }

    /// Remembers that it was asked.
    pub(super) fn felt(&self, pulse: Pulse) {
        *held(&self.pulse) = Some(pulse);
    }

    /// A story has no answer from it. Where that is for the sake of its own question, the server has answered.
    pub(super) fn failed(&self, failure: &Failure) {
        if let Failure::Beyond(why) = failure {
            log::debug!(event = "directory-beyond", server = self.endpoint.url.as_str(); "{why}");
            self.answered();
            return;
        }
        if let Failure::Broken(_) | Failure::Unreachable(_) = failure {
            // The others have most likely ended as well.
            self.own.clear();
            self.binds.clear();
        }
        self.tell_of_rest(self.breaker.failed(failure, Instant::now()), failure);
    }

    /// Ends kept connections that are of no use any more.
    pub(super) fn sweep(&self) {
        let now = tokio::time::Instant::now();
        self.own.sweep(now);
        self.binds.sweep(now);
    }

    /// It answered.
    pub(super) fn answered(&self) {
        if let Some(rest) = self.breaker.answered(Instant::now()) {
            let server = self.endpoint.url.as_str();
            log::warn!(event = "directory-back", server = server; "the directory answers again, after {} s", rest.as_secs());
        }
    }

    fn tell_of_rest(&self, begun: Option<Duration>, failure: &Failure) {
        let server = self.endpoint.url.as_str();
        if begun.is_some() {
            log::warn!(event = "directory-rests", server = server; "the directory is left alone for a while: {failure}");
        } else {
            log::debug!(event = "directory-failed", server = server; "{failure}");
        }
    }

    /// A connection with what is known of the server.
    pub(super) async fn session(&self, wanted: &Wanted) -> Result<Session, Failure> {
        self.session_on(self.link().await?, wanted).await
    }

    /// A given connection with what is known of the server.
    pub(super) async fn session_on(&self, mut link: Link, wanted: &Wanted) -> Result<Session, Failure> {
        let mut known = self.nature.lock().await;
        // A server that comes back may have become another one: restarted with other settings, or restored. One that is
        // doubted shows here whether it can answer anything.
        let back = self.breaker.is_doubted();
        let fresh = |nature: &Nature| if nature.proof.copy { FRESH_REFUSAL } else { FRESH };
        if let Some((_, nature)) = known.as_ref().filter(|(since, one)| !back && since.elapsed() < fresh(one)) {
            return Ok(Session { link, nature: Arc::clone(nature) });
        }
        // Whoever waited here while another one failed need not fail again.
        if let Some(failure) = self.breaker.shut(Instant::now()) {
            return Err(failure);
        }
        let mut kept = self.proof.lock().await;
        // A copy may become an original at any time.
        let fresh = |proof: &Proof| if proof.copy { FRESH_REFUSAL } else { FRESH_PROOF };
        let fresh = kept.as_ref().filter(|(since, one)| !back && since.elapsed() < fresh(one));
        let mut proof = fresh.map(|(_, proof)| proof.clone());
        let renewed = proof.is_none();
        let learnt = Nature::learn(&mut link, wanted, &mut proof).await.map_err(Failure::asked_for_ourselves);
        if let Some(proof) = proof.filter(|_| renewed) {
            if proof.copy {
                self.takes_no_writes();
            } else if proof.written {
                *held(&self.read_only) = None;
            }
            if kept.as_ref().is_some_and(|(_, old)| old.whole && !proof.whole && !proof.copy) {
                let server = self.endpoint.url.as_str();
                log::warn!(event = "write-condition-lost", server = server; "from now on: {}", proof.words);
            }
            *kept = Some((Instant::now(), proof));
        }
        let nature = learnt.inspect_err(|failure| {
            // A kept connection that has ended says nothing of the server yet.
            if !matches!(failure, Failure::Broken(_) | Failure::Unreachable(_)) {
                self.tell_of_rest(self.breaker.shuts(failure, Instant::now()), failure);
            }
        })?;
        let nature = Arc::new(nature);
        *held(&self.flavour) = Some(nature.flavour.clone());
        *known = Some((Instant::now(), Arc::clone(&nature)));
        self.breaker.learnt();
        Ok(Session { link, nature })
    }

    /// A kept connection, or a new one.
    async fn link(&self) -> Result<Link, Failure> {
        let mut place = self.own.take(self.deadline).await?;
        if place.connection.is_none() {
            if let Some(failure) = self.breaker.shut(Instant::now()) {
                return Err(failure);
            }
            place.connection = Some(self.connector.service(&self.endpoint, Who::Rekeyd).await?);
        }
        Ok(Link::new(place, self.deadline))
    }

    /// A connection of one's own.
    pub(super) async fn fresh(&self, who: Who) -> Result<Link, Failure> {
        Ok(Link::new(Place::apart(self.connector.service(&self.endpoint, who).await?), self.deadline))
    }

    /// The connection to write on: the one that is there already, or one on which operators are known.
    pub(super) async fn pen(&self, own: Link, who: Who) -> Result<Link, Failure> {
        match who {
            Who::Rekeyd => Ok(own),
            Who::Operators => self.fresh(who).await,
        }
    }

    /// Leave to follow one password to this server; `None` while another one is followed.
    pub(super) fn follows(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.following).try_acquire_owned().ok()
    }

    /// Remembers how long a password took to come here from another server, or that it did not come, and why nobody knows.
    pub(super) fn spread(&self, from: &str, took: Result<Duration, Option<String>>) {
        let server = self.endpoint.url.as_str();
        let behind = match took {
            Ok(took) => {
                log::info!(event = "password-arrived", server = server, from = from, millis = took.as_millis(); "");
                None
            }
            Err(None) => Some(format!("a password that {from} took had not come here in time")),
            // What it suffers from has its own flaw.
            Err(Some(why)) => {
                log::info!(event = "password-not-seen", server = server, from = from; "{why}");
                None
            }
        };
        if let Some(why) = &behind {
            log::warn!(event = "directory-behind", server = server; "{why}");
        }
        *held(&self.behind) = behind.map(|why| (Instant::now(), why));
    }

    /// Why it is behind the others, as far as the last password has shown.
    pub(super) fn behind(&self) -> Option<String> {
        let behind = held(&self.behind);
        behind.as_ref().filter(|(since, _)| since.elapsed() < FRESH_LAG).map(|(_, why)| why.clone())
    }

    /// A connection of one's own, known as rekeyd, whose finds come in pieces. A search on it may take long, as long as
    /// something comes.
    pub(super) async fn strained(&self, pieces: Pieces) -> Result<Link, Failure> {
        Ok(Link::new(Place::apart(self.connector.strained(&self.endpoint, pieces).await?), LONGEST_READ))
    }

    /// A connection for one person's bind.
    pub(super) async fn bind_link(&self) -> Result<BindLink, Failure> {
        let mut place = self.binds.take(self.deadline).await?;
        if place.connection.is_none() {
            place.connection = Some(self.connector.anonymous(&self.endpoint).await?);
        }
        Ok(BindLink::new(place, self.deadline))
    }

    /// A policy that was read a short while ago.
    pub(super) fn known_policy(&self, name: &str) -> Option<PolicyView> {
        let policies = held(&self.policies);
        policies.get(name).filter(|(since, _)| since.elapsed() < FRESH_POLICY).map(|(_, view)| view.clone())
    }

    /// Remembers a policy.
    pub(super) fn learnt_policy(&self, name: &str, view: &PolicyView) {
        held(&self.policies).insert(name.to_owned(), (Instant::now(), view.clone()));
    }
}

fn held<T>(lock: &Lock<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
