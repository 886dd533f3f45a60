//! Who rekeyd is in a directory: an account for operators' passwords beside its own, and passwords of its own that change while
//! it runs. And where a password goes from the server that took it.

use std::sync::Arc;

use rekeyd_tests::{
    acts::until,
    builder::write_secret,
    estate::{Estate, Product, door},
    process::free_port,
    proxy::{Kind, Proxy},
    situations::Door,
    slapd::{self, Slapd, Variant, Write},
    tests,
    world::World,
    world_config::Way,
};

tests! {
    async fn r6_a_changed_bind_password_is_read_again;
    async fn r6_a_password_is_followed_to_the_other_server;
    async fn t70_operators_passwords_go_by_an_account_of_their_own;
}

const NEW: &str = "Vj4Zk9Wq2XyQ7Bn6";
const OTHER: &str = "Hn8Rw3Tz5LpK6Dc9";

/// The directory gets the new password before the file does: rekeyd is shut out, says so, and is let in again by itself.
async fn r6_a_changed_bind_password_is_read_again() {
    let estate = Arc::new(Estate::claim(Product::ActiveDirectory).await);
    estate.make("active").await;
    let proxy = Proxy::start(&estate.uri()).await;
    let world = World::builder()
        .estate(&estate)
        .set("directory.urls", &format!("[{:?}]", proxy.uri()))
        .set("directory.ca_file", "")
        .set("directory.clear_text_on_loopback", "true")
        .set("directory.cool_down", "\"200ms\"")
        .start()
        .await;
    world.reaches_the_directory().await;
    let bind = "Another-Bind-Pw-4711";
    world.secret(bind);
    let file = world.folder().join("secrets").join("bind");
    estate.give_password(estate.service(), bind).await;
    proxy.seen();
    proxy.cut();
    world.sees_fault("refused").await;
    until("it was tried again", async || world.log().matches("event=directory-failed").count() > 2).await;
    // The directory counts wrong passwords of rekeyd's account as it does everybody's: the old one is not sent again and again.
    let binds = proxy.seen().iter().filter(|kind| **kind == Kind::Bind).count();
    assert_eq!(binds, 1);
    write_secret(&file, bind);
    world.sees_its_end("refused").await;
    let link = world.forgets_and_gets_link(&estate.login_of("active")).await;
    world.surely_sets_password(&link, NEW).await;
    let answer = estate.bind(&estate.dn_of("active"), NEW).await;
    assert_eq!(door(Product::ActiveDirectory, &answer), Door::Open, "{answer:?}");
}

/// The person's own reset goes by rekeyd's account, an operator's by the other one.
async fn t70_operators_passwords_go_by_an_account_of_their_own() {
    let slapd = Slapd::shared(Variant::Policy).await;
    let world = World::builder().slapd(&slapd).set("directory.operator_bind_dn", &format!("{:?}", slapd::ADMIN));
    let world = world.prepare().await;
    let file = world.folder().join("secrets").join("operators");
    write_secret(&file, slapd::ADMIN_PASSWORD);
    world.set("directory.operator_bind_password_file", &format!("{:?}", file.display().to_string()));
    world.revive().await;
    let by_service = async |login: &str| -> Vec<bool> {
        let writes = slapd.writes(&world.dn(login)).await;
        writes.iter().filter(|write| Write::sets_password(write)).map(Write::is_by_service).collect()
    };
    let before = by_service("ada").await.len();
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, NEW).await;
    assert_eq!(by_service("ada").await.split_off(before), [true]);
    world.secret(OTHER);
    let told = world.rekeyctl(&["set-password", "ada", "--reason", "at the desk"], &format!("{OTHER}\n"));
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(by_service("ada").await.split_off(before), [true, false]);
    assert!(world.binds("ada", OTHER).await);
    assert!(!world.log().contains(slapd::ADMIN_PASSWORD));
}

/// Two servers that copy from each other: how long the copy took stands in the log, and nothing is wrong.
async fn r6_a_password_is_followed_to_the_other_server() {
    let slapds = Slapd::pair(Variant::Policy).await;
    let urls = format!("[{:?}, {:?}]", slapds[0].uri(), slapds[1].uri());
    let builder = World::builder().slapd(&slapds[0]).way(Way::Clear(None)).set("directory.urls", &urls);
    let world = builder.prepare().await;
    until("both hold the same people", async || slapds[1].holds(&world.dn("grace")).await).await;
    world.moves_to(free_port());
    world.revive().await;
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, NEW).await;
    until("the password has arrived", async || world.log().contains("event=password-arrived")).await;
    assert!(slapds[1].binds(&world.dn("ada"), NEW).await);
    assert_eq!(world.flaws(), Vec::<serde_json::Value>::new());
}
