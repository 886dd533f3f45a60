//! The list of all integration tests.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used
)]

mod check;
mod demo;
mod doors;
mod hook;
mod kept;
mod law;
mod operators;
mod oracle;
mod pages;
mod rig;
mod running;
mod store_faults;
mod store_full;
mod store_power;
mod story;
mod tickets;
mod tidy;
mod tokens;
mod trail;

use std::process::ExitCode;

use rekeyd_tests::harness;

fn main() -> ExitCode {
    let modules = [
        check::all(),
        demo::all(),
        doors::all(),
        hook::all(),
        kept::all(),
        law::all(),
        operators::all(),
        oracle::all(),
        pages::all(),
        rig::all(),
        running::all(),
        store_faults::all(),
        store_full::all(),
        store_power::all(),
        story::all(),
        tickets::all(),
        tidy::all(),
        tokens::all(),
        trail::all(),
    ];
    harness::main(modules.into_iter().flatten().collect())
}
