//! The file of an LDIF directory: read when it changed, replaced whole or not at all, by one writer at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use rekeyd_core::flavour::entry::Entry;
use ring::rand::{SecureRandom, SystemRandom};

use super::Error;
use super::ldif_format::{self, Record};

/// How long a writer waits for another one.
const PATIENCE: Duration = Duration::from_secs(5);

/// The file, with what was read of it last.
pub(super) struct Store {
    path: PathBuf,
    read: Mutex<Option<Arc<Snapshot>>>,
}

/// The content of the file at one moment.
pub(super) struct Snapshot {
    seen: Seen,
    records: Vec<Record>,
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Seen {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The file in one writer's hands.
pub(super) struct Locked<'s> {
    store: &'s Store,
    snapshot: Arc<Snapshot>,
    _lock: Flock<File>,
}

/// Why a file was not replaced.
pub(super) struct Failed {
    /// What went wrong.
    pub(super) why: String,
    /// Whether the old content is certainly still there.
    pub(super) sure: bool,
}

impl Snapshot {
    /// The entries, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> + Clone {
        self.records.iter().map(|record| &record.entry)
    }
}

impl Store {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), read: Mutex::new(None) }
    }

    /// The present content. Entries that have no stable id yet are given one, in the file.
    pub(super) fn snapshot(&self, id_attribute: &str) -> Result<Arc<Snapshot>, Error> {
        let snapshot = self.load()?;
        if snapshot.entries().all(|entry| entry.has(id_attribute)) {
            return Ok(snapshot);
        }
        self.lock(id_attribute).map(|locked| locked.snapshot)
    }

    /// Takes the lock and reads what is there now.
    pub(super) fn lock(&self, id_attribute: &str) -> Result<Locked<'_>, Error> {
        let unavailable = |why: String| Error::Unavailable(why);
        let name = self.beside(".lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&name)
            .map_err(|error| Error::Misconfigured(format!("{}: {error}", name.display())))?;
        let begun = Instant::now();
        let lock = loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => break lock,
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if begun.elapsed() < PATIENCE => {
                    file = back;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err((_, errno)) => return Err(unavailable(format!("{} is held by another: {errno}", name.display()))),
            }
        };
        let snapshot = self.load()?;
        let mut locked = Locked { store: self, snapshot, _lock: lock };
        if !locked.snapshot.entries().all(|entry| entry.has(id_attribute)) {
            let mut records = locked.snapshot.records.clone();
            for record in records.iter_mut().filter(|record| !record.entry.has(id_attribute)) {
                record.entry.add(id_attribute, uuid().map_err(Error::Unavailable)?);
            }
            locked.snapshot = self.save(records).map_err(|failed| Error::Misconfigured(failed.why))?;
        }
        Ok(locked)
    }

    fn load(&self) -> Result<Arc<Snapshot>, Error> {
        let bad = |error: io::Error| Error::Misconfigured(format!("{}: {error}", self.path.display()));
        let mut kept = self.kept();
        // The open file is the one that is looked at and read, whatever takes its name meanwhile.
        let mut file = File::open(&self.path).map_err(bad)?;
        let metadata = file.metadata().map_err(bad)?;
        let seen = Seen::of(&metadata);
        if let Some(snapshot) = kept.as_ref().filter(|snapshot| snapshot.seen == seen) {
            return Ok(Arc::clone(snapshot));
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            // Hashes of passwords are for nobody else.
            file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(bad)?;
        }
        let seen = Seen::of(&file.metadata().map_err(bad)?);
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(bad)?;
        let records = ldif_format::parse(&text)
            .map_err(|error| Error::Misconfigured(format!("{}: {error}", self.path.display())))?;
        let snapshot = Arc::new(Snapshot { seen, records });
        *kept = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    /// Puts a new content in the place of the old one.
    fn save(&self, records: Vec<Record>) -> Result<Arc<Snapshot>, Failed> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let fresh = self.beside(".new");
        let failed = |sure| move |error: io::Error| Failed { why: format!("{}: {error}", self.path.display()), sure };
        let written = (|| {
            // What a crash has left here is of no use to anybody.
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&fresh)?;
            file.write_all(ldif_format::write(&records).as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)?;
            Ok(file)
        })();
        let file = written.map_err(failed(true))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(false))?;
        let seen = Seen::of(&file.metadata().map_err(failed(false))?);
        let snapshot = Arc::new(Snapshot { seen, records });
        *self.kept() = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    fn kept(&self) -> MutexGuard<'_, Option<Arc<Snapshot>>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    }
}

impl Locked<'_> {
    /// What the file holds while the lock is held.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// Writes the file with one entry replaced by another of the same name.
    pub(super) fn replace(self, entry: Entry) -> Result<(), Failed> {
        let mut records = self.snapshot.records.clone();
        let record = records.iter_mut().find(|record| record.entry.name() == entry.name());
        let Some(record) = record else {
            return Err(Failed { why: "the entry is gone".into(), sure: true });
        };
        record.entry = entry;
        self.store.save(records).map(|_| ())
    }
}

impl Seen {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A random UUID (version 4).
fn uuid() -> Result<String, String> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no randomness")?;
    let number = u128::from_be_bytes(bytes) & !(0xf000 << 64) & !(0xc000 << 48) | 0x4000 << 64 | 0x8000 << 48;
    let hex = format!("{number:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default());
    Ok(parts.join("-"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn store(text: &str) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("people.ldif");
        fs::write(&path, text).unwrap();
        (folder, Store::new(&path))
    }

    #[test]
    fn ids_are_given_once_and_kept() {
        let (folder, store) = store("dn: cn=a,dc=x\ncn: a\n");
        let id = |store: &Store| {
            store
                .snapshot("entryUUID")
                .unwrap()
                .entries()
                .next()
                .unwrap()
                .text("entryUUID")
                .unwrap()
                .unwrap()
                .to_owned()
        };
        let first = id(&store);
        assert_eq!(first.len(), 36);
        assert_eq!(first.as_bytes()[14], b'4');
        assert_eq!(first, id(&Store::new(&folder.path().join("people.ldif"))));
        let mode = fs::metadata(folder.path().join("people.ldif")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_edited_file_is_read_again() {
        let (folder, store) = store("dn: cn=a,dc=x\ncn: a\n");
        assert_eq!(store.snapshot("cn").unwrap().entries().count(), 1);
        let path = folder.path().join("people.ldif");
        fs::write(&path, "dn: cn=a,dc=x\ncn: a\n\ndn: cn=b,dc=x\ncn: b\n").unwrap();
        assert_eq!(store.snapshot("cn").unwrap().entries().count(), 2);
        fs::write(&path, "nonsense").unwrap();
        assert!(matches!(store.snapshot("cn"), Err(Error::Misconfigured(why)) if why.contains("line 1")));
        fs::remove_file(&path).unwrap();
        assert!(store.snapshot("cn").is_err());
    }

    #[test]
    fn one_writer_at_a_time_and_nothing_is_lost() {
        let (folder, store) = store("# kept\ndn: cn=a,dc=x\ncn: a\n");
        std::thread::scope(|scope| {
            for i in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    let locked = store.lock("cn").unwrap_or_else(|_| std::process::abort());
                    let mut entry = locked.snapshot().entries().next().unwrap().clone();
                    entry.add("description", format!("{i}"));
                    assert!(locked.replace(entry).is_ok());
                });
            }
        });
        let text = fs::read_to_string(folder.path().join("people.ldif")).unwrap();
        assert_eq!(text.matches("description").count(), 8);
        assert!(text.contains("# kept"));
        assert!(!folder.path().join("people.ldif.new").exists());
    }
}
