//! One suite that every store passes: a second one joins as another [`Place`].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod adoptions;
mod claims;
mod clock;
mod damage;
mod directories;
mod files;
mod growth;
mod load;
mod messages;
mod queue;
mod replacements;
mod tickets;
mod trail;

use std::time::Duration;

use rekeyd_core::domain::{
    AccountId, Actor, AddressHash, Adopted, DirectoryKey, EmailAddress, Event, EventKind, KeyId, KeyRing, Login,
    MasterKey, NoticeId, NoticeKind, Origin, Proof, Purpose, Recipient, RequestId, Source, Stamp, Ticket, TicketId,
    Timestamp, TokenHash,
};
use rekeyd_core::policy::pace::Quota;
use ring::rand::SystemRandom;
use tempfile::TempDir;

use super::{
    Acceptance, AdoptionBegun, AdoptionState, Counter, Issue, Issued, NewAdoption, NewNotice, NewRequest, NewTicket,
    Opened, Replacement, Spend, Store, StoreConfig, Watch,
};

const MINUTE: Duration = Duration::from_mins(1);
const LIFE: Duration = Duration::from_mins(30);
const DAY: Duration = Duration::from_hours(24);

/// Somewhere that a store can be opened again and again.
enum Place {
    Sqlite(TempDir),
}

/// One place of each kind of store.
fn places() -> Vec<Place> {
    vec![Place::Sqlite(tempfile::tempdir().unwrap())]
}

impl Place {
    /// An empty place of the same kind.
    fn another(place: &Self) -> Self {
        match place {
            Self::Sqlite(_) => Self::Sqlite(tempfile::tempdir().unwrap()),
        }
    }

    fn config(&self) -> StoreConfig {
        match self {
            Self::Sqlite(folder) => {
                StoreConfig::new(folder.path().join("state/rekeyd.db"), folder.path().join("epoch/epoch"))
            }
        }
    }

    /// Opens the store as a daemon does at its start.
    fn open(&self) -> Opened {
        open_with(self.config())
    }
}

/// As [`Place::open`], of a place's configuration that was changed.
fn open_with(config: StoreConfig) -> Opened {
    Store::open(config, &ring(), still(), SystemRandom::new()).unwrap()
}

/// A clock that stands.
fn still() -> Watch {
    Watch::new(|| at(0), || Duration::ZERO)
}

fn ring() -> KeyRing {
    KeyRing::new(MasterKey::from_bytes([1; 32]))
}

/// So many seconds into the test.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
}

fn account(name: &str) -> AccountId {
    AccountId { directory: DirectoryKey(7), stable: name.into() }
}

fn visitor() -> Actor {
    Actor::Visitor { source: Source { ip: "192.0.2.7".parse().unwrap() } }
}

fn event(kind: EventKind, who: &str, seconds: i64) -> Event {
    Event::new(at(seconds), kind, visitor(), Some(account(who)), "done")
}

fn request(n: u8, seconds: i64) -> NewRequest {
    NewRequest {
        id: RequestId::from_bytes([n; 22]),
        purpose: Purpose::Reset,
        origin: Origin::Person,
        login: Login::parse("ada").unwrap(),
        directory: None,
        actor: visitor(),
        languages: vec!["cy".into(), "en".into()],
        at: at(seconds),
        deadline: at(seconds).plus(DAY),
    }
}

fn counter(scope: &'static str, whom: &str, count: u32, per: Duration) -> Counter {
    Counter { scope, whom: whom.into(), quota: Quota { count, per } }
}

fn ticket(n: u8, purpose: Purpose, who: &str, seconds: i64) -> NewTicket {
    NewTicket {
        ticket: Ticket {
            id: TicketId::from_bytes([n; 22]),
            purpose,
            origin: Origin::Person,
            account: account(who),
            login: "ada".into(),
            contact: AddressHash([9; 32]),
            stamp: Stamp::new("pwdChangedTime=20260101000000Z", Some(at(-100))),
            key: KeyId([1, 2, 3, 4]),
            profile: Some("staff".into()),
            issued: at(seconds),
            expires: None,
            tries: 0,
        },
        hash: hash(n),
        life: LIFE,
    }
}

fn hash(n: u8) -> TokenHash {
    TokenHash([n; 32])
}

fn notice(n: u8, kind: NoticeKind, who: &str, ticket: Option<u8>, not_me: Option<u8>, seconds: i64) -> NewNotice {
    NewNotice {
        id: NoticeId::from_bytes([n; 22]),
        kind,
        account: account(who),
        login: "ada".into(),
        name: Some("Ada Lovelace".into()),
        languages: vec!["en".into()],
        recipient: Recipient { address: EmailAddress::parse("ada@example.org").unwrap() },
        ticket: ticket.map(|n| TicketId::from_bytes([n; 22])),
        not_me: not_me.map(|n| TicketId::from_bytes([n; 22])),
        at: at(seconds),
        deadline: at(seconds).plus(DAY),
    }
}

/// What answers request `n` with ticket `n`, message `n` and a "this was not me" ticket `n + 100`.
fn issue(n: u8, who: &str, seconds: i64) -> Issue {
    Issue {
        request: RequestId::from_bytes([n; 22]),
        tickets: vec![ticket(n, Purpose::Reset, who, seconds), ticket(n + 100, Purpose::NotMe, who, seconds)],
        notices: vec![notice(n, NoticeKind::ResetLink, who, Some(n), Some(n + 100), seconds)],
        counters: vec![counter("account", who, 3, 60 * MINUTE), counter("account-day", who, 6, DAY)],
        spare: counter("spare", who, 1, 60 * MINUTE),
        resend: counter("resend", who, 1, MINUTE),
        merge_after: at(seconds).minus(5 * MINUTE),
        event: event(EventKind::TicketIssued, who, seconds),
    }
}

/// Accepts request `n`, leases it and answers it.
async fn answer(store: &Store, n: u8, who: &str, seconds: i64) -> Issued {
    answer_with(store, n, seconds, issue(n, who, seconds)).await
}

async fn answer_with(store: &Store, n: u8, seconds: i64, issue: Issue) -> Issued {
    assert_eq!(store.accept(request(n, seconds), Vec::new(), None).await, Ok(Acceptance::Accepted));
    assert_eq!(store.lease_requests(10, MINUTE, at(seconds)).await.unwrap().len(), 1);
    store.issue(issue).await.unwrap()
}

/// The replacement `n` of a password by an operator.
fn replacement(n: u8, who: &str, seconds: i64) -> Replacement {
    Replacement {
        id: RequestId::from_bytes([n; 22]),
        account: account(who),
        stamp: Stamp::new("pwdChangedTime=absent", None),
        server: "ldap://one".into(),
        actor: Actor::Operator { uid: 1000, name: "olga".into() },
        reason: "on the telephone".into(),
        first: true,
        since: at(seconds),
    }
}

fn spend(n: u8, who: &str, seconds: i64) -> Spend {
    Spend {
        nonce: [n; 16],
        at: at(seconds),
        proof: Proof { at: at(seconds), how: "reset".into() },
        notices: vec![notice(n + 200, NoticeKind::PasswordChanged, who, None, Some(n + 200), seconds)],
        tickets: vec![ticket(n + 200, Purpose::NotMe, who, seconds)],
        event: event(EventKind::PasswordSet, who, seconds),
    }
}
