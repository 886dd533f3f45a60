//! Whether something that must stay secret lies about in a file, in any of the forms that programs write bytes in.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use regex::bytes::{Regex, RegexBuilder};

/// A shorter text would be found everywhere by chance.
const SHORTEST: usize = 8;

/// Texts that must be found nowhere, in every form that programs write bytes in; made once for many places.
pub struct Needles {
    forms: HashMap<Vec<u8>, &'static str>,
    any: Option<Regex>,
}

impl Needles {
    /// Takes the texts; those that are too short to be told from chance are left out.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a String>) -> Self {
        let secrets = secrets.into_iter().filter(|secret| secret.len() >= SHORTEST);
        let forms: HashMap<_, _> =
            secrets.flat_map(|secret| forms(secret)).map(|(form, text)| (text.into_bytes(), form)).collect();
        // One search for all of them: a file may be long, and there may be thousands.
        let texts: Vec<_> = forms.keys().map(|text| regex::escape(&String::from_utf8_lossy(text))).collect();
        let any = RegexBuilder::new(&texts.join("|")).size_limit(1 << 30).build().expect("a pattern");
        Self { any: (!forms.is_empty()).then_some(any), forms }
    }

    /// The forms in which any of the texts is found in some bytes.
    pub fn found_in(&self, bytes: &[u8]) -> BTreeSet<&'static str> {
        let found = self.any.iter().flat_map(|any| any.find_iter(bytes));
        found.filter_map(|found| self.forms.get(found.as_bytes()).copied()).collect()
    }

    /// Where they are found below a folder, or in a file: the file and the form, never the text.
    pub fn found_below(&self, place: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for file in files(place) {
            // A file that has just gone holds nothing.
            let Ok(bytes) = fs::read(&file) else { continue };
            let forms = self.found_in(&bytes);
            found.extend(forms.iter().map(|form| format!("{} holds a secret {form}", file.display())));
        }
        found
    }
}

/// Where any of these texts is found below a folder, or in a file: as it is, in hexadecimal, base64 or percent-encoded.
///
/// Gives the file and the form, never the text.
pub fn found_in(place: &Path, secrets: &[String]) -> Vec<String> {
    Needles::new(secrets).found_below(place)
}

fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let bytes = secret.as_bytes();
    let mut forms = vec![
        ("as it is", secret.to_owned()),
        ("in hexadecimal", HEXLOWER.encode(bytes)),
        ("in hexadecimal", HEXUPPER.encode(bytes)),
    ];
    for (form, encoded) in
        [("percent-encoded", crate::http::encode(secret)), ("as a form's field", secret.replace(' ', "+"))]
    {
        if encoded != secret {
            forms.push((form, encoded));
        }
    }
    // Within a longer text a secret begins at any of three places of a group; letters that neighbours share are left out.
    for shift in 0..3 {
        let shifted = [&vec![0; shift][..], bytes].concat();
        let whole = shifted.len() / 3 * 3;
        for alphabet in [BASE64_NOPAD, BASE64URL_NOPAD] {
            let encoded = alphabet.encode(&shifted[..whole]);
            forms.push(("in base64", encoded[if shift == 0 { 0 } else { 4 }..].to_owned()));
        }
    }
    forms
}

fn files(place: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(place) else { return vec![place.to_owned()] };
    entries.filter_map(Result::ok).flat_map(|entry| files(&entry.path())).collect()
}
