//! Tickets: made, joined, slowed down, replaced.

use super::*;
use crate::store::{Delivery, TicketState};

async fn state(store: &Store, n: u8) -> TicketState {
    store.ticket(hash(n), at(0)).await.unwrap().unwrap().state
}

#[tokio::test]
async fn a_ticket_reads_back_as_it_was_made() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let stored = store.ticket(hash(1), at(0)).await.unwrap().unwrap();
        let made = ticket(1, Purpose::Reset, "ada", 0).ticket;
        assert_eq!((stored.ticket.stamp.second(), stored.held_by), (made.stamp.second(), None));
        assert_eq!((stored.ticket, stored.state), (made, TicketState::Live));
        assert!(store.ticket(hash(77), at(0)).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn t28_a_newer_link_ends_older_ones_of_its_purpose() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let mut activation = issue(2, "ada", 0);
        activation.tickets[0].ticket.purpose = Purpose::Activation;
        assert_eq!(answer_with(&store, 2, 0, activation).await, Issued::Made);
        assert_eq!(answer(&store, 3, "eve", 0).await, Issued::Made);
        assert_eq!(answer(&store, 4, "ada", 600).await, Issued::Made);
        assert_eq!(state(&store, 1).await, TicketState::Void);
        assert_eq!(state(&store, 101).await, TicketState::Live, "\"this was not me\" outlives");
        for n in [2, 3, 4] {
            assert_eq!(state(&store, n).await, TicketState::Live);
        }
        let mut kinds: Vec<_> = store
            .lease_notices(9, MINUTE, at(600))
            .await
            .unwrap()
            .iter()
            .map(|leased| *leased.notice.id.bytes().first().unwrap())
            .collect();
        kinds.sort_unstable();
        assert_eq!(kinds, [2, 3, 4], "the message of a void link is not sent");
    }
}

#[tokio::test]
async fn t29_a_repeated_request_joins_the_fresh_link() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let joined = |again| Issued::Merged { again };
        assert_eq!(answer(&store, 2, "ada", 10).await, joined(false), "the message still waits");
        let first = store.lease_notices(9, MINUTE, at(20)).await.unwrap().remove(0);
        assert_eq!(answer(&store, 3, "ada", 21).await, joined(false), "it is being sent");
        store.delivery(first.notice.id, Delivery::Sent, at(22), None).await.unwrap();
        assert_eq!(answer(&store, 4, "ada", 30).await, joined(true));
        let second = store.lease_notices(9, MINUTE, at(31)).await.unwrap().remove(0);
        assert_eq!((second.notice.id, second.notice.at), (first.notice.id, first.notice.at), "the same message");
        assert_eq!(second.ticket.unwrap().0.id, first.ticket.unwrap().0.id);
        store.delivery(second.notice.id, Delivery::Sent, at(32), None).await.unwrap();
        assert_eq!(answer(&store, 5, "ada", 40).await, joined(false), "at most once a minute");
        assert_eq!(
            store.ticket(hash(1), at(0)).await.unwrap().unwrap().ticket.expires,
            Some(at(32).plus(LIFE)),
            "what goes out again works as long as it says"
        );
        assert_eq!(state(&store, 1).await, TicketState::Live);
        assert_eq!(answer(&store, 6, "ada", 301).await, Issued::Made, "no longer fresh");
    }
}

#[tokio::test]
async fn another_address_password_or_origin_is_not_joined() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let mut moved = issue(2, "ada", 1);
        moved.tickets[0].ticket.contact = AddressHash([8; 32]);
        assert_eq!(answer_with(&store, 2, 1, moved).await, Issued::Made);
        let mut changed = issue(3, "ada", 2);
        changed.tickets[0].ticket.contact = AddressHash([8; 32]);
        changed.tickets[0].ticket.stamp = Stamp::new("pwdChangedTime=20260202000000Z", None);
        assert_eq!(answer_with(&store, 3, 2, changed).await, Issued::Made);
        let mut asked = issue(4, "eve", 3);
        asked.tickets[0].ticket.origin = Origin::Operator;
        assert_eq!(answer_with(&store, 4, 3, asked).await, Issued::Made);
        assert_eq!(answer(&store, 5, "eve", 4).await, Issued::Made);
        let mut both = issue(6, "bob", 5);
        both.tickets.push(NewTicket { hash: hash(60), ..ticket(60, Purpose::Reset, "bob", 5) });
        both.tickets[2].ticket.contact = AddressHash([7; 32]);
        assert_eq!(answer_with(&store, 6, 5, both).await, Issued::Made);
        assert_eq!(answer(&store, 7, "bob", 6).await, Issued::Made, "one of two addresses is another set");
    }
}

#[tokio::test]
async fn a_spent_day_still_lets_one_an_hour_through() {
    for place in places() {
        let store = place.open().store;
        let eager = |n: u8, counters: Vec<Counter>| {
            let seconds = n.into();
            let eager = Issue { merge_after: at(seconds), counters, ..issue(n, "ada", seconds) };
            answer_with(&store, n, seconds, eager)
        };
        let hour = |count| counter("account", "ada", count, 60 * MINUTE);
        let day = || counter("account-day", "ada", 2, DAY);
        let contact = |count| counter("contact-day", "ada@example.org", count, DAY);
        assert_eq!(eager(1, vec![hour(5), day(), contact(9)]).await, Issued::Made);
        assert_eq!(eager(2, vec![hour(5), day(), contact(9)]).await, Issued::Made);
        assert_eq!(eager(3, vec![hour(5), day(), contact(1)]).await, Issued::Paced, "the address has had enough");
        assert_eq!(eager(4, vec![hour(1), day(), contact(9)]).await, Issued::Paced, "so has the account this hour");
        assert_eq!(eager(5, vec![hour(5), day(), contact(9)]).await, Issued::Made, "the spare one");
        assert_eq!(eager(6, vec![hour(2), counter("x", "ada", 9, DAY)]).await, Issued::Paced, "it counted as well");
        assert_eq!(eager(7, vec![hour(5), day(), contact(9)]).await, Issued::Paced);
        let trail = store.audit(Some(account("ada")), 1).await.unwrap();
        assert_eq!((trail[0].kind.as_str(), trail[0].reason.as_deref()), ("request-ended", Some("paced")));
        assert_eq!(state(&store, 5).await, TicketState::Live, "the last link lives on");
        assert_eq!(store.counts(at(7)).await.unwrap().requests_waiting, 0);
    }
}

#[tokio::test]
async fn a_link_sent_again_after_its_time_works_from_then_on() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let first = store.lease_notices(9, MINUTE, at(1)).await.unwrap().remove(0);
        store.delivery(first.notice.id, Delivery::Sent, at(1), None).await.unwrap();
        assert_eq!(answer(&store, 2, "ada", 299).await, Issued::Merged { again: true });
        // The relay was down meanwhile.
        let again = store.lease_notices(9, MINUTE, at(3600)).await.unwrap().remove(0);
        assert!(!store.ticket(hash(1), at(3600)).await.unwrap().unwrap().usable);
        store.delivery(again.notice.id, Delivery::Sent, at(3600), None).await.unwrap();
        store.delivery(again.notice.id, Delivery::Sent, at(3700), None).await.unwrap();
        let stored = store.ticket(hash(1), at(3601)).await.unwrap().unwrap();
        assert_eq!((stored.usable, stored.ticket.expires), (true, Some(at(3600).plus(LIFE))));
        assert!(store.claim(hash(1), [1; 16], None, at(3601)).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn r16_a_copy_put_back_voids_every_link() {
    for place in places() {
        let Place::Sqlite(folder) = &place;
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        assert_eq!(answer(&store, 2, "eve", 0).await, Issued::Made);
        assert!(store.claim(hash(2), [1; 16], None, at(1)).await.unwrap().is_some());
        store.close(at(2)).await.unwrap();
        drop(store);
        let database = folder.path().join("state/rekeyd.db");
        let copy = std::fs::read(&database).unwrap();

        let opened = place.open();
        assert_eq!(opened.voided, None, "an ordinary restart keeps links");
        assert_eq!(state(&opened.store, 1).await, TicketState::Live);
        assert_eq!(state(&opened.store, 2).await, TicketState::Claimed);
        opened.store.new_epoch().await.unwrap();
        drop(opened);
        let opened = place.open();
        assert_eq!(opened.voided, None, "so does a crash");
        drop(opened);

        std::fs::write(&database, copy).unwrap();
        for ending in ["wal", "shm"] {
            drop(std::fs::remove_file(folder.path().join(format!("state/rekeyd.db-{ending}"))));
        }
        let opened = place.open();
        assert_eq!(opened.voided, Some(4));
        for n in [1, 2, 101] {
            assert_eq!(state(&opened.store, n).await, TicketState::Void);
        }
        assert!(opened.store.lease_notices(9, MINUTE, at(9)).await.unwrap().is_empty());
        let kinds: Vec<_> = opened.store.audit(None, 2).await.unwrap().into_iter().map(|row| row.kind).collect();
        assert_eq!(kinds, ["restored", "notice-failed"], "its messages ended with the links");
        drop(opened);
        assert_eq!(place.open().voided, None, "once");

        let epoch = folder.path().join("epoch/epoch");
        std::fs::remove_file(epoch).unwrap();
        assert!(place.open().voided.is_some(), "a lost file is a foreign one");
    }
}

#[tokio::test]
async fn r16_the_verb_voids_at_once_and_a_claim_comes_back_void() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        assert_eq!(answer(&store, 2, "eve", 0).await, Issued::Made);
        let held = store.claim(hash(2), [1; 16], None, at(1)).await.unwrap().unwrap();
        assert_eq!(store.restored(event(EventKind::Restored, "ada", 2)).await, Ok(3));
        assert_eq!(state(&store, 1).await, TicketState::Void);
        store.release(held, false, None).await.unwrap();
        assert_eq!(state(&store, 2).await, TicketState::Void);
        assert_eq!(answer(&store, 3, "ada", 3).await, Issued::Made, "life goes on");
        assert!(store.claim(hash(3), [1; 16], None, at(4)).await.unwrap().is_some());
    }
}
