//! The list of all integration tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::string_slice, clippy::unwrap_used)]

mod kept;
mod law;
mod oracle;
mod rig;
mod story;
mod tickets;
mod tidy;
mod trail;

use std::process::ExitCode;

use rekeyd_tests::harness;

fn main() -> ExitCode {
    let modules = [
        kept::all(),
        law::all(),
        oracle::all(),
        rig::all(),
        story::all(),
        tickets::all(),
        tidy::all(),
        trail::all(),
    ];
    harness::main(modules.into_iter().flatten().collect())
}
