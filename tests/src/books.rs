//! What a world's database says, read in one look and without the daemon: every row that an invariant is about.

use std::{collections::BTreeMap, path::Path};

use data_encoding::BASE64URL_NOPAD;
use rusqlite::{Connection, OpenFlags, Row};

/// What a database says.
#[derive(Clone, Default)]
pub struct Books {
    /// Accepted requests by their handle.
    pub requests: BTreeMap<String, Request>,
    /// Tickets by id.
    pub tickets: BTreeMap<String, Ticket>,
    /// Messages by id.
    pub notices: BTreeMap<String, Notice>,
    /// The accounts whose passwords operators are replacing.
    pub replacements: Vec<String>,
    /// When each counter is empty again.
    pub paces: BTreeMap<Vec<u8>, i64>,
    /// The audit trail by number.
    pub events: BTreeMap<i64, Event>,
    /// How often all tickets were declared void, and one more.
    pub era: i64,
    /// What SQLite says of the file: `ok`.
    pub integrity: String,
}

/// An accepted request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// `waiting`, `made`, `merged`, `refused` or `expired`.
    pub state: String,
    /// The ticket that it ended in.
    pub ticket: Option<String>,
    /// Whether a worker has it in hand.
    pub is_leased: bool,
}

/// A ticket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ticket {
    /// `live`, `claimed`, `unsure`, `spent` or `void`.
    pub state: String,
    /// `reset`, `activation` or `not-me`.
    pub purpose: String,
    /// Whose.
    pub account: String,
    /// How often the directory refused a password.
    pub tries: i64,
}

/// A message of the outbox.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Notice {
    /// `queued`, `sending`, `sent`, `failed`, `cancelled` or `expired`.
    pub state: String,
    /// What it tells.
    pub kind: String,
    /// Whom.
    pub account: String,
    /// The ticket of its link.
    pub ticket: Option<String>,
    /// How many answers were lost.
    pub unsure: i64,
    /// When it is tried next, in milliseconds since 1970.
    pub due: Option<i64>,
}

/// A row of the trail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: String,
    /// To whom.
    pub account: Option<String>,
    /// The rest: outcome, reason and details as JSON.
    pub payload: String,
    /// The chain's hash.
    pub hash: Vec<u8>,
}

impl Event {
    /// How it ended.
    pub fn outcome(&self) -> String {
        let payload: serde_json::Value = serde_json::from_str(&self.payload).expect("JSON");
        payload["outcome"].as_str().unwrap_or_default().to_owned()
    }
}

impl Ticket {
    /// Whether its link sets a password.
    pub fn sets_a_password(&self) -> bool {
        self.purpose != "not-me"
    }

    /// Whether it has neither ended nor can be used: a SET has it.
    pub fn is_held(&self) -> bool {
        ["claimed", "unsure"].contains(&self.state.as_str())
    }
}

impl Notice {
    /// Whether it is still to be sent.
    pub fn waits(&self) -> bool {
        ["queued", "sending"].contains(&self.state.as_str())
    }
}

impl Books {
    /// Reads a database as it is at one moment; a daemon may be writing to it.
    pub fn read(file: &Path) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(file, flags).expect("the database");
        database.busy_timeout(std::time::Duration::from_secs(10)).expect("a time limit");
        database.execute_batch("BEGIN").expect("one moment");
        let era = "SELECT coalesce((SELECT value FROM meta WHERE name = 'era'), 1)";
        Self {
            requests: table(&database, "SELECT id, state, ticket, leased FROM requests", |row| {
                let (state, is_leased) = (row.get("state")?, row.get("leased")?);
                Ok((id(row, "id")?, Request { state, ticket: maybe_id(row, "ticket")?, is_leased }))
            }),
            tickets: table(&database, "SELECT id, state, purpose, account, tries FROM tickets", |row| {
                let (state, purpose, account) = (row.get("state")?, row.get("purpose")?, row.get("account")?);
                Ok((id(row, "id")?, Ticket { state, purpose, account, tries: row.get("tries")? }))
            }),
            notices: table(&database, "SELECT id, state, kind, account, ticket, unsure, due FROM outbox", |row| {
                let (state, kind, account) = (row.get("state")?, row.get("kind")?, row.get("account")?);
                let (ticket, unsure, due) = (maybe_id(row, "ticket")?, row.get("unsure")?, row.get("due")?);
                Ok((id(row, "id")?, Notice { state, kind, account, ticket, unsure, due }))
            }),
            replacements: table(&database, "SELECT account FROM replacements", |row| row.get(0)),
            paces: table(&database, "SELECT key, tat FROM paces", |row| Ok((row.get(0)?, row.get(1)?))),
            events: table(&database, "SELECT seq, kind, account, payload, hash FROM events", |row| {
                let (kind, account, hash) = (row.get("kind")?, row.get("account")?, row.get("hash")?);
                let payload = row.get::<_, Option<String>>("payload")?.unwrap_or_else(|| "{}".to_owned());
                Ok((row.get("seq")?, Event { kind, account, payload, hash }))
            }),
            era: database.query_row(era, [], |row| row.get(0)).expect("the era"),
            integrity: database.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).expect("a check"),
        }
    }

    /// How many rows of the trail are of a kind.
    pub fn count(&self, kind: &str) -> usize {
        self.events.values().filter(|event| event.kind == kind).count()
    }

    /// How many rows of the trail about an account are of a kind and ended so.
    pub fn count_of(&self, account: &str, kind: &str, outcome: &str) -> usize {
        let of_it = |event: &&Event| event.kind == kind && event.account.as_deref() == Some(account);
        self.events.values().filter(of_it).filter(|event| event.outcome() == outcome).count()
    }

    /// Whether anything is still to be done: requests, messages, claims, replacements. Says what.
    pub fn open(&self) -> Vec<String> {
        let requests = self.requests.iter().filter(|(_, request)| request.state == "waiting");
        let notices = self.notices.iter().filter(|(_, notice)| notice.waits());
        let claims = self.tickets.iter().filter(|(_, ticket)| ticket.is_held());
        let requests = requests.map(|(id, _)| format!("the request {id} waits"));
        let notices = notices.map(|(id, notice)| format!("the message {id} ({}) is {}", notice.kind, notice.state));
        let claims = claims.map(|(id, ticket)| format!("the ticket {id} is {}", ticket.state));
        let replacements = self.replacements.iter().map(|account| format!("a replacement for {account} is open"));
        requests.chain(notices).chain(claims).chain(replacements).collect()
    }
}

fn table<T, C: FromIterator<T>>(
    database: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> C {
    let mut statement = database.prepare(sql).expect("a statement");
    let rows = statement.query_map([], read).expect("rows");
    rows.collect::<rusqlite::Result<_>>().expect("a row that can be read")
}

fn id(row: &Row<'_>, column: &str) -> rusqlite::Result<String> {
    Ok(BASE64URL_NOPAD.encode(&row.get::<_, [u8; 22]>(column)?))
}

fn maybe_id(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<String>> {
    Ok(row.get::<_, Option<[u8; 22]>>(column)?.map(|id| BASE64URL_NOPAD.encode(&id)))
}
