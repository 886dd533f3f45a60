//! P6: every story at the most talkative log level, with a fault on its steps; then no password, token, key, address or
//! number stands anywhere that the daemon writes to, raw or encoded.

use std::{fs, os::unix::process::ExitStatusExt, process::Command, thread, time::Duration};

use hyper::{Method, body::Bytes};
use nix::sys::signal::Signal;
use rekeyd_tests::{
    acts::{Told, run, until},
    branch::PASSWORD,
    builder::write_secret,
    journal::Journal,
    nonsense, procfs,
    proxy::{Fate, Proxy},
    secrets::Search,
    smtp::{Fault, Step},
    tests,
    world::{World, program},
    world_config::Way,
};
use rusqlite::Connection;
use serde_json::{Value, json};

tests! {
    async fn p6_no_secret_leaks_into_files_answers_or_the_kernels_tables;
    async fn p6_no_secret_leaks_into_the_journal;
}

/// Typed where a login belongs, as people do.
const TYPED_AS_LOGIN: &str = "Typed-As-Login-31415";
const NUMBER: &str = "+44 20 7946 0991";
/// Everybody who is in some story.
const PEOPLE: [&str; 5] = ["ada", "grace", "noether", "loop", "odd"];

async fn p6_no_secret_leaks_into_files_answers_or_the_kernels_tables() {
    let (world, proxy) = prepared().await;
    world.launch();
    assert!(world.becomes_ready().await, "{}", world.log());
    let told = every_story(&world, &proxy, async || world.reload().await).await;
    assert!(world.log().contains("trace: ") || world.log().contains("debug: "), "the log is not at its most talkative");
    finds_nothing(&world, &told);
}

async fn p6_no_secret_leaks_into_the_journal() {
    let (world, proxy) = prepared().await;
    let journal = Journal::start(&world);
    assert!(world.becomes_ready().await, "{}", world.log());
    let told = every_story(&world, &proxy, async || journal.reload(&world).await).await;
    let written = journal.written();
    let fields = written.iter().filter(|record| Journal::has(record, b"EVENT")).count();
    assert!(written.len() > 100 && fields > 20, "{} records, {fields} with an event", written.len());
    let search = Search::new(&world.secrets());
    let found: Vec<_> = written.iter().flat_map(|record| search.in_bytes("a record of the journal", record)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    finds_nothing(&world, &told);
}

/// A world whose way to the directory can be cut, and all that must stay secret in it.
async fn prepared() -> (World, Proxy) {
    let slapd = rekeyd_tests::slapd::Slapd::shared(rekeyd_tests::slapd::Variant::Policy).await;
    let proxy = Proxy::start(&slapd.uri()).await;
    let world = World::builder()
        .slapd(&slapd)
        .way(Way::Clear(Some(proxy.uri())))
        .set("policy.paces.account", r#""100 in 1m""#)
        .set("policy.paces.account_day", r#""100 in 1m""#)
        .set("policy.paces.contact_day", r#""100 in 1m""#)
        .set("policy.paces.resend", r#""100 in 1m""#)
        .set("admin.allow_user_namespace", "true")
        .prepare()
        .await;
    for login in PEOPLE {
        world.secret(&rekeyd_tests::acts::address(login));
        world.slapd().set(&world.dn(login), "mobile", &[NUMBER]).await;
    }
    for secret in [TYPED_AS_LOGIN, NUMBER, &NUMBER.replace(' ', ""), &NUMBER.replace(' ', "-")] {
        world.secret(secret);
    }
    (world, proxy)
}

/// Tells every story there is, each with faults on its steps, and gives all that operators were told meanwhile.
async fn every_story(world: &World, proxy: &Proxy, reload: impl AsyncFn()) -> Vec<String> {
    let mut told = Vec::new();
    visitors_are_served(world, proxy).await;
    login_pages_call(world).await;
    told.extend(operators_help(world, proxy).await);
    keys_and_settings_change(world, &reload).await;
    the_directory_fails(world, proxy, &reload).await;
    the_store_is_busy(world).await;
    told.extend(operators_look(world).await);
    told
}

/// Pages: links asked for, opened, used, refused and reported, with a mail server that fails and tells all it knows.
async fn visitors_are_served(world: &World, proxy: &Proxy) {
    let smtp = world.smtp();
    smtp.fail_once(Step::RcptTo, Fault::Reply("450 4.2.0 <ada@example.org>: ada@example.org is greylisted"));
    let link = world.forgets_and_gets_link("ada").await;
    // The server repeats the whole message, as some do, when the same link goes out again.
    let echo = format!("554 5.7.1 no {} to ada@example.org", world.url(&link));
    smtp.fail_once(Step::Body, Fault::Reply(Box::leak(echo.into_boxed_str())));
    assert_eq!(world.forgets("ada").await.status, 202);
    until("the echo was heard", async || world.asks(&["outbox"]).to_string().contains("5.7.1")).await;

    let door = world.door();
    let token = link.trim_start_matches("/r/");
    let headers = [("referer", world.url(&link)), ("cookie", format!("t={token}")), ("user-agent", token.to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    for (method, path) in [
        (Method::GET, link.clone()),
        (Method::HEAD, link.clone()),
        (Method::PUT, link.clone()),
        (Method::GET, format!("{link}/")),
        (Method::GET, format!("{link}?token={token}")),
        (Method::GET, format!("/forgot?login={TYPED_AS_LOGIN}")),
        (Method::GET, format!("/nowhere/{token}")),
        (Method::GET, format!("/not-me/{token}")),
        (Method::POST, link.clone()),
    ] {
        door.send(method, &path, &headers, Bytes::new()).await;
    }
    door.try_raw(format!("GET {link} HTTP/9.9\r\nHost: x\r\n\r\n").as_bytes()).await.ok();
    door.try_raw(format!("GET {link} HTTP/1.1\r\nHost: {token}\r\nConnection: close\r\n\r\n").as_bytes()).await.ok();
    world.forgets(TYPED_AS_LOGIN).await;
    world.forgets(&format!("{TYPED_AS_LOGIN}\r\nx")).await;

    // Passwords that are refused by us, by a typing error, by the directory; then one whose answer is lost.
    world.secret("Typed-Once-27182-Only");
    assert_eq!(world.sets_password(&link, "shorty-77").await.status, 422);
    assert_eq!(world.sets_password(&link, &format!("ada {}", "x".repeat(3000))).await.status, 422);
    let fields = [("password", "Typed-Once-27182-Only"), ("confirm", "shorty-77")];
    assert_eq!(door.post_form(&link, &fields).await.status, 422);
    assert_eq!(world.sets_password(&link, PASSWORD).await.status, 422, "the directory takes the old one");
    proxy.next_write(Fate::LoseAnswer);
    world.sets_password(&link, "First-New-of-Ada-84").await;
    until("the outcome is known", async || world.binds("ada", "First-New-of-Ada-84").await).await;
    world.sets_password(&link, "Second-New-of-Ada-84").await;
    until("a message tells of it", async || world.smtp().messages_to("ada@example.org").len() >= 2).await;

    // "This was not me", with a wrong name first.
    smtp.fail_once(Step::Auth, Fault::Reply("454 4.7.0 mailer with smtp-Pw-1618 not now"));
    let link = world.forgets_and_gets_link("grace").await;
    let not_me = world.not_me_link("grace@example.org", 1).await;
    assert_eq!(door.post_form(&not_me, &[("login", TYPED_AS_LOGIN)]).await.status, 422);
    proxy.next_write(Fate::LoseRequest);
    world.sets_password(&link, "First-New-of-Grace-84").await;
    assert!(door.post_form(&not_me, &[("login", "grace")]).await.status.is_success());
    world.sets_password(&link, "Second-New-of-Grace-84").await;
}

/// The hook: calls with wrong keys, wrong fields, wrong passwords, and right ones.
async fn login_pages_call(world: &World) {
    let door = world.door();
    for key in ["Wrong-Hook-Key-16180", ""] {
        world.secret(key);
        door.post_json("/v1/recovery", Some(key), &json!({"login": "ada"})).await;
    }
    let smuggled = json!({"login": "ada", "Misplaced-Secret-14142": "Misplaced-Secret-14142"});
    world.secret("Misplaced-Secret-14142");
    for path in [
        "/v1/recovery",
        "/v1/ticket",
        "/v1/password",
        "/v1/sign-in",
        "/v1/nowhere",
        "/v1/recovery?x=Misplaced-Secret-14142",
    ] {
        world.hook(path, &smuggled).await;
        world.hook(path, &json!(["Misplaced-Secret-14142"])).await;
    }
    world.hook("/v1/recovery", &json!({"login": TYPED_AS_LOGIN, "locale": "Misplaced-Secret-14142"})).await;
    world.hook("/v1/recovery", &json!({"login": TYPED_AS_LOGIN, "client_ip": "Misplaced-Secret-14142"})).await;
    world.hook("/v1/recovery", &json!({"login": TYPED_AS_LOGIN})).await;
    world.hook("/v1/recovery", &json!({"login": "loop@example.org", "client_ip": "192.0.2.7"})).await;
    let link = world.link("loop@example.org", 1).await;
    let token = link.trim_start_matches("/r/");
    for path in ["/v1/ticket", "/v1/recovery", "/v1/sign-in"] {
        world.hook(path, &json!({"ticket": token, "login": token, "password": token})).await;
    }
    world.hook("/v1/ticket", &json!({"ticket": token})).await;
    for password in ["shorty-78", "First-New-of-Loop-84"] {
        world.secret(password);
        world.hook("/v1/password", &json!({"ticket": token, "password": password})).await;
    }
    world.signs_in("loop", "First-New-of-Loop-84").await;
    world.signs_in("loop", "Wrong-Password-of-Loop").await;
    world.signs_in("loop@example.org", "Wrong-Password-of-Loop").await;
    world.signs_in(TYPED_AS_LOGIN, "Wrong-Password-of-Nobody").await;
    world.signs_in("Wrong-Password-of-Nobody", "ada").await;
    world
        .hook("/v1/sign-in", &json!({"login": "ada", "password": "Wrong-Password-of-Loop", "user_agent": token}))
        .await;
}

/// Operators: links, passwords that are typed, drawn, refused and lost on the way.
async fn operators_help(world: &World, proxy: &Proxy) -> Vec<String> {
    let mut told = Vec::new();
    let mut ctl = |arguments: &[&str], typed: &str| {
        let one = rekeyctl(world, arguments, typed);
        told_by(&mut told, &one);
        one
    };
    let reason = ["--reason", "asked at the desk"];
    assert_eq!(ctl(&[&["send-code", "noether"][..], &reason].concat(), "").code, 0);
    ctl(&[&["send-code", TYPED_AS_LOGIN][..], &reason].concat(), "");
    assert_eq!(ctl(&["explain", "noether"], "").code, 0);
    let first = world.link("noether@example.org", 1).await;
    world.sets_password(&first, "First-Ever-of-Noether-84").await;
    for password in ["shorty-79", "Typed-by-Desk-for-Odd-84"] {
        world.secret(password);
        ctl(&[&["set-password", "odd"][..], &reason].concat(), &format!("{password}\n"));
    }
    assert!(world.binds("odd", "Typed-by-Desk-for-Odd-84").await);
    for fate in [None, Some(Fate::LoseAnswer), Some(Fate::LoseRequest)] {
        if let Some(fate) = fate {
            proxy.next_write(fate);
        }
        // What is drawn is shown, once; that answer is what the operator asked for.
        let drawn = rekeyctl(world, &[&["--json", "set-password", "odd", "--generate"][..], &reason].concat(), "");
        if let Some(password) =
            serde_json::from_str::<Value>(&drawn.out).ok().and_then(|json| json["password"].as_str().map(str::to_owned))
        {
            world.secret(&password);
        } else {
            told_by(&mut told, &drawn);
        }
    }
    let mut ctl = |arguments: &[&str]| told_by(&mut told, &rekeyctl(world, arguments, ""));
    ctl(&["thaw", "grace", "--reason", "called back"]);
    ctl(&["explain", "grace"]);
    ctl(&["explain", TYPED_AS_LOGIN]);
    ctl(&["new-key", "--wrong-flag"]);
    told
}

fn told_by(told: &mut Vec<String>, one: &Told) {
    told.push(format!("{}{}", one.out, one.err));
}

/// A new key beside the old one, and configurations that are wrong in ways that hold a secret.
async fn keys_and_settings_change(world: &World, reload: &impl AsyncFn()) {
    world.smtp().fail_once(Step::Connect, Fault::Reply("421 4.3.2 go away"));
    let link = world.link_after("loop", 2).await;
    let keys = world.folder().join("secrets/keys");
    let old = fs::read_to_string(&keys).expect("the keys");
    let mut draw = Command::new(program("rekeyctl"));
    draw.arg("new-key");
    let new = run(draw, "").fine().out;
    world.secret(new.trim());
    write_secret(&keys, &format!("{}\n{old}", new.trim()));
    reload().await;
    world.sets_password(&link, "After-Rotation-of-Loop-84").await;
    world.link_after("loop", 4).await;
    write_secret(&keys, "Not-A-Key-But-Secret-17320");
    world.secret("Not-A-Key-But-Secret-17320");
    reload().await;
    write_secret(&keys, &format!("{}\n{old}", new.trim()));
    world.secret("Literal-Password-22360");
    for key in ["channel.password", "directory.bind_password", "http.client.keys", "key", "directory.bind_dn_password"]
    {
        world.set(key, "\"Literal-Password-22360\"");
        reload().await;
        world.set(key, "");
    }
    // Where another type is asked for, the value is shown to nobody either.
    for key in ["channel.password_file", "directory.bind_password_file", "key_file", "http.client.key_hashes"] {
        world.set(key, "[\"Literal-Password-22360\"]");
        reload().await;
        world.set(key, "\"Literal-Password-22360\"");
        reload().await;
        unset(world, key);
    }
    reload().await;
}

/// Puts a key of a world's own back.
fn unset(world: &World, key: &str) {
    let secret = |name: &str| format!("{:?}", world.folder().join("secrets").join(name).display().to_string());
    let value = match key {
        "channel.password_file" => secret("smtp"),
        "directory.bind_password_file" => secret("bind"),
        "key_file" => secret("keys"),
        _ => format!("[{:?}]", rekeyd_tests::world_config::key_hash(world.hook_key())),
    };
    world.set(key, &value);
}

/// The directory is down, repeats what it hears, says nothing that is LDAP, or does not let us in.
async fn the_directory_fails(world: &World, proxy: &Proxy, reload: &impl AsyncFn()) {
    let link = world.forgets_and_gets_link("grace").await;
    let bind = world.folder().join("secrets/bind");
    let right = fs::read_to_string(&bind).expect("a password");
    let bad = "Wrong-Bind-Password-26457";
    world.secret(bad);
    let parrot = nonsense::server(<[u8]>::to_vec);
    let babbler =
        nonsense::server(|_| b"HTTP/1.1 200 OK\r\nada@example.org: correct horse battery staple\r\n\r\n".to_vec());
    let closed = "127.0.0.1:1".to_owned();
    for (url, password) in
        [(parrot, right.as_str()), (babbler, &right), (closed, &right), (proxy.uri().replace("ldap://", ""), bad)]
    {
        write_secret(&bind, password);
        world.set("directory.urls", &format!("[\"ldap://{url}\"]"));
        reload().await;
        world.signs_in("ada", "Wrong-Password-of-Loop").await;
        world.sets_password(&link, "Never-Set-of-Grace-84").await;
        world.hook("/v1/recovery", &json!({"login": "ada@example.org"})).await;
        rekeyctl(world, &["explain", "ada@example.org"], "");
        rekeyctl(world, &["set-password", "odd", "--reason", "x"], "Typed-by-Desk-for-Odd-84\n");
        rekeyctl(world, &["status"], "");
    }
    write_secret(&bind, &right);
    world.set("directory.urls", &format!("[{:?}]", proxy.uri()));
    reload().await;
    assert!(!world.binds("grace", "Never-Set-of-Grace-84").await);
    assert_eq!(world.signs_in("loop", "After-Rotation-of-Loop-84").await.status, 200);
}

/// Somebody else writes to the database for longer than anybody likes to wait.
async fn the_store_is_busy(world: &World) {
    let database = world.database();
    let holder = tokio::task::spawn_blocking(move || {
        let connection = Connection::open(database).expect("the database");
        connection.execute_batch("BEGIN IMMEDIATE").expect("a held database");
        thread::sleep(Duration::from_secs(2));
        connection.execute_batch("ROLLBACK").expect("a free database");
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (door, key) = (world.door(), world.hook_key());
    let sign_in = json!({"login": "loop", "password": "After-Rotation-of-Loop-84"});
    let fields = [("login", "ada@example.org")];
    tokio::join!(
        door.post_form("/forgot", &fields),
        door.post_json("/v1/sign-in", Some(key), &sign_in),
        door.post_form("/r/x", &[("password", "Never-Set-of-Grace-84"), ("confirm", "Never-Set-of-Grace-84")]),
    );
    holder.await.expect("a free database");
}

/// Everything that operators can look at.
async fn operators_look(world: &World) -> Vec<String> {
    // One message is cut when it was taken, so that something waits.
    world.smtp().fail(Step::Body, Fault::TakeAndDrop);
    world.leaves_mail_behind();
    let before = world.smtp().messages().len();
    world.forgets("ada").await;
    until("a message was cut", async || world.smtp().messages().len() > before).await;
    let mut told = Vec::new();
    for path in [
        "/v1/status",
        "/v1/outbox?limit=1000",
        "/v1/outbox?waiting=true",
        "/v1/audit?limit=1000",
        "/v1/audit?login=ada",
        "/v1/audit/verify",
        "/v1/nowhere",
    ] {
        told.push(world.admin(Method::GET, path, None).await.text());
    }
    for login in PEOPLE {
        told.push(world.admin(Method::POST, "/v1/explain", Some(&json!({"login": login}))).await.text());
    }
    let odd = json!({"login": "ada", "reason": "x", "password": ["Misplaced-Secret-14142"]});
    told.push(world.admin(Method::POST, "/v1/set-password", Some(&odd)).await.text());
    for arguments in
        [&["status"][..], &["audit", "--limit", "1000"], &["audit", "--verify"], &["outbox"], &["explain", "ada"]]
    {
        told_by(&mut told, &rekeyctl(world, arguments, ""));
    }
    told
}

/// Looks everywhere, while the daemon runs and after it has crashed.
fn finds_nothing(world: &World, told: &[String]) {
    let search = Search::new(&world.secrets());
    let mut found: Vec<_> =
        told.iter().flat_map(|text| search.in_bytes("what an operator was told", text.as_bytes())).collect();
    for (name, bytes) in procfs::texts(world.pid()) {
        found.extend(search.in_bytes(&name, &bytes));
    }
    // What is given to the daemon as a secret is one.
    let places = || {
        fs::read_dir(world.folder())
            .expect("the folder")
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name() != "secrets")
    };
    found.extend(places().flat_map(|entry| search.below(&entry.path())));
    world.signal(Signal::SIGABRT);
    assert!(!world.ends().core_dumped());
    found.extend(places().flat_map(|entry| search.below(&entry.path())));
    found.sort();
    found.dedup();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Runs `rekeyctl` with a home of its own, where it leaves nothing.
fn rekeyctl(world: &World, arguments: &[&str], typed: &str) -> Told {
    let home = world.folder().join("home");
    fs::create_dir_all(&home).expect("a folder");
    let mut command = Command::new(program("rekeyctl"));
    command.env("HOME", &home).current_dir(&home).arg("--socket").arg(world.admin_socket()).args(arguments);
    let told = run(command, typed);
    assert_eq!(fs::read_dir(&home).expect("the home").count(), 0, "rekeyctl has left something behind");
    told
}
