//! The servers that other tests rest on behave as those tests assume.

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use rekeyd_tests::{
    branch::{Branch, PASSWORD},
    browser::Browser,
    http::Door,
    mail::Message,
    process::output,
    slapd::{ADMIN, CANARY, SERVICE, SERVICE_PASSWORD, Slapd, Variant},
    smtp::{self, Fault, Smtp, Step, Tls},
    tests,
    tls::{self, Flaw},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;

tests! {
    async fn rig_browser_runs_no_scripts_and_sends_forms;
    async fn rig_door_gives_every_byte_and_every_header;
    fn rig_mail_is_decoded;
    async fn rig_slapd_holds_one_of_each_kind;
    async fn rig_slapd_hides_what_the_daemon_may_not_see;
    async fn rig_slapd_keeps_its_data_when_it_is_stopped;
    async fn rig_slapd_speaks_tls_and_knows_the_user_on_its_socket;
    async fn rig_slapd_tells_who_wrote_what;
    async fn rig_smtp_fails_as_it_is_told;
    async fn rig_smtp_takes_mail_over_both_kinds_of_tls;
    fn rig_tls_has_certificates_with_one_flaw_each;
}

async fn rig_slapd_holds_one_of_each_kind() {
    for variant in [Variant::Policy, Variant::Bare] {
        let start = Instant::now();
        let slapd = Slapd::shared(variant).await;
        println!("{variant:?}: slapd after {:.0?}", start.elapsed());
        let start = Instant::now();
        let branch = Branch::grow(&slapd).await;
        println!("{variant:?}: branch after {:.0?}", start.elapsed());

        for login in ["ada", "grace", "boss", "loop", "odd", "zoë", "nomail", "twin", "veiled", "mustchange"] {
            assert!(slapd.binds(&branch.dn(login), PASSWORD).await, "{login}");
        }
        assert!(!slapd.binds(&branch.dn("noether"), PASSWORD).await);
        assert_eq!(slapd.attribute(&branch.dn("nomail"), "mail").await, None);
        assert_eq!(slapd.values(&branch.group("left"), "member").await.len(), 2);
        if variant == Variant::Bare {
            assert_eq!(slapd.attribute(&branch.dn("ada"), "pwdChangedTime").await, None);
            continue;
        }
        for login in ["hopper", "tomorrow", "turing", "locked", "stale"] {
            assert!(!slapd.binds(&branch.dn(login), PASSWORD).await, "{login}");
        }
        let states = [
            ("ada", "pwdChangedTime", Some("20250101000000Z")),
            ("ada", "pwdReset", None),
            ("noether", "pwdChangedTime", None),
            ("hopper", "pwdEndTime", Some("20251231000000Z")),
            ("turing", "pwdAccountLockedTime", Some("000001010000Z")),
            ("mustchange", "pwdReset", Some("TRUE")),
        ];
        for (login, attribute, expected) in states {
            assert_eq!(slapd.attribute(&branch.dn(login), attribute).await.as_deref(), expected, "{login}");
        }
        assert_ne!(slapd.attribute(&branch.dn("locked"), "pwdAccountLockedTime").await, None);
        assert_eq!(slapd.values(&branch.dn("boss"), "memberOf").await, [branch.group("staff")]);
        assert_eq!(slapd.values(&branch.group("staff"), "memberOf").await, [branch.group("admins")]);
        assert_eq!(slapd.values(&branch.group("left"), "memberOf").await, [branch.group("right")]);
        assert_eq!(slapd.values(&branch.group("right"), "memberOf").await, [branch.group("left")]);
    }
}

async fn rig_slapd_hides_what_the_daemon_may_not_see() {
    let slapd = Slapd::shared(Variant::Policy).await;
    let branch = Branch::grow(&slapd).await;
    let seen = |dn: &str| {
        output(
            Command::new("ldapsearch")
                .args(["-x", "-LLL", "-o", "ldif-wrap=no", "-H", &slapd.uri(), "-D", SERVICE, "-w", SERVICE_PASSWORD])
                .args(["-b", dn, "-s", "base", "*", "+"]),
        )
    };
    let ada = seen(&branch.dn("ada"));
    assert!(ada.contains("pwdChangedTime:") && ada.contains("entryUUID:") && !ada.contains("userPassword:"), "{ada}");
    let veiled = seen(&branch.dn("veiled"));
    assert!(
        veiled.contains("mail:") && !veiled.contains("pwdChangedTime:") && !veiled.contains("entryUUID:"),
        "{veiled}"
    );
    assert!(seen(CANARY).contains("userPassword:"));
}

async fn rig_slapd_keeps_its_data_when_it_is_stopped() {
    let slapd = Slapd::fresh(Variant::Bare).await;
    let branch = Branch::grow(&slapd).await;
    slapd.stop();
    assert!(TcpStream::connect(slapd.uri().trim_start_matches("ldap://")).await.is_err());
    slapd.start().await;
    assert!(slapd.binds(&branch.dn("ada"), PASSWORD).await);
}

async fn rig_slapd_speaks_tls_and_knows_the_user_on_its_socket() {
    let slapd = Slapd::shared(Variant::Policy).await;
    let whoami = |arguments: &[&str]| {
        output(Command::new("ldapwhoami").args(arguments).env("LDAPTLS_CACERT", tls::authority())).trim().to_owned()
    };
    let identity = format!("dn:{SERVICE}");
    let bind = ["-x", "-D", SERVICE, "-w", SERVICE_PASSWORD, "-H"];
    assert_eq!(whoami(&[&bind[..], &[&slapd.tls_uri()]].concat()), identity);
    assert_eq!(whoami(&[&bind[..], &[&slapd.uri(), "-ZZ"]].concat()), identity);
    assert_eq!(whoami(&["-Q", "-Y", "EXTERNAL", "-H", &slapd.socket_uri()]), identity);
}

async fn rig_slapd_tells_who_wrote_what() {
    let slapd = Slapd::shared(Variant::Policy).await;
    let branch = Branch::grow(&slapd).await;
    let as_service = ["-x", "-H", &slapd.uri(), "-D", SERVICE, "-w", SERVICE_PASSWORD];
    for login in ["ada", "odd"] {
        let dn = branch.dn(login);
        assert!(slapd.writes(&dn).await.iter().all(|write| !write.is_by_service()), "{login} was written to");
        output(Command::new("ldappasswd").args(as_service).args(["-s", "a brand new one", &dn]));
        assert!(slapd.binds(&dn, "a brand new one").await && !slapd.binds(&dn, PASSWORD).await);
        let writes = slapd.writes(&dn).await;
        let by_service: Vec<_> = writes.iter().filter(|write| write.is_by_service()).collect();
        assert!(by_service.len() == 1 && by_service[0].sets_password(), "{by_service:?}");
        // The wrong password above was counted by the server itself.
        let last = writes.last().expect("a write");
        assert!(last.by == ADMIN && last.attributes.contains("pwdFailureTime"), "{last:?}");
    }
    assert_eq!(slapd.service_writes(branch.base()).await.len(), 2);

    // What the policy refuses is an attempt, not a change; the daemon's own right to ask for a change of password is there.
    let refused = Command::new("ldappasswd").args(as_service).args(["-s", "short", &branch.dn("grace")]).output();
    assert_eq!(refused.expect("a command").status.code(), Some(1));
    assert!(
        slapd.writes(&branch.dn("grace")).await.iter().all(|write| !(write.is_by_service() && write.sets_password()))
    );
    slapd.change_own_password(&branch.dn("grace"), PASSWORD, "another one of mine").await;
    assert!(slapd.binds(&branch.dn("grace"), "another one of mine").await);
}

async fn rig_smtp_takes_mail_over_both_kinds_of_tls() {
    for kind in [Tls::Implicit, Tls::StartTls] {
        let smtp = Smtp::start(kind).await;
        let answers = deliver(&smtp, kind, "ada@example.org", "Subject: hello\r\n\r\n..dotted\r\n").await.join(" ");
        assert_eq!(answers, "235 250 250 354 250 221", "{kind:?}");
        let messages = smtp.wait_for_mail_to("ada@example.org", 1).await;
        assert_eq!((messages.len(), messages[0].from.as_str()), (1, "noreply@example.org"));
        assert_eq!(messages[0].raw, b"Subject: hello\r\n\r\n.dotted\r\n");
    }
    let smtp = Smtp::start(Tls::StartTls).await;
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", smtp.port())).await.expect("a connection"));
    assert_eq!(answer(&mut stream).await, "220");
    assert_eq!(say(&mut stream, "MAIL FROM:<a@example.org>").await, "530");
}

async fn rig_smtp_fails_as_it_is_told() {
    let smtp = Smtp::start(Tls::Implicit).await;
    let deliver = async || deliver(&smtp, Tls::Implicit, "ada@example.org", "Subject: x\r\n\r\nx\r\n").await.join(" ");
    smtp.fail_once(Step::RcptTo, Fault::Reply("450 4.2.0 later"));
    assert_eq!(deliver().await, "235 250 450 503 221");
    smtp.fail_once(Step::Body, Fault::Drop);
    assert_eq!(deliver().await, "235 250 250 354 gone");
    assert!(smtp.messages().is_empty());
    smtp.fail_once(Step::Body, Fault::TakeAndDrop);
    assert_eq!(deliver().await, "235 250 250 354 gone");
    assert_eq!(smtp.messages().len(), 1);
    smtp.fail(Step::Auth, Fault::Reply("454 4.7.0 not now"));
    assert_eq!(deliver().await, "454 530 530 530 221");
    smtp.heal();
    assert_eq!(deliver().await, "235 250 250 354 250 221");

    smtp.close().await;
    assert!(TcpStream::connect(("127.0.0.1", smtp.port())).await.is_err());
    smtp.open().await;
    smtp.fail_once(Step::MailFrom, Fault::Slow(Duration::from_millis(50)));
    assert_eq!(deliver().await, "235 250 250 354 250 221");
    assert_eq!((smtp.messages().len(), smtp.connections()), (3, 6));
}

fn rig_mail_is_decoded() {
    let raw = "Subject: =?utf-8?b?TmV3eWRkd2NoIGVpY2g=?=\r\n =?utf-8?q?_cyfrinair_=C3=A2?=\r\n\
        Content-Type: multipart/alternative;\r\n boundary=\"abc\"\r\n\r\n\
        --abc\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
        D=C5=B5r: https://localhost/r/to=\r\nken=3D1\r\n(not you? https://localhost/not-me/x)\r\n\
        --abc\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        PGI+ZMWt\r\ncjwvYj4=\r\n\r\n--abc--\r\n";
    let message = Message { from: String::new(), to: Vec::new(), raw: raw.as_bytes().to_vec() };
    assert_eq!(message.header("subject").as_deref(), Some("Newyddwch eich cyfrinair â"));
    assert_eq!(message.text(), "Dŵr: https://localhost/r/token=1\n(not you? https://localhost/not-me/x)");
    assert_eq!(message.html(), "<b>dŭr</b>");
    assert_eq!(message.link("/r/"), "https://localhost/r/token=1");
}

async fn rig_door_gives_every_byte_and_every_header() {
    let page = "<form><input type=\"hidden\" name=\"nonce\" value=\"a&amp;b\"><input name=login></form>";
    let door = site(page).await;
    let answer = door.post_form("/forgot", &[("login", "ada & zoë")]).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-test")), (200, "yes"));
    assert_eq!(answer.hidden_fields(), [("nonce".to_owned(), "a&b".to_owned())]);
    let raw = door.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nX-Test: yes\r\n";
    assert!(raw.starts_with(expected.as_bytes()), "{}", String::from_utf8_lossy(&raw));
}

async fn rig_browser_runs_no_scripts_and_sends_forms() {
    let page = "<!doctype html><title>quiet</title><h1>Hello</h1><noscript><p id=off>no scripts</p></noscript>\
        <script>document.title = 'loud'</script>\
        <form method=post action=/next><input name=login value=x><button>Go</button></form>";
    let Door::Tcp(address) = site(page).await else { panic!("a site on TCP") };
    let start = Instant::now();
    let browser = Browser::start().await;
    println!("browser after {:.0?}", start.elapsed());
    browser.open(&format!("http://{address}/")).await;
    assert_eq!((browser.title().await.as_str(), browser.text("h1").await.as_str()), ("quiet", "Hello"));
    assert!(browser.has("#off").await && !browser.has("#absent").await);
    browser.fill("input", "ada").await;
    browser.submit().await;
    assert_eq!(browser.url().await, format!("http://{address}/next"));
    let picture = browser.screenshot("hello").await;
    assert!(std::fs::read(picture).expect("a picture").starts_with(b"\x89PNG"));
    println!("browser done after {:.0?}", start.elapsed());
}

fn rig_tls_has_certificates_with_one_flaw_each() {
    let verify = |certificate: &tls::Certificate, name: &str| {
        let mut command = Command::new("openssl");
        command
            .args(["verify", "-verify_hostname", name, "-CAfile"])
            .arg(tls::authority())
            .arg(&certificate.certificate);
        let result = command.output().expect("openssl");
        String::from_utf8_lossy(&[result.stdout, result.stderr].concat()).into_owned()
    };
    assert!(verify(tls::server(), "localhost").contains(": OK"));
    let flaws = [
        (Flaw::Expired, "certificate has expired"),
        (Flaw::Stranger, "unable to get local issuer certificate"),
        (Flaw::WrongName, "hostname mismatch"),
    ];
    for (flaw, expected) in flaws {
        let said = verify(&tls::flawed(flaw), "localhost");
        assert!(said.contains(expected), "{said}");
    }
}

/// Sends one message and gives the codes of all answers after the greeting; `gone` where the connection ended.
async fn deliver(smtp: &Smtp, kind: Tls, to: &str, body: &str) -> Vec<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(tls::authority()).expect("a file")).expect("an authority");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", smtp.port())).await.expect("a connection"));
    if kind == Tls::StartTls {
        assert_eq!(answer(&mut stream).await, "220");
        assert_eq!(say(&mut stream, "EHLO localhost").await, "250");
        assert_eq!(say(&mut stream, "STARTTLS").await, "220");
    }
    let name = ServerName::try_from("localhost").expect("a name");
    let secure = TlsConnector::from(Arc::new(config)).connect(name, stream.into_inner()).await.expect("TLS");
    let mut stream = BufReader::new(secure);
    if kind == Tls::Implicit {
        assert_eq!(answer(&mut stream).await, "220");
    }
    assert_eq!(say(&mut stream, "EHLO localhost").await, "250");
    let login = BASE64.encode(format!("\0{}\0{}", smtp::LOGIN, smtp::PASSWORD).as_bytes());
    let lines =
        [format!("AUTH PLAIN {login}"), "MAIL FROM:<noreply@example.org>".to_owned(), format!("RCPT TO:<{to}>")];
    let mut answers = Vec::new();
    for line in lines.iter().map(String::as_str).chain(["DATA", "", "QUIT"]) {
        // Only one who was told to go on sends the message.
        let line = match (line, answers.last().map(String::as_str)) {
            ("", Some("354")) => format!("{body}."),
            ("", _) => continue,
            _ => line.to_owned(),
        };
        answers.push(say(&mut stream, &line).await);
        if answers.last().is_some_and(|answer| answer == "gone") {
            break;
        }
    }
    answers
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, line: &str) -> String {
    stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.expect("a sent line");
    stream.get_mut().flush().await.expect("a sent line");
    answer(stream).await
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>) -> String {
    loop {
        let mut line = String::new();
        match stream.read_line(&mut line).await {
            Ok(count) if count > 3 && line.as_bytes()[3] == b'-' => {}
            Ok(count) if count > 3 => return line[..3].to_owned(),
            _ => return "gone".to_owned(),
        }
    }
}

/// A site that answers everything with one page.
async fn site(page: &'static str) -> Door {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let (mut line, mut length) = (String::new(), 0);
                while stream.read_line(&mut line).await.is_ok_and(|count| count > 2) {
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a length");
                    }
                    line.clear();
                }
                tokio::io::AsyncReadExt::read_exact(&mut stream, &mut vec![0; length]).await.expect("a body");
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nX-Test: yes\r\n";
                let answer = format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n{page}", page.len());
                stream.get_mut().write_all(answer.as_bytes()).await.expect("a sent page");
            });
        }
    });
    Door::Tcp(address)
}
