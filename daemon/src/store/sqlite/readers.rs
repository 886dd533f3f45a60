//! A few threads that only read, each over a connection that can't write, so that a long look holds up no change.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::checkup;
use super::fault::Fault;
use crate::store::Error;

/// How many reads may wait.
const QUEUE: usize = 1024;

struct Read(Box<dyn FnOnce(&Connection) + Send>);

/// The threads' far end.
pub(super) struct Readers {
    reads: Option<SyncSender<Read>>,
    threads: Vec<JoinHandle<()>>,
    /// A file that is found damaged by a look is as bad as one found so by a change.
    breaker: watch::Sender<Option<String>>,
}

impl Readers {
    /// Starts one thread for each connection.
    pub(super) fn start(connections: Vec<Connection>, breaker: watch::Sender<Option<String>>) -> Result<Self, Error> {
        let (reads, queue) = sync_channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        let threads = connections
            .into_iter()
            .map(|connection| {
                let queue = Arc::clone(&queue);
                std::thread::Builder::new().name("store-reader".into()).spawn(move || work(&connection, &queue))
            })
            .collect::<Result<_, _>>()
            .map_err(|error| Error::Broken(format!("the store's threads can't be started: {error}")))?;
        Ok(Self { reads: Some(reads), threads, breaker })
    }

    /// Runs a look at what is committed, all of it at one moment.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let gone = || Error::Broken("the store's threads have ended".into());
        let (back, answer) = oneshot::channel();
        let breaker = self.breaker.clone();
        let read = Read(Box::new(move |connection| {
            let seen = connection.unchecked_transaction().map_err(Fault::from).and_then(|moment| look(&moment));
            if let Err(fault) = &seen
                && fault.is_damage()
            {
                tell_of_damage(connection, fault, &breaker);
            }
            // Whoever asked may be gone.
            drop(back.send(seen.map_err(Fault::into_error)));
        }));
        match self.reads.as_ref().ok_or_else(gone)?.try_send(read) {
            Ok(()) => answer.await.map_err(|_| gone())?,
            Err(TrySendError::Full(_)) => Err(Error::Busy),
            Err(TrySendError::Disconnected(_)) => Err(gone()),
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.reads.take();
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn tell_of_damage(connection: &Connection, fault: &Fault, breaker: &watch::Sender<Option<String>>) {
    let database = Path::new(connection.path().unwrap_or("the database"));
    checkup::mark(database);
    let why = checkup::damaged(database, &fault.to_string());
    log::error!(event = "store-broken"; "the store is broken and takes nothing more: {why}");
    breaker.send_replace(Some(why));
}

fn work(connection: &Connection, queue: &Mutex<Receiver<Read>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(Read(read)) => read(connection),
            Err(_) => return,
        }
    }
}
