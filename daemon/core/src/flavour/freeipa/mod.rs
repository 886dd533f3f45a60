//! FreeIPA: 389 Directory Server with Kerberos, whose own plugin takes every write of a password and decides by who
//! writes it what becomes of it. Experimental: no server was to be had for the tests, which rest on entries written
//! down after its sources and documents.

pub mod policy;
mod state;
mod writer;

use zeroize::Zeroizing;

use crate::domain::{Dn, Stamp, Standing};
use crate::flavour::ds389::{self, Ds389};
use crate::flavour::entry::{Entry, Unreadable};
use crate::flavour::filter::Filter;
use crate::flavour::markers::Markers;
use crate::flavour::{Change, Outcome, Reading, Rejection, Reply, Settled, Verified};
use crate::policy::permit::{Mandate, Permit};

pub use writer::{LISTS, PLUGIN, Writer};

/// The attribute with the stable id.
pub const ID: &str = "ipaUniqueID";

/// The stamp of an account without a password.
const UNSET: &str = "krbLastPwdChange absent";

/// What is known of one FreeIPA server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FreeIpa {
    /// The directory server beneath.
    pub ds: Ds389,
    /// Where FreeIPA's tree begins (`basedn` in its own words).
    pub suffix: Dn,
    /// What the plugin takes the account for that looks up and writes for persons, on this very server.
    pub writer: Writer,
    /// What it takes the account for that writes temporary passwords for operators, where there is one.
    pub operators: Option<Writer>,
}

impl FreeIpa {
    /// The attributes to ask for by name.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        state::STATE.into_iter().chain([ID]).chain(self.ds.attributes())
    }

    /// What must be proved readable before "absent" means anything.
    pub fn must_read(&self, markers: &Markers) -> Vec<String> {
        let idle = self.ds.idleness.attributes();
        let own = state::STATE.into_iter().chain(["memberOf"]).chain(idle).filter(|name| self.ds.defines(name));
        let mut all = self.ds.must_read(markers);
        // The state is Kerberos's here, and what the server beneath keeps is neither written nor shown by default.
        all.retain(|name| !ds389::state::STATE.iter().any(|own| own.eq_ignore_ascii_case(name)));
        all.extend(own.map(str::to_owned));
        all.sort_unstable_by_key(|name| name.to_ascii_lowercase());
        all.dedup_by(|one, other| one.eq_ignore_ascii_case(other));
        all
    }

    /// The mark of the present password, with what must still be so of the account when it is replaced.
    pub fn stamp(&self, entry: &Entry, markers: &Markers) -> Result<Stamp, Unreadable> {
        let attribute = "krbLastPwdChange";
        let stamp = match entry.text(attribute)? {
            Some(value) => Stamp::new(format!("{attribute}={value}"), entry.moment(attribute).ok().flatten()),
            None => Stamp::new(UNSET, None),
        };
        let id = entry.text(ID)?.ok_or_else(|| Unreadable::hidden(ID))?;
        let named = state::GUARDED.into_iter().filter(|name| self.ds.defines(name));
        let marked = markers.attributes().filter(|name| self.ds.defines(name));
        let guarded = named.chain(marked).map(|name| ds389::as_read(entry, name));
        let guard = Filter::And([Filter::equal(ID, id)].into_iter().chain(guarded).collect());
        Ok(stamp.guarded(guard.to_string()))
    }

    /// What the server says of an account.
    pub fn standing(&self, reading: &Reading<'_>, standing: &mut Standing) {
        state::read(self, reading, standing);
    }

    /// How a password is written here: in clear text, from which the plugin makes the Kerberos keys, too.
    pub fn change(&self, permit: &Permit) -> Result<Change, Rejection> {
        // What operators write goes by their own account, where there is one, and the plugin looks at nothing else.
        let pen = match (permit.mandate(), &self.operators) {
            (Mandate::Operator(_), Some(operators)) => operators,
            (Mandate::Operator(_) | Mandate::Ticket(_), _) => &self.writer,
        };
        if permit.must_change() {
            // What an account that is on neither list writes has expired by then.
            if *pen != Writer::Admin {
                return Err(Rejection::MissingRight(
                    "must-change needs an account of its own for operators, which is in neither SysAcctManagersDNs \
                     nor passSyncManagersDNs"
                        .into(),
                ));
            }
        } else if let Some(why) = pen.obstacle() {
            return Err(Rejection::MissingRight(why));
        }
        let password = Zeroizing::new(permit.password().expose().as_bytes().to_vec());
        Ok(Change::Modify { replace: vec![("userPassword", password)], condition: None, hints: None })
    }

    /// Whether an entry that was read after a write with must-change shows that it took.
    pub fn must_be_changed(entry: &Entry) -> bool {
        state::is_set_by_another(entry).unwrap_or(false)
    }

    /// What the server's answer to a write means.
    pub fn outcome(reply: &Reply, must_change: bool) -> Outcome {
        Ds389::outcome(reply, must_change)
    }

    /// Whether the answer to a write says that this server takes none.
    pub fn is_copy(reply: &Reply) -> bool {
        Ds389::is_copy(reply)
    }

    /// What the server's answer to a person's bind means; `Err` where it says nothing about the password.
    pub fn verified(reply: &Reply) -> Result<Verified, String> {
        Ds389::verified(reply)
    }

    /// Whether a password was written between two readings.
    pub fn settled(before: &Stamp, after: &Stamp) -> Settled {
        if before == after {
            Settled::Unchanged
        } else if after.as_str() == UNSET {
            Settled::Undecidable
        } else {
            Settled::Changed
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::domain::{DirectoryKey, EntryName, Finding, Server};
    use crate::flavour::ds389::tests::NOW;
    use crate::flavour::policy_entry::PolicyView;
    use crate::policy::tests::proofs::{replacing, resetting};

    pub(in crate::flavour) fn server() -> FreeIpa {
        let ds = Ds389 { idleness: ds389::Idleness::Off, ..Ds389::default() };
        let suffix = Dn::parse("dc=example,dc=org").unwrap();
        let bare = FreeIpa { ds, suffix, writer: Writer::SysAccount, operators: Some(Writer::Admin) };
        let defined = bare.attributes().map(str::to_ascii_lowercase).collect();
        FreeIpa { ds: Ds389 { defined, ..bare.ds.clone() }, ..bare }
    }

    /// An entry written down after FreeIPA's documents: none was recorded, since no server was to be had.
    pub(in crate::flavour) fn entry(lines: &str) -> Entry {
        let mut entry = Entry::new(EntryName("uid=ada,cn=users,cn=accounts,dc=example,dc=org".into()));
        let common = "ipaUniqueID: 2f9cb9a4-c73f-11f1-8a53-525400c0ffee\nnsUniqueId: 1-2-3-4\n\
                      createTimestamp: 20260101000000Z\nmodifyTimestamp: 20260101000000Z\nuid: ada";
        for line in common.lines().chain(lines.lines()) {
            let (name, value) = line.split_once(": ").unwrap();
            entry.add(name, value);
        }
        entry
    }

    pub(in crate::flavour) fn findings(server: &FreeIpa, entry: &Entry, policy: &PolicyView) -> Vec<Finding> {
        let mut standing = Standing::default();
        let reading = Reading {
            entry,
            directory: DirectoryKey(1),
            server: &Server { name: "s".into(), writable: true },
            groups: &Ok(vec![]),
            policy,
            hidden: &[],
            shared: &[],
            now: NOW,
        };
        server.standing(&reading, &mut standing);
        standing.evidence().iter().map(|evidence| evidence.finding).collect()
    }

    #[test]
    fn t51_kerberos_state_must_be_seen_and_the_state_beneath_need_not() {
        let needed = server().must_read(&Markers::default());
        for name in ["krbPrincipalExpiration", "krbLoginFailedCount", "memberOf", "nsAccountLock", "nsRole"] {
            assert!(needed.iter().any(|needed| needed == name), "{name}");
        }
        for name in [ID, "pwdReset", "passwordExpirationTime", "lastLoginTime", "pwdpolicysubentry"] {
            assert!(!needed.iter().any(|needed| needed == name), "{name}");
        }
        let idle = ds389::Idleness::Limited(ds389::Limits::default());
        let idle = FreeIpa { ds: Ds389 { idleness: idle, ..server().ds }, ..server() };
        assert!(idle.must_read(&Markers::default()).iter().any(|needed| needed == "lastLoginTime"));
    }

    #[test]
    fn p4_a_write_changes_the_stamp_and_a_wrong_password_does_not() {
        let stamp = |lines: &str| server().stamp(&entry(lines), &Markers::default()).unwrap();
        let (none, set) = (stamp(""), stamp("krbLastPwdChange: 20260601000000Z"));
        let tried = stamp("krbLastPwdChange: 20260601000000Z\nkrbLoginFailedCount: 3");
        assert_eq!((&set, set.guard()), (&tried, tried.guard()));
        assert!(set.second().is_some());
        assert_eq!(FreeIpa::settled(&none, &set), Settled::Changed);
        assert_eq!(FreeIpa::settled(&set, &tried), Settled::Unchanged);
        assert_eq!(FreeIpa::settled(&set, &none), Settled::Undecidable);
        let disabled = stamp("krbLastPwdChange: 20260601000000Z\nnsAccountLock: TRUE");
        assert_ne!(set.guard(), disabled.guard());
    }

    #[test]
    fn t70_only_a_writer_of_the_right_kind_writes() {
        let refused = |server: &FreeIpa, permit: &Permit| server.change(permit).is_err();
        for (writer, operators, self_service, by_hand, temporary) in [
            (Writer::SysAccount, Some(Writer::Admin), false, true, false),
            (Writer::SysAccount, Some(Writer::SysAccount), false, false, true),
            (Writer::SysAccount, None, false, false, true),
            (Writer::Admin, None, true, true, false),
            // The plugin looks at the one that writes, and not at the other.
            (Writer::Admin, Some(Writer::SysAccount), true, false, true),
            (Writer::Admin, Some(Writer::Unknown("y".into())), true, true, true),
            (Writer::DsManager, Some(Writer::DsManager), true, true, true),
            (Writer::Unknown("x".into()), Some(Writer::Unknown("y".into())), true, true, true),
        ] {
            let server = FreeIpa { writer, operators, ..server() };
            let found = [resetting(), replacing(false), replacing(true)].map(|permit| refused(&server, &permit));
            assert_eq!(found, [self_service, by_hand, temporary], "{server:?}");
        }
    }

    #[test]
    fn s4_2_what_an_administrator_set_must_be_changed() {
        let by_another = "krbLastPwdChange: 20260601000000Z\nkrbPasswordExpiration: 20260601000000Z";
        assert!(FreeIpa::must_be_changed(&entry(by_another)));
        let by_person = "krbLastPwdChange: 20260601000000Z\nkrbPasswordExpiration: 20261201000000Z";
        assert!(!FreeIpa::must_be_changed(&entry(by_person)));
        assert!(!FreeIpa::must_be_changed(&entry("krbLastPwdChange: x\nkrbPasswordExpiration: y")));
    }
}
