//! The crash table of one reset (B2): the daemon is killed at each of its points, and what the table promises is there.
//!
//! Point 8 speaks of SMS, which is not there yet; its place has the nearest thing, a mail whose answer was lost.

use std::{sync::Arc, time::Duration};

use rekeyd_tests::{
    acts::until,
    books::{Books, Notice},
    builder::Builder,
    clients::Clients,
    invariants,
    killer::{ForeignLock, kill_at_the_next, tracer},
    process::free_port,
    proxy::{Fate, Proxy},
    slapd::{Slapd, Variant},
    smtp::{Fault, Step},
    tests,
    world::World,
    world_config::Way,
};
use rusqlite::Connection;
use tokio::task::JoinHandle;

tests! {
    async fn b2_01_a_request_that_is_not_committed_leaves_nothing;
    async fn b2_02_a_request_that_is_committed_and_not_answered_is_kept;
    async fn b2_03_a_request_in_hand_is_taken_up_again;
    async fn b2_04_a_link_that_nobody_began_to_send_is_sent;
    async fn b2_05_a_message_that_was_being_sent_is_sent;
    async fn b2_06_a_message_whose_answer_was_cut_off_comes_again_as_the_same;
    async fn b2_07_a_message_whose_answer_was_not_committed_comes_again_as_the_same;
    async fn b2_08_a_message_of_unknown_fate_is_not_repeated_at_once;
    async fn b2_09_a_crash_before_the_write_frees_the_ticket;
    async fn b2_10_a_crash_before_the_writes_answer_uses_the_ticket_up;
    async fn b2_11_a_crash_after_the_writes_answer_uses_the_ticket_up;
    async fn b2_12_a_repeat_after_a_crash_sees_the_same_result;
    async fn b2_13_a_notice_that_waits_is_sent_after_a_restart;
}

const NEW: &str = "seven violet teapots orbit";
const OTHER: &str = "nine copper kettles in a row";
/// By these the daemon answers its clients.
const SENDS: &str = "sendto,writev";
const ADA: &str = "ada@example.org";

async fn b2_01_a_request_that_is_not_committed_leaves_nothing() {
    let clients = start(World::builder()).await;
    let lock = ForeignLock::take(&clients.world.database());
    let call = forgets(&clients);
    // Later it would be the same: nothing can be committed before the lock is given back.
    tokio::time::sleep(Duration::from_millis(300)).await;
    clients.kill();
    assert!(!call.await.expect("a call"), "a request that was not committed was answered");
    drop(lock);
    clients.world.revive().await;
    assert!(books(&clients).requests.is_empty());
    holds(&clients).await;
    assert!(clients.world.smtp().messages().is_empty());
    works(&clients).await;
}

async fn b2_02_a_request_that_is_committed_and_not_answered_is_kept() {
    // With no directory and no mail server to talk to, the first thing it sends is the answer.
    let slapd = Slapd::shared(Variant::Policy).await;
    let world = World::builder().slapd(&slapd).way(Way::Clear(None)).prepare().await;
    world.set("directory.urls", &format!("[\"ldap://127.0.0.1:{}\"]", free_port()));
    let clients = Clients::of(&Arc::new(world), &["ada"]);
    let tracer = tracer(SENDS, 1);
    let tracer: Vec<_> = tracer.iter().map(String::as_str).collect();
    clients.world.launch_under(&tracer, &[]);
    until("the daemon is ready", async || clients.world.log().contains("event=ready")).await;
    assert_eq!(clients.forgets("ada").await, None, "the request was answered");
    clients.world.ends();
    clients.ledger.crashed();
    let kept = books(&clients).requests;
    assert!(kept.len() == 1 && kept.values().all(|request| request.state == "waiting"), "{kept:?}");
    clients.world.set("directory.urls", &format!("[{:?}]", slapd.uri()));
    clients.world.revive().await;
    clients.world.smtp().wait_for_mail_to(ADA, 1).await;
    assert_eq!(clients.forgets("ada").await.expect("an answer"), 202);
    holds(&clients).await;
    let mut tokens = clients.tokens("ada", "/r/");
    assert!((1..=2).contains(&tokens.len()), "{} messages", tokens.len());
    tokens.dedup();
    assert_eq!(tokens.len(), 1, "the repeat got another link");
    works(&clients).await;
}

async fn b2_03_a_request_in_hand_is_taken_up_again() {
    let slapd = Slapd::fresh(Variant::Policy).await;
    let clients = start(World::builder().slapd(&slapd)).await;
    clients.world.reaches_the_directory().await;
    slapd.freeze();
    assert_eq!(clients.forgets("ada").await.expect("an answer"), 202);
    until("a worker has the request in hand", async || {
        books(&clients).requests.values().any(|request| request.is_leased)
    })
    .await;
    clients.kill();
    slapd.thaw();
    clients.world.revive().await;
    clients.world.smtp().wait_for_mail_to(ADA, 1).await;
    holds(&clients).await;
    assert_eq!(clients.world.smtp().messages().len(), 1);
    works(&clients).await;
}

async fn b2_04_a_link_that_nobody_began_to_send_is_sent() {
    sends_once_when_stopped_at(Step::Connect).await;
}

async fn b2_05_a_message_that_was_being_sent_is_sent() {
    sends_once_when_stopped_at(Step::Data).await;
}

/// The mail server does not go on at this step when the daemon dies; later the message comes once.
async fn sends_once_when_stopped_at(step: Step) {
    let clients = start(World::builder()).await;
    clients.world.smtp().fail(step, Fault::Slow(Duration::from_mins(1)));
    let connections = clients.world.smtp().connections();
    assert_eq!(clients.forgets("ada").await.expect("an answer"), 202);
    until("a message is under way", async || {
        clients.world.smtp().connections() > connections && link_is(&clients, "sending")
    })
    .await;
    clients.kill();
    clients.world.smtp().heal();
    assert!(clients.world.smtp().messages().is_empty());
    clients.world.revive().await;
    clients.world.smtp().wait_for_mail_to(ADA, 1).await;
    holds(&clients).await;
    assert_eq!(clients.world.smtp().messages().len(), 1);
    works(&clients).await;
}

async fn b2_06_a_message_whose_answer_was_cut_off_comes_again_as_the_same() {
    let clients = start(World::builder()).await;
    // The server has taken the message, and its answer is not there yet when the daemon dies.
    clients.world.smtp().fail_once(Step::Body, Fault::TakeAndWait(Duration::from_mins(1)));
    assert_eq!(clients.forgets("ada").await.expect("an answer"), 202);
    clients.world.smtp().wait_for_mail_to(ADA, 1).await;
    clients.kill();
    clients.world.revive().await;
    comes_again(&clients).await;
}

async fn b2_07_a_message_whose_answer_was_not_committed_comes_again_as_the_same() {
    let clients = start(World::builder()).await;
    let answer = Duration::from_millis(500);
    clients.world.smtp().fail_once(Step::Body, Fault::TakeAndWait(answer));
    assert_eq!(clients.forgets("ada").await.expect("an answer"), 202);
    clients.world.smtp().wait_for_mail_to(ADA, 1).await;
    // From here on it may hear that the message was taken, and can't note it.
    let lock = ForeignLock::take(&clients.world.database());
    tokio::time::sleep(answer * 2).await;
    clients.kill();
    assert!(link_is(&clients, "sending"), "it was noted");
    drop(lock);
    clients.world.revive().await;
    comes_again(&clients).await;
}

async fn comes_again(clients: &Clients) {
    let messages = clients.world.smtp().wait_for_mail_to(ADA, 2).await;
    assert_eq!(String::from_utf8_lossy(&messages[0].raw), String::from_utf8_lossy(&messages[1].raw));
    assert!(messages[0].header("Message-ID").is_some());
    holds(clients).await;
    assert_eq!(clients.world.smtp().messages().len(), 2);
    works(clients).await;
}

async fn b2_08_a_message_of_unknown_fate_is_not_repeated_at_once() {
    let clients = start(World::builder()).await;
    clients.world.smtp().fail_once(Step::Body, Fault::TakeAndDrop);
    clients.ledger.lost_a_mail_answer();
    assert_eq!(clients.forgets("ada").await.expect("an answer"), 202);
    let unsure = |notice: &Notice| notice.unsure == 1 && notice.state == "queued";
    until("the answer counts as lost", async || books(&clients).notices.values().any(unsure)).await;
    clients.kill();
    let before = books(&clients).notices;
    clients.world.revive().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(clients.world.smtp().messages().len(), 1, "it was repeated while the first may be under way");
    assert_eq!(books(&clients).notices, before);
    let violations = invariants::look(&clients.world, &clients.ledger).await;
    assert!(violations.is_empty(), "{violations:#?}");
    // Two minutes later.
    assert!(clients.world.stop().success());
    let database = Connection::open(clients.world.database()).expect("the database");
    database.execute("UPDATE outbox SET due = 0 WHERE due IS NOT NULL", []).expect("a change");
    drop(database);
    clients.world.revive().await;
    comes_again(&clients).await;
}

async fn b2_09_a_crash_before_the_write_frees_the_ticket() {
    let (clients, proxy) = behind_a_proxy().await;
    let token = link(&clients).await;
    proxy.next_write(Fate::LoseAfterHold);
    let call = sets(&clients, &token);
    proxy.stopped().await;
    clients.kill();
    assert!(!call.await.expect("a call"), "it was answered");
    proxy.release();
    clients.world.revive().await;
    holds(&clients).await;
    assert!(clients.world.writes("ada").await.is_empty());
    assert_eq!(clients.sets("ada", &token, NEW).await.expect("an answer"), 204);
    holds(&clients).await;
    assert_eq!(clients.world.writes("ada").await.len(), 1);
}

async fn b2_10_a_crash_before_the_writes_answer_uses_the_ticket_up() {
    let (clients, proxy) = behind_a_proxy().await;
    let token = link(&clients).await;
    proxy.next_write(Fate::HoldAnswer);
    let call = sets(&clients, &token);
    proxy.stopped().await;
    clients.kill();
    assert!(!call.await.expect("a call"), "it was answered");
    proxy.release();
    was_written(&clients, &token).await;
}

async fn b2_11_a_crash_after_the_writes_answer_uses_the_ticket_up() {
    let (clients, proxy) = behind_a_proxy().await;
    let token = link(&clients).await;
    proxy.next_write(Fate::HoldAnswer);
    let call = sets(&clients, &token);
    proxy.stopped().await;
    let lock = ForeignLock::take(&clients.world.database());
    proxy.release();
    // It hears that it is done, and can't note it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    clients.kill();
    assert!(!call.await.expect("a call"), "it was answered");
    assert!(books(&clients).tickets.values().any(|ticket| ticket.state == "claimed"), "it was noted");
    drop(lock);
    was_written(&clients, &token).await;
}

/// After a restart the write counts: once, with a notice, and the link is dead.
async fn was_written(clients: &Clients, token: &str) {
    let world = &clients.world;
    world.revive().await;
    holds(clients).await;
    assert!(world.binds("ada", NEW).await && world.writes("ada").await.len() == 1);
    // She is told, as everybody whose password was changed.
    assert_eq!(world.smtp().wait_for_mail_to(ADA, 2).await.len(), 2);
    assert_eq!(clients.sets("ada", token, OTHER).await.expect("an answer"), 410);
    holds(clients).await;
    assert!(world.binds("ada", NEW).await && world.writes("ada").await.len() == 1);
}

async fn b2_12_a_repeat_after_a_crash_sees_the_same_result() {
    let slapd = Slapd::shared(Variant::Policy).await;
    let proxy = Proxy::start(&slapd.uri()).await;
    let clients = start(World::builder().slapd(&slapd).way(Way::Clear(Some(proxy.uri())))).await;
    let token = link(&clients).await;
    clients.world.all_is_sent().await;
    let page = clients.world.door().get(&format!("/r/{token}")).await;
    let nonce = page.hidden_fields().into_iter().find(|(name, _)| name == "nonce").expect("a nonce").1;
    proxy.next_write(Fate::HoldAnswer);
    let call = {
        let (clients, token, nonce) = (clients.clone(), token.clone(), nonce.clone());
        tokio::spawn(async move { clients.fills_in("ada", &token, NEW, &nonce).await.is_some() })
    };
    proxy.stopped().await;
    // What it sends next in this way is the page: to the directory it has said all, and a mail server greets first.
    let tracer = kill_at_the_next(&clients.world, "writev").await;
    proxy.release();
    assert!(!call.await.expect("a call"), "the page was sent");
    clients.world.ends();
    drop(tracer);
    clients.ledger.crashed();
    let spent = books(&clients).tickets.values().filter(|ticket| ticket.state == "spent").count();
    assert_eq!(spent, 1, "it was not committed");
    clients.world.revive().await;
    assert_eq!(clients.fills_in("ada", &token, NEW, &nonce).await.expect("an answer"), 200);
    assert_eq!(clients.sets("ada", &token, OTHER).await.expect("an answer"), 410);
    holds(&clients).await;
    assert!(clients.world.binds("ada", NEW).await && clients.world.writes("ada").await.len() == 1);
}

async fn b2_13_a_notice_that_waits_is_sent_after_a_restart() {
    let clients = start(World::builder()).await;
    let token = link(&clients).await;
    clients.world.all_is_sent().await;
    clients.world.smtp().fail(Step::MailFrom, Fault::Reply("451 4.3.0 later"));
    assert_eq!(clients.sets("ada", &token, NEW).await.expect("an answer"), 204);
    clients.kill();
    let waits = |notice: &Notice| notice.kind == "password-changed" && notice.waits();
    assert!(books(&clients).notices.values().any(waits));
    clients.world.smtp().heal();
    clients.world.revive().await;
    clients.world.smtp().wait_for_mail_to(ADA, 2).await;
    holds(&clients).await;
    assert_eq!(clients.world.smtp().messages().len(), 2);
}

async fn start(builder: Builder) -> Clients {
    let world = Arc::new(builder.set("directory.operation_timeout", r#""2s""#).start().await);
    Clients::of(&world, &["ada"])
}

async fn behind_a_proxy() -> (Clients, Proxy) {
    let slapd = Slapd::shared(Variant::Policy).await;
    let proxy = Proxy::start(&slapd.uri()).await;
    let builder = World::builder().slapd(&slapd).way(Way::Clear(Some(proxy.uri())));
    (start(builder).await, proxy)
}

fn books(clients: &Clients) -> Books {
    Books::read(&clients.world.database())
}

fn link_is(clients: &Clients, state: &str) -> bool {
    books(clients).notices.values().any(|notice| notice.kind == "reset-link" && notice.state == state)
}

/// Somebody asks; says whether there was an answer.
fn forgets(clients: &Clients) -> JoinHandle<bool> {
    let clients = clients.clone();
    tokio::spawn(async move { clients.forgets("ada").await.is_some() })
}

/// Somebody sets a password; says whether there was an answer.
fn sets(clients: &Clients, token: &str) -> JoinHandle<bool> {
    let (clients, token) = (clients.clone(), token.to_owned());
    tokio::spawn(async move { clients.sets("ada", &token, NEW).await.is_some() })
}

/// The token of a new link.
async fn link(clients: &Clients) -> String {
    assert_eq!(clients.forgets("ada").await.expect("an answer"), 202);
    clients.world.smtp().wait_for_mail_to(ADA, 1).await;
    clients.tokens("ada", "/r/").pop().expect("a link")
}

/// The last link works.
async fn works(clients: &Clients) {
    if clients.tokens("ada", "/r/").is_empty() {
        link(clients).await;
    }
    let token = clients.tokens("ada", "/r/").pop().expect("a link");
    assert_eq!(clients.sets("ada", &token, NEW).await.expect("an answer"), 204);
    assert!(clients.world.binds("ada", NEW).await);
    holds(clients).await;
}

async fn holds(clients: &Clients) {
    let violations = invariants::check(&clients.world, &clients.ledger).await;
    assert!(violations.is_empty(), "{violations:#?}");
}
