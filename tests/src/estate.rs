//! A part of a directory that belongs to one test, on any of the products: the same acts, done in the way of each.
//!
//! What the products do differently to an account lies in [`crate::situations`].

use std::{collections::HashSet, sync::Arc};

use ldap3::{
    Ldap, LdapResult, Mod, Scope, SearchEntry,
    controls::{RawControl, RelaxRules},
};

use crate::{
    ds389::{self, Ds389},
    samba::{self, Samba},
    scratch,
    situations::Door,
    slapd::{self, Slapd, Variant, connect},
};

/// The first password of everybody who has one. No three letters of it stand in a name: 389-ds refuses such.
pub const FIRST: &str = "Jw6Qv2Kz8Xg";
/// The password that active people have given themselves after that.
pub const OWN: &str = "Zq8Wk3Vx9Jy";

/// The control of the password policy.
const PPOLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";

/// What administrators are to give the daemon on 389-ds.
const DS389_RULES: &str = include_str!("../../config/ds389-acl.ldif");

/// A product that tests run against as it really is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Product {
    /// OpenLDAP, with the password policy overlay.
    OpenLdap,
    /// An Active Directory domain, by Samba.
    ActiveDirectory,
    /// 389 Directory Server.
    Ds389,
}

impl Product {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OpenLdap, Self::ActiveDirectory, Self::Ds389];
}

/// The server behind an estate.
#[derive(Clone)]
pub enum Server {
    /// OpenLDAP.
    OpenLdap(Arc<Slapd>),
    /// Active Directory.
    ActiveDirectory(Arc<Samba>),
    /// 389-ds.
    Ds389(Arc<Ds389>),
}

/// A branch with an identity for the daemon that may do there what it needs and no more.
pub struct Estate {
    /// The server.
    pub server: Server,
    number: u32,
    base: String,
    service: String,
    /// How the server's log calls the daemon's identity.
    pub(crate) service_in_log: String,
    pub(crate) service_password: String,
}

impl Estate {
    /// Makes a branch on the shared server of this product, with nobody in it.
    pub async fn claim(product: Product) -> Self {
        let server = match product {
            Product::OpenLdap => Server::OpenLdap(Slapd::shared(Variant::Policy).await),
            Product::ActiveDirectory => Server::ActiveDirectory(Samba::shared().await),
            Product::Ds389 => Server::Ds389(Ds389::shared().await),
        };
        Self::claim_on(server).await
    }

    /// Makes a branch on this server.
    pub async fn claim_on(server: Server) -> Self {
        let number = scratch::next();
        let (suffix, service) = match &server {
            Server::OpenLdap(_) => (slapd::SUFFIX, slapd::SERVICE.to_owned()),
            Server::ActiveDirectory(_) => (samba::SUFFIX, format!("CN=svc{number},CN=Users,{}", samba::SUFFIX)),
            Server::Ds389(_) => (ds389::SUFFIX, format!("cn=svc{number},{}", ds389::SUFFIX)),
        };
        let service_password = match &server {
            Server::OpenLdap(_) => slapd::SERVICE_PASSWORD.to_owned(),
            Server::ActiveDirectory(_) | Server::Ds389(_) => format!("Service-Bind-{number}-Pw"),
        };
        let base = format!("ou=e{number},{suffix}");
        let mut estate = Self { server, number, base, service_in_log: service.clone(), service, service_password };
        for unit in ["", "ou=people,", "ou=elsewhere,", "ou=groups,"] {
            estate.add(&format!("{unit}{}", estate.base), &[("objectClass", "organizationalUnit")]).await;
        }
        match estate.server.clone() {
            Server::OpenLdap(_) => {}
            Server::ActiveDirectory(samba) => estate.delegate(&samba).await,
            Server::Ds389(ds389) => estate.grant(&ds389).await,
        }
        // A group that the policy names must be there, and some products want a member.
        estate.add_group("admins", &[&estate.service]).await;
        estate
    }

    /// Which product this is.
    pub fn product(&self) -> Product {
        match &self.server {
            Server::OpenLdap(_) => Product::OpenLdap,
            Server::ActiveDirectory(_) => Product::ActiveDirectory,
            Server::Ds389(_) => Product::Ds389,
        }
    }

    /// Where the branch begins.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// An entry of the daemon's own to learn on, where the product needs one.
    fn canary(&self) -> String {
        match &self.server {
            Server::OpenLdap(_) => slapd::CANARY.to_owned(),
            Server::ActiveDirectory(_) | Server::Ds389(_) => format!("uid=canary,{}", self.base),
        }
    }

    /// The daemon's identity.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The password of that identity.
    pub fn service_password(&self) -> &str {
        &self.service_password
    }

    /// The login that nobody else on this server has. The directory has one name space for all tests.
    pub fn login(&self, name: &str) -> String {
        format!("{name}-{}", self.number)
    }

    /// The entry of somebody by the name of the situation.
    pub fn dn(&self, name: &str) -> String {
        self.dn_in("people", name)
    }

    /// The same in another part of the branch.
    pub fn dn_in(&self, unit: &str, name: &str) -> String {
        let rdn =
            if name == "odd-dn" { r"cn=O\2c Brien\5c\, \23x".to_owned() } else { format!("cn={}", self.login(name)) };
        format!("{rdn},ou={unit},{}", self.base)
    }

    /// The entry of a group.
    pub fn group(&self, name: &str) -> String {
        format!("cn={},ou=groups,{}", self.login(name), self.base)
    }

    /// Where clear text is spoken.
    pub fn uri(&self) -> String {
        match &self.server {
            Server::OpenLdap(server) => server.uri(),
            Server::ActiveDirectory(server) => server.uri(),
            Server::Ds389(server) => server.uri(),
        }
    }

    /// Where TLS is spoken from the first byte.
    pub fn tls_uri(&self) -> String {
        match &self.server {
            Server::OpenLdap(server) => server.tls_uri(),
            Server::ActiveDirectory(server) => server.tls_uri(),
            Server::Ds389(server) => server.tls_uri(),
        }
    }

    /// A connection whose holder may do anything.
    pub async fn admin(&self) -> Ldap {
        match &self.server {
            Server::OpenLdap(server) => server.admin().await,
            Server::ActiveDirectory(server) => server.admin().await,
            Server::Ds389(server) => server.admin().await,
        }
    }

    /// What the configuration of the daemon says of it; the secret is in this file.
    pub fn settings(&self, secret: &str) -> Vec<(&'static str, String)> {
        let quoted = |text: &str| format!("{text:?}");
        let list = |texts: &[&str]| format!("{texts:?}");
        let (kind, logins) = match self.product() {
            Product::OpenLdap => ("openldap", list(&["uid", "mail"])),
            Product::ActiveDirectory => ("active_directory", list(&["sAMAccountName", "userPrincipalName", "mail"])),
            Product::Ds389 => ("ds389", list(&["uid", "mail"])),
        };
        let mut keys = vec![
            ("directory.kind", quoted(kind)),
            ("directory.urls", list(&[&self.tls_uri()])),
            ("directory.ca_file", quoted(&crate::tls::authority().display().to_string())),
            ("directory.bind_dn", quoted(&self.service)),
            ("directory.bind_password_file", quoted(secret)),
            ("directory.base", quoted(&self.base)),
            ("directory.group_base", quoted(&format!("ou=groups,{}", self.base))),
            ("directory.login_attributes", logins),
            ("policy.privileged_groups", list(&[&self.group("admins")])),
        ];
        if self.product() != Product::ActiveDirectory {
            keys.push(("directory.canary", quoted(&self.canary())));
        }
        if self.product() == Product::OpenLdap {
            keys.push(("directory.default_policy", quoted(&format!("cn=default,ou=policies,{}", slapd::SUFFIX))));
        }
        keys
    }

    /// Adds an entry as the administrator. A name may come several times.
    pub async fn add(&self, dn: &str, attributes: &[(&str, &str)]) {
        let attributes: Vec<_> = attributes.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).collect();
        self.add_bytes(dn, &attributes).await;
    }

    /// Adds a person, with a password given by the administrator if there is one.
    pub async fn add_person(&self, dn: &str, login: &str, password: Option<&str>, more: &[(&str, &str)]) {
        let text = |value: &str| value.as_bytes().to_vec();
        let mut attributes = vec![("sn", text("Lovelace")), ("displayName", text("Ada Lovelace"))];
        attributes.extend(more.iter().map(|(name, value)| (*name, text(value))));
        if !more.iter().any(|(name, _)| *name == "mail") {
            attributes.push(("mail", text(&crate::acts::address(login))));
        }
        if self.product() == Product::ActiveDirectory {
            attributes.push(("objectClass", text("user")));
            attributes.push(("sAMAccountName", text(login)));
            if !more.iter().any(|(name, _)| *name == "userAccountControl") {
                attributes.push(("userAccountControl", text("512")));
            }
        } else {
            attributes.extend([("objectClass", text("inetOrgPerson")), ("uid", text(login))]);
            attributes.extend(password.map(|password| ("userPassword", text(password))));
        }
        if self.product() != Product::ActiveDirectory && !dn.contains("Brien") {
            attributes.push(("cn", text(login)));
        } else if self.product() != Product::ActiveDirectory {
            attributes.push(("cn", text(r"O, Brien\, #x")));
        }
        self.add_bytes(dn, &attributes).await;
        // The directory's own console makes the account first and gives it a password after that, and the count of
        // passwords shows it.
        if self.product() == Product::ActiveDirectory
            && let Some(password) = password
        {
            self.give_password(dn, password).await;
        }
    }

    async fn add_bytes(&self, dn: &str, attributes: &[(&str, Vec<u8>)]) {
        let names: HashSet<_> = attributes.iter().map(|(name, _)| *name).collect();
        let values = |name| attributes.iter().filter(|(one, _)| *one == name).map(|(_, value)| value.clone()).collect();
        let grouped = names.into_iter().map(|name| (name.as_bytes().to_vec(), values(name))).collect();
        let mut ldap = self.admin().await;
        if self.product() == Product::OpenLdap {
            ldap.with_controls(RelaxRules);
        }
        let result = ldap.add(dn, grouped).await.expect("an answer");
        assert!(result.rc == 0, "{dn} can not be added: {result:?}");
    }

    /// Adds a group.
    pub async fn add_group(&self, name: &str, members: &[&str]) {
        let class = if self.product() == Product::ActiveDirectory { "group" } else { "groupOfNames" };
        let login = self.login(name);
        let mut attributes = vec![("objectClass", class), ("cn", &login)];
        if self.product() == Product::ActiveDirectory {
            attributes.push(("sAMAccountName", &login));
        }
        attributes.extend(members.iter().map(|member| ("member", *member)));
        self.add(&self.group(name), &attributes).await;
    }

    /// Puts somebody into a group.
    pub async fn join(&self, group: &str, dn: &str) {
        let change = vec![Mod::Add("member", HashSet::from([dn]))];
        let result = self.admin().await.modify(group, change).await.expect("an answer");
        assert!(result.rc == 0, "{dn} can not join {group}: {result:?}");
    }

    /// Gives an attribute exactly these values as the administrator; none removes it.
    pub async fn set(&self, dn: &str, attribute: &str, values: &[&str]) {
        let mut ldap = self.admin().await;
        if self.product() == Product::OpenLdap {
            ldap.with_controls(RelaxRules);
        }
        let result = ldap.modify(dn, vec![Mod::Replace(attribute, values.iter().copied().collect())]).await;
        let result = result.expect("an answer");
        assert!(result.rc == 0, "{attribute} of {dn} can not be set: {result:?}");
    }

    /// All values of an attribute, as the administrator sees them.
    pub async fn values(&self, dn: &str, attribute: &str) -> Vec<String> {
        let found =
            self.admin().await.search(dn, Scope::Base, "(objectClass=*)", [attribute]).await.expect("an answer");
        let (entries, _) = found.success().unwrap_or_else(|fault| panic!("{dn} can not be read: {fault}"));
        let entry = SearchEntry::construct(entries.into_iter().next().expect("the entry"));
        let text = entry.attrs.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case(attribute));
        let mut values: Vec<String> = text.flat_map(|(_, values)| values).collect();
        values.sort();
        values
    }

    /// Gives somebody a password as an administrator does.
    pub async fn give_password(&self, dn: &str, password: &str) {
        let result = self.admin().await.modify(dn, vec![self.replacement(password)]).await.expect("an answer");
        assert!(result.rc == 0, "the password of {dn} can not be given: {result:?}");
    }

    /// Changes a password as its holder does with another program, and gives the server's answer. The bind must be taken.
    pub async fn change_own(&self, dn: &str, old: &str, new: &str) -> LdapResult {
        let mut ldap = connect(&self.uri()).await.expect("a connection");
        let bound = ldap.simple_bind(dn, old).await.expect("an answer");
        if bound.rc != 0 {
            return bound;
        }
        let bytes = |password: &str| samba::one(&samba::quoted(password));
        let change = match self.product() {
            Product::ActiveDirectory => {
                let name = b"unicodePwd".to_vec();
                vec![Mod::Delete(name.clone(), bytes(old)), Mod::Add(name, bytes(new))]
            }
            Product::OpenLdap | Product::Ds389 => vec![self.replacement(new)],
        };
        ldap.modify(dn, change).await.expect("an answer")
    }

    fn replacement(&self, password: &str) -> Mod<Vec<u8>> {
        match self.product() {
            Product::ActiveDirectory => Mod::Replace(b"unicodePwd".to_vec(), samba::one(&samba::quoted(password))),
            Product::OpenLdap | Product::Ds389 => {
                Mod::Replace(b"userPassword".to_vec(), samba::one(password.as_bytes()))
            }
        }
    }

    /// What the server says to somebody who signs in. A wrong password counts as a failure there.
    pub async fn bind(&self, dn: &str, password: &str) -> LdapResult {
        let mut ldap = connect(&self.uri()).await.expect("a connection");
        ldap.with_controls(ppolicy()).simple_bind(dn, password).await.expect("an answer")
    }

    /// How often the daemon has set the password of an entry, as the server's own log tells.
    pub async fn password_writes(&self, dn: &str) -> usize {
        let dn = &self.as_the_server_writes_it(dn).await;
        match &self.server {
            Server::OpenLdap(server) => {
                server.writes(dn).await.iter().filter(|write| write.is_by_service() && write.sets_password()).count()
            }
            Server::ActiveDirectory(server) => server.password_writes(dn, &self.service_in_log),
            Server::Ds389(server) => server.password_writes(dn, &self.service_in_log),
        }
    }

    /// A name has several spellings, and a log has one.
    async fn as_the_server_writes_it(&self, dn: &str) -> String {
        let found = self.admin().await.search(dn, Scope::Base, "(objectClass=*)", ["1.1"]).await.expect("an answer");
        let (entries, _) = found.success().unwrap_or_else(|fault| panic!("{dn} can not be read: {fault}"));
        SearchEntry::construct(entries.into_iter().next().expect("the entry")).dn
    }

    /// Makes the daemon's identity in a domain, with the rights of the sample: reset, unlock, must-change, nothing else.
    async fn delegate(&mut self, samba: &Samba) {
        let login = format!("svc{}", self.number);
        // The password of a service never expires.
        let password = self.service_password.clone();
        self.add_person(&self.service, &login, Some(&password), &[("userAccountControl", "66048")]).await;
        self.service_in_log = samba.sid(&self.service).await;
        let sid = &self.service_in_log;
        let user = "bf967aba-0de6-11d0-a285-00aa003049e2";
        let rules = [
            ("CR", "00299570-246d-11d0-a768-00aa006e0529"),
            ("RPWP", "28630ebf-41d5-11d1-a9c1-0000f80367c1"),
            ("RPWP", "bf967a0a-0de6-11d0-a285-00aa003049e2"),
        ]
        .map(|(right, on)| format!("(OA;CIIO;{right};{on};{user};{sid})"));
        samba.allow(&self.base, &rules.concat()).await;
    }

    /// Makes the daemon's identity on 389-ds, with the rights of the file that administrators are to apply, and lets people
    /// change their passwords.
    async fn grant(&self, ds389: &Ds389) {
        let login = format!("svc{}", self.number);
        let class = [("objectClass", "applicationProcess"), ("objectClass", "simpleSecurityObject"), ("cn", &login)];
        let password = [("userPassword", self.service_password.as_str())];
        self.add(&self.service, &[&class[..], &password[..]].concat()).await;
        // Given by an administrator, so the policy would ask the daemon to change its own password first.
        self.set(&self.service, "passwordExpirationTime", &["20380119031407Z"]).await;
        let own = "(targetattr = \"userPassword\")(version 3.0; acl \"own password\"; allow (write) \
                   userdn = \"ldap:///self\";)";
        for entry in [&self.base, &self.service] {
            self.set(entry, "aci", &[own]).await;
        }
        let canary =
            [("objectClass", "account"), ("objectClass", "simpleSecurityObject"), ("userPassword", "Pq5Wn8Zr3Kx")];
        self.add(&self.canary(), &canary).await;
        let rules = DS389_RULES
            .replace("uid=rekeyd-canary,ou=services,dc=example,dc=org", &self.canary())
            .replace("uid=rekeyd,ou=services,dc=example,dc=org", &self.service)
            .replace("ou=people,dc=example,dc=org", &self.base)
            .replace("dn: dc=example,dc=org", &format!("dn: {}", self.base));
        ds389.apply(&rules).await;
    }
}

/// Asks for the words of the password policy.
fn ppolicy() -> RawControl {
    RawControl { ctype: PPOLICY.to_owned(), crit: false, val: None }
}

/// How a server has answered to the right password.
pub fn door(product: Product, answer: &LdapResult) -> Door {
    // The policy control: 0 expired, 2 to be changed after a reset. Its lengths may be written the long way.
    let error = answer.ctrls.iter().filter(|control| control.1.ctype == PPOLICY).find_map(|control| {
        let value = control.1.val.as_deref()?;
        let (error, before) = value.split_last()?;
        (before.ends_with(&[0x81, 1]) || before.ends_with(&[0x81, 0x84, 0, 0, 0, 1])).then_some(*error)
    });
    let told = ["data 773", "data 532"].iter().any(|code| answer.text.contains(code));
    match (product, error, answer.rc) {
        (Product::ActiveDirectory, _, 49) if told => Door::ChangeFirst,
        (Product::OpenLdap | Product::Ds389, Some(0 | 2), _) => Door::ChangeFirst,
        (_, _, 0) => Door::Open,
        _ => Door::Shut,
    }
}
