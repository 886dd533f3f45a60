//! The nouns, one sentence each; they know nothing of directories, stores, doors or channels.
//!
//! * [`Login`]: what a person typed. [`Account`]: what the directory says of one person now. [`AccountId`]: its stable id.
//! * [`Standing`]: findings about an account with their evidence. [`Facts`]: what rekeyd itself remembers of it.
//! * [`Contact`]: an address that reaches a person. [`Actor`]: who asks.
//! * [`Ticket`]: what a live link entitles to. [`Token`]: the secret in the link; only its keyed hash is kept.
//! * [`Notice`]: something to tell a person. [`Event`]: a row of the audit trail.
//! * [`NewPassword`]: a password as typed, wiped when dropped. [`Timestamp`]: a moment.

mod account;
mod actor;
mod contact;
mod dn;
mod event;
mod ids;
mod keys;
mod login;
mod notice;
mod password;
mod standing;
mod ticket;
mod time;

pub use account::{Account, AccountId, Adopted, DirectoryKey, EntryName, Facts, Server, Stamp};
pub use actor::{Actor, Source};
pub use contact::{BadAddress, Contact, ContactKind, EmailAddress, Proof};
pub use dn::{BadDn, Dn};
pub use event::{Event, EventKind};
pub use ids::{NoticeId, RequestId, TicketId};
pub use keys::{AddressHash, DataKey, KeyId, KeyRing, MasterKey, Sealed, TokenHash, sha256};
pub use login::{BadLogin, Login};
pub use notice::{Link, Notice, NoticeKind, Recipient};
pub use password::NewPassword;
pub use standing::{Evidence, Finding, Standing};
pub use ticket::{BadToken, Origin, Purpose, Ticket, Token};
pub use time::Timestamp;
