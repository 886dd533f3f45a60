//! The life of a ticket from a claim on: claimed before the write, given back, spent, stranded, settled.

use rekeyd_core::domain::{Actor, Event, EventKind, TicketId, Timestamp, TokenHash};
use rekeyd_core::policy::permit::Claimed;
use rusqlite::OptionalExtension;

use super::fault::Fault;
use super::replacements::overtake;
use super::tickets::{Found, USABLE, Which, find, give_back, moments, read, void_others};
use super::writer::Desk;
use super::{Sqlite, events, outbox};
use crate::store::{Error, NewNotice, NewTicket, OpenClaim, Spend, TicketState};

/// One conditional update is the claim; who changes the row has it, everybody else has nothing.
fn claim(
    desk: &Desk<'_>,
    hash: TokenHash,
    nonce: [u8; 16],
    server: Option<&str>,
    now: Timestamp,
) -> Result<Option<Claimed>, Fault> {
    let (now, latest, slack) = moments(desk.latest, now);
    let rows = desk
        .connection
        .prepare_cached(&format!(
            "UPDATE tickets SET state = 'claimed', nonce = ?5, claimed_at = ?2, server = ?6
             WHERE hash = ?1 AND purpose <> 'not-me' AND {USABLE}"
        ))?
        .execute((hash.0, now, latest, slack, nonce, server))?;
    if rows == 0 {
        return Ok(None);
    }
    let found = desk
        .connection
        .prepare_cached("SELECT * FROM tickets WHERE hash = ?1")?
        .query_row([hash.0], |row| Ok(read(row, desk.key)))??;
    if found.is_none() {
        // Nobody can use it, and nobody could settle it.
        desk.connection
            .prepare_cached("UPDATE tickets SET state = 'void', ends = ?2, claimed_at = NULL WHERE hash = ?1")?
            .execute((hash.0, now))?;
        let at = Timestamp::from_millis(now);
        let event = Event::new(at, EventKind::TicketRefused, Actor::System, None, "refused").because("damaged");
        events::append(desk, &event)?;
    }
    Ok(found.and_then(|found| Claimed::witness(found.ticket, rows)))
}

/// The open claim of a ticket, where it is one.
fn open_claim(found: Found) -> Option<OpenClaim> {
    let is_held = matches!(found.state, TicketState::Claimed | TicketState::Unsure);
    let (nonce, since) = found.nonce.zip(found.claimed_at).filter(|_| is_held)?;
    Some(OpenClaim { ticket: found.ticket, nonce, server: found.server, since })
}

/// Records a password that was set. The write has happened, so whatever became of the ticket meanwhile, it is spent now.
fn spend(desk: &Desk<'_>, id: TicketId, spend: &Spend) -> Result<(), Fault> {
    let gone = || Fault::Told(Error::Broken(format!("no ticket {id} to spend")));
    let found = find(desk.connection, desk.key, id.bytes())?.ok_or_else(gone)?;
    let rows = desk
        .connection
        .prepare_cached(
            "UPDATE tickets SET state = 'spent', nonce = ?2, ends = ?3, claimed_at = NULL
             WHERE id = ?1 AND state <> 'spent'",
        )?
        .execute((id.bytes(), spend.nonce, spend.at.millis()))?;
    if rows == 0 {
        // Recorded before, by a caller or a reconciliation that was not answered.
        return Ok(());
    }
    let account = &found.ticket.account;
    void_others(desk, account, &Which::Acting, spend.at)?;
    overtake(desk, &account.to_string(), found.ticket.stamp.as_str(), spend.at)?;
    outbox::cancel(desk, &[*id.bytes()], "its link is spent", spend.at)?;
    desk.connection
        .prepare_cached(
            "INSERT INTO contacts (account, address, proved, how) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (account, address) DO UPDATE SET proved = excluded.proved, how = excluded.how",
        )?
        .execute((account.to_string(), found.ticket.contact.0, spend.proof.at.millis(), &spend.proof.how))?;
    desk.connection
        .prepare_cached(
            "INSERT INTO accounts (account, activated) VALUES (?1, ?2)
             ON CONFLICT (account) DO UPDATE SET activated = excluded.activated, undecided = 0",
        )?
        .execute((account.to_string(), spend.at.millis()))?;
    outbox::queue_all(desk, &spend.notices, &spend.tickets, spend.at)?;
    events::append(desk, &spend.event)
}

impl Sqlite {
    /// See [`crate::store::Store::claim`].
    pub(in crate::store) async fn claim(
        &self,
        hash: TokenHash,
        nonce: [u8; 16],
        server: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<Claimed>, Error> {
        let server = server.map(str::to_owned);
        self.writer.change(move |desk| claim(desk, hash, nonce, server.as_deref(), now)).await
    }

    /// See [`crate::store::Store::release`].
    pub(in crate::store) async fn release(
        &self,
        claimed: Claimed,
        tried: bool,
        event: Option<Event>,
    ) -> Result<(), Error> {
        self.writer
            .owed(move |desk| {
                let now = event.as_ref().map(|event| event.at);
                if give_back(desk, &claimed.ticket().id, true, tried, now)?
                    && let Some(event) = &event
                {
                    events::append(desk, event)?;
                }
                Ok(())
            })
            .await
    }

    /// See [`crate::store::Store::void`].
    pub(in crate::store) async fn void(&self, claimed: Claimed, event: Event) -> Result<(), Error> {
        self.settle(claimed.ticket().id, false, event, Vec::new(), Vec::new()).await
    }

    /// See [`crate::store::Store::spend`].
    pub(in crate::store) async fn spend(&self, ticket: TicketId, record: Spend) -> Result<(), Error> {
        self.writer.owed(move |desk| spend(desk, ticket, &record)).await
    }

    /// See [`crate::store::Store::spend_settled`].
    pub(in crate::store) async fn spend_settled(
        &self,
        ticket: TicketId,
        nonce: [u8; 16],
        record: Spend,
    ) -> Result<bool, Error> {
        self.writer
            .owed(move |desk| {
                let is_held = desk
                    .connection
                    .prepare_cached(
                        "SELECT 1 FROM tickets
                         WHERE id = ?1 AND nonce = ?2 AND doomed = 0 AND state IN ('claimed', 'unsure')",
                    )?
                    .exists((ticket.bytes(), nonce))?;
                if is_held {
                    spend(desk, ticket, &record)?;
                }
                Ok(is_held)
            })
            .await
    }

    /// See [`crate::store::Store::strand`].
    pub(in crate::store) async fn strand(&self, claimed: Claimed, event: Event) -> Result<(), Error> {
        self.writer
            .owed(move |desk| {
                let rows = desk
                    .connection
                    .prepare_cached("UPDATE tickets SET state = 'unsure' WHERE id = ?1 AND state = 'claimed'")?
                    .execute([claimed.ticket().id.bytes()])?;
                if rows == 1 { events::append(desk, &event) } else { Ok(()) }
            })
            .await
    }

    /// See [`crate::store::Store::open_claims`].
    pub(in crate::store) async fn open_claims(&self, before: Timestamp) -> Result<Vec<OpenClaim>, Error> {
        let key = self.key.clone();
        self.readers
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT * FROM tickets
                     WHERE claimed_at <= ?1 AND state IN ('claimed', 'unsure') ORDER BY claimed_at LIMIT 1000",
                )?;
                let mut rows = statement.query([before.millis()])?;
                let mut open = Vec::new();
                while let Some(row) = rows.next()? {
                    open.extend(read(row, &key)?.and_then(open_claim));
                }
                Ok(open)
            })
            .await
    }

    /// See [`crate::store::Store::open_claim`].
    pub(in crate::store) async fn open_claim(&self, ticket: TicketId) -> Result<Option<OpenClaim>, Error> {
        let key = self.key.clone();
        self.readers.read(move |connection| Ok(find(connection, &key, ticket.bytes())?.and_then(open_claim))).await
    }

    /// See [`crate::store::Store::settle`].
    pub(in crate::store) async fn settle(
        &self,
        ticket: TicketId,
        free: bool,
        event: Event,
        notices: Vec<NewNotice>,
        tickets: Vec<NewTicket>,
    ) -> Result<(), Error> {
        self.writer
            .owed(move |desk| {
                if give_back(desk, &ticket, free, false, Some(event.at))? {
                    outbox::queue_all(desk, &notices, &tickets, event.at)?;
                    events::append(desk, &event)?;
                }
                Ok(())
            })
            .await
    }

    /// See [`crate::store::Store::freeze`].
    pub(in crate::store) async fn freeze(
        &self,
        ticket: TicketId,
        until: Timestamp,
        event: Event,
    ) -> Result<bool, Error> {
        self.writer
            .change(move |desk| {
                let (now, latest, slack) = moments(desk.latest, event.at);
                let account: Option<String> = desk
                    .connection
                    .prepare_cached(&format!(
                        "UPDATE tickets SET state = 'spent', ends = ?2
                         WHERE id = ?1 AND purpose = 'not-me' AND {USABLE} RETURNING account"
                    ))?
                    .query_row((ticket.bytes(), now, latest, slack), |row| row.get(0))
                    .optional()?;
                let Some(account) = account else { return Ok(false) };
                desk.connection
                    .prepare_cached(
                        "INSERT INTO accounts (account, frozen_until) VALUES (?1, ?2)
                         ON CONFLICT (account) DO UPDATE
                         SET frozen_until = max(coalesce(frozen_until, 0), excluded.frozen_until)",
                    )?
                    .execute((&account, until.millis()))?;
                let account = super::seal::account(&account).ok_or_else(|| Fault::damaged("tickets"))?;
                void_others(desk, &account, &Which::Acting, event.at)?;
                events::append(desk, &event)?;
                Ok(true)
            })
            .await
    }
}
