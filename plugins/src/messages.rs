//! The `[messages]` section, and what becomes of it: words and templates, read from their folders and compiled once.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use rekeyd_core::settings::{Fault, Section};

use crate::render::{TemplateFile, Templates};
use crate::words::{self, Words, WordsFile};

/// What `[messages]` says.
#[derive(Clone, Debug)]
pub struct MessagesConfig {
    /// Whose service it is.
    pub organisation: String,
    /// What the password opens; the organisation where nothing is said.
    pub service: String,
    /// Whom people turn to when they are stuck, as in "turn to the service desk, room 101"; each language has its own where nothing is said.
    pub help: Option<String>,
    /// A page for people who are stuck.
    pub help_url: Option<String>,
    /// The page where people sign in.
    pub sign_in_url: Option<String>,
    /// The language for people who have no preference.
    pub default_language: String,
    /// The time zone in which messages tell times.
    pub time_zone: TimeZone,
    /// A folder of templates that replace built-in ones.
    pub templates: Option<PathBuf>,
    /// A folder of language files.
    pub words: Option<PathBuf>,
    lines: Lines,
}

/// Where keys stand whose faults show only in the files that they name.
#[derive(Clone, Copy, Debug)]
struct Lines {
    default_language: usize,
    templates: usize,
    words: usize,
}

/// Everything that is needed to say a notice in words.
pub struct Messages {
    /// What `[messages]` says.
    pub config: MessagesConfig,
    /// All languages.
    pub words: Words,
    pub(crate) templates: Templates,
}

impl MessagesConfig {
    /// Reads the section; every fault is reported to the document.
    pub fn read(section: &Section<'_>) -> Self {
        let folder = |key| {
            section.parsed(key, "Write the folder's path from the root.", |text| {
                if Path::new(text).is_absolute() {
                    Ok(PathBuf::from(text))
                } else {
                    Err("it is not an absolute path".into())
                }
            })
        };
        let organisation = line_of_text(section, "organisation").unwrap_or_else(|| "your organisation".to_owned());
        Self {
            service: line_of_text(section, "service").unwrap_or_else(|| organisation.clone()),
            organisation,
            help: line_of_text(section, "help"),
            help_url: url(section, "help_url"),
            sign_in_url: url(section, "sign_in_url"),
            default_language: section.text("default_language").unwrap_or_else(|| words::COMPLETE.to_owned()),
            time_zone: section
                .parsed(
                    "time_zone",
                    "Write a name of the time zone database, such as \"Europe/London\" or \"UTC\".",
                    |name| {
                        if name == "UTC" {
                            return Ok(TimeZone::UTC);
                        }
                        TimeZone::get(name)
                            .map_err(|_| "this machine knows no such time zone; the package tzdata has them".to_owned())
                    },
                )
                .unwrap_or(TimeZone::UTC),
            templates: folder("templates"),
            words: folder("words"),
            lines: Lines {
                default_language: section.line_of("default_language"),
                templates: section.line_of("templates"),
                words: section.line_of("words"),
            },
        }
    }
}

impl Messages {
    /// Reads the folders and compiles everything, so that a mistake shows here and not when a message is due.
    ///
    /// # Errors
    /// Every fault, each with the place in its file.
    pub fn load(config: MessagesConfig) -> Result<Self, Vec<Fault>> {
        let fault = |key: &str, what: String, remedy: &str| Fault {
            line: match key {
                "templates" => config.lines.templates,
                _ if config.words.is_some() => config.lines.words,
                // Without a folder of words, all that can be wrong with them is the choice of a default.
                _ => config.lines.default_language,
            },
            key: format!("messages.{key}"),
            what,
            remedy: remedy.to_owned(),
        };
        let mut faults = Vec::new();
        let mut files = |key: &str, folder: Option<&PathBuf>, endings: &[&str]| {
            let found = folder.map_or_else(|| Ok(Vec::new()), |folder| read_folder(folder, endings));
            found.unwrap_or_else(|what| {
                faults.push(fault(key, what, "Let the service read the folder, or remove the key."));
                Vec::new()
            })
        };
        let word_files = files("words", config.words.as_ref(), &["ftl"]).into_iter().map(|(name, place, text)| {
            // Both `cy.ftl` and `cy/anything.ftl` are Welsh.
            let tag = name.split(['/', '.']).next().unwrap_or_default().to_owned();
            WordsFile { tag, place, text }
        });
        let word_files: Vec<_> = word_files.collect();
        let template_files = files("templates", config.templates.as_ref(), &["txt", "html"]).into_iter();
        let template_files = template_files.map(|(name, place, text)| TemplateFile { name, place, text }).collect();

        let words = Words::load(&word_files, &config.default_language).map_err(|whats| {
            let remedy = "Mend the language file, or name another default_language.";
            faults.extend(whats.into_iter().map(|what| fault("words", what, remedy)));
        });
        let Ok(words) = words else { return Err(faults) };
        let templates = Templates::compile(template_files, &config, &words).map_err(|whats| {
            faults.extend(whats.into_iter().map(|what| fault("templates", what, "Mend the template.")));
        });
        match templates {
            Ok(templates) if faults.is_empty() => Ok(Self { config, words, templates }),
            _ => Err(faults),
        }
    }
}

/// A text for a person: one line of printable characters.
fn line_of_text(section: &Section<'_>, key: &'static str) -> Option<String> {
    section.parsed(key, "Write one line of text.", |text| {
        if text.trim().is_empty() {
            Err("it is empty".into())
        } else if text.chars().any(char::is_control) {
            Err("it has line breaks or control characters".into())
        } else {
            Ok(text.trim().to_owned())
        }
    })
}

fn url(section: &Section<'_>, key: &'static str) -> Option<String> {
    section.parsed(key, "Write a whole address, such as \"https://www.example.org/help\".", |text| {
        let fine = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}'".contains(&b));
        let known = ["https://", "http://", "mailto:"].iter().any(|scheme| text.starts_with(scheme));
        if fine && known { Ok(text.to_owned()) } else { Err("it is not an address of the web or of mail".into()) }
    })
}

/// The files of a folder and of its sub-folders one level down, as name within the folder, place and text.
fn read_folder(folder: &Path, endings: &[&str]) -> Result<Vec<(String, String, String)>, String> {
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((path, prefix)) = folders.pop() {
        let cannot = |error: std::io::Error| format!("{} can't be read: {}", path.display(), error.kind());
        for item in fs::read_dir(&path).map_err(cannot)? {
            let item = item.map_err(cannot)?;
            let name = format!("{prefix}{}", item.file_name().to_string_lossy());
            let place = item.path();
            let ending = place.extension().and_then(|ending| ending.to_str());
            if place.is_dir() {
                if prefix.is_empty() {
                    folders.push((place, format!("{name}/")));
                }
            } else if ending.is_some_and(|ending| endings.contains(&ending)) {
                let text = fs::read_to_string(&place);
                let text = text.map_err(|error| format!("{} can't be read: {}", place.display(), error.kind()))?;
                files.push((name, place.display().to_string(), text));
            }
        }
    }
    files.sort();
    Ok(files)
}
