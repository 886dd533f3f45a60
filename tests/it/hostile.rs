//! Hostile clients: crowds that want nothing, requests that are too big, too deep or too odd. Each gets its documented
//! answer, memory stays flat, and everybody else is served meanwhile.

use std::time::{Duration, Instant};

use hyper::{Method, body::Bytes};
use rekeyd_tests::{
    acts::{is_set, until},
    http::{Answer, Door, form},
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
    async fn t1_a_field_stands_there_once;
    async fn t87_ten_thousand_requests_for_one_person_do_no_harm;
    async fn t94_no_header_changes_where_a_request_goes_or_what_a_mail_says;
    async fn t98_two_hundred_spellings_of_a_path_lead_nowhere;
    async fn t104_a_crowd_that_wants_nothing_keeps_nobody_out;
    async fn t104_bodies_that_do_not_come_hold_no_place;
    async fn t104_those_who_set_a_password_find_a_place;
    async fn t106_big_and_deep_input_is_refused_in_flat_memory;
    async fn t107_no_method_but_those_of_the_route;
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
    let counts = log.lines().filter_map(|line| line.rsplit_once("ever=")?.1.parse().ok());
    counts.last().unwrap_or_default()
}

async fn t104_a_crowd_that_wants_nothing_keeps_nobody_out() {
    let world = World::start().await;
    let (first, second) = (world.forgets_and_gets_link("ada").await, world.forgets_and_gets_link("grace").await);
    world.surely_sets_password(&first, NEW).await;
    let before = procfs::resident(world.pid());
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
    let many = ever(&crowd);
    drop(crowd);
    times.sort();
    println!(
        "a crowd of 10000, {many} connections in all: a request is answered in {:?} (median), {:?} (slowest of {}); \
         resident {before} KiB before, {during} KiB within; {open:?} descriptors",
        times[times.len() / 2],
        times[times.len() - 1],
        times.len(),
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

async fn t106_big_and_deep_input_is_refused_in_flat_memory() {
    let world = World::start().await;
    let key = format!("Authorization: Bearer {}\r\n", world.hook_key());
    let host = world.address();
    let call = |more: &str, body: &str| {
        format!(
            "POST /v1/recovery HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{key}Content-Type: application/json\r\n{more}\r\n{body}"
        )
    };
    let sized = |body: &str| call(&format!("Content-Length: {}\r\n", body.len()), body);
    let chunked =
        |body: &str| call("Transfer-Encoding: chunked\r\n", &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
    let fields: String = (0..1_000_000).map(|number| format!("\"f{number}\":1,")).collect();
    let few: String = (0..1000).map(|number| format!("\"f{number}\":1,")).collect();
    let long = "a".repeat(10 << 20);
    let get =
        |target: &str, more: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n");
    let post = |more: &str, body: &str| {
        format!(
            "POST /forgot HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: {FORM}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let cases: Vec<(&str, String, u16)> = vec![
        ("JSON of 10 MiB", sized(&format!("{{\"login\":\"{long}\"}}")), 413),
        ("JSON of 10 MiB in one chunk", chunked(&format!("{{\"login\":\"{long}\"}}")), 413),
        ("JSON 10,000 deep", sized(&format!("{{\"login\":{}{}}}", "[".repeat(8000), "]".repeat(8000))), 400),
        (
            "JSON 10,000 deep, too long",
            sized(&format!("{{\"login\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000))),
            413,
        ),
        ("JSON objects, deep", sized(&format!("{}1{}", "{\"a\":".repeat(2500), "}".repeat(2500))), 400),
        ("JSON of 1,000 fields", sized(&format!("{{{few}\"login\":\"ada\"}}")), 400),
        ("JSON of a million fields", sized(&format!("{{{fields}\"login\":\"ada\"}}")), 413),
        ("JSON with a number of many digits", sized(&format!("{{\"login\":{}}}", "9".repeat(15_000))), 400),
        ("JSON with half a character", sized("{\"login\":\"\\ud83d\"}"), 400),
        ("JSON with two byte order marks", sized("\u{feff}\u{feff}{\"login\":\"ada\"}"), 400),
        ("a compressed body", call("Content-Encoding: gzip\r\nContent-Length: 3\r\n", "\u{1f}\u{8}\0"), 415),
        ("a body compressed twice", call("Content-Encoding: gzip, br\r\nContent-Length: 3\r\n", "\u{1f}\u{8}\0"), 415),
        ("a compressed form", post("Content-Encoding: deflate\r\n", "login=nobody"), 415),
        ("a form of 1,000 fields", post("", &"a=b&".repeat(1000)), 400),
        ("a form of a million fields", post("", &"a=b&".repeat(1_000_000)), 413),
        ("a form of nothing but separators", post("", &"&".repeat(16_000)), 400),
        (
            "a form in parts",
            format!(
                "POST /forgot HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 0\r\n\r\n"
            ),
            415,
        ),
        ("a login of 16 KiB", post("", &format!("login={}", "a".repeat(16_000))), 422),
        ("a URL of 3 KiB", get(&format!("/{}", "a".repeat(3 << 10)), ""), 414),
        ("a query of 3 KiB", get(&format!("/forgot?{}", "a".repeat(3 << 10)), ""), 414),
        ("a URL of 1 MiB", get(&format!("/{}", "a".repeat(1 << 20)), ""), 431),
        ("a header of 1 MiB", get("/forgot", &format!("X: {}\r\n", "a".repeat(1 << 20))), 431),
        ("a header's name of 20 KiB", get("/forgot", &format!("{}: x\r\n", "X".repeat(20 << 10))), 431),
        ("a million headers", get("/forgot", &"X: y\r\n".repeat(1_000_000)), 431),
        ("100 cookies", get("/forgot", &"Cookie: a=b\r\n".repeat(50)), 200),
        (
            "a trailer of 1 MiB",
            call("Transfer-Encoding: chunked\r\n", &format!("2\r\n{{}}\r\n0\r\nX: {}\r\n\r\n", "y".repeat(1 << 20))),
            400,
        ),
        (
            "a chunk's extension of 1 MiB",
            call("Transfer-Encoding: chunked\r\n", &format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "y".repeat(1 << 20))),
            400,
        ),
        (
            "10,000 chunks of one byte",
            call("Transfer-Encoding: chunked\r\n", &format!("{}0\r\n\r\n", "1\r\n \r\n".repeat(10_000))),
            400,
        ),
    ];
    let before = procfs::resident(world.pid());
    for round in 0..3 {
        for (name, request, expected) in &cases {
            let answer = talk(&world.door(), request.as_bytes()).await;
            // A door that closes before it has heard all may break the connection behind its answer.
            let broken = answer.is_empty() && request.len() > 32 << 10;
            assert!(broken || answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{name}, {round}: {answer}");
            assert!(!answer.contains("panicked") && !answer.contains(".rs"), "{name}: {answer}");
        }
    }
    let after = procfs::resident(world.pid());
    println!("{} requests too big or too deep: resident {before} KiB before, {after} KiB after", 3 * cases.len());
    assert!(after < before + FLAT, "{before} KiB became {after} KiB");
    assert_eq!(world.forgets("nobody").await.status, 202);
    assert!(!world.log().contains("panicked"), "{}", world.log());
}

async fn t98_two_hundred_spellings_of_a_path_lead_nowhere() {
    let world = World::start().await;
    let host = world.address();
    let key = world.hook_key();
    let mut count = 0;
    for path in
        ["/forgot", "/v1/recovery", "/v1/sign-in", "/v1/openapi.json", "/readyz", "/.well-known/change-password"]
    {
        for odd in spellings(path) {
            for method in ["GET", "POST"] {
                let request = format!(
                    "{method} {odd} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
                     Content-Type: application/json\r\nContent-Length: 15\r\n\r\n{{\"login\":\"ada\"}}"
                );
                let answer = talk(&world.door(), request.as_bytes()).await;
                // What can stand in no target is no request at all.
                let cannot = odd.bytes().any(|byte| byte <= b' ' || byte == 0x7f) || !odd.starts_with('/');
                let expected = if cannot { "HTTP/1.1 400 " } else { "HTTP/1.1 404 " };
                assert!(answer.starts_with(expected), "{method} {odd:?}: {answer}");
                count += 1;
            }
        }
    }
    assert!(count >= 400, "{count}");
    world.forgets_and_gets_link("grace").await;
    assert!(world.smtp().messages_to("ada@example.org").is_empty());
}

/// Texts that somebody's software would take for this path.
fn spellings(path: &str) -> Vec<String> {
    let tail = &path[1..];
    let last = path.rfind('/').expect("a slash");
    let (parent, name) = path.split_at(last);
    let hex = |byte: u8| format!("%{byte:02x}");
    let mut all: Vec<String> =
        ["/", "//", ";", ";x", ";x=y", "%20", "%00", "%0a", "%0d%0a", "%09", "%2f", "%5c", "%3f", "%23", "%3b", "."]
            .into_iter()
            .chain([
                "/.", "/..", "/./", "\\", ",", "~", "*", "+", "&", "=", ":", "@", "$", "!", "'", "(", ")", "|", "%",
                "%c0%ae",
            ])
            .chain([" ", "\t", "\0", "\u{7f}", "é", "%e2%80%8b", ".json", ".html", "..;/"])
            .map(|end| format!("{path}{end}"))
            .collect();
    all.extend(
        [
            "/",
            "/.",
            "/..",
            "/x/..",
            "/%2e",
            "/%2e%2e",
            "/x/%2e%2e",
            "/;x",
            "/;",
            "/%2f",
            "/%5c",
            "/\\",
            "/..;",
            "/%00",
            "/%20",
        ]
        .map(|front| format!("{front}{path}")),
    );
    all.extend([
        tail.to_owned(),
        format!("\\{tail}"),
        format!("//{host}{path}", host = "evil.example"),
        path.to_uppercase(),
        format!("/{}{}", tail[..1].to_uppercase(), &tail[1..]),
        path.replace('/', "//"),
        path.replace('/', "\\"),
        path.replace('/', "%2f"),
        path.replace('/', "%252f"),
        path.replace('/', "/./"),
        format!("{parent}/.{name}"),
        format!("{parent}/%2e{name}"),
        format!("{parent}/x/..{name}"),
        format!("{parent};x{name}"),
        format!("/{}{}", hex(tail.as_bytes()[0]), &tail[1..]),
        format!("/%25{:02x}{}", tail.as_bytes()[0], &tail[1..]),
        format!("/{}", tail.bytes().map(hex).collect::<String>()),
        format!("{}{}", &path[..path.len() - 1], hex(path.as_bytes()[path.len() - 1]).to_uppercase()),
    ]);
    // A path that one of these does not change is no other spelling of it.
    all.retain(|odd| odd != path && odd != "/");
    all
}

async fn t94_no_header_changes_where_a_request_goes_or_what_a_mail_says() {
    let world = World::start().await;
    let host = world.address().to_string();
    let ask = async |headers: &[(&str, &str)], login: &str| {
        world.door().post_form_with("/forgot", headers, &[("login", login)]).await
    };
    let known = ask(&[], "nobody").await;
    // A foreign name gets nothing done, on any route.
    for foreign in [
        "evil.example",
        "127.0.0.1:1",
        "localhost",
        "reset.example.org",
        &host.replace("127.0.0.1", "evil.example"),
        "[::1]",
    ] {
        for path in ["/forgot", "/", "/r/x", "/not-me/x", "/icon.svg", "/v1/openapi.json", "/nowhere"] {
            let answer = world.door().send(Method::GET, path, &[("host", foreign)], Bytes::new()).await;
            assert_eq!(answer.status, 421, "{path} of {foreign}");
            assert!(!answer.text().contains("evil") && answer.header("location").is_empty(), "{}", answer.text());
        }
        assert_eq!(ask(&[("host", foreign)], "grace").await.status, 421);
    }
    // What a proxy might add is no name, no path and no method.
    let odd = [
        ("forwarded", "for=evil;host=evil.example;proto=https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-server", "evil.example"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-scheme", "gopher"),
        ("x-forwarded-prefix", "/evil"),
        ("x-host", "evil.example"),
        ("x-http-host-override", "evil.example"),
        ("x-original-host", "evil.example"),
        ("x-original-url", "/nowhere"),
        ("x-rewrite-url", "/nowhere"),
        ("x-original-uri", "/nowhere"),
        ("x-url-scheme", "gopher"),
        ("x-http-method", "DELETE"),
        ("x-http-method-override", "DELETE"),
        ("x-method-override", "GET"),
        ("base-url", "https://evil.example"),
        ("origin", "null"),
        ("referer", "https://evil.example/"),
        ("via", "1.1 evil.example"),
        ("x-real-ip", "nonsense"),
        ("true-client-ip", "nonsense"),
    ];
    for header in odd {
        let answer = ask(&[header], "nobody").await;
        assert_eq!((answer.status, &answer.body), (known.status, &known.body), "{header:?}");
    }
    // All of them together, for somebody who gets a mail by it.
    assert_eq!(ask(&odd, "ada").await.status, 202);
    let message = world.smtp().wait_for_mail_to("ada@example.org", 1).await.remove(0);
    assert!(message.links().iter().all(|link| link.starts_with(&world.url("/"))), "{:?}", message.links());
    let whole = String::from_utf8_lossy(&message.raw).into_owned();
    assert!(!whole.contains("evil") && !whole.contains("gopher"), "{whole}");
    // A method that stands elsewhere is none: looking stays looking.
    let link = world.link("ada@example.org", 1).await;
    for header in [("x-http-method-override", "POST"), ("x-http-method", "POST"), ("x-method-override", "POST")] {
        assert_eq!(world.door().send(Method::GET, &link, &[header], Bytes::new()).await.status, 200, "{header:?}");
    }
    let hidden = [("_method", "DELETE"), ("password", NEW), ("confirm", NEW)];
    assert_eq!(world.door().post_form(&link, &hidden).await.status, 400);
    assert!(world.writes("ada").await.is_empty());
    assert!(world.smtp().messages_to("grace@example.org").is_empty());
    world.surely_sets_password(&link, NEW).await;
}

async fn t107_no_method_but_those_of_the_route() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    let host = world.address();
    let routes: [(&str, &str); 6] = [
        ("/forgot", "GET, HEAD, POST"),
        (&link, "GET, HEAD, POST"),
        ("/icon.svg", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
        ("/v1/recovery", "POST"),
        ("/v1/password", "POST"),
    ];
    let methods = [
        "OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "PROPFIND", "MKCOL", "LOCK", "SEARCH", "PURGE", "DEBUG", "TRACK",
        "QUERY", "get", "Post", "HEADX", "X", "GET-POST", "M-SEARCH",
    ];
    for (path, allowed) in routes {
        for method in methods {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nX-Echo: canary\r\n\r\n");
            let answer = talk(&world.door(), request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {path}: {answer}");
            assert!(
                answer.to_lowercase().contains(&format!("allow: {}", allowed.to_lowercase())),
                "{method} {path}: {answer}"
            );
            assert!(!answer.contains("canary"), "{method} {path} repeats the request: {answer}");
        }
    }
    let long = format!("{} /forgot HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", "A".repeat(8000));
    assert!(talk(&world.door(), long.as_bytes()).await.starts_with("HTTP/1.1 405 "));
    world.surely_sets_password(&link, NEW).await;
}

async fn t1_a_field_stands_there_once() {
    let world = World::start().await;
    for (body, expected) in [
        ("login=ada&login=grace", 400),
        ("login=ada&login=ada", 400),
        ("login=ada&log%69n=grace", 400),
        ("login=&login=grace", 400),
        ("login[]=ada", 400),
        ("login%5B0%5D=ada", 400),
        ("login.x=ada", 400),
        ("LOGIN=ada", 400),
        ("login=ada&Login=grace", 400),
        ("login=ada&admin=true", 400),
        ("login=ada&=x", 400),
        ("login=a%", 400),
        ("login=%gg", 400),
        ("login=%ff", 400),
        ("login=ada%00", 422),
        ("login=ada%0d%0aBcc:%20grace@example.org", 422),
        ("login", 422),
        ("", 422),
    ] {
        let answer = world.door().send(Method::POST, "/forgot", &[("content-type", FORM)], Bytes::from(body)).await;
        assert_eq!(answer.status, expected, "{body}");
    }
    let key = format!("Bearer {}", world.hook_key());
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    for body in [
        r#"{"login":"nobody","login":"grace"}"#,
        r#"{"login":"nobody","log\u0069n":"grace"}"#,
        r#"{"login":"nobody","LOGIN":"grace"}"#,
        r#"{"login":"nobody","login ":"grace"}"#,
        r#"{"login":"nobody","__proto__":{"login":"grace"}}"#,
        r#"{"login":"nobody","channel":null,"channel":"email"}"#,
        r#"{"login":"nobody"}{"login":"grace"}"#,
        r#"[{"login":"grace"}]"#,
    ] {
        let answer = world.door().send(Method::POST, "/v1/recovery", &headers, Bytes::from(body)).await;
        assert_eq!(
            (answer.status.as_u16(), problem(&answer)),
            (400, "urn:rekeyd:problem:bad-request".into()),
            "{body}"
        );
    }
    // Of headers that must stand there once, two are none.
    for name in ["authorization", "content-type"] {
        let twice = [&headers[..], &[(name, headers.iter().find(|(one, _)| *one == name).expect("it").1)]].concat();
        let answer = world.door().send(Method::POST, "/v1/recovery", &twice, Bytes::from(r#"{"login":"grace"}"#)).await;
        assert!([401, 415].contains(&answer.status.as_u16()), "{name} twice: {}", answer.status);
    }
    assert!(world.audit().is_empty() && world.smtp().messages().is_empty(), "{:?}", world.audit());
}

async fn t87_ten_thousand_requests_for_one_person_do_no_harm() {
    const MANY: usize = 10_000;
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
        world.branch.add_person(pupil, "a first password of theirs").await;
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

/// Sends while it listens, as one must who says more than is heard; gives what came until the end.
async fn talk(door: &Door, bytes: &[u8]) -> String {
    let Door::Tcp(address) = door else { panic!("a door on TCP") };
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let (mut from, mut to) = stream.split();
    let mut answer = Vec::new();
    let listen = async {
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            answer.extend_from_slice(&piece[..read]);
        }
    };
    // Whether all of it could be said does not matter.
    let say = async { to.write_all(bytes).await.is_ok() };
    tokio::join!(listen, say);
    String::from_utf8_lossy(&answer).into_owned()
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
