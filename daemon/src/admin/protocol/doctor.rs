//! What crosses the socket where the doctor is asked: lines of JSON, in the order in which things are found.

use serde::{Deserialize, Serialize};

use super::Moment;

/// `POST /v1/doctor`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DoctorRequest {
    /// The directory; all of them where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
}

/// What was found last, in the status.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct DoctorStatus {
    /// When.
    pub at: Moment,
    /// Things that do not work.
    pub broken: usize,
    /// Things that somebody should know.
    pub notes: usize,
}

/// One line of its answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum DoctorLine {
    /// A directory's turn.
    Directory {
        /// Its name.
        directory: String,
        /// When it was looked at last.
        since: Option<Moment>,
    },
    /// One thing was tried.
    Probe(DoctorProbe),
    /// What was found last time, and is no more.
    Gone {
        /// The cause's code.
        code: String,
        /// On which server.
        server: Option<String>,
        /// By what it was seen then.
        evidence: String,
    },
    /// A directory is done.
    End {
        /// Things that do not work.
        broken: u64,
        /// Things that somebody should know.
        notes: u64,
        /// Of these, so many that were not there last time.
        new: u64,
        /// So many that are there in another way.
        changed: u64,
        /// So many that were there last time only.
        gone: u64,
    },
    /// It can't go on.
    Failed {
        /// Why.
        why: String,
    },
}

/// One thing that was tried.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DoctorProbe {
    /// `fine`, `note` or `broken`.
    pub severity: String,
    /// The cause's code, where something is wrong; it never changes its meaning.
    pub code: Option<String>,
    /// The server, where it is about one.
    pub server: Option<String>,
    /// What was tried.
    pub what: String,
    /// How it went.
    pub evidence: String,
    /// What mends it, in words.
    pub remedy: Option<String>,
    /// The same as commands, with this directory's names in them.
    pub command: Option<String>,
    /// `new`, `changed` or `known` since the last time; absent where nothing is wrong, and the first time.
    pub change: Option<String>,
}
