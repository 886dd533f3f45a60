//! Kills at random moments under load, as many as a release wants: the runner of the tests, which do two hundred.

use rekeyd_tests::{harness, kills, slapd};

use crate::report::Report;

pub(crate) const NAME: &str = "kill";
pub(crate) const ABOUT: &str =
    "kills at random moments and checks what must never happen (only where named; --rounds, --seed)";

/// Runs so many rounds. What does not hold is a fault.
pub(crate) fn run(rounds: u32, seed: u64, report: &mut Report) {
    let ended = harness::runtime().block_on(async {
        let ended = kills::run(rounds, seed, |line| println!("{line}")).await;
        slapd::stop_lanes().await;
        ended
    });
    report.note(ended.to_string());
    for violation in ended.violations {
        report.fault(Some(violation));
    }
}
