//! May this be done to this account, and on what terms? A reviewer of "who may be reset" reads this file and no other.
//!
//! The law is one table, [`cell`]: a row for each [`Finding`], a column for each [`Act`]. An account with several
//! findings gets the strictest cell. Unknown is no.

use std::fmt;

use serde::Serialize;

use crate::domain::{Account, Adopted, Contact, Evidence, Facts, Finding, Purpose, Server, Stamp, Timestamp};
use crate::domain::{AccountId, EntryName};
use crate::policy::authority::Rank;
use crate::policy::rules::Rules;

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

/// Why something is not done. The public never sees it; operators and the audit trail do.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Two or more entries match.
    Ambiguous,
    /// Every address of the account is excluded by policy.
    ContactDenied,
    /// See [`Finding::Disabled`].
    Disabled,
    /// See [`Finding::Expired`].
    Expired,
    /// See [`Finding::Frozen`].
    Frozen,
    /// See [`Finding::HolderMayNotChange`].
    HolderMayNotChange,
    /// See [`Finding::LockedByAdmin`].
    LockedByAdmin,
    /// Locked by failures, and policy does not let a reset unlock.
    LockedByFailures,
    /// See [`Finding::MustChange`].
    MustChange,
    /// See [`Finding::NeverActivated`].
    NeverActivated,
    /// The account has no address that a channel could use.
    NoContact,
    /// See [`Finding::NotAPerson`].
    NotAPerson,
    /// No entry matches.
    NotFound,
    /// See [`Finding::NotYetValid`].
    NotYetValid,
    /// See [`Finding::PasswordElsewhere`].
    PasswordElsewhere,
    /// The password has expired, and policy wants an operator for that.
    PasswordExpired,
    /// See [`Finding::Privileged`].
    Privileged,
    /// See [`Finding::Undecided`].
    Undecided,
    /// Something that the verdict needs could not be read.
    Unknown,
    /// No address is proved, and policy wants proof.
    UnprovedContact,
}

impl Refusal {
    /// All of them, for the manual and its test.
    pub const ALL: [Self; 20] = [
        Self::Ambiguous,
        Self::ContactDenied,
        Self::Disabled,
        Self::Expired,
        Self::Frozen,
        Self::HolderMayNotChange,
        Self::LockedByAdmin,
        Self::LockedByFailures,
        Self::MustChange,
        Self::NeverActivated,
        Self::NoContact,
        Self::NotAPerson,
        Self::NotFound,
        Self::NotYetValid,
        Self::PasswordElsewhere,
        Self::PasswordExpired,
        Self::Privileged,
        Self::Undecided,
        Self::Unknown,
        Self::UnprovedContact,
    ];

    /// The reason code: in the audit trail, in `explain`, and what a person may read out to the service desk.
    pub fn code(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::ContactDenied => "contact-denied",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Frozen => "frozen",
            Self::HolderMayNotChange => "holder-may-not-change",
            Self::LockedByAdmin => "locked-by-admin",
            Self::LockedByFailures => "locked-by-failures",
            Self::MustChange => "must-change",
            Self::NeverActivated => "never-activated",
            Self::NoContact => "no-contact",
            Self::NotAPerson => "not-a-person",
            Self::NotFound => "not-found",
            Self::NotYetValid => "not-yet-valid",
            Self::PasswordElsewhere => "password-elsewhere",
            Self::PasswordExpired => "password-expired",
            Self::Privileged => "privileged",
            Self::Undecided => "undecided",
            Self::Unknown => "unknown",
            Self::UnprovedContact => "unproved-contact",
        }
    }

    /// What would change it, for operators.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Ambiguous => {
                "Give each person a login and an address of their own, or narrow the directory's `filter`. Where several \
                 directories know the login, name the one that is meant: `--directory NAME`."
            }
            Self::ContactDenied => "Store another address, or change `policy.contacts` in the configuration.",
            Self::Disabled => "Enable the account in the directory.",
            Self::Expired => "Give the account a later end in the directory.",
            Self::Frozen => "Find out who asked, then run `rekeyctl thaw LOGIN`.",
            Self::HolderMayNotChange => {
                "Allow the person to change the password, or set it with `rekeyctl set-password LOGIN`."
            }
            Self::LockedByAdmin => "Unlock the account in the directory.",
            Self::LockedByFailures => {
                "Wait until the lock ends, unlock the account in the directory, or set `policy.unlock_by_reset`."
            }
            Self::MustChange => "Sign in with the temporary password and change it.",
            Self::NeverActivated => "Send an activation link with `rekeyctl send-code LOGIN`.",
            Self::NoContact => "Store an address for the person in the directory.",
            Self::NotAPerson => "Change the password of a service account by hand.",
            Self::NotFound => "Check the login, and the directory's `base`, `filter` and `login_attributes`.",
            Self::NotYetValid => "Wait until the account's time begins.",
            Self::PasswordElsewhere => "Reset the password where it is kept.",
            Self::PasswordExpired => {
                "Send a link with `rekeyctl send-code LOGIN`, or set `policy.reset_expired_passwords`."
            }
            Self::Privileged => "An owner (root on this machine) can help: `rekeyctl send-code LOGIN`.",
            Self::Undecided => "Send an activation link, or record the account as activated.",
            Self::Unknown => "Run `rekeyctl check`: it names the attribute that the service account can't read.",
            Self::UnprovedContact => "Send a link with `rekeyctl send-code LOGIN`: following it proves the address.",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
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

/// What a finding is called where it forbids.
pub fn refusal_of(finding: Finding) -> Refusal {
    match finding {
        Finding::Disabled => Refusal::Disabled,
        Finding::Expired => Refusal::Expired,
        Finding::Frozen => Refusal::Frozen,
        Finding::HolderMayNotChange => Refusal::HolderMayNotChange,
        Finding::LockedByAdmin => Refusal::LockedByAdmin,
        Finding::LockedByFailures => Refusal::LockedByFailures,
        Finding::MustChange => Refusal::MustChange,
        Finding::NeverActivated => Refusal::NeverActivated,
        Finding::NotAPerson => Refusal::NotAPerson,
        Finding::NotYetValid => Refusal::NotYetValid,
        Finding::PasswordElsewhere => Refusal::PasswordElsewhere,
        Finding::PasswordExpired => Refusal::PasswordExpired,
        Finding::Privileged => Refusal::Privileged,
        Finding::Undecided => Refusal::Undecided,
        Finding::Unknown => Refusal::Unknown,
    }
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
