//! What becomes of text that a person may have written about themselves (name, login) before it is shown to anybody:
//! one short line, nothing invisible, and nothing that a mail program would turn into a link.

use rekeyd_core::domain::EmailAddress;
use rekeyd_core::text::is_harmful;

/// Longer text is cut; the longest names and logins that people really have are shorter.
const LONGEST: usize = 64;

/// Endings that mail programs know as domains besides those of two letters. Only logins such as `ada.lovelace` need
/// the list: in names every such dot is broken.
const TOP_DOMAINS: &[&str] = &[
    "app",
    "biz",
    "blog",
    "click",
    "cloud",
    "club",
    "com",
    "dev",
    "digital",
    "edu",
    "email",
    "example",
    "fun",
    "gov",
    "host",
    "icu",
    "info",
    "int",
    "invalid",
    "link",
    "live",
    "localhost",
    "mil",
    "mobi",
    "name",
    "net",
    "news",
    "online",
    "onion",
    "org",
    "page",
    "pro",
    "shop",
    "site",
    "space",
    "store",
    "tech",
    "test",
    "top",
    "vip",
    "website",
    "wiki",
    "win",
    "work",
    "world",
    "xyz",
    "zip",
];

/// A person's name for a message. Dots and slashes that could make it a link are set apart by spaces, as in
/// `J. R. R. Tolkien`.
pub fn name(text: &str) -> String {
    cut(&set_apart(&visible(text), &[':', '/', '\\', '@'], |_, _| true))
}

/// A login name for a message. It is shown as the directory has it wherever that makes no link, since people copy it.
pub fn login(text: &str) -> String {
    let text = visible(text);
    let plain = |c: char| c.is_alphanumeric() || "._+-'@".contains(c);
    if text.chars().all(plain) && EmailAddress::parse(&text).is_ok() {
        return cut(&text);
    }
    let linkable = |label: &str, last: &str| {
        let last = last.to_lowercase();
        label.eq_ignore_ascii_case("www") || last.chars().count() == 2 || TOP_DOMAINS.contains(&last.as_str())
    };
    // One backslash is a Windows domain, two are a file server that some programs link to.
    let marks: &[char] = if text.contains("\\\\") { &[':', '/', '\\'] } else { &[':', '/'] };
    let whole = text.contains(marks);
    cut(&set_apart(&text, marks, |label, last| whole || linkable(label, last)))
}

/// The text as one line of characters that can be seen: what is invisible, turns the direction of writing or breaks
/// the line is gone, and white space is single.
fn visible(text: &str) -> String {
    // Names in several scripts need the joiners, and white space has its own rule.
    let stays = |c: &char| c.is_whitespace() || matches!(c, '\u{200c}' | '\u{200d}') || !is_harmful(*c);
    let seen: String = text.chars().filter(stays).take(LONGEST * 8).collect();
    seen.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Puts a space after each of `marks` and after each dot between two labels for which `breaks` says so; it is given
/// the label before the dot and the last label of that word.
fn set_apart(text: &str, marks: &[char], breaks: impl Fn(&str, &str) -> bool) -> String {
    let words = text.split(' ').map(|word| {
        let mut apart = String::with_capacity(word.len() + 8);
        for (index, piece) in word.split_inclusive(marks).enumerate() {
            if index > 0 {
                apart.push(' ');
            }
            let last = piece.trim_end_matches(marks).rsplit('.').next().unwrap_or_default();
            let mut labels = piece.split_inclusive('.').peekable();
            while let Some(label) = labels.next() {
                apart.push_str(label);
                if labels.peek().is_some() && breaks(label.trim_end_matches('.'), last) {
                    apart.push(' ');
                }
            }
        }
        apart
    });
    words.collect::<Vec<_>>().join(" ")
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(LONGEST - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t83_real_names_and_logins_stay_as_they_are() {
        for text in ["Ada Lovelace", "Seán O'Brien", "José Ñandú-Pérez", "山田 太郎", "می‌خواهم", "J. R. R. Tolkien"]
        {
            assert_eq!(name(text), text);
        }
        assert_eq!(name("J.R.R. Tolkien"), "J. R. R. Tolkien");
        for text in
            ["ada", "ada.lovelace", "ada_l-2", "ada@example.org", "s1234567", r"CORP\ada", "o'brien@sub.example.org"]
        {
            assert_eq!(login(text), text);
        }
    }

    #[test]
    fn t83_nothing_becomes_a_link() {
        for (text, shown) in [
            ("evil.example/login", "evil. example/ login"),
            ("http://evil.example", "http: / / evil. example"),
            ("www.evil.museum", "www. evil. museum"),
            ("a@evil.example/x", "a@ evil. example/ x"),
            ("evil.com", "evil. com"),
            ("javascript:alert(1)", "javascript: alert(1)"),
        ] {
            assert_eq!(name(text), shown);
        }
        for (text, shown) in [
            ("evil.example/login", "evil. example/ login"),
            ("https://evil.museum/x", "https: / / evil. museum/ x"),
            ("www.evil.museum", "www. evil.museum"),
            ("evil.CO", "evil. CO"),
            (r"\\evil\share", r"\ \ evil\ share"),
            ("evil.com/x@example.org", "evil. com/ x@example. org"),
        ] {
            assert_eq!(login(text), shown);
        }
    }

    #[test]
    fn t80_one_line_without_hidden_characters_and_never_long() {
        assert_eq!(name("Ada\r\nBcc: x\u{2028}y\0z"), "Ada Bcc: x yz");
        assert_eq!(login("a\u{202e}b\u{2066}c\u{200b}d\u{feff}"), "abcd");
        for shown in [name(&"x".repeat(10_240)), login(&"é".repeat(10_240)), name(&"a.".repeat(5_000))] {
            assert_eq!(shown.chars().count(), LONGEST);
            assert!(shown.ends_with('…'));
        }
    }
}
