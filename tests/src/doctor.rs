//! What tests of the doctor share: a wrong right or policy, how it is set up, what the doctor says of it, and what is pasted.

use std::{
    collections::HashSet,
    process::{Command, Output},
    sync::Arc,
};

use ldap3::{Ldap, Mod, Scope, SearchEntry};
use serde_json::Value;

use crate::{
    ds389,
    estate::{Estate, FIRST, Product},
    slapd::{self, ADMIN_PASSWORD, Slapd, connect},
    tls,
    world::World,
};

/// The database of people, in slapd's configuration.
pub const DATABASE: &str = "olcDatabase={2}mdb,cn=config";

/// What is wrong, and what the doctor calls it.
pub struct Case {
    /// The code.
    pub code: &'static str,
    /// A word of the evidence.
    pub evidence: &'static str,
    /// What is made wrong.
    pub fault: Fault,
    /// Whether what the doctor offers to paste mends it.
    pub mended: bool,
}

/// A wrong right or policy, in which BASE, GROUP and OWN stand for the real names.
pub enum Fault {
    /// A rule before all others, in the words of slapd.
    Rule(&'static str),
    /// Another value for an attribute of an entry.
    Value(&'static str, &'static str, &'static str),
    /// Other access rules on the branch, in the words of 389-ds: what to replace in those that are there, and by what.
    Aci(&'static str, &'static str),
    /// One more of them.
    MoreAci(&'static str),
}

/// One of them.
pub const fn case(code: &'static str, evidence: &'static str, fault: Fault, mended: bool) -> Case {
    Case { code, evidence, fault, mended }
}

/// A world on an estate with one person.
pub async fn person_in(estate: &Arc<Estate>) -> World {
    estate.add_person(&estate.dn("ada"), &estate.login("ada"), Some(FIRST), &[]).await;
    World::builder().estate(estate).start().await
}

/// Makes something wrong, and gives what was there before.
pub async fn set_up(estate: &Estate, uri: &str, case: &Case) -> Option<(String, String, Vec<String>)> {
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
pub fn judged(world: &World, case: &Case, run: &dyn Fn(&str) -> Output) -> Option<String> {
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
pub fn paste(command: &str, uri: &str, configuration: &str, admin: &str) -> Output {
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

/// A connection whose holder may do anything there.
pub async fn administrator(uri: &str, who: &str) -> Ldap {
    let mut ldap = connect(uri).await.expect("a connection");
    ldap.simple_bind(who, secret(who)).await.expect("an answer").success().expect("the administrator");
    ldap
}

/// Gives an attribute these values, in this order.
pub async fn replace(ldap: &mut Ldap, dn: &str, attribute: &str, values: &[String]) {
    // One after the other: the order of access rules counts.
    let first = Mod::Replace(attribute, values.iter().take(1).map(String::as_str).collect());
    let more = values.iter().skip(1).map(|value| Mod::Add(attribute, HashSet::from([value.as_str()])));
    let done = ldap.modify(dn, [first].into_iter().chain(more).collect()).await.expect("an answer");
    assert_eq!(done.rc, 0, "{attribute} of {dn}: {done:?}");
}

/// Removes an attribute that may be there.
pub async fn clear(ldap: &mut Ldap, dn: &str, attribute: &str) {
    let done = ldap.modify(dn, vec![Mod::Delete(attribute, HashSet::new())]).await.expect("an answer");
    assert!([0, 16].contains(&done.rc), "{attribute} of {dn}: {done:?}");
}

/// The access rules of slapd.
pub async fn rules(server: &Slapd) -> Vec<String> {
    let mut admin = administrator(&server.uri(), "cn=config").await;
    let found = admin.search(DATABASE, Scope::Base, "(objectClass=*)", ["olcAccess"]).await.expect("an answer");
    let entry = SearchEntry::construct(found.success().expect("the database").0.remove(0));
    entry.attrs.get("olcAccess").cloned().unwrap_or_default()
}

/// Asks the doctor, who must end like this.
pub fn doctor(world: &World, status: i32) -> Vec<Value> {
    let (told, code) = lines(world);
    assert_eq!(code, status, "{told:#?}");
    told
}

/// What the doctor says, and how it ends.
pub fn lines(world: &World) -> (Vec<Value>, i32) {
    let told = world.rekeyctl(&["--json", "doctor"], "");
    let lines = told.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<_>>();
    assert!(lines.last().is_some_and(|line: &Value| line["line"] == "end"), "{told:?}");
    (lines, told.code)
}

/// What it says of one cause.
pub fn finding<'t>(told: &'t [Value], code: &str) -> Option<&'t Value> {
    told.iter().find(|line| line["line"] == "probe" && line["code"] == code)
}

/// All causes that it finds.
pub fn codes(told: &[Value]) -> HashSet<String> {
    told.iter()
        .filter(|line| line["line"] == "probe")
        .filter_map(|line| line["code"].as_str())
        .map(str::to_owned)
        .collect()
}
