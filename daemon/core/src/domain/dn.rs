//! Distinguished names in the form in which they can be compared (RFC 4514, RFC 4518 in the parts that matter here).
//!
//! The normal form: attribute types by their short name in lower case, values unescaped, prepared (compatibility forms
//! and case folded, ignorable characters gone, white space collapsed) and escaped again in hexadecimal only, parts of
//! one RDN in order. A bare comma or plus is therefore always a separator.

use std::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;
use unicode_normalization::UnicodeNormalization;

/// The longest name taken, in bytes. Servers refuse far shorter ones.
const LONGEST: usize = 8192;

/// A parsed and normalised distinguished name. Two of them are equal when a directory holds them to be the same entry.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Dn(String);

/// A text that is no distinguished name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadDn;

impl fmt::Display for BadDn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no distinguished name")
    }
}

impl Dn {
    /// Parses a name as a server or an administrator writes it; white space around separators is taken, since people
    /// write it.
    ///
    /// # Errors
    /// [`BadDn`] for a text that RFC 4514 does not allow, for the empty name, and for one of more than 8 KiB.
    pub fn parse(text: &str) -> Result<Self, BadDn> {
        if text.len() > LONGEST {
            return Err(BadDn);
        }
        let mut rest = text;
        let mut rdns = Vec::new();
        loop {
            let (rdn, after) = rdn(rest)?;
            rdns.push(rdn);
            match after {
                Some(after) => rest = after,
                None => return Ok(Self(rdns.join(","))),
            }
        }
    }

    /// The name of the root, which no account has: where nothing is known yet.
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// The normal form, for reading, and good as a name to a server that ignores case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this entry lies somewhere beneath `base`. Nothing lies beneath itself.
    pub fn is_below(&self, base: &Self) -> bool {
        self.0.strip_suffix(base.0.as_str()).is_some_and(|rest| rest.ends_with(','))
    }
}

impl fmt::Display for Dn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads one RDN; what follows its comma is `Some`.
fn rdn(text: &str) -> Result<(String, Option<&str>), BadDn> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (kind, after) = rest.split_once('=').ok_or(BadDn)?;
        let kind = attribute_type(kind.trim())?;
        let (value, end) = value(after.trim_start_matches(' '))?;
        parts.push(format!("{kind}={value}"));
        match end {
            Some(End { separator: '+', after }) => rest = after,
            end => {
                parts.sort_unstable();
                parts.dedup();
                return Ok((parts.join("+"), end.map(|end| end.after)));
            }
        }
    }
}

/// The short name of an attribute type, in lower case, for each of its names.
fn attribute_type(text: &str) -> Result<String, BadDn> {
    let name = text.to_ascii_lowercase();
    let name = name.strip_prefix("oid.").unwrap_or(&name);
    let known = match name {
        "2.5.4.3" | "commonname" => "cn",
        "2.5.4.4" | "surname" => "sn",
        "2.5.4.5" => "serialnumber",
        "2.5.4.6" | "countryname" => "c",
        "2.5.4.7" | "localityname" => "l",
        "2.5.4.8" | "stateorprovincename" => "st",
        "2.5.4.9" | "streetaddress" => "street",
        "2.5.4.10" | "organizationname" => "o",
        "2.5.4.11" | "organizationalunitname" => "ou",
        "2.5.4.12" => "title",
        "2.5.4.42" | "gn" => "givenname",
        "0.9.2342.19200300.100.1.1" | "userid" => "uid",
        "0.9.2342.19200300.100.1.3" | "rfc822mailbox" => "mail",
        "0.9.2342.19200300.100.1.25" | "domaincomponent" => "dc",
        "1.2.840.113549.1.9.1" | "email" | "e" | "pkcs9email" => "emailaddress",
        other => other,
    };
    let is_oid = known.split('.').all(|arc| !arc.is_empty() && arc.bytes().all(|b| b.is_ascii_digit()));
    let is_name = known.starts_with(|c: char| c.is_ascii_alphabetic())
        && known.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b';');
    if is_oid || is_name { Ok(known.to_owned()) } else { Err(BadDn) }
}

/// What ends a value: its separator and the text after it.
struct End<'t> {
    separator: char,
    after: &'t str,
}

/// Reads one value up to its separator, and normalises it.
fn value(text: &str) -> Result<(String, Option<End<'_>>), BadDn> {
    if let Some(hex) = text.strip_prefix('#') {
        let length = hex.bytes().take_while(u8::is_ascii_hexdigit).count();
        let (digits, after) = hex.split_at_checked(length).ok_or(BadDn)?;
        let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| BadDn)?;
        if bytes.is_empty() {
            return Err(BadDn);
        }
        let end = end_of(after.trim_start_matches(' '))?;
        let value = string_in_ber(&bytes).map_or_else(|| format!("#{}", HEXLOWER_PERMISSIVE.encode(&bytes)), normal);
        return Ok((value, end));
    }
    let mut bytes = Vec::new();
    let mut chars = text.char_indices();
    // Length up to the last character that is not a bare space: trailing spaces belong to the separator.
    let mut kept = 0;
    loop {
        let Some((at, c)) = chars.next() else {
            bytes.truncate(kept);
            return Ok((normal(&bytes), None));
        };
        match c {
            ',' | '+' => {
                bytes.truncate(kept);
                let after = text.get(at + 1..).ok_or(BadDn)?;
                return Ok((normal(&bytes), Some(End { separator: c, after })));
            }
            '"' | ';' | '<' | '>' | '\0' => return Err(BadDn),
            '\\' => {
                let (_, escaped) = chars.next().ok_or(BadDn)?;
                match escaped {
                    ' ' | '"' | '#' | '+' | ',' | ';' | '<' | '=' | '>' | '\\' => bytes.push(escaped as u8),
                    high => {
                        let (_, low) = chars.next().ok_or(BadDn)?;
                        let digit = |c: char| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(BadDn);
                        bytes.push(digit(high)? << 4 | digit(low)?);
                    }
                }
                kept = bytes.len();
            }
            other => {
                bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                if other != ' ' {
                    kept = bytes.len();
                }
            }
        }
    }
}

fn end_of(text: &str) -> Result<Option<End<'_>>, BadDn> {
    let mut chars = text.chars();
    match chars.next() {
        None => Ok(None),
        Some(separator @ (',' | '+')) => Ok(Some(End { separator, after: chars.as_str() })),
        Some(_) => Err(BadDn),
    }
}

/// The text of a BER-encoded string, so that `#0c03616461` is `ada`; `None` for every other type.
fn string_in_ber(ber: &[u8]) -> Option<&[u8]> {
    let (tag, rest) = ber.split_first()?;
    let (length, content) = rest.split_first()?;
    // OCTET STRING, UTF8String, PrintableString, IA5String; long forms of the length are not strings of a DN.
    let is_string = matches!(tag, 0x04 | 0x0c | 0x13 | 0x16);
    (is_string && *length < 0x80 && usize::from(*length) == content.len()).then_some(content)
}

/// Prepares a value as RFC 4518 does for attributes that ignore case, and escapes it in hexadecimal.
fn normal(bytes: impl AsRef<[u8]>) -> String {
    let Ok(text) = std::str::from_utf8(bytes.as_ref()) else {
        return bytes.as_ref().iter().flat_map(|byte| escaped(*byte)).collect();
    };
    let mapped = text.chars().filter(|c| !is_ignorable(*c)).map(|c| if c.is_whitespace() { ' ' } else { c });
    let folded: String = mapped.nfkc().flat_map(char::to_lowercase).nfkc().collect();
    let mut out = String::with_capacity(folded.len());
    let words = folded.split(char::is_whitespace).filter(|word| !word.is_empty());
    for (i, word) in words.enumerate() {
        if i > 0 {
            out.push(' ');
        }
        for c in word.chars() {
            match c {
                special @ ('"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' | '\0') => out.extend(escaped(special as u8)),
                '#' if out.is_empty() => out.push_str("\\23"),
                c => out.push(c),
            }
        }
    }
    out
}

/// A byte as a name writes it where it can't stand for itself.
fn escaped(byte: u8) -> [char; 3] {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    ['\\', digit(byte >> 4), digit(byte & 15)]
}

/// Characters that RFC 4518 maps to nothing. The control characters among them don't include white space.
fn is_ignorable(c: char) -> bool {
    (c.is_control() && c != '\0' && !matches!(c, '\t'..='\r' | '\u{85}'))
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{6dd}' | '\u{70f}' | '\u{1806}' | '\u{180b}'..='\u{180e}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2063}')
        || matches!(c, '\u{206a}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn t63_one_entry_has_one_normal_form() {
        for (normal, spellings) in [
            (
                "uid=ada,dc=example,dc=org",
                &["UID=Ada, DC=Example , dc=ORG", "userid=ada,0.9.2342.19200300.100.1.25=example,dc=org"][..],
            ),
            (
                "cn=o\\2c brien\\5c,o=x",
                &["cn=O\\2c Brien\\5c,o=x", "CN=O\\, Brien\\\\,o=X", "2.5.4.3=o\\,  brien\\5C,o=x"],
            ),
            ("cn=\\23x,o=x", &["cn=\\23x,o=x", "cn=\\#X,o=x"]),
            ("cn=ada,o=x", &["cn=#0c03616461,o=x", "cn=#0403414441,o=x", "oid.2.5.4.3=Ada,o=x", "cn=\\20ada\\20,o=x"]),
            ("cn=a+uid=b,o=x", &["cn=a+uid=b,o=x", "UID=b + CN=A,o=x"]),
            ("cn=caf\u{e9},o=x", &["cn=CAFE\u{301},o=x", "cn=caf\\C3\\A9,o=x", "cn=ca\u{ad}f\u{e9},o=x"]),
            ("cn=\\ff\\fe,o=x", &["cn=\\ff\\fe,o=x", "cn=\\FF\\FE,o=x"]),
            ("cn=#0102,o=x", &["cn=#0102,o=x"]),
            ("cn=a\\3db,o=x", &["cn=a=b,o=x", "cn=a\\=b,o=x"]),
            ("cn=,o=x", &["cn=,o=x", "cn= ,o=x"]),
        ] {
            for spelling in spellings {
                assert_eq!(Dn::parse(spelling).map(|dn| dn.0).as_deref(), Ok(normal), "{spelling}");
            }
            assert_eq!(Dn::parse(normal).unwrap().0, normal);
        }
    }

    #[test]
    fn t63_nonsense_is_no_name() {
        let long = format!("cn={}", "x".repeat(9000));
        for wrong in [
            "",
            " ",
            "ada",
            "=x",
            "cn=a,",
            "cn=a,,o=x",
            "cn=a+,o=x",
            "cn=\\",
            "cn=\\4",
            "cn=\\zz",
            "cn=\"a\",o=x",
            "cn=a;o=x",
            "c n=a",
            "1..2=a",
            "cn=#",
            "cn=#0",
            "cn=#zz",
            "cn=#0c01 x",
            "cn=a\0",
            &long,
        ] {
            assert_eq!(Dn::parse(wrong), Err(BadDn), "{wrong}");
        }
    }

    #[test]
    fn below_is_by_whole_parts() {
        let dn = |text| Dn::parse(text).unwrap();
        let base = dn("ou=staged,dc=example,dc=org");
        assert!(dn("uid=a,OU=Staged,dc=example,dc=org").is_below(&base));
        assert!(dn("uid=a,ou=deep,ou=staged,dc=example,dc=org").is_below(&base));
        for other in [
            "ou=staged,dc=example,dc=org",
            "uid=a,ou=notstaged,dc=example,dc=org",
            "uid=a\\,ou=staged,dc=example,dc=org",
            "ou=staged",
        ] {
            assert!(!dn(other).is_below(&base), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_value_survives_its_normal_form(value in "\\PC{0,30}", base in "[a-z]{1,8}") {
            let escaped: String = value.bytes().flat_map(super::escaped).collect();
            let text = format!("cn={escaped},o={base}");
            let dn = Dn::parse(&text).unwrap();
            prop_assert_eq!(Dn::parse(dn.as_str()), Ok(dn.clone()));
            let base = Dn::parse(&format!("o={base}")).unwrap();
            prop_assert!(dn.is_below(&base));
            prop_assert_eq!(dn.as_str().matches(',').count(), 1);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "(?s).{0,60}") {
            if let Ok(dn) = Dn::parse(&text) {
                prop_assert_eq!(Dn::parse(dn.as_str()), Ok(dn));
            }
        }
    }
}
