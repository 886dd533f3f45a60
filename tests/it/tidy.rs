//! The rules of the house that a compiler does not know, read from the sources themselves.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use regex::Regex;
use rekeyd_tests::{
    tests,
    world::{World, program},
};

tests! {
    fn tidy_a_claim_is_witnessed_by_the_store_alone;
    fn tidy_core_is_pure;
    fn tidy_each_outside_has_one_door;
    fn tidy_every_refusal_stands_in_the_manual;
    fn tidy_every_source_opens_with_what_it_decides;
    fn tidy_imports_go_down_the_floors;
    fn tidy_no_exceptions_from_the_lints_outside_tests;
    fn tidy_no_getters_no_aliases_no_ignored_tests;
    fn tidy_nested_imports_are_read;
    fn tidy_nothing_depends_on_one_machine;
    fn tidy_sources_are_short;
    fn tidy_tests_are_named_after_what_they_prove;
    async fn tidy_the_sample_configuration_names_every_key;
}

/// What each part of the daemon may name of the others. `*` is everything.
const FLOORS: &[(&str, &[&str])] = &[
    ("admin", &["flow"]),
    ("bin", &["*"]),
    ("command", &["*"]),
    ("cli", &["admin::protocol", "config", "directory", "flow", "store"]),
    ("config", &["admin", "directory", "flow", "http", "logging", "store"]),
    ("demo", &["*"]),
    ("directory", &[]),
    ("flow", &["directory", "store"]),
    ("http", &["flow"]),
    ("lib", &["*"]),
    ("logging", &[]),
    ("serve", &["*"]),
    ("store", &[]),
];

/// Which parts of the daemon may name the crate of the channels.
const KNOW_CHANNELS: &[&str] = &["bin", "cli", "config", "demo", "flow", "lib", "serve"];

/// A crate that opens a way out of the process, and the only parts of the workspace that may name it.
const WAYS_OUT: &[(&str, &[&str])] = &[
    (
        "hyper",
        &["daemon/src/admin", "daemon/src/cli", "daemon/src/http", "daemon/src/serve.rs", "plugins/src", "tests/"],
    ),
    ("ldap3", &["daemon/src/directory/", "tests/"]),
    ("lettre", &["plugins/src/"]),
    ("rusqlite", &["daemon/src/store/", "tests/"]),
];

/// A file of more lines of code, without comments and its own tests, decides more than one thing.
const LONGEST: usize = 400;

/// A file of Rust.
struct Source {
    /// From the root of the workspace.
    path: String,
    text: String,
    /// Whether it is compiled for tests only.
    tests: bool,
}

impl Source {
    /// The lines that are code, without comments and without the file's own tests.
    fn code(&self) -> String {
        let own_tests = Regex::new(r"(?m)^#\[cfg\(test\)\]\n(?:pub(?:\([a-z]+\))? )?mod \w+ \{").expect("a pattern");
        let text = own_tests.split(&self.text).next().unwrap_or_default();
        let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        code.join("\n")
    }

    fn is_test(&self) -> bool {
        self.tests || self.path.starts_with("tests/") || self.path.contains("/tests/")
    }

    /// The modules in files of their own that it declares for tests only, as the beginning of their paths.
    fn test_modules(&self) -> Vec<String> {
        let declared = Regex::new(r"#\[cfg\(test\)\]\n(?:pub(?:\([a-z]+\))? )?mod (\w+);").expect("a pattern");
        let stem = self.path.trim_end_matches("/mod.rs").trim_end_matches("/lib.rs").trim_end_matches(".rs");
        declared.captures_iter(&self.text).map(|found| format!("{stem}/{}", &found[1])).collect()
    }

    /// The part of the daemon that it belongs to.
    fn part(&self) -> Option<&str> {
        let path = self.path.strip_prefix("daemon/src/")?;
        path.split('/').next()?.split('.').next()
    }
}

fn tidy_every_source_opens_with_what_it_decides() {
    let faults = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    none(faults.map(|source| source.path));
}

fn tidy_sources_are_short() {
    let long = sources().into_iter().map(|source| (source.code().lines().count(), source.path));
    none(long.filter(|(lines, _)| *lines > LONGEST).map(|(lines, path)| format!("{path}: {lines} lines")));
}

fn tidy_imports_go_down_the_floors() {
    let mut faults = Vec::new();
    for source in sources() {
        let Some(part) = source.part() else { continue };
        let Some((_, allowed)) = FLOORS.iter().find(|(name, _)| *name == part) else {
            faults.push(format!("{}: no floor is known for this part", source.path));
            continue;
        };
        let code = source.code();
        for named in named_below("crate", &code) {
            let first = named.split("::").next().unwrap_or_default();
            let fine = first == part
                || allowed
                    .iter()
                    .any(|one| *one == "*" || *one == named || named.starts_with(&format!("{one}::")) || *one == first);
            // `crate::Rekeyd` and the like would hide where a thing comes from, so the root may hold modules only.
            if !fine {
                faults.push(format!("{} names crate::{named}", source.path));
            }
        }
        // Secrets are read in one way; their reader lies on the lowest floor that needs one, beside the channels.
        let channels = code.replace("rekeyd_plugins::secret", "");
        if channels.contains("rekeyd_plugins") && !KNOW_CHANNELS.contains(&part) {
            faults.push(format!("{} names rekeyd_plugins", source.path));
        }
    }
    none(faults);
}

fn tidy_nested_imports_are_read() {
    let code = "use crate::{flow::{reset, Claimed}, store, directory::ldap::Pool,\n};\nlet x = crate::http::page();";
    let named = ["flow::reset", "flow::Claimed", "store", "directory::ldap", "http::page"];
    assert_eq!(named_below("crate", code), named);
}

fn tidy_each_outside_has_one_door() {
    let mut faults = Vec::new();
    for source in sources() {
        for (name, places) in WAYS_OUT {
            let named = Regex::new(&format!(r"\b{name}::")).expect("a pattern").is_match(&source.code());
            if named && !places.iter().any(|place| source.path.starts_with(place)) {
                faults.push(format!("{} names {name}", source.path));
            }
        }
    }
    none(faults);
}

fn tidy_core_is_pure() {
    let impure = Regex::new(
        r"\b(std::(env|fs|process|thread)\b|Tcp(Stream|Listener)|UdpSocket|Unix(Stream|Listener)|ToSocketAddrs|SystemTime|Instant\b|(Timestamp|Zoned)::now|SystemRandom|tokio|log::)",
    )
    .expect("a pattern");
    let core = sources().into_iter().filter(|source| source.path.starts_with("daemon/core/src/"));
    none(core.flat_map(|source| {
        let found: Vec<_> = impure.find_iter(&source.code()).map(|found| found.as_str().to_owned()).collect();
        found.into_iter().map(move |found| format!("{} names {found}", source.path)).collect::<Vec<_>>()
    }));
}

fn tidy_no_getters_no_aliases_no_ignored_tests() {
    let unwanted = Regex::new(r"\bfn get_|#\[ignore|^(pub(\(crate\))? )?type \w+ = ").expect("a pattern");
    none(lines_with(&unwanted, |source| source.text.clone()));
}

fn tidy_no_exceptions_from_the_lints_outside_tests() {
    let unwanted = Regex::new(
        r"#!?\[allow\(|\.unwrap\(\)|\.expect\([\x22&]|\b(panic|todo|unimplemented)!\(|\[expect\(.*(unwrap_used|expect_used|indexing_slicing|panic\b)",
    )
    .expect("a pattern");
    none(lines_with(&unwanted, |source| if source.is_test() { String::new() } else { source.code() }));
}

fn tidy_nothing_depends_on_one_machine() {
    // Put together here, so that this file does not name them either.
    let folders = ["home", "root", "work"].map(|folder| format!(r#"["'=\s]/{folder}/\w"#)).join("|");
    let unwanted = Regex::new(&folders).expect("a pattern");
    let mut faults = Vec::new();
    for path in files(&root()) {
        // What is not text has no paths to read.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        if let Some(line) = text.lines().find(|line| unwanted.is_match(line)) {
            faults.push(format!("{}: {line}", relative(&path)));
        }
    }
    none(faults);
}

fn tidy_a_claim_is_witnessed_by_the_store_alone() {
    let witness = Regex::new(r"\bClaimed::witness\(").expect("a pattern");
    let found = sources().into_iter().filter(|source| witness.is_match(&source.code()) && !source.is_test());
    let places: Vec<_> = found.map(|source| source.path).collect();
    assert!(!places.is_empty(), "nobody makes a claim any more; does this test look for the right name?");
    none(places.into_iter().filter(|path| !path.starts_with("daemon/src/store/")));
}

fn tidy_every_refusal_stands_in_the_manual() {
    let manual = fs::read_to_string(root().join("packaging/man/rekeyctl.8.md")).expect("the manual");
    let law = fs::read_to_string(root().join("daemon/core/src/policy/refusal.rs")).expect("the law");
    let code = Regex::new(r#"Self::\w+ => "([a-z-]+)","#).expect("a pattern");
    let codes: BTreeSet<_> = code.captures_iter(&law).map(|found| found[1].to_owned()).collect();
    assert!(codes.len() >= 20, "{codes:?}");
    none(codes.into_iter().filter(|code| !manual.contains(&format!("**{code}**"))));
}

fn tidy_tests_are_named_after_what_they_prove() {
    let name = Regex::new(r"(?m)^    (?:async )?fn (\w+);$").expect("a pattern");
    let prefix = Regex::new(r"^(b2_\d+|ctl|d6|demo|hook|p\d|r\d+|rig|run|s\d_\d+|t\d+|tidy)_[a-z]").expect("a pattern");
    let lists = sources().into_iter().filter(|source| source.path.starts_with("tests/it/"));
    let names: Vec<String> = lists
        .flat_map(|source| name.captures_iter(&source.text).map(|found| found[1].to_owned()).collect::<Vec<_>>())
        .collect();
    assert!(names.len() > 100, "{names:?}");
    none(names.into_iter().filter(|name| !prefix.is_match(name)));
}

/// The daemon itself says which keys it knows: to whoever writes one that it does not.
async fn tidy_the_sample_configuration_names_every_key() {
    let sample = fs::read_to_string(root().join("config/rekeyd.toml")).expect("the sample");
    let written = keys_of(&sample);
    let sections: BTreeSet<_> = written.iter().map(|(section, _)| section.clone()).collect();
    let mut known = BTreeSet::new();
    // Some sections have other keys for another kind.
    for (directory, channel) in [("openldap", "email"), ("ldif", "file")] {
        let world = World::builder().prepare().await;
        world.set("directory.kind", &format!("{directory:?}"));
        world.set("channel.kind", &format!("{channel:?}"));
        for section in &sections {
            world.set(format!("{section}.{STRANGER}").trim_start_matches('.'), "1");
        }
        let mut command = Command::new(program("rekeyd"));
        command.arg("--check").arg("--config").arg(world.config());
        known.extend(known_keys(&rekeyd_tests::acts::run(command, "").err));
    }
    let is_section =
        |(section, key): &(String, String)| sections.contains(format!("{section}.{key}").trim_start_matches('.'));
    // A directory's own policy has the keys of the general one, which are explained there.
    let is_layer = |(section, _): &(String, String)| section.starts_with("directory.policy");
    let missing = known.difference(&written).filter(|key| !is_section(key) && !is_layer(key));
    let missing = missing.map(|(section, key)| format!("[{section}] {key} is not in the sample"));
    let strange =
        written.difference(&known).map(|(section, key)| format!("[{section}] {key} is not known to the daemon"));
    none(missing.chain(strange).collect::<Vec<_>>());
}

/// A key that no section knows, nor anything like it.
const STRANGER: &str = "qqqqqqqqqqqq";

/// What the daemon says of the stranger: which keys it knows instead, section by section.
fn known_keys(told: &str) -> BTreeSet<(String, String)> {
    let fault =
        Regex::new(&format!(r"line \d+: (?:([a-z._]+)\.)?{STRANGER}: .*known here are ([^\n]*)\.")).expect("a pattern");
    let mut keys = BTreeSet::new();
    for found in fault.captures_iter(told) {
        let section = found.get(1).map_or("", |name| name.as_str());
        keys.extend(found[2].split(", ").map(|key| (section.to_owned(), key.to_owned())));
    }
    keys
}

/// The keys of a configuration with their sections, those that are commented out included.
fn keys_of(text: &str) -> BTreeSet<(String, String)> {
    let heading = Regex::new(r"^(?:# ?)?\[+([a-z._]+)\]+$").expect("a pattern");
    let key = Regex::new(r"^(?:# ?)?([a-z_]+) = ").expect("a pattern");
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        if let Some(found) = heading.captures(line) {
            found[1].clone_into(&mut section);
        } else if let Some(found) = key.captures(line) {
            keys.insert((section.clone(), found[1].to_owned()));
        }
    }
    keys
}

/// Lists what is wrong, all of it at once.
fn none(faults: impl IntoIterator<Item = String>) {
    let mut faults: Vec<String> = faults.into_iter().collect();
    faults.sort();
    faults.dedup();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn lines_with(pattern: &Regex, text: impl Fn(&Source) -> String) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources() {
        // This file speaks of what it forbids.
        if source.path == "tests/it/tidy.rs" {
            continue;
        }
        let text = text(&source);
        found.extend(
            text.lines().filter(|line| pattern.is_match(line)).map(|line| format!("{}: {}", source.path, line.trim())),
        );
    }
    found
}

/// What a file names below a root, two steps deep: `use crate::{flow, store::Claimed}` gives `flow` and `store::Claimed`.
fn named_below(root: &str, code: &str) -> Vec<String> {
    let start = Regex::new(&format!(r"\b{root}::")).expect("a pattern");
    start.find_iter(code).flat_map(|found| expand(&code[found.end()..])).collect()
}

fn expand(text: &str) -> Vec<String> {
    let Some(inner) = text.strip_prefix('{') else {
        let path = Regex::new(r"^\w+(::\w+)?").expect("a pattern");
        let named = path.find(text).map(|found| found.as_str().to_owned()).unwrap_or_default();
        let Some(rest) = text[named.len()..].strip_prefix("::") else {
            return vec![named];
        };
        let nested = rest.starts_with('{') && !named.contains("::");
        return if nested {
            expand(rest).into_iter().map(|one| format!("{named}::{one}")).collect()
        } else {
            vec![named]
        };
    };
    let (mut depth, mut names, mut begin) = (0, Vec::new(), 0);
    for (place, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let one = inner[begin..place].trim();
                if !one.is_empty() {
                    names.extend(expand(one));
                }
                begin = place + 1;
                if letter == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

fn sources() -> Vec<Source> {
    let files = ["daemon", "plugins", "tests"].iter().flat_map(|part| files(&root().join(part)));
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source");
        Source { path: relative(&path), text, tests: false }
    };
    let mut sources: Vec<Source> = files.map(read).collect();
    let tests: Vec<_> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        let lies = |module: &String| {
            source.path.strip_prefix(module.as_str()).is_some_and(|rest| rest.starts_with(['.', '/']))
        };
        source.tests = tests.iter().any(lies);
    }
    sources
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "target" && name != ".git" {
            found.extend(files(&path));
        } else if path.is_file() && name != ".git" {
            found.push(path);
        }
    }
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("a path of the workspace").display().to_string()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}
