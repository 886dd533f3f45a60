//! A walk over everybody on each product: it says of each account of the one list what a look-up says, and an adoption takes
//! each for what its signs show.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use futures_util::{StreamExt, stream};
use ldap3::Mod;
use rekeyd_tests::{
    acts::{Told, address},
    builder::Builder,
    ds389::Ds389,
    estate::{Estate, FIRST, OWN, Product, Server},
    samba::{Samba, quoted},
    situations::{ALL, Situation, Truth},
    tests,
    world::World,
};
use serde_json::{Value, json};

use crate::survey::{agree, walked};

tests! {
    async fn t56_an_account_is_adopted_by_hand_and_can_reset_active_directory;
    async fn t56_an_account_is_adopted_by_hand_and_can_reset_ds389;
    async fn t57_a_walk_goes_past_the_limits_of_active_directory;
    async fn t57_a_walk_sees_what_a_look_up_sees_active_directory;
    async fn t57_a_walk_sees_what_a_look_up_sees_ds389;
    async fn t57_a_walk_sees_what_a_look_up_sees_openldap;
    async fn t71_a_walk_that_389_ds_cuts_off_is_no_shorter_list;
}

/// So many accounts are made at once.
const ABREAST: usize = 8;
/// More than the limit that a test sets.
const CROWD_THERE: usize = 60;
const NEW: &str = "Vj4Zk9Wq2XyQ7Bn6";

/// Whose first password nobody has replaced.
const NEVER_USED: [&str; 2] = ["first-password", "no-password"];

async fn t57_a_walk_sees_what_a_look_up_sees_active_directory() {
    everybody(Product::ActiveDirectory).await;
}

async fn t57_a_walk_sees_what_a_look_up_sees_ds389() {
    everybody(Product::Ds389).await;
}

async fn t57_a_walk_sees_what_a_look_up_sees_openldap() {
    everybody(Product::OpenLdap).await;
}

async fn everybody(product: Product) {
    let estate = &Arc::new(Estate::claim(product).await);
    let people: Vec<(&Situation, Truth)> =
        ALL.iter().filter_map(|situation| Some((situation, situation.on(product)?))).collect();
    let made = stream::iter(&people).map(async |(situation, _)| estate.make(situation.name).await);
    made.buffer_unordered(ABREAST).collect::<()>().await;
    let more = members(estate).await;
    let marker = if product == Product::Ds389 { "" } else { r#"["employeeType=disabled"]"# };
    let builder = patient(estate).set("directory.markers.disabled", marker);
    // A group of a domain alone can't be in one of the kind that the estate watches.
    let watched = [estate.group("admins"), estate.group("local")];
    let watched = if product == Product::ActiveDirectory { &watched[..] } else { &watched[..1] };
    let builder = builder.set("policy.privileged_groups", &format!("{watched:?}"));
    let world = builder.set("policy.contacts.refuse_shared", "true").start().await;
    let seen = by_login(agree(&world, people.len() + more.len()).into_values());

    // What a look-up says is told here once more, so that both can't be wrong together.
    for (name, reason) in more {
        assert_eq!(seen[&estate.login(name)]["now"]["reason"].as_str(), reason, "{name}");
    }
    for (situation, truth) in &people {
        let name = situation.name;
        if truth.refused == Some("not-found") {
            assert!(!seen.contains_key(&estate.login_of(name)), "{name} is no person");
            continue;
        }
        // Two that share a login or an address are two accounts for a walk; what is known by an adoption alone is not yet.
        if truth.refused == Some("ambiguous") || name == "must-change-known" {
            continue;
        }
        let now = &seen[&estate.login_of(name)]["now"];
        let mut findings: Vec<&str> =
            now["findings"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        findings.sort_unstable();
        findings.dedup();
        assert_eq!((&findings[..], now["reason"].as_str()), (truth.findings, truth.refused), "{name}: {now}");
    }
    let (adopted, _) = walked(&world, &["adopt", "--dry-run"]);
    let adopted = by_login(adopted.into_values());
    let faults: Vec<String> = people
        .iter()
        .filter_map(|(situation, truth)| {
            taken_wrongly(situation.name, truth, adopted.get(&estate.login_of(situation.name))?)
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(world.audit().is_empty(), "a look at everybody records nothing");
}

/// A walk opens connections of its own, and a domain controller that others load opens one after the other.
fn patient(estate: &Arc<Estate>) -> Builder {
    World::builder().estate(estate).set("directory.connect_timeout", r#""10s""#)
}

/// What is wrong with what an account is taken for.
fn taken_wrongly(name: &str, truth: &Truth, line: &Value) -> Option<String> {
    let taken = line["taken"].as_str().expect("a word");
    let allowed: &[&str] = if truth.findings.contains(&"never-activated") && !truth.findings.contains(&"unknown") {
        // The mark that OpenLDAP's overlay has not set proves nothing.
        &["never-activated", "undecided"]
    } else if truth.findings.contains(&"not-a-person") {
        &["left"]
    } else if NEVER_USED.contains(&name) || truth.findings.iter().any(|one| ["undecided", "unknown"].contains(one)) {
        &["undecided"]
    } else {
        &["activated", "undecided"]
    };
    let is_told = ["attribute", "value"].iter().all(|part| line[part].as_str().is_some_and(|text| !text.is_empty()));
    (!allowed.contains(&taken) || !is_told).then(|| format!("{name}: {line}, not {allowed:?}"))
}

fn by_login(lines: impl Iterator<Item = Value>) -> BTreeMap<String, Value> {
    lines.map(|line| (line["login"].as_str().expect("a login").to_owned(), line)).collect()
}

/// Makes people whom groups name in every way of the product; gives what becomes of each.
async fn members(estate: &Estate) -> Vec<(&'static str, Option<&'static str>)> {
    let mut people = vec![("deep", Some("privileged")), ("among-others", None)];
    let ways: &[&str] = match estate.product() {
        Product::ActiveDirectory => &["by-local", "by-universal", "by-primary", "operator"],
        Product::Ds389 => &["by-role", "by-filter", "by-unique", "by-number", "by-login"],
        Product::OpenLdap => &[],
    };
    people.extend(ways.iter().map(|name| (*name, Some("privileged"))));
    for (name, _) in &people {
        estate.add_active(&estate.dn(name), &estate.login(name), &[]).await;
    }
    let mut below = estate.dn("deep");
    for name in ["level1", "level2", "level3", "level4", "level5"] {
        estate.add_group(name, &[&below]).await;
        below = estate.group(name);
    }
    estate.add_group("others", &[&estate.dn("among-others")]).await;
    let admins = estate.group("admins");
    estate.join(&admins, &below).await;
    match estate.product() {
        Product::ActiveDirectory => {
            // Groups of a domain alone, and of the whole forest.
            for (name, kind, person) in
                [("local", "-2147483644", "by-local"), ("universal", "-2147483640", "by-universal")]
            {
                let login = estate.login(name);
                let class = [("objectClass", "group"), ("cn", login.as_str()), ("sAMAccountName", &login)];
                let (group, member) = (estate.group(name), estate.dn(person));
                estate.add(&group, &[&class[..], &[("groupType", kind), ("member", &member)]].concat()).await;
            }
            estate.join("CN=Account Operators,CN=Builtin,DC=ad,DC=example,DC=org", &estate.dn("operator")).await;
            estate.join("CN=Schema Admins,CN=Users,DC=ad,DC=example,DC=org", &estate.group("universal")).await;
            // Who has a group as the primary one is not among its members.
            estate.add_group("first", &[&estate.dn("by-primary")]).await;
            estate.join(&admins, &estate.group("first")).await;
            let Server::ActiveDirectory(samba) = &estate.server else { panic!("another product") };
            let sid = samba.sid(&estate.group("first")).await;
            let number = sid.rsplit_once('-').expect("a number").1;
            estate.set(&estate.dn("by-primary"), "primaryGroupID", &[number]).await;
        }
        Product::Ds389 => {
            let class = [("objectClass", "LDAPsubentry"), ("objectClass", "nsRoleDefinition")];
            let managed = [("objectClass", "nsSimpleRoleDefinition"), ("objectClass", "nsManagedRoleDefinition")];
            let filtered = [("objectClass", "nsComplexRoleDefinition"), ("objectClass", "nsFilteredRoleDefinition")];
            let (chiefs, bosses) = (format!("cn=chiefs,{}", estate.base()), format!("cn=bosses,{}", estate.base()));
            estate.add(&chiefs, &[&class[..], &managed].concat()).await;
            let rule = [("nsRoleFilter", "(employeeType=boss)")];
            estate.add(&bosses, &[&class[..], &filtered, &rule].concat()).await;
            estate.set(&estate.dn("by-role"), "nsRoleDN", &[&chiefs]).await;
            estate.set(&estate.dn("by-filter"), "employeeType", &["boss"]).await;
            let unique = estate.dn("by-unique");
            let (uniques, posix) = (estate.group("uniques"), estate.group("posix"));
            estate
                .add(&uniques, &[("objectClass", "groupOfUniqueNames"), ("cn", "uniques"), ("uniqueMember", &unique)])
                .await;
            let number = [("objectClass", "posixGroup"), ("cn", "posix"), ("gidNumber", "7001")];
            estate.add(&posix, &[&number[..], &[("memberUid", &estate.login("by-login"))]].concat()).await;
            let person = [("uidNumber", "1"), ("gidNumber", "7001"), ("homeDirectory", "/")];
            let mut admin = estate.admin().await;
            let class = Mod::Add("objectClass", HashSet::from(["posixAccount"]));
            let more = person.map(|(name, value)| Mod::Replace(name, HashSet::from([value])));
            let change = [class].into_iter().chain(more).collect();
            assert_eq!(admin.modify(&estate.dn("by-number"), change).await.expect("an answer").rc, 0);
            for member in [chiefs, bosses, uniques, posix] {
                estate.join(&admins, &member).await;
            }
        }
        Product::OpenLdap => {}
    }
    people
}

async fn t56_an_account_is_adopted_by_hand_and_can_reset_active_directory() {
    adopts_by_hand(Product::ActiveDirectory).await;
}

async fn t56_an_account_is_adopted_by_hand_and_can_reset_ds389() {
    adopts_by_hand(Product::Ds389).await;
}

/// Who shows no clear sign is taken as activated by an operator's word, and is let in by that alone.
async fn adopts_by_hand(product: Product) {
    let estate = &Arc::new(Estate::claim(product).await);
    let (login, other) = (estate.login("once"), estate.login("elsewhere"));
    for (name, login) in [("once", &login), ("elsewhere", &other)] {
        let dn = estate.dn(name);
        match product {
            // Made with a password and changed once: as many were set as where an administrator gives the first one later.
            Product::ActiveDirectory => {
                let first = String::from_utf8(quoted(FIRST)).expect("letters with zeros between them");
                estate.add_person(&dn, login, None, &[("unicodePwd", &first)]).await;
                assert_eq!(estate.change_own(&dn, FIRST, OWN).await.rc, 0);
            }
            Product::Ds389 | Product::OpenLdap => estate.add_person(&dn, login, None, &[]).await,
        }
    }
    let world = patient(estate).start().await;
    let attribute = if product == Product::ActiveDirectory { "sAMAccountName" } else { "uid" };
    let reason = |login: &str| world.rekeyctl(&["--json", "explain", login], "").json()["reason"]["code"].clone();
    assert_eq!((reason(&login), reason(&other)), ("undecided".into(), "undecided".into()));
    let by_hand = |filter: &str| {
        let words =
            ["adopt", "--yes", "--reason", "they all work here", "--undecided-as", "activated", "--filter", filter];
        world.rekeyctl(&words, "").fine()
    };
    let told = by_hand(&format!("({attribute}={login})"));
    assert!(told.out.contains("activated"), "{told:?}");
    assert_eq!((reason(&login), reason(&other)), (Value::Null, "undecided".into()), "nobody else was selected");
    assert_eq!(world.asks(&["explain", &login])["account"]["adopted"]["taken"], "activated");

    // It is taken back, and said again.
    assert_eq!(undoes_last(&world).code, 0);
    assert_eq!(reason(&login), "undecided");
    drop(by_hand(&format!("({attribute}={login})")));
    let asked = world.hook("/v1/recovery", &json!({"login": login})).await;
    assert_eq!(asked.status, 202);
    let link = world.link(&address(&login), 1).await;
    world.surely_sets_password(&link, NEW).await;
    assert_eq!(estate.bind(&estate.dn("once"), NEW).await.rc, 0);
    // What the person has shown since does not go with the operator's word.
    assert_eq!(undoes_last(&world).code, 0);
    assert_eq!(reason(&login), Value::Null);
    assert_eq!(world.asks(&["audit", "--verify"])["whole"], true);
}

/// Takes the newest adoption back that stands.
fn undoes_last(world: &World) -> Told {
    let list = world.asks(&["adopt", "--list"]);
    let adoptions = list["adoptions"].as_array().expect("a list");
    let done = adoptions.iter().find(|one| one["state"] == "done").expect("an adoption");
    let id = done["adoption"].as_str().expect("an id");
    world.rekeyctl(&["adopt", "--undo", id, "--yes", "--reason", "mistaken"], "")
}

/// More people than a page may hold there, and more members in a group than one answer shows.
async fn t57_a_walk_goes_past_the_limits_of_active_directory() {
    const CROWD: usize = 1_501;
    // It takes nothing else while it takes many at once.
    let samba = Samba::fresh().await;
    let estate = &Arc::new(Estate::claim_on(Server::ActiveDirectory(Arc::clone(&samba))).await);
    for name in ["first", "last"] {
        estate.add_active(&estate.dn(name), &estate.login(name), &[]).await;
    }
    let login = |number: usize| estate.login(&format!("c{number}"));
    let dn = |number: usize| format!("CN={},ou=people,{}", login(number), estate.base());
    let entry = |number| {
        format!("dn: {}\nobjectClass: user\nsAMAccountName: {}\nuserAccountControl: 514\n\n", dn(number), login(number))
    };
    samba.load(&(0..CROWD).map(entry).collect::<String>()).await;
    let crowd = estate.group("crowd");
    let names = (0..CROWD).map(|number| format!("member: {}\n", dn(number)));
    let ends = ["first", "last"].map(|name| format!("member: {}\n", estate.dn(name)));
    let members: String = ends[..1].iter().cloned().chain(names).chain(ends[1..].iter().cloned()).collect();
    let group = estate.login("crowd");
    samba.load(&format!("dn: {crowd}\nobjectClass: group\nsAMAccountName: {group}\n{members}")).await;
    estate.join(&estate.group("admins"), &crowd).await;
    let world = patient(estate).start().await;
    let (accounts, _) = walked(&world, &["policy", "test", "--all"]);
    assert_eq!(accounts.len(), CROWD + 2);
    let has = |finding: &str| {
        let has =
            |line: &&Value| line["now"]["findings"].as_array().is_some_and(|found| found.contains(&finding.into()));
        accounts.values().filter(has).count()
    };
    assert_eq!((has("disabled"), has("privileged")), (CROWD, CROWD + 2), "members of any range are members");
}

/// Who may have no more than some entries is told how to get them all, and then does.
async fn t71_a_walk_that_389_ds_cuts_off_is_no_shorter_list() {
    // Without the groups of other tests, which count against the limit, too.
    let ds389 = &Ds389::fresh().await;
    let estate = &Arc::new(Estate::claim_on(Server::Ds389(Arc::clone(ds389))).await);
    let entry = |number: usize| {
        let login = estate.login(&format!("c{number}"));
        let dn = format!("cn={login},ou=people,{}", estate.base());
        format!("dn: {dn}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: {login}\nsn: x\n\n")
    };
    ds389.apply(&(0..CROWD_THERE).map(entry).collect::<String>()).await;
    let [sizes, looks] = ["nsPagedSizeLimit", "nsPagedLookThroughLimit"];
    for limit in ["nsSizeLimit", "nsLookThroughLimit"] {
        estate.set(estate.service(), limit, &["20"]).await;
        let world = patient(estate).start().await;
        // What the sample says is enough.
        let (accounts, _) = walked(&world, &["policy", "test", "--all"]);
        assert_eq!(accounts.len(), CROWD_THERE, "{limit}");
        for remedy in [sizes, looks] {
            estate.set(estate.service(), remedy, &[]).await;
        }
        let told = world.rekeyctl(&["policy", "test", "--all"], "");
        assert!(told.code != 0 && told.out.is_empty(), "{limit}: {told:?}");
        assert!(told.err.contains(sizes) && told.err.contains(looks), "{limit}: {told:?}");
        // It concerns nobody else.
        assert_eq!(world.asks(&["explain", &estate.login("c7")])["reason"]["code"], "undecided");
        assert!(!world.log().contains("directory-rests"), "{}", world.log());
        for remedy in [sizes, looks] {
            estate.set(estate.service(), remedy, &["-1"]).await;
        }
        estate.set(estate.service(), limit, &[]).await;
    }
}
