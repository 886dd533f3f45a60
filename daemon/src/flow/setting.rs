//! How a write that was sent ends: what is recorded, and what its holder is told.
//!
//! From here on the directory may have the new password, so nothing may end in "nothing was changed" but a certain
//! answer that says so. Where a record can't be made the claim stays open and is settled later, by the stamp.

use std::time::Duration;

use rekeyd_core::domain::{Account, Actor, Event, EventKind, NoticeKind, Proof, Ticket};
use rekeyd_core::flavour::{Demands, Rejection};
use rekeyd_core::policy::permit::Claimed;

use super::rekeyd::{Parts, Rekeyd};
use super::reset::SetOutcome;
use crate::directory::{Directory, Settled, Written};
use crate::store::{self, Spend};

/// A write without an answer is looked for this often, with growing pauses between.
const LOOKS: u32 = 3;

/// One setting of a password by a ticket.
pub(super) struct Setting<'a> {
    pub(super) parts: &'a Parts,
    pub(super) directory: &'a Directory,
    pub(super) ticket: &'a Ticket,
    pub(super) account: &'a Account,
    pub(super) nonce: [u8; 16],
    pub(super) actor: Actor,
}

impl Setting<'_> {
    /// Records how the write ended.
    pub(super) async fn conclude(&self, rekeyd: &Rekeyd, claimed: Claimed, written: Written) -> SetOutcome {
        match written {
            Written::Done { .. } => {
                self.done(rekeyd).await;
                SetOutcome::Set { locked_until: None }
            }
            Written::NotDone(why) => {
                log::warn!(event = "set-not-done"; "nothing was written: {why}");
                kept(rekeyd.store.release(claimed, false, None).await);
                SetOutcome::Unavailable
            }
            Written::Rejected(rejection, demands) => self.rejected(rekeyd, claimed, rejection, demands).await,
            Written::Stale => {
                let (event, reference) = self.refused(rekeyd, "changed-meanwhile");
                kept(rekeyd.store.void(claimed, event).await);
                SetOutcome::Refused { reference }
            }
            Written::Unsure { server } => self.look_again(rekeyd, claimed, &server).await,
        }
    }

    async fn rejected(&self, rekeyd: &Rekeyd, claimed: Claimed, rejection: Rejection, demands: Demands) -> SetOutcome {
        let again = rejection.is_about_the_password();
        let event = self.event(rekeyd, EventKind::PasswordRejected, "rejected").because(rejection.code());
        if let Rejection::MissingRight(right) | Rejection::NoTls(right) | Rejection::Protected(right) = &rejection {
            log::error!(event = "missing-right"; "the directory does not let rekeyd set a password: {right}");
        }
        kept(rekeyd.store.release(claimed, again, Some(event)).await);
        SetOutcome::Rejected { rejection, demands, again }
    }

    /// The same server is asked whether the stamp has changed. An unchanged one says nothing yet, since the write may
    /// still be under way; it is settled once it can't be any more.
    async fn look_again(&self, rekeyd: &Rekeyd, claimed: Claimed, server: &str) -> SetOutcome {
        for look in 0..LOOKS {
            tokio::time::sleep(Duration::from_millis(300).saturating_mul(1 << look)).await;
            let (account, stamp) = (&self.ticket.account, &self.ticket.stamp);
            match self.directory.settle(account, stamp, server, rekeyd.now()).await {
                Ok(Settled::Changed) => {
                    self.done(rekeyd).await;
                    return SetOutcome::Set { locked_until: None };
                }
                Ok(Settled::Undecidable) => break,
                Ok(Settled::Unchanged) | Err(_) => {}
            }
        }
        let event = self.event(rekeyd, EventKind::SetUnsure, "unsure").with("server", server);
        kept(rekeyd.store.strand(claimed, event).await);
        SetOutcome::Unsure
    }

    /// Records that the password is set.
    async fn done(&self, rekeyd: &Rekeyd) {
        let spend = self.spend(rekeyd);
        kept(rekeyd.store.spend(self.ticket.id, spend).await);
        rekeyd.outbox_wake.notify_one();
    }

    /// What a set password writes: notices to the person, the proof that the address reached them, the trail.
    pub(super) fn spend(&self, rekeyd: &Rekeyd) -> Spend {
        let now = rekeyd.now();
        let (notices, tickets) = rekeyd.tell(self.parts, self.account, NoticeKind::PasswordChanged, now);
        let event = self
            .event(rekeyd, EventKind::PasswordSet, "set")
            .because(self.ticket.purpose.word())
            .with("server", self.account.server.name.clone());
        let proof = Proof { at: now, how: self.ticket.purpose.word().into() };
        Spend { nonce: self.nonce, at: now, proof, notices, tickets, event }
    }

    /// The row of the trail for a ticket that no longer fits its account, and what the person can read out to the
    /// service desk to find it.
    fn refused(&self, rekeyd: &Rekeyd, why: &str) -> (Event, String) {
        let reference = reference_of(self.ticket);
        let event = self.event(rekeyd, EventKind::TicketRefused, "refused").because(why);
        (event.with("reference", reference.clone()), reference)
    }

    fn event(&self, rekeyd: &Rekeyd, kind: EventKind, outcome: &str) -> Event {
        Event::new(rekeyd.now(), kind, self.actor.clone(), Some(self.ticket.account.clone()), outcome)
    }
}

/// What a person can read out to the service desk, to find a ticket's rows in the trail.
pub(super) fn reference_of(ticket: &Ticket) -> String {
    ticket.id.to_string().chars().take(8).collect()
}

/// A record that could not be made is no reason to say anything else of the write.
fn kept(recorded: Result<(), store::Error>) {
    if let Err(error) = recorded {
        log::error!(event = "not-recorded"; "how a password was set could not be recorded; it will be settled: {error}");
    }
}
