//! The one write. It goes to the server that the verdict was made on, with the condition that the account is still what
//! the verdict was about, or right after a look where the server takes no condition. What operators write goes by their own
//! account, where one is configured; every look goes by rekeyd's.

use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::{AccountId, EntryName, Stamp};
use rekeyd_core::flavour::{Asked, Change, Demands, Outcome, Rejection, Reply, Settled};
use rekeyd_core::policy::permit::{Mandate, Permit};
use tokio::time::sleep;

use super::connect::Who;
use super::nature::Nature;
use super::request::Modify;
use super::upstream::{Session, Upstream};
use super::wire::{Failure, Link};
use super::{Ldap, failed};
use crate::directory::Written;

/// How often, and how long apart, it is looked whether a password must be changed that was just written so: some servers
/// answer before they write that down, a few milliseconds later.
const LOOKS: usize = 20;
const APART: Duration = Duration::from_millis(10);

/// What a write needs once the permit has given its mandate back.
pub(super) struct Target {
    pub(super) id: AccountId,
    pub(super) name: EntryName,
    pub(super) stamp: Stamp,
    must_change: bool,
    unlocks: bool,
    who: Who,
}

impl Ldap {
    pub(in crate::directory) async fn write(&self, permit: Permit) -> (Mandate, Written) {
        let server = permit.server().name.clone();
        let Some(upstream) = self.named(&server) else {
            return (permit.into_mandate(), Written::NotDone(format!("{server} is no longer configured")));
        };
        let session = match upstream.session(&self.wanted).await {
            Ok(session) => session,
            Err(failure) => {
                let failure = failed(upstream, failure);
                return (permit.into_mandate(), Written::NotDone(failure.to_string()));
            }
        };
        let change = session.nature.flavour.change(&permit);
        let operators = self.wanted.ldap.operator.is_some() && matches!(permit.mandate(), Mandate::Operator(_));
        let target = Target {
            id: permit.account().clone(),
            name: permit.name().clone(),
            stamp: permit.stamp().clone(),
            must_change: permit.must_change(),
            unlocks: permit.unlocks(),
            who: if operators { Who::Operators } else { Who::Rekeyd },
        };
        let mandate = permit.into_mandate();
        let nature = Arc::clone(&session.nature);
        let mut written = match &change {
            Ok(Change::Modify { replace, condition: Some(condition), hints }) => {
                let modify = Modify { replace, condition: Some(condition), hints: *hints };
                self.with_condition(upstream, session, &target, modify).await
            }
            Ok(change) => self.after_a_look(upstream, session, &target, change).await,
            Err(rejection) => Written::Rejected(rejection.clone(), Demands::default()),
        };
        match &mut written {
            Written::Rejected(rejection, demands) if rejection.names_a_rule() => {
                *demands = self.demands(upstream, &target.name).await.unwrap_or_default();
            }
            Written::Done => {
                if target.must_change {
                    self.see_must_change(upstream, &nature, &target).await;
                }
                self.follow(upstream, &target);
            }
            _ => {}
        }
        (mandate, written)
    }

    async fn with_condition(
        &self,
        upstream: &Upstream,
        session: Session,
        target: &Target,
        modify: Modify<'_>,
    ) -> Written {
        let nature = Arc::clone(&session.nature);
        let mut link = match upstream.pen(session.link, target.who).await {
            Ok(link) => link,
            Err(failure) => return unanswered(upstream, failure, false),
        };
        let first = link.modify(&target.name, modify).await;
        let failure = match first.and_then(|reply| self.concluded(upstream, &nature, target, &reply)) {
            Ok(written) => return written,
            Err(failure) => failure,
        };
        let sent = !matches!(failure, Failure::Unreachable(_));
        log::debug!(event = "write-unanswered", server = upstream.endpoint.url.as_str(); "{failure}");
        // The condition makes the same write harmless a second time: it fits only if the first was never done.
        let mut again = match upstream.fresh(target.who).await {
            Ok(link) => link,
            Err(failure) => return unanswered(upstream, failure, sent),
        };
        let second = again.modify(&target.name, modify).await;
        let refused = match second.and_then(|reply| self.concluded(upstream, &nature, target, &reply)) {
            Ok(written) if !sent || matches!(written, Written::Done) => return written,
            // The first write would meet these as well, if it came only now.
            Ok(written @ (Written::Rejected(..) | Written::Stale)) => Some(written),
            Err(failure @ Failure::Unreachable(_)) => return unanswered(upstream, failure, sent),
            Err(failure) if !again.is_usable() => return unanswered(upstream, failure, true),
            Ok(_) | Err(_) => None,
        };
        // Refused because it had been done (the condition fails, or the password is in the history by now), or nobody
        // knows: the mark tells whether it was done. An unchanged one without a refusal says nothing yet.
        let looked = match target.who {
            Who::Rekeyd => self.look(&mut again, &nature, target).await,
            Who::Operators => match upstream.fresh(Who::Rekeyd).await {
                Ok(mut link) => self.look(&mut link, &nature, target).await,
                Err(failure) => Err(failure),
            },
        };
        match looked {
            Ok(Some(stamp)) if nature.flavour.settled(&target.stamp, &stamp) == Settled::Changed => {
                self.answered(upstream, Written::Done)
            }
            Ok(Some(stamp)) => {
                let unsure = Written::Unsure { server: upstream.endpoint.url.clone() };
                self.answered(upstream, refused.filter(|_| stamp == target.stamp).unwrap_or(unsure))
            }
            Ok(None) => Written::Unsure { server: upstream.endpoint.url.clone() },
            Err(failure) => unanswered(upstream, failure, true),
        }
    }

    async fn after_a_look(&self, upstream: &Upstream, session: Session, target: &Target, change: &Change) -> Written {
        let nature = Arc::clone(&session.nature);
        // A second connection is made before the look, so that the write comes right after it.
        let mut pen = match target.who {
            Who::Rekeyd => None,
            Who::Operators => match upstream.fresh(Who::Operators).await {
                Ok(link) => Some(link),
                Err(failure) => return unanswered(upstream, failure, false),
            },
        };
        // Two tries, since a kept connection may have ended unnoticed and nothing is written before the look.
        let mut link = session.link;
        let mut looked = self.look(&mut link, &nature, target).await;
        if let Err(Failure::Broken(_) | Failure::Doubtful(_) | Failure::Unreachable(_)) = looked {
            link = match upstream.fresh(Who::Rekeyd).await {
                Ok(link) => link,
                Err(failure) => return unanswered(upstream, failure, false),
            };
            looked = self.look(&mut link, &nature, target).await;
        }
        match looked {
            Ok(Some(now)) if now == target.stamp && now.guard() == target.stamp.guard() => {}
            Ok(_) => return self.answered(upstream, Written::Stale),
            Err(failure) => return unanswered(upstream, failure, false),
        }
        let writer = pen.as_mut().unwrap_or(&mut link);
        let answer = match change {
            Change::Exop { password } => writer.set_password(&target.name, password).await,
            Change::Modify { replace, condition, hints } => {
                let modify = Modify { replace, condition: condition.as_deref(), hints: *hints };
                writer.modify(&target.name, modify).await
            }
        };
        let failure = match answer.and_then(|reply| self.concluded(upstream, &nature, target, &reply)) {
            Ok(written) => return written,
            Err(failure) => failure,
        };
        if let Failure::Unreachable(_) = failure {
            return unanswered(upstream, failure, false);
        }
        // A changed mark says that it was done. An unchanged one says nothing yet: it may still be under way.
        if let Ok(mut link) = upstream.fresh(Who::Rekeyd).await
            && let Ok(Some(now)) = self.look(&mut link, &nature, target).await
            && nature.flavour.settled(&target.stamp, &now) == Settled::Changed
        {
            return self.answered(upstream, Written::Done);
        }
        unanswered(upstream, failure, true)
    }

    /// The mark of the entry as it is now; `None` where it is gone or another one has its name.
    async fn look(&self, link: &mut Link, nature: &Nature, target: &Target) -> Result<Option<Stamp>, Failure> {
        let found = link.search(&nature.whole(&target.name.0)).await?;
        let Some(entry) = found.entries.into_iter().next() else { return Ok(None) };
        let same = nature.flavour.id(self.key, &entry).is_ok_and(|id| id == target.id);
        Ok(nature.flavour.stamp(&entry, &nature.mapping).ok().filter(|_| same))
    }

    /// Looks whether the server has it that the password must be changed, where its answer does not say so.
    async fn see_must_change(&self, upstream: &Upstream, nature: &Nature, target: &Target) {
        for _ in 0..LOOKS {
            let Ok(mut session) = upstream.session(&self.wanted).await else { return };
            let Ok(found) = session.link.search(&nature.whole(&target.name.0)).await else { return };
            let seen = found.entries.first().and_then(|entry| nature.flavour.must_be_changed(entry));
            if seen != Some(false) {
                return;
            }
            sleep(APART).await;
        }
        log::warn!(
            event = "must-change-unseen", server = upstream.endpoint.url.as_str(), account = target.id.to_string();
            "the password was set, and the directory does not show that it must be changed"
        );
    }

    /// What an answer means; one that does not know it itself is none.
    fn concluded(
        &self,
        upstream: &Upstream,
        nature: &Nature,
        target: &Target,
        reply: &Reply,
    ) -> Result<Written, Failure> {
        let copy = nature.flavour.is_copy(reply);
        if copy {
            upstream.takes_no_writes();
        }
        let Target { must_change, unlocks, stamp, .. } = target;
        let outcome = nature.flavour.outcome(reply, &Asked { must_change: *must_change, unlocks: *unlocks, stamp });
        upstream.wrote(match &outcome {
            Outcome::NotDone(why)
            | Outcome::Unsure(why)
            | Outcome::Rejected(Rejection::MissingRight(why) | Rejection::NoTls(why))
                if !copy =>
            {
                Some(why.clone())
            }
            _ => None,
        });
        Ok(self.answered(
            upstream,
            match outcome {
                Outcome::Done => Written::Done,
                Outcome::NotDone(why) => Written::NotDone(why),
                Outcome::Rejected(rejection) => Written::Rejected(rejection, Demands::default()),
                Outcome::Stale => Written::Stale,
                Outcome::Unsure(why) => return Err(Failure::Broken(why)),
            },
        ))
    }
}

/// What no answer means.
fn unanswered(upstream: &Upstream, failure: Failure, sent: bool) -> Written {
    // A connection that broke says little about the server, which is about to be asked what became of the write.
    let failure = match failure {
        Failure::Broken(_) => failure,
        failure => failed(upstream, failure),
    };
    if sent { Written::Unsure { server: upstream.endpoint.url.clone() } } else { Written::NotDone(failure.to_string()) }
}
