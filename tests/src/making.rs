//! How each [situation](crate::situations) comes about on a real server: by the acts that bring it about in life, as far as
//! they can be done now, and by the administrator's hand where only time could.

use std::collections::HashSet;

use ldap3::Mod;

use crate::{
    acts::{address, until},
    ds389::DISABLED_ROLE,
    estate::{Estate, FIRST, OWN, Product, Server},
    slapd::SUFFIX,
};

/// Long ago: no password is so fresh that a second more or less matters.
const LONG_AGO: &str = "20250101000000Z";
/// Long ago in the count of Active Directory.
const LONG_AGO_THERE: &str = "132000000000000000";

const DOMAIN_ADMINS: &str = "CN=Domain Admins,CN=Users,DC=ad,DC=example,DC=org";

/// The password that is right in a situation.
pub fn password(name: &str) -> &'static str {
    match name {
        "first-password" | "computer" => FIRST,
        _ => OWN,
    }
}

/// A password of somebody's own that was not the last.
const BETWEEN: &str = "Pz3Mk8Xw5Yt1Lc7D";

impl Estate {
    /// The login of a situation on this product.
    pub fn login_of(&self, name: &str) -> String {
        match (name, self.product()) {
            ("zoë", Product::Ds389) => self.login("zoe"),
            ("computer", _) => format!("{}$", self.login("pc")),
            ("twin-mail", _) => address(&self.login("twins")),
            _ => self.login(name),
        }
    }

    /// The entry of a situation on this product.
    pub fn dn_of(&self, name: &str) -> String {
        match (name, self.product()) {
            // The tests' slapd hides what such an entry's state rests on.
            ("hidden", Product::OpenLdap) => format!("uid=veiled,ou=people,{}", self.base()),
            ("computer", _) => self.dn("pc"),
            _ => self.dn(name),
        }
    }

    /// Makes somebody who is in this situation.
    pub async fn make(&self, name: &str) {
        let dn = self.dn_of(name);
        match name {
            "no-password" => self.add_person(&dn, &self.login_of(name), None, &[]).await,
            "first-password" => self.add_person(&dn, &self.login_of(name), Some(FIRST), &[]).await,
            "computer" => self.make_computer(&dn).await,
            "twin-login" => {
                self.add_active(&dn, &self.login_of(name), &[]).await;
                self.add_active(&self.dn_in("elsewhere", name), &self.login_of(name), &[]).await;
            }
            "twin-mail" => {
                for (dn, login) in [(dn, "twin-one"), (self.dn_in("elsewhere", name), "twin-two")] {
                    self.add_active(&dn, &self.login(login), &[("mail", &self.login_of(name))]).await;
                }
            }
            _ => {
                self.add_active(&dn, &self.login_of(name), &[]).await;
                self.befalls(name, &dn).await;
            }
        }
    }

    /// Brings a situation about for somebody who was active so far.
    pub async fn befalls(&self, name: &str, dn: &str) {
        match self.product() {
            Product::OpenLdap => self.bring_about_openldap(name, dn).await,
            Product::ActiveDirectory => self.bring_about_active_directory(name, dn).await,
            Product::Ds389 => self.bring_about_ds389(name, dn).await,
        }
    }

    /// Takes the right to write somebody's password away from the daemon.
    pub async fn forbid_writing(&self, name: &str) {
        let (dn, service) = (self.dn_of(name), self.service());
        match &self.server {
            Server::OpenLdap(slapd) => slapd.forbid(&dn, service).await,
            Server::ActiveDirectory(samba) => {
                let right = "00299570-246d-11d0-a768-00aa006e0529";
                samba.allow(&dn, &format!("(OD;;CR;{right};;{})", self.service_in_log)).await;
            }
            Server::Ds389(_) => {
                let rule = format!(
                    "(targetattr = \"userPassword\")(version 3.0; acl \"forbidden\"; deny (write) \
                     userdn = \"ldap:///{service}\";)"
                );
                self.set(&dn, "aci", &[&rule]).await;
            }
        }
    }

    /// Adds somebody who has changed the first password.
    pub async fn add_active(&self, dn: &str, login: &str, more: &[(&str, &str)]) {
        self.add_person(dn, login, Some(FIRST), more).await;
        // Active Directory counts writes of a password, and the second may be an administrator's as well: the third is not.
        let steps: &[[&str; 2]] = match self.product() {
            Product::ActiveDirectory => &[[FIRST, BETWEEN], [BETWEEN, OWN]],
            Product::Ds389 | Product::OpenLdap => &[[FIRST, OWN]],
        };
        for [old, new] in steps {
            let changed = self.change_own(dn, old, new).await;
            assert!(changed.rc == 0, "{dn}: {changed:?}");
        }
        match self.product() {
            Product::OpenLdap => self.set(dn, "pwdChangedTime", &[LONG_AGO]).await,
            Product::ActiveDirectory => {}
            // It answers first, and writes down afterwards what follows.
            Product::Ds389 => {
                let is_over = async || self.values(dn, "passwordExpirationTime").await != ["19700101000000Z"];
                until(&format!("{dn} has an own password"), is_over).await;
            }
        }
    }

    /// Fails to sign in until the server has had enough.
    async fn fail(&self, dn: &str) {
        for _ in 0..3 {
            assert!(self.bind(dn, "not the password").await.rc != 0, "a wrong password lets in");
        }
    }

    async fn bring_about_openldap(&self, name: &str, dn: &str) {
        match name {
            "must-change" | "must-change-known" => self.give_password(dn, OWN).await,
            "password-expired" => {
                self.set(dn, "pwdPolicySubentry", &[&format!("cn=ageing,ou=policies,{SUFFIX}")]).await;
            }
            "locked-by-failures" => self.fail(dn).await,
            "locked-for-good" => self.set(dn, "pwdAccountLockedTime", &["000001010000Z"]).await,
            "disabled" => self.set(dn, "employeeType", &["disabled"]).await,
            "account-expired" => self.set(dn, "pwdEndTime", &["20251231000000Z"]).await,
            "not-yet-valid" => self.set(dn, "pwdStartTime", &["20991231000000Z"]).await,
            "long-wanted" => self.policy_for(dn, "long", &[("pwdMinLength", "14")]).await,
            "may-not-change" => self.policy_for(dn, "fixed", &[("pwdAllowUserChange", "FALSE")]).await,
            "too-young" => {
                self.policy_for(dn, "young", &[("pwdMinAge", "86400")]).await;
                let now = self.values(dn, "modifyTimestamp").await;
                self.set(dn, "pwdChangedTime", &[&now[0]]).await;
            }
            _ => self.join_groups(name, dn).await,
        }
    }

    async fn bring_about_active_directory(&self, name: &str, dn: &str) {
        let Server::ActiveDirectory(samba) = &self.server else { panic!("another product") };
        match name {
            "must-change" | "must-change-known" => self.set(dn, "pwdLastSet", &["0"]).await,
            "password-expired" => samba.change_past_the_rules(dn, "pwdLastSet", LONG_AGO_THERE).await,
            "locked-by-failures" => self.fail(dn).await,
            "locked-for-good" | "locked-unseen" => {
                // Three failures, and a lock that only an administrator ends.
                let never = "-9223372036854775808";
                self.settings_for(dn, name, &[("msDS-LockoutThreshold", "3"), ("msDS-LockoutDuration", never)]).await;
                self.fail(dn).await;
                if name == "locked-unseen" {
                    self.hide_there(dn, "b77ea093-88d0-4780-9a98-911f8e8b1dca").await;
                }
            }
            "disabled" => self.set(dn, "userAccountControl", &["514"]).await,
            "account-expired" => self.set(dn, "accountExpires", &[LONG_AGO_THERE]).await,
            "too-young" => self.settings_for(dn, name, &[("msDS-MinimumPasswordAge", "-864000000000")]).await,
            "long-wanted" => self.settings_for(dn, name, &[("msDS-MinimumPasswordLength", "14")]).await,
            // "User cannot change password" is a rule that keeps everybody, and the person, from changing it.
            "may-not-change" => {
                let right = "ab721a53-1e2f-11d0-9819-00aa0040529b";
                samba.allow(dn, &format!("(OD;;CR;{right};;PS)(OD;;CR;{right};;WD)")).await;
            }
            // The account restrictions: userAccountControl, pwdLastSet, accountExpires.
            "hidden" => self.hide_there(dn, "4c164200-20c0-11d0-a768-00aa006e0529").await,
            "hidden-admin" => {
                self.set(dn, "adminCount", &["1"]).await;
                self.hide_there(dn, "bf967918-0de6-11d0-a285-00aa003049e2").await;
            }
            "hidden-service" => {
                self.set(dn, "servicePrincipalName", &[&format!("HTTP/{}", self.login("veiled"))]).await;
                self.hide_there(dn, "f3a64788-5306-11d1-a9c5-0000f80367c1").await;
            }
            "hidden-marker" => {
                self.set(dn, "employeeType", &["disabled"]).await;
                self.hide_there(dn, "a8df73f0-c5ea-11d1-bbcb-0080c76670c0").await;
            }
            "domain-admin" => {
                self.add_group("helpers", &[dn]).await;
                self.join(DOMAIN_ADMINS, &self.group("helpers")).await;
            }
            "primary-admin" => {
                self.join(DOMAIN_ADMINS, dn).await;
                self.set(dn, "primaryGroupID", &["512"]).await;
                self.leave(&format!("CN=Domain Users,CN=Users,{}", crate::samba::SUFFIX), dn).await;
            }
            "stale-admin" => self.set(dn, "adminCount", &["1"]).await,
            "service" => self.set(dn, "servicePrincipalName", &[&format!("HTTP/{}", self.login("host"))]).await,
            "smartcard" => self.set(dn, "userAccountControl", &["262656"]).await,
            "no-hours" => {
                let never = Mod::Replace(b"logonHours".to_vec(), crate::samba::one(&[0; 21]));
                samba.change(dn, vec![never]).await;
            }
            _ => self.join_groups(name, dn).await,
        }
    }

    /// Takes the right to read an attribute, or a set of them, away from the daemon in Active Directory.
    async fn hide_there(&self, dn: &str, attribute: &str) {
        let Server::ActiveDirectory(samba) = &self.server else { panic!("another product") };
        samba.allow(dn, &format!("(OD;;RP;{attribute};;{})", self.service_in_log)).await;
    }

    async fn bring_about_ds389(&self, name: &str, dn: &str) {
        match name {
            "must-change" | "must-change-known" => self.is_given_password(dn).await,
            "password-expired" => {
                let rules = [("passwordExp", "on"), ("passwordMaxAge", "86400")];
                self.policy_for(dn, "ageing", &rules).await;
                self.set(dn, "passwordExpirationTime", &[LONG_AGO]).await;
            }
            "locked-by-failures" => self.fail(dn).await,
            "locked-for-good" => {
                let rules = [("passwordLockout", "on"), ("passwordMaxFailure", "3"), ("passwordUnlock", "off")];
                self.policy_for(dn, "strict", &rules).await;
                self.fail(dn).await;
            }
            "disabled" => self.set(dn, "nsAccountLock", &["true"]).await,
            "disabled-by-role" => self.set(dn, "nsRoleDN", &[DISABLED_ROLE]).await,
            "account-expired" => {
                let rule = format!("cn={},{}", self.login("idle"), self.base());
                let class = [("objectClass", "ldapsubentry"), ("objectClass", "extensibleObject")];
                let limit = [("objectClass", "accountpolicy"), ("accountInactivityLimit", "86400")];
                self.add(&rule, &[&class[..], &limit[..]].concat()).await;
                self.set(dn, "acctPolicySubentry", &[&rule]).await;
                self.set(dn, "lastLoginTime", &[LONG_AGO]).await;
            }
            "not-yet-valid" => {
                let rules = [("passwordMustChange", "on"), ("passwordTPRDelayValidFrom", "86400")];
                self.policy_for(dn, "later", &rules).await;
                self.is_given_password(dn).await;
            }
            "long-wanted" => self.policy_for(dn, "long", &[("passwordMinLength", "14")]).await,
            "may-not-change" => self.policy_for(dn, "fixed", &[("passwordChange", "off")]).await,
            "password-admin" => self.policy_for(dn, "admin", &[("passwordAdminDN", dn)]).await,
            "password-keeper" => {
                self.add_group("keepers", &[dn]).await;
                self.policy_for(dn, "kept", &[("passwordAdminDN", &self.group("keepers"))]).await;
            }
            "too-young" => {
                self.policy_for(dn, "young", &[("passwordMinAge", "86400")]).await;
                self.set(dn, "passwordAllowChangeTime", &["20991231000000Z"]).await;
            }
            "hidden" => {
                let rule = format!(
                    "(targetattr = \"nsAccountLock || passwordExpirationTime || passwordRetryCount\")\
                     (version 3.0; acl \"hidden\"; deny (read, search, compare) userdn = \"ldap:///{}\";)",
                    self.service()
                );
                self.set(dn, "aci", &[&rule]).await;
            }
            _ => self.join_groups(name, dn).await,
        }
    }

    async fn is_given_password(&self, dn: &str) {
        self.give_password(dn, OWN).await;
        let is_told = async || self.values(dn, "pwdReset").await == ["TRUE"];
        until(&format!("{dn} has to change the password"), is_told).await;
    }

    /// The situations that groups make.
    async fn join_groups(&self, name: &str, dn: &str) {
        match name {
            "nested-admin" => {
                self.add_group("staff", &[dn]).await;
                self.join(&self.group("admins"), &self.group("staff")).await;
            }
            "loop" => {
                self.add_group("left", &[dn]).await;
                self.add_group("right", &[&self.group("left")]).await;
                self.join(&self.group("left"), &self.group("right")).await;
            }
            _ => {}
        }
    }

    /// Puts somebody under a password policy of its own, as the general one but for these rules.
    pub async fn policy_for(&self, dn: &str, name: &str, rules: &[(&str, &str)]) {
        let policy = format!("cn={},{}", self.login(name), self.base());
        let (general, link): (&[_], _) = if self.product() == Product::OpenLdap {
            let general = &[
                ("objectClass", "device"),
                ("objectClass", "pwdPolicy"),
                ("pwdAttribute", "userPassword"),
                ("pwdCheckQuality", "2"),
                ("pwdMinLength", "8"),
            ];
            (general, "pwdPolicySubentry")
        } else {
            let general = &[
                ("objectClass", "ldapsubentry"),
                ("objectClass", "passwordpolicy"),
                ("objectClass", "extensibleObject"),
                ("passwordCheckSyntax", "on"),
                ("passwordMinLength", "8"),
                ("passwordMinCategories", "1"),
            ];
            (general, "pwdpolicysubentry")
        };
        let kept = general.iter().filter(|(name, _)| !rules.iter().any(|(other, _)| other == name));
        self.add(&policy, &kept.chain(rules).copied().collect::<Vec<_>>()).await;
        self.set(dn, link, &[&policy]).await;
    }

    /// Puts somebody under password settings of its own, as a domain begins but for these.
    async fn settings_for(&self, dn: &str, name: &str, rules: &[(&str, &str)]) {
        let settings =
            format!("CN={},CN=Password Settings Container,CN=System,{}", self.login(name), crate::samba::SUFFIX);
        let general = [
            ("msDS-PasswordSettingsPrecedence", "10"),
            ("msDS-PasswordReversibleEncryptionEnabled", "FALSE"),
            ("msDS-PasswordHistoryLength", "3"),
            ("msDS-PasswordComplexityEnabled", "TRUE"),
            ("msDS-MinimumPasswordLength", "8"),
            ("msDS-MinimumPasswordAge", "0"),
            ("msDS-MaximumPasswordAge", "-9223372036854775808"),
            ("msDS-LockoutThreshold", "0"),
            ("msDS-LockoutObservationWindow", "-18000000000"),
            ("msDS-LockoutDuration", "-18000000000"),
        ];
        let kept = general.iter().filter(|(name, _)| !rules.iter().any(|(other, _)| other == name));
        let fixed = [("objectClass", "msDS-PasswordSettings"), ("msDS-PSOAppliesTo", dn)];
        let all: Vec<_> = kept.chain(rules).chain(&fixed).copied().collect();
        self.add(&settings, &all).await;
    }

    async fn make_computer(&self, dn: &str) {
        let name = self.login("pc");
        let login = self.login_of("computer");
        let class = [("objectClass", "computer"), ("cn", &name), ("sAMAccountName", &login)];
        let state = [("userAccountControl", "4096"), ("mail", &address(&login))];
        self.add(dn, &[&class[..], &state[..]].concat()).await;
        self.give_password(dn, FIRST).await;
    }

    async fn leave(&self, group: &str, dn: &str) {
        let change = vec![Mod::Delete("member", HashSet::from([dn]))];
        let done = self.admin().await.modify(group, change).await.expect("an answer");
        assert!(done.rc == 0, "{dn}: {done:?}");
    }
}
