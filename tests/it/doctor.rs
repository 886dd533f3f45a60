//! `rekeyctl doctor`: a wrong right or policy is set up on a real server, and the doctor finds its cause, says what mends
//! it, and is content once that was pasted.

use std::{collections::HashSet, sync::Arc};

use rekeyd_tests::{
    doctor::{
        Case, DATABASE, Fault, administrator, case, clear, codes, doctor, finding, judged, lines, paste, person_in,
        replace, rules, set_up,
    },
    ds389::{self, Ds389},
    estate::{Estate, FIRST, Product, Server},
    samba::Samba,
    slapd::{self, Slapd, Variant},
    tests,
};

tests! {
    async fn t70_doctor_finds_each_wrong_right_and_its_remedy_active_directory;
    async fn t70_doctor_finds_each_wrong_right_and_its_remedy_ds389;
    async fn t70_doctor_finds_each_wrong_right_and_its_remedy_openldap;
}

const POLICY: &str = "cn=default,ou=policies,dc=example,dc=org";
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
        faults.extend(judged(world, &case, &|command| {
            paste(&command.replace("-QLLL", "-LLL -Q"), &server.uri(), "cn=config", slapd::ADMIN)
        }));
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
        faults.extend(judged(world, &case, &|command| paste(command, &server.uri(), ds389::ADMIN, ds389::ADMIN)));
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
