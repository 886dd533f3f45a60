//! Which of the attributes that matter here a server's schema defines. A filter over an attribute that it does not define is
//! undefined, and proves nothing.

use super::entry;
use super::root::Root;
use crate::directory::ldap::wire::{Failure, Link};

/// What a schema says of the attributes that matter.
#[derive(Clone, Debug, Default)]
pub(super) struct Schema {
    /// Their names in lower case.
    pub(super) defined: Vec<String>,
    /// Second names of such attributes with the first, under which the server shows them; both in lower case.
    pub(super) aliases: Vec<(String, String)>,
}

impl Schema {
    /// Reads it, for those attributes that matter.
    pub(super) async fn read(link: &mut Link, root: &Root, matters: &[String]) -> Result<Self, Failure> {
        let place = root.schema.as_deref().unwrap_or("cn=Subschema");
        let Some(entry) = entry(link, place, &["attributeTypes".to_owned()]).await? else {
            return Err(Failure::Refused(format!("the server's schema ({place}) can't be read")));
        };
        let matters: Vec<String> =
            matters.iter().map(|name| name.split(';').next().unwrap_or(name).to_ascii_lowercase()).collect();
        let mut schema = Self::default();
        for names in entry.texts("attributeTypes").map(names_in) {
            let Some(first) = names.first() else { continue };
            let others = names.iter().skip(1).filter(|name| matters.contains(name));
            schema.aliases.extend(others.map(|alias| (alias.clone(), first.clone())));
            schema.defined.extend(names.iter().filter(|name| matters.contains(name)).cloned());
        }
        if schema.defined.is_empty() {
            return Err(Failure::Refused(format!("the server's schema ({place}) shows no attribute types")));
        }
        schema.defined.sort_unstable();
        schema.defined.dedup();
        Ok(schema)
    }

    /// Whether it defines an attribute, whatever its options.
    pub(super) fn defines(&self, attribute: &str) -> bool {
        let bare = attribute.split(';').next().unwrap_or(attribute);
        self.defined.iter().any(|known| known.eq_ignore_ascii_case(bare))
    }

    /// The name under which the server shows an attribute, where that is another one than this.
    pub(super) fn shown_as(&self, attribute: &str) -> Option<&str> {
        let bare = attribute.split(';').next().unwrap_or(attribute);
        self.aliases.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(bare)).map(|(_, first)| first.as_str())
    }
}

/// The names of one attribute type as a schema describes it: `( 1.2 NAME 'a' …` or `( 1.2 NAME ( 'a' 'b' ) …`.
fn names_in(description: &str) -> Vec<String> {
    let Some((_, rest)) = description.split_once(" NAME ") else { return Vec::new() };
    let rest = rest.trim_start();
    let end = if rest.starts_with('(') { rest.find(')') } else { rest.match_indices('\'').nth(1).map(|(at, _)| at) };
    let names = end.and_then(|end| rest.get(..end)).unwrap_or_default();
    names.split('\'').skip(1).step_by(2).map(str::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::names_in;

    #[test]
    fn names_of_attribute_types_are_read() {
        for (text, names) in [
            ("( 2.5.4.3 NAME ( 'cn' 'commonName' ) DESC 'the ( name )' SUP name )", &["cn", "commonname"][..]),
            ("( 1.3.6.1.4.1.42.2.27.8.1.16 NAME 'pwdChangedTime' DESC 'x' )", &["pwdchangedtime"]),
            ("( 1.2.3 DESC 'nameless' )", &[]),
            ("( 1.2 NAME (", &[]),
            ("", &[]),
        ] {
            assert_eq!(names_in(text), names, "{text}");
        }
    }
}
