//! The epoch: how a copy of the database that was put back shows.
//!
//! A random id lies in the database and in a file outside its folder, and both change at every start, at every orderly end
//! and every hour. A database that holds another id than the file is a copy from earlier: what was spent since may
//! be live in it, so all its tickets die. Live tickets survive an ordinary change of the epoch.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rekeyd_core::domain::{Event, Timestamp};
use rusqlite::{Connection, OptionalExtension};

use super::fault::Fault;
use super::seal::draw;
use super::upkeep::empty_log;
use super::writer::Desk;
use super::{Sqlite, events, outbox};
use crate::store::{Error, StoreConfig};

/// What the file says, seen from the database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// The same, or the one before: the daemon died between the two writes.
    Ours,
    /// Another one, or none: this database is a copy, or the file is lost.
    Foreign,
    /// The database is new and has none.
    New,
}

/// Compares the file with the database.
pub(super) fn compare(connection: &Connection, file: &Path) -> Result<Seen, Fault> {
    let Some(current) = kept(connection, "epoch")? else { return Ok(Seen::New) };
    let before = kept(connection, "epoch_before")?;
    let written = read(file)?;
    let is_ours = match &written {
        Some(written) => *written == current || Some(written) == before.as_ref(),
        // The very first start died between the two writes; nobody had a link by then.
        None => before.is_some_and(|before| before.is_empty()) && !any_ticket(connection)?,
    };
    Ok(if is_ours { Seen::Ours } else { Seen::Foreign })
}

/// Begins a new epoch: first in the database, then in the file. Where the file still holds the one before, it is brought
/// up to date first, so that the two never differ by more than one step.
pub(super) fn advance(desk: &Desk<'_>, file: &Path) -> Result<(), Fault> {
    let connection = desk.connection;
    let current = kept(connection, "epoch")?;
    if let Some(current) = &current
        && read(file)?.as_ref() != Some(current)
    {
        write(file, current)?;
    }
    let next: [u8; 16] = draw(desk.chance)?;
    let moved = connection.unchecked_transaction()?;
    for (name, value) in [("epoch_before", current.unwrap_or_default()), ("epoch", next.to_vec())] {
        moved.execute(
            "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )?;
    }
    desk.latest.keep(&moved)?;
    moved.commit()?;
    write(file, &next)?;
    Ok(())
}

/// Voids everything that could still set a password or is held by somebody, and tells the trail; says how many tickets.
/// `held` ends claims as well: right at a start, when nobody can be holding them.
pub(super) fn void_all(desk: &Desk<'_>, held: bool, event: &Event) -> Result<u64, Fault> {
    let now = event.at.millis();
    let states = if held { "('live', 'claimed', 'unsure')" } else { "('live')" };
    let voided = desk.connection.execute(
        &format!("UPDATE tickets SET state = 'void', ends = ?1, claimed_at = NULL WHERE state IN {states}"),
        [now],
    )?;
    desk.connection.execute("UPDATE tickets SET doomed = 1 WHERE state IN ('claimed', 'unsure')", [])?;
    outbox::cancel_void(desk, event.at)?;
    desk.connection.execute(
        "INSERT INTO meta (name, value) VALUES ('era', 2) ON CONFLICT (name) DO UPDATE SET value = value + 1",
        [],
    )?;
    desk.remember(|memory| memory.era += 1);
    events::append(desk, &event.clone().with("voided", voided.to_string()))?;
    Ok(voided as u64)
}

fn any_ticket(connection: &Connection) -> Result<bool, Fault> {
    Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM tickets)", [], |row| row.get(0))?)
}

fn kept(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    Ok(connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()?)
}

fn read(file: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(HEXLOWER.decode(text.trim().as_bytes()).ok().filter(|epoch| epoch.len() == 16)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(unusable(file, &error)),
    }
}

/// Replaces the file as a whole, on disk when this returns.
fn write(file: &Path, epoch: &[u8]) -> Result<(), Error> {
    let folder = StoreConfig::folder(file);
    let fresh = PathBuf::from(format!("{}.new", file.display()));
    let replace = || {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        writeln!(written, "{}", HEXLOWER.encode(epoch))?;
        written.sync_all()?;
        fs::rename(&fresh, file)?;
        fs::File::open(folder)?.sync_all()
    };
    replace().map_err(|error| unusable(file, &error))
}

fn unusable(file: &Path, error: &io::Error) -> Error {
    Error::Broken(format!(
        "the epoch file {} can't be used: {error}. Give the user that rekeyd runs as a folder of its own there \
         (store.epoch_file).",
        file.display()
    ))
}

impl Sqlite {
    /// See [`crate::store::Store::new_epoch`].
    pub(in crate::store) async fn new_epoch(&self) -> Result<(), Error> {
        let file = self.config.epoch_file.clone();
        self.writer.upkeep(move |desk| advance(desk, &file)).await
    }

    /// See [`crate::store::Store::restored`].
    pub(in crate::store) async fn restored(&self, event: Event) -> Result<u64, Error> {
        let voided = self.writer.change(move |desk| void_all(desk, false, &event)).await?;
        self.new_epoch().await?;
        Ok(voided)
    }

    /// See [`crate::store::Store::close`].
    pub(in crate::store) async fn close(&self, now: Timestamp) -> Result<(), Error> {
        let file = self.config.epoch_file.clone();
        self.writer
            .upkeep(move |desk| {
                desk.latest.see(now);
                advance(desk, &file)?;
                empty_log(desk.connection)
            })
            .await
    }
}
