//! Messages leave: each through the first channel of its kind that works, again and again for up to a day.
//!
//! A message's links are made here, from the ticket and the key ring, and exist only in memory. The same message has
//! the same id, date, links and bytes each time, so a repeat after a crash is recognisable as the same one.

use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::{Actor, Event, EventKind, Notice, Purpose, Ticket};
use rekeyd_plugins::Delivered;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::rekeyd::{Parts, Rekeyd};
use super::trouble::{self, backoff};
use crate::store::{Delivery, LeasedNotice};

/// How many messages are under way at once.
const AT_ONCE: usize = 8;
/// A message in hand for longer is handed out again; longer than any channel's own time limits.
const LEASE: Duration = Duration::from_mins(20);
/// With nothing to do the outbox is looked at this often, for messages that were put back.
const IDLE: Duration = Duration::from_millis(500);
/// A lost answer is asked again only when the first try can't be under way any more.
const UNSURE: Duration = Duration::from_mins(2);

/// Sends messages until `stop` turns true; those in hand are finished.
pub async fn run(rekeyd: Arc<Rekeyd>, mut stop: watch::Receiver<bool>) {
    let mut hands: JoinSet<()> = JoinSet::new();
    while !*stop.borrow() {
        let free = AT_ONCE.saturating_sub(hands.len());
        let leased = match rekeyd.store.lease_notices(free, LEASE, rekeyd.now()).await {
            Ok(leased) => leased,
            Err(error) => {
                trouble::tell(&error, "the outbox can't be read");
                tokio::time::sleep(IDLE).await;
                continue;
            }
        };
        let took = leased.len();
        for notice in leased {
            let rekeyd = Arc::clone(&rekeyd);
            hands.spawn(async move { send(&rekeyd, notice).await });
        }
        if took > 0 && hands.len() < AT_ONCE {
            continue;
        }
        tokio::select! {
            _ = stop.changed() => {}
            Some(_) = hands.join_next(), if !hands.is_empty() => {}
            () = rekeyd.outbox_wake.notified(), if hands.len() < AT_ONCE => {}
            () = tokio::time::sleep(IDLE) => {}
        }
    }
    while hands.join_next().await.is_some() {}
}

/// Tries one message once and records how that went.
async fn send(rekeyd: &Rekeyd, leased: LeasedNotice) {
    let parts = rekeyd.parts();
    let (id, account) = (leased.notice.id, leased.notice.account.clone());
    let (delivered, channel) = match notice_of(&parts, &leased) {
        Some(notice) => deliver(&parts, &leased, &notice).await,
        None => (Delivered::Never("its link is void".into()), String::new()),
    };
    let now = rekeyd.now();
    let event = |kind, outcome: &str, why: Option<&str>| {
        let mut event = Event::new(now, kind, Actor::System, Some(account.clone()), outcome)
            .with("notice", leased.notice.kind.word())
            .with("to", leased.notice.recipient.address.masked());
        event.reason = why.map(str::to_owned);
        event
    };
    let later = |wait, reason: &str| Delivery::Later { due: now.plus(wait), reason: reason.to_owned() };
    let wait = backoff(leased.attempts, Duration::from_secs(2), Duration::from_mins(10));
    let (delivery, event) = match &delivered {
        Delivered::Delivered => (Delivery::Sent, Some(event(EventKind::NoticeDelivered, "delivered", None))),
        Delivered::Never(why) => {
            log::warn!(event = "notice-failed", notice = id.to_string(); "a message is given up: {why}");
            (Delivery::Failed(why.clone()), Some(event(EventKind::NoticeFailed, "failed", Some(why))))
        }
        Delivered::Later(why) => {
            log::info!(event = "notice-later", notice = id.to_string(); "a message waits: {why}");
            (later(wait, why), None)
        }
        Delivered::Unsure(why) => {
            log::warn!(event = "notice-unsure", notice = id.to_string(); "a message may have been taken: {why}");
            let due = now.plus(wait.max(UNSURE));
            (Delivery::Unsure { channel, due, reason: why.clone() }, None)
        }
    };
    if let Err(error) = rekeyd.store.delivery(id, delivery, now, event).await {
        log::error!(error:? = error; "a delivery could not be recorded; the same message will go out again");
    }
}

/// Hands the message to the first channel of its kind that takes it, and names that channel. Only a channel that surely
/// did not take it lets the next one try, and what one may have taken only that one may repeat.
async fn deliver(parts: &Parts, leased: &LeasedNotice, notice: &Notice) -> (Delivered, String) {
    let recipient = &leased.notice.recipient;
    let mut last = (Delivered::Later("no channel of this kind is configured".into()), String::new());
    let may = |name: &str| leased.only.as_deref().is_none_or(|only| only == name);
    let channels = parts.channels.iter().filter(|channel| channel.kind() == recipient.kind() && may(channel.name()));
    for channel in channels {
        last = (channel.deliver(recipient, notice).await, channel.name().to_owned());
        if !matches!(last.0, Delivered::Later(_)) {
            break;
        }
    }
    last
}

/// The message with its links, or `None` where the ticket of its link has died since.
fn notice_of(parts: &Parts, leased: &LeasedNotice) -> Option<Notice> {
    let link = |ticket: &Ticket| {
        let path = match ticket.purpose {
            Purpose::NotMe => "/not-me/",
            Purpose::Activation | Purpose::Reset => "/r/",
        };
        let token = parts.keys.token(ticket.key, &ticket.id, ticket.purpose, &ticket.account, &ticket.contact)?;
        Some(token.link(&parts.identity.public_url, path))
    };
    let (ticket, valid_for) = match (&leased.notice.ticket, &leased.ticket) {
        (None, _) => (None, None),
        (Some(_), Some((ticket, life))) => (Some(link(ticket)?), Some(*life)),
        (Some(_), None) => return None,
    };
    Some(Notice {
        id: leased.notice.id,
        kind: leased.notice.kind,
        languages: leased.notice.languages.clone(),
        login: leased.notice.login.clone(),
        name: leased.notice.name.clone(),
        link: ticket,
        not_me: leased.not_me.as_ref().and_then(link),
        valid_for,
        at: leased.notice.at,
    })
}
