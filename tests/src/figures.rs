//! The arithmetic of measurements: percentiles, how far two samples overlap, how ratios spread.
// Counts of samples are far below what a float holds exactly.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]

use std::{cmp::Ordering, time::Duration};

/// Times that were measured, in order of length.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Sorts what was measured.
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest time that so many of a hundred do not exceed (nearest rank); zero where there are none.
    pub fn percentile(&self, percent: f64) -> Duration {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.max(1) - 1).or(self.0.last()).copied().unwrap_or_default()
    }

    /// The one in the middle.
    pub fn p50(&self) -> Duration {
        self.percentile(50.0)
    }

    /// The one that only one of a hundred exceeds.
    pub fn p99(&self) -> Duration {
        self.percentile(99.0)
    }

    /// How well a single time tells of which of two samples it is: the area under the ROC curve (Mann-Whitney's U over
    /// all pairs), which is the chance that a time of `other` is longer than one of these, ties counting half. 0.5 tells
    /// nothing; 0 and 1 tell everything. 0.5 where either is empty.
    pub fn auc(&self, other: &Self) -> f64 {
        let pairs = self.0.len() as f64 * other.0.len() as f64;
        if pairs == 0.0 {
            return 0.5;
        }
        // Both are sorted: for each of ours, `shorter` of the others are shorter and those up to `within` are no longer.
        let (mut shorter, mut within, mut wins) = (0, 0, 0.0);
        for time in &self.0 {
            while other.0.get(shorter).is_some_and(|one| one < time) {
                shorter += 1;
            }
            within = within.max(shorter);
            while other.0.get(within).is_some_and(|one| one <= time) {
                within += 1;
            }
            wins += (other.0.len() - within) as f64 + 0.5 * (within - shorter) as f64;
        }
        wins / pairs
    }

    /// The standard error of [`Self::auc`] between two samples of these sizes that do not differ.
    pub fn auc_error(&self, other: &Self) -> f64 {
        let (ours, others) = (self.0.len() as f64, other.0.len() as f64);
        if ours * others == 0.0 { 0.5 } else { ((ours + others + 1.0) / (12.0 * ours * others)).sqrt() }
    }
}

/// The number in the middle; between the middle two where there is none. Zero of nothing.
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(|left, right| left.partial_cmp(right).unwrap_or(Ordering::Equal));
    let (half, odd) = (sorted.len() / 2, sorted.len() % 2 == 1);
    match (sorted.get(half), half.checked_sub(1).and_then(|before| sorted.get(before))) {
        (Some(middle), _) if odd => *middle,
        (Some(above), Some(below)) => f64::midpoint(*above, *below),
        _ => 0.0,
    }
}

/// The least and the greatest; zeros of nothing.
pub fn spread(numbers: &[f64]) -> (f64, f64) {
    let least = numbers.iter().copied().reduce(f64::min).unwrap_or_default();
    (least, numbers.iter().copied().reduce(f64::max).unwrap_or_default())
}
