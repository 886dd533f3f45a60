//! Active Directory, Windows' and Samba's.
//!
//! A password is set by one Modify of `unicodePwd`, as a reset: the directory then looks at length and complexity, and at
//! old passwords only where it takes the policy hints control (Windows does, Samba does not). No write can carry a
//! condition there, so that a fresh look must come right before it: [`Stamp::guard`] holds the filter for that.

pub mod answer;
pub mod descriptor;
pub mod filetime;
pub mod group;
pub mod guid;
pub mod policy;
pub mod sid;
pub mod sight;
mod stamp;
pub mod state;

use zeroize::Zeroizing;

use crate::domain::{Dn, Stamp, Standing, Timestamp};
use crate::flavour::active_directory::guid::Guid;
use crate::flavour::active_directory::policy::PasswordSettings;
use crate::flavour::active_directory::sid::Sid;
use crate::flavour::active_directory::sight::Sight;
use crate::flavour::active_directory::stamp::Seen;
use crate::flavour::entry::{Entry, Unreadable};
use crate::flavour::filter::Filter;
use crate::flavour::markers::Markers;
use crate::flavour::{Change, Demands, Outcome, Reading, Rejection, Reply, Verified};
use crate::policy::permit::Permit;

/// The attribute with the stable id.
pub const ID: &str = "objectGUID";

/// The control that has the access list returned without its audit part, which few may read (MS-ADTS 3.1.1.3.4.1.11),
/// and its value: owner, group and access list. Without it ordinary accounts get no `nTSecurityDescriptor` at all.
pub const DESCRIPTOR_CONTROL: (&str, [u8; 5]) = ("1.2.840.113556.1.4.801", [0x30, 0x03, 0x02, 0x01, 0x07]);

/// The controls that have the directory look at old passwords in a reset, the better known first.
const HINTS: [&str; 2] = ["1.2.840.113556.1.4.2239", "1.2.840.113556.1.4.2066"];

/// The value of either: old passwords count.
pub const HINTS_VALUE: [u8; 5] = [0x30, 0x03, 0x02, 0x01, 0x01];

/// Groups whose members rule over others and that have a number of their own in each domain, by `sAMAccountName`, which
/// is the same in all languages: who rules the name server runs programs on controllers, and those of Exchange may
/// change access lists. What is found of them goes into [`ActiveDirectory::powerful`].
pub const POWERFUL_BY_NAME: [&str; 4] =
    ["DnsAdmins", "Exchange Trusted Subsystem", "Exchange Windows Permissions", "Organization Management"];

/// What the root DSE lists among `supportedCapabilities`: a domain controller, and one that takes no writes.
pub(super) const CONTROLLER: &str = "1.2.840.113556.1.4.800";
const READ_ONLY: &str = "1.2.840.113556.1.4.1920";

/// The bits of `userAccountControl` that are looked at here (MS-ADTS 2.2.16).
mod control {
    pub(super) const DISABLED: u32 = 0x2;
    pub(super) const LOCKED: u32 = 0x10;
    pub(super) const NORMAL: u32 = 0x200;
    pub(super) const NEVER_EXPIRES: u32 = 0x1_0000;
    pub(super) const SMARTCARD: u32 = 0x4_0000;
    pub(super) const PASSWORD_EXPIRED: u32 = 0x80_0000;
    /// Temporary duplicates, trusts between domains, workstations, servers and read-only controllers.
    pub(super) const OTHER_KINDS: u32 = 0x100 | 0x800 | 0x1000 | 0x2000 | 0x0400_0000;
    /// Trusted to act in the name of others, by Kerberos or otherwise.
    pub(super) const ACTS_FOR_OTHERS: u32 = 0x8_0000 | 0x0100_0000;
}

/// Attributes that every account has. One that is not shown is one that rekeyd may not read.
pub const MUST_HAVE: [&str; 13] = [
    "objectClass",
    ID,
    "objectSid",
    "sAMAccountName",
    "sAMAccountType",
    "userAccountControl",
    "primaryGroupID",
    "accountExpires",
    "pwdLastSet",
    "msDS-User-Account-Control-Computed",
    "msDS-UserPasswordExpiryTimeComputed",
    "tokenGroups",
    "nTSecurityDescriptor",
];

/// Attributes that an account may lack. Only its access list says whether they would be seen ([`sight::Sight::hidden`]).
pub const MAY_LACK: [&str; 8] = [
    "adminCount",
    "isCriticalSystemObject",
    "lockoutTime",
    "memberOf",
    "msDS-KeyVersionNumber",
    "msDS-ResultantPSO",
    "msDS-SecondaryKrbTgtNumber",
    "servicePrincipalName",
];

/// The fine-grained policy of an account. Where it is not shown, either the domain's holds or it is hidden.
pub const OWN_POLICY: &str = "msDS-ResultantPSO";

/// Those of all these that the server computes: they work in no filter, and some are shown only of an entry that is read
/// alone. A wider search that asks for `tokenGroups` fails as a whole on Samba (operations error).
pub const CONSTRUCTED: [&str; 5] = [
    "tokenGroups",
    "msDS-User-Account-Control-Computed",
    "msDS-UserPasswordExpiryTimeComputed",
    "msDS-ResultantPSO",
    "msDS-KeyVersionNumber",
];

/// Each password counts the version of an account's key up. The usual tools make an account and then set its password,
/// which counts twice; one that is made together with its password begins with one.
pub const MADE_WITH: i64 = 2;

/// Whose product it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Maker {
    /// Windows.
    Microsoft,
    /// Samba.
    Samba,
}

/// One of an account's groups.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NumberedGroup {
    /// Its identifier.
    pub sid: Sid,
    /// What its members rule over others by, in words, if they do.
    pub power: Option<String>,
}

/// What is known of one domain controller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ActiveDirectory {
    /// Whose product it is.
    pub maker: Maker,
    /// The control that has a reset look at old passwords, where the server lists one.
    pub hints: Option<&'static str>,
    /// Up to which version of its key an account's password is taken for its maker's: [`MADE_WITH`], unless the
    /// configuration says otherwise (`first_passwords`), since the organisation's own tools do it in one step.
    pub made_with: i64,
    /// The domain's password policy, where it can be read.
    pub policy: Option<PasswordSettings>,
    /// The fine-grained policies that can be read.
    pub objects: Vec<PasswordSettings>,
    /// The groups that the configuration names, by their identifiers.
    pub watched: Vec<(Sid, Dn)>,
    /// Further groups whose members rule over others and that have no number of their own, such as `DnsAdmins`.
    pub powerful: Vec<(Sid, String)>,
    /// What we may see of an entry.
    pub sight: Sight,
}

impl ActiveDirectory {
    /// Before anything else is known of it.
    pub fn new(maker: Maker) -> Self {
        Self {
            maker,
            hints: None,
            made_with: MADE_WITH,
            policy: None,
            objects: Vec::new(),
            watched: Vec::new(),
            powerful: Vec::new(),
            sight: Sight::default(),
        }
    }

    /// What a root DSE says; `None` where it is not a domain controller's.
    pub fn detect(root: &Entry) -> Option<Self> {
        if !root.texts("supportedCapabilities").any(|capability| capability == CONTROLLER) {
            return None;
        }
        let samba = root.texts("vendorName").any(|vendor| vendor.contains("Samba"));
        let hints = HINTS.into_iter().find(|hints| root.texts("supportedControl").any(|control| control == *hints));
        Some(Self { hints, ..Self::new(if samba { Maker::Samba } else { Maker::Microsoft }) })
    }

    /// Whether the server of a root DSE is a read-only domain controller.
    pub fn is_read_only(root: &Entry) -> bool {
        root.texts("supportedCapabilities").any(|capability| capability == READ_ONLY)
    }

    /// The attributes to ask for when one account is read. A wider search leaves what is [`CONSTRUCTED`] out.
    pub fn attributes() -> impl Iterator<Item = &'static str> {
        MUST_HAVE.into_iter().chain(MAY_LACK)
    }

    /// The attributes whose absence means something, so that it must be proved that they would be seen: by
    /// [`sight::Sight::hidden`], since filters prove nothing here. What the server computes it computes from attributes
    /// that the reader may not see, too.
    pub fn must_read(&self, markers: &Markers) -> Vec<String> {
        let own = ["adminCount", "servicePrincipalName"];
        let mut all: Vec<String> = own.into_iter().chain(markers.attributes()).map(str::to_owned).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The attributes of which the schema must say how they are hidden: those, and the one that is asked about where a
    /// verdict comes to rest on it.
    pub fn looked_up(&self, markers: &Markers) -> Vec<String> {
        self.must_read(markers).into_iter().chain([OWN_POLICY.to_owned()]).collect()
    }

    /// The stable id, in the text form that everybody knows.
    ///
    /// # Errors
    /// [`Unreadable`] where it is not shown or no GUID.
    pub fn id(entry: &Entry) -> Result<String, Unreadable> {
        match entry.values(ID) {
            [] => Err(Unreadable::hidden(ID)),
            [value] => Guid::parse(value)
                .map(|guid| guid.to_string())
                .map_err(|bad| Unreadable { attribute: ID.into(), why: bad.to_string() }),
            _ => Err(Unreadable { attribute: ID.into(), why: "it has several values".into() }),
        }
    }

    /// The filter that finds an account by its stable id; `None` for a text that is no such id.
    pub fn by_id(stable: &str) -> Option<Filter> {
        Guid::from_text(stable).ok().map(|guid| Filter::equal(ID, guid.bytes()))
    }

    /// What the server says of an account.
    pub fn standing(&self, reading: &Reading<'_>, standing: &mut Standing) {
        state::read(self, reading, standing);
    }

    /// All groups that an account is in at any depth, in the order of their identifiers.
    ///
    /// # Errors
    /// Why they are not known.
    pub fn numbered_groups(&self, entry: &Entry) -> Result<Vec<NumberedGroup>, String> {
        let token = state::token(entry).map_err(|bad| format!("{}: {}", bad.attribute, bad.why))?;
        let power = |sid: &Sid| {
            let named = self.powerful.iter().find(|(powerful, _)| powerful == sid).map(|(_, name)| name.clone());
            sid.power().map(str::to_owned).or(named)
        };
        Ok(token.into_iter().map(|sid| NumberedGroup { power: power(&sid), sid }).collect())
    }

    /// The groups, among those that the configuration names, that an account is in at any depth.
    ///
    /// # Errors
    /// Why they are not known.
    pub fn groups(&self, entry: &Entry) -> Result<Vec<Dn>, String> {
        let token = state::token(entry).map_err(|bad| format!("{}: {}", bad.attribute, bad.why))?;
        let mut groups: Vec<Dn> =
            self.watched.iter().filter(|(sid, _)| token.contains(sid)).map(|(_, name)| name.clone()).collect();
        groups.sort_unstable();
        groups.dedup();
        Ok(groups)
    }

    /// How a permitted password is written. `unlock` says that policy lets a reset lift a lock by failures; one without
    /// end never comes here, since it counts as an administrator's.
    ///
    /// # Errors
    /// [`Rejection`] where must-change is asked for and would have no effect.
    pub fn change(&self, permit: &Permit, unlock: bool) -> Result<Change, Rejection> {
        self.modify(permit.stamp(), permit.password().expose(), permit.must_change(), unlock)
    }

    fn modify(&self, stamp: &Stamp, password: &str, must_change: bool, unlock: bool) -> Result<Change, Rejection> {
        let seen = Seen::of(stamp);
        let zero = || Zeroizing::new(b"0".to_vec());
        let mut replace = vec![("unicodePwd", quoted(password))];
        if must_change {
            if seen.number("userAccountControl").is_none_or(|flags| flags & i64::from(control::NEVER_EXPIRES) != 0) {
                return Err(Rejection::MissingRight(
                    "this account's password never expires (DONT_EXPIRE_PASSWORD), so that nobody can be made to \
                     change it at the next sign-in"
                        .into(),
                ));
            }
            replace.push(("pwdLastSet", zero()));
        }
        if unlock && seen.number("lockoutTime").is_some_and(|since| since != 0) {
            replace.push(("lockoutTime", zero()));
        }
        Ok(Change::Modify { replace, condition: None, hints: self.hints })
    }

    /// How the canary is given a password that nobody knows.
    pub fn canary(&self, password: &str) -> Change {
        Change::Modify { replace: vec![("unicodePwd", quoted(password))], condition: None, hints: self.hints }
    }

    /// When the present password was set, as far as it is shown.
    pub fn set_at(entry: &Entry) -> Option<Timestamp> {
        let set = entry.text("pwdLastSet").ok().flatten()?;
        filetime::parse(set.as_bytes()).ok().filter(|set| *set > 0).and_then(|set| filetime::moment(set).ok())
    }

    /// What the server's answer to a write means; `protected` as [`Self::is_protected`] says.
    pub fn outcome(reply: &Reply, must_change: bool, protected: bool) -> Outcome {
        answer::outcome(reply, must_change, protected)
    }

    /// Whether the answer to a write says that this server takes none.
    pub fn is_copy(reply: &Reply) -> bool {
        answer::is_copy(reply)
    }

    /// What the server's answer to a person's bind means.
    ///
    /// # Errors
    /// The server's words, where they say nothing about the password.
    pub fn verified(reply: &Reply) -> Result<Verified, String> {
        answer::verified(reply)
    }

    /// What is demanded of an account's next password in a reset, as far as that can be read.
    pub fn demands(&self, entry: &Entry) -> Demands {
        let whole = self.hints.is_some();
        self.policy_of(entry).map(|policy| policy.demands(whole)).unwrap_or_default()
    }

    /// The policy in force for an account; `Err` says in words why it is not known.
    fn policy_of(&self, entry: &Entry) -> Result<&PasswordSettings, String> {
        let own = entry.text(OWN_POLICY).map_err(|bad| bad.why)?;
        match own {
            Some(own) => {
                let name = Dn::parse(own).map_err(|bad| bad.to_string())?;
                let found = self.objects.iter().find(|object| object.name == name);
                found.ok_or_else(|| format!("its policy {own} can't be read"))
            }
            None => self.policy.as_ref().ok_or_else(|| "the domain's policy can't be read".into()),
        }
    }

    /// What a reset skips here, in words, for `doctor`.
    pub fn not_enforced(&self) -> &'static [&'static str] {
        match self.hints {
            Some(_) => &[],
            None => &["earlier passwords (history)", "the least age of a password"],
        }
    }
}

/// `unicodePwd` as the directory wants it: in quotes, in UTF-16.
fn quoted(password: &str) -> Zeroizing<Vec<u8>> {
    // Room for all of it, so that no copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(password.len() * 2 + 4));
    for unit in ['"'].into_iter().chain(password.chars()).chain(['"']) {
        for half in unit.encode_utf16(&mut [0; 2]) {
            bytes.extend(half.to_le_bytes());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::time::Duration;

    use data_encoding::BASE64;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{EntryName, Timestamp};

    /// 2026-11-22 01:15:56 UTC, when the entries had just been recorded.
    pub(super) const NOW: Timestamp = Timestamp::from_millis(1_795_310_156_000);

    /// The server that they are from.
    pub(super) fn server() -> ActiveDirectory {
        let name = Dn::parse("DC=ad,DC=example,DC=org").unwrap();
        let policy = PasswordSettings {
            name,
            length: 7,
            history: 24,
            complex: true,
            least_age: Duration::ZERO,
            lock: Some(Duration::from_mins(30)),
            failures: 3,
        };
        let name = Dn::parse("CN=strict,CN=Password Settings Container,CN=System,DC=ad,DC=example,DC=org").unwrap();
        let strict = PasswordSettings { name, length: 12, lock: None, ..policy.clone() };
        let bare = ActiveDirectory::detect(&root(&[])).unwrap();
        ActiveDirectory { policy: Some(policy), objects: vec![strict], sight: sight::tests::ours(), ..bare }
    }

    fn root(controls: &[&str]) -> Entry {
        let mut root = Entry::new(EntryName(String::new()));
        root.add("vendorName", "Samba Team (https://www.samba.org)");
        root.add("supportedCapabilities", CONTROLLER);
        for control in controls {
            root.add("supportedControl", *control);
        }
        root
    }

    /// The recorded entry of this name.
    pub(super) fn recorded(wanted: &str) -> Entry {
        let name =
            |block: &str| block.strip_prefix("dn: CN=").and_then(|rest| rest.split(',').next().map(str::to_owned));
        let block = include_str!("recorded.ldif").split("\n\n").find(|block| name(block).as_deref() == Some(wanted));
        let mut lines = block.expect(wanted).trim().lines();
        let mut entry = Entry::new(EntryName(lines.next().unwrap().strip_prefix("dn: ").unwrap().to_owned()));
        for line in lines {
            match line.split_once(": ").unwrap() {
                (attribute, other) if other.starts_with("as ") => {
                    let other = recorded(other.strip_prefix("as ").unwrap());
                    entry.add(attribute, other.values(attribute).first().unwrap().as_slice());
                }
                (attribute, value) => match attribute.strip_suffix(':') {
                    Some(attribute) => entry.add(attribute, BASE64.decode(value.as_bytes()).unwrap()),
                    None => entry.add(attribute, value),
                },
            }
        }
        entry
    }

    #[test]
    fn a_server_is_known_by_its_root() {
        assert_eq!((server().maker, server().hints), (Maker::Samba, None));
        assert_eq!(server().not_enforced().len(), 2);
        for (listed, hints) in [
            (&["1.2.840.113556.1.4.2066"][..], "1.2.840.113556.1.4.2066"),
            (&["1.2.840.113556.1.4.2066", "1.2.840.113556.1.4.2239"], "1.2.840.113556.1.4.2239"),
        ] {
            let mut root = root(listed);
            root.replace("vendorName", vec![]);
            let found = ActiveDirectory::detect(&root).unwrap();
            assert_eq!((found.maker, found.hints), (Maker::Microsoft, Some(hints)));
            assert!(found.not_enforced().is_empty());
        }
        let mut other = root(&[]);
        assert!(!ActiveDirectory::is_read_only(&other));
        other.add("supportedCapabilities", READ_ONLY);
        assert!(ActiveDirectory::is_read_only(&other));
        // Lightweight directory services are no domain.
        other.replace("supportedCapabilities", vec![b"1.2.840.113556.1.4.1851".to_vec()]);
        assert_eq!(ActiveDirectory::detect(&other), None);
    }

    #[test]
    fn ids_read_as_everybody_writes_them() {
        let id = ActiveDirectory::id(&recorded("active")).unwrap();
        assert_eq!(id, "dd60a758-2693-4d63-a5b7-8ef1a50332af");
        assert!(ActiveDirectory::by_id(&id).unwrap().matches(&recorded("active")));
        assert!(!ActiveDirectory::by_id(&id).unwrap().matches(&recorded("added")));
        assert_eq!(ActiveDirectory::by_id("entry cn=ada"), None);
        let mut entry = recorded("active");
        for values in [vec![], vec![vec![0; 15]], vec![vec![0; 16], vec![1; 16]]] {
            entry.replace(ID, values);
            assert!(ActiveDirectory::id(&entry).is_err());
            assert!(ActiveDirectory::stamp(&entry, &Markers::default()).is_err());
        }
    }

    #[test]
    fn t57_configured_groups_are_found_by_their_identifiers() {
        let token = state::token(&recorded("nested")).unwrap();
        let name = |text: &str| Dn::parse(text).unwrap();
        let mut server = server();
        server.watched = token.iter().map(|sid| (sid.clone(), name("CN=Helpers,DC=x"))).collect();
        server.watched.push((Sid::from_text("S-1-5-21-1-2-3-4711").unwrap(), name("CN=Others,DC=x")));
        assert_eq!(server.groups(&recorded("nested")), Ok(vec![name("CN=Helpers,DC=x")]));
        for attribute in ["tokenGroups", "primaryGroupID", "objectSid"] {
            let mut entry = recorded("nested");
            entry.replace(attribute, vec![]);
            assert!(server.groups(&entry).unwrap_err().starts_with(attribute), "{attribute}");
        }
    }

    #[test]
    fn t52_a_write_touches_nothing_else() {
        let modify = |server: &ActiveDirectory, name, must_change, unlock| {
            let stamp = ActiveDirectory::stamp(&recorded(name), &Markers::default()).unwrap();
            let change = server.modify(&stamp, "Pass-w0rd", must_change, unlock);
            change.map(|change| match change {
                Change::Modify { replace, condition: None, hints } => {
                    let others = replace.iter().skip(1);
                    assert!(others.clone().all(|(_, value)| value.as_slice() == b"0"));
                    assert_eq!(replace.first().map(|(name, _)| *name), Some("unicodePwd"));
                    (others.map(|(name, _)| *name).collect::<Vec<_>>(), hints)
                }
                _ => panic!("{name}"),
            })
        };
        for (name, must_change, unlock, expected) in [
            ("active", false, false, &[][..]),
            ("active", false, true, &[]),
            ("active", true, true, &["pwdLastSet"]),
            ("locked", false, false, &[]),
            ("locked", false, true, &["lockoutTime"]),
            ("locked", true, true, &["pwdLastSet", "lockoutTime"]),
        ] {
            assert_eq!(modify(&server(), name, must_change, unlock), Ok((expected.to_vec(), None)), "{name}");
        }
        assert!(matches!(modify(&server(), "mustnever", true, false), Err(Rejection::MissingRight(_))));
        assert_eq!(modify(&server(), "mustnever", false, false), Ok((vec![], None)));
        let hints = Some("1.2.840.113556.1.4.2239");
        let windows = ActiveDirectory { hints, ..server() };
        assert_eq!(modify(&windows, "active", false, false), Ok((vec![], hints)));
        // A stamp that came without its reading can't show that must-change would work.
        assert!(server().modify(&Stamp::new("pwdLastSet=1", None), "Pass-w0rd", true, false).is_err());
    }

    #[test]
    fn demands_are_those_of_the_policy_in_force() {
        let length = |name| server().demands(&recorded(name)).length;
        assert_eq!((length("active"), length("tool")), (Some(7), Some(12)));
        let bare = ActiveDirectory { policy: None, ..server() };
        assert_eq!(bare.demands(&recorded("active")), Demands::default());
        let whole = ActiveDirectory { hints: Some("1.2.840.113556.1.4.2239"), ..server() };
        assert_eq!(
            (whole.demands(&recorded("active")).history, server().demands(&recorded("active")).history),
            (Some(24), None)
        );
    }

    #[test]
    fn every_attribute_is_asked_for_once() {
        let mut all: Vec<_> = ActiveDirectory::attributes().map(str::to_lowercase).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(CONSTRUCTED.iter().all(|name| ActiveDirectory::attributes().any(|asked| asked == *name)));
        let needed = server().must_read(&Markers::default());
        assert!(needed.iter().all(|name| MAY_LACK.contains(&name.as_str())));
    }

    proptest! {
        #[test]
        fn a_password_is_sent_in_quotes_and_utf_16(password in "\\PC{1,40}") {
            let bytes = quoted(&password);
            let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
            prop_assert_eq!(String::from_utf16(&units).unwrap(), format!("\"{password}\""));
            prop_assert!(bytes.len() <= password.len() * 2 + 4);
        }

    }
}
