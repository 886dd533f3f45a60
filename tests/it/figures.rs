//! The arithmetic that `tests/bench` rests on.
// Counts of samples are far below what a float holds exactly.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]

use std::{cmp::Ordering, time::Duration};

use rekeyd_tests::{
    figures::{Times, median, spread},
    tests,
};

tests! {
    fn rig_auc_counts_every_pair_and_halves_ties;
    fn rig_auc_of_the_same_and_of_the_apart;
    fn rig_medians_and_spreads;
    fn rig_percentiles_are_nearest_ranks;
}

fn times(millis: impl IntoIterator<Item = u64>) -> Times {
    Times::new(millis.into_iter().map(Duration::from_millis).collect())
}

fn rig_percentiles_are_nearest_ranks() {
    let hundred = times((1..=100).rev());
    for (percent, millis) in
        [(0.0, 1), (0.5, 1), (1.0, 1), (50.0, 50), (50.5, 51), (99.0, 99), (99.9, 100), (100.0, 100)]
    {
        assert_eq!(hundred.percentile(percent), Duration::from_millis(millis), "{percent}");
    }
    assert_eq!(times([7]).p50(), Duration::from_millis(7));
    assert_eq!(times([7]).p99(), Duration::from_millis(7));
    assert_eq!(times([1, 2, 3]).p50(), Duration::from_millis(2));
    assert_eq!(times([]).p99(), Duration::ZERO);
    assert_eq!(hundred.count(), 100);
}

fn rig_auc_of_the_same_and_of_the_apart() {
    let (low, high) = (times(0..50), times(100..200));
    assert_close(low.auc(&high), 1.0);
    assert_close(high.auc(&low), 0.0);
    assert_close(low.auc(&low), 0.5);
    assert_close(low.auc(&times([])), 0.5);
    assert_close(times([5; 9]).auc(&times([5; 4])), 0.5);
    // Two samples of 10,000 that do not differ stay within 0.02 with near certainty (four standard errors and more).
    let many = times(0..10_000);
    assert!(many.auc_error(&many) < 0.0042, "{}", many.auc_error(&many));
}

/// Against the definition, pair by pair.
fn rig_auc_counts_every_pair_and_halves_ties() {
    for seed in 1..200_u64 {
        let draw =
            |factor: u64, count: u64| (0..count).map(|n| (n * factor + seed) * 2_654_435_761 % 97 % 13).collect();
        let (left, right): (Vec<u64>, Vec<u64>) =
            (draw(seed * 31 + 7, seed % 17 + 1), draw(seed * 17 + 3, seed % 11 + 1));
        let mut wins = 0.0;
        for one in &left {
            for other in &right {
                wins += match other.cmp(one) {
                    Ordering::Greater => 1.0,
                    Ordering::Equal => 0.5,
                    Ordering::Less => 0.0,
                };
            }
        }
        let expected = wins / (left.len() * right.len()) as f64;
        assert_close(times(left).auc(&times(right)), expected);
    }
}

fn rig_medians_and_spreads() {
    assert_close(median(&[3.0, 1.0, 2.0]), 2.0);
    assert_close(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    assert_close(median(&[]), 0.0);
    assert_eq!(spread(&[3.0, 1.0, 2.0]), (1.0, 3.0));
    assert_eq!(spread(&[]), (0.0, 0.0));
}

fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
}
