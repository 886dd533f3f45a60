//! Accounts that are older than rekeyd: what they are taken for, recorded once, undone.

use std::{
    collections::BTreeMap,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::Duration,
};

use rekeyd_tests::{
    acts::{Told, until},
    proxy::{Fault, Kind, Of, Proxy},
    slapd::{Slapd, Variant, add},
    tests,
    world::{World, program},
    world_config::Way,
};
use serde_json::Value;

use crate::survey::walked;

tests! {
    async fn ctl_adopt_is_for_owners_and_asks_first;
    async fn r8_an_adoption_that_a_kill_broke_off_is_carried_on_and_does_nothing_twice;
    async fn t56_an_adoption_is_told_recorded_listed_and_undone;
    async fn t56_the_undecided_are_decided_by_hand_where_a_filter_selects_them;
}

/// What each login is taken for, with the attribute that says so.
fn taken(world: &World, arguments: &[&str]) -> BTreeMap<String, (String, String)> {
    let (accounts, _) = walked(world, &[&["adopt", "--dry-run"], arguments].concat());
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let one = |line: &Value| (text(&line["login"]), (text(&line["taken"]), text(&line["attribute"])));
    accounts.values().map(one).collect()
}

fn adopts(world: &World, arguments: &[&str]) -> Told {
    world.rekeyctl(&[&["adopt", "--yes", "--reason", "first day"], arguments].concat(), "")
}

async fn t56_an_adoption_is_told_recorded_listed_and_undone() {
    let world = World::start().await;
    let before = taken(&world, &[]);
    for (login, expected, attribute) in [
        ("ada", "activated", "pwdChangedTime"),
        ("boss", "activated", "pwdChangedTime"),
        ("turing", "activated", "pwdChangedTime"),
        ("mustchange", "undecided", "pwdReset"),
        ("noether", "undecided", "pwdChangedTime"),
    ] {
        assert_eq!(before[login], (expected.to_owned(), attribute.to_owned()), "{login}");
    }
    assert_eq!(before["veiled"].0, "undecided", "what can't be read decides nothing");
    assert!(world.audit().is_empty(), "a dry run records nothing");
    // People read the counts first.
    let told = world.rekeyctl(&["adopt", "--dry-run"], "").fine();
    assert!(told.out.starts_with("ACCOUNTS") && told.out.find("undecided") < told.out.find("LOGIN"), "{}", told.out);

    let told = adopts(&world, &[]).fine();
    assert!(told.err.contains("has begun"), "{told:?}");
    let list = world.asks(&["adopt", "--list"]);
    let adoption = &list["adoptions"][0];
    assert_eq!((&adoption["state"], &adoption["reason"]), (&"done".into(), &"first day".into()), "{list}");
    let activated = before.values().filter(|(taken, _)| taken == "activated").count();
    assert!(adoption["activated"].as_u64().expect("a count") >= activated as u64);
    let explained = world.asks(&["explain", "ada"]);
    assert_eq!(explained["account"]["adopted"]["taken"], "activated", "{explained}");
    assert_eq!(explained["account"]["activated"], Value::Null, "rekeyd itself has seen nothing");
    assert!(taken(&world, &[]).values().all(|(taken, _)| taken == "left" || taken == "undecided"));
    let rows: Vec<_> = world.audit().into_iter().filter(|row| row["event"] == "adoption").collect();
    let outcomes: Vec<_> = rows.iter().filter_map(|row| row["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["begun", "recorded", "done"]);

    // A second one records nothing more, and what an adoption said holds where the directory loses its sign.
    drop(adopts(&world, &[]).fine());
    world.slapd().set(&world.dn("ada"), "pwdChangedTime", &[]).await;
    assert_eq!(world.asks(&["explain", "ada"])["reason"], Value::Null);
    let id = adoption["adoption"].as_str().expect("an id");
    let told = world.rekeyctl(&["adopt", "--undo", id, "--yes", "--reason", "mistaken"], "").fine();
    assert!(told.out.contains("as they were before"), "{told:?}");
    assert_eq!(world.asks(&["explain", "ada"])["reason"]["code"], "never-activated");
    let list = world.asks(&["adopt", "--list"]);
    assert!(list["adoptions"].as_array().expect("a list").iter().any(|one| one["state"] == "undone"), "{list}");
    let chain = world.asks(&["audit", "--verify"]);
    assert_eq!(chain["whole"], true);
}

async fn t56_the_undecided_are_decided_by_hand_where_a_filter_selects_them() {
    let world = World::start().await;
    drop(adopts(&world, &["--undecided-as", "never-activated", "--filter", "(uid=mustchange)"]).fine());
    drop(adopts(&world, &["--undecided-as", "activated", "--filter", "(|(uid=noether)(uid=veiled))"]).fine());
    assert_eq!(world.asks(&["explain", "mustchange"])["reason"]["code"], "never-activated");
    assert_eq!(world.asks(&["explain", "noether"])["reason"], Value::Null);
    world.forgets_and_gets_link("noether").await;
    assert_eq!(taken(&world, &["--filter", "(entryUUID=*)"])["ada"].0, "activated", "nobody else was touched");
    // Whose state can't be read is not decided by anybody.
    let told = adopts(&world, &["--undecided-as", "activated", "--filter", "(cn=veiled)"]).fine();
    assert!(told.out.lines().any(|line| line.starts_with("1 ") && line.contains("undecided")), "{told:?}");
    // What somebody does through rekeyd stands over it.
    let told = world.sends_code("mustchange").fine();
    assert!(told.out.contains("activation"), "{told:?}");
    let link = world.link("mustchange@example.org", 1).await;
    world.surely_sets_password(&link, "seven violet teapots orbit").await;
    assert_eq!(world.asks(&["explain", "mustchange"])["reason"], Value::Null);
    for odd in [&["--undecided-as", "activated"][..], &["--filter", "(uid=", "--undecided-as", "activated"]] {
        assert_eq!(adopts(&world, odd).code, 64, "{odd:?}");
    }
}

async fn ctl_adopt_is_for_owners_and_asks_first() {
    let group = "games";
    let world = World::builder().set("admin.group", &format!("{group:?}")).start().await;
    for arguments in
        [&["--dry-run"][..], &["--yes", "--reason", "x"], &["--list"], &["--undo", "x", "--yes", "--reason", "x"]]
    {
        let told = as_games(&world, &[&["adopt"], arguments].concat());
        assert!(told.code != 0 && !told.out.contains("ada"), "{told:?}");
    }
    assert_eq!(as_games(&world, &["policy", "test", "--all"]).code, 0, "operators may look");
    let told = world.rekeyctl(&["adopt", "--reason", "x"], "");
    assert!(told.code == 64 && told.err.contains("--yes"), "{told:?}");
    assert!(world.audit().is_empty());
}

fn as_games(world: &World, arguments: &[&str]) -> Told {
    let mut command = Command::new(program("rekeyctl"));
    command.arg("--socket").arg(world.admin_socket()).args(arguments);
    let games = nix::unistd::User::from_name("games").expect("users").expect("the user games");
    command.uid(games.uid.as_raw()).gid(games.gid.as_raw());
    rekeyd_tests::acts::run(command, "")
}

async fn r8_an_adoption_that_a_kill_broke_off_is_carried_on_and_does_nothing_twice() {
    let slapd = Slapd::fresh(Variant::Policy).await;
    let proxy = Proxy::start(&slapd.uri()).await;
    let world = World::builder().slapd(&slapd).way(Way::Clear(Some(proxy.uri()))).start().await;
    let mut admin = slapd.admin().await;
    for number in 0..1700 {
        let login = format!("c{number}");
        let names = [("objectClass", "inetOrgPerson"), ("uid", &login), ("sn", "x"), ("cn", "x")];
        let more = [("pwdChangedTime", "20250101000000Z")];
        add(&mut admin, &world.dn(&login), &[&names[..], &more].concat()).await;
    }
    proxy.fail(Of::Kind(Kind::Search), Fault::Slow(Duration::from_millis(500)));
    let mut command = Command::new(program("rekeyctl"));
    command.arg("--socket").arg(world.admin_socket()).args(["adopt", "--yes", "--reason", "first day"]);
    let mut adopting = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("rekeyctl");
    let recorded =
        || world.audit().into_iter().filter(|row| row["event"] == "adoption" && row["outcome"] == "recorded");
    until("the first page is recorded", async || recorded().count() > 0).await;
    world.kill9();
    assert!(!adopting.wait().expect("its end").success(), "it was told to be whole");
    proxy.heal();
    world.restart().await;
    let before = world.asks(&["adopt", "--list"])["adoptions"][0].clone();
    assert_eq!(before["state"], "running", "{before}");
    let so_far = before["activated"].as_u64().expect("a count");
    assert!((1..1700).contains(&so_far), "{before}");

    // In other words it is another adoption, and that has to wait.
    let told = adopts(&world, &["--filter", "(uid=ada)"]);
    assert!(told.code == 1 && told.err.contains("unfinished") | told.err.contains("has not ended"), "{told:?}");
    let told = adopts(&world, &[]).fine();
    assert!(told.err.contains("carried on") && told.err.contains(&so_far.to_string()), "{told:?}");
    let list = world.asks(&["adopt", "--list"]);
    let after = &list["adoptions"][0];
    assert_eq!(list["adoptions"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!((&after["adoption"], &after["state"]), (&before["adoption"], &"done".into()));
    let everybody = taken(&world, &[]);
    let left = everybody.values().filter(|(taken, _)| taken == "left").count() as u64;
    assert_eq!(everybody.values().filter(|(taken, _)| taken == "activated").count(), 0);
    // The two that share a login are two accounts, and told as one here.
    assert!((1700..=after["activated"].as_u64().expect("a count")).contains(&left), "{left} {after}");
    let counted: u64 = recorded()
        .flat_map(|row| row["details"].as_array().cloned().expect("details"))
        .filter(|detail| detail[0] == "activated")
        .map(|detail| detail[1].as_str().and_then(|count| count.parse::<u64>().ok()).expect("a count"))
        .sum();
    assert_eq!(Some(counted), after["activated"].as_u64(), "each account is in one row of the trail");
}
