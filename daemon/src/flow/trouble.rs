//! What stops a story: the outside failed, and nothing was changed.

use std::fmt;
use std::time::Duration;

use rekeyd_core::domain::DirectoryKey;

use crate::{directory, store};

/// Why a story could not go on: the outside failed. Nothing was changed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The directory could not be asked.
    Directory(directory::Error),
    /// It took too long for a story that somebody waits for.
    Late(Duration),
    /// An operator names a directory that there is not.
    NoSuchDirectory(String),
    /// The account's directory is not in the configuration any more.
    Removed(DirectoryKey),
    /// The store could not be asked.
    Store(store::Error),
}

impl From<directory::Error> for Trouble {
    fn from(error: directory::Error) -> Self {
        Self::Directory(error)
    }
}

impl From<store::Error> for Trouble {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory::Error::Misconfigured(why)) => write!(f, "the directory refuses rekeyd: {why}"),
            Self::Directory(directory::Error::Unavailable(why)) => write!(f, "the directory does not answer: {why}"),
            Self::Late(limit) => write!(f, "the account could not be read and judged within {} s", limit.as_secs()),
            Self::NoSuchDirectory(name) => write!(f, "there is no directory {name:?} in the configuration"),
            Self::Removed(key) => {
                write!(f, "the account's directory (key {}) is not in the configuration any more", key.0)
            }
            Self::Store(store::Error::Busy) => f.write_str("the store is busy"),
            Self::Store(store::Error::Broken(why)) => write!(f, "the store is broken: {why}"),
            Self::Store(store::Error::Full(why)) => write!(f, "the store takes nothing: {why}"),
        }
    }
}

/// Tells of something that the store could not do. Of a full disk the store itself tells once; a line for each thing that
/// is refused meanwhile would only fill the disk further.
pub(super) fn tell(error: &store::Error, what: &str) {
    match error {
        store::Error::Full(_) => log::debug!("{what}: {error}"),
        store::Error::Busy | store::Error::Broken(_) => log::error!("{what}: {error}"),
    }
}

/// The wait before try number `attempts + 1`: doubling from `first` to at most `most`.
pub(super) fn backoff(attempts: u32, first: Duration, most: Duration) -> Duration {
    first.saturating_mul(1_u32.checked_shl(attempts.min(20)).unwrap_or(u32::MAX)).min(most)
}
