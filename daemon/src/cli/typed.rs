//! A password from the operator: typed twice without echo, or read from stdin where nobody types. Never from the
//! command line or the environment.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Write};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use rekeyd_core::text::escaped;
use zeroize::Zeroizing;

use super::call::Failure;

/// More than any password that is taken.
const LONGEST: usize = 8192;

/// Asks for a new password.
pub(super) fn password(login: &str) -> Result<Zeroizing<String>, Failure> {
    if !std::io::stdin().is_terminal() {
        let line = line(&mut std::io::stdin().lock(), &mut |_| {})?;
        return line.ok_or_else(|| Failure::Usage("no password came on stdin".into()));
    }
    let mut terminal = Terminal::open()?;
    let first = terminal.ask(&format!("New password of {}: ", escaped(login)))?;
    let second = terminal.ask("The same again: ")?;
    if first != second {
        return Err(Failure::No("the two are not the same; nothing was done".into()));
    }
    Ok(first)
}

/// The controlling terminal without echo; it is as it was when this is dropped.
struct Terminal {
    file: File,
    before: Termios,
}

impl Terminal {
    fn open() -> Result<Self, Failure> {
        let failed = |why: String| Failure::Failed(format!("the terminal can't be used: {why}"));
        let file =
            OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|error| failed(error.to_string()))?;
        let before = tcgetattr(&file).map_err(|error| failed(error.desc().into()))?;
        let mut silent = before.clone();
        // Without signals, too: an interrupt must not leave a terminal behind that shows nothing.
        silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        tcsetattr(&file, SetArg::TCSAFLUSH, &silent).map_err(|error| failed(error.desc().into()))?;
        Ok(Self { file, before })
    }

    fn ask(&mut self, prompt: &str) -> Result<Zeroizing<String>, Failure> {
        let failed = |error: std::io::Error| Failure::Failed(format!("the terminal can't be used: {error}"));
        self.file.write_all(prompt.as_bytes()).map_err(failed)?;
        let typed = line(&mut self.file, &mut edit);
        self.file.write_all(b"\n").map_err(failed)?;
        typed?.ok_or_else(|| Failure::No("nothing was done".into()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if tcsetattr(&self.file, SetArg::TCSAFLUSH, &self.before).is_err() {
            eprintln!("The terminal may show nothing now; `stty sane` mends that.");
        }
    }
}

/// What the keys do that are no characters: rub out one, rub out all. The terminal itself no longer does it.
fn edit(typed: &mut Vec<u8>) {
    match typed.pop() {
        Some(0x08 | 0x7f) => {
            // A character is a first byte and the continuation bytes after it.
            while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
        }
        Some(0x15) => typed.fill(0),
        Some(byte) => typed.push(byte),
        None => {}
    }
    if typed.iter().all(|byte| *byte == 0) {
        typed.clear();
    }
}

/// Reads up to the end of a line. `None` where there is nothing, or somebody took it back (Ctrl-C, Ctrl-D).
fn line(from: &mut impl Read, edit: &mut dyn FnMut(&mut Vec<u8>)) -> Result<Option<Zeroizing<String>>, Failure> {
    let mut typed = Zeroizing::new(Vec::with_capacity(LONGEST));
    let mut byte = Zeroizing::new([0; 1]);
    loop {
        match from.read(byte.as_mut_slice()) {
            Ok(0) if typed.is_empty() => return Ok(None),
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Failed(error.to_string())),
        }
        match *byte {
            [b'\n'] => break,
            [0x03 | 0x04] => return Ok(None),
            [other] => typed.push(other),
        }
        edit(&mut typed);
        if typed.len() >= LONGEST {
            return Err(Failure::Usage("that is too long for a password".into()));
        }
    }
    if typed.last() == Some(&b'\r') {
        typed.pop();
    }
    if typed.is_empty() {
        return Ok(None);
    }
    match str::from_utf8(&typed) {
        Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
        Err(_) => Err(Failure::Usage("the password is not UTF-8".into())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(bytes: &[u8]) -> Option<String> {
        line(&mut &*bytes, &mut |_| {}).unwrap().map(|text| text.to_string())
    }

    fn type_in(bytes: &[u8]) -> Option<String> {
        line(&mut &*bytes, &mut edit).unwrap().map(|text| text.to_string())
    }

    #[test]
    fn t73_stdin_gives_one_line_as_it_is() {
        assert_eq!(read(b"  two words \n").as_deref(), Some("  two words "));
        assert_eq!(read(b"no end").as_deref(), Some("no end"));
        assert_eq!(read(b"one\r\ntwo\n").as_deref(), Some("one"));
        assert_eq!(read("gr\u{fc}n\n".as_bytes()).as_deref(), Some("gr\u{fc}n"));
        assert_eq!(read(b""), None);
        assert_eq!(read(b"\n"), None);
        assert!(line(&mut &b"\xff\xfe\n"[..], &mut |_| {}).is_err());
        assert!(line(&mut vec![b'a'; 9000].as_slice(), &mut |_| {}).is_err());
    }

    #[test]
    fn keys_rub_out_and_take_back() {
        assert_eq!(type_in(b"abd\x7fc\n").as_deref(), Some("abc"));
        assert_eq!(type_in("a\u{fc}\u{7f}b\n".as_bytes()).as_deref(), Some("ab"));
        assert_eq!(type_in(b"\x7f\x7fa\n").as_deref(), Some("a"));
        assert_eq!(type_in(b"wrong\x15right\n").as_deref(), Some("right"));
        assert_eq!(type_in(b"abc\x03"), None);
    }
}
