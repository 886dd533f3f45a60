//! What a daemon did to its files and said to others, read from the trace of its system calls, in order.
//!
//! A change of a file counts from the moment at which the call came back; what was said to somebody counts from the moment
//! at which the call began, since from then on it may have left.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use regex::Regex;

/// The arguments for `strace` that make such a trace. `-D` leaves the daemon the child of whoever started it.
pub const ARGUMENTS: &[&str] = &[
    "-D",
    "-f",
    "-y",
    "-xx",
    "-s",
    "1000000",
    "-e",
    "trace=openat,pwrite64,write,writev,sendto,ftruncate,rename,unlink,fsync,fdatasync",
];

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Deed {
    /// A file was opened.
    Open {
        /// Which.
        path: PathBuf,
        /// Whether it was made where it was not there.
        makes: bool,
        /// Whether it was emptied.
        empties: bool,
    },
    /// A file has another name.
    Rename {
        /// The one before.
        from: PathBuf,
        /// The new one.
        to: PathBuf,
    },
    /// Bytes left by a socket, or into a file that is not watched.
    Said {
        /// How the descriptor is called.
        path: PathBuf,
        /// What was said.
        bytes: Vec<u8>,
    },
    /// What was written to a file or folder before is on the disk.
    Sync {
        /// Which.
        path: PathBuf,
    },
    /// A file has another length.
    Truncate {
        /// Which.
        path: PathBuf,
        /// How long it is now.
        length: usize,
    },
    /// A file has lost its name.
    Unlink {
        /// The name.
        path: PathBuf,
    },
    /// Bytes were written.
    Write {
        /// The file.
        path: PathBuf,
        /// Where in it; at its end where nothing is said.
        place: Option<usize>,
        /// What.
        bytes: Vec<u8>,
    },
}

/// Reads a trace. `is_watched` says of which files the content matters.
pub fn read(trace: &str, is_watched: impl Fn(&Path) -> bool) -> Vec<Deed> {
    let whole = Regex::new(r"^(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(.*)$").expect("a pattern");
    let begun = Regex::new(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$").expect("a pattern");
    let ended = Regex::new(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+|\?)(.*)$").expect("a pattern");
    let mut deeds = Vec::new();
    let mut open: HashMap<String, String> = HashMap::new();
    for line in trace.lines() {
        let (call, arguments, result, is_second_half) = if let Some(found) = begun.captures(line) {
            let (call, arguments) = (found[2].to_owned(), found[3].to_owned());
            // Said already, whatever comes back.
            deeds.extend(said(&call, &arguments, &is_watched));
            open.insert(found[1].to_owned(), arguments);
            continue;
        } else if let Some(found) = ended.captures(line) {
            let Some(first) = open.remove(&found[1]) else { continue };
            (found[2].to_owned(), first + &found[3], found[4].to_owned() + &found[5], true)
        } else if let Some(found) = whole.captures(line) {
            (found[2].to_owned(), found[3].to_owned(), found[4].to_owned() + &found[5], false)
        } else {
            continue;
        };
        if !is_second_half {
            deeds.extend(said(&call, &arguments, &is_watched));
        }
        if !result.starts_with(['-', '?']) {
            deeds.extend(done(&call, &arguments, &result, &is_watched));
        }
    }
    deeds
}

fn said(call: &str, arguments: &str, is_watched: &impl Fn(&Path) -> bool) -> Option<Deed> {
    if !["write", "writev", "sendto"].contains(&call) {
        return None;
    }
    let path = descriptor(arguments)?;
    let bytes: Vec<u8> = strings(arguments).concat();
    (!is_watched(&path)).then_some(Deed::Said { path, bytes })
}

fn done(call: &str, arguments: &str, result: &str, is_watched: &impl Fn(&Path) -> bool) -> Option<Deed> {
    let named =
        || strings(arguments).into_iter().map(|bytes| PathBuf::from(String::from_utf8_lossy(&bytes).into_owned()));
    let deed = match call {
        "openat" => Deed::Open {
            path: named().next()?,
            makes: arguments.contains("O_CREAT"),
            empties: arguments.contains("O_TRUNC"),
        },
        "rename" => Deed::Rename { from: named().next()?, to: named().nth(1)? },
        "unlink" => Deed::Unlink { path: named().next()? },
        "fsync" | "fdatasync" => Deed::Sync { path: descriptor(arguments)? },
        "ftruncate" => Deed::Truncate { path: descriptor(arguments)?, length: number(arguments)? },
        "pwrite64" | "write" => {
            let mut bytes = strings(arguments).concat();
            bytes.truncate(result.split_whitespace().next()?.parse().ok()?);
            let place = if call == "pwrite64" { Some(number(arguments)?) } else { None };
            Deed::Write { path: descriptor(arguments)?, place, bytes }
        }
        _ => return None,
    };
    let path = match &deed {
        Deed::Open { path, .. }
        | Deed::Rename { to: path, .. }
        | Deed::Said { path, .. }
        | Deed::Sync { path }
        | Deed::Truncate { path, .. }
        | Deed::Unlink { path }
        | Deed::Write { path, .. } => path,
    };
    is_watched(path).then_some(deed)
}

/// What the first descriptor is called.
fn descriptor(arguments: &str) -> Option<PathBuf> {
    let (_, rest) = arguments.split_once('<')?;
    let (name, _) = rest.split_once('>')?;
    Some(PathBuf::from(String::from_utf8_lossy(&unescaped(name)).into_owned()))
}

/// The last number of the arguments.
fn number(arguments: &str) -> Option<usize> {
    arguments.rsplit(", ").next()?.trim().parse().ok()
}

fn strings(arguments: &str) -> Vec<Vec<u8>> {
    arguments.split('"').skip(1).step_by(2).map(unescaped).collect()
}

/// Bytes that `-xx` writes as `\x41`; what is not written so stands for itself.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(byte) = rest.strip_prefix("\\x").and_then(|hex| u8::from_str_radix(hex.get(..2)?, 16).ok()) {
            bytes.push(byte);
            rest = &rest[4..];
        } else {
            let letter = rest.chars().next().expect("a letter").len_utf8();
            bytes.extend_from_slice(&rest.as_bytes()[..letter]);
            rest = &rest[letter..];
        }
    }
    bytes
}
