//! OpenLDAP, with the password policy overlay (slapo-ppolicy) or without.
//!
//! The overlay keeps what has happened to a password in operational attributes of the account and the rules in policy
//! entries. Without it the server says next to nothing about an account's state, and the findings then rest on the
//! configured markers.

use zeroize::Zeroizing;

use crate::domain::{Stamp, Standing};
use crate::flavour::entry::{Entry, Unreadable};
use crate::flavour::filter::Filter;
use crate::flavour::markers::Markers;
use crate::flavour::openldap_state::{self, GUARDED, LAST_SUCCESS, SHADOW_EXPIRE, STATE};
use crate::flavour::ppolicy::PolicyError;
use crate::flavour::{Change, Outcome, Reading, Rejection, Reply, Settled, Verified};
use crate::policy::permit::Permit;

/// By which groups of POSIX name their members (RFC 2307): logins by `memberUid`, a primary group by its number.
const POSIX: [&str; 2] = ["uid", "gidNumber"];

/// The stamp of a password that the overlay has no mark of.
const UNMARKED: &str = "pwdChangedTime absent";

/// What is known of one OpenLDAP server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenLdap {
    /// Whether the password policy overlay keeps the state of accounts.
    pub ppolicy: bool,
    /// How far a write can carry a condition.
    pub conditions: Conditions,
    /// The attributes that the server's schema defines, in lower case, of those that somebody here asks about. A filter
    /// over any other attribute is undefined, and would make every condition fail.
    pub defined: Vec<String>,
}

/// How far a write of the password can carry a condition on this server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Conditions {
    /// The state that the overlay keeps.
    Core,
    /// That, and the configured markers.
    Full,
    /// None: it is not proved that the server hashes a password that comes in a Modify.
    None,
}

impl OpenLdap {
    pub(super) fn attributes() -> impl Iterator<Item = &'static str> {
        let own = ["entryUUID", "entryCSN", "memberOf", "userPassword", SHADOW_EXPIRE];
        STATE.into_iter().chain(own).chain(POSIX)
    }

    /// What must be proved readable before "absent" means anything.
    pub(super) fn must_read(&self, markers: &Markers) -> Vec<String> {
        let state = if self.ppolicy { STATE.as_slice() } else { &["entryCSN"] };
        // Somebody without a login would be in no group that names its members by login.
        let posix = POSIX.into_iter().filter(|_| self.defines("memberUid"));
        let state = state.iter().copied().chain([SHADOW_EXPIRE]).chain(posix);
        let mut all: Vec<String> = state.chain(markers.attributes()).map(str::to_owned).collect();
        all.retain(|attribute| self.defines(attribute));
        all.sort_unstable();
        all.dedup();
        all
    }

    fn defines(&self, attribute: &str) -> bool {
        self.defined.iter().any(|defined| defined.eq_ignore_ascii_case(attribute))
    }

    /// The mark of the present password, with the condition that must still hold when it is replaced.
    pub(super) fn stamp(&self, entry: &Entry, markers: &Markers) -> Result<Stamp, Unreadable> {
        let guard = self.guard(entry, markers)?.to_string();
        let stamp = if self.ppolicy {
            match entry.text("pwdChangedTime")? {
                // A value that is no moment still names a generation; `standing` says what it can't.
                Some(value) => {
                    let second = entry.moment("pwdChangedTime").ok().flatten();
                    Stamp::new(format!("pwdChangedTime={value}"), second)
                }
                None => Stamp::new(UNMARKED, None),
            }
        } else {
            let value = entry.text("entryCSN")?.ok_or_else(|| Unreadable::hidden("entryCSN"))?;
            Stamp::new(format!("entryCSN={value}"), None)
        };
        Ok(stamp.guarded(guard))
    }

    /// The entry is the same one and in the same state.
    fn guard(&self, entry: &Entry, markers: &Markers) -> Result<Filter, Unreadable> {
        let as_read = |attribute: &str| -> Result<Filter, Unreadable> {
            Ok(entry
                .text(attribute)?
                .map_or_else(|| Filter::present(attribute).negated(), |value| Filter::equal(attribute, value)))
        };
        let mut parts = vec![as_read("entryUUID")?];
        let state = if self.ppolicy { GUARDED.as_slice() } else { &["entryCSN"] };
        for attribute in state.iter().copied().chain([SHADOW_EXPIRE]).filter(|attribute| self.defines(attribute)) {
            parts.push(as_read(attribute)?);
        }
        // Whoever signs in meanwhile is in use all the more; a sign-in that is gone or older than was read is another state.
        if let Some(used) = entry.text(LAST_SUCCESS)?.filter(|_| self.ppolicy && self.defines(LAST_SUCCESS)) {
            parts.push(Filter::AtLeast(LAST_SUCCESS.to_owned(), used.as_bytes().to_vec()));
        }
        if self.conditions != Conditions::Core {
            let marked = markers.iter().map(|(_, marker)| marker);
            let defined = marked.filter(|marker| marker.attribute().is_some_and(|name| self.defines(name)));
            parts.extend(defined.filter_map(|marker| marker.unchanged(entry)));
        }
        Ok(Filter::And(parts))
    }

    /// What the server says of an account.
    pub(super) fn standing(&self, reading: &Reading<'_>, standing: &mut Standing) {
        openldap_state::read(self.ppolicy, reading, standing);
    }

    /// How a password is written here.
    pub(super) fn change(&self, permit: &Permit) -> Result<Change, Rejection> {
        let password = || Zeroizing::new(permit.password().expose().to_owned());
        let bytes = || Zeroizing::new(permit.password().expose().as_bytes().to_vec());
        let condition = permit.stamp().guard().filter(|_| self.conditions != Conditions::None).map(str::to_owned);
        if !permit.must_change() {
            return Ok(match condition {
                Some(condition) => {
                    Change::Modify { replace: vec![("userPassword", bytes())], condition: Some(condition), hints: None }
                }
                None => Change::Exop { password: password() },
            });
        }
        if !self.ppolicy {
            return Err(Rejection::MissingRight(
                "this directory has no password policy overlay (slapo-ppolicy), so nobody can be made to change a \
                 password at the next sign-in"
                    .into(),
            ));
        }
        if condition.is_none() {
            return Err(Rejection::MissingRight(
                "must-change needs a Modify, and it is not proved that the server hashes a password written that way: \
                 set `canary`, let rekeyd read its userPassword, and turn on ppolicy_hash_cleartext"
                    .into(),
            ));
        }
        let flag = Zeroizing::new(b"TRUE".to_vec());
        Ok(Change::Modify { replace: vec![("userPassword", bytes()), ("pwdReset", flag)], condition, hints: None })
    }

    /// What the server's answer to a write means.
    pub(super) fn outcome(reply: &Reply, must_change: bool) -> Outcome {
        let refused = |rejection| Outcome::Rejected(rejection);
        if reply.code == 0 {
            return Outcome::Done;
        }
        match reply.policy.and_then(|policy| policy.error) {
            Some(PolicyError::InHistory) => return refused(Rejection::InHistory),
            Some(PolicyError::NotComplex) => return refused(Rejection::NotComplex),
            Some(PolicyError::TooShort) => return refused(Rejection::TooShort),
            Some(PolicyError::TooLong) => return refused(Rejection::TooLong),
            Some(PolicyError::TooYoung) => return refused(Rejection::TooYoung),
            Some(PolicyError::MustSupplyOld) => return refused(Rejection::MustSupplyOld),
            Some(PolicyError::NotAllowed) => return refused(Rejection::NotAllowed),
            Some(PolicyError::ChangeAfterReset) => {
                let why = "rekeyd's own account must have its password changed first";
                return refused(Rejection::MissingRight(why.into()));
            }
            Some(PolicyError::Expired | PolicyError::Locked | PolicyError::Other(_)) | None => {}
        }
        match reply.code {
            10 => Outcome::NotDone("the server is a read-only copy".into()),
            12 => refused(Rejection::MissingRight("the server no longer takes the assertion control".into())),
            1 | 51 => Outcome::NotDone(reply.words()),
            // A proxy says so, too, of an operation that it has sent on and whose answer it has lost or not waited for.
            3 | 11 | 52 | 80 => Outcome::Unsure(reply.words()),
            32 | 122 => Outcome::Stale,
            8 | 13 | 50 if must_change => refused(Rejection::MissingRight(format!(
                "rekeyd's account needs `access to attrs=pwdReset by dn.exact=\"its name\" manage`, besides write on \
                 userPassword ({})",
                reply.words()
            ))),
            8 | 13 | 50 => refused(Rejection::MissingRight(format!(
                "rekeyd's account needs `access to attrs=userPassword by dn.exact=\"its name\" =xw` ({})",
                reply.words()
            ))),
            // About the server, not the account: a copy without a way to its original, a database set to read-only.
            53 if reply.policy.and_then(|policy| policy.error).is_none() => Outcome::NotDone(reply.words()),
            53 => refused(Rejection::NotAllowed),
            _ => refused(Rejection::Other(reply.words())),
        }
    }

    /// Whether the answer to a write says that this server takes none: a copy, or a database that is set to read-only.
    pub(super) fn is_copy(reply: &Reply) -> bool {
        let text = reply.text.to_lowercase();
        reply.code == 10
            || reply.code == 53 && ["shadow context", "operation restricted"].iter().any(|why| text.contains(why))
    }

    /// What the server's answer to a person's bind means; `Err` where it says nothing about the password.
    pub(super) fn verified(reply: &Reply) -> Result<Verified, String> {
        let error = reply.policy.and_then(|policy| policy.error);
        let grace = reply.policy.and_then(|policy| policy.grace);
        match (reply.code, error) {
            // The overlay looks at expiry only once the password has turned out right.
            (0 | 49, Some(PolicyError::Expired)) => Ok(Verified::RightButMustChange),
            (0, Some(PolicyError::ChangeAfterReset)) => Ok(Verified::RightButMustChange),
            (0, _) if grace.is_some() => Ok(Verified::RightButMustChange),
            (0, _) => Ok(Verified::Right),
            (1 | 2 | 3 | 7 | 8 | 11 | 13 | 51 | 52 | 80, _) => Err(reply.words()),
            _ => Ok(Verified::Wrong),
        }
    }

    /// Whether a password was written between two readings.
    pub(super) fn settled(before: &Stamp, after: &Stamp) -> Settled {
        if before == after {
            return Settled::Unchanged;
        }
        // entryCSN changes with everything that happens to an entry.
        let both = |prefix: &str| before.as_str().starts_with(prefix) && after.as_str().starts_with(prefix);
        // A mark that is gone was taken away, by an administrator or by a reader who may no longer see it: no write does so.
        if both("pwdChangedTime") && after.as_str() != UNMARKED { Settled::Changed } else { Settled::Undecidable }
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::domain::{Account, DirectoryKey, EntryName, Finding, Server, Timestamp};
    use crate::flavour::policy_entry::{PolicyView, plain_policy};
    use crate::flavour::ppolicy::PolicyAnswer;
    use crate::flavour::{Flavour, Mapping};
    use crate::settings::Document;

    /// 2026-10-30 12:00:00 UTC.
    const NOW: Timestamp = Timestamp::from_millis(1_793_361_600_000);
    pub(in crate::flavour) const CHANGED: (&str, &str) = ("pwdChangedTime", "20260101000000Z");

    pub(in crate::flavour) fn server() -> OpenLdap {
        let mapping = mapping("");
        let defined = Flavour::OpenLdap(OpenLdap { ppolicy: true, conditions: Conditions::Full, defined: vec![] })
            .attributes(&mapping);
        OpenLdap { ppolicy: true, conditions: Conditions::Full, defined }
    }

    pub(in crate::flavour) fn mapping(markers: &str) -> Mapping {
        let text = format!("[markers]\n{markers}");
        let document = Document::parse(&text);
        Mapping {
            logins: vec!["uid".into()],
            emails: vec!["mail".into(), "mailAlternateAddress".into()],
            names: vec!["cn".into(), "sn".into()],
            language: Some("preferredLanguage".into()),
            markers: Markers::read(document.root().section("markers")),
            apart: vec![],
        }
    }

    pub(in crate::flavour) fn entry(attributes: &[(&str, &str)]) -> Entry {
        let mut entry = Entry::new(EntryName("uid=ada,ou=people,dc=x".into()));
        entry.add("entryUUID", "AA-1");
        entry.add("entryCSN", "20260101000000.000000Z#0#0#0");
        entry.add("uid", "ada");
        for (name, value) in attributes {
            entry.add(name, *value);
        }
        entry
    }

    pub(in crate::flavour) fn account(
        server: &OpenLdap,
        entry: &Entry,
        policy: &PolicyView,
        mapping: &Mapping,
    ) -> Account {
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
        Flavour::OpenLdap(server.clone()).account(&reading, mapping)
    }

    #[test]
    fn t51_what_is_hidden_is_unknown() {
        let mapping = mapping("");
        let entry = entry(&[CHANGED]);
        let policy = PolicyView::InForce(plain_policy());
        let server_of = Server { name: "s".into(), writable: true };
        let reading = |groups, hidden| Reading {
            entry: &entry,
            directory: DirectoryKey(1),
            server: &server_of,
            groups,
            policy: &policy,
            hidden,
            shared: &[],
            now: NOW,
        };
        let flavour = Flavour::OpenLdap(server());
        let hidden = ["pwdAccountLockedTime".to_owned()];
        let known = Ok(vec![]);
        let unknown = Err("no answer".to_owned());
        for (reading, expected) in
            [(reading(&known, &[]), false), (reading(&known, &hidden), true), (reading(&unknown, &[]), true)]
        {
            assert_eq!(flavour.account(&reading, &mapping).standing.has(Finding::Unknown), expected);
        }
        // Whoever may not see the mark of a password does not know that there is none, nor that a marker is absent.
        let markers = super::tests::mapping("never_activated = [\"!pwdChangedTime\", \"!initials\"]");
        let unmarked = super::tests::entry(&[]);
        for (hidden, expected) in [
            (&[][..], &[Finding::NeverActivated; 3][..]),
            (&["pwdchangedtime".to_owned()], &[Finding::Unknown, Finding::NeverActivated]),
            (&["pwdChangedTime".to_owned(), "initials".to_owned()], &[Finding::Unknown, Finding::Unknown]),
        ] {
            let reading = Reading { entry: &unmarked, ..reading(&known, hidden) };
            let standing = flavour.account(&reading, &markers).standing;
            assert_eq!(standing.evidence().iter().map(|seen| seen.finding).collect::<Vec<_>>(), expected, "{hidden:?}");
        }
        let mut nameless = entry.clone();
        nameless.replace("entryUUID", vec![]);
        let account = account(&server(), &nameless, &policy, &mapping);
        assert!(account.standing.has(Finding::Unknown));
        assert_eq!(account.id.stable, "entry uid=ada,ou=people,dc=x");
    }

    #[test]
    fn t57_what_groups_of_posix_go_by_is_read() {
        let markers = Markers::default();
        let mapping = Mapping { logins: vec!["mail".into()], ..mapping("") };
        let known = OpenLdap { defined: [server().defined, vec!["memberuid".into()]].concat(), ..server() };
        for name in ["uid", "gidNumber"] {
            assert!(Flavour::OpenLdap(known.clone()).attributes(&mapping).iter().any(|asked| asked == name));
            assert!(known.must_read(&markers).iter().any(|needed| needed == name));
            assert!(!server().must_read(&markers).iter().any(|needed| needed == name));
        }
    }

    #[test]
    fn the_stamp_names_the_password_and_the_guard_the_whole_state() {
        let mapping = mapping("disabled = [\"employeeType=gone\", \"!mail\"]");
        let server = OpenLdap { defined: [server().defined, vec!["employeeType".into()]].concat(), ..server() };
        let entry = entry(&[CHANGED, ("mail", "a@example.org")]);
        let stamp = server.stamp(&entry, &mapping.markers).unwrap();
        assert_eq!(stamp.as_str(), "pwdChangedTime=20260101000000Z");
        assert_eq!(
            stamp.guard(),
            Some(
                "(&(entryUUID=AA-1)(pwdChangedTime=20260101000000Z)(!(pwdAccountLockedTime=*))\
                 (!(pwdAccountTmpLockoutEnd=*))(!(pwdStartTime=*))(!(pwdEndTime=*))(!(shadowExpire=*))\
                 (!(employeeType=gone))(mail=*))"
            )
        );
        let guard = Filter::parse(stamp.guard().unwrap()).unwrap();
        assert!(guard.matches(&entry));
        for (name, value) in
            [("pwdAccountLockedTime", "000001010000Z"), ("pwdEndTime", "20200101000000Z"), ("employeeType", "gone")]
        {
            let mut changed = entry.clone();
            changed.add(name, value);
            assert!(!guard.matches(&changed), "{name}");
        }
        // An attribute that this server's schema lacks would make the whole condition undefined.
        let old = OpenLdap { defined: vec!["pwdChangedTime".into()], ..server.clone() };
        let guard = old.stamp(&entry, &mapping.markers).unwrap();
        assert_eq!(guard.guard(), Some("(&(entryUUID=AA-1)(pwdChangedTime=20260101000000Z))"));
        let bare = OpenLdap { ppolicy: false, ..server };
        let stamp = bare.stamp(&entry, &mapping.markers).unwrap();
        assert!(stamp.as_str().starts_with("entryCSN=") && stamp.second().is_none());
    }

    #[test]
    fn refusals_are_typed_by_control_and_code() {
        let reply = |code, error| Reply {
            code,
            text: "text".into(),
            policy: Some(PolicyAnswer { error, ..PolicyAnswer::default() }),
        };
        for (code, error, expected) in [
            (0, None, Outcome::Done),
            (19, Some(PolicyError::InHistory), Outcome::Rejected(Rejection::InHistory)),
            (19, Some(PolicyError::NotComplex), Outcome::Rejected(Rejection::NotComplex)),
            (19, Some(PolicyError::TooShort), Outcome::Rejected(Rejection::TooShort)),
            (19, Some(PolicyError::TooLong), Outcome::Rejected(Rejection::TooLong)),
            (19, Some(PolicyError::TooYoung), Outcome::Rejected(Rejection::TooYoung)),
            (50, Some(PolicyError::MustSupplyOld), Outcome::Rejected(Rejection::MustSupplyOld)),
            (50, Some(PolicyError::NotAllowed), Outcome::Rejected(Rejection::NotAllowed)),
            (19, None, Outcome::Rejected(Rejection::Other("result 19: text".into()))),
            (53, None, Outcome::NotDone("result 53: text".into())),
            (53, Some(PolicyError::Locked), Outcome::Rejected(Rejection::NotAllowed)),
            (52, None, Outcome::Unsure("result 52: text".into())),
            (80, None, Outcome::Unsure("result 80: text".into())),
            (80, Some(PolicyError::InHistory), Outcome::Rejected(Rejection::InHistory)),
            (122, None, Outcome::Stale),
            (32, None, Outcome::Stale),
            (51, None, Outcome::NotDone("result 51: text".into())),
        ] {
            assert_eq!(OpenLdap::outcome(&reply(code, error), false), expected);
        }
        for (must_change, wanted) in [(false, "userPassword"), (true, "pwdReset")] {
            let Outcome::Rejected(Rejection::MissingRight(why)) = OpenLdap::outcome(&reply(50, None), must_change)
            else {
                panic!("not a missing right")
            };
            assert!(why.contains(wanted), "{why}");
        }
    }

    #[test]
    fn copies_are_told_by_code_or_by_text() {
        let reply = |code, text: &str| Reply { code, text: text.into(), policy: None };
        for (answer, copy) in [
            (reply(10, ""), true),
            (reply(53, "shadow context; no update referral"), true),
            (reply(53, "operation restricted"), true),
            (reply(53, "not for this entry"), false),
            (reply(0, "shadow context"), false),
        ] {
            assert_eq!(OpenLdap::is_copy(&answer), copy, "{answer:?}");
        }
    }

    #[test]
    fn only_another_mark_says_that_it_was_written() {
        let stamp = |text: &str| Stamp::new(text, None);
        let (old, new) = (stamp("pwdChangedTime=20260101000000Z"), stamp("pwdChangedTime=20260102000000Z"));
        for (before, after, settled) in [
            (&old, &old, Settled::Unchanged),
            (&old, &new, Settled::Changed),
            (&stamp(UNMARKED), &new, Settled::Changed),
            (&old, &stamp(UNMARKED), Settled::Undecidable),
            (&stamp("entryCSN=1"), &stamp("entryCSN=2"), Settled::Undecidable),
        ] {
            assert_eq!(OpenLdap::settled(before, after), settled, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_bind_says_three_things() {
        let reply = |code, error, grace| Reply {
            code,
            text: String::new(),
            policy: Some(PolicyAnswer { error, grace, expires_in: None }),
        };
        for (answer, expected) in [
            (reply(0, None, None), Ok(Verified::Right)),
            (reply(0, Some(PolicyError::ChangeAfterReset), None), Ok(Verified::RightButMustChange)),
            (reply(0, None, Some(2)), Ok(Verified::RightButMustChange)),
            (reply(49, Some(PolicyError::Expired), None), Ok(Verified::RightButMustChange)),
            (reply(49, Some(PolicyError::Locked), None), Ok(Verified::Wrong)),
            (reply(49, None, None), Ok(Verified::Wrong)),
            (reply(53, None, None), Ok(Verified::Wrong)),
            (reply(32, None, None), Ok(Verified::Wrong)),
            (reply(52, None, None), Err("result 52".into())),
        ] {
            assert_eq!(OpenLdap::verified(&answer), expected);
        }
    }

    #[test]
    fn t5_contacts_have_one_order() {
        let one = entry(&[
            CHANGED,
            ("mail", "b@example.org"),
            ("mail", "A@example.org"),
            ("mailAlternateAddress", "c@example.org"),
        ]);
        let two = entry(&[
            CHANGED,
            ("mail", "A@example.org"),
            ("mail", "nonsense"),
            ("mail", "b@example.org"),
            ("mailAlternateAddress", "a@EXAMPLE.org"),
            ("mailAlternateAddress", "c@example.org"),
        ]);
        for entry in [one, two] {
            let account = account(&server(), &entry, &PolicyView::None, &mapping(""));
            let addresses: Vec<_> = account.contacts.iter().map(|contact| contact.address.as_str()).collect();
            assert_eq!(addresses, ["A@example.org", "b@example.org", "c@example.org"]);
        }
    }
}
