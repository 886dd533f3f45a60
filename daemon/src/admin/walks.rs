//! Asks about everybody: adoption and the test of policies, from a body to a story that tells line by line.

use std::sync::Arc;

use hyper::StatusCode;
use rekeyd_core::domain::{Login, RequestId};
use rekeyd_core::policy::adoption::Taken;
use rekeyd_core::policy::authority::{Operator, Verb};
use rekeyd_core::settings::Fault;
use tokio::sync::{mpsc, watch};

use super::answer::{self, Answer};
use super::protocol::Moment;
use super::protocol::walks::{
    AdoptAccount, AdoptCounts, AdoptLine, AdoptRequest, AdoptionSummary, Adoptions, PolicyAccount, PolicyCount,
    PolicyLine, PolicyTestRequest, PolicyVerdict, Undone,
};
use super::stream;
use crate::flow::Rekeyd;
use crate::flow::adopt::{self, Refused, UndoOutcome};
use crate::flow::compare::{self, Against, Whom};

/// The most logins in one ask.
const MOST_LOGINS: usize = 100;
/// How many pages may wait to be written as lines.
const AHEAD: usize = 1;
/// What is said where the daemon ends first.
const STOPPING: &str = "rekeyd is ending";

/// An ask to adopt, understood.
pub(super) struct AdoptAsk {
    directory: Option<String>,
    filter: Option<String>,
    undecided_as: Option<Taken>,
    record: Option<String>,
}

/// Understands an ask to adopt.
pub(super) fn adopt_ask(asked: AdoptRequest, reason: Option<String>) -> Result<AdoptAsk, Answer> {
    let undecided_as = match asked.undecided_as.as_deref() {
        None => None,
        Some("activated") => Some(Taken::Activated),
        Some("never-activated") => Some(Taken::NeverActivated),
        Some(_) => return Err(answer::bad_request("undecided_as is activated or never-activated")),
    };
    Ok(AdoptAsk { directory: asked.directory, filter: asked.filter, undecided_as, record: reason })
}

/// Adopts, or says what that would do.
pub(super) async fn adopt(
    rekeyd: Arc<Rekeyd>,
    operator: &Operator,
    asked: AdoptAsk,
    stop: watch::Receiver<bool>,
) -> Answer {
    let AdoptAsk { directory, filter, undecided_as, record } = asked;
    let directory = match rekeyd.directory_to_walk(directory.as_deref()) {
        Ok((key, _)) => key,
        Err(known) => return which(&known),
    };
    let ask = adopt::Ask { directory, filter, undecided_as, record };
    let now = rekeyd.now();
    let prepared = match adopt::prepare(&rekeyd, operator, ask, now).await {
        Ok(prepared) => prepared,
        Err(refused) => return refused_adoption(refused),
    };
    let (tell, told) = mpsc::channel(AHEAD);
    tokio::spawn(prepared.run(rekeyd, tell, now));
    Answer::lines(stream::lines(told, stop, adopt_lines, AdoptLine::Failed { why: STOPPING.into() }))
}

/// Tells who may reset a password without help, now and by another configuration.
pub(super) fn policy_test(rekeyd: Arc<Rekeyd>, asked: PolicyTestRequest, stop: watch::Receiver<bool>) -> Answer {
    let (directory, name) = match rekeyd.directory_to_walk(asked.directory.as_deref()) {
        Ok(found) => found,
        Err(known) => return which(&known),
    };
    if asked.logins.len() > MOST_LOGINS {
        return answer::bad_request(format!("at most {MOST_LOGINS} logins at once; leave them out for everybody"));
    }
    let logins: Result<Vec<Login>, _> = asked.logins.iter().map(|text| Login::parse(text)).collect();
    let whom = match logins {
        Ok(logins) if logins.is_empty() => Whom::All,
        Ok(logins) => Whom::Logins(logins),
        Err(bad) => return answer::bad_request(bad.to_string()),
    };
    let against = match asked.against.map(|text| Against::parse(&text, &name)).transpose() {
        Ok(against) => against,
        Err(faults) => return faulty(&faults),
    };
    let Some(comparison) = compare::prepare(&rekeyd, directory, whom, against) else { return busy() };
    let (tell, told) = mpsc::channel(AHEAD);
    let now = rekeyd.now();
    tokio::spawn(comparison.run(rekeyd, tell, now));
    Answer::lines(stream::lines(told, stop, policy_lines, PolicyLine::Failed { why: STOPPING.into() }))
}

/// Undoes an adoption.
pub(super) async fn undo(rekeyd: &Rekeyd, operator: &Operator, id: RequestId, reason: &str) -> Answer {
    match adopt::undo(rekeyd, operator, id, reason).await {
        UndoOutcome::Busy => busy(),
        UndoOutcome::NotAllowed => answer::not_allowed(Verb::Adopt),
        UndoOutcome::NotFound => {
            let mut unknown =
                answer::problem(StatusCode::NOT_FOUND, "no-such-adoption", "There is no such adoption", id.to_string());
            unknown.remedy = Some("`rekeyctl adopt --list` shows them.".into());
            Answer::problem(&unknown)
        }
        UndoOutcome::Undone(accounts) => Answer::ok(&Undone { accounts }),
        UndoOutcome::Unavailable(why) => answer::unavailable(why),
    }
}

/// All adoptions.
pub(super) async fn adoptions(rekeyd: &Rekeyd) -> Answer {
    let summary = |one: crate::flow::adopt::Summary| AdoptionSummary {
        adoption: one.id.to_string(),
        at: Moment(one.at),
        state: one.state.into(),
        ended: one.ended.map(Moment),
        by: one.by,
        reason: one.reason,
        filter: one.filter,
        undecided_as: one.undecided_as.map(|taken| taken.word().into()),
        activated: one.activated,
        never_activated: one.never_activated,
    };
    match adopt::list(rekeyd).await {
        Ok(all) => Answer::ok(&Adoptions { adoptions: all.into_iter().map(summary).collect() }),
        Err(why) => answer::unavailable(why),
    }
}

/// None of these, or not clear which.
fn which(known: &[String]) -> Answer {
    answer::bad_request(format!("say which directory: known are {}", known.join(", ")))
}

fn busy() -> Answer {
    answer::unavailable("somebody else is looking at everybody; one at a time does so")
}

fn refused_adoption(refused: Refused) -> Answer {
    match refused {
        Refused::BadFilter(why) => answer::bad_request(format!("the filter: {why}")),
        Refused::Busy => busy(),
        Refused::NotAllowed => answer::not_allowed(Verb::Adopt),
        Refused::Unavailable(why) => answer::unavailable(why),
        Refused::Unfinished(found) => {
            let filter = found.filter.as_deref().map_or_else(String::new, |filter| format!(" --filter '{filter}'"));
            let by_hand =
                found.undecided_as.map_or_else(String::new, |taken| format!(" --undecided-as {}", taken.word()));
            let mut unfinished = answer::problem(
                StatusCode::CONFLICT,
                "unfinished",
                "Another adoption has not ended",
                format!("{} is {}", found.id, found.state),
            );
            unfinished.remedy = Some(if found.state == "running" {
                format!(
                    "Carry it on with `rekeyctl adopt{filter}{by_hand}`, or undo it with `rekeyctl adopt --undo {}`.",
                    found.id
                )
            } else {
                format!("Undo the rest of it with `rekeyctl adopt --undo {}`.", found.id)
            });
            Answer::problem(&unfinished)
        }
    }
}

/// The other configuration has faults: each with its line.
fn faulty(faults: &[Fault]) -> Answer {
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let detail = format!("the other configuration has faults: {}", told.join("; "));
    Answer::problem(&answer::problem(
        StatusCode::UNPROCESSABLE_ENTITY,
        "faulty",
        "The other configuration can't be compared",
        detail,
    ))
}

fn counts(counts: adopt::Counts) -> AdoptCounts {
    let adopt::Counts { activated, never_activated, undecided, left } = counts;
    AdoptCounts { activated, never_activated, undecided, left }
}

fn adopt_lines(told: adopt::Told) -> Vec<AdoptLine> {
    let account = |row: adopt::Row| {
        AdoptLine::Account(AdoptAccount {
            taken: row.taken.word().into(),
            login: row.login,
            account: row.account,
            entry: row.entry,
            attribute: row.attribute,
            value: row.value,
        })
    };
    match told {
        adopt::Told::Begun { adoption, before } => vec![AdoptLine::Begun { adoption: adoption.to_string(), before }],
        adopt::Told::Rows(rows) => rows.into_iter().map(account).collect(),
        adopt::Told::Progress(so_far) => vec![AdoptLine::Progress(counts(so_far))],
        adopt::Told::Counts(all) => vec![AdoptLine::Counts(counts(all))],
        adopt::Told::Failed(why) => vec![AdoptLine::Failed { why }],
    }
}

fn policy_lines(told: compare::Told) -> Vec<PolicyLine> {
    let verdict = |one: compare::Verdict| PolicyVerdict {
        allowed: one.reason.is_none(),
        reason: one.reason.map(str::to_owned),
        rule: one.rule,
        findings: one.findings,
    };
    let account = |row: compare::Row| {
        PolicyLine::Account(Box::new(PolicyAccount {
            change: row.change.word().into(),
            login: row.login,
            account: row.account,
            entry: row.entry,
            now: verdict(row.now),
            then: row.then.map(verdict),
        }))
    };
    let count = |one: compare::Count| PolicyCount {
        change: one.change.word().into(),
        now: one.now.map(str::to_owned),
        then: one.then.map(str::to_owned),
        accounts: one.accounts,
    };
    match told {
        compare::Told::Rows(rows) => rows.into_iter().map(account).collect(),
        compare::Told::Progress(accounts) => vec![PolicyLine::Progress { accounts }],
        compare::Told::Counts { compared, counts } => {
            vec![PolicyLine::Counts { compared, counts: counts.into_iter().map(count).collect() }]
        }
        compare::Told::Failed(why) => vec![PolicyLine::Failed { why }],
    }
}
