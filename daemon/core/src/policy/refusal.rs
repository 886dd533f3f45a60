//! Why something is not done: the code by which each reason is known everywhere, and what would change it.

use std::fmt;

use serde::Serialize;

use crate::domain::Finding;

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
