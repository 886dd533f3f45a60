//! Claims: one holder, in time, and every way out.

use std::sync::Arc;

use super::*;
use crate::store::{Delivery, TicketState};

async fn state(store: &Store, n: u8) -> TicketState {
    store.ticket(hash(n), at(0)).await.unwrap().unwrap().state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t39_of_many_claims_at_once_one_wins() {
    for place in places() {
        let store = Arc::new(place.open().store);
        for n in 1..=20 {
            assert_eq!(answer(&store, n, &format!("person{n}"), 0).await, Issued::Made);
            let claims: Vec<_> = (0..50)
                .map(|nonce| {
                    let store = Arc::clone(&store);
                    tokio::spawn(async move { store.claim(hash(n), [nonce; 16], None, at(1)).await.unwrap().is_some() })
                })
                .collect();
            let mut won = 0;
            for claim in claims {
                won += u32::from(claim.await.unwrap());
            }
            assert_eq!(won, 1);
        }
    }
}

#[tokio::test]
async fn t27_time_is_checked_inside_the_claim() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let leased = store.lease_notices(1, MINUTE, at(3600)).await.unwrap().remove(0);
        assert_eq!(leased.ticket.unwrap().1, LIFE);
        assert_eq!(leased.not_me.unwrap().id, TicketId::from_bytes([101; 22]));
        store.delivery(leased.notice.id, Delivery::Sent, at(3600), None).await.unwrap();
        let ends = at(3600).plus(LIFE);
        assert_eq!(
            store.ticket(hash(1), at(0)).await.unwrap().unwrap().ticket.expires,
            Some(ends),
            "life begins at delivery"
        );
        let held = store.claim(hash(1), [1; 16], None, ends.minus(Duration::from_millis(1))).await.unwrap().unwrap();
        store.release(held, false, None).await.unwrap();
        assert!(store.claim(hash(1), [1; 16], None, ends).await.unwrap().is_none());
    }
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 2, "eve", 0).await, Issued::Made);
        assert!(store.claim(hash(2), [1; 16], None, at(-121)).await.unwrap().is_none(), "t37: made in the future");
        assert!(!store.ticket(hash(2), at(-121)).await.unwrap().unwrap().usable);
        assert!(store.claim(hash(102), [1; 16], None, at(1)).await.unwrap().is_none(), "\"not me\" sets no password");
        assert!(store.claim(hash(77), [1; 16], None, at(1)).await.unwrap().is_none());
        assert!(
            store.claim(hash(2), [1; 16], None, at(0).plus(DAY)).await.unwrap().is_none(),
            "nor does an undelivered one live for ever"
        );
    }
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 2, "eve", 0).await, Issued::Made);
        assert!(store.claim(hash(2), [1; 16], None, at(-120)).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn t45_a_refusal_gives_the_ticket_back_and_counts() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        for tries in 0..10 {
            let held = store.claim(hash(1), [1; 16], None, at(1)).await.unwrap().unwrap();
            assert_eq!(held.ticket().tries, tries);
            let refused = event(EventKind::PasswordRejected, "ada", 1);
            store.release(held, true, Some(refused)).await.unwrap();
        }
        assert!(store.claim(hash(1), [1; 16], None, at(1)).await.unwrap().is_none(), "ten refusals are enough");
        let trail = store.audit(Some(account("ada")), 99).await.unwrap();
        assert_eq!(trail.iter().filter(|row| row.kind == "password-rejected").count(), 10);
    }
}

#[tokio::test]
async fn p4_a_password_set_spends_the_ticket_and_ends_the_others() {
    for place in places() {
        let store = place.open().store;
        let mut other = issue(1, "ada", 0);
        other.tickets[0].ticket.purpose = Purpose::Activation;
        assert_eq!(answer_with(&store, 1, 0, other).await, Issued::Made);
        assert_eq!(answer(&store, 2, "ada", 0).await, Issued::Made);
        let held = store.claim(hash(2), [5; 16], Some("ldap://one"), at(9)).await.unwrap().unwrap();
        store.spend(held.ticket().id, spend(5, "ada", 10)).await.unwrap();
        assert_eq!(state(&store, 1).await, TicketState::Void);
        let stored = store.ticket(hash(2), at(0)).await.unwrap().unwrap();
        assert_eq!((stored.state, stored.held_by), (TicketState::Spent, Some([5; 16])), "t46: a repeat is recognised");
        assert!(store.claim(hash(2), [5; 16], None, at(11)).await.unwrap().is_none());
        assert_eq!(state(&store, 102).await, TicketState::Live);
        let (facts, proofs) = store.facts(&account("ada")).await.unwrap();
        assert_eq!((facts.activated, facts.frozen_until), (Some(at(10)), None));
        assert_eq!(proofs, [(AddressHash([9; 32]), Proof { at: at(10), how: "reset".into() })]);
        let kinds: Vec<_> = store.outbox(9, true).await.unwrap().iter().map(|row| row.kind).collect();
        assert_eq!(kinds, [NoticeKind::PasswordChanged], "old links are not sent any more");

        store.spend(TicketId::from_bytes([2; 22]), spend(5, "ada", 12)).await.unwrap();
        let trail = store.audit(Some(account("ada")), 99).await.unwrap();
        assert_eq!(trail.iter().filter(|row| row.kind == "password-set").count(), 1, "recorded once");
    }
}

#[tokio::test]
async fn b2_9_a_claim_outlives_a_crash_and_can_be_settled_either_way() {
    for place in places() {
        let store = place.open().store;
        for (n, who) in [(1, "ada"), (2, "eve"), (3, "bob"), (4, "joe")] {
            assert_eq!(answer(&store, n, who, 0).await, Issued::Made);
            let server = (n > 1).then_some("ldap://one");
            let held = store.claim(hash(n), [n; 16], server, at(n.into())).await.unwrap().unwrap();
            if n == 4 {
                store.strand(held, event(EventKind::SetUnsure, who, 4)).await.unwrap();
            }
        }
        drop(store);
        let store = place.open().store;
        let open = store.open_claims(at(9)).await.unwrap();
        assert_eq!(open.len(), 4);
        assert_eq!(store.open_claims(at(1)).await.unwrap().len(), 1, "only those older");
        assert_eq!((open[0].server.as_deref(), open[1].server.as_deref()), (None, Some("ldap://one")));
        assert_eq!((open[1].nonce, open[1].since), ([2; 16], at(2)), "counted from the claim");
        assert_eq!(store.counts(at(9)).await.unwrap().claims_open, 4);
        assert!(store.claim(hash(1), [9; 16], None, at(9)).await.unwrap().is_none(), "held until it is settled");
        assert_eq!(state(&store, 4).await, TicketState::Unsure);

        store.settle(open[0].ticket.id, true, event(EventKind::TicketRefused, "ada", 9), vec![], vec![]).await.unwrap();
        assert!(store.claim(hash(1), [9; 16], None, at(9)).await.unwrap().is_some(), "nothing was written: free again");
        store
            .settle(open[1].ticket.id, false, event(EventKind::TicketRefused, "eve", 9), vec![], vec![])
            .await
            .unwrap();
        assert_eq!(state(&store, 2).await, TicketState::Void);
        store.spend(open[2].ticket.id, spend(3, "bob", 9)).await.unwrap();
        assert_eq!(state(&store, 3).await, TicketState::Spent);
        let late = store.claim(hash(2), [9; 16], Some("ldap://one"), at(9)).await.unwrap();
        assert!(late.is_none(), "whoever has no claim must not write");
        store.settle(open[2].ticket.id, true, event(EventKind::TicketRefused, "bob", 9), vec![], vec![]).await.unwrap();
        assert_eq!(state(&store, 3).await, TicketState::Spent, "what is settled stays");
        store.spend(open[1].ticket.id, spend(2, "eve", 10)).await.unwrap();
        assert_eq!(
            state(&store, 2).await,
            TicketState::Spent,
            "a write that happened is recorded, whatever was thought"
        );
    }
}

#[tokio::test]
async fn t28_a_claimed_ticket_that_was_replaced_comes_back_void() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let held = store.claim(hash(1), [1; 16], None, at(1)).await.unwrap().unwrap();
        assert_eq!(answer(&store, 2, "ada", 2).await, Issued::Made, "a claimed one is not joined");
        assert_eq!(state(&store, 1).await, TicketState::Claimed, "its holder goes on");
        store.release(held, true, None).await.unwrap();
        assert_eq!(state(&store, 1).await, TicketState::Void);
        assert_eq!(state(&store, 2).await, TicketState::Live);
        let held = store.claim(hash(2), [1; 16], None, at(3)).await.unwrap().unwrap();
        store.void(held, event(EventKind::TicketRefused, "ada", 3)).await.unwrap();
        assert_eq!(state(&store, 2).await, TicketState::Void);
    }
}

#[tokio::test]
async fn not_me_freezes_once_and_an_operator_thaws() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let not_me = TicketId::from_bytes([101; 22]);
        let told = || event(EventKind::NotMe, "ada", 5);
        assert_eq!(store.freeze(TicketId::from_bytes([1; 22]), at(5).plus(DAY), told()).await, Ok(false));
        assert_eq!(store.freeze(not_me, at(5).plus(DAY), told()).await, Ok(true));
        assert_eq!(store.freeze(not_me, at(5).plus(DAY * 2), told()).await, Ok(false));
        assert_eq!(state(&store, 1).await, TicketState::Void);
        assert_eq!(store.facts(&account("ada")).await.unwrap().0.frozen_until, Some(at(5).plus(DAY)));
        let thawed = || event(EventKind::Thawed, "ada", 6);
        assert_eq!(store.thaw(&account("ada"), at(6), thawed()).await, Ok(true));
        assert_eq!(store.thaw(&account("ada"), at(6), thawed()).await, Ok(false));
        assert_eq!(store.facts(&account("ada")).await.unwrap().0.frozen_until, None);
        let kinds: Vec<_> = store.audit(None, 9).await.unwrap().into_iter().map(|row| row.kind).collect();
        assert_eq!(kinds, ["thawed", "not-me", "notice-failed", "ticket-issued"]);
    }
}

#[tokio::test]
async fn t37_a_clock_set_back_revives_no_link_and_kills_no_later_one() {
    for place in places() {
        let store = place.open().store;
        for (n, who) in [(1, "ada"), (2, "eve")] {
            assert_eq!(answer(&store, n, who, 0).await, Issued::Made);
        }
        for leased in store.lease_notices(9, MINUTE, at(1)).await.unwrap() {
            store.delivery(leased.notice.id, Delivery::Sent, at(1), None).await.unwrap();
        }
        assert!(store.claim(hash(1), [1; 16], None, at(7200)).await.unwrap().is_none());
        for n in 1..=2 {
            assert!(!store.ticket(hash(n), at(60)).await.unwrap().unwrap().usable, "its time was over");
            assert!(store.claim(hash(n), [1; 16], None, at(60)).await.unwrap().is_none());
        }
        assert_eq!(answer(&store, 3, "bob", 60).await, Issued::Made, "made after the clock was set back");
        let leased = store.lease_notices(9, MINUTE, at(61)).await.unwrap().remove(0);
        store.delivery(leased.notice.id, Delivery::Sent, at(61), None).await.unwrap();
        assert!(store.ticket(hash(3), at(62)).await.unwrap().unwrap().usable);
        assert!(!store.ticket(hash(3), at(61).plus(LIFE)).await.unwrap().unwrap().usable);
        store.close(at(62)).await.unwrap();
        drop(store);
        let store = place.open().store;
        assert!(!store.ticket(hash(1), at(70)).await.unwrap().unwrap().usable, "nor after a restart");
        assert!(store.claim(hash(3), [1; 16], None, at(70)).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_look_says_what_a_claim_or_a_freeze_would() {
    for place in places() {
        let store = place.open().store;
        let usable = async |n, seconds| store.ticket(hash(n), at(seconds)).await.unwrap().unwrap().usable;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        assert!(usable(1, 1).await && usable(101, 1).await);
        for _ in 0..10 {
            let held = store.claim(hash(1), [1; 16], None, at(1)).await.unwrap().unwrap();
            assert!(!usable(1, 1).await);
            assert_eq!(store.ticket(hash(1), at(1)).await.unwrap().unwrap().held_by, Some([1; 16]), "t46");
            store.release(held, true, None).await.unwrap();
            assert_eq!(store.ticket(hash(1), at(1)).await.unwrap().unwrap().held_by, None);
        }
        assert!(!usable(1, 1).await, "ten refusals");
        let frozen = event(EventKind::NotMe, "ada", 5);
        assert_eq!(store.freeze(TicketId::from_bytes([101; 22]), at(5).plus(DAY), frozen).await, Ok(true));
        assert!(!usable(101, 5).await);
        assert_eq!(answer(&store, 2, "eve", 6).await, Issued::Made);
        assert_eq!(store.restored(event(EventKind::Restored, "eve", 7)).await, Ok(2));
        assert!(!usable(2, 7).await && !usable(102, 7).await);
    }
}

#[tokio::test]
async fn an_open_claim_is_spent_only_by_its_own_nonce() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let id = TicketId::from_bytes([1; 22]);
        assert!(store.open_claim(id).await.unwrap().is_none());
        let held = store.claim(hash(1), [5; 16], Some("ldap://one"), at(1)).await.unwrap().unwrap();
        store.strand(held, event(EventKind::SetUnsure, "ada", 2)).await.unwrap();
        assert_eq!(store.ticket(hash(1), at(2)).await.unwrap().unwrap().held_by, Some([5; 16]));
        let open = store.open_claim(id).await.unwrap().unwrap();
        assert_eq!((open.nonce, open.server.as_deref(), open.since), ([5; 16], Some("ldap://one"), at(1)));
        assert_eq!(store.spend_settled(id, [6; 16], spend(6, "ada", 3)).await, Ok(false));
        assert_eq!(state(&store, 1).await, TicketState::Unsure);
        assert_eq!(store.spend_settled(id, [5; 16], spend(5, "ada", 3)).await, Ok(true));
        assert_eq!(state(&store, 1).await, TicketState::Spent);
        assert!(store.open_claim(id).await.unwrap().is_none());
        assert_eq!(store.spend_settled(id, [5; 16], spend(5, "ada", 4)).await, Ok(false), "it is no longer open");

        // A claim whose ticket was voided meanwhile is not the person's own success, whatever the stamp says.
        assert_eq!(answer(&store, 3, "eve", 5).await, Issued::Made);
        let doomed = TicketId::from_bytes([3; 22]);
        let held = store.claim(hash(3), [7; 16], None, at(6)).await.unwrap().unwrap();
        store.strand(held, event(EventKind::SetUnsure, "eve", 6)).await.unwrap();
        store.restored(event(EventKind::Restored, "eve", 7)).await.unwrap();
        assert_eq!(store.spend_settled(doomed, [7; 16], spend(7, "eve", 8)).await, Ok(false));
    }
}

#[tokio::test]
async fn what_is_settled_can_be_told_of_once() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        assert!(store.claim(hash(1), [5; 16], None, at(1)).await.unwrap().is_some());
        let id = TicketId::from_bytes([1; 22]);
        let told = || vec![notice(9, NoticeKind::PasswordChanged, "ada", None, Some(9), 2)];
        let not_me = || vec![ticket(9, Purpose::NotMe, "ada", 2)];
        for _ in 0..2 {
            let unsure = event(EventKind::SetUnsure, "ada", 2);
            store.settle(id, false, unsure, told(), not_me()).await.unwrap();
        }
        let leased = store.lease_notices(9, MINUTE, at(3)).await.unwrap();
        assert_eq!(leased.iter().map(|leased| leased.notice.kind).collect::<Vec<_>>(), [NoticeKind::PasswordChanged]);
    }
}
