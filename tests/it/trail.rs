//! P6, P7 and P9: secrets do not leak, everything is accounted for, and the directory's refusals are said in words.

use std::{collections::BTreeSet, fs};

use rekeyd_tests::{acts::is_set, branch::PASSWORD, secrets, tests, world::World};
use rusqlite::{Connection, params};
use serde_json::json;

tests! {
    async fn p6_nothing_secret_is_in_argv_or_environment_or_can_be_dumped;
    async fn p6_no_secret_is_in_logs_or_files_at_any_level;
    async fn p6_what_people_type_by_mistake_is_not_kept_in_the_clear;
    async fn p7_a_row_that_was_changed_is_found;
    async fn p7_each_step_has_its_row;
    async fn p9_the_directorys_refusal_is_said_in_words;
}

const NEW: &str = "seven violet teapots orbit";

async fn p6_no_secret_is_in_logs_or_files_at_any_level() {
    let world = World::start().await;
    assert!(fs::read_to_string(world.config()).expect("the file").contains("log_level = \"trace\""));
    let link = world.forgets_and_gets_link("ada").await;
    world.sets_password(&link, PASSWORD).await;
    world.sets_password(&link, "too-short-5").await;
    world.surely_sets_password(&link, NEW).await;
    world.signs_in("ada", "a-wrong-password-88").await;
    world.signs_in("ada", NEW).await;
    world.rekeyctl(
        &["set-password", "grace", "--reason", "x"],
        "kettles of copper 9 in a row\nkettles of copper 9 in a row\n",
    );
    world.secret("kettles of copper 9 in a row");
    let drawn = world.asks(&["set-password", "zoë", "--generate", "--reason", "x"]);
    world.secret(drawn["password"].as_str().expect("a password"));
    // Whole addresses are for the mail server alone.
    world.secret("ada@example.org");
    assert!(world.log().contains("ready"), "nothing was logged: {}", world.log());
    // The world's end looks through its files; here is the trail, as an operator reads it.
    let trail = world.folder().join("trail.json");
    fs::write(&trail, json!(world.audit()).to_string()).expect("a written file");
    let found = secrets::found_in(&trail, &world.secrets());
    fs::remove_file(&trail).expect("a removed file");
    assert!(found.is_empty(), "{found:?}");
}

async fn p6_nothing_secret_is_in_argv_or_environment_or_can_be_dumped() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, NEW).await;
    let process = format!("/proc/{}", world.pid());
    let secrets = world.secrets();
    for part in ["cmdline", "environ", "status"] {
        let copy = world.folder().join(part);
        fs::write(&copy, fs::read(format!("{process}/{part}")).expect("the kernel's word")).expect("a written file");
        let found = secrets::found_in(&copy, &secrets);
        assert!(found.is_empty(), "{found:?}");
    }
    let limits = fs::read_to_string(format!("{process}/limits")).expect("the kernel's word");
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(cores.split_whitespace().nth(4), Some("0"), "{cores}");
    // A process that can be dumped belongs to its user; one that can't belongs to root and has an empty /proc for others.
    for place in [world.state(), world.state().join("rekeyd.db")] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&place).expect("a file").permissions());
        assert_eq!(mode & 0o077, 0, "{} is open to others: {mode:o}", place.display());
    }
}

async fn p6_what_people_type_by_mistake_is_not_kept_in_the_clear() {
    let world = World::start().await;
    let typed = "my-secret-word-in-the-wrong-field";
    world.secret(typed);
    world.forgets(typed).await;
    world.event(&[("event", "request-ended"), ("reason", "not-found")]).await;
    assert!(!world.log().contains(typed));
    assert!(!json!(world.audit()).to_string().contains(typed));
}

async fn p7_each_step_has_its_row() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    world.forgets("hopper").await;
    world.event(&[("event", "request-ended"), ("reason", "expired")]).await;
    world.sets_password(&link, PASSWORD).await;
    world.surely_sets_password(&link, NEW).await;
    world.smtp().wait_for_mail_to("ada@example.org", 2).await;
    assert_eq!(world.sends_code("noether").code, 0);
    world.link("noether@example.org", 1).await;
    world.rekeyctl(&["set-password", "grace", "--generate", "--reason", "lost card"], "");
    let not_me = world.not_me_link("ada@example.org", 2).await;
    world.door().fill_form(&not_me, &[("login", "ada")]).await;
    world.asks(&["thaw", "ada", "--reason", "it was her"]);
    world.asks(&["restored", "--yes", "--reason", "drill"]);
    for wanted in [
        [("event", "ticket-issued"), ("actor_kind", "visitor")],
        [("event", "notice-delivered"), ("actor_kind", "system")],
        [("event", "password-rejected"), ("reason", "in-history")],
        [("event", "password-set"), ("outcome", "set")],
        [("event", "link-requested"), ("reason", "asked at the desk")],
        [("event", "password-replaced"), ("reason", "lost card")],
        [("event", "not-me"), ("outcome", "frozen")],
        [("event", "thawed"), ("reason", "it was her")],
        [("event", "restored"), ("reason", "drill")],
    ] {
        let row = world.event(&wanted).await;
        assert!(row["at"].is_number() || row["at"].is_string(), "no moment in {row}");
    }
    // Rows are numbered without a gap, and the chain holds.
    let numbers: Vec<_> = world.audit().iter().map(|row| row["number"].as_u64().expect("a number")).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    assert_eq!(verify(&world)["whole"], true);
    // Each account has a trail of its own.
    let own = world.asks(&["audit", "grace", "--limit", "100"]);
    let kinds: BTreeSet<_> =
        own["events"].as_array().expect("rows").iter().filter_map(|row| row["event"].as_str()).collect();
    assert!(kinds.contains("password-replaced") && !kinds.contains("password-set"), "{kinds:?}");
}

async fn p7_a_row_that_was_changed_is_found() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, NEW).await;
    world.all_is_sent().await;
    let rows = verify(&world)["rows"].as_u64().expect("a number");
    assert!(rows >= 4, "{rows}");
    assert!(world.stop().success());
    let database = Connection::open(world.database()).expect("the database");
    let payload: String =
        database.query_row("SELECT payload FROM events WHERE seq = 2", [], |row| row.get(0)).expect("a row");
    database.execute("UPDATE events SET payload = payload || ' ' WHERE seq = 2", []).expect("a change");
    world.restart().await;
    let report = verify(&world);
    assert_eq!((report["whole"].as_bool(), report["rows"].as_u64()), (Some(false), Some(2)), "{report}");
    assert!(world.stop().success());
    database.execute("UPDATE events SET payload = ? WHERE seq = 2", params![payload]).expect("a change");
    database.execute("DELETE FROM events WHERE seq = 3", []).expect("a change");
    drop(database);
    world.restart().await;
    let report = verify(&world);
    assert_eq!(report["whole"], false, "a row that was taken out is not missed: {report}");
}

async fn p9_the_directorys_refusal_is_said_in_words() {
    let world =
        World::builder().set("policy.password.min_length", "8").set("policy.password.min_score", "0").start().await;
    // The directory is stricter than the daemon here.
    let policy = "cn=strict,ou=policies,dc=example,dc=org";
    if !world.slapd().exists(policy).await {
        let rules = [
            ("objectClass", "device"),
            ("objectClass", "pwdPolicy"),
            ("pwdAttribute", "userPassword"),
            ("pwdCheckQuality", "2"),
            ("pwdMinLength", "30"),
        ];
        world.slapd().add(policy, &rules).await;
    }
    world.slapd().set(&world.dn("ada"), "pwdPolicySubentry", &[policy]).await;
    let link = world.forgets_and_gets_link("ada").await;
    let answer = world.sets_password(&link, NEW).await;
    assert!(!is_set(&answer) && answer.text().contains("shorter"), "{}", answer.text());
    let token = link.rsplit_once('/').expect("a token").1;
    let answer = world.hook("/v1/password", &json!({"ticket": token, "password": NEW})).await;
    assert!(answer.status == 422 && answer.text().contains("rejected-too-short"), "{}", answer.text());
    let told = world.rekeyctl(&["set-password", "ada", "--reason", "x"], &format!("{NEW}\n{NEW}\n"));
    assert!(told.code != 0 && told.err.contains("shorter"), "{told:?}");
    assert!(world.binds("ada", PASSWORD).await);
    world.surely_sets_password(&link, "seven violet teapots orbit the moon").await;
}

fn verify(world: &World) -> serde_json::Value {
    let told = world.rekeyctl(&["--json", "audit", "--verify"], "");
    let report = told.json();
    assert_eq!(report["whole"] == true, told.code == 0, "{told:?}");
    report
}
