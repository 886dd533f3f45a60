//! The checker of the invariants sees each one broken: by a hand in the database, the directory, the mail or the log.

use std::{fs, sync::Arc};

use rekeyd_tests::{branch::PASSWORD, clients::Clients, invariants, slapd, tests, world::World};
use rusqlite::Connection;

tests! {
    async fn rig_the_checker_sees_what_is_broken_in_the_database;
    async fn rig_the_checker_sees_what_is_broken_outside;
}

const NEW: &str = "seven violet teapots orbit";
const OTHER: &str = "nine copper kettles in a row";

/// What somebody does to the database, and which invariant it breaks.
const BREAKS: [(&str, &str); 10] = [
    ("DELETE FROM requests WHERE state = 'made'", "I1"),
    ("UPDATE requests SET state = 'refused' WHERE state = 'made'", "I5"),
    ("UPDATE requests SET state = 'expired' WHERE state = 'refused'", "I5"),
    ("DELETE FROM outbox WHERE kind = 'password-changed'", "I5"),
    ("UPDATE outbox SET state = 'queued', due = 9999999999999 WHERE kind = 'password-changed'", "I5"),
    ("UPDATE tickets SET state = 'live' WHERE state = 'spent'", "I4"),
    ("UPDATE tickets SET state = 'void' WHERE state = 'spent'", "I7"),
    ("UPDATE paces SET tat = tat - 1000", "I8"),
    ("UPDATE events SET payload = payload || ' ' WHERE seq = 1", "I7"),
    ("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)", "I7"),
];

async fn rig_the_checker_sees_what_is_broken_in_the_database() {
    let clients = after_a_story().await;
    let world = &clients.world;
    assert!(world.stop().success());
    let files = [world.database(), world.folder().join("epoch/epoch")];
    let whole = files.each_ref().map(|file| fs::read(file).expect("a file"));
    for (sql, invariant) in BREAKS {
        let database = Connection::open(world.database()).expect("the database");
        assert!(database.execute(sql, []).expect("a change") > 0, "{sql} changes nothing");
        drop(database);
        world.revive().await;
        let violations = invariants::look(world, &clients.ledger).await;
        assert!(violations.iter().any(|what| what.starts_with(invariant)), "{sql}: {violations:#?}");
        world.kill9();
        for companion in ["wal", "shm"] {
            fs::remove_file(format!("{}-{companion}", world.database().display())).ok();
        }
        for (file, whole) in files.iter().zip(&whole) {
            fs::write(file, whole).expect("a written file");
        }
        // It compares with what it saw last, so it looks at the whole one again.
        world.revive().await;
        invariants::look(world, &clients.ledger).await;
        assert!(invariants::look(world, &clients.ledger).await.is_empty());
        assert!(world.stop().success());
        fs::write(&files[0], &whole[0]).expect("a written file");
        fs::write(&files[1], &whole[1]).expect("a written file");
    }
}

async fn rig_the_checker_sees_what_is_broken_outside() {
    let clients = after_a_story().await;
    let (world, ledger) = (&clients.world, &clients.ledger);
    let sees = async |invariant: &str| {
        let violations = invariants::look(world, ledger).await;
        assert!(violations.iter().any(|what| what.starts_with(invariant)), "{invariant}: {violations:#?}");
    };
    let fine = async || {
        let violations = invariants::look(world, ledger).await;
        assert!(violations.is_empty(), "{violations:#?}");
    };
    // A password that nobody whom the ledger knows has set.
    world.slapd().change_own_password(&world.dn("ada"), NEW, OTHER).await;
    sees("I3").await;
    ledger.changed_elsewhere("ada", OTHER);
    fine().await;
    // Mail to somebody whom the ledger does not know.
    assert_eq!(clients.forgets("grace").await.expect("an answer"), 202);
    world.link("grace@example.org", 1).await;
    world.all_is_sent().await;
    sees("I6").await;
    ledger.meets("grace", "grace@example.org", PASSWORD);
    fine().await;
    // A secret in the log.
    let log = world.folder().join("log");
    let before = fs::read(&log).expect("the log");
    fs::write(&log, [&before[..], OTHER.as_bytes()].concat()).expect("a written file");
    sees("I9").await;
    fs::write(&log, before).expect("a written file");
    fine().await;
    // A link that is said to be dead and is not.
    ledger.dead("grace", clients.tokens("grace", "/r/"));
    sees("I4").await;
    // A request that was never made.
    ledger.accepted("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    sees("I1").await;
    // A write by the daemon's own identity, of which nothing tells.
    let mut ldap = world.slapd().service().await;
    slapd::set(&mut ldap, &world.dn("grace"), "userPassword", &[NEW]).await;
    sees("I2").await;
}

async fn after_a_story() -> Clients {
    let world = Arc::new(World::start().await);
    let clients = Clients::of(&world, &["ada"]);
    assert_eq!(clients.forgets("ada").await.expect("an answer"), 202);
    assert_eq!(clients.forgets("nobody").await.expect("an answer"), 202);
    world.smtp().wait_for_mail_to("ada@example.org", 1).await;
    let token = clients.tokens("ada", "/r/").pop().expect("a link");
    assert_eq!(clients.sets("ada", &token, NEW).await.expect("an answer"), 204);
    world.smtp().wait_for_mail_to("ada@example.org", 2).await;
    let violations = invariants::check(&world, &clients.ledger).await;
    assert!(violations.is_empty(), "{violations:#?}");
    clients
}
