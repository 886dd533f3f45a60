//! R2: the power is cut at any moment. `kill -9` can't show a sync that is missing, since what was written stays in memory;
//! so the daemon's writes are recorded, and what a disk may hold after each of them is opened again.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use rekeyd_tests::{
    mail::Message,
    power::{Chance, Disk, Left},
    tests,
    trace::{self, Deed},
    world::{Surroundings, World},
    world_config::Way,
};
use ring::digest::{Context, SHA256};
use rusqlite::Connection;
use serde_json::json;

tests! {
    async fn r2_a_power_cut_at_any_moment_loses_nothing_that_was_answered;
}

/// How many cuts are replayed; `REKEYD_POWER_CUTS` says otherwise, for a release.
const CUTS: usize = 300;
/// One of so many is opened by the daemon itself.
const BY_THE_DAEMON: usize = 30;
const NEW: &str = "seven violet teapots orbit";
const PEOPLE: [&str; 6] = ["ada", "grace", "zoë", "mustchange", "stale", "locked"];

/// What had been said to others before a moment.
#[derive(Clone, Default)]
struct Said {
    /// Requests that were answered with 202, by their handles.
    accepted: BTreeSet<Vec<u8>>,
    /// Writes that went to the directory. Each is seen twice: on its way to the guard before it, and from there.
    writes: BTreeSet<Vec<u8>>,
    /// Passwords that were answered with 204.
    set: usize,
    /// Links that went out.
    links: usize,
}

async fn r2_a_power_cut_at_any_moment_loses_nothing_that_was_answered() {
    let cuts = std::env::var("REKEYD_POWER_CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(CUTS);
    let mut world = World::builder().mail_folder().way(Way::Clear(None));
    for pace in ["source", "client"] {
        // So few that each counts for more than the test takes.
        world = world.set(&format!("policy.paces.{pace}"), r#""1000 in 1d""#);
    }
    let world = world.prepare().await;
    let deeds = record(&world).await;
    let moments: Vec<usize> = (0..deeds.len()).filter(|n| matters(&deeds[*n])).collect();
    assert!(moments.len() > 100, "{} moments", moments.len());
    let folder = world.folder().join("cut");
    let (mut disk, mut said, mut chance) = (Disk::default(), Said::default(), Chance(1));
    let (mut done, mut replayed) = (0, 0);
    // Each moment in turn, and again from the first with other chances until there are enough.
    'rounds: for round in 0.. {
        for (n, deed) in deeds.iter().enumerate() {
            if round == 0 || matters(deed) {
                let is_turn = round > 0 || chance.below(moments.len()) < cuts / 2;
                if matters(deed) && is_turn {
                    let left = match (round + done) % 4 {
                        0 => Left::Nothing,
                        1 => Left::All,
                        _ => Left::Some,
                    };
                    let deed: String = format!("{deed:?}").chars().take(120).collect();
                    let what = format!("round {round}, before deed {n}, {deed}…, {left:?} of it left");
                    fs::remove_dir_all(&folder).ok();
                    disk.cut(left, &mut chance, world.folder(), &folder);
                    check(&folder, &said, &what);
                    if replayed % BY_THE_DAEMON == 0 {
                        by_the_daemon(&world, &disk, left, &mut chance, &what).await;
                    }
                    replayed += 1;
                }
            }
            disk.apply(deed);
            said.hear(deed);
            done += 1;
            if replayed >= cuts && round > 0 {
                break 'rounds;
            }
        }
        (disk, said) = (Disk::default(), Said::default());
    }
    assert!(replayed >= cuts, "{replayed} cuts");
    fs::remove_dir_all(&folder).ok();
    world.leaves_mail_behind();
}

/// Lets people forget and set their passwords while every system call is recorded, with a crash and a restart between.
async fn record(world: &World) -> Vec<Deed> {
    let mut text = String::new();
    for (run, people) in PEOPLE.chunks(3).enumerate() {
        let file = world.folder().join(format!("trace-{run}"));
        let output = file.to_str().expect("a path in UTF-8").to_owned();
        let arguments = trace::ARGUMENTS.iter().map(|argument| (*argument).to_owned());
        let through = std::iter::once("strace".to_owned()).chain(arguments).chain(["-o".into(), output, "--".into()]);
        world.surround(Surroundings { through: through.collect(), ..Surroundings::default() });
        world.launch();
        assert!(world.becomes_ready().await, "{}", world.log());
        for login in people {
            assert_eq!(
                world.hook("/v1/recovery", &json!({"login": login, "client_ip": "192.0.2.7"})).await.status,
                202
            );
            let token = token(world, login).await;
            let Some(token) = token else { continue };
            world.secret(NEW);
            let set = world.hook("/v1/password", &json!({"ticket": token, "password": NEW})).await;
            assert_eq!(set.status, 204, "{}", set.text());
        }
        world.all_is_sent().await;
        if run == 0 {
            world.kill9();
        } else {
            assert!(world.stop().success());
        }
        // The tracer writes its last lines after the daemon has ended.
        rekeyd_tests::acts::until("the trace has its end", async || {
            fs::read_to_string(&file).is_ok_and(|trace| {
                trace.lines().last().is_some_and(|line| line.contains("+++ exited") || line.contains("+++ killed"))
            })
        })
        .await;
        text += &fs::read_to_string(&file).expect("a trace");
        fs::remove_file(&file).expect("no trace");
    }
    world.surround(Surroundings::default());
    let kept = [world.state(), world.folder().join("epoch")];
    trace::read(&text, |path| kept.iter().any(|folder| path.starts_with(folder)) && !path.ends_with("rekeyd.db-shm"))
}

/// The token that was mailed to somebody, if they get one.
async fn token(world: &World, login: &str) -> Option<String> {
    let mut found = None;
    let address = rekeyd_tests::acts::address(login);
    rekeyd_tests::acts::until("the request is answered", async || {
        for entry in fs::read_dir(world.mail_folder()).expect("the folder").filter_map(Result::ok) {
            let message =
                Message { from: String::new(), to: Vec::new(), raw: fs::read(entry.path()).unwrap_or_default() };
            if message.header("To").is_some_and(|to| to.contains(&address)) && message.text().contains("/r/") {
                found = message.link("/r/").rsplit_once('/').map(|(_, token)| token.to_owned());
            }
        }
        let answered = world.audit().iter().filter(|row| row["event"] == "request-ended").count();
        found.is_some() || (answered > 0 && world.asks(&["status"])["requests_waiting"] == 0)
    })
    .await;
    found
}

/// Whether a power cut right before this can leave something else than one right before the deed before.
fn matters(deed: &Deed) -> bool {
    !matches!(deed, Deed::Said { path, .. } if !path.to_string_lossy().starts_with("socket:"))
}

impl Said {
    fn hear(&mut self, deed: &Deed) {
        let Deed::Said { path, bytes } = deed else { return };
        let text = String::from_utf8_lossy(bytes);
        if text.starts_with("HTTP/1.1 202") {
            let handle = text.split("\"request\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a handle");
            self.accepted.insert(BASE64URL_NOPAD.decode(handle.as_bytes()).expect("a handle"));
        }
        self.set += usize::from(text.starts_with("HTTP/1.1 204"));
        let is_socket = path.to_string_lossy().starts_with("socket:");
        if is_socket && !text.starts_with("HTTP/") && text.contains(NEW) {
            self.writes.insert(bytes.clone());
        }
        self.links += usize::from(!is_socket && path.to_string_lossy().contains("reset-link") && !bytes.is_empty());
    }
}

/// Opens what is left as SQLite does, and looks whether all is there that others had been told of.
fn check(folder: &Path, said: &Said, what: &str) {
    let path = folder.join("state/rekeyd.db");
    let told = !said.accepted.is_empty();
    if !path.exists() || fs::metadata(&path).expect("a file").len() == 0 {
        assert!(!told, "{what}: the database is gone");
        return;
    }
    let database = Connection::open(&path).expect("a connection");
    let one = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0));
    let found: String = database
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap_or_else(|fault| panic!("{what}: {fault}"));
    assert_eq!(found, "ok", "{what}");
    if one("SELECT count(*) FROM sqlite_schema WHERE name = 'events'") != Ok(1) {
        assert!(!told, "{what}: the tables are gone");
        return;
    }
    let count =
        |sql: &str| usize::try_from(one(sql).unwrap_or_else(|fault| panic!("{what}: {fault}"))).expect("a count");
    for handle in &said.accepted {
        let rows = database
            .query_row("SELECT count(*) FROM requests WHERE id = ?1", [handle], |row| row.get::<_, i64>(0))
            .expect("a count");
        assert_eq!(rows, 1, "{what}: a request that was answered is gone");
    }
    assert!(count("SELECT count(*) FROM events WHERE kind = 'password-set'") >= said.set, "{what}: a set password");
    assert!(count("SELECT count(*) FROM tickets WHERE state = 'spent'") >= said.set, "{what}: a used link is not used");
    let touched = "SELECT count(*) FROM tickets WHERE purpose = 'reset' AND server IS NOT NULL AND state <> 'live'";
    assert!(count(touched) >= said.writes.len(), "{what}: the directory was written to and nothing shows it");
    assert!(count("SELECT count(*) FROM tickets WHERE purpose = 'reset'") >= said.links, "{what}: a link is not known");
    let requests = count("SELECT count(*) FROM requests");
    if requests > 0 {
        let passed = count("SELECT max(tat) - (SELECT min(at) FROM requests) FROM paces");
        assert!(passed >= requests * 86_400, "{what}: {requests} requests were counted as {passed} ms");
    }
    whole(&database, what);
    // The folder of the epoch is never synced together with the other, and yet the two fit.
    let kept = |name: &str| {
        let sql = "SELECT value FROM meta WHERE name = ?1";
        database.query_row(sql, [name], |row| row.get::<_, Vec<u8>>(0)).ok().map(|epoch| HEXLOWER.encode(&epoch))
    };
    let written = fs::read_to_string(folder.join("epoch/epoch")).ok().map(|text| text.trim().to_owned());
    if let Some(current) = kept("epoch") {
        let fits = written == Some(current) || written == kept("epoch_before");
        // The daemon itself knows the very first one, which has none before it.
        let is_first = kept("epoch_before").is_some_and(|before| before.is_empty()) && !told;
        assert!(fits || is_first, "{what}: it would be taken for a copy that was put back");
    }
}

/// The chain of the trail, row by row.
fn whole(database: &Connection, what: &str) {
    let mut rows = database
        .prepare("SELECT seq, at, kind, payload, salt, commitment, prev, hash FROM events ORDER BY seq")
        .expect("rows");
    let mut rows = rows.query([]).expect("rows");
    let (mut number, mut before) = (0_i64, vec![0; 32]);
    while let Some(row) = rows.next().expect("a row") {
        let bytes = |column: &str| row.get::<_, Vec<u8>>(column).expect("bytes");
        let (seq, at): (i64, i64) = (row.get("seq").expect("a number"), row.get("at").expect("a moment"));
        let (kind, payload): (String, String) = (row.get("kind").expect("a word"), row.get("payload").expect("a text"));
        number += 1;
        let commitment = sha256(&[&bytes("salt"), payload.as_bytes()]);
        let hash = sha256(&[&before, &number.to_be_bytes(), &at.to_be_bytes(), kind.as_bytes(), &commitment]);
        let fits = seq == number && bytes("prev") == before && bytes("commitment") == commitment;
        assert!(fits && bytes("hash") == hash, "{what}: the trail is broken at row {number}");
        before = bytes("hash");
    }
}

/// As the trail hashes: each part after its length.
fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

/// Has the daemon itself start with what is left.
async fn by_the_daemon(world: &World, disk: &Disk, left: Left, chance: &mut Chance, what: &str) {
    let folders: [PathBuf; 2] = [world.state(), world.folder().join("epoch")];
    for folder in &folders {
        fs::remove_dir_all(folder).expect("an empty place");
        fs::create_dir(folder).expect("a folder");
    }
    disk.cut(left, chance, world.folder(), world.folder());
    world.launch();
    assert!(world.becomes_ready().await, "{what}: {}", world.log());
    assert_eq!(world.asks(&["audit", "--verify"])["whole"], true, "{what}");
    assert!(!world.audit().iter().any(|row| row["event"] == "restored"), "{what}: {}", world.log());
    world.kill9();
}
