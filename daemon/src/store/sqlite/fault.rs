//! What went wrong in SQLite, and whom that concerns: one change, one batch, or everybody from now on.

use std::fmt;

use rusqlite::ErrorCode;

use crate::store::Error;

/// Why a change was not made.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite's own.
    Sql(rusqlite::Error),
    /// Ours, ready for the caller.
    Told(Error),
}

/// What was read of a row, and nothing where the row is damaged: one row can't hold up the others.
pub(super) fn unless_damaged<T>(read: Result<Option<T>, Fault>) -> Result<Option<T>, Fault> {
    match read {
        Err(fault) if fault.is_a_damaged_row() => Ok(None),
        read => read,
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(error) => write!(f, "SQLite: {error}"),
            Self::Told(error) => error.fmt(f),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

impl Fault {
    /// A row that this program did not write, or that was damaged.
    pub(super) fn damaged(table: &str) -> Self {
        Self::Told(Error::Broken(format!("a row of {table:?} can't be read: it is damaged or from another version")))
    }

    /// Somebody else holds what the change needs, or has ended it already.
    pub(super) fn busy() -> Self {
        Self::Told(Error::Busy)
    }

    /// Whether the file does not hold what was written to it.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }

    /// Whether one row can't be read, and others can.
    fn is_a_damaged_row(&self) -> bool {
        use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
        matches!(
            self,
            Self::Sql(
                FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..)
            )
        )
    }

    /// Somebody else's transaction is in the way, in another process.
    pub(super) fn is_a_lock(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }

    /// Whether a write failed, other than by an fsync. The code alone does not tell a used up quota or a file system that
    /// turned read-only from a disk that fails; see `space`.
    pub(super) fn is_a_failed_write(&self) -> bool {
        use rusqlite::ffi::{
            SQLITE_IOERR_FSTAT, SQLITE_IOERR_SHMMAP, SQLITE_IOERR_SHMOPEN, SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_TRUNCATE,
            SQLITE_IOERR_WRITE,
        };
        let Self::Sql(rusqlite::Error::SqliteFailure(error, _)) = self else { return false };
        [
            SQLITE_IOERR_FSTAT,
            SQLITE_IOERR_SHMMAP,
            SQLITE_IOERR_SHMOPEN,
            SQLITE_IOERR_SHMSIZE,
            SQLITE_IOERR_TRUNCATE,
            SQLITE_IOERR_WRITE,
        ]
        .contains(&error.extended_code)
    }

    /// Whether a file could not be opened or made.
    pub(super) fn is_an_open(&self) -> bool {
        self.code() == Some(ErrorCode::CannotOpen)
    }

    /// What SQLite itself knows to be short.
    pub(super) fn is_full(&self) -> bool {
        self.code() == Some(ErrorCode::DiskFull)
    }

    /// Whether the system refuses every write.
    pub(super) fn is_read_only(&self) -> bool {
        use rusqlite::ffi::{SQLITE_READONLY, SQLITE_READONLY_DIRECTORY};
        let Self::Sql(rusqlite::Error::SqliteFailure(error, _)) = self else { return false };
        [SQLITE_READONLY, SQLITE_READONLY_DIRECTORY].contains(&error.extended_code)
    }

    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sql(error) => error.sqlite_error_code(),
            Self::Told(_) => None,
        }
    }

    /// Whether the disk or the file itself is at fault: nothing that is written from now on can be trusted.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self.code(),
            Some(
                ErrorCode::SystemIoFailure
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::FileLockingProtocolFailed
            )
        )
    }

    /// Whether the other changes of the same transaction are lost with it.
    pub(super) fn spoils_all(&self) -> bool {
        self.is_final()
            || matches!(
                self.code(),
                Some(
                    ErrorCode::CannotOpen
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::DiskFull
                        | ErrorCode::OperationAborted
                        | ErrorCode::OutOfMemory
                        | ErrorCode::ReadOnly
                )
            )
    }

    /// What a caller is told.
    pub(super) fn into_error(self) -> Error {
        match (self.code(), self) {
            (_, Self::Told(error)) => error,
            (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _) => Error::Busy,
            (_, fault) => Error::Broken(fault.to_string()),
        }
    }
}
