//! `rekeyctl adopt`: what accounts that are older than rekeyd are taken for, told first, then recorded, or undone.

use std::process::ExitCode;

use clap::Args;

use super::call::{Client, Failure, answered};
use super::print::Screen;
use super::spool::Spool;
use super::{confirm, given};
use crate::admin::protocol::Problem;
use crate::admin::protocol::walks::{AdoptCounts, AdoptLine, AdoptRequest, Adoptions, UndoRequest, Undone};

/// What is to be adopted.
#[derive(Args)]
pub(super) struct Adopt {
    /// Record nothing; say what each account would be taken for, and why.
    #[arg(long)]
    dry_run: bool,
    /// The directory, where there are several.
    #[arg(long, value_name = "NAME")]
    directory: Option<String>,
    /// Only people that fit this filter (RFC 4515).
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// What those of the filter that show no sign are taken for: activated or never-activated.
    #[arg(long, value_name = "STATE", requires = "filter", value_parser = ["activated", "never-activated"])]
    undecided_as: Option<String>,
    /// List the adoptions so far.
    #[arg(long, conflicts_with_all = ["dry_run", "directory", "filter", "undecided_as", "undo", "reason", "yes"])]
    list: bool,
    /// Undo an adoption.
    #[arg(long, value_name = "ID", conflicts_with_all = ["dry_run", "directory", "filter", "undecided_as"])]
    undo: Option<String>,
    /// Why, for the audit trail; asked for on a terminal where it is left out.
    #[arg(long, conflicts_with = "dry_run")]
    reason: Option<String>,
    /// Do not ask.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

/// Does it.
pub(super) async fn run(adopt: Adopt, client: &Client, screen: &Screen) -> Result<ExitCode, Failure> {
    if adopt.list {
        let answer = client.get("/v1/adoptions").await?;
        let all: Adoptions = answered(&answer)?;
        screen.show(&answer, || listed(screen, &all));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(adoption) = adopt.undo {
        if !adopt.yes {
            confirm("What this adoption recorded is forgotten.")?;
        }
        let reason = given(adopt.reason)?;
        let answer = client.post("/v1/adopt/undo", &UndoRequest { adoption, reason }).await?;
        let undone: Undone = answered(&answer)?;
        screen.show(&answer, || format!("{} accounts are as they were before\n", undone.accounts));
        return Ok(ExitCode::SUCCESS);
    }
    if !adopt.dry_run && !adopt.yes {
        confirm("What accounts that are older than rekeyd are taken for is recorded; --dry-run shows it first.")?;
    }
    let reason = if adopt.dry_run { None } else { Some(given(adopt.reason)?) };
    let request =
        AdoptRequest { directory: adopt.directory, filter: adopt.filter, undecided_as: adopt.undecided_as, reason };
    walk(&request, client, screen).await
}

async fn walk(request: &AdoptRequest, client: &Client, screen: &Screen) -> Result<ExitCode, Failure> {
    let mut rows = Spool::new(&["taken as", "login", "rests on", "seen", "entry"])?;
    let mut end = None;
    let mut looked_at = 0;
    let each = |line: &[u8]| {
        let read: AdoptLine = understood(line)?;
        if screen.json() {
            screen.print_line(line);
        }
        match read {
            AdoptLine::Account(one) if !screen.json() => {
                looked_at += 1;
                screen.progress(looked_at);
                rows.add(&[&one.taken, &one.login, &one.attribute, &one.value, &one.entry])?;
            }
            AdoptLine::Account(_) => {}
            AdoptLine::Begun { adoption, before: None } => screen.say(&format!("adoption {adoption} has begun\n")),
            AdoptLine::Begun { adoption, before: Some(before) } => {
                screen.say(&format!("adoption {adoption} is carried on; {before} accounts were recorded before\n"));
            }
            AdoptLine::Counts(counts) => end = Some(Ok(counts)),
            AdoptLine::Failed { why } => end = Some(Err(why)),
            AdoptLine::Progress(so_far) => screen.progress(total(so_far)),
        }
        Ok(())
    };
    client.lines("/v1/adopt", request, each).await?;
    screen.end_of_progress();
    let counts = whole(end)?;
    if !screen.json() {
        screen.print(&counted(screen, counts, request.reason.is_some()));
        rows.print()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The last line, where it says that the answer is whole.
pub(super) fn whole<T>(end: Option<Result<T, String>>) -> Result<T, Failure> {
    let why = match end {
        Some(Ok(end)) => return Ok(end),
        Some(Err(why)) => why,
        None => "the answer has no end; was rekeyd ended?".into(),
    };
    Err(Failure::Problem(Box::new(Problem {
        kind: "urn:rekeyd:problem:broken-off".into(),
        title: "It broke off, and what was shown is not all".into(),
        status: 503,
        detail: why,
        code: "broken-off".into(),
        remedy: Some("The same command carries on what was recorded, and shows everything anew.".into()),
        violations: Vec::new(),
    })))
}

/// Understands a line.
pub(super) fn understood<T: serde::de::DeserializeOwned>(line: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(line)
        .map_err(|_| Failure::Failed("the daemon's answer is not understood; is it of another version?".into()))
}

fn total(counts: AdoptCounts) -> u64 {
    counts.activated + counts.never_activated + counts.undecided + counts.left
}

fn counted(screen: &Screen, counts: AdoptCounts, recorded: bool) -> String {
    let becomes = |yes: &str, no: &str| if recorded { yes.to_owned() } else { no.to_owned() };
    let rows = [
        (
            counts.activated,
            "activated",
            "their persons set a password; the table and the policy decide on the rest".into(),
        ),
        (
            counts.never_activated,
            "never-activated",
            becomes("recorded: an activation link lets them in", "an activation link would let them in"),
        ),
        (counts.undecided, "undecided", "nothing is recorded; --undecided-as decides about a selection".into()),
        (counts.left, "left", "known to rekeyd already, or no person's".into()),
    ];
    let rows = rows.map(|(count, taken, words)| vec![count.to_string(), taken.to_owned(), words]);
    format!("{}\n", screen.table(&["accounts", "taken as", ""], rows))
}

fn listed(screen: &Screen, all: &Adoptions) -> String {
    if all.adoptions.is_empty() {
        return "nothing was adopted yet\n".into();
    }
    let head = ["adoption", "begun", "state", "activated", "never-activated", "by", "selection", "why"];
    let rows = all.adoptions.iter().map(|one| {
        let by_hand = one.undecided_as.as_ref().map(|taken| format!("undecided as {taken}"));
        vec![
            one.adoption.clone(),
            screen.moment(one.at),
            one.state.clone(),
            one.activated.to_string(),
            one.never_activated.to_string(),
            one.by.clone(),
            one.filter.iter().cloned().chain(by_hand).collect::<Vec<_>>().join(", "),
            one.reason.clone(),
        ]
    });
    screen.table(&head, rows)
}
