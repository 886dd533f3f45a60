//! Accounts that are older than rekeyd: recorded once, carried on after a crash, undone.

use rekeyd_core::policy::adoption::Taken;

use super::*;

fn adoption(n: u8) -> NewAdoption {
    NewAdoption {
        id: RequestId::from_bytes([n; 22]),
        directory: DirectoryKey(7),
        filter: Some("(uid=a*)".into()),
        undecided_as: Some(Taken::NeverActivated),
        actor: visitor(),
        reason: "first day".into(),
        at: at(1),
    }
}

fn told(outcome: &str) -> Event {
    Event::new(at(2), EventKind::Adoption, visitor(), None, outcome)
}

fn taken(names: &[&str]) -> Vec<(AccountId, Adopted)> {
    names.iter().map(|name| (account(name), Adopted::Activated(at(2)))).collect()
}

#[tokio::test]
async fn an_adoption_is_carried_on_after_a_crash_and_does_nothing_twice() {
    for place in places() {
        let store = place.open().store;
        let id = adoption(1).id;
        assert!(matches!(store.begin_adoption(adoption(1), told("begun")).await, Ok(AdoptionBegun::Begun)));
        assert_eq!(store.adopt(id, taken(&["ada", "grace"]), told("recorded")).await, Ok(vec![true, true]));
        drop(store);
        let store = place.open().store;
        let Ok(AdoptionBegun::Unfinished(found)) = store.begin_adoption(adoption(2), told("begun")).await else {
            panic!("a second one is begun beside the first");
        };
        assert_eq!((found.begun.id, found.activated, found.state), (id, 2, AdoptionState::Running));
        assert_eq!((found.begun.reason.as_str(), found.begun.undecided_as), ("first day", Some(Taken::NeverActivated)));
        let never = (account("alan"), Adopted::NeverActivated(at(3)));
        let again = [taken(&["ada"]), vec![never]].concat();
        assert_eq!(store.adopt(id, again.clone(), told("recorded")).await, Ok(vec![false, true]));
        assert_eq!(store.adopt(id, again.clone(), told("recorded")).await, Ok(vec![false, false]));
        store.end_adoption(id, told("done")).await.unwrap();
        assert!(store.adopt(id, again, told("recorded")).await.is_err(), "it has ended");
        let all = store.adoptions().await.unwrap();
        assert_eq!((all[0].activated, all[0].never_activated, all[0].state), (2, 1, AdoptionState::Done));
        let facts = store.facts_of(&[account("alan"), account("nobody"), account("ada")]).await.unwrap();
        let adopted: Vec<_> = facts.into_iter().map(|(facts, _)| facts.adopted).collect();
        assert_eq!(adopted, [Some(Adopted::NeverActivated(at(3))), None, Some(Adopted::Activated(at(2)))]);
        let outcomes: Vec<_> = store.audit(None, 99).await.unwrap().iter().map(|row| row.outcome.clone()).collect();
        assert_eq!(outcomes, ["done", "recorded", "recorded", "begun"], "what changed nothing is not told");
    }
}

#[tokio::test]
async fn what_rekeyd_has_seen_itself_stands_over_an_adoption() {
    for place in places() {
        let store = place.open().store;
        store.begin_replacement(replacement(1, "ada", 5), event(EventKind::PasswordReplaced, "ada", 5)).await.unwrap();
        let done = event(EventKind::PasswordReplaced, "ada", 6);
        store.replaced(RequestId::from_bytes([1; 22]), vec![], vec![], done).await.unwrap();
        assert!(store.facts(&account("ada")).await.unwrap().0.undecided);
        store.begin_adoption(adoption(1), told("begun")).await.unwrap();
        assert_eq!(store.adopt(adoption(1).id, taken(&["ada"]), told("recorded")).await, Ok(vec![false]));
        assert_eq!(store.facts(&account("ada")).await.unwrap().0.adopted, None);
    }
}

#[tokio::test]
async fn an_adoption_is_undone_in_slices_and_only_it() {
    for place in places() {
        let store = place.open().store;
        for (n, names) in [(1, &["ada", "grace", "alan"][..]), (2, &["emmy"])] {
            store.begin_adoption(adoption(n), told("begun")).await.unwrap();
            store.adopt(adoption(n).id, taken(names), told("recorded")).await.unwrap();
            store.end_adoption(adoption(n).id, told("done")).await.unwrap();
        }
        let id = adoption(1).id;
        assert_eq!(store.undo_adoption(id, 2, told("undone")).await, Ok(Some((2, true))));
        let begun = store.begin_adoption(adoption(3), told("begun")).await;
        assert!(matches!(begun, Ok(AdoptionBegun::Unfinished(_))), "it is still being undone");
        assert_eq!(store.undo_adoption(id, 2, told("undone")).await, Ok(Some((1, false))));
        assert_eq!(store.undo_adoption(id, 2, told("undone")).await, Ok(Some((0, false))));
        assert_eq!(store.undo_adoption(adoption(9).id, 2, told("undone")).await, Ok(None));
        let facts = store.facts_of(&[account("ada"), account("emmy")]).await.unwrap();
        let adopted: Vec<_> = facts.into_iter().map(|(facts, _)| facts.adopted.is_some()).collect();
        assert_eq!(adopted, [false, true]);
        let erased = Event::new(at(5), EventKind::RequestEnded, Actor::System, None, "erased");
        store.erase(&account("emmy"), erased).await.unwrap();
        assert_eq!(store.facts(&account("emmy")).await.unwrap().0.adopted, None);
    }
}
