//! What an organisation itself marks its accounts with: `[directory.markers]`.
//!
//! A marker stands on its own beside what the directory product says, and only ever adds a finding.

use crate::domain::{Dn, Finding};
use crate::flavour::entry::Entry;
use crate::flavour::filter::Filter;
use crate::settings::Section;

const REMEDY: &str =
    "Write \"attribute=value\", \"attribute\" (present), \"!attribute\" (absent) or \"below:DN\" (lies beneath).";

/// All configured markers.
#[derive(Clone, Debug, Default)]
pub struct Markers(Vec<(Finding, Marker)>);

/// One sign on an entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Marker {
    /// The attribute is not there.
    Absent(String),
    /// The entry lies beneath.
    Below(Dn),
    /// The attribute has this value, whatever the case.
    Is(String, String),
    /// The attribute is there.
    Present(String),
}

impl Marker {
    /// Reads a marker as it is configured.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(base) = text.strip_prefix("below:") {
            return Dn::parse(base.trim()).map(Self::Below).map_err(|bad| bad.to_string());
        }
        let named = |name: &str| {
            let name = name.trim();
            let fine = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b';'));
            if fine { Ok(name.to_owned()) } else { Err("it names no attribute".to_owned()) }
        };
        match (text.split_once('='), text.strip_prefix('!')) {
            (Some((_, value)), _) if value.trim().is_empty() => Err("its value is empty".into()),
            (Some((name, value)), _) => Ok(Self::Is(named(name)?, value.trim().to_owned())),
            (None, Some(name)) => named(name).map(Self::Absent),
            (None, None) => named(text).map(Self::Present),
        }
    }

    /// The attribute that it looks at, if it looks at one.
    pub fn attribute(&self) -> Option<&str> {
        match self {
            Self::Absent(attribute) | Self::Is(attribute, _) | Self::Present(attribute) => Some(attribute),
            Self::Below(_) => None,
        }
    }

    /// Whether an entry bears it: the attribute and value as evidence.
    pub fn holds(&self, entry: &Entry) -> Option<(String, String)> {
        match self {
            Self::Absent(attribute) => (!entry.has(attribute)).then(|| (attribute.clone(), "absent".into())),
            Self::Below(base) => {
                let below = Dn::parse(&entry.name().0).is_ok_and(|name| name.is_below(base));
                below.then(|| ("entry".into(), format!("below {base}")))
            }
            Self::Is(attribute, value) => entry
                .texts(attribute)
                .any(|text| text.to_lowercase() == value.to_lowercase())
                .then(|| (attribute.clone(), value.clone())),
            Self::Present(attribute) => entry.has(attribute).then(|| (attribute.clone(), "present".into())),
        }
    }

    /// What a server must still hold to be true of an entry for this marker to stay as it is.
    pub fn unchanged(&self, entry: &Entry) -> Option<Filter> {
        let filter = match self {
            Self::Absent(attribute) | Self::Present(attribute) => {
                return Some(if entry.has(attribute) {
                    Filter::present(attribute)
                } else {
                    Filter::present(attribute).negated()
                });
            }
            Self::Is(attribute, value) => Filter::equal(attribute, value.as_str()),
            Self::Below(_) => return None,
        };
        Some(if self.holds(entry).is_some() { filter } else { filter.negated() })
    }
}

impl Markers {
    /// Reads `[directory.markers]`: under the name of each finding a list of markers, any of which is enough.
    pub fn read(section: Section<'_>) -> Self {
        let mut markers = Vec::new();
        for (key, finding) in [
            ("disabled", Finding::Disabled),
            ("expired", Finding::Expired),
            ("locked", Finding::LockedByAdmin),
            ("never_activated", Finding::NeverActivated),
            ("not_a_person", Finding::NotAPerson),
            ("not_yet_valid", Finding::NotYetValid),
            ("password_elsewhere", Finding::PasswordElsewhere),
        ] {
            let read = section.list(key, REMEDY, Marker::parse).unwrap_or_default();
            markers.extend(read.into_iter().map(|marker| (finding, marker)));
        }
        section.finish();
        Self(markers)
    }

    /// Each marker with what it means.
    pub fn iter(&self) -> impl Iterator<Item = (Finding, &Marker)> {
        self.0.iter().map(|(finding, marker)| (*finding, marker))
    }

    /// The attributes that markers look at.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|(_, marker)| marker.attribute())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::domain::EntryName;
    use crate::settings::Document;

    #[test]
    fn markers_hold_as_written() {
        let mut entry = Entry::new(EntryName("uid=ada,ou=staged,dc=x".into()));
        entry.add("employeeType", "Robot");
        for (marker, held) in [
            ("employeeType=robot", true),
            ("employeetype = ROBOT", true),
            ("employeeType=person", false),
            ("employeeType", true),
            ("mail", false),
            ("!mail", true),
            ("!employeeType", false),
            ("below:OU=Staged, dc=x", true),
            ("below:uid=ada,ou=staged,dc=x", false),
        ] {
            let marker = Marker::parse(marker).unwrap();
            assert_eq!(marker.holds(&entry).is_some(), held, "{marker:?}");
            assert!(marker.unchanged(&entry).is_none_or(|filter| filter.matches(&entry)), "{marker:?}");
        }
    }

    #[test]
    fn odd_markers_are_faults() {
        let document = Document::parse("[markers]\ndisabled = [\"=x\", \"a=\", \"below:x\"]\nodd = []\n");
        let root = document.root();
        let markers = Markers::read(root.section("markers"));
        root.finish();
        assert_eq!(markers.iter().count(), 0);
        assert_eq!(document.into_faults().len(), 4);
    }
}
