//! P5: what was accepted is kept, whatever ends in between, and a password is written once.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rekeyd_tests::{
    acts::{is_set, until},
    branch::PASSWORD,
    process::free_port,
    proxy::{Fate, Proxy},
    slapd::{SERVICE_PASSWORD, Slapd, Variant},
    smtp::{Fault, Step},
    tests,
    world::World,
    world_config::Way,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

tests! {
    async fn p5_a_directory_that_is_down_loses_no_request;
    async fn p5_a_mail_server_that_is_down_loses_no_message;
    async fn p5_a_message_that_nobody_takes_is_given_up_and_said_so;
    async fn p5_a_stop_leaves_what_waits_for_the_next_start;
    async fn t43_a_write_whose_answer_is_lost_is_settled;
    async fn t43_a_write_that_never_arrived_leaves_the_link;
    async fn p5_the_next_smart_host_takes_what_the_first_does_not;
    async fn t65_a_server_without_tls_is_told_no_password;
    async fn t67_nobody_follows_a_referral;
    async fn t69_a_directory_that_hangs_holds_nobody_for_long;
    async fn t69_the_next_server_answers_when_one_is_down;
}

const NEW: &str = "seven violet teapots orbit";

async fn p5_a_mail_server_that_is_down_loses_no_message() {
    let world = World::start().await;
    world.smtp().close().await;
    assert_eq!(world.hook("/v1/recovery", &json!({"login": "ada"})).await.status, 202);
    until("a message waits", async || {
        world.asks(&["outbox"])["notices"]
            .as_array()
            .is_some_and(|rows| rows.iter().any(|row| row["attempts"].as_u64() > Some(0)))
    })
    .await;
    world.smtp().open().await;
    let link = world.link("ada@example.org", 1).await;
    world.surely_sets_password(&link, NEW).await;
}

async fn p5_a_directory_that_is_down_loses_no_request() {
    let slapd = Slapd::fresh(Variant::Policy).await;
    let world = World::builder().slapd(&slapd).start().await;
    slapd.stop();
    for login in ["ada", "nobody"] {
        assert_eq!(world.hook("/v1/recovery", &json!({"login": login})).await.status, 202, "{login}");
    }
    assert_eq!(world.door().get("/readyz").await.status, 200, "not ready while the directory is down");
    assert_eq!(world.signs_in("ada", PASSWORD).await.status, 503);
    slapd.start().await;
    let link = world.link("ada@example.org", 1).await;
    world.event(&[("event", "request-ended"), ("reason", "not-found")]).await;
    slapd.stop();
    let answer = world.sets_password(&link, NEW).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    slapd.start().await;
    until("the directory answers again", async || is_set(&world.sets_password(&link, NEW).await)).await;
    assert_eq!(world.writes("ada").await.len(), 1);
}

async fn p5_a_message_that_nobody_takes_is_given_up_and_said_so() {
    let world = World::start().await;
    world.smtp().fail(Step::RcptTo, Fault::Reply("550 5.1.1 nobody here"));
    world.forgets("ada").await;
    let row = world.event(&[("event", "notice-failed")]).await;
    assert!(!row.to_string().contains("ada@example.org"), "{row}");
    assert!(world.smtp().messages().is_empty());
}

async fn p5_a_stop_leaves_what_waits_for_the_next_start() {
    let world = World::start().await;
    world.smtp().close().await;
    for login in ["ada", "grace", "zoë"] {
        world.forgets(login).await;
    }
    assert!(world.stop().success());
    world.smtp().open().await;
    world.restart().await;
    world.smtp().wait_for(3).await;
}

async fn t43_a_write_whose_answer_is_lost_is_settled() {
    let (world, proxy) = behind_a_proxy().await;
    let link = world.forgets_and_gets_link("ada").await;
    proxy.next_write(Fate::LoseAnswer);
    let answer = world.sets_password(&link, NEW).await;
    assert!(is_set(&answer) || answer.status == 202, "{} {}", answer.status, answer.text());
    world.event(&[("event", "password-set")]).await;
    assert!(world.binds("ada", NEW).await && !is_set(&world.sets_password(&link, PASSWORD).await));
    let written: Vec<_> =
        world.writes("ada").await.into_iter().filter(rekeyd_tests::slapd::Write::sets_password).collect();
    assert_eq!(written.len(), 1, "{written:?}");
}

async fn t43_a_write_that_never_arrived_leaves_the_link() {
    let (world, proxy) = behind_a_proxy().await;
    let link = world.forgets_and_gets_link("ada").await;
    proxy.next_write(Fate::LoseRequest);
    let answer = world.sets_password(&link, NEW).await;
    if !is_set(&answer) {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(world.binds("ada", PASSWORD).await);
        world.surely_sets_password(&link, NEW).await;
    }
    assert!(world.binds("ada", NEW).await && world.writes("ada").await.len() == 1);
}

async fn t69_a_directory_that_hangs_holds_nobody_for_long() {
    let slapd = Slapd::fresh(Variant::Policy).await;
    let world = World::builder().slapd(&slapd).start().await;
    let link = world.forgets_and_gets_link("ada").await;
    slapd.freeze();
    let start = std::time::Instant::now();
    let (sign_in, set) = tokio::join!(world.signs_in("grace", PASSWORD), world.sets_password(&link, NEW));
    assert_eq!(sign_in.status, 503, "{}", sign_in.text());
    assert!([202, 503].contains(&set.status.as_u16()), "{} {}", set.status, set.text());
    assert_eq!(world.hook("/v1/recovery", &json!({"login": "grace"})).await.status, 202);
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    slapd.thaw();
    world.smtp().wait_for_mail_to("grace@example.org", 1).await;
}

async fn t69_the_next_server_answers_when_one_is_down() {
    let slapd = Slapd::shared(Variant::Policy).await;
    let dead = format!("ldaps://127.0.0.1:{}", free_port());
    let world = World::builder().slapd(&slapd).prepare().await;
    world.set("directory.urls", &format!("[{dead:?}, {:?}]", slapd.tls_uri()));
    world.restart().await;
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, NEW).await;
    assert_eq!(world.signs_in("ada", NEW).await.status, 200);
}

async fn p5_the_next_smart_host_takes_what_the_first_does_not() {
    let world = World::builder().prepare().await;
    let hosts = format!("[\"localhost:{}\", \"localhost:{}\"]", free_port(), world.smtp().port());
    world.set("channel.hosts", &hosts);
    world.restart().await;
    world.forgets_and_gets_link("ada").await;
    assert_eq!(world.smtp().messages().len(), 1);
}

async fn t65_a_server_without_tls_is_told_no_password() {
    let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ldap://localhost:{}", server.local_addr().expect("an address").port());
    let world = World::builder().way(Way::StartTls).prepare().await;
    world.set("directory.urls", &format!("[{url:?}]"));
    let heard = Arc::new(Mutex::new(Vec::new()));
    // Whatever is asked of it, it says that it has no TLS, and goes on listening.
    let listening = tokio::spawn({
        let heard = Arc::clone(&heard);
        async move {
            while let Ok((mut client, _)) = server.accept().await {
                let heard = Arc::clone(&heard);
                tokio::spawn(async move {
                    let mut bytes = [0; 4096];
                    while let Ok(length @ 1..) = client.read(&mut bytes).await {
                        heard.lock().expect("the bytes").extend_from_slice(&bytes[..length]);
                        // ExtendedResponse to message 1: unavailable.
                        let refusal = [0x30, 0x0c, 0x02, 0x01, 0x01, 0x78, 0x07, 0x0a, 0x01, 0x34, 0x04, 0, 0x04, 0];
                        if client.write_all(&refusal).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    world.restart().await;
    assert_eq!(world.signs_in("ada", PASSWORD).await.status, 503);
    world.leaves_mail_behind();
    let heard = heard.lock().expect("the bytes").clone();
    let text = String::from_utf8_lossy(&heard);
    assert!(text.contains("1.3.6.1.4.1.1466.20037"), "nobody asked for TLS");
    assert!(!text.contains(SERVICE_PASSWORD) && !text.contains("cn=rekeyd") && !text.contains(PASSWORD));
    listening.abort();
}

async fn t67_nobody_follows_a_referral() {
    let rogue = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let world = World::start().await;
    let target = format!("ldap://{}/dc=evil,dc=example??sub", rogue.local_addr().expect("an address"));
    let dn = format!("cn=far,{}", world.branch().base());
    let referral =
        [("objectClass", "referral"), ("objectClass", "extensibleObject"), ("cn", "far"), ("ref", target.as_str())];
    world.slapd().add(&dn, &referral).await;
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, NEW).await;
    world.forgets("far").await;
    world.event(&[("event", "request-ended"), ("reason", "not-found")]).await;
    let call = tokio::time::timeout(Duration::from_millis(100), rogue.accept()).await;
    assert!(call.is_err(), "somebody has followed the referral");
}

/// A world whose daemon goes through a proxy, so that a test can stop a write on its way.
async fn behind_a_proxy() -> (World, Proxy) {
    let slapd = Slapd::shared(Variant::Policy).await;
    let proxy = Proxy::start(&slapd.uri()).await;
    (World::builder().slapd(&slapd).way(Way::Clear(Some(proxy.uri()))).start().await, proxy)
}
