//! Channels by which rekeyd reaches people, and the words it uses.

use async_trait::async_trait;
use rekeyd_core::domain::{ContactKind, Notice, Recipient};

/// How one try at delivery ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Delivered {
    /// The far side has it.
    Delivered,
    /// Not taken; try again later.
    Later(String),
    /// Not taken, and never will be.
    Never(String),
    /// The answer was lost: it may have been taken.
    Unsure(String),
}

/// A way to reach people.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;
    /// The kind of address it needs.
    fn kind(&self) -> ContactKind;
    /// Delivers one notice, once, and says how that went.
    async fn deliver(&self, to: &Recipient, notice: &Notice) -> Delivered;
    /// Reaches the far side without telling anyone.
    async fn probe(&self) -> Result<String, String>;
}

/// Stub.
pub struct Words;
impl Words {
    /// Stub.
    pub fn say(&self, languages: &[String], id: &str, args: &[(&str, &str)]) -> String {
        let _ = (languages, id, args);
        String::new()
    }
    /// Stub.
    pub fn pick(&self, languages: &[String]) -> &str {
        let _ = languages;
        "en"
    }
}
