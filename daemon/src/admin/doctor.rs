//! The ask to look at the directories, from a body to a story that tells line by line.

use std::sync::Arc;

use rekeyd_core::policy::authority::Operator;
use tokio::sync::{mpsc, watch};

use super::answer::Answer;
use super::protocol::Moment;
use super::protocol::doctor::{DoctorLine, DoctorProbe, DoctorStatus};
use super::stream;
use crate::flow::Rekeyd;
use crate::flow::doctor::{self, Counts, Line, Told};

/// How many lines may wait to be written.
const AHEAD: usize = 4;
/// What is said where the daemon ends first.
const STOPPING: &str = "rekeyd is ending";

/// Begins to look.
pub(super) fn begin(
    rekeyd: Arc<Rekeyd>,
    operator: &Operator,
    directory: Option<String>,
    stop: watch::Receiver<bool>,
) -> Answer {
    let (tell, told) = mpsc::channel(AHEAD);
    tokio::spawn(doctor::run(rekeyd, operator.actor().clone(), directory, tell));
    Answer::lines(stream::lines(told, stop, |told| vec![line(told)], DoctorLine::Failed { why: STOPPING.into() }))
}

/// What was found last, for the status.
pub(super) fn status(last: doctor::Last) -> DoctorStatus {
    DoctorStatus { at: Moment(last.at), broken: last.broken, notes: last.notes }
}

fn line(told: Told) -> DoctorLine {
    match told {
        Told::Begun { directory, since } => DoctorLine::Directory { directory, since: since.map(Moment) },
        Told::Probe(line) => DoctorLine::Probe(probe(line)),
        Told::Gone(found) => DoctorLine::Gone { code: found.code, server: found.server, evidence: found.evidence },
        Told::Ended(Counts { broken, notes, new, changed, gone }) => {
            DoctorLine::End { broken, notes, new, changed, gone }
        }
        Told::Failed(why) => DoctorLine::Failed { why },
    }
}

fn probe(line: Line) -> DoctorProbe {
    DoctorProbe {
        severity: line.grade.into(),
        code: line.code.map(Into::into),
        server: line.server,
        what: line.what,
        evidence: line.evidence,
        remedy: line.remedy,
        command: line.command,
        change: line.change.map(|change| change.word().into()),
    }
}
