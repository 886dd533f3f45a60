//! A password policy as OpenLDAP keeps it: one entry of class `pwdPolicy`.

use std::time::Duration;

use crate::flavour::Demands;
use crate::flavour::entry::{Entry, Unreadable};

/// The attributes that verdicts and checks need.
pub const ATTRIBUTES: [&str; 12] = [
    "pwdAttribute",
    "pwdAllowUserChange",
    "pwdCheckQuality",
    "pwdInHistory",
    "pwdLockout",
    "pwdLockoutDuration",
    "pwdMaxAge",
    "pwdMaxIdle",
    "pwdMinAge",
    "pwdMinLength",
    "pwdMustChange",
    "pwdSafeModify",
];

/// One policy, read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Its entry.
    pub name: String,
    /// Whether the person may change the password.
    pub allow_user_change: bool,
    /// Whether several kinds of characters are wanted, where the policy itself says so.
    pub complex: bool,
    /// 0: quality is not looked at; 1: where it can be; 2: always.
    pub check_quality: i64,
    /// How many old passwords are remembered.
    pub in_history: i64,
    /// Whether locks count at all.
    pub lockout: bool,
    /// How long a lock by failures lasts; `None` until somebody lifts it.
    pub lockout_duration: Option<Duration>,
    /// How many wrong passwords lock, where the account shows a count and not the lock; otherwise 0.
    pub max_failures: i64,
    /// How long a password lasts.
    pub max_age: Option<Duration>,
    /// How long an account may go unused, where the policy says so and the account shows when it was used.
    pub max_idle: Option<Duration>,
    /// How old a password must be before it may be changed.
    pub min_age: Option<Duration>,
    /// Least length, in bytes.
    pub min_length: i64,
    /// Whether `pwdReset` makes the person change the password.
    pub must_change: bool,
    /// Whether the old password is wanted for every change, so that nobody who forgot it can be helped.
    pub safe_modify: bool,
}

/// What is known of the policy that applies to an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PolicyView {
    /// This one applies.
    InForce(Policy),
    /// None applies, and that is known.
    None,
    /// Which one applies, or what it says, can't be read, for this reason.
    Unreadable(String),
}

impl Policy {
    /// Reads a policy's entry.
    ///
    /// # Errors
    /// [`Unreadable`] for a value of another type than it should be, and where `pwdAttribute` is not shown, which each
    /// policy must have.
    pub fn read(entry: &Entry) -> Result<Self, Unreadable> {
        if !entry.has("pwdAttribute") {
            let why = "it is not shown, though each policy has it".to_owned();
            return Err(Unreadable { attribute: "pwdAttribute".into(), why });
        }
        let seconds = |name: &str| -> Result<Option<Duration>, Unreadable> {
            let number = entry.number(name)?.unwrap_or(0);
            Ok(u64::try_from(number).ok().filter(|number| *number > 0).map(Duration::from_secs))
        };
        Ok(Self {
            name: entry.name().0.clone(),
            allow_user_change: entry.flag("pwdAllowUserChange")?.unwrap_or(true),
            complex: false,
            check_quality: entry.number("pwdCheckQuality")?.unwrap_or(0),
            in_history: entry.number("pwdInHistory")?.unwrap_or(0),
            lockout: entry.flag("pwdLockout")?.unwrap_or(false),
            lockout_duration: seconds("pwdLockoutDuration")?,
            max_failures: 0,
            max_age: seconds("pwdMaxAge")?,
            max_idle: seconds("pwdMaxIdle")?,
            min_age: seconds("pwdMinAge")?,
            min_length: entry.number("pwdMinLength")?.unwrap_or(0),
            must_change: entry.flag("pwdMustChange")?.unwrap_or(false),
            safe_modify: entry.flag("pwdSafeModify")?.unwrap_or(false),
        })
    }

    /// What it demands of a password, for the words of a refusal.
    pub fn demands(&self) -> Demands {
        let some = |number: i64| u32::try_from(number).ok().filter(|number| *number > 0);
        let checked = self.check_quality > 0;
        Demands {
            length: some(self.min_length).filter(|_| checked),
            history: some(self.in_history),
            complex: self.complex && checked,
            least_age: self.min_age,
            free_from: None,
        }
    }
}

/// The policy of a directory that keeps none, for the LDIF directory: locks by failures last a quarter of an hour.
pub fn plain_policy() -> Policy {
    Policy {
        name: "built-in".into(),
        allow_user_change: true,
        complex: false,
        check_quality: 0,
        in_history: 3,
        lockout: true,
        lockout_duration: Some(Duration::from_mins(15)),
        max_failures: 0,
        max_age: None,
        max_idle: None,
        min_age: None,
        min_length: 0,
        must_change: true,
        safe_modify: false,
    }
}
