//! The bytes of LDAP: tag, length, content (BER with the bounds of RFC 4511). What comes from a server is taken apart
//! piece by piece and never deeper than somebody asked, so that no nesting can cost more than its bytes.

use zeroize::Zeroizing;

/// The tags of the plain types.
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// Bytes that are no BER, or not of the shape that LDAP gives them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Malformed;

/// What the first bytes of an element say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) tag: u8,
    /// How many bytes tag and length take.
    pub(super) own: usize,
    /// How many bytes follow.
    pub(super) content: usize,
}

impl Header {
    /// Reads it; `None` where there are not enough bytes yet. Lengths may have the long form of up to four bytes, which
    /// some servers always use; the indefinite form and tags of several bytes do not come in LDAP.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let (tag, first) = match bytes {
            [] => return Ok(None),
            [tag, ..] if tag & 0x1f == 0x1f => return Err(Malformed),
            [_] => return Ok(None),
            [tag, first, ..] => (*tag, *first),
        };
        if first < 0x80 {
            return Ok(Some(Self { tag, own: 2, content: usize::from(first) }));
        }
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return Err(Malformed);
        }
        let Some(length) = bytes.get(2..2 + count) else { return Ok(None) };
        let content = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        Ok(Some(Self { tag, own: 2 + count, content }))
    }
}

/// Elements that follow one another.
#[derive(Clone, Copy)]
pub(super) struct Elements<'b>(pub(super) &'b [u8]);

impl<'b> Elements<'b> {
    /// The next one, with its content.
    pub(super) fn next(&mut self) -> Result<Option<(u8, &'b [u8])>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let header = Header::read(self.0)?.ok_or(Malformed)?;
        let (_, rest) = self.0.split_at_checked(header.own).ok_or(Malformed)?;
        let (content, rest) = rest.split_at_checked(header.content).ok_or(Malformed)?;
        self.0 = rest;
        Ok(Some((header.tag, content)))
    }

    /// The content of the next one, which must be of this kind.
    pub(super) fn expect(&mut self, tag: u8) -> Result<&'b [u8], Malformed> {
        match self.next()? {
            Some((found, content)) if found == tag => Ok(content),
            _ => Err(Malformed),
        }
    }

    /// The content of the next one if it is of this kind; another one stays.
    pub(super) fn accept(&mut self, tag: u8) -> Result<Option<&'b [u8]>, Malformed> {
        if self.0.first() == Some(&tag) { self.expect(tag).map(Some) } else { Ok(None) }
    }

    /// The next one as a number that is not negative.
    pub(super) fn number(&mut self, tag: u8) -> Result<u32, Malformed> {
        match self.expect(tag)? {
            [first, ..] if *first >= 0x80 => Err(Malformed),
            [0, rest @ ..] | rest if (1..=4).contains(&rest.len()) => {
                Ok(rest.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
            }
            _ => Err(Malformed),
        }
    }
}

/// Bytes to be sent; they may hold a password, so that they are wiped.
pub(super) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    /// Room for so many bytes. With a password inside it must be enough: what is moved to a larger place leaves a copy.
    pub(super) fn with_room(bytes: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(bytes)))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// An element around what is written inside.
    pub(super) fn nest(&mut self, tag: u8, inside: impl FnOnce(&mut Self)) {
        self.0.push(tag);
        let place = self.0.len();
        self.0.push(0);
        inside(self);
        let length = self.0.len() - place - 1;
        let mut parts = length_of(length);
        if length < 0x80 {
            if let (Some(first), Some(slot)) = (parts.next(), self.0.get_mut(place)) {
                *slot = first;
            }
        } else {
            self.0.splice(place..=place, parts);
        }
    }

    pub(super) fn octets(&mut self, tag: u8, content: &[u8]) {
        self.0.push(tag);
        self.0.extend(length_of(content.len()));
        self.0.extend_from_slice(content);
    }

    pub(super) fn number(&mut self, tag: u8, number: u32) {
        let bytes = number.to_be_bytes();
        let zeros = bytes.iter().take(3).take_while(|byte| **byte == 0).count();
        let significant = bytes.get(zeros..).unwrap_or(&[0]);
        // A first bit that is set would make it negative.
        let sign = significant.first().is_some_and(|byte| *byte >= 0x80);
        self.0.push(tag);
        self.0.extend(length_of(significant.len() + usize::from(sign)));
        self.0.extend(sign.then_some(0));
        self.0.extend_from_slice(significant);
    }

    pub(super) fn flag(&mut self, tag: u8, flag: bool) {
        self.octets(tag, &[if flag { 0xff } else { 0 }]);
    }
}

/// A length in its shortest form.
fn length_of(length: usize) -> impl Iterator<Item = u8> {
    let bytes = length.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let count = u8::try_from(bytes.len() - zeros).unwrap_or_default();
    let short = length < 0x80;
    let first = if short { u8::try_from(length).unwrap_or_default() } else { 0x80 | count };
    std::iter::once(first).chain(bytes.into_iter().skip(if short { bytes.len() } else { zeros }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536, 100_000] {
            let content = vec![7; length];
            let mut to = Writer::with_room(16);
            to.nest(SEQUENCE, |to| to.octets(OCTETS, &content));
            let mut outer = Elements(to.bytes());
            let mut inner = Elements(outer.expect(SEQUENCE).unwrap());
            assert_eq!(inner.expect(OCTETS).unwrap(), content);
            assert_eq!((inner.next(), outer.next()), (Ok(None), Ok(None)));
        }
        for number in [0, 1, 127, 128, 255, 256, 32_767, 32_768, 0x00ff_ffff, 0x7fff_ffff, u32::MAX] {
            let mut to = Writer::with_room(16);
            to.number(INTEGER, number);
            assert_eq!(Elements(to.bytes()).number(INTEGER), Ok(number));
        }
    }

    #[test]
    fn t68_headers_are_whole_unfinished_or_refused() {
        for (bytes, expected) in [
            (&[][..], Ok(None)),
            (&[0x30], Ok(None)),
            (&[0x30, 0x82, 1], Ok(None)),
            (&[0x30, 5], Ok(Some(Header { tag: 0x30, own: 2, content: 5 }))),
            (&[0x30, 0x84, 0, 0, 1, 0], Ok(Some(Header { tag: 0x30, own: 6, content: 256 }))),
            (&[0x30, 0x80], Err(Malformed)),
            (&[0x30, 0x85, 1, 1, 1, 1, 1], Err(Malformed)),
            (&[0x3f, 0x81, 1], Err(Malformed)),
        ] {
            assert_eq!(Header::read(bytes), expected, "{bytes:x?}");
        }
        assert_eq!(Elements(&[4, 3, 1, 2]).next(), Err(Malformed));
        assert_eq!(Elements(&[2, 1, 0x80]).number(INTEGER), Err(Malformed));
        assert_eq!(Elements(&[2, 0]).number(INTEGER), Err(Malformed));
        assert_eq!(Elements(&[2, 6, 0, 1, 1, 1, 1, 1]).number(INTEGER), Err(Malformed));
    }
}
