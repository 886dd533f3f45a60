//! One server as it is used: a few shared connections, a rest after each failure, and what was learnt of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::Duration;

use rekeyd_core::domain::{Server, Timestamp};
use rekeyd_core::flavour::policy_entry::PolicyView;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::connect::Connector;
use super::nature::{Nature, Proof, Wanted};
use super::pulse::Pulse;
use super::wire::{Failure, Link};
use crate::directory::config::{Endpoint, LdapConfig};

/// How long what was learnt of a server holds: what it is, its policies, and that it takes no writes.
const FRESH: Duration = Duration::from_mins(5);
const FRESH_POLICY: Duration = Duration::from_mins(1);
const FRESH_REFUSAL: Duration = Duration::from_mins(1);
/// How long what the canary has shown holds, unless the server fails before.
const FRESH_PROOF: Duration = Duration::from_hours(24);

/// One server.
pub(super) struct Upstream {
    pub(super) endpoint: Endpoint,
    connector: Arc<Connector>,
    slots: Vec<Mutex<Option<Link>>>,
    turn: AtomicUsize,
    cool_down: Duration,
    rest: Lock<Option<(Instant, Failure)>>,
    read_only: Lock<Option<Instant>>,
    nature: Mutex<Option<(Instant, Arc<Nature>)>>,
    proof: Mutex<Option<(Instant, Proof)>>,
    policies: Lock<HashMap<String, (Instant, PolicyView)>>,
    pulse: Lock<Option<Pulse>>,
    unwritten: Lock<Option<(Instant, String)>>,
}

/// A connection together with what is known of the server behind it.
pub(super) struct Session {
    pub(super) link: Link,
    pub(super) nature: Arc<Nature>,
}

impl Upstream {
    pub(super) fn new(endpoint: Endpoint, config: &LdapConfig, connector: Arc<Connector>) -> Self {
        Self {
            endpoint,
            connector,
            slots: (0..config.connections).map(|_| Mutex::new(None)).collect(),
            turn: AtomicUsize::new(0),
            cool_down: config.cool_down,
            rest: Lock::new(None),
            read_only: Lock::new(None),
            nature: Mutex::new(None),
            proof: Mutex::new(None),
            policies: Lock::new(HashMap::new()),
            pulse: Lock::new(None),
            unwritten: Lock::new(None),
        }
    }

    /// Its name in evidence, and whether it takes writes as far as is known.
    pub(super) fn server(&self) -> Server {
        let read_only = held(&self.read_only).is_some_and(|since| since.elapsed() < FRESH_REFUSAL);
        Server { name: self.endpoint.url.clone(), writable: !read_only }
    }

    /// Remembers for a while that it is a copy that takes no writes; it may become an original.
    pub(super) fn takes_no_writes(&self) {
        *held(&self.read_only) = Some(Instant::now());
    }

    /// Why it is left alone at the moment, if it is.
    pub(super) fn resting(&self) -> Option<Failure> {
        let now = Instant::now();
        held(&self.rest).as_ref().filter(|(until, _)| *until > now).map(|(_, failure)| failure.clone())
    }

    /// Why it is in trouble, until it is known to be well again.
    pub(super) fn trouble(&self) -> Option<Failure> {
        held(&self.rest).as_ref().map(|(_, failure)| failure.clone())
    }

    /// Ends its rest: it has just been reached. What was learnt of it before its trouble is learnt anew.
    pub(super) fn is_reached(&self) {
        if let Some((until, _)) = held(&self.rest).as_mut() {
            *until = Instant::now();
        }
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

    /// Whether a rest is over and nothing was learnt of it since.
    fn is_back(&self) -> bool {
        let now = Instant::now();
        held(&self.rest).as_ref().is_some_and(|(until, _)| *until <= now)
    }

    /// Leaves it alone for a while.
    pub(super) fn rest(&self, failure: &Failure) {
        log::debug!(event = "directory-rests", server = self.endpoint.url.as_str(); "{failure}");
        *held(&self.rest) = Some((Instant::now() + self.cool_down, failure.clone()));
    }

    /// A shared connection with what is known of the server.
    pub(super) async fn session(&self, wanted: &Wanted) -> Result<Session, Failure> {
        self.session_on(self.link().await?, wanted).await
    }

    /// A given connection with what is known of the server.
    pub(super) async fn session_on(&self, link: Link, wanted: &Wanted) -> Result<Session, Failure> {
        let mut known = self.nature.lock().await;
        // A server that comes back may have become another one: restarted with other settings, or restored.
        let back = self.is_back();
        let fresh = |nature: &Nature| if nature.proof.copy { FRESH_REFUSAL } else { FRESH };
        if let Some((_, nature)) = known.as_ref().filter(|(since, one)| !back && since.elapsed() < fresh(one)) {
            return Ok(Session { link, nature: Arc::clone(nature) });
        }
        // Whoever waited here while another one failed need not fail again.
        if let Some(failure) = self.resting() {
            return Err(failure);
        }
        let mut kept = self.proof.lock().await;
        // A copy may become an original at any time.
        let fresh = |proof: &Proof| if proof.copy { FRESH_REFUSAL } else { FRESH_PROOF };
        let fresh = kept.as_ref().filter(|(since, one)| !back && since.elapsed() < fresh(one));
        let mut proof = fresh.map(|(_, proof)| proof.clone());
        let renewed = proof.is_none();
        let learnt = Nature::learn(&link, wanted, &mut proof).await;
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
                self.rest(failure);
            }
        })?;
        let nature = Arc::new(nature);
        *known = Some((Instant::now(), Arc::clone(&nature)));
        if self.is_back() {
            *held(&self.rest) = None;
        }
        Ok(Session { link, nature })
    }

    /// Forgets what was learnt, so that the next session learns it anew; the proof on the canary too.
    pub(super) async fn forget(&self) {
        *self.nature.lock().await = None;
        *self.proof.lock().await = None;
        held(&self.policies).clear();
        *held(&self.rest) = None;
        *held(&self.read_only) = None;
    }

    /// A shared connection, made if there is none that can be used.
    async fn link(&self) -> Result<Link, Failure> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.slots.len().max(1);
        let Some(slot) = self.slots.get(turn) else {
            return Err(Failure::Unreachable("no connections are configured".into()));
        };
        let mut slot = slot.lock().await;
        if let Some(link) = slot.as_ref().filter(|link| link.is_usable()) {
            return Ok(link.clone());
        }
        if let Some(failure) = self.resting() {
            return Err(failure);
        }
        let link = self.fresh().await.inspect_err(|failure| self.rest(failure))?;
        *slot = Some(link.clone());
        Ok(link)
    }

    /// A connection of one's own, known as rekeyd.
    pub(super) async fn fresh(&self) -> Result<Link, Failure> {
        self.connector.service(&self.endpoint).await
    }

    /// A connection of one's own, known as nobody yet.
    pub(super) async fn anonymous(&self) -> Result<Link, Failure> {
        self.connector.anonymous(&self.endpoint).await
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
