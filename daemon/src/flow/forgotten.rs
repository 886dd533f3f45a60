//! Somebody says that a password is forgotten.
//!
//! The answer precedes every look-up: it depends on the source's pace and on the store, never on the account.

use std::net::IpAddr;
use std::time::Duration;

use rekeyd_core::domain::{Actor, Login, Origin, Purpose, RequestId, Source, Timestamp};
use rekeyd_core::policy::rules::Rules;

use super::{Rekeyd, trouble};
use crate::store::{Acceptance, Counter, NewRequest};

/// What a door hands over.
pub struct Ask {
    /// What was typed.
    pub login: Login,
    /// Who asks.
    pub actor: Actor,
    /// Language tags in order of preference.
    pub languages: Vec<String>,
}

/// The answer, the same for every account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accepted {
    /// On disk; a message follows if the account may have one.
    Accepted {
        /// The handle.
        request: RequestId,
        /// How long the request is tried.
        expires_in: Duration,
    },
    /// The source asks too often; not before so long a time.
    TooOften(Duration),
    /// Not accepted, for nobody: the backlog is full or the store can't take it.
    Unavailable,
}

/// Takes a request.
pub async fn request(rekeyd: &Rekeyd, ask: Ask, now: Timestamp) -> Accepted {
    let parts = rekeyd.parts();
    let lives = parts.general.lives;
    let mut counters = ask.actor.source().map_or_else(Vec::new, |source| of_source(source, &parts.general));
    counters.extend(of_client(&ask.actor, &parts.general));
    let id = rekeyd.fresh_request();
    let request = NewRequest {
        id,
        purpose: Purpose::Reset,
        origin: Origin::Person,
        login: ask.login,
        directory: None,
        actor: ask.actor,
        languages: ask.languages,
        at: now,
        deadline: now.plus(lives.request),
    };
    match rekeyd.store.accept(request, counters, None).await {
        Ok(Acceptance::Accepted) => {
            rekeyd.requests_wake.notify_one();
            Accepted::Accepted { request: id, expires_in: lives.request }
        }
        Ok(Acceptance::TooOften(wait)) => Accepted::TooOften(wait),
        Ok(Acceptance::Full) => Accepted::Unavailable,
        Err(error) => {
            trouble::tell(&error, "a request could not be accepted");
            Accepted::Unavailable
        }
    }
}

/// The counters of one source: its address (IPv6: its /64, and the /48 that it may wander in), or the one counter of a
/// place whose people share a few addresses.
pub(super) fn of_source(source: Source, rules: &Rules) -> Vec<Counter> {
    if let Some(place) = rules.shared_network(source.ip) {
        return vec![Counter { scope: "shared-network", whom: place.name.clone(), quota: place.source }];
    }
    let mut counters = vec![Counter { scope: "source", whom: network(source.ip, 32, 64), quota: rules.paces.source }];
    if source.ip.to_canonical().is_ipv6() {
        counters.push(Counter { scope: "network", whom: network(source.ip, 32, 48), quota: rules.paces.network });
    }
    counters
}

/// The counter of a login page: what it may ask for in all, with or without the person's address.
pub(super) fn of_client(actor: &Actor, rules: &Rules) -> Option<Counter> {
    let Actor::Client { name, .. } = actor else { return None };
    Some(Counter { scope: "client", whom: name.clone(), quota: rules.paces.client })
}

/// The network of an address, as text. An IPv4 address in IPv6 clothes counts as the IPv4 address it is.
pub(super) fn network(ip: IpAddr, v4: u32, v6: u32) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let bits = u32::from(ip) & u32::MAX.checked_shl(32_u32.saturating_sub(v4)).unwrap_or(0);
            format!("{}/{v4}", std::net::Ipv4Addr::from(bits))
        }
        IpAddr::V6(ip) => {
            let bits = u128::from(ip) & u128::MAX.checked_shl(128_u32.saturating_sub(v6)).unwrap_or(0);
            format!("{}/{v6}", std::net::Ipv6Addr::from(bits))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::network;

    #[test]
    fn t96_every_address_of_one_network_is_one_source() {
        let of = |text: &str| text.parse().map(|ip| network(ip, 32, 64)).unwrap_or_default();
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
    }
}
