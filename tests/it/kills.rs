//! R1: kill -9 loses nothing, wherever it comes.

use rekeyd_tests::{kills, tests};

tests! {
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

async fn survives(seed: u64) {
    let report = kills::run(50, seed, |line| println!("{line}")).await;
    assert!(report.violations.is_empty(), "{report}");
    assert!(report.set > 5, "there was no load: {report}");
}
