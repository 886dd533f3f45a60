//! Tickets: made, joined, slowed down, replaced.

use super::*;
use crate::store::{Delivery, TicketState};

async fn state(store: &Store, n: u8) -> TicketState {
    store.ticket(hash(n)).await.unwrap().unwrap().state
}

#[tokio::test]
async fn a_ticket_reads_back_as_it_was_made() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let stored = store.ticket(hash(1)).await.unwrap().unwrap();
        let made = ticket(1, Purpose::Reset, "ada", 0).ticket;
        assert_eq!((stored.ticket.stamp.second(), stored.spent_by), (made.stamp.second(), None));
        assert_eq!((stored.ticket, stored.state), (made, TicketState::Live));
        assert!(store.ticket(hash(77)).await.unwrap().is_none());
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
        let kinds: Vec<_> = store
            .lease_notices(9, MINUTE, at(600))
            .await
            .unwrap()
            .iter()
            .map(|leased| *leased.notice.id.bytes().first().unwrap())
            .collect();
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
            store.ticket(hash(1)).await.unwrap().unwrap().ticket.expires,
            Some(at(22).plus(LIFE)),
            "going out again makes no longer life"
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
async fn a_spent_budget_still_lets_one_an_hour_through() {
    for place in places() {
        let store = place.open().store;
        let mut made = Vec::new();
        for n in 1..=5 {
            let mut eager = issue(n, "ada", n.into());
            eager.merge_after = at(n.into());
            made.push(answer_with(&store, n, n.into(), eager).await);
        }
        assert_eq!(made, [Issued::Made, Issued::Made, Issued::Made, Issued::Made, Issued::Paced]);
        let trail = store.audit(Some(account("ada")), 1).await.unwrap();
        assert_eq!((trail[0].kind.as_str(), trail[0].reason.as_deref()), ("request-ended", Some("paced")));
        assert_eq!(state(&store, 4).await, TicketState::Live, "the last link lives on");
        assert_eq!(store.counts(at(5)).await.unwrap().requests_waiting, 0);
    }
}

#[tokio::test]
async fn a_password_replaced_by_an_operator_ends_links() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let told = notice(2, NoticeKind::PasswordReplaced, "ada", None, Some(2), 5);
        let not_me = ticket(2, Purpose::NotMe, "ada", 5);
        let event = event(EventKind::PasswordReplaced, "ada", 5);
        store.replaced(&account("ada"), vec![told], vec![not_me], event).await.unwrap();
        assert_eq!(state(&store, 1).await, TicketState::Void);
        let queued = store.lease_notices(9, MINUTE, at(6)).await.unwrap();
        assert_eq!(queued.iter().map(|leased| leased.notice.kind).collect::<Vec<_>>(), [NoticeKind::PasswordReplaced]);
    }
}

#[tokio::test]
async fn r16_a_copy_put_back_voids_every_link() {
    for place in places() {
        let Place::Sqlite(folder) = &place;
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        assert_eq!(answer(&store, 2, "eve", 0).await, Issued::Made);
        assert!(store.claim(hash(2), [1; 16], at(1)).await.unwrap().is_some());
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
        assert_eq!(opened.store.audit(None, 1).await.unwrap()[0].kind, "restored");
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
        let held = store.claim(hash(2), [1; 16], at(1)).await.unwrap().unwrap();
        assert_eq!(store.restored(event(EventKind::Restored, "ada", 2)).await, Ok(3));
        assert_eq!(state(&store, 1).await, TicketState::Void);
        store.release(held, false, None).await.unwrap();
        assert_eq!(state(&store, 2).await, TicketState::Void);
        assert_eq!(answer(&store, 3, "ada", 3).await, Issued::Made, "life goes on");
        assert!(store.claim(hash(3), [1; 16], at(4)).await.unwrap().is_some());
    }
}
