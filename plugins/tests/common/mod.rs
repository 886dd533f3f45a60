//! A set-up of messages and one notice of each kind, fixed to the byte.

#![allow(dead_code, clippy::expect_used, clippy::unwrap_used, clippy::panic)]

pub(crate) mod smtp;

use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::{EmailAddress, Link, Notice, NoticeId, NoticeKind, Recipient, Timestamp};
use rekeyd_core::settings::Document;
use rekeyd_plugins::{Channel, Messages, MessagesConfig, list};

/// What `[messages]` says where a test has no other wish.
pub(crate) const MESSAGES: &str = r#"
organisation = "Example University"
service = "Campus Login"
help = "the Service Point in the library, room 0.12, phone 555 0100"
help_url = "https://www.example.org/help"
"#;

/// Messages by the text of a `[messages]` section.
pub(crate) fn messages(section: &str) -> Result<Arc<Messages>, Vec<String>> {
    let text = format!("[messages]\n{section}");
    let document = Document::parse(&text);
    let root = document.root();
    let section = root.section("messages");
    let config = MessagesConfig::read(&section);
    section.finish();
    root.finish();
    let faults: Vec<_> = document.into_faults().iter().map(ToString::to_string).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let told = |faults: Vec<rekeyd_core::settings::Fault>| faults.iter().map(ToString::to_string).collect();
    Messages::load(config).map(Arc::new).map_err(told)
}

/// The only channel of a configuration.
pub(crate) fn channel(section: &str, messages: &Arc<Messages>) -> Box<dyn Channel> {
    let text = format!("[[channel]]\n{section}");
    let document = Document::parse(&text);
    let configs = list::read(&document.root());
    let faults: Vec<_> = document.into_faults().iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{faults:?}");
    match configs.first().unwrap().open(messages, None) {
        Ok(channel) => channel,
        Err(faults) => panic!("{faults:?}"),
    }
}

/// A notice as the outbox makes it.
pub(crate) fn notice(kind: NoticeKind) -> Notice {
    let token = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMk";
    let link = |path: &str| Some(Link::new(format!("https://reset.example.org{path}{token}")));
    let (with_link, with_not_me) = match kind {
        NoticeKind::ActivationLink | NoticeKind::ResetLink => (true, true),
        NoticeKind::PasswordChanged | NoticeKind::PasswordUnsure => (false, true),
        NoticeKind::PasswordReplaced | NoticeKind::RecoveryRefused => (false, false),
    };
    Notice {
        id: NoticeId::from_bytes([0x5a; 22]),
        kind,
        languages: vec!["en-GB".to_owned()],
        login: "ada".to_owned(),
        name: Some("Ada Lovelace".to_owned()),
        link: link("/r/").filter(|_| with_link),
        not_me: link("/not-me/").filter(|_| with_not_me),
        valid_for: with_link.then_some(Duration::from_mins(30)),
        at: Timestamp::from_millis(1_795_200_000_123),
    }
}

/// Somebody's mailbox.
pub(crate) fn recipient(address: &str) -> Recipient {
    Recipient { address: EmailAddress::parse(address).unwrap() }
}
