//! The right to write one password for one account, once.
//!
//! A [`Permit`] holds the verdict on the account ([`Terms`]), the verdict on the password ([`AcceptedPassword`]) and a
//! [`Mandate`]. The one function that writes a password takes it by value; a forgotten check does not compile.

use crate::domain::{AccountId, EntryName, Server, Stamp, Ticket};
use crate::policy::authority::{Authorized, Verb};
use crate::policy::eligibility::{Act, Terms};
use crate::policy::password::AcceptedPassword;

/// A ticket that the store has handed to exactly one holder. See [`Claimed::witness`].
#[derive(Debug)]
pub struct Claimed {
    ticket: Ticket,
}

impl Claimed {
    /// Turns the store's conditional update into a proof: `rows` is the count of rows that the claim changed, and only
    /// one row is a claim. Called by the store and by nothing else; a test reads the sources for that.
    pub fn witness(ticket: Ticket, rows: usize) -> Option<Self> {
        (rows == 1).then_some(Self { ticket })
    }

    /// The ticket.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }
}

/// In whose name a password is written.
#[derive(Debug)]
pub enum Mandate {
    /// An operator's.
    Operator(Authorized),
    /// The person's own, by a link.
    Ticket(Claimed),
}

/// All proofs, about one account.
pub struct Permit {
    terms: Terms,
    password: AcceptedPassword,
    mandate: Mandate,
    must_change: bool,
}

/// Why proofs don't make a permit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mismatch {
    /// They speak of different accounts.
    Account,
    /// The verdict was on something else than what the mandate is for.
    Act,
    /// The password has changed since the ticket was made.
    Generation,
    /// The account was read on a server that takes no writes.
    ReadOnly,
}

impl Permit {
    /// Puts the proofs together. `must_change` asks the directory to have the password changed at the next sign-in,
    /// and only an operator's mandate can ask for that.
    ///
    /// # Errors
    /// [`Mismatch`] where they do not speak of the same account, password generation, act and a writable server. The
    /// terms, password and mandate are gone then: nothing can be written with them.
    pub fn new(
        terms: Terms,
        password: AcceptedPassword,
        mandate: Mandate,
        must_change: bool,
    ) -> Result<Self, Mismatch> {
        if !terms.server().writable {
            return Err(Mismatch::ReadOnly);
        }
        if password.account() != terms.account() {
            return Err(Mismatch::Account);
        }
        match &mandate {
            Mandate::Ticket(claimed) => {
                let ticket = claimed.ticket();
                if &ticket.account != terms.account() {
                    return Err(Mismatch::Account);
                }
                if &ticket.stamp != terms.stamp() {
                    return Err(Mismatch::Generation);
                }
                if !matches!(terms.act(), Act::SelfReset | Act::Activate | Act::SendLink) || must_change {
                    return Err(Mismatch::Act);
                }
            }
            Mandate::Operator(authorized) => {
                if authorized.account() != terms.account() {
                    return Err(Mismatch::Account);
                }
                if terms.act() != Act::ReplacePassword || authorized.verb() != Verb::SetPassword {
                    return Err(Mismatch::Act);
                }
            }
        }
        Ok(Self { terms, password, mandate, must_change })
    }

    /// The account.
    pub fn account(&self) -> &AccountId {
        self.terms.account()
    }

    /// Its entry, as the server named it.
    pub fn name(&self) -> &EntryName {
        self.terms.name()
    }

    /// The server to write on: the one it was read on.
    pub fn server(&self) -> &Server {
        self.terms.server()
    }

    /// The mark that must still stand when the write happens.
    pub fn stamp(&self) -> &Stamp {
        self.terms.stamp()
    }

    /// The password to write.
    pub fn password(&self) -> &AcceptedPassword {
        &self.password
    }

    /// Whether the person must change it at the next sign-in.
    pub fn must_change(&self) -> bool {
        self.must_change
    }

    /// Whether the write lifts a lock by failures, too, where it does not do so by itself.
    pub fn unlocks(&self) -> bool {
        self.terms.unlocks()
    }

    /// In whose name.
    pub fn mandate(&self) -> &Mandate {
        &self.mandate
    }

    /// Ends the permit after its one write, or none; the mandate is to be spent or released.
    pub fn into_mandate(self) -> Mandate {
        self.mandate
    }
}
