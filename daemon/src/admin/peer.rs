//! Who calls: what the kernel says of the other end of a connection, and what rank that has now.

use std::ffi::CString;

use nix::unistd::{Uid, User, getgrouplist};
use rekeyd_core::policy::authority::Operator;

use super::socket::group;

/// Ranks the owner of a connection, for one request: group membership is looked up each time, since somebody who is
/// taken out of the group must not stay an operator for as long as a connection lasts. Waits for the name service, so
/// it is called off the threads that others wait for. `None` has no rank; every failure to learn something is `None`.
pub(super) fn rank(uid: u32, operators: Option<&str>) -> Option<Operator> {
    if uid == 0 {
        // Root needs no name service, which may be what is broken.
        return Operator::rank(0, "root".into(), &[], None);
    }
    let gid = group(operators?).ok()?;
    let user = User::from_uid(Uid::from_raw(uid)).ok()??;
    let name = CString::new(user.name.clone()).ok()?;
    let groups: Vec<u32> = getgrouplist(&name, user.gid).ok()?.iter().map(|gid| gid.as_raw()).collect();
    Operator::rank(uid, user.name, &groups, Some(gid.as_raw()))
}

#[cfg(test)]
mod tests {
    use rekeyd_core::policy::authority::Rank;

    use super::*;

    #[test]
    fn t115_root_is_the_owner_and_strangers_have_no_rank() {
        assert_eq!(rank(0, None).map(|operator| operator.standing()), Some(Rank::Owner));
        assert!(rank(4_000_000_000, Some("root")).is_none());
        assert!(rank(65534, Some("nogroup")).is_none());
        assert!(rank(1, None).is_none());
        assert!(rank(1, Some("no-such-group")).is_none());
    }

    #[test]
    fn t119_membership_is_the_primary_group_too() {
        // daemon (uid 1, gid 1) exists on every Debian machine.
        let operator = rank(1, Some("daemon"));
        if User::from_uid(Uid::from_raw(1)).is_ok_and(|user| user.is_some_and(|user| user.name == "daemon")) {
            assert_eq!(operator.map(|operator| operator.standing()), Some(Rank::Operator));
        }
    }
}
