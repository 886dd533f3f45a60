//! What the clients of a world did and were told: one side of every check of the invariants.
//!
//! It is written while things happen, so it says what may be and not only what is: a password whose setting was not
//! answered may be the one that counts, and the one before it as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::books::Books;

/// How an attempt to change something was answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heard {
    /// It is done.
    Done,
    /// Nothing was changed.
    NotDone,
    /// Nothing certain: no answer, or one that says that nobody knows.
    Nothing,
}

/// An attempt to give somebody a password, from its beginning to its answer.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub struct Attempt(u64);

/// What the clients did and were told.
#[derive(Default)]
pub struct Ledger {
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// Counts beginnings and ends, so that it can be said what came before what.
    moment: u64,
    pub(crate) crashes: usize,
    pub(crate) lost_mail_answers: usize,
    pub(crate) handles: BTreeSet<String>,
    pub(crate) nameless: usize,
    pub(crate) people: BTreeMap<String, Person>,
    /// What the last check saw.
    pub(crate) seen: Option<Books>,
}

pub(crate) struct Person {
    pub(crate) addresses: BTreeSet<String>,
    passwords: Vec<Candidate>,
    /// Tokens that can set nothing any more.
    pub(crate) dead: BTreeSet<String>,
    /// Whether somebody else than the daemon may have changed the password.
    pub(crate) is_changed_elsewhere: bool,
}

struct Candidate {
    password: String,
    attempt: u64,
    ended: Option<u64>,
}

impl Ledger {
    /// The ledger of these people, who have this password and the address `LOGIN@example.org`. To nobody else may
    /// anything be sent.
    pub fn of(logins: &[&str], password: &str) -> Self {
        let ledger = Self::default();
        for login in logins {
            ledger.meets(login, &crate::acts::address(login), password);
        }
        ledger
    }

    /// Takes up one more person, or one more address of the same.
    pub fn meets(&self, login: &str, address: &str, password: &str) {
        let mut state = self.state();
        let person = state.people.entry(login.to_owned()).or_insert_with(|| Person {
            addresses: BTreeSet::new(),
            passwords: vec![Candidate { password: password.to_owned(), attempt: 0, ended: Some(0) }],
            dead: BTreeSet::new(),
            is_changed_elsewhere: false,
        });
        person.addresses.insert(address.to_owned());
    }

    /// The daemon was killed.
    pub fn crashed(&self) {
        self.state().crashes += 1;
    }

    /// The mail server kept an answer to itself, so a message may come again.
    pub fn lost_a_mail_answer(&self) {
        self.state().lost_mail_answers += 1;
    }

    /// A request was accepted under this handle.
    pub fn accepted(&self, handle: &str) {
        self.state().handles.insert(handle.to_owned());
    }

    /// A request was accepted on a page, which names no handle.
    pub fn accepted_on_a_page(&self) {
        self.state().nameless += 1;
    }

    /// Somebody is about to be given a password, by whatever way.
    pub fn begins(&self, login: &str, password: &str) -> Attempt {
        let mut state = self.state();
        state.moment += 1;
        let attempt = state.moment;
        let candidate = Candidate { password: password.to_owned(), attempt, ended: None };
        state.people.get_mut(login).expect("a person of the ledger").passwords.push(candidate);
        Attempt(attempt)
    }

    /// That attempt was answered.
    pub fn ends(&self, login: &str, Attempt(attempt): Attempt, heard: Heard) {
        let mut state = self.state();
        state.moment += 1;
        let now = state.moment;
        let passwords = &mut state.people.get_mut(login).expect("a person of the ledger").passwords;
        match heard {
            Heard::NotDone => passwords.retain(|candidate| candidate.attempt != attempt),
            // What had ended before this one began is history.
            Heard::Done => passwords.retain(|candidate| candidate.ended.is_none_or(|ended| ended > attempt)),
            Heard::Nothing => {}
        }
        if let Some(candidate) = passwords.iter_mut().find(|candidate| candidate.attempt == attempt) {
            candidate.ended = Some(now);
        }
    }

    /// Somebody changed the password by another way than the daemon.
    pub fn changed_elsewhere(&self, login: &str, password: &str) {
        let attempt = self.begins(login, password);
        self.ends(login, attempt, Heard::Done);
        self.state().people.get_mut(login).expect("a person of the ledger").is_changed_elsewhere = true;
    }

    /// These tokens of a person can set nothing any more, since the daemon said so or said what implies it.
    pub fn dead(&self, login: &str, tokens: impl IntoIterator<Item = String>) {
        self.state().people.get_mut(login).expect("a person of the ledger").dead.extend(tokens);
    }

    /// Every password that may be somebody's present one.
    pub fn passwords(&self, login: &str) -> Vec<String> {
        let state = self.state();
        let person = state.people.get(login).expect("a person of the ledger");
        person.passwords.iter().map(|candidate| candidate.password.clone()).collect()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
