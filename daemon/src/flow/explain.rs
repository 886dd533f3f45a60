//! Why an account may or may not do something: every finding with its evidence, the rule that decides, what would
//! change it.

use rekeyd_core::domain::{Account, Adopted, Dn, Evidence, Finding, Timestamp};
use rekeyd_core::policy::authority::Rank;
use rekeyd_core::policy::eligibility::{self, Act};
use rekeyd_core::policy::grounds::{Ground, ground};

use super::directories::Whom;
use super::operator::refusal_of;
use super::rekeyd::{Gathered, Rekeyd};
use super::status::{AuditLine, lines};
use super::trouble::Trouble;
use crate::directory::{Directory, Found, Membership};

/// Everything that decides about one login.
#[derive(Debug)]
pub struct Explanation {
    /// What was found: `account`, `ambiguous` or `not-found`.
    pub found: &'static str,
    /// The stable ids that match, where there are several.
    pub matches: Vec<String>,
    /// The account, where there is exactly one.
    pub account: Option<Explained>,
    /// Accounts of other directories that have the same login, and whose turn it is not.
    pub elsewhere: Vec<String>,
    /// A short reason code for self-service, and what would change it.
    pub reason: Option<Reason>,
}

/// One account, explained.
#[derive(Debug)]
pub struct Explained {
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
    /// All findings with their evidence; none is an active account.
    pub findings: Vec<Evidence>,
    /// The groups by which they have administrator access, from the one that names them to the one that the policy names, or
    /// that has it by the product itself, with its number.
    pub privileged_by: Vec<String>,
    /// When it was read.
    pub read_at: Timestamp,
    /// What an adoption took it for, and when.
    pub adopted: Option<(&'static str, Timestamp)>,
    /// All groups, nested ones too.
    pub groups: Vec<String>,
    /// All addresses, masked.
    pub contacts: Vec<ExplainedContact>,
    /// The verdict on each act.
    pub verdicts: Vec<Verdict>,
    /// The password profile that applies, where it is not the general one.
    pub profile: Option<String>,
    /// When rekeyd saw the person set a password.
    pub activated: Option<Timestamp>,
    /// Until when self-service is frozen.
    pub frozen_until: Option<Timestamp>,
    /// The latest rows of the trail.
    pub events: Vec<AuditLine>,
}

/// One address.
#[derive(Debug)]
pub struct ExplainedContact {
    /// The kind of channel.
    pub kind: &'static str,
    /// The address, masked.
    pub address: String,
    /// The attribute it comes from.
    pub source: String,
    /// When it was proved.
    pub proved: Option<Timestamp>,
    /// Whether policy lets it be used.
    pub permitted: bool,
}

/// The verdict on one act.
#[derive(Debug)]
pub struct Verdict {
    /// The act, in words.
    pub act: &'static str,
    /// Whether it may be done.
    pub allowed: bool,
    /// Why not.
    pub reason: Option<Reason>,
}

/// Why something is refused.
#[derive(Debug)]
pub struct Reason {
    /// The code.
    pub code: &'static str,
    /// What would change it.
    pub remedy: &'static str,
    /// The rule that decided: a key of the configuration, or the table.
    pub rule: Option<String>,
    /// What it rests on: the attribute, its value, and who said so.
    pub evidence: Option<Evidence>,
}

impl From<eligibility::Refusal> for Reason {
    fn from(refusal: eligibility::Refusal) -> Self {
        Self { code: refusal.code(), remedy: refusal.remedy(), rule: None, evidence: None }
    }
}

impl From<Ground> for Reason {
    fn from(ground: Ground) -> Self {
        Self { rule: Some(ground.rule), evidence: ground.evidence, ..Self::from(ground.refusal) }
    }
}

/// Explains one login, as it is judged now. `rank` is that of the operator who asks.
///
/// # Errors
/// Words that say why the directory or the store could not be asked.
pub async fn explain(rekeyd: &Rekeyd, whom: &Whom, rank: Rank, now: Timestamp) -> Result<Explanation, String> {
    let parts = rekeyd.parts();
    // Without a name it is the account that the person themself would reach.
    let found = match &whom.directory {
        Some(_) => rekeyd.find_for(&parts, whom).await,
        None => rekeyd.find(&parts, &whom.login).await,
    };
    let Gathered { account, facts } = match found.map_err(|trouble| trouble.to_string())? {
        Ok(gathered) => gathered,
        Err(found) => {
            let why = refusal_of(&found);
            let matches = if let Found::Ambiguous(ids) = &found {
                ids.iter().map(|id| parts.directories.words(id)).collect()
            } else {
                Vec::new()
            };
            let reason = Some(why.into());
            return Ok(Explanation { found: why.code(), matches, account: None, elsewhere: Vec::new(), reason });
        }
    };
    let one = parts.directories.of(&account.id).map_err(|trouble| trouble.to_string())?;
    let rules = &one.rules;
    let elsewhere = parts.directories.elsewhere(&whom.login, &account.id, now).await;
    let acts = [
        (Act::SelfReset, "reset by the person", None),
        (Act::Activate, "activation link", Some(rank)),
        (Act::SendLink, "link sent by you", Some(rank)),
        (Act::ReplacePassword, "password replaced by you", Some(rank)),
        (Act::SignIn, "sign in", None),
    ];
    let verdicts: Vec<_> = acts
        .into_iter()
        .map(|(act, words, rank)| {
            let ground = ground(&account, &facts, act, rank, rules, now);
            Verdict { act: words, allowed: ground.is_none(), reason: ground.map(Reason::from) }
        })
        .collect();
    let reason = ground(&account, &facts, Act::SelfReset, None, rules, now).map(Reason::from);
    let findings = eligibility::findings(&account, &facts, rules, now);
    let groups = one.directory.memberships(&account).await.map_err(|error| Trouble::from(error).to_string())?;
    let privileged_by = privileged_by(&one.directory, &account, &findings, &groups).await?;
    let events = rekeyd.store.audit(Some(account.id.clone()), 10).await.map_err(|error| format!("{error:?}"))?;
    Ok(Explanation {
        found: "account",
        matches: Vec::new(),
        reason,
        elsewhere: elsewhere.iter().map(|id| parts.directories.words(id)).collect(),
        account: Some(Explained {
            id: account.id.stable.clone(),
            directory: one.directory.name().to_owned(),
            findings,
            privileged_by,
            read_at: now,
            adopted: facts.adopted.map(|adopted| match adopted {
                Adopted::Activated(at) => ("activated", at),
                Adopted::NeverActivated(at) => ("never-activated", at),
            }),
            groups: groups.into_iter().map(|group| group.name).collect(),
            contacts: account
                .contacts
                .iter()
                .map(|contact| ExplainedContact {
                    kind: contact.kind().word(),
                    address: contact.address.masked(),
                    source: contact.source.clone(),
                    proved: contact.proof.as_ref().map(|proof| proof.at),
                    permitted: rules.contacts.permits(contact),
                })
                .collect(),
            verdicts,
            profile: rules.password_for(&account).1.map(str::to_owned),
            activated: facts.activated,
            frozen_until: facts.frozen_until.filter(|until| *until > now),
            events: lines(rekeyd, events).await.map_err(|error| format!("{error:?}"))?,
            login: account.login,
            entry: account.name.0,
            server: account.server.name,
            names: account.names,
            stamp: account.stamp.as_str().to_owned(),
        }),
    })
}

/// The way from an account to the group by which it has administrator access. A group that the policy names comes before
/// one that has power in every directory of the product, which is told by what its number means.
async fn privileged_by(
    directory: &Directory,
    account: &Account,
    findings: &[Evidence],
    groups: &[Membership],
) -> Result<Vec<String>, String> {
    let path = async |group: &Dn| {
        let path = directory.path(account, group).await;
        path.map_err(|error| Trouble::from(error).to_string())
    };
    let mut named =
        findings.iter().filter(|found| found.finding == Finding::Privileged && found.attribute == "member of");
    if let Some(group) = named.find_map(|found| Dn::parse(&found.value).ok()) {
        return path(&group).await;
    }
    let Some((group, power)) = groups.iter().find_map(|group| Some((group, group.power.as_deref()?))) else {
        return Ok(Vec::new());
    };
    let mut way = match Dn::parse(&group.name) {
        Ok(name) => path(&name).await?,
        Err(_) => Vec::new(),
    };
    // A primary group names nobody.
    drop(way.pop());
    way.push(format!("{} ({power})", group.name));
    Ok(way)
}
