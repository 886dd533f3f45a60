//! A request answered with a link: joined to a fresh ticket, slowed down, or given tickets and messages of its own.

use std::sync::Arc;

use rekeyd_core::domain::{Event, EventKind, Purpose, RequestId, TicketId};

use super::change::Manner;
use super::fair::Fair;
use super::fault::Fault;
use super::pace::{Look, Steps, keyed, look, take};
use super::requests::{End, end};
use super::tickets::{USABLE, Which, insert, moments, sent_notices, void_others};
use super::writer::Desk;
use super::{Sqlite, events, outbox};
use crate::store::{Counter, Error, Issue, Issued, NewTicket};

/// The scope of the counter that the spare one stands in for.
const DAY: &str = "account-day";

/// The tickets whose links a request would get: those of "this was not me" go along with any message.
fn links(issue: &Issue) -> impl Iterator<Item = &NewTicket> {
    issue.tickets.iter().filter(|new| new.ticket.purpose != Purpose::NotMe)
}

/// The fresh tickets that the request can join: for each of its links a live one of the same account, purpose, origin,
/// address and password generation.
fn joinable(desk: &Desk<'_>, issue: &Issue) -> Result<Option<Vec<[u8; 22]>>, Fault> {
    let (now, latest, slack) = moments(desk.latest, issue.event.at);
    let mut joined = Vec::new();
    for NewTicket { ticket, .. } in links(issue) {
        let mut statement = desk.connection.prepare_cached(&format!(
            "SELECT id FROM tickets
             WHERE account = ?1 AND purpose = ?5 AND origin = ?6 AND contact = ?7 AND stamp = ?8 AND issued > ?9
                 AND {USABLE}
             ORDER BY issued DESC LIMIT 1"
        ))?;
        let mut found = statement.query((
            ticket.account.to_string(),
            now,
            latest,
            slack,
            ticket.purpose.word(),
            ticket.origin.word(),
            ticket.contact.0,
            ticket.stamp.as_str(),
            issue.merge_after.millis(),
        ))?;
        match found.next()? {
            Some(row) => joined.push(row.get(0)?),
            None => return Ok(None),
        }
    }
    // The other way round: an address that was dropped since makes it another set.
    let Some(NewTicket { ticket, .. }) = links(issue).next() else { return Ok(None) };
    let alive: i64 = desk
        .connection
        .prepare_cached(&format!(
            "SELECT count(DISTINCT contact) FROM tickets WHERE account = ?1 AND purpose = ?5 AND {USABLE}"
        ))?
        .query_row((ticket.account.to_string(), now, latest, slack, ticket.purpose.word()), |row| row.get(0))?;
    Ok((usize::try_from(alive) == Ok(joined.len())).then_some(joined))
}

/// Joins the request to tickets, and sends their messages again if the pace allows it.
fn join(desk: &Desk<'_>, issue: &Issue, tickets: &[[u8; 22]]) -> Result<Issued, Fault> {
    let now = issue.event.at;
    end(desk, issue.request, true, &End { state: "merged", reason: None, ticket: tickets.first().copied(), at: now })?;
    let sent = sent_notices(desk, tickets)?;
    let mut again = false;
    if !sent.is_empty() {
        let counters: Vec<_> = issue.counters.iter().chain([&issue.resend]).cloned().collect();
        if let Look::Go(steps) = look(desk, &keyed(desk.key, &counters), now)? {
            take(desk, steps)?;
            for notice in sent {
                outbox::queue_again(desk, notice, issue.notices.iter().map(|notice| notice.deadline).max(), now)?;
            }
            again = true;
        }
    }
    let mut event = in_place_of(issue, EventKind::RequestMerged, "merged");
    if let Some(ticket) = tickets.first() {
        event = event.with("ticket", TicketId::from_bytes(*ticket).to_string());
    }
    events::append(desk, &event.with("again", if again { "yes" } else { "no" }))?;
    Ok(Issued::Merged { again })
}

/// The event of an issue that made no ticket: same moment, actor and account, another end.
fn in_place_of(issue: &Issue, kind: EventKind, outcome: &str) -> Event {
    let Event { at, actor, account, .. } = issue.event.clone();
    Event::new(at, kind, actor, account, outcome).with("request", issue.request.to_string())
}

fn issue(desk: &Desk<'_>, issue: &Issue, places: &Fair) -> Result<Issued, Fault> {
    if !is_leased(desk, issue.request)? {
        return Err(Fault::busy());
    }
    if let Some(tickets) = joinable(desk, issue)? {
        return join(desk, issue, &tickets);
    }
    let now = issue.event.at;
    let Some(steps) = allowance(desk, issue)? else {
        end(desk, issue.request, true, &End { state: "refused", reason: Some("paced"), ticket: None, at: now })?;
        events::append(desk, &in_place_of(issue, EventKind::RequestEnded, "refused").because("paced"))?;
        return Ok(Issued::Paced);
    };
    take(desk, steps)?;
    for NewTicket { ticket, .. } in links(issue) {
        void_others(desk, &ticket.account, &Which::Of(ticket.purpose), now)?;
    }
    let ticket = links(issue).next().map(|new| *new.ticket.id.bytes());
    end(desk, issue.request, true, &End { state: "made", reason: None, ticket, at: now })?;
    insert(desk, &issue.tickets, &issue.notices)?;
    // Only what is sent takes a place.
    let place = places.place(&issue.event.actor, now);
    issue.notices.iter().try_for_each(|notice| outbox::queue_in(desk, place, notice, now))?;
    events::append(desk, &issue.event)?;
    Ok(Issued::Made)
}

/// The steps of all counters; where only the day's budget of the account is spent, the spare counter's in its place.
fn allowance(desk: &Desk<'_>, issue: &Issue) -> Result<Option<Steps>, Fault> {
    let now = issue.event.at;
    if let Look::Go(steps) = look(desk, &keyed(desk.key, &issue.counters), now)? {
        return Ok(Some(steps));
    }
    let others = issue.counters.iter().filter(|counter| counter.scope != DAY);
    let counters: Vec<Counter> = others.chain([&issue.spare]).cloned().collect();
    Ok(match look(desk, &keyed(desk.key, &counters), now)? {
        Look::Go(steps) => Some(steps),
        Look::Wait(_) => None,
    })
}

fn is_leased(desk: &Desk<'_>, id: RequestId) -> Result<bool, Fault> {
    Ok(desk
        .connection
        .prepare_cached("SELECT 1 FROM requests WHERE id = ?1 AND state = 'waiting' AND leased = 1")?
        .exists([id.bytes()])?)
}

impl Sqlite {
    /// See [`crate::store::Store::issue`].
    pub(in crate::store) async fn issue(&self, wanted: Issue) -> Result<Issued, Error> {
        let places = Arc::clone(&self.notice_places);
        self.writer.make(Manner::BEHIND, move |desk| issue(desk, &wanted, &places)).await
    }
}
