//! What a world writes into the daemon's configuration: the one place of the tests that knows its keys.

use std::{collections::BTreeMap, fmt::Write, net::SocketAddr, path::Path};

use serde_json::Value;

use crate::{
    slapd::{SERVICE, Slapd},
    smtp::{self, Smtp},
    tls,
};

/// Where everything is.
pub(crate) struct Place<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) base: &'a str,
    pub(crate) folder: &'a Path,
    pub(crate) slapd: &'a Slapd,
    pub(crate) smtp: Option<&'a Smtp>,
}

/// The text of the file: what a world needs, and in its place what a test has set.
pub(crate) fn text(place: &Place<'_>, settings: &BTreeMap<String, String>) -> String {
    let folder = place.folder.display();
    let quoted = |text: &str| format!("{text:?}");
    let mut keys = BTreeMap::from([
        ("state_dir".to_owned(), quoted(&format!("{folder}/state"))),
        ("http.listen".to_owned(), quoted(&place.address.to_string())),
        ("http.public_url".to_owned(), quoted(&format!("http://{}", place.address))),
        ("admin.socket".to_owned(), quoted(&format!("{folder}/admin.sock"))),
        ("directory.uri".to_owned(), quoted(&place.slapd.tls_uri())),
        ("directory.ca_file".to_owned(), quoted(&tls::authority().display().to_string())),
        ("directory.bind_dn".to_owned(), quoted(SERVICE)),
        ("directory.bind_password_file".to_owned(), quoted(&format!("{folder}/secrets/bind"))),
        ("directory.base".to_owned(), quoted(place.base)),
    ]);
    match place.smtp {
        Some(smtp) => keys.extend([
            ("channel.email.host".to_owned(), quoted("localhost")),
            ("channel.email.port".to_owned(), smtp.port().to_string()),
            ("channel.email.user".to_owned(), quoted(smtp::LOGIN)),
        ]),
        None => keys.extend([("channel.file.folder".to_owned(), quoted(&format!("{folder}/mail")))]),
    }
    keys.extend(settings.iter().map(|(key, value)| (key.clone(), value.clone())));
    render(&keys)
}

/// What the answer of `GET /v1/outbox` says is still to be delivered.
pub(crate) fn undelivered(outbox: &Value) -> Option<String> {
    let waiting = outbox["notices"].as_array().expect("a list of notices");
    (!waiting.is_empty()).then(|| outbox.to_string())
}

/// Keys of one section stand together under its name; those without a section come first.
fn render(keys: &BTreeMap<String, String>) -> String {
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    for (key, value) in keys {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        writeln!(sections.entry(section).or_default(), "{name} = {value}").expect("a text");
    }
    let named = |(section, lines): (&str, String)| {
        if section.is_empty() { lines } else { format!("\n[{section}]\n{lines}") }
    };
    sections.into_iter().map(named).collect()
}
