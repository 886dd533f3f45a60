//! Which groups verdicts can rest on: those that an account's token holds. Active Directory reckons security groups into it
//! and leaves distribution groups out, however deep an account is in one.

use crate::flavour::active_directory::sid::Sid;
use crate::flavour::active_directory::state;
use crate::flavour::entry::Entry;

/// The attributes to read of a group.
pub const ATTRIBUTES: [&str; 2] = ["objectSid", "groupType"];

/// The bit of `groupType` of a security group (MS-ADTS 2.2.12).
const SECURITY: u32 = 0x8000_0000;

/// The identifier by which a group is found in a token.
///
/// # Errors
/// Why its members can't be told, in words that go on from the group's name.
pub fn counted(group: Option<&Entry>) -> Result<Sid, String> {
    let hidden = |attribute: &str| format!("it is not there, or rekeyd's account may not see its {attribute}");
    let sid = group.and_then(|group| group.values("objectSid").first()).ok_or_else(|| hidden("objectSid"))?;
    let sid = Sid::parse(sid).map_err(|bad| format!("of its objectSid: {bad}"))?;
    let kind = group.map(|group| state::bits(group, "groupType")).transpose();
    match kind.map_err(|bad| format!("of its groupType: {}", bad.why))?.flatten() {
        None => Err(hidden("groupType")),
        Some(kind) if kind & SECURITY == 0 => {
            Err("it is a distribution group, which Active Directory does not count among anybody's groups: make it a \
             security group, or name one that has the same members"
                .to_owned())
        }
        Some(_) => Ok(sid),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::domain::EntryName;

    #[test]
    fn t57_a_group_that_no_token_holds_is_told() {
        let sid = Sid::from_text("S-1-5-21-1-2-3-1200").unwrap();
        let group = |kind: Option<&str>| {
            let mut entry = Entry::new(EntryName("CN=Admins,DC=x".into()));
            entry.add("objectSid", sid.bytes());
            if let Some(kind) = kind {
                entry.add("groupType", kind);
            }
            entry
        };
        // Global, of the domain, universal and built in; as the server writes them, which is signed.
        for kind in ["-2147483646", "-2147483644", "-2147483640", "-2147483643", "2147483650"] {
            assert_eq!(counted(Some(&group(Some(kind)))), Ok(sid.clone()), "{kind}");
        }
        for kind in ["2", "4", "8"] {
            assert!(counted(Some(&group(Some(kind)))).unwrap_err().contains("distribution group"), "{kind}");
        }
        for kind in [None, Some("x"), Some("9999999999")] {
            assert!(counted(Some(&group(kind))).unwrap_err().contains("groupType"), "{kind:?}");
        }
        let mut odd = group(Some("-2147483646"));
        odd.replace("objectSid", vec![vec![1]]);
        for other in [None, Some(&odd), Some(&Entry::new(EntryName("CN=Admins,DC=x".into())))] {
            assert!(counted(other).unwrap_err().contains("objectSid"));
        }
    }
}
