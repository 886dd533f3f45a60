//! The pages in a real browser that runs no scripts.

use regex::Regex;
use rekeyd_tests::{branch::PASSWORD, browser::Browser, http::Answer, tests, world::World};

tests! {
    async fn s2_1_a_browser_without_scripts_is_enough;
    async fn s2_1_the_pages_say_what_people_need;
}

const NEW: &str = "seven violet teapots orbit";

async fn s2_1_a_browser_without_scripts_is_enough() {
    let world = World::start().await;
    world.secret(NEW);
    let browser = Browser::start().await;
    browser.open(&world.url("/.well-known/change-password")).await;
    assert_eq!(browser.url().await, world.url("/forgot"));
    assert!(browser.text("body").await.contains("Example University"));

    browser.fill("input[name=login]", "ada").await;
    browser.submit().await;
    let sent = browser.text("main").await;
    assert!(!sent.contains("ada") && !browser.has("form").await, "{sent}");

    let link = world.link("ada@example.org", 1).await;
    browser.open(&world.url(&link)).await;
    assert!(browser.has("input[readonly][value=ada]").await, "the page does not say whose password this is");
    // A password that is too weak: the page says why, keeps nothing of it, and the link goes on working.
    set(&browser, "password").await;
    let form = browser.text("main").await;
    assert!(form.contains("12 characters"), "{form}");
    assert!(browser.has("[aria-invalid=true]").await, "no field is marked");
    assert!(world.binds("ada", PASSWORD).await);
    // Two that differ; then a good one.
    browser.fill("input[name=password]", NEW).await;
    browser.fill("input[name=confirm]", PASSWORD).await;
    browser.submit().await;
    assert!(browser.has("form").await, "{}", browser.text("main").await);
    set(&browser, NEW).await;
    let done = browser.text("main").await;
    assert!(!browser.has("input[name=password]").await, "{done}");
    assert!(world.binds("ada", NEW).await && !world.binds("ada", PASSWORD).await);

    browser.open(&world.url(&link)).await;
    assert!(!browser.has("input[name=password]").await, "a used link opens");
    let not_me = world.not_me_link("ada@example.org", 2).await;
    browser.open(&world.url(&not_me)).await;
    browser.fill("input[name=login]", "ada").await;
    browser.submit().await;
    assert!(!browser.has("input[name=login]").await, "{}", browser.text("main").await);
    assert_eq!(world.asks(&["explain", "ada"])["reason"]["code"], "frozen");
}

async fn set(browser: &Browser, password: &str) {
    browser.fill("input[name=password]", password).await;
    browser.fill("input[name=confirm]", password).await;
    browser.submit().await;
}

/// The words of every page, kept beside this file: whoever changes a page sees here what people will read.
async fn s2_1_the_pages_say_what_people_need() {
    let world = World::start().await;
    let door = world.door();
    let mut pages = vec![
        ("forgot", door.get("/forgot").await),
        ("forgot-empty", door.post_form("/forgot", &[("login", "")]).await),
        ("sent", world.forgets("ada").await),
    ];
    let link = world.link("ada@example.org", 1).await;
    let not_me = world.not_me_link("ada@example.org", 1).await;
    // Only what is known to be delivered has an end that can be told.
    world.all_is_sent().await;
    pages.extend([
        ("reset", door.get(&link).await),
        ("reset-weak", world.sets_password(&link, "password1234").await),
        ("reset-differs", door.fill_form(&link, &[("password", NEW), ("confirm", PASSWORD)]).await),
        ("reset-rejected", world.sets_password(&link, PASSWORD).await),
        ("done", world.sets_password(&link, NEW).await),
        ("gone", door.get(&link).await),
        ("not-me", door.get(&not_me).await),
        ("not-me-mismatch", door.fill_form(&not_me, &[("login", "grace")]).await),
        ("not-me-done", door.fill_form(&not_me, &[("login", "ada")]).await),
        ("not-me-gone", door.get("/not-me/x").await),
        ("not-found", door.get("/nowhere").await),
    ]);
    world.sends_code("noether");
    let activation = world.link("noether@example.org", 1).await;
    world.all_is_sent().await;
    pages.push(("activation", door.get(&activation).await));
    let link = world.forgets_and_gets_link("grace").await;
    world.slapd().set(&world.dn("grace"), "pwdEndTime", &["20251231000000Z"]).await;
    pages.push(("refused", world.sets_password(&link, NEW).await));
    let pages: Vec<_> =
        pages.iter().map(|(name, page)| format!("=== {name}: {}\n{}", page.status, words(page))).collect();
    insta::assert_snapshot!("pages", pages.join("\n\n"));
}

/// What a person reads, a line for each block, with fields in brackets and what differs each time left out.
fn words(page: &Answer) -> String {
    let replace = |pattern: &str, text: &str, by: &str| {
        Regex::new(pattern).expect("a pattern").replace_all(text, by).into_owned()
    };
    let html = page.text();
    let body = html.split_once("<body>").map_or(html.as_str(), |(_, body)| body);
    let text = replace(r#"<input[^>]*type="hidden"[^>]*>"#, body, "");
    let text = replace(r#"<input[^>]*name="([^"]*)"[^>]*>"#, &text, "[$1]");
    let text = replace(r"</?(?:strong|em|a|b|code)\b[^>]*>", &text, "");
    let text = replace(r"<[^>]*>", &text, "\n");
    let text = replace(r"reference:? [0-9A-Za-z_-]{8}", &text, "reference ########");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}
