//! The pages in a real browser that runs no scripts.

use rekeyd_tests::{branch::PASSWORD, browser::Browser, tests, world::World};

tests! {
    async fn s2_1_a_browser_without_scripts_is_enough;
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
