//! The `[store]` section: where things are kept, how much may wait, how long it is remembered.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rekeyd_core::settings::Section;

const DAY: Duration = Duration::from_hours(24);

/// Where the store lies and how long it remembers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreConfig {
    /// The database file.
    pub path: PathBuf,
    /// The file that holds the epoch, outside the database's folder, so that a restored copy of that folder shows.
    pub epoch_file: PathBuf,
    /// How many accepted requests may wait before everybody is told to come back later.
    pub backlog: u64,
    /// How long requests are kept after they ended.
    pub keep_requests: Duration,
    /// How long messages are kept after they were sent or given up.
    pub keep_notices: Duration,
    /// How long tickets are kept after they ended, so that an old link can be told from nonsense.
    pub keep_tickets: Duration,
    /// How long the audit trail is kept.
    pub keep_events: Duration,
}

impl StoreConfig {
    /// A store at these places, all else as it is by default.
    pub fn new(path: impl Into<PathBuf>, epoch_file: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            epoch_file: epoch_file.into(),
            backlog: 20_000,
            keep_requests: 30 * DAY,
            keep_notices: 30 * DAY,
            keep_tickets: 180 * DAY,
            keep_events: 400 * DAY,
        }
    }

    /// Reads `[store]`; what is wrong becomes a fault of the document and the default takes its place.
    pub fn read(section: Section<'_>) -> Self {
        let default = Self::new("/var/lib/rekeyd/rekeyd.db", "/var/lib/rekeyd-epoch/epoch");
        let absolute = |text: &str| {
            let path = PathBuf::from(text);
            if path.is_absolute() && path.file_name().is_some() {
                Ok(path)
            } else {
                Err("it is not the absolute path of a file".to_owned())
            }
        };
        let remedy = "Write an absolute path, such as \"/var/lib/rekeyd/rekeyd.db\".";
        let path = section.parsed("path", remedy, absolute).unwrap_or(default.path);
        let remedy = "Write an absolute path, such as \"/var/lib/rekeyd-epoch/epoch\".";
        let epoch_file = section.parsed("epoch_file", remedy, absolute).unwrap_or(default.epoch_file);
        if path.parent().is_some_and(|folder| epoch_file.starts_with(folder)) {
            section.fault(
                "epoch_file",
                "it lies in the database's folder, where a restored copy of that folder brings it along",
                "Write a path in another folder, which is not part of the same backup.",
            );
        }
        let keep = |key, default| section.duration(key, DAY..=3650 * DAY, default);
        let config = Self {
            backlog: section.number("backlog", 100..=1_000_000, default.backlog),
            keep_requests: keep("keep_requests", default.keep_requests),
            keep_notices: keep("keep_notices", default.keep_notices),
            keep_tickets: keep("keep_tickets", default.keep_tickets),
            keep_events: keep("keep_events", default.keep_events),
            path,
            epoch_file,
        };
        section.finish();
        config
    }

    /// The folder of a file of this configuration.
    pub(super) fn folder(file: &Path) -> &Path {
        file.parent().unwrap_or(Path::new("/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekeyd_core::settings::Document;

    fn read(text: &str) -> (StoreConfig, Vec<String>) {
        let document = Document::parse(text);
        let root = document.root();
        let config = StoreConfig::read(root.section("store"));
        root.finish();
        (config, document.into_faults().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_empty_section_is_the_default() {
        let (config, faults) = read("");
        assert_eq!(config, StoreConfig::new("/var/lib/rekeyd/rekeyd.db", "/var/lib/rekeyd-epoch/epoch"));
        assert_eq!(faults, [""; 0]);
    }

    #[test]
    fn every_fault_is_told() {
        let (_, faults) = read("[store]\npath = \"x.db\"\nbacklog = 1\nkeep_events = \"1h\"\nkep_tickets = \"9d\"\n");
        assert_eq!(faults.len(), 4, "{faults:?}");
        let (_, faults) = read("[store]\npath = \"/srv/r/r.db\"\nepoch_file = \"/srv/r/sub/epoch\"\n");
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults.iter().all(|fault| fault.starts_with("line 3: store.epoch_file: it lies in the database's")));
    }
}
