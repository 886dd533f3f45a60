//! The program that the fuzzer drives: the target is named by the environment variable `TARGET`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rekeyd_fuzz::{TARGETS, Target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| {
        eprintln!("There is no target {name:?}.");
        std::process::exit(2)
    })
});

fuzz_target!(|data: &[u8]| (TARGET.hold)(data));
