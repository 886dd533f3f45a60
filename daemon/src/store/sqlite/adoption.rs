//! Adoptions: begun, carried on page by page, ended, undone; each page is one change with its row of the trail.

use rekeyd_core::domain::{
    AccountId, AddressHash, Adopted, DataKey, DirectoryKey, Event, Facts, Proof, RequestId, Timestamp, sha256,
};
use rekeyd_core::policy::adoption::Taken;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::accounts::facts_of;
use super::fault::{Fault, unless_damaged};
use super::requests::WrittenActor;
use super::seal::{maybe_moment, moment, open, seal};
use super::{Sqlite, events};
use crate::store::{Adoption, AdoptionBegun, AdoptionState, Error, NewAdoption};

/// What is sealed of an adoption.
#[derive(Deserialize, Serialize)]
struct Cause {
    actor: WrittenActor,
    reason: String,
}

fn read(row: &Row<'_>, key: &DataKey) -> Result<Option<Adoption>, Fault> {
    let id = RequestId::from_bytes(row.get("id")?);
    let Some(cause) = open::<Cause>(key, "adoption", id.bytes(), row.get("sealed")?) else {
        log::error!(event = "store-damaged"; "the adoption {id} can't be read: its row is damaged");
        return Ok(None);
    };
    let word: String = row.get("state")?;
    let all = [AdoptionState::Done, AdoptionState::Running, AdoptionState::Undoing, AdoptionState::Undone];
    let state = all.into_iter().find(|state| state.word() == word).ok_or_else(|| Fault::damaged("adoptions"))?;
    let undecided_as: Option<String> = row.get("undecided_as")?;
    Ok(Some(Adoption {
        begun: NewAdoption {
            id,
            directory: DirectoryKey(row.get("directory")?),
            filter: row.get("filter")?,
            undecided_as: undecided_as.and_then(|word| Taken::ALL.into_iter().find(|taken| taken.word() == word)),
            actor: cause.actor.into(),
            reason: cause.reason,
            at: moment(row, "at")?,
        },
        state,
        activated: row.get::<_, u32>("activated")?.into(),
        never_activated: row.get::<_, u32>("never_activated")?.into(),
        ended: maybe_moment(row, "ended")?,
    }))
}

/// What an account was taken for.
pub(super) fn adopted(connection: &Connection, account: &str) -> Result<Option<Adopted>, Fault> {
    let found = connection
        .prepare_cached("SELECT activated, at FROM adopted WHERE account = ?1")?
        .query_row([account], |row| Ok((row.get::<_, bool>(0)?, row.get(1)?)))
        .optional()?;
    Ok(found.map(|(activated, at)| {
        let at = Timestamp::from_millis(at);
        if activated { Adopted::Activated(at) } else { Adopted::NeverActivated(at) }
    }))
}

impl Sqlite {
    /// See [`crate::store::Store::begin_adoption`].
    pub(in crate::store) async fn begin_adoption(
        &self,
        adoption: NewAdoption,
        event: Event,
    ) -> Result<AdoptionBegun, Error> {
        let NewAdoption { id, directory, filter, undecided_as, actor, reason, at } = adoption;
        let cause = Cause { actor: actor.into(), reason };
        let sealed = seal(&self.key, &self.chance, "adoption", id.bytes(), &cause)?;
        self.writer
            .change(move |desk| {
                let mut statement = desk.connection.prepare_cached(
                    "SELECT * FROM adoptions WHERE directory = ?1 AND state IN ('running', 'undoing') LIMIT 1",
                )?;
                let mut rows = statement.query([directory.0])?;
                if let Some(row) = rows.next()? {
                    let found = read(row, desk.key)?.ok_or_else(|| Fault::damaged("adoptions"))?;
                    return Ok(AdoptionBegun::Unfinished(Box::new(found)));
                }
                desk.connection
                    .prepare_cached(
                        "INSERT INTO adoptions (id, directory, sealed, filter, undecided_as, at)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .execute((id.bytes(), directory.0, sealed, filter, undecided_as.map(Taken::word), at.millis()))?;
                events::append(desk, &event)?;
                Ok(AdoptionBegun::Begun)
            })
            .await
    }

    /// See [`crate::store::Store::adopt`].
    pub(in crate::store) async fn adopt(
        &self,
        id: RequestId,
        accounts: Vec<(AccountId, Adopted)>,
        event: Event,
    ) -> Result<Vec<bool>, Error> {
        self.writer
            .change(move |desk| {
                let running: bool = desk
                    .connection
                    .prepare_cached("SELECT state = 'running' FROM adoptions WHERE id = ?1")?
                    .query_row([id.bytes()], |row| row.get(0))?;
                if !running {
                    return Err(Fault::busy());
                }
                let (mut activated, mut never) = (0_u32, 0_u32);
                let mut digest = [0_u8; 32];
                let mut taken = Vec::with_capacity(accounts.len());
                for (account, adopted) in &accounts {
                    let account = account.to_string();
                    let (is_activated, at) = match adopted {
                        Adopted::Activated(at) => (true, at),
                        Adopted::NeverActivated(at) => (false, at),
                    };
                    // What rekeyd has seen itself since the account was read stands over it.
                    let rows = desk
                        .connection
                        .prepare_cached(
                            "INSERT INTO adopted (account, adoption, activated, at)
                             SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS (
                                 SELECT 1 FROM accounts
                                 WHERE account = ?1 AND (activated IS NOT NULL OR undecided = 1))
                             ON CONFLICT (account) DO NOTHING",
                        )?
                        .execute((&account, id.bytes(), is_activated, at.millis()))?;
                    taken.push(rows == 1);
                    if rows == 1 {
                        digest = sha256(&[&digest, account.as_bytes(), &[u8::from(is_activated)]]);
                        if is_activated { activated += 1 } else { never += 1 }
                    }
                }
                if activated + never == 0 {
                    return Ok(taken);
                }
                desk.connection
                    .prepare_cached(
                        "UPDATE adoptions SET activated = activated + ?2, never_activated = never_activated + ?3
                         WHERE id = ?1",
                    )?
                    .execute((id.bytes(), activated, never))?;
                let event = event
                    .clone()
                    .with("activated", activated.to_string())
                    .with("never-activated", never.to_string())
                    .with("accounts", data_encoding::HEXLOWER.encode(&digest));
                events::append(desk, &event)?;
                Ok(taken)
            })
            .await
    }

    /// See [`crate::store::Store::end_adoption`].
    pub(in crate::store) async fn end_adoption(&self, id: RequestId, event: Event) -> Result<(), Error> {
        self.writer
            .change(move |desk| {
                let rows = desk
                    .connection
                    .prepare_cached(
                        "UPDATE adoptions SET state = 'done', ended = ?2 WHERE id = ?1 AND state = 'running'",
                    )?
                    .execute((id.bytes(), event.at.millis()))?;
                if rows == 1 { events::append(desk, &event) } else { Ok(()) }
            })
            .await
    }

    /// See [`crate::store::Store::undo_adoption`].
    pub(in crate::store) async fn undo_adoption(
        &self,
        id: RequestId,
        most: u32,
        event: Event,
    ) -> Result<Option<(u64, bool)>, Error> {
        self.writer
            .change(move |desk| {
                let state: Option<String> = desk
                    .connection
                    .prepare_cached("SELECT state FROM adoptions WHERE id = ?1")?
                    .query_row([id.bytes()], |row| row.get(0))
                    .optional()?;
                match state.as_deref() {
                    None => return Ok(None),
                    Some("undone") => return Ok(Some((0, false))),
                    Some(_) => {}
                }
                let gone = desk
                    .connection
                    .prepare_cached(
                        "DELETE FROM adopted WHERE account IN
                         (SELECT account FROM adopted WHERE adoption = ?1 LIMIT ?2)",
                    )?
                    .execute((id.bytes(), most))?;
                let more = gone as u64 == u64::from(most);
                desk.connection
                    .prepare_cached("UPDATE adoptions SET state = ?2, ended = ?3 WHERE id = ?1")?
                    .execute((id.bytes(), if more { "undoing" } else { "undone" }, event.at.millis()))?;
                events::append(desk, &event.clone().with("accounts", gone.to_string()))?;
                Ok(Some((gone as u64, more)))
            })
            .await
    }

    /// See [`crate::store::Store::adoptions`].
    pub(in crate::store) async fn adoptions(&self) -> Result<Vec<Adoption>, Error> {
        let key = self.key.clone();
        self.readers
            .read(move |connection| {
                let mut statement = connection.prepare_cached("SELECT * FROM adoptions ORDER BY at DESC LIMIT 1000")?;
                let mut rows = statement.query([])?;
                let mut all = Vec::new();
                while let Some(row) = rows.next()? {
                    all.extend(unless_damaged(read(row, &key))?);
                }
                Ok(all)
            })
            .await
    }

    /// See [`crate::store::Store::facts_of`].
    pub(in crate::store) async fn facts_of(
        &self,
        accounts: &[AccountId],
    ) -> Result<Vec<(Facts, Vec<(AddressHash, Proof)>)>, Error> {
        let accounts: Vec<String> = accounts.iter().map(ToString::to_string).collect();
        self.readers
            .read(move |connection| accounts.iter().map(|account| facts_of(connection, account)).collect())
            .await
    }
}
