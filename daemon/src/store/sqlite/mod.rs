//! The store in one SQLite file: one thread that writes in shared commits, a few that read.
//!
//! * `open`: from a path to a database that can be trusted. `checkup`: whether the file is whole. `epoch`: how a copy put
//!   back from earlier shows. `backup`: a copy while it is in use.
//! * `writer`, `hand`: the thread that writes, from outside and at work. `lanes`: what waits for it. `change`: one such
//!   thing. `readers`: the other threads. `memory`: what need not be counted. `fault`: whom an error concerns. `space`: a
//!   full disk.
//! * `requests`, `issue`, `tickets`, `claims`, `outbox`, `accounts`, `adoption`, `replacements`, `pace`, `events`, `upkeep`: each noun's
//!   statements.
//! * `seal`: what lies encrypted. `fair`: whose turn it is, `turn`: young or older. `latest`, `clock`: against a clock that
//!   is set.

mod accounts;
mod adoption;
mod backup;
mod change;
mod checkup;
mod claims;
mod clock;
mod directories;
mod doctor;
mod epoch;
mod events;
mod fair;
mod fault;
mod hand;
mod issue;
mod lanes;
mod latest;
mod memory;
mod open;
mod outbox;
mod pace;
mod readers;
mod replacements;
mod requests;
mod seal;
mod space;
mod tickets;
mod turn;
mod upkeep;
mod writer;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::Flock;
use rekeyd_core::domain::{DataKey, KeyRing};
use ring::rand::SystemRandom;

use self::fair::Fair;
use self::latest::Latest;
use self::readers::Readers;
use self::space::Space;
use self::writer::Writer;
use super::{Error, StoreConfig, Watch};

/// How many threads read.
const READERS: usize = 2;

/// An open database with its threads. They end when it is dropped.
pub struct Sqlite {
    /// Before the writer, so that its connection is the last and leaves one file behind.
    readers: Readers,
    _checkup: Option<checkup::Thread>,
    writer: Writer,
    key: Arc<DataKey>,
    latest: Arc<Latest>,
    chance: SystemRandom,
    config: StoreConfig,
    /// Places in the queue of requests.
    request_places: Arc<Fair>,
    /// Places in the queue of messages.
    notice_places: Arc<Fair>,
    /// Last, so that nobody else comes in before the threads have ended.
    _lock: Flock<fs::File>,
}

impl Sqlite {
    /// See [`crate::store::Store::open`].
    pub(in crate::store) fn open(
        config: StoreConfig,
        ring: &KeyRing,
        watch: Watch,
        chance: SystemRandom,
    ) -> Result<(Self, Option<u64>), Error> {
        let ready = match open::open(&config, ring, &watch, &chance) {
            // What an earlier run began on a full disk can still be recorded.
            Err(Error::Full(_)) if Space::free(&config.path) => open::open(&config, ring, &watch, &chance)?,
            opened => opened?,
        };
        let key = Arc::new(ready.key);
        let latest = Arc::new(ready.latest);
        let log = open::beside(&config.path, "wal");
        let space = Space::new(&config.path);
        let writer = Writer::start(
            ready.connection,
            Arc::clone(&key),
            Arc::clone(&latest),
            chance.clone(),
            ready.memory,
            log,
            space,
        )?;
        let connections = (0..READERS).map(|_| open::reader(&config.path)).collect::<Result<_, _>>()?;
        let readers = Readers::start(connections, writer.breaker())?;
        let (request_places, notice_places) = (Arc::default(), Arc::default());
        let checkup = ready.checkup.map(|checkup| checkup.watch(&config.path, writer.breaker())).transpose()?;
        let store = Self {
            readers,
            writer,
            key,
            latest,
            chance,
            config,
            request_places,
            notice_places,
            _checkup: checkup,
            _lock: ready.lock,
        };
        Ok((store, ready.voided))
    }

    /// See [`crate::store::Store::probe`].
    pub(in crate::store) fn probe(config: &StoreConfig, ring: &KeyRing) -> Result<String, Error> {
        open::probe(config, ring)
    }

    /// See [`crate::store::Store::backup`].
    pub(in crate::store) fn backup(config: &StoreConfig, to: &Path) -> Result<(), Error> {
        backup::backup(config, to)
    }

    /// See [`crate::store::Store::data_key`].
    pub(in crate::store) fn data_key(&self) -> &Arc<DataKey> {
        &self.key
    }

    /// See [`crate::store::Store::rewrap`].
    pub(in crate::store) async fn rewrap(&self, ring: &KeyRing) -> Result<(), Error> {
        let sealed = ring.wrap(&self.key, seal::draw(&self.chance)?);
        self.writer.change(move |desk| open::keep_key(desk.connection, &sealed)).await
    }

    /// See [`crate::store::Store::broken`].
    pub(in crate::store) async fn broken(&self) -> String {
        let mut told = self.writer.broken();
        match told.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "the store's thread has ended".into(),
        }
    }

    /// For tests: the statements that were run since this was asked for the last time.
    #[cfg(test)]
    pub(in crate::store) async fn statements(&self) -> Vec<String> {
        writer::statements::since(&self.writer).await
    }
}
