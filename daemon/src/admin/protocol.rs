//! What crosses the operators' socket: the bodies of requests and answers, for the door and for `rekeyctl`.
//!
//! Requests refuse fields they do not know; answers may gain fields. Moments are RFC 3339 in UTC. Values that hold a
//! password have no `Debug`.

pub mod doctor;
pub mod explain;
pub mod walks;

use rekeyd_core::domain::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// Where the socket lies unless the configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/rekeyd/admin.sock";

/// The longest body of a request, in bytes.
pub const LONGEST_BODY: usize = 64 * 1024;

/// The longest body that holds a configuration, in bytes.
pub const LONGEST_CONFIGURATION: usize = 1024 * 1024;

/// A moment, written as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Moment(pub Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let moment = jiff::Timestamp::from_millisecond(self.0.millis()).unwrap_or(jiff::Timestamp::MAX);
        serializer.collect_str(&moment)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
        Ok(Self(Timestamp::from_millis(moment.as_millisecond())))
    }
}

/// A password on its way. It has no `Debug`, `Display` or `Clone`.
pub struct Password(Zeroizing<String>);

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

impl Password {
    /// Takes a text.
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// `POST /v1/send-code` and `POST /v1/thaw`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HelpRequest {
    /// Whom to help.
    pub login: String,
    /// The directory that is meant, by its name in the configuration, where the login alone would not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Why, for the trail.
    pub reason: String,
}

/// `POST /v1/restored`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RestoredRequest {
    /// Why, for the trail.
    pub reason: String,
}

/// `POST /v1/set-password`: either a password or `generate`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SetPasswordRequest {
    /// Whose password.
    pub login: String,
    /// The directory that is meant, by its name in the configuration, where the login alone would not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Why, for the trail.
    pub reason: String,
    /// The password, as typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// Whether rekeyd draws one, and answers it once.
    #[serde(default)]
    pub generate: bool,
    /// Whether the person must change it at the next sign-in.
    #[serde(default = "yes")]
    pub must_change: bool,
}

fn yes() -> bool {
    true
}

/// What is wrong with a channel at present.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ChannelTrouble {
    /// Its name in the configuration.
    pub channel: String,
    /// What its last tries have shown.
    pub why: String,
}

/// `GET /v1/status`
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// When it started.
    pub started: Moment,
    /// The directories, in the order in which they are asked.
    pub directories: Vec<DirectoryStatus>,
    /// What is kept for directories that were taken out of the configuration, until they are back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_behind: Vec<LeftBehind>,
    /// The channels, in the order in which they are tried.
    pub channels: Vec<String>,
    /// What is wrong with them; nothing where all work.
    #[serde(default)]
    pub channel_troubles: Vec<ChannelTrouble>,
    /// Requests that wait for a worker.
    pub requests_waiting: u64,
    /// When the oldest of them was accepted.
    pub oldest_request: Option<Moment>,
    /// Messages that wait.
    pub notices_waiting: u64,
    /// When the oldest of them was queued.
    pub oldest_notice: Option<Moment>,
    /// Messages given up in the last day.
    pub notices_failed: u64,
    /// Links that can be used.
    pub tickets_live: u64,
    /// Passwords whose setting has not ended, or not with certainty.
    pub claims_open: u64,
    /// Rows of the audit trail.
    pub events: u64,
    /// How often a fault of rekeyd's own ended something since the start; the log says where.
    #[serde(default)]
    pub panics: u64,
    /// That the clock was set within the last day by more than two minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_set: Option<ClockSet>,
}

/// How the clock was set.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct ClockSet {
    /// When, by the clock as it was set.
    pub at: Moment,
    /// By how many seconds; less than 0 where it was set back.
    pub by_seconds: i64,
}

/// How one directory does.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DirectoryStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Whether it answered last time.
    pub up: bool,
    /// What is wrong with its servers now, at most one thing each.
    pub flaws: Vec<DirectoryFlaw>,
    /// What the doctor found last.
    #[serde(default)]
    pub doctor: Option<self::doctor::DoctorStatus>,
}

/// What is kept for a directory that is out of the configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LeftBehind {
    /// Its name, as it was last.
    pub name: String,
    /// Accounts of which something is remembered.
    pub accounts: u64,
    /// Links that could be used if it were there.
    pub tickets_live: u64,
    /// Passwords whose setting has no certain end, which only it can tell.
    pub unsettled: u64,
}

/// What is wrong with one server of the directory.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DirectoryFlaw {
    /// The server, by its URL in the configuration.
    pub server: String,
    /// `down`, `slow`, `refused`, `read-only`, `writes` or `clock`.
    pub kind: String,
    /// What was seen of it.
    pub why: String,
    /// Since when.
    pub since: Moment,
}

/// `GET /v1/outbox`, newest first.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Outbox {
    /// The messages.
    pub notices: Vec<OutboxNotice>,
}

/// A message of the outbox.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OutboxNotice {
    /// Its id, which the trail names too.
    pub id: String,
    /// What it tells.
    pub notice: String,
    /// The login it is about.
    pub login: String,
    /// Where it goes, masked.
    pub to: String,
    /// `queued`, `sending`, `sent`, `failed`, `cancelled` or `expired`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was queued.
    pub created: Moment,
    /// When it is tried next.
    pub due: Option<Moment>,
    /// Why it is not sent yet, or never.
    pub reason: Option<String>,
}

/// `GET /v1/audit`, newest first.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Audit {
    /// The rows.
    pub events: Vec<AuditEvent>,
}

/// A row of the audit trail.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AuditEvent {
    /// Its number, without gaps.
    pub number: u64,
    /// When.
    pub at: Moment,
    /// What.
    pub event: String,
    /// `client`, `operator`, `system` or `visitor`.
    pub actor_kind: String,
    /// Who; gone where it was erased.
    pub actor: Option<String>,
    /// To whom; gone where it was erased.
    pub account: Option<String>,
    /// The name of that account's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// How it ended.
    pub outcome: String,
    /// Why.
    pub reason: Option<String>,
    /// More, as names with values.
    pub details: Vec<(String, String)>,
}

/// `GET /v1/audit/verify`
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Chain {
    /// Whether every row fits the one before.
    pub whole: bool,
    /// How many rows there are, or the number of the first that does not fit.
    pub rows: u64,
}

/// The answer of `POST /v1/send-code`: a message is on its way.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Sent {
    /// The account.
    pub account: String,
    /// `reset` or `activation`.
    pub purpose: String,
    /// The handle of the request.
    pub request: String,
    /// Where it goes, masked.
    pub to: Vec<String>,
}

/// The answer of `POST /v1/set-password`: the old password has stopped.
#[derive(Deserialize, Serialize)]
pub struct Replaced {
    /// The account.
    pub account: String,
    /// The password that was drawn. It is answered this once and kept nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// Whether it must be changed at the next sign-in.
    pub must_change: bool,
    /// That the directory took the password and does not show that it must be changed: its policy may not want that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub must_change_unseen: bool,
}

/// The answer of `POST /v1/thaw`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Thawed {
    /// The account.
    pub account: String,
    /// Whether there was a freeze to lift.
    pub thawed: bool,
}

/// The answer of `POST /v1/restored`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Restored {
    /// So many links are void.
    pub voided: u64,
}

/// Why something was not done (RFC 9457).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Problem {
    /// `urn:rekeyd:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What kind of problem it is, in a few words.
    pub title: String,
    /// The status, as in the answer's first line.
    pub status: u16,
    /// This problem, in a sentence.
    pub detail: String,
    /// The code: the reason of a refusal, or `unavailable`, `unsure`, `weak`, `rejected`, `not-allowed`, `bad-request`…
    pub code: String,
    /// What would change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The rules that a password breaks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
}

/// A rule that a password breaks.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Violation {
    /// Its id in the language files.
    pub id: String,
    /// The same in English.
    pub words: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn moments_read_as_they_are_written() {
        let moment = Moment(Timestamp::from_millis(1_700_000_000_123));
        let text = serde_json::to_string(&moment).unwrap();
        assert_eq!(text, "\"2023-11-14T22:13:20.123Z\"");
        assert_eq!(serde_json::from_str::<Moment>(&text).unwrap(), moment);
        assert!(serde_json::to_string(&Moment(Timestamp::from_millis(i64::MAX))).is_ok());
    }

    #[test]
    fn t127_requests_refuse_what_they_do_not_know() {
        let read = |text: &str| serde_json::from_str::<SetPasswordRequest>(text).is_ok();
        assert!(read(r#"{"login":"ada","reason":"x","generate":true}"#));
        for odd in [
            "{}",
            r#"{"login":"ada"}"#,
            r#"{"login":"ada","reason":"x","generate":"yes"}"#,
            r#"{"login":"ada","reason":"x","must-change":false}"#,
            r#"{"login":"ada","login":"eve","reason":"x"}"#,
            r#"{"login":["ada"],"reason":"x"}"#,
        ] {
            assert!(!read(odd), "{odd}");
        }
        let request: SetPasswordRequest =
            serde_json::from_str(r#"{"login":"ada","reason":"x","password":"p"}"#).unwrap();
        assert!(request.must_change && !request.generate && request.password.is_some_and(|p| p.expose() == "p"));
    }
}
