//! R15: bytes that change on the disk. Whatever is hit, no link sets another password than its own, nothing that was
//! accepted is lost without a word, and the word names the file and what can be done.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::store::{Delivery, Error};

/// How many copies are damaged; `REKEYD_DAMAGED_COPIES` says otherwise, for a release.
const COPIES: u64 = 300;
/// Accounts with a link, and requests that wait.
const LINKS: u8 = 8;
const WAITING: u8 = 8;

/// Numbers that are the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        // The constants of Knuth's MMIX.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }
}

/// Fills a store, and leaves it as a killed daemon does or as one that ended in order.
async fn fill(place: &Place, in_order: bool) {
    let store = place.open().store;
    for n in 1..=LINKS {
        assert_eq!(answer(&store, n, &format!("person-{n}"), n.into()).await, Issued::Made);
        if n % 2 == 0 {
            let leased = store.lease_notices(1, MINUTE, at(n.into())).await.unwrap();
            store.delivery(leased[0].notice.id, Delivery::Sent, at(n.into()), None).await.unwrap();
        }
    }
    assert!(store.claim(hash(1), [1; 16], None, at(20)).await.unwrap().is_some());
    for n in 50..50 + WAITING {
        let paced = vec![counter("source", &n.to_string(), 9, MINUTE)];
        assert_eq!(store.accept(request(n, 20), paced, None).await, Ok(Acceptance::Accepted));
    }
    if in_order {
        store.close(at(21)).await.unwrap();
    }
}

/// Changes some bytes of a file, in one of the ways in which disks and people do.
fn damage(file: &Path, chance: &mut Chance) -> String {
    let mut bytes = fs::read(file).unwrap();
    let place = chance.below(bytes.len());
    let what = match chance.below(6) {
        0 | 1 => {
            bytes[place] ^= 1 << chance.below(8);
            "a bit"
        }
        2 => {
            bytes[place] = u8::try_from(chance.below(256)).unwrap();
            "a byte"
        }
        3 => {
            let sector = place / 512 * 512;
            bytes[sector..sector + 512].fill(0);
            "a sector without its bytes"
        }
        4 => {
            let (one, other) = (place / 4096 * 4096, chance.below(bytes.len() / 4096) * 4096);
            if one + 4096 <= bytes.len() {
                let moved = bytes[one..one + 4096].to_vec();
                bytes[other..other + 4096].copy_from_slice(&moved);
            }
            "a page in another's place"
        }
        _ => {
            bytes.truncate(place);
            "the end cut off"
        }
    };
    fs::write(file, bytes).unwrap();
    format!("{what} at {place} of {}", file.display())
}

/// What became of a damaged copy.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
enum End {
    Refused,
    FoundLater,
    RowsPutAside,
    Unharmed,
}

/// Opens a damaged copy and does everything with it that a daemon does.
async fn live(place: &Place, what: &str, may_lose_its_end: bool) -> End {
    let told = |why: &str| {
        let next_step =
            ["rekeyctl", "store.path", "store.epoch_file", "newer rekeyd"].iter().any(|step| why.contains(step));
        assert!(next_step && why.contains("rekeyd.db"), "{what}: {why}");
        assert!(!why.contains("panicked"), "{what}: {why}");
    };
    let store = match Store::open(place.config(), &ring(), still(), SystemRandom::new()) {
        Ok(opened) => opened.store,
        Err(Error::Broken(why)) => {
            told(&why);
            return End::Refused;
        }
        Err(other) => panic!("{what}: {other}"),
    };
    let mut found = BTreeSet::new();
    let mut broken = false;
    for round in 0.. {
        assert!(round < 100, "{what}: the queue does not end");
        match store.lease_requests(3, MINUTE, at(30)).await {
            Ok(leased) if leased.is_empty() => break,
            Ok(leased) => {
                for request in leased {
                    assert_eq!((request.login.as_str(), request.purpose), ("ada", Purpose::Reset), "{what}");
                    found.insert(request.id);
                }
            }
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    for n in 1..=LINKS {
        let original = ticket(n, Purpose::Reset, &format!("person-{n}"), n.into()).ticket;
        if let Ok(Some(claimed)) = store.claim(hash(n), [n; 16], None, at(31)).await {
            let ticket = claimed.ticket();
            let whose = (&ticket.account, &ticket.contact, ticket.purpose, &ticket.id, &ticket.stamp);
            let wanted = (&original.account, &original.contact, original.purpose, &original.id, &original.stamp);
            assert_eq!(whose, wanted, "{what}");
        }
        broken |= store.ticket(hash(n), at(31)).await.is_err();
    }
    broken |= store.lease_notices(99, MINUTE, at(31)).await.is_err();
    broken |= store.open_claims(at(99)).await.is_err();
    broken |= store.outbox(99, false).await.is_err();
    broken |= store.verify_audit().await.is_err();
    broken |= store.counts(at(31)).await.is_err();
    broken |= store.prune(at(31)).await.is_err();
    broken |= store.record(event(EventKind::Thawed, "ada", 31)).await.is_err();
    let trail = store.audit(None, 999).await.unwrap_or_default();
    let aside = trail.iter().filter(|row| row.reason.as_deref() == Some("damaged")).count();
    let lost = usize::from(WAITING) - found.len();
    if let Ok(why) = tokio::time::timeout(Duration::ZERO, store.broken()).await {
        told(&why);
        return End::FoundLater;
    }
    assert!(broken || lost <= aside || may_lose_its_end, "{what}: {lost} were lost without a word: {trail:#?}");
    if aside > 0 || broken { End::RowsPutAside } else { End::Unharmed }
}

#[tokio::test]
async fn r15_whatever_is_damaged_no_password_is_set_wrongly_and_nothing_is_lost_in_silence() {
    let copies = std::env::var("REKEYD_DAMAGED_COPIES").ok().and_then(|text| text.parse().ok()).unwrap_or(COPIES);
    for place in places() {
        let Place::Sqlite(original) = &place;
        fill(&place, true).await;
        let mut ends = std::collections::BTreeMap::new();
        for n in 0..copies {
            let mut chance = Chance(n);
            let copy = copy_of(original.path(), false);
            let Place::Sqlite(folder) = &copy;
            let what = damage(&folder.path().join("state/rekeyd.db"), &mut chance);
            *ends.entry(live(&copy, &format!("copy {n}, {what}"), false).await).or_insert(0) += 1;
        }
        println!("{ends:?}");
        assert!(ends.get(&End::Refused) > Some(&(copies / 10)), "{ends:?}");
    }
}

#[tokio::test]
async fn r15_a_log_that_is_damaged_ends_where_the_damage_begins() {
    for place in places() {
        let Place::Sqlite(original) = &place;
        // Dropped, its log would be moved into it.
        let left = Place::another(&place);
        let Place::Sqlite(running) = &left;
        fill(&left, false).await;
        let store = left.open().store;
        store.record(event(EventKind::Thawed, "ada", 22)).await.unwrap();
        copy_folder(running.path(), original.path());
        drop(store);
        for n in 0..60 {
            let mut chance = Chance(1000 + n);
            let copy = copy_of(original.path(), true);
            let Place::Sqlite(folder) = &copy;
            let what = damage(&folder.path().join("state/rekeyd.db-wal"), &mut chance);
            // What the log held after the damage is gone; SQLite can't tell it from what was never finished.
            live(&copy, &format!("log {n}, {what}"), true).await;
        }
    }
}

fn copy_of(folder: &Path, with_log: bool) -> Place {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(folder, copy.path());
    if !with_log {
        assert!(!copy.path().join("state/rekeyd.db-wal").exists());
    }
    Place::Sqlite(copy)
}

fn copy_folder(from: &Path, to: &Path) {
    for name in ["state/rekeyd.db", "state/rekeyd.db-wal", "epoch/epoch"] {
        fs::create_dir_all(to.join(name).parent().unwrap()).unwrap();
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}
