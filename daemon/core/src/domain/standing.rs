//! What was found about an account, and the evidence for it.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// One finding. Several may hold at once; `design` calls the set a standing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// Switched off by an administrator.
    Disabled,
    /// The account (not its password) has come to its end.
    Expired,
    /// Self-service is frozen by "this was not me" or by an operator.
    Frozen,
    /// The person may not change the password themselves; operators may.
    HolderMayNotChange,
    /// Locked by an administrator, or by failures without end.
    LockedByAdmin,
    /// Locked by wrong passwords for a time.
    LockedByFailures,
    /// The password must be changed at the next sign-in.
    MustChange,
    /// Its person has never set a password.
    NeverActivated,
    /// A service, computer or trust account.
    NotAPerson,
    /// Its time has not begun.
    NotYetValid,
    /// The password is kept elsewhere (SASL pass-through, smartcard, federation).
    PasswordElsewhere,
    /// The password has come to its end.
    PasswordExpired,
    /// It administers something.
    Privileged,
    /// A password was set by an administrator, and nothing shows that its person ever did.
    Undecided,
    /// Something that the verdict needs could not be read.
    Unknown,
}

impl Finding {
    /// All of them, for tables and tests.
    pub const ALL: [Self; 15] = [
        Self::Disabled,
        Self::Expired,
        Self::Frozen,
        Self::HolderMayNotChange,
        Self::LockedByAdmin,
        Self::LockedByFailures,
        Self::MustChange,
        Self::NeverActivated,
        Self::NotAPerson,
        Self::NotYetValid,
        Self::PasswordElsewhere,
        Self::PasswordExpired,
        Self::Privileged,
        Self::Undecided,
        Self::Unknown,
    ];

    /// The finding in a few words, for operators.
    pub fn words(self) -> &'static str {
        match self {
            Self::Disabled => "disabled by an administrator",
            Self::Expired => "the account has expired",
            Self::Frozen => "self-service is frozen",
            Self::HolderMayNotChange => "the person may not change the password",
            Self::LockedByAdmin => "locked by an administrator",
            Self::LockedByFailures => "locked after wrong passwords",
            Self::MustChange => "the password must be changed",
            Self::NeverActivated => "never activated",
            Self::NotAPerson => "not a person's account",
            Self::NotYetValid => "not yet valid",
            Self::PasswordElsewhere => "the password is kept elsewhere",
            Self::PasswordExpired => "the password has expired",
            Self::Privileged => "has administrator access",
            Self::Undecided => "no sign yet that its person ever set a password",
            Self::Unknown => "its state cannot be read",
        }
    }
}

/// Why a finding holds.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Evidence {
    /// What was found.
    pub finding: Finding,
    /// The attribute, rule or record it rests on.
    pub attribute: String,
    /// Its value as read, or `absent`.
    pub value: String,
    /// The server or record that said so.
    pub server: String,
    /// When the state ends by itself, where it does.
    pub until: Option<Timestamp>,
}

/// The set of findings about an account. Empty is an active account.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Standing {
    evidence: Vec<Evidence>,
}

impl Standing {
    /// Adds a finding with its evidence.
    pub fn add(&mut self, evidence: Evidence) {
        self.evidence.push(evidence);
    }

    /// Whether a finding holds.
    pub fn has(&self, finding: Finding) -> bool {
        self.evidence.iter().any(|evidence| evidence.finding == finding)
    }

    /// All findings with their evidence, in the order found.
    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    /// Takes back a finding that better knowledge has answered, such as rekeyd's own record of an activation.
    pub fn remove(&mut self, finding: Finding) {
        self.evidence.retain(|evidence| evidence.finding != finding);
    }

    /// Takes back what rests on attributes that may not be seen: that they are not shown says nothing. That they can't be
    /// seen stays.
    pub fn forget_unseen(&mut self, hidden: &[String]) {
        let unseen = |attribute: &str| hidden.iter().any(|name| name.eq_ignore_ascii_case(attribute));
        self.evidence.retain(|evidence| evidence.finding == Finding::Unknown || !unseen(&evidence.attribute));
    }
}
