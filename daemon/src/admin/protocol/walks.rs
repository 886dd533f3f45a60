//! The bodies of asks about everybody, and the lines of their answers: one JSON object a line (`application/x-ndjson`), of
//! which the last is `counts` or `failed`. An answer without such a last line is not whole. Empty lines say that the daemon
//! is still at it.

use rekeyd_core::domain::Finding;
use serde::{Deserialize, Serialize};

use super::Moment;

/// `POST /v1/adopt`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AdoptRequest {
    /// Of which directory, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Only these people (RFC 4515).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// What those without a sign are taken for: `activated` or `never-activated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undecided_as: Option<String>,
    /// Why, for the trail. Without it nothing is recorded, and each account is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/adopt/undo`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UndoRequest {
    /// Which adoption.
    pub adoption: String,
    /// Why, for the trail.
    pub reason: String,
}

/// The answer of `POST /v1/adopt/undo`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Undone {
    /// So many accounts are as they were before.
    pub accounts: u64,
}

/// `POST /v1/policy-test`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyTestRequest {
    /// Of which directory, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Whose verdicts; without any, everybody's.
    #[serde(default)]
    pub logins: Vec<String>,
    /// The text of another configuration to compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
}

/// `GET /v1/adoptions`, newest first.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Adoptions {
    /// The adoptions.
    pub adoptions: Vec<AdoptionSummary>,
}

/// One adoption.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AdoptionSummary {
    /// Its id.
    pub adoption: String,
    /// When it was begun.
    pub at: Moment,
    /// `running`, `done`, `undoing` or `undone`. One that is running and has nobody who waits for it was broken off.
    pub state: String,
    /// When it ended or was undone.
    pub ended: Option<Moment>,
    /// Who began it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Only these people.
    pub filter: Option<String>,
    /// What those without a sign were taken for.
    pub undecided_as: Option<String>,
    /// How many accounts it took as activated.
    pub activated: u64,
    /// How many it took as never activated.
    pub never_activated: u64,
}

/// How many accounts are taken for what.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AdoptCounts {
    /// Their people have set a password.
    pub activated: u64,
    /// Nobody has activated them.
    pub never_activated: u64,
    /// There is no telling; nothing is recorded.
    pub undecided: u64,
    /// Left as they are: rekeyd knows them already, or they are no person's.
    pub left: u64,
}

/// A line of the answer of `POST /v1/adopt`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", tag = "line")]
pub enum AdoptLine {
    /// One account.
    Account(AdoptAccount),
    /// A recording has begun, or is carried on.
    Begun {
        /// Its id.
        adoption: String,
        /// How many accounts it had recorded before it was broken off.
        before: Option<u64>,
    },
    /// The end: all of them.
    Counts(AdoptCounts),
    /// It broke off.
    Failed {
        /// Why.
        why: String,
    },
    /// How far it is.
    Progress(AdoptCounts),
}

/// What one account is taken for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AdoptAccount {
    /// `activated`, `never-activated`, `undecided` or `left`.
    pub taken: String,
    /// The login.
    pub login: String,
    /// The stable id.
    pub account: String,
    /// The entry.
    pub entry: String,
    /// What that rests on.
    pub attribute: String,
    /// What was seen of it.
    pub value: String,
}

/// A line of the answer of `POST /v1/policy-test`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", tag = "line")]
pub enum PolicyLine {
    /// One account: everybody, or where something is compared those for whom it changes.
    Account(Box<PolicyAccount>),
    /// The end: everybody, by kind.
    Counts {
        /// Whether there was something to compare with.
        compared: bool,
        /// How many of each kind.
        counts: Vec<PolicyCount>,
    },
    /// It broke off.
    Failed {
        /// Why.
        why: String,
    },
    /// So many were looked at.
    Progress {
        /// How many.
        accounts: u64,
    },
}

/// What one account may.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PolicyAccount {
    /// `gains`, `loses` or `same`.
    pub change: String,
    /// The login.
    pub login: String,
    /// The stable id; absent where no single account matches.
    pub account: Option<String>,
    /// The entry.
    pub entry: Option<String>,
    /// As it is configured.
    pub now: PolicyVerdict,
    /// As it would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<PolicyVerdict>,
}

/// Whether somebody may reset the password without help.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PolicyVerdict {
    /// Whether they may.
    pub allowed: bool,
    /// The reason code, where not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The codes of everything that was found.
    #[serde(default)]
    pub findings: Vec<Finding>,
}

/// So many of one kind.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PolicyCount {
    /// `gains`, `loses` or `same`.
    pub change: String,
    /// The reason code as it is configured; absent where it is allowed.
    pub now: Option<String>,
    /// The reason code as it would be.
    pub then: Option<String>,
    /// How many.
    pub accounts: u64,
}
