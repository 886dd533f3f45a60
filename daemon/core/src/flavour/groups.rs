//! All groups of an account, nested to any depth: which names to ask about next, and when to stop.
//!
//! The asking itself happens elsewhere. Whoever drives the walk asks the directory for the groups that have any of
//! [`Walk::question`]'s names as a member and hands them to [`Walk::learn`]. Loops end by themselves, since no name is asked
//! about twice; a walk that grows beyond its bounds, or whose question has no answer, is incomplete, and an incomplete
//! walk proves nothing about an account.

use std::collections::BTreeSet;

use crate::domain::{Dn, EntryName};
use crate::flavour::Flavour;
use crate::flavour::filter::Filter;

/// Compares a login in a group without case, as people and most programs do. The attribute's own rule looks at case.
pub const LOGIN_IN_ANY_CASE: &str = "memberUid:caseIgnoreIA5Match";

/// The most groups of one account.
const MOST: usize = 1000;

/// The most questions about one account: the depth of nesting.
const DEEPEST: usize = 32;

/// The most names in one question.
const AT_ONCE: usize = 64;

impl Flavour {
    /// The filter for groups of POSIX that name a login, in whatever case. The class keeps a server from looking at
    /// every entry for what no index helps with.
    pub fn groups_with_login(login: &str) -> Filter {
        let class = Filter::equal("objectClass", "posixGroup");
        let folded = Filter::Extensible(LOGIN_IN_ANY_CASE.to_owned(), login.as_bytes().to_vec());
        Filter::Or(vec![Filter::equal("memberUid", login), Filter::And(vec![class, folded])])
    }

    /// The filter for groups that name an entry by this attribute. A name in `uniqueMember` may have a bit string behind
    /// it (RFC 4517, 3.3.21), and is then another value to the attribute's own rule. 389 Directory Server finds such by
    /// their beginning; OpenLDAP knows no way to.
    pub fn groups_with(&self, attribute: &str, name: &str) -> Filter {
        let plain = Filter::equal(attribute, name);
        match self {
            Self::Ds389(_) | Self::FreeIpa(_) if attribute == "uniqueMember" => {
                let class = Filter::equal("objectClass", "groupOfUniqueNames");
                let begins = Filter::Pieces(attribute.to_owned(), vec![format!("{name}#").into_bytes(), Vec::new()]);
                Filter::Or(vec![plain, Filter::And(vec![class, begins])])
            }
            _ => plain,
        }
    }
}

/// The way upwards from an account through its groups.
#[derive(Debug)]
pub struct Walk {
    known: BTreeSet<Dn>,
    asked: BTreeSet<Dn>,
    waiting: Vec<EntryName>,
    questions: usize,
    trouble: Option<String>,
}

impl Walk {
    /// Begins at an account; `seeds` are groups that its entry names itself.
    pub fn new<'s>(account: &EntryName, seeds: impl IntoIterator<Item = &'s str>) -> Self {
        let mut walk = Self {
            known: BTreeSet::new(),
            asked: BTreeSet::new(),
            waiting: vec![account.clone()],
            questions: 0,
            trouble: None,
        };
        match Dn::parse(&account.0) {
            Ok(name) => {
                walk.asked.insert(name);
            }
            Err(bad) => walk.give_up(format!("{}: {bad}", account.0)),
        }
        walk.learn(seeds.into_iter().map(|seed| EntryName(seed.to_owned())));
        walk
    }

    /// The names whose groups are to be asked for next; empty when the walk is over.
    pub fn question(&mut self) -> Vec<EntryName> {
        if self.trouble.is_some() || self.waiting.is_empty() {
            return Vec::new();
        }
        self.questions += 1;
        if self.questions > DEEPEST {
            self.give_up(format!("more than {DEEPEST} levels or rounds of groups"));
            return Vec::new();
        }
        let rest = self.waiting.split_off(self.waiting.len().min(AT_ONCE));
        std::mem::replace(&mut self.waiting, rest)
    }

    /// Takes groups that have one of the names as a member.
    pub fn learn(&mut self, groups: impl IntoIterator<Item = EntryName>) {
        for group in groups {
            let Ok(name) = Dn::parse(&group.0) else {
                self.give_up(format!("{}: it is no distinguished name", group.0));
                return;
            };
            self.known.insert(name.clone());
            if self.asked.insert(name) {
                self.waiting.push(group);
            }
            if self.known.len() > MOST {
                self.give_up(format!("more than {MOST} groups"));
                return;
            }
        }
    }

    /// Ends the walk without an answer; the first reason stays.
    pub fn give_up(&mut self, why: String) {
        self.trouble.get_or_insert(why);
    }

    /// The groups found, in order.
    ///
    /// # Errors
    /// Why they are not all of them.
    pub fn finish(self) -> Result<Vec<Dn>, String> {
        match self.trouble {
            Some(trouble) => Err(trouble),
            None if self.waiting.is_empty() => Ok(self.known.into_iter().collect()),
            None => Err("it was not asked to its end".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::flavour::product::Product;

    fn walk(edges: &[(&str, &str)], seeds: &[&str]) -> (Result<Vec<String>, String>, usize) {
        let mut walk = Walk::new(&EntryName("cn=a".into()), seeds.iter().copied());
        let mut questions = 0;
        loop {
            let names = walk.question();
            if names.is_empty() {
                break;
            }
            questions += 1;
            let parents = edges.iter().filter(|(child, _)| names.iter().any(|name| name.0.eq_ignore_ascii_case(child)));
            walk.learn(parents.map(|(_, group)| EntryName((*group).to_owned())));
        }
        let groups = walk.finish().map(|groups| groups.iter().map(ToString::to_string).collect());
        (groups, questions)
    }

    #[test]
    fn t57_members_are_looked_for_however_a_group_writes_them() {
        let login = Flavour::groups_with_login("ada").to_string();
        assert_eq!(login, "(|(memberUid=ada)(&(objectClass=posixGroup)(memberUid:caseIgnoreIA5Match:=ada)))");
        for (_, product) in Product::ALL {
            let flavour = Flavour::before_all(product);
            let filter = flavour.groups_with("uniqueMember", "uid=a*,dc=x").to_string();
            let looks = matches!(product, Product::Ds389 | Product::FreeIpa);
            assert_eq!(filter.contains("(uniqueMember=uid=a\\2a,dc=x#*)"), looks, "{filter}");
            assert!(filter.contains("(uniqueMember=uid=a\\2a,dc=x)"), "{filter}");
            assert_eq!(flavour.groups_with("member", "uid=a,dc=x").to_string(), "(member=uid=a,dc=x)");
        }
    }

    #[test]
    fn t57_nested_groups_are_found_to_any_depth() {
        let edges = [("cn=a", "cn=1"), ("cn=1", "cn=2"), ("cn=2", "cn=3"), ("cn=3", "CN=Admins")];
        assert_eq!(walk(&edges, &[]).0.unwrap(), ["cn=1", "cn=2", "cn=3", "cn=admins"]);
    }

    #[test]
    fn t57_loops_end() {
        let edges = [("cn=a", "cn=b"), ("cn=b", "cn=c"), ("cn=c", "cn=b"), ("cn=c", "cn=a")];
        assert_eq!(walk(&edges, &[]).0.unwrap(), ["cn=a", "cn=b", "cn=c"]);
    }

    #[test]
    fn one_question_is_enough_where_nothing_is_nested() {
        assert_eq!(walk(&[("cn=a", "cn=b")], &["cn=b"]), (Ok(vec!["cn=b".into()]), 1));
        assert_eq!(walk(&[], &[]), (Ok(vec![]), 1));
    }

    #[test]
    fn t57_beyond_the_bounds_it_is_incomplete() {
        let names: Vec<_> = (0..40).map(|i| format!("cn=g{i}")).collect();
        let mut edges: Vec<_> = names.iter().zip(names.iter().skip(1)).map(|(a, b)| (a.as_str(), b.as_str())).collect();
        edges.push(("cn=a", "cn=g0"));
        assert!(walk(&edges, &[]).0.is_err());
        let many: Vec<_> = (0..1001).map(|i| format!("cn=g{i}")).collect();
        let many: Vec<_> = many.iter().map(|group| ("cn=a", group.as_str())).collect();
        assert!(walk(&many, &[]).0.is_err());
        assert!(walk(&[("cn=a", "nonsense")], &[]).0.is_err());
        assert!(walk(&[], &["nonsense"]).0.is_err());
    }

    proptest! {
        #[test]
        fn t57_any_graph_ends_and_finds_what_can_be_reached(edges in proptest::collection::vec((0..12_u8, 0..12_u8), 0..40)) {
            let text: Vec<_> = edges.iter().map(|(a, b)| (format!("cn=n{a}"), format!("cn=n{b}"))).collect();
            let mut text: Vec<_> = text.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            text.push(("cn=a", "cn=n0"));
            let mut reached = BTreeSet::from([0]);
            for _ in 0..12 {
                for (a, b) in &edges {
                    if reached.contains(a) {
                        reached.insert(*b);
                    }
                }
            }
            let found = walk(&text, &[]).0.unwrap();
            let expected: BTreeSet<_> = reached.iter().map(|n| format!("cn=n{n}")).collect();
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }
}
