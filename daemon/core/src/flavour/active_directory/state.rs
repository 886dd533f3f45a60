//! How an account stands in Active Directory, with the attribute and value that say so. What every account has and this
//! one does not show makes its state unknown, and so does every value that can't be read.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::{Evidence, Finding, Standing, Timestamp};
use crate::flavour::Reading;
use crate::flavour::active_directory::descriptor::CONTROL_ACCESS;
use crate::flavour::active_directory::filetime::{self, End};
use crate::flavour::active_directory::guid::Guid;
use crate::flavour::active_directory::sid::{AUTHENTICATED, EVERYONE, Sid};
use crate::flavour::active_directory::{ActiveDirectory, MUST_HAVE, OWN_POLICY, control, sight};
use crate::flavour::entry::{Entry, Unreadable};

const FLAGS: &str = "userAccountControl";
const COMPUTED: &str = "msDS-User-Account-Control-Computed";
const EXPIRY: &str = "msDS-UserPasswordExpiryTimeComputed";
const VERSION: &str = "msDS-KeyVersionNumber";

/// `sAMAccountType` of an ordinary account.
const ORDINARY: i64 = 805_306_368;

/// Classes of accounts that are no persons', all of which are users by class, too.
const MACHINES: [&str; 4] = [
    "computer",
    "msDS-ManagedServiceAccount",
    "msDS-GroupManagedServiceAccount",
    "msDS-DelegatedManagedServiceAccount",
];

/// The right of holders to change their own password (User-Change-Password).
const CHANGE: Guid = Guid::known(0xab72_1a53_1e2f_11d0_9819_00aa_0040_529b);

/// Identifiers below are the directory's own accounts, in every domain.
const FIRST_OF_PEOPLE: u32 = 1000;

/// How far clocks may differ.
const CLOCKS: Duration = Duration::from_mins(5);

/// Adds what an entry says of itself.
pub(super) fn read(server: &ActiveDirectory, reading: &Reading<'_>, standing: &mut Standing) {
    for attribute in MUST_HAVE.into_iter().filter(|attribute| !reading.entry.has(attribute)) {
        let hidden = Unreadable::hidden(attribute);
        standing.add(reading.evidence(Finding::Unknown, attribute, &hidden.why));
    }
    let mut look = Look { server, reading, standing };
    let looks = [
        look.flags(),
        look.kind(),
        look.end(),
        look.password(),
        look.lock(),
        look.right_to_change(),
        look.person(),
        look.power(),
    ];
    for bad in looks.into_iter().filter_map(Result::err) {
        standing.add(reading.evidence(Finding::Unknown, &bad.attribute, &bad.why));
    }
}

/// All groups of an account, nested and primary ones among them.
pub(super) fn token(entry: &Entry) -> Result<BTreeSet<Sid>, Unreadable> {
    let wrong = |attribute: &str, why: String| Unreadable { attribute: attribute.into(), why };
    let mut token = BTreeSet::new();
    for value in entry.values("tokenGroups") {
        token.insert(Sid::parse(value).map_err(|bad| wrong("tokenGroups", bad.to_string()))?);
    }
    // Every account has a primary group, and is in groups of the server.
    if token.is_empty() {
        return Err(Unreadable::hidden("tokenGroups"));
    }
    let primary = entry.number("primaryGroupID")?.ok_or_else(|| Unreadable::hidden("primaryGroupID"))?;
    let primary = u32::try_from(primary).map_err(|_| wrong("primaryGroupID", "it is no number of a group".into()))?;
    token.insert(own(entry)?.ok_or_else(|| Unreadable::hidden("objectSid"))?.sibling(primary));
    Ok(token)
}

fn own(entry: &Entry) -> Result<Option<Sid>, Unreadable> {
    let parsed = entry.values("objectSid").first().map(|value| Sid::parse(value)).transpose();
    parsed.map_err(|bad| Unreadable { attribute: "objectSid".into(), why: bad.to_string() })
}

/// The bits of an attribute with flags, which is shown as a signed number of 32 bits.
pub(super) fn bits(entry: &Entry, attribute: &str) -> Result<Option<u32>, Unreadable> {
    let Some(number) = entry.number(attribute)? else { return Ok(None) };
    let signed = i32::try_from(number).map(i32::cast_unsigned);
    signed
        .or_else(|_| u32::try_from(number))
        .map(Some)
        .map_err(|_| Unreadable { attribute: attribute.to_owned(), why: "it has more than 32 bits".into() })
}

/// One account being looked at.
struct Look<'l, 'r> {
    server: &'l ActiveDirectory,
    reading: &'l Reading<'r>,
    standing: &'l mut Standing,
}

impl Look<'_, '_> {
    fn found(&mut self, finding: Finding, attribute: &str, value: impl AsRef<str>) {
        self.standing.add(self.reading.evidence(finding, attribute, value.as_ref()));
    }

    /// What an administrator has switched on the account.
    fn flags(&mut self) -> Result<(), Unreadable> {
        let Some(flags) = bits(self.reading.entry, FLAGS)? else { return Ok(()) };
        for (bit, finding) in [
            (control::DISABLED, Finding::Disabled),
            // A reset would open sign-in by password again, since setting the flag has only made it a random one.
            (control::SMARTCARD, Finding::PasswordElsewhere),
            (control::OTHER_KINDS, Finding::NotAPerson),
            (control::ACTS_FOR_OTHERS, Finding::Privileged),
        ] {
            if flags & bit != 0 {
                self.found(finding, FLAGS, format!("{flags} ({:#x})", flags & bit));
            }
        }
        if flags & control::NORMAL == 0 {
            self.found(Finding::NotAPerson, FLAGS, format!("{flags} (without {:#x})", control::NORMAL));
        }
        Ok(())
    }

    /// Computers, services and the directory's own accounts.
    fn kind(&mut self) -> Result<(), Unreadable> {
        let entry = self.reading.entry;
        if entry.has("objectClass") && !entry.texts("objectClass").any(|class| class.eq_ignore_ascii_case("user")) {
            self.found(Finding::NotAPerson, "objectClass", "no user");
        }
        let machine =
            entry.texts("objectClass").find(|class| MACHINES.iter().any(|machine| machine.eq_ignore_ascii_case(class)));
        if let Some(class) = machine {
            self.found(Finding::NotAPerson, "objectClass", class);
        }
        if let Some(name) = entry.text("sAMAccountName")?.filter(|name| name.ends_with('$')) {
            self.found(Finding::NotAPerson, "sAMAccountName", name);
        }
        if let Some(service) = entry.texts("servicePrincipalName").next() {
            self.found(Finding::NotAPerson, "servicePrincipalName", service);
        }
        // Of a read-only controller.
        if let Some(number) = entry.texts("msDS-SecondaryKrbTgtNumber").next() {
            self.found(Finding::NotAPerson, "msDS-SecondaryKrbTgtNumber", number);
        }
        let own = own(entry)?;
        let built_in = |sid: &&Sid| !sid.is_of_a_domain() || sid.rid().is_none_or(|rid| rid < FIRST_OF_PEOPLE);
        if let Some(own) = own.as_ref().filter(built_in) {
            self.found(Finding::NotAPerson, "objectSid", own.to_string());
        }
        if entry.flag("isCriticalSystemObject")? == Some(true) {
            self.found(Finding::NotAPerson, "isCriticalSystemObject", "TRUE");
        }
        if let Some(kind) = entry.number("sAMAccountType")?.filter(|kind| *kind != ORDINARY) {
            self.found(Finding::NotAPerson, "sAMAccountType", kind.to_string());
        }
        Ok(())
    }

    /// The end of the account.
    fn end(&mut self) -> Result<(), Unreadable> {
        let Some(text) = self.reading.entry.text("accountExpires")? else { return Ok(()) };
        match filetime::end_of_account(text.as_bytes()) {
            Ok(End::At(end)) if end <= self.reading.now => self.found(Finding::Expired, "accountExpires", text),
            Ok(_) => {}
            Err(bad) => return Err(Unreadable { attribute: "accountExpires".into(), why: bad.to_string() }),
        }
        Ok(())
    }

    /// The end of the password: as the server computes it, since that knows of fine-grained policies.
    fn password(&mut self) -> Result<(), Unreadable> {
        let entry = self.reading.entry;
        let set = set(entry)?;
        let computed = bits(entry, COMPUTED)?;
        let expired = computed.is_some_and(|computed| computed & control::PASSWORD_EXPIRED != 0);
        if expired && set == Some(0) {
            self.found(Finding::MustChange, "pwdLastSet", "0");
        } else if expired {
            self.found(Finding::PasswordExpired, COMPUTED, format!("{:#x}", computed.unwrap_or_default()));
        }
        let Some(text) = entry.text(EXPIRY)? else { return Ok(()) };
        match filetime::end_of_password(text.as_bytes()) {
            Ok(None) if !expired => self.found(Finding::MustChange, EXPIRY, text),
            Ok(Some(End::At(end))) if !expired && end <= self.reading.now => {
                self.found(Finding::PasswordExpired, EXPIRY, text);
            }
            Ok(_) => {}
            Err(bad) => return Err(Unreadable { attribute: EXPIRY.into(), why: bad.to_string() }),
        }
        Ok(())
    }

    /// A lock by failures; there is no other. `lockoutTime` alone is none, since it stays when the lock is over.
    fn lock(&mut self) -> Result<(), Unreadable> {
        let entry = self.reading.entry;
        if bits(entry, COMPUTED)?.is_none_or(|computed| computed & control::LOCKED == 0) {
            return Ok(());
        }
        let since = entry.text("lockoutTime")?;
        let since = since.and_then(|text| filetime::parse(text.as_bytes()).and_then(filetime::moment).ok());
        // Few may read which fine-grained policy holds. It says how long a lock lasts, and concerns nobody else.
        let is_hidden = !entry.has(OWN_POLICY) && !self.server.sight.hidden(entry, [OWN_POLICY]).is_empty();
        let policy = if is_hidden { None } else { self.server.policy_of(entry).ok() };
        let (end, why) = match (since, policy.map(|policy| policy.lock)) {
            (Some(since), Some(Some(lasts))) => (Some(since.plus(lasts)), "it should be over"),
            (_, Some(None)) => (None, "without end"),
            (None, Some(Some(_))) => (None, "since when can't be read"),
            (_, None) => (None, "for how long can't be read"),
        };
        match end.filter(|end| end.plus(CLOCKS) > self.reading.now) {
            Some(end) => self.locked(Finding::LockedByFailures, "locked", Some(end)),
            None => self.locked(Finding::LockedByAdmin, &format!("locked, {why}"), None),
        }
        Ok(())
    }

    fn locked(&mut self, finding: Finding, value: &str, until: Option<Timestamp>) {
        self.standing.add(Evidence { until, ..self.reading.evidence(finding, COMPUTED, value) });
    }

    /// "User cannot change password", which is an entry in the access list.
    fn right_to_change(&mut self) -> Result<(), Unreadable> {
        if !self.reading.entry.has("nTSecurityDescriptor") || !self.reading.entry.has("tokenGroups") {
            return Ok(());
        }
        let (list, own) = sight::access(self.reading.entry)?;
        let mut holder = token(self.reading.entry)?;
        holder.extend([EVERYONE, AUTHENTICATED].into_iter().filter_map(|sid| Sid::from_text(sid).ok()));
        holder.insert(own.clone());
        if !list.allows(&holder, &own, CONTROL_ACCESS, &[CHANGE]) {
            self.found(Finding::HolderMayNotChange, "nTSecurityDescriptor", "no right to change the password");
        }
        Ok(())
    }

    /// Whether anything shows that the person ever set a password. The first ones are whoever's who made the account, or
    /// none at all; nothing tells these apart. Sign-ins are no sign: their marks differ between servers.
    ///
    /// The count of passwords says how many were set and not by whom. As long as nothing else speaks against it, more than
    /// the maker's are taken for the person's; where the present one is an administrator's to be changed, the ones before
    /// may have been so, too. That somebody must change a password does not keep them from a reset, but that nobody knows
    /// whether they ever had one of their own does, until rekeyd has seen it or an adoption says so.
    fn person(&mut self) -> Result<(), Unreadable> {
        let entry = self.reading.entry;
        let Some(set) = set(entry)? else { return Ok(()) };
        let version = entry.number(VERSION)?;
        let shown = version.map_or_else(|| "absent".to_owned(), |version| version.to_string());
        let is_the_makers = version.is_none_or(|version| version <= self.server.made_with);
        match (is_the_makers, set) {
            (true, 0) => self.found(Finding::NeverActivated, VERSION, shown),
            (true, _) => self.found(Finding::Undecided, VERSION, shown),
            (false, 0) => self.found(Finding::Undecided, VERSION, format!("{shown}, and the password must be changed")),
            (false, _) => {}
        }
        Ok(())
    }

    /// Whoever rules over others.
    fn power(&mut self) -> Result<(), Unreadable> {
        let entry = self.reading.entry;
        let marked = entry.number("adminCount")?.filter(|count| *count != 0);
        if !entry.has("tokenGroups") || !entry.has("objectSid") || !entry.has("primaryGroupID") {
            if let Some(count) = marked {
                self.found(Finding::Privileged, "adminCount", count.to_string());
            }
            return Ok(());
        }
        let token = token(entry)?;
        let well_known = token.iter().chain(&own(entry)?).find_map(|sid| Some((sid.clone(), sid.power()?.to_owned())));
        let named = self.server.powerful.iter().find(|(sid, _)| token.contains(sid)).cloned();
        let group = well_known.or(named);
        if let Some((sid, name)) = &group {
            self.found(Finding::Privileged, "tokenGroups", format!("{sid} ({name})"));
        }
        match (marked, group) {
            (Some(count), Some(_)) => self.found(Finding::Privileged, "adminCount", count.to_string()),
            (Some(count), None) => self.found(
                Finding::Privileged,
                "adminCount",
                format!("{count}, stale: no group of administrators holds the account"),
            ),
            (None, _) => {}
        }
        Ok(())
    }
}

/// When the password was set, as a number; 0 where it must be changed or never was.
fn set(entry: &Entry) -> Result<Option<i64>, Unreadable> {
    let odd = || Unreadable { attribute: "pwdLastSet".into(), why: filetime::BadFileTime.to_string() };
    let Some(text) = entry.text("pwdLastSet")? else { return Ok(None) };
    let number = filetime::parse(text.as_bytes()).map_err(|_| odd())?;
    if number < 0 { Err(odd()) } else { Ok(Some(number)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::domain::DirectoryKey;
    use crate::domain::{Dn, Server};
    use crate::flavour::active_directory::tests::{NOW, recorded, server};
    use crate::flavour::policy_entry::PolicyView;
    use crate::policy::eligibility::{Act, Cell, cell};
    use crate::policy::rules::Rules;

    fn standing_at(server: &ActiveDirectory, entry: &Entry, now: Timestamp) -> Standing {
        let reading = Reading {
            entry,
            directory: DirectoryKey(1),
            server: &Server { name: "s".into(), writable: true },
            groups: &Ok(vec![]),
            policy: &PolicyView::None,
            hidden: &[],
            shared: &[],
            now,
        };
        let mut standing = Standing::default();
        read(server, &reading, &mut standing);
        standing
    }

    fn findings(server: &ActiveDirectory, entry: &Entry) -> Vec<Finding> {
        let standing = standing_at(server, entry, NOW);
        let mut all: Vec<Finding> = standing.evidence().iter().map(|evidence| evidence.finding).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn with(changes: &[(&str, &str)]) -> Entry {
        let mut entry = recorded("active");
        for (name, value) in changes {
            let values = if value.is_empty() { vec![] } else { vec![value.as_bytes().to_vec()] };
            entry.replace(name, values);
        }
        entry
    }

    #[test]
    fn s2_2_what_a_samba_server_showed_becomes_findings() {
        use Finding::{
            Disabled, Expired, HolderMayNotChange, LockedByAdmin, LockedByFailures, MustChange, NeverActivated,
            NotAPerson, PasswordElsewhere, PasswordExpired, Privileged, Undecided, Unknown,
        };
        for (name, lets_in, expected) in [
            ("active", Some(true), &[][..]),
            ("gone", Some(false), &[PasswordExpired]),
            ("added", Some(false), &[MustChange, Undecided]),
            ("must", Some(false), &[MustChange, NeverActivated]),
            // The server lets it sign in, since its password never expires.
            ("mustnever", Some(true), &[NeverActivated]),
            ("nopw", Some(false), &[Disabled, MustChange, NeverActivated]),
            ("noreq", Some(true), &[Undecided]),
            ("smart", None, &[PasswordElsewhere, Undecided]),
            // Its access list may not be read.
            ("disabled", Some(false), &[Disabled, Undecided, Unknown]),
            ("ended", Some(false), &[Expired, Undecided]),
            ("locked", Some(false), &[LockedByFailures]),
            // A fine-grained policy locks it without end.
            ("tool", Some(false), &[LockedByAdmin, Undecided]),
            ("nested", Some(true), &[Privileged, Undecided]),
            ("looped", Some(true), &[Privileged]),
            ("primary", Some(true), &[Privileged, Undecided]),
            ("mark", Some(true), &[Privileged]),
            ("cannot", Some(true), &[HolderMayNotChange, Undecided]),
            ("inner", None, &[NotAPerson, PasswordExpired, Unknown]),
            ("Administrator", Some(true), &[NotAPerson, Privileged, Undecided]),
            ("Guest", None, &[Disabled, NeverActivated, NotAPerson]),
            ("krbtgt", None, &[Disabled, NotAPerson, Privileged, Undecided]),
            ("DC1", None, &[NotAPerson, Privileged, Undecided]),
        ] {
            let found = findings(&server(), &recorded(name));
            assert_eq!(found, expected, "{name}");
            // What the server did with the right password at that moment.
            if let Some(lets_in) = lets_in {
                let denies = |finding: &Finding| cell(*finding, Act::SignIn, &Rules::default()) == Cell::No;
                assert_eq!(found.iter().any(denies), !lets_in, "{name}");
            }
        }
    }

    #[test]
    fn t51_each_attribute_that_is_hidden_makes_it_unknown() {
        for name in MUST_HAVE {
            assert!(findings(&server(), &with(&[(name, "")])).contains(&Finding::Unknown), "{name}");
        }
    }

    #[test]
    fn t53_t54_single_values_decide() {
        let now = 134_397_837_560_000_000_i64;
        let (before, after) = ((now - 10_000_000).to_string(), (now + 10_000_000).to_string());
        for (name, value, expected) in [
            ("userAccountControl", "514", Some(Finding::Disabled)),
            ("userAccountControl", "262656", Some(Finding::PasswordElsewhere)),
            ("userAccountControl", "524800", Some(Finding::Privileged)),
            ("userAccountControl", "16777728", Some(Finding::Privileged)),
            ("userAccountControl", "4096", Some(Finding::NotAPerson)),
            ("userAccountControl", "2080", Some(Finding::NotAPerson)),
            ("userAccountControl", "0", Some(Finding::NotAPerson)),
            ("userAccountControl", "-2147483136", None),
            ("userAccountControl", "544", None),
            ("userAccountControl", "66048", None),
            ("userAccountControl", "enabled", Some(Finding::Unknown)),
            ("userAccountControl", "4294967808", Some(Finding::Unknown)),
            ("accountExpires", "0", None),
            ("accountExpires", "9223372036854775807", None),
            ("accountExpires", "9223372036854775806", None),
            ("accountExpires", &before, Some(Finding::Expired)),
            ("accountExpires", &now.to_string(), Some(Finding::Expired)),
            ("accountExpires", &after, None),
            ("accountExpires", "1", Some(Finding::Expired)),
            ("accountExpires", "-1", Some(Finding::Unknown)),
            ("accountExpires", "-9223372036854775808", Some(Finding::Unknown)),
            ("accountExpires", "never", Some(Finding::Unknown)),
            ("msDS-User-Account-Control-Computed", "8388608", Some(Finding::PasswordExpired)),
            ("msDS-User-Account-Control-Computed", "locked", Some(Finding::Unknown)),
            ("msDS-UserPasswordExpiryTimeComputed", &before, Some(Finding::PasswordExpired)),
            ("msDS-UserPasswordExpiryTimeComputed", &after, None),
            ("msDS-UserPasswordExpiryTimeComputed", "0", Some(Finding::MustChange)),
            ("msDS-UserPasswordExpiryTimeComputed", "9223372036854775807", None),
            ("msDS-UserPasswordExpiryTimeComputed", "-1", Some(Finding::Unknown)),
            ("pwdLastSet", "-1", Some(Finding::Unknown)),
            ("pwdLastSet", "yesterday", Some(Finding::Unknown)),
            ("msDS-KeyVersionNumber", "3", None),
            ("msDS-KeyVersionNumber", "2", Some(Finding::Undecided)),
            ("msDS-KeyVersionNumber", "1", Some(Finding::Undecided)),
            ("msDS-KeyVersionNumber", "", Some(Finding::Undecided)),
            ("msDS-KeyVersionNumber", "many", Some(Finding::Unknown)),
            // A lock that is over, or was lifted, leaves its time behind.
            ("lockoutTime", "134397835742054550", None),
            ("lockoutTime", "0", None),
            ("sAMAccountName", "active$", Some(Finding::NotAPerson)),
            ("sAMAccountType", "805306369", Some(Finding::NotAPerson)),
            ("sAMAccountType", "805306370", Some(Finding::NotAPerson)),
            ("servicePrincipalName", "HTTP/www", Some(Finding::NotAPerson)),
            ("msDS-SecondaryKrbTgtNumber", "4711", Some(Finding::NotAPerson)),
            ("isCriticalSystemObject", "TRUE", Some(Finding::NotAPerson)),
            ("isCriticalSystemObject", "FALSE", None),
            ("primaryGroupID", "512", Some(Finding::Privileged)),
            ("primaryGroupID", "514", None),
            ("primaryGroupID", "-1", Some(Finding::Unknown)),
            ("adminCount", "1", Some(Finding::Privileged)),
            ("adminCount", "0", None),
            ("objectSid", "S-1-5-21", Some(Finding::Unknown)),
            ("tokenGroups", "S-1-5-21", Some(Finding::Unknown)),
            ("nTSecurityDescriptor", "D:(A;;;;;WD)", Some(Finding::Unknown)),
        ] {
            let found = findings(&server(), &with(&[(name, value)]));
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{name} {value}");
        }
    }

    #[test]
    fn p2_a_count_of_passwords_does_not_say_whose_they_were() {
        use Finding::{NeverActivated, Undecided};
        for (version, set, expected) in [
            ("1", "0", &[NeverActivated][..]),
            ("2", "0", &[NeverActivated]),
            // An administrator has set one again, or has the person's own changed.
            ("3", "0", &[Undecided]),
            ("9", "0", &[Undecided]),
            ("2", "134397835742054550", &[Undecided]),
            ("3", "134397835742054550", &[]),
        ] {
            assert_eq!(
                findings(&server(), &with(&[(VERSION, version), ("pwdLastSet", set)])),
                expected,
                "{version} {set}"
            );
        }
    }

    #[test]
    fn s2_2_a_lock_ends_by_the_policy_that_made_it() {
        let locked = |change: &dyn Fn(&mut ActiveDirectory), entry: &Entry, now| {
            let mut server = server();
            change(&mut server);
            let standing = standing_at(&server, entry, now);
            standing.evidence().iter().map(|evidence| (evidence.finding, evidence.until)).collect::<Vec<_>>()
        };
        let entry = recorded("locked");
        let since = filetime::moment(134_397_835_742_054_550).unwrap();
        let end = since.plus(Duration::from_mins(30));
        let same = |_: &mut ActiveDirectory| {};
        assert_eq!(locked(&same, &entry, NOW), [(Finding::LockedByFailures, Some(end))]);
        // The server says that it holds, so its clock goes after ours or the policy is another.
        assert_eq!(locked(&same, &entry, end.plus(Duration::from_mins(1))), [(Finding::LockedByFailures, Some(end))]);
        assert_eq!(locked(&same, &entry, end.plus(Duration::from_mins(6))), [(Finding::LockedByAdmin, None)]);
        let endless = |server: &mut ActiveDirectory| server.policy.as_mut().unwrap().lock = None;
        assert_eq!(locked(&endless, &entry, NOW), [(Finding::LockedByAdmin, None)]);
        assert_eq!(locked(&|server| server.policy = None, &entry, NOW), [(Finding::LockedByAdmin, None)]);
        // Another policy may hold, and we may not see which.
        let blind = |server: &mut ActiveDirectory| server.sight = sight::Sight::default();
        assert_eq!(locked(&blind, &entry, NOW), [(Finding::LockedByAdmin, None)]);
        assert_eq!(locked(&blind, &recorded("active"), NOW), []);
        let mut hidden = entry.clone();
        hidden.replace("lockoutTime", vec![]);
        assert_eq!(locked(&same, &hidden, NOW), [(Finding::LockedByAdmin, None)]);
        let mut other = entry.clone();
        other.replace("msDS-ResultantPSO", vec![b"CN=hidden,DC=x".to_vec()]);
        assert_eq!(locked(&same, &other, NOW), [(Finding::LockedByAdmin, None)]);
        let known = |server: &mut ActiveDirectory| {
            let name = Dn::parse("CN=Hidden, DC=x").unwrap();
            let lock = Some(Duration::from_hours(1));
            server.objects.push(super::super::policy::PasswordSettings {
                name,
                lock,
                ..server.policy.clone().unwrap()
            });
        };
        let later = since.plus(Duration::from_hours(1));
        assert_eq!(locked(&known, &other, NOW), [(Finding::LockedByFailures, Some(later))]);
    }

    #[test]
    fn t57_groups_without_a_number_count_where_they_are_named() {
        let group = token(&recorded("active")).unwrap().into_iter().next().unwrap();
        let named = ActiveDirectory { powerful: vec![(group, "DnsAdmins".into())], ..server() };
        assert_eq!(findings(&named, &recorded("active")), [Finding::Privileged]);
    }

    #[test]
    fn a_stale_mark_is_called_stale() {
        let value = |name| {
            let standing = standing_at(&server(), &recorded(name), NOW);
            let found = standing.evidence().iter().find(|evidence| evidence.attribute == "adminCount").cloned();
            found.unwrap().value
        };
        assert!(value("mark").contains("stale"));
        assert_eq!(value("Administrator"), "1");
    }

    #[test]
    fn accounts_made_with_their_password_can_be_told_apart_sooner() {
        let sooner = ActiveDirectory { made_with: 1, ..server() };
        assert_eq!(findings(&sooner, &with(&[(VERSION, "2")])), []);
        assert_eq!(findings(&sooner, &with(&[(VERSION, "1")])), [Finding::Undecided]);
    }
}
