//! A password of our own that a server has refused is not sent again and again: servers lock an account by failures, and that
//! of rekeyd is an account like any other. A changed password is sent at once, the same one after growing pauses, since it may
//! have been the directory that was changed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};

use super::connect::Who;
use super::wire::Failure;

/// The first pause, and the longest.
const FIRST: Duration = Duration::from_secs(15);
const LONGEST: Duration = Duration::from_mins(10);

/// What was refused, by server and account.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<(String, Who), Refusal>>);

struct Refusal {
    /// Of the password.
    digest: Vec<u8>,
    until: Instant,
    pause: Duration,
    why: Failure,
}

impl Refusals {
    /// Why a password is not sent now, where it is not.
    pub(super) fn holds(&self, server: &str, who: Who, password: &str, now: Instant) -> Option<Failure> {
        let refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = refusals.get(&(server.to_owned(), who))?;
        (now < refusal.until && refusal.digest == of(password)).then(|| refusal.why.clone())
    }

    /// Remembers that a password was refused.
    pub(super) fn refused(&self, server: &str, who: Who, password: &str, why: Failure, now: Instant) {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = of(password);
        let before = refusals.get(&(server.to_owned(), who)).filter(|refusal| refusal.digest == digest);
        let pause = before.map_or(FIRST, |refusal| (refusal.pause * 2).min(LONGEST));
        refusals.insert((server.to_owned(), who), Refusal { digest, until: now + pause, pause, why });
    }

    /// Forgets it: a password was right.
    pub(super) fn let_in(&self, server: &str, who: Who) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(server.to_owned(), who));
    }
}

fn of(password: &str) -> Vec<u8> {
    digest(&SHA256, password.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t70_the_same_password_waits_longer_each_time_and_another_one_not_at_all() {
        let refusals = Refusals::default();
        let (now, why) = (Instant::now(), || Failure::Refused("49".into()));
        assert_eq!(refusals.holds("a", Who::Rekeyd, "old", now), None);
        refusals.refused("a", Who::Rekeyd, "old", why(), now);
        assert!(refusals.holds("a", Who::Rekeyd, "old", now).is_some());
        for (server, who, password) in
            [("a", Who::Rekeyd, "new"), ("b", Who::Rekeyd, "old"), ("a", Who::Operators, "old")]
        {
            assert_eq!(refusals.holds(server, who, password, now), None);
        }
        let later = now + FIRST;
        assert_eq!(refusals.holds("a", Who::Rekeyd, "old", later), None);
        refusals.refused("a", Who::Rekeyd, "old", why(), later);
        assert!(refusals.holds("a", Who::Rekeyd, "old", later + FIRST).is_some());
        assert_eq!(refusals.holds("a", Who::Rekeyd, "old", later + FIRST * 2), None);
        refusals.let_in("a", Who::Rekeyd);
        assert_eq!(refusals.holds("a", Who::Rekeyd, "old", later), None);
    }
}
