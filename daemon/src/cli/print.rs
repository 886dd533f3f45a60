//! How things look on the terminal: foreign text made harmless, tables, moments in local time, colour where it is
//! wanted.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use jiff::tz::TimeZone;
use rekeyd_core::text::{escaped, is_harmful};

use super::call::Body;
use crate::admin::protocol::{Moment, Problem};

/// Where things are shown.
pub(super) struct Screen {
    json: bool,
    /// The width to keep to; output that no terminal shows is not broken into lines.
    width: Option<u16>,
    colour: bool,
    zone: TimeZone,
}

/// What a word means for the reader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tone {
    Bad,
    Good,
    Quiet,
    Warning,
}

impl Screen {
    pub(super) fn new(json: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let width = terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| width.0);
        Self {
            json,
            width: width.filter(|_| terminal),
            colour: wants_colour(&std::io::stdout()),
            zone: TimeZone::system(),
        }
    }

    /// Whether machines read this.
    pub(super) fn json(&self) -> bool {
        self.json
    }

    /// Shows an answer: as it came where machines read it, else as `text` says it.
    pub(super) fn show(&self, answer: &Body, text: impl FnOnce() -> String) {
        if self.json {
            self.print(&format!("{}\n", escape_json(&String::from_utf8_lossy(&answer.0))));
        } else {
            self.print(&text());
        }
    }

    /// Prints data.
    #[expect(clippy::unused_self, reason = "whoever prints has a screen")]
    pub(super) fn print(&self, text: &str) {
        // A reader that has gone away wants no more.
        drop(std::io::stdout().lock().write_all(text.as_bytes()));
    }

    /// Prints a line of JSON as it came.
    pub(super) fn print_line(&self, line: &[u8]) {
        self.print(&format!("{}\n", escape_json(&String::from_utf8_lossy(line))));
    }

    /// Says how far something is, now and then, where somebody sees it.
    pub(super) fn progress(&self, done: u64) {
        if done.is_multiple_of(500) && std::io::stderr().is_terminal() {
            self.say(&format!("\r{done} accounts"));
        }
    }

    /// Says what was tried last, where somebody sees it.
    pub(super) fn tried(&self, count: u64, what: &str) {
        if std::io::stderr().is_terminal() {
            self.say(&format!("\r\u{1b}[K{count}: {}", escaped(what)));
        }
    }

    /// Makes room after what was said on the way.
    pub(super) fn end_of_progress(&self) {
        if std::io::stderr().is_terminal() {
            self.say("\r\u{1b}[K");
        }
    }

    /// Says something beside the data.
    #[expect(clippy::unused_self, reason = "whoever says something has a screen")]
    pub(super) fn say(&self, text: &str) {
        drop(std::io::stderr().lock().write_all(text.as_bytes()));
    }

    /// Says what is wrong.
    pub(super) fn complain(&self, why: &str) {
        self.say(&format!("rekeyctl: {why}\n"));
    }

    /// Says what the daemon says is wrong.
    pub(super) fn complain_of(&self, problem: &Problem) {
        if self.json
            && let Ok(text) = serde_json::to_string(problem)
        {
            self.say(&format!("{}\n", escape_json(&text)));
            return;
        }
        self.complain(&format!("{}: {}", problem.title, escaped(&problem.detail)));
        for violation in &problem.violations {
            self.say(&format!("  {}\n", escaped(&violation.words)));
        }
        if let Some(remedy) = &problem.remedy {
            self.say(&format!("  {}\n", escaped(remedy)));
        }
    }

    /// A moment as people here read it.
    pub(super) fn moment(&self, moment: Moment) -> String {
        match jiff::Timestamp::from_millisecond(moment.0.millis()) {
            Ok(at) => at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
            Err(_) => "at no time".into(),
        }
    }

    /// Colours a text, where colours are shown.
    pub(super) fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Bad => "31",
            Tone::Good => "32",
            Tone::Quiet => "2",
            Tone::Warning => "33",
        };
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A sentence whose further lines begin at a margin, where a terminal's width makes further lines.
    pub(super) fn indented(&self, margin: usize, text: &str, tone: Option<Tone>) -> String {
        let text = escaped(text);
        let room = self.width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(margin).max(30));
        let lines = wrapped(&text, room)
            .into_iter()
            .map(|line| tone.map_or_else(|| line.clone(), |tone| self.paint(tone, &line)));
        lines.collect::<Vec<_>>().join(&format!("\n{}", " ".repeat(margin))) + "\n"
    }

    /// Aligned columns without lines around them. Cells are made harmless here.
    pub(super) fn table(&self, head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if !head.is_empty() {
            table.set_header(head.iter().map(|title| title.to_uppercase()));
        }
        for row in rows {
            table.add_row(row.iter().map(|cell| escaped(cell)));
        }
        match self.width {
            Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        let last = table.column_count().saturating_sub(1);
        for (place, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if place == last { 0 } else { 2 }));
        }
        table.trim_fmt() + "\n"
    }
}

/// Whether colours are shown there: on a terminal, unless `NO_COLOR` says otherwise (set, and not empty).
pub(crate) fn wants_colour(stream: &impl IsTerminal) -> bool {
    #[expect(clippy::disallowed_methods, reason = "NO_COLOR is how people tell every program at once")]
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !plain
}

/// Breaks a text into lines of at most so many characters, at blanks.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let length = word.chars().count();
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + length <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Makes foreign text harmless inside JSON, where harmful characters can stand in strings alone.
pub(super) fn escape_json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            shown.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Percent-encodes a value for a query.
pub(super) fn query(text: &str) -> String {
    let encoded = |byte: u8| {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(encoded).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use rekeyd_core::domain::Timestamp;

    use super::*;

    /// A screen without a terminal, in UTC.
    pub(in crate::cli) fn plain() -> Screen {
        Screen { json: false, width: None, colour: false, zone: TimeZone::UTC }
    }

    #[test]
    fn t126_nothing_foreign_reaches_the_terminal_as_it_is() {
        for (text, shown) in [
            ("Ada", "Ada"),
            ("Zoë 漢字 🐒", "Zoë 漢字 🐒"),
            ("\u{1b}]0;owned\u{7}", "\\u{1b}]0;owned\\u{7}"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{1b}]8;;http://evil\u{1b}\\", "\\u{1b}]8;;http://evil\\u{1b}\\"),
            ("ada\u{202e}nimda", "ada\\u{202e}nimda"),
            ("a\r\nb\tc", "a\\u{d}\\u{a}b\\u{9}c"),
            ("a\u{200b}b\u{2066}", "a\\u{200b}b\\u{2066}"),
        ] {
            assert_eq!(escaped(text), shown);
        }
        let table = plain().table(&["name"], [vec!["\u{1b}[31mred".to_owned()]]);
        assert!(!table.contains('\u{1b}'), "{table:?}");
    }

    #[test]
    fn t126_json_stays_json_when_it_is_made_harmless() {
        let text = serde_json::to_string(&["\u{9b}\u{202e}\u{e0041}ö"]).unwrap_or_default();
        let shown = escape_json(&text);
        assert_eq!(shown, "[\"\\u009b\\u202e\\udb40\\udc41ö\"]");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).ok(), serde_json::from_str(&text).ok());
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_end_blanks() {
        let rows = [["a", "long enough"], ["a longer one", "b"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            plain().table(&["one", "two"], rows),
            "ONE           TWO\na             long enough\na longer one  b\n"
        );
    }

    #[test]
    fn a_narrow_terminal_wraps_cells() {
        let narrow = Screen { width: Some(24), ..plain() };
        let table = narrow.table(&["one", "two"], [vec!["word".to_owned(), "many words in one cell here".to_owned()]]);
        assert!(table.lines().count() > 2 && table.lines().all(|line| line.chars().count() <= 24), "{table}");
    }

    #[test]
    fn sentences_keep_to_their_column() {
        let narrow = Screen { width: Some(40), ..plain() };
        let text = narrow.indented(8, "a sentence that is longer than the thirty-two characters here", None);
        assert_eq!(text, "a sentence that is longer than\n        the thirty-two characters here\n");
        assert_eq!(plain().indented(8, "as long as it is", None), "as long as it is\n");
    }

    #[test]
    fn moments_are_readable_and_queries_are_encoded() {
        assert_eq!(plain().moment(Moment(Timestamp::from_millis(1_700_000_000_123))), "2023-11-14 22:13:20 UTC");
        assert_eq!(plain().moment(Moment(Timestamp::from_millis(i64::MAX))), "at no time");
        assert_eq!(query("ada lovelace&ö"), "ada%20lovelace%26%C3%B6");
    }
}
