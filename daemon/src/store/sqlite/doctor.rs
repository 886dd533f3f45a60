//! What the doctor found in each directory the last few times.

use rekeyd_core::domain::{DirectoryKey, Event, Timestamp};
use rusqlite::OptionalExtension;

use super::Sqlite;
use super::events::append;
use crate::store::{DoctorRun, Error};

/// So many runs are kept of each directory.
const KEPT: u32 = 10;

impl Sqlite {
    /// See [`crate::store::Store::last_doctor_run`].
    pub(in crate::store) async fn last_doctor_run(&self, directory: DirectoryKey) -> Result<Option<DoctorRun>, Error> {
        self.readers
            .read(move |connection| {
                let sql = "SELECT at, findings FROM doctor_runs WHERE directory = ?1 ORDER BY at DESC LIMIT 1";
                let read = |row: &rusqlite::Row<'_>| {
                    Ok(DoctorRun { at: Timestamp::from_millis(row.get(0)?), findings: row.get(1)? })
                };
                Ok(connection.prepare_cached(sql)?.query_row([directory.0], read).optional()?)
            })
            .await
    }

    /// See [`crate::store::Store::keep_doctor_run`].
    pub(in crate::store) async fn keep_doctor_run(
        &self,
        directory: DirectoryKey,
        at: Timestamp,
        findings: String,
        event: Event,
    ) -> Result<(), Error> {
        self.writer
            .change(move |desk| {
                let key = directory.0;
                desk.connection
                    .prepare_cached(
                        "INSERT INTO doctor_runs (directory, at, findings) VALUES (?1, ?2, ?3)
                         ON CONFLICT (directory, at) DO UPDATE SET findings = excluded.findings",
                    )?
                    .execute((key, at.millis(), &findings))?;
                desk.connection
                    .prepare_cached(
                        "DELETE FROM doctor_runs WHERE directory = ?1 AND at NOT IN
                         (SELECT at FROM doctor_runs WHERE directory = ?1 ORDER BY at DESC LIMIT ?2)",
                    )?
                    .execute((key, KEPT))?;
                append(desk, &event)
            })
            .await
    }
}
