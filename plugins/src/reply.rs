//! One answer of a smart host: how it is read, what it offers, and what of it may be told.

/// The length of the whole answer at the beginning of what a server said, if there is one; for tests and fuzzing.
///
/// # Errors
/// What is wrong with it, in words.
pub fn answer_length(heard: &[u8]) -> Result<Option<usize>, &'static str> {
    Ok(Reply::parse(heard)?.map(|(_, length)| length))
}

/// An answer: a code of three digits and lines of text.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    lines: Vec<String>,
}

impl Reply {
    /// One whole answer at the beginning of what was heard, and its length; `None` while its last line is missing.
    pub(crate) fn parse(heard: &[u8]) -> Result<Option<(Self, usize)>, &'static str> {
        let mut lines = Vec::new();
        let mut code = None;
        let mut length = 0;
        for line in heard.split_inclusive(|byte| *byte == b'\n') {
            if !line.ends_with(b"\n") {
                break;
            }
            length += line.len();
            let line = String::from_utf8_lossy(line);
            let line = line.trim_end_matches(['\r', '\n']);
            let (digits, rest) = line.split_at_checked(3).ok_or("it does not speak SMTP")?;
            let this = digits.parse::<u16>().ok().filter(|code| (200..600).contains(code));
            let this = this.ok_or("it does not speak SMTP")?;
            if code.is_some_and(|code| code != this) {
                return Err("its answer has two codes");
            }
            code = Some(this);
            lines.push(rest.get(1..).unwrap_or_default().to_owned());
            match rest.chars().next() {
                Some('-') => {}
                Some(' ') | None => return Ok(Some((Self { code: this, lines }, length))),
                Some(_) => return Err("it does not speak SMTP"),
            }
        }
        Ok(None)
    }

    /// What follows a keyword in the answer to EHLO, if it is there.
    pub(crate) fn keyword(&self, keyword: &str) -> Option<Vec<&str>> {
        let mut found: Option<Vec<&str>> = None;
        for line in self.lines.iter().skip(1) {
            // Old servers write `AUTH=PLAIN`.
            let mut words = line.split([' ', '=']);
            if words.next().is_some_and(|word| word.eq_ignore_ascii_case(keyword)) {
                found.get_or_insert_default().extend(words);
            }
        }
        found
    }

    /// Whether it speaks of our standing with the host rather than of the recipient: not signed in, not allowed, out
    /// of order, or an enhanced code of security (RFC 3463, X.7.X).
    pub(crate) fn is_about_us(&self) -> bool {
        let subject = self.lines.first().and_then(|line| line.split('.').nth(1));
        matches!(self.code, 503 | 530 | 535) || subject == Some("7")
    }

    /// The answer for logs: its plain words and small numbers, without the name of the recipient's mailbox. Servers
    /// repeat what they were told, and that is addresses, links, and all that a letter holds.
    pub(crate) fn words(&self, letter_to: &str) -> String {
        let mailbox = letter_to.split('@').next().unwrap_or_default();
        let text = self.lines.first().map(String::as_str).unwrap_or_default();
        let words = text.split_whitespace().map(|word| {
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
            if is_plain(bare) && !bare.eq_ignore_ascii_case(mailbox) { bare_or_whole(word, bare) } else { "…" }
        });
        let text: String = words.collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).take(120).collect();
        format!("{} {text}", self.code)
    }
}

/// Whether this can be nothing but a word of some language, a small number, or an enhanced code.
fn is_plain(word: &str) -> bool {
    let letters = |c: char| c.is_alphabetic() || "-_.'".contains(c);
    let digits = word.chars().filter(char::is_ascii_digit).count();
    match digits {
        0 => word.chars().count() <= 24 && word.chars().all(letters),
        1..=4 => word.chars().all(|c| c.is_ascii_digit() || c == '.'),
        _ => false,
    }
}

/// The word with its punctuation, unless that joins it with more.
fn bare_or_whole<'w>(word: &'w str, bare: &'w str) -> &'w str {
    if word.chars().count() <= bare.chars().count() + 4 { word } else { bare }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply::parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        assert!(Reply::parse(b"250-a\r\n250").unwrap().is_none());
        assert!(Reply::parse(b"250-a\r\n").unwrap().is_none());
        let (reply, length) = Reply::parse(b"250-a\r\n250-AUTH=LOGIN\r\n250 auth PLAIN\r\n220 x").unwrap().unwrap();
        assert_eq!((reply.code, length), (250, 39));
        assert_eq!(reply.keyword("AUTH").unwrap(), ["LOGIN", "PLAIN"]);
        assert!(reply.keyword("STARTTLS").is_none());
        for odd in
            ["HTTP/1.1 400 Bad\r\n", "\r\n", "25\r\n", "250-a\r\n251 b\r\n", "250_x\r\n", "999 x\r\n", "é50 x\r\n"]
        {
            assert!(Reply::parse(odd.as_bytes()).is_err(), "{odd}");
        }
    }

    #[test]
    fn p6_answers_lose_the_address_before_they_are_told() {
        let said = reply("550 5.1.1 <ada@example.org>: Recipient Ada unknown\x07\r\n").words("ada@example.org");
        assert_eq!(said, "550 5.1.1 … Recipient … unknown");
    }

    #[test]
    fn p6_answers_lose_what_they_repeat_of_a_letter() {
        for (text, told) in [
            ("554 5.7.1 no http://reset.example.org/r/AbC12-x to you\r\n", "554 5.7.1 no … to you"),
            ("554 5.7.1 spam: /r/AbCdEfGhIjKlMnOpQrStUvWxYz\r\n", "554 5.7.1 spam: …"),
            ("535 5.7.8 failed: UGFzc3dvcmQ6\r\n", "535 5.7.8 failed: …"),
            ("451 4.7.1 (code 12345678), wait 300 seconds.\r\n", "451 4.7.1 (code … wait 300 seconds."),
            ("550 <<ada>> ((((x))))\r\n", "550 … x"),
        ] {
            assert_eq!(reply(text).words("ada@example.org"), told);
        }
    }
}
