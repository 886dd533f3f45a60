//! Foreign text: which characters do harm where it is shown, and what percent-encoded text says.

use zeroize::Zeroizing;

/// Whether a character could move the cursor, turn the direction of writing, hide something or forge a line. The one
/// list for logs, terminals and messages.
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// The text with each harmful character written as `\u{…}`.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// Undoes percent-encoding (RFC 3986). `None` for a percent sign without two hexadecimal digits, and for bytes that are
/// no UTF-8. What comes out may be a password, so it is wiped when dropped.
pub fn percent_decoded(text: &[u8]) -> Option<Zeroizing<String>> {
    decoded(text, b'+')
}

/// As [`percent_decoded`], for forms and queries, where a plus is a blank.
pub fn form_decoded(text: &[u8]) -> Option<Zeroizing<String>> {
    decoded(text, b' ')
}

fn decoded(text: &[u8], plus: u8) -> Option<Zeroizing<String>> {
    // With the whole room from the start, nothing is moved and left behind in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => plus,
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(*digit).to_digit(16));
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => *other,
        });
    }
    std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t126_harmful_characters_are_written_out() {
        for (text, shown) in [
            ("Zoë 漢字 🐒", "Zoë 漢字 🐒"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("ada\u{202e}nimda", "ada\\u{202e}nimda"),
            ("a\r\nb\tc\u{2028}", "a\\u{d}\\u{a}b\\u{9}c\\u{2028}"),
            ("a\u{200b}b\u{2066}c\u{200d}\u{e0041}", "a\\u{200b}b\\u{2066}c\\u{200d}\\u{e0041}"),
        ] {
            assert_eq!(escaped(text), shown);
        }
    }

    #[test]
    fn encoded_text_decodes_whole_or_not_at_all() {
        let form = |text: &str| form_decoded(text.as_bytes()).map(|text| text.to_string());
        let percent = |text: &str| percent_decoded(text.as_bytes()).map(|text| text.to_string());
        assert_eq!((form("a+%2B%c3%B6"), percent("a+%2B%c3%B6")), (Some("a +ö".into()), Some("a++ö".into())));
        assert_eq!(form(""), Some(String::new()));
        for odd in ["%", "%4", "%zz", "%+1", "%ff", "%c0%af", "%ed%a0%80"] {
            assert_eq!((form(odd), percent(odd)), (None, None), "{odd}");
        }
    }
}
