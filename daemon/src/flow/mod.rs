//! The stories, one public function each, read top to bottom: gather, judge, act, record.
//!
//! * [`forgotten`]: somebody says a password is forgotten. [`answering`]: a worker answers the request.
//! * [`outbox`]: messages leave, `ways`: where any gets through. [`reset`]: somebody holds a link and sets a password. [`reconcile`]: what a crash or a
//!   lost answer left open is settled. [`not_me`]: somebody says they did not ask.
//! * [`sign_in`]: a login page has a password checked. [`operator`]: an operator helps.
//! * [`explain`], [`status`], [`health`]: what is so, and why. [`compare`]: what would be so under other rules. [`adopt`]:
//!   what becomes of accounts that are older than rekeyd.
//!
//! Each story that is about an account asks the account's own directory and judges by that directory's rules: `directories`
//! says which one it is.
//!
//! A story never learns which door opened it, and a door never learns how a story is done: outcomes are values, and
//! an ordinary refusal is an outcome.

pub mod adopt;
pub mod answering;
pub mod compare;
pub mod doctor;
pub mod explain;
pub mod forgotten;
pub mod health;
pub mod not_me;
pub mod operator;
pub mod outbox;
pub mod reconcile;
pub mod reset;
pub mod sign_in;
pub mod status;

mod clock;
mod directories;
mod drift;
mod faults;
mod link;
mod rekeyd;
mod setting;
mod start;
mod tries;
mod trouble;
mod turns;
mod walking;
mod watchlist;
mod ways;

pub use clock::Clock;
pub use directories::{Directories, Governed, Whom};
pub use faults::Faults;
pub use rekeyd::{Identity, Parts, Rekeyd};
