//! Outcomes of stories become answers: one function each, and the only place that knows their status.
//!
//! 200 it is done, or as asked · 400 the request itself is wrong · 403 the caller has no such right · 404, 409 the
//! verdict on the account is no · 422 the password is refused · 503 nothing was done, try again · 504 nobody knows
//! whether it was done.

use hyper::StatusCode;
use hyper::body::Bytes;
use rekeyd_core::domain::Evidence;
use rekeyd_core::policy::authority::Verb;
use rekeyd_core::policy::eligibility::Refusal;
use serde::Serialize;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::protocol::explain::{
    ExplainedAccount, ExplainedAdoption, ExplainedContact, ExplainedFinding, Explanation, Reason, Verdict,
};
use super::protocol::{
    Audit, AuditEvent, Chain, ChannelTrouble, ClockSet, DirectoryFlaw, DirectoryStatus, LeftBehind, Moment, Outbox,
    OutboxNotice, Password, Problem, Replaced, Restored, Sent, Status, Thawed, Violation,
};
use crate::flow::operator::{ReplaceOutcome, RestoredOutcome, SendOutcome, ThawOutcome};
use crate::flow::{explain, status};

/// An answer, ready to be sent. Its bytes are wiped when it is gone, since they may hold a password.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) media_type: &'static str,
    pub(super) body: Bytes,
    /// What follows, where the answer comes line by line.
    pub(super) lines: Option<mpsc::Receiver<Bytes>>,
}

impl Answer {
    fn new(status: StatusCode, media_type: &'static str, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => Self { status, media_type, body: Bytes::from_owner(Zeroizing::new(bytes)), lines: None },
            Err(error) => {
                log::error!("an answer could not be written: {error}");
                Self { status: StatusCode::INTERNAL_SERVER_ERROR, media_type, body: Bytes::new(), lines: None }
            }
        }
    }

    pub(super) fn ok(body: &impl Serialize) -> Self {
        Self::new(StatusCode::OK, "application/json", body)
    }

    /// An answer that comes line by line.
    pub(super) fn lines(lines: mpsc::Receiver<Bytes>) -> Self {
        let media_type = "application/x-ndjson";
        Self { status: StatusCode::OK, media_type, body: Bytes::new(), lines: Some(lines) }
    }

    pub(super) fn problem(problem: &Problem) -> Self {
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, "application/problem+json", problem)
    }
}

/// A problem without a remedy.
pub(super) fn problem(status: StatusCode, code: &str, title: &str, detail: impl Into<String>) -> Problem {
    Problem {
        kind: format!("urn:rekeyd:problem:{code}"),
        title: title.into(),
        status: status.as_u16(),
        detail: detail.into(),
        code: code.into(),
        remedy: None,
        violations: Vec::new(),
    }
}

pub(super) fn bad_request(detail: impl Into<String>) -> Answer {
    Answer::problem(&problem(StatusCode::BAD_REQUEST, "bad-request", "The request is not as it should be", detail))
}

/// The caller has a rank, but not the one for this.
pub(super) fn not_allowed(verb: Verb) -> Answer {
    let detail = match verb {
        Verb::Adopt => "only root may adopt accounts",
        Verb::Doctor => "only root may have the directories looked at",
        Verb::Restored => "only root may declare a restore",
        _ => "your rank does not allow this",
    };
    Answer::problem(&problem(StatusCode::FORBIDDEN, "not-allowed", "You may not do this", detail))
}

/// The caller has no rank at all.
pub(super) fn no_rank(uid: u32, group: Option<&str>) -> Answer {
    let who =
        group.map_or_else(|| "root alone may".to_owned(), |group| format!("root and members of the group {group} may"));
    let mut answer = problem(
        StatusCode::FORBIDDEN,
        "not-an-operator",
        "You are no operator",
        format!("uid {uid} has no rank here: {who}"),
    );
    answer.remedy = Some(match group {
        Some(group) => format!("Have yourself added with `gpasswd -a NAME {group}`; it counts at once."),
        None => "Set admin.group in the configuration to the group of your operators.".into(),
    });
    Answer::problem(&answer)
}

/// Nothing was done; it can be tried again.
pub(super) fn unavailable(why: impl Into<String>) -> Answer {
    Answer::problem(&problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Nothing was done; try again", why))
}

/// It may or may not have been done.
pub(super) fn unsure(why: &str) -> Answer {
    let mut unsure = problem(
        StatusCode::GATEWAY_TIMEOUT,
        "unsure",
        "Nobody knows whether it was done",
        format!("{why}; it may have been done all the same"),
    );
    unsure.remedy =
        Some("Look with `rekeyctl explain LOGIN` and `rekeyctl audit LOGIN`, then repeat it if need be.".into());
    Answer::problem(&unsure)
}

fn refused(refusal: Refusal) -> Answer {
    let status = if refusal == Refusal::NotFound { StatusCode::NOT_FOUND } else { StatusCode::CONFLICT };
    let words = refusal.code().replace('-', " ");
    let mut refused =
        problem(status, refusal.code(), "The account does not allow this", format!("the reason is: {words}"));
    refused.remedy = Some(refusal.remedy().into());
    Answer::problem(&refused)
}

/// A link was sent, or not.
pub(super) fn send(outcome: SendOutcome) -> Answer {
    match outcome {
        SendOutcome::Queued { account, purpose, request, to } => Answer::ok(&Sent {
            account: account.stable,
            purpose: purpose.word().into(),
            request: request.to_string(),
            to,
        }),
        SendOutcome::NotAllowed => not_allowed(Verb::SendCode),
        SendOutcome::Refused(refusal) => refused(refusal),
        SendOutcome::Unavailable(why) => unavailable(why),
    }
}

/// A password was replaced, or not.
pub(super) fn replace(outcome: ReplaceOutcome) -> Answer {
    let weak = |code, detail: &str, violations| {
        let mut weak = problem(StatusCode::UNPROCESSABLE_ENTITY, code, "The password is refused", detail);
        weak.violations = violations;
        Answer::problem(&weak)
    };
    match outcome {
        ReplaceOutcome::NotAllowed => not_allowed(Verb::SetPassword),
        ReplaceOutcome::Refused(refusal) => refused(refusal),
        ReplaceOutcome::Rejected(rejection, demands) => {
            let words = match (rejection.names_a_rule(), demands.to_string()) {
                (true, demands) if !demands.is_empty() => format!("{rejection}; it demands {demands}"),
                _ => rejection.to_string(),
            };
            let violation = Violation { id: format!("rejected-{}", rejection.code()), words };
            weak("rejected", "the directory refuses it", vec![violation])
        }
        ReplaceOutcome::Replaced { account, generated, must_change, must_change_unseen } => Answer::ok(&Replaced {
            account: account.stable,
            password: generated.map(Password::new),
            must_change,
            must_change_unseen,
        }),
        ReplaceOutcome::Unavailable(why) => unavailable(why),
        ReplaceOutcome::Unsure(why) => unsure(&why),
        ReplaceOutcome::Weak(weaknesses) => {
            let violation = |weakness: &rekeyd_core::policy::password::Weakness| Violation {
                id: weakness.id().into(),
                words: weakness.to_string(),
            };
            weak("weak", "it breaks rekeyd's own rules", weaknesses.iter().map(violation).collect())
        }
    }
}

/// A freeze was lifted, or not.
pub(super) fn thaw(outcome: ThawOutcome) -> Answer {
    match outcome {
        ThawOutcome::NotAllowed => not_allowed(Verb::Thaw),
        ThawOutcome::NotFrozen(account) => Answer::ok(&Thawed { account: account.stable, thawed: false }),
        ThawOutcome::Refused(refusal) => refused(refusal),
        ThawOutcome::Thawed(account) => Answer::ok(&Thawed { account: account.stable, thawed: true }),
        ThawOutcome::Unavailable(why) => unavailable(why),
    }
}

/// A restore was declared, or not.
pub(super) fn restored(outcome: RestoredOutcome) -> Answer {
    match outcome {
        RestoredOutcome::NotAllowed => not_allowed(Verb::Restored),
        RestoredOutcome::Unavailable(why) => unavailable(why),
        RestoredOutcome::Voided(voided) => Answer::ok(&Restored { voided }),
    }
}

/// How the daemon does.
pub(super) fn status(told: Result<status::Status, String>) -> Answer {
    let told = match told {
        Ok(told) => told,
        Err(why) => return unavailable(why),
    };
    Answer::ok(&Status {
        version: told.version.into(),
        started: Moment(told.started),
        directories: told
            .directories
            .into_iter()
            .map(|line| DirectoryStatus {
                name: line.name,
                up: line.up,
                flaws: line.flaws.into_iter().map(flaw).collect(),
                doctor: line.doctor.map(super::doctor::status),
            })
            .collect(),
        left_behind: told
            .left_behind
            .into_iter()
            .map(|left| LeftBehind {
                name: left.name,
                accounts: left.accounts,
                tickets_live: left.tickets_live,
                unsettled: left.unsettled,
            })
            .collect(),
        channels: told.channels,
        channel_troubles: told
            .channel_troubles
            .into_iter()
            .map(|(channel, why)| ChannelTrouble { channel, why })
            .collect(),
        requests_waiting: told.requests_waiting,
        oldest_request: told.oldest_request.map(Moment),
        notices_waiting: told.notices_waiting,
        oldest_notice: told.oldest_notice.map(Moment),
        notices_failed: told.notices_failed,
        tickets_live: told.tickets_live,
        claims_open: told.claims_open,
        events: told.events,
        panics: told.panics,
        clock_set: told.clock_set.map(|(at, by_seconds)| ClockSet { at: Moment(at), by_seconds }),
    })
}

fn flaw(line: status::FlawLine) -> DirectoryFlaw {
    DirectoryFlaw { server: line.server, kind: line.kind.into(), why: line.why, since: Moment(line.since) }
}

/// The outbox.
pub(super) fn outbox(told: Result<Vec<status::OutboxLine>, String>) -> Answer {
    let notice = |line: status::OutboxLine| OutboxNotice {
        id: line.id,
        notice: line.notice.into(),
        login: line.login,
        to: line.to,
        state: line.state,
        attempts: line.attempts,
        created: Moment(line.created),
        due: line.due.map(Moment),
        reason: line.reason,
    };
    match told {
        Ok(lines) => Answer::ok(&Outbox { notices: lines.into_iter().map(notice).collect() }),
        Err(why) => unavailable(why),
    }
}

/// The audit trail.
pub(super) fn audit(told: Result<status::Audit, String>) -> Answer {
    match told {
        Ok(status::Audit::Refused(refusal)) => refused(refusal),
        Ok(status::Audit::Rows(lines)) => Answer::ok(&Audit { events: lines.into_iter().map(event).collect() }),
        Err(why) => unavailable(why),
    }
}

fn event(line: status::AuditLine) -> AuditEvent {
    AuditEvent {
        number: line.number,
        at: Moment(line.at),
        event: line.event,
        actor_kind: line.actor_kind,
        actor: line.actor,
        account: line.account,
        directory: line.directory,
        outcome: line.outcome,
        reason: line.reason,
        details: line.details,
    }
}

/// Whether the trail is whole.
pub(super) fn chain(told: Result<status::ChainReport, String>) -> Answer {
    match told {
        Ok(report) => Answer::ok(&Chain { whole: report.whole, rows: report.rows }),
        Err(why) => unavailable(why),
    }
}

/// Why an account may or may not do something.
pub(super) fn explanation(told: Result<explain::Explanation, String>) -> Answer {
    match told {
        Ok(told) => Answer::ok(&Explanation {
            found: told.found.into(),
            matches: told.matches,
            account: told.account.map(explained),
            elsewhere: told.elsewhere,
            reason: told.reason.as_ref().map(reason),
        }),
        Err(why) => unavailable(why),
    }
}

fn reason(told: &explain::Reason) -> Reason {
    Reason {
        code: told.code.into(),
        remedy: told.remedy.into(),
        rule: told.rule.clone(),
        evidence: told.evidence.clone().map(finding),
    }
}

fn finding(evidence: Evidence) -> ExplainedFinding {
    ExplainedFinding {
        finding: serde_json::to_value(evidence.finding)
            .ok()
            .and_then(|code| code.as_str().map(str::to_owned))
            .unwrap_or_default(),
        words: evidence.finding.words().into(),
        attribute: evidence.attribute,
        value: evidence.value,
        server: evidence.server,
        until: evidence.until.map(Moment),
    }
}

fn explained(told: explain::Explained) -> ExplainedAccount {
    let contact = |contact: explain::ExplainedContact| ExplainedContact {
        kind: contact.kind.into(),
        address: contact.address,
        source: contact.source,
        proved: contact.proved.map(Moment),
        permitted: contact.permitted,
    };
    let verdict = |verdict: explain::Verdict| Verdict {
        act: verdict.act.into(),
        allowed: verdict.allowed,
        reason: verdict.reason.as_ref().map(reason),
    };
    ExplainedAccount {
        id: told.id,
        directory: told.directory,
        login: told.login,
        entry: told.entry,
        server: told.server,
        names: told.names,
        stamp: told.stamp,
        findings: told.findings.into_iter().map(finding).collect(),
        groups: told.groups,
        privileged_by: told.privileged_by,
        read_at: Moment(told.read_at),
        adopted: told.adopted.map(|(taken, at)| ExplainedAdoption { taken: taken.into(), at: Moment(at) }),
        contacts: told.contacts.into_iter().map(contact).collect(),
        verdicts: told.verdicts.into_iter().map(verdict).collect(),
        profile: told.profile,
        activated: told.activated.map(Moment),
        frozen_until: told.frozen_until.map(Moment),
        events: told.events.into_iter().map(event).collect(),
    }
}
