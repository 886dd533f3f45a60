//! What every parser of foreign bytes must hold, and the inputs that were worth keeping.
//!
//! A [`Target`] is a name and a function that panics when its parser breaks a rule. `tests/fuzz/run TARGET SECONDS` looks
//! for such inputs; `tests/fuzz/corpus/TARGET.txt` keeps those that reached something new, and a test replays them all.
//! No parser may panic, overflow or take for ever; most have a rule besides, such as that what is written reads back.
#![allow(clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

pub mod corpus;
mod targets;

pub use targets::{TARGETS, Target};
