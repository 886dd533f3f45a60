//! What happens at the same moment: to one ticket, to one account, to two people.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rekeyd_tests::{
    acts::{address, until},
    branch::PASSWORD,
    builder::Builder,
    clients::Clients,
    http::form,
    invariants,
    ledger::Heard,
    proxy::{Fate, Proxy},
    slapd::{Slapd, Variant},
    tests,
    volley::Volley,
    world::World,
    world_config::Way,
};
use serde_json::json;

tests! {
    async fn t39_fifty_at_once_are_one_write_two_hundred_times;
    async fn t40_two_people_at_once_get_each_their_own_link;
    async fn t39_a_new_request_at_the_same_moment_makes_no_second_write;
    async fn t39_not_me_at_the_same_moment_leaves_no_doubt;
    async fn t39_an_operator_at_the_same_moment_leaves_one_password;
    async fn t41_whoever_changes_between_the_look_and_the_write_is_not_written;
    async fn t46_two_hundred_repeats_of_one_form_are_one_write;
}

const NEW: &str = "seven violet teapots orbit";

async fn t39_fifty_at_once_are_one_write_two_hundred_times() {
    let (clients, logins) = crowd(World::builder(), "p", 200).await;
    let world = &clients.world;
    let headers = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", world.hook_key());
    let mut volley = Volley::open(world.address(), 50).await;
    for login in &logins {
        let token = token(&clients, login);
        let passwords: Vec<_> = (0..50).map(|number| format!("{NEW} {number}")).collect();
        let attempts: Vec<_> = passwords.iter().map(|password| clients.ledger.begins(login, password)).collect();
        let bodies: Vec<_> =
            passwords.iter().map(|password| json!({"ticket": token, "password": password}).to_string()).collect();
        let answers = volley.post("/v1/password", &headers, &bodies).await;
        for ((status, _), attempt) in answers.iter().zip(attempts) {
            clients.ledger.ends(login, attempt, if *status == 204 { Heard::Done } else { Heard::NotDone });
        }
        let mut statuses: Vec<_> = answers.iter().map(|(status, _)| *status).collect();
        statuses.sort_unstable();
        assert!(statuses[0] == 204 && statuses[1..].iter().all(|status| *status == 410), "{login}: {statuses:?}");
        clients.ledger.dead(login, [token]);
    }
    // The checker finds the one password that the winner was told, and one write for each ticket.
    holds(&clients).await;
    let writes = written(&clients).await;
    assert!(writes.len() == 200 && writes.values().all(|count| *count == 1), "{writes:?}");
}

async fn t46_two_hundred_repeats_of_one_form_are_one_write() {
    let builder = World::builder().set("http.limits.max_connections_per_source", "300");
    let (clients, _) = crowd(builder, "ada", 1).await;
    let world = &clients.world;
    let token = token(&clients, "ada");
    let page = world.door().get(&format!("/r/{token}")).await;
    let nonce = page.hidden_fields().into_iter().find(|(name, _)| name == "nonce").expect("a nonce").1;
    let body = form(&[("nonce", &nonce), ("password", NEW), ("confirm", NEW)]);
    let attempt = clients.ledger.begins("ada", NEW);
    let mut volley = Volley::open(world.address(), 200).await;
    let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
    let answers = volley.post(&format!("/r/{token}"), headers, &vec![body; 200]).await;
    clients.ledger.ends("ada", attempt, Heard::Done);
    assert!(answers.iter().all(|(status, page)| *status == 200 && *page == answers[0].1), "{answers:?}");
    holds(&clients).await;
    assert_eq!(world.writes("ada").await.len(), 1);
    assert_eq!(world.smtp().messages_to("ada@example.org").len(), 2, "a second notice went out");
}

async fn t40_two_people_at_once_get_each_their_own_link() {
    let (clients, logins) = people(World::builder(), "p", 200).await;
    for pair in logins.chunks(2) {
        let (one, other) = tokio::join!(clients.forgets(&pair[0]), clients.forgets(&pair[1]));
        assert!(one.expect("an answer") == 202 && other.expect("an answer") == 202);
    }
    for login in &logins {
        clients.world.smtp().wait_for_mail_to(&address(login), 1).await;
    }
    // Each link sets the password of whoever got it, and of nobody else.
    for login in &logins {
        let tokens = clients.tokens(login, "/r/");
        assert_eq!(tokens.len(), 1);
        let status = clients.sets(login, &tokens[0], &format!("{NEW} of {login}")).await;
        assert_eq!(status.expect("an answer"), 204);
    }
    holds(&clients).await;
    assert!(written(&clients).await.values().all(|count| *count == 1));
}

async fn t39_a_new_request_at_the_same_moment_makes_no_second_write() {
    let builder = World::builder().set("policy.lives.merge", r#""1s""#);
    let (clients, logins) = crowd(builder, "p", 30).await;
    // From now on another request makes another ticket, and that voids the one before.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut set = 0;
    for (number, login) in logins.iter().enumerate() {
        let old = token(&clients, login);
        let (status, asked) = together(number, clients.sets(login, &old, NEW), clients.forgets(login)).await;
        assert_eq!(asked.expect("an answer"), 202);
        match status.expect("an answer").as_u16() {
            204 => set += 1,
            other => assert_eq!(other, 410, "{login}"),
        }
    }
    holds(&clients).await;
    assert_eq!(written(&clients).await.values().sum::<usize>(), set);
    assert!(set > 0, "the request was always first");
    for login in &logins {
        let news = clients.sets(login, &token(&clients, login), &format!("{NEW} again")).await.expect("an answer");
        // Void where it was made for the password before.
        assert!([204, 410].contains(&news.as_u16()), "{news}");
    }
    holds(&clients).await;
}

async fn t39_not_me_at_the_same_moment_leaves_no_doubt() {
    let (clients, logins) = crowd(World::builder(), "p", 30).await;
    let mut set = 0;
    for (number, login) in logins.iter().enumerate() {
        let (link, not_me) = (token(&clients, login), clients.tokens(login, "/not-me/").pop().expect("a link"));
        let (status, denied) = together(number, clients.sets(login, &link, NEW), clients.denies(login, &not_me)).await;
        assert_eq!(denied.expect("an answer"), 200, "{login}");
        match status.expect("an answer").as_u16() {
            204 => set += 1,
            other => assert!([403, 410].contains(&other), "{login}: {other}"),
        }
        // Whoever was first: nobody sets anything by a link now.
        assert_eq!(clients.sets(login, &link, &format!("{NEW} later")).await.expect("an answer"), 410);
        assert_eq!(clients.world.asks(&["explain", login])["reason"]["code"], "frozen");
    }
    holds(&clients).await;
    assert_eq!(written(&clients).await.values().sum::<usize>(), set);
    assert!(set > 0 && set < logins.len(), "one was always first: {set}");
}

async fn t39_an_operator_at_the_same_moment_leaves_one_password() {
    let (clients, logins) = crowd(World::builder(), "p", 30).await;
    let mut writes = 0;
    for (number, login) in logins.iter().enumerate() {
        let link = token(&clients, login);
        let replacement = format!("{NEW} by an operator");
        let (status, replaced) =
            together(number, clients.sets(login, &link, NEW), clients.replaces(login, &replacement)).await;
        let statuses = [status.expect("an answer").as_u16(), replaced.expect("an answer").as_u16()];
        assert!([204, 403, 410].contains(&statuses[0]) && statuses[1] == 200, "{login}: {statuses:?}");
        writes += if statuses[0] == 204 { 2 } else { 1 };
        assert_eq!(clients.sets(login, &link, &format!("{NEW} later")).await.expect("an answer"), 410);
        // The operator may have been first only where the link did nothing.
        if statuses[0] != 204 {
            assert_eq!(clients.ledger.passwords(login), [replacement]);
        }
    }
    holds(&clients).await;
    assert_eq!(written(&clients).await.values().sum::<usize>(), writes);
}

/// What becomes of an account between the daemon's look and its write.
const CHANGES: [(&str, &str, &str); 6] = [
    ("locked", "pwdAccountLockedTime", "000001010000Z"),
    ("expired", "pwdEndTime", "20251231000000Z"),
    ("not-yet-valid", "pwdStartTime", "20991231000000Z"),
    ("marked", "employeeType", "disabled"),
    ("newer-password", "", ""),
    ("made-again", "", ""),
];

async fn t41_whoever_changes_between_the_look_and_the_write_is_not_written() {
    let slapd = Slapd::shared(Variant::Policy).await;
    let proxy = Proxy::start(&slapd.uri()).await;
    let builder = World::builder()
        .slapd(&slapd)
        .way(Way::Clear(Some(proxy.uri())))
        .set("directory.markers.disabled", r#"["employeeType=disabled"]"#);
    let (clients, logins) = crowd(builder, "p", CHANGES.len()).await;
    for ((what, attribute, value), login) in CHANGES.iter().zip(&logins) {
        let (dn, link) = (clients.world.dn(login), token(&clients, login));
        proxy.next_write(Fate::HoldRequest);
        let call = {
            let (clients, login, link) = (clients.clone(), login.clone(), link.clone());
            tokio::spawn(async move { clients.sets(&login, &link, NEW).await })
        };
        // The daemon has looked, judged, and sent its write.
        proxy.stopped().await;
        match *what {
            "newer-password" => {
                slapd.change_own_password(&dn, PASSWORD, "nine copper kettles in a row").await;
                clients.ledger.changed_elsewhere(login, "nine copper kettles in a row");
            }
            "made-again" => {
                slapd.delete(&dn).await;
                clients.world.branch().add_person(login, PASSWORD).await;
            }
            _ => slapd.set(&dn, attribute, &[value]).await,
        }
        proxy.release();
        let status = call.await.expect("a call").expect("an answer");
        assert_eq!(status, 403, "{what}");
        clients.world.event(&[("event", "ticket-refused"), ("reason", "changed-meanwhile")]).await;
        let writes = clients.world.writes(login).await;
        // The server itself refused it: the assertion failed (122).
        assert!(writes.iter().all(|write| write.result == 122), "{what}: {writes:?}");
        assert_eq!(clients.sets(login, &link, NEW).await.expect("an answer"), 410, "{what}");
    }
    holds(&clients).await;
    assert!(written(&clients).await.is_empty());
}

/// Both at once, one of them a little later by turns.
async fn together<A, B>(round: usize, one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    let late =
        |turn: usize| Duration::from_millis(if round % 2 == turn { u64::try_from(round / 2).unwrap_or(0) } else { 0 });
    tokio::join!(
        async {
            tokio::time::sleep(late(0)).await;
            one.await
        },
        async {
            tokio::time::sleep(late(1)).await;
            other.await
        }
    )
}

/// A world with so many people, who may ask as often as they like.
async fn people(builder: Builder, name: &str, count: usize) -> (Clients, Vec<String>) {
    let wide = r#""100000 in 1d""#;
    let builder = ["account", "account_day", "source", "client", "resend"]
        .iter()
        .fold(builder, |builder, pace| builder.set(&format!("policy.paces.{pace}"), wide));
    let world = Arc::new(builder.start().await);
    let logins: Vec<_> = match count {
        1 => vec![name.to_owned()],
        _ => (0..count).map(|number| format!("{name}{number:03}")).collect(),
    };
    let known: Vec<_> = logins.iter().map(String::as_str).collect();
    for login in logins.iter().filter(|_| count > 1) {
        world.branch().add_person(login, PASSWORD).await;
    }
    (Clients::of(&world, &known), logins)
}

/// A world with so many people, each of whom has a link.
async fn crowd(builder: Builder, name: &str, count: usize) -> (Clients, Vec<String>) {
    let (clients, logins) = people(builder, name, count).await;
    for login in &logins {
        assert_eq!(clients.forgets(login).await.expect("an answer"), 202);
    }
    until("everybody has a link", async || clients.world.smtp().messages().len() == count).await;
    clients.world.all_is_sent().await;
    (clients, logins)
}

fn token(clients: &Clients, login: &str) -> String {
    clients.tokens(login, "/r/").pop().expect("a link")
}

/// How often each password was written.
async fn written(clients: &Clients) -> BTreeMap<String, usize> {
    let mut written = BTreeMap::new();
    for write in clients.world.slapd().service_writes(clients.world.branch().base()).await {
        if write.sets_password() {
            *written.entry(write.dn).or_default() += 1;
        }
    }
    written
}

async fn holds(clients: &Clients) {
    let violations = invariants::check(&clients.world, &clients.ledger).await;
    assert!(violations.is_empty(), "{violations:#?}");
}
