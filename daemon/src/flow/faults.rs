//! How often a fault of rekeyd's own ended something: nothing is lost by one, and somebody should hear of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter of faults since the start. Whoever is told of one counts it; all clones count together.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<AtomicU64>);

impl Faults {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
