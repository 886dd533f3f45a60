//! What only some tests need of a slapd: a database that takes no writes, a clock that is wrong, and two servers that copy
//! from each other.

use std::{collections::HashSet, path::PathBuf, sync::Arc};

use ldap3::{Ldap, Mod, Scope};

use crate::slapd_config::Special;
use crate::{
    acts::until,
    process::free_port,
    slapd::{ADMIN, ADMIN_PASSWORD, SUFFIX, Slapd, Variant, connect},
};

impl Special {
    /// One of two servers that copy from each other.
    fn mirror(number: u16, other: u16) -> Self {
        Self {
            whole: format!("moduleload syncprov\nserverID {number}\n"),
            people: format!(
                "overlay syncprov\nsyncrepl rid=00{number} provider=ldap://127.0.0.1:{other} bindmethod=simple \
                 binddn=\"{ADMIN}\" credentials={ADMIN_PASSWORD} searchbase=\"{SUFFIX}\" type=refreshAndPersist \
                 retry=\"1 +\" keepalive=1:1:1\nmultiprovider on\n"
            ),
        }
    }
}

impl Slapd {
    /// Two servers that copy from each other, both of which take writes.
    pub async fn pair(variant: Variant) -> [Arc<Self>; 2] {
        for _ in 0..5 {
            let (first, second) = (free_port(), free_port());
            let one = Self::begin(variant, &Special::mirror(1, second), first).await;
            let other = Self::begin(variant, &Special::mirror(2, first), second).await;
            if let (Some(one), Some(other)) = (one, other) {
                one.fill().await;
                let there = async || other.holds(SUFFIX).await && other.holds(crate::slapd::CANARY).await;
                until("the second server has copied the first", there).await;
                return [Arc::new(one), Arc::new(other)];
            }
        }
        panic!("no two servers start");
    }

    /// A server for one test alone whose database keeps when somebody last signed in.
    pub async fn that_keeps_sign_ins() -> Arc<Self> {
        let special = Special { people: "lastbind on\n".to_owned(), ..Special::default() };
        for _ in 0..5 {
            if let Some(slapd) = Self::begin(Variant::Policy, &special, free_port()).await {
                slapd.fill().await;
                return Arc::new(slapd);
            }
        }
        panic!("slapd does not start");
    }

    /// Whether there is such an entry, on a server that may be empty still.
    pub async fn holds(&self, dn: &str) -> bool {
        let found = self.admin().await.search(dn, Scope::Base, "(objectClass=*)", ["1.1"]).await;
        found.is_ok_and(|found| found.1.rc == 0)
    }

    /// Lets one of two servers copy no more from the other, while it runs.
    pub async fn stops_copying(&self) {
        let mut ldap = self.configuration().await;
        for attribute in ["olcMultiProvider", "olcSyncrepl"] {
            let change = vec![Mod::Delete(attribute, HashSet::new())];
            let done = ldap.modify("olcDatabase={2}mdb,cn=config", change).await.expect("an answer");
            done.success().expect("a change of the configuration");
        }
    }

    /// Lets the database of people take no writes, or take them again, while the server runs.
    pub async fn takes_writes(&self, takes: bool) {
        let mut ldap = self.configuration().await;
        let value = if takes { "FALSE" } else { "TRUE" };
        let change = vec![Mod::Replace("olcReadOnly", HashSet::from([value]))];
        let done = ldap.modify("olcDatabase={2}mdb,cn=config", change).await.expect("an answer");
        done.success().expect("a change of the configuration");
    }

    /// Lets the server copy nothing from the other one of its pair any more, while it runs.
    pub async fn hears_no_changes(&self) {
        let change = vec![Mod::Delete("olcSyncrepl", HashSet::new())];
        let done = self.configuration().await.modify("olcDatabase={2}mdb,cn=config", change).await.expect("an answer");
        done.success().expect("a change of the configuration");
    }

    /// Lets an identity not write the password of an entry any more, while the server runs.
    pub async fn forbid(&self, dn: &str, service: &str) {
        let rule = format!(
            "{{0}}to dn.exact=\"{dn}\" attrs=userPassword by dn.exact=\"{service}\" none by self =xw by anonymous auth by * none"
        );
        let change = vec![Mod::Add("olcAccess", HashSet::from([rule.as_str()]))];
        let done = self.configuration().await.modify("olcDatabase={2}mdb,cn=config", change).await.expect("an answer");
        done.success().expect("a change of the configuration");
    }

    async fn configuration(&self) -> Ldap {
        let mut ldap = connect(&self.uri()).await.expect("a connection");
        ldap.simple_bind("cn=config", ADMIN_PASSWORD).await.expect("an answer").success().expect("the configuration");
        ldap
    }

    /// Starts the server again after [`Slapd::stop`], with a clock that is wrong by so many seconds.
    pub async fn start_with_clock(&self, seconds: i32) {
        let library = fake_time().display().to_string();
        let wrong = format!("{seconds:+}s");
        let environment =
            [("LD_PRELOAD", library.as_str()), ("FAKETIME", wrong.as_str()), ("DONT_FAKE_MONOTONIC", "1")];
        self.start_in(&environment).await;
    }
}

/// The library that gives a program another time.
fn fake_time() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("a folder").filter_map(Result::ok);
    let mut files = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    files.find(|file| file.exists()).expect("libfaketime is not installed")
}
