//! Too many at once: crowds that want nothing, bodies that do not come, thousands of wishes for one person. Memory stays
//! flat, and everybody else is served meanwhile.

use std::time::{Duration, Instant};

use rekeyd_tests::{
    acts::{is_set, until},
    http::{Answer, form},
    process::Process,
    procfs, tests,
    world::{World, program},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

tests! {
    async fn r23_few_descriptors_shed_strangers_and_keep_operators_and_sets;
    async fn t87_thousands_of_requests_for_one_person_do_no_harm;
    async fn t104_a_crowd_that_wants_nothing_keeps_nobody_out;
    async fn t104_bodies_that_do_not_come_hold_no_place;
    async fn t104_those_who_set_a_password_find_a_place;
    async fn t110_a_class_behind_one_address_is_served;
}

const NEW: &str = "seven violet teapots orbit";
const FORM: &str = "application/x-www-form-urlencoded";
/// KiB of memory that a test may add: caches fill, and the allocator keeps what it has once used.
const FLAT: u64 = 64 * 1024;

/// Starts a crowd: so many that say nothing, and so many that say a byte a second.
fn crowd(world: &World, silent: u32, dribbling: u32) -> Process {
    let text = format!("POST /forgot HTTP/1.1\\r\\nHost: {}\\r\\nContent-Type: {FORM}\\r\\n", world.address());
    let (address, silent, dribbling) = (world.address().to_string(), silent.to_string(), dribbling.to_string());
    Process::start(&program("flood"), &[&address, &silent, &dribbling, &text], &world.folder().join("crowd"))
}

/// How many of a crowd ever had a connection.
fn ever(crowd: &Process) -> u64 {
    let log = crowd.log();
    log.lines().rev().find_map(|line| line.rsplit_once("ever=")?.1.parse().ok()).unwrap_or_default()
}

async fn t104_a_crowd_that_wants_nothing_keeps_nobody_out() {
    let world = World::start().await;
    let (first, second) = (world.forgets_and_gets_link("ada").await, world.forgets_and_gets_link("grace").await);
    world.surely_sets_password(&first, NEW).await;
    let (before, ticks) = (procfs::resident(world.pid()), procfs::ticks(world.pid()));
    let crowd = crowd(&world, 5000, 5000);
    until("the whole crowd has come", async || ever(&crowd) >= 10_000).await;
    let mut times = Vec::new();
    for number in 0..40 {
        let begin = Instant::now();
        let answer = world.door().post_form("/forgot", &[("login", "nobody")]).await;
        times.push(begin.elapsed());
        assert_eq!(answer.status, 202, "request {number} in the crowd");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(is_set(&world.sets_password(&second, NEW).await), "nobody can set a password in a crowd");
    assert!(world.asks(&["status"])["events"].as_u64() > Some(0), "operators can't get through a crowd");
    let (during, open) = (procfs::resident(world.pid()), procfs::descriptors(world.pid()));
    let (many, ticks) = (ever(&crowd), procfs::ticks(world.pid()) - ticks);
    drop(crowd);
    times.sort();
    println!(
        "a crowd of 10000, {many} connections in all: a request is answered in {:?} (median), {:?} (slowest of {}); \
         resident {before} KiB before, {during} KiB within; {open:?} descriptors; {} us of a processor for each connection",
        times[times.len() / 2],
        times[times.len() - 1],
        times.len(),
        ticks * 10_000 / many.max(1),
    );
    assert!(during < before + FLAT, "{before} KiB became {during} KiB");
    assert!(open.is_none_or(|open| open < 1024 + 160), "{open:?} descriptors are open");
}

async fn r23_few_descriptors_shed_strangers_and_keep_operators_and_sets() {
    let world = World::builder().prepare().await;
    world.launch_under(&["/usr/bin/prlimit", "--nofile=256:256", "--"], &[]);
    assert!(world.becomes_ready().await, "{}", world.log());
    assert!(world.log().contains("event=few-descriptors"), "{}", world.log());
    let link = world.forgets_and_gets_link("ada").await;
    let crowd = crowd(&world, 500, 500);
    until("the whole crowd has come", async || ever(&crowd) >= 1000).await;
    for round in 0..5 {
        assert_eq!(world.door().post_form("/forgot", &[("login", "nobody")]).await.status, 202, "round {round}");
        world.asks(&["status"]);
        assert_eq!(world.signs_in("grace", "not the password").await.status, 401, "round {round}");
    }
    assert!(is_set(&world.sets_password(&link, NEW).await));
    assert!(world.sends_code("noether").code == 0, "operators can't help");
    world.link("noether@example.org", 1).await;
    let open = procfs::descriptors(world.pid());
    println!("of 256 descriptors {open:?} are open in a crowd of 1000, of which {} came", ever(&crowd));
    assert!(!world.log().contains("event=accept-failed"), "the operators' descriptors were used up:\n{}", world.log());
    assert!(open.is_none_or(|open| open < 200), "{open:?} descriptors are open");
}

async fn t104_bodies_that_do_not_come_hold_no_place() {
    let world = World::builder()
        .set("http.limits.max_connections", "64")
        .set("http.limits.max_requests", "8")
        .set("http.limits.body", r#""4s""#)
        .start()
        .await;
    let host = world.address();
    let head =
        format!("POST /forgot HTTP/1.1\r\nHost: {host}\r\nContent-Type: {FORM}\r\nContent-Length: 12\r\n\r\nlogi");
    let mut waiting = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(host).await.expect("a connection");
        stream.write_all(head.as_bytes()).await.expect("a sent beginning");
        waiting.push(stream);
    }
    assert_eq!(world.forgets("nobody").await.status, 202, "bodies that do not come keep others out");
    // The oldest made room, and the youngest hears that it is too slow, before all of its time is over.
    let begin = Instant::now();
    let mut answer = Vec::new();
    waiting.pop().expect("a connection").read_to_end(&mut answer).await.expect("an answer");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    // One that comes slowly, but comes, is taken.
    let mut slow = TcpStream::connect(host).await.expect("a connection");
    for piece in [head.as_str(), "n=no", "body"] {
        slow.write_all(piece.as_bytes()).await.expect("a sent piece");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 202");
}

async fn t104_those_who_set_a_password_find_a_place() {
    // A directory that takes connections, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("[\"ldap://{}\"]", silent.local_addr().expect("an address"));
    let taken = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            all.push(stream);
        }
    });
    let world = World::builder()
        .way(rekeyd_tests::world_config::Way::Clear(None))
        .set("directory.urls", &url)
        .set("http.limits.max_requests", "16")
        .start()
        .await;
    let mut waiting = JoinSet::new();
    for _ in 0..40 {
        let (door, key) = (world.door(), world.hook_key().to_owned());
        let body = json!({"login": "ada", "password": "not the password"});
        waiting.spawn(async move { door.post_json("/v1/sign-in", Some(&key), &body).await });
    }
    // Those beyond the places are sent away at once, with the words of the hook.
    let refused = waiting.join_next().await.expect("an answer").expect("an answer");
    assert_eq!((refused.status.as_u16(), problem(&refused)), (503, "urn:rekeyd:problem:busy".to_owned()));
    assert!(!refused.header("retry-after").is_empty());
    until("all places are taken", async || world.door().get("/forgot").await.status == 503).await;
    // A link of nobody is gone, which only the story can know: it was told.
    let fields = [("password", NEW), ("confirm", NEW)];
    let unknown = format!("/r/{}", "A".repeat(71));
    assert_eq!(world.door().post_form(&unknown, &fields).await.status, 410);
    world.asks(&["status"]);
    taken.abort();
}

async fn t87_thousands_of_requests_for_one_person_do_no_harm() {
    const MANY: usize = 2_000;
    let world = World::builder().set("policy.paces.source", r#""100000 in 1m""#).start().await;
    let body = form(&[("login", "ada")]);
    let one = format!(
        "POST /forgot HTTP/1.1\r\nHost: {}\r\nContent-Type: {FORM}\r\nContent-Length: {}\r\n\r\n{body}",
        world.address(),
        body.len()
    );
    let begin = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..8 {
        let (address, one) = (world.address(), one.clone());
        senders.spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            let mut answered = [0_usize; 2];
            for _ in 0..MANY / 8 {
                stream.write_all(one.as_bytes()).await.expect("a sent request");
                let status = whole_answer(&mut stream).await;
                answered[usize::from(status != 202)] += 1;
                assert!([202, 503].contains(&status), "{status}");
            }
            answered
        });
    }
    let mut answered = [0; 2];
    while let Some(one) = senders.join_next().await {
        let one = one.expect("answers");
        answered = [answered[0] + one[0], answered[1] + one[1]];
    }
    let taken = begin.elapsed();
    assert!(answered[0] > 0, "none was accepted");
    // The password is as good as ever, and so is the service desk.
    assert_eq!(world.signs_in("ada", rekeyd_tests::branch::PASSWORD).await.json()["outcome"], "granted");
    assert_eq!(world.sends_code("ada").code, 0, "an operator can't help any more");
    assert_eq!(world.forgets("grace").await.status, 202);
    while world.asks(&["status"])["requests_waiting"] != 0 {
        assert!(begin.elapsed() < Duration::from_secs(100), "the requests are not worked off");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.link("grace@example.org", 1).await;
    world.all_is_sent().await;
    let messages = world.smtp().messages_to("ada@example.org");
    println!(
        "{} requests for one person accepted, {} sent away, in {taken:?}; worked off after {:?} with {} mails",
        answered[0],
        answered[1],
        begin.elapsed(),
        messages.len(),
    );
    // Six a day, and the operator's own.
    assert!((1..=7).contains(&messages.len()), "{} messages", messages.len());
    let chain = world.asks(&["audit", "--verify"]);
    assert_eq!(chain["whole"], true, "{chain}");
    let link = world.link("ada@example.org", messages.len()).await;
    world.surely_sets_password(&link, NEW).await;
}

async fn t110_a_class_behind_one_address_is_served() {
    let world = World::builder()
        .set("policy.paces.source", "")
        .set("http.trusted_proxies", r#"["127.0.0.1"]"#)
        .set("policy.shared_network.name", r#""school""#)
        .set("policy.shared_network.networks", r#"["198.51.100.0/24"]"#)
        .set("policy.shared_network.source", r#""100 in 10m""#)
        .start()
        .await;
    let from = async |address: &str, login: &str| {
        let headers = [("x-forwarded-for", address)];
        world.door().post_form_with("/forgot", &headers, &[("login", login)]).await.status.as_u16()
    };
    let class: Vec<_> = (0..40).map(|number| format!("pupil{number}")).collect();
    for pupil in &class {
        world.branch().add_person(pupil, "a first password of theirs").await;
        assert_eq!(from("198.51.100.7", pupil).await, 202, "{pupil}");
    }
    for pupil in &class {
        world.link(&format!("{pupil}@example.org"), 1).await;
    }
    // Elsewhere one address is one household, and asks as often as one.
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(from("203.0.113.7", "nobody").await);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 20, "{statuses:?}");
    assert_eq!(from("203.0.113.8", "nobody").await, 202);
}

/// Reads one answer with its body, and gives its status.
async fn whole_answer(stream: &mut TcpStream) -> u16 {
    let mut text = Vec::new();
    let mut piece = [0; 8192];
    loop {
        let read = stream.read(&mut piece).await.expect("an answer");
        assert!(read > 0, "the connection has ended");
        text.extend_from_slice(&piece[..read]);
        let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&text[..end]).to_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
        if text.len() >= end + 4 + length {
            return head[9..12].parse().expect("a status");
        }
    }
}
/// The type of a problem.
fn problem(answer: &Answer) -> String {
    answer.json()["type"].as_str().unwrap_or_default().to_owned()
}
