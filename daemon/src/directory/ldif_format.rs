//! LDIF content records (RFC 2849), read and written.
//!
//! Change records and values by URL are refused in words: a directory in a file is a list of entries and nothing else.

use std::fmt;

use data_encoding::BASE64;
use rekeyd_core::domain::EntryName;
use rekeyd_core::flavour::entry::Entry;

/// The widest line that is written.
const WIDTH: usize = 76;

/// An entry with the comments that stand before it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Comment lines, each with its `#`.
    pub comments: Vec<String>,
    /// The entry.
    pub entry: Entry,
}

/// Why a text is no LDIF.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadLdif {
    /// Line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for BadLdif {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// Reads all records.
///
/// # Errors
/// [`BadLdif`] for the first line that can't be read.
pub fn parse(text: &str) -> Result<Vec<Record>, BadLdif> {
    let mut records = Vec::new();
    let mut comments = Vec::new();
    let mut open: Option<Entry> = None;
    let mut seen_entry = false;
    for (line, text) in unfolded(text)? {
        let bad = |what: &str| BadLdif { line, what: what.to_owned() };
        if text.is_empty() {
            if let Some(entry) = open.take() {
                records.push(Record { comments: std::mem::take(&mut comments), entry });
            }
            continue;
        }
        if text.starts_with('#') {
            comments.push(text);
            continue;
        }
        let (name, value) = attribute(&text).map_err(bad)?;
        match (&mut open, name.to_ascii_lowercase().as_str()) {
            (None, "version") if !seen_entry => {
                if value != b"1" {
                    return Err(bad("only version 1 is known"));
                }
            }
            (None, "dn") => {
                let dn = String::from_utf8(value).map_err(|_| bad("the name is not UTF-8"))?;
                open = Some(Entry::new(EntryName(dn)));
                seen_entry = true;
            }
            (None, _) => return Err(bad("a record begins with dn:")),
            (Some(_), "dn") => return Err(bad("a second dn: in one record; an empty line is missing")),
            (Some(_), "changetype" | "control") => return Err(bad("changes are not taken, only entries")),
            (Some(entry), _) => entry.add(name, value),
        }
    }
    if let Some(entry) = open {
        records.push(Record { comments, entry });
    }
    Ok(records)
}

/// Joins folded lines; each with the number of its first.
fn unfolded(text: &str) -> Result<Vec<(usize, String)>, BadLdif> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (number, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        match line.strip_prefix(' ') {
            None => lines.push((number + 1, line.to_owned())),
            Some(more) => match lines.last_mut() {
                Some((_, last)) if !last.is_empty() => last.push_str(more),
                _ => return Err(BadLdif { line: number + 1, what: "it continues nothing".into() }),
            },
        }
    }
    Ok(lines)
}

/// One line: the attribute and its value.
fn attribute(line: &str) -> Result<(&str, Vec<u8>), &'static str> {
    let (name, rest) = line.split_once(':').ok_or("a colon is missing")?;
    let fine = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b';' | b'.'));
    if !fine {
        return Err("no attribute is named before the colon");
    }
    if let Some(encoded) = rest.strip_prefix(':') {
        let value = BASE64.decode(encoded.trim().as_bytes()).map_err(|_| "its value is not base64")?;
        return Ok((name, value));
    }
    if rest.starts_with('<') {
        return Err("values by URL are not taken");
    }
    Ok((name, rest.trim_start_matches(' ').as_bytes().to_vec()))
}

/// Writes all records, in order.
pub fn write(records: &[Record]) -> String {
    let mut out = String::from("version: 1\n");
    for record in records {
        out.push('\n');
        for comment in &record.comments {
            out.push_str(comment);
            out.push('\n');
        }
        line(&mut out, "dn", record.entry.name().0.as_bytes());
        for attribute in record.entry.attributes() {
            for value in &attribute.values {
                line(&mut out, &attribute.name, value);
            }
        }
    }
    out
}

fn line(out: &mut String, name: &str, value: &[u8]) {
    let plain = std::str::from_utf8(value).ok().filter(|text| {
        !text.starts_with([' ', ':', '<'])
            && !text.ends_with(' ')
            && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
    });
    let whole = match plain {
        Some("") => format!("{name}:"),
        Some(text) => format!("{name}: {text}"),
        None => format!("{name}:: {}", BASE64.encode(value)),
    };
    // All ASCII, so that any place is a place to fold.
    let mut rest = whole.as_str();
    let mut width = WIDTH;
    while let Some((head, tail)) = rest.split_at_checked(width).filter(|(_, tail)| !tail.is_empty()) {
        out.push_str(head);
        out.push_str("\n ");
        rest = tail;
        width = WIDTH - 1;
    }
    out.push_str(rest);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn records_are_read() {
        let text = "# head\nversion: 1\r\n\n# about ada\ndn: uid=ada,\n dc=x\nuid: ada\ncn:: QWRhIMO8\ndescription:   two\n  words \nempty:\n\n\ndn:: dWlkPWI=\nuid: b";
        let records = parse(text).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].comments, ["# head", "# about ada"]);
        assert_eq!(records[0].entry.name().0, "uid=ada,dc=x");
        assert_eq!(records[0].entry.text("cn"), Ok(Some("Ada ü")));
        assert_eq!(records[0].entry.text("description"), Ok(Some("two words ")));
        assert_eq!(records[0].entry.text("empty"), Ok(Some("")));
        assert_eq!(records[1].entry.name().0, "uid=b");
        let again = parse(&write(&records)).unwrap();
        assert_eq!(write(&again), write(&records));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line() {
        for (text, line) in [
            ("uid: a", 1),
            ("dn: a=b\nnonsense", 2),
            ("dn: a=b\n\n uid: a", 3),
            ("dn: a=b\ncn:: ***", 2),
            ("dn: a=b\ncn:< file:///etc/passwd", 2),
            ("dn: a=b\nchangetype: delete", 2),
            ("dn: a=b\ndn: c=d", 2),
            ("version: 2\n", 1),
            ("dn: a=b\n: x", 2),
            ("dn:: /w==", 1),
        ] {
            assert_eq!(parse(text).map(|_| ()).map_err(|bad| bad.line), Err(line), "{text}");
        }
    }

    #[test]
    fn every_value_survives() {
        let mut entry = Entry::new(EntryName("cn=ü,dc=x".into()));
        let long = vec![b'x'; 500];
        for value in
            [b"".as_slice(), b" x", b"x ", b": x", b"<x", b"a\nb", b"\0", &[0xff, 0xfe], &long, "é".as_bytes(), b"#x"]
        {
            entry.add("description", value);
        }
        let text = write(&[Record { comments: vec![], entry: entry.clone() }]);
        assert!(text.lines().all(|line| line.len() <= WIDTH));
        let read = parse(&text).unwrap();
        assert_eq!(read[0].entry.values("description"), entry.values("description"));
        assert_eq!(read[0].entry.name(), entry.name());
    }
}
