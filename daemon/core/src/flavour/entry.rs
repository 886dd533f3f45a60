//! One entry as a directory returned it: bytes, and what they say as text, flag, number or moment.

use std::fmt;

use crate::domain::{EntryName, Timestamp};
use crate::flavour::time;

/// An entry with the attributes that were asked for. Its values may be password hashes, so that `Debug` names the
/// attributes and no value.
#[derive(Clone)]
pub struct Entry {
    name: EntryName,
    attributes: Vec<Attribute>,
}

/// One attribute with its values, in the order in which they came.
#[derive(Clone)]
pub struct Attribute {
    /// Its type, as the directory wrote it.
    pub name: String,
    /// Its values.
    pub values: Vec<Vec<u8>>,
}

/// A value that is there and can't be read as what it should be. The verdict that needs it is unknown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unreadable {
    /// The attribute.
    pub attribute: String,
    /// What is wrong with it.
    pub why: String,
}

impl Unreadable {
    /// An attribute that every entry has is not shown.
    pub fn hidden(attribute: &str) -> Self {
        unreadable(attribute, "it is not shown")
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.attributes.iter().map(|attribute| attribute.name.as_str()).collect::<Vec<_>>().join(" ");
        write!(f, "{} [{names}]", self.name.0)
    }
}

impl Entry {
    /// An entry without attributes.
    pub fn new(name: EntryName) -> Self {
        Self { name, attributes: Vec::new() }
    }

    /// Its name, as the directory gave it.
    pub fn name(&self) -> &EntryName {
        &self.name
    }

    /// Its attributes, in order.
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// Adds a value to an attribute.
    pub fn add(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        let value = value.into();
        match self.attributes.iter_mut().find(|attribute| attribute.name.eq_ignore_ascii_case(name)) {
            Some(attribute) => attribute.values.push(value),
            None => self.attributes.push(Attribute { name: name.to_owned(), values: vec![value] }),
        }
    }

    /// Puts other values in the place of an attribute's; none removes it.
    pub fn replace(&mut self, name: &str, values: Vec<Vec<u8>>) {
        let place = self.attributes.iter().position(|attribute| attribute.name.eq_ignore_ascii_case(name));
        match place {
            Some(place) if values.is_empty() => {
                self.attributes.remove(place);
            }
            Some(place) => {
                if let Some(attribute) = self.attributes.get_mut(place) {
                    attribute.values = values;
                }
            }
            None if values.is_empty() => {}
            None => self.attributes.push(Attribute { name: name.to_owned(), values }),
        }
    }

    /// All values of an attribute; types are compared without case.
    pub fn values(&self, name: &str) -> &[Vec<u8>] {
        self.attributes
            .iter()
            .find(|attribute| attribute.name.eq_ignore_ascii_case(name))
            .map_or(&[], |attribute| attribute.values.as_slice())
    }

    /// Whether an attribute is there.
    pub fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// The values that are UTF-8.
    pub fn texts<'e>(&'e self, name: &str) -> impl Iterator<Item = &'e str> + use<'e> {
        self.values(name).iter().filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// The value of an attribute that has one.
    ///
    /// # Errors
    /// [`Unreadable`] where it has several, or one that is no text.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Unreadable> {
        match self.values(name) {
            [] => Ok(None),
            [value] => std::str::from_utf8(value).map(Some).map_err(|_| unreadable(name, "it is no text")),
            _ => Err(unreadable(name, "it has several values")),
        }
    }

    /// A flag (`TRUE` or `FALSE`).
    ///
    /// # Errors
    /// [`Unreadable`] for every other value.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Unreadable> {
        match self.text(name)? {
            None => Ok(None),
            Some(text) if text.eq_ignore_ascii_case("TRUE") => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case("FALSE") => Ok(Some(false)),
            Some(_) => Err(unreadable(name, "it is neither TRUE nor FALSE")),
        }
    }

    /// A whole number.
    ///
    /// # Errors
    /// [`Unreadable`] for every other value.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Unreadable> {
        self.text(name)?.map(|text| text.parse().map_err(|_| unreadable(name, "it is no whole number"))).transpose()
    }

    /// A moment.
    ///
    /// # Errors
    /// [`Unreadable`] for every value that is no GeneralizedTime.
    pub fn moment(&self, name: &str) -> Result<Option<Timestamp>, Unreadable> {
        self.text(name)?
            .map(|text| time::parse(text.as_bytes()).map_err(|bad| unreadable(name, &bad.to_string())))
            .transpose()
    }
}

fn unreadable(attribute: &str, why: &str) -> Unreadable {
    Unreadable { attribute: attribute.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let mut entry = Entry::new(EntryName("uid=ada".into()));
        entry.add("pwdReset", "TRUE");
        entry.add("Mail", "a@example.org");
        entry.add("mail", "b@example.org");
        entry.add("pwdEndTime", "tomorrow");
        entry.add("photo", vec![0xff]);
        entry
    }

    #[test]
    fn values_read_as_what_they_are() {
        let entry = entry();
        assert_eq!(entry.flag("PWDRESET"), Ok(Some(true)));
        assert_eq!(entry.texts("mail").count(), 2);
        assert_eq!(entry.text("absent"), Ok(None));
        for bad in [entry.text("mail").err(), entry.text("photo").err(), entry.flag("mail").err()] {
            assert!(bad.is_some());
        }
        assert_eq!(entry.moment("pwdEndTime").map_err(|bad| bad.attribute), Err("pwdEndTime".into()));
    }

    #[test]
    fn p6_debug_shows_no_value() {
        let mut entry = entry();
        entry.replace("mail", vec![]);
        entry.replace("userPassword", vec![b"{SSHA}hash".to_vec()]);
        assert_eq!(format!("{entry:?}"), "uid=ada [pwdReset pwdEndTime photo userPassword]");
    }
}
