//! Which languages somebody reads, by their browser's word, and which way they are written.

/// No more than so many languages are taken from a header.
const MOST: usize = 8;
/// No more of a header than this is read.
const LONGEST: usize = 512;

/// The tags of an `Accept-Language` header, most wanted first. What can't be read is left out.
pub fn accepted(header: &str) -> Vec<String> {
    let mut wanted: Vec<(u16, String)> = header
        .get(..LONGEST.min(header.len()))
        .unwrap_or_default()
        .split(',')
        .filter_map(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let tag = parts.next().and_then(tag)?;
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1000), weight)?;
            (weight > 0).then_some((weight, tag))
        })
        .take(MOST)
        .collect();
    wanted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    wanted.into_iter().map(|(_, tag)| tag).collect()
}

/// A language tag in the shape of BCP 47, such as `cy` or `pt-BR`.
pub fn tag(text: &str) -> Option<String> {
    let mut parts = text.split('-');
    let language = parts.next()?;
    let fits = text.len() <= 35
        && (2..=8).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    fits.then(|| text.to_owned())
}

/// `rtl` for languages that are written from right to left, else `ltr`.
pub fn direction(tag: &str) -> &'static str {
    let language = tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    match language.as_str() {
        "ar" | "ckb" | "dv" | "fa" | "he" | "ps" | "sd" | "ug" | "ur" | "yi" => "rtl",
        _ => "ltr",
    }
}

/// A weight from 0 to 1 in thousandths.
fn weight(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part = match part.len() {
        0 => 0,
        length @ 1..=3 if part.bytes().all(|byte| byte.is_ascii_digit()) => {
            part.parse::<u16>().ok()? * [100, 10, 1].get(length - 1)?
        }
        _ => return None,
    };
    match whole {
        "0" => Some(part),
        "1" if part == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_wanted_comes_first() {
        for (header, expected) in [
            ("cy", &["cy"][..]),
            ("en;q=0.5, cy-GB", &["cy-GB", "en"]),
            ("de;q=0.9,fr;q=0.95,*;q=0.1", &["fr", "de"]),
            ("de;q=0,en", &["en"]),
            ("en,de", &["en", "de"]),
            ("*", &[]),
            ("", &[]),
            ("../../etc/passwd", &[]),
            ("en;q=2", &[]),
            ("en;q=0.1234", &[]),
            ("<script>", &[]),
        ] {
            assert_eq!(accepted(header), expected, "{header}");
        }
    }

    #[test]
    fn t106_a_long_header_is_cut() {
        assert_eq!(accepted(&"en,".repeat(100_000)).len(), MOST);
        assert!(accepted(&"\u{e9}".repeat(400)).is_empty());
    }

    #[test]
    fn tags_have_their_shape() {
        for good in ["en", "cy-GB", "zh-Hant-TW", "x2".replace('2', "x").as_str()] {
            assert_eq!(tag(good).as_deref(), Some(good));
        }
        for bad in ["", "e", "en_GB", "en-", "-en", "e1", "en-toolongpart", "en GB", "en\n"] {
            assert_eq!(tag(bad), None, "{bad}");
        }
        assert_eq!((direction("ar-EG"), direction("cy")), ("rtl", "ltr"));
    }
}
