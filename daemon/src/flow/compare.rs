//! Who may reset a password without help, now and under another configuration: who gains, who loses, and by which reason.
//! Nothing is written. Rows come as the walk finds them, the counts after the last.

use std::collections::BTreeMap;
use std::sync::Arc;

use rekeyd_core::domain::{Account, DirectoryKey, Facts, Finding, Login, Timestamp};
use rekeyd_core::policy::claims::Claims;
use rekeyd_core::policy::eligibility::{self, Act};
use rekeyd_core::policy::grounds::{Ground, ground};
use rekeyd_core::policy::rules::Rules;
use rekeyd_core::settings::{Document, Fault};
use tokio::sync::mpsc::Sender;

use super::operator::refusal_of;
use super::rekeyd::Rekeyd;
use super::trouble::Trouble;
use super::walking::Turn;
use crate::directory::{DirectoryConfig, Found, Survey};

/// The parts of another configuration that verdicts rest on.
pub struct Against {
    rules: Rules,
    directory: DirectoryConfig,
}

impl Against {
    /// Reads them out of a whole configuration; everything else in it is passed over. `directory` is the name of the one
    /// that is compared.
    ///
    /// # Errors
    /// Every fault of those parts, with its line.
    pub fn parse(text: &str, directory: &str) -> Result<Self, Vec<Fault>> {
        let document = Document::parse(text);
        let root = document.root();
        let sections = root.sections("directory");
        let policies: Vec<_> = sections.iter().map(|section| section.section("policy")).collect();
        let each_names_its_own = !policies.is_empty() && policies.iter().all(|policy| policy.has("privileged_groups"));
        let general = Rules::read(root.section("policy"), !each_names_its_own);
        let mut all = Vec::new();
        for (section, policy) in sections.into_iter().zip(policies) {
            // Whose login it is plays no part, and is read so that it counts as known.
            Claims::read(&section);
            section.texts("formerly");
            let rules = general.of_directory(policy);
            let mut config = DirectoryConfig::read(section, None);
            config.heed(&rules);
            all.push(Self { rules, directory: config });
        }
        let place = all.iter().position(|one| one.directory.name == directory).or((all.len() == 1).then_some(0));
        if place.is_none() {
            let remedy = "Give a whole configuration, with the directory that is compared under its present name.";
            root.fault("directory", format!("there is no [[directory]] with the name {directory:?}"), remedy);
        }
        drop(root);
        let found = place.and_then(|place| all.into_iter().nth(place));
        let faults = document.into_faults();
        found.filter(|_| faults.is_empty()).ok_or(faults)
    }
}

/// Who is looked at.
pub enum Whom {
    /// Everybody.
    All,
    /// Those of these logins.
    Logins(Vec<Login>),
}

/// One verdict on self-service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// Why not; none where it is allowed.
    pub reason: Option<&'static str>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// Everything that was found.
    pub findings: Vec<Finding>,
}

/// What becomes of somebody.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Change {
    /// May not, and would.
    Gains,
    /// May, and would not.
    Loses,
    /// The same either way, or nothing is compared.
    Same,
}

impl Change {
    /// The word in lists.
    pub fn word(self) -> &'static str {
        match self {
            Self::Gains => "gains",
            Self::Loses => "loses",
            Self::Same => "same",
        }
    }
}

/// Somebody.
#[derive(Debug)]
pub struct Row {
    /// What becomes of them.
    pub change: Change,
    /// The login, or what was asked for where nobody has it.
    pub login: String,
    /// The stable id.
    pub account: Option<String>,
    /// The entry.
    pub entry: Option<String>,
    /// As it is configured.
    pub now: Verdict,
    /// As it would be.
    pub then: Option<Verdict>,
}

/// So many of one kind.
#[derive(Debug)]
pub struct Count {
    /// What becomes of them.
    pub change: Change,
    /// Why not, as it is configured; none where it is allowed.
    pub now: Option<&'static str>,
    /// Why not, as it would be.
    pub then: Option<&'static str>,
    /// How many.
    pub accounts: u64,
}

/// What a comparison tells.
#[derive(Debug)]
pub enum Told {
    /// People that it lists: all, or where something is compared those for whom it changes.
    Rows(Vec<Row>),
    /// So many were looked at so far.
    Progress(u64),
    /// The end: all that were looked at, by kind.
    Counts {
        /// Whether there is something to compare with.
        compared: bool,
        /// How many of each kind.
        counts: Vec<Count>,
    },
    /// It broke off; what was told is not all.
    Failed(String),
}

/// A comparison that may begin.
pub struct Comparison {
    directory: DirectoryKey,
    whom: Whom,
    against: Option<Against>,
    _turn: Turn,
}

/// Prepares a comparison; `None` while somebody else walks.
pub fn prepare(rekeyd: &Rekeyd, directory: DirectoryKey, whom: Whom, against: Option<Against>) -> Option<Comparison> {
    Some(Comparison { directory, whom, against, _turn: rekeyd.turn_to_walk()? })
}

impl Comparison {
    /// Looks at everybody and tells. It ends early where nobody listens.
    pub async fn run(self, rekeyd: Arc<Rekeyd>, tell: Sender<Told>, now: Timestamp) {
        let mut tally = Tally::default();
        let end = match self.walk(&rekeyd, &tell, &mut tally, now).await {
            Ok(true) => Told::Counts { compared: self.against.is_some(), counts: tally.counts() },
            Ok(false) => return,
            Err(trouble) => Told::Failed(trouble.to_string()),
        };
        // Whoever asked may be gone.
        drop(tell.send(end).await);
    }

    /// Says whether it came to its end.
    async fn walk(
        &self,
        rekeyd: &Rekeyd,
        tell: &Sender<Told>,
        tally: &mut Tally,
        now: Timestamp,
    ) -> Result<bool, Trouble> {
        let parts = rekeyd.parts();
        let one = parts.directories.with(self.directory)?;
        let mut wanted = None;
        if let Whom::Logins(logins) = &self.whom {
            let mut ids = Vec::new();
            let mut rows = Vec::new();
            for login in logins {
                match parts.directories.find_in(self.directory, login, now).await? {
                    Found::Account(account) => ids.push(account.id),
                    found => rows.push(not_one(login, &found, self.against.is_some())),
                }
            }
            for row in &rows {
                tally.add(row);
            }
            if tell.send(Told::Rows(rows)).await.is_err() || ids.is_empty() {
                return Ok(!tell.is_closed());
            }
            wanted = Some(ids);
        }
        let others: Vec<DirectoryConfig> = self.against.iter().map(|against| against.directory.clone()).collect();
        let survey = Survey { others: &others, filter: None, ids: wanted.as_deref(), signs: false, now };
        let mut walk = one.directory.walk(survey).await?;
        let mut seen = 0;
        while let Some(page) = walk.page().await? {
            seen += page.len() as u64;
            let mut rows = Vec::new();
            for (walked, facts) in rekeyd.remember(page).await? {
                let mut eyes = walked.seen.into_iter();
                let (ours, theirs) = (eyes.next().flatten(), eyes.next().flatten());
                let Some(account) = ours.as_ref().or(theirs.as_ref()) else { continue };
                let verdict_now = verdict(ours.as_ref(), &facts, &one.rules, now);
                let verdict_then =
                    self.against.as_ref().map(|against| verdict(theirs.as_ref(), &facts, &against.rules, now));
                let row = row_of(account, verdict_now, verdict_then);
                tally.add(&row);
                if row.change != Change::Same || row.then.is_none() || wanted.is_some() {
                    rows.push(row);
                }
            }
            let told = if rows.is_empty() { Told::Progress(seen) } else { Told::Rows(rows) };
            if tell.send(told).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The verdict on an account; somebody who is no person for a configuration is not found by it.
fn verdict(account: Option<&Account>, facts: &Facts, rules: &Rules, now: Timestamp) -> Verdict {
    let Some(account) = account else {
        return Verdict { reason: Some("not-found"), rule: Some("directory.filter".into()), findings: Vec::new() };
    };
    let findings = eligibility::findings(account, facts, rules, now).into_iter();
    let findings = findings.map(|evidence| evidence.finding).collect();
    match ground(account, facts, Act::SelfReset, None, rules, now) {
        Some(Ground { refusal, rule, .. }) => Verdict { reason: Some(refusal.code()), rule: Some(rule), findings },
        None => Verdict { reason: None, rule: None, findings },
    }
}

fn row_of(account: &Account, now: Verdict, then: Option<Verdict>) -> Row {
    let change = match (&now.reason, then.as_ref().map(|then| &then.reason)) {
        (Some(_), Some(None)) => Change::Gains,
        (None, Some(Some(_))) => Change::Loses,
        _ => Change::Same,
    };
    Row {
        change,
        login: account.login.clone(),
        account: Some(account.id.stable.clone()),
        entry: Some(account.name.0.clone()),
        now,
        then,
    }
}

/// A login that does not mean one account means none under the other configuration either.
fn not_one(login: &Login, found: &Found, compared: bool) -> Row {
    let why = Verdict { reason: Some(refusal_of(found).code()), rule: None, findings: Vec::new() };
    Row {
        change: Change::Same,
        login: login.as_str().to_owned(),
        account: None,
        entry: None,
        then: compared.then(|| why.clone()),
        now: why,
    }
}

/// How many of each kind there are.
#[derive(Default)]
struct Tally(BTreeMap<(Change, Option<&'static str>, Option<&'static str>), u64>);

impl Tally {
    fn add(&mut self, row: &Row) {
        let then = row.then.as_ref().and_then(|then| then.reason);
        *self.0.entry((row.change, row.now.reason, then)).or_default() += 1;
    }

    fn counts(self) -> Vec<Count> {
        self.0.into_iter().map(|((change, now, then), accounts)| Count { change, now, then, accounts }).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const DIRECTORY: &str = "[[directory]]\nname = \"main\"\nkind = \"ldif\"\nfile = \"x\"\n";

    #[test]
    fn only_what_verdicts_rest_on_is_read_and_its_faults_have_lines() {
        let whole = format!(
            "nonsense = 1\n[http]\nlisten = 7\n{DIRECTORY}[policy]\nprivileged_groups = [\"cn=a,dc=x\"]\n\
             [policy.contacts]\nrefuse_shared = true\n"
        );
        let against = Against::parse(&whole, "main").ok().unwrap();
        assert_eq!(against.directory.watched_groups.len(), 1);
        assert!(against.directory.search.detect_shared);
        let faults = Against::parse(&format!("{DIRECTORY}[policy]\nprivileged_group = []\n"), "main").err().unwrap();
        assert!(faults.iter().any(|fault| fault.line == 6 && fault.key.contains("privileged_group")), "{faults:?}");
        for text in ["", "[policy]\nprivileged_groups = []", "= 1"] {
            assert!(Against::parse(text, "main").is_err(), "{text}");
        }
    }

    #[test]
    fn what_changes_is_who_may() {
        let verdict = |reason| Verdict { reason, rule: None, findings: Vec::new() };
        let account = crate::flow::adopt::tests::account();
        for (now, then, change) in [
            (None, None, Change::Same),
            (None, Some(None), Change::Same),
            (None, Some(Some("privileged")), Change::Loses),
            (Some("privileged"), Some(None), Change::Gains),
            (Some("privileged"), Some(Some("disabled")), Change::Same),
        ] {
            assert_eq!(row_of(&account, verdict(now), then.map(verdict)).change, change, "{now:?} {then:?}");
        }
    }
}
