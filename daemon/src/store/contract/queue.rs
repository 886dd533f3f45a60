//! Requests: kept, fair, bounded, slowed down.

use super::*;
use crate::store::{Ended, Error, LeasedRequest};

#[tokio::test]
async fn p5_what_was_accepted_survives_a_crash_with_its_lease_given_back() {
    for place in places() {
        let store = place.open().store;
        let sources = || vec![counter("source", "192.0.2.7", 2, MINUTE)];
        let first = NewRequest { directory: Some(DirectoryKey(7)), ..request(1, 0) };
        assert_eq!(store.accept(first, sources(), None).await, Ok(Acceptance::Accepted));
        assert_eq!(store.lease_requests(10, MINUTE, at(1)).await.unwrap().len(), 1);
        assert_eq!(store.lease_requests(10, MINUTE, at(1)).await.unwrap().len(), 0, "it is leased");
        drop(store);

        let store = place.open().store;
        let leased = store.lease_requests(10, MINUTE, at(1)).await.unwrap();
        assert_eq!(leased.len(), 1, "the lease of a process that is gone is void");
        let LeasedRequest { id, purpose, origin, login, directory, actor, languages, at: when, deadline, attempts } =
            &leased[0];
        assert_eq!(*id, RequestId::from_bytes([1; 22]));
        assert_eq!((*purpose, *origin, login.as_str()), (Purpose::Reset, Origin::Person, "ada"));
        assert_eq!(*directory, Some(DirectoryKey(7)));
        assert_eq!((actor, languages.as_slice()), (&visitor(), ["cy".to_owned(), "en".to_owned()].as_slice()));
        assert_eq!((*when, *deadline, *attempts), (at(0), at(0).plus(DAY), 1));
        assert_eq!(store.accept(request(2, 0), sources(), None).await, Ok(Acceptance::Accepted));
        let third = store.accept(request(3, 0), sources(), None).await;
        assert!(matches!(third, Ok(Acceptance::TooOften(_))), "t36: a counter survives too: {third:?}");
    }
}

#[tokio::test]
async fn every_kind_of_actor_reads_back() {
    for place in places() {
        let store = place.open().store;
        let actors = [
            Actor::System,
            Actor::Operator { uid: 1000, name: "olga".into() },
            Actor::Client { name: "portal".into(), source: None },
            Actor::Client { name: "portal".into(), source: Some(Source { ip: "2001:db8::1".parse().unwrap() }) },
            visitor(),
        ];
        for (n, actor) in (1..).zip(&actors) {
            let accepted =
                store.accept(NewRequest { actor: actor.clone(), ..request(n, n.into()) }, vec![], None).await;
            assert_eq!(accepted, Ok(Acceptance::Accepted));
        }
        let leased = store.lease_requests(9, MINUTE, at(5)).await.unwrap();
        assert_eq!(leased.iter().map(|request| &request.actor).collect::<Vec<_>>(), actors.iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_lease_runs_out() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(store.accept(request(1, 0), vec![], None).await, Ok(Acceptance::Accepted));
        assert_eq!(store.lease_requests(1, MINUTE, at(0)).await.unwrap().len(), 1);
        assert_eq!(store.lease_requests(1, MINUTE, at(59)).await.unwrap().len(), 0);
        assert_eq!(store.lease_requests(1, MINUTE, at(60)).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn r9_fresh_and_deferred_requests_go_in_turn() {
    for place in places() {
        let store = place.open().store;
        for n in 1..=6 {
            assert_eq!(store.accept(request(n, n.into()), vec![], None).await, Ok(Acceptance::Accepted));
        }
        for old in store.lease_requests(3, MINUTE, at(10)).await.unwrap() {
            store.postpone(old.id, at(20), "the directory is down").await.unwrap();
        }
        assert!(store.lease_requests(9, MINUTE, at(10)).await.unwrap().iter().all(|fresh| fresh.attempts == 0));
        for n in 7..=9 {
            assert_eq!(store.accept(request(n, 20), vec![], None).await, Ok(Acceptance::Accepted));
        }
        let attempts: Vec<_> =
            store.lease_requests(4, MINUTE, at(20)).await.unwrap().iter().map(|request| request.attempts).collect();
        assert_eq!(attempts, [0, 1, 0, 1], "what came just now goes first");
        let rest: Vec<_> =
            store.lease_requests(9, MINUTE, at(20)).await.unwrap().iter().map(|request| request.attempts).collect();
        assert_eq!(rest, [0, 1]);
    }
}

#[tokio::test]
async fn r4_what_was_put_back_can_be_made_due_and_what_is_in_hand_stays_there() {
    for place in places() {
        let store = place.open().store;
        for n in 1..=3 {
            assert_eq!(store.accept(request(n, 0), vec![], None).await, Ok(Acceptance::Accepted));
        }
        let leased = store.lease_requests(3, MINUTE, at(0)).await.unwrap();
        store.postpone(leased.first().unwrap().id, at(60), "directory-down").await.unwrap();
        // What fails by itself is none of those that something else holds up.
        store.postpone(leased.last().unwrap().id, at(60), "the account can't be read").await.unwrap();
        store.hurry_requests("directory-down", at(5)).await.unwrap();
        let due = store.lease_requests(9, MINUTE, at(5)).await.unwrap();
        assert_eq!(due.iter().map(|request| request.id).collect::<Vec<_>>(), [leased.first().unwrap().id]);
    }
}

#[tokio::test]
async fn a_full_backlog_is_full_for_everybody_and_counts_nobody() {
    for place in places() {
        let store = open_with(StoreConfig { backlog: 2, ..place.config() }).store;
        let source = || vec![counter("source", "192.0.2.7", 3, MINUTE)];
        assert_eq!(store.accept(request(1, 0), source(), None).await, Ok(Acceptance::Accepted));
        assert_eq!(store.accept(request(2, 0), source(), None).await, Ok(Acceptance::Accepted));
        assert_eq!(store.accept(request(3, 0), source(), None).await, Ok(Acceptance::Full));
        assert_eq!(store.accept(request(3, 0), vec![], None).await, Ok(Acceptance::Full));
        let ended = event(EventKind::RequestEnded, "ada", 1).because("not-found");
        store.end_request(RequestId::from_bytes([1; 22]), Ended::Refused, None, ended.clone()).await.unwrap();
        assert_eq!(store.accept(request(3, 0), source(), None).await, Ok(Acceptance::Accepted));
        assert!(matches!(store.accept(request(4, 0), source(), None).await, Ok(Acceptance::TooOften(_))));
        assert_eq!(
            store.end_request(RequestId::from_bytes([1; 22]), Ended::Refused, None, ended).await,
            Err(Error::Busy),
            "a request ends once"
        );
    }
}

#[tokio::test]
async fn counters_go_on_together_or_not_at_all() {
    for place in places() {
        let store = place.open().store;
        let both = || vec![counter("a", "x", 1, MINUTE), counter("b", "x", 2, MINUTE)];
        assert_eq!(store.count(both(), at(0)).await, Ok(None));
        assert_eq!(store.count(both(), at(0)).await, Ok(Some(MINUTE)));
        assert_eq!(store.count(vec![counter("b", "x", 2, MINUTE)], at(0)).await, Ok(None), "b was not counted twice");
        assert!(store.count(vec![counter("b", "x", 2, MINUTE)], at(0)).await.unwrap().is_some());
        assert_eq!(store.count(vec![counter("a", "y", 1, MINUTE)], at(0)).await, Ok(None), "others are others");
        assert_eq!(store.count(both(), at(60)).await, Ok(None), "a limit decays by itself");
    }
}

#[tokio::test]
async fn i5_a_lost_lease_answers_nothing() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        assert_eq!(store.issue(issue(1, "ada", 1)).await, Err(Error::Busy), "answered already");
        assert_eq!(store.accept(request(2, 1), vec![], None).await, Ok(Acceptance::Accepted));
        assert_eq!(store.issue(issue(2, "ada", 1)).await, Err(Error::Busy), "not leased");
    }
}

#[tokio::test]
async fn r9_deferred_requests_are_not_starved_by_leases_of_one() {
    for place in places() {
        let store = place.open().store;
        for n in 1..=8 {
            assert_eq!(store.accept(request(n, 0), vec![], None).await, Ok(Acceptance::Accepted));
        }
        for old in store.lease_requests(4, MINUTE, at(1)).await.unwrap() {
            store.postpone(old.id, at(2), "the directory is down").await.unwrap();
        }
        let mut attempts = Vec::new();
        for _ in 0..6 {
            attempts.push(store.lease_requests(1, MINUTE, at(3)).await.unwrap()[0].attempts);
        }
        assert_eq!(attempts, [1, 0, 1, 0, 1, 0]);
    }
}

#[tokio::test]
async fn an_operators_request_finds_a_place_and_goes_first() {
    for place in places() {
        let store = open_with(StoreConfig { backlog: 1, ..place.config() }).store;
        assert_eq!(store.accept(request(1, 0), vec![], None).await, Ok(Acceptance::Accepted));
        assert_eq!(store.accept(request(2, 0), vec![], None).await, Ok(Acceptance::Full));
        for (n, origin) in [(3, Origin::Operator), (4, Origin::Owner)] {
            let helped = NewRequest { origin, ..request(n, n.into()) };
            let told = event(EventKind::LinkRequested, "ada", n.into());
            assert_eq!(store.accept(helped, vec![], Some(told)).await, Ok(Acceptance::Accepted));
        }
        assert_eq!(store.accept(request(5, 5), vec![], None).await, Ok(Acceptance::Full));
        let order: Vec<_> =
            store.lease_requests(9, MINUTE, at(9)).await.unwrap().iter().map(|leased| leased.id.bytes()[0]).collect();
        assert_eq!(order, [3, 4, 1]);
        let ended = event(EventKind::RequestEnded, "ada", 9);
        store.end_request(RequestId::from_bytes([3; 22]), Ended::Refused, None, ended).await.unwrap();
        assert_eq!(
            store.accept(request(5, 9), vec![], None).await,
            Ok(Acceptance::Full),
            "its end frees no other place"
        );
    }
}

#[tokio::test]
async fn p7_an_accepted_request_is_told_of_with_it() {
    for place in places() {
        let store = open_with(StoreConfig { backlog: 1, ..place.config() }).store;
        let told = || Some(event(EventKind::LinkRequested, "ada", 0));
        assert_eq!(store.accept(request(1, 0), vec![], told()).await, Ok(Acceptance::Accepted));
        assert_eq!(store.accept(request(2, 0), vec![], told()).await, Ok(Acceptance::Full));
        let kinds: Vec<_> = store.audit(None, 9).await.unwrap().into_iter().map(|row| row.kind).collect();
        assert_eq!(kinds, ["link-requested"], "only for what was accepted");
    }
}

#[tokio::test]
async fn p3_every_acceptance_runs_the_same_statements_in_one_commit() {
    for place in places() {
        let store = place.open().store;
        // `ada` has a link, `grace` has used up her pace, `odd` is frozen; of `nobody` nothing is known.
        for (n, who) in [(1, "ada"), (2, "grace"), (3, "odd")] {
            assert_eq!(answer(&store, n, who, 0).await, Issued::Made);
        }
        for _ in 0..9 {
            store.count(vec![counter("account", "grace", 3, 60 * MINUTE)], at(0)).await.unwrap();
        }
        let freeze = event(EventKind::NotMe, "odd", 1);
        store.freeze(TicketId::from_bytes([103; 22]), at(DAY.as_secs().cast_signed()), freeze).await.unwrap();
        let Store::Sqlite(sqlite) = &store;
        sqlite.statements().await;
        let mut seen = Vec::new();
        for (n, who) in [(10, "nobody"), (11, "ada"), (12, "grace"), (13, "odd"), (14, "ada@example.org")] {
            let request = NewRequest { login: Login::parse(who).unwrap(), ..request(n, 5) };
            let counters = vec![counter("source", "192.0.2.7", 99, MINUTE), counter("client", "wiki", 99, MINUTE)];
            assert_eq!(store.accept(request, counters, None).await, Ok(Acceptance::Accepted));
            seen.push(sqlite.statements().await);
        }
        assert_eq!(seen[0].iter().filter(|sql| sql.starts_with("COMMIT")).count(), 1, "{:#?}", seen[0]);
        assert!(seen[0].iter().any(|sql| sql.starts_with("INSERT INTO requests")), "{:#?}", seen[0]);
        // The first one meets counters that are new.
        assert!(seen.windows(2).all(|two| two[0] == two[1]), "{seen:#?}");
    }
}

#[tokio::test]
async fn p3_one_commit_behind_each_answer_reaches_the_disk() {
    for place in places() {
        let store = place.open().store;
        let Store::Sqlite(sqlite) = &store;
        let mut seen = Vec::new();
        for n in 1..=3 {
            assert_eq!(store.accept(request(n, 0), vec![], None).await, Ok(Acceptance::Accepted));
            let leased = store.lease_requests(9, MINUTE, at(0)).await.unwrap().remove(0);
            sqlite.statements().await;
            // One gets a link, the others are refused.
            if n == 2 {
                assert_eq!(store.issue(issue(n, "ada", 0)).await, Ok(Issued::Made));
            } else {
                let ended = event(EventKind::RequestEnded, "nobody", 0);
                store.end_request(leased.id, Ended::Refused, None, ended).await.unwrap();
            }
            let behind = sqlite.statements().await;
            let notices = store.lease_notices(9, MINUTE, at(0)).await.unwrap();
            assert_eq!(notices.len(), usize::from(n == 2));
            let looked = sqlite.statements().await;
            store.lease_notices(9, MINUTE, at(0)).await.unwrap();
            let again = sqlite.statements().await;
            let commits = [behind, looked, again].map(|run| (is_synced(&run), writes(&run)));
            seen.push(commits);
        }
        let expected = [(false, true), (true, true), (true, false)];
        assert!(seen.iter().all(|commits| *commits == expected), "{seen:?}");
    }
}

/// Whether each commit of these waited for the disk, as they do unless told otherwise.
fn is_synced(run: &[String]) -> bool {
    !run.iter().any(|sql| sql.starts_with("PRAGMA synchronous") && sql.contains("NORMAL"))
}

/// Whether anything was written: a commit of nothing does not reach the disk.
fn writes(run: &[String]) -> bool {
    run.iter().any(|sql| sql.starts_with("INSERT ") || sql.starts_with("UPDATE "))
}

#[tokio::test]
async fn t111_a_flood_of_one_source_stands_behind_everybody_else() {
    for place in places() {
        let store = place.open().store;
        let from = |n: u8, ip: &str| NewRequest {
            actor: Actor::Visitor { source: Source { ip: ip.parse().unwrap() } },
            ..request(n, 100)
        };
        for n in 1..=100 {
            assert_eq!(store.accept(from(n, "192.0.2.7"), vec![], None).await, Ok(Acceptance::Accepted));
        }
        for (n, ip) in [(101, "192.0.2.8"), (102, "2001:db8::1"), (103, "2001:db8::2")] {
            assert_eq!(store.accept(from(n, ip), vec![], None).await, Ok(Acceptance::Accepted));
        }
        let mut order = Vec::new();
        for _ in 0..3 {
            order.push(store.lease_requests(1, MINUTE, at(100)).await.unwrap()[0].id.bytes()[0]);
        }
        order.sort_unstable();
        assert_eq!(order, [1, 101, 102], "each source once, before any comes again");
        let rest = store.lease_requests(200, MINUTE, at(100)).await.unwrap();
        assert_eq!(rest.len(), 100, "and nobody waits while there is nothing else to do");
    }
}

#[tokio::test]
async fn t111_messages_leave_in_the_same_order_as_requests() {
    for place in places() {
        let store = place.open().store;
        let from = |n: u8, ip: &str| {
            let mut one = issue(n, &format!("person{n}"), 100);
            one.event.actor = Actor::Visitor { source: Source { ip: ip.parse().unwrap() } };
            one
        };
        for n in 1..=30 {
            assert_eq!(answer_with(&store, n, 100, from(n, "192.0.2.7")).await, Issued::Made);
        }
        assert_eq!(answer_with(&store, 31, 100, from(31, "192.0.2.8")).await, Issued::Made);
        let mut order: Vec<_> = store.lease_notices(2, MINUTE, at(100)).await.unwrap();
        order.sort_by_key(|leased| leased.notice.id);
        assert_eq!(order.iter().map(|leased| leased.notice.id.bytes()[0]).collect::<Vec<_>>(), [1, 31]);
    }
}

#[tokio::test]
async fn r9_what_comes_now_does_not_wait_for_the_end_of_a_backlog() {
    for place in places() {
        let store = place.open().store;
        for n in 1..=20 {
            assert_eq!(answer(&store, n, &format!("person{n}"), n.into()).await, Issued::Made);
        }
        assert_eq!(answer(&store, 21, "ada", 100).await, Issued::Made);
        let leased = store.lease_notices(4, MINUTE, at(100)).await.unwrap();
        let order: Vec<_> = leased.iter().map(|leased| leased.notice.id.bytes()[0]).collect();
        assert_eq!(order, [21, 1, 2, 3], "the newest, then those that have waited longest");
    }
}

#[tokio::test]
async fn t111_what_is_turned_away_takes_no_place() {
    for place in places() {
        let store = place.open().store;
        let ask = async |n: u8, ip: &str, counted: &str| {
            let source = Source { ip: ip.parse().unwrap() };
            let request = NewRequest { actor: Actor::Visitor { source }, ..request(n, 0) };
            store.accept(request, vec![counter("source", counted, 1, MINUTE)], None).await.unwrap()
        };
        assert_eq!(ask(1, "192.0.2.1", "a").await, Acceptance::Accepted);
        for n in 2..9 {
            assert!(matches!(ask(n, "192.0.2.1", "a").await, Acceptance::TooOften(_)));
        }
        assert_eq!(ask(9, "192.0.2.1", "b").await, Acceptance::Accepted);
        for (n, counted) in [(10, "c"), (11, "d"), (12, "e")] {
            assert_eq!(ask(n, "192.0.2.2", counted).await, Acceptance::Accepted);
        }
        // It stands a second behind its first one, as the other's second does, and not eight.
        let order: Vec<_> = store.lease_requests(9, MINUTE, at(5)).await.unwrap();
        let order: Vec<_> = order.iter().map(|leased| leased.id.bytes()[0]).collect();
        let of = |n| order.iter().position(|other| *other == n).unwrap();
        assert!(of(9) < of(12), "{order:?}");
    }
}
