//! T113: the store does not grow without end. What has outlived its time goes in slices that hold nobody up, and its space
//! goes back to the disk.

use std::fs;

use rusqlite::Connection;

use super::*;

/// Months of people who forget, in rows a month: scaled down from a million in all.
const MONTHS: i64 = 10;
const A_MONTH: i64 = 700;
const MONTH: i64 = 30 * 86_400;

/// What a month leaves behind, as the store itself writes it.
fn month(connection: &Connection, month: i64) {
    let at = at(month * MONTH).millis();
    connection
        .execute_batch(&format!(
            "BEGIN;
             CREATE TEMP TABLE IF NOT EXISTS n AS
                 WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {A_MONTH}) SELECT n FROM n;
             INSERT INTO requests (id, purpose, origin, at, deadline, due, state, ended)
                 SELECT randomblob(16), 'reset', 'person', {at} + n, {at} + n, {at} + n, 'made', {at} + n FROM n;
             INSERT INTO tickets (id, hash, purpose, origin, account, sealed, contact, stamp, key, issued, life, ends, state, era)
                 SELECT randomblob(16), randomblob(32), 'reset', 'person', '7:ada', randomblob(40), randomblob(32), '',
                     randomblob(4), {at}, 1, {at} + n, 'spent', 1 FROM n;
             INSERT INTO outbox (id, kind, account, sealed, at, deadline, created, state, ended)
                 SELECT randomblob(16), 'reset-link', '7:ada', randomblob(200), {at}, {at}, {at}, 'sent', {at} + n FROM n;
             INSERT OR REPLACE INTO paces (key, tat) SELECT randomblob(16), {at} + n FROM n;
             COMMIT;"
        ))
        .unwrap();
}

#[tokio::test]
async fn t113_the_store_stays_as_small_as_what_it_keeps() {
    for place in places() {
        let path = place.config().path;
        drop(place.open());
        let mut largest = Vec::new();
        for n in 0..MONTHS {
            let connection = Connection::open(&path).unwrap();
            month(&connection, n);
            drop(connection);
            let store = place.open().store;
            let now = at((n + 1) * MONTH);
            let mut slices = 0;
            while store.prune(now).await.unwrap() {
                slices += 1;
                assert!(slices < 50, "it does not end");
            }
            drop(store);
            largest.push(fs::metadata(&path).unwrap().len());
        }
        // Tickets are kept longest, for half a year; from then on nothing is added.
        let (then, last) = (largest[7], largest[largest.len() - 1]);
        assert!(last < then + then / 10, "{largest:?}");
        let connection = Connection::open(&path).unwrap();
        let count = |table: &str| {
            connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap()
        };
        assert!(count("requests") <= A_MONTH && count("outbox") <= A_MONTH && count("paces") <= A_MONTH);
        assert!(count("tickets") <= 7 * A_MONTH);
        let free: i64 = connection.query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap();
        assert_eq!(free, 0, "what is free goes back to the disk");
    }
}

#[tokio::test]
async fn t113_pruning_takes_slices_and_lets_others_come_between() {
    for place in places() {
        drop(place.open());
        let connection = Connection::open(place.config().path).unwrap();
        month(&connection, 0);
        let rows = || {
            let sql = "SELECT (SELECT count(*) FROM requests) + (SELECT count(*) FROM tickets)
                     + (SELECT count(*) FROM outbox) + (SELECT count(*) FROM paces)";
            connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        let store = place.open().store;
        let later = 12 * MONTH;
        let mut before = rows();
        while store.prune(at(later)).await.unwrap() {
            let now = rows();
            assert!(before - now <= 4 * 500, "{} rows at once", before - now);
            before = now;
            assert!(store.counts(at(later)).await.is_ok());
        }
        assert_eq!(rows(), 0);
    }
}
