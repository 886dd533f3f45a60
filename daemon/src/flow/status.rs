//! How the daemon does, what waits to be sent, and what the trail says: for operators.

use rekeyd_core::domain::Timestamp;
use rekeyd_core::policy::eligibility::Refusal;

use super::directories::{Governed, Whom};
use super::health;
use super::operator::refusal_of;
use super::rekeyd::Rekeyd;
use super::watchlist::Standing;
use crate::directory::Flaw;
use crate::store::{AuditRow, Chain, LeftBehind};

/// How the daemon does.
#[derive(Debug)]
pub struct Status {
    /// Its version.
    pub version: &'static str,
    /// When it started.
    pub started: Timestamp,
    /// The directories, in their order.
    pub directories: Vec<DirectoryLine>,
    /// Directories that are out of the configuration, and what is kept for them.
    pub left_behind: Vec<LeftBehind>,
    /// Requests that wait for a worker.
    pub requests_waiting: u64,
    /// When the oldest of them was accepted.
    pub oldest_request: Option<Timestamp>,
    /// Messages that wait.
    pub notices_waiting: u64,
    /// When the oldest of them was queued.
    pub oldest_notice: Option<Timestamp>,
    /// Messages given up in the last day.
    pub notices_failed: u64,
    /// Links that can be used.
    pub tickets_live: u64,
    /// Settings of unknown outcome.
    pub claims_open: u64,
    /// Rows of the trail.
    pub events: u64,
    /// When the clock was set within the last day, and by how many seconds.
    pub clock_set: Option<(Timestamp, i64)>,
    /// How often a fault of its own ended something since the start.
    pub panics: u64,
    /// The channels, in their order.
    pub channels: Vec<String>,
    /// What is wrong with channels, by their names.
    pub channel_troubles: Vec<(String, String)>,
}

/// How a directory does.
#[derive(Debug)]
pub struct DirectoryLine {
    /// Its name in the configuration.
    pub name: String,
    /// Whether it answered last time.
    pub up: bool,
    /// What is wrong with it.
    pub flaws: Vec<FlawLine>,
    /// What the doctor found last.
    pub doctor: Option<super::doctor::Last>,
}

/// What is wrong with one server of the directory.
#[derive(Debug)]
pub struct FlawLine {
    /// The server.
    pub server: String,
    /// What, in a word.
    pub kind: &'static str,
    /// What was seen of it.
    pub why: String,
    /// Since when.
    pub since: Timestamp,
}

/// A message of the outbox.
#[derive(Debug)]
pub struct OutboxLine {
    /// Its id.
    pub id: String,
    /// What it tells.
    pub notice: &'static str,
    /// The login it is about.
    pub login: String,
    /// Where it goes, masked.
    pub to: String,
    /// Where it is in its life.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was queued.
    pub created: Timestamp,
    /// When it is tried next.
    pub due: Option<Timestamp>,
    /// The last reason.
    pub reason: Option<String>,
}

/// A row of the trail.
#[derive(Debug)]
pub struct AuditLine {
    /// Its number.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: String,
    /// The kind of actor.
    pub actor_kind: String,
    /// Who.
    pub actor: Option<String>,
    /// To whom.
    pub account: Option<String>,
    /// The name of that account's directory.
    pub directory: Option<String>,
    /// How it ended.
    pub outcome: String,
    /// Why.
    pub reason: Option<String>,
    /// More.
    pub details: Vec<(String, String)>,
}

/// What a check of the trail says.
#[derive(Debug)]
pub struct ChainReport {
    /// Whether every row fits the one before.
    pub whole: bool,
    /// How many rows, or the number of the first that does not fit.
    pub rows: u64,
}

/// How the daemon does.
///
/// # Errors
/// Words that say why the store could not be asked; likewise below.
pub async fn status(rekeyd: &Rekeyd, now: Timestamp) -> Result<Status, String> {
    let counts = rekeyd.store.counts(now).await.map_err(words)?;
    let parts = rekeyd.parts();
    let present = parts.directories.all().iter().map(|one| one.directory.key()).collect();
    let left_behind = rekeyd.store.left_behind(present, now).await.map_err(words)?;
    let mut directories = Vec::new();
    for Governed { directory, .. } in parts.directories.all() {
        directories.push(DirectoryLine {
            name: directory.name().to_owned(),
            up: directory.is_up(),
            flaws: health::standing(rekeyd, directory.name()).into_iter().map(flaw_of).collect(),
            doctor: super::doctor::last(rekeyd, directory).await,
        });
    }
    Ok(Status {
        version: env!("CARGO_PKG_VERSION"),
        started: rekeyd.started(),
        directories,
        left_behind,
        requests_waiting: counts.requests_waiting,
        oldest_request: counts.oldest_request,
        notices_waiting: counts.notices_waiting,
        oldest_notice: counts.oldest_notice,
        notices_failed: counts.notices_failed,
        tickets_live: counts.tickets_live,
        claims_open: counts.claims_open,
        events: counts.events,
        clock_set: counts.clock_set.map(|set| (set.at, set.by_seconds)),
        panics: rekeyd.faults.count(),
        channels: parts.channels.iter().map(|channel| channel.name().to_owned()).collect(),
        channel_troubles: parts
            .channels
            .iter()
            .filter_map(|channel| channel.trouble().map(|trouble| (channel.name().to_owned(), trouble.why)))
            .collect(),
    })
}

/// The outbox, newest first.
pub async fn outbox(rekeyd: &Rekeyd, most: usize, waiting_only: bool) -> Result<Vec<OutboxLine>, String> {
    let rows = rekeyd.store.outbox(most, waiting_only).await.map_err(words)?;
    Ok(rows
        .into_iter()
        .map(|row| OutboxLine {
            id: row.id.to_string(),
            notice: row.kind.word(),
            login: row.login,
            to: row.recipient,
            state: row.state,
            attempts: row.attempts,
            created: row.created,
            due: row.due,
            reason: row.reason,
        })
        .collect())
}

/// What the trail says.
#[derive(Debug)]
pub enum Audit {
    /// No single account is meant.
    Refused(Refusal),
    /// Its rows.
    Rows(Vec<AuditLine>),
}

/// The trail, newest first; of one account where a login or a stable id is given. An account that is gone from the
/// directory is found by its stable id.
pub async fn audit(rekeyd: &Rekeyd, whom: Option<&Whom>, most: usize) -> Result<Audit, String> {
    let mut account = None;
    if let Some(whom) = whom {
        account = match rekeyd.find_for(&rekeyd.parts(), whom).await.map_err(|trouble| trouble.to_string())? {
            Ok(gathered) => Some(gathered.account.id),
            Err(found) => match rekeyd.store.accounts_named(whom.login.as_str()).await.map_err(words)?.pop() {
                Some(named) => Some(named),
                None => return Ok(Audit::Refused(refusal_of(&found))),
            },
        };
    }
    let rows = rekeyd.store.audit(account, most).await.map_err(words)?;
    Ok(Audit::Rows(lines(rekeyd, rows).await.map_err(words)?))
}

/// Checks the whole trail.
pub async fn verify(rekeyd: &Rekeyd) -> Result<ChainReport, String> {
    Ok(match rekeyd.store.verify_audit().await.map_err(words)? {
        Chain::Broken(row) => ChainReport { whole: false, rows: row },
        Chain::Whole(rows) => ChainReport { whole: true, rows },
    })
}

fn flaw_of(standing: Standing) -> FlawLine {
    let Flaw { server, kind, why } = standing.flaw;
    FlawLine { server, kind: kind.word(), why, since: standing.since }
}

/// Rows of the trail, with the names of the directories that they speak of: the trail has their keys, which never change.
pub(super) async fn lines(rekeyd: &Rekeyd, rows: Vec<AuditRow>) -> Result<Vec<AuditLine>, crate::store::Error> {
    let names = rekeyd.store.directory_names().await?;
    let named = |account: &str| {
        let (key, _) = account.split_once(':')?;
        names.iter().find(|(known, _)| known.0.to_string() == key).map(|(_, name)| name.clone())
    };
    let line = |row: AuditRow| AuditLine { directory: row.account.as_deref().and_then(named), ..line_of(row) };
    Ok(rows.into_iter().map(line).collect())
}

fn line_of(row: AuditRow) -> AuditLine {
    AuditLine {
        number: row.number,
        at: row.at,
        event: row.kind,
        actor_kind: row.actor_kind,
        actor: row.actor,
        account: row.account,
        directory: None,
        outcome: row.outcome,
        reason: row.reason,
        details: row.details,
    }
}

fn words(error: crate::store::Error) -> String {
    super::trouble::Trouble::from(error).to_string()
}
