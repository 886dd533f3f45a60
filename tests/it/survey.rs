//! A walk over everybody: it says of each account what a look-up says, and is whole or fails.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rekeyd_tests::{
    estate::{Estate, Product},
    proxy::{Fault, Kind, Of, Proxy},
    slapd::{Slapd, Variant, add},
    tests,
    world::{World, program},
    world_config::Way,
};
use serde_json::Value;

tests! {
    async fn ctl_policy_test_says_who_gains_and_who_loses;
    async fn ctl_policy_test_names_the_lines_of_a_faulty_configuration;
    async fn ctl_policy_test_of_some_logins_looks_at_them_alone;
    async fn t51_a_walk_takes_nothing_unseen_for_absent;
    async fn t57_members_are_named_in_many_ways_on_389_ds;
    async fn t57_a_walk_sees_what_a_look_up_sees;
    async fn t57_a_thousand_groups_and_a_hundred_thousand_members;
    async fn t71_a_walk_that_is_cut_off_is_no_shorter_list;
    async fn ctl_one_at_a_time_looks_at_everybody;
}

/// The accounts that a walk tells of, by their entries, and its last line.
pub(crate) fn walked(world: &World, arguments: &[&str]) -> (BTreeMap<String, Value>, Value) {
    let told = world.rekeyctl(&[&["--json"], arguments].concat(), "").fine();
    let mut lines: Vec<Value> =
        told.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect();
    let last = lines.pop().expect("a last line");
    assert_eq!(last["line"], "counts", "{last}");
    let accounts = lines.into_iter().filter(|line| line["line"] == "account");
    (accounts.map(|line| (line["entry"].as_str().unwrap_or_default().to_owned(), line)).collect(), last)
}

/// Compares each account of a walk with the look-up of its login, and gives those of the walk.
pub(crate) fn agree(world: &World, at_least: usize) -> BTreeMap<String, Value> {
    let (accounts, _) = walked(world, &["policy", "test", "--all"]);
    assert!(accounts.len() >= at_least, "{accounts:?}");
    let faults: Vec<String> = accounts.iter().filter_map(|(entry, line)| differs(world, entry, line)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    accounts
}

/// How the look-up of an account's login differs from what a walk says of it.
fn differs(world: &World, entry: &str, line: &Value) -> Option<String> {
    let told = world.rekeyctl(&["--json", "explain", line["login"].as_str().expect("a login")], "").json();
    if told["found"] == "ambiguous" {
        return None;
    }
    let account = &told["account"];
    let mut found: Vec<&str> =
        account["findings"].as_array()?.iter().filter_map(|one| one["finding"].as_str()).collect();
    let mut seen: Vec<&str> = line["now"]["findings"].as_array()?.iter().filter_map(Value::as_str).collect();
    found.sort_unstable();
    seen.sort_unstable();
    let because = &account["verdicts"][0]["reason"];
    let fits = account["entry"] == entry
        && seen == found
        && line["now"]["reason"] == because["code"]
        && line["now"]["rule"] == because["rule"];
    (!fits).then(|| format!("{entry}: {line}\n  a look-up: {account}"))
}

async fn t57_a_walk_sees_what_a_look_up_sees() {
    for variant in [Variant::Policy, Variant::Bare] {
        let slapd = Slapd::fresh(variant).await;
        let world = World::builder().slapd(&slapd).set("policy.contacts.refuse_shared", "true").start().await;
        let group = |name: &str| world.branch().group(name);
        let names = ["by-login", "by-case", "by-number", "by-unique", "by-tail", "deep", "sharer"];
        for name in names {
            world.branch().add_person(name, "correct horse battery staple").await;
        }
        slapd.set(&world.dn("sharer"), "mail", &["ada@example.org", "sharer@example.org"]).await;
        let posix = [("objectClass", "posixGroup"), ("gidNumber", "7001")];
        let members = [("memberUid", "by-login"), ("memberUid", "By-Case"), ("memberUid", "odd")];
        slapd.add(&group("operators"), &[&posix[..], &members].concat()).await;
        let number = world.dn("by-number");
        slapd.delete(&number).await;
        let person = [("objectClass", "inetOrgPerson"), ("objectClass", "posixAccount"), ("uid", "by-number")];
        let names = [("cn", "x"), ("sn", "x"), ("mail", "by-number@example.org"), ("homeDirectory", "/")];
        slapd.add(&number, &[&person[..], &names, &[("uidNumber", "1"), ("gidNumber", "7001")]].concat()).await;
        let (unique, tail) = (world.dn("by-unique"), format!("{}#'0101'B", world.dn("by-tail")));
        let class = ("objectClass", "groupOfUniqueNames");
        slapd.add(&group("uniques"), &[class, ("uniqueMember", &unique), ("uniqueMember", &tail)]).await;
        let mut below = world.dn("deep");
        for depth in 0..6 {
            let name = group(&format!("level{depth}"));
            slapd.add(&name, &[("objectClass", "groupOfNames"), ("member", &below)]).await;
            below = name;
        }
        let admins = [group("staff"), group("operators"), group("uniques"), below];
        let admins: Vec<&str> = admins.iter().map(String::as_str).collect();
        slapd.set(&group("admins"), "member", &admins).await;
        agree(&world, 20);
        // What a look-up says is told here once more, so that both can't be wrong together.
        let (accounts, _) = walked(&world, &["policy", "test", "--all"]);
        for (name, reason) in [
            // The server itself takes a name with a bit string behind it for another one, and has no filter for it.
            ("by-tail", None),
            ("boss", Some("privileged")),
            ("by-login", Some("privileged")),
            ("by-case", Some("privileged")),
            ("by-number", Some("privileged")),
            ("by-unique", Some("privileged")),
            ("deep", Some("privileged")),
            ("odd", Some("privileged")),
            ("grace", None),
            ("nomail", Some("no-contact")),
        ] {
            let line = accounts.values().find(|line| line["login"] == name).expect("the account");
            assert_eq!(line["now"]["reason"].as_str(), reason, "{line}");
        }
        let path = world.asks(&["explain", "deep"])["account"]["privileged_by"].as_array().expect("a way").len();
        assert_eq!(path, 7, "six levels and the group that the policy names");
    }
}

async fn t57_members_are_named_in_many_ways_on_389_ds() {
    let estate = Arc::new(Estate::claim(Product::Ds389).await);
    for name in ["by-login", "by-case", "by-unique", "by-tail", "odd-dn", "nested", "active"] {
        estate.add_active(&estate.dn(name), &estate.login(name), &[]).await;
    }
    let login = |name: &str| estate.login(name).to_uppercase();
    let (case, nested) = (login("by-case"), login("nested"));
    let posix = [("objectClass", "posixGroup"), ("objectClass", "groupOfUniqueNames"), ("gidNumber", "7101")];
    let by_login = estate.login("by-login");
    let tails = ["by-tail", "odd-dn"].map(|name| format!("{}#'0101'B", estate.dn(name)));
    let unique = estate.dn("by-unique");
    let mut members = vec![("memberUid", by_login.as_str()), ("memberUid", case.as_str())];
    members.extend([unique.as_str(), tails[0].as_str(), tails[1].as_str()].map(|name| ("uniqueMember", name)));
    let (many, inner) = (estate.group("many"), estate.group("inner"));
    estate.add(&many, &[&posix[..], &members].concat()).await;
    // A group that names somebody so lies below another that is named so.
    estate.add(&inner, &[&posix[..2], &[("gidNumber", "7102"), ("memberUid", nested.as_str())]].concat()).await;
    let outer = estate.group("outer");
    let tail = format!("{inner}#'1'B");
    estate.add(&outer, &[("objectClass", "groupOfUniqueNames"), ("uniqueMember", &tail)]).await;
    estate.join(&estate.group("admins"), &many).await;
    estate.join(&estate.group("admins"), &outer).await;
    let world = World::builder().estate(&estate).start().await;
    for (name, reason) in [
        ("by-login", Some("privileged")),
        ("by-case", Some("privileged")),
        ("by-unique", Some("privileged")),
        ("by-tail", Some("privileged")),
        ("odd-dn", Some("privileged")),
        ("nested", Some("privileged")),
        ("active", None),
    ] {
        let told = world.asks(&["explain", &estate.login_of(name)]);
        assert_eq!(told["reason"]["code"].as_str(), reason, "{name}: {told:#}");
        let way = told["account"]["privileged_by"].as_array().expect("a way").len();
        assert_eq!(way > 1, reason.is_some(), "{name}: {told:#}");
    }
    agree(&world, 7);
}

async fn t51_a_walk_takes_nothing_unseen_for_absent() {
    let world = World::start().await;
    let (accounts, _) = walked(&world, &["policy", "test", "--all"]);
    assert_eq!(accounts[&world.dn("veiled")]["now"]["reason"], "unknown");
    agree(&world, 15);
    // Among many of whom nothing is hidden, too, and however they come in pages.
    let mut admin = world.slapd().admin().await;
    let unit = format!("ou=crowd,{}", world.branch().base());
    add(&mut admin, &unit, &[("objectClass", "organizationalUnit")]).await;
    for number in 0..1100 {
        let login = if number % 100 == 50 { format!("veiled{number}") } else { format!("c{number}") };
        let name = if number % 100 == 50 { "veiled".to_owned() } else { login.clone() };
        let parent = if number % 100 == 50 { format!("ou=n{number},{unit}") } else { unit.clone() };
        if parent != unit {
            add(&mut admin, &parent, &[("objectClass", "organizationalUnit")]).await;
        }
        let dn = format!("uid={name},{parent}");
        let mail = format!("{login}@example.org");
        let mut attributes =
            vec![("objectClass", "inetOrgPerson"), ("uid", &name), ("sn", "x"), ("cn", "x"), ("mail", &mail)];
        if number % 7 == 3 {
            attributes.push(("pwdEndTime", "20991231000000Z"));
        }
        attributes.push(("pwdChangedTime", "20250101000000Z"));
        add(&mut admin, &dn, &attributes).await;
    }
    let (accounts, last) = walked(&world, &["policy", "test", "--all"]);
    let veiled: Vec<&Value> =
        accounts.iter().filter(|(entry, _)| entry.starts_with("uid=veiled,")).map(|(_, line)| line).collect();
    assert_eq!(veiled.len(), 12);
    assert!(veiled.iter().all(|line| line["now"]["reason"] == "unknown"), "{veiled:?}");
    let others = accounts
        .iter()
        .filter(|(entry, _)| entry.contains("uid=c") && entry.contains("ou=crowd"))
        .map(|(_, line)| line);
    assert!(others.clone().count() > 1000 && others.clone().all(|line| line["now"]["allowed"] == true), "{last}");
}

async fn t57_a_thousand_groups_and_a_hundred_thousand_members() {
    let slapd = Slapd::fresh(Variant::Bare).await;
    let world = World::builder().slapd(&slapd).start().await;
    let ada = world.dn("ada");
    let mut admin = slapd.admin().await;
    for number in 0..999 {
        let name = world.branch().group(&format!("g{number}"));
        add(&mut admin, &name, &[("objectClass", "groupOfNames"), ("member", &ada)]).await;
    }
    let people: Vec<String> = (0..100_000).map(|number| world.dn(&format!("somebody-{number}"))).collect();
    let grace = world.dn("grace");
    let members = people.iter().map(String::as_str).chain([grace.as_str()]);
    let attributes: Vec<(&str, &str)> =
        [("objectClass", "groupOfNames")].into_iter().chain(members.map(|name| ("member", name))).collect();
    let crowd = world.branch().group("crowd");
    add(&mut admin, &crowd, &attributes).await;
    slapd.set(&world.branch().group("admins"), "member", &[&crowd]).await;
    agree(&world, 15);
    let told = world.asks(&["explain", "ada"]);
    assert_eq!(told["account"]["groups"].as_array().map(Vec::len), Some(999), "{told}");
    assert_eq!(told["account"]["verdicts"][0]["allowed"], true);
    let (accounts, _) = walked(&world, &["policy", "test", "--all"]);
    assert_eq!(accounts[&ada]["now"]["allowed"], true);
    assert_eq!(accounts[&grace]["now"]["reason"], "privileged");
}

async fn t71_a_walk_that_is_cut_off_is_no_shorter_list() {
    let slapd = Slapd::fresh(Variant::Policy).await;
    let proxy = Proxy::start(&slapd.uri()).await;
    let world = World::builder().slapd(&slapd).way(Way::Clear(Some(proxy.uri()))).start().await;
    agree(&world, 15);
    proxy.fail(Of::Kind(Kind::Search), Fault::Cut);
    let told = world.rekeyctl(&["policy", "test", "--all"], "");
    assert!(told.code != 0 && told.out.is_empty(), "{told:?}");
    proxy.heal();
    // The server's own limit: more people than it gives to anybody.
    let mut admin = slapd.admin().await;
    for number in 0..2100 {
        let login = format!("c{number}");
        let dn = world.dn(&login);
        add(&mut admin, &dn, &[("objectClass", "inetOrgPerson"), ("uid", &login), ("sn", "x"), ("cn", "x")]).await;
    }
    rekeyd_tests::acts::until("the directory is asked again", async || {
        let told = world.rekeyctl(&["policy", "test", "--all"], "");
        assert!(told.code != 0 && told.out.is_empty(), "{told:?}");
        told.err.contains("size.prtotal=unlimited")
    })
    .await;
}

async fn ctl_policy_test_says_who_gains_and_who_loses() {
    let world = World::start().await;
    let own = std::fs::read_to_string(world.config()).expect("the configuration");
    let other = own
        .replace("cn=admins,", "cn=left,")
        .replace("[policy]", "[policy]\nreset_expired_passwords = false\nunlock_by_reset = false");
    assert_ne!(own, other);
    let file = world.state().join("../other.toml");
    std::fs::write(&file, other).expect("a written file");
    let file = file.display().to_string();
    let (accounts, counts) = walked(&world, &["policy", "test", "--all", "--against", &file]);
    let text = |value: &Value| value.as_str().unwrap_or_default().split(' ').next().unwrap_or_default().to_owned();
    let change = |line: &Value| {
        let rule = if line["change"] == "gains" { &line["now"]["rule"] } else { &line["then"]["rule"] };
        format!("{} {} {}", text(&line["login"]), text(&line["change"]), text(rule))
    };
    let mut changes: Vec<String> = accounts.values().map(change).collect();
    changes.sort_unstable();
    let expected = [
        "boss gains policy.privileged_groups",
        "locked loses policy.unlock_by_reset",
        "loop loses policy.privileged_groups",
        "stale loses policy.reset_expired_passwords",
    ];
    assert_eq!(changes, expected, "{counts}");
    let sum = |change: &str| -> u64 {
        let counts = counts["counts"].as_array().expect("counts").iter();
        counts.filter(|count| count["change"] == change).filter_map(|count| count["accounts"].as_u64()).sum()
    };
    assert_eq!((sum("gains"), sum("loses")), (1, 3));
    assert!(sum("same") >= 12);

    // People read counts first, then the list.
    let told = world.rekeyctl(&["policy", "test", "--all", "--against", &file], "").fine();
    let place = |text: &str| told.out.find(text).unwrap_or_else(|| panic!("no {text}: {}", told.out));
    assert!(place("gain self-service") < place("lose self-service") && place("lose self-service") < place("boss"));
    // The configuration that counts is the daemon's still.
    assert_eq!(world.asks(&["explain", "boss"])["reason"]["code"], "privileged");
    assert!(world.audit().is_empty(), "nothing is changed");

    // Who is a person may be another question, too.
    let narrow = own.replace("group_base", "filter = \"(uid=ada)\"\ngroup_base");
    std::fs::write(&file, narrow).expect("a written file");
    let (accounts, _) = walked(&world, &["policy", "test", "--all", "--against", &file]);
    assert!(accounts.values().all(|line| line["change"] == "loses" && line["then"]["reason"] == "not-found"));
    assert!(!accounts.contains_key(&world.dn("ada")) && accounts.contains_key(&world.dn("grace")));
}

async fn ctl_policy_test_names_the_lines_of_a_faulty_configuration() {
    let world = World::start().await;
    let file = world.state().join("../other.toml");
    std::fs::write(&file, "[policy]\nprivileged_groups = [\"nonsense\"]\n").expect("a written file");
    let told = world.rekeyctl(&["policy", "test", "--all", "--against", &file.display().to_string()], "");
    assert!(told.code == 1 && told.err.contains("line 2") && told.err.contains("privileged_groups"), "{told:?}");
    let told = world.rekeyctl(&["policy", "test", "--all", "--directory", "elsewhere"], "");
    assert!(told.code == 64 && told.err.contains("main"), "{told:?}");
}

async fn ctl_policy_test_of_some_logins_looks_at_them_alone() {
    let world = World::start().await;
    let (accounts, counts) = walked(&world, &["policy", "test", "ada", "boss", "nobody", "twin"]);
    assert_eq!(accounts.len(), 3, "two accounts, and those of no entry: {accounts:?}");
    assert_eq!(accounts[&world.dn("ada")]["now"]["allowed"], true);
    assert_eq!(accounts[&world.dn("boss")]["now"]["reason"], "privileged");
    let reasons: Vec<_> =
        counts["counts"].as_array().expect("counts").iter().filter_map(|count| count["now"].as_str()).collect();
    assert_eq!(reasons, ["ambiguous", "not-found", "privileged"]);
}

async fn ctl_one_at_a_time_looks_at_everybody() {
    let slapd = Slapd::fresh(Variant::Policy).await;
    let proxy = Proxy::start(&slapd.uri()).await;
    let world = World::builder().slapd(&slapd).way(Way::Clear(Some(proxy.uri()))).start().await;
    // Only one looks at everybody; the others hear so, and everything else goes on meanwhile.
    proxy.fail(Of::Kind(Kind::Search), Fault::Slow(Duration::from_millis(300)));
    let mut refused = Vec::new();
    while refused.is_empty() {
        let mut other = Command::new(program("rekeyctl"));
        other.arg("--socket").arg(world.admin_socket()).args(["policy", "test", "--all"]);
        let other = other.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("rekeyctl");
        let told =
            [world.rekeyctl(&["policy", "test", "--all"], ""), other.wait_with_output().expect("its end").into()];
        assert!(told.iter().any(|told| told.code == 0), "{told:?}");
        refused.extend(told.into_iter().filter(|told| told.code != 0));
    }
    assert!(refused.iter().all(|told| told.code == 75 && told.err.contains("one at a time")), "{refused:?}");
    proxy.heal();
    agree(&world, 15);
}
