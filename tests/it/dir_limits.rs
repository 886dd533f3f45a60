//! What a directory can do to the daemon, and the daemon to a directory: answers without bound, connections that are kept,
//! passwords that are tried.

use std::time::Duration;

use rekeyd_tests::{
    acts::until,
    branch::PASSWORD,
    faults::nothing_changed,
    procfs,
    proxy::{Fault, Kind, Of, Proxy},
    slapd::{SERVICE, Slapd, Variant},
    tests,
    world::World,
    world_config::Way,
};
use rusqlite::Connection;
use serde_json::json;

tests! {
    async fn r5_a_silent_directory_is_given_up_and_answers_come_at_once;
    async fn t65_a_kept_connection_never_carries_another_identity;
    async fn t68_answers_without_bound_end_one_operation;
    async fn t68_one_persons_impossible_question_is_nobody_elses;
    async fn r5_a_silence_about_one_person_makes_no_server_rest;
    async fn t69_a_wrong_password_counts_once_whatever_becomes_of_the_connection;
    async fn t112_a_crowd_meets_the_limits_before_the_directory;
}

const NEW: &str = "seven violet teapots orbit";

/// An entry, a search reference and an intermediate answer, as operations.
const ENTRY: &[u8] = b"\x64\x10\x04\x0cuid=ada,dc=x\x30\x00";
const REFERENCE: &[u8] = b"\x73\x0a\x04\x08ldap://x";
const INTERMEDIATE: &[u8] = b"\x79\x07\x80\x051.2.3";

async fn t68_answers_without_bound_end_one_operation() {
    let (world, proxy) = World::impatient(Variant::Policy).await;
    assert_eq!(world.signs_in("ada", PASSWORD).await.status, 200);
    let link = world.forgets_and_gets_link("grace").await;
    // The longest length there is, and then bytes for it.
    let long = swollen(&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff], b'x', 4 << 20);
    let over = swollen(&[0x30, 0x83, 0x20, 0, 0], 0, 2 << 20);
    let deep = swollen(&[0x30, 0x83, 0x0f, 0xff, 0xff], 0x30, 0x000f_ffff);
    let before = procfs::resident(world.pid());
    for fault in [
        Fault::Garbage(long),
        Fault::Garbage(over),
        Fault::Garbage(deep),
        Fault::Flood(ENTRY),
        Fault::Flood(REFERENCE),
        Fault::Flood(INTERMEDIATE),
    ] {
        let name = format!("{fault:?}").chars().take(60).collect::<String>();
        proxy.fail(Of::Kind(Kind::Search), fault);
        for _ in 0..5 {
            assert_eq!(world.signs_in("ada", PASSWORD).await.status, 503, "{name}");
            let answer = world.sets_password(&link, NEW).await;
            assert!(nothing_changed(&answer), "{name}: {} {}", answer.status, answer.text());
        }
        proxy.heal();
        until("it is well again", async || world.signs_in("ada", PASSWORD).await.status == 200).await;
    }
    let grown = procfs::resident(world.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "{} KiB more than before", grown >> 10);
    until("all is well", async || world.readiness().await == "up").await;
    world.surely_sets_password(&link, NEW).await;
}

async fn t68_one_persons_impossible_question_is_nobody_elses() {
    let (world, proxy) = World::behind_a_proxy(Variant::Policy).await;
    for login in ["ada", "grace"] {
        assert_eq!(world.signs_in(login, PASSWORD).await.status, 200);
    }
    until("all is well", async || world.readiness().await == "up").await;
    // As a search has it, with its length, and as a bind has it.
    let (searched, bound) = ("uid\u{4}\u{3}ada", "uid=ada,");
    let long = swollen(&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff], b'x', 1 << 10);
    // operationsError, timeLimitExceeded, adminLimitExceeded, unavailable, other.
    let codes = [1, 3, 11, 52, 80];
    let searches = [Fault::Garbage(long), Fault::Garbage(nested(40)), Fault::Flood(ENTRY)];
    let searches =
        codes.map(|code| Fault::Result(code, None)).into_iter().chain(searches).map(|fault| (searched, fault));
    let binds = codes.map(|code| (bound, Fault::Result(code, None)));
    for (naming, fault) in searches.chain(binds) {
        let name = format!("{naming} {fault:?}").chars().take(60).collect::<String>();
        // One of code 1 may be about who asks, so that its connection ends.
        let keeps = matches!(fault, Fault::Result(code, _) if code != 1 || naming == bound);
        let harmless = keeps.then(|| proxy.connections());
        proxy.fail(Of::Naming(naming.into()), fault);
        for _ in 0..6 {
            assert_eq!(world.signs_in("ada", PASSWORD).await.status, 503, "{name}");
            assert_eq!(world.signs_in("grace", PASSWORD).await.status, 200, "{name}");
        }
        // Nor is it where nobody else asks for a while.
        for _ in 0..12 {
            assert_eq!(world.signs_in("ada", PASSWORD).await.status, 503, "{name}");
        }
        assert_eq!(world.signs_in("grace", PASSWORD).await.status, 200, "{name}");
        assert!(harmless.is_none_or(|before| proxy.connections() >= before), "{name}");
        proxy.heal();
        assert_eq!(world.signs_in("ada", PASSWORD).await.status, 200, "{name}");
    }
    // A recovery that can't be answered waits alone, and is not taken for one that waits for the directory.
    proxy.fail(Of::Naming(searched.into()), Fault::Result(3, None));
    world.forgets("ada").await;
    until("it was put back", async || world.log().matches("event=request-postponed").count() > 2).await;
    let link = world.forgets_and_gets_link("grace").await;
    world.surely_sets_password(&link, NEW).await;
    let database = Connection::open(world.database()).expect("the database");
    let reason: String = database
        .query_row("SELECT reason FROM requests WHERE state = 'waiting'", [], |row| row.get(0))
        .expect("one request");
    assert_ne!(reason, "directory-down");
    assert_eq!(world.readiness().await, "up");
    proxy.heal();
    world.link("ada@example.org", 1).await;
    assert!(!world.log().contains("event=directory-rests") && !world.log().contains("event=directory-fault"));
}

async fn r5_a_silence_about_one_person_makes_no_server_rest() {
    let slapd = Slapd::shared(Variant::Policy).await;
    let proxies = [Proxy::start(&slapd.uri()).await, Proxy::start(&slapd.uri()).await];
    let urls = format!("[{:?}, {:?}]", proxies[0].uri(), proxies[1].uri());
    let world = World::builder()
        .slapd(&slapd)
        .way(Way::Clear(None))
        .set("directory.urls", &urls)
        .set("directory.operation_timeout", "\"2s\"")
        .start()
        .await;
    assert_eq!(world.signs_in("grace", PASSWORD).await.status, 200);
    proxies[0].fail(Of::Naming("uid=ada,".into()), Fault::Silent);
    let silent = async { assert_eq!(world.signs_in("ada", PASSWORD).await.status, 503) };
    let others = async {
        loop {
            assert_eq!(world.signs_in("grace", PASSWORD).await.status, 200);
        }
    };
    tokio::select! {
        () = silent => {}
        () = others => {}
    }
    proxies[1].seen();
    assert_eq!(world.signs_in("grace", PASSWORD).await.status, 200);
    assert!(!proxies[1].seen().contains(&Kind::Bind) && !world.log().contains("event=directory-rests"));
}

async fn t65_a_kept_connection_never_carries_another_identity() {
    let slapd = Slapd::fresh(Variant::Policy).await;
    let world = World::builder().slapd(&slapd).start().await;
    let people = ["ada", "grace"];
    for round in 0..6 {
        let (right, wrong) = (people[round % 2], people[(round + 1) % 2]);
        let granted = world.signs_in(right, PASSWORD).await;
        assert_eq!(granted.json()["login"], right, "{}", granted.text());
        if round < 2 {
            // Right after it, on the connection where somebody is known: no other password gets in.
            assert_eq!(world.signs_in(wrong, "not the password").await.status, 401);
        }
    }
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, NEW).await;
    let binds = slapd.bind_records().await;
    let ours = |dn: &str| dn.eq_ignore_ascii_case(SERVICE);
    let own: Vec<&str> = binds.iter().filter(|bind| ours(&bind.dn)).map(|bind| bind.session.as_str()).collect();
    let persons: Vec<_> = binds.iter().filter(|bind| people.iter().any(|login| bind.dn == world.dn(login))).collect();
    // People's binds share a connection, and it is none of rekeyd's own.
    let shared =
        |login: &str| persons.iter().any(|bind| bind.session == persons[0].session && bind.dn == world.dn(login));
    assert!(people.iter().all(|login| shared(login)), "{binds:?}");
    assert!(persons.iter().all(|bind| !own.contains(&bind.session.as_str())), "{binds:?}");
    let writes = slapd.service_writes("dc=example,dc=org").await;
    assert!(!writes.is_empty() && writes.iter().all(|write| own.contains(&write.session.as_str())), "{writes:?}");
}

async fn t69_a_wrong_password_counts_once_whatever_becomes_of_the_connection() {
    let (world, proxy) = World::impatient(Variant::Policy).await;
    let slapd = Slapd::shared(Variant::Policy).await;
    let failures = async || slapd.values(&world.dn("ada"), "pwdFailureTime").await.len();
    // A kept connection that ended while nobody used it is seen to have ended, and nothing is sent on it.
    assert_eq!(world.signs_in("grace", PASSWORD).await.status, 200);
    proxy.cut();
    until("the connections have ended", async || proxy.connections() == 0).await;
    let mut wrong = world.signs_in("ada", "not the password").await;
    while wrong.status == 503 {
        assert_eq!(failures().await, 0);
        wrong = world.signs_in("ada", "not the password").await;
    }
    assert_eq!(wrong.status, 401);
    assert_eq!(failures().await, 1);
    // An answer that gets lost leaves it open whether it counted, so that it is not sent again.
    for (count, fault) in [(2, Fault::Cut), (3, Fault::Mute)] {
        proxy.fail(Of::Kind(Kind::Bind), fault.clone());
        let lost = world.signs_in("ada", "not the password").await;
        assert_eq!(lost.status, 503, "{fault:?}: {}", lost.text());
        until("it has counted", async || failures().await == count).await;
        proxy.heal();
        until("the directory is asked again", async || world.signs_in("grace", PASSWORD).await.status == 200).await;
        assert_eq!(failures().await, count, "{fault:?}");
    }
}

async fn r5_a_silent_directory_is_given_up_and_answers_come_at_once() {
    let slapd = Slapd::shared(Variant::Policy).await;
    let proxy = Proxy::start(&slapd.uri()).await;
    let world = World::builder()
        .slapd(&slapd)
        .way(Way::Clear(Some(proxy.uri())))
        .set("directory.operation_timeout", "\"1s\"")
        .set("directory.cool_down", "\"4s\"")
        .start()
        .await;
    let link = world.forgets_and_gets_link("grace").await;
    proxy.fail(Of::All, Fault::Silent);
    let silent = (0..5).map(|_| world.signs_in("ada", PASSWORD));
    for answer in futures_util::future::join_all(silent).await {
        assert_eq!(answer.status, 503);
    }
    // Nobody of these waits for it, and it hears nothing of them; only the daemon itself looks whether it is back.
    proxy.seen();
    let start = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(world.signs_in("ada", PASSWORD).await.status, 503);
        assert!(nothing_changed(&world.sets_password(&link, NEW).await));
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(proxy.seen().len() < 20);
    world.hook("/v1/recovery", &json!({"login": "ada"})).await;
    proxy.heal();
    until("it is used again", async || world.signs_in("ada", PASSWORD).await.status == 200).await;
    world.link("ada@example.org", 1).await;
    world.surely_sets_password(&link, NEW).await;
}

async fn t112_a_crowd_meets_the_limits_before_the_directory() {
    let slapd = Slapd::shared(Variant::Policy).await;
    let proxy = Proxy::start(&slapd.uri()).await;
    let world = World::builder()
        .slapd(&slapd)
        .way(Way::Clear(Some(proxy.uri())))
        .set("directory.connections", "3")
        .set("directory.sign_in_connections", "2")
        .start()
        .await;
    world.reaches_the_directory().await;
    proxy.fail(Of::Kind(Kind::Search), Fault::Slow(Duration::from_millis(30)));
    let crowd = (0..60).map(|_| world.signs_in("ada", PASSWORD));
    let junk = async {
        for number in 0..60 {
            let asked = world.hook("/v1/recovery", &json!({"login": format!("nobody{number}")})).await;
            assert_eq!(asked.status, 202);
        }
    };
    let mut most = 0;
    let watch = async {
        loop {
            most = most.max(proxy.connections());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        (answers, ()) = futures_util::future::join(futures_util::future::join_all(crowd), junk) => {
            assert!(answers.iter().all(|answer| answer.status == 200));
        }
        () = watch => {}
    }
    assert!((2..=5).contains(&most), "{most}");
}

/// The head of an element, and then one byte over and over.
fn swollen(head: &[u8], byte: u8, times: usize) -> &'static [u8] {
    let mut bytes = head.to_vec();
    bytes.resize(head.len() + times, byte);
    bytes.leak()
}

/// An empty element in as many others.
fn nested(levels: u8) -> &'static [u8] {
    (0..levels)
        .fold(vec![4, 0], |inner, _| [&[0x30, inner.len().try_into().expect("a short one")], &inner[..]].concat())
        .leak()
}
