//! The pure floors of rekeyd: what things are called, who may do what, and how each directory product says it.
//!
//! Nothing in this crate waits, opens, connects, logs or reads a clock: time, chance and history come in as arguments
//! (Cargo holds that: no tokio, no LDAP, no database among the dependencies; a test reads the sources for the rest).
//!
//! * [`domain`] holds the nouns. It knows nothing else.
//! * [`policy`] holds the verdicts: may this account be reset ([`policy::eligibility`]), how often may somebody ask
//!   ([`policy::pace`]), is this password good enough ([`policy::password`]), may this operator do that
//!   ([`policy::authority`]). Their proofs meet in a [`policy::permit::Permit`], without which nothing is written.
//! * [`flavour`] translates between a directory product and the nouns.
//! * [`settings`] reads configuration text and names every fault in it with its line and remedy.
//! * [`text`] makes foreign text harmless.

pub mod domain;
pub mod flavour;
pub mod policy;
pub mod settings;
pub mod text;
