//! R7, threat 68: a directory that answers, and not with what was asked for. Each such answer changes nothing, uses no
//! link up, and is seen.

use rekeyd_tests::{
    acts::until,
    branch::PASSWORD,
    faults::nothing_changed,
    proxy::{Fate, Fault, Kind, Of, Proxy},
    slapd::{Slapd, Variant},
    tests,
    world::World,
    world_config::Way,
};
use serde_json::json;

tests! {
    async fn r7_a_server_in_trouble_changes_nothing_and_uses_no_link_up;
    async fn r7_a_database_that_takes_no_writes_is_said_so_and_taken_again;
    async fn r7_a_database_that_takes_no_writes_at_the_start_takes_them_with_a_condition_later;
    async fn r7_a_clock_that_is_wrong_is_seen_and_harms_nobody;
    async fn t51_what_may_be_searched_and_not_read_is_unknown;
    async fn t68_answers_that_make_no_sense_end_one_operation;
    async fn t68_a_search_behind_the_first_that_fails_is_no_verdict;
}

const NEW: &str = "seven violet teapots orbit";

/// Ends all faults and waits until the daemon has seen it.
async fn heals(world: &World, proxy: &Proxy) {
    proxy.heal();
    until("all is well", async || world.readiness().await == "up").await;
}

async fn r7_a_server_in_trouble_changes_nothing_and_uses_no_link_up() {
    let (world, proxy) = World::behind_a_proxy(Variant::Policy).await;
    let link = world.forgets_and_gets_link("grace").await;
    // operationsError, timeLimitExceeded, busy, unavailable, unwillingToPerform, other. A search that takes too long is its
    // own failure; a server on which every search does is seen by the question that the daemon asks for itself.
    for (kind, codes) in
        [(Kind::Search, &[1, 3, 51, 52, 53, 80][..]), (Kind::Bind, &[51, 52, 80]), (Kind::Write, &[1, 51, 53])]
    {
        for code in codes {
            proxy.fail(Of::Kind(kind), Fault::Result(*code, None));
            proxy.cut();
            let answer = world.sets_password(&link, NEW).await;
            assert!(nothing_changed(&answer), "{kind:?} {code}: {} {}", answer.status, answer.text());
            let told = world.rekeyctl(&["set-password", "grace", "--generate", "--reason", "at the desk"], "");
            assert_eq!(told.code, 75, "{kind:?} {code}: {told:?}");
            assert!(!told.err.contains("may have been"), "{kind:?} {code}: {told:?}");
            assert_eq!(world.hook("/v1/recovery", &json!({"login": "nobody"})).await.status, 202);
            if kind == Kind::Write {
                world.sees_fault("writes").await;
                assert_eq!(world.signs_in("grace", PASSWORD).await.status, 200, "{code}");
                proxy.heal();
            } else {
                assert_eq!(world.signs_in("grace", PASSWORD).await.status, 503, "{kind:?} {code}");
                until("it is seen", async || !world.flaws().is_empty()).await;
                heals(&world, &proxy).await;
            }
        }
    }
    assert!(world.binds("grace", PASSWORD).await && world.writes("grace").await.is_empty());
    world.surely_sets_password(&link, NEW).await;
    assert_eq!(world.writes("grace").await.len(), 1);
    // A password that was written shows that they can be.
    world.sees_its_end("writes").await;
}

async fn r7_a_database_that_takes_no_writes_is_said_so_and_taken_again() {
    let slapd = Slapd::fresh(Variant::Policy).await;
    let world = World::builder().slapd(&slapd).start().await;
    let link = world.forgets_and_gets_link("grace").await;
    slapd.takes_writes(false).await;
    for _ in 0..2 {
        let answer = world.sets_password(&link, NEW).await;
        assert!(nothing_changed(&answer), "{} {}", answer.status, answer.text());
    }
    let told = world.rekeyctl(&["set-password", "grace", "--generate", "--reason", "at the desk"], "");
    assert_eq!(told.code, 75, "{told:?}");
    world.sees_fault("read-only").await;
    // What needs no write goes on.
    world.forgets_and_gets_link("ada").await;
    assert_eq!(world.signs_in("grace", PASSWORD).await.status, 200);
    assert_eq!(world.readiness().await, "impaired");
    slapd.takes_writes(true).await;
    until("the link works", async || world.sets_password(&link, NEW).await.status == 200).await;
    assert_eq!(world.passwords_written("grace").await, 1);
    world.sees_its_end("read-only").await;
}

async fn r7_a_database_that_takes_no_writes_at_the_start_takes_them_with_a_condition_later() {
    let slapd = Slapd::fresh(Variant::Policy).await;
    let proxy = Proxy::start(&slapd.uri()).await;
    let world = World::builder().slapd(&slapd).way(Way::Clear(Some(proxy.uri()))).prepare().await;
    slapd.takes_writes(false).await;
    world.restart().await;
    // A copy does for look-ups.
    let link = world.forgets_and_gets_link("grace").await;
    assert!(nothing_changed(&world.sets_password(&link, NEW).await));
    world.sees_fault("read-only").await;
    slapd.takes_writes(true).await;
    world.sees_its_end("read-only").await;
    // What it could not show of itself then it has shown by now: an administrator's lock is not erased.
    proxy.next_write(Fate::HoldRequest);
    let (answer, ()) = tokio::join!(world.sets_password(&link, NEW), async {
        proxy.stopped().await;
        slapd.set(&world.dn("grace"), "pwdAccountLockedTime", &["000001010000Z"]).await;
        proxy.release();
    });
    assert!(answer.status != 200 && world.passwords_written("grace").await == 0, "{}", answer.text());
}

async fn r7_a_clock_that_is_wrong_is_seen_and_harms_nobody() {
    for seconds in [600, -600] {
        let slapd = Slapd::fresh(Variant::Policy).await;
        slapd.stop();
        slapd.start_with_clock(seconds).await;
        let world = World::builder().slapd(&slapd).start().await;
        world.sees_fault("clock").await;
        let why = world.flaws()[0]["why"].to_string();
        assert!(why.contains(if seconds > 0 { "ahead of" } else { "behind" }), "{why}");
        // Stamps of such a server are as good as any: the second change is held until its stamp differs.
        let link = world.forgets_and_gets_link("grace").await;
        world.surely_sets_password(&link, NEW).await;
        assert_eq!(world.signs_in("grace", NEW).await.status, 200);
        let told = world.rekeyctl(&["set-password", "grace", "--generate", "--no-must-change", "--reason", "desk"], "");
        let first = slapd.attribute(&world.dn("grace"), "pwdChangedTime").await;
        let again =
            world.rekeyctl(&["set-password", "grace", "--generate", "--no-must-change", "--reason", "desk"], "");
        assert!(told.code == 0 && again.code == 0, "{told:?} {again:?}");
        for told in [&told, &again] {
            world.secret(told.out.lines().last().unwrap_or_default().trim());
        }
        assert_ne!(first, slapd.attribute(&world.dn("grace"), "pwdChangedTime").await, "two changes share a stamp");
        assert_eq!(world.passwords_written("grace").await, 3);
        slapd.stop();
        slapd.start().await;
        world.sees_its_end("clock").await;
    }
}

async fn t51_what_may_be_searched_and_not_read_is_unknown() {
    let world = World::start().await;
    world.branch().add_person("gauze", PASSWORD).await;
    // That there is no lock can be proved by a search.
    let link = world.forgets_and_gets_link("gauze").await;
    world.slapd().set(&world.dn("gauze"), "pwdAccountLockedTime", &["000001010000Z"]).await;
    assert!(world.sets_password(&link, NEW).await.status.is_client_error());
    world.event(&[("event", "ticket-refused"), ("reason", "unknown")]).await;
    world.forgets("gauze").await;
    world.event(&[("event", "request-ended"), ("reason", "unknown")]).await;
    let told = world.rekeyctl(&["set-password", "gauze", "--generate", "--reason", "at the desk"], "");
    assert_eq!(told.code, 1, "{told:?}");
    assert!(world.writes("gauze").await.is_empty());
}

async fn t68_answers_that_make_no_sense_end_one_operation() {
    let (world, proxy) = World::impatient(Variant::Policy).await;
    let link = world.forgets_and_gets_link("grace").await;
    let garbage: [&'static [u8]; 6] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        &[0; 64],
        // A length of four gigabytes, one without end, one that is too short, and a message for nobody.
        &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x02, 0x01, 0x01],
        &[0x30, 0x80, 0x02, 0x01],
        &[0x30, 0x03, 0x02, 0x01, 0x05, 0x65, 0x07, 0x0a, 0x01, 0x00],
        &[0x30, 0x0c, 0x02, 0x01, 0x7f, 0x65, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00],
    ];
    let faults = garbage.into_iter().map(Fault::Garbage).chain([Fault::Cut]);
    for fault in faults {
        for kind in [Kind::Search, Kind::Bind] {
            proxy.fail(Of::Kind(kind), fault.clone());
            proxy.cut();
            let answer = world.sets_password(&link, NEW).await;
            assert!(nothing_changed(&answer), "{fault:?} {kind:?}: {} {}", answer.status, answer.text());
            assert_eq!(world.signs_in("grace", PASSWORD).await.status, 503, "{fault:?} {kind:?}");
            assert_eq!(world.hook("/v1/recovery", &json!({"login": "nobody"})).await.status, 202);
            until("it is seen", async || !world.flaws().is_empty()).await;
            heals(&world, &proxy).await;
        }
    }
    assert!(world.writes("grace").await.is_empty() && world.binds("grace", PASSWORD).await);
    world.surely_sets_password(&link, NEW).await;
}

async fn t68_a_search_behind_the_first_that_fails_is_no_verdict() {
    // Groups and the policy are looked for apart from the person.
    for place in ["ou=groups,", "ou=policies,"] {
        for (code, verdict) in [(51, None), (52, None), (53, Some("unknown")), (50, Some("unknown"))] {
            let (world, proxy) = World::behind_a_proxy(Variant::Policy).await;
            let link = world.forgets_and_gets_link("grace").await;
            // What was learnt of a policy holds for a while, so it is learnt anew.
            world.reload().await;
            proxy.fail(Of::Naming(place.into()), Fault::Result(code, None));
            world.forgets("ada").await;
            let answer = world.sets_password(&link, NEW).await;
            if let Some(reason) = verdict {
                assert!(answer.status.is_client_error(), "{place} {code}: {} {}", answer.status, answer.text());
                world.event(&[("event", "request-ended"), ("reason", reason)]).await;
                world.event(&[("event", "ticket-refused"), ("reason", reason)]).await;
            } else {
                assert!(nothing_changed(&answer), "{place} {code}: {} {}", answer.status, answer.text());
                heals(&world, &proxy).await;
                world.link("ada@example.org", 1).await;
                world.surely_sets_password(&link, NEW).await;
            }
            assert_eq!(world.writes("grace").await.len(), usize::from(verdict.is_none()), "{place} {code}");
        }
    }
}
