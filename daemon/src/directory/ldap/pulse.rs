//! How each server does, for status and health. A server that is well and in use is left alone; one that nobody uses, or
//! that has failed, is asked whether it is there, so that a fault shows without anybody in need, and its end too.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rekeyd_core::domain::Timestamp;

use super::connect::Who;
use super::upstream::Upstream;
use super::wire::Failure;
use super::{Ldap, nature};
use crate::directory::{Flaw, FlawKind};

/// How often a server is asked that is well, one that is in trouble, and one that takes no writes. The last one, and one
/// whose clock is wrong, is asked by a write of the canary.
const WELL: Duration = Duration::from_secs(10);
const TROUBLED: Duration = Duration::from_secs(2);
const COPY: Duration = Duration::from_secs(5);

/// An answer that takes more than this part of an operation's time is a late one.
const LATE: u32 = 5;
/// How far clocks may differ: more than a stamp's second and any time on the way.
const CLOCKS: i64 = 30_000;

/// When a server was asked, and how long its answer took.
#[derive(Clone, Copy)]
pub(super) struct Pulse {
    at: Instant,
    took: Duration,
}

impl Ldap {
    /// Asks those that are due, and ends connections that nobody uses.
    pub(in crate::directory) async fn examine(&self, now: Timestamp) {
        self.upstreams.iter().for_each(|upstream| upstream.sweep());
        let writer = self.has_writer();
        let asked = join_all(self.upstreams.iter().map(|upstream| self.examine_one(upstream, writer, now))).await;
        let asked: Vec<bool> = asked.into_iter().flatten().collect();
        if asked.contains(&true) {
            self.up.store(true, Ordering::Relaxed);
        } else if asked.len() == self.upstreams.len() {
            self.no_answer(None);
        }
    }

    /// Whether a server answers; `None` where it was not asked.
    async fn examine_one(&self, upstream: &Upstream, writer: bool, now: Timestamp) -> Option<bool> {
        let trouble = upstream.resting();
        let copy = !writer && !upstream.server().writable && self.wanted.ldap.canary.is_some();
        let every = match (&trouble, copy) {
            (Some(_), _) => TROUBLED,
            (None, true) => COPY,
            (None, false) => WELL,
        };
        if upstream.pulse().is_some_and(|pulse| pulse.at.elapsed() < every) {
            return None;
        }
        if copy || self.clock_of(&upstream.endpoint.url, now).abs() > CLOCKS {
            upstream.doubt().await;
        }
        let answered = self.asked(upstream, trouble.is_some()).await.map_err(Failure::asked_for_ourselves);
        if let Err(Failure::Busy(_)) = answered {
            // Others keep every connection in use; they see for themselves how it does.
            return None;
        }
        let took = match &answered {
            Ok(took) => *took,
            Err(Failure::Silent(_)) => self.wanted.ldap.operation_timeout,
            Err(_) => Duration::ZERO,
        };
        upstream.felt(Pulse { at: Instant::now(), took });
        match &answered {
            Ok(_) => upstream.answered(),
            Err(failure) => upstream.gives_up(failure),
        }
        Some(answered.is_ok())
    }

    /// How long its answer takes.
    async fn asked(&self, upstream: &Upstream, troubled: bool) -> Result<Duration, Failure> {
        let mut session = if troubled {
            // Whoever comes meanwhile is spared the wait: its rest ends once it is reached.
            let link = upstream.fresh(Who::Rekeyd).await?;
            upstream.is_reached();
            upstream.session_on(link, &self.wanted).await?
        } else {
            upstream.session(&self.wanted).await?
        };
        let began = Instant::now();
        let attributes = ["namingContexts".to_owned()];
        match nature::entry(&mut session.link, "", &attributes).await {
            // A kept connection may have ended unnoticed.
            Err(Failure::Broken(_) | Failure::Doubtful(_) | Failure::Unreachable(_)) => {
                nature::entry(&mut upstream.fresh(Who::Rekeyd).await?, "", &attributes).await?
            }
            other => other?,
        };
        Ok(began.elapsed())
    }

    /// What is wrong now: of each server the worst.
    pub(in crate::directory) fn flaws(&self, now: Timestamp) -> Vec<Flaw> {
        let writer = self.has_writer();
        let flaws = self.upstreams.iter().filter_map(|upstream| {
            let (kind, why) = self.flaw(upstream, writer, now)?;
            Some(Flaw { server: upstream.endpoint.url.clone(), kind, why })
        });
        flaws.collect()
    }

    fn flaw(&self, upstream: &Upstream, writer: bool, now: Timestamp) -> Option<(FlawKind, String)> {
        if let Some(failure) = upstream.resting() {
            let kind = match failure {
                Failure::Broken(_) | Failure::Doubtful(_) | Failure::Unreachable(_) => FlawKind::Down,
                Failure::Refused(_) => FlawKind::Refused,
                Failure::Beyond(_) | Failure::Busy(_) | Failure::Silent(_) => FlawKind::Slow,
            };
            return Some((kind, failure.to_string()));
        }
        // A copy beside an original is as it should be.
        if !writer && !upstream.server().writable {
            return Some((FlawKind::ReadOnly, "it takes no writes, and no other server does".into()));
        }
        if let Some(why) = upstream.unwritten() {
            return Some((FlawKind::Writes, why));
        }
        if let Some(why) = upstream.behind() {
            return Some((FlawKind::Behind, why));
        }
        let took = upstream.pulse().map(|pulse| pulse.took).unwrap_or_default();
        if took > self.wanted.ldap.operation_timeout / LATE {
            return Some((FlawKind::Slow, format!("an answer took {} ms", took.as_millis())));
        }
        let ahead = self.clock_of(&upstream.endpoint.url, now);
        if ahead.abs() > CLOCKS {
            let word = if ahead > 0 { "ahead of" } else { "behind" };
            return Some((FlawKind::Clock, format!("its clock is {} s {word} ours", ahead.abs() / 1000)));
        }
        None
    }

    fn has_writer(&self) -> bool {
        self.upstreams.iter().any(|upstream| upstream.server().writable && upstream.resting().is_none())
    }

    /// How far a server's clock is ahead of ours, in milliseconds, as the canary has shown; 0 where nobody knows.
    pub(in crate::directory) fn clock_of(&self, server: &str, now: Timestamp) -> i64 {
        let Some((stamped, ago)) = self.named(server).and_then(Upstream::stamped) else { return 0 };
        stamped.millis().saturating_sub(now.minus(ago).millis())
    }
}
