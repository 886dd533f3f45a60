//! Which policy of the file an entry is under.

use rekeyd_core::domain::Dn;
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::policy_entry::{Policy, PolicyView, plain_policy};

use super::ldif_file::Snapshot;

/// The policy that an entry names, or the only one of the file, or the built-in one.
pub(super) fn policy(snapshot: &Snapshot, entry: &Entry) -> PolicyView {
    let named = match entry.text("pwdPolicySubentry") {
        Ok(named) => named.map(str::to_owned),
        Err(bad) => return PolicyView::Unreadable(bad.why),
    };
    let is_policy = |entry: &&Entry| entry.texts("objectClass").any(|class| class.eq_ignore_ascii_case("pwdPolicy"));
    let mut policies = snapshot.entries().filter(is_policy);
    let found = match named {
        Some(named) => match Dn::parse(&named) {
            Ok(name) => match policies.find(|entry| is_named(entry, &name)) {
                Some(found) => found,
                None => return PolicyView::Unreadable(format!("{named} is not there")),
            },
            Err(bad) => return PolicyView::Unreadable(bad.to_string()),
        },
        None => match (policies.next(), policies.next()) {
            (Some(only), None) => only,
            (None, _) => return PolicyView::InForce(plain_policy()),
            (Some(_), Some(_)) => return PolicyView::Unreadable("several policies, and none is named".into()),
        },
    };
    match Policy::read(found) {
        Ok(policy) => PolicyView::InForce(policy),
        Err(bad) => PolicyView::Unreadable(format!("{}: {}", bad.attribute, bad.why)),
    }
}

pub(super) fn is_named(entry: &Entry, name: &Dn) -> bool {
    Dn::parse(&entry.name().0).is_ok_and(|own| own == *name)
}
