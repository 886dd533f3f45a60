//! Where the files of a run lie: one folder, a fresh one in it for each server.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use tempfile::TempDir;

/// The folder of this run.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| TempDir::with_prefix("rekeyd-tests-").expect("a temporary folder").keep())
}

/// A new, empty folder, called after what it is for.
///
/// Names stay short, because the path of a Unix socket ends at 107 bytes.
pub fn folder(purpose: &str) -> PathBuf {
    let folder = root().join(format!("{purpose}-{}", next()));
    fs::create_dir(&folder).expect("a new folder");
    folder
}

/// A number that nothing else in this run has.
pub fn next() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Removes everything at the end of a run that went well.
pub fn remove() {
    if let Err(fault) = fs::remove_dir_all(root()) {
        eprintln!("{} stays: {fault}", root().display());
    }
}
