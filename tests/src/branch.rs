//! The people that tests ask about: one of each kind, in a branch that belongs to one test.

use std::sync::Arc;

use ldap3::Ldap;

use crate::{
    scratch,
    slapd::{SUFFIX, Slapd, Variant, add, set},
};

/// The first password of everybody who has one.
pub const PASSWORD: &str = "correct horse battery staple";

/// Long ago: no password is so fresh that a second more or less matters.
const LONG_AGO: &str = "20250101000000Z";
const LAST_YEAR: &str = "20251231000000Z";
const FAR_AWAY: &str = "20991231000000Z";

/// A part of a directory with people and groups that nobody else's test touches.
///
/// | login | is |
/// |---|---|
/// | `ada` | active |
/// | `grace` | active; prefers Welsh |
/// | `noether` | never activated: no password; `employeeType: newcomer` |
/// | `hopper` | expired: `pwdEndTime`, or `shadowExpire` where there is no policy |
/// | `tomorrow` | not yet valid: `pwdStartTime` |
/// | `turing` | locked by an administrator; `employeeType: disabled` |
/// | `locked` | locked by failures |
/// | `stale` | active; the password is past its age |
/// | `mustchange` | active; must change the password |
/// | `boss` | administrator: in `staff`, which is in `admins` |
/// | `loop` | active; in `left`, which is in `right`, which is in `left` |
/// | `twin` | two entries, same login and mail |
/// | `nomail` | active; no mail |
/// | `odd` | active; a DN full of escapes |
/// | `zoë` | active; not ASCII |
/// | `veiled` | active; the daemon can not read what its state rests on |
pub struct Branch {
    /// The server that holds it.
    pub slapd: Arc<Slapd>,
    base: String,
}

impl Branch {
    /// Makes a branch with everybody in it.
    pub async fn grow(slapd: &Arc<Slapd>) -> Self {
        let branch = Self { slapd: Arc::clone(slapd), base: format!("ou=t{},{SUFFIX}", scratch::next()) };
        let ldap = &mut slapd.admin().await;
        for unit in [branch.base.clone(), branch.people(), branch.below("ou=visitors"), branch.below("ou=groups")] {
            add(ldap, &unit, &[("objectClass", "organizationalUnit")]).await;
        }
        branch.add_people(ldap).await;
        branch.add_groups(ldap).await;
        if slapd.variant() == Variant::Policy {
            branch.set_states(ldap).await;
        }
        branch
    }

    /// Where the branch begins: the base of searches for people and groups.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The entry of somebody in the table above; of `twin` the first.
    pub fn dn(&self, login: &str) -> String {
        match login {
            "odd" => format!(r"cn=O\2c Brien\5c\, \23x,{}", self.people()),
            _ => format!("uid={login},{}", self.people()),
        }
    }

    /// The entry of a group.
    pub fn group(&self, name: &str) -> String {
        format!("cn={name},{}", self.below("ou=groups"))
    }

    /// Adds an active person of this login, with that password and the mail address `LOGIN@example.org`.
    pub async fn add_person(&self, login: &str, password: &str) {
        let mail = format!("{login}@example.org");
        self.add_one(
            &mut self.slapd.admin().await,
            &self.dn(login),
            login,
            &[("mail", &mail), ("userPassword", password)],
        )
        .await;
    }

    fn people(&self) -> String {
        self.below("ou=people")
    }

    fn below(&self, unit: &str) -> String {
        format!("{unit},{}", self.base)
    }

    async fn add_people(&self, ldap: &mut Ldap) {
        let bare = self.slapd.variant() == Variant::Bare;
        let password = ("userPassword", PASSWORD);
        for login in ["ada", "locked", "tomorrow", "stale", "mustchange", "boss", "loop", "odd", "veiled", "twin"] {
            let mail = format!("{login}@example.org");
            self.add_one(ldap, &self.dn(login), login, &[("mail", &mail), password]).await;
        }
        self.add_one(
            ldap,
            &self.dn("grace"),
            "grace",
            &[("mail", "grace@example.org"), ("preferredLanguage", "cy"), password],
        )
        .await;
        self.add_one(
            ldap,
            &self.dn("noether"),
            "noether",
            &[("mail", "noether@example.org"), ("employeeType", "newcomer")],
        )
        .await;
        self.add_one(
            ldap,
            &self.dn("turing"),
            "turing",
            &[("mail", "turing@example.org"), ("employeeType", "disabled"), password],
        )
        .await;
        let hopper =
            [("mail", "hopper@example.org"), password, ("objectClass", "shadowAccount"), ("shadowExpire", "20000")];
        self.add_one(ldap, &self.dn("hopper"), "hopper", if bare { &hopper } else { &hopper[..2] }).await;
        self.add_one(ldap, &self.dn("nomail"), "nomail", &[password]).await;
        self.add_one(ldap, &self.dn("zoë"), "zoë", &[("mail", "zoe@example.org"), ("cn", "Zoë Ångström 李"), password])
            .await;
        let twin = format!("uid=twin,{}", self.below("ou=visitors"));
        self.add_one(ldap, &twin, "twin", &[("mail", "twin@example.org"), password]).await;
    }

    async fn add_one(&self, ldap: &mut Ldap, dn: &str, login: &str, more: &[(&str, &str)]) {
        let mut attributes = vec![("objectClass", "inetOrgPerson"), ("uid", login), ("sn", login)];
        if login == "odd" {
            attributes.push(("cn", r"O, Brien\, #x"));
        } else {
            attributes.push(("cn", login));
        }
        attributes.extend(more);
        let has_password = more.iter().any(|(name, _)| *name == "userPassword");
        let policy = self.slapd.variant() == Variant::Policy;
        if policy && has_password {
            attributes.push(("pwdChangedTime", LONG_AGO));
        }
        add(ldap, dn, &attributes).await;
        if policy && has_password {
            // Given by an administrator, so the policy would ask everybody to change it.
            set(ldap, dn, "pwdReset", &[]).await;
        }
    }

    async fn add_groups(&self, ldap: &mut Ldap) {
        for (name, members) in [
            ("staff", vec![self.dn("boss")]),
            ("admins", vec![self.group("staff")]),
            ("left", vec![self.dn("loop"), self.group("right")]),
            ("right", vec![self.group("left")]),
        ] {
            let members = members.iter().map(|member| ("member", member.as_str()));
            let attributes: Vec<_> = [("objectClass", "groupOfNames")].into_iter().chain(members).collect();
            add(ldap, &self.group(name), &attributes).await;
        }
        // memberOf follows members that exist: close the loop once both groups do.
        if self.slapd.variant() == Variant::Policy {
            set(ldap, &self.group("left"), "member", &[&self.dn("loop")]).await;
            set(ldap, &self.group("left"), "member", &[&self.dn("loop"), &self.group("right")]).await;
        }
    }

    async fn set_states(&self, ldap: &mut Ldap) {
        set(ldap, &self.dn("hopper"), "pwdEndTime", &[LAST_YEAR]).await;
        set(ldap, &self.dn("tomorrow"), "pwdStartTime", &[FAR_AWAY]).await;
        set(ldap, &self.dn("turing"), "pwdAccountLockedTime", &["000001010000Z"]).await;
        set(ldap, &self.dn("stale"), "pwdPolicySubentry", &[&format!("cn=ageing,ou=policies,{SUFFIX}")]).await;
        set(ldap, &self.dn("mustchange"), "pwdReset", &["TRUE"]).await;
        for _ in 0..3 {
            assert!(!self.slapd.binds(&self.dn("locked"), "not the password").await, "a wrong password lets in");
        }
    }
}
