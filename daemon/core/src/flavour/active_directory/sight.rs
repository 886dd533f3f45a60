//! What rekeyd's own account may see and do, by the access list of each entry. Active Directory treats what may not be
//! read as if it were absent, in filters too, so that no search proves that an absent attribute is absent; but the access
//! list, which everybody who has signed in may read on ordinary accounts, says it exactly.

use std::collections::BTreeSet;

use crate::flavour::active_directory::descriptor::{
    CONTROL_ACCESS, DELETE, Descriptor, READ_PROPERTY, WRITE_LIST, WRITE_OWNER, WRITE_PROPERTY,
};
use crate::flavour::active_directory::guid::Guid;
use crate::flavour::active_directory::sid::{AUTHENTICATED, EVERYONE, Sid};
use crate::flavour::entry::{Entry, Unreadable};

/// The attributes to read of the schema's entries (class `attributeSchema`) to make a [`Property`] of each.
pub const OF_THE_SCHEMA: [&str; 4] = ["lDAPDisplayName", "schemaIDGUID", "attributeSecurityGUID", "searchFlags"];

/// The bit of `searchFlags` of a confidential attribute, which wants one more right from its readers.
const CONFIDENTIAL: i64 = 0x80;

/// The right "Reset Password" (User-Force-Change-Password).
const RESET: Guid = Guid::known(0x0029_9570_246d_11d0_a768_00aa_006e_0529);
/// `pwdLastSet`, and the set of properties it is in (User-Account-Restrictions).
const PWD_LAST_SET: [Guid; 2] =
    [Guid::known(0xbf96_7a0a_0de6_11d0_a285_00aa_0030_49e2), Guid::known(0x4c16_4200_20c0_11d0_a768_00aa_006e_0529)];
/// `lockoutTime`, which is in no set.
const LOCKOUT_TIME: Guid = Guid::known(0x2863_0ebf_41d5_11d1_a9c1_0000_f803_67c1);
/// The account's flags, in the same set.
const USER_ACCOUNT_CONTROL: [Guid; 2] =
    [Guid::known(0xbf96_7a68_0de6_11d0_a285_00aa_0030_49e2), Guid::known(0x4c16_4200_20c0_11d0_a768_00aa_006e_0529)];

/// An attribute as the schema defines it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its GUID.
    pub id: Guid,
    /// The GUID of the set of properties it is in.
    pub set: Option<Guid>,
    /// Whether the right to read it is not enough.
    pub confidential: bool,
}

/// Who rekeyd is on a server, and what the schema says of the attributes it asks about.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sight {
    token: BTreeSet<Sid>,
    schema: Vec<Property>,
    undefined: Vec<String>,
}

/// Something that rekeyd's own account may do to an entry.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Power {
    /// To delete it: more than is needed.
    Delete,
    /// To change who may do what to it: more than is needed.
    Permit,
    /// To set its password: needed.
    Reset,
    /// To enable, disable and otherwise change it (`userAccountControl`): more than is needed.
    Switch,
    /// To have the password changed at the next sign-in (`pwdLastSet`): needed for temporary passwords.
    MustChange,
    /// To lift a lock by failures (`lockoutTime`): needed where policy lets a reset unlock.
    Unlock,
}

impl Property {
    /// Reads an entry of the schema.
    ///
    /// # Errors
    /// [`Unreadable`] where its name or GUID is not shown, or a value is none.
    pub fn read(entry: &Entry) -> Result<Self, Unreadable> {
        let guid = |attribute: &'static str| match entry.values(attribute) {
            [] => Ok(None),
            [value] => Guid::parse(value)
                .map(Some)
                .map_err(|bad| Unreadable { attribute: attribute.into(), why: bad.to_string() }),
            _ => Err(Unreadable { attribute: attribute.into(), why: "it has several values".into() }),
        };
        Ok(Self {
            name: entry.text("lDAPDisplayName")?.ok_or_else(|| Unreadable::hidden("lDAPDisplayName"))?.to_owned(),
            id: guid("schemaIDGUID")?.ok_or_else(|| Unreadable::hidden("schemaIDGUID"))?,
            set: guid("attributeSecurityGUID")?,
            confidential: entry.number("searchFlags")?.unwrap_or(0) & CONFIDENTIAL != 0,
        })
    }
}

impl Sight {
    /// `token`: rekeyd's own identifier and all its groups, which the root DSE shows as `tokenGroups`. `schema`: what the
    /// schema says of the attributes in question.
    pub fn new(token: impl IntoIterator<Item = Sid>, schema: Vec<Property>) -> Self {
        let everybody = [EVERYONE, AUTHENTICATED].into_iter().filter_map(|sid| Sid::from_text(sid).ok());
        Self { token: token.into_iter().chain(everybody).collect(), schema, undefined: Vec::new() }
    }

    /// Adds attributes that the schema was seen not to define, so that they are nowhere present.
    #[must_use]
    pub fn without(self, undefined: Vec<String>) -> Self {
        Self { undefined, ..self }
    }

    /// Those among `attributes` that rekeyd may not read on this entry. All of them where its access list is not shown;
    /// and one that was never looked up in the schema, since nothing is known of it.
    pub fn hidden<'n>(&self, entry: &Entry, attributes: impl IntoIterator<Item = &'n str>) -> Vec<String> {
        let read = access(entry);
        let hidden = attributes.into_iter().filter(|name| {
            let Some(property) = self.schema.iter().find(|known| known.name.eq_ignore_ascii_case(name)) else {
                return !self.undefined.iter().any(|known| known.eq_ignore_ascii_case(name));
            };
            let Ok((list, own)) = &read else { return true };
            let objects: Vec<Guid> = [property.id].into_iter().chain(property.set).collect();
            let may = |right| list.allows(&self.token, own, right, &objects);
            !(may(READ_PROPERTY) && (!property.confidential || may(CONTROL_ACCESS)))
        });
        hidden.map(str::to_owned).collect()
    }

    /// What rekeyd may do to an entry, for `doctor`.
    ///
    /// # Errors
    /// [`Unreadable`] where its access list is not shown.
    pub fn powers(&self, entry: &Entry) -> Result<BTreeSet<Power>, Unreadable> {
        let (list, own) = access(entry)?;
        let may = |right, objects: &[Guid]| list.allows(&self.token, &own, right, objects);
        let all = [
            (Power::Delete, may(DELETE, &[])),
            (Power::Permit, may(WRITE_LIST, &[]) || may(WRITE_OWNER, &[])),
            (Power::Reset, may(CONTROL_ACCESS, &[RESET])),
            (Power::Switch, may(WRITE_PROPERTY, &USER_ACCOUNT_CONTROL)),
            (Power::MustChange, may(WRITE_PROPERTY, &PWD_LAST_SET)),
            (Power::Unlock, may(WRITE_PROPERTY, &[LOCKOUT_TIME])),
        ];
        Ok(all.into_iter().filter_map(|(power, held)| held.then_some(power)).collect())
    }
}

/// An entry's access list, and who it is.
pub(super) fn access(entry: &Entry) -> Result<(Descriptor, Sid), Unreadable> {
    let unreadable = |attribute: &str, why: String| Unreadable { attribute: attribute.to_owned(), why };
    let one = |attribute: &'static str| match entry.values(attribute) {
        [value] => Ok(value),
        [] => Err(Unreadable::hidden(attribute)),
        _ => Err(unreadable(attribute, "it has several values".into())),
    };
    let list = one("nTSecurityDescriptor")?;
    let own = one("objectSid")?;
    Ok((
        Descriptor::parse(list).map_err(|bad| unreadable("nTSecurityDescriptor", bad.to_string()))?,
        Sid::parse(own).map_err(|bad| unreadable("objectSid", bad.to_string()))?,
    ))
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::domain::EntryName;
    use crate::flavour::active_directory::tests::recorded;

    /// The account that the entries were recorded with: as its root DSE said.
    pub(in crate::flavour::active_directory) fn ours() -> Sight {
        let domain = "S-1-5-21-1370719545-2989397213-3887007790";
        let token = [&format!("{domain}-1103"), &format!("{domain}-513"), "S-1-5-32-545", "S-1-5-32-554"];
        Sight::new(token.map(|sid| Sid::from_text(sid).unwrap()), schema()).without(vec![ALL[4].to_lowercase()])
    }

    /// As the server's schema has it.
    fn schema() -> Vec<Property> {
        [
            ("adminCount", "bf967918-0de6-11d0-a285-00aa003049e2", None),
            ("isCriticalSystemObject", "00fbf30d-91fe-11d1-aebc-0000f80367c1", None),
            ("lockoutTime", "28630ebf-41d5-11d1-a9c1-0000f80367c1", None),
            ("msDS-ResultantPSO", "b77ea093-88d0-4780-9a98-911f8e8b1dca", None),
            (
                "servicePrincipalName",
                "f3a64788-5306-11d1-a9c5-0000f80367c1",
                Some("e48d0154-bcf8-11d1-8702-00c04fb96050"),
            ),
        ]
        .into_iter()
        .map(|(name, id, set)| {
            let mut entry = Entry::new(EntryName("CN=x".into()));
            entry.add("lDAPDisplayName", name);
            entry.add("schemaIDGUID", Guid::from_text(id).unwrap().bytes());
            if let Some(set) = set {
                entry.add("attributeSecurityGUID", Guid::from_text(set).unwrap().bytes());
            }
            entry.add("searchFlags", "1");
            Property::read(&entry).unwrap()
        })
        .collect()
    }

    const ALL: [&str; 5] =
        ["adminCount", "isCriticalSystemObject", "lockoutTime", "serviceprincipalname", "pwdAccountDisabled"];

    #[test]
    fn t51_the_access_list_says_what_absence_does_not() {
        assert!(ours().hidden(&recorded("active"), ALL).is_empty());
        // The server showed this service without its name, which was denied to us.
        assert!(!recorded("service").has("servicePrincipalName"));
        assert_eq!(ours().hidden(&recorded("service"), ALL), ["serviceprincipalname"]);
        // Without its list nothing is known, but for what the schema does not define.
        assert_eq!(ours().hidden(&recorded("disabled"), ALL).len(), 4);
        let stranger = Sight { token: Sight::new([], vec![]).token, ..ours() };
        assert_eq!(stranger.hidden(&recorded("active"), ALL), ["adminCount", "isCriticalSystemObject", "lockoutTime"]);
    }

    #[test]
    fn t51_what_was_never_looked_up_is_hidden() {
        // Nobody has read the schema, and who we are is not known either.
        assert_eq!(Sight::default().hidden(&recorded("active"), ALL), ALL);
        assert_eq!(Sight::new([], vec![]).hidden(&recorded("active"), ALL), ALL);
        assert_eq!(ours().hidden(&recorded("active"), ["employeeType"]), ["employeeType"]);
    }

    #[test]
    fn t51_confidential_attributes_want_one_more_right() {
        let mut schema = schema();
        for property in &mut schema {
            property.confidential = true;
        }
        let plain = Sight { schema: schema.clone(), ..ours() };
        assert_eq!(plain.hidden(&recorded("active"), ALL).len(), 4);
        let admins = Sid::from_text("S-1-5-32-544").unwrap();
        let admin = Sight { undefined: ours().undefined, ..Sight::new([admins], schema) };
        assert!(admin.hidden(&recorded("active"), ALL).is_empty());
    }

    #[test]
    fn powers_are_those_that_were_granted() {
        let needed = [Power::Reset, Power::MustChange, Power::Unlock].into();
        assert_eq!(ours().powers(&recorded("active")), Ok(needed));
        assert_eq!(Sight::new([], vec![]).powers(&recorded("active")), Ok([].into()));
        let operators = Sid::from_text("S-1-5-32-548").unwrap();
        let all = Sight::new([operators], vec![]).powers(&recorded("active")).unwrap();
        assert!(all.contains(&Power::Delete) && all.contains(&Power::Permit) && all.contains(&Power::Switch));
        assert_eq!(ours().powers(&recorded("disabled")), Err(Unreadable::hidden("nTSecurityDescriptor")));
    }

    #[test]
    fn odd_schemas_are_unreadable() {
        let mut entry = Entry::new(EntryName("CN=x".into()));
        assert!(Property::read(&entry).is_err());
        entry.add("lDAPDisplayName", "x");
        assert!(Property::read(&entry).is_err());
        entry.add("schemaIDGUID", [0; 15]);
        assert!(Property::read(&entry).is_err());
        entry.replace("schemaIDGUID", vec![vec![0; 16]]);
        entry.add("searchFlags", "128");
        assert!(Property::read(&entry).unwrap().confidential);
    }
}
