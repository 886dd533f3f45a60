//! The list of all integration tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice, clippy::unwrap_used)]

mod rig;
mod tidy;

use std::process::ExitCode;

use rekeyd_tests::harness;

fn main() -> ExitCode {
    harness::main([rig::all(), tidy::all()].into_iter().flatten().collect())
}
