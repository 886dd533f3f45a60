//! May this be done to this account, and on what terms? A reviewer of "who may be reset" reads this file and no other.
//!
//! The law is one table, [`cell`]: a row for each [`Finding`], a column for each [`Act`]. An account with several
//! findings gets the strictest cell. Unknown is no.

use crate::domain::{Account, Adopted, Contact, Evidence, Facts, Finding, Purpose, Server, Stamp, Timestamp};
use crate::domain::{AccountId, EntryName};
use crate::policy::authority::Rank;
use crate::policy::rules::Rules;

pub use crate::policy::refusal::{Refusal, refusal_of};

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Act {
    /// A first password, started by an operator, a batch or the newcomer watch.
    Activate,
    /// An operator replaces the password by hand.
    ReplacePassword,
    /// The person resets a forgotten password without help.
    SelfReset,
    /// An operator sends a link.
    SendLink,
    /// A login page asks about a password that the directory has just taken.
    SignIn,
}

impl Act {
    /// All of them, for tables and tests.
    pub const ALL: [Self; 5] = [Self::Activate, Self::ReplacePassword, Self::SelfReset, Self::SendLink, Self::SignIn];
}

/// What the table says of one finding and one act.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cell {
    /// Not to be done.
    No,
    /// Only by an operator of the highest rank.
    OnlyOwner,
    /// To be done, by this kind of link where the act sends one.
    Yes(Purpose),
}

/// The verdict.
#[must_use]
#[derive(Debug)]
pub enum Eligibility {
    /// To be done, on these terms.
    Allow(Terms),
    /// Not to be done, for this reason.
    Refuse(Refusal),
}

/// Proof of an allowing verdict about one reading of one account. Only [`judge`] makes it.
#[derive(Clone, Debug)]
pub struct Terms {
    account: AccountId,
    name: EntryName,
    server: Server,
    stamp: Stamp,
    act: Act,
    purpose: Purpose,
    locked_until: Option<Timestamp>,
    unlocks: bool,
}

impl Terms {
    /// The account that the verdict is about.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// Where it stood when it was read.
    pub fn name(&self) -> &EntryName {
        &self.name
    }

    /// The server it was read on.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The mark of the password it had.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// What was asked for.
    pub fn act(&self) -> Act {
        self.act
    }

    /// The kind of link to send, where the act sends one.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// A lock by failures that ends by itself, which the person is told of.
    pub fn locked_until(&self) -> Option<Timestamp> {
        self.locked_until
    }

    /// Whether the account is locked by failures, and policy lets a new password lift that.
    pub fn unlocks(&self) -> bool {
        self.unlocks
    }
}

/// The law: what each finding means for each act.
pub fn cell(finding: Finding, act: Act, rules: &Rules) -> Cell {
    use Cell::{No, OnlyOwner, Yes};
    let reset = Yes(Purpose::Reset);
    match (finding, act) {
        // Signing in is the directory's word; only what must shut the door here does.
        (Finding::Disabled | Finding::Expired | Finding::NotYetValid, Act::SignIn) => No,
        (Finding::LockedByAdmin | Finding::LockedByFailures, Act::SignIn) => No,
        // Until duties can be asked for, somebody who must first change the password is not let in.
        (Finding::MustChange | Finding::PasswordExpired, Act::SignIn) => No,
        (_, Act::SignIn) => reset,

        (Finding::Disabled | Finding::Expired | Finding::LockedByAdmin | Finding::NotYetValid, _) => No,
        (Finding::PasswordElsewhere | Finding::Unknown, _) => No,

        (Finding::Frozen, Act::ReplacePassword) => reset,
        (Finding::Frozen, _) => No,

        (Finding::NeverActivated | Finding::Undecided, Act::SelfReset) => No,
        (Finding::NeverActivated | Finding::Undecided, _) => Yes(Purpose::Activation),

        (Finding::HolderMayNotChange, Act::SelfReset) => No,
        (Finding::NotAPerson | Finding::Privileged, Act::SelfReset) => No,
        (Finding::NotAPerson | Finding::Privileged, _) => OnlyOwner,

        (Finding::LockedByFailures, Act::SelfReset) if !rules.unlock_by_reset => No,
        (Finding::PasswordExpired, Act::SelfReset) if !rules.reset_expired_passwords => No,
        (
            Finding::HolderMayNotChange | Finding::LockedByFailures | Finding::MustChange | Finding::PasswordExpired,
            _,
        ) => reset,
    }
}

/// Judges one act on one account as it was read. `rank` is the operator's, and `None` where a person acts for
/// themselves or a login page asks; `facts` is what rekeyd remembers of the account.
pub fn judge(
    account: &Account,
    facts: &Facts,
    act: Act,
    rank: Option<Rank>,
    rules: &Rules,
    now: Timestamp,
) -> Eligibility {
    if let Some(evidence) = decisive(account, facts, act, rank, rules, now) {
        return Eligibility::Refuse(refusal_of(evidence.finding));
    }
    let mut purpose = Purpose::Reset;
    let mut locked_until = None;
    let mut locked = false;
    for evidence in findings(account, facts, rules, now) {
        if cell(evidence.finding, act, rules) == Cell::Yes(Purpose::Activation) {
            purpose = Purpose::Activation;
        }
        if evidence.finding == Finding::LockedByFailures {
            locked_until = evidence.until;
            locked = true;
        }
    }
    Eligibility::Allow(Terms {
        account: account.id.clone(),
        name: account.name.clone(),
        server: account.server.clone(),
        stamp: account.stamp.clone(),
        act,
        purpose,
        locked_until,
        unlocks: locked && rules.unlock_by_reset,
    })
}

/// All findings about an account: what the directory says, what rekeyd remembers, and what the rules make of its groups.
pub fn findings(account: &Account, facts: &Facts, rules: &Rules, now: Timestamp) -> Vec<Evidence> {
    let mut standing = account.standing.clone();
    let remembered = |finding, attribute: &str, value: &str| Evidence {
        finding,
        attribute: attribute.into(),
        value: value.into(),
        server: "rekeyd".into(),
        until: None,
    };
    if facts.activated.is_some() || matches!(facts.adopted, Some(Adopted::Activated(_))) {
        // rekeyd saw the person set a password, or it was recorded that they have; the directory's lack of a sign is then
        // no proof of the contrary.
        standing.remove(Finding::NeverActivated);
        standing.remove(Finding::Undecided);
    } else {
        if facts.undecided {
            standing.add(remembered(Finding::Undecided, "first password", "set by an operator"));
        }
        // A password that is loaded into the directory later is not the person's either.
        if matches!(facts.adopted, Some(Adopted::NeverActivated(_))) && !standing.has(Finding::NeverActivated) {
            standing.add(remembered(Finding::NeverActivated, "adoption", "taken as never activated"));
        }
    }
    if let Some(until) = facts.frozen_until.filter(|until| *until > now) {
        standing.add(Evidence {
            finding: Finding::Frozen,
            attribute: "frozen until".into(),
            value: until.millis().to_string(),
            server: "rekeyd".into(),
            until: Some(until),
        });
    }
    if let Some(evidence) = rules.privilege(account) {
        standing.add(evidence);
    }
    standing.evidence().to_vec()
}

/// The contacts that a link for `purpose` may go to, in order; [`Refusal`] says why there is none.
/// An activation link and an operator's link prove the address by arriving, so they need no earlier proof.
pub fn contacts<'a>(account: &'a Account, act: Act, rules: &Rules) -> Result<Vec<&'a Contact>, Refusal> {
    if account.contacts.is_empty() {
        return Err(Refusal::NoContact);
    }
    let permitted: Vec<_> = account.contacts.iter().filter(|contact| rules.contacts.permits(contact)).collect();
    if permitted.is_empty() {
        return Err(Refusal::ContactDenied);
    }
    if act == Act::SelfReset && rules.contacts.require_proof {
        let proved: Vec<_> = permitted.into_iter().filter(|contact| contact.proof.is_some()).collect();
        return if proved.is_empty() { Err(Refusal::UnprovedContact) } else { Ok(proved) };
    }
    Ok(permitted)
}

/// The finding that forbids an act, if any does: of several the one that [`judge`] names.
pub fn decisive(
    account: &Account,
    facts: &Facts,
    act: Act,
    rank: Option<Rank>,
    rules: &Rules,
    now: Timestamp,
) -> Option<Evidence> {
    let forbids = |evidence: &Evidence| match cell(evidence.finding, act, rules) {
        Cell::No => true,
        Cell::OnlyOwner => rank != Some(Rank::Owner),
        Cell::Yes(_) => false,
    };
    // The first of those that weigh most.
    let all = findings(account, facts, rules, now).into_iter().rev();
    all.filter(forbids).max_by_key(|evidence| weight(refusal_of(evidence.finding)))
}

/// Which of several refusals is named: the one that lasts, before the one that passes.
fn weight(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::Unknown => 6,
        Refusal::Privileged | Refusal::NotAPerson => 5,
        Refusal::Disabled | Refusal::LockedByAdmin => 4,
        Refusal::Expired | Refusal::NotYetValid | Refusal::PasswordElsewhere => 3,
        Refusal::NeverActivated | Refusal::Undecided => 2,
        Refusal::Frozen => 1,
        _ => 0,
    }
}
