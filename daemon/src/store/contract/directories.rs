//! By what keys directories are remembered: a name can be changed, and one that is gone leaves nothing forgotten.

use super::*;
use crate::store::LeftBehind;

/// What answers request 1 with a link for an account of some directory.
fn issue_in(directory: DirectoryKey) -> Issue {
    let id = AccountId { directory, stable: "aa-01".into() };
    let mut issue = issue(1, "ada", 0);
    issue.tickets.iter_mut().for_each(|new| new.ticket.account = id.clone());
    issue.notices.iter_mut().for_each(|notice| notice.account = id.clone());
    issue
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn a_directory_keeps_its_key_whatever_it_is_called() {
    for place in places() {
        let key = {
            let store = place.open().store;
            let key = store.directory_key("people").await.unwrap();
            assert_eq!(store.rename_directory(&names(&["nobody"]), "people").await, Ok(false));
            assert_eq!(store.directory_key("people").await, Ok(key));
            key
        };
        // As after a restart with another name.
        let store = place.open().store;
        assert_eq!(store.rename_directory(&names(&["nobody", "people"]), "staff").await, Ok(true));
        assert_eq!(store.rename_directory(&names(&["nobody", "people"]), "staff").await, Ok(false), "once is enough");
        assert_eq!(store.directory_key("staff").await, Ok(key));
        assert_eq!(store.directory_names().await, Ok(vec![(key, "staff".into())]));
        // Renamed without a word: strangers, until somebody says so, and as long as nothing rests on the new name.
        assert_ne!(store.directory_key("everybody").await, Ok(key));
        assert_eq!(store.rename_directory(&names(&["staff"]), "everybody").await, Ok(true));
        assert_eq!(store.directory_key("everybody").await, Ok(key));
        let other = store.directory_key("other").await.unwrap();
        answer_with(&store, 1, 0, issue_in(other)).await;
        assert_eq!(store.rename_directory(&names(&["everybody"]), "other").await, Ok(false), "it has links of its own");
        assert_eq!((store.directory_key("other").await, store.directory_key("everybody").await), (Ok(other), Ok(key)));
    }
}

#[tokio::test]
async fn a_directory_is_not_renamed_over_one_that_a_request_or_an_adoption_names() {
    for place in places() {
        let store = place.open().store;
        let (old, new) = (store.directory_key("old").await.unwrap(), store.directory_key("new").await.unwrap());
        let helped = NewRequest { origin: Origin::Operator, directory: Some(new), ..request(1, 0) };
        store.accept(helped, vec![], Some(event(EventKind::Thawed, "ada", 0))).await.unwrap();
        assert_eq!(store.rename_directory(&names(&["old"]), "new").await, Ok(false));
        let leased = store.lease_requests(9, DAY, at(1)).await.unwrap();
        assert_eq!(leased.iter().map(|request| request.directory).collect::<Vec<_>>(), [Some(new)]);
        assert_eq!(store.directory_key("old").await, Ok(old));

        let begun = NewAdoption {
            id: RequestId::from_bytes([2; 22]),
            directory: store.directory_key("adopted").await.unwrap(),
            filter: None,
            undecided_as: None,
            actor: visitor(),
            reason: "first day".into(),
            at: at(1),
        };
        let told = Event::new(at(1), EventKind::Adoption, visitor(), None, "begun");
        store.begin_adoption(begun, told).await.unwrap();
        assert_eq!(store.rename_directory(&names(&["old"]), "adopted").await, Ok(false));
        // Requests of other directories, and of none, are in nobody's way.
        store.accept(request(3, 0), vec![], None).await.unwrap();
        store.directory_key("empty").await.unwrap();
        assert_eq!(store.rename_directory(&names(&["old"]), "empty").await, Ok(true));
        assert_eq!(store.directory_key("empty").await, Ok(old));
    }
}

#[tokio::test]
async fn what_belongs_to_a_directory_that_is_gone_is_told_of_and_of_no_other() {
    for place in places() {
        let store = place.open().store;
        let (one, other) = (store.directory_key("one").await.unwrap(), store.directory_key("other").await.unwrap());
        answer_with(&store, 1, 0, issue_in(other)).await;
        let gone = LeftBehind { name: "other".into(), accounts: 0, tickets_live: 2, unsettled: 0 };
        assert_eq!(store.left_behind(vec![one], at(0)).await, Ok(vec![gone.clone()]));
        assert_eq!(store.left_behind(vec![one, other], at(0)).await, Ok(vec![]));
        let claimed = store.claim(hash(1), [1; 16], Some("ldap://one"), at(1)).await.unwrap();
        assert!(claimed.is_some());
        let begun =
            Replacement { account: AccountId { directory: other, stable: "bb-02".into() }, ..replacement(2, "bea", 2) };
        store.begin_replacement(begun, event(EventKind::PasswordReplaced, "bea", 2)).await.unwrap();
        let gone = LeftBehind { tickets_live: 1, unsettled: 2, ..gone };
        assert_eq!(store.left_behind(vec![one], at(2)).await, Ok(vec![gone]));
    }
}
