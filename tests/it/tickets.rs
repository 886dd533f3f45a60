//! P4: a ticket works once, for one purpose, one account, one address, one password, a limited time.

use std::sync::Arc;

use hyper::{Method, body::Bytes};
use rekeyd_tests::{
    acts::{address, is_set},
    branch::PASSWORD,
    http::Answer,
    slapd::{Slapd, Variant},
    tests,
    world::World,
};
use rusqlite::Connection;
use serde_json::json;

tests! {
    async fn p4_a_policy_that_refuses_does_not_use_it_up;
    async fn p4_a_repeat_of_the_same_form_sees_the_same_result;
    async fn p4_a_ticket_dies_with_what_it_was_made_for;
    async fn p4_opening_a_link_changes_nothing;
    async fn p4_twenty_at_once_are_one_write;
    async fn t7_an_account_that_was_made_again_is_another_one;
    async fn t8_the_account_comes_from_the_ticket_alone;
    async fn t9_a_token_of_one_purpose_opens_nothing_of_another;
    async fn t26_a_ticket_works_once;
    async fn t27_a_ticket_that_expires_between_look_and_set_is_gone;
    async fn t40_requests_at_the_same_time_do_not_mix_people;
    async fn t73_a_password_arrives_as_it_was_typed;
}

const NEW: &str = "seven violet teapots orbit";
const OTHER: &str = "nine copper kettles in a row";

async fn t26_a_ticket_works_once() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, NEW).await;
    assert!(!is_set(&world.sets_password(&link, OTHER).await));
    let token = link.rsplit_once('/').expect("a token").1;
    let answer = world.hook("/v1/password", &json!({"ticket": token, "password": OTHER})).await;
    assert_eq!(answer.status, 410, "{}", answer.text());
    assert!(world.binds("ada", NEW).await && world.writes("ada").await.len() == 1);
}

async fn p4_a_ticket_dies_with_what_it_was_made_for() {
    let slapd = Slapd::shared(Variant::Policy).await;
    for what in ["newer-password", "contact-changed", "renamed", "not-found"] {
        let world = World::builder().slapd(&slapd).start().await;
        let (dn, link) = (world.dn("ada"), world.forgets_and_gets_link("ada").await);
        match what {
            "newer-password" => slapd.change_own_password(&dn, PASSWORD, OTHER).await,
            "contact-changed" => slapd.set(&dn, "mail", &["thief@example.org"]).await,
            "renamed" => slapd.rename(&dn, "uid=ada.lovelace", None).await,
            _ => slapd.delete(&dn).await,
        }
        let answer = world.sets_password(&link, NEW).await;
        assert!(!is_set(&answer), "{what}: {}", answer.text());
        world.event(&[("event", "ticket-refused"), ("reason", what)]).await;
        assert!(world.slapd().service_writes(world.branch().base()).await.is_empty(), "{what}: something was written");
    }
}

async fn t7_an_account_that_was_made_again_is_another_one() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    world.slapd().delete(&world.dn("ada")).await;
    world.branch().add_person("ada", OTHER).await;
    assert!(!is_set(&world.sets_password(&link, NEW).await));
    assert!(world.binds("ada", OTHER).await && !world.binds("ada", NEW).await);
}

async fn t8_the_account_comes_from_the_ticket_alone() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    for field in ["login", "account", "uid", "ticket"] {
        let answer = world.door().fill_form(&link, &[("password", NEW), ("confirm", NEW), (field, "grace")]).await;
        assert_eq!(answer.status, 400, "{field}: {}", answer.text());
        let token = link.rsplit_once('/').expect("a token").1;
        let mut body = json!({"ticket": token, "password": NEW});
        if field != "ticket" {
            body[field] = "grace".into();
            assert_eq!(world.hook("/v1/password", &body).await.status, 400, "{field}");
        }
    }
    assert!(world.binds("ada", PASSWORD).await && world.binds("grace", PASSWORD).await);
    world.surely_sets_password(&link, NEW).await;
}

async fn t9_a_token_of_one_purpose_opens_nothing_of_another() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    let token = link.trim_start_matches("/r/").to_owned();
    let not_me = world.not_me_link("ada@example.org", 1).await.trim_start_matches("/not-me/").to_owned();
    assert_ne!(token, not_me);
    assert!(!is_set(&world.sets_password(&format!("/r/{not_me}"), NEW).await));
    world.door().post_form(&format!("/not-me/{token}"), &[("login", "ada")]).await;
    for (path, body) in
        [("/v1/ticket", json!({"ticket": not_me})), ("/v1/password", json!({"ticket": not_me, "password": NEW}))]
    {
        assert_eq!(world.hook(path, &body).await.status, 410, "{path}");
    }
    assert!(world.writes("ada").await.is_empty());
    world.surely_sets_password(&link, NEW).await;
}

async fn t27_a_ticket_that_expires_between_look_and_set_is_gone() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    let page = world.door().get(&link).await;
    assert!(page.status.is_success());
    world.stop();
    let database = Connection::open(world.database()).expect("the database");
    database.execute("UPDATE tickets SET expires = 1000, ends = 1000", []).expect("a change");
    drop(database);
    world.restart().await;
    let hidden = page.hidden_fields();
    let hidden: Vec<_> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let fields = [&hidden[..], &[("password", NEW), ("confirm", NEW)]].concat();
    let answer = world.door().post_form(&link, &fields).await;
    assert!(!is_set(&answer) && world.writes("ada").await.is_empty(), "{}", answer.text());
    assert!(world.door().get(&link).await.status.is_client_error());
}

async fn p4_opening_a_link_changes_nothing() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    world.all_is_sent().await;
    let rows = world.audit().len();
    for count in 0..100 {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            let answer = world.door().send(method.clone(), &link, &[], Bytes::new()).await;
            let expected = if method == Method::OPTIONS { 405 } else { 200 };
            assert_eq!(answer.status, expected, "{method} {count}");
        }
    }
    // Some scanners send the form as it stands.
    assert!(world.door().fill_form(&link, &[]).await.status.is_client_error());
    assert!(world.door().fill_form(&link, &[("password", ""), ("confirm", "")]).await.status.is_client_error());
    assert_eq!(world.audit().len(), rows);
    assert!(world.writes("ada").await.is_empty());
    world.surely_sets_password(&link, NEW).await;
}

async fn p4_a_policy_that_refuses_does_not_use_it_up() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    let token = link.rsplit_once('/').expect("a token").1;
    // Our own rules say no, and why; then the server's, by its history.
    for weak in ["q9-Zx7", "password1234", "adaadaadaada"] {
        let answer = world.sets_password(&link, weak).await;
        assert_eq!(answer.status, 422, "{weak}: {}", answer.text());
        assert!(!answer.text().contains(weak), "the password is shown again");
        let answer = world.hook("/v1/password", &json!({"ticket": token, "password": weak})).await;
        assert!(answer.status == 422 && !answer.json()["violations"].as_array().expect("a list").is_empty(), "{weak}");
    }
    let mismatch = world.door().fill_form(&link, &[("password", NEW), ("confirm", OTHER)]).await;
    assert_eq!(mismatch.status, 422, "{}", mismatch.text());
    assert!(world.writes("ada").await.is_empty(), "a weak password came as far as the directory");
    let answer = world.hook("/v1/password", &json!({"ticket": token, "password": PASSWORD})).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("rejected-in-history"), "{}", answer.text());
    let answer = world.sets_password(&link, PASSWORD).await;
    assert!(answer.status == 422 && answer.text().contains("had this password before"), "{}", answer.text());
    world.event(&[("event", "password-rejected"), ("reason", "in-history")]).await;
    world.surely_sets_password(&link, NEW).await;
}

async fn p4_a_repeat_of_the_same_form_sees_the_same_result() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    let page = world.door().get(&link).await;
    let hidden = page.hidden_fields();
    let hidden: Vec<_> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let fields = [&hidden[..], &[("password", NEW), ("confirm", NEW)]].concat();
    let cookies = page.cookies();
    let headers = if cookies.is_empty() { vec![] } else { vec![("cookie", cookies.as_str())] };
    world.secret(NEW);
    let door = world.door();
    let (first, second) =
        tokio::join!(door.post_form_with(&link, &headers, &fields), door.post_form_with(&link, &headers, &fields));
    let third = world.door().post_form_with(&link, &headers, &fields).await;
    assert!(is_set(&third), "{}", third.text());
    let seen = |answer: &Answer| (answer.status, answer.header("location").to_owned(), answer.text());
    assert!(is_set(&first) && is_set(&second), "{:?} {:?}", seen(&first), seen(&second));
    assert_eq!(seen(&first), seen(&third));
    assert_eq!(world.writes("ada").await.len(), 1);
    assert_eq!(world.smtp().wait_for_mail_to("ada@example.org", 2).await.len(), 2, "a second notice went out");
}

async fn p4_twenty_at_once_are_one_write() {
    let world = Arc::new(World::start().await);
    let link = world.forgets_and_gets_link("ada").await;
    let token = link.rsplit_once('/').expect("a token").1.to_owned();
    let tries = (0..20).map(|number| {
        let (world, token) = (Arc::clone(&world), token.clone());
        tokio::spawn(async move {
            let password = format!("{NEW} {number}");
            world.secret(&password);
            let answer = world.hook("/v1/password", &json!({"ticket": token, "password": password})).await;
            (answer.status.as_u16(), password)
        })
    });
    let mut winners = Vec::new();
    for answer in tries.collect::<Vec<_>>() {
        let (status, password) = answer.await.expect("a try");
        match status {
            204 => winners.push(password),
            other => assert_eq!(other, 410),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert!(world.binds("ada", &winners[0]).await);
    assert_eq!(world.writes("ada").await.len(), 1);
}

async fn t40_requests_at_the_same_time_do_not_mix_people() {
    let world = Arc::new(World::start().await);
    let logins: Vec<_> = (0..12).map(|number| format!("person{number}")).collect();
    for login in &logins {
        world.branch().add_person(login, PASSWORD).await;
    }
    let asks = logins.iter().map(|login| {
        let (world, login) = (Arc::clone(&world), login.clone());
        tokio::spawn(async move { world.forgets(&login).await.status })
    });
    for ask in asks.collect::<Vec<_>>() {
        assert!(!ask.await.expect("a request").is_client_error());
    }
    for login in &logins {
        let link = world.link(&address(login), 1).await;
        let opened = world.hook("/v1/ticket", &json!({"ticket": link.rsplit_once('/').expect("a token").1})).await;
        assert!(world.door().get(&link).await.text().contains(login.as_str()), "{login} got somebody else's link");
        assert_eq!(opened.status, 200);
    }
}

async fn t73_a_password_arrives_as_it_was_typed() {
    let world = World::builder().shared(Variant::Bare).start().await;
    let long = format!("{OTHER} {}", "élan vital ".repeat(20));
    for (login, typed) in
        [("ada", " spaces before and after "), ("grace", "Ünïcödé & <tags> + 100% 🫖"), ("zoë", &long)]
    {
        let link = world.forgets_and_gets_link(login).await;
        world.surely_sets_password(&link, typed).await;
        assert!(world.binds(login, typed).await, "{typed:?} was changed on its way");
    }
    // The same text in its taken-apart form is the same password.
    let link = world.forgets_and_gets_link("loop").await;
    world.surely_sets_password(&link, "cafe\u{301} au lait a\u{300} minuit").await;
    assert!(world.binds("loop", "caf\u{e9} au lait \u{e0} minuit").await);
    assert_eq!(world.signs_in("loop", "cafe\u{301} au lait a\u{300} minuit").await.status, 200);
}
