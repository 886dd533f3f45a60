//! Whether all servers mark passwords alike. What 389 Directory Server goes by is in its own configuration, which is not
//! replicated: one server may mark each write of a password, and another one not, so that the stamp of a link is never that
//! of the account as another server shows it.

use rekeyd_core::flavour::Flavour;

use crate::directory::probe::{Cause, Grade, Probe};

/// How the first server marks passwords, and which one that is.
#[derive(Default)]
pub(super) struct Marking {
    first: Option<(String, bool)>,
}

impl Marking {
    /// Compares a server with the first one.
    pub(super) fn compare(&mut self, url: &str, flavour: &Flavour) -> Option<Probe> {
        let Flavour::Ds389(ds389) = flavour else { return None };
        let (first, tracked) = self.first.get_or_insert_with(|| (url.to_owned(), ds389.tracked));
        if *tracked == ds389.tracked {
            return None;
        }
        let (here, there) = if ds389.tracked { ("", "not ") } else { ("not ", "") };
        let seen = format!(
            "each write of a password is {here}marked here, and {there}on {first}: a link that one of them made is refused on \
             the other, as if the password were newer"
        );
        let remedy = "Set `passwordTrackUpdateTime: on` and `passwordAdminSkipInfoUpdate: off` in `cn=config` of every \
                      server, which is not replicated; and let the service account read it on each of them.";
        Some(Probe::found(Cause::MarksDiffer, Grade::Note, "marks of passwords", seen).mended_by(remedy))
    }
}

#[cfg(test)]
mod tests {
    use rekeyd_core::flavour::ds389::Ds389;
    use rekeyd_core::flavour::product::Product;

    use super::*;

    #[test]
    fn servers_that_mark_passwords_differently_are_told_of() {
        let server = |tracked| Flavour::Ds389(Ds389 { tracked, ..Ds389::default() });
        let mut marking = Marking::default();
        assert!(marking.compare("ldap://a", &server(true)).is_none());
        assert!(marking.compare("ldap://b", &server(true)).is_none());
        let found = marking.compare("ldap://c", &server(false));
        let found = found.map(|probe| (probe.cause, probe.grade, probe.outcome.contains("not marked here")));
        assert_eq!(found, Some((Some(Cause::MarksDiffer), Grade::Note, true)));
        assert!(marking.compare("ldap://d", &Flavour::before_all(Product::OpenLdap)).is_none());
    }
}
