//! `rekeyctl doctor`: a wrong right or policy is set up on a real server, and the doctor finds its cause, says what mends
//! it, and is content once that was pasted.

use std::{
    collections::HashSet,
    process::{Command, Output},
    sync::Arc,
};

use ldap3::{Ldap, Mod, Scope, SearchEntry};
use rekeyd_tests::{
    ds389::{self, Ds389},
    estate::{Estate, FIRST, Product, Server},
    samba::Samba,
    slapd::{self, ADMIN_PASSWORD, Slapd, Variant, connect},
    tests,
    tls::{self, Flaw},
    world::World,
};
use serde_json::Value;

tests! {
    async fn t70_doctor_finds_each_wrong_right_and_its_remedy_active_directory;
    async fn t70_doctor_finds_each_wrong_right_and_its_remedy_ds389;
    async fn t70_doctor_finds_each_wrong_right_and_its_remedy_openldap;
    async fn t70_doctor_knows_who_may_do_everything;
    async fn ctl_doctor_says_what_keeps_it_from_a_server;
    async fn ctl_doctor_tells_what_is_new_and_what_is_gone;
    async fn t51_doctor_writes_nothing_to_people;
}

/// What is wrong, and what the doctor calls it.
struct Case {
    code: &'static str,
    /// A word of the evidence.
    evidence: &'static str,
    fault: Fault,
    /// Whether what the doctor offers to paste mends it.
    mended: bool,
}

/// A wrong right or policy, in which BASE, GROUP and OWN stand for the real names.
enum Fault {
    /// A rule before all others, in the words of slapd.
    Rule(&'static str),
    /// Another value for an attribute of an entry.
    Value(&'static str, &'static str, &'static str),
    /// Other access rules on the branch, in the words of 389-ds: what to replace in those that are there, and by what.
    Aci(&'static str, &'static str),
    /// One more of them.
    MoreAci(&'static str),
}

const fn case(code: &'static str, evidence: &'static str, fault: Fault, mended: bool) -> Case {
    Case { code, evidence, fault, mended }
}

const POLICY: &str = "cn=default,ou=policies,dc=example,dc=org";
const DATABASE: &str = "olcDatabase={2}mdb,cn=config";
const OVERLAY: &str = "olcOverlay={1}ppolicy,olcDatabase={2}mdb,cn=config";

const OPENLDAP: [Case; 19] = [
    case(
        "state-hidden",
        "pwdAccountLockedTime",
        Fault::Rule("to dn.subtree=\"BASE\" attrs=pwdAccountLockedTime by dn.exact=\"OWN\" none by * break"),
        true,
    ),
    case(
        "password-administrator",
        "manage",
        Fault::Rule("to dn.subtree=\"BASE\" attrs=userPassword by dn.exact=\"OWN\" manage by * break"),
        true,
    ),
    case(
        "writes-too-much",
        "mail",
        Fault::Rule("to dn.subtree=\"BASE\" attrs=mail by dn.exact=\"OWN\" write by * break"),
        true,
    ),
    case(
        "passwords-readable",
        "userPassword",
        Fault::Rule("to dn.subtree=\"BASE\" attrs=userPassword by dn.exact=\"OWN\" write by * break"),
        true,
    ),
    case(
        "reset-denied",
        "may not set",
        Fault::Rule("to dn.subtree=\"BASE\" attrs=userPassword by dn.exact=\"OWN\" none by * break"),
        true,
    ),
    case(
        "must-change-denied",
        "pwdReset",
        Fault::Rule("to dn.subtree=\"BASE\" attrs=pwdReset by dn.exact=\"OWN\" read by * break"),
        true,
    ),
    case(
        "id-hidden",
        "entryUUID",
        Fault::Rule("to dn.subtree=\"BASE\" attrs=entryUUID by dn.exact=\"OWN\" none by * break"),
        true,
    ),
    case(
        "groups-hidden",
        "admins",
        Fault::Rule("to dn.exact=\"GROUP\" attrs=member by dn.exact=\"OWN\" none by * break"),
        true,
    ),
    case(
        "people-hidden",
        "nobody",
        Fault::Rule("to dn.subtree=\"ou=people,BASE\" by dn.exact=\"OWN\" none by * break"),
        false,
    ),
    case(
        "policy-hidden",
        "polic",
        Fault::Rule("to dn.subtree=\"ou=policies,dc=example,dc=org\" by dn.exact=\"OWN\" none by * break"),
        true,
    ),
    case(
        "canary-unusable",
        "canary",
        Fault::Rule(
            "to dn.exact=\"uid=rekeyd-canary,ou=services,dc=example,dc=org\" attrs=userPassword by dn.exact=\"OWN\" none by * break",
        ),
        true,
    ),
    case("safe-modify", "old password", Fault::Value(POLICY, "pwdSafeModify", "TRUE"), true),
    case("min-age", "1h", Fault::Value(POLICY, "pwdMinAge", "3600"), true),
    case("must-change-off", "temporary", Fault::Value(POLICY, "pwdMustChange", "FALSE"), true),
    case("user-change-off", "operator", Fault::Value(POLICY, "pwdAllowUserChange", "FALSE"), true),
    case("quality-off", "quality", Fault::Value(POLICY, "pwdCheckQuality", "0"), true),
    case("history-off", "old passwords", Fault::Value(POLICY, "pwdInHistory", "0"), true),
    case("clear-text", "ppolicy_hash_cleartext", Fault::Value(OVERLAY, "olcPPolicyHashCleartext", "FALSE"), true),
    case("size-limit", "stops after 3", Fault::Value(DATABASE, "olcSizeLimit", "3"), true),
];

async fn t70_doctor_finds_each_wrong_right_and_its_remedy_openldap() {
    let server = Slapd::fresh(Variant::Policy).await;
    let estate = &Arc::new(Estate::claim_on(Server::OpenLdap(Arc::clone(&server))).await);
    let world = &person_in(estate).await;
    let mut faults = Vec::new();
    for case in OPENLDAP {
        let before = rules(&server).await;
        let restored = set_up(estate, &server.uri(), &case).await;
        faults.extend(
            judged(world, &case, &|command| {
                paste(&command.replace("-QLLL", "-LLL -Q"), &server.uri(), "cn=config", slapd::ADMIN)
            })
            .await,
        );
        let mut admin = administrator(&server.uri(), "cn=config").await;
        replace(&mut admin, DATABASE, "olcAccess", &before).await;
        clear(&mut admin, DATABASE, "olcLimits").await;
        if let Some((dn, attribute, values)) = restored {
            let mut admin =
                administrator(&server.uri(), if dn.ends_with("cn=config") { "cn=config" } else { slapd::ADMIN }).await;
            replace(&mut admin, &dn, &attribute, &values).await;
        }
    }
    let clean = codes(&lines(world).0);
    assert!(faults.is_empty() && clean.is_empty(), "left over: {clean:?}\n{}", faults.join("\n"));
    server.takes_writes(false).await;
    assert!(codes(&doctor(world, 0)).contains("read-only"));
}

const DS389: [Case; 10] = [
    case("state-hidden", "nsAccountLock", Fault::Aci("nsAccountLock || ", ""), true),
    case(
        "reset-denied",
        "may not set",
        Fault::Aci("allow (write)userdn=\"ldap:///OWN\"", "allow (compare)userdn=\"ldap:///OWN\""),
        true,
    ),
    case(
        "writes-too-much",
        "mail",
        Fault::MoreAci("(targetattr = \"mail\")(version 3.0; acl \"x\"; allow (write)userdn=\"ldap:///OWN\";)"),
        true,
    ),
    case(
        "passwords-readable",
        "userPassword",
        Fault::MoreAci(
            "(targetattr = \"userPassword\")(version 3.0; acl \"x\"; allow (read, search) userdn = \"ldap:///OWN\";)",
        ),
        true,
    ),
    case("password-administrator", "passwordAdminDN", Fault::Value("cn=config", "passwordAdminDN", "OWN"), true),
    case("must-change-off", "temporary", Fault::Value("cn=config", "passwordMustChange", "off"), true),
    case("quality-off", "quality", Fault::Value("cn=config", "passwordCheckSyntax", "off"), true),
    case("history-off", "old passwords", Fault::Value("cn=config", "passwordHistory", "off"), true),
    case("min-age", "1h", Fault::Value("cn=config", "passwordMinAge", "3600"), true),
    case("user-change-off", "operator", Fault::Value("cn=config", "passwordChange", "off"), true),
];

async fn t70_doctor_finds_each_wrong_right_and_its_remedy_ds389() {
    let server = Ds389::fresh().await;
    let estate = &Arc::new(Estate::claim_on(Server::Ds389(Arc::clone(&server))).await);
    let world = &person_in(estate).await;
    let mut faults = Vec::new();
    for case in DS389 {
        let before = estate.values(estate.base(), "aci").await;
        let restored = set_up(estate, &server.uri(), &case).await;
        faults.extend(judged(world, &case, &|command| paste(command, &server.uri(), ds389::ADMIN, ds389::ADMIN)).await);
        let before: Vec<&str> = before.iter().map(String::as_str).collect();
        estate.set(estate.base(), "aci", &before).await;
        if let Some((dn, attribute, values)) = restored {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            estate.set(&dn, &attribute, &values).await;
        }
    }
    let clean = codes(&lines(world).0);
    assert!(faults.is_empty() && clean.is_empty(), "left over: {clean:?}\n{}", faults.join("\n"));
    // What nobody but an administrator may see.
    let opened = estate.values("cn=config", "aci").await;
    let others: Vec<&str> = opened.iter().map(String::as_str).filter(|rule| !rule.contains(estate.service())).collect();
    estate.set("cn=config", "aci", &others).await;
    let told = doctor(world, 1);
    let found = finding(&told, "policy-hidden").unwrap_or_else(|| panic!("{told:#?}"));
    paste(found["command"].as_str().expect("a command"), &server.uri(), ds389::ADMIN, ds389::ADMIN);
    assert!(!codes(&doctor(world, 0)).contains("policy-hidden"), "{found:#}");
}

async fn t70_doctor_finds_each_wrong_right_and_its_remedy_active_directory() {
    let samba = Samba::shared().await;
    let estate = &Arc::new(Estate::claim(Product::ActiveDirectory).await);
    let world = &person_in(estate).await;
    let told = doctor(world, 0);
    let usual = HashSet::from(["canary-missing".to_owned(), "history-bypassed".to_owned()]);
    assert_eq!(codes(&told), usual, "{told:#?}");
    assert!(finding(&told, "history-bypassed").expect("it")["evidence"].to_string().contains("policy hints"));
    let sid = samba.sid(estate.service()).await;
    // All properties of people may be written.
    samba.allow(estate.base(), &format!("(OA;CIIO;WP;;bf967aba-0de6-11d0-a285-00aa003049e2;{sid})")).await;
    let told = doctor(world, 0);
    let found = finding(&told, "writes-too-much").unwrap_or_else(|| panic!("{told:#?}"));
    assert!(found["command"].to_string().contains(&sid), "{found:#}");
    // People whom the policy does not bind.
    for (name, control, code) in [("never", "66048", "passwords-never-expire"), ("none", "544", "passwords-not-needed")]
    {
        estate.add_person(&estate.dn(name), &estate.login(name), Some(FIRST), &[("userAccountControl", control)]).await;
        assert!(codes(&doctor(world, 0)).contains(code), "{code}");
    }
    // The service is somebody who rules over others.
    let admins = format!("CN=Domain Admins,CN=Users,{}", rekeyd_tests::samba::SUFFIX);
    estate.join(&admins, estate.service()).await;
    let told = doctor(world, 1);
    let found = finding(&told, "privileged-service").unwrap_or_else(|| panic!("{told:#?}"));
    assert!(found["evidence"].to_string().contains("Domain Admins"), "{found:#}");
    samba.paste(found["command"].as_str().expect("a command")).await;
    let told = doctor(world, 0);
    assert!(!codes(&told).contains("privileged-service"), "{told:#?}");
}

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
    let tried = server.writes(&ada).await.into_iter().filter(|write| write.is_by_service()).collect::<Vec<_>>();
    assert!(!tried.is_empty() && tried.iter().all(|write| write.result != 0), "{tried:?}");
}

/// A world on an estate with one person.
async fn person_in(estate: &Arc<Estate>) -> World {
    estate.add_person(&estate.dn("ada"), &estate.login("ada"), Some(FIRST), &[]).await;
    World::builder().estate(estate).start().await
}

/// Makes something wrong, and gives what was there before.
async fn set_up(estate: &Estate, uri: &str, case: &Case) -> Option<(String, String, Vec<String>)> {
    let named = |text: &str| {
        text.replace("BASE", estate.base()).replace("OWN", estate.service()).replace("GROUP", &estate.group("admins"))
    };
    match case.fault {
        Fault::Rule(rule) => {
            let rule = format!("{{0}}{}", named(rule));
            let change = vec![Mod::Add("olcAccess", HashSet::from([rule.as_str()]))];
            let done = administrator(uri, "cn=config").await.modify(DATABASE, change).await.expect("an answer");
            assert_eq!(done.rc, 0, "{}: {done:?}", case.code);
            None
        }
        Fault::Value(dn, attribute, value) => {
            let who = if estate.product() == Product::Ds389 {
                ds389::ADMIN
            } else if dn.ends_with("cn=config") {
                "cn=config"
            } else {
                slapd::ADMIN
            };
            let mut admin = administrator(uri, who).await;
            let found = admin.search(dn, Scope::Base, "(objectClass=*)", [attribute]).await.expect("an answer");
            let entry = SearchEntry::construct(found.success().expect("the entry").0.remove(0));
            let before = entry.attrs.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
            replace(&mut admin, dn, attribute, &[named(value)]).await;
            Some((dn.to_owned(), attribute.to_owned(), before.map(|(_, values)| values).unwrap_or_default()))
        }
        Fault::Aci(from, to) => {
            let rules = estate.values(estate.base(), "aci").await;
            let (from, to) = (named(from), named(to));
            assert!(rules.iter().any(|rule| rule.contains(&from)), "{from} is not in {rules:?}");
            let rules: Vec<String> = rules.iter().map(|rule| rule.replace(&from, &to)).collect();
            estate.set(estate.base(), "aci", &rules.iter().map(String::as_str).collect::<Vec<_>>()).await;
            None
        }
        Fault::MoreAci(rule) => {
            let mut rules = estate.values(estate.base(), "aci").await;
            rules.push(named(rule));
            estate.set(estate.base(), "aci", &rules.iter().map(String::as_str).collect::<Vec<_>>()).await;
            None
        }
    }
}

/// Whether the doctor names what is wrong and is content once its commands were run; else why not.
async fn judged(world: &World, case: &Case, run: &dyn Fn(&str) -> Output) -> Option<String> {
    let told = lines(world).0;
    let Some(found) = finding(&told, case.code) else {
        return Some(format!("{} is not found: {:?} {:#?}", case.code, codes(&told), told.last()));
    };
    if !found["evidence"].as_str().is_some_and(|text| text.contains(case.evidence)) || !found["remedy"].is_string() {
        return Some(format!("{} is told without {}: {found}", case.code, case.evidence));
    }
    if !case.mended {
        return None;
    }
    let Some(command) = found["command"].as_str() else {
        return Some(format!("{} has no command: {found}", case.code));
    };
    let ran = run(command);
    let told = lines(world).0;
    finding(&told, case.code).map(|still| {
        format!("{} is still there after\n{command}\n{}\n{still}", case.code, String::from_utf8_lossy(&ran.stderr))
    })
}

/// Runs what would be pasted, as whoever may do so in a test.
fn paste(command: &str, uri: &str, configuration: &str, admin: &str) -> Output {
    let local = format!("-x -D '{configuration}' -w {ADMIN_OF} -H {uri}", ADMIN_OF = secret(configuration));
    let text = command
        .replace("-Q -Y EXTERNAL -H ldapi:///", &local)
        .replace("ADMIN=...", &format!("ADMIN='{admin}'"))
        .replace(" -W ", &format!(" -w {} ", secret(admin)));
    let mut shell = Command::new("sh");
    shell.arg("-ec").arg(&text).env("LDAPTLS_CACERT", tls::authority());
    shell.output().expect("a shell")
}

fn secret(who: &str) -> &'static str {
    if who == ds389::ADMIN { ds389::ADMIN_PASSWORD } else { ADMIN_PASSWORD }
}

async fn administrator(uri: &str, who: &str) -> Ldap {
    let mut ldap = connect(uri).await.expect("a connection");
    ldap.simple_bind(who, secret(who)).await.expect("an answer").success().expect("the administrator");
    ldap
}

async fn replace(ldap: &mut Ldap, dn: &str, attribute: &str, values: &[String]) {
    // One after the other: the order of access rules counts.
    let first = Mod::Replace(attribute, values.iter().take(1).map(String::as_str).collect());
    let more = values.iter().skip(1).map(|value| Mod::Add(attribute, HashSet::from([value.as_str()])));
    let done = ldap.modify(dn, [first].into_iter().chain(more).collect()).await.expect("an answer");
    assert_eq!(done.rc, 0, "{attribute} of {dn}: {done:?}");
}

/// Removes an attribute that may be there.
async fn clear(ldap: &mut Ldap, dn: &str, attribute: &str) {
    let done = ldap.modify(dn, vec![Mod::Delete(attribute, HashSet::new())]).await.expect("an answer");
    assert!([0, 16].contains(&done.rc), "{attribute} of {dn}: {done:?}");
}

/// The access rules of slapd.
async fn rules(server: &Slapd) -> Vec<String> {
    let mut admin = administrator(&server.uri(), "cn=config").await;
    let found = admin.search(DATABASE, Scope::Base, "(objectClass=*)", ["olcAccess"]).await.expect("an answer");
    let entry = SearchEntry::construct(found.success().expect("the database").0.remove(0));
    entry.attrs.get("olcAccess").cloned().unwrap_or_default()
}

/// Asks the doctor, who must end like this.
fn doctor(world: &World, status: i32) -> Vec<Value> {
    let (told, code) = lines(world);
    assert_eq!(code, status, "{told:#?}");
    told
}

fn lines(world: &World) -> (Vec<Value>, i32) {
    let told = world.rekeyctl(&["--json", "doctor"], "");
    let lines = told.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<_>>();
    assert!(lines.last().is_some_and(|line: &Value| line["line"] == "end"), "{told:?}");
    (lines, told.code)
}

fn finding<'t>(told: &'t [Value], code: &str) -> Option<&'t Value> {
    told.iter().find(|line| line["line"] == "probe" && line["code"] == code)
}

fn codes(told: &[Value]) -> HashSet<String> {
    told.iter()
        .filter(|line| line["line"] == "probe")
        .filter_map(|line| line["code"].as_str())
        .map(str::to_owned)
        .collect()
}
