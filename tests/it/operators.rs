//! P8 and the operators' command: who may do what, and what `rekeyctl` tells them.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, sync::Arc};

use hyper::Method;
use nix::unistd::getuid;
use rekeyd_tests::{
    acts::{Told, run},
    branch::PASSWORD,
    estate::{Estate, Product},
    samba, tests,
    world::{World, program},
};
use serde_json::{Value, json};

tests! {
    async fn p8_operators_of_the_group_help_everybody_below_them;
    async fn p8_who_has_no_rank_learns_nothing;
    async fn ctl_a_temporary_password_that_need_not_be_changed_is_told_of;
    async fn ctl_audit_is_a_table_or_json;
    async fn ctl_explain_names_all_groups_of_active_directory;
    async fn ctl_explain_names_every_finding_and_the_remedy;
    async fn ctl_exit_codes_tell_refusals_from_faults;
    async fn ctl_outbox_shows_what_waits_and_why;
    async fn ctl_reads_passwords_without_showing_them;
    async fn ctl_status_says_how_the_daemon_does;
    async fn t118_only_the_kernel_says_who_asks;
    async fn t127_the_socket_refuses_what_it_does_not_know;
}

const NEW: &str = "seven violet teapots orbit";
/// A group and a user that every Debian has, and that own nothing in tests.
const GROUP: &str = "games";
const USER: &str = "games";

async fn p8_operators_of_the_group_help_everybody_below_them() {
    let world = World::builder().set("admin.group", &format!("{GROUP:?}")).start().await;
    let reason = ["--reason", "asked at the desk"];
    let told = as_user(&world, USER, &[&["send-code", "ada"][..], &reason].concat(), "");
    assert_eq!(told.code, 0, "{told:?}");
    world.link("ada@example.org", 1).await;
    let row = world.event(&[("event", "link-requested"), ("outcome", "accepted")]).await;
    assert!(row["actor"].as_str().is_some_and(|actor| actor.contains(USER)), "{row}");

    for verb in ["send-code", "set-password"] {
        let arguments =
            [&[verb, "boss"][..], &reason, if verb == "send-code" { &[] } else { &["--generate"] }].concat();
        let told = as_user(&world, USER, &arguments, "");
        assert!(told.code != 0 && told.err.contains("privileged"), "{told:?}");
    }
    let told = as_user(&world, USER, &["restored", "--yes", "--reason", "x"], "");
    assert!(told.code != 0, "an operator declares a restore: {told:?}");
    assert!(world.smtp().messages_to("boss@example.org").is_empty());
    assert!(world.binds("boss", PASSWORD).await);

    // Root is the owner, and helps administrators.
    let told = world.sends_code("boss");
    assert_eq!(told.code, 0, "{told:?}");
    let link = world.link("boss@example.org", 1).await;
    world.surely_sets_password(&link, NEW).await;
    assert!(world.binds("boss", NEW).await);
}

async fn p8_who_has_no_rank_learns_nothing() {
    let world = World::builder().set("admin.group", &format!("{GROUP:?}")).start().await;
    for arguments in [&["status"][..], &["explain", "ada"], &["audit"], &["send-code", "ada", "--reason", "x"]] {
        let told = as_user(&world, "nobody", arguments, "");
        assert!(told.code != 0, "{told:?}");
        assert!(!told.out.contains("ada"), "{told:?}");
    }
    assert!(world.smtp().messages().is_empty() && world.audit().is_empty());
}

async fn t118_only_the_kernel_says_who_asks() {
    let world = World::start().await;
    let told = as_user(&world, USER, &["status"], "");
    assert!(told.code != 0, "without a group root alone may call: {told:?}");
    for more in
        [json!({"login": "ada", "reason": "x", "uid": 0}), json!({"login": "ada", "reason": "x", "actor": "root"})]
    {
        assert_eq!(world.admin(Method::POST, "/v1/send-code", Some(&more)).await.status, 400, "{more}");
    }
    let mode = fs::metadata(world.admin_socket()).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o007, 0, "everybody may connect: {mode:o}");
}

async fn t127_the_socket_refuses_what_it_does_not_know() {
    let world = World::start().await;
    let post = async |path: &str, body| world.admin(Method::POST, path, Some(&body)).await.status.as_u16();
    assert_eq!(post("/v1/send-code", json!({"login": "ada"})).await, 400, "without a reason");
    assert_eq!(post("/v1/send-code", json!({"login": "ada", "reason": "  "})).await, 400);
    assert_eq!(post("/v1/send-code", json!({"login": ["ada"], "reason": "x"})).await, 400);
    assert_eq!(post("/v1/set-password", json!({"login": "ada", "reason": "x"})).await, 400);
    let both = json!({"login": "ada", "reason": "x", "password": NEW, "generate": true});
    assert_eq!(post("/v1/set-password", both).await, 400);
    assert_eq!(post("/v1/nowhere", json!({})).await, 404);
    for path in ["/v1/audit?limit=0", "/v1/audit?limt=5", "/v1/outbox?waiting=perhaps", "/v1/status?x=1"] {
        assert_eq!(world.admin(Method::GET, path, None).await.status, 400, "{path}");
    }
    let problem = world.admin(Method::GET, "/v1/nowhere", None).await;
    assert_eq!(problem.header("content-type"), "application/problem+json");
    assert!(world.audit().is_empty());
}

async fn ctl_status_says_how_the_daemon_does() {
    let world = World::start().await;
    let status = world.asks(&["status"]);
    assert_eq!(
        (status["directories"][0]["name"].as_str(), &status["channels"]),
        (Some("main"), &json!(["post"])),
        "{status}"
    );
    assert_eq!((status["requests_waiting"].as_u64(), status["tickets_live"].as_u64()), (Some(0), Some(0)));
    world.forgets_and_gets_link("ada").await;
    let status = world.asks(&["status"]);
    assert!(status["tickets_live"].as_u64() >= Some(1) && status["events"].as_u64() >= Some(1), "{status}");
    assert_eq!(status["directories"][0]["up"], true, "{status}");
    let table = world.rekeyctl(&["status"], "").fine();
    assert!(table.out.contains("main") && table.out.contains("post"), "{table:?}");
}

async fn ctl_explain_names_all_groups_of_active_directory() {
    let estate = Arc::new(Estate::claim(Product::ActiveDirectory).await);
    for name in ["active", "domain-admin", "primary-admin", "nested-admin"] {
        estate.make(name).await;
    }
    // More groups than one question asks about, nested in one another.
    estate.add_group("inner", &[&estate.dn("active")]).await;
    for number in 0..70 {
        estate.add_group(&format!("outer{number}"), &[&estate.group("inner")]).await;
    }
    let world = World::builder().estate(&estate).start().await;
    let explained = |name: &str| world.asks(&["explain", &estate.login_of(name)])["account"].clone();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().expect("a list").iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let active = explained("active");
    let groups = texts(&active["groups"]);
    let has = |groups: &[String], name: &str| groups.iter().any(|group| group.eq_ignore_ascii_case(name));
    for name in [
        estate.group("inner"),
        estate.group("outer0"),
        estate.group("outer69"),
        format!("CN=Domain Users,CN=Users,{}", samba::SUFFIX),
        format!("CN=Users,CN=Builtin,{}", samba::SUFFIX),
    ] {
        assert!(has(&groups, &name), "{name}: {active:#}");
    }
    assert!(groups.len() >= 73 && texts(&active["privileged_by"]).is_empty(), "{active:#}");
    for (name, steps) in [("domain-admin", 2), ("primary-admin", 1)] {
        let told = explained(name);
        let way = texts(&told["privileged_by"]);
        assert_eq!(way.len(), steps, "{told:#}");
        assert!(has(&texts(&told["groups"]), &format!("CN=Domain Admins,CN=Users,{}", samba::SUFFIX)), "{told:#}");
        let last = way.last().expect("a group");
        assert!(
            ["Administrators", "Domain Admins"].iter().any(|words| last.contains(&format!("({words}, S-1-5-"))),
            "{last}"
        );
    }
    let way = texts(&explained("nested-admin")["privileged_by"]);
    assert!(way.last().is_some_and(|group| group.eq_ignore_ascii_case(&estate.group("admins"))), "{way:?}");
}

async fn ctl_explain_names_every_finding_and_the_remedy() {
    let world = World::start().await;
    for (login, finding) in [
        ("hopper", "expired"),
        ("turing", "locked-by-admin"),
        ("boss", "privileged"),
        ("noether", "never-activated"),
        ("tomorrow", "not-yet-valid"),
    ] {
        let told = world.asks(&["explain", login]);
        assert_eq!((&told["found"], &told["reason"]["code"]), (&json!("account"), &json!(finding)), "{told}");
        let findings = told["account"]["findings"].as_array().expect("findings");
        let named = findings.iter().find(|found| found["finding"] == finding).unwrap_or_else(|| panic!("{told}"));
        for evidence in ["attribute", "value", "server"] {
            assert!(named[evidence].as_str().is_some_and(|text| !text.is_empty()), "{named}");
        }
        let text = world.rekeyctl(&["explain", login], "").fine().out;
        let remedy = told["reason"]["remedy"].as_str().expect("a remedy");
        let first_words: String = remedy.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        assert!(text.contains(&first_words) && text.contains("no"), "{remedy} is not in\n{text}");
    }
    let told = world.asks(&["explain", "ada"]);
    assert!(told["reason"].is_null() && told["account"]["findings"].as_array().is_some_and(Vec::is_empty), "{told}");
    assert!(!told.to_string().contains("ada@example.org"), "the whole address is shown: {told}");
    let verdicts = told["account"]["verdicts"].as_array().expect("verdicts");
    assert!(verdicts.len() == 5 && verdicts.iter().all(|verdict| verdict["allowed"] == true), "{told}");
    let told = world.rekeyctl(&["--json", "explain", "twin"], "").json();
    assert_eq!((&told["found"], told["matches"].as_array().map(Vec::len)), (&json!("ambiguous"), Some(2)), "{told}");
    let told = world.rekeyctl(&["--json", "explain", "nobody"], "");
    assert_eq!((told.code, &told.json()["found"]), (1, &json!("not-found")), "{told:?}");
    assert_eq!(world.asks(&["explain", "loop"])["account"]["groups"].as_array().map(Vec::len), Some(2));
    assert!(world.writes("ada").await.is_empty());
}

async fn ctl_a_temporary_password_that_need_not_be_changed_is_told_of() {
    let estate = Arc::new(Estate::claim(Product::Ds389).await);
    for name in ["lax", "usual"] {
        estate.add_active(&estate.dn(name), &estate.login(name), &[]).await;
    }
    estate.policy_for(&estate.dn("lax"), "lax", &[("passwordMustChange", "off")]).await;
    let world = World::builder().estate(&estate).start().await;
    for (name, unseen) in [("lax", true), ("usual", false)] {
        let login = estate.login(name);
        let arguments = ["set-password", &login, "--reason", "asked at the desk"];
        let told = world.rekeyctl(&arguments, "Rw9Tk4Hy7BzQp3Vm\n").fine();
        let said = format!("{}{}", told.out, told.err);
        assert_eq!(said.contains("does not show"), unseen, "{said}");
        let row = world.event(&[("event", "password-replaced"), ("outcome", "replaced")]).await;
        assert_eq!(row["details"].to_string().contains("must-change-seen"), unseen, "{row}");
        // A drawn one may hold three letters of a name, which this server refuses.
        let arguments = ["--json", "set-password", &login, "--reason", "asked once more"];
        let answer = world.rekeyctl(&arguments, "Tk7Wq3Zx9HvQ8Rb5\n").fine().json();
        assert_eq!(answer["must_change_unseen"].as_bool(), unseen.then_some(true), "{answer}");
    }
    for password in ["Rw9Tk4Hy7BzQp3Vm", "Tk7Wq3Zx9HvQ8Rb5"] {
        world.secret(password);
    }
}

async fn ctl_audit_is_a_table_or_json() {
    let world = World::start().await;
    world.forgets_and_gets_link("ada").await;
    world.forgets("hopper").await;
    world.event(&[("event", "request-ended"), ("reason", "expired")]).await;
    world.event(&[("event", "notice-delivered")]).await;
    let table = world.rekeyctl(&["audit"], "").fine().out;
    for word in ["ticket-issued", "request-ended", "expired", "127.0.0.1"] {
        assert!(table.contains(word), "{word} is not in\n{table}");
    }
    let rows = world.asks(&["audit", "--limit", "1"]);
    assert_eq!(rows["events"].as_array().map(Vec::len), Some(1));
    let rows = world.asks(&["audit", "ada"]);
    let rows = rows["events"].as_array().expect("rows");
    assert!(!rows.is_empty() && rows.iter().all(|row| row["account"] == rows[0]["account"]), "{rows:?}");
    let verified = world.rekeyctl(&["audit", "--verify"], "").fine();
    assert!(!verified.out.is_empty());
}

async fn ctl_outbox_shows_what_waits_and_why() {
    let world = World::start().await;
    world.smtp().close().await;
    world.forgets("ada").await;
    let waits = async || {
        let outbox = world.asks(&["outbox"]);
        let row = outbox["notices"].as_array().and_then(|rows| rows.first().cloned());
        row.filter(|row| row["reason"].is_string())
    };
    rekeyd_tests::acts::until("a message has been tried", async || waits().await.is_some()).await;
    let row = waits().await.expect("a row");
    assert_eq!((row["login"].as_str(), row["notice"].as_str()), (Some("ada"), Some("reset-link")), "{row}");
    assert!(!row.to_string().contains("ada@example.org"), "{row}");
    let table = world.rekeyctl(&["outbox"], "").fine().out;
    assert!(table.contains("ada") && table.contains("reset-link"), "{table}");
    world.smtp().open().await;
    world.link("ada@example.org", 1).await;
}

async fn ctl_reads_passwords_without_showing_them() {
    let world = World::start().await;
    world.secret(NEW);
    let told = world.rekeyctl(&["set-password", "ada", "--reason", "x"], "");
    assert!(told.code != 0 && world.binds("ada", PASSWORD).await, "nothing was taken for a password: {told:?}");
    let told = world.rekeyctl(&["set-password", "ada", "--reason", "x", "--password", NEW], "");
    assert_eq!(told.code, 64, "a password on the command line is taken: {told:?}");
    let told = world.rekeyctl(&["set-password", "ada", "--reason", "x"], "password\npassword\n");
    assert!(told.code != 0 && told.err.contains("shorter"), "{told:?}");
    assert!(world.binds("ada", PASSWORD).await);
}

async fn ctl_exit_codes_tell_refusals_from_faults() {
    let world = World::start().await;
    let code = |arguments: &[&str]| world.rekeyctl(arguments, "").code;
    assert_eq!(code(&["status"]), 0);
    let usage = [code(&[]), code(&["no-such-verb"]), code(&["send-code"]), code(&["status", "--no-such-flag"])];
    assert_eq!(usage, [64; 4], "usage");
    assert_eq!(code(&["send-code", "ada"]), 0, "a script may leave the reason out");
    world.event(&[("event", "link-requested"), ("reason", "no reason given")]).await;
    let refused = [code(&["send-code", "hopper", "--reason", "x"]), code(&["send-code", "nobody", "--reason", "x"])];
    assert_eq!(refused, [1; 2], "refused");
    assert_eq!(code(&["restored", "--reason", "x"]), 64, "nobody is there to be asked");
    assert_eq!(as_user(&world, USER, &["status"], "").code, 77);
    assert!(world.stop().success());
    let gone = world.rekeyctl(&["status"], "");
    assert!(gone.code == 69 && gone.err.contains("admin.sock"), "{gone:?}");
    assert_eq!(gone.out, "");
}

/// Runs `rekeyctl` as somebody else, from a copy that everybody may run.
fn as_user(world: &World, user: &str, arguments: &[&str], typed: &str) -> Told {
    assert!(getuid().is_root(), "tests of ranks need root, who can become anybody");
    let copy = world.folder().join("rekeyctl");
    if !copy.exists() {
        // Written by a process of its own: a child that another thread forks meanwhile would hold the file open for
        // writing, and a program that is being written can't be run.
        let copied = Command::new("install").args(["-m", "755"]).arg(program("rekeyctl")).arg(&copy).status();
        assert!(copied.is_ok_and(|status| status.success()), "rekeyctl can be copied");
    }
    for folder in copy.ancestors().skip(1).take_while(|folder| *folder != std::path::Path::new("/tmp")) {
        let mode = fs::metadata(folder).expect("a folder").permissions().mode();
        fs::set_permissions(folder, fs::Permissions::from_mode(mode | 0o011)).expect("permissions");
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--init-groups", "--"]).arg(&copy);
    command.arg("--socket").arg(world.admin_socket()).args(arguments);
    run(command, typed)
}
