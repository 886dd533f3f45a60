//! P3: nobody learns who exists. The answer to a request is the same, byte by byte, whatever the account.

use regex::bytes::Regex;
use rekeyd_tests::{
    acts::address,
    http::form,
    smtp::{Fault, Step},
    tests,
    world::World,
};
use serde_json::json;

tests! {
    async fn p3_a_request_is_answered_alike_for_every_kind_of_account;
    async fn p3_a_request_is_answered_alike_in_every_form;
    async fn t16_a_mail_server_that_fails_changes_no_answer;
    async fn t17_what_comes_after_a_request_is_alike_too;
    async fn t19_the_pace_of_a_source_does_not_depend_on_the_account;
    async fn t20_links_that_do_not_work_are_all_alike;
}

/// Every kind of account there is, by a login of the branch that is one.
const KINDS: [&str; 13] = [
    "ada", "nobody", "noether", "hopper", "turing", "locked", "boss", "twin", "nomail", "veiled", "grace", "odd", "zoë",
];

/// A world in which `grace` has used up her pace and `odd` is frozen.
async fn world() -> World {
    let world = World::builder()
        .set("policy.paces.account", r#""1 in 1d""#)
        .set("policy.paces.account_day", r#""1 in 1d""#)
        .set("policy.paces.account_spent", r#""1 in 1d""#)
        .set("policy.lives.merge", r#""1s""#)
        .start()
        .await;
    world.forgets_and_gets_link("grace").await;
    world.forgets("odd").await;
    let not_me = world.not_me_link(&address("odd"), 1).await;
    world.door().fill_form(&not_me, &[("login", "odd")]).await;
    world.event(&[("event", "not-me"), ("outcome", "frozen")]).await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    world
}

async fn p3_a_request_is_answered_alike_for_every_kind_of_account() {
    let world = world().await;
    let mut pages = Vec::new();
    let mut hooks = Vec::new();
    for login in KINDS {
        pages.push((login, page(&world, login).await));
        hooks.push((login, hook(&world, &json!({"login": login})).await));
    }
    alike(&pages);
    alike(&hooks);
    let text = String::from_utf8_lossy(&hooks[0].1).into_owned();
    assert!(text.starts_with("HTTP/1.1 202 ") && text.contains("\"request\":\"#\""), "{text}");
    // The kinds really are what they are meant to be.
    for reason in
        ["not-found", "never-activated", "expired", "locked-by-admin", "privileged", "ambiguous", "no-contact"]
    {
        world.event(&[("event", "request-ended"), ("reason", reason)]).await;
    }
    for reason in ["frozen", "unknown"] {
        world.event(&[("event", "request-ended"), ("reason", reason)]).await;
    }
    // Her day's message, and the one that still goes out after it.
    assert!(world.smtp().messages_to("grace@example.org").len() <= 2);
}

async fn p3_a_request_is_answered_alike_in_every_form() {
    let world = World::start().await;
    let mut answers = Vec::new();
    for login in
        ["ada", "nobody", "ADA", "ada@example.org", "nobody@example.org", "*", "a*", "ada)(uid=*", r"\2a", "' or 1=1"]
    {
        answers.push((login, hook(&world, &json!({"login": login, "locale": "cy", "client_ip": "192.0.2.7"})).await));
    }
    alike(&answers);
    // Whoever is asked for in another way is still one person, and nobody is found by a pattern.
    world.smtp().wait_for_mail_to("ada@example.org", 1).await;
    assert!(world.smtp().messages().iter().all(|message| message.to == ["ada@example.org"]));
}

async fn t16_a_mail_server_that_fails_changes_no_answer() {
    let world = World::start().await;
    let before = hook(&world, &json!({"login": "ada"})).await;
    world.smtp().wait_for_mail_to("ada@example.org", 1).await;
    world.smtp().fail(Step::RcptTo, Fault::Reply("550 5.1.1 nobody"));
    let mut answers = vec![("before", before), ("refused", hook(&world, &json!({"login": "grace"})).await)];
    world.smtp().close().await;
    answers.push(("down", hook(&world, &json!({"login": "zoë"})).await));
    alike(&answers);
    world.leaves_mail_behind();
}

async fn t17_what_comes_after_a_request_is_alike_too() {
    let world = World::start().await;
    world.reaches_the_directory().await;
    let mut answers = Vec::new();
    for login in ["ada", "nobody"] {
        page(&world, login).await;
        let mut next = Vec::new();
        for path in ["/forgot", "/healthz", "/readyz", "/nowhere"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", world.address());
            next.extend(masked(&world.door().raw(request.as_bytes()).await));
        }
        answers.push((login, next));
    }
    alike(&answers);
}

async fn t19_the_pace_of_a_source_does_not_depend_on_the_account() {
    let mut answers = Vec::new();
    for login in ["ada", "nobody"] {
        let world = World::builder().set("policy.paces.source", r#""3 in 1h""#).start().await;
        let mut statuses = Vec::new();
        for _ in 0..5 {
            let answer = hook(&world, &json!({"login": login, "client_ip": "192.0.2.7"})).await;
            statuses.extend(answer[..12].to_vec());
        }
        answers.push((login, statuses));
        // Somebody else is not held up.
        let other = hook(&world, &json!({"login": login, "client_ip": "192.0.2.8"})).await;
        assert!(other.starts_with(b"HTTP/1.1 202 "), "{}", String::from_utf8_lossy(&other));
    }
    assert_eq!(String::from_utf8_lossy(&answers[0].1).matches(" 429").count(), 2);
    alike(&answers);
}

async fn t20_links_that_do_not_work_are_all_alike() {
    let world = World::start().await;
    let used = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&used, "seven violet teapots orbit").await;
    let void = world.forgets_and_gets_link("grace").await;
    world.slapd().set(&world.dn("grace"), "mail", &["other@example.org"]).await;
    world.sets_password(&void, "seven violet teapots orbit").await;
    let token = used.rsplit_once('/').expect("a token").1;
    let unknown = format!("/r/{}", token.chars().rev().collect::<String>());
    let odd = "/r/x".to_owned();
    let mut answers = Vec::new();
    for (name, link) in [("used", &used), ("void", &void), ("unknown", &unknown), ("odd", &odd)] {
        let request = format!("GET {link} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", world.address());
        answers.push((name, masked(&world.door().raw(request.as_bytes()).await)));
    }
    alike(&answers);
    let mut answers = Vec::new();
    for (name, link) in [("used", &used), ("void", &void), ("unknown", &unknown), ("odd", &odd)] {
        let body = json!({"ticket": link.rsplit_once('/').expect("a token").1});
        answers.push((name, call(&world, "/v1/ticket", &body).await));
    }
    alike(&answers);
    assert!(answers[0].1.starts_with(b"HTTP/1.1 410 "), "{}", String::from_utf8_lossy(&answers[0].1));
}

/// Every byte of the page's answer, but for what has to differ.
async fn page(world: &World, login: &str) -> Vec<u8> {
    let page = world.door().get("/forgot").await;
    let hidden = page.hidden_fields();
    let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let body = form(&hidden.chain([("login", login)]).collect::<Vec<_>>());
    let cookies = page.cookies();
    let cookies = if cookies.is_empty() { cookies } else { format!("Cookie: {cookies}\r\n") };
    let request = format!(
        "POST /forgot HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{cookies}\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        world.address(),
        body.len()
    );
    masked(&world.door().raw(request.as_bytes()).await)
}

async fn hook(world: &World, body: &serde_json::Value) -> Vec<u8> {
    call(world, "/v1/recovery", body).await
}

async fn call(world: &World, path: &str, body: &serde_json::Value) -> Vec<u8> {
    let (key, body) = (world.hook_key(), body.to_string());
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        world.address(),
        body.len()
    );
    masked(&world.door().raw(request.as_bytes()).await)
}

/// The bytes without the moment, and without the handle, which is fresh each time. Its length stays.
fn masked(answer: &[u8]) -> Vec<u8> {
    let date = Regex::new("\r\n[Dd]ate: [^\r]*").expect("a pattern");
    let handle = Regex::new(r#""request":"[0-9A-Za-z_-]{30}""#).expect("a pattern");
    let nonce = Regex::new(r#"value="[0-9A-Za-z_-]{22,64}""#).expect("a pattern");
    let answer = date.replace_all(answer, &b"\r\nDate: #"[..]);
    let answer = handle.replace_all(&answer, &br##""request":"#""##[..]);
    nonce.replace_all(&answer, &br##"value="#""##[..]).into_owned()
}

fn alike(answers: &[(&str, Vec<u8>)]) {
    let (first, expected) = &answers[0];
    for (name, answer) in answers {
        let (answer, expected) = (String::from_utf8_lossy(answer), String::from_utf8_lossy(expected));
        assert_eq!(answer, expected, "{name} is not answered like {first}");
    }
}
