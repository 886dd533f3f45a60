//! R1: kill -9 loses nothing, wherever it comes.

use rekeyd_tests::{cuts, kills, tests};

tests! {
    async fn r1_a_story_that_is_cut_off_at_any_call_harms_nobody;
    async fn r1_fifty_kills_under_load_by_the_first_seed;
    async fn r1_fifty_kills_under_load_by_the_second_seed;
    async fn r1_fifty_kills_under_load_by_the_third_seed;
    async fn r1_fifty_kills_under_load_by_the_fourth_seed;
}

async fn r1_fifty_kills_under_load_by_the_first_seed() {
    survives(1).await;
}

async fn r1_fifty_kills_under_load_by_the_second_seed() {
    survives(2).await;
}

async fn r1_fifty_kills_under_load_by_the_third_seed() {
    survives(3).await;
}

async fn r1_fifty_kills_under_load_by_the_fourth_seed() {
    survives(4).await;
}

/// A sample of the calls; a step of 1 cuts at every one there is.
async fn r1_a_story_that_is_cut_off_at_any_call_harms_nobody() {
    // Each thread writes far more often than it does anything else.
    let few = ["connect", "fdatasync", "fsync", "rename", "sendto", "writev"];
    let samples = [(&few[..], 2, 7), (&["pwrite64", "write"], 5, 31)];
    for (calls, first, step) in samples {
        let report = cuts::run(calls, first, step, |line| println!("{line}")).await;
        assert!(report.violations.is_empty(), "{report}");
        assert!(report.cut > 0, "nothing was cut off: {report}");
    }
}

async fn survives(seed: u64) {
    let report = kills::run(50, seed, |line| println!("{line}")).await;
    assert!(report.violations.is_empty(), "{report}");
    assert!(report.set > 5, "there was no load: {report}");
}
