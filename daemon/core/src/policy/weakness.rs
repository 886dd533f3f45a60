//! What can be wrong with a password, as values, with an id for the language files and a sentence in English.

use std::fmt;

use crate::policy::likeness::Belonging;
use crate::policy::rules::PasswordRules;

/// A rule that a password breaks. Nothing in it repeats any part of the password.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Weakness {
    /// One of the commonest passwords, or little more.
    Common,
    /// Made of words that belong to the person or the organisation.
    ContextWord(Belonging),
    /// It holds a character that can't be in a password.
    Forbidden(Class),
    /// Guessed too soon.
    Guessable(Pattern),
    /// Longer than so many characters.
    TooLong(u32),
    /// Shorter than so many characters.
    TooShort(u32),
}

/// The kinds of characters that RFC 8265 (OpaqueString) keeps out of passwords, since they can't be typed again reliably.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// Control characters and line ends.
    Control,
    /// Marks that turn the direction of writing.
    Direction,
    /// Characters that show nothing, also inside some emoji.
    Invisible,
    /// Private, ancient or meaningful only beside certain others.
    Other,
    /// Not assigned to anything.
    Unassigned,
}

/// What makes a password easy to guess, as far as one pattern does.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Pattern {
    /// A date or a recent year.
    Date,
    /// Neighbouring keys.
    Keyboard,
    /// Near to a common password.
    LikeCommon,
    /// A name.
    Name,
    /// No one pattern: there is simply too little of it.
    Nothing,
    /// The same again and again.
    Repeat,
    /// Something like `abcd` or `6543`.
    Sequence,
    /// One word of a dictionary.
    Word,
}

impl Weakness {
    /// One of each kind, in the order in which they are reported: for language files and their test.
    pub const ALL: [Self; 20] = [
        Self::TooLong(256),
        Self::TooShort(12),
        Self::Forbidden(Class::Control),
        Self::Forbidden(Class::Direction),
        Self::Forbidden(Class::Invisible),
        Self::Forbidden(Class::Other),
        Self::Forbidden(Class::Unassigned),
        Self::Common,
        Self::ContextWord(Belonging::Address),
        Self::ContextWord(Belonging::Login),
        Self::ContextWord(Belonging::Name),
        Self::ContextWord(Belonging::Organisation),
        Self::Guessable(Pattern::Date),
        Self::Guessable(Pattern::Keyboard),
        Self::Guessable(Pattern::LikeCommon),
        Self::Guessable(Pattern::Name),
        Self::Guessable(Pattern::Nothing),
        Self::Guessable(Pattern::Repeat),
        Self::Guessable(Pattern::Sequence),
        Self::Guessable(Pattern::Word),
    ];

    /// Its id in the language files, the hook's answers and the audit trail.
    pub fn id(self) -> &'static str {
        match self {
            Self::Common => "weakness-common",
            Self::ContextWord(Belonging::Address) => "weakness-context-address",
            Self::ContextWord(Belonging::Login) => "weakness-context-login",
            Self::ContextWord(Belonging::Name) => "weakness-context-name",
            Self::ContextWord(Belonging::Organisation) => "weakness-context-organisation",
            Self::Forbidden(Class::Control) => "weakness-forbidden-control",
            Self::Forbidden(Class::Direction) => "weakness-forbidden-direction",
            Self::Forbidden(Class::Invisible) => "weakness-forbidden-invisible",
            Self::Forbidden(Class::Other) => "weakness-forbidden-other",
            Self::Forbidden(Class::Unassigned) => "weakness-forbidden-unassigned",
            Self::Guessable(Pattern::Date) => "weakness-guessable-date",
            Self::Guessable(Pattern::Keyboard) => "weakness-guessable-keyboard",
            Self::Guessable(Pattern::LikeCommon) => "weakness-guessable-like-common",
            Self::Guessable(Pattern::Name) => "weakness-guessable-name",
            Self::Guessable(Pattern::Nothing) => "weakness-guessable",
            Self::Guessable(Pattern::Repeat) => "weakness-guessable-repeat",
            Self::Guessable(Pattern::Sequence) => "weakness-guessable-sequence",
            Self::Guessable(Pattern::Word) => "weakness-guessable-word",
            Self::TooLong(_) => "weakness-too-long",
            Self::TooShort(_) => "weakness-too-short",
        }
    }

    /// The numbers that its sentence needs, by their names in the language files.
    pub fn args(self) -> Vec<(&'static str, u32)> {
        match self {
            Self::TooLong(most) => vec![("most", most)],
            Self::TooShort(least) => vec![("least", least)],
            Self::Common | Self::ContextWord(_) | Self::Forbidden(_) | Self::Guessable(_) => Vec::new(),
        }
    }
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong(most) => return write!(f, "it is longer than {most} characters"),
            Self::TooShort(least) => return write!(f, "it is shorter than {least} characters"),
            Self::Common => "it is one of the commonest passwords, or little more",
            Self::ContextWord(Belonging::Address) => "it is made of words of your address",
            Self::ContextWord(Belonging::Login) => "it is made of your login name",
            Self::ContextWord(Belonging::Name) => "it is made of your name",
            Self::ContextWord(Belonging::Organisation) => "it is made of words of your organisation",
            Self::Forbidden(Class::Control) => "it holds a control character, such as a tab or a line end",
            Self::Forbidden(Class::Direction) => "it holds an invisible mark that turns the direction of writing",
            Self::Forbidden(Class::Invisible) => "it holds an invisible character; some emoji are made with them",
            Self::Forbidden(Class::Other) => "it holds a character that can't be in a password",
            Self::Forbidden(Class::Unassigned) => "it holds a character that stands for nothing",
            Self::Guessable(Pattern::Date) => "it is easy to guess: dates and years are tried early",
            Self::Guessable(Pattern::Keyboard) => "it is easy to guess: neighbouring keys are tried early",
            Self::Guessable(Pattern::LikeCommon) => "it is easy to guess: it is near to a common password",
            Self::Guessable(Pattern::Name) => "it is easy to guess: names are tried early",
            Self::Guessable(Pattern::Nothing) => "it is easy to guess; add another word or two",
            Self::Guessable(Pattern::Repeat) => "it is easy to guess: it repeats itself",
            Self::Guessable(Pattern::Sequence) => "it is easy to guess: sequences such as abcd are tried early",
            Self::Guessable(Pattern::Word) => "it is easy to guess: one word is not enough",
        })
    }
}

/// One rule in words and data, for pages and for the hook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Its id in the language files.
    pub id: &'static str,
    /// The numbers that its sentence needs.
    pub args: Vec<(&'static str, u32)>,
    /// The sentence in English.
    pub words: String,
}

/// What a password must be, before anybody types one.
pub fn describe(rules: &PasswordRules) -> Vec<Rule> {
    let rule = |id, args, words: String| Rule { id, args, words };
    let (least, most, score) = (rules.min_length, rules.max_length, u32::from(rules.min_score));
    let mut described = vec![
        rule(
            "rule-length",
            vec![("least", least), ("most", most)],
            format!("Use at least {least} characters, at most {most}; spaces and all scripts are welcome."),
        ),
        rule("rule-own-words", vec![], "Do not make it of your login, your names or your address.".into()),
        rule("rule-common", vec![], "Do not use a common password.".into()),
    ];
    if score > 0 {
        let words = "Make it hard to guess: three or four unrelated words are good.".to_owned();
        described.push(rule("rule-score", vec![("score", score)], words));
    }
    described
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_and_words_are_distinct() {
        assert_eq!(Weakness::ALL.iter().map(|weakness| weakness.id()).collect::<BTreeSet<_>>().len(), 20);
        assert_eq!(Weakness::ALL.iter().map(ToString::to_string).collect::<BTreeSet<_>>().len(), 20);
    }

    #[test]
    fn rules_are_told_before_anybody_types() {
        let told = describe(&PasswordRules { min_length: 14, ..PasswordRules::default() });
        assert_eq!(told.first().map(|rule| rule.args.clone()), Some(vec![("least", 14), ("most", 256)]));
        let ids: Vec<_> = told.iter().map(|rule| rule.id).collect();
        assert_eq!(ids, ["rule-length", "rule-own-words", "rule-common", "rule-score"]);
        assert_eq!(describe(&PasswordRules { min_score: 0, ..PasswordRules::default() }).len(), 3);
    }
}
