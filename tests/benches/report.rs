//! What a measurement gives: tables for people, figures for comparing, faults that fail the run.

use std::time::Duration;

use serde_json::{Value, json};

/// Which way a figure gets better.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// One measured number that can be compared with that of another build.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
}

/// Rows under a heading; the first column names what a row is about.
pub(crate) struct Table {
    title: String,
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// All that one measurement gives.
#[derive(Default)]
pub(crate) struct Report {
    /// Nothing is printed but faults.
    quiet: bool,
    tables: Vec<Table>,
    pub(crate) figures: Vec<Figure>,
    pub(crate) notes: Vec<String>,
    pub(crate) faults: Vec<String>,
}

impl Table {
    pub(crate) fn new(title: &str, head: &[&'static str]) -> Self {
        Self { title: title.to_owned(), head: head.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn text(&self) -> String {
        let lines: Vec<Vec<&str>> = std::iter::once(self.head.clone())
            .chain(self.rows.iter().map(|row| row.iter().map(String::as_str).collect()))
            .collect();
        let width = |column: usize| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut text = format!("\n{}\n", self.title);
        for line in lines {
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                // Names stand left, numbers right.
                text += &if column == 0 { format!("  {cell:<width$}") } else { format!("  {cell:>width$}") };
            }
            text += "\n";
        }
        text
    }

    fn json(&self) -> Value {
        json!({"title": self.title, "head": self.head, "rows": self.rows})
    }
}

impl Report {
    pub(crate) fn quiet() -> Self {
        Self { quiet: true, ..Self::default() }
    }

    pub(crate) fn table(&mut self, table: Table) {
        if !self.quiet {
            print!("{}", table.text());
        }
        self.tables.push(table);
    }

    pub(crate) fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str, better: Better) {
        self.figures.push(Figure { name: name.into(), value, unit, better });
    }

    /// A rate, more of which is better.
    pub(crate) fn rate(&mut self, name: impl Into<String>, value: f64) {
        self.figure(name, value, "/s", Better::Higher);
    }

    /// A time, less of which is better.
    pub(crate) fn time(&mut self, name: impl Into<String>, value: Duration) {
        self.figure(name, value.as_secs_f64() * 1000.0, "ms", Better::Lower);
    }

    /// Something to know when the tables are read.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.quiet {
            println!("  {note}");
        }
        self.notes.push(note);
    }

    /// Something is wrong, and fails the run.
    pub(crate) fn fault(&mut self, fault: Option<String>) {
        if let Some(fault) = fault {
            println!("  FAULT: {fault}");
            self.faults.push(fault);
        }
    }

    pub(crate) fn json(&self) -> Value {
        let figure = |figure: &Figure| {
            let better = if figure.better == Better::Higher { "higher" } else { "lower" };
            json!({"name": figure.name, "value": figure.value, "unit": figure.unit, "better": better})
        };
        json!({
            "tables": self.tables.iter().map(Table::json).collect::<Vec<_>>(),
            "figures": self.figures.iter().map(figure).collect::<Vec<_>>(),
            "notes": self.notes,
            "faults": self.faults,
        })
    }
}

/// A rate as people read it.
pub(crate) fn per_second(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}/s") } else { format!("{}/s", grouped(rate.round() as u64)) }
}

/// A number with commas.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}

/// A time in milliseconds.
pub(crate) fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    if millis < 10.0 { format!("{millis:.2} ms") } else { format!("{millis:.0} ms") }
}

/// How much of its baseline something reaches.
pub(crate) fn percent(value: f64, baseline: f64) -> String {
    if baseline > 0.0 { format!("{:.0} %", value / baseline * 100.0) } else { "-".into() }
}

/// How often a baseline goes into something.
pub(crate) fn times(value: f64, baseline: f64) -> String {
    if baseline > 0.0 { format!("{:.2} x", value / baseline) } else { "-".into() }
}
