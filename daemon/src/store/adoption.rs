//! Adoptions: accounts that are older than rekeyd, and what they were taken for.

use rekeyd_core::domain::{Actor, DirectoryKey, RequestId, Timestamp};
use rekeyd_core::policy::adoption::Taken;

/// An adoption as it is begun.
#[derive(Clone, Debug)]
pub struct NewAdoption {
    /// Its id, fresh chance.
    pub id: RequestId,
    /// Whose accounts.
    pub directory: DirectoryKey,
    /// Only these people (RFC 4515).
    pub filter: Option<String>,
    /// An operator's word on those that show no sign.
    pub undecided_as: Option<Taken>,
    /// Who adopts; sealed at rest.
    pub actor: Actor,
    /// Why, in the operator's words; sealed at rest.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// How an adoption stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AdoptionState {
    /// Ended.
    Done,
    /// Begun; a crash or its operator broke it off, or it is under way.
    Running,
    /// Being undone, or broken off at that.
    Undoing,
    /// Undone.
    Undone,
}

impl AdoptionState {
    /// The word in the store and in lists.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Running => "running",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
        }
    }
}

/// An adoption as it is kept.
#[derive(Clone, Debug)]
pub struct Adoption {
    /// How it was begun.
    pub begun: NewAdoption,
    /// How it stands.
    pub state: AdoptionState,
    /// How many accounts it took as activated.
    pub activated: u64,
    /// How many it took as never activated.
    pub never_activated: u64,
    /// When it ended or was undone.
    pub ended: Option<Timestamp>,
}

/// How beginning an adoption ended.
#[derive(Debug)]
pub enum AdoptionBegun {
    /// It has begun.
    Begun,
    /// Another one of the same directory has not ended.
    Unfinished(Box<Adoption>),
}
