//! Access lists (`nTSecurityDescriptor`, MS-DTYP 2.4.6) and the one question that is asked of them: may somebody do this?
//!
//! Read with bounds on everything: every offset and length comes from outside. What can't be read is an error and grants
//! nothing.

use std::collections::BTreeSet;
use std::fmt;

use crate::flavour::active_directory::guid::Guid;
use crate::flavour::active_directory::sid::{SELF, Sid};

/// To use a right of the directory's own, which a GUID names.
pub const CONTROL_ACCESS: u32 = 0x100;
/// To read a property.
pub const READ_PROPERTY: u32 = 0x10;
/// To write a property.
pub const WRITE_PROPERTY: u32 = 0x20;
/// To delete the entry.
pub const DELETE: u32 = 0x1_0000;
/// To change the access list.
pub const WRITE_LIST: u32 = 0x4_0000;
/// To become the owner.
pub const WRITE_OWNER: u32 = 0x8_0000;

/// Where its pieces begin, and that it has a list at all.
const LIST_PRESENT: u16 = 0x4;
/// An entry that is for what lies beneath only.
const INHERIT_ONLY: u8 = 0x8;

/// A security descriptor, as far as rights need it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Descriptor {
    /// Who may always change the list.
    owner: Option<Sid>,
    /// The entries in their order; `None` lets everybody do everything.
    list: Option<Vec<Ace>>,
}

/// One entry of an access list.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Ace {
    allows: bool,
    rights: u32,
    object: Option<Guid>,
    holder: Sid,
}

/// Bytes that are no security descriptor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BadDescriptor;

impl fmt::Display for BadDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no security descriptor")
    }
}

/// Takes numbers and pieces off the front of a slice.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BadDescriptor> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(BadDescriptor)?;
        self.0 = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, BadDescriptor> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn short(&mut self) -> Result<u16, BadDescriptor> {
        self.take().map(u16::from_le_bytes)
    }

    fn long(&mut self) -> Result<u32, BadDescriptor> {
        self.take().map(u32::from_le_bytes)
    }

    fn guid(&mut self) -> Result<Guid, BadDescriptor> {
        Guid::parse(&self.take::<16>()?).map_err(|_| BadDescriptor)
    }

    fn piece(&mut self, length: usize) -> Result<&'b [u8], BadDescriptor> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(BadDescriptor)?;
        self.0 = rest;
        Ok(head)
    }
}

impl Descriptor {
    /// Reads the bytes of a value, in the self-relative form.
    ///
    /// # Errors
    /// [`BadDescriptor`] where an offset or a length leaves the value, a part is of another shape, or there is no list.
    pub fn parse(value: &[u8]) -> Result<Self, BadDescriptor> {
        let mut head = Bytes(value);
        if head.byte()? != 1 {
            return Err(BadDescriptor);
        }
        let _: u8 = head.byte()?;
        let control = head.short()?;
        let [owner, _, _, list] = [head.long()?, head.long()?, head.long()?, head.long()?];
        let at = |offset: u32| -> Result<Option<&[u8]>, BadDescriptor> {
            let offset = usize::try_from(offset).map_err(|_| BadDescriptor)?;
            if offset == 0 { Ok(None) } else { value.get(offset..).map(Some).ok_or(BadDescriptor) }
        };
        let owner = at(owner)?.map(Sid::split).transpose().map_err(|_| BadDescriptor)?.map(|(owner, _)| owner);
        // Without the mark the list was not asked for or not shown, and is no list that lets everybody in.
        if control & LIST_PRESENT == 0 {
            return Err(BadDescriptor);
        }
        Ok(Self { owner, list: at(list)?.map(entries).transpose()? })
    }

    /// Whether the holder of `token` (itself and all its groups) may exercise the one `right` on the account `own`,
    /// whose list this is. `objects` are the GUIDs by which an entry may name what the right is about: a property and
    /// the set it is in, or a right of the directory's own. The first entry that speaks of it decides, as on the server.
    pub fn allows(&self, token: &BTreeSet<Sid>, own: &Sid, right: u32, objects: &[Guid]) -> bool {
        let Some(list) = &self.list else { return true };
        if right == WRITE_LIST && self.owner.as_ref().is_some_and(|owner| token.contains(owner)) {
            return true;
        }
        let is_self = |holder: &Sid| Sid::from_text(SELF).is_ok_and(|own| own == *holder);
        list.iter()
            .filter(|ace| token.contains(&ace.holder) || is_self(&ace.holder) && token.contains(own))
            .filter(|ace| ace.object.is_none_or(|object| objects.contains(&object)))
            .find(|ace| ace.rights & right != 0)
            .is_some_and(|ace| ace.allows)
    }
}

/// The entries of an access list that concern the entry itself.
fn entries(value: &[u8]) -> Result<Vec<Ace>, BadDescriptor> {
    let mut head = Bytes(value);
    let (revision, _, size, count, _) = (head.byte()?, head.byte()?, head.short()?, head.short()?, head.short()?);
    if !matches!(revision, 2 | 4) {
        return Err(BadDescriptor);
    }
    let body = usize::from(size).checked_sub(8).ok_or(BadDescriptor)?;
    let mut rest = Bytes(head.piece(body)?);
    let mut list = Vec::new();
    for _ in 0..count {
        let (kind, flags, size) = (rest.byte()?, rest.byte()?, rest.short()?);
        let body = usize::from(size).checked_sub(4).ok_or(BadDescriptor)?;
        let ace = ace(kind, rest.piece(body)?)?;
        if flags & INHERIT_ONLY == 0 {
            list.extend(ace);
        }
    }
    Ok(list)
}

/// One entry. Those with a condition that only the server can judge refuse where they refuse, and grant nothing.
fn ace(kind: u8, body: &[u8]) -> Result<Option<Ace>, BadDescriptor> {
    let (allows, of_object) = match kind {
        0x0 => (true, false),
        0x1 | 0xa => (false, false),
        0x5 => (true, true),
        0x6 | 0xc => (false, true),
        _ => return Ok(None),
    };
    let mut rest = Bytes(body);
    let rights = specific(rest.long()?);
    let flags = if of_object { rest.long()? } else { 0 };
    let object = if flags & 1 == 0 { None } else { Some(rest.guid()?) };
    if flags & 2 != 0 {
        rest.guid()?;
    }
    // A condition, or what an application keeps there, may follow.
    let (holder, _) = Sid::split(rest.0).map_err(|_| BadDescriptor)?;
    Ok(Some(Ace { allows, rights, object, holder }))
}

/// Spells the generic rights out, as the directory does (MS-ADTS 5.1.3.2.1).
fn specific(rights: u32) -> u32 {
    [(0x1000_0000, 0x000f_01ff), (0x2000_0000, 0x0002_0004), (0x4000_0000, 0x0002_0028), (0x8000_0000, 0x0002_0094)]
        .into_iter()
        .filter(|(generic, _)| rights & generic != 0)
        .fold(rights, |so_far, (_, spelled)| so_far | spelled)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;
    use crate::flavour::active_directory::tests::recorded;

    const PERSON: &str = "S-1-5-21-1-2-3-1104";
    const GROUP: &str = "S-1-5-21-1-2-3-1200";
    const ONE: Guid = Guid::known(1);
    const OTHER: Guid = Guid::known(2);

    fn sid(text: &str) -> Sid {
        Sid::from_text(text).unwrap()
    }

    /// An entry: kind, flags, rights, the object it names, the holder.
    fn ace(kind: u8, flags: u8, rights: u32, object: Option<Guid>, holder: &str) -> Vec<u8> {
        let mut body = rights.to_le_bytes().to_vec();
        if matches!(kind, 5 | 6 | 0xc) {
            body.extend(u32::from(object.is_some()).to_le_bytes());
            body.extend(object.iter().flat_map(Guid::bytes));
        }
        body.extend(sid(holder).bytes());
        let size = u16::try_from(body.len() + 4).unwrap().to_le_bytes();
        [&[kind, flags], size.as_slice(), &body].concat()
    }

    fn descriptor(aces: &[Vec<u8>]) -> Vec<u8> {
        let owner = sid("S-1-5-32-544").bytes();
        let body = aces.concat();
        let size = u16::try_from(body.len() + 8).unwrap().to_le_bytes();
        let count = u16::try_from(aces.len()).unwrap().to_le_bytes();
        let list = u32::try_from(20 + owner.len()).unwrap().to_le_bytes();
        [&[1, 0, 4, 0x80][..], &20_u32.to_le_bytes(), &[0; 8], &list, &owner, &[4, 0], &size, &count, &[0, 0], &body]
            .concat()
    }

    fn allows(aces: &[Vec<u8>], right: u32, objects: &[Guid]) -> bool {
        let token = [PERSON, GROUP].map(sid).into();
        Descriptor::parse(&descriptor(aces)).unwrap().allows(&token, &sid(PERSON), right, objects)
    }

    #[test]
    fn the_first_entry_that_speaks_of_it_decides() {
        let (allow, deny) = (ace(0, 0, 0x100, None, GROUP), ace(1, 0, 0x100, None, PERSON));
        assert!(!allows(&[], 0x100, &[ONE]));
        assert!(allows(&[allow.clone(), deny.clone()], 0x100, &[ONE]));
        assert!(!allows(&[deny.clone(), allow.clone()], 0x100, &[ONE]));
        assert!(!allows(std::slice::from_ref(&allow), 0x10, &[ONE]));
        for (first, expected) in [
            (ace(6, 0, 0x100, Some(ONE), SELF), false),
            (ace(6, 0, 0x100, Some(OTHER), SELF), true),
            (ace(6, 0, 0x100, None, SELF), false),
            (ace(6, 0, 0x100, Some(ONE), "S-1-5-21-1-2-3-9"), true),
            (ace(1, INHERIT_ONLY, 0x100, None, PERSON), true),
            (ace(1, 0, 0x1000_0000, None, PERSON), false),
            // One with a condition refuses, and one for the audit says nothing.
            (ace(0xa, 0, 0x100, None, PERSON), false),
            (ace(0xc, 0, 0x100, Some(ONE), PERSON), false),
            (ace(2, 0, 0x100, None, PERSON), true),
        ] {
            assert_eq!(allows(&[first.clone(), allow.clone()], 0x100, &[ONE]), expected, "{first:?}");
        }
        for (only, expected) in [
            (ace(5, 0, 0x100, Some(ONE), GROUP), true),
            (ace(5, 0, 0x100, Some(OTHER), GROUP), false),
            (ace(0, 0, 0x1000_0000, None, GROUP), true),
            (ace(9, 0, 0x100, None, GROUP), false),
            (ace(0xb, 0, 0x100, None, GROUP), false),
        ] {
            assert_eq!(allows(std::slice::from_ref(&only), 0x100, &[ONE]), expected, "{only:?}");
        }
    }

    #[test]
    fn no_list_lets_everybody_in_and_an_owner_may_change_it() {
        let token = [sid("S-1-5-32-544")].into();
        let mut bytes = descriptor(&[]);
        let list = Descriptor::parse(&bytes).unwrap();
        assert!(list.allows(&token, &sid(PERSON), WRITE_LIST, &[]));
        assert!(!list.allows(&token, &sid(PERSON), DELETE, &[]));
        let head = bytes.first_chunk_mut::<20>().unwrap();
        // The mark, and where the list begins.
        head[2] = 0;
        assert_eq!(Descriptor::parse(&bytes), Err(BadDescriptor), "a list that is not shown lets nobody in");
        let head = bytes.first_chunk_mut::<20>().unwrap();
        head[2] = 4;
        head.last_chunk_mut::<4>().unwrap().fill(0);
        assert!(Descriptor::parse(&bytes).unwrap().allows(&token, &sid(PERSON), DELETE, &[]));
    }

    #[test]
    fn what_is_cut_or_bent_is_an_error() {
        let whole = descriptor(&[ace(0, 0, 0x100, None, GROUP), ace(5, 0, 0x10, Some(ONE), PERSON)]);
        assert!(Descriptor::parse(&whole).is_ok());
        for length in 0..whole.len() {
            assert_eq!(Descriptor::parse(whole.get(..length).unwrap()), Err(BadDescriptor), "{length}");
        }
        let recorded = recorded("active").values("nTSecurityDescriptor").first().unwrap().clone();
        assert!(Descriptor::parse(&recorded).is_ok());
        assert_eq!(Descriptor::parse(recorded.get(..recorded.len() - 1).unwrap()), Err(BadDescriptor));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bent = descriptor(&[ace(0, 0, 0x100, None, GROUP), ace(5, 0, 0x10, Some(ONE), PERSON)]);
            let at = at.index(bent.len());
            if let Some(place) = bent.get_mut(at) {
                *place = byte;
            }
            for bytes in [bytes, bent] {
                if let Ok(descriptor) = Descriptor::parse(&bytes) {
                    descriptor.allows(&[sid(PERSON)].into(), &sid(PERSON), 0x100, &[ONE]);
                }
            }
        }
    }
}
