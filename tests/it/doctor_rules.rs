//! `rekeyctl doctor`: who may do everything is known, what lies in `config/` to be pasted is enough and no more, what changes
//! from one look to the next is told, and nobody is written to.

use std::{collections::HashSet, process::Command, sync::Arc};

use ldap3::{Scope, SearchEntry};
use rekeyd_tests::{
    doctor::{codes, doctor, finding, paste, person_in},
    ds389,
    estate::{Estate, FIRST, Product, Server},
    samba::Samba,
    slapd::{self, ADMIN_PASSWORD, Slapd, Variant},
    tests,
    tls::{self, Flaw},
    world::World,
};

tests! {
    async fn t70_doctor_knows_who_may_do_everything;
    async fn t70_rules_to_paste_are_enough_and_no_more_active_directory;
    async fn t70_rules_to_paste_are_enough_and_no_more_openldap;
    async fn ctl_smallest_set_ups_have_no_faults;
    async fn ctl_doctor_says_what_keeps_it_from_a_server;
    async fn ctl_doctor_tells_what_is_new_and_what_is_gone;
    async fn ctl_doctor_looks_by_itself_once_a_day;
    async fn t51_doctor_writes_nothing_to_people;
}

const POLICY: &str = "cn=default,ou=policies,dc=example,dc=org";

async fn t70_doctor_knows_who_may_do_everything() {
    // The root of each server, named as rekeyd's own account.
    for (product, name) in [(Product::OpenLdap, slapd::ADMIN), (Product::Ds389, ds389::ADMIN)] {
        let estate = &Arc::new(Estate::claim(product).await);
        estate.add_person(&estate.dn("ada"), &estate.login("ada"), Some(FIRST), &[]).await;
        let builder = World::builder().estate(estate).set("directory.bind_dn", &format!("{name:?}"));
        let world = builder.prepare().await;
        let secret = if product == Product::OpenLdap { ADMIN_PASSWORD } else { ds389::ADMIN_PASSWORD };
        rekeyd_tests::builder::write_secret(&world.folder().join("secrets/bind"), secret);
        world.secret(secret);
        world.launch();
        assert!(world.becomes_ready().await);
        let told = doctor(&world, 1);
        let found = finding(&told, "all-powerful").unwrap_or_else(|| panic!("{product:?}: {told:#?}"));
        assert!(found["remedy"].to_string().contains("config/"), "{found:#}");
    }
}

async fn t70_rules_to_paste_are_enough_and_no_more_openldap() {
    let server = Slapd::fresh(Variant::Policy).await;
    let estate = &Arc::new(Estate::claim_on(Server::OpenLdap(Arc::clone(&server))).await);
    estate.add_person(&estate.dn("ada"), &estate.login("ada"), Some(FIRST), &[]).await;
    let services = format!("ou=services,{}", slapd::SUFFIX);
    let [own, operators, canary] = ["cn=pasted", "cn=operators", "cn=canary"].map(|name| format!("{name},{services}"));
    for name in [&own, &operators, &canary] {
        let role = [("objectClass", "organizationalRole"), ("objectClass", "simpleSecurityObject")];
        server.add(name, &[role[0], role[1], ("userPassword", slapd::SERVICE_PASSWORD)]).await;
        server.set(name, "pwdReset", &[]).await;
    }
    let rules = include_str!("../../config/openldap-acl.ldif")
        .replace("cn=rekeyd-operators,ou=services,dc=example,dc=org", &operators)
        .replace("cn=rekeyd,ou=services,dc=example,dc=org", &own)
        .replace("uid=rekeyd-canary,ou=services,dc=example,dc=org", &canary)
        .replace("ou=people,dc=example,dc=org", &format!("ou=people,{}", estate.base()))
        .replace("olcDatabase={1}mdb", "olcDatabase={2}mdb");
    let command = format!("ldapmodify -Q -Y EXTERNAL -H ldapi:/// <<'END'\n{rules}\nEND\n");
    let ran = paste(&command, &server.uri(), "cn=config", slapd::ADMIN);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let builder = World::builder().estate(estate).set("directory.bind_dn", &format!("{own:?}"));
    let world = builder.set("directory.canary", &format!("{canary:?}")).prepare().await;
    world.set("directory.operator_bind_dn", &format!("{operators:?}"));
    let file = world.folder().join("secrets/bind").display().to_string();
    world.set("directory.operator_bind_password_file", &format!("{file:?}"));
    world.launch();
    assert!(world.becomes_ready().await, "{}", world.log());
    let told = doctor(&world, 0);
    assert!(codes(&told).is_empty() && told.iter().any(|line| line["what"] == "operators' account"), "{told:#?}");
    // And it is enough for what rekeyd does.
    let login = estate.login("ada");
    let replaced = world.rekeyctl(&["--json", "set-password", &login, "--generate", "--reason", "x"], "").fine().json();
    world.secret(replaced["password"].as_str().expect("a password"));
    assert_eq!(replaced["must_change"], true);
}

async fn t70_rules_to_paste_are_enough_and_no_more_active_directory() {
    let samba = Samba::shared().await;
    let estate = &Arc::new(Estate::claim(Product::ActiveDirectory).await);
    estate.add_person(&estate.dn("ada"), &estate.login("ada"), Some(FIRST), &[]).await;
    let (login, password) = (estate.login("pasted"), estate.service_password().to_owned());
    let own = format!("CN={login},CN=Users,{}", rekeyd_tests::samba::SUFFIX);
    estate.add_person(&own, &login, Some(&password), &[("userAccountControl", "66048")]).await;
    let world = World::builder().estate(estate).set("directory.bind_dn", &format!("{own:?}")).start().await;
    let told = doctor(&world, 1);
    for code in ["reset-denied", "must-change-denied", "unlock-denied"] {
        let found = finding(&told, code).unwrap_or_else(|| panic!("{code}: {told:#?}"));
        assert!(found["command"].as_str().is_some_and(|text| text.starts_with("samba-tool dsacl set")), "{found:#}");
    }
    // What the doctor offers mends one, what lies in config/ all of them.
    samba.paste(finding(&told, "unlock-denied").expect("it")["command"].as_str().expect("a command")).await;
    assert!(!codes(&doctor(&world, 1)).contains("unlock-denied"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/active-directory-delegation.sh");
    samba.paste(&format!("BASE='{}' ACCOUNT='{login}' TOOL='TOOLS' sh {script}\n", estate.base())).await;
    let told = doctor(&world, 0);
    let usual = HashSet::from(["canary-missing".to_owned(), "history-bypassed".to_owned()]);
    assert_eq!(codes(&told), usual, "{told:#?}");
}

async fn ctl_smallest_set_ups_have_no_faults() {
    for name in ["active-directory", "ds389", "freeipa", "openldap"] {
        let file = format!("{}/../config/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let told = Command::new(rekeyd_tests::world::program("rekeyctl"))
            .args(["check", "--offline", "--config", &file])
            .output();
        let told = told.expect("a check");
        assert!(told.status.success(), "{name}: {}", String::from_utf8_lossy(&told.stdout));
        let lines = std::fs::read_to_string(&file).expect("the file").lines().count();
        assert!(lines <= 25, "{name} has {lines} lines");
    }
}

async fn ctl_doctor_says_what_keeps_it_from_a_server() {
    let estate = &Arc::new(Estate::claim(Product::OpenLdap).await);
    estate.add_person(&estate.dn("ada"), &estate.login("ada"), Some(FIRST), &[]).await;
    let stranger = format!("{:?}", tls::flawed(Flaw::Stranger).certificate.display().to_string());
    let cases = [
        ("directory.ca_file", stranger.as_str(), "tls-refused"),
        ("directory.urls", "[\"ldaps://127.0.0.1:1\"]", "unreachable"),
        ("directory.bind_dn", "\"cn=nobody,dc=example,dc=org\"", "not-let-in"),
        ("directory.canary", "", "canary-missing"),
    ];
    for (key, value, code) in cases {
        let world = World::builder().estate(estate).set(key, value).start().await;
        let told = doctor(&world, i32::from(code != "canary-missing"));
        let found = finding(&told, code).unwrap_or_else(|| panic!("{code}: {told:#?}"));
        assert!(found["remedy"].is_string() && found["server"].is_string(), "{found:#}");
    }
    let clear = format!("[{:?}]", estate.uri());
    let builder = World::builder().estate(estate).set("directory.urls", &clear);
    let world = builder.set("directory.clear_text_on_loopback", "true").start().await;
    assert!(codes(&doctor(&world, 0)).contains("tls-clear"));
    let world = World::builder().shared(Variant::Bare).start().await;
    assert!(codes(&doctor(&world, 0)).contains("policy-missing"));
}

async fn ctl_doctor_tells_what_is_new_and_what_is_gone() {
    let server = Slapd::fresh(Variant::Policy).await;
    let estate = &Arc::new(Estate::claim_on(Server::OpenLdap(Arc::clone(&server))).await);
    let world = &person_in(estate).await;
    let first = doctor(world, 0);
    assert!(first[0]["since"].is_null() && first.iter().any(|line| line["what"] == "protected"), "{first:#?}");
    server.set(POLICY, "pwdMustChange", &["FALSE"]).await;
    let second = doctor(world, 0);
    assert!(second[0]["since"].is_string(), "{second:#?}");
    assert_eq!(finding(&second, "must-change-off").expect("it")["change"], "new");
    let text = world.rekeyctl(&["doctor"], "").out;
    assert!(text.contains("since 20") && text.contains("must-change-off") && text.contains("\nldapmodify "), "{text}");
    server.set(POLICY, "pwdMustChange", &["TRUE"]).await;
    let third = doctor(world, 0);
    assert!(third.iter().any(|line| line["line"] == "gone" && line["code"] == "must-change-off"), "{third:#?}");
    assert_eq!(third.last().expect("an end")["gone"], 1);
    let runs = world.audit().into_iter().filter(|row| row["event"] == "doctor").count();
    assert_eq!(runs, 4);
    let told = world.rekeyctl(&["doctor", "--directory", "elsewhere"], "");
    assert_eq!(told.code, 64, "{told:?}");
}

async fn ctl_doctor_looks_by_itself_once_a_day() {
    let server = Slapd::fresh(Variant::Policy).await;
    let estate = &Arc::new(Estate::claim_on(Server::OpenLdap(Arc::clone(&server))).await);
    let world = &person_in(estate).await;
    doctor(world, 0);
    server.set(POLICY, "pwdMustChange", &["FALSE"]).await;
    // The last look was two days ago.
    world.stop();
    let books = rusqlite::Connection::open(world.database()).expect("the store");
    books.execute("UPDATE doctor_runs SET at = at - 172800000", []).expect("a change");
    drop(books);
    world.launch();
    assert!(world.becomes_ready().await, "{}", world.log());
    let row = world.event(&[("event", "doctor"), ("actor_kind", "system")]).await;
    assert_eq!(row["outcome"], "notes", "{row}");
    assert!(world.log().contains("doctor-drift") || world.log().contains("temporary password"), "{}", world.log());
    let status = world.asks(&["status"]);
    assert_eq!(status["directories"][0]["doctor"]["notes"], 1, "{status}");
    assert!(world.rekeyctl(&["status"], "").out.contains("the doctor found 0 broken and 1 to know"));
}

async fn t51_doctor_writes_nothing_to_people() {
    let server = Slapd::fresh(Variant::Policy).await;
    let estate = &Arc::new(Estate::claim_on(Server::OpenLdap(Arc::clone(&server))).await);
    let world = &person_in(estate).await;
    let ada = estate.dn("ada");
    let state = async || {
        let mut ldap = estate.admin().await;
        let found = ldap.search(&ada, Scope::Base, "(objectClass=*)", ["*", "+"]).await.expect("an answer");
        let entry = SearchEntry::construct(found.success().expect("the entry").0.remove(0));
        let mut all: Vec<_> =
            entry.attrs.into_iter().chain([("bytes".into(), vec![format!("{:?}", entry.bin_attrs)])]).collect();
        all.sort();
        all
    };
    let before = state().await;
    doctor(world, 0);
    assert_eq!(state().await, before, "the doctor has changed somebody");
    assert!(estate.bind(&ada, FIRST).await.rc == 0);
    let tried = server.writes(&ada).await.into_iter().filter(slapd::Write::is_by_service).collect::<Vec<_>>();
    assert!(!tried.is_empty() && tried.iter().all(|write| write.result != 0), "{tried:?}");
}
