//! When nothing can be written: nothing new is taken, and what was begun is recorded with a reserve.
//!
//! Beside the database lies a file that holds [`RESERVE`] bytes of the disk and nothing else. Once the disk is full, every
//! change that begins something is refused at once, the same for everybody; what is owed (how a password was set that is
//! in the directory already) gets the reserve's space where it needs that. Once a second it is tried whether there is
//! space again: for the reserve first, then for a change. The same holds for a used up quota and for a file system that
//! turned read-only.

use std::cell::{Cell, RefCell};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use super::checkup;
use super::fault::Fault;
use super::open::beside;
use crate::store::Error;

/// What is kept for records that are owed. A record takes a few pages of 4 KiB, and 256 passwords may be set at once.
const RESERVE: i64 = 8 << 20;
/// How much is written to find out whether there is space: at least as much as a write of SQLite's at one go, since what is
/// left of a quota may be too little for that and enough for a page.
const PROBE: usize = 1 << 20;
/// How often it is tried whether there is space again.
const AGAIN: Duration = Duration::from_secs(1);

/// The space for the database, as its one writer sees it.
pub(super) struct Space {
    database: PathBuf,
    reserve: PathBuf,
    probe: PathBuf,
    /// Why nothing new is taken, while that is so.
    short: RefCell<Option<Error>>,
    tried: Cell<Instant>,
}

impl Space {
    /// Gives up the reserve of an earlier run, for a start on a full disk; says whether there was any.
    pub(super) fn free(database: &Path) -> bool {
        fs::remove_file(beside(database, "reserve")).is_ok()
    }

    /// Takes the reserve. Without it nothing new is taken: a password that is set could not be recorded.
    pub(super) fn new(database: &Path) -> Self {
        let space = Self {
            database: database.to_owned(),
            reserve: beside(database, "reserve"),
            probe: beside(database, "probe"),
            short: RefCell::new(None),
            tried: Cell::new(Instant::now()),
        };
        if let Err(error) = space.take_reserve() {
            space.run_out(Error::Full(words(&error)));
        }
        space
    }

    /// What a fault says of the space, if it says that. From then on nothing new is taken.
    pub(super) fn shortage(&self, fault: &Fault) -> Option<Error> {
        cause(fault, &self.probe).map(|why| self.run_out(why))
    }

    /// Why nothing new is taken, if that is still so. `write` tries a change of the database.
    ///
    /// # Errors
    /// What that change failed with, where it is not for want of space: a disk that fails is no full one.
    pub(super) fn still_short(&self, write: impl FnOnce() -> Result<(), Fault>) -> Result<Option<Error>, Fault> {
        let Some(short) = self.short.borrow().clone() else { return Ok(None) };
        if self.tried.get().elapsed() < AGAIN {
            return Ok(Some(short));
        }
        self.tried.set(Instant::now());
        if let Err(error) = self.take_reserve() {
            log::debug!("still no space: {error}");
            return Ok(Some(short));
        }
        match write() {
            Ok(()) => {
                self.short.replace(None);
                log::warn!(event = "store-has-space"; "the store takes everything again");
                Ok(None)
            }
            Err(fault) if fault.is_a_lock() || cause(&fault, &self.probe).is_some() => Ok(Some(short)),
            Err(fault) => Err(fault),
        }
    }

    /// Gives the reserve back to the file system, for what is owed; says whether there was any.
    pub(super) fn give_back(&self) -> bool {
        fs::remove_file(&self.reserve).is_ok()
    }

    /// What is wrong with the database, with what can be done; the next start looks at all of it.
    pub(super) fn damaged(&self, flaw: &str) -> String {
        checkup::mark(&self.database);
        checkup::damaged(&self.database, flaw)
    }

    fn run_out(&self, why: Error) -> Error {
        self.tried.set(Instant::now());
        if self.short.replace(Some(why.clone())).is_none() {
            log::error!(event = "store-full"; "the store takes nothing new, for nobody: {why}");
        }
        why
    }

    fn take_reserve(&self) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.reserve)?;
        // The file stays empty to look at, so that copies of the folder do not carry it along.
        let taken = match fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, RESERVE) {
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) if file.metadata()?.len() < RESERVE.unsigned_abs() => {
                let block = vec![0; 1 << 16];
                (0..RESERVE / (1 << 16)).try_for_each(|_| file.write_all(&block)).and_then(|()| file.sync_data())
            }
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
            other => other.map_err(io::Error::from),
        };
        if taken.is_err() {
            // A part of it would only take what others need.
            self.give_back();
        }
        taken
    }
}

/// What a fault says of the space, if it says that. Where SQLite's code leaves it open, the system's word on a file beside
/// the database decides.
pub(super) fn cause(fault: &Fault, probe: &Path) -> Option<Error> {
    let why = if fault.is_full() {
        words(&Errno::ENOSPC.into())
    } else if fault.is_read_only() {
        words(&Errno::EROFS.into())
    } else if fault.is_a_failed_write() || fault.is_an_open() {
        words(&try_to_write(probe).err().filter(passes)?)
    } else {
        return None;
    };
    Some(Error::Full(why))
}

fn try_to_write(file: &Path) -> io::Result<()> {
    let tried = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
    // Some file systems find out what is left only when it goes to the disk.
    let tried = tried.and_then(|mut file| file.write_all(&vec![0x55; PROBE]).and_then(|()| file.sync_data()));
    // What can't be made need not be removed.
    drop(fs::remove_file(file));
    tried
}

/// Whether it can pass without anybody doing something about the store.
fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

/// What is short, and that it need not be told to rekeyd when that has changed.
fn words(error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::StorageFull => "no space is left where the database lies".to_owned(),
        io::ErrorKind::QuotaExceeded => "the quota is used up where the database lies".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system of the database is read-only".to_owned(),
        _ => format!("the reserve for a full disk can't be made beside the database: {error}"),
    };
    format!("{what}; it goes on once that has passed")
}
