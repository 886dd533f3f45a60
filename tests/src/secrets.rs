//! Whether something that must stay secret lies about, in any of the forms that programs write bytes in.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use regex::bytes::{Regex, RegexBuilder};

/// A shorter text would be found everywhere by chance.
const SHORTEST: usize = 8;

/// What is looked for: texts, each in every form.
pub struct Search {
    pattern: Option<Regex>,
    forms: BTreeMap<Vec<u8>, &'static str>,
}

impl Search {
    /// Looks for these.
    pub fn new(secrets: &[String]) -> Self {
        let long = secrets.iter().filter(|secret| secret.len() >= SHORTEST);
        let forms: BTreeMap<_, _> =
            long.flat_map(|secret| forms(secret)).map(|(form, needle)| (needle, form)).collect();
        // The longer first, so that the form that is named is the one that was written.
        let mut needles: Vec<_> = forms.keys().collect();
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        let pattern: Vec<_> = needles.into_iter().map(|needle| literal(needle)).collect();
        let pattern = (!pattern.is_empty()).then(|| {
            let mut builder = RegexBuilder::new(&pattern.join("|"));
            builder.unicode(false).size_limit(1 << 30).build().expect("a pattern of literals")
        });
        Self { pattern, forms }
    }

    /// What of it stands in these bytes. Gives their name and the form, never the text.
    pub fn in_bytes(&self, name: &str, bytes: &[u8]) -> Vec<String> {
        let Some(pattern) = &self.pattern else { return Vec::new() };
        // Mail breaks long lines anywhere.
        let unbroken = String::from_utf8_lossy(bytes).replace("=\r\n", "").replace("=\n", "");
        let mut found: Vec<_> = pattern
            .find_iter(bytes)
            .chain(pattern.find_iter(unbroken.as_bytes()))
            .map(|hit| {
                format!("{name} holds a secret {}", self.forms.get(hit.as_bytes()).copied().unwrap_or("somehow"))
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// What of it stands in a file, or in any file below a folder, or in their names.
    pub fn below(&self, place: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for file in files(place) {
            let name = file.display().to_string();
            // A file that has just gone holds nothing.
            found.extend(self.in_bytes(&name, &fs::read(&file).unwrap_or_default()));
            found.extend(self.in_bytes("the name of a file", name.as_bytes()));
        }
        found
    }
}

/// Where any of these texts is found below a folder, or in a file, in any form.
pub fn found_in(place: &Path, secrets: &[String]) -> Vec<String> {
    Search::new(secrets).below(place)
}

/// All forms of a secret that tell it, with their names.
fn forms(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = secret.as_bytes();
    let mut forms = of_bytes(bytes);
    let mut add = |form, text: String| forms.push((form, text.into_bytes()));
    add("percent-encoded", encoded(secret, |byte| byte.is_ascii_alphanumeric(), |byte| format!("%{byte:02X}")));
    add("percent-encoded", encoded(secret, |byte| byte.is_ascii_alphanumeric(), |byte| format!("%{byte:02x}")));
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    add("percent-encoded", encoded(secret, unreserved, |byte| format!("%{byte:02X}")));
    add("percent-encoded", encoded(secret, |_| false, |byte| format!("%{byte:02x}")));
    add("as a form's field", secret.replace(' ', "+"));
    add("as a form's field", crate::http::encode(secret).replace("%20", "+"));
    add(
        "as quoted-printable",
        encoded(secret, |byte| (b' '..=b'~').contains(&byte) && byte != b'=', |byte| format!("={byte:02X}")),
    );
    add("as markup", secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;"));
    let json = serde_json::to_string(secret).expect("a text");
    add("in JSON", json[1..json.len() - 1].to_owned());
    add("in JSON", json[1..json.len() - 1].replace('/', "\\/"));
    let mut units = String::new();
    let mut ascii = String::new();
    for unit in secret.encode_utf16() {
        write!(units, "\\u{unit:04x}").expect("a text");
        match u8::try_from(unit) {
            Ok(byte) if (b' '..=b'~').contains(&byte) => ascii.push(char::from(byte)),
            _ => write!(ascii, "\\u{unit:04x}").expect("a text"),
        }
    }
    add("in JSON", units);
    add("in JSON", ascii);
    let debug = format!("{secret:?}");
    add("as Rust shows a text", debug[1..debug.len() - 1].to_owned());
    add("as Rust shows bytes", bytes.escape_ascii().to_string());
    let list = |text: String| text.trim_matches(['[', ']']).to_owned();
    add("as a list of numbers", list(format!("{bytes:?}")));
    add("as a list of numbers", list(format!("{bytes:?}")).replace(' ', ""));
    add(
        "as a list of numbers",
        list(format!("{bytes:#x?}").replace("\n    ", " ").replace(",\n", "")).trim().to_owned(),
    );
    forms.push(("in UTF-16", secret.encode_utf16().flat_map(u16::to_le_bytes).collect()));
    forms.push(("in UTF-16", secret.encode_utf16().flat_map(u16::to_be_bytes).collect()));
    // A key or token is bytes, and its text only one way to write them. Half of them is too much, too.
    for alphabet in [BASE64_NOPAD, BASE64URL_NOPAD] {
        if let Ok(decoded) = alphabet.decode(secret.trim_end_matches('=').as_bytes())
            && decoded.len() >= 2 * SHORTEST
        {
            forms.extend(of_bytes(&decoded));
            forms.extend(of_bytes(&decoded[decoded.len() / 2..]));
        }
    }
    forms.retain(|(_, needle)| needle.len() >= SHORTEST);
    forms
}

/// The forms that any bytes have.
fn of_bytes(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![
        ("as it is", bytes.to_vec()),
        ("in hexadecimal", HEXLOWER.encode(bytes).into_bytes()),
        ("in hexadecimal", HEXUPPER.encode(bytes).into_bytes()),
    ];
    // Within a longer text a secret begins at any of three places of a group; letters that neighbours share are left out.
    for shift in 0..3 {
        let shifted = [&vec![0; shift][..], bytes].concat();
        let whole = shifted.len() / 3 * 3;
        for alphabet in [BASE64_NOPAD, BASE64URL_NOPAD] {
            let encoded = alphabet.encode(&shifted[..whole]);
            forms.push(("in base64", encoded.as_bytes()[if shift == 0 { 0 } else { 4 }..].to_vec()));
        }
    }
    forms
}

fn encoded(text: &str, stays: impl Fn(u8) -> bool, encode: impl Fn(u8) -> String) -> String {
    text.bytes().map(|byte| if stays(byte) { char::from(byte).to_string() } else { encode(byte) }).collect()
}

/// A pattern that matches these bytes and nothing else.
fn literal(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| ["\\x".to_owned(), HEXLOWER.encode(&[*byte])]).collect()
}

fn files(place: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(place) else { return vec![place.to_owned()] };
    entries.filter_map(Result::ok).flat_map(|entry| files(&entry.path())).collect()
}
