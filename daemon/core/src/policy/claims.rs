//! Which of several directories a login belongs to: to the one whose rule claims it, whatever the others say; to nobody where
//! two claim it; and where none does, the directories are asked in their order.

use unicode_normalization::UnicodeNormalization;

use crate::domain::Login;
use crate::settings::Section;

/// Which logins a directory says are its own, and how it knows them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claims {
    /// What stands before them, such as `EXAMPLE\`. No directory's attributes have it, so that it is taken off.
    prefixes: Vec<String>,
    /// What stands after them, such as `@example.org`.
    suffixes: Vec<String>,
    /// Whether that is taken off, too: logins are kept without it.
    strips_suffixes: bool,
}

/// Which directories are asked about a login, by their places.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// Several claim it, so that it is nobody's.
    Contested(Vec<usize>),
    /// None claims it: each in its turn.
    InOrder,
    /// One claims it, and no other is asked.
    Only(usize),
}

/// Which directories are asked about a login; `claims` are theirs, in their order.
pub fn asked<'c>(claims: impl IntoIterator<Item = &'c Claims>, login: &Login) -> Asked {
    let takers: Vec<_> =
        claims.into_iter().enumerate().filter(|(_, claims)| claims.take(login)).map(|(place, _)| place).collect();
    match takers.as_slice() {
        [] => Asked::InOrder,
        [place] => Asked::Only(*place),
        _ => Asked::Contested(takers),
    }
}

impl Claims {
    /// Reads the keys of a `[[directory]]` that say which logins are its own.
    pub fn read(section: &Section<'_>) -> Self {
        let part = |text: &str| {
            let part: String = text.nfc().collect();
            if Login::parse(&part).is_ok_and(|login| login.as_str() == part) {
                Ok(part)
            } else {
                Err("it is empty, or no login could have it".into())
            }
        };
        let prefixes = section.list("login_prefixes", "Write a beginning such as 'EXAMPLE\\'.", part);
        let suffixes = section.list("login_suffixes", "Write an end such as \"@example.org\".", part);
        let strips_suffixes = section.flag("strip_suffixes", false);
        if strips_suffixes && suffixes.as_ref().is_none_or(Vec::is_empty) {
            section.fault("strip_suffixes", "there is nothing to take off", "Write login_suffixes, or remove it.");
        }
        Self { prefixes: prefixes.unwrap_or_default(), suffixes: suffixes.unwrap_or_default(), strips_suffixes }
    }

    /// Whether a login is the directory's own.
    pub fn take(&self, login: &Login) -> bool {
        self.of(login).is_some()
    }

    /// A login as the directory knows it: without what only says whose it is.
    pub fn stripped(&self, login: &Login) -> Login {
        self.of(login).unwrap_or_else(|| login.clone())
    }

    /// The key under which a login that both take can be seen from the rules alone; `None` where there seems to be none.
    /// A prefix of one and a suffix of the other may meet in one login all the same: that one is nobody's.
    pub fn overlap(&self, other: &Self) -> Option<&'static str> {
        let meet = |ours: &[String], theirs: &[String], meet: fn(&str, &str) -> bool| {
            ours.iter().any(|our| theirs.iter().any(|their| meet(our, their) || meet(their, our)))
        };
        if meet(&self.prefixes, &other.prefixes, |long, short| without_prefix(long, short).is_some()) {
            return Some("login_prefixes");
        }
        meet(&self.suffixes, &other.suffixes, |long, short| without_suffix(long, short).is_some())
            .then_some("login_suffixes")
    }

    /// The login without what is taken off, if it is the directory's own. What is nothing but prefix and suffix is no login.
    fn of(&self, login: &Login) -> Option<Login> {
        let typed = login.as_str();
        // The longest, so that their order means nothing.
        let rest =
            self.prefixes.iter().filter_map(|prefix| without_prefix(typed, prefix)).min_by_key(|rest| rest.len());
        let within = rest.unwrap_or(typed);
        let bare = self.suffixes.iter().filter_map(|end| without_suffix(within, end)).min_by_key(|bare| bare.len());
        if rest.is_none() && bare.is_none() {
            return None;
        }
        let bare = bare.map(Login::parse);
        match bare {
            Some(Err(_)) => None,
            Some(Ok(bare)) if self.strips_suffixes => Some(bare),
            Some(Ok(_)) | None => Login::parse(within).ok(),
        }
    }
}

/// ASCII letters without case and all else exactly, as logins are compared.
fn without_prefix<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (begin, rest) = text.split_at_checked(prefix.len())?;
    begin.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn without_suffix<'t>(text: &'t str, suffix: &str) -> Option<&'t str> {
    let (rest, end) = text.split_at_checked(text.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::settings::Document;

    fn claims(text: &str) -> Claims {
        let document = Document::parse(text);
        let section = document.root();
        let claims = Claims::read(&section);
        section.finish();
        assert_eq!(document.into_faults(), []);
        claims
    }

    fn login(text: &str) -> Login {
        Login::parse(text).unwrap()
    }

    #[test]
    fn a_login_is_asked_of_the_one_that_claims_it_or_of_all_in_order() {
        let all = [
            claims("login_suffixes = [\"@pupils.example.org\"]"),
            claims("login_prefixes = ['EXAMPLE\\']\nlogin_suffixes = [\"@example.org\"]"),
            claims(""),
        ];
        for (typed, whom) in [
            ("ada", Asked::InOrder),
            ("ada@pupils.example.org", Asked::Only(0)),
            ("ADA@Pupils.Example.ORG", Asked::Only(0)),
            ("ada@example.org", Asked::Only(1)),
            ("example\\ada", Asked::Only(1)),
            ("ada@other.example.net", Asked::InOrder),
            // A look-alike of a rule is no rule.
            ("ada\u{FF20}example.org", Asked::InOrder),
            ("EXAMPLE\\ada@pupils.example.org", Asked::Contested(vec![0, 1])),
            // Nothing but the rule itself is nobody.
            ("EXAMPLE\\", Asked::InOrder),
            ("@example.org", Asked::InOrder),
            ("EXAMPLE\\@example.org", Asked::InOrder),
        ] {
            assert_eq!(asked(&all, &login(typed)), whom, "{typed}");
        }
        assert_eq!(asked(&[], &login("ada")), Asked::InOrder);
    }

    #[test]
    fn a_prefix_is_taken_off_and_a_suffix_where_the_rule_says_so() {
        let kept = claims("login_prefixes = ['EX\\', 'EX\\SUB\\']\nlogin_suffixes = [\"@example.org\"]");
        let stripped = Claims { strips_suffixes: true, ..kept.clone() };
        for (typed, one, other) in [
            ("ada", "ada", "ada"),
            ("ex\\ada", "ada", "ada"),
            ("EX\\sub\\ada", "ada", "ada"),
            ("ada@example.org", "ada@example.org", "ada"),
            ("EX\\ada@EXAMPLE.org", "ada@EXAMPLE.org", "ada"),
            ("zo\u{eb}@example.org", "zo\u{eb}@example.org", "zo\u{eb}"),
            ("ada@example.net", "ada@example.net", "ada@example.net"),
        ] {
            assert_eq!(kept.stripped(&login(typed)).as_str(), one, "{typed}");
            assert_eq!(stripped.stripped(&login(typed)).as_str(), other, "{typed}");
        }
    }

    #[test]
    fn rules_that_share_logins_are_seen() {
        let one = claims("login_prefixes = ['EX\\']\nlogin_suffixes = [\"@example.org\"]");
        for (text, shared) in [
            ("login_prefixes = ['ex\\SUB\\']", Some("login_prefixes")),
            ("login_suffixes = [\"a@example.org\"]", Some("login_suffixes")),
            ("login_suffixes = [\".org\"]", Some("login_suffixes")),
            ("login_suffixes = [\"@pupils.example.org\"]", None),
            ("", None),
        ] {
            let other = claims(text);
            assert_eq!((one.overlap(&other), other.overlap(&one)), (shared, shared), "{text}");
        }
    }

    #[test]
    fn an_empty_rule_that_would_take_everybody_is_a_fault() {
        for text in ["login_suffixes = [\"\"]", "login_prefixes = [\" EX\"]", "strip_suffixes = true"] {
            let document = Document::parse(text);
            Claims::read(&document.root());
            assert_eq!(document.into_faults().len(), 1, "{text}");
        }
    }
}
