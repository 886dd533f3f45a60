//! P1 and P2: nothing is written before a password is set, and the table decides who may have it set.

use rekeyd_tests::{
    acts::{address, is_set, until},
    branch::PASSWORD,
    proxy::{Fate, Proxy},
    slapd::{SUFFIX, Slapd, Variant},
    tests,
    world::World,
    world_config::Way,
};

tests! {
    async fn p1_nothing_is_written_before_the_one_write_of_the_password;
    async fn p2_a_lock_set_between_check_and_write_is_not_erased;
    async fn p2_a_verdict_that_has_changed_is_heard_when_the_password_is_set;
    async fn p2_the_table_holds_for_a_link_by_an_operator;
    async fn p2_the_table_holds_for_a_replacement_by_an_operator;
    async fn p2_the_table_holds_for_self_service;
    async fn p2_the_table_holds_for_signing_in;
    async fn p2_an_account_that_nobody_uses_is_no_longer_helped;
    async fn p2_an_admin_group_may_name_its_members_by_login_or_by_number;
    async fn p2_what_an_admin_group_is_may_lie_any_number_of_groups_deep;
    async fn p2_what_the_policy_makes_stricter_is_refused;
    async fn t41_a_newer_password_between_check_and_write_is_not_overwritten;
    async fn t52_a_reset_writes_the_password_and_nothing_else;
}

const NEW: &str = "seven violet teapots orbit";

/// A cell of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cell {
    /// Refused, for this reason.
    No(&'static str),
    /// Done.
    Yes,
}
use Cell::{No, Yes};

/// What the table says of each person of a branch, one row a person: self-service, an operator's link, an operator's
/// replacement, signing in with the right password. Root is the operator, and an owner, so even `boss` is helped.
fn table(variant: Variant) -> Vec<(&'static str, Cell, Cell, Cell, bool)> {
    let mut rows = vec![
        ("ada", Yes, Yes, Yes, true),
        ("boss", No("privileged"), Yes, Yes, true),
        ("loop", Yes, Yes, Yes, true),
        ("nobody", No("not-found"), No("not-found"), No("not-found"), false),
        ("noether", No("never-activated"), Yes, Yes, false),
        ("nomail", No("no-contact"), No("no-contact"), Yes, true),
        ("odd", Yes, Yes, Yes, true),
        ("twin", No("ambiguous"), No("ambiguous"), No("ambiguous"), false),
        ("zoë", Yes, Yes, Yes, true),
        ("hopper", No("expired"), No("expired"), No("expired"), false),
    ];
    if variant == Variant::Policy {
        rows.extend([
            ("locked", Yes, Yes, Yes, false),
            ("mustchange", Yes, Yes, Yes, false),
            ("stale", Yes, Yes, Yes, false),
            ("tomorrow", No("not-yet-valid"), No("not-yet-valid"), No("not-yet-valid"), false),
            ("turing", No("locked-by-admin"), No("locked-by-admin"), No("locked-by-admin"), false),
            ("veiled", No("unknown"), No("unknown"), No("unknown"), false),
        ]);
    } else {
        rows.push(("turing", No("disabled"), No("disabled"), No("disabled"), false));
    }
    rows
}

async fn p1_nothing_is_written_before_the_one_write_of_the_password() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    for _ in 0..3 {
        world.door().get(&link).await;
    }
    assert!(world.sets_password(&link, "password1234").await.status.is_client_error());
    assert!(world.slapd().service_writes(world.branch().base()).await.is_empty(), "written before the password is set");
    world.surely_sets_password(&link, NEW).await;
    let writes = world.slapd().service_writes(world.branch().base()).await;
    let names: Vec<_> = writes.iter().flat_map(|write| &write.attributes).map(String::as_str).collect();
    assert!(writes.len() == 1 && writes[0].sets_password(), "{writes:?}");
    assert!(names.contains(&"userPassword"), "{names:?}");
}

async fn t52_a_reset_writes_the_password_and_nothing_else() {
    let world = World::start().await;
    let before = lasting(&world).await;
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, NEW).await;
    assert_eq!(before, lasting(&world).await);
}

/// What a reset must leave as it is.
async fn lasting(world: &World) -> Vec<Vec<String>> {
    let mut values = Vec::new();
    for name in ["cn", "employeeType", "mail", "memberOf", "objectClass", "pwdAccountLockedTime", "pwdEndTime", "uid"] {
        values.push(world.slapd().values(&world.dn("ada"), name).await);
    }
    values
}

async fn p2_the_table_holds_for_self_service() {
    for variant in [Variant::Policy, Variant::Bare] {
        let world = World::builder().shared(variant).start().await;
        for (login, cell, ..) in table(variant) {
            let password = format!("{NEW} {}", login.chars().rev().collect::<String>());
            match cell {
                Yes => {
                    let link = world.forgets_and_gets_link(login).await;
                    world.surely_sets_password(&link, &password).await;
                    assert!(world.binds(login, &password).await, "{variant:?} {login}: the new password does not work");
                }
                No(reason) => {
                    world.forgets(login).await;
                    world.event(&[("event", "request-ended"), ("outcome", "refused"), ("reason", reason)]).await;
                    assert!(world.smtp().messages_to(&address(login)).is_empty(), "{variant:?} {login} got a message");
                }
            }
        }
    }
}

async fn p2_the_table_holds_for_a_link_by_an_operator() {
    for variant in [Variant::Policy, Variant::Bare] {
        let world = World::builder().shared(variant).start().await;
        for (login, _, cell, ..) in table(variant) {
            let told = world.rekeyctl(&["--json", "send-code", login, "--reason", "x"], "");
            let text = format!("{variant:?} {login}: {told:?}");
            match cell {
                Yes => {
                    assert_eq!(told.code, 0, "{text}");
                    let link = world.link(&address(login), 1).await;
                    let password = format!("{NEW} {}", login.chars().rev().collect::<String>());
                    world.surely_sets_password(&link, &password).await;
                    assert!(world.binds(login, &password).await, "{text}");
                }
                No(reason) => {
                    assert!(told.code != 0 && told.err.contains(&format!("\"code\":\"{reason}\"")), "{text}");
                    assert!(world.smtp().messages_to(&address(login)).is_empty(), "{text}");
                }
            }
        }
    }
}

async fn p2_the_table_holds_for_a_replacement_by_an_operator() {
    for variant in [Variant::Policy, Variant::Bare] {
        let world = World::builder().shared(variant).start().await;
        for (login, _, _, cell, _) in table(variant) {
            let arguments = ["--json", "set-password", login, "--reason", "x", "--no-must-change"];
            let password = format!("{NEW} {}", login.chars().rev().collect::<String>());
            let told = world.rekeyctl(&arguments, &format!("{password}\n{password}\n"));
            let text = format!("{variant:?} {login}: {told:?}");
            match cell {
                Yes => {
                    assert_eq!(told.code, 0, "{text}");
                    assert!(world.binds(login, &password).await, "{text}");
                }
                No(reason) => {
                    assert!(told.code != 0 && told.err.contains(&format!("\"code\":\"{reason}\"")), "{text}");
                }
            }
        }
    }
}

async fn p2_the_table_holds_for_signing_in() {
    for variant in [Variant::Policy, Variant::Bare] {
        let world = World::builder().shared(variant).start().await;
        for (login, .., granted) in table(variant) {
            // One answers for the directory alone there, and both answers are right.
            if login == "veiled" {
                continue;
            }
            let answer = world.signs_in(login, PASSWORD).await;
            assert_eq!(answer.status, if granted { 200 } else { 401 }, "{variant:?} {login}: {}", answer.text());
            assert_eq!(world.signs_in(login, "not the password").await.status, 401, "{variant:?} {login}");
        }
    }
}

async fn p2_what_an_admin_group_is_may_lie_any_number_of_groups_deep() {
    for variant in [Variant::Policy, Variant::Bare] {
        let world = World::builder().shared(variant).start().await;
        let group = |depth: usize| world.branch().group(&format!("depth{depth}"));
        let mut inner = world.dn("ada");
        for depth in 0..6 {
            world.slapd().add(&group(depth), &[("objectClass", "groupOfNames"), ("member", &inner)]).await;
            inner = group(depth);
        }
        let admins = world.branch().group("admins");
        world.slapd().set(&admins, "member", &[&world.branch().group("staff"), &inner]).await;
        world.forgets("ada").await;
        world.event(&[("event", "request-ended"), ("reason", "privileged")]).await;
        assert!(world.smtp().messages().is_empty());
    }
}

async fn p2_an_account_that_nobody_uses_is_no_longer_helped() {
    let slapd = Slapd::that_keeps_sign_ins().await;
    let world = World::builder().slapd(&slapd).start().await;
    let class = [("objectClass", "device"), ("objectClass", "pwdPolicy"), ("pwdAttribute", "userPassword")];
    let [hour, second] = ["hour", "second"].map(|name| format!("cn={name},ou=policies,{SUFFIX}"));
    for (policy, idle) in [(&hour, "3600"), (&second, "1")] {
        slapd.add(policy, &[&class[..], &[("pwdLockout", "TRUE"), ("pwdMaxIdle", idle)]].concat()).await;
    }
    let explained = |login: &str| world.asks(&["explain", login])["reason"]["code"].as_str().map(str::to_owned);
    let binds = async |login: &str| slapd.binds(&world.dn(login), PASSWORD).await;
    for login in ["ada", "zoë"] {
        assert!(binds(login).await);
    }
    for login in ["grace", "zoë"] {
        slapd.set(&world.dn(login), "pwdPolicySubentry", &[&hour]).await;
    }
    // Somebody has signed in lately; of somebody else there is only an old password, and the server counts from that.
    assert!(binds("zoë").await && !binds("grace").await);
    assert_eq!((explained("zoë"), explained("grace").as_deref()), (None, Some("expired")));
    // A link of before is of no use then, and nothing erases what the server goes by.
    let link = world.forgets_and_gets_link("ada").await;
    slapd.set(&world.dn("ada"), "pwdPolicySubentry", &[&second]).await;
    until("ada has been away for long", async || explained("ada").as_deref() == Some("expired")).await;
    assert!(!binds("ada").await);
    let used = slapd.attribute(&world.dn("ada"), "pwdLastSuccess").await;
    let answer = world.sets_password(&link, NEW).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(used.is_some() && slapd.attribute(&world.dn("ada"), "pwdLastSuccess").await == used);
    // Whoever signs in while the link is open is helped all the same.
    let link = world.forgets_and_gets_link("zoë").await;
    assert!(binds("zoë").await);
    world.surely_sets_password(&link, NEW).await;
    assert_eq!(slapd.attribute(&world.dn("zoë"), "pwdLastSuccess").await, None);
    assert_eq!(explained("zoë"), None, "counted from the new password");
}

async fn p2_an_admin_group_may_name_its_members_by_login_or_by_number() {
    for variant in [Variant::Policy, Variant::Bare] {
        // The attribute that such a group names its members by is none that people log in with here.
        let builder = World::builder().shared(variant).set("directory.login_attributes", r#"["mail"]"#);
        let world = builder.start().await;
        let wheel = world.branch().group("wheel");
        let class = [("objectClass", "posixGroup"), ("gidNumber", "4711"), ("memberUid", "ada")];
        world.slapd().add(&wheel, &class).await;
        world.set("policy.privileged_groups", &format!("[{wheel:?}]"));
        assert!(world.stop().success());
        world.restart().await;
        world.forgets("ada@example.org").await;
        world.event(&[("event", "request-ended"), ("reason", "privileged")]).await;
        assert!(world.smtp().messages().is_empty());
    }
}

async fn p2_what_the_policy_makes_stricter_is_refused() {
    // What is set, what the directory says besides (an attribute of `ada`), and why the person is refused.
    let cases = [
        ("policy.unlock_by_reset", "false", None, "locked", "locked-by-failures"),
        ("policy.reset_expired_passwords", "false", None, "stale", "password-expired"),
        ("policy.contacts.require_proof", "true", None, "ada", "unproved-contact"),
        ("policy.contacts.denied_domains", r#"["example.org"]"#, None, "ada", "contact-denied"),
        ("policy.contacts.generic_names", r#"["info"]"#, Some(("mail", "info@example.org")), "ada", "contact-denied"),
        ("directory.markers.disabled", r#"["employeeType=x"]"#, Some(("employeeType", "x")), "ada", "disabled"),
        ("directory.markers.locked", r#"["employeeType=x"]"#, Some(("employeeType", "x")), "ada", "locked-by-admin"),
        ("directory.markers.expired", r#"["employeeType=x"]"#, Some(("employeeType", "x")), "ada", "expired"),
        ("directory.markers.not_a_person", r#"["employeeType=x"]"#, Some(("employeeType", "x")), "ada", "not-a-person"),
        ("directory.markers.never_activated", r#"["!initials"]"#, None, "ada", "never-activated"),
        (
            "directory.markers.password_elsewhere",
            r#"["employeeType=x"]"#,
            Some(("employeeType", "x")),
            "ada",
            "password-elsewhere",
        ),
        ("directory.filter", r#""(objectClass=device)""#, None, "ada", "not-found"),
    ];
    for (key, value, besides, login, reason) in cases {
        let world = World::builder().set(key, value).start().await;
        if let Some((attribute, value)) = besides {
            world.slapd().set(&world.dn("ada"), attribute, &[value]).await;
        }
        world.forgets(login).await;
        world.event(&[("event", "request-ended"), ("reason", reason)]).await;
        assert!(world.smtp().messages().is_empty(), "{key}");
    }
    let world = World::start().await;
    world.set("policy.privileged_accounts", &format!("[{:?}]", world.dn("ada")));
    world.reload().await;
    world.forgets("ada").await;
    world.event(&[("event", "request-ended"), ("reason", "privileged")]).await;
}

/// What an administrator does to an account while its link lies in the mailbox, and how the trail calls it.
async fn happens(world: &World, what: &str) {
    let (slapd, dn) = (world.slapd(), world.dn("ada"));
    match what {
        "locked-by-admin" => slapd.set(&dn, "pwdAccountLockedTime", &["000001010000Z"]).await,
        "expired" => slapd.set(&dn, "pwdEndTime", &["20251231000000Z"]).await,
        "not-yet-valid" => slapd.set(&dn, "pwdStartTime", &["20991231000000Z"]).await,
        "privileged" => {
            slapd.set(&world.branch().group("staff"), "member", &[&world.dn("boss"), &dn]).await;
        }
        "disabled" => slapd.set(&dn, "employeeType", &["disabled"]).await,
        other => panic!("nobody knows how {other} happens"),
    }
}

async fn p2_a_verdict_that_has_changed_is_heard_when_the_password_is_set() {
    for what in ["locked-by-admin", "expired", "not-yet-valid", "privileged", "disabled"] {
        let world = World::builder().set("directory.markers.disabled", r#"["employeeType=disabled"]"#).start().await;
        let link = world.forgets_and_gets_link("ada").await;
        happens(&world, what).await;
        let answer = world.sets_password(&link, NEW).await;
        assert!(!is_set(&answer), "{what}: {}", answer.text());
        assert!(!answer.text().contains(what), "the page says why: {}", answer.text());
        assert!(world.writes("ada").await.is_empty(), "{what}: something was written");
        world.event(&[("event", "ticket-refused"), ("reason", what)]).await;
        let again = world.sets_password(&link, NEW).await;
        assert!(!is_set(&again) && world.writes("ada").await.is_empty(), "{what}: the link still works");
    }
}

async fn p2_a_lock_set_between_check_and_write_is_not_erased() {
    let (world, proxy) = behind_a_proxy().await;
    let link = world.forgets_and_gets_link("ada").await;
    proxy.next_write(Fate::HoldRequest);
    let (answer, ()) = tokio::join!(world.sets_password(&link, NEW), async {
        proxy.stopped().await;
        happens(&world, "locked-by-admin").await;
        proxy.release();
    });
    assert!(!is_set(&answer), "{}", answer.text());
    let lock = world.slapd().attribute(&world.dn("ada"), "pwdAccountLockedTime").await;
    assert_eq!(lock.as_deref(), Some("000001010000Z"), "the administrator's lock is gone");
    assert!(!world.writes("ada").await.iter().any(rekeyd_tests::slapd::Write::sets_password));
}

async fn t41_a_newer_password_between_check_and_write_is_not_overwritten() {
    let (world, proxy) = behind_a_proxy().await;
    let link = world.forgets_and_gets_link("ada").await;
    let own = "nine copper kettles in a row";
    proxy.next_write(Fate::HoldRequest);
    let (answer, ()) = tokio::join!(world.sets_password(&link, NEW), async {
        proxy.stopped().await;
        world.slapd().change_own_password(&world.dn("ada"), PASSWORD, own).await;
        proxy.release();
    });
    assert!(!is_set(&answer), "{}", answer.text());
    assert!(world.binds("ada", own).await && !world.binds("ada", NEW).await);
}

/// A world whose daemon goes through a proxy, so that a test can stop a write on its way.
async fn behind_a_proxy() -> (World, Proxy) {
    let slapd = Slapd::shared(Variant::Policy).await;
    let proxy = Proxy::start(&slapd.uri()).await;
    (World::builder().slapd(&slapd).way(Way::Clear(Some(proxy.uri()))).start().await, proxy)
}
