//! The main job, end to end: what each row of the system's list does for its people.

use rekeyd_tests::{
    acts::{Told, address, until},
    branch::PASSWORD,
    slapd::{Slapd, Variant},
    smtp::Tls,
    tests,
    world::World,
    world_config::Way,
};

tests! {
    async fn s2_1_a_forgotten_password_is_replaced_by_a_link;
    async fn s2_1_a_forgotten_password_is_replaced_where_there_is_no_policy;
    async fn s2_1_every_way_to_the_directory_and_to_the_mail_works;
    async fn s2_1_the_message_says_whose_account_and_for_how_long;
    async fn s2_2_nobody_hears_of_a_request_that_is_refused;
    async fn s2_2_a_person_whose_address_is_proved_may_be_told_where_to_turn;
    async fn s2_3_an_activation_link_sets_a_first_password;
    async fn s2_3_an_operators_link_leaves_the_old_password_alone;
    async fn s2_4_a_password_set_by_hand_stops_the_old_one_at_once;
    async fn s2_4_a_drawn_password_is_shown_once_and_works;
    async fn s2_4_a_first_password_by_an_operator_is_no_activation;
    async fn s2_4_the_directory_may_be_asked_for_no_change_at_sign_in;
}

const NEW: &str = "seven violet teapots orbit";

async fn s2_1_a_forgotten_password_is_replaced_by_a_link() {
    replaces_a_forgotten_password(&World::start().await).await;
}

async fn s2_1_a_forgotten_password_is_replaced_where_there_is_no_policy() {
    replaces_a_forgotten_password(&World::builder().shared(Variant::Bare).start().await).await;
}

async fn s2_1_every_way_to_the_directory_and_to_the_mail_works() {
    for (variant, way, mail) in [
        (Variant::Policy, Way::StartTls, Tls::Implicit),
        (Variant::Bare, Way::Ldapi, Tls::StartTls),
        (Variant::Policy, Way::Ldapi, Tls::StartTls),
        (Variant::Policy, Way::Clear(None), Tls::StartTls),
    ] {
        replaces_a_forgotten_password(&World::builder().shared(variant).way(way).smtp(mail).start().await).await;
    }
}

/// The paragraph of the manual, as it is lived.
async fn replaces_a_forgotten_password(world: &World) {
    let link = world.forgets_and_gets_link("ada").await;
    assert!(world.binds("ada", PASSWORD).await, "the old password has stopped before the new one is set");
    let page = world.door().get(&link).await;
    assert!(page.status.is_success() && page.text().contains("ada"), "{}", page.text());
    assert!(world.binds("ada", PASSWORD).await, "the old password has stopped by looking at the link");

    world.surely_sets_password(&link, NEW).await;
    assert!(world.binds("ada", NEW).await, "the new password does not work");
    assert!(!world.binds("ada", PASSWORD).await, "the old password still works");
    assert_eq!(world.signs_in("ada", NEW).await.json()["outcome"], "granted");

    let messages = world.smtp().wait_for_mail_to("ada@example.org", 2).await;
    assert!(messages[1].link("/not-me/").starts_with(&world.url("/not-me/")));
    assert!(!messages[1].text().contains("/r/"), "{}", messages[1].text());
    let writes = world.writes("ada").await;
    assert!(writes.len() == 1 && writes[0].sets_password(), "{writes:?}");
}

async fn s2_1_the_message_says_whose_account_and_for_how_long() {
    let world = World::start().await;
    world.forgets_and_gets_link("ada").await;
    world.forgets_and_gets_link("grace").await;
    let message = world.smtp().messages_to("ada@example.org").remove(0);
    assert_eq!(message.from, "noreply@example.org");
    for part in [message.text(), message.html()] {
        for said in ["ada", "Example University", "Example account", "30 minutes", "the service desk, room 101"] {
            assert!(part.contains(said), "{said} is missing in\n{part}");
        }
    }
    assert_eq!(message.header("Auto-Submitted").as_deref(), Some("auto-generated"));
    assert!(message.header("Message-ID").is_some_and(|id| id.contains('@')), "{:?}", message.header("Message-ID"));
    assert_eq!(message.header("To").as_deref(), Some("ada@example.org"));
    let grace = world.smtp().messages_to("grace@example.org").remove(0);
    assert_eq!(grace.to, ["grace@example.org"]);
}

async fn s2_2_nobody_hears_of_a_request_that_is_refused() {
    let world = World::start().await;
    for (login, reason) in [
        ("noether", "never-activated"),
        ("hopper", "expired"),
        ("tomorrow", "not-yet-valid"),
        ("turing", "locked-by-admin"),
        ("boss", "privileged"),
        ("twin", "ambiguous"),
        ("nobody", "not-found"),
        ("nomail", "no-contact"),
        ("rekeyd-canary", "not-found"),
    ] {
        world.forgets(login).await;
        world.event(&[("event", "request-ended"), ("outcome", "refused"), ("reason", reason)]).await;
    }
    assert!(world.smtp().messages().is_empty());
    assert!(world.slapd().service_writes(world.branch().base()).await.is_empty());
}

async fn s2_2_a_person_whose_address_is_proved_may_be_told_where_to_turn() {
    let world = World::builder().set("policy.tell_refused", "true").set("policy.lives.merge", r#""1s""#).start().await;
    // Hers is not proved, so not even this is sent.
    world.forgets("hopper").await;
    world.event(&[("event", "request-ended"), ("reason", "expired")]).await;
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, NEW).await;
    world.smtp().wait_for_mail_to("ada@example.org", 2).await;
    world.slapd().set(&world.dn("ada"), "pwdEndTime", &["20251231000000Z"]).await;
    for _ in 0..3 {
        world.forgets("ada").await;
    }
    let told = world.smtp().wait_for_mail_to("ada@example.org", 3).await.pop().expect("a message");
    assert!(told.text().contains("the service desk, room 101"), "{}", told.text());
    assert!(!told.text().contains("/r/") && !told.text().contains("expired"), "{}", told.text());
    world.all_is_sent().await;
    assert_eq!(world.smtp().messages_to("ada@example.org").len(), 3, "more than once a day");
    assert!(world.smtp().messages_to("hopper@example.org").is_empty());
}

async fn s2_3_an_activation_link_sets_a_first_password() {
    for variant in [Variant::Policy, Variant::Bare] {
        let world = World::builder().shared(variant).start().await;
        let told = world.rekeyctl(&["--json", "send-code", "noether", "--reason", "first day"], "").fine().json();
        assert_eq!(told["purpose"], "activation", "{told}");
        let link = world.link("noether@example.org", 1).await;
        assert!(world.writes("noether").await.is_empty(), "something was written before the link was used");
        world.surely_sets_password(&link, NEW).await;
        assert!(world.binds("noether", NEW).await, "the first password does not work");
        // From now on she is like everybody else: what rekeyd saw counts, whatever the directory can say.
        world.smtp().wait_for_mail_to("noether@example.org", 2).await;
        let again = world.forgets_and_gets_link("noether").await;
        world.surely_sets_password(&again, "nine copper kettles in a row").await;
    }
}

async fn s2_3_an_operators_link_leaves_the_old_password_alone() {
    let world = World::start().await;
    let told = world.rekeyctl(&["--json", "send-code", "ada", "--reason", "asked at the desk"], "").fine().json();
    assert_eq!(told["purpose"], "reset", "{told}");
    assert!(!told.to_string().contains("ada@example.org"), "the whole address is shown: {told}");
    let link = world.link("ada@example.org", 1).await;
    assert!(world.binds("ada", PASSWORD).await && world.writes("ada").await.is_empty());
    world.surely_sets_password(&link, NEW).await;
    assert!(world.binds("ada", NEW).await && !world.binds("ada", PASSWORD).await);
    let row = world.event(&[("event", "link-requested"), ("outcome", "accepted")]).await;
    assert_eq!((row["reason"].as_str(), row["actor_kind"].as_str()), (Some("asked at the desk"), Some("operator")));
}

async fn s2_4_a_first_password_by_an_operator_is_no_activation() {
    let world = World::start().await;
    world.secret(NEW);
    sets_by_hand(&world, "noether", &[], NEW);
    world.forgets("noether").await;
    world.event(&[("event", "request-ended"), ("reason", "undecided")]).await;
    // Her own first step is an activation link, and from then on she helps herself.
    world.sends_code("noether");
    let link = world.link("noether@example.org", 2).await;
    world.surely_sets_password(&link, "nine copper kettles in a row").await;
    let link = world.link_after("noether", 3).await;
    world.surely_sets_password(&link, "seven quiet lanterns at sea").await;
}

async fn s2_4_a_password_set_by_hand_stops_the_old_one_at_once() {
    let world = World::start().await;
    world.secret(NEW);
    let told = sets_by_hand(&world, "ada", &[], NEW);
    assert!(!told.out.contains(NEW) && !told.err.contains(NEW), "the typed password is shown: {told:?}");
    assert!(!world.binds("ada", PASSWORD).await, "the old password still works");
    assert!(world.binds("ada", NEW).await, "the new password does not work");
    assert_eq!(world.slapd().attribute(&world.dn("ada"), "pwdReset").await.as_deref(), Some("TRUE"));
    assert_eq!(world.signs_in("ada", NEW).await.status, 401, "a password that must be changed lets in");
    let row = world.event(&[("event", "password-replaced"), ("outcome", "replaced")]).await;
    assert_eq!(row["reason"], "lost everything");
    let messages = world.smtp().wait_for_mail_to("ada@example.org", 1).await;
    assert!(!messages[0].text().contains("/r/") && !messages[0].text().contains(NEW), "{}", messages[0].text());
    // She may still help herself, since a change is all that is asked of her.
    let link = world.link_after("ada", 1).await;
    world.surely_sets_password(&link, "nine copper kettles in a row").await;
    until("no change is asked for any more", async || {
        world.slapd().attribute(&world.dn("ada"), "pwdReset").await.is_none()
    })
    .await;
}

async fn s2_4_a_drawn_password_is_shown_once_and_works() {
    let world = World::start().await;
    let told = world.rekeyctl(&["--json", "set-password", "ada", "--generate", "--reason", "lost"], "").fine().json();
    let drawn = told["password"].as_str().unwrap_or_else(|| panic!("no password in {told}")).to_owned();
    assert!(world.binds("ada", &drawn).await && !world.binds("ada", PASSWORD).await);
    assert!(!world.smtp().wait_for_mail_to("ada@example.org", 1).await[0].text().contains(&drawn));
}

async fn s2_4_the_directory_may_be_asked_for_no_change_at_sign_in() {
    for variant in [Variant::Policy, Variant::Bare] {
        let world = World::builder().shared(variant).start().await;
        sets_by_hand(&world, "ada", &["--no-must-change"], NEW);
        assert!(world.binds("ada", NEW).await && !world.binds("ada", PASSWORD).await);
        if variant == Variant::Policy {
            assert_eq!(world.slapd().attribute(&world.dn("ada"), "pwdReset").await, None);
        }
        assert_eq!(world.signs_in("ada", NEW).await.json()["outcome"], "granted", "{variant:?}");
    }
    // A server that knows no such flag is not written to as if it did.
    let slapd = Slapd::shared(Variant::Bare).await;
    let world = World::builder().slapd(&slapd).start().await;
    let told = world.rekeyctl(&["set-password", "grace", "--reason", "x"], &format!("{NEW}\n{NEW}\n"));
    assert!(told.code == 0 || !world.binds("grace", NEW).await, "{told:?}");
    assert_eq!(world.smtp().messages_to(&address("grace")).len(), usize::from(told.code == 0));
}

fn sets_by_hand(world: &World, login: &str, more: &[&str], password: &str) -> Told {
    world.secret(password);
    let arguments = [&["set-password", login, "--reason", "lost everything"], more].concat();
    world.rekeyctl(&arguments, &format!("{password}\n{password}\n")).fine()
}
