//! Where log records go: the journal under systemd, readable lines on stderr elsewhere.
//!
//! A record says one thing once, with fields to filter by, and never holds a secret or a whole address. Libraries are
//! heard only where they warn; ldap3 not at all, since it prints whole answers of the directory.

use std::io::Write;

use log::kv::{Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use rekeyd_core::text::escaped;
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// Sends records to the journal or to stderr.
struct Logger {
    journal: Option<JournalLog>,
    level: LevelFilter,
}

/// Installs the logger. `level` is for rekeyd's own records; panics are told of there, and by `panicked`.
///
/// # Errors
/// Words, where a logger is installed already.
pub fn install(level: LevelFilter, panicked: impl Fn() + Send + Sync + 'static) -> Result<(), String> {
    let journal = connected_to_journal().then(JournalLog::new).and_then(Result::ok);
    let journal = journal.map(|journal| journal.with_syslog_identifier("rekeyd".into()));
    log::set_boxed_logger(Box::new(Logger { journal, level })).map_err(|error| error.to_string())?;
    log::set_max_level(level.max(LevelFilter::Warn));
    std::panic::set_hook(Box::new(move |fault| {
        panicked();
        // The place and nothing else: the words of a fault may repeat what somebody typed.
        let place = fault.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
        log::error!(event = "panicked"; "a fault of rekeyd's own{place}");
    }));
    Ok(())
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        if target.starts_with("ldap3") || target.starts_with("lber") {
            return false;
        }
        let own = target.starts_with("rekeyd");
        metadata.level() <= if own { self.level } else { self.level.min(LevelFilter::Warn) }
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if let Some(journal) = &self.journal {
            journal.log(record);
            return;
        }
        let mut line = Line(String::new());
        line.push(match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info => "",
            Level::Debug => "debug: ",
            Level::Trace => "trace: ",
        });
        line.push(&record.args().to_string());
        // A field that can't be formatted is left out; the record itself matters more.
        if record.key_values().visit(&mut line).is_err() {
            line.push(" (fields lost)");
        }
        line.0.push('\n');
        // Nobody is left to tell where stderr is gone.
        drop(std::io::stderr().lock().write_all(line.0.as_bytes()));
    }

    fn flush(&self) {}
}

/// One record is one line: control characters of foreign text are written as escapes, so that nothing forges a record.
struct Line(String);

impl Line {
    fn push(&mut self, text: &str) {
        self.0.push_str(&escaped(text));
    }
}

impl<'kvs> VisitSource<'kvs> for Line {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        self.push(" ");
        self.push(key.as_str());
        self.push("=");
        self.push(&value.to_string());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t129_one_record_is_one_line() {
        let mut line = Line(String::new());
        line.push("x\nrekeyd: reset ok for root\u{1b}[2J\u{2028}");
        assert_eq!(line.0, "x\\u{a}rekeyd: reset ok for root\\u{1b}[2J\\u{2028}");
    }

    #[test]
    fn t128_libraries_are_heard_only_where_they_warn() {
        let logger = Logger { journal: None, level: LevelFilter::Trace };
        let enabled = |target, level| logger.enabled(&Metadata::builder().target(target).level(level).build());
        assert!(enabled("hyper::proto", Level::Warn));
        assert!(!enabled("ldap3::conn", Level::Error));
        assert!(enabled("rekeyd::flow", Level::Trace));
        assert!(!enabled("hyper::proto", Level::Info));
    }
}
