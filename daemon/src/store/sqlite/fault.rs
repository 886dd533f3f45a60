//! What went wrong in SQLite, and whom that concerns: one change, one batch, or everybody from now on.

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
            (Some(ErrorCode::DiskFull), _) => {
                Error::Broken("no space is left where the database lies; it goes on once there is some".into())
            }
            (Some(ErrorCode::ReadOnly), _) => {
                Error::Broken("the database can't be written: its file or file system is read-only".into())
            }
            (_, Self::Sql(error)) => Error::Broken(format!("SQLite: {error}")),
        }
    }
}
