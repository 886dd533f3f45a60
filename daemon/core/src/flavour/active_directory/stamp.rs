//! The mark of a password in Active Directory: its text names a generation of the password, and its guard says what the account
//! was when it was judged, which a look right before the write compares.

use crate::domain::Stamp;
use crate::flavour::Settled;
use crate::flavour::active_directory::guid::Guid;
use crate::flavour::active_directory::{ActiveDirectory, ID, filetime};
use crate::flavour::ds389::as_read;
use crate::flavour::entry::{Entry, Unreadable};
use crate::flavour::filter::Filter;
use crate::flavour::markers::Markers;

impl ActiveDirectory {
    /// The mark of the present password: when it was set, and where shown how many were set before. The guard is a filter
    /// that the entry, read alone, must still fit right before its password is written.
    ///
    /// # Errors
    /// [`Unreadable`] where `pwdLastSet` or the id is not shown.
    pub fn stamp(entry: &Entry, markers: &Markers) -> Result<Stamp, Unreadable> {
        let set = entry.text("pwdLastSet")?.ok_or_else(|| Unreadable::hidden("pwdLastSet"))?;
        let version = entry.text("msDS-KeyVersionNumber")?;
        let text = match version {
            Some(version) => format!("pwdLastSet={set} msDS-KeyVersionNumber={version}"),
            None => format!("pwdLastSet={set}"),
        };
        // Two writes in one second could only share a mark that is cut to seconds and counts nothing.
        let whole = filetime::parse(set.as_bytes()).ok().filter(|number| number % filetime::IN_A_SECOND == 0);
        let second = whole.filter(|_| version.is_none()).and_then(|number| filetime::moment(number).ok());
        let mut guard = vec![Filter::equal(ID, Guid::from_text(&Self::id(entry)?).map_or([0; 16], |id| id.bytes()))];
        for name in
            ["pwdLastSet", "userAccountControl", "accountExpires", "lockoutTime", "primaryGroupID", "adminCount"]
        {
            let present = entry.text(name)?;
            guard.push(present.map_or_else(|| Filter::present(name).negated(), |value| Filter::equal(name, value)));
        }
        // Whoever was let into a group of administrators, became a service or was marked in between is somebody else.
        let many = ["servicePrincipalName", "tokenGroups"].into_iter().chain(markers.attributes());
        guard.extend(many.map(|name| as_read(entry, name)));
        Ok(Stamp::new(text, second).guarded(Filter::And(guard).to_string()))
    }

    /// Whether the directory protects an account from whoever is no administrator, by its stamp.
    pub fn is_protected(stamp: &Stamp) -> bool {
        Seen::of(stamp).number("adminCount").is_some_and(|count| count != 0)
    }

    /// Whether a password was written between two readings.
    pub fn settled(before: &Stamp, after: &Stamp) -> Settled {
        let (old, new) = (Mark::of(before), Mark::of(after));
        match (old.version, new.version) {
            (Some(old), Some(new)) if old != new => Settled::Changed,
            // Somebody else moved the date alone.
            (Some(_), Some(_)) if before != after => Settled::Undecidable,
            (Some(_), Some(_)) => Settled::Unchanged,
            (None, None) if before == after && old.set != "0" => Settled::Unchanged,
            // A write with must-change leaves zero, as an administrator's word does.
            (None, None) if before != after && new.set != "0" => Settled::Changed,
            _ => Settled::Undecidable,
        }
    }
}

/// What a stamp's guard says was seen.
pub(super) struct Seen(Vec<Filter>);

impl Seen {
    pub(super) fn of(stamp: &Stamp) -> Self {
        match stamp.guard().map(Filter::parse) {
            Some(Ok(Filter::And(parts))) => Self(parts),
            _ => Self(Vec::new()),
        }
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.0.iter().find_map(|part| match part {
            Filter::Equal(attribute, value) if attribute == name => filetime::parse(value).ok(),
            _ => None,
        })
    }
}

/// The parts of a stamp's text.
struct Mark<'s> {
    set: &'s str,
    version: Option<&'s str>,
}

impl<'s> Mark<'s> {
    fn of(stamp: &'s Stamp) -> Self {
        let text = stamp.as_str();
        let (set, version) = text.split_once(" msDS-KeyVersionNumber=").map_or((text, None), |(a, b)| (a, Some(b)));
        Self { set: set.strip_prefix("pwdLastSet=").unwrap_or("0"), version }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::domain::Timestamp;
    use crate::flavour::active_directory::tests::recorded;
    use crate::settings::Document;

    fn marked() -> Markers {
        let document = Document::parse("[markers]\ndisabled = [\"employeeType=disabled\"]\n");
        Markers::read(document.root().section("markers"))
    }

    #[test]
    fn the_guard_fits_the_entry_as_it_was_read_and_no_other() {
        let entry = recorded("locked");
        let markers = marked();
        let stamp = ActiveDirectory::stamp(&entry, &markers).unwrap();
        assert_eq!(stamp.as_str(), "pwdLastSet=134397834520668810 msDS-KeyVersionNumber=3");
        assert_eq!(stamp.second(), None);
        let guard = Filter::parse(stamp.guard().unwrap()).unwrap();
        assert!(guard.matches(&entry));
        for (name, value) in [
            ("pwdLastSet", "0"),
            ("userAccountControl", "514"),
            ("accountExpires", "1"),
            ("lockoutTime", "0"),
            ("primaryGroupID", "512"),
            ("adminCount", "1"),
            ("servicePrincipalName", "HTTP/host"),
            ("employeeType", "disabled"),
            ("tokenGroups", "another group and none of those"),
        ] {
            let mut other = entry.clone();
            other.replace(name, vec![value.as_bytes().to_vec()]);
            assert!(!guard.matches(&other), "{name}");
        }
        assert!(!ActiveDirectory::is_protected(&stamp));
        assert!(ActiveDirectory::is_protected(&ActiveDirectory::stamp(&recorded("mark"), &markers).unwrap()));
    }

    #[test]
    fn a_mark_without_a_count_that_is_cut_to_seconds_is_held() {
        let mut entry = recorded("active");
        entry.replace("msDS-KeyVersionNumber", vec![]);
        assert_eq!(ActiveDirectory::stamp(&entry, &Markers::default()).unwrap().second(), None);
        entry.replace("pwdLastSet", vec![b"116444736010000000".to_vec()]);
        assert_eq!(
            ActiveDirectory::stamp(&entry, &Markers::default()).unwrap().second(),
            Some(Timestamp::from_millis(1000))
        );
        entry.replace("pwdLastSet", vec![]);
        assert_eq!(ActiveDirectory::stamp(&entry, &Markers::default()).unwrap_err().attribute, "pwdLastSet");
    }

    #[test]
    fn r5_stamps_settle_an_unknown_outcome() {
        for (before, after, expected) in [
            ("pwdLastSet=5 msDS-KeyVersionNumber=3", "pwdLastSet=5 msDS-KeyVersionNumber=3", Settled::Unchanged),
            ("pwdLastSet=5 msDS-KeyVersionNumber=3", "pwdLastSet=6 msDS-KeyVersionNumber=4", Settled::Changed),
            // With must-change, on an account that had to change it before.
            ("pwdLastSet=0 msDS-KeyVersionNumber=3", "pwdLastSet=0 msDS-KeyVersionNumber=4", Settled::Changed),
            ("pwdLastSet=0 msDS-KeyVersionNumber=3", "pwdLastSet=0 msDS-KeyVersionNumber=3", Settled::Unchanged),
            ("pwdLastSet=5 msDS-KeyVersionNumber=3", "pwdLastSet=0 msDS-KeyVersionNumber=3", Settled::Undecidable),
            ("pwdLastSet=5 msDS-KeyVersionNumber=3", "pwdLastSet=6", Settled::Undecidable),
            ("pwdLastSet=5", "pwdLastSet=6 msDS-KeyVersionNumber=3", Settled::Undecidable),
            ("pwdLastSet=5", "pwdLastSet=5", Settled::Unchanged),
            ("pwdLastSet=5", "pwdLastSet=6", Settled::Changed),
            ("pwdLastSet=0", "pwdLastSet=6", Settled::Changed),
            ("pwdLastSet=0", "pwdLastSet=0", Settled::Undecidable),
            ("pwdLastSet=5", "pwdLastSet=0", Settled::Undecidable),
            ("pwdLastSet=5", "pwdLastSet unreadable", Settled::Undecidable),
        ] {
            let settled = ActiveDirectory::settled(&Stamp::new(before, None), &Stamp::new(after, None));
            assert_eq!(settled, expected, "{before} {after}");
        }
    }

    proptest! {
        #[test]
        fn the_guard_reads_back(id in any::<[u8; 16]>(), flags in any::<i64>()) {
            let mut entry = recorded("active");
            entry.replace(ID, vec![id.to_vec()]);
            entry.replace("userAccountControl", vec![flags.to_string().into_bytes()]);
            let stamp = ActiveDirectory::stamp(&entry, &marked()).unwrap();
            prop_assert_eq!(Seen::of(&stamp).number("userAccountControl"), Some(flags));
            prop_assert!(Filter::parse(stamp.guard().unwrap()).unwrap().matches(&entry));
        }
    }
}
