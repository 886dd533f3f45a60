//! Is this one of the commonest passwords? One embedded list, searched by halving; nothing is built at start.

/// Lower case, NFC, one a line, sorted by bytes; see `data/README.md`.
static LIST: &str = include_str!("../../data/common-passwords.txt");

/// Whether a password is in the list: without case, with look-alike characters (`p@ssw0rd`) read as letters, and without
/// digits and punctuation at its end or both ends (`password1234`) where what remains is at least half of it.
pub(super) fn is_common(password: &str) -> bool {
    let lower = password.to_lowercase();
    let around = |c: char| !c.is_alphabetic();
    [lower.as_str(), lower.trim_end_matches(around), lower.trim_matches(around)].into_iter().any(|core| {
        let enough = core.chars().count() * 2 >= lower.chars().count();
        enough && (listed(core) || listed(&core.chars().map(letter_meant).collect::<String>()))
    })
}

/// The letter that a digit or sign stands for in what people take for a disguise.
pub(super) fn letter_meant(c: char) -> char {
    match c {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        _ => c,
    }
}

/// Halves the text, not a list of lines: a probe in the middle of a line goes back to the line's beginning.
fn listed(word: &str) -> bool {
    if word.is_empty() || word.contains('\n') {
        return false;
    }
    let list = LIST.as_bytes();
    let (mut low, mut high) = (0, list.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let begin =
            list.get(low..middle).unwrap_or_default().iter().rposition(|b| *b == b'\n').map_or(low, |at| low + at + 1);
        let rest = list.get(begin..high).unwrap_or_default();
        let length = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        match rest.get(..length).unwrap_or_default().cmp(word.as_bytes()) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Greater => high = begin,
            std::cmp::Ordering::Less => low = begin + length + 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_list_is_long_sorted_and_found_whole() {
        let lines: Vec<&str> = LIST.lines().collect();
        assert!(lines.len() >= 20_000, "{}", lines.len());
        assert!(lines.is_sorted_by(|one, next| one < next));
        for line in lines {
            assert!(listed(line), "{line}");
            assert!(line.chars().count() >= 4 && line.to_lowercase() == line, "{line}");
        }
    }

    #[test]
    fn t76_disguises_of_common_passwords_are_common() {
        for common in
            ["password", "PASSWORD", "Password1234", "p@ssw0rd", "!!Monkey!!", "123456789", "пароль", "p4$$w0rd2024"]
        {
            assert!(is_common(common), "{common}");
        }
        for fine in ["", "\n", "monkey 83726194057", "correct horse battery staple", "passwordless", "zzzz-not-there"] {
            assert!(!is_common(fine), "{fine}");
        }
    }

    proptest! {
        #[test]
        fn searching_agrees_with_reading(word in "[a-e1-3]{1,7}") {
            prop_assert_eq!(listed(&word), LIST.lines().any(|line| line == word));
        }
    }
}
