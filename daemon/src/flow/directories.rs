//! Several directories behind one daemon: whose login it is, and by which rules its account is judged.
//!
//! A login that one directory's rule claims is asked of that one alone. Where none claims it, the directories are asked in
//! their order, and the first that knows it is it. One that can't answer ends the search: another must not answer for it,
//! since the login may be its own. An account that is known already is asked of its own directory by the key that rekeyd
//! gave it, so that neither names nor order matter to it any more.

use rekeyd_core::domain::{AccountId, DirectoryKey, Login, Timestamp};
use rekeyd_core::policy::claims::{Asked, Claims, asked};
use rekeyd_core::policy::rules::Rules;

use super::trouble::Trouble;
use crate::directory::{Directory, Error, Found};

/// A directory, with what it claims and the rules that its accounts are judged by.
pub struct Governed {
    /// The directory.
    pub directory: Directory,
    /// Which logins are its own.
    pub claims: Claims,
    /// The rules for its accounts: the general ones, with what it has of its own.
    pub rules: Rules,
    /// Whether the doctor looks at it once a day.
    pub looked_after: bool,
}

/// The directories, in the order in which they are asked.
pub struct Directories(Vec<Governed>);

/// Whom an operator means: somebody in whatever directory knows the login, or in the one that is named.
pub struct Whom {
    /// What was typed.
    pub login: Login,
    /// A directory's name in the configuration.
    pub directory: Option<String>,
}

/// How closely an account is looked at.
#[derive(Clone, Copy)]
pub(super) enum Look {
    /// See [`Directory::glance`].
    Glance,
    /// See [`Directory::find`].
    Whole,
}

impl Directories {
    /// Puts them in their order.
    pub fn new(all: Vec<Governed>) -> Self {
        Self(all)
    }

    /// Each, in order.
    pub(super) fn all(&self) -> &[Governed] {
        &self.0
    }

    /// The directory of an account.
    ///
    /// # Errors
    /// It is not in the configuration any more. What belongs to it is kept until it is back.
    pub(super) fn of(&self, account: &AccountId) -> Result<&Governed, Trouble> {
        self.with(account.directory)
    }

    /// The directory of this key; fails as [`Self::of`] does.
    pub(super) fn with(&self, key: DirectoryKey) -> Result<&Governed, Trouble> {
        self.all().iter().find(|one| one.directory.key() == key).ok_or(Trouble::Removed(key))
    }

    /// Finds the one account that a login means.
    pub(super) async fn find(&self, login: &Login, look: Look, now: Timestamp) -> Result<Found, Trouble> {
        match asked(self.all().iter().map(|one| &one.claims), login) {
            Asked::Contested(_) => Ok(Found::Ambiguous(Vec::new())),
            Asked::Only(place) => match self.0.get(place) {
                Some(one) => self.ask(one, login, look, now).await,
                None => Ok(Found::NotFound),
            },
            Asked::InOrder => {
                for one in self.all() {
                    let found = self.ask(one, login, look, now).await?;
                    if !matches!(found, Found::NotFound) {
                        return Ok(found);
                    }
                }
                Ok(Found::NotFound)
            }
        }
    }

    /// Finds the account that a login means in one directory, whatever others claim.
    pub(super) async fn find_in(&self, key: DirectoryKey, login: &Login, now: Timestamp) -> Result<Found, Trouble> {
        self.ask(self.with(key)?, login, Look::Whole, now).await
    }

    /// Finds the account that an operator means. Who helps somebody must not help a namesake: where another directory
    /// knows the login as well, they name the one they mean.
    pub(super) async fn find_for(&self, whom: &Whom, now: Timestamp) -> Result<Found, Trouble> {
        if let Some(name) = &whom.directory {
            let named = self.all().iter().find(|one| one.directory.name() == name);
            let one = named.ok_or_else(|| Trouble::NoSuchDirectory(name.clone()))?;
            return self.ask(one, &whom.login, Look::Whole, now).await;
        }
        let found = self.find(&whom.login, Look::Whole, now).await?;
        let Found::Account(account) = &found else { return Ok(found) };
        let mut others = self.elsewhere(&whom.login, &account.id, now).await;
        if others.is_empty() {
            return Ok(found);
        }
        others.insert(0, account.id.clone());
        Ok(Found::Ambiguous(others))
    }

    /// The accounts of other directories that the same login would mean if it were asked of them. One that does not answer is
    /// passed over: in the order of directories it is not its turn.
    pub(super) async fn elsewhere(&self, login: &Login, found: &AccountId, now: Timestamp) -> Vec<AccountId> {
        if asked(self.all().iter().map(|one| &one.claims), login) != Asked::InOrder {
            return Vec::new();
        }
        let mut others = Vec::new();
        for one in self.all().iter().filter(|one| one.directory.key() != found.directory) {
            match self.ask(one, login, Look::Glance, now).await {
                Ok(Found::Account(account)) => others.push(account.id),
                Ok(Found::Ambiguous(ids)) => others.extend(ids),
                Ok(Found::NotFound) => {}
                Err(trouble) => log::info!(event = "directory-passed-over"; "a namesake may be missed: {trouble}"),
            }
        }
        others
    }

    /// An account as operators read it: the directory's name and the stable id.
    pub(super) fn words(&self, account: &AccountId) -> String {
        match self.of(account) {
            Ok(one) => format!("{}:{}", one.directory.name(), account.stable),
            Err(_) => account.to_string(),
        }
    }

    async fn ask(&self, one: &Governed, login: &Login, look: Look, now: Timestamp) -> Result<Found, Trouble> {
        let login = one.claims.stripped(login);
        let found = match look {
            Look::Glance => one.directory.glance(&login, now).await,
            Look::Whole => one.directory.find(&login, now).await,
        };
        found.map_err(|error| Trouble::Directory(self.named(one, error)))
    }

    /// Says which directory it was, where there are several.
    pub(super) fn named(&self, one: &Governed, error: Error) -> Error {
        if self.0.len() < 2 {
            return error;
        }
        let name = one.directory.name();
        match error {
            Error::Misconfigured(why) => Error::Misconfigured(format!("{name}: {why}")),
            Error::Unavailable(why) => Error::Unavailable(format!("{name}: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use rekeyd_core::settings::Document;
    use tempfile::TempDir;

    use super::*;
    use crate::directory::DirectoryConfig;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn login(text: &str) -> Login {
        Login::parse(text).unwrap()
    }

    /// A directory in a file, of people by login and id; with none the file is not there.
    fn governed(folder: &Path, name: &str, keys: &str, people: &[(&str, &str)], key: u32) -> Governed {
        let entry = |(login, id): &(&str, &str)| {
            format!("dn: cn={id},dc=x\nobjectClass: person\ncn: {id}\nsn: x\nuid: {login}\nentryUUID: {id}\n\n")
        };
        let file = folder.join(format!("{name}.ldif"));
        if !people.is_empty() {
            let text: String = people.iter().map(entry).collect();
            std::fs::write(&file, format!("dn: dc=x\nobjectClass: domain\ndc: x\n\n{text}")).unwrap();
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        let text = format!("[[directory]]\nname = {name:?}\nkind = \"ldif\"\nfile = {file:?}\nbase = \"dc=x\"\n{keys}");
        let document = Document::parse(&text);
        let section = document.root().sections("directory").pop().unwrap();
        let claims = Claims::read(&section);
        let config = DirectoryConfig::read(section, None);
        assert_eq!(document.into_faults(), []);
        let directory = Directory::open(&config, DirectoryKey(key)).unwrap();
        Governed { directory, claims, rules: Rules::default(), looked_after: false }
    }

    fn three(folder: &TempDir) -> Directories {
        let pupils = "login_prefixes = ['PUPILS\\']\nlogin_suffixes = [\"@pupils\"]\nstrip_suffixes = true\n";
        Directories::new(vec![
            governed(folder.path(), "staff", "", &[("ada", "s1"), ("twin", "s2"), ("twin", "s3")], 1),
            governed(folder.path(), "pupils", pupils, &[("ada", "p1"), ("bob", "p2"), ("twin", "p3")], 2),
            governed(folder.path(), "guests", "login_suffixes = [\"!\"]\n", &[("bob", "g1"), ("eve", "g2")], 3),
        ])
    }

    /// What was found, in a word.
    fn word(found: Result<Found, Trouble>) -> String {
        match found {
            Ok(Found::Account(account)) => account.id.to_string(),
            Ok(Found::Ambiguous(ids)) => {
                format!("ambiguous {}", ids.iter().map(ToString::to_string).collect::<String>())
            }
            Ok(Found::NotFound) => "nobody".into(),
            Err(trouble) => trouble.to_string(),
        }
    }

    #[tokio::test]
    async fn a_login_is_the_ones_that_claims_it_or_the_firsts_that_knows_it() {
        let folder = tempfile::tempdir().unwrap();
        let all = three(&folder);
        for (typed, id) in [
            ("ada", "1:s1"),
            ("bob", "2:p2"),
            ("eve", "3:g2"),
            ("nobody", "nobody"),
            // Two in an earlier one are not made one by a later one.
            ("twin", "ambiguous 1:s21:s3"),
            ("ada@pupils", "2:p1"),
            ("pupils\\ADA", "2:p1"),
            ("PUPILS\\twin@PUPILS", "2:p3"),
            // Claimed, and unknown where it is claimed: no other is asked.
            ("eve@pupils", "nobody"),
            ("bob!", "nobody"),
            // Claimed by two.
            ("PUPILS\\bob!", "ambiguous "),
        ] {
            for look in [Look::Glance, Look::Whole] {
                assert_eq!(word(all.find(&login(typed), look, NOW).await), id, "{typed}");
            }
        }
    }

    #[tokio::test]
    async fn t51_one_that_can_not_answer_ends_the_search_and_shuts_out_nobody_who_is_known_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let all = three(&folder);
        let file = folder.path().join("pupils.ldif");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(word(all.find(&login("ada"), Look::Whole, NOW).await), "1:s1", "its turn came before");
        for typed in ["bob", "eve", "nobody", "ada@pupils"] {
            let told = word(all.find(&login(typed), Look::Whole, NOW).await);
            assert!(told.contains("pupils: "), "{typed}: {told}");
        }
        assert_eq!(word(all.find(&login("bob!"), Look::Whole, NOW).await), "nobody", "another's own");
        assert_eq!(word(all.find_in(DirectoryKey(3), &login("eve"), NOW).await), "3:g2");
    }

    #[tokio::test]
    async fn an_operator_means_one_account() {
        let folder = tempfile::tempdir().unwrap();
        let all = three(&folder);
        let found = async |typed: &str, directory: Option<&str>| {
            let whom = Whom { login: login(typed), directory: directory.map(str::to_owned) };
            word(all.find_for(&whom, NOW).await)
        };
        assert_eq!(found("ada", None).await, "ambiguous 1:s12:p1");
        assert_eq!(found("bob", None).await, "ambiguous 2:p23:g1");
        assert_eq!(found("eve", None).await, "3:g2");
        assert_eq!(found("ada@pupils", None).await, "2:p1", "the rule says whose it is");
        assert_eq!(found("ada", Some("staff")).await, "1:s1");
        assert_eq!(found("ada", Some("pupils")).await, "2:p1");
        assert_eq!(found("bob", Some("guests")).await, "3:g1");
        assert_eq!(found("eve", Some("staff")).await, "nobody");
        assert!(found("eve", Some("nowhere")).await.contains("nowhere"));
        let ada = AccountId { directory: DirectoryKey(1), stable: "s1".into() };
        assert_eq!(all.elsewhere(&login("ada"), &ada, NOW).await.len(), 1);
        assert!(all.elsewhere(&login("ada@pupils"), &ada, NOW).await.is_empty());
        std::fs::remove_file(folder.path().join("guests.ldif")).unwrap();
        assert_eq!(found("bob", None).await, "2:p2", "its turn comes after");
    }

    #[test]
    fn an_account_whose_directory_is_gone_has_an_outcome_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let all = three(&folder);
        let of = |key| AccountId { directory: DirectoryKey(key), stable: "s1".into() };
        assert!(all.of(&of(2)).is_ok_and(|one| one.directory.name() == "pupils"));
        assert!(matches!(all.of(&of(9)), Err(Trouble::Removed(DirectoryKey(9)))));
        assert_eq!((all.words(&of(2)), all.words(&of(9))), ("pupils:s1".into(), "9:s1".into()));
    }
}
