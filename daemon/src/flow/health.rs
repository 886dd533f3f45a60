//! Whether the daemon can do its work, for supervisors and proxies.

use rekeyd_core::domain::Login;

use super::rekeyd::Rekeyd;

/// What works.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Health {
    /// Requests can be accepted.
    pub store: bool,
    /// The directory answered last time; requests are accepted all the same when it did not.
    pub directory: bool,
}

/// Asks the directory for nobody, so that status and health speak of it from the start and the first person does not
/// wait for its connections.
pub async fn greet(rekeyd: &Rekeyd) {
    let Ok(nobody) = Login::parse("(nobody)") else { return };
    if let Err(trouble) = rekeyd.find(&rekeyd.parts(), &nobody).await {
        log::warn!(event = "directory-down"; "requests are accepted and wait: {trouble}");
    }
}

/// Asks the store, and what the last operation said of the directory.
pub async fn ready(rekeyd: &Rekeyd) -> Health {
    Health { store: rekeyd.store.ping().await.is_ok(), directory: rekeyd.parts().directory.is_up() }
}
