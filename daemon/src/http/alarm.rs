//! What looks like an attack is logged, so that somebody can see one: a line each, in fixed words, with the address that
//! it came from. How many such lines are kept is the log's business; but what any scanner of addresses does all day is
//! told of once a minute for each address, with a count.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;

use super::answer::Refusal;
use super::response::Answer;

/// A sign of an attack: the event's name and words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Sign(&'static str, &'static str);

/// How often one address is told of.
const EVERY: Duration = Duration::from_mins(1);
/// How many addresses are remembered; all others are told of as one.
const ADDRESSES: usize = 256;

/// Tells of refusals.
#[derive(Default)]
pub(super) struct Alarm {
    misdirected: Mutex<HashMap<IpAddr, Told>>,
}

struct Told {
    at: Instant,
    /// How many came since.
    since: u64,
}

impl Alarm {
    /// Looks at a request that was refused before its story.
    pub(super) fn refused(&self, refusal: &Refusal, source: IpAddr) {
        let Some(sign) = of_refusal(refusal) else { return };
        if !matches!(refusal, Refusal::Misdirected) {
            return sign.log(source);
        }
        if let Some((whose, count)) = self.due(source, Instant::now()) {
            let Sign(event, words) = sign;
            log::warn!(event = event, source = whose.to_string(), count = count; "{words}");
        }
    }

    /// How many requests are to be told of, and from where, if it is time for that. `0.0.0.0` stands for all that there was
    /// no room for.
    fn due(&self, source: IpAddr, now: Instant) -> Option<(IpAddr, u64)> {
        let mut known = self.misdirected.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |told: &Told| now.saturating_duration_since(told.at) < EVERY;
        if known.len() >= ADDRESSES && !known.contains_key(&source) {
            known.retain(|_, told| is_recent(told));
        }
        let others = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let whose = if known.len() < ADDRESSES || known.contains_key(&source) { source } else { others };
        match known.get_mut(&whose) {
            Some(told) if is_recent(told) => {
                told.since += 1;
                None
            }
            before => {
                let count = before.map_or(0, |told| told.since) + 1;
                known.insert(whose, Told { at: now, since: 0 });
                Some((whose, count))
            }
        }
    }
}

/// Looks at an answer, and hands it on.
pub(super) fn answered(answer: Answer, source: IpAddr) -> Answer {
    if let Some(sign) = of_status(answer.status) {
        sign.log(source);
    }
    answer
}

fn of_refusal(refusal: &Refusal) -> Option<Sign> {
    match refusal {
        Refusal::ForeignSite => Some(Sign("foreign-form", "a form came from another site")),
        Refusal::MayNot => Some(Sign("no-scope", "a login page made a call that its scopes do not include")),
        Refusal::Misdirected => Some(Sign("foreign-host", "a request named a host that is not ours")),
        Refusal::Unidentified => Some(Sign("bad-key", "a call came without a key of a login page")),
        _ => None,
    }
}

fn of_status(status: StatusCode) -> Option<Sign> {
    match status {
        // People follow old links, too; many from one address are somebody who guesses.
        StatusCode::GONE => Some(Sign("dead-token", "a token was brought that opens nothing")),
        StatusCode::TOO_MANY_REQUESTS => Some(Sign("too-often", "a source asks too often")),
        _ => None,
    }
}

impl Sign {
    fn log(self, source: IpAddr) {
        let Self(event, words) = self;
        log::warn!(event = event, source = source.to_string(); "{words}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_told_of_once_a_minute_and_the_table_is_bounded() {
        let (alarm, now) = (Alarm::default(), Instant::now());
        let source = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(n));
        assert_eq!(alarm.due(source(1), now), Some((source(1), 1)));
        for _ in 0..9 {
            assert_eq!(alarm.due(source(1), now), None);
        }
        assert_eq!(alarm.due(source(2), now), Some((source(2), 1)), "another address");
        assert_eq!(alarm.due(source(1), now + EVERY), Some((source(1), 10)));
        let told = (3..100_000).filter_map(|n| alarm.due(source(n), now + EVERY)).count();
        assert_eq!(told, ADDRESSES, "source 1, the others, and all the rest as one");
        assert_eq!(alarm.misdirected.lock().map(|known| known.len()).ok(), Some(ADDRESSES + 1));
        let later = now + 2 * EVERY;
        assert_eq!(alarm.due(source(7_000_000), later), Some((source(7_000_000), 1)), "what is over makes room");
    }

    #[test]
    fn each_sign_of_an_attack_has_an_event() {
        let event = |sign: Option<Sign>| sign.map(|sign| sign.0);
        for (refusal, expected) in [
            (Refusal::ForeignSite, Some("foreign-form")),
            (Refusal::MayNot, Some("no-scope")),
            (Refusal::Misdirected, Some("foreign-host")),
            (Refusal::Unidentified, Some("bad-key")),
            (Refusal::NotFound, None),
            (Refusal::Busy, None),
        ] {
            assert_eq!(event(of_refusal(&refusal)), expected, "{refusal:?}");
        }
        for (status, expected) in [(410, Some("dead-token")), (429, Some("too-often")), (202, None), (422, None)] {
            assert_eq!(StatusCode::from_u16(status).ok().and_then(|status| event(of_status(status))), expected);
        }
    }
}
