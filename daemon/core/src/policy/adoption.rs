//! What becomes of an account that is older than rekeyd: is it taken as one whose person set a password, as one that
//! nobody has activated, or is that left open? A reviewer of "who is let into self-service by adoption" reads this file.

use crate::domain::{Account, Adopted, Facts, Finding, Timestamp};
use crate::flavour::signs::{Hand, Sign};

/// What an account is taken for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Taken {
    /// Its person has set a password.
    Activated,
    /// It is left as it is: rekeyd has facts of its own, or it is not a person's.
    Left,
    /// Nobody has activated it.
    NeverActivated,
    /// There is no telling; nothing is recorded.
    Undecided,
}

impl Taken {
    /// All of them, for counting.
    pub const ALL: [Self; 4] = [Self::Activated, Self::NeverActivated, Self::Undecided, Self::Left];

    /// The word in lists.
    pub fn word(self) -> &'static str {
        match self {
            Self::Activated => "activated",
            Self::Left => "left",
            Self::NeverActivated => "never-activated",
            Self::Undecided => "undecided",
        }
    }

    /// What is recorded of it, if anything is.
    pub fn record(self, at: Timestamp) -> Option<Adopted> {
        match self {
            Self::Activated => Some(Adopted::Activated(at)),
            Self::NeverActivated => Some(Adopted::NeverActivated(at)),
            Self::Left | Self::Undecided => None,
        }
    }
}

/// A verdict, and what it rests on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Adoption {
    /// What the account is taken for.
    pub taken: Taken,
    /// The attribute, record or word of an operator.
    pub attribute: String,
    /// What was seen.
    pub value: String,
}

/// Takes an account by its signs. `undecided_as` is an operator's word on those that show none; it decides nothing about an
/// account whose state can't be read.
pub fn take(account: &Account, facts: &Facts, sign: &Sign, undecided_as: Option<Taken>) -> Adoption {
    let because = |taken, attribute: &str, value: &str| Adoption {
        taken,
        attribute: attribute.to_owned(),
        value: value.to_owned(),
    };
    if facts.activated.is_some() {
        return because(Taken::Left, "rekeyd", "its person has set a password");
    }
    if facts.undecided {
        return because(Taken::Left, "rekeyd", "an operator set its first password");
    }
    if facts.adopted.is_some() {
        return because(Taken::Left, "rekeyd", "it was adopted before");
    }
    let found = |finding| account.standing.evidence().iter().find(|evidence| evidence.finding == finding);
    if let Some(evidence) = found(Finding::NotAPerson) {
        return because(Taken::Left, &evidence.attribute, &evidence.value);
    }
    match (sign.hand, undecided_as) {
        (Hand::Person, _) => because(Taken::Activated, &sign.attribute, &sign.value),
        (Hand::Nobody, _) => because(Taken::NeverActivated, &sign.attribute, &sign.value),
        (Hand::Unclear, Some(taken)) if found(Finding::Unknown).is_none() => {
            because(taken, "operator", &format!("decided by hand: {} {}", sign.attribute, sign.value))
        }
        (Hand::Unclear, _) => because(Taken::Undecided, &sign.attribute, &sign.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::law::{account, with};

    const AT: Timestamp = Timestamp::from_millis(5);

    fn sign(hand: Hand) -> Sign {
        Sign { hand, attribute: "a".into(), value: "v".into() }
    }

    #[test]
    fn t56_what_rekeyd_knows_itself_is_left_and_doubt_is_recorded_by_hand_only() {
        let (plain, none) = (account(), Facts::default());
        for (hand, by_hand, taken) in [
            (Hand::Person, None, Taken::Activated),
            (Hand::Person, Some(Taken::NeverActivated), Taken::Activated),
            (Hand::Nobody, None, Taken::NeverActivated),
            (Hand::Nobody, Some(Taken::Activated), Taken::NeverActivated),
            (Hand::Unclear, None, Taken::Undecided),
            (Hand::Unclear, Some(Taken::Activated), Taken::Activated),
            (Hand::Unclear, Some(Taken::NeverActivated), Taken::NeverActivated),
        ] {
            assert_eq!(take(&plain, &none, &sign(hand), by_hand).taken, taken, "{hand:?} {by_hand:?}");
        }
        let by_hand = Some(Taken::Activated);
        for facts in [
            Facts { activated: Some(AT), ..Facts::default() },
            Facts { undecided: true, ..Facts::default() },
            Facts { adopted: Some(Adopted::NeverActivated(AT)), ..Facts::default() },
        ] {
            assert_eq!(take(&plain, &facts, &sign(Hand::Unclear), by_hand).taken, Taken::Left, "{facts:?}");
        }
        for (finding, taken) in [(Finding::NotAPerson, Taken::Left), (Finding::Unknown, Taken::Undecided)] {
            assert_eq!(take(&with(&[finding]), &none, &sign(Hand::Unclear), by_hand).taken, taken);
        }
        let recorded = Taken::ALL.map(|taken| taken.record(AT).is_some());
        assert_eq!(recorded, [true, true, false, false]);
    }
}
