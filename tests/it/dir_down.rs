//! R4, R5: a directory that is down or slow. Requests are answered and kept, nobody waits for long, whoever sets a
//! password hears that nothing was changed, and all of it is seen and ends by itself.

use std::time::{Duration, Instant};

use rekeyd_tests::{
    acts::until,
    branch::PASSWORD,
    faults::nothing_changed,
    proxy::{BlackHole, Fault, Of, Proxy},
    slapd::Variant,
    tests,
    world::World,
};
use rusqlite::Connection;
use serde_json::json;

tests! {
    async fn r4_a_directory_that_is_down_loses_nothing_and_is_used_as_soon_as_it_is_back;
    async fn r4_a_directory_behind_a_black_hole_holds_nobody_for_long;
    async fn r4_a_request_that_waits_for_too_long_ends_and_says_so;
    async fn r5_a_slow_directory_is_waited_for_as_long_as_it_answers_in_time;
    async fn r5_a_directory_slower_than_its_limit_changes_nothing;
    async fn r5_a_silent_directory_costs_no_threads_and_no_memory;
    async fn r5_four_seconds_an_operation_hold_nobody_for_long;
}

const NEW: &str = "seven violet teapots orbit";
/// How long a SET may take to say that nothing was changed.
const SET: Duration = Duration::from_secs(10);

/// Everybody asks, and hears that nothing was done, soon; requests are accepted.
async fn nobody_is_served(world: &World, link: &str) {
    let start = Instant::now();
    let token = link.rsplit_once('/').expect("a token").1;
    let hook = json!({"ticket": token, "password": NEW});
    let recovery = json!({"login": "ada"});
    let (page, sign_in, asked) = tokio::join!(
        world.sets_password(link, NEW),
        world.signs_in("ada", PASSWORD),
        world.hook("/v1/recovery", &recovery)
    );
    assert!(nothing_changed(&page), "{} {}", page.status, page.text());
    assert!(start.elapsed() < SET + Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(sign_in.status, 503, "{}", sign_in.text());
    assert_eq!(asked.status, 202, "{}", asked.text());
    let begin = Instant::now();
    let page = world.hook("/v1/password", &hook).await;
    assert_eq!(page.status, 503, "{}", page.text());
    assert!(page.text().contains("Nothing was changed; the ticket still works"), "{}", page.text());
    assert!(begin.elapsed() < SET, "{:?}", begin.elapsed());
    let told = world.rekeyctl(&["set-password", "grace", "--generate", "--reason", "at the desk"], "");
    assert_eq!(told.code, 75, "{told:?}");
    assert!(world.binds("grace", PASSWORD).await && world.writes("grace").await.is_empty());
}

/// The link that nobody could use still works, and exactly one write has arrived.
async fn it_works_again(world: &World, link: &str) {
    until("the link works", async || world.sets_password(link, NEW).await.status == 200).await;
    assert!(world.binds("grace", NEW).await);
    assert_eq!(world.writes("grace").await.len(), 1);
    assert_eq!(world.signs_in("grace", NEW).await.status, 200);
}

async fn r4_a_directory_that_is_down_loses_nothing_and_is_used_as_soon_as_it_is_back() {
    let (world, proxy) = World::behind_a_proxy(Variant::Policy).await;
    let link = world.forgets_and_gets_link("grace").await;
    proxy.close().await;
    nobody_is_served(&world, &link).await;
    for login in ["zoë", "nobody", "boss"] {
        assert_eq!(world.hook("/v1/recovery", &json!({"login": login})).await.status, 202, "{login}");
    }
    world.sees_fault("down").await;
    assert_eq!(world.readiness().await, "down");
    assert_eq!(world.asks(&["status"])["requests_waiting"], 4);
    until("requests were put back more than once", async || world.log().contains("attempts=1")).await;
    // As after an hour: the next turn is a minute away.
    let database = Connection::open(world.database()).expect("the database");
    database.busy_timeout(Duration::from_secs(5)).expect("a limit");
    until("the next turns are far away", async || {
        let far = "UPDATE requests SET due = due + 60000 WHERE state = 'waiting' AND leased = 0 AND due < ?1";
        let soon =
            i64::try_from(std::time::UNIX_EPOCH.elapsed().expect("a time").as_millis()).expect("a time") + 30_000;
        database.execute(far, [soon]).expect("a change");
        let near = "SELECT count(*) FROM requests WHERE state = 'waiting' AND (leased = 1 OR due < ?1)";
        database.query_row(near, [soon], |row| row.get::<_, u32>(0)).expect("a count") == 0
    })
    .await;
    proxy.open().await;
    let back = Instant::now();
    let messages = ["ada@example.org", "zoe@example.org"];
    for address in messages {
        world.link(address, 1).await;
    }
    assert!(back.elapsed() < Duration::from_secs(10), "the first success came after {:?}", back.elapsed());
    world.event(&[("event", "request-ended"), ("reason", "not-found")]).await;
    world.event(&[("event", "request-ended"), ("reason", "privileged")]).await;
    it_works_again(&world, &link).await;
    world.sees_its_end("down").await;
}

async fn r4_a_directory_behind_a_black_hole_holds_nobody_for_long() {
    let (world, proxy) = World::behind_a_proxy(Variant::Policy).await;
    let link = world.forgets_and_gets_link("grace").await;
    let (one, other) = (BlackHole::start().await, BlackHole::start().await);
    world.set("directory.urls", &format!("[{:?}, {:?}]", one.uri(), other.uri()));
    world.reload().await;
    nobody_is_served(&world, &link).await;
    world.sees_fault("down").await;
    assert_eq!(world.flaws().len(), 2, "{:?}", world.flaws());
    world.set("directory.urls", &format!("[{:?}]", proxy.uri()));
    world.reload().await;
    it_works_again(&world, &link).await;
    world.link("ada@example.org", 1).await;
}

async fn r5_a_slow_directory_is_waited_for_as_long_as_it_answers_in_time() {
    // A fifth, and four fifths of the time that an operation may take: 1 s and 4 s of 5 s.
    for (time, is_late) in [(90, false), (350, true)] {
        let (world, proxy) = World::impatient(Variant::Policy).await;
        proxy.fail(Of::All, Fault::Slow(Duration::from_millis(time)));
        let link = world.forgets_and_gets_link("grace").await;
        if is_late {
            world.sees_fault("slow").await;
            assert_eq!(world.readiness().await, "impaired");
        }
        assert_eq!(world.signs_in("grace", PASSWORD).await.status, 200, "{time}");
        world.surely_sets_password(&link, NEW).await;
        assert_eq!(world.writes("grace").await.len(), 1, "{time}");
        proxy.heal();
        if is_late {
            world.sees_its_end("slow").await;
        }
    }
}

async fn r5_a_directory_slower_than_its_limit_changes_nothing() {
    let (world, proxy) = World::impatient(Variant::Policy).await;
    let link = world.forgets_and_gets_link("grace").await;
    proxy.fail(Of::All, Fault::Slow(Duration::from_secs(3)));
    nobody_is_served(&world, &link).await;
    world.sees_fault("slow").await;
    proxy.heal();
    it_works_again(&world, &link).await;
    world.link("ada@example.org", 1).await;
    world.sees_its_end("slow").await;
}

async fn r4_a_request_that_waits_for_too_long_ends_and_says_so() {
    let (world, proxy) = World::behind_a_proxy(Variant::Policy).await;
    proxy.close().await;
    world.hook("/v1/recovery", &json!({"login": "ada"})).await;
    until("it was put back", async || world.log().contains("event=request-postponed")).await;
    let database = Connection::open(world.database()).expect("the database");
    database.busy_timeout(Duration::from_secs(5)).expect("a limit");
    database.execute("UPDATE requests SET deadline = 1000 WHERE state = 'waiting'", []).expect("a change");
    world.event(&[("event", "request-ended"), ("outcome", "expired")]).await;
    proxy.open().await;
    world.reaches_the_directory().await;
    assert!(world.smtp().messages().is_empty());
}

async fn r5_a_silent_directory_costs_no_threads_and_no_memory() {
    let (world, proxy) = World::impatient(Variant::Policy).await;
    let link = world.forgets_and_gets_link("grace").await;
    let (_, threads) = size(&world);
    proxy.fail(Of::All, Fault::Silent);
    let begun = size(&world).0;
    // Everybody comes at once, again and again, and nobody is answered by the directory.
    for _ in 0..5 {
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..100 {
            let (door, key) = (world.door(), world.hook_key().to_owned());
            let token = link.rsplit_once('/').expect("a token").1.to_owned();
            calls.spawn(async move {
                let (path, body) = match number % 3 {
                    0 => ("/v1/recovery", json!({"login": format!("nobody{number}")})),
                    1 => ("/v1/sign-in", json!({"login": "ada", "password": PASSWORD})),
                    _ => ("/v1/password", json!({"ticket": token, "password": NEW})),
                };
                (path, door.post_json(path, Some(&key), &body).await.status.as_u16())
            });
        }
        for (path, status) in calls.join_all().await {
            let fits: &[u16] = match path {
                "/v1/recovery" => &[202],
                "/v1/sign-in" => &[503],
                // One of them holds the ticket; to the others it is gone for as long.
                _ => &[410, 503],
            };
            assert!(fits.contains(&status), "{path}: {status}");
        }
    }
    let (memory, now) = size(&world);
    assert!(now <= threads + 16, "{threads} threads have become {now}");
    assert!(memory < begun + 32 * 1024, "{begun} KiB have become {memory}");
    proxy.heal();
    it_works_again(&world, &link).await;
}

/// Resident memory in KiB, and threads.
fn size(world: &World) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.pid())).expect("the daemon");
    let number = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("a line");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number")
    };
    (number("VmRSS:"), number("Threads:"))
}

/// With the limits as they come: the one test of its kind that takes its time.
async fn r5_four_seconds_an_operation_hold_nobody_for_long() {
    let (world, proxy) = World::behind_a_proxy(Variant::Policy).await;
    let link = world.forgets_and_gets_link("grace").await;
    proxy.fail(Of::All, Fault::Slow(Duration::from_secs(4)));
    let start = Instant::now();
    let (set, sign_in) = tokio::join!(async { (world.sets_password(&link, NEW).await, start.elapsed()) }, async {
        (world.signs_in("ada", PASSWORD).await, start.elapsed())
    });
    let ((set, after), (sign_in, later)) = (set, sign_in);
    // One look and one write may fit into ten seconds; more do not, and then nothing may have begun.
    assert!(nothing_changed(&set) || set.status == 200, "{} {}", set.status, set.text());
    assert!(after < Duration::from_secs(14), "{after:?}");
    assert!([200, 503].contains(&sign_in.status.as_u16()), "{}", sign_in.text());
    assert!(later < Duration::from_secs(17), "{later:?}");
    assert_eq!(world.writes("grace").await.len(), usize::from(set.status == 200));
    assert_eq!(world.hook("/v1/recovery", &json!({"login": "nobody"})).await.status, 202);
    world.sees_fault("slow").await;
    ends(&world, &proxy, &link, set.status == 200).await;
}

async fn ends(world: &World, proxy: &Proxy, link: &str, is_set: bool) {
    proxy.heal();
    if is_set {
        assert!(world.binds("grace", NEW).await);
    } else {
        it_works_again(world, link).await;
    }
    world.sees_its_end("slow").await;
}
