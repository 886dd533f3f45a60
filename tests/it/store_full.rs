//! R11: a disk that is full, has no inodes, no quota or is read-only: nothing new for nobody, nothing half done, and
//! everything again as soon as there is space.

use std::time::{Duration, Instant};

use rekeyd_tests::{
    acts::{is_set, until},
    branch::PASSWORD,
    proxy::{Fate, Proxy},
    slapd::{Slapd, Variant},
    small_disk::SmallDisk,
    strace::Strace,
    tests,
    world::World,
    world_config::Way,
};
use rusqlite::Connection;
use serde_json::json;

tests! {
    async fn r11_a_full_disk_refuses_requests_the_same_for_everybody;
    async fn r11_a_full_disk_refuses_a_set_before_the_directory_is_touched;
    async fn r11_a_password_that_is_in_the_directory_is_recorded_on_a_full_disk;
    async fn r11_a_start_on_a_full_disk_serves_what_it_can;
    async fn r11_a_disk_that_fills_at_any_step_loses_nothing;
    async fn r11_without_inodes_everything_goes_on;
    async fn r11_a_quota_or_a_read_only_disk_is_as_a_full_one;
}

const NEW: &str = "seven violet teapots orbit";
const SIZE: &str = "size=16m";

async fn r11_a_full_disk_refuses_requests_the_same_for_everybody() {
    let (world, disk) = on_a_small_disk(World::builder().prepare().await, SIZE).await;
    world.forgets_and_gets_link("ada").await;
    disk.fill();
    is_full(&world).await;
    let mut answers = Vec::new();
    for login in ["ada", "nobody", "grace"] {
        let mut hook = world.hook("/v1/recovery", &json!({"login": login})).await;
        hook.headers.remove("date");
        let page = world.forgets(login).await;
        answers.push((hook.status, format!("{:?}", hook.headers), hook.text(), page.status, page.text()));
    }
    assert_eq!((answers[0].0.as_u16(), answers[0].3.as_u16()), (503, 503), "{answers:?}");
    assert!(answers.iter().all(|answer| answer == &answers[0]), "{answers:?}");
    // It is told, once, and operators can still look.
    assert_eq!(world.door().get("/readyz").await.status, 503);
    assert_eq!(world.log().matches("event=store-full").count(), 1);
    assert!(world.asks(&["status"])["requests_waiting"].is_u64());
    assert_eq!(world.rekeyctl(&["send-code", "ada", "--reason", "x"], "").code, 75);
    disk.free();
    comes_back(&world).await;
    assert_eq!(world.log().matches("event=store-has-space").count(), 1);
    world.link_after("grace", 0).await;
    ends_whole(&world, &disk);
}

async fn r11_a_full_disk_refuses_a_set_before_the_directory_is_touched() {
    let (world, disk) = on_a_small_disk(World::builder().prepare().await, SIZE).await;
    let link = world.forgets_and_gets_link("ada").await;
    disk.fill();
    is_full(&world).await;
    let answer = world.sets_password(&link, NEW).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    // Nothing was asked of the directory: not even an operator's write begins.
    let told = world.rekeyctl(&["set-password", "grace", "--generate", "--reason", "x"], "");
    assert_eq!(told.code, 75, "{told:?}");
    assert!(world.writes("ada").await.is_empty() && world.writes("grace").await.is_empty());
    assert!(world.binds("ada", PASSWORD).await && world.binds("grace", PASSWORD).await);
    disk.free();
    comes_back(&world).await;
    world.surely_sets_password(&link, NEW).await;
    ends_whole(&world, &disk);
}

async fn r11_a_password_that_is_in_the_directory_is_recorded_on_a_full_disk() {
    let slapd = Slapd::shared(Variant::Policy).await;
    let proxy = Proxy::start(&slapd.uri()).await;
    let world = World::builder().slapd(&slapd).way(Way::Clear(Some(proxy.uri()))).prepare().await;
    let (world, disk) = on_a_small_disk(world, SIZE).await;
    let link = world.forgets_and_gets_link("ada").await;
    world.smtp().wait_for_mail_to("ada@example.org", 1).await;
    proxy.next_write(Fate::HoldAnswer);
    let release = async {
        proxy.stopped().await;
        disk.fill();
        is_full(&world).await;
        proxy.release();
    };
    let (answer, ()) = tokio::join!(world.sets_password(&link, NEW), release);
    assert!(is_set(&answer), "{} {}", answer.status, answer.text());
    world.event(&[("event", "password-set"), ("outcome", "set")]).await;
    assert!(!disk.inside().join("rekeyd.db-reserve").exists(), "the record took the reserve's space");
    // It is on the disk: a crash does not bring the link back.
    world.kill9();
    disk.free();
    world.restart().await;
    assert_eq!(world.door().get(&link).await.status, 410);
    assert_eq!(world.writes("ada").await.len(), 1);
    world.smtp().wait_for_mail_to("ada@example.org", 2).await;
    assert!(disk.inside().join("rekeyd.db-reserve").exists());
    ends_whole(&world, &disk);
}

async fn r11_a_start_on_a_full_disk_serves_what_it_can() {
    let (world, disk) = on_a_small_disk(World::builder().prepare().await, SIZE).await;
    let link = world.forgets_and_gets_link("ada").await;
    world.all_is_sent().await;
    world.kill9();
    disk.fill();
    world.launch();
    until("it answers", async || tokio::net::TcpStream::connect(world.address()).await.is_ok()).await;
    assert_eq!(world.hook("/v1/recovery", &json!({"login": "ada"})).await.status, 503);
    assert_eq!(world.door().get(&link).await.status, 200);
    disk.free();
    comes_back(&world).await;
    world.surely_sets_password(&link, NEW).await;
    ends_whole(&world, &disk);
}

/// The stories go on over and over while the disk is filled a little less each time, so that it is full at every step.
async fn r11_a_disk_that_fills_at_any_step_loses_nothing() {
    let world = World::builder().set("policy.lives.merge", r#""1s""#).set("policy.paces.account", r#""1000 in 1h""#);
    let world = world.set("policy.paces.account_day", r#""1000 in 1d""#);
    let world = world.set("policy.paces.contact_day", r#""1000 in 1d""#).prepare().await;
    let (world, disk) = on_a_small_disk(world, SIZE).await;
    let logins = ["ada", "grace", "zoë"];
    let mut accepted = 0;
    for round in 0..12_u64 {
        disk.fill_but(round * 12 * 1024);
        for login in logins {
            accepted += u64::from(world.hook("/v1/recovery", &json!({"login": login})).await.status == 202);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        disk.free();
        comes_back(&world).await;
    }
    assert!(accepted > 0, "never was there space enough for one");
    world.all_is_sent().await;
    let ended = |row: &serde_json::Value| {
        ["ticket-issued", "request-merged", "request-ended"].contains(&row["event"].as_str().unwrap_or_default())
    };
    // One more for each look whether it has come back.
    let rows = world.audit();
    let ends = rows.iter().filter(|row| ended(row)).count() as u64;
    assert!(ends >= accepted, "{accepted} were accepted and {ends} ended: {rows:#?}");
    ends_whole(&world, &disk);
}

async fn r11_without_inodes_everything_goes_on() {
    let (world, disk) = on_a_small_disk(World::builder().prepare().await, "size=16m,nr_inodes=64").await;
    disk.take_inodes();
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, NEW).await;
    world.all_is_sent().await;
    // A start makes no file either, after a crash; after an orderly end it says what is missing.
    world.kill9();
    world.restart().await;
    world.forgets_and_gets_link("grace").await;
    world.all_is_sent().await;
    assert!(world.stop().success());
    disk.take_inodes();
    world.launch();
    assert_eq!(world.ends().code(), Some(74));
    assert!(world.log().contains("no space is left where the database lies"), "{}", world.log());
    disk.free();
    world.restart().await;
    ends_whole(&world, &disk);
}

async fn r11_a_quota_or_a_read_only_disk_is_as_a_full_one() {
    for (error, words) in
        [("EDQUOT", "the quota is used up"), ("EROFS", "the file system of the database is read-only")]
    {
        let world = World::start().await;
        let link = world.forgets_and_gets_link("ada").await;
        world.all_is_sent().await;
        let inject = format!("inject=pwrite64,write:error={error}");
        let database = world.database().display().to_string();
        let paths = ["", "-wal", "-shm", "-probe"].map(|end| format!("{database}{end}"));
        let mut arguments = vec!["-e", "trace=pwrite64,write,fallocate", "-e", &inject];
        for path in &paths {
            arguments.extend(["-P", path]);
        }
        let strace = Strace::attach(&world, &arguments);
        assert_eq!(world.hook("/v1/recovery", &json!({"login": "grace"})).await.status, 503, "{error}");
        assert_eq!(world.sets_password(&link, NEW).await.status, 503, "{error}");
        assert!(world.log().contains(words), "{error}: {}", world.log());
        assert!(world.writes("ada").await.is_empty());
        strace.end();
        comes_back(&world).await;
        world.surely_sets_password(&link, NEW).await;
    }
}

/// Starts a world's daemon with its state on a disk of its own.
async fn on_a_small_disk(world: World, options: &str) -> (World, SmallDisk) {
    let disk = SmallDisk::under(&world, options);
    world.launch();
    assert!(world.becomes_ready().await, "{}", world.log());
    (world, disk)
}

/// Waits until the daemon has seen that the disk is full: with a few bytes left it takes a change or two.
async fn is_full(world: &World) {
    until("the store is full", async || world.hook("/v1/recovery", &json!({"login": "nobody"})).await.status == 503)
        .await;
}

/// The daemon takes requests again within 5 s, without a restart.
async fn comes_back(world: &World) {
    let start = Instant::now();
    while world.hook("/v1/recovery", &json!({"login": "nobody"})).await.status != 202 {
        assert!(start.elapsed() < Duration::from_secs(5), "it has not come back:\n{}", world.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The chain and the database are whole at the end.
fn ends_whole(world: &World, disk: &SmallDisk) {
    assert_eq!(world.asks(&["audit", "--verify"])["whole"], true);
    assert!(world.stop().success(), "{}", world.log());
    let database = Connection::open(disk.inside().join("rekeyd.db")).expect("the database");
    let found: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a verdict");
    assert_eq!(found, "ok");
}
