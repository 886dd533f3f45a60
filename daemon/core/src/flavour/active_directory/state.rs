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
use crate::flavour::active_directory::{ActiveDirectory, MUST_HAVE, Maker, control, sight};
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
            (control::HOLDER_MAY_NOT_CHANGE, Finding::HolderMayNotChange),
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
        let (end, why) = match (since, self.server.policy_of(entry).map(|policy| policy.lock)) {
            (Some(since), Ok(Some(lasts))) => (Some(since.plus(lasts)), "it should be over"),
            (_, Ok(None)) => (None, "without end"),
            (None, Ok(Some(_))) => (None, "since when can't be read"),
            (_, Err(_)) => (None, "for how long can't be read"),
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

    /// Whether anything shows that the person ever set a password: each one set counts the key's version up. The first
    /// is an administrator's or none at all; the tools of Windows make the account and then set it, which counts twice.
    fn person(&mut self) -> Result<(), Unreadable> {
        let entry = self.reading.entry;
        let Some(set) = set(entry)? else { return Ok(()) };
        let version = entry.number(VERSION)?;
        let first = match self.server.maker {
            Maker::Microsoft => 2,
            Maker::Samba => 1,
        };
        if version.is_none_or(|version| version <= first) {
            let shown = version.map_or_else(|| "absent".to_owned(), |version| version.to_string());
            let finding = if set == 0 { Finding::NeverActivated } else { Finding::Undecided };
            self.found(finding, VERSION, shown);
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
