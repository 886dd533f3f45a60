//! May this operator do that to this account?
//!
//! Until roles exist there are two ranks, told apart by the kernel's word alone: root on this machine is the owner,
//! and members of one configured group are operators below it.

use crate::domain::{AccountId, Actor};
use crate::policy::eligibility::Terms;

/// How high an operator stands.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Rank {
    /// A member of the configured group.
    Operator,
    /// Root.
    Owner,
}

/// What an operator may ask for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verb {
    /// Take accounts that are older than rekeyd as activated or not, or look at what that would do.
    Adopt,
    /// Read the audit trail.
    Audit,
    /// Have the directories looked at from end to end: it writes to the canary, and says where rights are too wide.
    Doctor,
    /// See one account's standing and the rule that decides.
    Explain,
    /// Look at the outbox.
    Outbox,
    /// Compare verdicts under another configuration.
    PolicyTest,
    /// Void all tickets after a restore.
    Restored,
    /// Send somebody a link.
    SendCode,
    /// Replace somebody's password.
    SetPassword,
    /// See how the daemon does.
    Status,
    /// Lift a freeze.
    Thaw,
}

/// The uid that the kernel shows for every user that is not mapped into this user namespace (`/proc/sys/kernel/overflowuid`).
/// Many people look like it, so it never has a rank.
const OVERFLOW: u32 = 65534;

/// An operator whose rank is established: who, and how high.
#[derive(Clone, Debug)]
pub struct Operator {
    actor: Actor,
    rank: Rank,
}

impl Operator {
    /// Ranks a caller by what the kernel says: uid, all group ids of that uid, and the gid of the configured group.
    /// `None` has no rank and may do nothing.
    pub fn rank(uid: u32, name: String, groups: &[u32], operators: Option<u32>) -> Option<Self> {
        if uid == OVERFLOW {
            return None;
        }
        let actor = Actor::Operator { uid, name };
        if uid == 0 {
            return Some(Self { actor, rank: Rank::Owner });
        }
        let gid = operators.filter(|gid| *gid != OVERFLOW)?;
        groups.contains(&gid).then_some(Self { actor, rank: Rank::Operator })
    }

    /// Who it is.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// How high it stands.
    pub fn standing(&self) -> Rank {
        self.rank
    }

    /// Whether this operator may use a verb at all.
    pub fn may(&self, verb: Verb) -> bool {
        match verb {
            Verb::Adopt | Verb::Doctor | Verb::Restored => self.rank == Rank::Owner,
            Verb::Audit
            | Verb::Explain
            | Verb::Outbox
            | Verb::PolicyTest
            | Verb::SendCode
            | Verb::SetPassword
            | Verb::Status
            | Verb::Thaw => true,
        }
    }

    /// The proof that this operator may do `verb` on the account that the terms are about. The terms already hold the
    /// verdict on the account's rank, since they were judged with this operator's.
    pub fn authorize(&self, verb: Verb, terms: &Terms) -> Option<Authorized> {
        self.may(verb).then(|| Authorized { account: terms.account().clone(), operator: self.actor.clone(), verb })
    }
}

/// Proof that an operator may do one thing to one account. Only [`Operator::authorize`] makes it.
#[derive(Debug)]
pub struct Authorized {
    account: AccountId,
    operator: Actor,
    verb: Verb,
}

impl Authorized {
    /// The account.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The operator.
    pub fn operator(&self) -> &Actor {
        &self.operator
    }

    /// What for.
    pub fn verb(&self) -> Verb {
        self.verb
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t118_only_the_kernels_word_gives_a_rank() {
        let rank =
            |uid, groups: &[u32], operators| Operator::rank(uid, "x".into(), groups, operators).map(|o| o.standing());
        assert_eq!(rank(0, &[], None), Some(Rank::Owner));
        assert_eq!(rank(1000, &[1000, 40], Some(40)), Some(Rank::Operator));
        assert_eq!(rank(1000, &[1000], Some(40)), None);
        assert_eq!(rank(1000, &[1000], None), None);
        assert_eq!(rank(65534, &[40], Some(40)), None);
        assert_eq!(rank(1000, &[65534], Some(65534)), None);
    }

    #[test]
    fn only_the_owner_declares_a_restore() {
        let operator = Operator::rank(1000, "x".into(), &[40], Some(40));
        assert_eq!(operator.as_ref().map(|o| (o.may(Verb::Restored), o.may(Verb::SendCode))), Some((false, true)));
        assert_eq!(operator.map(|o| (o.may(Verb::Adopt), o.may(Verb::PolicyTest))), Some((false, true)));
    }
}
