//! 389 Directory Server: what to ask it, and how a password is written there.
//!
//! The server keeps the state of a password in operational attributes of the account and the rules in `cn=config` or in
//! a policy entry of a subtree or an account. A write can carry no condition there, so that a fresh look must come right
//! before. Who writes, and by which operation, decides what the server makes of it: a Modify by an account that has a
//! right by an access control instruction and nothing more obeys the policy and lets the password stand; the
//! password-modify operation obeys the policy, too, and has it changed at the next sign-in.

mod answer;
pub mod idle;
pub mod policy;
pub(super) mod state;

use zeroize::Zeroizing;

use crate::domain::{Dn, Stamp, Standing, Timestamp};
use crate::flavour::entry::{Entry, Unreadable};
use crate::flavour::filter::Filter;
use crate::flavour::markers::Markers;
use crate::flavour::openldap_state::SHADOW_EXPIRE;
use crate::flavour::{Change, Outcome, Reading, Rejection, Reply, Settled, Verified};
use crate::policy::permit::Permit;

pub use idle::{Idleness, Limits};

/// The attribute with the stable id.
pub const ID: &str = "nsUniqueId";

/// Until when the next change of the password is refused.
const YOUNG: &str = "passwordAllowChangeTime";

/// The stamp of a password that has not been changed since the server began to mark that.
const UNMARKED: &str = "pwdUpdateTime absent";

/// What is known of one 389 Directory Server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ds389 {
    /// The attributes that the server's schema defines, in lower case, of those that somebody here asks about.
    pub defined: Vec<String>,
    /// What ends accounts that nobody uses (the Account Policy plugin).
    pub idleness: Idleness,
    /// Whether passwords that somebody else sets must be changed (`passwordMustChange`), by every policy that can apply;
    /// `None` where policies differ or can't be read.
    pub must_change: Option<bool>,
    /// Whether every policy that can apply marks each write of a password on the account (`passwordTrackUpdateTime`),
    /// by whomever (`passwordAdminSkipInfoUpdate` is off).
    pub tracked: bool,
    /// Whom policies name as administrators of passwords (`passwordAdminDN`): the accounts or groups themselves, and the
    /// members of these. They may set anybody's password past every rule.
    pub administrators: Vec<Dn>,
}

impl Default for Ds389 {
    /// A server of which nothing is known yet.
    fn default() -> Self {
        let idleness = Idleness::Unreadable("nobody has looked yet".into());
        Self { defined: Vec::new(), idleness, must_change: None, tracked: false, administrators: Vec::new() }
    }
}

impl Ds389 {
    /// From when on the server takes another password than the present one, where it is to have a least age.
    pub fn free_from(entry: &Entry) -> Option<Timestamp> {
        entry.moment(YOUNG).ok().flatten()
    }

    /// The attributes to ask for by name; most are operational, and some are computed only for whoever names them.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        let own = [ID, "createTimestamp", "modifyTimestamp", "memberOf", "userPassword", SHADOW_EXPIRE];
        let idle = self.idleness.attributes();
        state::STATE.into_iter().chain(own).chain(state::ROLES).chain(["uid", "gidNumber", YOUNG]).chain(idle)
    }

    /// What must be proved readable before "absent" means anything. `nsUniqueId`, `createTimestamp` and
    /// `modifyTimestamp` are not among it: every account has them, so that their absence proves that they are hidden.
    pub fn must_read(&self, markers: &Markers) -> Vec<String> {
        // Somebody without a login would be in no group that names its members by login.
        let posix = ["uid", "gidNumber"].into_iter().filter(|_| self.defines("memberUid"));
        let named = state::STATE.into_iter().chain(state::ROLES).chain(self.idleness.attributes());
        let all = named.chain([SHADOW_EXPIRE]).chain(posix).chain(markers.attributes());
        let mut all: Vec<String> = all.filter(|name| self.defines(name)).map(str::to_owned).collect();
        all.sort_unstable_by_key(|name| name.to_ascii_lowercase());
        all.dedup_by(|one, other| one.eq_ignore_ascii_case(other));
        all
    }

    pub(super) fn defines(&self, attribute: &str) -> bool {
        self.defined.iter().any(|defined| defined.eq_ignore_ascii_case(attribute))
    }

    /// What an entry says itself of the groups it is in: `memberOf`, and the roles it has, which rules may name like
    /// groups.
    pub fn seeds(entry: &Entry) -> impl Iterator<Item = &str> {
        ["memberOf", "nsRole", "nsRoleDN"].into_iter().flat_map(|attribute| entry.texts(attribute))
    }

    /// The mark of the present password, with what must still be so of the account when it is replaced.
    ///
    /// Where every write of a password is marked, that mark is the stamp. Elsewhere the server keeps no mark that
    /// changes with each write, and the moment of the entry's last change stands in for it: it changes with other
    /// things, too, so that a link may die early and never late.
    pub fn stamp(&self, entry: &Entry, markers: &Markers) -> Result<Stamp, Unreadable> {
        let guard = self.guard(entry, markers)?.to_string();
        let attribute = if self.tracked { "pwdUpdateTime" } else { "modifyTimestamp" };
        let stamp = match entry.text(attribute)? {
            // A value that is no moment still names a generation; `standing` says what it can't.
            Some(value) => Stamp::new(format!("{attribute}={value}"), entry.moment(attribute).ok().flatten()),
            None if self.tracked => Stamp::new(UNMARKED, None),
            None => return Err(Unreadable::hidden(attribute)),
        };
        Ok(stamp.guarded(guard))
    }

    /// The entry is the same one and in the same state. The server can't be asked for that within a write; two looks are
    /// compared by it.
    fn guard(&self, entry: &Entry, markers: &Markers) -> Result<Filter, Unreadable> {
        let id = entry.text(ID)?.ok_or_else(|| Unreadable::hidden(ID))?;
        let guarded = state::STATE.into_iter().filter(|name| !state::COUNTED.contains(name));
        let named =
            guarded.chain(state::ROLES).chain([SHADOW_EXPIRE, "modifyTimestamp"]).filter(|name| self.defines(name));
        let marked = markers.attributes().filter(|name| self.defines(name));
        Ok(Filter::And(
            [Filter::equal(ID, id)].into_iter().chain(named.chain(marked).map(|name| as_read(entry, name))).collect(),
        ))
    }

    /// What the server says of an account.
    pub fn standing(&self, reading: &Reading<'_>, standing: &mut Standing) {
        state::read(self, reading, standing);
    }

    /// How a password is written here: in clear text, since the server checks and hashes it and would not take a hash
    /// from whoever is no administrator of passwords.
    pub fn change(&self, permit: &Permit) -> Result<Change, Rejection> {
        if !permit.must_change() {
            let password = Zeroizing::new(permit.password().expose().as_bytes().to_vec());
            return Ok(Change::Modify { replace: vec![("userPassword", password)], condition: None, hints: None });
        }
        // `pwdReset` can be written by nobody. The operation sets it for whoever writes, and obeys the policy even for
        // an administrator of passwords, which a Modify by one does not.
        if self.must_change == Some(false) {
            return Err(Rejection::MissingRight(
                "the password policy does not have temporary passwords changed: set passwordMustChange: on in \
                 cn=config, or in the policy of this subtree"
                    .into(),
            ));
        }
        Ok(Change::Exop { password: Zeroizing::new(permit.password().expose().to_owned()) })
    }

    /// Whether an entry that was read after a write with must-change shows that it took. The server answers a write
    /// before it writes this, so that a look that says no is to be repeated for a while.
    pub fn must_be_changed(entry: &Entry) -> bool {
        entry.flag("pwdReset").is_ok_and(|flag| flag == Some(true))
    }

    /// What the server's answer to a write means.
    pub fn outcome(reply: &Reply, must_change: bool) -> Outcome {
        answer::outcome(reply, must_change)
    }

    /// Whether the answer to a write says that this server takes none.
    pub fn is_copy(reply: &Reply) -> bool {
        answer::is_copy(reply)
    }

    /// What the server's answer to a person's bind means; `Err` where it says nothing about the password.
    pub fn verified(reply: &Reply) -> Result<Verified, String> {
        answer::verified(reply)
    }

    /// Whether a password was written between two readings. The mark follows the answer to a write by a few
    /// milliseconds, so that an unchanged one says something only once that time has passed.
    pub fn settled(before: &Stamp, after: &Stamp) -> Settled {
        if before == after {
            return Settled::Unchanged;
        }
        // The moment of the last change moves with everything that happens to an entry, and a mark that is gone was
        // taken away by an administrator or by a reader who may no longer see it.
        let both = |prefix: &str| before.as_str().starts_with(prefix) && after.as_str().starts_with(prefix);
        if both("pwdUpdateTime") && after.as_str() != UNMARKED { Settled::Changed } else { Settled::Undecidable }
    }
}

/// That an attribute has the values that were read, or none.
pub(super) fn as_read(entry: &Entry, attribute: &str) -> Filter {
    let mut values: Vec<&[u8]> = entry.values(attribute).iter().map(Vec::as_slice).collect();
    values.sort_unstable();
    if values.is_empty() {
        return Filter::present(attribute).negated();
    }
    Filter::And(values.into_iter().map(|value| Filter::equal(attribute, value)).collect())
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::domain::{DirectoryKey, EntryName, Finding, Server};
    use crate::flavour::policy_entry::PolicyView;
    use crate::policy::tests::proofs::replacing;

    /// 2026-11-22 01:12:00 UTC, while the entries were recorded.
    pub(in crate::flavour) const NOW: Timestamp = Timestamp::from_millis(1_795_309_920_000);

    pub(in crate::flavour) fn server() -> Ds389 {
        let bare = Ds389 { idleness: Idleness::Off, ..Ds389::default() };
        let defined = bare.attributes().map(str::to_ascii_lowercase).collect();
        Ds389 { defined, must_change: Some(true), ..bare }
    }

    /// An entry as `ldapsearch` shows it, with what every entry has.
    pub(in crate::flavour) fn recorded(lines: &str) -> Entry {
        let mut entry = Entry::new(EntryName("uid=ada,ou=people,dc=example,dc=org".into()));
        let common = "nsUniqueId: 546602ad-e61111f1-a2b68e91-c17276e3\ncreateTimestamp: 20261122010930Z\n\
                      modifyTimestamp: 20261122010931Z\nuid: ada";
        for line in common.lines().chain(lines.lines()) {
            let (name, value) = line.split_once(": ").unwrap();
            entry.add(name, value);
        }
        entry
    }

    pub(in crate::flavour) fn findings(server: &Ds389, entry: &Entry, policy: &PolicyView) -> Vec<Finding> {
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

    fn stamp(server: &Ds389, lines: &str) -> Stamp {
        server.stamp(&recorded(lines), &Markers::default()).unwrap()
    }

    #[test]
    fn t51_all_state_must_be_seen_and_what_everybody_has_need_not_be_proved() {
        let needed = server().must_read(&Markers::default());
        for name in ["nsAccountLock", "pwdReset", "nsRole", "shadowExpire", "lastLoginTime", "pwdpolicysubentry"] {
            assert!(needed.iter().any(|needed| needed == name), "{name}");
        }
        for name in [ID, "createTimestamp", "modifyTimestamp", "userPassword", "uid"] {
            assert!(!needed.iter().any(|needed| needed == name), "{name}");
        }
        let posix = Ds389 { defined: [server().defined, vec!["memberuid".into()]].concat(), ..server() };
        assert!(posix.must_read(&Markers::default()).iter().any(|needed| needed == "uid"));
        let old = Ds389 { defined: vec!["nsaccountlock".into()], ..server() };
        assert_eq!(old.must_read(&Markers::default()), ["nsAccountLock"]);
        let other = Limits { used: "lastSeen".into(), ..Limits::default() };
        let other = Ds389 { idleness: Idleness::Limited(other), ..server() };
        assert!(other.attributes().any(|name| name == "lastSeen"));
    }

    #[test]
    fn p4_a_write_changes_the_stamp_and_a_wrong_password_does_not() {
        let server = server();
        let before = stamp(&server, "passwordGraceUserTime: 0");
        assert_eq!(before.as_str(), "modifyTimestamp=20261122010931Z");
        assert!(before.second().is_some());
        let tried = "passwordGraceUserTime: 0\npasswordRetryCount: 3\naccountUnlockTime: 20261122011434Z";
        let failed = stamp(&server, tried);
        assert_eq!((&failed, failed.guard()), (&before, before.guard()));
        let mut written = recorded("passwordGraceUserTime: 0");
        written.replace("modifyTimestamp", vec![b"20261122010934Z".to_vec()]);
        let after = server.stamp(&written, &Markers::default()).unwrap();
        assert_ne!(after, before);
        // Anything else that happens to the entry moves it, too.
        assert_eq!(Ds389::settled(&before, &after), Settled::Undecidable);
        assert_eq!(Ds389::settled(&before, &failed), Settled::Unchanged);

        let tracked = Ds389 { tracked: true, ..server };
        let (first, second) = (stamp(&tracked, ""), stamp(&tracked, "pwdUpdateTime: 20261122011033Z"));
        let third = stamp(&tracked, "pwdUpdateTime: 20261122011034Z");
        assert_eq!(first.as_str(), UNMARKED);
        for (before, after, expected) in [
            (&first, &second, Settled::Changed),
            (&second, &third, Settled::Changed),
            (&second, &second, Settled::Unchanged),
            (&second, &first, Settled::Undecidable),
            (&before, &second, Settled::Undecidable),
        ] {
            assert_eq!(Ds389::settled(before, after), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn p2_the_look_before_the_write_sees_every_change_of_state() {
        let server = server();
        let before = stamp(&server, "passwordGraceUserTime: 0");
        for line in
            ["nsAccountLock: true", "pwdReset: TRUE", "nsRole: cn=x,dc=y", "shadowExpire: 1", "pwdpolicysubentry: cn=x"]
        {
            let after = stamp(&server, &format!("passwordGraceUserTime: 0\n{line}"));
            assert_ne!(before.guard(), after.guard(), "{line}");
        }
        let mut nobody = recorded("");
        nobody.replace(ID, vec![]);
        assert_eq!(server.stamp(&nobody, &Markers::default()).map_err(|bad| bad.attribute), Err(ID.into()));
        let mut hidden = recorded("");
        hidden.replace("modifyTimestamp", vec![]);
        let hidden = server.stamp(&hidden, &Markers::default()).map_err(|bad| bad.attribute);
        assert_eq!(hidden, Err("modifyTimestamp".into()));
    }

    #[test]
    fn s4_2_a_person_s_password_stands_and_a_temporary_one_does_not() {
        let server = server();
        let Ok(Change::Modify { replace, condition: None, hints: None }) = server.change(&replacing(false)) else {
            panic!("no plain Modify")
        };
        let written: Vec<_> = replace.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        assert_eq!(written, [("userPassword", b"kolibri dampfer 88".as_slice())]);
        assert!(matches!(server.change(&replacing(true)), Ok(Change::Exop { .. })));
        let unknown = Ds389 { must_change: None, ..server.clone() };
        assert!(matches!(unknown.change(&replacing(true)), Ok(Change::Exop { .. })));
        let without = Ds389 { must_change: Some(false), ..server };
        let Err(Rejection::MissingRight(why)) = without.change(&replacing(true)) else { panic!("not refused") };
        assert!(why.contains("passwordMustChange: on"), "{why}");
    }

    #[test]
    fn s2_2_what_follows_a_write_is_read_back() {
        for (lines, expected) in
            [("pwdReset: TRUE", true), ("pwdReset: FALSE", false), ("", false), ("pwdReset: x", false)]
        {
            assert_eq!(Ds389::must_be_changed(&recorded(lines)), expected, "{lines}");
        }
        let young = recorded("passwordAllowChangeTime: 20261122021211Z");
        assert_eq!(Ds389::free_from(&young).map(Timestamp::seconds), Some(1_795_313_531));
        assert_eq!(Ds389::free_from(&recorded("passwordAllowChangeTime: later")), None);
        let seeds = recorded("nsRole: cn=all,dc=y\nmemberOf: cn=g,dc=y");
        assert_eq!(Ds389::seeds(&seeds).collect::<Vec<_>>(), ["cn=g,dc=y", "cn=all,dc=y"]);
    }
}
