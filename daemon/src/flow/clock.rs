//! Where the time comes from: the system, or a test's hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rekeyd_core::domain::Timestamp;

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
