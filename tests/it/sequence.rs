//! P3 by sequence, not by time: what the daemon does up to an answer is the same, step by step, whatever the account. And
//! what it does when it can take nothing more.

use std::{collections::BTreeMap, time::Duration};

use hyper::Method;
use regex::Regex;
use rekeyd_tests::{
    acts::{address, is_set, until},
    http::Answer,
    slapd::{Slapd, Variant},
    strace::Strace,
    tests,
    world::World,
};
use serde_json::json;
use tokio::task::JoinSet;

tests! {
    async fn p3_every_request_makes_the_same_system_calls;
    async fn p3_the_disk_is_waited_for_as_often_behind_every_answer;
    async fn p3_an_answer_leaves_in_one_write;
    async fn t111_a_full_backlog_is_the_same_503_for_everybody;
}

/// Every kind of account there is, by a login of the branch that is one.
const KINDS: [&str; 13] = [
    "ada", "nobody", "noether", "hopper", "turing", "locked", "boss", "twin", "nomail", "veiled", "grace", "odd", "zoë",
];
/// How often each kind asks in each way. A row that begins a new page of the database makes one request in fifty differ,
/// so that what most of them do is compared.
const ROUNDS: usize = 5;

async fn p3_every_request_makes_the_same_system_calls() {
    let world = World::builder()
        .set("policy.paces.account", r#""1 in 1d""#)
        .set("policy.paces.account_day", r#""1 in 1d""#)
        .set("policy.paces.account_spent", r#""1 in 1d""#)
        .start()
        .await;
    // `grace` has used up her pace, `odd` is frozen.
    world.forgets_and_gets_link("grace").await;
    world.forgets("odd").await;
    let not_me = world.not_me_link(&address("odd"), 1).await;
    world.door().fill_form(&not_me, &[("login", "odd")]).await;
    world.event(&[("event", "not-me"), ("outcome", "frozen")]).await;
    idle(&world).await;

    let names = threads(world.pid());
    let strace = Strace::attach(&world, &["-yy", "-s", "40"]);
    let mut asked = Vec::new();
    for _ in 0..ROUNDS {
        for login in KINDS {
            for request in [hook(&world, login), page(&world, login)] {
                let answer = String::from_utf8(world.door().raw(request.as_bytes()).await).expect("UTF-8");
                assert!(answer.starts_with("HTTP/1.1 202 ") || answer.starts_with("HTTP/1.1 200 "), "{answer}");
                asked.push((login, request.split(' ').nth(1).expect("a path").to_owned()));
                idle(&world).await;
            }
        }
    }
    let trace = strace.end();
    let sequences = sequences(&trace, &names);
    assert_eq!(sequences.len(), asked.len(), "each request is seen:\n{trace}");
    let mut by_way: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for ((login, path), sequence) in asked.iter().zip(&sequences) {
        by_way.entry(path).or_default().entry(login).or_default().push(sequence);
    }
    for (path, by_login) in by_way {
        let expected = commonest(&by_login["nobody"]);
        for part in ["getrandom", "pwrite64", "sync", "writev"] {
            assert!(expected.contains(part), "{path}: the trace shows no {part}:\n{expected}");
        }
        for (login, seen) in by_login {
            assert_eq!(commonest(&seen), expected, "{path}: {login} is not handled like nobody");
        }
    }
    world.leaves_mail_behind();
}

async fn p3_the_disk_is_waited_for_as_often_behind_every_answer() {
    let world = World::start().await;
    // What a start leaves to do is done once the first one is answered.
    world.forgets_and_gets_link("grace").await;
    idle(&world).await;
    let strace = Strace::attach(&world, &["-e", "trace=fsync,fdatasync"]);
    let count = || strace.so_far().lines().filter(|line| line.contains("sync(")).count();
    let mut expected = 0;
    // Nobody, one who gets a link, one whose link is fresh, and some who may have none.
    for login in ["nobody", "ada", "nobody", "grace", "locked", "hopper", "nomail", "twin", "nobody"] {
        world.door().raw(hook(&world, login).as_bytes()).await;
        expected += 2;
        until("the disk is waited for with the answer and behind it", async || count() >= expected).await;
        idle(&world).await;
        assert_eq!(count(), expected, "{login}");
    }
    // Nor does it come later, when the queues are looked at again.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(count(), expected);
    drop(strace);
    world.leaves_mail_behind();
}

async fn p3_an_answer_leaves_in_one_write() {
    let world = World::start().await;
    let strace = Strace::attach(&world, &["-yy", "-s", "20", "-e", "trace=write,writev,sendto,sendmsg"]);
    for request in [hook(&world, "ada"), page(&world, "ada"), get(&world, "/forgot"), get(&world, "/nowhere")] {
        world.door().raw(request.as_bytes()).await;
    }
    let trace = strace.end();
    let sent: Vec<_> = trace.lines().filter(|line| line.contains("<TCP:") && is_from(line, &world)).collect();
    assert_eq!(sent.len(), 4, "{sent:#?}");
    assert!(sent.iter().all(|line| line.contains("\"HTTP/1.1 ")), "{sent:#?}");
    idle(&world).await;
}

async fn t111_a_full_backlog_is_the_same_503_for_everybody() {
    let slapd = Slapd::fresh(Variant::Policy).await;
    let world = World::builder().slapd(&slapd).set("store.backlog", "100").start().await;
    let link = world.forgets_and_gets_link("ada").await;
    idle(&world).await;
    // Nobody is looked up any more, so that requests stay.
    world.slapd().freeze();
    let mut full = false;
    for _ in 0..150 {
        full |= world.door().raw(hook(&world, "nobody").as_bytes()).await.starts_with(b"HTTP/1.1 503 ");
    }
    assert!(full, "the backlog is bounded");
    for way in [hook, page] {
        let mut answers = Vec::new();
        for login in KINDS {
            answers.push((login, masked(&world.door().raw(way(&world, login).as_bytes()).await)));
        }
        let (_, expected) = &answers[0];
        assert!(expected.starts_with("HTTP/1.1 503 "), "{expected}");
        for (login, answer) in &answers {
            assert_eq!(answer, expected, "{login} is answered in another way");
        }
    }
    let told: Answer = world.admin(Method::GET, "/v1/status", None).await;
    assert_eq!(told.json()["requests_waiting"], 100, "{}", told.text());
    // While the crowd goes on, an operator finds a place, and whoever has a link sets a password.
    let mut crowd = JoinSet::new();
    for _ in 0..16 {
        let (door, request) = (world.door(), hook(&world, "nobody"));
        crowd.spawn(async move {
            loop {
                door.raw(request.as_bytes()).await;
            }
        });
    }
    world.slapd().thaw();
    let sent = json!({"login": "grace", "reason": "asked on the phone"});
    let sent = world.admin(Method::POST, "/v1/send-code", Some(&sent)).await;
    let set = world.sets_password(&link, "seven violet teapots orbit").await;
    assert!(is_set(&set), "{}", set.text());
    assert!(sent.status.is_success(), "{}", sent.text());
    crowd.shutdown().await;
    idle(&world).await;
    let after = world.door().raw(hook(&world, "nobody").as_bytes()).await;
    assert!(after.starts_with(b"HTTP/1.1 202 "), "{}", String::from_utf8_lossy(&after));
    idle(&world).await;
}

/// Waits until there is nothing left to do.
async fn idle(world: &World) {
    let nothing = async || {
        let status = world.admin(Method::GET, "/v1/status", None).await.json();
        status["requests_waiting"] == 0 && status["notices_waiting"] == 0
    };
    until("nothing waits", nothing).await;
}

/// A call of the hook. Its length does not depend on the login.
fn hook(world: &World, login: &str) -> String {
    let body = format!("{:<40}", json!({ "login": login }).to_string());
    let (address, key) = (world.address(), world.hook_key());
    format!(
        "POST /v1/recovery HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A form of the page.
fn page(world: &World, login: &str) -> String {
    let body = rekeyd_tests::http::form(&[("login", login)]);
    // The spaces after the header make all requests as long as each other.
    let padding = " ".repeat(40 - body.len());
    format!(
        "POST /forgot HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nX-Padding: x{padding}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {:02}\r\n\r\n{body}",
        world.address(),
        body.len()
    )
}

fn get(world: &World, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", world.address())
}

/// Whether a traced call is on a connection that came to the daemon's door.
fn is_from(line: &str, world: &World) -> bool {
    line.contains(&format!("<TCP:[{}->", world.address()))
}

/// The threads that answer, and the one that writes, by their numbers.
fn threads(pid: u32) -> BTreeMap<String, String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a running daemon");
    let named = tasks.filter_map(|task| {
        let task = task.ok()?;
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?.trim().to_owned();
        Some((task.file_name().to_string_lossy().into_owned(), name))
    });
    named.filter(|(_, name)| name == "answering" || name == "store-writer").collect()
}

/// What was done for each request, from its first byte to the answer: the calls of the thread or threads that handled it,
/// and those of the thread that writes up to the moment when it is on the disk. What only wakes and waits is left out: who
/// sleeps when is chance.
fn sequences(trace: &str, names: &BTreeMap<String, String>) -> Vec<String> {
    let lines: Vec<(&str, &str)> = trace.lines().filter_map(|line| line.split_once(char::is_whitespace)).collect();
    let mut found = Vec::new();
    for (begin, (_, call)) in lines.iter().enumerate() {
        let call = call.trim_start();
        let is_read = call.starts_with("recvfrom(") || call.starts_with("<... recvfrom resumed>");
        if !(is_read && call.contains("\"POST /")) {
            continue;
        }
        let answer = lines.iter().skip(begin).position(|(_, call)| call.contains("\"HTTP/1.1 20"));
        let Some(length) = answer else { continue };
        let (mut handled, mut written, mut is_written) = (Vec::new(), Vec::new(), false);
        for (thread, call) in &lines[begin..=begin + length] {
            let Some(call) = plain(call) else { continue };
            match names.get(*thread).map(String::as_str) {
                Some("answering") => handled.push(call),
                // With this a commit ends: one that was still behind the answer before.
                Some("store-writer") if !is_written && call.starts_with("statx") => written.clear(),
                // Its locks go by who reads just now.
                Some("store-writer") if !is_written && !call.starts_with("fcntl") => {
                    is_written = call.contains("sync");
                    written.push(call);
                }
                _ => {}
            }
        }
        found.push(format!("{}\n--\n{}", handled.join("\n"), written.join("\n")));
    }
    found
}

/// A call without what differs by chance: its name, what it goes to, and what it gave.
fn plain(call: &str) -> Option<String> {
    const WAITING: [&str; 11] = [
        "recvfrom",
        "futex",
        "epoll_",
        "sched_yield",
        "restart_syscall",
        "madvise",
        "brk",
        "mmap",
        "munmap",
        "mprotect",
        "accept4",
    ];
    let call = call.trim_start();
    // Of a call that another thread cut in two, the first half names it. The reading of the request is where this begins.
    if WAITING.iter().any(|name| call.starts_with(name)) || call.starts_with("<...") || call.starts_with("+++") {
        return None;
    }
    let (name, rest) = call.split_once('(')?;
    // Other connections, and what wakes a thread.
    if rest.contains("<UNIX") || rest.contains("[eventfd") || rest.contains("anon_inode") {
        return None;
    }
    // How and when the connection's begin and end are noticed is chance.
    if matches!(name, "shutdown" | "close" | "setsockopt" | "getsockname" | "getsockopt") {
        return None;
    }
    let descriptor = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let file = descriptor.strip_prefix('<').map_or("", |rest| rest.split(['>', '[']).next().unwrap_or_default());
    Some(format!("{name} {}", file.rsplit('/').next().unwrap_or_default()))
}

/// What most of these are.
fn commonest<'s>(seen: &[&'s str]) -> &'s str {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for sequence in seen {
        *counts.entry(sequence).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map_or("", |(sequence, _)| sequence)
}

/// The answer without its moment.
fn masked(answer: &[u8]) -> String {
    let date = Regex::new("\r\n[Dd]ate: [^\r]*").expect("a pattern");
    date.replace_all(&String::from_utf8_lossy(answer), "\r\nDate: #").into_owned()
}
