//! A journal of a test's own, which one daemon takes for the system's: what it is sent, records with all their fields.

use std::{
    fs::{self, File},
    os::{linux::fs::MetadataExt, unix::net::UnixDatagram},
    sync::{Arc, Mutex},
    thread,
};

use nix::{sys::signal::Signal, unistd::geteuid};

use crate::{acts::until, world::World};

/// A journal that listens for as long as the test program lives.
pub struct Journal {
    records: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Journal {
    /// Listens, and starts the daemon where it finds this journal in the system's place: in a mount namespace of its own.
    pub fn start(world: &World) -> Self {
        let run = world.folder().join("run");
        fs::create_dir_all(run.join("systemd/journal")).expect("folders");
        let socket = UnixDatagram::bind(run.join("systemd/journal/socket")).expect("a socket");
        let records = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&records);
        thread::spawn(move || {
            let mut bytes = vec![0; 1 << 20];
            while let Ok(length) = socket.recv(&mut bytes) {
                kept.lock().expect("the records").push(bytes[..length].to_vec());
            }
        });
        // systemd says so where stderr is the journal's, by naming it.
        let stat = File::create(world.folder().join("log")).and_then(|file| file.metadata()).expect("a log");
        let stream = format!("{}:{}", stat.st_dev(), stat.st_ino());
        let script = format!("mount --bind {} /run && exec \"$@\"", run.display());
        let own = ["/usr/bin/unshare", "--mount", "--user", "--map-root-user"];
        let unshare = if geteuid().is_root() { &own[..2] } else { &own[..] };
        let way = [unshare, &["--", "/bin/sh", "-c", &script, "sh"]].concat();
        world.launch_under(&way, &[("JOURNAL_STREAM", &stream)]);
        Self { records }
    }

    /// Every record so far, as it was sent.
    pub fn written(&self) -> Vec<Vec<u8>> {
        self.records.lock().expect("the records").clone()
    }

    /// Whether a record has a field, or a field with this value where one stands behind a `=`.
    pub fn has(record: &[u8], field: &[u8]) -> bool {
        let (name, value) = field.split_at(field.iter().position(|byte| *byte == b'=').unwrap_or(field.len()));
        let plain = [name, if value.is_empty() { b"=" } else { value }].concat();
        let counted = match value.get(1..) {
            None => [name, b"\n"].concat(),
            Some(value) => [name, b"\n", &(value.len() as u64).to_le_bytes()[..], value, b"\n"].concat(),
        };
        [plain, counted].iter().any(|part| record.windows(part.len()).any(|window| window == part))
    }

    /// Has the configuration read again, and waits until the journal tells how that went.
    pub async fn reload(&self, world: &World) {
        let told = || self.written().iter().filter(|record| Self::has(record, b"EVENT=reload")).count();
        let before = told();
        world.signal(Signal::SIGHUP);
        until("the configuration was read again", async || told() > before).await;
    }
}
