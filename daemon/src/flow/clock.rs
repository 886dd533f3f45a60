//! Where the time comes from: the system, or a test's hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use rekeyd_core::domain::Timestamp;

use crate::store::Watch;

/// Where the time comes from: the system, or a test's hand.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    fixed: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// A clock that stands until it is moved by its handle: milliseconds since 1970.
    pub fn fixed(handle: Arc<AtomicI64>) -> Self {
        Self { fixed: Some(handle) }
    }

    /// Both clocks, for the store. The one that nobody sets counts the time that the machine sleeps as well.
    pub fn watch(&self) -> Watch {
        let clock = self.clone();
        Watch::new(
            move || clock.now(),
            || {
                // It is there since Linux 2.6.39; without it the clock alone would count.
                clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
            },
        )
    }

    /// The present moment.
    #[expect(clippy::disallowed_methods, reason = "the one place where the system's clock is read")]
    pub fn now(&self) -> Timestamp {
        if let Some(handle) = &self.fixed {
            return Timestamp::from_millis(handle.load(Ordering::Relaxed));
        }
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
