//! Many at once: all are kept, and they share commits. Prints rates and asserts none.

use std::sync::Arc;
use std::time::Instant;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_ten_thousand_at_once_are_all_kept() {
    for place in places() {
        let store = Arc::new(place.open().store);
        let began = Instant::now();
        let tasks: Vec<_> = (0..200_u32)
            .map(|task| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    for n in 0..50_u32 {
                        let mut id = [0; 22];
                        id[..4].copy_from_slice(&(task * 50 + n).to_be_bytes());
                        let request = NewRequest { id: RequestId::from_bytes(id), ..request(0, 0) };
                        let source = counter("source", &format!("192.0.2.{task}"), 100, MINUTE);
                        assert_eq!(store.accept(request, vec![source], None).await, Ok(Acceptance::Accepted));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let rate = 10_000.0 / began.elapsed().as_secs_f64();
        println!("{rate:.0} acceptances a second");
        drop(store);
        assert_eq!(place.open().store.counts(at(0)).await.unwrap().requests_waiting, 10_000);
    }
}

#[tokio::test]
async fn a_flood_of_new_counters_washes_out_none_that_is_nearly_full() {
    for place in places() {
        let store = place.open().store;
        let day = || vec![counter("account-day", "ada", 1, DAY)];
        assert_eq!(store.count(day(), at(0)).await, Ok(None));
        for n in 0..110_u32 {
            let flood = (0..1000).map(|m| counter("source", &format!("{n}.{m}"), 20, 10 * MINUTE)).collect();
            assert_eq!(store.count(flood, at(1)).await, Ok(None));
        }
        assert!(store.count(day(), at(2)).await.unwrap().is_some());
    }
}
