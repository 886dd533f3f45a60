//! A copy of a database that is in use: all of it as of one moment, without holding up a single change.
//!
//! It is made by whoever asks for it, over a connection that only reads; the daemon is not needed and notices nothing. The
//! copy gets an epoch of its own, so that it is known for a copy whenever it is put back; it has its name only once that is
//! on disk, since until then it could be taken for the database itself.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::fault::Fault;
use super::open::reader;
use crate::store::{Error, StoreConfig};

/// Copies the database of a configuration into a new file, on disk when this returns.
pub(super) fn backup(config: &StoreConfig, to: &Path) -> Result<(), Error> {
    let source = reader(&config.path)?;
    let unusable =
        |path: &Path, error: io::Error| Error::Broken(format!("{} can't be written: {error}", path.display()));
    if to.symlink_metadata().is_ok() {
        return Err(unusable(to, io::ErrorKind::AlreadyExists.into()));
    }
    let part = part_of(to);
    // Made here, so that nobody else can read it, and so that no other file is written over.
    let copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
    let copy = copy.map_err(|error| match error.kind() {
        // It may be another backup's that is under way, so that nobody but its owner can tell whether it is of use.
        io::ErrorKind::AlreadyExists => Error::Broken(format!(
            "{} is there already: a backup is under way, or one has not ended; where none is, remove that file",
            part.display()
        )),
        _ => unusable(&part, error),
    })?;
    let made = fill(&source, &part)
        .map_err(|fault| {
            Error::Broken(format!("{} can't be copied to {}: {fault}", config.path.display(), to.display()))
        })
        .and_then(|()| copy.sync_all().and_then(|()| name(&part, to)).map_err(|error| unusable(to, error)));
    if made.is_err() {
        // Half a copy is none; the error has said what is wrong.
        drop(fs::remove_file(part));
    }
    made
}

/// Where a copy lies until it is whole.
fn part_of(to: &Path) -> PathBuf {
    let mut part = OsString::from(to);
    part.push(".part");
    part.into()
}

/// Gives a copy its name, on disk when this returns.
fn name(part: &Path, to: &Path) -> io::Result<()> {
    fs::rename(part, to)?;
    File::open(StoreConfig::folder(to))?.sync_all()
}

fn fill(source: &Connection, to: &Path) -> Result<(), Fault> {
    source.execute("VACUUM INTO ?1", [to.to_str().ok_or_else(|| Error::Broken("its path is not UTF-8".into()))?])?;
    let copy = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    copy.execute("UPDATE meta SET value = randomblob(16) WHERE name IN ('epoch', 'epoch_before')", [])?;
    copy.close().map_err(|(_, error)| Fault::from(error))
}
