//! The hook: who may call, what is taken, and what comes back.

use hyper::{Method, body::Bytes};
use rekeyd_tests::{branch::PASSWORD, http::Answer, tests, world::World, world_config::key_hash};
use serde_json::{Value, json};

tests! {
    async fn t1_a_call_takes_one_scalar_of_each_known_name;
    async fn t19_sign_ins_have_a_pace_per_source;
    async fn t64_an_empty_password_lets_nobody_in;
    async fn t97_a_client_is_known_by_its_key_and_limited_to_its_scopes;
    async fn t99_a_stolen_key_of_a_login_page_gets_no_password_set;
    async fn hook_keys_overlap_while_one_takes_over_from_the_other;
    async fn hook_problems_are_those_of_rfc_9457;
    async fn hook_sign_in_says_who_it_is_and_never_why_not;
    async fn hook_the_openapi_document_knows_every_call;
    async fn hook_the_whole_story_without_a_page;
}

const NEW: &str = "seven violet teapots orbit";
const CALLS: [&str; 4] = ["/v1/recovery", "/v1/ticket", "/v1/password", "/v1/sign-in"];

async fn hook_the_whole_story_without_a_page() {
    let world = World::start().await;
    let accepted = world.hook("/v1/recovery", &json!({"login": "ada", "channel": "email", "locale": "cy"})).await;
    assert_eq!(accepted.status, 202);
    let body = accepted.json();
    assert!(body["request"].as_str().is_some_and(|handle| handle.len() == 30), "{body}");
    assert!(body["expires_in"].as_u64() > Some(0), "{body}");
    let link = world.link("ada@example.org", 1).await;
    let token = link.trim_start_matches("/r/");
    let ticket = world.hook("/v1/ticket", &json!({"ticket": token})).await;
    assert_eq!(ticket.status, 200, "{}", ticket.text());
    let body = ticket.json();
    assert_eq!(body["purpose"], "reset");
    assert!(body["rules"]["min_length"].as_u64() == Some(12), "{body}");
    assert!(body["rules"]["words"].as_array().is_some_and(|words| !words.is_empty()), "{body}");
    world.secret(NEW);
    let set = world.hook("/v1/password", &json!({"ticket": token, "password": NEW})).await;
    assert_eq!((set.status.as_u16(), set.body.len()), (204, 0), "{}", set.text());
    assert!(world.binds("ada", NEW).await);
    problem(&world.hook("/v1/ticket", &json!({"ticket": token})).await, 410);
    problem(&world.hook("/v1/password", &json!({"ticket": token, "password": NEW})).await, 410);
}

async fn hook_sign_in_says_who_it_is_and_never_why_not() {
    let world = World::start().await;
    let granted = world.signs_in("ADA@example.org", PASSWORD).await;
    assert_eq!(granted.status, 200, "{}", granted.text());
    let body = granted.json();
    assert_eq!((body["outcome"].as_str(), body["login"].as_str()), (Some("granted"), Some("ada")), "{body}");
    let id = world.slapd().attribute(&world.dn("ada"), "entryUUID").await.expect("an id");
    assert_eq!((body["account"].as_str(), body["directory"].as_str()), (Some(id.as_str()), Some("main")));
    let wrong = world.signs_in("ada", "not the password").await;
    assert_eq!(wrong.status, 401);
    for login in ["nobody", "turing", "hopper", "twin", "noether"] {
        let denied = world.signs_in(login, PASSWORD).await;
        assert_eq!((denied.status, denied.text()), (wrong.status, wrong.text()), "{login}");
    }
}

async fn t64_an_empty_password_lets_nobody_in() {
    let world = World::start().await;
    for password in ["", " ", "\0", "\u{ad}", "\0correct"] {
        let answer = world.signs_in("ada", password).await;
        assert!([400, 401].contains(&answer.status.as_u16()), "{password:?}: {}", answer.text());
    }
    // None of the impossible ones came as far as the directory, where they would count as failures.
    let failures = world.slapd().values(&world.dn("ada"), "pwdFailureTime").await;
    assert!(failures.len() <= 2, "{failures:?}");
}

async fn t97_a_client_is_known_by_its_key_and_limited_to_its_scopes() {
    let world = World::builder().set("http.client.scopes", r#"["recovery"]"#).start().await;
    let right = world.hook_key().to_owned();
    for path in CALLS {
        let body = json!({"login": "ada"});
        let (none, wrong) =
            (world.door().post_json(path, None, &body).await, world.door().post_json(path, Some("x"), &body).await);
        problem(&none, 401);
        assert_eq!((none.status, none.text()), (wrong.status, wrong.text()), "{path}");
        assert!(none.header("www-authenticate").starts_with("Bearer"), "{path}");
        let cut = &right[..right.len() - 1];
        problem(&world.door().post_json(path, Some(cut), &body).await, 401);
        problem(&world.door().post_json(path, Some(&key_hash(&right)), &body).await, 401);
    }
    problem(&world.hook("/v1/sign-in", &json!({"login": "ada", "password": PASSWORD})).await, 403);
    problem(&world.hook("/v1/ticket", &json!({"ticket": "x"})).await, 403);
    problem(&world.hook("/v1/password", &json!({"ticket": "x", "password": "y"})).await, 403);
    assert_eq!(world.hook("/v1/recovery", &json!({"login": "nobody"})).await.status, 202);
    let twice = [("authorization", format!("Bearer {right}")), ("authorization", "Bearer x".to_owned())];
    let twice = twice.each_ref().map(|(name, value)| (*name, value.as_str()));
    let headers = [&twice[..], &[("content-type", "application/json")]].concat();
    let answer = world.door().send(Method::POST, "/v1/recovery", &headers, "{\"login\":\"ada\"}".into()).await;
    problem(&answer, 401);
}

async fn t99_a_stolen_key_of_a_login_page_gets_no_password_set() {
    let world = World::start().await;
    for more in ["to", "recipient", "email", "address", "url", "link", "redirect", "template", "purpose", "expires_in"]
    {
        let mut body = json!({"login": "ada"});
        body[more] = "x@evil.example".into();
        problem(&world.hook("/v1/recovery", &body).await, 400);
    }
    problem(&world.hook("/v1/recovery", &json!({"login": "ada", "channel": "pigeon"})).await, 400);
    let handle = world.hook("/v1/recovery", &json!({"login": "ada"})).await.json()["request"].clone();
    world.link("ada@example.org", 1).await;
    problem(&world.hook("/v1/ticket", &json!({"ticket": handle})).await, 410);
    problem(&world.hook("/v1/password", &json!({"ticket": handle, "password": NEW})).await, 410);
    assert!(world.writes("ada").await.is_empty());
}

async fn t1_a_call_takes_one_scalar_of_each_known_name() {
    let world = World::start().await;
    let key = format!("Bearer {}", world.hook_key());
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    for body in [
        r#"{"login":["ada","x@evil.example"]}"#,
        r#"{"login":{"0":"ada"}}"#,
        r#"{"login":7}"#,
        r#"{"login":null}"#,
        r#"{"login":true}"#,
        r#"{"login":"ada","login":"grace"}"#,
        r#"{"login":"ada","logins":["grace"]}"#,
        r#"{"Login":"ada"}"#,
        "{}",
        "[]",
        r#"["ada"]"#,
        r#""ada""#,
        r#"{"login":"ada"} {"login":"grace"}"#,
        r#"{"login":"ada","client_ip":"everywhere"}"#,
        r#"{"login":"ada","client_ip":["192.0.2.7"]}"#,
        r#"{"login":"ada","locale":"../../etc"}"#,
        "login=ada",
        "",
        "\u{feff}{\"login\":\"ada\"}",
        "{\"login\":\"\\ud800\"}",
    ] {
        let answer = world.door().send(Method::POST, "/v1/recovery", &headers, Bytes::from(body.to_owned())).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    let deep = format!("{}{}", "[".repeat(9000), "]".repeat(5000));
    problem(&world.door().send(Method::POST, "/v1/recovery", &headers, deep.into()).await, 400);
    for login in [" ", "\0", "a\nb"] {
        let answer = world.hook("/v1/recovery", &json!({"login": login})).await;
        assert!([400, 422].contains(&answer.status.as_u16()), "{login:?}: {}", answer.status);
    }
    for body in [
        json!({"login": "ada", "password": ["a", "b"]}),
        json!({"login": "ada", "password": PASSWORD, "admin": true}),
        json!({"login": "ada"}),
    ] {
        problem(&world.hook("/v1/sign-in", &body).await, 400);
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", ""] {
        let headers = [("authorization", key.as_str()), ("content-type", kind)];
        let answer = world.door().send(Method::POST, "/v1/recovery", &headers, "{\"login\":\"ada\"}".into()).await;
        assert_eq!(answer.status, 415, "{kind}");
    }
    assert!(world.smtp().messages().is_empty());
    assert!(world.audit().is_empty(), "{:?}", world.audit());
}

async fn t19_sign_ins_have_a_pace_per_source() {
    let world = World::builder().set("policy.paces.sign_in", r#""3 in 1h""#).start().await;
    let from = |ip: &'static str, login: &'static str| {
        let body = json!({"login": login, "password": "not the password", "client_ip": ip});
        let world = &world;
        async move { world.hook("/v1/sign-in", &body).await }
    };
    for _ in 0..3 {
        assert_eq!(from("192.0.2.7", "nobody").await.status, 401);
    }
    let (known, unknown) = (from("192.0.2.7", "ada").await, from("192.0.2.7", "nobody").await);
    assert_eq!((known.status.as_u16(), unknown.status.as_u16()), (429, 429));
    assert!(known.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
    assert_eq!(from("192.0.2.8", "nobody").await.status, 401);
}

async fn hook_keys_overlap_while_one_takes_over_from_the_other() {
    let world = World::start().await;
    let hashes = format!("[{:?}, {:?}]", key_hash(world.hook_key()), key_hash("the-next-key"));
    world.set("http.client.key_hashes", &hashes);
    world.reload().await;
    let body = json!({"login": "nobody"});
    for key in [world.hook_key(), "the-next-key"] {
        assert_eq!(world.door().post_json("/v1/recovery", Some(key), &body).await.status, 202);
    }
    world.set("http.client.key_hashes", &format!("[{:?}]", key_hash("the-next-key")));
    world.reload().await;
    assert_eq!(world.hook("/v1/recovery", &body).await.status, 401);
    assert_eq!(world.door().post_json("/v1/recovery", Some("the-next-key"), &body).await.status, 202);
}

async fn hook_problems_are_those_of_rfc_9457() {
    let world = World::start().await;
    problem(&world.hook("/v1/nowhere", &json!({})).await, 404);
    problem(&world.door().get("/v1/recovery").await, 405);
    assert_eq!(world.door().get("/v1/recovery").await.header("allow"), "POST");
    let weak = world.forgets_and_gets_link("ada").await;
    let body = json!({"ticket": weak.trim_start_matches("/r/"), "password": "password"});
    let answer = world.hook("/v1/password", &body).await;
    problem(&answer, 422);
    let violations = answer.json()["violations"].clone();
    let first = &violations[0];
    assert!(first["code"].is_string() && first["text"].as_str().is_some_and(|text| text.len() > 10), "{violations}");
    assert!(!answer.text().contains("\"password\":"), "{}", answer.text());
}

async fn hook_the_openapi_document_knows_every_call() {
    let world = World::start().await;
    let answer = world.door().get("/v1/openapi.json").await;
    assert_eq!(answer.status, 200);
    let document = answer.json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{}", document["openapi"]);
    for path in CALLS {
        assert!(document["paths"][path]["post"]["responses"].is_object(), "{path}");
    }
}

/// Checks that an answer is a problem with this status.
fn problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text());
    let body: Value = answer.json();
    assert_eq!(body["status"].as_u64(), Some(status.into()), "{body}");
    for field in ["type", "title", "detail"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "no {field} in {body}");
    }
}
