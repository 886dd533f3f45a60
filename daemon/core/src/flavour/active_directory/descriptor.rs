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
    /// [`BadDescriptor`] where an offset or a length leaves the value, or a part is of another shape.
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
        let list = if control & LIST_PRESENT == 0 { None } else { at(list)?.map(entries).transpose()? };
        Ok(Self { owner, list })
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
