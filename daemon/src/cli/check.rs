//! `rekeyctl check`: every fault of the configuration and of the files that it names at once, then everything else that
//! it names is tried, and each thing is said in words with what to do about it. Nothing is changed, and no daemon need run.

use std::path::Path;
use std::process::ExitCode;

use rekeyd_core::settings::Fault;
use rekeyd_core::text::escaped;
use serde_json::json;

use super::print::{Screen, Tone};
use super::probe;
use crate::config::{self, Config};
use crate::directory::probe::Cause;
use crate::directory::{Grade, Probe};

/// Checks a configuration; `offline` reads its text alone. Ends with 78 where there are faults, with 1 where something that it names does not work.
pub(super) async fn run(file: &Path, offline: bool, screen: &Screen) -> ExitCode {
    let (config, faults) =
        if offline { (None, Config::load(file).err().unwrap_or_default()) } else { Config::examine(file) };
    let probes = match &config {
        Some(config) => probe::all(config).await,
        None => Vec::new(),
    };
    screen.print(&if screen.json() {
        as_json(file, &faults, &probes)
    } else {
        as_text(screen, file, &faults, &probes)
    });
    if !faults.is_empty() {
        ExitCode::from(78)
    } else if probes.iter().any(|probe| probe.grade == Grade::Broken) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn as_json(file: &Path, faults: &[Fault], probes: &[Probe]) -> String {
    let faults: Vec<_> = faults
        .iter()
        .map(|fault| json!({"line": fault.line, "key": fault.key, "what": fault.what, "remedy": fault.remedy}))
        .collect();
    let probes: Vec<_> = probes
        .iter()
        .map(|probe| {
            json!({
                "what": probe.what,
                "server": probe.server,
                "code": probe.cause.map(Cause::code),
                "outcome": probe.outcome,
                "grade": probe.grade.word(),
                "remedy": probe.remedy,
                "command": probe.command,
            })
        })
        .collect();
    super::print::escape_json(
        &json!({"file": file.display().to_string(), "faults": faults, "probes": probes}).to_string(),
    ) + "\n"
}

fn as_text(screen: &Screen, file: &Path, faults: &[Fault], probes: &[Probe]) -> String {
    let shown = escaped(&file.display().to_string());
    let mut text = if faults.is_empty() {
        format!("{shown} {}\n", screen.paint(Tone::Good, "has no faults"))
    } else {
        let count = format!("has {}", config::count(faults.len()));
        format!("{shown} {}\n\n", screen.paint(Tone::Bad, &count))
    };
    // A file that can't be read has no lines.
    let place = |fault: &Fault| if fault.line == 0 { String::new() } else { format!("line {}", fault.line) };
    text.push_str(&entries(
        screen,
        faults.iter().map(|fault| Entry {
            left: [place(fault), fault.key.clone()],
            tone: Tone::Bad,
            what: &fault.what,
            remedy: Some(&fault.remedy),
        }),
    ));
    if !probes.is_empty() {
        text.push('\n');
        text.push_str(&entries(
            screen,
            probes.iter().map(|probe| Entry {
                left: [probe.grade.word().to_owned(), place_of(probe)],
                tone: match probe.grade {
                    Grade::Broken => Tone::Bad,
                    Grade::Fine => Tone::Good,
                    Grade::Note => Tone::Warning,
                },
                what: &probe.outcome,
                remedy: probe.remedy.as_deref(),
            }),
        ));
    }
    text
}

fn place_of(probe: &Probe) -> String {
    probe.server.as_ref().map_or_else(|| probe.what.clone(), |server| format!("{server}: {}", probe.what))
}

pub(super) struct Entry<'a> {
    pub(super) left: [String; 2],
    pub(super) tone: Tone,
    pub(super) what: &'a str,
    pub(super) remedy: Option<&'a str>,
}

/// Two narrow columns, then what is so, and below it what to do; long sentences are broken where a terminal ends.
pub(super) fn entries<'a>(screen: &Screen, entries: impl Iterator<Item = Entry<'a>>) -> String {
    let entries: Vec<_> = entries.collect();
    let widest = |at: usize| {
        entries.iter().filter_map(|entry| entry.left.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (first, second) = (widest(0), widest(1));
    let margin = 2 + first + 2 + second + 2;
    let mut text = String::new();
    for entry in &entries {
        let [place, key] = &entry.left;
        let begin = format!(
            "  {}  {:second$}  ",
            screen.paint(entry.tone, &format!("{:first$}", escaped(place))),
            escaped(key)
        );
        text.push_str(&begin);
        text.push_str(&screen.indented(margin, entry.what, None));
        if let Some(remedy) = entry.remedy.filter(|remedy| !remedy.is_empty()) {
            text.push_str(&" ".repeat(margin));
            text.push_str(&screen.indented(margin, remedy, Some(Tone::Quiet)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::print::tests::plain;
    use super::*;

    fn fault(line: usize, key: &str, what: &str, remedy: &str) -> Fault {
        Fault { line, key: key.into(), what: what.into(), remedy: remedy.into() }
    }

    #[test]
    fn all_faults_are_aligned_with_line_and_remedy() {
        let faults = [
            fault(3, "http.listen", "it is no address", "Write ADDRESS:PORT."),
            fault(12, "admin.sokket", "no such key", "Did you mean \"socket\"?"),
            fault(0, "key_file", "it can't be read", "Make one."),
        ];
        let expected = "\
/etc/rekeyd.toml has 3 faults

  line 3   http.listen   it is no address
                         Write ADDRESS:PORT.
  line 12  admin.sokket  no such key
                         Did you mean \"socket\"?
           key_file      it can't be read
                         Make one.
";
        assert_eq!(as_text(&plain(), Path::new("/etc/rekeyd.toml"), &faults, &[]), expected);
    }

    #[test]
    fn probes_are_told_in_words_and_t126_harmless() {
        let probes = [
            Probe::fine("store", "opens"),
            Probe::found(Cause::Unclear, Grade::Broken, "directory", "says \u{1b}[2J").mended_by("Mend it."),
        ];
        let expected = "\
/x has no faults

  fine    store      opens
  broken  directory  says \\u{1b}[2J
                     Mend it.
";
        assert_eq!(as_text(&plain(), Path::new("/x"), &[], &probes), expected);
        let json = as_json(Path::new("/x"), &[], &probes);
        assert!(json.contains("\"grade\":\"broken\"") && !json.contains('\u{1b}'), "{json}");
    }
}
