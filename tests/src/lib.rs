//! What tests stand on: the real daemon, and real servers around it that can be asked what happened in them.
//!
//! * [`world::World`] is where most tests begin: it puts the others together, and checks itself at its end ([`secrets`]).
//!   [`builder`] makes it, [`acts`] is what people do in it, [`world_config`] writes its configuration.
//! * [`harness`] names, chooses and runs the tests; [`scratch`] and [`process`] hold their files and programs; [`procfs`] is
//!   what the kernel tells of those, [`journal`] what they tell the system's log.
//! * [`slapd`] is the directory, [`branch`] the people in it, [`proxy`] a way to it that can be cut; [`smtp`] takes the mail and [`mail`] reads it;
//!   [`http`] and [`browser`] go through the doors; [`nonsense`] is no server at all; [`tls`] makes the certificates of them all.
//!
//! A test states what it waits for and fails at once with the reason, so everything here panics instead of returning errors.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::missing_panics_doc
)]

pub mod acts;
pub mod branch;
pub mod browser;
pub mod builder;
pub mod harness;
pub mod http;
pub mod journal;
pub mod mail;
pub mod nonsense;
pub mod process;
pub mod procfs;
pub mod proxy;
pub mod scratch;
pub mod secrets;
pub mod slapd;
mod slapd_config;
pub mod smtp;
mod smtp_session;
pub mod tls;
pub mod world;
pub mod world_config;
