//! Reads configuration text: every fault is collected with its line and its remedy, none hides another.
//!
//! A part asks a [`Section`] for the keys it knows. What is missing, mistyped or out of range becomes a [`Fault`] and
//! the default takes its place, so that reading goes on; [`Section::finish`] then reports the keys nobody asked for.
//! Values never appear in a fault, since somebody will type a password into the file one day.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong in a configuration.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Fault {
    /// Line in the file, counted from 1.
    pub line: usize,
    /// The key with its section, such as `http.listen`.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}. {}", self.line, self.key, self.what, self.remedy)
    }
}

/// A configuration file, read.
pub struct Document<'t> {
    text: &'t str,
    table: Spanned<DeTable<'t>>,
    faults: RefCell<Vec<Fault>>,
}

impl<'t> Document<'t> {
    /// Reads TOML; each syntax error becomes a fault and the rest is read all the same.
    pub fn parse(text: &'t str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let faults = errors
            .iter()
            .map(|error| Fault {
                line: line_of(text, error.span().map_or(0, |span| span.start)),
                key: "(syntax)".into(),
                what: error.message().lines().next().unwrap_or("not TOML").to_owned(),
                remedy: "Mend the line; the format is TOML 1.0.".into(),
            })
            .collect();
        Self { text, table, faults: RefCell::new(faults) }
    }

    /// The top of the file, with the keys that stand before the first section.
    pub fn root(&self) -> Section<'_> {
        Section {
            document: self,
            path: String::new(),
            line: 1,
            table: Some(self.table.get_ref()),
            asked: RefCell::new(Vec::new()),
        }
    }

    /// All faults so far, in the order of their lines.
    pub fn into_faults(self) -> Vec<Fault> {
        let mut faults = self.faults.into_inner();
        faults.sort();
        faults.dedup();
        faults
    }
}

/// One table of the file. A section that is absent reads as if it were empty.
pub struct Section<'d> {
    document: &'d Document<'d>,
    path: String,
    line: usize,
    table: Option<&'d DeTable<'d>>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'d> Section<'d> {
    /// Whether the file has this section at all.
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// The line where this section begins.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Whether a key is written in the file.
    pub fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// The line of one of this section's keys, or the section's where the key is missing: for faults that show only
    /// when the file that a key names is opened.
    pub fn line_of(&self, key: &str) -> usize {
        self.table
            .and_then(|table| table.get_key_value(key))
            .map_or(self.line, |(name, _)| line_of(self.document.text, name.span().start))
    }

    /// Reports a fault of one of this section's keys, at the key's line, or at the section's where the key is missing.
    pub fn fault(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.fault_at(self.line_of(key), key, what, remedy);
    }

    /// The same section, for faults that show once it was read. What is asked of it is not asked of the first.
    #[must_use]
    pub fn again(&self) -> Section<'d> {
        self.child_named(self.path.clone(), self.line, self.table)
    }

    fn fault_at(&self, line: usize, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let key = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        self.document.faults.borrow_mut().push(Fault { line, key, what: what.into(), remedy: remedy.into() });
    }

    fn value(&self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.asked.borrow_mut().push(key);
        self.table.and_then(|table| table.get(key))
    }

    fn mistyped(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let line = line_of(self.document.text, value.span().start);
        let what = format!("its type is {}, {wanted} was expected", value.get_ref().type_str());
        self.fault_at(line, key, what, format!("Write {wanted}."));
    }

    /// A text, if the key is written.
    pub fn text(&self, key: &'static str) -> Option<String> {
        let value = self.value(key)?;
        if let Some(text) = value.get_ref().as_str() {
            return Some(text.to_owned());
        }
        self.mistyped(key, value, "a text in quotes");
        None
    }

    /// A text that must be there; `remedy` says what to write.
    pub fn required(&self, key: &'static str, remedy: &str) -> Option<String> {
        self.parsed_required(
            key,
            remedy,
            |text| if text.is_empty() { Err("it is empty".into()) } else { Ok(text.to_owned()) },
        )
    }

    /// A text turned into a value; `parse` says in words what is wrong with it.
    pub fn parsed<T>(&self, key: &'static str, remedy: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(key)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(what) => {
                self.fault(key, what, remedy);
                None
            }
        }
    }

    /// As [`Section::parsed`], and a fault where the key is missing.
    pub fn parsed_required<T>(
        &self,
        key: &'static str,
        remedy: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.fault(key, "it is missing", remedy);
            return None;
        }
        self.parsed(key, remedy, parse)
    }

    /// One of a closed set of words.
    pub fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)], default: T) -> T {
        let words = choices.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        self.parsed(key, &format!("Write one of {words}."), |text| {
            choices
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, value)| *value)
                .ok_or_else(|| "it is none of the words known here".into())
        })
        .unwrap_or(default)
    }

    /// A whole number in a range.
    pub fn number(&self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(value) = self.value(key) else { return default };
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok());
        match number {
            Some(number) if range.contains(&number) => number,
            Some(_) => {
                self.fault(key, "it is out of range", format!("Write {wanted}."));
                default
            }
            None => {
                self.mistyped(key, value, &wanted);
                default
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.value(key) else { return default };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.mistyped(key, value, "true or false");
            default
        })
    }

    /// A length of time such as `"30s"`, `"15m"`, `"24h"` or `"7d"`, within bounds.
    pub fn duration(&self, key: &'static str, bounds: RangeInclusive<Duration>, default: Duration) -> Duration {
        let remedy = format!(
            "Write a time between {} and {}, such as \"30s\", \"15m\", \"24h\" or \"7d\".",
            in_words(*bounds.start()),
            in_words(*bounds.end())
        );
        self.parsed(key, &remedy, |text| {
            let duration = parse_duration(text).ok_or("it is not a length of time")?;
            if bounds.contains(&duration) { Ok(duration) } else { Err("it is out of range".into()) }
        })
        .unwrap_or(default)
    }

    /// A list of texts, each turned into a value; an entry that can't be is a fault of its own line.
    /// `None` where the key is not written, so that an empty list can be told from no list.
    pub fn list<T>(
        &self,
        key: &'static str,
        remedy: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.value(key)?;
        let Some(array) = value.get_ref().as_array() else {
            self.mistyped(key, value, "a list of texts, such as [\"a\", \"b\"]");
            return None;
        };
        let mut items = Vec::new();
        for item in array {
            let line = line_of(self.document.text, item.span().start);
            match item.get_ref().as_str().map(&parse) {
                Some(Ok(parsed)) => items.push(parsed),
                Some(Err(what)) => self.fault_at(line, key, what, remedy),
                None => self.mistyped(key, item, "a text in quotes"),
            }
        }
        Some(items)
    }

    /// A list of texts as they stand.
    pub fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        self.list(key, "", |text| Ok(text.to_owned()))
    }

    /// A sub-section, such as `[http.limits]` of `[http]`.
    #[must_use]
    pub fn section(&self, key: &'static str) -> Section<'d> {
        let value = self.value(key);
        let table = value.and_then(|value| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                self.mistyped(key, value, "a section");
            }
            table
        });
        let line = value.map_or(self.line, |value| line_of(self.document.text, value.span().start));
        self.child(key.to_owned(), line, table)
    }

    /// The tables of a list of sections, such as each `[[channel]]`.
    pub fn sections(&self, key: &'static str) -> Vec<Section<'d>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.mistyped(key, value, &format!("a list of sections, each headed [[{key}]]"));
            return Vec::new();
        };
        array
            .iter()
            .filter_map(|item| {
                let line = line_of(self.document.text, item.span().start);
                let table = item.get_ref().as_table();
                if table.is_none() {
                    self.mistyped(key, item, "a section");
                }
                table.map(|table| self.child(key.to_owned(), line, Some(table)))
            })
            .collect()
    }

    fn child(&self, key: String, line: usize, table: Option<&'d DeTable<'d>>) -> Section<'d> {
        let path = if self.path.is_empty() { key } else { format!("{}.{key}", self.path) };
        self.child_named(path, line, table)
    }

    fn child_named(&self, path: String, line: usize, table: Option<&'d DeTable<'d>>) -> Section<'d> {
        Section { document: self.document, path, line, table, asked: RefCell::new(Vec::new()) }
    }

    /// Ends the reading of this section: each key that was never asked for is a fault that names the nearest known key.
    pub fn finish(self) {
        let Some(table) = self.table else { return };
        let asked = self.asked.take();
        for (name, _) in table {
            let name = name.get_ref();
            if asked.contains(&name.as_ref()) {
                continue;
            }
            let nearest = asked.iter().min_by_key(|known| distance(known, name));
            let remedy = match nearest {
                Some(known) if distance(known, name) <= 3 => format!("Did you mean {known:?}?"),
                _ => {
                    let mut known = asked.clone();
                    known.sort_unstable();
                    known.dedup();
                    format!("Remove it; known here are {}.", known.join(", "))
                }
            };
            self.fault(name, "no such key", remedy);
        }
    }
}

/// Reads `30s`, `15m`, `24h`, `7d` or `500ms`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        "d" => number.checked_mul(86400).map(Duration::from_secs),
        _ => None,
    }
}

/// Writes a length of time as [`parse_duration`] reads it, in the largest unit that fits.
pub fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        return format!("{}ms", duration.as_millis());
    }
    for (unit, length) in [("d", 86400), ("h", 3600), ("m", 60)] {
        if seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Levenshtein distance, for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, left) in a.chars().enumerate() {
        let diagonal = Cell::new(i);
        let mut previous = i + 1;
        if let Some(first) = row.first_mut() {
            *first = previous;
        }
        for (cell, right) in row.iter_mut().skip(1).zip(b.chars()) {
            let cost = diagonal.get() + usize::from(left != right);
            diagonal.set(*cell);
            previous = cost.min(previous + 1).min(*cell + 1);
            *cell = previous;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named_with_its_line_and_remedy() {
        let text = "name = 3\nlimit = 900\n\n[http]\nlisten = \"here\"\ntimout = \"5s\"\n";
        let document = Document::parse(text);
        let root = document.root();
        assert_eq!(root.text("name"), None);
        assert_eq!(root.number("limit", 1..=100, 7), 7);
        let http = root.section("http");
        assert_eq!(http.parsed::<u16>("listen", "Write ADDRESS:PORT.", |_| Err("it is no address".into())), None);
        assert_eq!(
            http.duration("timeout", Duration::ZERO..=Duration::from_secs(9), Duration::from_secs(3)).as_secs(),
            3
        );
        http.finish();
        root.finish();
        let faults: Vec<_> = document.into_faults().iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "line 1: name: its type is integer, a text in quotes was expected. Write a text in quotes.",
                "line 2: limit: it is out of range. Write a whole number from 1 to 100.",
                "line 5: http.listen: it is no address. Write ADDRESS:PORT.",
                "line 6: http.timout: no such key. Did you mean \"timeout\"?",
            ]
        );
    }

    #[test]
    fn syntax_errors_do_not_hide_each_other() {
        let document = Document::parse("a = \nb = 'x\nc = 1\n");
        assert!(document.into_faults().len() >= 2);
    }

    #[test]
    fn durations_read_as_they_are_written() {
        for text in ["30s", "15m", "24h", "7d", "500ms"] {
            assert_eq!(parse_duration(text).map(in_words).as_deref(), Some(if text == "24h" { "1d" } else { text }));
        }
        for text in ["", "s", "5", "5 m", "-5s", "5x", "99999999999999999999d"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
