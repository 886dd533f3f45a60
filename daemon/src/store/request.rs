//! What a door hands over and a worker takes.

use std::time::Duration;

use rekeyd_core::domain::{Actor, DirectoryKey, Login, Origin, Purpose, RequestId, Timestamp};
use rekeyd_core::policy::pace::Quota;

/// A request as a door hands it over.
pub struct NewRequest {
    /// Its handle, fresh chance.
    pub id: RequestId,
    /// Reset or activation.
    pub purpose: Purpose,
    /// Who started it; decides which verdict is asked for.
    pub origin: Origin,
    /// What was typed, sealed at rest.
    pub login: Login,
    /// The directory in which it is looked for, where that is known already; otherwise their rule decides.
    pub directory: Option<DirectoryKey>,
    /// Who asked.
    pub actor: Actor,
    /// Language tags that the browser or client asked for.
    pub languages: Vec<String>,
    /// When.
    pub at: Timestamp,
    /// When it is given up.
    pub deadline: Timestamp,
}

/// One counter and its quota: all counters of a step go on together, or none does.
#[derive(Clone, Debug)]
pub struct Counter {
    /// What is counted (`source`, `account`); part of the key and of what operators see.
    pub scope: &'static str,
    /// Whom it counts: an address, an account id. Kept as a keyed hash.
    pub whom: String,
    /// How many in how long.
    pub quota: Quota,
}

/// The answer to a new request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Acceptance {
    /// On disk.
    Accepted,
    /// The backlog is full, for everybody but operators.
    Full,
    /// The source asks too often; not before so long a time.
    TooOften(Duration),
}

/// A request in a worker's hands.
pub struct LeasedRequest {
    /// Its handle.
    pub id: RequestId,
    /// Reset or activation.
    pub purpose: Purpose,
    /// Who started it; decides which verdict is asked for.
    pub origin: Origin,
    /// What was typed.
    pub login: Login,
    /// The directory in which it is looked for, where that is known already.
    pub directory: Option<DirectoryKey>,
    /// Who asked.
    pub actor: Actor,
    /// Language tags that were asked for.
    pub languages: Vec<String>,
    /// When it was accepted.
    pub at: Timestamp,
    /// When it is given up.
    pub deadline: Timestamp,
    /// How often it was tried before.
    pub attempts: u32,
}

/// How a request ended without a ticket of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// Given up after its deadline.
    Expired,
    /// Refused; the event says why.
    Refused,
}
