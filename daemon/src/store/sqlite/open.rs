//! How a database is opened: looked at before anything is written, brought up to date, unlocked, checked against its epoch.

use std::cell::Cell;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use refinery::{Migration, Runner};
use rekeyd_core::domain::{Actor, DataKey, Event, EventKind, KeyRing, Sealed};
use ring::rand::SystemRandom;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::checkup::{Checkup, damaged};
use super::fault::Fault;
use super::hand::LOG_SIZE;
use super::latest::Latest;
use super::memory::Memory;
use super::seal::draw;
use super::writer::Desk;
use super::{epoch, requests, space};
use crate::store::{Error, StoreConfig, Watch};

/// The schema that this program writes.
const SCHEMA: i64 = 1;
/// Marks a file as ours: "rekd".
const APPLICATION: i64 = 0x7265_6b64;
/// How long a change waits for somebody else's lock, such as a backup's.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Statements kept ready by each connection.
const STATEMENTS: usize = 128;

/// The steps from nothing to [`SCHEMA`], in order. A step that was released never changes. Each sets `schema` in `meta`,
/// and `min_reader` where programs of the schema before could no longer use what it leaves.
fn migrations() -> Result<Vec<Migration>, refinery::Error> {
    Ok(vec![Migration::unapplied("V1__init", include_str!("../../../migrations/sqlite/V1__init.sql"))?])
}

/// An open database, ready for its threads.
pub(super) struct Ready {
    pub(super) connection: Connection,
    pub(super) key: DataKey,
    pub(super) latest: Latest,
    pub(super) memory: Memory,
    pub(super) lock: Flock<fs::File>,
    /// The look at the whole file, where there was one before.
    pub(super) checkup: Option<Checkup>,
    /// How many tickets died because the database turned out to be a copy from earlier.
    pub(super) voided: Option<u64>,
}

/// Opens the database of a configuration, makes it where there is none.
pub(super) fn open(config: &StoreConfig, ring: &KeyRing, watch: &Watch, chance: &SystemRandom) -> Result<Ready, Error> {
    let path = &config.path;
    let told = |fault: Fault| explain(path, fault);
    create_folder(StoreConfig::folder(path))?;
    let lock = lock(path)?;
    let is_new = is_new(path)?;
    let checkup = if is_new {
        None
    } else {
        roll_back(path).map_err(told)?;
        look(path, ring).map_err(told)?;
        Some(Checkup::begin(path)?)
    };
    let connection = connect(path).map_err(told)?;
    migrate(connection, path).and_then(|connection| {
        let key = data_key(&connection, ring, chance).map_err(told)?;
        let latest = Latest::load(&connection, watch.clone()).map_err(told)?;
        latest.see(watch.now());
        let (memory, voided) = settle(&connection, config, &key, &latest, chance).map_err(told)?;
        Ok(Ready { connection, key, latest, memory, lock, checkup, voided })
    })
}

/// Undoes what a power cut broke off while the database was made: until it keeps a write-ahead log it has a journal, and
/// with that it can't be opened for reading alone.
fn roll_back(path: &Path) -> Result<(), Fault> {
    if beside(path, "journal").exists() {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        prepare(&connection)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    }
    Ok(())
}

/// Says in words what lies at the configured place, or why it can't be used; changes nothing.
pub(super) fn probe(config: &StoreConfig, ring: &KeyRing) -> Result<String, Error> {
    let path = &config.path;
    match fs::metadata(path) {
        Ok(about) if about.len() > 0 => {
            let schema = look(path, ring).map_err(|fault| explain(path, fault))?;
            Ok(format!("{} has schema {schema} and opens with the key file", path.display()))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(path, &error)),
        _ => Ok(format!("{} does not exist yet and is made at the first start", path.display())),
    }
}

/// Opens a connection that only reads.
pub(super) fn reader(path: &Path) -> Result<Connection, Error> {
    let open = || -> Result<Connection, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        prepare(&connection)?;
        Ok(connection)
    };
    open().map_err(|fault| explain(path, fault))
}

/// Looks at a database without changing it: whether it is ours, of a version that this program knows, and opens with
/// these keys. Says its schema.
pub(super) fn look(path: &Path, ring: &KeyRing) -> Result<i64, Fault> {
    let refuse = |what: String| Err(Fault::Told(Error::Broken(what)));
    let shown = path.display();
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    prepare(&connection)?;
    let tables = |name: &str| {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name LIKE ?1";
        connection.query_row(sql, [name], |row| row.get::<_, i64>(0))
    };
    if tables("%")? == 0 {
        return Ok(0);
    }
    if connection.query_row("PRAGMA application_id", [], |row| row.get::<_, i64>(0))? != APPLICATION {
        return refuse(format!(
            "{shown} is a database, but not rekeyd's. Nothing was changed. Write another path (store.path)."
        ));
    }
    if tables("meta")? == 0 {
        // Its making was cut off before the first migration.
        return Ok(0);
    }
    let number =
        |name: &str| connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get::<_, i64>(0));
    let (schema, min_reader) = (number("schema")?, number("min_reader")?);
    if min_reader > SCHEMA {
        return refuse(format!(
            "{shown} was written by a newer rekeyd: its schema is {schema}, which needs a program that knows schema \
             {min_reader} or later; this one knows {SCHEMA}. Nothing was changed. Install the newer rekeyd, or put back \
             the copy of the database from before the upgrade."
        ));
    }
    if unwrap_key(&connection, ring)?.is_some_and(|unwrapped| unwrapped.is_none()) {
        return refuse(format!(
            "{shown} can't be unlocked: none of the keys in the key file is the one that it was last used with. Nothing \
             was changed. Put that key back into the key file; where it is there, the database is damaged: put back a copy \
             that `rekeyctl backup` made, or move the database away to begin a new one."
        ));
    }
    Ok(schema)
}

/// The data key, `None` where there is none yet, `Some(None)` where these keys don't open it.
#[expect(clippy::option_option, reason = "no key yet and no fitting key are two answers")]
fn unwrap_key(connection: &Connection, ring: &KeyRing) -> Result<Option<Option<(DataKey, bool)>>, Fault> {
    let sealed: Option<Vec<u8>> =
        connection.query_row("SELECT value FROM meta WHERE name = 'data_key'", [], |row| row.get(0)).optional()?;
    Ok(sealed.map(|sealed| ring.unwrap(&Sealed(sealed))))
}

/// The data key, drawn for a new database, wrapped anew where the ring has a newer key.
fn data_key(connection: &Connection, ring: &KeyRing, chance: &SystemRandom) -> Result<DataKey, Fault> {
    let (key, is_current) = match unwrap_key(connection, ring)? {
        None => (DataKey::from_bytes(draw(chance)?), false),
        Some(Some(unwrapped)) => unwrapped,
        Some(None) => return Err(Fault::damaged("meta")),
    };
    if !is_current {
        keep_key(connection, &ring.wrap(&key, draw(chance)?))?;
    }
    Ok(key)
}

/// Keeps the data key as a ring has wrapped it.
pub(super) fn keep_key(connection: &Connection, sealed: &Sealed) -> Result<(), Fault> {
    connection.execute(
        "INSERT INTO meta (name, value) VALUES ('data_key', ?1)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        [&sealed.0],
    )?;
    Ok(())
}

fn create_folder(folder: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
        Error::Broken(format!(
            "the folder {} can't be made: {error}. Make it, owned by the user that rekeyd runs as (store.path).",
            folder.display()
        ))
    })
}

/// Keeps a second rekeyd from the same database; the file lock goes with the process.
fn lock(path: &Path) -> Result<Flock<fs::File>, Error> {
    let file = beside(path, "lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&file);
    let opened = opened.map_err(|error| unusable(&file, &error))?;
    Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        Error::Broken(if errno == nix::errno::Errno::EWOULDBLOCK {
            format!("{} is in use by another rekeyd. Stop that one first.", path.display())
        } else {
            format!("{} can't be locked: {errno}.", file.display())
        })
    })
}

/// A file that lies beside the database.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}-{ending}", path.display()))
}

/// Whether there is no database yet; then its file is made, readable by nobody else.
fn is_new(path: &Path) -> Result<bool, Error> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let opened = opened.map_err(|error| unusable(path, &error))?;
    let about = opened.metadata().map_err(|error| unusable(path, &error))?;
    if !about.is_file() {
        return Err(Error::Broken(format!("{} is not a file. Write another path (store.path).", path.display())));
    }
    if about.permissions().mode() & 0o077 != 0 {
        opened.set_permissions(fs::Permissions::from_mode(0o600)).map_err(|error| unusable(path, &error))?;
    }
    Ok(about.len() == 0)
}

fn unusable(path: &Path, error: &io::Error) -> Error {
    Error::Broken(format!(
        "{} can't be opened: {error}. Make sure that the user that rekeyd runs as may read and write it (store.path).",
        path.display()
    ))
}

/// What every connection sets before its first statement.
fn prepare(connection: &Connection) -> Result<(), Fault> {
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch(
        "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;",
    )?;
    Ok(())
}

fn connect(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    prepare(&connection)?;
    connection.execute_batch(&format!(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA application_id = {APPLICATION}; PRAGMA secure_delete = ON;
         PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {LOG_SIZE};"
    ))?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Fault::Told(Error::Broken(format!(
            "{} lies on a file system that can't keep a write-ahead log. Write a path on a local disk (store.path).",
            path.display()
        ))));
    }
    Ok(connection)
}

/// Brings the schema up to date; a newer one that this program may use is left as it is.
fn migrate(mut connection: Connection, path: &Path) -> Result<Connection, Error> {
    let told = |fault: Fault| explain(path, fault);
    let known = connection
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'meta'", [], |row| row.get::<_, i64>(0))
        .and_then(|tables| match tables {
            0 => Ok(0),
            _ => connection.query_row("SELECT value FROM meta WHERE name = 'schema'", [], |row| row.get(0)),
        })
        .map_err(|error| told(error.into()))?;
    if known < SCHEMA {
        migrations().and_then(|migrations| Runner::new(&migrations).set_grouped(true).run(&mut connection)).map_err(
            |error| {
                Error::Broken(format!(
                    "{} can't be brought from schema {known} to {SCHEMA}: {error}. Nothing was changed.",
                    path.display()
                ))
            },
        )?;
    }
    Ok(connection)
}

/// What a start owes to the process before: its leases back, and a look at the epoch.
fn settle(
    connection: &Connection,
    config: &StoreConfig,
    key: &DataKey,
    latest: &Latest,
    chance: &SystemRandom,
) -> Result<(Memory, Option<u64>), Fault> {
    let now = latest.watch.now();
    requests::void_leases(connection, now)?;
    let memory = Cell::new(begin(Memory::load(connection)?, connection, latest)?);
    let mut voided = None;
    if epoch::compare(connection, &config.epoch_file)? == epoch::Seen::Foreign {
        let event = Event::new(now, EventKind::Restored, Actor::System, None, "voided").because("another-epoch");
        let restoring = connection.unchecked_transaction()?;
        let before = memory.get();
        let desk = Desk { connection: &restoring, key, chance, memory: &memory, latest };
        voided = Some(epoch::void_all(&desk, true, &event)?);
        memory.get().keep_head(before, &restoring)?;
        restoring.commit()?;
    }
    epoch::advance(&Desk { connection, key, chance, memory: &memory, latest }, &config.epoch_file)?;
    Ok((memory.get(), voided))
}

/// Notes what the clock says. One that was set back since the last run shows in the first batch of changes; one that is
/// ahead may only have gone on while the machine was off.
fn begin(memory: Memory, connection: &Connection, latest: &Latest) -> Result<Memory, Fault> {
    let present = latest.watch.beginning();
    let last = latest.last_beginning(connection)?.filter(|last| *last > present);
    Ok(Memory { beginning: last.or(Some(present)), ..memory })
}

/// Says in words what is wrong with a file, where SQLite has only a code.
fn explain(path: &Path, fault: Fault) -> Error {
    let shown = path.display();
    if let Some(short) = space::cause(&fault, &beside(path, "probe")) {
        return Error::Full(format!("{shown}: {short}"));
    }
    let code = match &fault {
        Fault::Sql(error) => error.sqlite_error_code(),
        Fault::Told(_) => None,
    };
    match (code, fault) {
        (Some(ErrorCode::NotADatabase), _) => Error::Broken(format!(
            "{shown} is not a database. Nothing was changed. Write another path (store.path), or put back a copy."
        )),
        (Some(ErrorCode::DatabaseCorrupt), fault) => Error::Broken(damaged(path, &fault.to_string())),
        (Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied), _) => Error::Broken(format!(
            "{shown} can't be opened. Make sure that the user that rekeyd runs as may write it and its folder (store.path)."
        )),
        (Some(ErrorCode::SystemIoFailure), fault) => {
            Error::Broken(format!("{shown} can't be read: {fault}. Look at the disk: the system's log says more."))
        }
        (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _) => Error::Busy,
        // What this program wrote it could read.
        (_, fault @ Fault::Sql(_)) => Error::Broken(damaged(path, &fault.to_string())),
        (_, Fault::Told(error)) => error,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use rekeyd_core::domain::{MasterKey, Timestamp};

    #[test]
    fn i1_what_is_committed_is_on_disk_and_what_is_deleted_is_wiped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        assert!(is_new(&path).unwrap());
        let connection = migrate(connect(&path).unwrap(), &path).unwrap();
        for (pragma, wanted) in [
            ("application_id", APPLICATION),
            ("auto_vacuum", 2),
            ("foreign_keys", 1),
            ("secure_delete", 1),
            ("synchronous", 2),
            ("temp_store", 2),
            ("trusted_schema", 0),
        ] {
            let set: i64 = connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0)).unwrap();
            assert_eq!(set, wanted, "{pragma}");
        }
        let loose: i64 = connection
            .query_row(
                "SELECT count(*) FROM pragma_table_list
                 WHERE schema = 'main' AND strict = 0 AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'refinery%'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(loose, 0, "every table is strict");
        let read_only = reader(&path).unwrap();
        assert!(read_only.execute("DELETE FROM meta", []).is_err());
    }

    #[test]
    fn a_start_that_was_cut_off_is_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::new(folder.path().join("a/x.db"), folder.path().join("b/epoch"));
        let ring = KeyRing::new(MasterKey::from_bytes([1; 32]));
        let watch = Watch::new(|| Timestamp::from_millis(0), || Duration::ZERO);
        let chance = SystemRandom::new();
        create_folder(StoreConfig::folder(&config.path)).unwrap();
        drop(connect(&config.path).err());
        assert!(is_new(&config.path).unwrap());
        drop(connect(&config.path).unwrap());
        assert!(fs::metadata(&config.path).unwrap().len() > 0, "its settings are in it and no table");
        assert_eq!(open(&config, &ring, &watch, &chance).unwrap().voided, None);
    }
}
