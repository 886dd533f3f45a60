//! What else happens to a store: an fsync that fails, somebody else's lock, a clock that is set, a copy that is put back, a
//! file that is damaged.

use std::{fs, time::Duration};

use rekeyd_tests::{
    acts::until,
    branch::PASSWORD,
    strace::Strace,
    tests,
    world::{Surroundings, World},
};
use rusqlite::Connection;
use serde_json::json;

tests! {
    async fn r13_a_foreign_lock_is_waited_for_and_loses_nothing;
    async fn r13_a_backup_is_taken_while_requests_come_and_its_links_are_void;
    async fn r15_an_fsync_that_fails_ends_the_daemon_at_once_and_is_not_repeated;
    async fn r15_a_damaged_database_is_not_served_from;
    async fn r12_a_clock_that_is_set_back_is_told_of_and_holds_nothing_up;
    async fn r12_a_clock_that_jumps_forward_ends_no_job;
    async fn t37_a_link_from_the_future_is_not_believed;
    async fn r16_a_copy_from_yesterday_brings_no_link_claim_or_message_back;
}

const NEW: &str = "seven violet teapots orbit";

async fn r13_a_foreign_lock_is_waited_for_and_loses_nothing() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    world.all_is_sent().await;
    let foreign = Connection::open(world.database()).expect("the database");
    let lock = || foreign.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    // A short one is waited for.
    lock();
    let unlock = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        foreign.execute_batch("ROLLBACK").expect("no lock");
    };
    let grace = json!({"login": "grace"});
    let (answer, ()) = tokio::join!(world.hook("/v1/recovery", &grace), unlock);
    assert_eq!(answer.status, 202);
    world.all_is_sent().await;
    // A long one is not, and nothing is half done.
    lock();
    let start = std::time::Instant::now();
    let recovery = json!({"login": "nobody"});
    let (first, second, set) = tokio::join!(
        world.hook("/v1/recovery", &recovery),
        world.hook("/v1/recovery", &recovery),
        world.sets_password(&link, NEW)
    );
    assert_eq!((first.status.as_u16(), second.status.as_u16(), set.status.as_u16()), (503, 503, 503));
    assert!(start.elapsed() > Duration::from_millis(1900), "{:?}", start.elapsed());
    assert!(world.binds("ada", PASSWORD).await && world.writes("ada").await.is_empty());
    foreign.execute_batch("ROLLBACK").expect("no lock");
    world.surely_sets_password(&link, NEW).await;
    assert_eq!(world.asks(&["audit", "--verify"])["whole"], true);
}

async fn r13_a_backup_is_taken_while_requests_come_and_its_links_are_void() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    world.all_is_sent().await;
    let copy = world.folder().join("copy.db");
    let shown = copy.to_str().expect("a path in UTF-8").to_owned();
    let requests = async {
        for _ in 0..20 {
            assert_eq!(world.hook("/v1/recovery", &json!({"login": "grace"})).await.status, 202);
        }
    };
    let config = world.config().to_str().expect("a path in UTF-8").to_owned();
    let arguments = ["--config", config.as_str(), "backup", shown.as_str()];
    let backup = async { world.rekeyctl(&arguments, "").fine() };
    tokio::join!(requests, backup);
    assert!(!world.rekeyctl(&arguments, "").err.is_empty(), "a copy is not written over");
    world.all_is_sent().await;
    world.kill9();
    // Put back at once, without an orderly end in between: it shows all the same.
    for end in ["-wal", "-shm"] {
        fs::remove_file(format!("{}{end}", world.database().display())).expect("no log");
    }
    fs::rename(&copy, world.database()).expect("the copy in its place");
    world.restart().await;
    world.event(&[("event", "restored"), ("reason", "another-epoch")]).await;
    assert_eq!(world.door().get(&link).await.status, 410);
    assert_eq!(world.asks(&["audit", "--verify"])["whole"], true);
    let again = world.link_after("ada", 1).await;
    world.surely_sets_password(&again, NEW).await;
}

async fn r15_an_fsync_that_fails_ends_the_daemon_at_once_and_is_not_repeated() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    world.all_is_sent().await;
    let arguments = ["-y", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO"];
    let strace = Strace::attach(&world, &arguments);
    let door = world.door();
    let bearer = format!("Bearer {}", world.hook_key());
    let answer = door
        .try_raw(
            format!(
                "POST /v1/recovery HTTP/1.1\r\nHost: {}\r\nAuthorization: {bearer}\r\nContent-Type: application/json\r\n\
                 Connection: close\r\nContent-Length: 17\r\n\r\n{{\"login\":\"grace\"}}",
                world.address()
            )
            .as_bytes(),
        )
        .await
        .unwrap_or_default();
    assert!(!answer.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(world.ends().code(), Some(74), "{}", world.log());
    assert!(world.log().contains("event=store-broken"), "{}", world.log());
    let trace = strace.trace_of_the_dead();
    let syncs: Vec<_> = trace.lines().filter(|line| line.contains("sync(") && line.contains("rekeyd.db")).collect();
    assert_eq!(syncs.len(), 1, "it was repeated: {syncs:#?}");
    world.restart().await;
    world.surely_sets_password(&link, NEW).await;
    world.link_after("grace", 0).await;
}

async fn r15_a_damaged_database_is_not_served_from() {
    let world = World::start().await;
    world.forgets_and_gets_link("ada").await;
    assert!(world.stop().success());
    let whole = fs::read(world.database()).expect("the database");
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 3 * 4096].fill(0x5a);
    fs::write(world.database(), &bytes).expect("a damaged one");
    for _ in 0..2 {
        world.launch();
        assert_eq!(world.ends().code(), Some(74), "{}", world.log());
    }
    let log = world.log();
    let told = format!("the store can't be used: {} is damaged", world.database().display());
    assert_eq!(log.matches(&told).count(), 2, "{log}");
    assert!(log.contains("rekeyctl restored"), "{log}");
    assert_eq!(fs::read(world.database()).expect("the database"), bytes, "it is left as it is");
    fs::write(world.database(), whole).expect("the whole one");
    world.restart().await;
    world.link_after("ada", 1).await;
}

async fn r12_a_clock_that_is_set_back_is_told_of_and_holds_nothing_up() {
    let (world, clock) = with_a_clock().await;
    a_message_waits(&world, "ada").await;
    clock.set(-2 * 3600);
    world.event(&[("event", "clock-set"), ("outcome", "back")]).await;
    let by = world.asks(&["status"])["clock_set"]["by_seconds"].as_i64().expect("a number");
    assert!((-7260..-7140).contains(&by), "{by}");
    assert!(world.rekeyctl(&["status"], "").fine().out.contains("set back by"));
    let (before, start) = (cpu(&world), std::time::Instant::now());
    world.smtp().open().await;
    world.smtp().wait_for_mail_to("ada@example.org", 1).await;
    world.all_is_sent().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (used, passed) = (cpu(&world).saturating_sub(before), start.elapsed());
    assert!(used < passed / 2, "{used:?} of {passed:?}: it is in a loop");
    let link = world.link("ada@example.org", 1).await;
    world.surely_sets_password(&link, NEW).await;
}

async fn r12_a_clock_that_jumps_forward_ends_no_job() {
    let (world, clock) = with_a_clock().await;
    a_message_waits(&world, "ada").await;
    clock.set(10 * 365 * 24 * 3600);
    world.event(&[("event", "clock-set"), ("outcome", "forward")]).await;
    world.smtp().open().await;
    let link = world.link("ada@example.org", 1).await;
    world.all_is_sent().await;
    // And right again.
    clock.set(0);
    world.event(&[("event", "clock-set"), ("outcome", "back")]).await;
    // Delivered by a clock of the future, it is not believed; a new one works.
    assert_eq!(world.door().get(&link).await.status, 410);
    let again = world.link_after("grace", 0).await;
    assert_eq!(world.signs_in("grace", PASSWORD).await.status, 200);
    world.surely_sets_password(&again, NEW).await;
}

async fn t37_a_link_from_the_future_is_not_believed() {
    let (world, clock) = with_a_clock().await;
    let link = world.forgets_and_gets_link("ada").await;
    world.all_is_sent().await;
    for (seconds, status) in [(-100, 200), (-2 * 3600, 410), (0, 200)] {
        clock.set(seconds);
        assert_eq!(world.door().get(&link).await.status, status, "{seconds} s");
    }
    world.surely_sets_password(&link, NEW).await;
    // One that was too old once stays so.
    let old = world.forgets_and_gets_link("grace").await;
    world.all_is_sent().await;
    for seconds in [2 * 3600, 0] {
        clock.set(seconds);
        assert_eq!(world.door().get(&old).await.status, 410, "{seconds} s");
    }
}

async fn r16_a_copy_from_yesterday_brings_no_link_claim_or_message_back() {
    let world = World::start().await;
    let (used, kept) = (world.forgets_and_gets_link("ada").await, world.forgets_and_gets_link("grace").await);
    world.all_is_sent().await;
    // Yesterday one message waited. Begun anew, the daemon has no connection left to send it by.
    assert!(world.stop().success());
    world.restart().await;
    a_message_waits(&world, "zoë").await;
    assert!(world.stop().success());
    let copy = fs::read(world.database()).expect("the database");
    world.smtp().open().await;
    world.restart().await;
    world.smtp().wait_for_mail_to("zoe@example.org", 1).await;
    world.surely_sets_password(&used, NEW).await;
    world.all_is_sent().await;
    assert!(world.stop().success());
    fs::write(world.database(), copy).expect("yesterday's");
    world.restart().await;
    world.event(&[("event", "restored"), ("reason", "another-epoch")]).await;
    for link in [&used, &kept] {
        assert_eq!(world.door().get(link).await.status, 410);
    }
    let status = world.asks(&["status"]);
    assert_eq!((status["tickets_live"].as_u64(), status["claims_open"].as_u64()), (Some(0), Some(0)), "{status}");
    // The message with a void link does not go out again.
    world.event(&[("event", "notice-failed"), ("outcome", "cancelled")]).await;
    assert_eq!(world.smtp().messages_to("zoe@example.org").len(), 1);
    assert!(world.binds("ada", NEW).await);
    world.link_after("grace", 1).await;
}

/// The daemon's clock, in a test's hand.
struct Clock {
    file: std::path::PathBuf,
}

impl Clock {
    /// The clock that the daemon of a world gets at its next start.
    fn of(world: &World) -> Self {
        let clock = Self { file: world.folder().join("clock") };
        clock.set(0);
        let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
        let library = if cfg!(target_arch = "aarch64") { library.replace("x86_64", "aarch64") } else { library.into() };
        assert!(fs::exists(&library).is_ok_and(|there| there), "libfaketime is not installed: {library}");
        let environment = [
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", clock.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        world.surround(Surroundings { environment, ..Surroundings::default() });
        clock
    }

    /// Sets it so many seconds off the right time.
    fn set(&self, seconds: i64) {
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, format!("{seconds:+}\n")).expect("a file");
        fs::rename(fresh, &self.file).expect("a file");
    }
}

async fn with_a_clock() -> (World, Clock) {
    let world = World::builder().prepare().await;
    let clock = Clock::of(&world);
    world.restart().await;
    (world, clock)
}

/// Somebody asks, and the mail server is not there.
async fn a_message_waits(world: &World, login: &str) {
    world.smtp().close().await;
    assert_eq!(world.hook("/v1/recovery", &json!({"login": login})).await.status, 202);
    until("a message waits", async || {
        let waiting = world.asks(&["outbox", "--waiting"]);
        waiting["notices"].as_array().is_some_and(|rows| rows.iter().any(|row| row["attempts"].as_u64() > Some(0)))
    })
    .await;
}

/// How long the daemon has computed.
fn cpu(world: &World) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", world.pid())).expect("a running daemon");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("its name").1.split_whitespace().collect();
    let ticks: u64 = [fields[11], fields[12]].iter().map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}
