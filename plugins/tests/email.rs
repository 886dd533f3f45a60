//! The channel `email` against smart hosts that fail at every step: what was surely taken, surely not taken, and what
//! nobody can know.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use common::smtp::{Script, Smtp, Tls, authority};
use common::{MESSAGES, channel, messages, notice, recipient};
use rekeyd_core::domain::NoticeKind;
use rekeyd_core::settings::Document;
use rekeyd_plugins::{Channel, Delivered, list};

/// A channel to these hosts, with more keys in its section.
fn to(hosts: &[&Smtp], more: &str) -> Box<dyn Channel> {
    let hosts: Vec<_> = hosts.iter().map(|host| format!("localhost:{}", host.port)).collect();
    channel(
        &format!(
            "kind = \"email\"\nhosts = {hosts:?}\nfrom = \"no-reply@example.org\"\nca_file = \"{}\"\n\
             connect_timeout = \"2s\"\ntimeout = \"1s\"\n{more}",
            authority().display()
        ),
        &messages(MESSAGES).unwrap(),
    )
}

async fn send(channel: &dyn Channel) -> Delivered {
    channel.deliver(&recipient("ada@example.org"), &notice(NoticeKind::ResetLink)).await
}

/// The outcome in a word, and the reason without the port.
fn told(delivered: Delivered, host: &Smtp) -> (&'static str, String) {
    let (word, why) = match delivered {
        Delivered::Delivered => ("delivered", String::new()),
        Delivered::Later(why) => ("later", why),
        Delivered::Never(why) => ("never", why),
        Delivered::Shut(why) => ("shut", why),
        Delivered::Unsure(why) => ("unsure", why),
    };
    assert!(!why.contains("ada@") && !why.contains("/r/"), "{why}");
    (word, why.replace(&format!("localhost:{}: ", host.port), ""))
}

#[tokio::test]
async fn t81_t85_one_letter_to_one_recipient_from_the_configured_sender() {
    let host = Smtp::with(Tls::Upgrade, &[]).await;
    let channel = to(&[&host], "bounce_to = \"bounces@example.org\"\nreply_to = \"help@example.org\"");
    let mut notice = notice(NoticeKind::ResetLink);
    notice.name = Some("\r\n.\r\nMAIL FROM:<x@evil.example>\r\n.".to_owned());
    assert_eq!(channel.deliver(&recipient("Ada.L@bücher.example"), &notice).await, Delivered::Delivered);
    assert_eq!(
        host.commands(),
        [
            "clear EHLO example.org",
            "clear STARTTLS",
            "EHLO example.org",
            "MAIL FROM:<bounces@example.org>",
            "RCPT TO:<Ada.L@xn--bcher-kva.example>",
            "DATA",
        ]
    );
    let letters = host.letters();
    assert_eq!(letters.len(), 1);
    assert!(letters[0].contains("\r\nReply-To: help@example.org\r\n"));
    assert!(letters[0].contains("\r\nAuto-Submitted: auto-generated\r\n"));
}

#[tokio::test]
async fn p5_a_repeat_is_the_same_letter_and_connections_are_used_again() {
    let host = Smtp::with(Tls::Implicit, &[]).await;
    let channel = to(&[&host], "tls = \"implicit\"");
    for _ in 0..100 {
        assert_eq!(send(&*channel).await, Delivered::Delivered);
    }
    let letters = host.letters();
    assert_eq!(letters.len(), 100);
    assert!(letters.iter().all(|letter| letter == &letters[0]));
    assert_eq!(host.connections(), 2);
}

#[tokio::test]
async fn t84_nothing_is_said_in_clear_text_or_to_a_stranger() {
    let host = Smtp::with(Tls::Never, &[]).await;
    let (word, why) = told(send(&*to(&[&host], "")).await, &host);
    assert_eq!((word, why.as_str()), ("shut", "it offers no encryption (STARTTLS), so nothing more is said to it"));
    assert_eq!(host.commands(), ["clear EHLO example.org"]);

    for tls in [Tls::Upgrade, Tls::Implicit] {
        let host = Smtp::start(Script { tls, certificate: "other.example", ..Script::default() }).await;
        let how = if tls == Tls::Implicit { "tls = \"implicit\"" } else { "" };
        let (word, why) = told(send(&*to(&[&host], how)).await, &host);
        assert_eq!(word, "shut");
        assert!(why.starts_with("its certificate is for another name") && why.contains("other.example"), "{why}");
        assert!(host.letters().is_empty());
    }

    let host = Smtp::with(Tls::Implicit, &[]).await;
    let section = |tls: &str| {
        format!(
            "kind = \"email\"\nhosts = [\"localhost:{}\"]\nfrom = \"a@example.org\"\ntimeout = \"1s\"\n{tls}",
            host.port
        )
    };
    let stranger = channel(&section("tls = \"implicit\""), &messages(MESSAGES).unwrap());
    let (_, why) = told(send(&*stranger).await, &host);
    assert!(why.contains("not trusted here; set ca_file"), "{why}");
    let plain = Smtp::with(Tls::Never, &[]).await;
    let (_, why) = told(send(&*to(&[&plain], "tls = \"implicit\"")).await, &plain);
    assert!(why.contains("does not speak TLS here"), "{why}");
    assert!(plain.letters().is_empty() && host.letters().is_empty());

    let clear = channel(
        &section("tls = \"none\"").replace(&host.port.to_string(), &plain.port.to_string()),
        &messages(MESSAGES).unwrap(),
    );
    assert_eq!(send(&*clear).await, Delivered::Delivered, "a smart host on this machine needs no encryption");
}

#[tokio::test]
async fn the_next_host_is_tried_only_while_the_first_has_surely_not_taken_the_letter() {
    for (step, says) in [
        ("GREETING", "421 busy"),
        ("AUTH", "535 no"),
        ("MAIL", "451 later"),
        ("RCPT", "450 later"),
        ("END", "452 full"),
    ] {
        let (first, second) = (Smtp::with(Tls::Upgrade, &[(step, says)]).await, Smtp::with(Tls::Upgrade, &[]).await);
        assert_eq!(send(&*signed_in(&[&first, &second])).await, Delivered::Delivered, "{step}");
        assert_eq!(second.letters().len(), 1);
    }
    for (step, says) in [("RCPT", "550 5.1.1 no"), ("END", "cut"), ("END", "554 no"), ("END", "hang")] {
        let (first, second) = (Smtp::with(Tls::Upgrade, &[(step, says)]).await, Smtp::with(Tls::Upgrade, &[]).await);
        let delivered = send(&*signed_in(&[&first, &second])).await;
        assert!(matches!(delivered, Delivered::Never(_) | Delivered::Unsure(_)), "{step}");
        assert_eq!(second.connections(), 0, "{step}");
    }
    let mut gone = Smtp::with(Tls::Upgrade, &[]).await;
    gone.port = 1;
    let second = Smtp::with(Tls::Upgrade, &[]).await;
    assert_eq!(send(&*to(&[&gone, &second], "")).await, Delivered::Delivered);
}

/// As [`to`], with a name and a password.
fn signed_in(hosts: &[&Smtp]) -> Box<dyn Channel> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("smtp");
    fs::write(&path, "geheim\n").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    to(hosts, &format!("username = \"svc\"\npassword_file = \"{}\"", path.display()))
}

#[tokio::test]
async fn signing_in_comes_after_encryption_and_its_failure_waits_for_an_operator() {
    let host = Smtp::with(Tls::Upgrade, &[]).await;
    assert_eq!(send(&*signed_in(&[&host])).await, Delivered::Delivered);
    assert_eq!(host.commands()[3], "AUTH PLAIN AHN2YwBnZWhlaW0=");

    let host = Smtp::with(Tls::Upgrade, &[("EHLO", "250-test\r\n250 AUTH=LOGIN XOAUTH2")]).await;
    assert_eq!(send(&*signed_in(&[&host])).await, Delivered::Delivered);
    assert_eq!(host.commands()[3..6], ["AUTH LOGIN", "c3Zj", "Z2VoZWlt"]);

    for (steps, why) in [
        (("AUTH", "535 5.7.8 svc: wrong password geheim"), "our sign-in was refused: 535"),
        (("AUTH", "454 4.7.0 not now"), "our sign-in was refused: 454"),
        (("EHLO", "250 test"), "it offers no way to sign in that is known here (AUTH PLAIN or LOGIN)"),
    ] {
        let host = Smtp::with(Tls::Upgrade, &[steps]).await;
        assert_eq!(told(send(&*signed_in(&[&host])).await, &host), ("shut", why.to_owned()));
        assert_eq!(signed_in(&[&host]).probe().await.unwrap_err(), format!("localhost:{}: {why}", host.port));
    }
}

#[tokio::test]
async fn an_address_beyond_ascii_needs_a_host_that_carries_it() {
    let jürgen = recipient("jürgen@bücher.example");
    let host = Smtp::with(Tls::Upgrade, &[]).await;
    assert_eq!(to(&[&host], "").deliver(&jürgen, &notice(NoticeKind::ResetLink)).await, Delivered::Delivered);
    let commands = host.commands();
    assert_eq!(commands[3], "MAIL FROM:<no-reply@example.org> SMTPUTF8 BODY=8BITMIME");
    assert_eq!(commands[4], "RCPT TO:<jürgen@xn--bcher-kva.example>");
    assert!(host.letters()[0].contains("\r\nTo: jürgen@xn--bcher-kva.example\r\n"));

    let host = Smtp::with(Tls::Upgrade, &[("EHLO", "250 test")]).await;
    let why = "the address needs a smart host that carries SMTPUTF8".to_owned();
    let delivered = to(&[&host], "").deliver(&jürgen, &notice(NoticeKind::ResetLink)).await;
    assert_eq!(told(delivered, &host), ("never", why));

    let able = Smtp::with(Tls::Upgrade, &[]).await;
    let delivered = to(&[&host, &able], "").deliver(&jürgen, &notice(NoticeKind::ResetLink)).await;
    assert_eq!((delivered, able.letters().len()), (Delivered::Delivered, 1), "the next host may carry it");
    let busy = Smtp::with(Tls::Upgrade, &[("GREETING", "421 busy")]).await;
    let delivered = to(&[&host, &busy], "").deliver(&jürgen, &notice(NoticeKind::ResetLink)).await;
    assert_eq!(told(delivered, &host).0, "later", "a host that may carry it was not asked yet");
}

#[tokio::test]
async fn a_connection_that_the_host_closed_meanwhile_costs_nothing() {
    let host = Smtp::with(Tls::Upgrade, &[]).await;
    let channel: Arc<dyn Channel> = Arc::from(to(&[&host], ""));
    let sends = (0..5).map(|_| {
        let channel = Arc::clone(&channel);
        tokio::spawn(async move { send(&*channel).await })
    });
    for sent in sends.collect::<Vec<_>>() {
        assert_eq!(sent.await.unwrap(), Delivered::Delivered);
    }
    assert_eq!(host.letters().len(), 5);

    // This host ends each connection after one letter, as `421` or without a word.
    for says in ["250 queued\r\n421 enough", "250 queued"] {
        let host = Smtp::start(Script { steps: [("END", says), ("AFTER", "cut")].into(), ..Script::default() }).await;
        let channel = to(&[&host], "");
        for _ in 0..3 {
            assert_eq!(send(&*channel).await, Delivered::Delivered);
        }
        assert_eq!((host.letters().len(), host.connections()), (3, 3));
    }
}

#[tokio::test]
async fn a_probe_says_what_was_found_and_sends_nothing() {
    let host = Smtp::with(Tls::Upgrade, &[]).await;
    let found = signed_in(&[&host]).probe().await.unwrap();
    assert_eq!(found, format!("localhost:{}: ready (TLS 1.3, signed in by PLAIN)", host.port));
    assert!(!host.commands().iter().any(|line| line.starts_with("MAIL")));

    let bad = Smtp::start(Script { certificate: "other.example", ..Script::default() }).await;
    let found = to(&[&host, &bad], "").probe().await.unwrap_err();
    assert!(found.contains("ready (TLS 1.3, not signed in); ") && found.contains("for another name"), "{found}");
}

#[test]
fn the_section_names_every_fault() {
    let text = "[[channel]]\nkind = \"email\"\nfrom = \"jürgen@example.org\"\nfrom_name = \"a\\nb\"\n\
                hosts = [\"smtp.example.org\", \"smtp:x\", \"[::1]:25\", \"a b\"]\ntls = \"none\"\npassword_file = \"secret\"\n\
                hello = \"a b\"\ntimeout = \"1h\"\nca_file = \"ca.pem\"\n[[channel]]\nkind = \"email\"\nname = \"b\"\nusername = \"\"\n";
    let document = Document::parse(text);
    assert!(list::read(&document.root()).is_empty());
    let faults: Vec<_> =
        document.into_faults().iter().map(|fault| format!("{}: {}: {}", fault.line, fault.key, fault.what)).collect();
    assert_eq!(
        faults,
        [
            "3: channel.from: it is not a plain address of the form name@domain",
            "4: channel.from_name: it has control characters",
            "5: channel.hosts: it is not a host with its port",
            "6: channel.tls: clear text is only for a smart host on this machine",
            "7: channel.password_file: it is neither an absolute path nor a credential",
            "7: channel.password_file: there is no username to go with it",
            "8: channel.hello: it is no name of a machine",
            "9: channel.timeout: it is out of range",
            "10: channel.ca_file: it is not an absolute path",
            "11: channel.from: it is missing",
            "11: channel.hosts: it is missing",
            "14: channel.username: it is no name",
            "14: channel.username: there is no password to go with it",
        ]
    );
}

#[test]
fn files_that_are_wrong_are_faults_when_the_channel_opens() {
    let text = "\n[[channel]]\nkind = \"email\"\nfrom = \"a@example.org\"\nhosts = [\"localhost\"]\nca_file = \"/nowhere/ca.pem\"\n\
                username = \"svc\"\npassword_file = \"credential:smtp\"\n";
    let document = Document::parse(text);
    let configs = list::read(&document.root());
    assert!(document.into_faults().is_empty());
    let faults = configs[0].open(&messages(MESSAGES).unwrap(), None).err().unwrap();
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("line 6: channel.ca_file: /nowhere/ca.pem can't be read: "), "{faults:?}");
    assert!(faults[1].starts_with("line 8: channel.password_file: systemd has passed no credentials"), "{faults:?}");
}

#[test]
fn p5_one_delivery_ends_before_the_outbox_begins_another() {
    let faults = |hosts: usize, timeout: &str| {
        let hosts = vec!["localhost"; hosts];
        let text = format!("[[channel]]\nkind = \"email\"\nfrom = \"a@example.org\"\nhosts = {hosts:?}\n{timeout}\n");
        let document = Document::parse(&text);
        list::read(&document.root());
        document.into_faults().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (hosts, timeout, fine) in [
        (1, "", true),
        (4, "", true),
        (5, "", false),
        (1, "timeout = \"120s\"", true),
        (2, "timeout = \"120s\"", false),
        (5, "timeout = \"20s\"", true),
        (2, "timeout = \"73s\"\nconnect_timeout = \"12s\"", false),
    ] {
        assert_eq!(faults(hosts, timeout).is_empty(), fine, "{hosts} {timeout} {:?}", faults(hosts, timeout));
    }
    assert!(
        faults(2, "timeout = \"120s\"")[0].starts_with("line 5: channel.timeout: one try at a message could take ")
    );
    assert_eq!(faults(0, "").len(), 1);
}
