//! Whether the daemon can do its work, for supervisors and proxies.

use super::rekeyd::Rekeyd;

/// What works.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Health {
    /// Requests can be accepted.
    pub store: bool,
    /// The directory answered last time; requests are accepted all the same when it did not.
    pub directory: bool,
}

/// Asks the store, and what the last operation said of the directory.
pub async fn ready(rekeyd: &Rekeyd) -> Health {
    Health { store: rekeyd.store.ping().await.is_ok(), directory: rekeyd.parts().directory.is_up() }
}
