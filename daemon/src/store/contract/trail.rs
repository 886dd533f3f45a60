//! The audit trail: filtered, whole, erasable; and what is counted and forgotten.

use super::*;
use crate::store::{Chain, Delivery, Ended};

#[tokio::test]
async fn p7_rows_say_who_did_what_to_whom() {
    for place in places() {
        let store = place.open().store;
        let olga = Actor::Operator { uid: 1000, name: "olga".into() };
        let asked = Event::new(at(1), EventKind::LinkRequested, olga, Some(account("ada")), "sent").because("phoned");
        store.record(asked.with("ticket", "T-17")).await.unwrap();
        store.record(event(EventKind::Thawed, "eve", 2)).await.unwrap();
        store.record(Event::new(at(3), EventKind::Restored, Actor::System, None, "voided")).await.unwrap();
        let rows = store.audit(Some(account("ada")), 9).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].number, rows[0].at, rows[0].kind.as_str()), (1, at(1), "link-requested"));
        assert_eq!((rows[0].actor_kind.as_str(), rows[0].actor.as_deref()), ("operator", Some("olga (uid 1000)")));
        assert_eq!((rows[0].account.as_deref(), rows[0].outcome.as_str()), (Some("7:ada"), "sent"));
        assert_eq!((rows[0].reason.as_deref(), rows[0].details.len()), (Some("phoned"), 1));
        let numbers: Vec<_> = store.audit(None, 2).await.unwrap().iter().map(|row| row.number).collect();
        assert_eq!(numbers, [3, 2], "newest first");
        assert_eq!(store.verify_audit().await, Ok(Chain::Whole(3)));
        drop(store);
        assert_eq!(place.open().store.verify_audit().await, Ok(Chain::Whole(3)));
    }
}

#[tokio::test]
async fn t131_a_person_is_erased_and_the_chain_stays_whole() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        assert_eq!(answer(&store, 2, "eve", 0).await, Issued::Made);
        let told = Event::new(at(5), EventKind::RequestEnded, Actor::System, None, "erased");
        assert_eq!(store.erase(&account("ada"), told).await, Ok(1));
        assert_eq!(store.verify_audit().await, Ok(Chain::Whole(3)));
        assert!(store.audit(Some(account("ada")), 9).await.unwrap().is_empty());
        assert!(store.ticket(hash(1), at(0)).await.unwrap().is_none());
        assert!(store.ticket(hash(2), at(0)).await.unwrap().is_some());
        let first = store.audit(None, 9).await.unwrap().pop().unwrap();
        assert_eq!((first.number, first.actor, first.account), (1, None, None));
    }
}

#[tokio::test]
async fn counts_say_what_waits() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        assert_eq!(store.accept(request(2, 7), vec![], None).await, Ok(Acceptance::Accepted));
        let counts = store.counts(at(9)).await.unwrap();
        assert_eq!((counts.requests_waiting, counts.oldest_request), (1, Some(at(7))));
        assert_eq!((counts.notices_waiting, counts.oldest_notice), (1, Some(at(0))));
        assert_eq!((counts.tickets_live, counts.claims_open, counts.events, counts.notices_failed), (2, 0, 1, 0));
        store.ping().await.unwrap();
    }
}

#[tokio::test]
async fn t131_what_has_outlived_its_time_is_forgotten_and_the_chain_stays_whole() {
    for place in places() {
        let config = StoreConfig { keep_tickets: 30 * DAY, ..place.config() };
        let store = open_with(config).store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let id = store.lease_notices(9, MINUTE, at(1)).await.unwrap().remove(0).notice.id;
        store.delivery(id, Delivery::Sent, at(1), None).await.unwrap();
        assert_eq!(store.accept(request(2, 0), vec![], None).await, Ok(Acceptance::Accepted));
        for n in 0..600 {
            store.record(event(EventKind::Thawed, "ada", n)).await.unwrap();
        }
        assert_eq!(store.count(vec![counter("a", "x", 1, MINUTE)], at(0)).await, Ok(None));
        let later = at(0).plus(31 * DAY);
        assert_eq!(store.prune(at(0).plus(29 * DAY)).await, Ok(false));
        assert!(store.ticket(hash(1), at(0)).await.unwrap().is_some());
        assert_eq!(store.prune(later).await, Ok(false));
        assert!(store.ticket(hash(1), at(0)).await.unwrap().is_none());
        assert!(store.outbox(9, false).await.unwrap().is_empty());
        assert_eq!(store.counts(later).await.unwrap().requests_waiting, 1, "what waits is kept");
        assert_eq!(store.verify_audit().await, Ok(Chain::Whole(601)));
        assert_eq!(store.prune(at(0).plus(401 * DAY)).await, Ok(true), "in slices");
        assert_eq!(store.verify_audit().await, Ok(Chain::Whole(101)));
        assert_eq!(store.prune(at(0).plus(401 * DAY)).await, Ok(false));
        assert_eq!(store.verify_audit().await, Ok(Chain::Whole(0)));
        let ended = Event { at: at(0).plus(401 * DAY), ..event(EventKind::RequestEnded, "ada", 0) };
        store.end_request(RequestId::from_bytes([2; 22]), Ended::Expired, None, ended).await.unwrap();
        assert_eq!(store.audit(None, 1).await.unwrap()[0].number, 602);
        assert_eq!(store.verify_audit().await, Ok(Chain::Whole(1)));
    }
}

#[tokio::test]
async fn a_long_chain_is_checked_in_slices_and_to_its_end() {
    for place in places() {
        let store = place.open().store;
        futures_util::future::join_all((0..4000).map(|_| store.record(event(EventKind::Thawed, "ada", 0)))).await;
        assert_eq!(store.verify_audit().await, Ok(Chain::Whole(4000)));
        store.record(event(EventKind::Thawed, "ada", 0)).await.unwrap();
        assert_eq!(store.verify_audit().await, Ok(Chain::Whole(4001)));
    }
}

#[tokio::test]
async fn p7_an_account_that_is_gone_is_found_by_its_stable_id() {
    for place in places() {
        let store = place.open().store;
        let (one, two) = (store.directory_key("one").await.unwrap(), store.directory_key("two").await.unwrap());
        let gone = AccountId { directory: one, stable: "aa-01".into() };
        let told = Event::new(at(1), EventKind::Thawed, Actor::System, Some(gone.clone()), "done");
        store.record(told).await.unwrap();
        let other = AccountId { directory: two, stable: "bb-02".into() };
        let told = Event::new(at(1), EventKind::Thawed, Actor::System, Some(other), "done");
        store.record(told).await.unwrap();
        assert_eq!(store.accounts_named("AA-01").await, Ok(vec![gone]));
        assert_eq!(store.accounts_named("aa").await, Ok(vec![]));
    }
}
