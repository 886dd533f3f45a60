//! What tells the store the time: the wall clock, which somebody may set, and how long the machine runs, which nobody can.

use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::Timestamp;

/// Where the store reads the time.
#[derive(Clone)]
pub struct Watch {
    wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    uptime: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Watch {
    /// A watch made of two clocks: the wall's, and one that counts since the machine began, sleep included.
    pub fn new(
        wall: impl Fn() -> Timestamp + Send + Sync + 'static,
        uptime: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        Self { wall: Arc::new(wall), uptime: Arc::new(uptime) }
    }

    /// The moment by the wall clock.
    pub fn now(&self) -> Timestamp {
        (self.wall)()
    }

    /// How long the machine runs, in milliseconds.
    pub(super) fn uptime(&self) -> i64 {
        i64::try_from((self.uptime)().as_millis()).unwrap_or(i64::MAX)
    }

    /// When the machine began by the wall clock, in milliseconds since 1970: it moves when the clock is set, and only then.
    pub(super) fn beginning(&self) -> i64 {
        self.now().millis().saturating_sub(self.uptime())
    }
}
