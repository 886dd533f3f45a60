//! The one write. It goes to the server that the verdict was made on, with the condition that the account is still what
//! the verdict was about, or right after a look on the same connection where the server takes no condition.

use std::sync::Arc;

use rekeyd_core::domain::{AccountId, EntryName, Stamp};
use rekeyd_core::flavour::{Change, Flavour, Outcome, Rejection, Reply, Settled};
use rekeyd_core::policy::permit::{Mandate, Permit};
use zeroize::Zeroizing;

use super::nature::Nature;
use super::upstream::{Session, Upstream};
use super::wire::{Failure, Link};
use super::{Ldap, failed, nature};
use crate::directory::Written;

/// What a write needs once the permit has given its mandate back.
struct Target {
    id: AccountId,
    name: EntryName,
    stamp: Stamp,
    must_change: bool,
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
        let target = Target {
            id: permit.account().clone(),
            name: permit.name().clone(),
            stamp: permit.stamp().clone(),
            must_change: permit.must_change(),
        };
        let mandate = permit.into_mandate();
        let written = match change {
            Ok(Change::Exop { password }) => self.by_operation(upstream, session, &target, &password).await,
            Ok(Change::Modify { replace, condition, .. }) => {
                self.by_modify(upstream, session, &target, &replace, condition.as_deref()).await
            }
            Err(rejection) => Written::Rejected(rejection),
        };
        (mandate, written)
    }

    async fn by_modify(
        &self,
        upstream: &Upstream,
        mut session: Session,
        target: &Target,
        replace: &[(&'static str, Zeroizing<Vec<u8>>)],
        condition: Option<&str>,
    ) -> Written {
        let nature = Arc::clone(&session.nature);

        let first = session.link.modify(&target.name, replace, condition).await;
        let failure = match first.and_then(|reply| self.concluded(upstream, &nature.flavour, target, &reply)) {
            Ok(written) => return written,
            Err(failure) => failure,
        };
        let sent = !matches!(failure, Failure::Unreachable(_));
        log::debug!(event = "write-unanswered", server = upstream.endpoint.url.as_str(); "{failure}");
        if sent && condition.is_none() {
            return unanswered(upstream, failure, sent);
        }
        // The condition makes the same write harmless a second time: it fits only if the first was never done.
        let mut again = match upstream.fresh().await {
            Ok(link) => link,
            Err(failure) => return unanswered(upstream, failure, sent),
        };
        let second = again.modify(&target.name, replace, condition).await;
        let refused = match second.and_then(|reply| self.concluded(upstream, &nature.flavour, target, &reply)) {
            Ok(written) if !sent || matches!(written, Written::Done) => return written,
            // The first write would meet these as well, if it came only now.
            Ok(written @ (Written::Rejected(_) | Written::Stale)) => Some(written),
            Err(failure @ Failure::Unreachable(_)) => return unanswered(upstream, failure, sent),
            Err(failure) if !again.is_usable() => return unanswered(upstream, failure, true),
            Ok(_) | Err(_) => None,
        };
        // Refused because it had been done (the condition fails, or the password is in the history by now), or nobody
        // knows: the mark tells whether it was done. An unchanged one without a refusal says nothing yet.
        match self.look(&mut again, &nature, target).await {
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

    async fn by_operation(
        &self,
        upstream: &Upstream,
        session: Session,
        target: &Target,
        password: &Zeroizing<String>,
    ) -> Written {
        let nature = Arc::clone(&session.nature);

        // Two tries, since a kept connection may have ended unnoticed and nothing is written before the look.
        let mut link = session.link;
        let mut looked = self.look(&mut link, &nature, target).await;
        if let Err(Failure::Broken(_) | Failure::Unreachable(_)) = looked {
            link = match upstream.fresh().await {
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
        let answer = link.set_password(&target.name, password).await;
        let failure = match answer.and_then(|reply| self.concluded(upstream, &nature.flavour, target, &reply)) {
            Ok(written) => return written,
            Err(failure) => failure,
        };
        if let Failure::Unreachable(_) = failure {
            return unanswered(upstream, failure, false);
        }
        // A changed mark says that it was done. An unchanged one says nothing yet: it may still be under way.
        if let Ok(mut link) = upstream.fresh().await
            && let Ok(Some(now)) = self.look(&mut link, &nature, target).await
            && nature.flavour.settled(&target.stamp, &now) == Settled::Changed
        {
            return self.answered(upstream, Written::Done);
        }
        unanswered(upstream, failure, true)
    }

    /// The mark of the entry as it is now; `None` where it is gone or another one has its name.
    async fn look(&self, link: &mut Link, nature: &Nature, target: &Target) -> Result<Option<Stamp>, Failure> {
        let Some(entry) = nature::entry(link, &target.name.0, &nature.attributes).await? else { return Ok(None) };
        let same = nature.flavour.id(self.key, &entry).is_ok_and(|id| id == target.id);
        Ok(nature.flavour.stamp(&entry, &nature.mapping).ok().filter(|_| same))
    }

    /// What an answer means; one that does not know it itself is none.
    fn concluded(
        &self,
        upstream: &Upstream,
        flavour: &Flavour,
        target: &Target,
        reply: &Reply,
    ) -> Result<Written, Failure> {
        let copy = flavour.is_copy(reply);
        if copy {
            upstream.takes_no_writes();
        }
        let outcome = flavour.outcome(reply, target.must_change);
        upstream.wrote(match &outcome {
            Outcome::NotDone(why) | Outcome::Unsure(why) | Outcome::Rejected(Rejection::MissingRight(why)) if !copy => {
                Some(why.clone())
            }
            _ => None,
        });
        Ok(self.answered(
            upstream,
            match outcome {
                Outcome::Done => Written::Done,
                Outcome::NotDone(why) => Written::NotDone(why),
                Outcome::Rejected(rejection) => Written::Rejected(rejection),
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
