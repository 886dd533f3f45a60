//! R9 and T111: who comes first when more waits than can leave at once.

use rekeyd_tests::{
    acts::until,
    branch::PASSWORD,
    slapd::{Slapd, Variant},
    smtp::{Fault, Step},
    tests,
    world::World,
};
use serde_json::json;
use std::time::Duration;

tests! {
    async fn r9_a_backlog_leaves_in_full_and_once_when_the_mail_server_is_back;
    async fn r9_who_asks_now_does_not_wait_for_the_end_of_a_backlog;
    async fn t111_junk_costs_one_look_up_each_and_holds_up_nobody_else;
}

/// So many people have their message waiting.
const CROWD: usize = 60;

/// Asks for somebody, from an address.
async fn asks_from(world: &World, login: &str, ip: &str) {
    let answer = world.hook("/v1/recovery", &json!({"login": login, "client_ip": ip})).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// A world whose mail server is down, with the messages to a crowd waiting, all asked for from one address.
async fn with_a_backlog() -> World {
    let world = World::start().await;
    world.smtp().close().await;
    for n in 0..CROWD {
        world.branch().add_person(&format!("crowd{n}"), PASSWORD).await;
        asks_from(&world, &format!("crowd{n}"), "192.0.2.7").await;
    }
    until("all are answered", async || world.asks(&["status"])["notices_waiting"] == CROWD).await;
    world.event(&[("event", "channel-down")]).await;
    world
}

async fn r9_a_backlog_leaves_in_full_and_once_when_the_mail_server_is_back() {
    let world = with_a_backlog().await;
    let tries = world.asks(&["outbox", "--limit", "1000"]);
    let tries: u64 =
        tries["notices"].as_array().expect("a list").iter().filter_map(|row| row["attempts"].as_u64()).sum();
    assert!(tries < 30, "{tries} tries at a server that is down");
    world.smtp().open().await;
    world.smtp().wait_for(CROWD).await;
    world.all_is_sent().await;
    let mut ids: Vec<_> = world.smtp().messages().iter().map(|message| message.header("Message-ID")).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), world.smtp().messages().len()), (CROWD, CROWD));
    assert!(world.smtp().connections() <= 12, "{} connections", world.smtp().connections());
}

async fn r9_who_asks_now_does_not_wait_for_the_end_of_a_backlog() {
    let world = with_a_backlog().await;
    world.smtp().fail(Step::Body, Fault::Slow(Duration::from_millis(300)));
    world.smtp().open().await;
    world.smtp().wait_for(8).await;
    asks_from(&world, "ada", "192.0.2.8").await;
    world.smtp().wait_for_mail_to("ada@example.org", 1).await;
    let before = world.smtp().messages().len();
    assert!(before < CROWD, "she came after {before} others");
    world.smtp().heal();
    world.smtp().wait_for(CROWD + 1).await;
}

async fn t111_junk_costs_one_look_up_each_and_holds_up_nobody_else() {
    let slapd = Slapd::fresh(Variant::Policy).await;
    let world = World::builder().slapd(&slapd).start().await;
    world.reaches_the_directory().await;
    // Nothing is answered until all of it waits.
    slapd.freeze();
    for n in 0..200 {
        asks_from(&world, &format!("junk{n}"), "192.0.2.7").await;
    }
    asks_from(&world, "ada", "192.0.2.8").await;
    slapd.thaw();
    world.smtp().wait_for_mail_to("ada@example.org", 1).await;
    world.all_is_sent().await;
    let rows = world.audit();
    let ended: Vec<_> = rows
        .iter()
        .filter(|row| ["request-ended", "ticket-issued"].contains(&row["event"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(ended.len(), 201, "each ends once");
    let place = ended.iter().position(|row| row["event"] == "ticket-issued").expect("her link");
    // Those that were in hand already, and one batch more.
    assert!(place < 80, "she came after {place} others");
    assert_eq!(world.smtp().messages().len(), 1, "junk sends nothing");
}
