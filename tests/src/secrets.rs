//! Whether something that must stay secret lies about in a file, in any of the forms that programs write bytes in.

use std::{
    fs,
    path::{Path, PathBuf},
};

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

/// A shorter text would be found everywhere by chance.
const SHORTEST: usize = 8;

/// Where any of these texts is found below a folder, or in a file: as it is, in hexadecimal, base64 or percent-encoded.
///
/// Gives the file and the form, never the text.
pub fn found_in(place: &Path, secrets: &[String]) -> Vec<String> {
    let forms: Vec<_> =
        secrets.iter().filter(|secret| secret.len() >= SHORTEST).flat_map(|secret| forms(secret)).collect();
    let mut found = Vec::new();
    for file in files(place) {
        // A file that has just gone holds nothing.
        let Ok(bytes) = fs::read(&file) else { continue };
        for (form, needle) in &forms {
            if bytes.windows(needle.len()).any(|window| window == needle.as_bytes()) {
                found.push(format!("{} holds a secret {form}", file.display()));
            }
        }
    }
    found.dedup();
    found
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
