//! Is this password good enough? Length, characters, words that are too near, the list of the commonest, strength.
//!
//! No composition rules: they make people write `Passw0rd!`. A password is never trimmed, folded or cut; what passes here
//! goes to the directory byte for byte. Cheap checks come first, and a text of the wrong length meets no other.

use precis_profiles::OpaqueString;
use precis_profiles::precis_core::profile::Profile as _;
use precis_profiles::precis_core::{DerivedPropertyValue, Error as PrecisError, UnexpectedError};
use zeroize::Zeroizing;
use zxcvbn::feedback::Warning;

use crate::domain::{Account, AccountId, NewPassword};
use crate::policy::rules::PasswordRules;
use crate::policy::{common, generate, likeness};

pub use crate::policy::likeness::Belonging;
pub use crate::policy::weakness::{Class, Pattern, Rule, Weakness, describe};

/// How many characters zxcvbn gets to see, since its time grows faster than the square of the length. Whoever guesses the
/// whole guesses its beginning, so that a password is never weaker than that, and a shorter look refuses too much rather than
/// too little. That holds for true guesses; zxcvbn only estimates them, and its estimate can rise where a word is cut. Four
/// words fit in, and twelve characters of chance have the highest score already.
const SEEN_BY_ZXCVBN: usize = 24;

/// A password that passed the rules for one account. Only [`accept`] makes it.
pub struct AcceptedPassword {
    account: AccountId,
    password: NewPassword,
}

impl AcceptedPassword {
    /// Draws a password that can be read out and that passes the same rules as a typed one. `chance` fills its
    /// argument with random bytes, each as likely as any other; without that no password is drawn at all.
    pub fn generate(account: &Account, rules: &PasswordRules, chance: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut tries = 0;
        loop {
            let Some(password) = NewPassword::parse(&generate::spoken(rules.min_length, chance)) else { continue };
            tries += 1;
            match accept(password, account, rules) {
                Ok(accepted) => return accepted,
                // Somebody configured a word for every syllable; what chance drew is strong all the same.
                Err((password, _)) if tries == 100 => return Self { account: account.id.clone(), password },
                Err(_) => {}
            }
        }
    }

    /// The account whose rules it passed.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The text, for the directory.
    pub fn expose(&self) -> &str {
        self.password.expose()
    }
}

/// Accepts a password for an account, or names every rule that it breaks. Takes milliseconds of pure computing once the
/// length fits: callers keep it off threads that others wait for, and bound how many run at once.
///
/// # Errors
/// The password is given back with its weaknesses, in the order of [`Weakness::ALL`]; the ticket stays as it is.
pub fn accept(
    password: NewPassword,
    account: &Account,
    rules: &PasswordRules,
) -> Result<AcceptedPassword, (NewPassword, Vec<Weakness>)> {
    let weaknesses = weaknesses(password.expose(), account, rules);
    if weaknesses.is_empty() {
        Ok(AcceptedPassword { account: account.id.clone(), password })
    } else {
        Err((password, weaknesses))
    }
}

fn weaknesses(password: &str, account: &Account, rules: &PasswordRules) -> Vec<Weakness> {
    let length = password.chars().count();
    if length > rules.max_length as usize {
        return vec![Weakness::TooLong(rules.max_length)];
    }
    let mut weaknesses = Vec::new();
    if length < rules.min_length as usize {
        weaknesses.push(Weakness::TooShort(rules.min_length));
    }
    weaknesses.extend(forbidden(password).map(Weakness::Forbidden));
    if common::is_common(password) {
        weaknesses.push(Weakness::Common);
    }
    let words = likeness::context(account, rules);
    weaknesses.extend(likeness::made_of(password, &words).map(Weakness::ContextWord));
    if weaknesses.is_empty() {
        weaknesses.extend(guessable(password, &words, rules.min_score).map(Weakness::Guessable));
    }
    weaknesses
}

/// The first character that OpaqueString refuses, by its class.
fn forbidden(password: &str) -> Option<Class> {
    // The tables behind OpaqueString are those of Unicode 6.3; later pictographs only look unassigned to them. They
    // have no decomposition, which is what makes an unassigned character dangerous in a password.
    let known: String =
        password.chars().map(|c| if matches!(c, '\u{1f000}'..='\u{1faff}') { '\u{1f300}' } else { c }).collect();
    let known = Zeroizing::new(known);
    let (cp, property) = match OpaqueString::new().prepare(known.as_str()).err()? {
        PrecisError::BadCodepoint(info)
        | PrecisError::Unexpected(
            UnexpectedError::ContextRuleNotApplicable(info) | UnexpectedError::MissingContextRule(info),
        ) => (info.cp, info.property),
        PrecisError::Invalid | PrecisError::Unexpected(_) => return Some(Class::Other),
    };
    Some(match char::from_u32(cp).unwrap_or('\0') {
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Class::Direction,
        '\u{ad}' | '\u{34f}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{206f}' => {
            Class::Invisible
        }
        '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}' => Class::Invisible,
        '\u{2028}' | '\u{2029}' => Class::Control,
        c if c.is_control() => Class::Control,
        _ if property == DerivedPropertyValue::Unassigned => Class::Unassigned,
        _ => Class::Other,
    })
}

fn guessable(password: &str, words: &[likeness::ContextWord], least: u8) -> Option<Pattern> {
    if least == 0 {
        return None;
    }
    let seen: Zeroizing<String> = Zeroizing::new(password.chars().take(SEEN_BY_ZXCVBN).collect());
    let inputs: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let entropy = zxcvbn::zxcvbn(&seen, &inputs);
    if u8::from(entropy.score()) >= least {
        return None;
    }
    Some(match entropy.feedback().and_then(zxcvbn::feedback::Feedback::warning) {
        Some(Warning::StraightRowsOfKeysAreEasyToGuess | Warning::ShortKeyboardPatternsAreEasyToGuess) => {
            Pattern::Keyboard
        }
        Some(Warning::RepeatsLikeAaaAreEasyToGuess | Warning::RepeatsLikeAbcAbcAreOnlySlightlyHarderToGuess) => {
            Pattern::Repeat
        }
        Some(
            Warning::ThisIsATop10Password
            | Warning::ThisIsATop100Password
            | Warning::ThisIsACommonPassword
            | Warning::ThisIsSimilarToACommonlyUsedPassword,
        ) => Pattern::LikeCommon,
        Some(Warning::SequencesLikeAbcAreEasyToGuess) => Pattern::Sequence,
        Some(Warning::RecentYearsAreEasyToGuess | Warning::DatesAreOftenEasyToGuess) => Pattern::Date,
        Some(Warning::AWordByItselfIsEasyToGuess) => Pattern::Word,
        Some(Warning::NamesAndSurnamesByThemselvesAreEasyToGuess | Warning::CommonNamesAndSurnamesAreEasyToGuess) => {
            Pattern::Name
        }
        None => Pattern::Nothing,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::tests::law::account;

    fn rules() -> PasswordRules {
        PasswordRules { words: vec!["Gymnasium Nord".into()], ..PasswordRules::default() }
    }

    fn judged(typed: &str) -> Vec<Weakness> {
        judged_by(typed, &rules())
    }

    fn judged_by(typed: &str, rules: &PasswordRules) -> Vec<Weakness> {
        match accept(NewPassword::parse(typed).unwrap(), &account(), rules) {
            Ok(accepted) => {
                assert_eq!(accepted.account(), &account().id);
                Vec::new()
            }
            Err((_, weaknesses)) => weaknesses,
        }
    }

    #[test]
    fn t73_nothing_is_trimmed_cut_or_folded() {
        for typed in
            ["  Correct horse Battery staple  ", "zwölf Boxkämpfer jagen Eva 🐒🤔", "correct\u{a0}horse battery staple"]
        {
            let accepted = accept(NewPassword::parse(typed).unwrap(), &account(), &rules()).ok().unwrap();
            assert_eq!(accepted.expose(), typed);
        }
    }

    #[test]
    fn t73_the_length_is_counted_in_characters_and_bounded_exactly() {
        let of = |length: usize| "vé7-kolibri/Dampf".chars().cycle().take(length).collect::<String>();
        assert_eq!(judged(&of(255)), []);
        assert_eq!(judged(&of(256)), []);
        assert_eq!(judged(&of(257)), [Weakness::TooLong(256)]);
        assert_eq!(judged(&of(12)), []);
        assert_eq!(judged(&of(11)), [Weakness::TooShort(12)]);
    }

    #[test]
    fn t74_composed_and_decomposed_are_one_password() {
        let accepted = accept(NewPassword::parse("cafe\u{301} kolibri dampfer").unwrap(), &account(), &rules());
        assert_eq!(accepted.ok().unwrap().expose(), "caf\u{e9} kolibri dampfer");
    }

    #[test]
    fn t75_each_class_of_unfit_characters_is_named() {
        let with = |c: char| judged(&format!("kolibri{c}dampfer 88"));
        for (class, characters) in [
            (Class::Control, ['\u{1}', '\t', '\n', '\u{7f}', '\u{85}', '\u{2028}']),
            (Class::Direction, ['\u{200e}', '\u{200f}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{61c}']),
            (Class::Invisible, ['\u{200b}', '\u{200d}', '\u{feff}', '\u{ad}', '\u{fe0f}', '\u{e0001}']),
            (Class::Other, ['\u{e000}', '\u{f8ff}', '\u{b7}', '\u{30fb}', '\u{1100}', '\u{640}']),
            (Class::Unassigned, ['\u{378}', '\u{5ff}', '\u{e0fff}', '\u{50000}', '\u{e0fff}', '\u{5ff}']),
        ] {
            for c in characters {
                let class = if c == '\u{e0fff}' { Class::Invisible } else { class };
                assert_eq!(with(c), [Weakness::Forbidden(class)], "{:x}", u32::from(c));
            }
        }
        assert!(NewPassword::parse("kolibri\0dampfer").is_none());
        for c in ['🐒', '🤔', '🪿', ' ', '\u{a0}', 'ß', '漢', '☠', 'ﬁ', 'Ａ', '½', '€'] {
            assert_eq!(with(c), [], "{c}");
        }
    }

    #[test]
    fn t76_common_passwords_are_refused_also_with_a_year_or_in_capitals() {
        for common in include_str!("../../data/common-passwords.txt").lines().step_by(13) {
            for typed in [common.to_owned(), common.to_uppercase()] {
                assert_ne!(judged(&typed), [], "{typed}");
            }
            if common.ends_with(char::is_alphabetic) {
                assert_ne!(judged(&format!("{common}2026")), [], "{common}2026");
            }
        }
    }

    #[test]
    fn t76_words_that_belong_to_the_person_are_refused() {
        use Belonging::{Address, Login, Name, Organisation};
        for (typed, belonging) in [
            ("lovelace20011210", Name),
            ("ecalevol20011210", Name),
            ("L0vel@ce-19-12-1815", Name),
            ("Augusta!Lovelace!", Name),
            ("a.lovelace.a.lovelace", Name),
            ("adal1815adal1815", Login),
            ("1815!ladaladaladalada", Login),
            ("countess-1843-countess", Address),
            ("analytical.engine.7", Address),
            ("GymnasiumNord2026", Organisation),
            ("droN-muisanmyG-26", Organisation),
            ("gymnasium 1234567", Organisation),
        ] {
            assert!(judged(typed).contains(&Weakness::ContextWord(belonging)), "{typed}: {:?}", judged(typed));
        }
        for fine in ["lovelace wrote the first programme", "kolibri-gymnasium-dampfer", "madagascar und rhabarber"] {
            assert_eq!(judged(fine), [], "{fine}");
        }
    }

    #[test]
    fn t76_every_weakness_is_reached_and_has_words_of_its_own() {
        let typed = [
            "shorty",
            "password1234",
            "kolibri\u{1}dampfer",
            "kolibri\u{202e}dampfer",
            "kolibri\u{200b}dampfer",
            "kolibri\u{e000}dampfer",
            "kolibri\u{378}dampfer",
            "countess12345",
            "adal12345678",
            "lovelace12345",
            "gymnasium12345",
            ";lkjhgfdsapoiu",
            "p4ssword!xyz!",
            "christophersmith",
            "internationalisation",
            "aaaaaaaaaaaaaaaa",
            "abcdefghijklmnopabcd",
            "encyclopaedia",
        ];
        let long = "x".repeat(300);
        let mut reached: BTreeSet<Weakness> =
            typed.iter().chain([&long.as_str()]).flat_map(|typed| judged(typed)).collect();
        // A date alone is too short for the default rules.
        reached.extend(judged_by("25121999", &PasswordRules { min_length: 8, ..rules() }));
        let short = PasswordRules { min_length: 8, min_score: 4, ..rules() };
        reached.extend(["24/12/1999", "lmnopqrstuv"].iter().flat_map(|typed| judged_by(typed, &short)));
        for weakness in Weakness::ALL {
            assert!(reached.remove(&weakness), "{weakness:?} is never reached; reached are {reached:?}");
        }
        assert!(reached.is_empty(), "{reached:?}");
    }

    #[test]
    fn t78_a_long_password_meets_no_other_rule() {
        assert_eq!(judged(&"password".repeat(400)), [Weakness::TooLong(256)]);
    }

    #[test]
    fn t79_a_generated_password_passes_its_own_rules() {
        let mut state = 7u8;
        let mut chance = |bytes: &mut [u8]| {
            for byte in bytes {
                state = state.wrapping_mul(77).wrapping_add(101);
                *byte = state;
            }
        };
        for (min_length, min_score) in [(8, 0), (12, 3), (64, 4)] {
            let rules = PasswordRules { min_length, min_score, ..rules() };
            let generated = AcceptedPassword::generate(&account(), &rules, &mut chance);
            assert_eq!(judged_by(generated.expose(), &rules), []);
            assert_eq!(generated.account(), &account().id);
            assert!(generated.expose().len() >= min_length as usize);
        }
    }

    proptest! {
        #[test]
        fn t73_what_passes_is_the_nfc_of_what_was_typed(typed in "\\PC{12,40}") {
            use unicode_normalization::UnicodeNormalization;
            if let Some(password) = NewPassword::parse(&typed)
                && let Ok(accepted) = accept(password, &account(), &rules())
            {
                prop_assert_eq!(accepted.expose(), typed.nfc().collect::<String>());
            }
        }

        #[test]
        fn t78_any_text_is_judged_without_panic(typed in ".{1,300}") {
            if let Some(password) = NewPassword::parse(&typed) {
                drop(accept(password, &account(), &rules()));
            }
        }
    }
}
