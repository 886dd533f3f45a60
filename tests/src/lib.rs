//! What tests stand on: the real daemon, and real servers around it that can be asked what happened in them.
//!
//! * [`world::World`] is where most tests begin: it puts the others together, and checks itself at its end ([`secrets`]).
//!   [`builder`] makes it, [`acts`] is what people do in it, [`world_config`] writes its configuration.
//! * [`figures`] is the arithmetic of what `tests/bench` measures.
//! * [`harness`] names, chooses and runs the tests; [`scratch`] and [`process`] hold their files and programs; [`procfs`] is
//!   what the kernel tells of those, [`journal`] what they tell the system's log.
//! * [`small_disk`] is a disk that can be full, [`strace`] lets system calls fail, [`trace`] reads what was called, and
//!   [`power`] says what a power cut would leave of it.
//! * [`slapd`] is the directory, [`branch`] the people in it, [`slapd_special`] what only some tests need of it; [`proxy`]
//!   is a way to it that fails as it is told, [`answerer`] a server that nobody should believe, [`faults`] what the daemon
//!   says of them; [`smtp`] takes the mail and [`mail`] reads it; [`nonsense`] is no server at all;
//!   [`http`], [`volley`] and [`browser`] go through the doors; [`tls`] makes the certificates of them all.
//!
//! * [`estate`] is a branch on any product: on [`slapd`], on a domain controller of Active Directory ([`samba`]) or on
//!   [`ds389`], perhaps through a [`relay`]; a world stands on it or on a [`branch`]. [`situations`] is the one list of what can be the matter with an account, and [`making`] brings it about.
//! * [`invariants`] checks a whole world from outside, by its [`books`] and by the [`ledger`] of what its [`clients`] were told;
//!   [`killer`] kills the daemon at a chosen point, [`kills`] at random moments under load,
//!   [`cuts`] at every call to the system in turn.
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
pub mod answerer;
pub mod books;
pub mod branch;
pub mod browser;
pub mod builder;
pub mod clients;
pub mod cuts;
pub mod doctor;
pub mod ds389;
pub mod estate;
pub mod faults;
pub mod figures;
mod ground;
pub mod harness;
pub mod http;
pub mod invariants;
pub mod journal;
pub mod killer;
pub mod kills;
pub mod ledger;
pub mod mail;
pub mod making;
pub mod nonsense;
pub mod power;
pub mod process;
pub mod procfs;
pub mod proxy;
pub mod relay;
pub mod samba;
pub mod scratch;
pub mod secrets;
pub mod situations;
pub mod slapd;
mod slapd_config;
pub mod slapd_special;
pub mod small_disk;
pub mod smtp;
mod smtp_session;
pub mod strace;
pub mod tls;
pub mod trace;
pub mod volley;
pub mod world;
pub mod world_config;
