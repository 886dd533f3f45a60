//! Passwords that operators replace: begun, settled after a crash, ended once.

use super::*;
use crate::store::TicketState;

fn event_of(outcome: &str, seconds: i64) -> Event {
    Event { outcome: outcome.into(), ..event(EventKind::PasswordReplaced, "ada", seconds) }
}

#[tokio::test]
async fn b2_9_a_replacement_outlives_a_crash_and_ends_once() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        store.begin_replacement(replacement(1, "ada", 5), event_of("begun", 5)).await.unwrap();
        drop(store);
        let store = place.open().store;
        assert!(store.open_replacements(at(4)).await.unwrap().is_empty(), "only those older");
        let open = store.open_replacements(at(5)).await.unwrap().remove(0);
        let begun = replacement(1, "ada", 5);
        assert_eq!((open.id, &open.account, &open.stamp), (begun.id, &begun.account, &begun.stamp));
        assert_eq!((open.actor, open.reason.as_str(), open.first), (begun.actor, "on the telephone", true));
        assert_eq!((open.server.as_str(), open.since), ("ldap://one", at(5)));
        assert!(store.ticket(hash(1), at(5)).await.unwrap().unwrap().usable, "nothing is known yet");

        for _ in 0..2 {
            let told = notice(2, NoticeKind::PasswordReplaced, "ada", None, Some(2), 6);
            let not_me = ticket(2, Purpose::NotMe, "ada", 6);
            store.replaced(begun.id, vec![told], vec![not_me], event_of("replaced", 6)).await.unwrap();
        }
        store.end_replacement(begun.id, event_of("not-done", 7)).await.unwrap();
        assert!(store.open_replacements(at(9)).await.unwrap().is_empty());
        assert_eq!(store.ticket(hash(1), at(6)).await.unwrap().unwrap().state, TicketState::Void);
        let queued = store.lease_notices(9, MINUTE, at(6)).await.unwrap();
        assert_eq!(queued.iter().map(|leased| leased.notice.kind).collect::<Vec<_>>(), [NoticeKind::PasswordReplaced]);
        let trail = store.audit(Some(account("ada")), 9).await.unwrap();
        let told: Vec<_> = trail.iter().map(|row| (row.kind.as_str(), row.outcome.as_str())).collect();
        assert_eq!(
            told,
            [
                ("password-replaced", "replaced"),
                ("notice-failed", "cancelled"),
                ("password-replaced", "begun"),
                ("ticket-issued", "done")
            ],
            "each end is told once"
        );
    }
}

#[tokio::test]
async fn a_replacement_that_was_not_done_changes_nothing() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        let begun = replacement(1, "ada", 5);
        let id = begun.id;
        store.begin_replacement(begun, event_of("begun", 5)).await.unwrap();
        store.end_replacement(id, event_of("not-done", 6)).await.unwrap();
        assert!(store.open_replacements(at(9)).await.unwrap().is_empty());
        assert!(store.ticket(hash(1), at(6)).await.unwrap().unwrap().usable);
        assert!(!store.facts(&account("ada")).await.unwrap().0.undecided);
        assert_eq!(store.audit(None, 1).await.unwrap()[0].outcome, "not-done");
    }
}

#[tokio::test]
async fn a_first_password_by_an_operator_leaves_the_account_undecided_until_its_person_sets_one() {
    for place in places() {
        let store = place.open().store;
        let replace = async |n: u8, first: bool| {
            let replacement = Replacement { first, ..replacement(n, "ada", n.into()) };
            let id = replacement.id;
            store.begin_replacement(replacement, event_of("begun", n.into())).await.unwrap();
            store.replaced(id, vec![], vec![], event_of("replaced", n.into())).await.unwrap();
            store.facts(&account("ada")).await.unwrap().0.undecided
        };
        assert!(!replace(1, false).await);
        assert!(replace(2, true).await);
        assert!(replace(3, false).await, "a second one decides nothing");
        assert_eq!(answer(&store, 4, "ada", 4).await, Issued::Made);
        let held = store.claim(hash(4), [4; 16], None, at(5)).await.unwrap().unwrap();
        store.spend(held.ticket().id, spend(4, "ada", 5)).await.unwrap();
        let (facts, _) = store.facts(&account("ada")).await.unwrap();
        assert_eq!((facts.activated, facts.undecided), (Some(at(5)), false));
        assert!(!replace(6, true).await, "its person is known to have set one");
    }
}

#[tokio::test]
async fn b2_9_a_replacement_is_not_taken_for_what_somebody_else_did_after_a_crash() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        // One that may have died before its write, at the mark that the link was made for; one at another mark.
        let stamp = ticket(1, Purpose::Reset, "ada", 0).ticket.stamp;
        store.begin_replacement(Replacement { stamp, ..replacement(1, "ada", 5) }, event_of("begun", 5)).await.unwrap();
        store.begin_replacement(replacement(2, "ada", 6), event_of("begun", 6)).await.unwrap();
        store.claim(hash(1), [1; 16], None, at(7)).await.unwrap().unwrap();
        store.spend(TicketId::from_bytes([1; 22]), spend(1, "ada", 8)).await.unwrap();
        let open = store.open_replacements(at(9)).await.unwrap();
        assert_eq!(open.iter().map(|open| open.id).collect::<Vec<_>>(), [RequestId::from_bytes([2; 22])]);
        // The same between two operators.
        store.begin_replacement(replacement(3, "ada", 9), event_of("begun", 9)).await.unwrap();
        store.replaced(RequestId::from_bytes([3; 22]), vec![], vec![], event_of("replaced", 10)).await.unwrap();
        assert!(store.open_replacements(at(99)).await.unwrap().is_empty());
        let trail = store.audit(Some(account("ada")), 99).await.unwrap();
        let ends = trail.iter().filter(|row| row.kind == "password-replaced" && row.outcome != "begun");
        let ends: Vec<_> = ends.map(|row| (row.outcome.as_str(), row.reason.as_deref().unwrap_or_default())).collect();
        assert_eq!(ends, [("replaced", ""), ("unsure", "on the telephone"), ("unsure", "on the telephone")]);
    }
}
