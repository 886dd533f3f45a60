//! R8: everything that a smart host can do wrong, step by step: how each try ends, and that in the end each letter is
//! there once, twice the same where nobody could know, or not at all where it was refused for good.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::expect_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use common::smtp::{Script, Smtp, Tls, authority};
use common::{MESSAGES, channel, messages, notice, recipient};
use rekeyd_core::domain::NoticeKind;
use rekeyd_plugins::{Channel, Delivered};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;

/// A step, what the host does there, how the try ends, and why in words.
const CASES: &[(&str, &str, &str, &str)] = &[
    ("GREETING", "421 busy", "shut", "our connection was refused: 421 busy"),
    ("GREETING", "450 later", "shut", "our connection was refused: 450 later"),
    ("GREETING", "554 go away", "shut", "our connection was refused: 554 go away"),
    ("GREETING", "cut", "shut", "it closed the connection"),
    ("GREETING", "reset", "shut", "it closed the connection"),
    ("GREETING", "hang", "shut", "it did not answer in time"),
    ("GREETING", "SSH-2.0-x", "shut", "it does not speak SMTP"),
    ("GREETING", "long", "shut", "its answer has no end"),
    ("GREETING", "220-a|endless", "shut", "its answer has two codes"),
    ("GREETING", "250-a|endless", "shut", "its answer has no end"),
    ("GREETING", "220-a|cut", "shut", "it closed the connection"),
    ("CLEAR-EHLO", "451 later", "shut", "our introduction was refused: 451 later"),
    ("CLEAR-EHLO", "502 no", "shut", "our introduction was refused: 502 no"),
    ("CLEAR-EHLO", "cut", "shut", "it closed the connection"),
    ("CLEAR-EHLO", "reset", "shut", "it closed the connection"),
    ("CLEAR-EHLO", "hang", "shut", "it did not answer in time"),
    ("CLEAR-EHLO", "250 test", "shut", "it offers no encryption (STARTTLS), so nothing more is said to it"),
    ("STARTTLS", "454 not now", "shut", "encryption was refused: 454 not now"),
    ("STARTTLS", "502 no", "shut", "encryption was refused: 502 no"),
    ("STARTTLS", "cut", "shut", "it closed the connection"),
    (
        "STARTTLS",
        "raw:220 go\r\n250-x\r\n250 AUTH PLAIN\r\n",
        "shut",
        "it sent more than its answer before encryption began",
    ),
    (
        "STARTTLS",
        "220 go|pause|250 no TLS|cut",
        "shut",
        "it does not speak TLS here; \"starttls\" and \"implicit\" are for different ports (587 and 465)",
    ),
    ("STARTTLS", "220 go|cut", "shut", "TLS did not come about: unexpected end of file"),
    ("STARTTLS", "220 go|hang", "shut", "it did not answer in time"),
    ("EHLO", "421 busy", "shut", "our introduction was refused: 421 busy"),
    ("EHLO", "cut", "shut", "it closed the connection"),
    ("EHLO", "250 test", "shut", "it offers no way to sign in that is known here (AUTH PLAIN or LOGIN)"),
    ("AUTH", "454 4.7.0 not now", "shut", "our sign-in was refused: 454"),
    ("AUTH", "535 5.7.8 svc: wrong password geheim", "shut", "our sign-in was refused: 535"),
    ("AUTH", "reset", "shut", "it closed the connection"),
    ("AUTH", "hang", "shut", "it did not answer in time"),
    ("MAIL", "421 4.3.2 going down|cut", "shut", "our sender's address was refused: 421 4.3.2 going down"),
    ("MAIL", "451 4.3.0 later", "shut", "our sender's address was refused: 451 4.3.0 later"),
    ("MAIL", "550 5.7.1 not you", "shut", "our sender's address was refused: 550 5.7.1 not you"),
    ("MAIL", "530 5.7.0 sign in", "shut", "our sender's address was refused: 530 5.7.0 sign in"),
    ("MAIL", "cut", "shut", "it closed the connection"),
    ("MAIL", "reset", "shut", "it closed the connection"),
    ("MAIL", "hang", "shut", "it did not answer in time"),
    ("RCPT", "421 4.7.0 too much|cut", "shut", "the recipient's address was refused: 421 4.7.0 too much"),
    ("RCPT", "450 4.2.1 greylisted", "later", "the recipient's address was refused: 450 4.2.1 greylisted"),
    (
        "RCPT",
        "550 5.1.1 <ada@example.org> unknown",
        "never",
        "the recipient's address was refused: 550 5.1.1 … unknown",
    ),
    ("RCPT", "551 5.1.6 moved", "never", "the recipient's address was refused: 551 5.1.6 moved"),
    ("RCPT", "552 5.2.2 mailbox full", "never", "the recipient's address was refused: 552 5.2.2 mailbox full"),
    ("RCPT", "553 5.1.3 bad", "never", "the recipient's address was refused: 553 5.1.3 bad"),
    ("RCPT", "550 5.1.1 no|cut", "never", "the recipient's address was refused: 550 5.1.1 no"),
    ("RCPT", "550 5.1.1 no|hang", "never", "the recipient's address was refused: 550 5.1.1 no"),
    ("RCPT", "554 5.7.1 relaying denied", "later", "the recipient's address was refused: 554 5.7.1 relaying denied"),
    ("RCPT", "250-fine|cut", "shut", "it closed the connection"),
    ("RCPT", "reset", "shut", "it closed the connection"),
    ("RCPT", "hang", "shut", "it did not answer in time"),
    ("DATA", "421 4.3.2 going down|cut", "shut", "the text of the letter was refused: 421 4.3.2 going down"),
    ("DATA", "451 no", "later", "the text of the letter was refused: 451 no"),
    ("DATA", "554 no", "never", "the text of the letter was refused: 554 no"),
    ("DATA", "250 what", "shut", "it answered 250, which means nothing here"),
    ("DATA", "raw:354 go\r\n250 taken\r\n", "shut", "it gives answers to nothing"),
    ("DATA", "cut", "shut", "it closed the connection"),
    ("DATA", "reset", "shut", "it closed the connection"),
    ("DATA", "hang", "shut", "it did not answer in time"),
    ("END", "421 4.3.2 going down|cut", "shut", "the letter was refused: 421 4.3.2 going down"),
    ("END", "451 4.7.1 greylisted", "later", "the letter was refused: 451 4.7.1 greylisted"),
    ("END", "452 full", "later", "the letter was refused: 452 full"),
    ("END", "552 5.3.4 too large", "never", "the letter was refused: 552 5.3.4 too large"),
    ("END", "554 5.7.1 spam", "never", "the letter was refused: 554 5.7.1 spam"),
    ("END", "cut", "unsure", "it closed the connection"),
    ("END", "reset", "unsure", "it closed the connection"),
    ("END", "hang", "unsure", "it did not answer in time"),
    ("END", "took|cut", "unsure", "it closed the connection"),
    ("END", "took|reset", "unsure", "it closed the connection"),
    ("END", "took|hang", "unsure", "it did not answer in time"),
    ("END", "took|250-queued|cut", "unsure", "it closed the connection"),
    ("END", "took|raw:\u{1}\u{2}garbage\r\n", "unsure", "it does not speak SMTP"),
    ("END", "250 \u{1}\u{2}garbage", "delivered", ""),
    ("END", "250 queued|421 enough|cut", "delivered", ""),
    ("QUIT", "cut", "delivered", ""),
];

#[tokio::test]
async fn r8_each_step_that_fails_ends_as_what_is_true_and_the_letter_arrives_once_it_can() {
    // More at once would only wait for each other, and those that hang count their seconds.
    let seats = Arc::new(Semaphore::new(16));
    let both = CASES.iter().flat_map(|case| [(case, false), (case, true)]);
    let cases = both.map(|(case, pipelining)| {
        let seats = Arc::clone(&seats);
        tokio::spawn(async move {
            let _seat = seats.acquire().await.unwrap();
            run(*case, pipelining).await;
        })
    });
    for case in cases.collect::<Vec<_>>() {
        case.await.unwrap();
    }
}

async fn run((step, says, word, why): (&'static str, &'static str, &str, &str), pipelining: bool) {
    let case = format!("{step} {says:?} {}", if pipelining { "in one go" } else { "one by one" });
    let script = Script { steps: [(step, says)].into(), pipelining, ..Script::default() };
    let host = Smtp::start(script).await;
    let channel = to(&[&host], if says.contains("hang") { "timeout = \"2s\"" } else { "" });
    let (ended, reason) = told(send(&*channel).await, &host);
    assert_eq!((ended, reason.as_str()), (word, why), "{case}");
    // Nothing but the opening in clear text, and never the older greeting.
    let spoken = ["clear EHLO example.org", "clear STARTTLS", "clear QUIT"];
    let clear: Vec<_> = host.commands().into_iter().filter(|line| line.starts_with("clear ")).collect();
    assert!(clear.iter().all(|line| spoken.contains(&line.as_str())), "{case}: {clear:?}");
    let trouble = channel.trouble();
    match word {
        // The host itself is in trouble, and says so until it works again.
        "shut" => assert!(trouble.as_ref().is_some_and(|trouble| trouble.shut && trouble.why.contains(why)), "{case}"),
        "delivered" | "never" => assert_eq!(trouble, None, "{case}"),
        _ => {}
    }
    host.heal();
    let taken = host.letters().len();
    if ["later", "shut", "unsure"].contains(&word) {
        until_delivered(&*channel, &case).await;
        assert_eq!(channel.trouble(), None, "{case}");
    }
    let letters = host.letters();
    let expected = match word {
        "never" => 0,
        "unsure" => taken + 1,
        _ => 1,
    };
    assert_eq!(letters.len(), expected, "{case}");
    assert!(letters.iter().all(|letter| letter == &letters[0]), "{case}: a repeat is the same letter");
    assert!(taken <= usize::from(["delivered", "unsure"].contains(&word)), "{case}: {taken} letters were taken");
}

#[tokio::test]
async fn r8_a_host_that_can_not_be_reached_is_asked_again() {
    // Nobody listens; then somebody does.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let channel = to_ports(&[port], "");
    assert_eq!(
        send(&*channel).await,
        Delivered::Shut(format!("localhost:{port}: it can't be reached: connection refused"))
    );
    let host = Smtp::on(socket.listen(16).unwrap(), Script::default());
    until_delivered(&*channel, "refused").await;
    assert_eq!(host.letters().len(), 1);

    // A black hole: nobody takes the connections, and the kernel drops what does not fit the queue.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener: TcpListener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut full = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        full.push(stream);
    }
    let channel = to_ports(&[address.port()], "connect_timeout = \"1s\"");
    let reason = format!("localhost:{}: it could not be reached in time", address.port());
    assert_eq!(send(&*channel).await, Delivered::Shut(reason));
    drop(full);
    let host = Smtp::on(listener, Script::default());
    until_delivered(&*channel, "black hole").await;
    assert_eq!(host.letters().len(), 1);
}

#[tokio::test]
async fn r8_a_certificate_for_another_name_shuts_the_way_until_it_is_right() {
    for tls in [Tls::Upgrade, Tls::Implicit] {
        let host = Smtp::start(Script { tls, certificate: "other.example", ..Script::default() }).await;
        let channel = to(&[&host], if tls == Tls::Implicit { "tls = \"implicit\"" } else { "" });
        let (word, why) = told(send(&*channel).await, &host);
        assert!(word == "shut" && why.starts_with("its certificate is for another name"), "{word} {why}");
        host.heal();
        until_delivered(&*channel, &why).await;
        assert_eq!(host.letters().len(), 1);
    }
}

#[tokio::test]
async fn r8_a_host_that_takes_no_letter_of_this_kind_or_size_is_passed_over() {
    let sized = |size: &str| format!("250-test\r\n250-AUTH PLAIN\r\n250 SIZE {size}");
    for (size, word) in [("1000", "never"), ("0", "delivered"), ("", "delivered"), ("1000000", "delivered")] {
        let offers: &'static str = sized(size).leak();
        let host = Smtp::with(Tls::Upgrade, &[("EHLO", offers)]).await;
        let (ended, why) = told(send(&*to(&[&host], "")).await, &host);
        assert_eq!((ended, why.is_empty()), (word, word == "delivered"), "{size} {why}");
    }
    let small = Smtp::with(Tls::Upgrade, &[("EHLO", sized("1000").leak())]).await;
    let large = Smtp::with(Tls::Upgrade, &[]).await;
    assert_eq!(send(&*to(&[&small, &large], "")).await, Delivered::Delivered);
    let down = Smtp::with(Tls::Upgrade, &[("GREETING", "421 busy")]).await;
    assert_eq!(told(send(&*to(&[&small, &down], "")).await, &small).0, "later", "the other one may take it");
}

#[tokio::test]
async fn r8_a_bad_host_is_probed_and_not_hammered_while_the_next_one_works() {
    let bad = Smtp::with(Tls::Upgrade, &[("GREETING", "421 busy")]).await;
    let good = Smtp::with(Tls::Upgrade, &[]).await;
    let channel = to(&[&bad, &good], "");
    for _ in 0..50 {
        assert_eq!(send(&*channel).await, Delivered::Delivered);
    }
    assert!(bad.connections() <= 4, "{} connections to a host that is down", bad.connections());
    let trouble = channel.trouble().unwrap();
    assert!(!trouble.shut && trouble.why.contains("421 busy"), "{trouble:?}");
    bad.heal();
    rested(&*channel).await;
    assert_eq!(send(&*channel).await, Delivered::Delivered);
    assert_eq!((bad.letters().len(), good.letters().len(), channel.trouble()), (1, 50, None));

    // With no letter to send, a probe finds out.
    let host = Smtp::with(Tls::Upgrade, &[("AUTH", "454 not now")]).await;
    let channel = to(&[&host], "");
    assert!(matches!(send(&*channel).await, Delivered::Shut(_)));
    assert!(matches!(send(&*channel).await, Delivered::Shut(_)) && host.connections() == 1, "it rests");
    host.heal();
    rested(&*channel).await;
    channel.probe().await.unwrap();
    assert!(channel.trouble().is_none() && host.letters().is_empty());
}

#[tokio::test]
async fn r8_a_letter_goes_in_two_writes_where_the_host_takes_several_commands_at_once() {
    for (pipelining, pieces) in [(true, 2), (false, 4)] {
        let host = Smtp::start(Script { pipelining, ..Script::default() }).await;
        let channel = to(&[&host], "");
        assert_eq!(send(&*channel).await, Delivered::Delivered);
        let before = host.pieces();
        for _ in 0..10 {
            assert_eq!(send(&*channel).await, Delivered::Delivered);
        }
        assert_eq!((host.pieces() - before, host.connections()), (10 * pieces, 1), "pipelining: {pipelining}");
    }
}

#[tokio::test]
async fn r8_a_refused_letter_ends_no_connection_unless_its_text_is_waited_for() {
    for pipelining in [true, false] {
        let script =
            Script { steps: [("RCPT", "550 5.1.1 no"), ("DATA", "503 no")].into(), pipelining, ..Script::default() };
        let host = Smtp::start(script).await;
        let channel = to(&[&host], "");
        assert!(matches!(send(&*channel).await, Delivered::Never(_)));
        host.heal();
        assert_eq!(send(&*channel).await, Delivered::Delivered);
        let commands = host.commands();
        assert_eq!(
            (host.connections(), commands.iter().filter(|line| *line == "RSET").count()),
            (1, 1),
            "{commands:?}"
        );
        // This one waits for a text although nobody gets it. It must get none, not even an empty one.
        let host =
            Smtp::start(Script { steps: [("RCPT", "550 5.1.1 no")].into(), pipelining, ..Script::default() }).await;
        let channel = to(&[&host], "");
        assert!(matches!(send(&*channel).await, Delivered::Never(_)));
        host.heal();
        assert_eq!(send(&*channel).await, Delivered::Delivered);
        assert_eq!((host.letters().len(), host.connections()), (1, if pipelining { 2 } else { 1 }));
    }
}

/// Tries again as the outbox does, when the host has rested.
async fn until_delivered(channel: &dyn Channel, case: &str) {
    for _ in 0..20 {
        rested(channel).await;
        if send(channel).await == Delivered::Delivered {
            return;
        }
    }
    panic!("not delivered: {case}: {:?}", channel.trouble());
}

async fn rested(channel: &dyn Channel) {
    while let Some(trouble) = channel.trouble()
        && !trouble.rest.is_zero()
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn to(hosts: &[&Smtp], more: &str) -> Box<dyn Channel> {
    to_ports(&hosts.iter().map(|host| host.port).collect::<Vec<_>>(), more)
}

/// A channel to hosts on this machine that signs in.
fn to_ports(ports: &[u16], more: &str) -> Box<dyn Channel> {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("smtp");
    std::fs::write(&password, "geheim\n").unwrap();
    std::fs::set_permissions(&password, PermissionsExt::from_mode(0o600)).unwrap();
    let hosts: Vec<_> = ports.iter().map(|port| format!("localhost:{port}")).collect();
    channel(
        &format!(
            "kind = \"email\"\nhosts = {hosts:?}\nfrom = \"no-reply@example.org\"\nca_file = \"{}\"\n\
             username = \"svc\"\npassword_file = \"{}\"\n{more}",
            authority().display(),
            password.display()
        ),
        &messages(MESSAGES).unwrap(),
    )
}

async fn send(channel: &dyn Channel) -> Delivered {
    channel.deliver(&recipient("ada@example.org"), &notice(NoticeKind::ResetLink)).await
}

/// The outcome in a word, and the reason without the host, which holds no address and no secret.
fn told(delivered: Delivered, host: &Smtp) -> (&'static str, String) {
    let (word, why) = match delivered {
        Delivered::Delivered => ("delivered", String::new()),
        Delivered::Later(why) => ("later", why),
        Delivered::Never(why) => ("never", why),
        Delivered::Shut(why) => ("shut", why),
        Delivered::Unsure(why) => ("unsure", why),
    };
    assert!(!why.contains("ada@") && !why.contains("/r/") && !why.contains("geheim"), "{why}");
    (word, why.replace(&format!("localhost:{}: ", host.port), ""))
}
