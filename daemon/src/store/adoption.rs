//! Adoptions: accounts that are older than rekeyd, and what they were taken for.

use rekeyd_core::domain::{
    AccountId, Actor, AddressHash, Adopted, DirectoryKey, Event, Facts, Proof, RequestId, Timestamp,
};
use rekeyd_core::policy::adoption::Taken;

use super::{Error, Store};

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

impl Store {
    /// As [`Store::facts`], of several accounts as of one moment, in their order.
    pub async fn facts_of(&self, accounts: &[AccountId]) -> Result<Vec<(Facts, Vec<(AddressHash, Proof)>)>, Error> {
        match self {
            Self::Sqlite(store) => store.facts_of(accounts).await,
        }
    }

    /// Begins an adoption, unless another one of the same directory has not ended.
    pub async fn begin_adoption(&self, adoption: NewAdoption, event: Event) -> Result<AdoptionBegun, Error> {
        match self {
            Self::Sqlite(store) => store.begin_adoption(adoption, event).await,
        }
    }

    /// Records what some accounts are taken for, all in one change; says of which that was new. Nothing is recorded of an
    /// account twice, or against what rekeyd has seen itself.
    pub async fn adopt(
        &self,
        id: RequestId,
        accounts: Vec<(AccountId, Adopted)>,
        event: Event,
    ) -> Result<Vec<bool>, Error> {
        match self {
            Self::Sqlite(store) => store.adopt(id, accounts, event).await,
        }
    }

    /// Ends an adoption. Does nothing where it has ended before.
    pub async fn end_adoption(&self, id: RequestId, event: Event) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.end_adoption(id, event).await,
        }
    }

    /// Forgets up to `most` accounts of an adoption; says how many, and whether there are more. `None` where nobody knows it.
    pub async fn undo_adoption(&self, id: RequestId, most: u32, event: Event) -> Result<Option<(u64, bool)>, Error> {
        match self {
            Self::Sqlite(store) => store.undo_adoption(id, most, event).await,
        }
    }

    /// All adoptions, newest first.
    pub async fn adoptions(&self) -> Result<Vec<Adoption>, Error> {
        match self {
            Self::Sqlite(store) => store.adoptions().await,
        }
    }
}
