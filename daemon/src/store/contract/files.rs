//! What holds for a store that lies in files: modes, refusals, what can be read off the disk, tampering.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXLOWER};
use rekeyd_core::domain::sha256;
use rusqlite::Connection;

use super::*;
use crate::store::{Chain, Error};

fn database(place: &Place) -> PathBuf {
    place.config().path
}

/// Changes a database behind the store's back.
fn tamper(place: &Place, sql: &str) {
    Connection::open(database(place)).unwrap().execute_batch(sql).unwrap();
}

fn refusal(place: &Place, ring: &KeyRing) -> String {
    match Store::open(place.config(), ring, still(), SystemRandom::new()) {
        Err(Error::Broken(why)) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
    }
}

fn bytes(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        all.extend(fs::read(entry.unwrap().path()).unwrap());
    }
    all
}

#[tokio::test]
async fn files_are_for_rekeyd_alone() {
    for place in places() {
        let store = place.open().store;
        store.record(event(EventKind::Thawed, "ada", 0)).await.unwrap();
        let path = database(&place);
        for file in [path.clone(), path.with_file_name("rekeyd.db-wal"), place.config().epoch_file] {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        }
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        let second = refusal(&place, &ring());
        assert!(second.ends_with("is in use by another rekeyd. Stop that one first."), "{second}");
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_nothing_is_written() {
    for place in places() {
        let store = place.open().store;
        store.close(at(0)).await.unwrap();
        drop(store);
        tamper(&place, "UPDATE meta SET value = 8 WHERE name = 'schema'");
        drop(place.open());
        tamper(&place, "UPDATE meta SET value = 7 WHERE name = 'min_reader'; PRAGMA wal_checkpoint(TRUNCATE)");
        let before = fs::read(database(&place)).unwrap();
        let why = refusal(&place, &ring());
        assert!(why.contains("its schema is 8, which needs a program that knows schema 7 or later"), "{why}");
        assert_eq!(fs::read(database(&place)).unwrap(), before);
        assert!(Store::probe(&place.config(), &ring()).is_err());
    }
}

#[tokio::test]
async fn what_is_no_store_of_ours_is_refused_in_words() {
    for place in places() {
        assert!(Store::probe(&place.config(), &ring()).unwrap().ends_with("is made at the first start"));
        drop(place.open());
        let told = Store::probe(&place.config(), &ring()).unwrap();
        assert!(told.contains(" has schema ") && told.ends_with(" and opens with the key file"), "{told}");
        let foreign = KeyRing::new(MasterKey::from_bytes([2; 32]));
        let why = refusal(&place, &foreign);
        assert!(why.contains("none of the keys in the key file"), "{why}");
        drop(place.open());

        fs::write(database(&place), "Dear diary, today I have forgotten my password again. ".repeat(99)).unwrap();
        let why = refusal(&place, &ring());
        assert!(why.contains("is not a database"), "{why}");
        fs::remove_file(database(&place)).unwrap();
        Connection::open(database(&place)).unwrap().execute_batch("CREATE TABLE songs (name TEXT)").unwrap();
        let why = refusal(&place, &ring());
        assert!(why.contains("but not rekeyd's"), "{why}");
        fs::remove_file(database(&place)).unwrap();
        fs::create_dir(database(&place)).unwrap();
        let why = refusal(&place, &ring());
        assert!(why.contains("rekeyd.db can't be opened") && why.contains("store.path"), "{why}");
    }
}

#[tokio::test]
async fn t136_a_newer_key_takes_over_and_the_hashes_stay() {
    for place in places() {
        let hashed = place.open().store.data_key().address_hash("ada@example.org");
        let (old, new) = (MasterKey::from_bytes([1; 32]), MasterKey::from_bytes([2; 32]));
        let both = KeyRing::parse(&format!("{}\n{}", *new.encode(), *old.encode())).unwrap();
        drop(Store::open(place.config(), &both, still(), SystemRandom::new()).unwrap());
        let newest = KeyRing::new(new);
        let store = Store::open(place.config(), &newest, still(), SystemRandom::new()).unwrap().store;
        assert_eq!(store.data_key().address_hash("ada@example.org"), hashed);
    }
}

#[tokio::test]
async fn t136_an_old_key_can_go_after_a_reload() {
    for place in places() {
        let store = place.open().store;
        let hashed = store.data_key().address_hash("ada@example.org");
        let (old, new) = (MasterKey::from_bytes([1; 32]), MasterKey::from_bytes([2; 32]));
        let both = KeyRing::parse(&format!("{}\n{}", *new.encode(), *old.encode())).unwrap();
        store.rewrap(&both).await.unwrap();
        drop(store);
        let newest = KeyRing::new(new);
        let store = Store::open(place.config(), &newest, still(), SystemRandom::new()).unwrap().store;
        assert_eq!(store.data_key().address_hash("ada@example.org"), hashed);
        drop(store);
        assert!(refusal(&place, &ring()).contains("none of the keys in the key file"));
    }
}

#[tokio::test]
async fn t25_nothing_typed_or_personal_can_be_read_off_the_disk() {
    for place in places() {
        let store = place.open().store;
        let typed = NewRequest { login: Login::parse("canary-login-hunter2").unwrap(), ..request(1, 0) };
        let source = counter("source", "192.0.2.77", 9, MINUTE);
        assert_eq!(store.accept(typed, vec![source], None).await, Ok(Acceptance::Accepted));
        assert_eq!(store.lease_requests(9, MINUTE, at(0)).await.unwrap().len(), 1);
        let mut made = issue(1, "ada", 0);
        made.tickets[0].ticket.login = "canary-shown".into();
        made.notices[0].login = "canary-shown".into();
        made.notices[0].name = Some("Canary Wharf".into());
        made.notices[0].recipient.address = EmailAddress::parse("canary-address@example.org").unwrap();
        assert_eq!(store.issue(made).await, Ok(Issued::Made));
        let begun = Replacement { reason: "canary-reason".into(), ..replacement(1, "ada", 0) };
        store.begin_replacement(begun, event(EventKind::PasswordReplaced, "ada", 0)).await.unwrap();
        let spelt = |bytes: &[u8], text: &str| {
            [text.to_owned(), BASE64.encode(text.as_bytes()), HEXLOWER.encode(text.as_bytes())]
                .into_iter()
                .any(|form| bytes.windows(form.len()).any(|window| window.eq_ignore_ascii_case(form.as_bytes())))
        };
        let folder = database(&place).parent().unwrap().to_owned();
        for look in ["while it runs", "after its end"] {
            let all = bytes(&folder);
            for canary in
                ["canary-login", "canary-shown", "Canary Wharf", "canary-address", "canary-reason", "192.0.2.77"]
            {
                assert!(!spelt(&all, canary), "{canary} {look}");
            }
            assert!(spelt(&all, "ticket-issued"), "the search does find what is there");
            store.close(at(1)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn t130_a_changed_row_is_named() {
    for place in places() {
        let store = place.open().store;
        for n in 0..6 {
            store.record(event(EventKind::Thawed, "ada", n)).await.unwrap();
        }
        assert_eq!(store.verify_audit().await, Ok(Chain::Whole(6)));
        drop(store);
        let copy = fs::read(database(&place)).unwrap();
        let epoch = fs::read(place.config().epoch_file).unwrap();
        for (sql, broken) in [
            ("UPDATE events SET at = at + 1 WHERE seq = 2", 2),
            ("UPDATE events SET kind = 'restored' WHERE seq = 3", 3),
            ("UPDATE events SET payload = replace(payload, 'done', 'gone') WHERE seq = 4", 4),
            ("UPDATE events SET account = '7:eve' WHERE seq = 5", 5),
            ("UPDATE events SET payload = NULL WHERE seq = 5", 5),
            ("DELETE FROM events WHERE seq = 3", 3),
            ("DELETE FROM events WHERE seq = 1", 1),
            ("DELETE FROM events WHERE seq = 6", 6),
            ("DELETE FROM events WHERE seq > 2", 3),
            ("DELETE FROM events", 1),
            (
                "INSERT INTO events SELECT 7, at, kind, account, payload, salt, commitment, prev, hash FROM events WHERE seq = 6",
                7,
            ),
            ("UPDATE events SET hash = zeroblob(32) WHERE seq = 6", 6),
        ] {
            fs::write(database(&place), &copy).unwrap();
            fs::write(place.config().epoch_file, &epoch).unwrap();
            tamper(&place, sql);
            let store = place.open().store;
            assert_eq!(store.verify_audit().await, Ok(Chain::Broken(broken)), "{sql}");
            store.record(event(EventKind::Thawed, "ada", 7)).await.unwrap();
            assert_eq!(store.verify_audit().await, Ok(Chain::Broken(broken)), "{sql}, and one more");
        }
    }
}

#[tokio::test]
async fn r15_a_damaged_row_ends_and_holds_up_nobody() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 3, "ada", 0).await, Issued::Made);
        for n in 1..=2 {
            assert_eq!(store.accept(request(n, n.into()), vec![], None).await, Ok(Acceptance::Accepted));
        }
        drop(store);
        tamper(
            &place,
            "UPDATE requests SET sealed = zeroblob(40) WHERE at % 10000 = 1000; UPDATE outbox SET sealed = x'00'",
        );
        let store = place.open().store;
        let leased = store.lease_requests(9, MINUTE, at(9)).await.unwrap();
        assert_eq!(leased.iter().map(|request| request.id).collect::<Vec<_>>(), [RequestId::from_bytes([2; 22])]);
        assert!(store.lease_notices(9, MINUTE, at(9)).await.unwrap().is_empty());
        assert_eq!(store.outbox(9, false).await.unwrap()[0].login, "(unreadable)");
        let reasons: Vec<_> = store.audit(None, 2).await.unwrap().into_iter().map(|row| row.reason).collect();
        assert_eq!(reasons, [Some("damaged".to_owned()), Some("damaged".to_owned())]);
    }
}

#[tokio::test]
async fn a_damaged_file_is_told_of_and_not_used() {
    for place in places() {
        let store = place.open().store;
        for n in 0..200 {
            store.record(event(EventKind::Thawed, "ada", n)).await.unwrap();
        }
        drop(store);
        tamper(&place, "PRAGMA wal_checkpoint(TRUNCATE)");
        let mut bytes = fs::read(database(&place)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 4096 * 3].fill(0x5a);
        fs::write(database(&place), bytes).unwrap();
        let why = refusal(&place, &ring());
        assert!(why.contains("damaged") && why.contains("rekeyctl restored"), "{why}");
    }
}

#[tokio::test]
async fn r13_a_foreign_lock_makes_it_busy_and_loses_nothing() {
    for place in places() {
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        assert!(store.claim(hash(1), [1; 16], None, at(1)).await.unwrap().is_some());
        let foreign = Connection::open(database(&place)).unwrap();
        foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
        let began = std::time::Instant::now();
        let asked = store.accept(request(2, 0), vec![], None);
        let set = store.spend(TicketId::from_bytes([1; 22]), spend(1, "ada", 2));
        let late = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            store.accept(request(3, 0), vec![], None).await
        };
        let unlock = async {
            let (first, second) = tokio::join!(asked, late);
            assert_eq!((first, second), (Err(Error::Busy), Err(Error::Busy)));
            assert!(began.elapsed() > Duration::from_secs(2), "it has waited");
            foreign.execute_batch("ROLLBACK").unwrap();
        };
        let (set, ()) = tokio::join!(set, unlock);
        assert_eq!(set, Ok(()), "what was done already waits for longer");
        assert_eq!(store.accept(request(2, 0), vec![], None).await, Ok(Acceptance::Accepted));
        assert_eq!(store.counts(at(0)).await.unwrap().requests_waiting, 1);
    }
}

#[tokio::test]
async fn r1_the_files_of_a_running_store_are_enough_to_go_on() {
    for place in places() {
        let Place::Sqlite(folder) = &place;
        let store = place.open().store;
        assert_eq!(answer(&store, 1, "ada", 0).await, Issued::Made);
        assert_eq!(answer(&store, 2, "eve", 0).await, Issued::Made);
        assert!(store.claim(hash(2), [1; 16], None, at(1)).await.unwrap().is_some());
        assert_eq!(store.accept(request(3, 1), vec![], None).await, Ok(Acceptance::Accepted));
        // What a killed process or a lost power supply leaves behind: the files as they are now, not closed.
        let left = Place::Sqlite(tempfile::tempdir().unwrap());
        let Place::Sqlite(after) = &left;
        for name in ["state/rekeyd.db", "state/rekeyd.db-wal", "epoch/epoch"] {
            let to = after.path().join(name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(folder.path().join(name), to).unwrap();
        }
        let opened = left.open();
        assert_eq!(opened.voided, None);
        let counts = opened.store.counts(at(2)).await.unwrap();
        assert_eq!((counts.requests_waiting, counts.notices_waiting, counts.tickets_live), (1, 2, 3));
        assert_eq!(opened.store.open_claims(at(2)).await.unwrap().len(), 1);
        assert_eq!(opened.store.verify_audit().await, Ok(Chain::Whole(2)));
    }
}

#[tokio::test]
async fn t130_a_last_row_forged_with_fitting_hashes_is_named() {
    for place in places() {
        let store = place.open().store;
        for n in 1..=2 {
            store.record(event(EventKind::Thawed, "ada", n)).await.unwrap();
        }
        drop(store);
        let forge = Connection::open(database(&place)).unwrap();
        let (payload, salt, prev): (String, Vec<u8>, Vec<u8>) = forge
            .query_row("SELECT replace(payload, 'done', 'gone'), salt, prev FROM events WHERE seq = 2", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .unwrap();
        let commitment = sha256(&[&salt, payload.as_bytes()]);
        let hash = sha256(&[&prev, &2_i64.to_be_bytes(), &at(2).millis().to_be_bytes(), b"thawed", &commitment]);
        let sql = "UPDATE events SET payload = ?1, commitment = ?2, hash = ?3 WHERE seq = 2";
        forge.execute(sql, (payload, commitment, hash)).unwrap();
        drop(forge);
        assert_eq!(place.open().store.verify_audit().await, Ok(Chain::Broken(2)));
    }
}

#[tokio::test]
async fn r16_a_copy_has_its_name_once_it_has_an_epoch_of_its_own() {
    for place in places() {
        let store = place.open().store;
        store.record(event(EventKind::Thawed, "ada", 0)).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (to, part) = (folder.path().join("copy.db"), folder.path().join("copy.db.part"));
        let epoch = |file: &Path| -> Vec<u8> {
            let sql = "SELECT value FROM meta WHERE name = 'epoch'";
            Connection::open(file).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
        };
        fs::write(&part, "somebody else's").unwrap();
        let refused = Store::backup(&place.config(), &to).unwrap_err().to_string();
        assert!(refused.contains("copy.db.part") && refused.contains("remove that file"), "{refused}");
        assert_eq!(fs::read(&part).unwrap(), b"somebody else's");
        assert!(!to.exists());
        fs::remove_file(&part).unwrap();
        Store::backup(&place.config(), &to).unwrap();
        assert!(!part.exists());
        assert_ne!(epoch(&to), epoch(&database(&place)));
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Store::backup(&place.config(), &to).is_err(), "nor that of an earlier copy");
    }
}
