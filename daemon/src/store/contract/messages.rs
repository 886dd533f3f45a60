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
        assert_eq!(leased.iter().map(|leased| leased.attempts).collect::<Vec<_>>(), [0, 1]);
    }
}
