//! What the writer thread keeps in memory so that no change has to count: it goes back with a transaction that fails.

use rusqlite::Connection;

use super::fault::Fault;
use super::turn::Turn;

/// Counts and the end of the audit trail, as of the open transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Memory {
    /// Requests of people that wait; those of operators do not count against the backlog.
    pub(super) waiting: u64,
    /// Rows of the pace table.
    pub(super) paces: u64,
    /// The number of the last event; 0 before the first.
    pub(super) last_event: i64,
    /// The hash of the last event; zeros before the first.
    pub(super) last_hash: [u8; 32],
    /// Counts restores; tickets of an earlier era are dead.
    pub(super) era: i64,
    /// When the machine began by the clock, as of the last look.
    pub(super) beginning: Option<i64>,
    /// Whose turn it is among messages.
    pub(super) notice_turn: Turn,
    /// Whose turn it is among requests.
    pub(super) request_turn: Turn,
}

impl Memory {
    /// Reads it all when a database is opened.
    pub(super) fn load(connection: &Connection) -> Result<Self, Fault> {
        let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let (last_event, last_hash) = head(connection)?;
        Ok(Self {
            waiting: count("SELECT count(*) FROM requests WHERE state = 'waiting' AND origin = 'person'")?
                .unsigned_abs(),
            paces: count("SELECT count(*) FROM paces")?.unsigned_abs(),
            // A row beyond the end is somebody else's; it must not keep us from writing ours after it.
            last_event: last_event.max(count("SELECT coalesce(max(seq), 0) FROM events")?),
            last_hash,
            era: count("SELECT coalesce((SELECT value FROM meta WHERE name = 'era'), 1)")?,
            beginning: None,
            notice_turn: Turn::default(),
            request_turn: Turn::default(),
        })
    }

    /// Writes the end of the trail where it moved since `before`, so that a trail with its last rows cut off shows.
    pub(super) fn keep_head(self, before: Self, connection: &Connection) -> Result<(), Fault> {
        if self.last_event != before.last_event {
            connection
                .prepare_cached(
                    "INSERT INTO meta (name, value) VALUES ('head', ?1), ('head_hash', ?2)
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                )?
                .execute((self.last_event, self.last_hash))?;
        }
        Ok(())
    }
}

/// The end of the trail as it was last kept: number and hash.
pub(super) fn head(connection: &Connection) -> Result<(i64, [u8; 32]), Fault> {
    Ok(connection.query_row(
        "SELECT coalesce((SELECT value FROM meta WHERE name = 'head'), 0),
                coalesce((SELECT value FROM meta WHERE name = 'head_hash'), zeroblob(32))",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?)
}
