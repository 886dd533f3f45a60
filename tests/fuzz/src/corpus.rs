//! The kept inputs of a target: one a line, each byte that is no plain letter escaped as in a Rust byte string.
//!
//! One file a target instead of a folder of thousands: a change of the corpus can be read, and seeds are written by hand.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where the kept inputs of a target lie.
pub fn file(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{target}.txt"))
}

/// Reads a corpus. Lines that begin with `#` are remarks.
///
/// # Errors
/// A file that can't be read, or a line with an escape that does not exist.
pub fn read(file: &Path) -> io::Result<Vec<Vec<u8>>> {
    let text = fs::read_to_string(file)?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            unescaped(line).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{}: what is {line:?}?", file.display()))
            })
        })
        .collect()
}

/// Writes a corpus, sorted, each input once.
///
/// # Errors
/// A file that can't be written.
pub fn write(file: &Path, mut inputs: Vec<Vec<u8>>) -> io::Result<()> {
    inputs.sort();
    inputs.dedup();
    let lines = inputs.iter().map(|input| {
        let line = input.escape_ascii().to_string();
        // A remark begins with a number sign, and an input may do so, too.
        line.strip_prefix('#').map_or(format!("{line}\n"), |rest| format!("\\x23{rest}\n"))
    });
    fs::write(file, lines.collect::<String>())
}

/// The bytes of an escaped line: `\n`, `\r`, `\t`, `\\`, `\'`, `\"` and `\xNN`.
fn unescaped(line: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            quoted @ (b'\\' | b'\'' | b'"') => quoted,
            b'x' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            _ => return None,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let every: Vec<u8> = (0..=255).collect();
        assert_eq!(unescaped(&every.escape_ascii().to_string()), Some(every));
        for odd in ["\\", "\\x", "\\x1", "\\xg0", "\\q"] {
            assert_eq!(unescaped(odd), None, "{odd}");
        }
    }
}
