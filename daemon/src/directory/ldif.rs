//! A directory kept in one LDIF file, for the trial, for tests and for the smallest of organisations.
//!
//! It is a directory of its own, with a clock of its own: passwords are Argon2id hashes, the last ones are remembered,
//! and the attributes of OpenLDAP's password policy overlay say how an account stands. Each write replaces the whole
//! file in one step, under a lock that other programs can take too; a file that somebody edits is read again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rekeyd_core::domain::{
    Account, AccountId, DirectoryKey, Dn, EmailAddress, EntryName, Finding, Login, NewPassword, Server, Stamp,
    Standing, Timestamp,
};
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::groups::Walk;
use rekeyd_core::flavour::mapping;
use rekeyd_core::flavour::openldap::{Conditions, OpenLdap};
use rekeyd_core::flavour::policy_entry::{PolicyView, plain_policy};
use rekeyd_core::flavour::product::Product;
use rekeyd_core::flavour::signs::Sign;
use rekeyd_core::flavour::{Change, Demands, Flavour, Mapping, Reading, Rejection, Settled, Verified};
use rekeyd_core::policy::permit::{Mandate, Permit};
use tokio::sync::Semaphore;

use super::config::{DirectoryConfig, Search};
use super::ldif_file::{Snapshot, Store};
use super::ldif_password as password;
use super::ldif_policy::{is_named, policy};
use super::probe::{Cause, Grade, Probe};
use super::{Error, Found, Written};

/// How many hashes are computed at once: each takes 19 MiB.
const HASHES_AT_ONCE: usize = 2;

/// Findings with which no password lets in.
const SHUT: [Finding; 5] =
    [Finding::Disabled, Finding::Expired, Finding::LockedByAdmin, Finding::LockedByFailures, Finding::NotYetValid];

/// A directory in one file.
pub struct Ldif {
    inner: Arc<Inner>,
    hashing: Semaphore,
    up: AtomicBool,
}

/// The file, and how it is seen.
pub(super) struct Inner {
    key: DirectoryKey,
    name: String,
    server: Server,
    search: Search,
    people: Filter,
    mapping: Mapping,
    watched: Vec<Dn>,
    flavour: Flavour,
    store: Store,
}

impl Ldif {
    pub(super) fn open(config: &DirectoryConfig, file: &std::path::Path, key: DirectoryKey) -> Self {
        let inner = Inner::new(config, file, key);
        Self { inner: Arc::new(inner), hashing: Semaphore::new(HASHES_AT_ONCE), up: AtomicBool::new(false) }
    }

    pub(super) fn key(&self) -> DirectoryKey {
        self.inner.key
    }

    pub(super) fn name(&self) -> &str {
        &self.inner.name
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    pub(super) async fn find(&self, login: &Login, now: Timestamp) -> Result<Found, Error> {
        let login = login.clone();
        self.on_file(move |inner, snapshot| Ok(inner.find(snapshot, &login, now))).await
    }

    pub(super) async fn read(&self, id: &AccountId, now: Timestamp) -> Result<Found, Error> {
        let id = id.clone();
        self.on_file(move |inner, snapshot| {
            let account = inner.by_id(snapshot, &id).map(|entry| inner.account(snapshot, entry, now));
            Ok(account.map_or(Found::NotFound, |account| Found::Account(Box::new(account))))
        })
        .await
    }

    pub(super) async fn settle(&self, id: &AccountId, before: &Stamp, now: Timestamp) -> Result<Settled, Error> {
        Ok(match self.read(id, now).await? {
            Found::Account(account) => self.inner.flavour.settled(before, &account.stamp),
            Found::Ambiguous(_) | Found::NotFound => Settled::Undecidable,
        })
    }

    pub(super) async fn write(&self, permit: Permit) -> (Mandate, Written) {
        let change = self.inner.flavour.change(&permit);
        let id = permit.account().clone();
        let mandate = permit.into_mandate();
        let change = match change {
            Ok(change) => change,
            Err(rejection) => return (mandate, Written::Rejected(rejection, Demands::default())),
        };
        let Ok(_permit) = self.hashing.acquire().await else {
            return (mandate, Written::NotDone("the directory is closed".into()));
        };
        let inner = Arc::clone(&self.inner);
        let written = tokio::task::spawn_blocking(move || inner.write(&id, change)).await;
        let unsure = || Written::Unsure { server: self.inner.server.name.clone() };
        (mandate, written.unwrap_or_else(|_| unsure()))
    }

    pub(super) async fn verify(&self, account: &Account, typed: &NewPassword) -> Result<Verified, Error> {
        let Ok(_permit) = self.hashing.acquire().await else {
            return Err(Error::Unavailable("the directory is closed".into()));
        };
        let id = account.id.clone();
        let typed = zeroize::Zeroizing::new(typed.expose().to_owned());
        let now = password::clock();
        self.on_file(move |inner, snapshot| {
            let entry = inner.by_id(snapshot, &id);
            let hashes = entry.map_or(&[][..], |entry| entry.values("userPassword"));
            // The same work for an account without a password as for one with a wrong one.
            let right = password::fits_any(&typed, hashes) || (hashes.is_empty() && password::fits_nothing(&typed));
            let Some(entry) = entry.filter(|_| right) else { return Ok(Verified::Wrong) };
            let standing = inner.account(snapshot, entry, now).standing;
            let any = |findings: &[_]| findings.iter().any(|finding| standing.has(*finding));
            Ok(if any(&SHUT) {
                Verified::Wrong
            } else if any(&[Finding::MustChange, Finding::PasswordExpired]) {
                Verified::RightButMustChange
            } else {
                Verified::Right
            })
        })
        .await
    }

    pub(super) async fn probe(&self, now: Timestamp) -> Vec<Probe> {
        let file = self.inner.server.name.clone();
        let read = self.on_file(move |inner, snapshot| Ok(inner.look_around(snapshot, now))).await;
        read.unwrap_or_else(|error| {
            let (Error::Misconfigured(why) | Error::Unavailable(why)) = error;
            let remedy = "Name a file in LDIF that rekeyd may read and write, in a folder that it may write.";
            vec![Probe::found(Cause::Unreachable, Grade::Broken, format!("read {file}"), why).mended_by(remedy)]
        })
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Runs something on the file's present content, on a thread that may wait.
    pub(super) async fn on_file<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Inner, &Snapshot) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.inner);
        let answer = tokio::task::spawn_blocking(move || {
            let snapshot = inner.store.snapshot(inner.flavour.id_attribute())?;
            ask(&inner, &snapshot)
        })
        .await
        .unwrap_or_else(|failed| Err(Error::Unavailable(format!("reading the file failed: {failed}"))));
        self.up.store(answer.is_ok(), Ordering::Relaxed);
        answer
    }
}

impl Inner {
    /// How one configuration sees a file.
    fn new(config: &DirectoryConfig, file: &std::path::Path, key: DirectoryKey) -> Self {
        // The file keeps what OpenLDAP keeps.
        let mapping = config.mapping.on(Product::OpenLdap);
        let openldap = OpenLdap { ppolicy: true, conditions: Conditions::Full, defined: Vec::new() };
        let defined = Flavour::OpenLdap(openldap.clone()).attributes(&mapping);
        Self {
            key,
            name: config.name.clone(),
            server: Server { name: file.display().to_string(), writable: true },
            people: config.search.filter.clone().unwrap_or_else(|| mapping::people(Product::OpenLdap)),
            search: config.search.clone(),
            mapping,
            watched: config.watched_groups.clone(),
            flavour: Flavour::OpenLdap(OpenLdap { defined, ..openldap }),
            store: Store::new(file),
        }
    }

    /// The same file as another configuration would see it.
    pub(super) fn beside(&self, other: &DirectoryConfig) -> Self {
        Self { name: self.name.clone(), ..Self::new(other, self.server.name.as_ref(), self.key) }
    }

    /// The stable id of an entry, as far as it is shown.
    pub(super) fn id(&self, entry: &Entry) -> Option<AccountId> {
        self.flavour.id(self.key, entry).ok()
    }

    /// How an entry's password came to be.
    pub(super) fn sign(&self, entry: &Entry, standing: &Standing, bare: bool) -> Sign {
        self.flavour.sign(entry, standing, bare)
    }

    fn find(&self, snapshot: &Snapshot, login: &Login, now: Timestamp) -> Found {
        for attribute in &self.mapping.logins {
            let fits = |entry: &&Entry| self.is_person(entry) && entry.texts(attribute).any(|value| login.is(value));
            let mut found = snapshot.entries().filter(fits);
            match (found.next(), found.next()) {
                (None, _) => {}
                (Some(entry), None) => return Found::Account(Box::new(self.account(snapshot, entry, now))),
                (Some(one), Some(other)) => {
                    let ids = [one, other].into_iter().filter_map(|entry| self.flavour.id(self.key, entry).ok());
                    return Found::Ambiguous(ids.collect());
                }
            }
        }
        Found::NotFound
    }

    pub(super) fn is_person(&self, entry: &Entry) -> bool {
        is_within(entry, &self.search.base) && self.people.matches(entry)
    }

    fn by_id<'s>(&self, snapshot: &'s Snapshot, id: &AccountId) -> Option<&'s Entry> {
        let mut found = snapshot
            .entries()
            .filter(|entry| self.is_person(entry) && self.flavour.id(self.key, entry).is_ok_and(|other| other == *id));
        found.next().filter(|_| found.next().is_none())
    }

    pub(super) fn account(&self, snapshot: &Snapshot, entry: &Entry, now: Timestamp) -> Account {
        let shared = if self.search.detect_shared { self.shared(snapshot, entry) } else { Vec::new() };
        let reading = Reading {
            entry,
            directory: self.key,
            server: &self.server,
            groups: &self.groups(snapshot, entry),
            policy: &policy(snapshot, entry),
            hidden: &[],
            shared: &shared,
            now,
        };
        self.flavour.account(&reading, &self.mapping)
    }

    fn groups(&self, snapshot: &Snapshot, account: &Entry) -> Result<Vec<Dn>, String> {
        for group in &self.watched {
            if !snapshot.entries().any(|entry| is_named(entry, group)) {
                return Err(format!("{group} is not there, and verdicts rest on it"));
            }
        }
        let mut walk = Walk::new(account.name(), account.texts("memberOf"));
        let gid = account.texts("gidNumber").next();
        let logins: Vec<&str> = account.texts("uid").collect();
        loop {
            let names = walk.question();
            if names.is_empty() {
                return walk.finish();
            }
            let names: Vec<Dn> = names.iter().filter_map(|name| Dn::parse(&name.0).ok()).collect();
            let has_member = |group: &&Entry| {
                let members = group.texts("member").chain(group.texts("uniqueMember"));
                let by_name = members.filter_map(|member| Dn::parse(member).ok()).any(|member| names.contains(&member));
                let by_login = group.texts("memberUid").any(|member| logins.contains(&member));
                let by_gid = gid.is_some()
                    && group.texts("gidNumber").next() == gid
                    && group.texts("objectClass").any(|class| class.eq_ignore_ascii_case("posixGroup"));
                by_name || by_login || by_gid
            };
            let groups = snapshot.entries().filter(|entry| is_within(entry, &self.search.group_base));
            walk.learn(groups.filter(has_member).map(|group| group.name().clone()));
        }
    }

    /// Addresses of this entry that another one has too.
    fn shared(&self, snapshot: &Snapshot, entry: &Entry) -> Vec<String> {
        let addresses = |entry: &Entry| -> Vec<String> {
            let values = self.mapping.emails.iter().flat_map(|attribute| entry.texts(attribute));
            values.filter_map(|value| EmailAddress::parse(value).ok()).map(|address| address.folded()).collect()
        };
        let others = snapshot.entries().filter(|other| other.name() != entry.name() && self.is_person(other));
        let others: Vec<String> = others.flat_map(addresses).collect();
        addresses(entry).into_iter().filter(|address| others.contains(address)).collect()
    }

    /// Replaces a password under the file's lock, if the account is still what the permit was given for.
    fn write(&self, id: &AccountId, change: Change) -> Written {
        let Change::Modify { replace, condition: Some(condition), .. } = change else {
            return Written::NotDone("this directory takes conditional writes only".into());
        };
        let locked = match self.store.lock(self.flavour.id_attribute()) {
            Ok(locked) => locked,
            Err(Error::Misconfigured(why) | Error::Unavailable(why)) => return Written::NotDone(why),
        };
        let snapshot = locked.snapshot();
        let Some(entry) = self.by_id(&snapshot, id) else { return Written::Stale };
        if !Filter::parse(&condition).is_ok_and(|condition| condition.matches(entry)) {
            return Written::Stale;
        }
        let policy = match policy(&snapshot, entry) {
            PolicyView::InForce(policy) => policy,
            PolicyView::None => plain_policy(),
            PolicyView::Unreadable(why) => return Written::NotDone(why),
        };
        let mut entry = entry.clone();
        for (attribute, value) in replace {
            if !attribute.eq_ignore_ascii_case("userPassword") {
                entry.replace(attribute, vec![value.to_vec()]);
                continue;
            }
            let Ok(new) = std::str::from_utf8(&value) else {
                return Written::Rejected(Rejection::NotComplex, Demands::default());
            };
            if let Err(rejection) = password::replace(&mut entry, new, &policy) {
                return Written::Rejected(rejection, plain_policy().demands());
            }
        }
        match locked.replace(entry) {
            Ok(()) => Written::Done { must_change_unseen: false },
            Err(failed) if failed.sure => Written::NotDone(failed.why),
            Err(_) => Written::Unsure { server: self.server.name.clone() },
        }
    }

    fn look_around(&self, snapshot: &Snapshot, now: Timestamp) -> Vec<Probe> {
        let file = &self.server.name;
        let probe = |what: String, outcome: String, remedy: Option<&str>| match remedy {
            Some(remedy) => Probe::found(Cause::Unclear, Grade::Broken, what, outcome).mended_by(remedy),
            None => Probe::fine(what, outcome),
        };
        let people: Vec<&Entry> = snapshot.entries().filter(|entry| self.is_person(entry)).collect();
        let mut probes = vec![
            probe(format!("read {file}"), format!("{} entries", snapshot.entries().count()), None),
            probe(
                "people".into(),
                format!("{} entries match the filter below the base", people.len()),
                people.is_empty().then_some("Mend `base` and `filter` of the directory."),
            ),
        ];
        for group in &self.watched {
            let there = snapshot.entries().any(|entry| is_named(entry, group));
            probes.push(probe(
                format!("group {group}"),
                if there { "readable" } else { "not there" }.into(),
                (!there).then_some("Name a group that exists, or remove it from `policy`."),
            ));
        }
        let unknown = people.iter().filter(|entry| self.account(snapshot, entry, now).standing.has(Finding::Unknown));
        if let Some(entry) = unknown.clone().next() {
            let outcome = format!("the state of {} can't be told, of {} first", unknown.count(), entry.name().0);
            probes.push(probe(
                "state of accounts".into(),
                outcome,
                Some("Ask `rekeyctl explain` which value is wrong."),
            ));
        }
        probes
    }
}

fn is_within(entry: &Entry, base: &EntryName) -> bool {
    if base.0.is_empty() {
        return true;
    }
    match (Dn::parse(&entry.name().0), Dn::parse(&base.0)) {
        (Ok(name), Ok(base)) => name == base || name.is_below(&base),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::path::PathBuf;

    use rekeyd_core::domain::{Facts, Purpose, Ticket};
    use rekeyd_core::policy::authority::{Operator, Rank, Verb};
    use rekeyd_core::policy::eligibility::{Act, Eligibility, judge};
    use rekeyd_core::policy::password::{AcceptedPassword, accept};
    use rekeyd_core::policy::permit::Claimed;
    use rekeyd_core::policy::rules::Rules;
    use rekeyd_core::settings::Document;

    use super::*;
    use crate::directory::Directory;

    const NOW: Timestamp = Timestamp::from_millis(1_793_361_600_000);
    const OLD: &str = "correct horse battery staple";
    const NEW: &str = "three pelicans over Cardigan bay";

    struct Trial {
        folder: tempfile::TempDir,
        directory: Directory,
    }

    /// People like those of the trial; each has `OLD` as password.
    fn trial() -> Trial {
        let folder = tempfile::tempdir().unwrap();
        let hash = password::hash(OLD).unwrap();
        let mut ldif = String::from("version: 1\n");
        for (login, unit, more) in [
            ("ada", "people", "pwdChangedTime: 20260105090000Z"),
            ("noether", "people", "cn: Emmy"),
            ("hopper", "people", "pwdChangedTime: 20260105090000Z\npwdEndTime: 20260201000000Z"),
            ("turing", "people", "pwdChangedTime: 20260105090000Z\nemployeeType: disabled"),
            ("locked", "people", "pwdChangedTime: 20260105090000Z\npwdAccountLockedTime: 000001010000Z"),
            ("boss", "people", "pwdChangedTime: 20260105090000Z"),
            ("odd", "people", "pwdChangedTime: yesterday"),
            ("twin", "people", "pwdChangedTime: 20260105090000Z"),
            ("twin", "alumni", "pwdChangedTime: 20260105090000Z"),
        ] {
            ldif += &format!(
                "\ndn: uid={login},ou={unit},dc=x\nobjectClass: inetOrgPerson\nuid: {login}\ncn: {login} of x\nsn: x\n\
                 mail: {login}@example.org\nuserPassword: {hash}\n{more}\n"
            );
        }
        ldif += "\ndn: cn=ops,dc=x\nobjectClass: groupOfNames\ncn: ops\nmember: UID=boss, ou=people,dc=x\nmember: cn=admins,dc=x\n";
        ldif += "\ndn: cn=admins,dc=x\nobjectClass: groupOfNames\ncn: admins\nmember: cn=ops,dc=x\n";
        std::fs::write(folder.path().join("people.ldif"), ldif).unwrap();
        let directory = open(&folder.path().join("people.ldif"));
        Trial { folder, directory }
    }

    fn open(file: &std::path::Path) -> Directory {
        let text = format!(
            "[[directory]]\nkind = \"ldif\"\nfile = {file:?}\nbase = \"dc=x\"\n[directory.markers]\n\
             disabled = [\"employeeType=disabled\"]\n"
        );
        let document = Document::parse(&text);
        let root = document.root();
        let config = DirectoryConfig::read(root.sections("directory").pop().unwrap(), None);
        root.finish();
        assert_eq!(document.into_faults(), []);
        Directory::open(&config, DirectoryKey(1)).unwrap()
    }

    fn rules() -> Rules {
        let document = Document::parse("[policy]\nprivileged_groups = [\"cn=admins,dc=x\"]\n");
        let rules = Rules::read(document.root().section("policy"), true);
        assert_eq!(document.into_faults(), []);
        rules
    }

    impl Trial {
        async fn account(&self, login: &str) -> Account {
            match self.directory.find(&Login::parse(login).unwrap(), NOW).await.unwrap() {
                Found::Account(account) => *account,
                other => panic!("{login}: {other:?}"),
            }
        }

        fn file(&self) -> PathBuf {
            self.folder.path().join("people.ldif")
        }

        fn text(&self) -> String {
            std::fs::read_to_string(self.file()).unwrap()
        }
    }

    fn accepted(account: &Account, text: &str) -> AcceptedPassword {
        let rules = rules();
        accept(NewPassword::parse(text).unwrap(), account, &rules.password).map_err(|_| "weak").unwrap()
    }

    fn by_link(account: &Account, text: &str) -> Permit {
        let Eligibility::Allow(terms) = judge(account, &Facts::default(), Act::SelfReset, None, &rules(), NOW) else {
            panic!("not eligible: {:?}", account.standing)
        };
        let ticket = Ticket {
            id: rekeyd_core::domain::TicketId::from_bytes([1; 22]),
            purpose: Purpose::Reset,
            origin: rekeyd_core::domain::Origin::Person,
            account: account.id.clone(),
            login: account.login.clone(),
            contact: rekeyd_core::domain::AddressHash([0; 32]),
            stamp: Stamp::new(account.stamp.as_str(), None),
            key: rekeyd_core::domain::KeyId([0; 4]),
            profile: None,
            issued: NOW,
            expires: None,
            tries: 0,
        };
        let claimed = Claimed::witness(ticket, 1).unwrap();
        Permit::new(terms, accepted(account, text), Mandate::Ticket(claimed), false).unwrap()
    }

    #[tokio::test]
    async fn p2_each_person_stands_as_the_file_says() {
        let trial = trial();
        for (login, findings) in [
            ("ada", &[][..]),
            ("ADA@example.org", &[]),
            ("noether", &[Finding::NeverActivated]),
            ("hopper", &[Finding::Expired]),
            ("turing", &[Finding::Disabled]),
            ("locked", &[Finding::LockedByAdmin]),
            ("odd", &[Finding::Unknown]),
        ] {
            let account = trial.account(login).await;
            let found: Vec<_> = account.standing.evidence().iter().map(|evidence| evidence.finding).collect();
            assert_eq!(found, findings, "{login}");
        }
        let boss = trial.account("boss").await;
        assert!(rules().privilege(&boss).is_some());
        for login in ["twin", "twin@example.org"] {
            let found = trial.directory.find(&Login::parse(login).unwrap(), NOW).await.unwrap();
            assert!(matches!(found, Found::Ambiguous(ids) if ids.len() == 2));
        }
        for login in ["nobody", "*", "ops", "ada)"] {
            let found = trial.directory.find(&Login::parse(login).unwrap(), NOW).await.unwrap();
            assert!(matches!(found, Found::NotFound), "{login}");
        }
    }

    #[tokio::test]
    async fn p1_a_password_is_replaced_once_and_the_old_one_works_until_then() {
        let trial = trial();
        let account = trial.account("ada").await;
        let verify =
            async |text: &str| trial.directory.verify(&account, &NewPassword::parse(text).unwrap()).await.unwrap();
        assert_eq!(verify(OLD).await, Verified::Right);
        let (mandate, written) = trial.directory.write(by_link(&account, NEW)).await;
        assert!(matches!(mandate, Mandate::Ticket(_)));
        assert!(matches!(written, Written::Done { .. }), "{written:?}");
        assert_eq!((verify(OLD).await, verify(NEW).await), (Verified::Wrong, Verified::Right));
        assert!(!trial.text().contains(NEW));
        let settled = trial.directory.settle(&account.id, &account.stamp, "", NOW).await.unwrap();
        assert_eq!(settled, Settled::Changed);
        // What was read before is stale now.
        assert!(matches!(
            trial.directory.write(by_link(&account, "another one entirely, friend")).await.1,
            Written::Stale
        ));
        let Found::Account(again) = trial.directory.read(&account.id, NOW).await.unwrap() else { panic!("gone") };
        let written = trial.directory.write(by_link(&again, OLD)).await.1;
        assert!(matches!(written, Written::Rejected(Rejection::InHistory, _)), "{written:?}");
    }

    #[tokio::test]
    async fn t41_an_administrators_lock_between_reading_and_writing_is_not_erased() {
        let trial = trial();
        for (login, from, to) in [
            ("ada", "uid: ada\n", "uid: ada\npwdAccountLockedTime: 000001010000Z\n"),
            ("boss", "uid: boss\n", "uid: boss\nemployeeType: disabled\n"),
        ] {
            let account = trial.account(login).await;
            let Eligibility::Allow(terms) =
                judge(&account, &Facts::default(), Act::ReplacePassword, Some(Rank::Owner), &rules(), NOW)
            else {
                panic!("{login}")
            };
            let root = Operator::rank(0, "root".into(), &[], None).unwrap();
            let mandate = Mandate::Operator(root.authorize(Verb::SetPassword, &terms).unwrap());
            let permit = Permit::new(terms, accepted(&account, NEW), mandate, true).unwrap();
            let edited = trial.text().replace(from, to);
            std::fs::write(trial.file(), &edited).unwrap();
            assert!(matches!(trial.directory.write(permit).await.1, Written::Stale), "{login}");
            assert_eq!(trial.text(), edited);
        }
    }

    #[tokio::test]
    async fn an_operators_password_must_be_changed() {
        let trial = trial();
        let account = trial.account("ada").await;
        let Eligibility::Allow(terms) =
            judge(&account, &Facts::default(), Act::ReplacePassword, Some(Rank::Owner), &rules(), NOW)
        else {
            panic!("ada")
        };
        let root = Operator::rank(0, "root".into(), &[], None).unwrap();
        let mandate = Mandate::Operator(root.authorize(Verb::SetPassword, &terms).unwrap());
        let permit = Permit::new(terms, accepted(&account, NEW), mandate, true).unwrap();
        assert!(matches!(trial.directory.write(permit).await.1, Written::Done { .. }));
        let verified = trial.directory.verify(&account, &NewPassword::parse(NEW).unwrap()).await.unwrap();
        assert_eq!(verified, Verified::RightButMustChange);
        assert!(trial.account("ada").await.standing.has(Finding::MustChange));
    }

    async fn probes(directory: &Directory) -> Vec<Probe> {
        let Directory::Ldif(ldif) = directory else { panic!("no LDIF") };
        ldif.probe(NOW).await
    }

    #[tokio::test]
    async fn a_broken_file_is_said_in_words() {
        let trial = trial();
        assert!(probes(&trial.directory).await.iter().any(|probe| probe.outcome.contains("uid=odd")));
        std::fs::write(trial.file(), "nonsense").unwrap();
        let error = trial.directory.find(&Login::parse("ada").unwrap(), NOW).await.err();
        assert!(matches!(error, Some(Error::Misconfigured(why)) if why.contains("line 1")));
        assert!(!trial.directory.is_up());
        assert!(probes(&trial.directory).await.iter().any(|probe| probe.grade == Grade::Broken));
    }
}
