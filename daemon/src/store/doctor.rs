//! What the doctor found in each directory the last few times, so that the next look can say what is new.

use rekeyd_core::domain::{DirectoryKey, Event, Timestamp};

use super::{Error, Store};

/// What the doctor found in a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DoctorRun {
    /// When.
    pub at: Timestamp,
    /// What, in the words of whoever keeps it.
    pub findings: String,
}

impl Store {
    /// What the doctor found in a directory the last time.
    pub async fn last_doctor_run(&self, directory: DirectoryKey) -> Result<Option<DoctorRun>, Error> {
        match self {
            Self::Sqlite(store) => store.last_doctor_run(directory).await,
        }
    }

    /// Keeps what the doctor found, for the next time, with the event that tells of it. The oldest are forgotten.
    pub async fn keep_doctor_run(
        &self,
        directory: DirectoryKey,
        at: Timestamp,
        findings: String,
        event: Event,
    ) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.keep_doctor_run(directory, at, findings, event).await,
        }
    }
}
