//! What looks like an attack is logged, so that somebody can see one: a line each, in fixed words, with the address that
//! it came from. How many such lines are kept is the log's business.

use std::net::IpAddr;

use hyper::StatusCode;

use super::answer::Refusal;
use super::response::Answer;

/// A sign of an attack: the event's name and words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Sign(&'static str, &'static str);

/// Looks at a request that was refused before its story.
pub(super) fn refused(refusal: &Refusal, source: IpAddr) {
    if let Some(sign) = of_refusal(refusal) {
        sign.log(source);
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
