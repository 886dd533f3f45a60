//! Is this password made of words that belong to its owner? The first things that somebody who knows the person tries.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::domain::Account;
use crate::policy::common::letter_meant;
use crate::policy::rules::PasswordRules;

/// So many words are looked at; an entry with more names than that is not somebody's name any more.
const MOST_WORDS: usize = 64;
/// And so many characters of each, and of the password.
const MOST_CHARACTERS: usize = 64;
/// So many letters beside the words do not make them another password.
const SPARE_LETTERS: usize = 3;

/// Where a word comes from. The word itself is never named, since it would give the password away.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Belonging {
    /// Part of an address.
    Address,
    /// The login name.
    Login,
    /// A name of the person.
    Name,
    /// A word of the organisation, from the configuration.
    Organisation,
}

/// A word that a password may not be made of.
pub(super) struct ContextWord {
    /// Lower case, without marks.
    pub(super) text: String,
    belonging: Belonging,
}

/// The words that belong to an account: login, names, addresses, and those of the organisation; whole and in parts.
pub(super) fn context(account: &Account, rules: &PasswordRules) -> Vec<ContextWord> {
    let addresses = account.contacts.iter().flat_map(|contact| {
        let domain = contact.address.ascii_domain();
        // The last label (`org`) says nothing of anybody.
        let labels = domain.rsplit_once('.').map_or(domain, |(labels, _)| labels);
        [contact.address.local(), labels]
    });
    let all = std::iter::once((account.login.as_str(), Belonging::Login))
        .chain(account.names.iter().map(|name| (name.as_str(), Belonging::Name)))
        .chain(addresses.map(|part| (part, Belonging::Address)))
        .chain(rules.words.iter().map(|word| (word.as_str(), Belonging::Organisation)));
    let mut words: Vec<ContextWord> = Vec::new();
    for (text, belonging) in all {
        let folded: String = text.chars().take(MOST_CHARACTERS).flat_map(fold).collect();
        let joined: String = folded.chars().filter(|c| c.is_alphanumeric()).collect();
        let parts = folded.split(|c: char| !c.is_alphanumeric()).map(str::to_owned);
        for word in parts.chain([joined]) {
            let least = if word.is_ascii() { 3 } else { 2 };
            let known = words.iter().any(|known| known.text == word);
            if word.chars().count() >= least && !known && words.len() < MOST_WORDS {
                words.push(ContextWord { text: word, belonging });
            }
        }
    }
    words
}

/// Whether a password consists of such words, forwards or backwards, plainly or in look-alike characters, with nothing
/// beside them but digits, punctuation and [`SPARE_LETTERS`]. Names where the longest of the words comes from.
pub(super) fn made_of(password: &str, words: &[ContextWord]) -> Option<Belonging> {
    // A character may fold to several; each remembers whether what was typed is a letter.
    let typed: Vec<(char, bool)> =
        password.chars().flat_map(|c| fold(c).map(move |folded| (folded, c.is_alphabetic()))).collect();
    if typed.iter().filter(|(_, letter)| *letter).count() > MOST_CHARACTERS * 2 {
        return None;
    }
    let plain: Vec<char> = typed.iter().map(|(c, _)| *c).collect();
    let meant: Vec<char> = plain.iter().copied().map(letter_meant).collect();
    let other: Vec<char> = plain.iter().map(|c| if matches!(c, '1' | '!') { 'l' } else { letter_meant(*c) }).collect();
    [plain, meant, other].iter().find_map(|text| {
        let mut covered = vec![false; text.len()];
        let mut longest: Option<(usize, Belonging)> = None;
        for word in words {
            let forwards: Vec<char> = word.text.chars().collect();
            let backwards: Vec<char> = word.text.chars().rev().collect();
            for (at, window) in text.windows(forwards.len()).enumerate() {
                if window == forwards || window == backwards {
                    covered.iter_mut().skip(at).take(forwards.len()).for_each(|cell| *cell = true);
                    if longest.is_none_or(|(length, _)| length < forwards.len()) {
                        longest = Some((forwards.len(), word.belonging));
                    }
                }
            }
        }
        let spare = typed.iter().zip(&covered).filter(|((_, letter), covered)| *letter && !**covered).count();
        longest.filter(|_| spare <= SPARE_LETTERS).map(|(_, belonging)| belonging)
    })
}

/// A character in lower case without its marks.
fn fold(c: char) -> impl Iterator<Item = char> {
    std::iter::once(c)
        .nfkd()
        .filter(|c| !is_combining_mark(*c))
        .flat_map(char::to_lowercase)
        .collect::<Vec<_>>()
        .into_iter()
}
