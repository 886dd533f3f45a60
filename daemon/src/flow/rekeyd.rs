//! What every story works with: the parts that can be exchanged while running, and those that stay.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rekeyd_core::domain::{
    Account, AccountId, DirectoryKey, Facts, KeyRing, Login, NoticeId, RequestId, TicketId, Timestamp,
};
use rekeyd_core::policy::rules::Rules;
use rekeyd_plugins::{Channel, Messages};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{Notify, Semaphore};

use super::clock::Clock;
use super::directories::{Directories, Look, Whom};
use super::faults::Faults;
use super::tries::Tries;
use super::trouble::Trouble;
use super::turns::Turns;
use super::watchlist::Watchlist;
use crate::directory::Found;
use crate::store::Store;

/// How many passwords may be under way at once.
const SETS: usize = 256;
/// How many walks over a whole directory run at once: each keeps a server busy.
const WALKS: usize = 1;

/// Who rekeyd speaks for, on pages and in answers.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The organisation's name.
    pub organisation: String,
    /// The service's name.
    pub service: String,
    /// Whom people turn to when they are stuck, in words.
    pub help: String,
    /// The page where they find that help.
    pub help_url: Option<String>,
    /// The login page, where a finished reset ends.
    pub sign_in_url: Option<String>,
    /// The base of every link, without a slash at its end. It never comes from a request.
    pub public_url: String,
}

/// The parts that a reload exchanges, all together.
pub struct Parts {
    /// The directories, in the order in which they are asked.
    pub directories: Directories,
    /// The channels, in the order in which they are tried.
    pub channels: Vec<Box<dyn Channel>>,
    /// Everything that is said to people.
    pub messages: Arc<Messages>,
    /// The rules for what comes before anybody knows whose account is meant; verdicts are made by [`Parts::rules_of`].
    pub general: Rules,
    /// Who rekeyd speaks for.
    pub identity: Identity,
    /// The keys that make tokens.
    pub keys: KeyRing,
}

impl Parts {
    /// The rules that an account is judged by. Where its directory is gone from the configuration nothing can be read or
    /// written there, and what is said of it goes by the general ones.
    pub(super) fn rules_of(&self, account: &AccountId) -> &Rules {
        self.directories.of(account).map_or(&self.general, |one| &one.rules)
    }
}

/// Everything a story works with.
pub struct Rekeyd {
    parts: RwLock<Arc<Parts>>,
    pub(super) store: Store,
    pub(super) tries: Tries,
    pub(super) turns: Turns,
    /// Seats for checks of passwords, which only compute.
    pub(super) checks: Semaphore,
    /// Seats for those who set a password: what waits for a slow directory holds a password in memory.
    pub(super) sets: Semaphore,
    /// Walks over a whole directory that run at the same time.
    pub(super) walks: Arc<Semaphore>,
    pub(super) requests_wake: Notify,
    pub(super) outbox_wake: Notify,
    /// What is wrong with each directory, by its name.
    pub(super) watchlists: Mutex<BTreeMap<String, Watchlist>>,
    pub(super) faults: Faults,
    clock: Clock,
    random: SystemRandom,
    started: Timestamp,
}

/// What is known of the account that a login means.
pub(super) struct Gathered {
    pub(super) account: Account,
    pub(super) facts: Facts,
}

impl Rekeyd {
    /// Puts the parts together. `faults` is counted by whoever is told of panics.
    pub fn new(parts: Parts, store: Store, clock: Clock, faults: Faults) -> Self {
        let started = clock.now();
        Self {
            parts: RwLock::new(Arc::new(parts)),
            store,
            tries: Tries::default(),
            turns: Turns::default(),
            checks: Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get)),
            sets: Semaphore::new(SETS),
            walks: Arc::new(Semaphore::new(WALKS)),
            requests_wake: Notify::new(),
            outbox_wake: Notify::new(),
            watchlists: Mutex::default(),
            faults,
            clock,
            random: SystemRandom::new(),
            started,
        }
    }

    /// The parts as they are now; a story keeps them until it ends.
    pub fn parts(&self) -> Arc<Parts> {
        Arc::clone(&self.parts.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Exchanges the parts, after a reload. Stories under way end with the old ones.
    pub fn exchange(&self, parts: Parts) {
        *self.parts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(parts);
        self.requests_wake.notify_one();
        self.outbox_wake.notify_one();
    }

    /// What rekeyd remembers.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// When this process began.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// The names of the directories, in their order.
    pub fn directory_names(&self) -> Vec<String> {
        self.parts().directories.all().iter().map(|one| one.directory.name().to_owned()).collect()
    }

    /// Who rekeyd speaks for.
    pub fn identity(&self) -> Identity {
        self.parts().identity.clone()
    }

    /// A text in the first of the wanted languages that there is.
    pub fn say(&self, languages: &[String], id: &str, args: &[(&str, &str)]) -> String {
        self.parts().messages.words.say(languages, id, args)
    }

    /// The language that [`Rekeyd::say`] picks, as a tag for the page.
    pub fn language(&self, languages: &[String]) -> String {
        self.parts().messages.words.pick(languages).to_owned()
    }

    /// Bytes from the system's randomness. Without it nothing here is safe, so the process ends.
    pub fn fresh<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    pub(super) fn fill(&self, bytes: &mut [u8]) {
        if self.random.fill(bytes).is_err() {
            log::error!("the system gives no randomness; ending");
            std::process::exit(70);
        }
    }

    pub(super) fn fresh_ticket(&self) -> TicketId {
        TicketId::new(self.now(), self.fresh())
    }

    pub(super) fn fresh_notice(&self) -> NoticeId {
        NoticeId::new(self.now(), self.fresh())
    }

    pub(super) fn fresh_request(&self) -> RequestId {
        RequestId::new(self.now(), self.fresh())
    }

    /// Finds the account that a login means, with what is remembered of it.
    pub(super) async fn find(&self, parts: &Parts, login: &Login) -> Result<Result<Gathered, Found>, Trouble> {
        let found = parts.directories.find(login, Look::Whole, self.now()).await?;
        self.gather(found).await
    }

    /// As [`Rekeyd::find`], in the one directory where there is one to keep to.
    pub(super) async fn find_in(
        &self,
        parts: &Parts,
        directory: Option<DirectoryKey>,
        login: &Login,
    ) -> Result<Result<Gathered, Found>, Trouble> {
        let Some(key) = directory else { return self.find(parts, login).await };
        let found = parts.directories.find_in(key, login, self.now()).await?;
        self.gather(found).await
    }

    /// Finds the account that an operator means.
    pub(super) async fn find_for(&self, parts: &Parts, whom: &Whom) -> Result<Result<Gathered, Found>, Trouble> {
        let found = parts.directories.find_for(whom, self.now()).await?;
        self.gather(found).await
    }

    /// Reads an account again on a server that takes writes, with what is remembered of it.
    pub(super) async fn read(&self, parts: &Parts, id: &AccountId) -> Result<Result<Gathered, Found>, Trouble> {
        let one = parts.directories.of(id)?;
        let found = one.directory.read(id, self.now()).await.map_err(|error| parts.directories.named(one, error))?;
        self.gather(found).await
    }

    async fn gather(&self, found: Found) -> Result<Result<Gathered, Found>, Trouble> {
        let mut account = match found {
            Found::Account(account) => *account,
            other => return Ok(Err(other)),
        };
        let (facts, proofs) = self.store.facts(&account.id).await?;
        for contact in &mut account.contacts {
            let hash = self.store.data_key().address_hash(&contact.address.folded());
            contact.proof = proofs.iter().find(|(proved, _)| *proved == hash).map(|(_, proof)| proof.clone());
        }
        Ok(Ok(Gathered { account, facts }))
    }
}
