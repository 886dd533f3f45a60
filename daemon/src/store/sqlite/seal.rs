//! Values on their way to and from the disk: sealed texts, ids, accounts, moments.

use std::time::Duration;

use rekeyd_core::domain::{AccountId, DataKey, DirectoryKey, Sealed, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::fault::Fault;
use crate::store::Error;

/// Fresh chance.
pub(super) fn draw<const N: usize>(chance: &SystemRandom) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    match chance.fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Error::Broken("the system gives no random numbers".into())),
    }
}

/// Seals a value for a table (`label`) and a row.
pub(super) fn seal(
    key: &DataKey,
    chance: &SystemRandom,
    label: &str,
    row: &[u8],
    value: &impl Serialize,
) -> Result<Vec<u8>, Error> {
    let plain = serde_json::to_vec(value)
        .map(Zeroizing::new)
        .map_err(|error| Error::Broken(format!("a value of {label:?} can't be written: {error}")))?;
    Ok(key.seal(label, row, draw(chance)?, &plain).0)
}

/// Opens a sealed value; `None` where it is not what was sealed there.
pub(super) fn open<T: DeserializeOwned>(key: &DataKey, label: &str, row: &[u8], sealed: Vec<u8>) -> Option<T> {
    let plain = key.open(label, row, &Sealed(sealed))?;
    serde_json::from_slice(&plain).ok()
}

/// Reads an account as [`AccountId`]'s `Display` writes it.
pub(super) fn account(text: &str) -> Option<AccountId> {
    let (directory, stable) = text.split_once(':')?;
    Some(AccountId { directory: DirectoryKey(directory.parse().ok()?), stable: stable.to_owned() })
}

/// A moment in a column.
pub(super) fn moment(row: &Row<'_>, column: &str) -> Result<Timestamp, Fault> {
    Ok(Timestamp::from_millis(row.get(column)?))
}

/// A moment in a column that may be empty.
pub(super) fn maybe_moment(row: &Row<'_>, column: &str) -> Result<Option<Timestamp>, Fault> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

/// A length of time for a column, in milliseconds.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
