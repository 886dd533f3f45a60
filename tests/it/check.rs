//! `rekeyctl check`: every fault of a configuration at once, each with its line and remedy, and then what it names is tried.

use std::{
    fs,
    process::{Command, Stdio},
};

use rekeyd_tests::{
    acts::{Told, run},
    builder::write_secret,
    scratch,
    slapd::Variant,
    smtp::{Smtp, Tls},
    tests,
    tls::{self, Flaw},
    world::{World, program},
    world_config::Way,
};
use serde_json::Value;

tests! {
    async fn ctl_check_names_every_fault_of_twelve_broken_configurations;
    async fn ctl_check_finds_nothing_wrong_with_a_good_world;
    async fn ctl_check_says_what_the_directory_refuses;
    async fn ctl_check_says_when_the_configuration_contradicts_the_server;
    async fn ctl_check_says_what_the_mail_server_refuses;
    async fn t66_certificates_are_checked_and_the_flaw_is_named;
    async fn t70_several_at_once_prove_on_the_same_canary;
}

/// What is planted: a key, the value as it is written (nothing takes the key away), the key that is blamed, and a word of
/// what is wrong or of the remedy. Where the key itself is gone, any line may be blamed.
const BROKEN: [&[(&str, &str, &str, &str)]; 12] = [
    // Misspelt keys and sections, each with the nearest that there is.
    &[
        ("http.lisen", "1", "http.lisen", "listen"),
        ("policy.lives.rset", "\"30m\"", "policy.lives.rset", "reset"),
        ("directory.bsae", "\"dc=x\"", "directory.bsae", "base"),
        ("stoer.path", "\"/x\"", "stoer", "store"),
    ],
    // Values of another type.
    &[
        ("http.listen", "8080", "http.listen", "text"),
        ("policy.tell_refused", "\"no\"", "policy.tell_refused", "true or false"),
        ("store.backlog", "\"many\"", "store.backlog", "whole number"),
    ],
    // What has to be there and is not.
    &[
        ("public_url", "", "public_url", "missing"),
        ("key_file", "", "key_file", "missing"),
        ("policy.privileged_groups", "", "policy.privileged_groups", "missing"),
        ("directory.base", "", "directory.base", "missing"),
    ],
    // Passwords in clear text over the network.
    &[
        ("directory.urls", "[\"ldap://ldap.example.org\"]", "directory.urls", "clear text"),
        ("http.listen", "\"0.0.0.0:8080\"", "http.listen", "clear text"),
        ("public_url", "\"http://reset.example.org\"", "public_url", "TLS"),
        ("channel.hosts", "[\"smtp.example.org:25\"]", "channel.tls", "clear text"),
    ],
    // A proxy that everybody is.
    &[("http.trusted_proxies", "[\"0.0.0.0/0\"]", "http.trusted_proxies", "everybody")],
    // Times and numbers out of range.
    &[
        ("policy.lives.reset", "\"1s\"", "policy.lives.reset", "between"),
        ("policy.paces.account", "\"0 in 1h\"", "policy.paces.account", "out of range"),
        ("policy.password.min_length", "4", "policy.password.min_length", "from 8"),
        ("http.limits.header", "\"1h\"", "http.limits.header", "between"),
        ("directory.operation_timeout", "\"soon\"", "directory.operation_timeout", "length of time"),
    ],
    // Names that are none.
    &[
        ("policy.privileged_groups", "[\"admins\"]", "policy.privileged_groups", "distinguished name"),
        ("directory.base", "\"example.org\"", "directory.base", "distinguished name"),
        ("directory.filter", "\"(uid=\"", "directory.filter", "filter"),
        ("policy.contacts.denied_domains", "[\"no domain\"]", "policy.contacts.denied_domains", "domain"),
    ],
    // Not even TOML; what can be read is read all the same.
    &[("log_level", "\"info", "(syntax)", "TOML"), ("http.lisen", "1", "http.lisen", "listen")],
    // Words of a closed set.
    &[
        ("log_level", "\"loud\"", "log_level", "\"debug\""),
        ("directory.kind", "\"active-directory-9\"", "directory.kind", "\"openldap\""),
        ("channel.kind", "\"pigeon\"", "channel.kind", "\"email\""),
    ],
    // Login pages.
    &[
        ("http.client.key_hashes", "[\"the-key-itself\"]", "http.client.key_hashes", "sha256:"),
        ("http.client.scopes", "[\"everything\"]", "http.client.scopes", "\"recovery\""),
        ("http.client.name", "\"a page\"", "http.client.name", "a-z"),
    ],
    // Places that are none.
    &[
        ("store.path", "\"rekeyd.db\"", "store.path", "absolute"),
        ("admin.socket", "\"admin.sock\"", "admin.socket", "absolute"),
        ("messages.templates", "\"templates\"", "messages.templates", "absolute"),
    ],
    // Texts, times and markers that say nothing.
    &[
        ("messages.organisation", "\" \"", "messages.organisation", "empty"),
        ("messages.help_url", "\"javascript:alert(1)\"", "messages.help_url", "address"),
        ("messages.time_zone", "\"Atlantis\"", "messages.time_zone", "time zone"),
        ("directory.markers.disabled", "[\"=x\"]", "directory.markers.disabled", "attribute"),
        ("channel.from", "\"no-reply\"", "channel.from", "address"),
    ],
];

async fn ctl_check_names_every_fault_of_twelve_broken_configurations() {
    for (number, faults) in BROKEN.iter().enumerate() {
        let world = World::builder().prepare().await;
        if number == 3 {
            world.set("channel.tls", "\"none\"");
        }
        for (key, value, ..) in *faults {
            world.set(key, value);
        }
        let told = check(&world, &["--json", "--offline"]);
        assert_eq!(told.code, 78, "configuration {number}: {told:?}");
        let found = told.json()["faults"].as_array().cloned().expect("faults");
        let text = check(&world, &["--offline"]).out;
        let lines: Vec<_> = fs::read_to_string(world.config()).expect("the file").lines().map(str::to_owned).collect();
        for (key, value, blamed, word) in *faults {
            let fits =
                |fault: &&Value| fault["key"] == *blamed && fault.to_string().replace("\\\"", "\"").contains(word);
            let fault = found.iter().find(fits);
            let fault =
                fault.unwrap_or_else(|| panic!("configuration {number}: {blamed} with {word} is not in {told:?}"));
            for part in ["what", "remedy"] {
                assert!(fault[part].as_str().is_some_and(|text| text.len() > 5), "configuration {number}: {fault}");
            }
            let line = usize::try_from(fault["line"].as_u64().expect("a line")).expect("a number");
            assert!((1..=lines.len()).contains(&line), "configuration {number}: {fault}");
            let name = key.rsplit('.').next().expect("a name");
            if !value.is_empty() && blamed.ends_with(name) {
                assert_eq!(lines[line - 1], format!("{name} = {value}"), "configuration {number}: {fault}");
            }
            assert!(text.contains(&format!("line {line} ")) && text.contains(blamed), "configuration {number}: {text}");
        }
    }
}

async fn ctl_check_finds_nothing_wrong_with_a_good_world() {
    for (variant, way) in [(Variant::Policy, Way::Ldaps), (Variant::Policy, Way::StartTls), (Variant::Bare, Way::Ldaps)]
    {
        let world = World::builder().shared(variant).way(way).start().await;
        let told = check(&world, &[]);
        assert_eq!(told.code, 0, "{told:?}\n{}", world.log());
        for said in ["channel post", "reach it", "password policy", "store"] {
            assert!(told.out.to_lowercase().contains(said), "{said} is not in {}", told.out);
        }
        assert!(world.smtp().messages().is_empty(), "a check has sent a message");
        assert!(world.slapd().service_writes(world.branch().base()).await.is_empty(), "a check has written to people");
        let probes = check(&world, &["--json"]).json()["probes"].as_array().cloned().expect("probes");
        assert!(probes.iter().all(|probe| probe["grade"] != "broken" && probe["outcome"].is_string()), "{probes:?}");
        assert_eq!(world.door().get("/healthz").await.status, 200, "the check has disturbed the daemon");
    }
}

async fn ctl_check_says_what_the_directory_refuses() {
    let world = World::builder().prepare().await;
    write_secret(&world.folder().join("secrets/bind"), "not-the-password-1234");
    let told = check(&world, &[]);
    assert!(told.code != 0 && said(&told).contains("its name or its password is wrong"), "{told:?}");
    assert!(!said(&told).contains("not-the-password-1234"), "{told:?}");
    let world = World::builder().set("directory.base", "\"ou=nowhere,dc=example,dc=org\"").prepare().await;
    let told = check(&world, &[]);
    assert!(told.code != 0 && said(&told).contains("ou=nowhere"), "{told:?}");
    let group = "\"cn=nobody,dc=example,dc=org\"";
    let world = World::builder().set("policy.privileged_groups", &format!("[{group}]")).prepare().await;
    let told = check(&world, &[]);
    assert!(told.code != 0 && said(&told).contains("cn=nobody"), "a group that is not there is not missed: {told:?}");
    let world = World::builder().set("directory.urls", "[\"ldaps://127.0.0.1:1\"]").prepare().await;
    let told = check(&world, &[]);
    assert!(told.code != 0 && said(&told).contains("127.0.0.1:1"), "{told:?}");
}

async fn ctl_check_says_what_the_mail_server_refuses() {
    let world = World::builder().smtp(Tls::Implicit).prepare().await;
    write_secret(&world.folder().join("secrets/smtp"), "not-the-password-1234");
    let told = check(&world, &[]);
    assert!(told.code != 0 && said(&told).contains("post"), "{told:?}");
    assert!(!said(&told).contains("not-the-password-1234"), "{told:?}");
    let world = World::builder().prepare().await;
    world.smtp().close().await;
    let told = check(&world, &[]);
    assert!(told.code != 0 && said(&told).contains("post"), "{told:?}");
    world.smtp().open().await;
    assert_eq!(check(&world, &[]).code, 0, "{:?}", check(&world, &[]));
}

async fn t66_certificates_are_checked_and_the_flaw_is_named() {
    // An authority that did not sign, for the directory and for the mail server.
    let stranger = tls::flawed(Flaw::Stranger).certificate.display().to_string();
    for key in ["directory.ca_file", "channel.ca_file"] {
        let world = World::builder().set(key, &format!("{stranger:?}")).prepare().await;
        let told = check(&world, &[]);
        assert!(told.code != 0 && said(&told).to_lowercase().contains("certificate"), "{key}: {told:?}");
    }
    let empty = scratch::folder("empty").join("ca.pem");
    write_secret(&empty, "");
    let world =
        World::builder().set("directory.ca_file", &format!("{:?}", empty.display().to_string())).prepare().await;
    assert!(check(&world, &[]).code != 0);
    // A server with one flaw, which speaks TLS and nothing that could be mistaken for an answer.
    for flaw in [Flaw::Expired, Flaw::Stranger, Flaw::WrongName] {
        let server = Smtp::start_with(Tls::Implicit, &tls::flawed(flaw)).await;
        for key in ["directory.urls", "channel.hosts"] {
            let world = World::builder().smtp(Tls::Implicit).prepare().await;
            let scheme = if key == "channel.hosts" { "" } else { "ldaps://" };
            world.set(key, &format!("[\"{scheme}localhost:{}\"]", server.port()));
            let told = check(&world, &[]);
            assert!(told.code != 0 && said(&told).to_lowercase().contains("certificate"), "{flaw:?} {key}: {told:?}");
        }
        assert!(server.connections() >= 2 && server.messages().is_empty());
    }
}

async fn t70_several_at_once_prove_on_the_same_canary() {
    let world = World::builder().prepare().await;
    let start = || {
        let mut command = Command::new(program("rekeyctl"));
        command.arg("check").arg("--config").arg(world.config()).stdout(Stdio::piped());
        command.spawn().expect("a check")
    };
    let checks: Vec<_> = (0..8).map(|_| start()).collect();
    for check in checks {
        let told = Told::from(check.wait_with_output().expect("its output"));
        assert!(told.out.contains("a Modify that carries the whole account's state"), "{told:?}");
    }
}

fn check(world: &World, more: &[&str]) -> Told {
    let mut command = Command::new(program("rekeyctl"));
    command.arg("check").arg("--config").arg(world.config()).args(more);
    run(command, "")
}

fn said(told: &Told) -> String {
    format!("{}{}", told.out, told.err)
}

async fn ctl_check_says_when_the_configuration_contradicts_the_server() {
    for (kind, note) in [("ds389", true), ("openldap", false), ("auto", false)] {
        let world = World::builder().set("directory.kind", &format!("{kind:?}")).prepare().await;
        let told = world.rekeyctl(&["--json", "--config", &world.config().display().to_string(), "check"], "");
        let probes = told.json()["probes"].as_array().cloned().expect("a list");
        let product = probes.iter().find(|probe| probe["what"] == "product").expect("the product");
        assert_eq!(product["grade"], if note { "note" } else { "fine" }, "{product}");
        let words = product["outcome"].as_str().expect("words");
        assert_eq!(words.contains("`kind` says") && words.contains("OpenLDAP"), note, "{product}");
        assert_eq!(product["remedy"].is_string(), note, "{product}");
    }
}
