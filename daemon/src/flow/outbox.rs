//! Messages leave: each through the first channel of its kind that works, again and again for up to a day.
//!
//! A message's links are made here, from the ticket and the key ring, and exist only in memory. The same message has
//! the same id, date, links and bytes each time, so a repeat after a crash is recognisable as the same one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rekeyd_core::domain::{Actor, Event, EventKind, Notice, Purpose, Ticket, Timestamp};
use rekeyd_plugins::Delivered;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::rekeyd::{Parts, Rekeyd};
use super::trouble::{self, backoff};
use super::ways::Ways;
use crate::store::{Delivery, Error, LeasedNotice};

/// A message in hand for longer is handed out again.
const LEASE: Duration = Duration::from_mins(45);
/// A message that has waited in hand for so long is not tried any more; what is left of its lease is longer than one try
/// can last by any channel's own time limits.
const STALE: Duration = Duration::from_mins(25);
/// With nothing to do the outbox is looked at this often, for messages that were put back.
const IDLE: Duration = Duration::from_millis(500);
/// The longest wait of a message that is refused for now.
const LONGEST: Duration = Duration::from_mins(10);
/// A message that found every way shut is looked at again after so long at first, and at most: the ways themselves say when
/// one may be tried.
const SHUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// How many messages are leased ahead, for each that may be under way: few enough that one that comes now is soon under
/// way, too.
const AHEAD: usize = 4;
/// How many ended tries may wait to be recorded, for each that may be under way.
const RECORDS: usize = 8;

/// A record that the store can't take now is tried again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// How a try ended: by which channel, and how.
struct Tried {
    leased: LeasedNotice,
    channel: String,
    delivered: Delivered,
}

/// Sends messages until `stop` turns true; those under way are finished.
///
/// Three things go on at once, so that none waits for another: as many tries as the channels take side by side, the
/// recording of those that ended, and the leasing of the next ones.
pub async fn run(rekeyd: Arc<Rekeyd>, mut stop: watch::Receiver<bool>) {
    let mut ways = Ways::default();
    let mut ready: VecDeque<(Instant, LeasedNotice)> = VecDeque::new();
    let mut tries: JoinSet<Tried> = JoinSet::new();
    let mut records: JoinSet<()> = JoinSet::new();
    let mut leases: JoinSet<Result<Vec<LeasedNotice>, Error>> = JoinSet::new();
    // Whether there may be messages that are due; a lease that brings fewer than it asked for says that there are none.
    let mut more = true;
    let mut idle = false;
    while !*stop.borrow() {
        let open = ways.open(&rekeyd).await;
        while tries.len() < open
            && records.len() < open * RECORDS
            && let Some((since, leased)) = ready.pop_front()
        {
            if since.elapsed() < STALE {
                let parts = rekeyd.parts();
                tries.spawn(async move { attempt(&parts, leased).await });
            }
        }
        // Nobody knows for how long.
        if ways.are_shut() {
            for (_, leased) in ready.drain(..) {
                let delivered = Delivered::Shut("no way is open".into());
                let tried = Tried { leased, channel: String::new(), delivered };
                records.spawn(record(Arc::clone(&rekeyd), tried, stop.clone()));
            }
        }
        // The next ones are at hand before the last of these is out, and come many at once: each lease is a change of the
        // store.
        let most = if ways.are_shut() { open.saturating_sub(tries.len()) } else { open * AHEAD };
        let room = most.saturating_sub(ready.len());
        if more && leases.is_empty() && room > 0 && room >= most / 2 {
            let rekeyd = Arc::clone(&rekeyd);
            more = false;
            leases.spawn(async move {
                let leased = rekeyd.store.lease_notices(room, LEASE, rekeyd.now()).await;
                if leased.as_ref().is_ok_and(|leased| leased.len() == room) {
                    rekeyd.outbox_wake.notify_one();
                }
                leased
            });
        }
        tokio::select! {
            _ = stop.changed() => {}
            Some(tried) = tries.join_next() => match tried {
                Ok(tried) => {
                    records.spawn(record(Arc::clone(&rekeyd), tried, stop.clone()));
                }
                Err(error) => log::error!("a try at a message ended by a fault of rekeyd: {error}"),
            },
            Some(leased) = leases.join_next() => match leased {
                Ok(Ok(leased)) => {
                    idle = leased.is_empty();
                    let since = Instant::now();
                    ready.extend(leased.into_iter().map(|leased| (since, leased)));
                }
                Ok(Err(error)) => trouble::tell(&error, "the outbox can't be read"),
                Err(error) => log::error!("a look at the outbox ended by a fault of rekeyd: {error}"),
            },
            Some(_) = records.join_next() => {}
            () = rekeyd.outbox_wake.notified(), if !more => more = true,
            () = tokio::time::sleep(IDLE) => {
                more = true;
                if idle && tries.is_empty() && ready.is_empty() {
                    ways.probe(&rekeyd);
                }
            }
        }
    }
    // What is only leased comes back at the next start.
    while let Some(tried) = tries.join_next().await {
        if let Ok(tried) = tried {
            records.spawn(record(Arc::clone(&rekeyd), tried, stop.clone()));
        }
    }
    while records.join_next().await.is_some() {}
}

/// Tries one message once.
async fn attempt(parts: &Parts, leased: LeasedNotice) -> Tried {
    let (delivered, channel) = match notice_of(parts, &leased) {
        Some(notice) => deliver(parts, &leased, &notice).await,
        None => (Delivered::Never("its link is void".into()), String::new()),
    };
    Tried { leased, channel, delivered }
}

/// Records how a try went.
async fn record(rekeyd: Arc<Rekeyd>, tried: Tried, stop: watch::Receiver<bool>) {
    let now = rekeyd.now();
    let first_wait = rekeyd.parts().general.lives.retry;
    let id = tried.leased.notice.id;
    let (delivery, event) = outcome(tried, first_wait, now);
    let kept = until_kept(stop, AGAIN, || rekeyd.store.delivery(id, delivery.clone(), now, event.clone()));
    if let Err(error) = kept.await {
        trouble::tell(&error, "a delivery could not be recorded; the same message will go out again");
    }
}

/// Makes a record again and again while the store is too busy or too full for it, until the daemon ends: a delivery that
/// nobody knows of would go out once more. Meanwhile its place among the records is taken, so that few more are tried.
async fn until_kept<F: Future<Output = Result<(), Error>>>(
    mut stop: watch::Receiver<bool>,
    pause: Duration,
    keep: impl Fn() -> F,
) -> Result<(), Error> {
    loop {
        match keep().await {
            Err(Error::Busy | Error::Full(_)) if !*stop.borrow() => {}
            ended => return ended,
        }
        tokio::select! {
            _ = stop.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What follows from a try: how the message goes on, and what the trail says of it.
fn outcome(tried: Tried, first_wait: Duration, now: Timestamp) -> (Delivery, Option<Event>) {
    let Tried { leased, channel, delivered } = tried;
    let id = leased.notice.id.to_string();
    let event = |kind, outcome: &str, why: Option<&str>| {
        let mut event = Event::new(now, kind, Actor::System, Some(leased.notice.account.clone()), outcome)
            .with("notice", leased.notice.kind.word())
            .with("to", leased.notice.recipient.address.masked());
        event.reason = why.map(str::to_owned);
        event
    };
    // A message that waits is told of once.
    let postponed =
        |outcome, why: &str| (leased.attempts == 0).then(|| event(EventKind::NoticePostponed, outcome, Some(why)));
    let wait = backoff(leased.attempts, first_wait, LONGEST);
    match delivered {
        Delivered::Delivered => (Delivery::Sent, Some(event(EventKind::NoticeDelivered, "delivered", None))),
        Delivered::Never(why) => {
            log::warn!(event = "notice-failed", notice = id; "a message is given up: {why}");
            let event = event(EventKind::NoticeFailed, "failed", Some(&why));
            (Delivery::Failed(why), Some(event))
        }
        Delivered::Later(why) => {
            log::info!(event = "notice-later", notice = id; "a message waits: {why}");
            let event = postponed("later", &why);
            (Delivery::Later { due: now.plus(wait), reason: why }, event)
        }
        Delivered::Shut(why) => {
            log::debug!(event = "notice-later", notice = id; "a message waits for a way: {why}");
            let wait = backoff(leased.attempts, SHUT.0, SHUT.1);
            (Delivery::Later { due: now.plus(wait), reason: why }, None)
        }
        Delivered::Unsure(why) => {
            log::warn!(event = "notice-unsure", notice = id; "a message may have been taken: {why}");
            let event = event(EventKind::NoticePostponed, "unsure", Some(&why));
            // A lost answer is asked again only when the first try is hardly under way any more.
            (Delivery::Unsure { channel, due: now.plus(wait.max(2 * first_wait)), reason: why }, Some(event))
        }
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
        if !matches!(last.0, Delivered::Later(_) | Delivered::Shut(_)) {
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

#[cfg(test)]
mod tests {
    use rekeyd_core::domain::{AccountId, DirectoryKey, EmailAddress, NoticeId, NoticeKind, Recipient};

    use super::*;
    use crate::store::NewNotice;

    fn tried(attempts: u32, delivered: Delivered) -> Option<Tried> {
        let notice = NewNotice {
            id: NoticeId::from_bytes([1; 22]),
            kind: NoticeKind::ResetLink,
            account: AccountId { directory: DirectoryKey(1), stable: "a".into() },
            login: "ada".into(),
            name: None,
            languages: Vec::new(),
            recipient: Recipient { address: EmailAddress::parse("ada@example.org").ok()? },
            ticket: None,
            not_me: None,
            at: Timestamp::from_millis(0),
            deadline: Timestamp::from_millis(86_400_000),
        };
        let leased = LeasedNotice { notice, ticket: None, not_me: None, attempts, only: None };
        Some(Tried { leased, channel: "post".into(), delivered })
    }

    #[test]
    fn r8_what_is_refused_for_now_waits_longer_each_time_and_is_told_of_once() {
        let now = Timestamp::from_millis(0);
        let minute = Duration::from_mins(1);
        let waits: Vec<_> = (0..7)
            .filter_map(|attempts| tried(attempts, Delivered::Later("greylisted".into())))
            .map(|tried| match outcome(tried, minute, now) {
                (Delivery::Later { due, .. }, event) => (due.millis() / 60_000, event.is_some()),
                _ => (0, false),
            })
            .collect();
        let minutes = [1, 2, 4, 8, 10, 10, 10];
        assert_eq!(waits, minutes.map(|wait| (wait, wait == 1)));
    }

    #[tokio::test]
    async fn r10_a_delivery_is_recorded_as_soon_as_the_store_takes_it() {
        let (stop, stopped) = watch::channel(false);
        let tries = std::cell::Cell::new(0);
        let pause = Duration::from_millis(1);
        let keep = || {
            tries.set(tries.get() + 1);
            std::future::ready(match tries.get() {
                1 => Err(Error::Busy),
                2 => Err(Error::Full("no space".into())),
                3 => Ok(()),
                _ => Err(Error::Broken("gone".into())),
            })
        };
        assert_eq!(until_kept(stopped.clone(), pause, keep).await, Ok(()));
        assert_eq!(tries.get(), 3);
        assert!(matches!(until_kept(stopped.clone(), pause, keep).await, Err(Error::Broken(_))), "for good");
        assert_eq!(tries.get(), 4);
        stop.send_replace(true);
        tries.set(0);
        assert_eq!(until_kept(stopped, pause, keep).await, Err(Error::Busy), "once more, and the daemon ends");
        assert_eq!(tries.get(), 1);
    }

    #[test]
    fn r8_a_shut_way_costs_a_message_no_long_wait() {
        let now = Timestamp::from_millis(0);
        for (attempts, seconds) in [(0, 1), (1, 2), (20, 10)] {
            let Some(tried) = tried(attempts, Delivered::Shut("down".into())) else { continue };
            let (delivery, event) = outcome(tried, Duration::from_mins(1), now);
            let wanted = now.plus(Duration::from_secs(seconds));
            assert!(matches!(delivery, Delivery::Later { due, .. } if due == wanted) && event.is_none());
        }
    }
}
