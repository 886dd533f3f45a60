//! The outbox: leased, delivered, repeated, given up.

use super::*;
use crate::store::Delivery;

#[tokio::test]
async fn b2_5_a_message_in_a_dead_workers_hands_goes_out_again_the_same() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let first = store.lease_notices(9, MINUTE, at(1)).await.unwrap().remove(0);
        assert_eq!(first.attempts, 0);
        assert!(store.lease_notices(9, MINUTE, at(1)).await.unwrap().is_empty());
        drop(store);
        let store = place.open().store;
        let again = store.lease_notices(9, MINUTE, at(1)).await.unwrap().remove(0);
        assert_eq!((again.notice.id, again.notice.at, again.attempts), (first.notice.id, first.notice.at, 1));
        assert_eq!(again.notice.recipient, first.notice.recipient);
        assert_eq!((again.notice.login.as_str(), again.notice.name.as_deref()), ("ada", Some("Ada Lovelace")));
        assert_eq!(again.ticket.map(|(ticket, _)| ticket), first.ticket.map(|(ticket, _)| ticket));
        assert_eq!(store.lease_notices(9, MINUTE, at(61)).await.unwrap().len(), 1, "a lease runs out");
    }
}

#[tokio::test]
async fn a_delivery_ends_once() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let id = store.lease_notices(9, MINUTE, at(1)).await.unwrap().remove(0).notice.id;
        let told = || Some(event(EventKind::NoticeDelivered, "ada", 2));
        let later = Delivery::Later { due: at(100), reason: "greylisted".into() };
        store.delivery(id, later, at(2), None).await.unwrap();
        let row = store.outbox(9, true).await.unwrap().remove(0);
        assert_eq!((row.state.as_str(), row.reason.as_deref(), row.due), ("queued", Some("greylisted"), Some(at(100))));
        assert_eq!((row.recipient.as_str(), row.login.as_str(), row.attempts), ("a…@e….org", "ada", 1));
        assert!(store.lease_notices(9, MINUTE, at(99)).await.unwrap().is_empty());
        assert_eq!(store.lease_notices(9, MINUTE, at(100)).await.unwrap().len(), 1);
        store.delivery(id, Delivery::Sent, at(101), told()).await.unwrap();
        store.delivery(id, Delivery::Sent, at(102), told()).await.unwrap();
        store.delivery(id, Delivery::Failed("too late".into()), at(103), told()).await.unwrap();
        assert_eq!(store.outbox(9, false).await.unwrap()[0].state, "sent");
        assert!(store.outbox(9, true).await.unwrap().is_empty());
        let trail = store.audit(None, 99).await.unwrap();
        assert_eq!(trail.iter().filter(|row| row.kind == "notice-delivered").count(), 1);
    }
}

#[tokio::test]
async fn i5_a_message_past_its_deadline_is_expired_and_told_of() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        assert!(store.lease_notices(9, MINUTE, at(0).plus(DAY)).await.unwrap().is_empty());
        assert_eq!(store.outbox(9, false).await.unwrap()[0].state, "expired");
        let told = store.audit(Some(account("ada")), 1).await.unwrap().remove(0);
        assert_eq!((told.kind.as_str(), told.outcome.as_str()), ("notice-failed", "expired"));
        assert_eq!(store.counts(at(1).plus(DAY)).await.unwrap().notices_failed, 1);
    }
}

#[tokio::test]
async fn r9_fresh_messages_do_not_wait_behind_deferred_ones() {
    for place in places() {
        let store = place.open().store;
        for n in 1..=4 {
            assert_eq!(answer(&store, n, &format!("person{n}"), 0).await, Issued::Made);
        }
        for leased in store.lease_notices(9, MINUTE, at(1)).await.unwrap() {
            let later = Delivery::Later { due: at(10), reason: "the relay is down".into() };
            store.delivery(leased.notice.id, later, at(1), None).await.unwrap();
        }
        assert_eq!(answer(&store, 5, "ada", 20).await, Issued::Made);
        let leased = store.lease_notices(2, MINUTE, at(20)).await.unwrap();
        assert_eq!(leased.iter().map(|leased| leased.attempts).collect::<Vec<_>>(), [1, 0], "fresh ones came last");
    }
}

#[tokio::test]
async fn r9_deferred_messages_are_not_starved_by_leases_of_one() {
    for place in places() {
        let store = place.open().store;
        for n in 1..=4 {
            assert_eq!(answer(&store, n, &format!("person{n}"), 0).await, Issued::Made);
        }
        for leased in store.lease_notices(2, MINUTE, at(1)).await.unwrap() {
            let later = Delivery::Later { due: at(2), reason: "the relay is down".into() };
            store.delivery(leased.notice.id, later, at(1), None).await.unwrap();
        }
        let mut attempts = Vec::new();
        for _ in 0..4 {
            attempts.push(store.lease_notices(1, MINUTE, at(3)).await.unwrap()[0].attempts);
        }
        assert_eq!(attempts, [1, 0, 1, 0]);
    }
}

#[tokio::test]
async fn p5_a_lost_answer_is_repeated_by_its_channel_alone_and_not_for_ever() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let lost = |due| Delivery::Unsure { channel: "email".into(), due: at(due), reason: "timeout".into() };
        let first = store.lease_notices(9, MINUTE, at(1)).await.unwrap().remove(0);
        assert_eq!(first.only, None);
        let id = first.notice.id;
        store.delivery(id, lost(100), at(2), None).await.unwrap();
        store.delivery(id, lost(100), at(3), None).await.unwrap();
        assert_eq!(store.outbox(9, true).await.unwrap().len(), 1, "one try is counted once");
        let expires = async || store.ticket(hash(1), at(2)).await.unwrap().unwrap().ticket.expires;
        assert_eq!(expires().await, Some(at(2).plus(LIFE)), "the person may have it");
        let row = store.outbox(9, true).await.unwrap().remove(0);
        assert_eq!((row.state.as_str(), row.reason.as_deref(), row.due), ("queued", Some("timeout"), Some(at(100))));

        let second = store.lease_notices(9, MINUTE, at(100)).await.unwrap().remove(0);
        assert_eq!((second.notice.id, second.only.as_deref()), (id, Some("email")));
        let later = Delivery::Later { due: at(200), reason: "the relay is down".into() };
        store.delivery(id, later, at(101), None).await.unwrap();
        let third = store.lease_notices(9, MINUTE, at(200)).await.unwrap().remove(0);
        assert_eq!(third.only.as_deref(), Some("email"));
        assert_eq!(expires().await, Some(at(2).plus(LIFE)));
        store.delivery(id, lost(400), at(301), None).await.unwrap();
        let row = store.outbox(9, false).await.unwrap().remove(0);
        assert_eq!((row.state.as_str(), row.reason.as_deref(), row.due), ("sent", Some("the answer was lost"), None));
        let told = store.audit(None, 1).await.unwrap().remove(0);
        assert_eq!((told.kind.as_str(), told.outcome.as_str()), ("notice-delivered", "unsure"));
    }
}

#[tokio::test]
async fn p5_a_message_that_ends_with_its_link_is_told_of() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let other = Issue { merge_after: at(1), ..issue(2, "ada", 1) };
        assert_eq!(answer_with(&store, 2, 1, other).await, Issued::Made);
        assert_eq!(store.restored(event(EventKind::Restored, "ada", 2)).await, Ok(3));
        let trail = store.audit(Some(account("ada")), 9).await.unwrap();
        let cancelled = trail.iter().filter(|row| (&*row.kind, &*row.outcome) == ("notice-failed", "cancelled"));
        assert_eq!(cancelled.count(), 2);
        assert!(store.outbox(9, true).await.unwrap().is_empty());
    }
}
