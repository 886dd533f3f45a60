//! How the daemon runs: start, readiness, signals, reload and end.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rekeyd_tests::{
    acts::{run, until},
    branch::PASSWORD,
    process::Process,
    proxy::Fate,
    slapd::{Slapd, Variant},
    tests,
    world::{World, program},
};
use serde_json::json;

tests! {
    async fn run_a_bad_reload_keeps_the_old_configuration_and_names_the_line;
    async fn run_a_good_reload_counts_at_once;
    async fn run_a_second_daemon_on_the_port_ends_with_69;
    async fn run_check_names_every_fault_and_starts_nothing;
    async fn run_logs_one_readable_line_a_record;
    async fn run_starts_while_the_directory_is_down;
    async fn run_stops_gracefully;
    async fn run_tells_systemd_when_it_is_ready;
    async fn t146_secrets_come_from_files_that_nobody_else_reads;
}

async fn run_stops_gracefully() {
    let (world, proxy) = World::behind_a_proxy(Variant::Policy).await;
    // What is in hand when the stop comes is finished, and answered.
    let link = world.forgets_and_gets_link("ada").await;
    proxy.next_write(Fate::HoldAnswer);
    let setting = world.sets_password(&link, "seven violet teapots orbit");
    let (answer, ()) = tokio::join!(setting, async {
        proxy.stopped().await;
        world.signal(Signal::SIGTERM);
        until("the stop has begun", async || world.log().contains("event=stopping")).await;
        proxy.release();
    });
    assert_eq!(answer.status, 200);
    let start = Instant::now();
    assert!(world.ends().success(), "{}", world.log());
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(!world.admin_socket().exists(), "the socket is left behind");
    world.restart().await;
    assert!(world.binds("ada", "seven violet teapots orbit").await, "the answer and the directory disagree");
    world.signal(Signal::SIGINT);
    assert!(world.ends().success());
}

async fn run_starts_while_the_directory_is_down() {
    let slapd = Slapd::fresh(Variant::Policy).await;
    let world = World::builder().slapd(&slapd).prepare().await;
    slapd.stop();
    world.restart().await;
    let ready = world.door().get("/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.json()["ready"].as_bool()), (200, Some(true)));
    assert_eq!(world.hook("/v1/recovery", &json!({"login": "ada"})).await.status, 202);
    assert_eq!(world.signs_in("ada", PASSWORD).await.status, 503);
    assert_eq!(world.asks(&["status"])["directories"][0]["up"], false);
    slapd.start().await;
    let link = world.link("ada@example.org", 1).await;
    world.surely_sets_password(&link, "seven violet teapots orbit").await;
    assert_eq!(world.asks(&["status"])["directories"][0]["up"], true);
}

async fn run_a_second_daemon_on_the_port_ends_with_69() {
    let first = World::start().await;
    let second = World::builder().prepare().await;
    second.moves_to(first.address().port());
    let told = daemon(&second.config(), &[]);
    assert_eq!(told.code, 69, "{told:?}");
    assert!(told.err.contains(&first.address().to_string()), "{told:?}");
    assert_eq!(first.door().get("/healthz").await.status, 200);
    // The socket of one who still answers is not taken away either.
    second.moves_to(rekeyd_tests::process::free_port());
    second.set("admin.socket", &format!("{:?}", first.admin_socket().display().to_string()));
    let told = daemon(&second.config(), &[]);
    assert!(told.code == 69 && told.err.contains("admin.sock"), "{told:?}");
    assert_eq!(first.asks(&["status"])["requests_waiting"], 0);
    // After a crash the socket lies about, and is no hindrance.
    first.kill9();
    first.restart().await;
}

async fn run_a_good_reload_counts_at_once() {
    let world = World::start().await;
    let link = world.forgets_and_gets_link("ada").await;
    assert!(!world.door().get("/forgot").await.text().contains("Another College"));
    world.set("messages.organisation", r#""Another College""#);
    world.set("policy.password.min_length", "30");
    world.reload().await;
    assert!(world.door().get("/forgot").await.text().contains("Another College"));
    assert_eq!(world.sets_password(&link, "seven violet teapots orbit").await.status, 422);
    world.surely_sets_password(&link, "seven violet teapots orbit the moon").await;
    // A key that counts only after a restart is named.
    world.set("http.listen", r#""127.0.0.1:1""#);
    world.reload().await;
    assert!(world.log().contains("http.listen"), "{}", world.log());
    assert_eq!(world.door().get("/healthz").await.status, 200);
}

async fn run_a_bad_reload_keeps_the_old_configuration_and_names_the_line() {
    let world = World::start().await;
    world.set("messages.organisation", r#""Another College""#);
    world.set("http.lisen", r#""127.0.0.1:1""#);
    world.set("policy.lives.reset", r#""forever""#);
    let lines = lines_with(&world.config(), &["lisen", "reset = "]);
    world.reload().await;
    for line in lines {
        until("the bad line is named", async || world.log().contains(&format!("line {line}: "))).await;
    }
    assert!(!world.door().get("/forgot").await.text().contains("Another College"));
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, "seven violet teapots orbit").await;
    world.set("http.lisen", "");
    world.set("policy.lives.reset", "");
    world.reload().await;
    assert!(world.door().get("/forgot").await.text().contains("Another College"));
}

async fn run_check_names_every_fault_and_starts_nothing() {
    let world = World::builder().prepare().await;
    let told = daemon(&world.config(), &["--check"]);
    assert_eq!(told.code, 0, "{told:?}");
    world.set("http.lisen", "1");
    world.set("store.path", r#""here""#);
    let told = daemon(&world.config(), &["--check"]);
    assert_eq!(told.code, 78, "{told:?}");
    for key in ["http.lisen", "store.path"] {
        assert!(told.err.contains(key), "{told:?}");
    }
    assert_eq!(daemon(&world.config(), &[]).code, 78);
    assert_eq!(daemon(Path::new("/nowhere/rekeyd.toml"), &["--check"]).code, 78);
    assert_eq!(daemon(&world.config(), &["--no-such-flag"]).code, 64);
    assert!(!world.database().exists(), "a check has made a store");
}

async fn run_tells_systemd_when_it_is_ready() {
    let world = World::builder().prepare().await;
    let socket = world.folder().join("notify");
    let systemd = UnixDatagram::bind(&socket).expect("a socket");
    systemd.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    let environment = [("NOTIFY_SOCKET", socket.to_str().expect("a path in UTF-8")), ("WATCHDOG_USEC", "300000")];
    let config = world.config();
    let arguments = ["--config", config.to_str().expect("a path in UTF-8")];
    let mut process = Process::start_in(&program("rekeyd"), &arguments, &environment, &world.folder().join("log"));
    let told = |wanted: &str| {
        let mut seen = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            let length = systemd.recv(&mut bytes).unwrap_or_else(|fault| panic!("no {wanted} after {seen:?}: {fault}"));
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if text.lines().any(|line| line.starts_with(wanted)) {
                return text;
            }
            seen.push(text);
        }
    };
    assert!(told("READY=1").contains("STATUS="));
    assert_eq!(world.door().get("/readyz").await.status, 200, "not ready when it says so");
    told("WATCHDOG=1");
    process.signal(Signal::SIGHUP);
    let reloading = told("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    told("READY=1");
    process.signal(Signal::SIGTERM);
    told("STOPPING=1");
    assert!(process.wait(Duration::from_secs(20)).success());
}

async fn run_logs_one_readable_line_a_record() {
    let world = World::builder().set("log_level", r#""info""#).start().await;
    world.forgets("x\r\nerror: forged").await;
    world.forgets("ada").await;
    world.link("ada@example.org", 1).await;
    let log = world.log();
    assert!(log.lines().any(|line| line.contains("ready") && line.contains("listen=")), "{log}");
    assert!(!log.lines().any(|line| line.starts_with("error: forged")), "{log}");
    assert!(!log.contains("debug: ") && !log.contains("trace: "), "{log}");
}

async fn t146_secrets_come_from_files_that_nobody_else_reads() {
    let world = World::builder().prepare().await;
    let key = world.folder().join("secrets/keys");
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("permissions");
    let told = daemon(&world.config(), &[]);
    assert!(told.code == 78 && told.err.contains("key_file"), "a key that everybody reads is taken: {told:?}");
    fs::remove_file(&key).expect("a removed file");
    let told = daemon(&world.config(), &[]);
    assert!(told.code == 78 && told.err.contains("key_file"), "{told:?}");
    rekeyd_tests::builder::write_secret(&key, "not a key but a password");
    let told = daemon(&world.config(), &[]);
    assert!(told.code == 78 && !told.err.contains("not a key but a password"), "{told:?}");
}

/// Runs a daemon that is meant to end by itself.
fn daemon(config: &Path, more: &[&str]) -> rekeyd_tests::acts::Told {
    let mut command = Command::new("timeout");
    command.arg("20").arg(program("rekeyd")).arg("--config").arg(config).args(more);
    run(command, "")
}

/// The numbers of the lines that begin with these words, counted from 1.
fn lines_with(file: &Path, beginnings: &[&str]) -> Vec<usize> {
    let text = fs::read_to_string(file).expect("the file");
    let place = |beginning: &&str| text.lines().position(|line| line.starts_with(*beginning)).expect("the line") + 1;
    beginnings.iter().map(place).collect()
}
