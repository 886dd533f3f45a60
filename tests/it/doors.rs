//! The HTTP door: under which names it answers, whom it believes, how long it waits, and what every page carries.

use std::time::{Duration, Instant};

use hyper::{Method, body::Bytes};
use regex::Regex;
use rekeyd_tests::{
    http::{Answer, Door},
    tests,
    world::World,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

tests! {
    async fn t47_a_form_that_another_site_sends_is_refused;
    async fn t94_a_foreign_host_gets_nothing_done;
    async fn t95_only_a_trusted_proxy_says_who_asks;
    async fn t98_only_the_exact_path_leads_anywhere;
    async fn t100_the_way_to_change_a_password_is_known;
    async fn t102_every_answer_carries_what_browsers_need;
    async fn t102_nothing_that_was_typed_comes_back_as_markup;
    async fn t103_a_request_that_can_be_read_in_two_ways_is_refused;
    async fn t104_slow_clients_are_let_go;
    async fn t106_what_is_too_big_is_not_read;
    async fn t107_methods_that_a_route_does_not_have_are_named;
    async fn t22_health_says_nothing_of_people;
}

async fn t94_a_foreign_host_gets_nothing_done() {
    let world = World::start().await;
    let address = world.address();
    let form = "login=ada";
    let post = |target: &str, hosts: &str, more: &str| {
        format!(
            "POST {target} HTTP/1.1\r\n{hosts}Connection: close\r\n{more}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        )
    };
    let ours = format!("Host: {address}\r\n");
    for request in [
        post("/forgot", "Host: evil.example\r\n", ""),
        post("/forgot", "Host: 127.0.0.1:1\r\n", ""),
        post("/forgot", &format!("Host: evil.example@{address}\r\n"), ""),
        post("/forgot", &format!("Host: {address}/x\r\n"), ""),
        post("/forgot", &format!("{ours}Host: evil.example\r\n"), ""),
        post("/forgot", "Host: \r\n", ""),
        post("/forgot", "", ""),
        post("http://evil.example/forgot", "Host: evil.example\r\n", ""),
        post("http://evil.example/forgot", &ours, ""),
    ] {
        let answer = world.door().raw(request.as_bytes()).await;
        let status = status(&answer);
        assert!([400, 421].contains(&status), "{status} for\n{request}");
        assert!(!String::from_utf8_lossy(&answer).contains("evil.example"), "it is repeated: {request}");
    }
    assert_eq!(status(&world.door().raw(post("/forgot", "Host: evil.example\r\n", "").as_bytes()).await), 421);
    let answer = world.door().post_json("/v1/recovery", None, &json!({})).await;
    assert_eq!(answer.status, 401);
    assert!(world.audit().is_empty() && world.smtp().messages().is_empty());
    // What a proxy adds changes no link.
    for more in ["X-Forwarded-Host: evil.example\r\n", "Forwarded: host=evil.example\r\n", "X-Original-URL: /x\r\n"] {
        assert_eq!(status(&world.door().raw(post("/forgot", &ours, more).as_bytes()).await), 202, "{more}");
    }
    let messages = world.smtp().wait_for_mail_to("ada@example.org", 1).await;
    assert!(messages[0].links().iter().all(|link| link.starts_with(&world.url("/"))), "{:?}", messages[0].links());
    assert!(!messages[0].text().contains("evil"));
}

async fn t95_only_a_trusted_proxy_says_who_asks() {
    let ask = async |world: &World, forwarded: &str| {
        let headers = [("x-forwarded-for", forwarded)];
        world.door().post_form_with("/forgot", &headers, &[("login", "nobody")]).await.status.as_u16()
    };
    let pace = r#""3 in 1h""#;
    let world = World::builder().set("policy.paces.source", pace).start().await;
    for count in 0..3 {
        assert_eq!(ask(&world, &format!("192.0.2.{count}")).await, 202);
    }
    assert_eq!(ask(&world, "192.0.2.99").await, 429, "a direct client has escaped its pace");
    let row = world.event(&[("event", "request-ended"), ("reason", "not-found")]).await;
    assert_eq!(row["actor"], "127.0.0.1");

    let trusted = World::builder().set("policy.paces.source", pace).set("http.trusted_proxies", r#"["127.0.0.1"]"#);
    let world = trusted.start().await;
    for _ in 0..3 {
        assert_eq!(ask(&world, "1.2.3.4, 192.0.2.7").await, 202);
    }
    assert_eq!(ask(&world, "5.6.7.8, 192.0.2.7").await, 429, "what the client wrote itself counts");
    assert_eq!(ask(&world, "192.0.2.8").await, 202);
    assert_eq!(ask(&world, "192.0.2.8, nonsense").await, 400);
    let row = world.event(&[("event", "request-ended"), ("actor", "192.0.2.7")]).await;
    assert_eq!(row["actor_kind"], "visitor");
}

async fn t47_a_form_that_another_site_sends_is_refused() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    let fields = [("password", "seven violet teapots orbit"), ("confirm", "seven violet teapots orbit")];
    for foreign in [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("origin", "https://evil.example")],
        [("origin", "http://localhost:1")],
    ] {
        let answer = world.door().post_form_with(&link, &foreign, &fields).await;
        assert_eq!(answer.status, 403, "{foreign:?}");
        assert_eq!(world.door().post_form_with("/forgot", &foreign, &[("login", "grace")]).await.status, 403);
    }
    let kind = [("content-type", "text/plain")];
    let answer = world.door().send(Method::POST, &link, &kind, "password=x&confirm=x".into()).await;
    assert_eq!(answer.status, 415);
    assert!(world.writes("ada").await.is_empty() && world.smtp().messages_to("grace@example.org").is_empty());
    let ours = format!("http://{}", world.address());
    let answer =
        world.door().post_form_with(&link, &[("origin", &ours), ("sec-fetch-site", "same-origin")], &fields).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.headers.get("set-cookie").is_none(), "setting a password opens a session");
}

async fn t98_only_the_exact_path_leads_anywhere() {
    let world = World::start().await;
    for path in ["/forgot", "/v1/recovery", "/healthz", "/.well-known/change-password"] {
        for mutation in [
            format!("{path}/"),
            format!("/{path}"),
            format!("/.{path}"),
            format!("/x/..{path}"),
            format!("/%2e{path}"),
            format!("{path};x"),
            format!("{path}%00"),
            format!("{path}%20"),
            format!("{path}/."),
            path.to_uppercase(),
            format!("/%{:02x}{}", path.as_bytes()[1], &path[2..]),
            path.replace('/', "//"),
        ] {
            let get = world.door().get(&mutation).await.status;
            let post = world.hook(&mutation, &json!({"login": "ada"})).await.status;
            assert_eq!((get.as_u16(), post.as_u16()), (404, 404), "{mutation}");
        }
    }
    let nowhere = world.door().get("/nowhere").await;
    assert!(nowhere.status == 404 && nowhere.text().contains("Example University"), "{}", nowhere.text());
}

async fn t100_the_way_to_change_a_password_is_known() {
    let world = World::start().await;
    for path in ["/.well-known/change-password", "/"] {
        let answer = world.door().get(path).await;
        assert!(answer.status.is_redirection() && answer.header("location") == "/forgot", "{path}: {answer:?}");
    }
    for query in ["?return_to=//evil.example", "?next=https:evil.example", "?return_to=%0d%0aLocation:%20x"] {
        let answer = world.door().get(&format!("/.well-known/change-password{query}")).await;
        assert!(!format!("{answer:?}").contains("evil"), "{query}: {answer:?}");
    }
}

async fn t102_every_answer_carries_what_browsers_need() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    let not_me = world.not_me_link("ada@example.org", 1).await;
    let mut answers = Vec::new();
    for path in
        ["/forgot", &link, &not_me, "/r/x", "/not-me/x", "/nowhere", "/v1/openapi.json", "/readyz", "/", "/icon.svg"]
    {
        answers.push((path.to_owned(), world.door().get(path).await));
    }
    answers.push(("POST /forgot".into(), world.forgets("nobody").await));
    answers.push(("PUT /forgot".into(), world.door().send(Method::PUT, "/forgot", &[], Bytes::new()).await));
    answers.push(("recovery".into(), world.hook("/v1/recovery", &json!({"login": "nobody"})).await));
    answers.push(("no key".into(), world.door().post_json("/v1/recovery", None, &json!({})).await));
    for (name, answer) in &answers {
        let policy = answer.header("content-security-policy");
        for part in ["default-src 'none'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{name}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{name}: {policy}");
        for (header, value) in [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")] {
            assert_eq!(answer.header(header), value, "{name}");
        }
        let kept = answer.header("cache-control");
        assert!(kept.contains("no-store") || name == "/icon.svg", "{name}: {kept}");
        assert_eq!(answer.header("server"), "", "{name} says what it runs on");
        assert!(answer.headers.get("set-cookie").is_none(), "{name}");
    }
    let html = world.door().get("/forgot").await.text();
    for needed in ["<!doctype html>", "lang=\"en\"", "name=\"viewport\"", "<label", "name=\"login\"", "method=\"post\""]
    {
        assert!(html.contains(needed), "{needed} is not in {html}");
    }
    assert!(!html.contains("<script") && !Regex::new(r#" on[a-z]+=""#).expect("a pattern").is_match(&html), "{html}");
}

async fn t102_nothing_that_was_typed_comes_back_as_markup() {
    let world = World::start().await;
    let canary = "\"><script>alert(1)</script><b x='{{7777*7777}}";
    for login in [canary, "", "\0"] {
        let answer = world.forgets(login).await;
        assert!(!answer.text().contains("<script>") && !answer.text().contains("60481729"), "{}", answer.text());
    }
    world.slapd().set(&world.dn("ada"), "displayName", &[canary]).await;
    let link = world.forgets_and_gets_link("ada").await;
    let message = world.smtp().messages_to("ada@example.org").remove(0);
    assert!(!message.html().contains("<script>") && !message.text().contains("60481729"), "{}", message.html());
    let answer = world.sets_password(&link, canary).await;
    assert!(!answer.text().contains("<script>"), "{}", answer.text());
    let path = "/r/%22%3E%3Cscript%3E";
    assert!(!world.door().get(path).await.text().contains("<script>"));
}

async fn t103_a_request_that_can_be_read_in_two_ways_is_refused() {
    let world = World::start().await;
    let host = world.address();
    for odd in [
        "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 9\r\nContent-Length: 8\r\n",
        "Content-Length: +9\r\n",
        "Content-Length: 0x9\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Content-Length: 9\r\nX: a\r\n b\r\n",
        "Content-Length : 9\r\n",
    ] {
        let request = format!(
            "POST /forgot HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n{odd}\r\nlogin=ada"
        );
        let answer = world.door().try_raw(request.as_bytes()).await.unwrap_or_default();
        assert!(answer.is_empty() || status(&answer) >= 400, "{odd}: {}", String::from_utf8_lossy(&answer));
    }
    assert!(world.smtp().messages().is_empty());
}

async fn t104_slow_clients_are_let_go() {
    let world = World::builder()
        .set("http.limits.header", r#""1s""#)
        .set("http.limits.body", r#""1s""#)
        .set("http.limits.idle", r#""1s""#)
        .start()
        .await;
    let host = world.address();
    let head = format!("POST /forgot HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
    let slow_body = format!("{head}Content-Length: 20\r\n\r\nlogin=");
    let whole = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (name, start) in [("nothing", ""), ("a head", head.as_str()), ("a body", &slow_body), ("nothing more", &whole)]
    {
        let mut stream = TcpStream::connect(host).await.expect("a connection");
        stream.write_all(start.as_bytes()).await.expect("a sent beginning");
        let begin = Instant::now();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(8), stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "whoever sends {name} holds the connection");
        assert!(begin.elapsed() > Duration::from_millis(500), "{name}: {:?}", begin.elapsed());
    }
    // One byte at a time is slow, too: the limit is for the whole.
    let mut stream = TcpStream::connect(host).await.expect("a connection");
    let begin = Instant::now();
    for byte in head.bytes().cycle() {
        if stream.write_all(&[byte]).await.is_err() || begin.elapsed() > Duration::from_secs(8) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    assert_eq!(world.door().get("/healthz").await.status, 200);
}

async fn t106_what_is_too_big_is_not_read() {
    let world = World::start().await;
    let kind = [("content-type", "application/x-www-form-urlencoded")];
    for (length, expected) in [(200, 202), (1000, 422), (100_000, 413), (3_000_000, 413)] {
        let body = format!("login={}", "a".repeat(length));
        let request = format!(
            "POST /forgot HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n{}",
            world.address(),
            kind[0].1,
            body.len(),
            // Where the length alone is too much, nobody reads so far.
            &body[..body.len().min(16_000)]
        );
        assert_eq!(status(&world.door().raw(request.as_bytes()).await), expected, "{length}");
    }
    assert_eq!(world.door().get(&format!("/{}", "a".repeat(5000))).await.status, 414);
    let many = format!("GET /forgot HTTP/1.1\r\nHost: {}\r\n{}\r\n", world.address(), "X: y\r\n".repeat(5000));
    let answer = world.door().try_raw(many.as_bytes()).await.unwrap_or_default();
    assert!(answer.is_empty() || status(&answer) == 431, "{}", String::from_utf8_lossy(&answer));
    assert_eq!(world.door().get("/healthz").await.status, 200);
}

async fn t107_methods_that_a_route_does_not_have_are_named() {
    let world = World::start().await;
    for (path, allowed) in [("/forgot", "GET, HEAD, POST"), ("/v1/recovery", "POST"), ("/healthz", "GET, HEAD")] {
        for method in ["OPTIONS", "TRACE", "PUT", "DELETE", "PATCH"] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let answer = world.door().send(method.clone(), path, &[], Bytes::new()).await;
            assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, allowed), "{method} {path}");
        }
    }
    let head: Answer = world.door().send(Method::HEAD, "/forgot", &[], Bytes::new()).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
}

async fn t22_health_says_nothing_of_people() {
    let world = World::start().await;
    world.reaches_the_directory().await;
    let look = async || {
        let (alive, ready) = (world.door().get("/healthz").await, world.door().get("/readyz").await);
        (alive.status, alive.text(), ready.status, ready.text())
    };
    let before = look().await;
    world.forgets_and_gets_link("ada").await;
    world.forgets("nobody").await;
    assert_eq!(look().await, before);
    // A supervisor may know no name of the door.
    let Door::Tcp(address) = world.door() else { panic!("a door on TCP") };
    let request = b"GET /healthz HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&Door::Tcp(address).raw(request).await), 200);
}

/// The status of an answer as it came.
fn status(answer: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(answer);
    let status = text.strip_prefix("HTTP/1.1 ").or(text.strip_prefix("HTTP/1.0 ")).and_then(|rest| rest.get(..3));
    status.and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {text:?}"))
}
