//! The store in one SQLite file: one thread that writes in shared commits, a few that read.
//!
//! * `open`: from a path to a database that can be trusted. `epoch`: how a copy put back from earlier shows.
//! * `writer`, `readers`: the threads. `memory`: what the writer need not count. `fault`: whom an error concerns.
//! * `requests`, `issue`, `tickets`, `claims`, `outbox`, `accounts`, `pace`, `events`, `upkeep`: each noun's statements.
//! * `seal`: what lies encrypted.

mod accounts;
mod claims;
mod epoch;
mod events;
mod fault;
mod issue;
mod memory;
mod open;
mod outbox;
mod pace;
mod readers;
mod requests;
mod seal;
mod tickets;
mod upkeep;
mod writer;

use std::fs;
use std::sync::Arc;

use nix::fcntl::Flock;
use rekeyd_core::domain::{DataKey, KeyRing, Timestamp};
use ring::rand::SystemRandom;

use self::readers::Readers;
use self::writer::Writer;
use super::{Error, StoreConfig};

/// How many threads read.
const READERS: usize = 2;

/// An open database with its threads. They end when it is dropped.
pub struct Sqlite {
    /// Before the writer, so that its connection is the last and leaves one file behind.
    readers: Readers,
    writer: Writer,
    key: Arc<DataKey>,
    chance: SystemRandom,
    config: StoreConfig,
    /// Last, so that nobody else comes in before the threads have ended.
    _lock: Flock<fs::File>,
}

impl Sqlite {
    /// See [`crate::store::Store::open`].
    pub(in crate::store) fn open(
        config: StoreConfig,
        ring: &KeyRing,
        now: Timestamp,
        chance: SystemRandom,
    ) -> Result<(Self, Option<u64>), Error> {
        let ready = open::open(&config, ring, now, &chance)?;
        let key = Arc::new(ready.key);
        let log = open::beside(&config.path, "wal");
        let writer = Writer::start(ready.connection, Arc::clone(&key), chance.clone(), ready.memory, log)?;
        let connections = (0..READERS).map(|_| open::reader(&config.path)).collect::<Result<_, _>>()?;
        let readers = Readers::start(connections)?;
        Ok((Self { readers, writer, key, chance, config, _lock: ready.lock }, ready.voided))
    }

    /// See [`crate::store::Store::probe`].
    pub(in crate::store) fn probe(config: &StoreConfig, ring: &KeyRing) -> Result<String, Error> {
        open::probe(config, ring)
    }

    /// See [`crate::store::Store::data_key`].
    pub(in crate::store) fn data_key(&self) -> &Arc<DataKey> {
        &self.key
    }

    /// See [`crate::store::Store::broken`].
    pub(in crate::store) async fn broken(&self) -> String {
        let mut told = self.writer.broken();
        match told.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "the store's thread has ended".into(),
        }
    }
}
