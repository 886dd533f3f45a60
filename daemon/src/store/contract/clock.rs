//! A clock that is set, by hand or by the network: links live no longer, what waits is not lost, the trail hears of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::store::{ClockSet, Delivery, Ended};

const HOUR: i64 = 3600;
const YEARS: i64 = 10 * 365 * 24 * HOUR;

/// Two clocks in a test's hand, in seconds into the test.
#[derive(Clone, Default)]
struct Clocks {
    wall: Arc<AtomicI64>,
    uptime: Arc<AtomicI64>,
}

impl Clocks {
    fn watch(&self) -> Watch {
        let (wall, uptime) = (Arc::clone(&self.wall), Arc::clone(&self.uptime));
        // The machine had been running for a while.
        let running = move || Duration::from_secs((uptime.load(Ordering::Relaxed) + 1000).unsigned_abs());
        Watch::new(move || at(wall.load(Ordering::Relaxed)), running)
    }

    /// Time passes, by both clocks.
    fn pass(&self, seconds: i64) -> i64 {
        self.uptime.fetch_add(seconds, Ordering::Relaxed);
        self.set(seconds)
    }

    /// Somebody sets the clock. Gives what it shows.
    fn set(&self, by: i64) -> i64 {
        self.wall.fetch_add(by, Ordering::Relaxed) + by
    }

    fn open(&self, place: &Place) -> Store {
        Store::open(place.config(), &ring(), self.watch(), SystemRandom::new()).unwrap().store
    }
}

/// A link that was delivered at a moment.
async fn link(store: &Store, n: u8, who: &str, now: i64) {
    assert_eq!(answer(store, n, who, now).await, Issued::Made);
    let leased = store.lease_notices(9, MINUTE, at(now)).await.unwrap();
    store.delivery(leased[0].notice.id, Delivery::Sent, at(now), None).await.unwrap();
}

async fn works(store: &Store, n: u8, now: i64) -> bool {
    store.ticket(hash(n), at(now)).await.unwrap().unwrap().usable
}

#[tokio::test]
async fn t37_a_clock_that_is_set_back_lets_no_link_live_longer() {
    for place in places() {
        // By less than a link may be from the future, and by more; in one run, and over a crash.
        for (back, restarts) in [(-90, false), (-90, true), (-2 * HOUR, false), (-2 * HOUR, true)] {
            let clocks = Clocks::default();
            let place = Place::another(&place);
            let store = clocks.open(&place);
            link(&store, 1, "ada", clocks.pass(60)).await;
            clocks.pass(60);
            let now = clocks.set(back);
            assert_eq!(works(&store, 1, now).await, back > -120, "one from the future is not believed");
            let store = if restarts {
                drop(store);
                clocks.open(&place)
            } else {
                store
            };
            let now = clocks.pass(28 * 60);
            assert_eq!(works(&store, 1, now).await, back > -120);
            let now = clocks.pass(61);
            assert!(!works(&store, 1, now).await, "{back} s back: it is 30 minutes old");
            // Nor does it come back with the right time, however often the clock is set.
            let now = clocks.set(-back);
            assert!(!works(&store, 1, now).await);
            let now = clocks.set(3 * back);
            assert!(!works(&store, 1, now).await);
        }
    }
}

#[tokio::test]
async fn t37_a_link_made_while_the_clock_is_wrong_lives_as_long_as_any() {
    for place in places() {
        for wrong in [-2 * HOUR, 2 * HOUR, YEARS] {
            let clocks = Clocks::default();
            let place = Place::another(&place);
            let store = clocks.open(&place);
            link(&store, 1, "ada", clocks.pass(60)).await;
            clocks.set(wrong);
            link(&store, 2, "eve", clocks.pass(60)).await;
            let now = clocks.pass(29 * 60);
            assert!(works(&store, 2, now).await, "{wrong}");
            let now = clocks.pass(61);
            assert!(!works(&store, 2, now).await, "{wrong}");
            // The clock is right again, and all is as ever.
            let now = clocks.set(-wrong);
            assert!(!works(&store, 2, now).await, "{wrong}");
            link(&store, 3, "bob", now).await;
            let now = clocks.pass(29 * 60);
            assert!(works(&store, 3, now).await, "{wrong}");
            let now = clocks.pass(61);
            assert!(!works(&store, 3, now).await, "{wrong}");
        }
    }
}

#[tokio::test]
async fn r12_what_waits_is_neither_lost_nor_held_up_by_a_clock_that_is_set() {
    for place in places() {
        for by in [-2 * HOUR, 2 * HOUR, YEARS, -YEARS, HOUR] {
            let clocks = Clocks::default();
            let place = Place::another(&place);
            let store = clocks.open(&place);
            let now = clocks.pass(60);
            assert_eq!(answer(&store, 1, "ada", now).await, Issued::Made);
            assert_eq!(store.accept(request(2, now), vec![], None).await, Ok(Acceptance::Accepted));
            assert_eq!(store.lease_requests(9, MINUTE, at(now)).await.unwrap().len(), 1);
            store.postpone(RequestId::from_bytes([2; 22]), at(now + 60), "later").await.unwrap();
            clocks.set(by);
            let now = clocks.pass(59);
            assert!(store.lease_requests(9, MINUTE, at(now)).await.unwrap().is_empty(), "{by}: not before its time");
            let now = clocks.pass(2);
            let leased = store.lease_requests(9, MINUTE, at(now)).await.unwrap();
            assert_eq!(leased.len(), 1, "{by}");
            assert!(leased[0].deadline > at(now) && leased[0].deadline < at(now).plus(DAY), "{by}");
            let notices = store.lease_notices(9, MINUTE, at(now)).await.unwrap();
            assert_eq!(notices.len(), 1, "{by}");
            assert!(notices[0].notice.deadline > at(now), "{by}");
            store.delivery(notices[0].notice.id, Delivery::Sent, at(now), None).await.unwrap();
            assert!(works(&store, 1, now).await, "{by}: its life begins when it is delivered");
            let told = store.audit(None, 9).await.unwrap();
            let told: Vec<_> = told.iter().filter(|row| row.kind == "clock-set").collect();
            assert_eq!(told.len(), 1, "{by}");
            assert_eq!(told[0].outcome, if by < 0 { "back" } else { "forward" });
            assert_eq!(told[0].details, [("seconds".to_owned(), by.abs().to_string())]);
            let set = store.counts(at(now)).await.unwrap().clock_set;
            assert_eq!(set.map(|ClockSet { by_seconds, .. }| by_seconds), Some(by));
        }
    }
}

#[tokio::test]
async fn r12_small_steps_and_a_long_sleep_are_no_event() {
    for place in places() {
        let clocks = Clocks::default();
        let store = clocks.open(&place);
        // A leap second, the network's corrections, three hours of sleep.
        for (set, passes) in [(-1, 10), (1, 10), (100, 10), (-100, 10), (0, 3 * HOUR)] {
            clocks.set(set);
            clocks.pass(passes);
            store.ping().await.unwrap();
        }
        drop(store);
        // The machine was off for two days, and counts anew.
        clocks.uptime.store(-900, Ordering::Relaxed);
        clocks.set(48 * HOUR);
        let store = clocks.open(&place);
        store.ping().await.unwrap();
        assert!(store.audit(None, 9).await.unwrap().is_empty());
        assert_eq!(store.counts(at(0)).await.unwrap().clock_set, None);
    }
}

#[tokio::test]
async fn r12_a_clock_set_back_between_two_runs_is_told_of_once() {
    for place in places() {
        let clocks = Clocks::default();
        let store = clocks.open(&place);
        link(&store, 1, "ada", clocks.pass(60)).await;
        drop(store);
        // Begun anew with a clock from before.
        clocks.uptime.store(-990, Ordering::Relaxed);
        clocks.set(-2 * HOUR);
        for _ in 0..2 {
            let store = clocks.open(&place);
            let now = clocks.pass(31 * 60);
            assert!(!works(&store, 1, now).await);
            store.ping().await.unwrap();
            let told = store.audit(None, 99).await.unwrap();
            assert_eq!(told.iter().filter(|row| row.kind == "clock-set").count(), 1);
        }
    }
}

#[tokio::test]
async fn r12_nothing_is_pruned_by_a_clock_that_may_be_wrong() {
    for place in places() {
        let clocks = Clocks::default();
        let store = clocks.open(&place);
        let now = clocks.pass(60);
        assert_eq!(store.accept(request(1, now), vec![], None).await, Ok(Acceptance::Accepted));
        let ended = event(EventKind::RequestEnded, "ada", now);
        store.end_request(RequestId::from_bytes([1; 22]), Ended::Refused, None, ended).await.unwrap();
        clocks.set(YEARS);
        let now = clocks.pass(60);
        store.ping().await.unwrap();
        assert!(!store.prune(at(now)).await.unwrap());
        assert_eq!(store.counts(at(now)).await.unwrap().events, 2);
        // A day later it counts as right.
        let now = clocks.pass(25 * HOUR);
        store.prune(at(now)).await.unwrap();
        assert_eq!(store.counts(at(now)).await.unwrap().events, 1);
    }
}
