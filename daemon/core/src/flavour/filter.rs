//! Search filters as trees. Text from outside becomes a value in a tree and never a part of a filter's text; rendering
//! escapes it (RFC 4515). The one filter that is written as text, the configured one, is parsed to a tree first.

use std::fmt::{self, Write as _};

use crate::flavour::entry::Entry;

/// The deepest nesting of a configured filter.
const DEEPEST: usize = 32;

/// A search filter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Filter {
    /// All of them hold; none is true.
    And(Vec<Filter>),
    /// The attribute has a value that is nearly this one.
    Approximately(String, Vec<u8>),
    /// The attribute has a value at or before this one.
    AtMost(String, Vec<u8>),
    /// The attribute has a value at or after this one.
    AtLeast(String, Vec<u8>),
    /// The attribute has this value.
    Equal(String, Vec<u8>),
    /// A match by a named rule; the text before `:=`.
    Extensible(String, Vec<u8>),
    /// It does not hold.
    Not(Box<Filter>),
    /// At least one holds; none is false.
    Or(Vec<Filter>),
    /// The attribute is there.
    Present(String),
    /// The attribute has a value made of these pieces, with anything between; the first and last may be empty.
    Pieces(String, Vec<Vec<u8>>),
}

/// Why a text is no filter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BadFilter {
    /// Byte position.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for BadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is no filter: {} at character {}", self.what, self.at + 1)
    }
}

impl Filter {
    /// An attribute equals a value, whatever bytes that holds.
    pub fn equal(attribute: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self::Equal(attribute.into(), value.into())
    }

    /// An attribute is there.
    pub fn present(attribute: impl Into<String>) -> Self {
        Self::Present(attribute.into())
    }

    /// The opposite.
    #[must_use]
    pub fn negated(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// True for every entry whose attribute may be searched, absent or not, and for no other: where the right is
    /// missing a server holds both halves to be undefined.
    pub fn readable(attribute: &str) -> Self {
        Self::Or(vec![Self::present(attribute), Self::present(attribute).negated()])
    }

    /// Parses the text of a filter; a filter without its outer parentheses is taken.
    ///
    /// # Errors
    /// [`BadFilter`] says in words what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, BadFilter> {
        let mut parser = Parser { bytes: text.as_bytes(), at: 0 };
        parser.skip_spaces();
        let filter =
            if parser.peek() == Some(b'(') { parser.in_parentheses(0)? } else { parser.item(parser.bytes.len())? };
        parser.skip_spaces();
        if parser.at < parser.bytes.len() { Err(parser.error("there is more after its end")) } else { Ok(filter) }
    }

    /// Whether an entry fits, for a directory that is a file. Values are compared without case, and a rule that only a
    /// server knows fits nothing.
    pub fn matches(&self, entry: &Entry) -> bool {
        let any = |attribute: &str, test: &dyn Fn(&[u8]) -> bool| entry.values(attribute).iter().any(|v| test(v));
        match self {
            Self::And(all) => all.iter().all(|filter| filter.matches(entry)),
            Self::Or(some) => some.iter().any(|filter| filter.matches(entry)),
            Self::Not(filter) => !filter.matches(entry),
            Self::Present(attribute) => entry.has(attribute),
            Self::Equal(attribute, wanted) | Self::Approximately(attribute, wanted) => {
                any(attribute, &|value| folded(value) == folded(wanted))
            }
            Self::AtLeast(attribute, wanted) => any(attribute, &|value| folded(value) >= folded(wanted)),
            Self::AtMost(attribute, wanted) => any(attribute, &|value| folded(value) <= folded(wanted)),
            Self::Pieces(attribute, pieces) => any(attribute, &|value| fits(&folded(value), pieces)),
            Self::Extensible(..) => false,
        }
    }

    /// The attributes that it asks about.
    pub fn attributes<'f>(&'f self, into: &mut Vec<&'f str>) {
        match self {
            Self::And(filters) | Self::Or(filters) => filters.iter().for_each(|filter| filter.attributes(into)),
            Self::Not(filter) => filter.attributes(into),
            Self::Present(attribute)
            | Self::Equal(attribute, _)
            | Self::Approximately(attribute, _)
            | Self::AtLeast(attribute, _)
            | Self::AtMost(attribute, _)
            | Self::Pieces(attribute, _) => into.push(attribute),
            Self::Extensible(..) => {}
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |f: &mut fmt::Formatter<'_>, filters: &[Self]| filters.iter().try_for_each(|filter| filter.fmt(f));
        f.write_char('(')?;
        match self {
            Self::And(filters) => {
                f.write_char('&')?;
                all(f, filters)?;
            }
            Self::Or(filters) => {
                f.write_char('|')?;
                all(f, filters)?;
            }
            Self::Not(filter) => write!(f, "!{filter}")?,
            Self::Present(attribute) => write!(f, "{attribute}=*")?,
            Self::Equal(attribute, value) => write!(f, "{attribute}={}", Escaped(value))?,
            Self::Approximately(attribute, value) => write!(f, "{attribute}~={}", Escaped(value))?,
            Self::AtLeast(attribute, value) => write!(f, "{attribute}>={}", Escaped(value))?,
            Self::AtMost(attribute, value) => write!(f, "{attribute}<={}", Escaped(value))?,
            Self::Extensible(rule, value) => write!(f, "{rule}:={}", Escaped(value))?,
            Self::Pieces(attribute, pieces) => {
                write!(f, "{attribute}=")?;
                for (i, piece) in pieces.iter().enumerate() {
                    if i > 0 {
                        f.write_char('*')?;
                    }
                    Escaped(piece).fmt(f)?;
                }
            }
        }
        f.write_char(')')
    }
}

/// The bytes of a value with everything escaped that a filter could read as its own, and all that is not UTF-8.
struct Escaped<'v>(&'v [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '*' | '(' | ')' | '\\' | '\0'..='\x1f' | '\x7f' => write!(f, "\\{:02x}", c as u32)?,
                    c => f.write_char(c)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\{byte:02x}")?;
            }
        }
        Ok(())
    }
}

fn folded(value: &[u8]) -> Vec<u8> {
    std::str::from_utf8(value).map_or_else(|_| value.to_vec(), |text| text.to_lowercase().into_bytes())
}

fn fits(value: &[u8], pieces: &[Vec<u8>]) -> bool {
    let Some((first, later)) = pieces.split_first() else { return false };
    let Some((last, between)) = later.split_last() else { return false };
    let Some(mut rest) = value.strip_prefix(folded(first).as_slice()) else { return false };
    for piece in between {
        let piece = folded(piece);
        let found = (0..=rest.len()).find(|at| rest.get(*at..).is_some_and(|tail| tail.starts_with(&piece)));
        match found.and_then(|at| rest.get(at + piece.len()..)) {
            Some(tail) => rest = tail,
            None => return false,
        }
    }
    rest.ends_with(&folded(last))
}

struct Parser<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn error(&self, what: &'static str) -> BadFilter {
        BadFilter { at: self.at, what }
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), BadFilter> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.error(what))
    }

    fn in_parentheses(&mut self, depth: usize) -> Result<Filter, BadFilter> {
        if depth > DEEPEST {
            return Err(self.error("it is nested too deeply"));
        }
        self.expect(b'(', "an opening parenthesis is missing")?;
        let filter = match self.peek() {
            Some(b'&') => Filter::And(self.several(depth)?),
            Some(b'|') => Filter::Or(self.several(depth)?),
            Some(b'!') => {
                self.at += 1;
                self.skip_spaces();
                self.in_parentheses(depth + 1)?.negated()
            }
            Some(_) => {
                let length = self.bytes.iter().skip(self.at).take_while(|byte| **byte != b')').count();
                self.item(self.at + length)?
            }
            None => return Err(self.error("it ends too early")),
        };
        self.skip_spaces();
        self.expect(b')', "a closing parenthesis is missing")?;
        Ok(filter)
    }

    fn several(&mut self, depth: usize) -> Result<Vec<Filter>, BadFilter> {
        self.at += 1;
        let mut filters = Vec::new();
        loop {
            self.skip_spaces();
            if self.peek() != Some(b'(') {
                return if filters.is_empty() { Err(self.error("nothing is combined")) } else { Ok(filters) };
            }
            filters.push(self.in_parentheses(depth + 1)?);
        }
    }

    /// One comparison, up to `end`.
    fn item(&mut self, end: usize) -> Result<Filter, BadFilter> {
        let item = self.bytes.get(self.at..end).unwrap_or(&[]);
        let sign = item.iter().position(|byte| *byte == b'=').ok_or_else(|| self.error("an = is missing"))?;
        let (left, value) = item.split_at_checked(sign).ok_or_else(|| self.error("an = is missing"))?;
        let value = value.get(1..).unwrap_or(&[]);
        let (left, kind) = match left.split_last() {
            Some((kind @ (b'<' | b'>' | b'~' | b':'), left)) => (left, *kind),
            _ => (left, b'='),
        };
        let attribute = std::str::from_utf8(left).map_err(|_| self.error("the attribute is no name"))?.trim();
        let is_name = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b';' | b'.' | b'_'))
        };
        let named = if kind == b':' {
            !attribute.is_empty() && attribute.split(':').all(|part| part.is_empty() || is_name(part))
        } else {
            is_name(attribute)
        };
        if !named {
            return Err(self.error("the attribute is no name"));
        }
        let attribute = attribute.to_owned();
        let start = self.at + sign + 1;
        let pieces = value
            .split(|byte| *byte == b'*')
            .map(|piece| unescape(piece).ok_or(BadFilter { at: start, what: "its value has a bad escape" }))
            .collect::<Result<Vec<_>, _>>()?;
        let filter = match (kind, pieces.as_slice()) {
            (b'=', [first, last]) if first.is_empty() && last.is_empty() => Filter::Present(attribute),
            (b'=', [value]) => Filter::Equal(attribute, value.clone()),
            (b'=', _) => Filter::Pieces(attribute, pieces),
            (b'~', [value]) => Filter::Approximately(attribute, value.clone()),
            (b'>', [value]) => Filter::AtLeast(attribute, value.clone()),
            (b'<', [value]) => Filter::AtMost(attribute, value.clone()),
            (b':', [value]) => Filter::Extensible(attribute, value.clone()),
            _ => return Err(BadFilter { at: start, what: "a * has no meaning here" }),
        };
        self.at = end;
        Ok(filter)
    }
}

fn unescape(piece: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(piece.len());
    let mut bytes = piece.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                out.push(digit(bytes.next()?)? << 4 | digit(bytes.next()?)?);
            }
            b'(' | 0 => return None,
            byte => out.push(*byte),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::domain::EntryName;

    #[test]
    fn t62_a_login_stays_one_value() {
        let long = "(".repeat(4000);
        for login in ["*", "a*", "*)(uid=*))(|(uid=*", "\\2a", "%2a", "\0", "a\\00", ")(", &long] {
            let text = Filter::equal("uid", login).to_string();
            assert_eq!(text.matches('(').count(), 1);
            assert_eq!(text.matches(')').count(), 1);
            assert!(!text.contains('*') && !text.contains('\0'), "{text}");
            assert_eq!(Filter::parse(&text), Ok(Filter::equal("uid", login)));
        }
        assert_eq!(Filter::equal("cn", vec![0xff, b'a', 0xc3]).to_string(), "(cn=\\ffa\\c3)");
    }

    #[test]
    fn configured_filters_are_read_or_refused_in_words() {
        for fine in [
            "(objectClass=inetOrgPerson)",
            "(&(objectClass=person)(!(employeeType=robot))(|(ou=a)(ou=b)))",
            "(cn=a*b*c)",
            "(cn=*b)",
            "(uidNumber>=1000)",
            "(uidNumber<=1000)",
            "(cn~=ada)",
            "(memberOf:1.2.840.113556.1.4.1941:=cn=x,dc=y)",
            "(ou:dn:=people)",
            "(cn=a\\2ab)",
        ] {
            assert_eq!(Filter::parse(fine).map(|filter| filter.to_string()).as_deref(), Ok(fine));
        }
        assert_eq!(Filter::parse("uid=ada").unwrap().to_string(), "(uid=ada)");
        assert_eq!(Filter::parse(" ( & (a=b) (c=d) ) ").map_err(|bad| bad.what), Err("the attribute is no name"));
        assert_eq!(Filter::parse("(& (a=b) (c=d) ) ").unwrap().to_string(), "(&(a=b)(c=d))");
        let deep = "(!".repeat(40);
        for (wrong, what) in [
            ("", "an = is missing"),
            ("(uid=a", "a closing parenthesis is missing"),
            ("(uid=a))", "there is more after its end"),
            ("(&)", "nothing is combined"),
            ("(uid)", "an = is missing"),
            ("(=a)", "the attribute is no name"),
            ("(u id=a)", "the attribute is no name"),
            ("(uid=a\\2)", "its value has a bad escape"),
            ("(uid>=a*)", "a * has no meaning here"),
            (&deep, "it is nested too deeply"),
        ] {
            assert_eq!(Filter::parse(wrong).map_err(|bad| bad.what), Err(what), "{wrong}");
        }
    }

    #[test]
    fn entries_match_as_a_server_would() {
        let mut entry = Entry::new(EntryName("uid=ada".into()));
        entry.add("uid", "Ada");
        entry.add("cn", "Ada Lovelace");
        for (filter, expected) in [
            ("(uid=ada)", true),
            ("(UID=ADA)", true),
            ("(uid=ad)", false),
            ("(cn=a*love*e)", true),
            ("(cn=*x*)", false),
            ("(cn=ada*ada*)", false),
            ("(&(uid=*)(!(mail=*)))", true),
            ("(|(mail=*)(uid=x))", false),
            ("(cn:caseExactMatch:=Ada)", false),
        ] {
            assert_eq!(Filter::parse(filter).unwrap().matches(&entry), expected, "{filter}");
        }
        assert!(Filter::readable("mail").matches(&entry));
    }

    fn any_filter() -> impl Strategy<Value = Filter> {
        let value = proptest::collection::vec(any::<u8>(), 0..12);
        let leaf = prop_oneof![
            ("[a-z][a-zA-Z0-9-]{0,6}", value.clone()).prop_map(|(a, v)| Filter::Equal(a, v)),
            ("[a-z][a-zA-Z0-9-]{0,6}", value).prop_map(|(a, v)| Filter::AtLeast(a, v)),
            "[a-z][a-zA-Z0-9-]{0,6}".prop_map(Filter::Present),
        ];
        leaf.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 1..3).prop_map(Filter::And),
                proptest::collection::vec(inner.clone(), 1..3).prop_map(Filter::Or),
                inner.prop_map(Filter::negated),
            ]
        })
    }

    proptest! {
        #[test]
        fn t62_rendering_reads_back(filter in any_filter()) {
            prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "(?s).{0,60}") {
            if let Ok(filter) = Filter::parse(&text) {
                prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
            }
        }
    }
}
