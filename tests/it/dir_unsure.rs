//! R7, threat 43: the answer to a write is lost, or the write. What became of it is decided by the account's stamp and
//! told truthfully: with a write that carries its condition, without one, and where no stamp can tell.
//!
//! What can't be decided at once is decided when the write can't be under way any more, which takes its time; so the
//! cases go side by side.

use std::time::Duration;

use rekeyd_tests::{
    acts::{Told, until},
    branch::PASSWORD,
    faults::nobody_knows,
    proxy::{Fate, Fault, Of, Proxy},
    slapd::{Slapd, Variant},
    tests,
    world::World,
    world_config::Way,
};
use serde_json::json;

tests! {
    async fn t43_the_stamp_decides_what_became_of_a_persons_write;
    async fn t43_the_stamp_decides_what_became_of_an_operators_write;
}

const NEW: &str = "seven violet teapots orbit";
/// Claims are looked at again when nobody can be working on them any more.
const SETTLED: Duration = Duration::from_mins(1);

/// How the directory stamps and takes writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stamps {
    /// `pwdChangedTime`; the write carries a condition.
    Condition,
    /// `pwdChangedTime`; the write carries none, since no canary proves that it may.
    Plain,
    /// Nothing that only a password changes.
    None,
}

/// What is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lost {
    /// The connection ends after the write was done, once.
    Answer,
    /// No answer ever comes to any write, and they are done.
    Answers,
    /// The connection ends before the write arrives, once.
    Request,
    /// No write arrives, and no answer comes.
    Requests,
    /// No write arrives, and the answer is what a proxy also says that has lost the true one.
    Truth(u8),
}

/// What the person is told, and what turns out in the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// That it was set.
    Set,
    /// That nobody knows; then the link is free again.
    Freed,
    /// That nobody knows; then nobody finds out, the link is dead, and the person hears of it by mail.
    Open,
}

async fn world(stamps: Stamps) -> (World, Proxy) {
    let slapd = Slapd::shared(if stamps == Stamps::None { Variant::Bare } else { Variant::Policy }).await;
    let proxy = Proxy::start(&slapd.uri()).await;
    let mut builder = World::builder().slapd(&slapd).way(Way::Clear(Some(proxy.uri())));
    for key in ["operation_timeout", "connect_timeout", "cool_down"] {
        builder = builder.set(&format!("directory.{key}"), "\"500ms\"");
    }
    if stamps == Stamps::Plain {
        builder = builder.set("directory.canary", "");
    }
    (builder.start().await, proxy)
}

/// Loses what is to be lost of the writes to somebody's entry.
fn lose(proxy: &Proxy, lost: Lost, login: &str) {
    let theirs = Of::Writing(format!("uid={login},"));
    match lost {
        Lost::Answer => proxy.next_write(Fate::LoseAnswer),
        Lost::Answers => proxy.fail(theirs, Fault::Mute),
        Lost::Request => proxy.next_write(Fate::LoseRequest),
        Lost::Requests => proxy.fail(theirs, Fault::Silent),
        Lost::Truth(code) => proxy.fail(theirs, Fault::Result(code, None)),
    }
}

async fn slowly(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let limit = tokio::time::Instant::now() + SETTLED;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < limit, "not so in time: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn a_person_hears(stamps: Stamps, lost: Lost, end: End) {
    let case = format!("{stamps:?} {lost:?}");
    let (world, proxy) = world(stamps).await;
    let link = world.forgets_and_gets_link("grace").await;
    let token = link.rsplit_once('/').expect("a token").1;
    lose(&proxy, lost, "grace");
    let answer = world.sets_password(&link, NEW).await;
    // What was lost for good is over; the claim is settled with a directory that is well.
    proxy.heal();
    let was_written = matches!(lost, Lost::Answer | Lost::Answers) || end == End::Set;
    match end {
        End::Set => assert_eq!(answer.status, 200, "{case}: {}", answer.text()),
        End::Freed | End::Open => {
            assert!(nobody_knows(&answer), "{case}: {} {}", answer.status, answer.text());
            world.event(&[("event", "set-unsure"), ("outcome", "unsure")]).await;
            assert_eq!(world.asks(&["status"])["claims_open"], 1, "{case}");
            // Meanwhile the ticket opens nothing for anybody.
            let other = world.hook("/v1/password", &json!({"ticket": token, "password": "nine copper kettles"})).await;
            assert_eq!(other.status, 410, "{case}: {}", other.text());
        }
    }
    // I3: the one or the other lets in, and it is the one that the answer allows.
    let (old, new) = (world.binds("grace", PASSWORD).await, world.binds("grace", NEW).await);
    assert!((old, new) == (!was_written, was_written), "{case}: old {old}, new {new}");
    match end {
        End::Set => {
            world.event(&[("event", "password-set")]).await;
            world.smtp().wait_for_mail_to("grace@example.org", 2).await;
            assert_ne!(world.sets_password(&link, "nine copper kettles in a row").await.status, 200, "{case}");
        }
        End::Freed => {
            slowly(&case, async || world.sets_password(&link, NEW).await.status == 200).await;
            let freed = world.event(&[("event", "set-unsure"), ("outcome", "freed")]).await;
            assert_eq!(freed["reason"], "not-written", "{case}");
        }
        End::Open => {
            let void = [("event", "set-unsure"), ("outcome", "void")];
            slowly(&case, async || {
                world.audit().iter().any(|row| void.iter().all(|(name, value)| row[*name].as_str() == Some(value)))
            })
            .await;
            let told = world.smtp().wait_for_mail_to("grace@example.org", 2).await;
            assert!(told[1].text().contains("the directory did not answer"), "{case}: {}", told[1].text());
            let gone = world.sets_password(&link, PASSWORD).await;
            assert!(gone.status.is_client_error(), "{case}: {}", gone.text());
        }
    }
    assert!(world.binds("grace", NEW).await, "{case}");
    assert_eq!(world.passwords_written("grace").await, 1, "{case}");
    assert_eq!(world.asks(&["status"])["claims_open"], 0, "{case}");
}

async fn t43_the_stamp_decides_what_became_of_a_persons_write() {
    tokio::join!(
        a_person_hears(Stamps::Condition, Lost::Answer, End::Set),
        a_person_hears(Stamps::Condition, Lost::Answers, End::Set),
        a_person_hears(Stamps::Condition, Lost::Request, End::Set),
        a_person_hears(Stamps::Condition, Lost::Requests, End::Freed),
        a_person_hears(Stamps::Condition, Lost::Truth(52), End::Freed),
        a_person_hears(Stamps::Condition, Lost::Truth(80), End::Freed),
        a_person_hears(Stamps::Plain, Lost::Answer, End::Set),
        a_person_hears(Stamps::Plain, Lost::Answers, End::Set),
        a_person_hears(Stamps::Plain, Lost::Request, End::Freed),
        a_person_hears(Stamps::Plain, Lost::Requests, End::Freed),
        a_person_hears(Stamps::None, Lost::Answer, End::Open),
        a_person_hears(Stamps::None, Lost::Answers, End::Open),
        a_person_hears(Stamps::None, Lost::Request, End::Freed),
        a_person_hears(Stamps::None, Lost::Requests, End::Freed),
    );
}

/// An operator replaces grace's password; gives what the command says.
fn replaces(world: &World) -> Told {
    world.secret(NEW);
    let must_change = "--no-must-change";
    world.rekeyctl(&["set-password", "grace", must_change, "--reason", "at the desk"], &format!("{NEW}\n{NEW}\n"))
}

async fn an_operator_hears(stamps: Stamps, lost: Lost, at_once: bool, outcome: &str) {
    let case = format!("{stamps:?} {lost:?}");
    let (world, proxy) = world(stamps).await;
    lose(&proxy, lost, "grace");
    let told = replaces(&world);
    proxy.heal();
    let was_written = matches!(lost, Lost::Answer | Lost::Answers) || at_once;
    if at_once {
        assert_eq!(told.code, 0, "{case}: {told:?}");
    } else {
        assert!(told.code == 75 && told.err.contains("may have been done"), "{case}: {told:?}");
    }
    let (old, new) = (world.binds("grace", PASSWORD).await, world.binds("grace", NEW).await);
    assert!((old, new) == (!was_written, was_written), "{case}: old {old}, new {new}");
    let wanted = [("event", "password-replaced"), ("outcome", outcome)];
    let recorded =
        async || world.audit().iter().any(|row| wanted.iter().all(|(name, value)| row[*name].as_str() == Some(value)));
    slowly(&case, recorded).await;
    if outcome == "replaced" {
        world.smtp().wait_for_mail_to("grace@example.org", 1).await;
    } else if !was_written {
        until("it can be done again", async || replaces(&world).code == 0).await;
    }
    assert!(world.binds("grace", NEW).await, "{case}");
    assert_eq!(world.passwords_written("grace").await, 1, "{case}");
}

async fn t43_the_stamp_decides_what_became_of_an_operators_write() {
    tokio::join!(
        an_operator_hears(Stamps::Condition, Lost::Answer, true, "replaced"),
        an_operator_hears(Stamps::Condition, Lost::Answers, true, "replaced"),
        an_operator_hears(Stamps::Condition, Lost::Requests, false, "not-done"),
        an_operator_hears(Stamps::Condition, Lost::Truth(52), false, "not-done"),
        an_operator_hears(Stamps::Plain, Lost::Answers, true, "replaced"),
        an_operator_hears(Stamps::Plain, Lost::Request, false, "not-done"),
        an_operator_hears(Stamps::None, Lost::Answer, false, "unsure"),
        an_operator_hears(Stamps::None, Lost::Requests, false, "not-done"),
    );
}
