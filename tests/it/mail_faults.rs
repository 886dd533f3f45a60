//! R8, R10 and R29 through the real daemon: whatever a mail server does wrong, each message ends as what is true, the
//! operators see it, and nobody gets more than one repeat.

use std::time::Duration;

use rekeyd_tests::{
    acts::until,
    smtp::{Fault, Smtp, Step, Tls},
    tests,
    world::World,
};
use serde_json::{Value, json};

tests! {
    async fn r8_a_host_that_takes_no_letter_is_seen_and_the_message_leaves_when_it_works;
    async fn r8_a_letter_that_is_refused_for_now_is_tried_again;
    async fn r8_a_letter_that_is_refused_for_good_ends_with_an_event;
    async fn r8_the_next_host_carries_while_the_first_is_probed;
    async fn r10_an_answer_that_is_lost_costs_at_most_one_repeat_of_the_same_bytes;
    async fn r29_a_mail_server_that_is_down_says_so_and_takes_it_back_without_any_message;
}

/// A world in which waits are short.
async fn world() -> World {
    World::builder()
        .set("policy.lives.retry", r#""1s""#)
        .set("channel.timeout", r#""1s""#)
        .set("channel.connect_timeout", r#""1s""#)
        .start()
        .await
}

/// Runs each case, which is a step that fails and how, in a world of its own, several at once.
async fn each(cases: &[(Step, Fault)], run: impl AsyncFn(World, (Step, Fault))) {
    for some in cases.chunks(4) {
        let one = async |n: usize| {
            if let Some(case) = some.get(n) {
                Box::pin(run(world().await, case.clone())).await;
            }
        };
        tokio::join!(Box::pin(one(0)), Box::pin(one(1)), Box::pin(one(2)), Box::pin(one(3)));
    }
}

/// What the status says to be wrong with the channel.
fn trouble(world: &World) -> Option<String> {
    let status = world.asks(&["status"]);
    let troubles = status["channel_troubles"].as_array().expect("a list").clone();
    assert!(troubles.len() < 2, "{status}");
    troubles.first().map(|one| {
        assert_eq!(one["channel"], "post");
        one["why"].as_str().expect("a reason").to_owned()
    })
}

/// The rows of the trail of one kind.
fn rows(world: &World, kind: &str) -> Vec<Value> {
    world.audit().into_iter().filter(|row| row["event"] == kind).collect()
}

/// The one message to Ada that the outbox knows, and how it ended.
fn state(world: &World) -> String {
    let outbox = world.asks(&["outbox"]);
    let rows = outbox["notices"].as_array().expect("a list");
    assert_eq!(rows.len(), 1, "{outbox}");
    rows[0]["state"].as_str().expect("a state").to_owned()
}

async fn r8_a_host_that_takes_no_letter_is_seen_and_the_message_leaves_when_it_works() {
    let cases = [
        (Step::Connect, Fault::Reply("421 4.3.2 not now")),
        (Step::Connect, Fault::Reply("554 5.3.2 never")),
        (Step::Connect, Fault::Drop),
        (Step::Connect, Fault::Slow(Duration::from_secs(3))),
        (Step::Ehlo, Fault::Reply("502 5.5.1 no")),
        (Step::Ehlo, Fault::Drop),
        (Step::StartTls, Fault::Reply("454 4.7.0 not now")),
        (Step::StartTls, Fault::Drop),
        (Step::Auth, Fault::Reply("454 4.7.0 not now")),
        (Step::Auth, Fault::Reply("535 5.7.8 wrong")),
        (Step::Auth, Fault::Drop),
        (Step::MailFrom, Fault::Reply("451 4.3.0 later")),
        (Step::MailFrom, Fault::Reply("550 5.7.1 not you")),
        (Step::MailFrom, Fault::Drop),
        (Step::RcptTo, Fault::Drop),
        (Step::RcptTo, Fault::Slow(Duration::from_secs(3))),
        (Step::Data, Fault::Drop),
        (Step::Body, Fault::Reply("421 4.3.2 going down")),
    ];
    Box::pin(each(&cases, async |world, (step, fault)| {
        world.smtp().fail(step, fault);
        world.forgets("ada").await;
        let down = world.event(&[("event", "channel-down"), ("outcome", "down")]).await;
        assert!(down["reason"].as_str().is_some_and(|why| trouble(&world).is_some_and(|now| now == why)), "{down}");
        assert!(world.smtp().messages().is_empty() && ["queued", "sending"].contains(&state(&world).as_str()));
        world.smtp().heal();
        let link = world.link("ada@example.org", 1).await;
        assert!(world.door().get(&link).await.status.is_success());
        world.event(&[("event", "channel-up")]).await;
        world.all_is_sent().await;
        assert_eq!((trouble(&world), state(&world).as_str(), world.smtp().messages().len()), (None, "sent", 1));
        assert_eq!((rows(&world, "channel-down").len(), rows(&world, "notice-delivered").len()), (1, 1));
    }))
    .await;
}

async fn r8_a_letter_that_is_refused_for_now_is_tried_again() {
    let cases = [
        (Step::RcptTo, Fault::Reply("450 4.2.1 greylisted")),
        (Step::RcptTo, Fault::Reply("554 5.7.1 relaying denied")),
        (Step::Data, Fault::Reply("451 4.3.0 later")),
        (Step::Body, Fault::Reply("452 4.3.1 full")),
    ];
    Box::pin(each(&cases, async |world, (step, fault)| {
        world.smtp().fail(step, fault);
        world.forgets("ada").await;
        let postponed = world.event(&[("event", "notice-postponed"), ("outcome", "later")]).await;
        assert!(!postponed.to_string().contains("ada@example.org"), "{postponed}");
        assert!(world.smtp().messages().is_empty());
        let outbox = world.asks(&["outbox"]);
        assert_eq!(outbox["notices"][0]["reason"], postponed["reason"], "{outbox}");
        world.smtp().heal();
        world.link("ada@example.org", 1).await;
        world.all_is_sent().await;
        assert_eq!((state(&world).as_str(), world.smtp().messages().len()), ("sent", 1));
        assert_eq!((rows(&world, "notice-postponed").len(), rows(&world, "notice-delivered").len()), (1, 1));
    }))
    .await;
}

async fn r8_a_letter_that_is_refused_for_good_ends_with_an_event() {
    let cases = [
        (Step::RcptTo, Fault::Reply("550 5.1.1 nobody here")),
        (Step::RcptTo, Fault::Reply("552 5.2.2 mailbox full")),
        (Step::Data, Fault::Reply("554 5.6.0 no")),
        (Step::Body, Fault::Reply("554 5.7.1 spam")),
    ];
    Box::pin(each(&cases, async |world, (step, fault)| {
        world.smtp().fail(step, fault);
        world.forgets("ada").await;
        world.event(&[("event", "notice-failed"), ("outcome", "failed")]).await;
        let status = world.asks(&["status"]);
        assert_eq!((&status["notices_failed"], state(&world).as_str(), trouble(&world)), (&json!(1), "failed", None));
        // Others are not held up by it.
        world.smtp().heal();
        world.forgets_and_gets_link("grace").await;
        assert!(world.smtp().messages_to("ada@example.org").is_empty());
    }))
    .await;
}

async fn r10_an_answer_that_is_lost_costs_at_most_one_repeat_of_the_same_bytes() {
    let cases = [
        (Step::Body, Fault::TakeAndDrop),
        (Step::Body, Fault::TakeAndWait(Duration::from_secs(8))),
        (Step::Body, Fault::Drop),
    ];
    Box::pin(each(&cases, async |world, (step, fault)| {
        let is_taken = !matches!(fault, Fault::Drop);
        world.smtp().fail(step, fault);
        world.forgets("ada").await;
        world.event(&[("event", "notice-postponed"), ("outcome", "unsure")]).await;
        // The second time counts as sent, since a third one could be one too many.
        world.event(&[("event", "notice-delivered"), ("outcome", "unsure")]).await;
        world.all_is_sent().await;
        let messages = world.smtp().messages();
        assert_eq!((messages.len(), state(&world).as_str()), (if is_taken { 2 } else { 0 }, "sent"));
        assert!(messages.iter().all(|message| message.raw == messages[0].raw), "another letter");
    }))
    .await;
    let world = world().await;
    world.smtp().fail_once(Step::Body, Fault::TakeAndDrop);
    world.forgets("ada").await;
    let messages = world.smtp().wait_for_mail_to("ada@example.org", 2).await;
    world.all_is_sent().await;
    assert_eq!((messages[0].raw.clone(), world.smtp().messages().len()), (messages[1].raw.clone(), 2));
}

async fn r8_the_next_host_carries_while_the_first_is_probed() {
    let first = Smtp::start(Tls::StartTls).await;
    first.fail(Step::Connect, Fault::Reply("421 4.3.2 not now"));
    let world = World::builder().prepare().await;
    world.set("channel.hosts", &format!("[\"localhost:{}\", \"localhost:{}\"]", first.port(), world.smtp().port()));
    world.restart().await;
    for n in 0..20 {
        world.branch().add_person(&format!("p{n}"), rekeyd_tests::branch::PASSWORD).await;
        world.forgets(&format!("p{n}")).await;
    }
    world.smtp().wait_for(20).await;
    world.event(&[("event", "channel-down"), ("outcome", "partly")]).await;
    assert!(trouble(&world).is_some_and(|why| why.contains("421")));
    assert!(first.connections() < 10, "{} connections to a host that is down", first.connections());
    first.heal();
    world.event(&[("event", "channel-up")]).await;
    world.forgets("ada").await;
    first.wait_for(1).await;
    world.all_is_sent().await;
    assert_eq!((first.messages().len(), world.smtp().messages().len(), trouble(&world)), (1, 20, None));
}

async fn r29_a_mail_server_that_is_down_says_so_and_takes_it_back_without_any_message() {
    let first = Smtp::start(Tls::StartTls).await;
    first.close().await;
    let world = World::builder().prepare().await;
    world.set("channel.hosts", &format!("[\"localhost:{}\", \"localhost:{}\"]", first.port(), world.smtp().port()));
    world.restart().await;
    world.forgets_and_gets_link("ada").await;
    let down = world.event(&[("event", "channel-down"), ("outcome", "partly")]).await;
    let why = format!("localhost:{}: it can't be reached: connection refused", first.port());
    assert_eq!((down["reason"].as_str(), trouble(&world).as_deref()), (Some(why.as_str()), Some(why.as_str())));
    let told = world.rekeyctl(&["status"], "").fine().out;
    assert!(told.contains(&why), "{told}");
    // With everything sent there is no message that could find out.
    world.all_is_sent().await;
    first.open().await;
    world.event(&[("event", "channel-up")]).await;
    until("the status says so", async || trouble(&world).is_none()).await;
    assert_eq!((first.messages().len(), world.smtp().messages().len()), (0, 1));
}
