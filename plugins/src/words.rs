//! What rekeyd says in each language: every string of notices, pages and password rules lives in a Fluent file.
//!
//! English is complete and built in. Further languages, and an operator's own wording of English, come from a folder.
//! A text is looked for in the person's languages, then in the default one, then in English.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use unic_langid::LanguageIdentifier;

/// The language that has every text.
pub const COMPLETE: &str = "en";

/// Ids that begin so belong to an operator's own templates; no others may be added.
const OWN: &str = "own-";

/// The file whose texts are given all of [`NOTICE_VALUES`], whether English uses them or not.
const NOTICES: &str = "words/en/notices.ftl";

/// What every text of a notice may use.
pub(crate) const NOTICE_VALUES: &[&str] =
    &["at", "help", "help_url", "login", "name", "organisation", "service", "sign_in_url", "valid"];

/// The files of the built-in languages, by language tag.
const BUILT_IN: &[(&str, &[(&str, &str)])] = &[(
    COMPLETE,
    &[
        (NOTICES, include_str!("../words/en/notices.ftl")),
        ("words/en/pages.ftl", include_str!("../words/en/pages.ftl")),
        ("words/en/rules.ftl", include_str!("../words/en/rules.ftl")),
        ("words/en/times.ftl", include_str!("../words/en/times.ftl")),
    ],
)];

/// A file of an operator: translations, or other wordings of what is built in.
pub struct WordsFile {
    /// The language tag it is for.
    pub tag: String,
    /// Where it is, for faults.
    pub place: String,
    /// Its text, in Fluent's syntax.
    pub text: String,
}

/// All languages. A clone shares them.
#[derive(Clone)]
pub struct Words {
    languages: Arc<[Language]>,
    fall_back: Arc<[usize]>,
}

struct Language {
    tag: String,
    ids: BTreeSet<String>,
    bundle: FluentBundle<FluentResource>,
}

impl Words {
    /// The built-in languages alone.
    ///
    /// # Errors
    /// None but mistakes in the built-in files, which a test excludes.
    pub fn built_in() -> Result<Self, Vec<String>> {
        Self::load(&[], COMPLETE)
    }

    /// The built-in languages and an operator's files, with the language for people who have no preference.
    ///
    /// # Errors
    /// Every mistake in the files, each with file and line: bad syntax, a text that does not exist, a variable that
    /// is not given to it, a default language that does not exist.
    pub fn load(files: &[WordsFile], default: &str) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let mut languages: BTreeMap<String, Language> = BTreeMap::new();
        let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (tag, texts) in BUILT_IN {
            for (place, text) in *texts {
                for entry in entries(text) {
                    let of_notices = NOTICE_VALUES.iter().filter(|_| *place == NOTICES).map(|name| (*name).to_owned());
                    let variables = entry.variables.into_iter().map(|(name, _)| name);
                    known.entry(entry.id).or_default().extend(variables.chain(of_notices));
                }
                add(&mut languages, tag, place, text, &mut faults);
            }
        }
        for file in files {
            for entry in entries(&file.text) {
                let place = |line: usize| format!("{}:{line}", file.place);
                let own =
                    entry.id.starts_with(OWN).then(|| NOTICE_VALUES.iter().map(|name| (*name).to_owned()).collect());
                let Some(given) = own.or_else(|| known.get(&entry.id).cloned()) else {
                    faults.push(format!("{}: there is no text named {:?}", place(entry.line), entry.id));
                    continue;
                };
                for (variable, line) in entry.variables.iter().filter(|(name, _)| !given.contains(name)) {
                    let given: Vec<_> = given.iter().map(|name| format!("${name}")).collect();
                    let given = if given.is_empty() { "none".to_owned() } else { given.join(", ") };
                    faults.push(format!("{}: ${variable} is not given to this text; given are {given}", place(*line)));
                }
            }
            add(&mut languages, &file.tag, &file.place, &file.text, &mut faults);
        }
        let languages: Vec<_> = languages.into_values().collect();
        let default = normal(default);
        let fall_back: Vec<_> =
            [find(&languages, &default), find(&languages, COMPLETE)].into_iter().flatten().collect();
        if find(&languages, &default).is_none() {
            let tags: Vec<_> = languages.iter().map(|language| language.tag.as_str()).collect();
            faults.push(format!("the default language has no words; there are {}", tags.join(", ")));
        }
        if faults.is_empty() {
            Ok(Self { languages: languages.into(), fall_back: fall_back.into() })
        } else {
            Err(faults)
        }
    }

    /// The text of an id in the first language that has it. A value that is a whole number also chooses plural forms.
    /// An id that exists nowhere comes back as it is.
    pub fn say(&self, languages: &[String], id: &str, args: &[(&str, &str)]) -> String {
        let values: FluentArgs<'_> = args.iter().map(|(name, value)| (*name, fluent_value(value))).collect();
        for language in self.chain(languages) {
            let pattern = language.bundle.get_message(id).and_then(|message| message.value());
            if let Some(pattern) = pattern {
                // A value that is missing shows as its name in braces; tests render every text with its values.
                return language.bundle.format_pattern(pattern, Some(&values), &mut Vec::new()).into_owned();
            }
        }
        id.to_owned()
    }

    /// The tag of the language that a person with these preferences gets.
    pub fn pick(&self, languages: &[String]) -> &str {
        self.chain(languages).next().map_or(COMPLETE, |language| &language.tag)
    }

    /// The tags of all languages there are.
    pub fn languages(&self) -> Vec<&str> {
        self.languages.iter().map(|language| language.tag.as_str()).collect()
    }

    /// Which of these ids exist in no language file; English has all that exist.
    pub fn missing_ids<'a>(&self, used: &[&'a str]) -> Vec<&'a str> {
        used.iter().filter(|id| !self.languages.iter().any(|language| language.ids.contains(**id))).copied().collect()
    }

    /// The ids that English has and this language lacks; those are said in English.
    pub fn untranslated(&self, tag: &str) -> Vec<&str> {
        let index = |tag: &str| find(&self.languages, &normal(tag)).and_then(|index| self.languages.get(index));
        let (Some(complete), Some(other)) = (index(COMPLETE), index(tag)) else { return Vec::new() };
        complete.ids.difference(&other.ids).map(String::as_str).collect()
    }

    /// The languages to look in, in order: each preference by its nearest language, then the fall-backs.
    fn chain(&self, wanted: &[String]) -> impl Iterator<Item = &Language> {
        // LDAP's preferredLanguage has the syntax of Accept-Language, so one value may hold several tags.
        let wanted =
            wanted.iter().flat_map(|value| value.split(',')).filter_map(|tag| find(&self.languages, &normal(tag)));
        wanted.chain(self.fall_back.iter().copied()).filter_map(|index| self.languages.get(index))
    }
}

/// Adds a file to its language; what it says again replaces what was said before.
fn add(languages: &mut BTreeMap<String, Language>, tag: &str, place: &str, text: &str, faults: &mut Vec<String>) {
    let tag = normal(tag);
    let Ok(id) = tag.parse::<LanguageIdentifier>() else {
        faults.push(format!("{place}: its name is not a language tag such as \"cy\" or \"de-AT\""));
        return;
    };
    let language = languages.entry(tag.clone()).or_insert_with(|| {
        let mut bundle = FluentBundle::new_concurrent(vec![id]);
        // Marks of direction around values would end up in subjects and in copied logins.
        bundle.set_use_isolating(false);
        Language { tag: tag.clone(), ids: BTreeSet::new(), bundle }
    });
    match FluentResource::try_new(text.to_owned()) {
        Ok(resource) => {
            language.ids.extend(entries(text).map(|entry| entry.id));
            language.bundle.add_resource_overriding(resource);
        }
        Err((_, errors)) => faults.extend(errors.into_iter().map(|error| {
            let line = text.bytes().take(error.pos.start).filter(|byte| *byte == b'\n').count() + 1;
            format!("{place}:{line}: {error}")
        })),
    }
}

/// A message of a Fluent file: where it is and which variables it uses.
struct Entry {
    id: String,
    line: usize,
    variables: Vec<(String, usize)>,
}

/// The messages of a file; terms (`-name`) and comments are none. Fluent lets a message begin only in the first column.
fn entries(text: &str) -> impl Iterator<Item = Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            inside = true;
            let id = line.split_once('=').map_or(line, |(id, _)| id).trim().to_owned();
            entries.push(Entry { id, line: index + 1, variables: Vec::new() });
        } else if line.starts_with(['-', '#']) {
            inside = false;
        }
        let Some(entry) = entries.last_mut().filter(|_| inside) else { continue };
        for after in line.split('$').skip(1) {
            let name: String = after.chars().take_while(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).collect();
            entry.variables.push((name, index + 1));
        }
    }
    entries.into_iter()
}

/// A tag as it is compared: `cy_GB.UTF-8` and `cy-GB;q=0.8` are `cy-gb`.
fn normal(tag: &str) -> String {
    let tag = tag.split([';', '.', '@']).next().unwrap_or_default();
    tag.trim().replace('_', "-").to_ascii_lowercase()
}

/// The language nearest to a tag: itself, else the tag without its last parts, else a regional form of it.
fn find(languages: &[Language], tag: &str) -> Option<usize> {
    let mut rest = Some(tag).filter(|tag| !tag.is_empty());
    while let Some(tag) = rest {
        if let Some(index) = languages.iter().position(|language| language.tag == tag) {
            return Some(index);
        }
        rest = tag.rsplit_once('-').map(|(shorter, _)| shorter);
    }
    let regional = |language: &Language| language.tag.strip_prefix(tag).is_some_and(|rest| rest.starts_with('-'));
    languages.iter().position(|language| !tag.is_empty() && regional(language))
}

fn fluent_value(text: &str) -> FluentValue<'_> {
    let number = text.parse::<u32>().ok().filter(|number| number.to_string() == text);
    number.map_or_else(|| FluentValue::from(text), FluentValue::from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(tag: &str, text: &str) -> WordsFile {
        WordsFile { tag: tag.into(), place: format!("/w/{tag}.ftl"), text: text.into() }
    }

    fn faults(files: &[WordsFile], default: &str) -> Vec<String> {
        Words::load(files, default).err().unwrap_or_default()
    }

    #[test]
    fn english_is_sound_and_no_text_is_there_twice() {
        let words = Words::built_in().map_err(|faults| faults.join("\n")).unwrap_or_else(|e| unreachable!("{e}"));
        let all: Vec<_> = BUILT_IN.iter().flat_map(|(_, texts)| *texts).flat_map(|(_, text)| entries(text)).collect();
        assert_eq!(all.len(), words.languages.first().unwrap().ids.len());
        for entry in &all {
            let args: Vec<_> = entry.variables.iter().map(|(name, _)| (name.as_str(), "3")).collect();
            let text = words.say(&[], &entry.id, &args);
            assert!(!text.contains(['{', '}']) && !text.is_empty() && text != entry.id, "{}: {text}", entry.id);
        }
    }

    #[test]
    fn a_text_falls_back_from_the_person_to_the_default_to_english() {
        let files = [file("cy", "greeting = Helo,\n"), file("de", "greeting = Guten Tag,\nlabel-account = Konto\n")];
        let words = Words::load(&files, "de-DE").ok().unwrap();
        let cy = ["cy-GB".to_owned()];
        assert_eq!(words.say(&cy, "greeting", &[]), "Helo,");
        assert_eq!(words.say(&cy, "label-account", &[]), "Konto");
        assert_eq!(words.say(&cy, "label-service", &[]), "Service");
        assert_eq!(words.say(&cy, "no-such-text", &[]), "no-such-text");
        assert_eq!(words.languages(), ["cy", "de", "en"]);
        for (wanted, picked) in
            [("cy_GB.UTF-8", "cy"), ("fr, cy;q=0.8", "cy"), ("EN-us", "en"), ("fr", "de"), ("", "de"), ("*", "de")]
        {
            assert_eq!(words.pick(&[wanted.to_owned()]), picked, "{wanted}");
        }
        assert_eq!(words.missing_ids(&["greeting", "greting"]), ["greting"]);
        assert!(words.untranslated("cy").contains(&"label-account"));
        assert!(!words.untranslated("cy").contains(&"greeting"));
    }

    #[test]
    fn every_mistake_of_a_file_is_named_with_its_line() {
        let text = "# ours\ngreeting = Hi\n\ngreting = Hi\ngreeting-name = Hi { $naem }\nspan-days =\n    { $days } days\nown-line = For { $login }\n";
        assert_eq!(
            faults(&[file("en", text), file("x!", ""), file("fr", "a b = c\n")], "tlh"),
            [
                "/w/en.ftl:4: there is no text named \"greting\"",
                "/w/en.ftl:5: $naem is not given to this text; given are $at, $help, $help_url, $login, $name, \
                 $organisation, $service, $sign_in_url, $valid",
                "/w/en.ftl:7: $days is not given to this text; given are $count",
                "/w/x!.ftl: its name is not a language tag such as \"cy\" or \"de-AT\"",
                "/w/fr.ftl:1: there is no text named \"a b\"",
                "/w/fr.ftl:1: Expected a token starting with \"=\"",
                "the default language has no words; there are en, fr",
            ]
        );
    }

    #[test]
    fn t86_values_are_never_read_as_words() {
        let words = Words::built_in().ok().unwrap();
        for value in ["{7*7}", "{{7*7}}", "${x}", "{ greeting }", "007", "1e3"] {
            assert_eq!(words.say(&[], "greeting-name", &[("name", value)]), format!("Hello {value},"));
        }
    }

    #[test]
    fn numbers_choose_the_form() {
        let words = Words::built_in().ok().unwrap();
        assert_eq!(words.say(&[], "span-minutes", &[("count", "1")]), "one minute");
        assert_eq!(words.say(&[], "span-minutes", &[("count", "30")]), "30 minutes");
    }
}
