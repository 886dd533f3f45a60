//! What a world writes into the daemon's configuration: the one place of the tests that knows its keys.

use std::{collections::BTreeMap, fmt::Write, net::SocketAddr, path::Path};

use data_encoding::HEXLOWER;
use ring::digest;
use serde_json::Value;

use crate::{
    ground::Ground,
    slapd::{CANARY, SERVICE, SUFFIX, Slapd, Variant},
    smtp::{self, Smtp, Tls},
    tls,
};

/// Sections of which there can be several.
const LISTS: &[&str] = &["channel", "directory", "http.client", "policy.profile", "policy.shared_network"];

/// How the daemon goes to the directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Way {
    /// In clear text, on loopback; through this proxy where one is named.
    Clear(Option<String>),
    /// Over the server's Unix socket, where the kernel says who asks.
    Ldapi,
    /// With TLS from the first byte.
    Ldaps,
    /// With TLS when asked for.
    StartTls,
}

/// Where everything is.
pub(crate) struct Place<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) folder: &'a Path,
    pub(crate) ground: &'a Ground,
    pub(crate) hook_key: &'a str,
    pub(crate) smtp: Option<&'a Smtp>,
    pub(crate) way: &'a Way,
}

/// The text of the file: what a world needs, and in its place what a test has set.
pub(crate) fn text(place: &Place<'_>, settings: &BTreeMap<String, String>) -> String {
    let folder = place.folder.display();
    let quoted = |text: &str| format!("{text:?}");
    let authority = quoted(&tls::authority().display().to_string());
    let base = place.ground.base();
    let mut keys: BTreeMap<String, String> = [
        ("public_url", quoted(&format!("http://{}", place.address))),
        ("key_file", quoted(&format!("{folder}/secrets/keys"))),
        ("log_level", quoted("trace")),
        ("http.listen", quoted(&place.address.to_string())),
        ("http.client.name", quoted("wiki")),
        ("http.client.key_hashes", format!("[{}]", quoted(&key_hash(place.hook_key)))),
        ("http.client.scopes", r#"["recovery", "ticket", "password", "sign-in"]"#.to_owned()),
        ("admin.socket", quoted(&format!("{folder}/admin.sock"))),
        ("store.path", quoted(&format!("{folder}/state/rekeyd.db"))),
        ("store.epoch_file", quoted(&format!("{folder}/epoch/epoch"))),
        ("directory.name", quoted("main")),
        ("directory.kind", quoted("openldap")),
        ("directory.base", quoted(base)),
        ("directory.group_base", quoted(&format!("ou=groups,{base}"))),
        ("policy.privileged_groups", format!("[{}]", quoted(&format!("cn=admins,ou=groups,{base}")))),
        // Tests ask often, and all of them from one address.
        ("policy.paces.source", quoted("1000 in 1m")),
        // Nor do they wait a minute for a second try.
        ("policy.lives.retry", quoted("1s")),
        ("messages.organisation", quoted("Example University")),
        ("messages.service", quoted("Example account")),
        ("messages.help", quoted("the service desk, room 101")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    let mut add = |more: Vec<(&str, String)>| keys.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
    match place.ground {
        Ground::Branch(branch) => add(on_a_branch(place, &branch.slapd)),
        Ground::Estate(estate) => add(estate.settings(&format!("{folder}/secrets/bind"))),
    }
    add(vec![("channel.name", quoted("post")), ("channel.from", quoted("noreply@example.org"))]);
    match place.smtp {
        Some(smtp) => add(vec![
            ("channel.kind", quoted("email")),
            ("channel.hosts", format!("[{}]", quoted(&format!("localhost:{}", smtp.port())))),
            ("channel.tls", quoted(if smtp.tls() == Tls::Implicit { "implicit" } else { "starttls" })),
            ("channel.ca_file", authority),
            ("channel.username", quoted(smtp::LOGIN)),
            ("channel.password_file", quoted(&format!("{folder}/secrets/smtp"))),
        ]),
        None => add(vec![("channel.kind", quoted("file")), ("channel.folder", quoted(&format!("{folder}/mail")))]),
    }
    keys.extend(settings.iter().map(|(key, value)| (key.clone(), value.clone())));
    // A test takes a key away by giving it no value.
    keys.retain(|_, value| !value.is_empty());
    render(&keys)
}

/// How a directory of the usual kind is gone to.
fn on_a_branch(place: &Place<'_>, slapd: &Slapd) -> Vec<(&'static str, String)> {
    let folder = place.folder.display();
    let quoted = |text: &str| format!("{text:?}");
    let authority = quoted(&tls::authority().display().to_string());
    let mut keys = Vec::new();
    match slapd.variant() {
        Variant::Policy => keys.extend([
            ("directory.canary", quoted(CANARY)),
            ("directory.default_policy", quoted(&format!("cn=default,ou=policies,{SUFFIX}"))),
        ]),
        // Without a policy the directory itself knows nothing of states, so they rest on markers.
        Variant::Bare => keys.extend([
            ("directory.markers.disabled", r#"["employeeType=disabled"]"#.to_owned()),
            ("directory.markers.never_activated", r#"["employeeType=newcomer"]"#.to_owned()),
        ]),
    }
    let by_password = vec![
        ("directory.bind_dn", quoted(SERVICE)),
        ("directory.bind_password_file", quoted(&format!("{folder}/secrets/bind"))),
    ];
    let urls = |uri: String| ("directory.urls", format!("[{}]", quoted(&uri)));
    match place.way {
        Way::Clear(proxy) => {
            keys.extend([
                urls(proxy.clone().unwrap_or_else(|| slapd.uri())),
                ("directory.clear_text_on_loopback", "true".to_owned()),
            ]);
            keys.extend(by_password);
        }
        Way::Ldapi => keys.extend([urls(slapd.socket_uri()), ("directory.sasl", quoted("external"))]),
        Way::Ldaps => {
            keys.extend([urls(slapd.tls_uri()), ("directory.ca_file", authority.clone())]);
            keys.extend(by_password);
        }
        Way::StartTls => {
            keys.extend([urls(slapd.uri()), ("directory.start_tls", "true".to_owned())]);
            keys.extend([("directory.ca_file", authority.clone())]);
            keys.extend(by_password);
        }
    }
    keys
}

/// What the answer of `GET /v1/outbox?waiting` says is still to be delivered.
pub(crate) fn undelivered(outbox: &Value) -> Option<String> {
    let waiting = outbox["notices"].as_array().expect("a list of notices");
    (!waiting.is_empty()).then(|| outbox.to_string())
}

/// How the configuration knows a login page's key.
pub fn key_hash(key: &str) -> String {
    format!("sha256:{}", HEXLOWER.encode(digest::digest(&digest::SHA256, key.as_bytes()).as_ref()))
}

/// The text of a configuration file with these keys, such as `policy.paces.account`, and their values as they are written
/// in the file. Keys of one section stand together under its name; those without a section come first. The second of
/// several sections is named with `~2`: `directory~2.name`, `directory~2.policy.tell_refused`.
pub fn render(keys: &BTreeMap<String, String>) -> String {
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    for (key, value) in keys {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        writeln!(sections.entry(section).or_default(), "{name} = {value}").expect("a text");
    }
    let named = |(section, lines): (&str, String)| match section.replace("~2", "") {
        section if section.is_empty() => lines,
        section if LISTS.contains(&section.as_str()) => format!("\n[[{section}]]\n{lines}"),
        section => format!("\n[{section}]\n{lines}"),
    };
    sections.into_iter().map(named).collect()
}
