//! How a notice reads: subject, plain text and HTML, from templates without logic of their own. Pure: the same notice
//! gives the same bytes each time.
//!
//! Templates may branch on what a notice has and say texts of the language files (`say("id")`). They are compiled and
//! tried out when they are loaded, so an unknown variable or text is a fault of that moment, with file and line.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};
use rekeyd_core::domain::{Link, Notice, NoticeId, NoticeKind, Timestamp};
use zeroize::Zeroizing;

use crate::messages::{Messages, MessagesConfig};
use crate::untrusted;
use crate::words::{NOTICE_VALUES, Words};

/// What templates may name besides [`NOTICE_VALUES`]: two links, empty where a notice has none, the tag of the language,
/// the function that says a text, and the template itself.
const TEMPLATES_ALONE: &[&str] = &["language", "link", "not_me", "say", "self"];

macro_rules! built_in {
    ($($name:literal),+ $(,)?) => { &[$(($name, include_str!(concat!("../templates/", $name)))),+] };
}

/// The built-in templates.
const BUILT_IN: &[(&str, &str)] = built_in![
    "activation-link/body.html",
    "activation-link/body.txt",
    "activation-link/subject.txt",
    "layout.html",
    "layout.txt",
    "password-changed/body.html",
    "password-changed/body.txt",
    "password-changed/subject.txt",
    "password-replaced/body.html",
    "password-replaced/body.txt",
    "password-replaced/subject.txt",
    "password-unsure/body.html",
    "password-unsure/body.txt",
    "password-unsure/subject.txt",
    "recovery-refused/body.html",
    "recovery-refused/body.txt",
    "recovery-refused/subject.txt",
    "reset-link/body.html",
    "reset-link/body.txt",
    "reset-link/subject.txt",
];

/// A notice in words. It holds links, so it has no `Debug` and is wiped when dropped.
pub struct Rendered {
    /// The tag of its language.
    pub language: String,
    /// One line.
    pub subject: String,
    /// The plain text; lines end with a line feed.
    pub text: Zeroizing<String>,
    /// The HTML document.
    pub html: Zeroizing<String>,
}

/// A template of an operator, in place of the built-in one of the same name.
pub struct TemplateFile {
    /// Its name within the folder, such as `reset-link/body.html`.
    pub name: String,
    /// Where it is, for faults.
    pub place: String,
    /// Its text.
    pub text: String,
}

/// All templates, compiled.
pub(crate) struct Templates {
    environment: Environment<'static>,
    /// Where the templates that are not built in come from, by name.
    places: BTreeMap<String, String>,
}

impl Messages {
    /// Says a notice in the language of its recipient.
    ///
    /// # Errors
    /// Says in words why this notice can't be said: its link is missing, or the result is no proper message.
    pub fn render(&self, notice: &Notice) -> Result<Rendered, String> {
        self.templates.render(notice, &self.config, &self.words)
    }
}

impl Templates {
    /// Compiles the built-in templates and an operator's, and tries each out.
    ///
    /// # Errors
    /// Every mistake, each with file and line.
    pub(crate) fn compile(
        files: Vec<TemplateFile>,
        config: &MessagesConfig,
        words: &Words,
    ) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let mut templates = Self { environment, places: BTreeMap::new() };
        for (name, text) in BUILT_IN {
            if let Err(error) = templates.environment.add_template(name, text) {
                faults.push(templates.describe(&error));
            }
        }
        for file in files {
            if !BUILT_IN.iter().any(|(name, _)| *name == file.name) {
                faults.push(format!("{}: there is no template of this name", file.place));
                continue;
            }
            templates.places.insert(file.name.clone(), file.place.clone());
            match templates.environment.add_template_owned(file.name.clone(), file.text.clone()) {
                Err(error) => faults.push(templates.describe(&error)),
                Ok(()) => faults.extend(templates.unknown_variables(&file)),
            }
        }
        if faults.is_empty() {
            faults = templates.try_out(config, words);
        }
        if faults.is_empty() { Ok(templates) } else { Err(faults) }
    }

    /// Variables that no notice has, also in branches that a trial would not reach.
    fn unknown_variables(&self, file: &TemplateFile) -> Vec<String> {
        let Ok(template) = self.environment.get_template(&file.name) else { return Vec::new() };
        let known: Vec<_> = NOTICE_VALUES.iter().chain(TEMPLATES_ALONE).copied().collect();
        let mut unknown: Vec<_> = template.undeclared_variables(false).into_iter().collect();
        unknown.retain(|name| !known.contains(&name.as_str()));
        unknown.sort();
        let faults = unknown.into_iter().map(|name| {
            let named = |line: &str| line.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == name);
            let line = file.text.lines().position(named).map_or(1, |index| index + 1);
            format!("{}:{line}: unknown variable {name}; known are {}", file.place, known.join(", "))
        });
        faults.collect()
    }

    /// Says every kind of notice, with everything it may have and with as little as possible, in every language.
    fn try_out(&self, config: &MessagesConfig, words: &Words) -> Vec<String> {
        let mut faults = Vec::new();
        for kind in NoticeKind::ALL {
            for language in words.languages() {
                for rich in [true, false] {
                    let link = || Link::new("https://reset.example.org/r/x".to_owned());
                    let with_link = rich || needs_link(kind);
                    let sample = Notice {
                        id: NoticeId::from_bytes([0; 22]),
                        kind,
                        languages: vec![language.to_owned()],
                        login: "ada".to_owned(),
                        name: rich.then(|| "Ada".to_owned()),
                        link: with_link.then(link),
                        not_me: rich.then(link),
                        valid_for: with_link.then_some(Duration::from_mins(30)),
                        at: Timestamp::from_millis(0),
                    };
                    faults.extend(self.render(&sample, config, words).err());
                }
            }
        }
        faults.sort();
        faults.dedup();
        faults
    }

    fn render(&self, notice: &Notice, config: &MessagesConfig, words: &Words) -> Result<Rendered, String> {
        let kind = notice.kind.word();
        if needs_link(notice.kind) && (notice.link.is_none() || notice.valid_for.is_none()) {
            return Err(format!("a message of the kind {kind} has no link"));
        }
        let language = words.pick(&notice.languages).to_owned();
        let context = context(notice, &language, config, words);
        let say = |part: &str| {
            let name = format!("{kind}/{part}");
            let said = self.environment.get_template(&name).and_then(|template| template.render(context.clone()));
            said.map(|text| tidy(&Zeroizing::new(text))).map_err(|error| self.describe(&error))
        };
        let subject = say("subject.txt")?.trim().to_owned();
        if subject.is_empty() || subject.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            let place = self.place(&format!("{kind}/subject.txt"));
            return Err(format!("{place}: a subject is one line of text"));
        }
        Ok(Rendered { language, subject, text: say("body.txt")?, html: say("body.html")? })
    }

    fn place(&self, name: &str) -> String {
        self.places.get(name).cloned().unwrap_or_else(|| format!("the built-in {name}"))
    }

    /// An error of a template in words, with file and line. It never repeats a value.
    fn describe(&self, error: &Error) -> String {
        // The outermost error names the template that was asked for, the innermost the one that is wrong.
        let mut innermost = error;
        while let Some(source) = std::error::Error::source(innermost).and_then(|source| source.downcast_ref()) {
            innermost = source;
        }
        let place = self.place(innermost.name().or(error.name()).unwrap_or("template"));
        let line = innermost.line().or(error.line()).unwrap_or(1);
        let detail = innermost.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        format!("{place}:{line}: {}{detail}", innermost.kind())
    }
}

fn needs_link(kind: NoticeKind) -> bool {
    matches!(kind, NoticeKind::ActivationLink | NoticeKind::ResetLink)
}

/// What one notice gives to its templates.
fn context(notice: &Notice, language: &str, config: &MessagesConfig, words: &Words) -> Value {
    let languages = [language.to_owned()];
    let organisation = config.organisation.as_str();
    let mut values: BTreeMap<&'static str, String> = [
        ("organisation", organisation.to_owned()),
        ("service", config.service.clone()),
        (
            "help",
            config
                .help
                .clone()
                .unwrap_or_else(|| words.say(&languages, "help-default", &[("organisation", organisation)])),
        ),
        ("help_url", config.help_url.clone().unwrap_or_default()),
        ("sign_in_url", config.sign_in_url.clone().unwrap_or_default()),
        ("login", untrusted::login(&notice.login)),
        ("name", notice.name.as_deref().map(untrusted::name).unwrap_or_default()),
        ("at", moment(notice.at, &config.time_zone, words, &languages)),
        ("valid", notice.valid_for.map(|valid| span(valid, words, &languages)).unwrap_or_default()),
    ]
    .into();

    let arguments = Arc::new(values.clone());
    let words = words.clone();
    let say = move |id: String| {
        if !words.missing_ids(&[&id]).is_empty() {
            return Err(Error::new(ErrorKind::InvalidOperation, format!("there is no text named {id:?}")));
        }
        let args: Vec<_> = arguments.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Ok(words.say(&languages, &id, &args))
    };

    // Texts of the language files get no links: a link stands alone, where no sentence can become part of it.
    let link = |link: &Option<Link>| link.as_ref().map(|link| link.expose().to_owned()).unwrap_or_default();
    values.insert("language", language.to_owned());
    values.insert("link", link(&notice.link));
    values.insert("not_me", link(&notice.not_me));
    let values = values.into_iter().map(|(name, value)| {
        let address = matches!(name, "link" | "not_me" | "help_url" | "sign_in_url");
        (name, if address { address_value(value) } else { Value::from(value) })
    });
    Value::from_pairs(values.chain([("say", Value::from_function(say))]))
}

/// An address of our own that means the same in HTML as it is; escaping would only make its slashes unreadable.
fn address_value(address: String) -> Value {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b":/?=._~%#@,+-[]".contains(&b);
    if address.bytes().all(plain) { Value::from_safe_string(address) } else { Value::from(address) }
}

/// A moment as the language writes it, to the minute, with its time zone.
fn moment(at: Timestamp, zone: &TimeZone, words: &Words, languages: &[String]) -> String {
    let at = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default().to_zoned(zone.clone());
    let part = |format: &str| at.strftime(format).to_string();
    let (day, month, year) = (part("%-d"), part("%-m"), part("%Y"));
    let (clock, zone) = (part("%H:%M"), part("%Z"));
    let args: [(&str, &str); 5] =
        [("day", &day), ("month", &month), ("year", &year), ("clock", &clock), ("zone", &zone)];
    words.say(languages, "moment", &args)
}

/// A length of time in the largest unit that tells it exactly; below a minute it is one minute.
fn span(length: Duration, words: &Words, languages: &[String]) -> String {
    let minutes = length.as_secs().div_ceil(60).max(1);
    let (id, count) = match minutes {
        minutes if minutes % 1440 == 0 => ("span-days", minutes / 1440),
        minutes if minutes % 60 == 0 => ("span-hours", minutes / 60),
        minutes => ("span-minutes", minutes),
    };
    words.say(languages, id, &[("count", &count.to_string())])
}

/// Without white space at the ends of lines, with at most one empty line in a row and none at the beginning.
fn tidy(text: &str) -> Zeroizing<String> {
    let mut tidy = Zeroizing::new(String::with_capacity(text.len() + 1));
    let mut gap = false;
    for line in text.lines() {
        // "-- " is how mail programs know a signature.
        let line = if line == "-- " { line } else { line.trim_end() };
        if line.is_empty() {
            gap = !tidy.is_empty();
            continue;
        }
        if gap {
            tidy.push('\n');
            gap = false;
        }
        tidy.push_str(line);
        tidy.push('\n');
    }
    tidy
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_text_of_the_notices_is_said_somewhere() {
        let texts = include_str!("../words/en/notices.ftl").lines();
        let ids = texts.filter_map(|line| line.split_once(" = ")).map(|(id, _)| id).filter(|id| !id.starts_with(' '));
        let unsaid = |id: &&str| !BUILT_IN.iter().any(|(_, text)| text.contains(&format!("say(\"{id}\")")));
        assert_eq!(ids.filter(unsaid).collect::<Vec<_>>(), ["help-default"]);
    }

    #[test]
    fn lengths_of_time_are_told_in_the_largest_unit_that_is_exact() {
        let words = Words::built_in().unwrap();
        for (seconds, told) in
            [(1, "one minute"), (1800, "30 minutes"), (5400, "90 minutes"), (7200, "2 hours"), (604_800, "7 days")]
        {
            assert_eq!(span(Duration::from_secs(seconds), &words, &[]), told);
        }
    }

    #[test]
    fn text_is_tidied() {
        assert_eq!(*tidy("\n\n a \n\n\n\nb\n-- \nc\n\n"), " a\n\nb\n-- \nc\n");
    }
}
