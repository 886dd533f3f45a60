//! The proofs that join in a permit: tests that they join only where all speak of the same.
#![allow(clippy::unwrap_used)]

use super::law::{NOW, account, terms};
use crate::domain::{
    Account, AccountId, AddressHash, DirectoryKey, KeyId, NewPassword, Origin, Purpose, Server, Stamp, Ticket, TicketId,
};
use crate::policy::authority::{Operator, Rank, Verb};
use crate::policy::eligibility::{Act, Terms};
use crate::policy::password::{AcceptedPassword, accept};
use crate::policy::permit::{Claimed, Mandate, Mismatch, Permit};
use crate::policy::rules::PasswordRules;

fn password(account: &Account) -> AcceptedPassword {
    accept(NewPassword::parse("kolibri dampfer 88").unwrap(), account, &PasswordRules::default()).ok().unwrap()
}

fn ticket(account: &Account) -> Ticket {
    Ticket {
        id: TicketId::from_bytes([1; 22]),
        purpose: Purpose::Reset,
        origin: Origin::Person,
        account: account.id.clone(),
        login: account.login.clone(),
        contact: AddressHash([0; 32]),
        stamp: account.stamp.clone(),
        key: KeyId([0; 4]),
        profile: None,
        issued: NOW,
        expires: None,
        tries: 0,
    }
}

fn by_ticket(ticket: Ticket) -> Mandate {
    Mandate::Ticket(Claimed::witness(ticket, 1).unwrap())
}

fn by_operator(verb: Verb, terms: &Terms) -> Mandate {
    let owner = Operator::rank(0, "root".into(), &[], None).unwrap();
    Mandate::Operator(owner.authorize(verb, terms).unwrap())
}

/// A permit by which an operator replaces a password, for the tests of what flavours write.
pub(crate) fn replacing(must_change: bool) -> Permit {
    let account = account();
    let terms = terms(&account, Act::ReplacePassword, Some(Rank::Operator));
    let mandate = by_operator(Verb::SetPassword, &terms);
    Permit::new(terms, password(&account), mandate, must_change).ok().unwrap()
}

/// A permit by which a person resets their own password, for the same.
pub(crate) fn resetting() -> Permit {
    let account = account();
    let mandate = by_ticket(ticket(&account));
    Permit::new(terms(&account, Act::SelfReset, None), password(&account), mandate, false).ok().unwrap()
}

fn other() -> Account {
    Account { id: AccountId { directory: DirectoryKey(1), stable: "b2".into() }, ..account() }
}

#[test]
fn p4_only_one_changed_row_is_a_claim() {
    for rows in [0, 2, 3] {
        assert!(Claimed::witness(ticket(&account()), rows).is_none());
    }
}

#[test]
fn p4_proofs_that_agree_make_a_permit() {
    let account = account();
    for act in [Act::SelfReset, Act::Activate, Act::SendLink] {
        let permit = Permit::new(
            terms(&account, act, Some(Rank::Owner)),
            password(&account),
            by_ticket(ticket(&account)),
            false,
        );
        let permit = permit.ok().unwrap();
        assert_eq!((permit.account(), permit.must_change()), (&account.id, false));
    }
    assert!(replacing(true).must_change());
}

#[test]
fn p4_proofs_that_disagree_make_none() {
    let (ada, eve) = (account(), other());
    let replica = Account { server: Server { name: "ldap://two".into(), writable: false }, ..account() };
    let newer = Ticket { stamp: Stamp::new("pwdChangedTime=20250101000000Z", None), ..ticket(&ada) };
    let of = |account: &Account, act| terms(account, act, Some(Rank::Owner));
    let replace = || of(&ada, Act::ReplacePassword);
    let cases = [
        (of(&replica, Act::SelfReset), password(&ada), by_ticket(ticket(&ada)), false, Mismatch::ReadOnly),
        (terms(&ada, Act::SelfReset, None), password(&eve), by_ticket(ticket(&ada)), false, Mismatch::Account),
        (terms(&ada, Act::SelfReset, None), password(&ada), by_ticket(ticket(&eve)), false, Mismatch::Account),
        (terms(&eve, Act::SelfReset, None), password(&ada), by_ticket(ticket(&ada)), false, Mismatch::Account),
        (terms(&ada, Act::SelfReset, None), password(&ada), by_ticket(newer), false, Mismatch::Generation),
        (terms(&ada, Act::SelfReset, None), password(&ada), by_ticket(ticket(&ada)), true, Mismatch::Act),
        (terms(&ada, Act::SignIn, None), password(&ada), by_ticket(ticket(&ada)), false, Mismatch::Act),
        (replace(), password(&ada), by_ticket(ticket(&ada)), false, Mismatch::Act),
        (
            replace(),
            password(&ada),
            by_operator(Verb::SetPassword, &of(&eve, Act::ReplacePassword)),
            true,
            Mismatch::Account,
        ),
        (replace(), password(&ada), by_operator(Verb::SendCode, &replace()), true, Mismatch::Act),
        (of(&ada, Act::SendLink), password(&ada), by_operator(Verb::SetPassword, &replace()), true, Mismatch::Act),
        (
            terms(&ada, Act::SelfReset, None),
            password(&ada),
            by_operator(Verb::SetPassword, &replace()),
            false,
            Mismatch::Act,
        ),
    ];
    for (number, (terms, password, mandate, must_change, mismatch)) in cases.into_iter().enumerate() {
        assert_eq!(Permit::new(terms, password, mandate, must_change).err(), Some(mismatch), "case {number}");
    }
}
