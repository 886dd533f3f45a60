//! How a daemon is killed at a point that is chosen: by its tracer at one of its system calls, or while somebody else
//! keeps its database.

use std::{path::Path, time::Duration};

use rusqlite::Connection;

use crate::{acts::until, process::Process, scratch, world::World};

/// The words before the daemon's own that let it run under a tracer, which kills it at the `count`th of each of these
/// system calls in one thread, before the call is done.
pub fn tracer(calls: &str, count: u32) -> Vec<String> {
    // The daemon stays the child of whoever starts it, and the tracer stands beside it. (With --seccomp-bpf, which would
    // be faster, strace 6.1 does not count right.)
    let mut words = ["strace", "-D"].map(str::to_owned).to_vec();
    words.extend(injection(calls, count));
    words.push("--".to_owned());
    words
}

/// Kills a running daemon at its next of these system calls in any thread. Needs the right to trace it, as root has.
pub async fn kill_at_the_next(world: &World, calls: &str) -> Process {
    let log = scratch::root().join(format!("strace-{}", scratch::next()));
    let mut words = injection(calls, 1);
    words.retain(|word| word != "-qq");
    words.extend(["-p".to_owned(), world.pid().to_string()]);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let tracer = Process::start(Path::new("/usr/bin/strace"), &words, &log);
    until("the tracer is there", async || tracer.log().contains("attached")).await;
    tracer
}

fn injection(calls: &str, count: u32) -> Vec<String> {
    let inject = format!("inject={calls}:signal=SIGKILL:when={count}");
    ["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &inject].map(str::to_owned).to_vec()
}

/// Keeps everybody else from writing to a database until it is dropped.
pub struct ForeignLock(Connection);

impl ForeignLock {
    /// Takes the lock, as a backup or a person with a shell may.
    pub fn take(database: &Path) -> Self {
        let connection = Connection::open(database).expect("the database");
        connection.busy_timeout(Duration::from_secs(10)).expect("a time limit");
        connection.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        Self(connection)
    }
}

impl Drop for ForeignLock {
    fn drop(&mut self) {
        if let Err(fault) = self.0.execute_batch("ROLLBACK") {
            eprintln!("a lock can not be given back: {fault}");
        }
    }
}
