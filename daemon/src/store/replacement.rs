//! Passwords that operators replace.

use rekeyd_core::domain::{AccountId, Actor, RequestId, Stamp, Timestamp};

/// An operator's replacement of a password that was begun: what settles it after a crash or a lost answer.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// Its id, fresh chance.
    pub id: RequestId,
    /// Whose password.
    pub account: AccountId,
    /// The password generation before; another one on the same server means that it was done.
    pub stamp: Stamp,
    /// The server that is written to.
    pub server: String,
    /// Who replaces it; sealed at rest.
    pub actor: Actor,
    /// Why, in the operator's words; sealed at rest.
    pub reason: String,
    /// Whether its person had never set a password.
    pub first: bool,
    /// Since when.
    pub since: Timestamp,
}
