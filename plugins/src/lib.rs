//! Channels by which rekeyd reaches people, and the words it uses. The contract of a channel is [`Channel`].
//!
//! * [`list`] names the channels that exist; each is one file and one line there.
//! * [`messages`] reads `[messages]`; [`words`] holds every string of every language, [`render`] turns a notice into
//!   subject, text and HTML, [`untrusted`] tames what the directory says of people, [`mime`] makes the letter.
//! * [`email_config`] makes the channel `email`, which delivers by SMTP (`smtp` is its dialogue, `reply` what it hears, `wire` the connection, `tls` its encryption,
//!   `rest` when a host that fails is asked again), [`mod@file`] into a folder.
//! * [`secret`] reads passwords of smart hosts from files and credentials.
//!
//! Nothing here retries, logs, draws chance or remembers a message: the outbox does. Reasons in answers go into logs
//! and the audit trail, so they never hold an address, a link or a password.

mod email;
pub mod email_config;
pub mod file;
pub mod list;
pub mod messages;
pub mod mime;
pub mod render;
pub mod reply;
mod rest;
pub mod secret;
mod smtp;
mod tls;
pub mod untrusted;
mod wire;
pub mod words;

use std::time::Duration;

use async_trait::async_trait;
use rekeyd_core::domain::{ContactKind, Notice, Recipient};

pub use list::ChannelConfig;
pub use messages::{Messages, MessagesConfig};
pub use words::Words;

/// How one try at delivery ended. The text says why, for logs and operators; it names no address and no secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Delivered {
    /// The far side has taken responsibility for it.
    Delivered,
    /// Surely not taken; the same try may succeed later.
    Later(String),
    /// Surely not taken, and the same try will never succeed.
    Never(String),
    /// Surely not taken, for a reason that concerns every message alike: the way there is shut at present.
    Shut(String),
    /// The answer was lost, so it may have been taken. Only this channel may repeat it, with the same id.
    Unsure(String),
}

/// What is wrong with the way to the far side, whatever message is to go there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WayTrouble {
    /// In words, for logs and operators.
    pub why: String,
    /// For how long it is left alone; nothing where somebody may find out now whether it works again.
    pub rest: Duration,
    /// Whether no message gets through; otherwise there is another way.
    pub shut: bool,
}

/// A way to reach people, with one promise: it takes a notice once and says truly how that ended.
///
/// It does not retry, log, choose another recipient or keep anything of a notice between calls; what it may keep is
/// the way there, such as an open connection. [`Notice::id`] is the idempotency key: a notice that comes again must
/// be recognisable at the far side as the same one. After an answer that may have been lost it hands the notice to no
/// other provider.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// The kind of address it needs.
    fn kind(&self) -> ContactKind;

    /// Tries once to deliver one notice to one recipient, within time limits of its own.
    async fn deliver(&self, to: &Recipient, notice: &Notice) -> Delivered;

    /// How many deliveries may go on side by side.
    fn width(&self) -> usize {
        8
    }

    /// What the last deliveries showed to be wrong with the way there; `None` as soon as one shows that it works.
    fn trouble(&self) -> Option<WayTrouble> {
        None
    }

    /// Reaches the far side without telling anyone, and says in words what was found. Ends a trouble that is over.
    ///
    /// # Errors
    /// Says in words what is wrong.
    async fn probe(&self) -> Result<String, String>;
}
