//! Which rule decided a verdict: the key of the configuration that could have said otherwise, or the table itself, which no
//! key changes. Words for `explain`; nothing is decided here.

use crate::domain::{Account, Evidence, Facts, Finding, Timestamp};
use crate::policy::authority::Rank;
use crate::policy::eligibility::{self, Act, Cell, Refusal, cell};
use crate::policy::rules::Rules;

/// A refusal with what it rests on.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The refusal.
    pub refusal: Refusal,
    /// The finding that decided; none where it was the addresses.
    pub evidence: Option<Evidence>,
    /// The rule, such as `policy.privileged_groups`.
    pub rule: String,
}

/// What forbids an act on an account, if anything does: the verdict, and for acts that send a link the addresses.
pub fn ground(
    account: &Account,
    facts: &Facts,
    act: Act,
    rank: Option<Rank>,
    rules: &Rules,
    now: Timestamp,
) -> Option<Ground> {
    if let Some(evidence) = eligibility::decisive(account, facts, act, rank, rules, now) {
        let refusal = eligibility::refusal_of(evidence.finding);
        return Some(Ground { refusal, rule: rule_of(&evidence, act, rules), evidence: Some(evidence) });
    }
    if !matches!(act, Act::SelfReset | Act::SendLink | Act::Activate) {
        return None;
    }
    let refusal = eligibility::contacts(account, act, rules).err()?;
    let rule = match refusal {
        Refusal::ContactDenied => {
            "policy.contacts: denied_domains, generic_names or refuse_shared excludes every address"
        }
        Refusal::UnprovedContact => "policy.contacts.require_proof = true",
        _ => "directory.email_attributes: none of them holds an address",
    };
    Some(Ground { refusal, evidence: None, rule: rule.to_owned() })
}

fn rule_of(evidence: &Evidence, act: Act, rules: &Rules) -> String {
    match evidence.finding {
        Finding::Privileged if evidence.attribute == "member of" => "policy.privileged_groups".to_owned(),
        Finding::Privileged if evidence.attribute.starts_with("policy.") => evidence.attribute.clone(),
        Finding::LockedByFailures if act == Act::SelfReset && !rules.unlock_by_reset => {
            "policy.unlock_by_reset = false".to_owned()
        }
        Finding::PasswordExpired if act == Act::SelfReset && !rules.reset_expired_passwords => {
            "policy.reset_expired_passwords = false".to_owned()
        }
        finding => {
            let by_whom = if cell(finding, act, rules) == Cell::OnlyOwner {
                "only an owner may do this"
            } else {
                "nobody may do this"
            };
            format!("the table: {}, so {by_whom}, whatever the configuration", finding.words())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::policy::rules::ContactRules;
    use crate::policy::tests::law::{NOW, account, with};

    #[test]
    fn the_rule_that_decides_is_named() {
        let strict = Rules { reset_expired_passwords: false, unlock_by_reset: false, ..Rules::default() };
        let proof = ContactRules { require_proof: true, ..ContactRules::default() };
        let privileged = Rules { privileged_groups: account().groups, ..Rules::default() };
        let bare = Account { contacts: Vec::new(), ..account() };
        for (account, rules, act, expected) in [
            (account(), Rules::default(), Act::SelfReset, None),
            (account(), privileged.clone(), Act::SelfReset, Some("policy.privileged_groups")),
            (with(&[Finding::PasswordExpired]), strict.clone(), Act::SelfReset, Some("policy.reset_expired_passwords")),
            (with(&[Finding::LockedByFailures]), strict, Act::SelfReset, Some("policy.unlock_by_reset")),
            (with(&[Finding::Disabled]), Rules::default(), Act::SendLink, Some("the table: disabled")),
            (
                with(&[Finding::NotAPerson]),
                Rules::default(),
                Act::SendLink,
                Some("the table: not a person's account, so only"),
            ),
            (
                account(),
                Rules { contacts: proof.clone(), ..Rules::default() },
                Act::SelfReset,
                Some("policy.contacts.require_proof"),
            ),
            (account(), Rules { contacts: proof, ..Rules::default() }, Act::SendLink, None),
            (bare.clone(), Rules::default(), Act::Activate, Some("directory.email_attributes")),
            (bare, Rules::default(), Act::ReplacePassword, None),
        ] {
            let found = ground(&account, &Facts::default(), act, None, &rules, NOW).map(|ground| ground.rule);
            assert_eq!(found.is_some(), expected.is_some(), "{found:?} {expected:?}");
            assert!(found.zip(expected).is_none_or(|(found, expected)| found.starts_with(expected)), "{expected:?}");
        }
    }
}
