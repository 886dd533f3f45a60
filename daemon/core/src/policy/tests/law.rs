//! The law, cell by cell: tests of the verdicts. The expected table is written out here once more, as `design` has it,
//! so that a changed cell shows.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::time::Duration;

use proptest::prelude::*;

use crate::domain::{
    Account, AccountId, Adopted, Contact, DirectoryKey, Dn, EmailAddress, EntryName, Evidence, Facts, Finding, Proof,
    Purpose, Server, Stamp, Standing, Timestamp,
};
use crate::policy::authority::Rank;
use crate::policy::eligibility::{Act, Cell, Eligibility, Refusal, Terms, cell, contacts, findings, judge};
use crate::policy::rules::{ContactRules, Rules};

pub(in crate::policy) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// An active person with two addresses, neither proved.
pub(in crate::policy) fn account() -> Account {
    let contact = |address: &str| Contact {
        address: EmailAddress::parse(address).unwrap(),
        source: "mail".into(),
        proof: None,
        shared: false,
    };
    Account {
        id: AccountId { directory: DirectoryKey(1), stable: "a1".into() },
        name: EntryName("uid=adal,ou=people,dc=example,dc=org".into()),
        login: "adal".into(),
        names: vec!["Augusta Ada Lovelace".into()],
        language: None,
        contacts: vec![contact("countess@engine.example"), contact("ada@analytical.example")],
        groups: vec![Dn::parse("cn=pupils,dc=example,dc=org").unwrap()],
        standing: Standing::default(),
        stamp: Stamp::new("pwdChangedTime=20240101000000Z", None),
        server: Server { name: "ldap://one".into(), writable: true },
    }
}

pub(in crate::policy) fn with(found: &[Finding]) -> Account {
    let mut account = account();
    for finding in found {
        account.standing.add(Evidence {
            finding: *finding,
            attribute: "x".into(),
            value: "y".into(),
            server: "ldap://one".into(),
            until: None,
        });
    }
    account
}

/// The verdict in a word: the purpose of the link, or the refusal.
fn verdict(account: &Account, facts: &Facts, act: Act, rank: Option<Rank>, rules: &Rules) -> Result<Purpose, Refusal> {
    match judge(account, facts, act, rank, rules, NOW) {
        Eligibility::Allow(terms) => Ok(terms.purpose()),
        Eligibility::Refuse(refusal) => Err(refusal),
    }
}

fn rank_of(act: Act) -> Option<Rank> {
    matches!(act, Act::Activate | Act::ReplacePassword | Act::SendLink).then_some(Rank::Operator)
}

/// What one word of the table below stands for.
fn expected(word: &str) -> Cell {
    match word {
        "yes" | "granted" => Cell::Yes(Purpose::Reset),
        "activation" => Cell::Yes(Purpose::Activation),
        "no" | "denied" => Cell::No,
        "owner" => Cell::OnlyOwner,
        other => panic!("{other}"),
    }
}

/// finding, self-service reset, activation, operator sends a link, operator replaces the password, sign-in
const LAW: [(Finding, [&str; 5]); 15] = [
    (Finding::Disabled, ["no", "no", "no", "no", "denied"]),
    (Finding::Expired, ["no", "no", "no", "no", "denied"]),
    (Finding::Frozen, ["no", "no", "no", "yes", "granted"]),
    (Finding::HolderMayNotChange, ["no", "yes", "yes", "yes", "granted"]),
    (Finding::LockedByAdmin, ["no", "no", "no", "no", "denied"]),
    (Finding::LockedByFailures, ["yes", "yes", "yes", "yes", "denied"]),
    // Denied until duties can be asked for.
    (Finding::MustChange, ["yes", "yes", "yes", "yes", "denied"]),
    (Finding::NeverActivated, ["no", "activation", "activation", "activation", "granted"]),
    (Finding::NotAPerson, ["no", "owner", "owner", "owner", "granted"]),
    (Finding::NotYetValid, ["no", "no", "no", "no", "denied"]),
    (Finding::PasswordElsewhere, ["no", "no", "no", "no", "granted"]),
    (Finding::PasswordExpired, ["yes", "yes", "yes", "yes", "denied"]),
    (Finding::Privileged, ["no", "owner", "owner", "owner", "granted"]),
    (Finding::Undecided, ["no", "activation", "activation", "activation", "granted"]),
    (Finding::Unknown, ["no", "no", "no", "no", "granted"]),
];
const COLUMNS: [Act; 5] = [Act::SelfReset, Act::Activate, Act::SendLink, Act::ReplacePassword, Act::SignIn];

#[test]
fn p2_every_cell_of_the_law() {
    assert!(LAW.iter().map(|(finding, _)| *finding).eq(Finding::ALL));
    for (finding, row) in LAW {
        for (act, word) in COLUMNS.into_iter().zip(row) {
            assert_eq!(cell(finding, act, &Rules::default()), expected(word), "{finding:?}, {act:?}");
        }
    }
}

#[test]
fn p2_the_verdict_follows_each_cell_and_names_its_finding() {
    let (rules, facts) = (Rules::default(), Facts::default());
    for (finding, row) in LAW {
        for (act, word) in COLUMNS.into_iter().zip(row) {
            let by = |rank| verdict(&with(&[finding]), &facts, act, rank, &rules);
            match expected(word) {
                Cell::Yes(purpose) => {
                    assert_eq!(by(rank_of(act)), Ok(purpose), "{finding:?}, {act:?}");
                }
                Cell::No => {
                    for rank in [None, Some(Rank::Operator), Some(Rank::Owner)] {
                        let refusal = by(rank).unwrap_err();
                        assert_eq!(format!("{refusal:?}"), format!("{finding:?}"), "{act:?}");
                    }
                }
                Cell::OnlyOwner => {
                    assert!(by(None).is_err() && by(Some(Rank::Operator)).is_err(), "{finding:?}, {act:?}");
                    assert_eq!(by(Some(Rank::Owner)), Ok(Purpose::Reset), "{finding:?}, {act:?}");
                }
            }
        }
    }
}

#[test]
fn p2_an_active_account_may_all_and_activation_becomes_a_reset_link() {
    for act in Act::ALL {
        assert_eq!(verdict(&account(), &Facts::default(), act, rank_of(act), &Rules::default()), Ok(Purpose::Reset));
    }
}

#[test]
fn p2_rules_close_the_cells_that_are_policy() {
    let mut rules = Rules::default();
    assert_eq!(cell(Finding::LockedByFailures, Act::SelfReset, &rules), Cell::Yes(Purpose::Reset));
    assert_eq!(cell(Finding::PasswordExpired, Act::SelfReset, &rules), Cell::Yes(Purpose::Reset));
    rules.unlock_by_reset = false;
    rules.reset_expired_passwords = false;
    assert_eq!(cell(Finding::PasswordExpired, Act::SelfReset, &rules), Cell::No);
    for act in [Act::Activate, Act::SendLink, Act::ReplacePassword] {
        for finding in [Finding::LockedByFailures, Finding::PasswordExpired] {
            assert_eq!(cell(finding, act, &rules), Cell::Yes(Purpose::Reset), "{finding:?}, {act:?}");
        }
    }
}

#[test]
fn p2_a_lock_that_ends_is_told_of() {
    let mut account = account();
    let until = NOW.plus(Duration::from_mins(10));
    account.standing.add(Evidence {
        finding: Finding::LockedByFailures,
        attribute: "pwdAccountLockedTime".into(),
        value: "20240101000000Z".into(),
        server: "ldap://one".into(),
        until: Some(until),
    });
    assert_eq!(terms(&account, Act::SelfReset, None).locked_until(), Some(until));
}

#[test]
fn p2_the_refusal_that_lasts_is_named_before_the_one_that_passes() {
    let facts = Facts { frozen_until: Some(NOW.plus(Duration::from_secs(1))), ..Facts::default() };
    let name = |found: &[Finding]| verdict(&with(found), &facts, Act::SelfReset, None, &Rules::default());
    assert_eq!(name(&[]), Err(Refusal::Frozen));
    assert_eq!(name(&[Finding::NeverActivated]), Err(Refusal::NeverActivated));
    assert_eq!(name(&[Finding::NeverActivated, Finding::Expired]), Err(Refusal::Expired));
    assert_eq!(name(&[Finding::Disabled, Finding::Expired]), Err(Refusal::Disabled));
    assert_eq!(name(&[Finding::Disabled, Finding::Privileged]), Err(Refusal::Privileged));
    assert_eq!(name(&[Finding::Unknown, Finding::Privileged]), Err(Refusal::Unknown));
}

#[test]
fn p2_a_freeze_holds_until_its_end_and_not_longer() {
    let rules = Rules::default();
    for (until, frozen) in [(1, true), (0, false), (-1, false)] {
        let until = Timestamp::from_millis(NOW.millis() + until);
        let facts = Facts { frozen_until: Some(until), ..Facts::default() };
        assert_eq!(verdict(&account(), &facts, Act::SelfReset, None, &rules).is_err(), frozen);
        assert_eq!(verdict(&account(), &facts, Act::SendLink, Some(Rank::Owner), &rules).is_err(), frozen);
        assert!(verdict(&account(), &facts, Act::ReplacePassword, Some(Rank::Operator), &rules).is_ok());
        assert!(verdict(&account(), &facts, Act::SignIn, None, &rules).is_ok());
    }
}

#[test]
fn p2_an_activation_that_rekeyd_saw_outweighs_a_missing_sign() {
    let facts = Facts { activated: Some(NOW), ..Facts::default() };
    for finding in [Finding::NeverActivated, Finding::Undecided] {
        assert_eq!(verdict(&with(&[finding]), &facts, Act::SelfReset, None, &Rules::default()), Ok(Purpose::Reset));
    }
    let unknown = with(&[Finding::NeverActivated, Finding::Unknown]);
    assert_eq!(verdict(&unknown, &facts, Act::SelfReset, None, &Rules::default()), Err(Refusal::Unknown));
}

#[test]
fn t56_what_an_adoption_recorded_counts_like_what_rekeyd_saw() {
    let facts = |adopted| Facts { adopted: Some(adopted), ..Facts::default() };
    let rules = Rules::default();
    let activated = facts(Adopted::Activated(NOW));
    for finding in [Finding::NeverActivated, Finding::Undecided] {
        assert_eq!(verdict(&with(&[finding]), &activated, Act::SelfReset, None, &rules), Ok(Purpose::Reset));
    }
    // A password that somebody loads into the directory afterwards activates nobody.
    let never = facts(Adopted::NeverActivated(NOW));
    assert_eq!(verdict(&account(), &never, Act::SelfReset, None, &rules), Err(Refusal::NeverActivated));
    assert_eq!(verdict(&account(), &never, Act::Activate, None, &rules), Ok(Purpose::Activation));
    let both = Facts { activated: Some(NOW), ..never };
    assert_eq!(verdict(&account(), &both, Act::SelfReset, None, &rules), Ok(Purpose::Reset));
}

#[test]
fn p2_groups_and_names_make_an_account_privileged() {
    let group =
        Rules { privileged_groups: vec![Dn::parse("cn=pupils,dc=example,dc=org").unwrap()], ..Rules::default() };
    let name = Rules {
        privileged_accounts: vec![Dn::parse("uid=adal,ou=people,dc=example,dc=org").unwrap()],
        ..Rules::default()
    };
    for rules in [group, name] {
        let found = findings(&account(), &Facts::default(), &rules, NOW);
        assert_eq!(found.iter().map(|evidence| evidence.finding).collect::<Vec<_>>(), [Finding::Privileged]);
        assert_eq!(verdict(&account(), &Facts::default(), Act::SelfReset, None, &rules), Err(Refusal::Privileged));
    }
}

#[test]
fn p8_only_a_higher_rank_helps_the_privileged_and_nobody_helps_themselves_to_it() {
    let privileged = with(&[Finding::Privileged]);
    for act in [Act::Activate, Act::SendLink, Act::ReplacePassword] {
        let by = |rank| verdict(&privileged, &Facts::default(), act, rank, &Rules::default());
        assert_eq!(by(Some(Rank::Operator)), Err(Refusal::Privileged));
        assert_eq!(by(Some(Rank::Owner)), Ok(Purpose::Reset));
    }
    for rank in [None, Some(Rank::Operator), Some(Rank::Owner)] {
        let reset = verdict(&privileged, &Facts::default(), Act::SelfReset, rank, &Rules::default());
        assert_eq!(reset, Err(Refusal::Privileged), "{rank:?}");
    }
}

#[test]
fn p2_addresses_that_policy_excludes_get_no_link() {
    let mut account = account();
    let rules = |contacts| Rules { contacts, ..Rules::default() };
    let chosen = |account: &Account, act, rules: &Rules| {
        contacts(account, act, rules)
            .map(|chosen| chosen.iter().map(|c| c.address.as_str().to_owned()).collect::<Vec<_>>())
    };
    let own = rules(ContactRules { denied_domains: vec!["engine.example".into()], ..ContactRules::default() });
    let generic = rules(ContactRules { generic_names: vec!["COUNTESS".into()], ..ContactRules::default() });
    let unshared = rules(ContactRules { refuse_shared: true, ..ContactRules::default() });
    let proved = rules(ContactRules { require_proof: true, ..ContactRules::default() });
    account.contacts[0].shared = true;
    account.contacts[1].proof = Some(Proof { at: NOW, how: "link".into() });
    for rules in [&own, &generic, &unshared] {
        for act in [Act::SelfReset, Act::Activate, Act::SendLink] {
            assert_eq!(chosen(&account, act, rules), Ok(vec!["ada@analytical.example".into()]), "{act:?}");
        }
    }
    assert_eq!(chosen(&account, Act::SelfReset, &proved), Ok(vec!["ada@analytical.example".into()]));
    assert_eq!(chosen(&account, Act::SendLink, &proved).unwrap().len(), 2);
    assert_eq!(chosen(&account, Act::Activate, &proved).unwrap().len(), 2);

    account.contacts.truncate(1);
    for rules in [&own, &generic, &unshared] {
        assert_eq!(chosen(&account, Act::SendLink, rules), Err(Refusal::ContactDenied));
    }
    assert_eq!(chosen(&account, Act::SelfReset, &proved), Err(Refusal::UnprovedContact));
    account.contacts.clear();
    assert_eq!(chosen(&account, Act::SelfReset, &proved), Err(Refusal::NoContact));
}

#[test]
fn p2_a_denied_domain_covers_what_lies_below_it_and_nothing_beside_it() {
    let rules = ContactRules { denied_domains: vec!["example.org".into()], ..ContactRules::default() };
    let permits = |address: &str| {
        let mut account = account();
        account.contacts[0].address = EmailAddress::parse(address).unwrap();
        rules.permits(&account.contacts[0])
    };
    assert!(!permits("ada@example.org") && !permits("ada@MAIL.Example.org"));
    assert!(permits("ada@notexample.org") && permits("ada@example.org.uk"));
}

pub(super) fn terms(account: &Account, act: Act, rank: Option<Rank>) -> Terms {
    match judge(account, &Facts::default(), act, rank, &Rules::default(), NOW) {
        Eligibility::Allow(terms) => terms,
        Eligibility::Refuse(refusal) => panic!("{refusal}"),
    }
}

fn some_findings() -> impl Strategy<Value = Vec<Finding>> {
    proptest::collection::vec(proptest::sample::select(Finding::ALL.to_vec()), 0..6)
}

fn some_rules() -> impl Strategy<Value = Rules> {
    (any::<bool>(), any::<bool>()).prop_map(|(unlock_by_reset, reset_expired_passwords)| Rules {
        unlock_by_reset,
        reset_expired_passwords,
        ..Rules::default()
    })
}

fn some_rank() -> impl Strategy<Value = Option<Rank>> {
    proptest::sample::select(vec![None, Some(Rank::Operator), Some(Rank::Owner)])
}

proptest! {
    #[test]
    fn p2_one_more_finding_never_turns_a_no_into_a_yes(
        found in some_findings(),
        more in proptest::sample::select(Finding::ALL.to_vec()),
        act in proptest::sample::select(Act::ALL.to_vec()),
        rank in some_rank(),
        rules in some_rules(),
    ) {
        let before = verdict(&with(&found), &Facts::default(), act, rank, &rules);
        let mut found = found;
        found.push(more);
        let after = verdict(&with(&found), &Facts::default(), act, rank, &rules);
        prop_assert!(before.is_ok() || after.is_err(), "{before:?} became {after:?}");
    }

    #[test]
    fn p2_unknown_is_no(found in some_findings(), rank in some_rank(), rules in some_rules(), activated in any::<bool>()) {
        let mut found = found;
        found.push(Finding::Unknown);
        let facts = Facts { activated: activated.then_some(NOW), ..Facts::default() };
        for act in [Act::SelfReset, Act::Activate, Act::SendLink, Act::ReplacePassword] {
            prop_assert_eq!(verdict(&with(&found), &facts, act, rank, &rules), Err(Refusal::Unknown));
        }
    }

    #[test]
    fn p2_the_order_of_findings_does_not_matter_and_a_verdict_repeats(
        found in some_findings(),
        act in proptest::sample::select(Act::ALL.to_vec()),
        rank in some_rank(),
        rules in some_rules(),
    ) {
        let forwards = verdict(&with(&found), &Facts::default(), act, rank, &rules);
        let again = verdict(&with(&found), &Facts::default(), act, rank, &rules);
        prop_assert_eq!(forwards, again);
        let mut reversed = found.clone();
        reversed.reverse();
        let backwards = verdict(&with(&reversed), &Facts::default(), act, rank, &rules);
        prop_assert_eq!(forwards.is_ok(), backwards.is_ok());
    }

    #[test]
    fn p8_a_higher_rank_is_never_worse(found in some_findings(), act in proptest::sample::select(Act::ALL.to_vec())) {
        let by = |rank| verdict(&with(&found), &Facts::default(), act, rank, &Rules::default()).is_ok();
        prop_assert!(!by(None) || by(Some(Rank::Operator)));
        prop_assert!(!by(Some(Rank::Operator)) || by(Some(Rank::Owner)));
    }
}
