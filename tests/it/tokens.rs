//! Links and the requests behind them: what is merged, what is void, what is frozen, and what a restore ends.

use std::{fs, os::unix::process::ExitStatusExt, time::Duration};

use nix::sys::signal::Signal;
use rekeyd_tests::{
    acts::{address, is_set},
    branch::PASSWORD,
    http::encode,
    procfs, tests,
    world::World,
};
use serde_json::json;

tests! {
    async fn t25_a_daemon_that_crashes_leaves_no_core;
    async fn p4_not_me_needs_the_login_and_a_person;
    async fn p4_not_me_voids_links_and_freezes_until_it_is_lifted;
    async fn p4_a_restored_copy_of_the_store_voids_its_links;
    async fn p4_a_declared_restore_voids_all_links;
    async fn t25_the_database_holds_no_token;
    async fn t28_a_newer_request_and_a_new_password_void_older_links;
    async fn t29_a_repeated_request_sends_the_same_link_again;
    async fn t29_the_pace_of_an_account_is_silent_and_never_shuts_its_person_out;
    async fn t29_sending_again_counts_to_the_pace_of_the_account;
    async fn t30_odd_tokens_open_nothing;
    async fn t5_every_address_of_a_person_gets_a_link_of_its_own;
    async fn t31_the_page_of_a_link_tells_nobody_of_it;
    async fn t36_a_used_link_stays_used_after_a_crash;
    async fn t2_the_message_goes_to_the_address_that_the_directory_has;
    async fn t10_an_odd_address_gets_nothing;
}

const NEW: &str = "seven violet teapots orbit";
const OTHER: &str = "nine copper kettles in a row";

async fn t28_a_newer_request_and_a_new_password_void_older_links() {
    let world = World::builder().set("policy.lives.merge", r#""1s""#).start().await;
    let mut links = Vec::new();
    for _ in 0..3 {
        links.push(world.forgets_and_gets_link("ada").await);
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    for old in &links[..2] {
        assert_eq!(world.door().get(old).await.status, 410, "an older link opens");
        assert!(!is_set(&world.sets_password(old, OTHER).await));
    }
    world.surely_sets_password(&links[2], NEW).await;

    let link = world.link_after("grace", 0).await;
    world.slapd().change_own_password(&world.dn("grace"), PASSWORD, OTHER).await;
    assert!(!is_set(&world.sets_password(&link, NEW).await));
    assert!(world.binds("grace", OTHER).await);
}

async fn t29_a_repeated_request_sends_the_same_link_again() {
    let world = World::builder().set("policy.paces.resend", r#""1 in 2s""#).start().await;
    let link = world.forgets_and_gets_link("ada").await;
    for _ in 0..3 {
        world.forgets("ada").await;
    }
    let row = world.event(&[("event", "request-merged")]).await;
    assert!(row["account"].is_string(), "{row}");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    world.forgets("ada").await;
    let messages = world.smtp().wait_for_mail_to("ada@example.org", 2).await;
    assert_eq!(messages[0].link("/r/"), messages[1].link("/r/"), "another link was sent");
    // The first link works to the end, however often somebody else asks.
    world.forgets("ada").await;
    world.surely_sets_password(&link, NEW).await;
}

async fn t29_the_pace_of_an_account_is_silent_and_never_shuts_its_person_out() {
    let world = World::builder()
        .set("policy.lives.merge", r#""1s""#)
        .set("policy.paces.account", r#""100 in 1d""#)
        .set("policy.paces.account_day", r#""2 in 1d""#)
        .set("policy.paces.account_spent", r#""1 in 1d""#)
        .start()
        .await;
    for count in 1..=5 {
        let answer = world.forgets("ada").await;
        assert_eq!(answer.status, 202, "request {count}");
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    // Two within the budget, and one that still goes out after it.
    assert_eq!(world.smtp().wait_for_mail_to("ada@example.org", 3).await.len(), 3);
    let link = world.link("ada@example.org", 3).await;
    world.surely_sets_password(&link, NEW).await;
}

async fn t29_sending_again_counts_to_the_pace_of_the_account() {
    let world = World::builder()
        .set("policy.paces.resend", r#""100 in 1s""#)
        .set("policy.paces.account", r#""2 in 1d""#)
        .set("policy.paces.account_day", r#""2 in 1d""#)
        .set("policy.paces.account_spent", r#""1 in 1d""#)
        .start()
        .await;
    let link = world.forgets_and_gets_link("ada").await;
    for _ in 0..8 {
        assert_eq!(world.forgets("ada").await.status, 202);
    }
    world.all_is_sent().await;
    let messages = world.smtp().messages_to("ada@example.org");
    assert!((2..=3).contains(&messages.len()), "{} messages", messages.len());
    world.surely_sets_password(&link, NEW).await;
}

async fn t5_every_address_of_a_person_gets_a_link_of_its_own() {
    let world = World::start().await;
    world.slapd().set(&world.dn("ada"), "mail", &["ada@example.org", "lovelace@example.org"]).await;
    world.forgets("ada").await;
    let links = [world.link("ada@example.org", 1).await, world.link("lovelace@example.org", 1).await];
    assert_ne!(links[0], links[1]);
    world.surely_sets_password(&links[1], NEW).await;
    assert_eq!(world.door().get(&links[0]).await.status, 410, "the other link still opens");
    for address in ["ada@example.org", "lovelace@example.org"] {
        assert_eq!(world.smtp().wait_for_mail_to(address, 2).await.len(), 2, "{address} is not told");
    }
}

async fn t30_odd_tokens_open_nothing() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    let token = link.trim_start_matches("/r/");
    let swapped: String =
        token.chars().map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect();
    let odd = [
        "null".to_owned(),
        "[]".to_owned(),
        "0".to_owned(),
        token[1..].to_owned(),
        format!("{token}A"),
        format!("{token}="),
        format!("{token}\n"),
        format!("{token}\0"),
        format!(" {token}"),
        "A".repeat(48),
        "A".repeat(1500),
        swapped,
        token.chars().rev().collect(),
    ];
    for text in &odd {
        let path = format!("/r/{}", encode(text));
        assert_eq!(world.door().get(&path).await.status, 410, "{text:?}");
        let fields = [("password", NEW), ("confirm", NEW)];
        assert_eq!(world.door().post_form(&path, &fields).await.status, 410, "{text:?}");
        assert_eq!(world.hook("/v1/ticket", &json!({"ticket": text})).await.status, 410, "{text:?}");
        let body = json!({"ticket": text, "password": NEW});
        assert_eq!(world.hook("/v1/password", &body).await.status, 410, "{text:?}");
    }
    for nothing in [json!({"ticket": null}), json!({"ticket": []}), json!({"ticket": 7}), json!({})] {
        assert_eq!(world.hook("/v1/ticket", &nothing).await.status, 400, "{nothing}");
    }
    world.surely_sets_password(&link, NEW).await;
}

async fn t31_the_page_of_a_link_tells_nobody_of_it() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    let page = world.door().get(&link).await;
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert!(page.header("cache-control").contains("no-store"));
    let html = page.text();
    assert!(!html.contains(link.trim_start_matches("/r/")) || html.contains(&format!("action=\"{link}\"")), "{html}");
    for from_elsewhere in ["src=\"http", "href=\"http", "url(http", "@import", "<script", "<iframe", "<img"] {
        assert!(!html.contains(from_elsewhere), "{from_elsewhere} in {html}");
    }
    assert!(html.contains("autocomplete=\"new-password\""), "{html}");
}

async fn t25_the_database_holds_no_token() {
    let world = World::start().await;
    world.forgets_and_gets_link("ada").await;
    // The world's end looks for the token, and for everything typed, in every file of the state folder.
    world.secret("ada@example.org");
    assert!(fs::metadata(world.database()).expect("the database").len() > 0);
}

async fn t36_a_used_link_stays_used_after_a_crash() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, NEW).await;
    world.kill9();
    world.restart().await;
    assert_eq!(world.door().get(&link).await.status, 410);
    assert!(!is_set(&world.sets_password(&link, OTHER).await));
    assert!(world.binds("ada", NEW).await);
}

async fn p4_not_me_voids_links_and_freezes_until_it_is_lifted() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    let not_me = world.not_me_link("ada@example.org", 1).await;
    let answer = world.door().fill_form(&not_me, &[("login", "Ada")]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(world.door().get(&link).await.status, 410, "the link still opens");
    assert!(!is_set(&world.sets_password(&link, NEW).await));
    // No self-service, no operator's link; signing in and a replacement by hand go on.
    world.forgets("ada").await;
    world.event(&[("event", "request-ended"), ("reason", "frozen")]).await;
    assert!(world.sends_code("ada").code != 0);
    assert_eq!(world.signs_in("ada", PASSWORD).await.status, 200);
    let explained = world.asks(&["explain", "ada"]);
    assert_eq!(explained["reason"]["code"], "frozen", "{explained}");

    let thawed = world.asks(&["thaw", "ada", "--reason", "it was her"]);
    assert_eq!(thawed["thawed"], true);
    let link = world.link_after("ada", 1).await;
    world.surely_sets_password(&link, NEW).await;
    // The notice of the change carries the same way out.
    let not_me = world.not_me_link("ada@example.org", 3).await;
    assert_eq!(world.door().fill_form(&not_me, &[("login", "ada")]).await.status, 200);
    assert_eq!(world.asks(&["explain", "ada"])["reason"]["code"], "frozen");
}

async fn p4_not_me_needs_the_login_and_a_person() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    let not_me = world.not_me_link("ada@example.org", 1).await;
    for _ in 0..20 {
        assert_eq!(world.door().get(&not_me).await.status, 200);
    }
    for wrong in ["", "grace", "ada@example.org "] {
        let answer = world.door().fill_form(&not_me, &[("login", wrong)]).await;
        assert_eq!(answer.status, 422, "{wrong:?}: {}", answer.text());
        assert!(!answer.text().contains("value=\"ada\""), "the page helps along");
    }
    world.surely_sets_password(&link, NEW).await;
}

async fn p4_a_restored_copy_of_the_store_voids_its_links() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    assert!(world.stop().success());
    let copy = world.folder().join("copy");
    copy_folder(&world.state(), &copy);
    world.restart().await;
    let later = world.forgets_and_gets_link("grace").await;
    world.surely_sets_password(&link, NEW).await;
    world.smtp().wait_for_mail_to("ada@example.org", 2).await;
    assert!(world.stop().success());
    // Yesterday's backup comes back: the used link would be fresh again.
    fs::remove_dir_all(world.state()).expect("an empty place");
    copy_folder(&copy, &world.state());
    fs::remove_dir_all(&copy).expect("an empty place");
    world.restart().await;
    assert_eq!(world.door().get(&link).await.status, 410, "a used link came back from the copy");
    assert!(!is_set(&world.sets_password(&link, OTHER).await) && !is_set(&world.sets_password(&later, OTHER).await));
    assert!(world.binds("ada", NEW).await);
    // Life goes on.
    let again = world.link_after("ada", 2).await;
    world.surely_sets_password(&again, OTHER).await;
}

async fn p4_a_declared_restore_voids_all_links() {
    let world = World::start().await;
    let links = [world.forgets_and_gets_link("ada").await, world.forgets_and_gets_link("grace").await];
    let told = world.asks(&["restored", "--yes", "--reason", "restored from last night"]);
    assert!(told["voided"].as_u64() >= Some(2), "{told}");
    for link in &links {
        assert_eq!(world.door().get(link).await.status, 410);
    }
    world.event(&[("event", "restored"), ("reason", "restored from last night")]).await;
    assert!(world.writes("ada").await.is_empty());
}

async fn t2_the_message_goes_to_the_address_that_the_directory_has() {
    let world = World::start().await;
    world.slapd().set(&world.dn("ada"), "mail", &["Ada.Lovelace@example.org"]).await;
    world.forgets("ADA.lovelace@EXAMPLE.org").await;
    world.smtp().wait_for_mail_to("Ada.Lovelace@example.org", 1).await;
    for alike in ["ada.lovelace@ехample.org", "ada.lovelace@example.org.", "ada.lovelace@example.org,x@example.org"] {
        world.forgets(alike).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.smtp().messages().len(), 1);
}

async fn t10_an_odd_address_gets_nothing() {
    let world = World::start().await;
    for odd in ["<x@evil.example>ada@example.org", "ada@example.org,x@evil.example", "\"a b\"@example.org", "ada"] {
        world.slapd().set(&world.dn("ada"), "mail", &[odd]).await;
        world.forgets("ada").await;
        world.event(&[("event", "request-ended"), ("reason", "no-contact")]).await;
    }
    assert!(world.smtp().messages().is_empty());
    assert!(world.smtp().messages_to(&address("ada")).is_empty());
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir(to).expect("a new folder");
    fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("permissions");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

async fn t25_a_daemon_that_crashes_leaves_no_core() {
    for signal in [Signal::SIGABRT, Signal::SIGQUIT] {
        let world = World::builder().prepare().await;
        // The most generous limit there can be: it is the daemon that wants none.
        world.launch_under(&["/usr/bin/prlimit", "--core=unlimited:unlimited", "--"], &[]);
        assert!(world.becomes_ready().await, "{}", world.log());
        let link = world.forgets_and_gets_link("ada").await;
        world.leaves_mail_behind();
        let limits = procfs::text(world.pid(), "limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
        assert!(core.split_whitespace().filter(|word| *word == "0").count() == 2, "{core}");
        world.signal(signal);
        let ended = world.ends();
        assert_eq!((ended.signal(), ended.core_dumped()), (Some(signal as i32), false), "{ended}");
        world.restart().await;
        world.surely_sets_password(&link, "seven violet teapots orbit").await;
    }
}
