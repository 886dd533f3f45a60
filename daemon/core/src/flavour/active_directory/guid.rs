//! GUIDs as Active Directory keeps them: sixteen bytes, of which the first three groups are little-endian (MS-DTYP
//! 2.3.4.2), and the text that everybody knows, in lower case.

use std::fmt;

/// A globally unique id.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Guid([u8; 16]);

/// Bytes or a text that is no GUID.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadGuid;

impl fmt::Display for BadGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no GUID")
    }
}

impl Guid {
    /// From the number that its text is in hexadecimal, for the ones that are known by heart.
    pub const fn known(number: u128) -> Self {
        Self(turned(number.to_be_bytes()))
    }

    /// Reads the bytes of a value.
    ///
    /// # Errors
    /// [`BadGuid`] where they are not sixteen.
    pub fn parse(value: &[u8]) -> Result<Self, BadGuid> {
        value.try_into().map(Self).map_err(|_| BadGuid)
    }

    /// Reads the text, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, in either case.
    ///
    /// # Errors
    /// [`BadGuid`] for every other text, one in braces among them.
    pub fn from_text(text: &str) -> Result<Self, BadGuid> {
        let groups: Vec<&str> = text.split('-').collect();
        if !groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) {
            return Err(BadGuid);
        }
        let digits = groups.concat();
        // A sign would be taken by the reader of numbers.
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadGuid);
        }
        u128::from_str_radix(&digits, 16).map(Self::known).map_err(|_| BadGuid)
    }

    /// The bytes, for a filter.
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in turned(self.0).iter().enumerate() {
            write!(f, "{}{byte:02x}", if matches!(place, 4 | 6 | 8 | 10) { "-" } else { "" })?;
        }
        Ok(())
    }
}

/// From the order of the text to that of the bytes, and back.
const fn turned(bytes: [u8; 16]) -> [u8; 16] {
    let [a1, a2, a3, a4, b1, b2, c1, c2, rest @ ..] = bytes;
    let [d1, d2, d3, d4, d5, d6, d7, d8] = rest;
    [a4, a3, a2, a1, b2, b1, c2, c1, d1, d2, d3, d4, d5, d6, d7, d8]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_three_groups_are_turned() {
        let bytes = [0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
        let text = "33221100-5544-7766-8899-aabbccddeeff";
        assert_eq!(Guid::parse(&bytes).unwrap().to_string(), text);
        assert_eq!(Guid::from_text(&text.to_uppercase()).unwrap().bytes(), bytes);
        assert_eq!(Guid::known(0x3322_1100_5544_7766_8899_aabb_ccdd_eeff).bytes(), bytes);
    }

    #[test]
    fn what_is_no_guid_is_an_error() {
        assert_eq!(Guid::parse(&[0; 15]), Err(BadGuid));
        assert_eq!(Guid::parse(&[0; 17]), Err(BadGuid));
        for text in [
            "",
            "33221100554477668899aabbccddeeff",
            "{33221100-5544-7766-8899-aabbccddeeff}",
            "33221100-5544-7766-8899-aabbccddeefg",
            "+3221100-5544-7766-8899-aabbccddeeff",
            "33221100-5544-7766-8899-aabbccddeef",
            "entry cn=ada",
        ] {
            assert_eq!(Guid::from_text(text), Err(BadGuid), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_guid_reads_back(bytes in any::<[u8; 16]>()) {
            let guid = Guid::parse(&bytes).unwrap();
            prop_assert_eq!(guid.bytes(), bytes);
            prop_assert_eq!(Guid::from_text(&guid.to_string()), Ok(guid));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9a-f{}-]{0,40}") {
            prop_assert!(Guid::from_text(&text).is_err() || text.len() == 36);
        }
    }
}
