//! Security identifiers (MS-DTYP 2.4.2), and which of the well-known ones let their holder rule over others.
//!
//! Groups are told by their number and never by their name, which is another in each language and can be changed.

use std::fmt;

/// The most parts of an identifier after its authority.
const MOST: usize = 15;

/// Well-known identifiers that take part in decisions about rights.
pub const EVERYONE: &str = "S-1-1-0";
/// The account itself, in its own access list.
pub const SELF: &str = "S-1-5-10";
/// Whoever has signed in.
pub const AUTHENTICATED: &str = "S-1-5-11";

/// What rules over others in each domain, by number. Not Protected Users (525): it is a shield and gives no right.
const OF_DOMAINS: [(u32, &str); 12] = [
    (498, "Enterprise Read-only Domain Controllers"),
    (500, "the built-in Administrator"),
    (512, "Domain Admins"),
    (516, "Domain Controllers"),
    // They write certificates into accounts, with which one can sign in as these.
    (517, "Cert Publishers"),
    (518, "Schema Admins"),
    (519, "Enterprise Admins"),
    (520, "Group Policy Creator Owners"),
    (521, "Read-only Domain Controllers"),
    (522, "Cloneable Domain Controllers"),
    (526, "Key Admins"),
    (527, "Enterprise Key Admins"),
];

/// The same of the groups that each controller has (`S-1-5-32`).
const OF_SERVERS: [(u32, &str); 11] = [
    (544, "Administrators"),
    (548, "Account Operators"),
    (549, "Server Operators"),
    (550, "Print Operators"),
    (551, "Backup Operators"),
    (552, "Replicator"),
    // The rest change what a controller runs, or whom it trusts.
    (556, "Network Configuration Operators"),
    (557, "Incoming Forest Trust Builders"),
    (569, "Cryptographic Operators"),
    (578, "Hyper-V Administrators"),
    (582, "Storage Replica Administrators"),
];

/// A security identifier.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sid {
    authority: u64,
    parts: Vec<u32>,
}

/// Bytes or a text that is no security identifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadSid;

impl fmt::Display for BadSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no security identifier")
    }
}

impl Sid {
    /// Reads the bytes of a value: revision 1, and no byte left over.
    ///
    /// # Errors
    /// [`BadSid`] for every other shape.
    pub fn parse(value: &[u8]) -> Result<Self, BadSid> {
        match Self::split(value)? {
            (sid, []) => Ok(sid),
            _ => Err(BadSid),
        }
    }

    /// Splits an identifier off, as it stands in an access list.
    pub(super) fn split(value: &[u8]) -> Result<(Self, &[u8]), BadSid> {
        let [1, count, rest @ ..] = value else { return Err(BadSid) };
        let (authority, rest) = rest.split_first_chunk::<6>().ok_or(BadSid)?;
        let authority = authority.iter().fold(0, |so_far, byte| so_far << 8 | u64::from(*byte));
        let count = usize::from(*count);
        if count > MOST {
            return Err(BadSid);
        }
        let (parts, rest) = rest.split_at_checked(count * 4).ok_or(BadSid)?;
        let parts = parts.as_chunks::<4>().0.iter().map(|part| u32::from_le_bytes(*part)).collect();
        Ok((Self { authority, parts }, rest))
    }

    /// Reads the text, `S-1-5-21-…`.
    ///
    /// # Errors
    /// [`BadSid`] for every other text.
    pub fn from_text(text: &str) -> Result<Self, BadSid> {
        let number = |text: &str| -> Result<u64, BadSid> {
            let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(BadSid);
            }
            u64::from_str_radix(digits, radix).map_err(|_| BadSid)
        };
        let rest = text.strip_prefix("S-1-").or_else(|| text.strip_prefix("s-1-")).ok_or(BadSid)?;
        let mut numbers = rest.split('-').map(number);
        let authority = numbers.next().ok_or(BadSid)??;
        let parts = numbers.map(|part| u32::try_from(part?).map_err(|_| BadSid)).collect::<Result<Vec<_>, _>>()?;
        if authority >> 48 != 0 || parts.len() > MOST {
            return Err(BadSid);
        }
        Ok(Self { authority, parts })
    }

    /// The bytes, for a filter.
    pub fn bytes(&self) -> Vec<u8> {
        // No identifier has more than fifteen parts.
        let count = u8::try_from(self.parts.len()).unwrap_or(u8::MAX);
        let mut bytes = vec![1, count];
        bytes.extend(self.authority.to_be_bytes().iter().skip(2));
        bytes.extend(self.parts.iter().flat_map(|part| part.to_le_bytes()));
        bytes
    }

    /// Its last part, which numbers accounts and groups within their domain.
    pub fn rid(&self) -> Option<u32> {
        self.parts.last().copied()
    }

    /// Another one of the same domain.
    #[must_use]
    pub fn sibling(&self, rid: u32) -> Self {
        let mut parts = self.parts.clone();
        if let Some(last) = parts.last_mut() {
            *last = rid;
        }
        Self { authority: self.authority, parts }
    }

    /// Whether it belongs to an account or a group of a domain, whichever.
    pub fn is_of_a_domain(&self) -> bool {
        matches!((self.authority, self.parts.as_slice()), (5, [21, _, _, _, _]))
    }

    /// What makes the members of this group rule over others, in words, where it is one that every domain has.
    ///
    /// Numbers below 1000 mean the same in every domain, so that the domain itself is not compared: those of the
    /// forest's first domain (Enterprise Admins) and those that an account brought along from a former domain (SID
    /// history) count as well.
    pub fn power(&self) -> Option<&'static str> {
        let named = |table: &[(u32, &'static str)], rid| table.iter().find(|(known, _)| *known == rid).map(|row| row.1);
        match (self.authority, self.parts.as_slice()) {
            (5, [9]) => Some("Enterprise Domain Controllers"),
            (5, [18]) => Some("the system itself"),
            (5, [21, _, _, _, rid]) => named(&OF_DOMAINS, *rid),
            (5, [32, rid]) => named(&OF_SERVERS, *rid),
            _ => None,
        }
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.authority > u64::from(u32::MAX) {
            write!(f, "S-1-0x{:012x}", self.authority)?;
        } else {
            write!(f, "S-1-{}", self.authority)?;
        }
        self.parts.iter().try_for_each(|part| write!(f, "-{part}"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn identifiers_read_as_everybody_writes_them() {
        let bytes = [1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 2, 0, 0];
        let sid = Sid::parse(&bytes).unwrap();
        assert_eq!(sid.to_string(), "S-1-5-21-1-2-3-512");
        assert_eq!(Sid::from_text("s-1-5-21-1-2-3-512"), Ok(sid.clone()));
        assert_eq!((sid.rid(), sid.is_of_a_domain()), (Some(512), true));
        assert_eq!(sid.sibling(513).to_string(), "S-1-5-21-1-2-3-513");
        assert_eq!(Sid::from_text("S-1-0xffffffffffff").unwrap().to_string(), "S-1-0xffffffffffff");
        assert!(!Sid::from_text("S-1-5-32-544").unwrap().is_of_a_domain());
    }

    #[test]
    fn what_is_no_identifier_is_an_error() {
        for bytes in [
            &[][..],
            &[1, 0, 0, 0, 0, 0, 0],
            &[2, 0, 0, 0, 0, 0, 0, 5],
            &[1, 1, 0, 0, 0, 0, 0, 5],
            &[1, 1, 0, 0, 0, 0, 0, 5, 1, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 5, 0],
        ] {
            assert_eq!(Sid::parse(bytes), Err(BadSid), "{bytes:?}");
        }
        let many = [&[1, 16, 0, 0, 0, 0, 0, 5][..], &[0; 64]].concat();
        assert_eq!(Sid::parse(&many), Err(BadSid));
        let long = format!("S-1-5{}", "-1".repeat(16));
        for text in
            ["", "S-1-", "S-1", "S-2-5", "S-1-5-", "S-1-5-+1", "S-1-5-4294967296", "S-1-0x1000000000000", "1-5", &long]
        {
            assert_eq!(Sid::from_text(text), Err(BadSid), "{text}");
        }
    }

    #[test]
    fn t57_power_goes_by_number_in_every_domain() {
        for (sid, powerful) in [
            ("S-1-5-21-1-2-3-512", true),
            ("S-1-5-21-9-9-9-512", true),
            ("S-1-5-21-9-9-9-519", true),
            ("S-1-5-21-1-2-3-513", false),
            ("S-1-5-21-1-2-3-515", false),
            ("S-1-5-21-1-2-3-525", false),
            ("S-1-5-21-1-2-3-1512", false),
            ("S-1-5-32-544", true),
            ("S-1-5-32-551", true),
            ("S-1-5-32-545", false),
            ("S-1-5-32-512", false),
            ("S-1-5-32-554", false),
            ("S-1-5-32-555", false),
            ("S-1-5-9", true),
            ("S-1-5-11", false),
            ("S-1-1-0", false),
            ("S-1-18-1", false),
            ("S-1-5-21-512", false),
        ] {
            assert_eq!(Sid::from_text(sid).unwrap().power().is_some(), powerful, "{sid}");
        }
    }

    proptest! {
        #[test]
        fn any_identifier_reads_back(authority in 0..(1_u64 << 48), parts in proptest::collection::vec(any::<u32>(), 0..=15)) {
            let sid = Sid { authority, parts };
            prop_assert_eq!(Sid::parse(&sid.bytes()), Ok(sid.clone()));
            prop_assert_eq!(Sid::from_text(&sid.to_string()), Ok(sid));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(sid) = Sid::parse(&bytes) {
                prop_assert_eq!(sid.bytes(), bytes);
            }
        }
    }
}
