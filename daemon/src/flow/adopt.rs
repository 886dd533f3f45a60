//! Accounts that are older than rekeyd: what each is taken for and why, told first and recorded when an owner says so.
//!
//! A recording goes page by page. Each page is one change with its row of the trail, and an account that was recorded is
//! passed over by the next walk: so one that was broken off is carried on by walking again, and does nothing twice.

use std::sync::Arc;

use rekeyd_core::domain::{AccountId, Adopted, DirectoryKey, Event, EventKind, RequestId, Timestamp};
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::policy::adoption::{Taken, take};
use rekeyd_core::policy::authority::{Operator, Verb};
use tokio::sync::mpsc::Sender;

use super::rekeyd::Rekeyd;
use super::trouble::Trouble;
use super::walking::Turn;
use crate::directory::Survey;
use crate::store::{Adoption, AdoptionBegun, AdoptionState, NewAdoption};

/// How many accounts are forgotten in one change when an adoption is undone.
const SLICE: u32 = 1000;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Whose accounts.
    pub directory: DirectoryKey,
    /// Only these people (RFC 4515).
    pub filter: Option<String>,
    /// The operator's word on those that show no sign.
    pub undecided_as: Option<Taken>,
    /// Why, for the trail; none where nothing is recorded.
    pub record: Option<String>,
}

/// One account.
#[derive(Debug)]
pub struct Row {
    /// What it is taken for.
    pub taken: Taken,
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

/// How many there are of each.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Taken as activated.
    pub activated: u64,
    /// Taken as never activated.
    pub never_activated: u64,
    /// Left open.
    pub undecided: u64,
    /// Left as they are.
    pub left: u64,
}

impl Counts {
    fn add(&mut self, taken: Taken) {
        match taken {
            Taken::Activated => self.activated += 1,
            Taken::Left => self.left += 1,
            Taken::NeverActivated => self.never_activated += 1,
            Taken::Undecided => self.undecided += 1,
        }
    }
}

/// What an adoption tells.
#[derive(Debug)]
pub enum Told {
    /// It has begun, or is carried on.
    Begun {
        /// Its id.
        adoption: RequestId,
        /// How many accounts it had recorded before it was broken off.
        before: Option<u64>,
    },
    /// Accounts, where nothing is recorded.
    Rows(Vec<Row>),
    /// So far.
    Progress(Counts),
    /// The end.
    Counts(Counts),
    /// It broke off; what was recorded stays, and the same command carries it on.
    Failed(String),
}

/// Why an adoption does not begin.
#[derive(Debug)]
pub enum Refused {
    /// The filter is none.
    BadFilter(String),
    /// Somebody else walks.
    Busy,
    /// This operator may not.
    NotAllowed,
    /// Nothing was done; try again.
    Unavailable(String),
    /// Another one has not ended, and was begun in other words.
    Unfinished(Box<Summary>),
}

/// An adoption that may begin.
pub struct Prepared {
    directory: DirectoryKey,
    filter: Option<Filter>,
    undecided_as: Option<Taken>,
    recording: Option<Recording>,
    _turn: Turn,
}

struct Recording {
    id: RequestId,
    before: Option<u64>,
    operator: Operator,
    reason: String,
}

impl Recording {
    fn event(&self, now: Timestamp, outcome: &str) -> Event {
        Event::new(now, EventKind::Adoption, self.operator.actor().clone(), None, outcome)
            .because(self.reason.clone())
            .with("adoption", self.id.to_string())
    }
}

/// Prepares an adoption. One that is to record is on disk from here on, and one that was broken off is carried on.
///
/// # Errors
/// [`Refused`], and nothing has begun.
pub async fn prepare(rekeyd: &Rekeyd, operator: &Operator, ask: Ask, now: Timestamp) -> Result<Prepared, Refused> {
    if !operator.may(Verb::Adopt) {
        return Err(Refused::NotAllowed);
    }
    let parsed = ask.filter.as_deref().map(Filter::parse).transpose();
    let filter = parsed.map_err(|bad| Refused::BadFilter(bad.to_string()))?;
    if ask.undecided_as.is_some() && filter.is_none() {
        // Nobody decides by hand about everybody by leaving something out.
        return Err(Refused::BadFilter("those that are decided by hand have to be selected by one".into()));
    }
    let turn = rekeyd.turn_to_walk().ok_or(Refused::Busy)?;
    let mut recording = None;
    if let Some(reason) = ask.record {
        let mut new = Recording { id: rekeyd.fresh_request(), before: None, operator: operator.clone(), reason };
        let adoption = NewAdoption {
            id: new.id,
            directory: ask.directory,
            filter: ask.filter.clone(),
            undecided_as: ask.undecided_as,
            actor: operator.actor().clone(),
            reason: new.reason.clone(),
            at: now,
        };
        match rekeyd.store.begin_adoption(adoption, new.event(now, "begun")).await {
            Ok(AdoptionBegun::Begun) => {}
            Ok(AdoptionBegun::Unfinished(found)) => {
                let same = found.begun.filter == ask.filter && found.begun.undecided_as == ask.undecided_as;
                if !same || found.state != AdoptionState::Running {
                    return Err(Refused::Unfinished(Box::new(Summary::from(*found))));
                }
                new.id = found.begun.id;
                new.before = Some(found.activated + found.never_activated);
            }
            Err(error) => return Err(Refused::Unavailable(Trouble::from(error).to_string())),
        }
        recording = Some(new);
    }
    Ok(Prepared { directory: ask.directory, filter, undecided_as: ask.undecided_as, recording, _turn: turn })
}

impl Prepared {
    /// Looks at everybody, records where that was asked for, and tells. It breaks off where nobody listens.
    pub async fn run(self, rekeyd: Arc<Rekeyd>, tell: Sender<Told>, now: Timestamp) {
        let end = match self.walk(&rekeyd, &tell, now).await {
            Ok(Some(counts)) => Told::Counts(counts),
            Ok(None) => return,
            Err(trouble) => Told::Failed(trouble.to_string()),
        };
        // Whoever asked may be gone.
        drop(tell.send(end).await);
    }

    /// The counts, where it came to its end.
    async fn walk(&self, rekeyd: &Rekeyd, tell: &Sender<Told>, now: Timestamp) -> Result<Option<Counts>, Trouble> {
        if let Some(recording) = &self.recording {
            let begun = Told::Begun { adoption: recording.id, before: recording.before };
            if tell.send(begun).await.is_err() {
                return Ok(None);
            }
        }
        let parts = rekeyd.parts();
        let one = parts.directories.with(self.directory)?;
        let survey = Survey { others: &[], filter: self.filter.clone(), ids: None, signs: true, now };
        let mut walk = one.directory.walk(survey).await?;
        let mut counts = Counts::default();
        while let Some(page) = walk.page().await? {
            let mut rows = Vec::new();
            let mut records: Vec<(AccountId, Adopted)> = Vec::new();
            for (walked, facts) in rekeyd.remember(page).await? {
                let (Some(Some(account)), Some(sign)) = (walked.seen.into_iter().next(), walked.sign) else { continue };
                let adoption = take(&account, &facts, &sign, self.undecided_as);
                counts.add(adoption.taken);
                match (&self.recording, adoption.taken.record(rekeyd.now())) {
                    (Some(_), Some(adopted)) => records.push((account.id, adopted)),
                    (Some(_), None) => {}
                    (None, _) => rows.push(Row {
                        taken: adoption.taken,
                        login: account.login,
                        account: account.id.stable,
                        entry: account.name.0,
                        attribute: adoption.attribute,
                        value: adoption.value,
                    }),
                }
            }
            let told = match &self.recording {
                Some(recording) => {
                    if !records.is_empty() {
                        rekeyd.store.adopt(recording.id, records, recording.event(rekeyd.now(), "recorded")).await?;
                    }
                    Told::Progress(counts)
                }
                None => Told::Rows(rows),
            };
            if tell.send(told).await.is_err() {
                return Ok(None);
            }
        }
        if let Some(recording) = &self.recording {
            rekeyd.store.end_adoption(recording.id, recording.event(rekeyd.now(), "done")).await?;
        }
        Ok(Some(counts))
    }
}

/// How undoing an adoption ended.
#[derive(Debug)]
pub enum UndoOutcome {
    /// Somebody else walks.
    Busy,
    /// This operator may not.
    NotAllowed,
    /// Nobody knows it.
    NotFound,
    /// So many accounts are as they were before.
    Undone(u64),
    /// Not all of it was undone; the same command carries it on.
    Unavailable(String),
}

/// Undoes an adoption: its accounts are as they were before. What their people did since through rekeyd stays.
pub async fn undo(rekeyd: &Rekeyd, operator: &Operator, id: RequestId, reason: &str) -> UndoOutcome {
    if !operator.may(Verb::Adopt) {
        return UndoOutcome::NotAllowed;
    }
    let Some(_turn) = rekeyd.turn_to_walk() else { return UndoOutcome::Busy };
    let undoing = Recording { id, before: None, operator: operator.clone(), reason: reason.to_owned() };
    let mut undone = 0;
    loop {
        match rekeyd.store.undo_adoption(id, SLICE, undoing.event(rekeyd.now(), "undone")).await {
            Ok(None) => return UndoOutcome::NotFound,
            Ok(Some((slice, more))) => {
                undone += slice;
                if !more {
                    return UndoOutcome::Undone(undone);
                }
            }
            Err(error) => return UndoOutcome::Unavailable(Trouble::from(error).to_string()),
        }
    }
}

/// All adoptions, newest first.
///
/// # Errors
/// Words that say why the store could not be asked.
pub async fn list(rekeyd: &Rekeyd) -> Result<Vec<Summary>, String> {
    let all = rekeyd.store.adoptions().await.map_err(|error| Trouble::from(error).to_string())?;
    Ok(all.into_iter().map(Summary::from).collect())
}

/// An adoption, told.
#[derive(Debug)]
pub struct Summary {
    /// Its id.
    pub id: RequestId,
    /// When it was begun.
    pub at: Timestamp,
    /// `running`, `done`, `undoing` or `undone`.
    pub state: &'static str,
    /// When it ended or was undone.
    pub ended: Option<Timestamp>,
    /// Who began it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Only these people.
    pub filter: Option<String>,
    /// What those without a sign were taken for.
    pub undecided_as: Option<Taken>,
    /// How many accounts it took as activated.
    pub activated: u64,
    /// How many it took as never activated.
    pub never_activated: u64,
}

impl From<Adoption> for Summary {
    fn from(kept: Adoption) -> Self {
        let NewAdoption { id, filter, undecided_as, actor, reason, at, .. } = kept.begun;
        Self {
            id,
            at,
            state: kept.state.word(),
            ended: kept.ended,
            by: actor.name(),
            reason,
            filter,
            undecided_as,
            activated: kept.activated,
            never_activated: kept.never_activated,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rekeyd_core::domain::{Account, EntryName, Server, Stamp, Standing};

    use super::*;

    pub(in crate::flow) fn account() -> Account {
        Account {
            id: AccountId { directory: DirectoryKey(1), stable: "a1".into() },
            name: EntryName("uid=ada,dc=x".into()),
            login: "ada".into(),
            names: Vec::new(),
            language: None,
            contacts: Vec::new(),
            groups: Vec::new(),
            standing: Standing::default(),
            stamp: Stamp::new("s", None),
            server: Server { name: "s".into(), writable: true },
        }
    }

    #[test]
    fn every_kind_is_counted() {
        let mut counts = Counts::default();
        for taken in Taken::ALL {
            counts.add(taken);
        }
        assert_eq!(counts, Counts { activated: 1, never_activated: 1, undecided: 1, left: 1 });
    }
}
