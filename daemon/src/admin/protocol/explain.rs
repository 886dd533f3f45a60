//! What crosses the socket where an account is explained: its findings with their evidence, and the verdict on each act.

use serde::{Deserialize, Serialize};

use super::{AuditEvent, Moment};

/// `POST /v1/explain`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The login to explain.
    pub login: String,
    /// The directory that is meant, by its name in the configuration, where the login alone would not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
}

/// The answer of `POST /v1/explain`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Explanation {
    /// `account`, `ambiguous` or `not-found`.
    pub found: String,
    /// The stable ids that match, where there are several.
    pub matches: Vec<String>,
    /// The account, where there is exactly one.
    pub account: Option<ExplainedAccount>,
    /// Accounts of later directories that the same login would mean there; the person reaches the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<String>,
    /// Why the person can't reset the password without help; absent where they can.
    pub reason: Option<Reason>,
}

/// One account, explained.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ExplainedAccount {
    /// The stable id.
    pub id: String,
    /// The name of its directory.
    pub directory: String,
    /// The login name.
    pub login: String,
    /// The entry's name.
    pub entry: String,
    /// The server that was asked.
    pub server: String,
    /// The person's names.
    pub names: Vec<String>,
    /// The mark of the present password.
    pub stamp: String,
    /// All findings; none is an active account.
    pub findings: Vec<ExplainedFinding>,
    /// The groups by which they have administrator access, from the one that names them to the one that the policy names, or
    /// that has it by the product itself, with its number.
    #[serde(default)]
    pub privileged_by: Vec<String>,
    /// When it was read.
    pub read_at: Moment,
    /// What an adoption took it for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<ExplainedAdoption>,
    /// All groups, nested ones too.
    pub groups: Vec<String>,
    /// All addresses, masked.
    pub contacts: Vec<ExplainedContact>,
    /// The verdict on each act.
    pub verdicts: Vec<Verdict>,
    /// The password profile that applies, where it is not the general one.
    pub profile: Option<String>,
    /// When rekeyd saw the person set a password.
    pub activated: Option<Moment>,
    /// Until when self-service is frozen.
    pub frozen_until: Option<Moment>,
    /// The latest rows of the trail.
    pub events: Vec<AuditEvent>,
}

/// What an adoption took an account for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ExplainedAdoption {
    /// `activated` or `never-activated`.
    pub taken: String,
    /// When.
    pub at: Moment,
}

/// One finding with its evidence.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ExplainedFinding {
    /// Its code.
    pub finding: String,
    /// The same in a few words.
    pub words: String,
    /// The attribute, rule or record it rests on.
    pub attribute: String,
    /// The value as read, or `absent`.
    pub value: String,
    /// The server or record that said so.
    pub server: String,
    /// When the state ends by itself.
    pub until: Option<Moment>,
}

/// One address.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ExplainedContact {
    /// The kind of channel.
    pub kind: String,
    /// The address, masked.
    pub address: String,
    /// The attribute it comes from.
    pub source: String,
    /// When it was proved.
    pub proved: Option<Moment>,
    /// Whether policy lets it be used.
    pub permitted: bool,
}

/// The verdict on one act.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Verdict {
    /// The act, in words.
    pub act: String,
    /// Whether it may be done.
    pub allowed: bool,
    /// Why not.
    pub reason: Option<Reason>,
}

/// Why something is refused.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Reason {
    /// The code, which a person may read out to the service desk.
    pub code: String,
    /// What would change it.
    pub remedy: String,
    /// The rule that decided: a key of the configuration, or the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<ExplainedFinding>,
}
