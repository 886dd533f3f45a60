//! Every `[[directory]]`: what it is, which logins it claims, and the policy for its accounts; and the checks across them.

use rekeyd_core::domain::{DirectoryKey, Dn};
use rekeyd_core::policy::claims::Claims;
use rekeyd_core::policy::rules::Rules;
use rekeyd_core::settings::{Fault, Section};

use crate::directory::{Directory, DirectoryConfig};
use crate::flow::Governed;

/// The name of a directory that has none.
const UNNAMED: &str = "directory";

/// One `[[directory]]`.
#[derive(Clone, Debug)]
pub struct ConfiguredDirectory {
    /// The directory itself.
    pub directory: DirectoryConfig,
    /// Which logins are its own.
    pub claims: Claims,
    /// The rules for its accounts: `[policy]`, with what its `[directory.policy]` says instead.
    pub rules: Rules,
    /// Whether the doctor looks at it once a day.
    pub looked_after: bool,
    /// Names that it had before.
    pub formerly: Vec<String>,
}

impl ConfiguredDirectory {
    /// Prepares the directory, with all that belongs to it.
    ///
    /// # Errors
    /// See [`Directory::open`].
    pub fn open(&self, key: DirectoryKey) -> Result<Governed, Fault> {
        let directory = Directory::open(&self.directory, key)?;
        Ok(Governed {
            directory,
            claims: self.claims.clone(),
            rules: self.rules.clone(),
            looked_after: self.looked_after,
        })
    }
}

/// Reads every directory, and the general policy, which theirs rest on.
pub(super) fn read(root: &Section<'_>) -> (Vec<ConfiguredDirectory>, Rules) {
    let sections = root.sections("directory");
    if sections.is_empty() && !root.has("directory") {
        root.fault("directory", "there is no directory", "Add one [[directory]] section.");
    }
    let policies: Vec<_> = sections.iter().map(|section| section.section("policy")).collect();
    // An inherited list names the groups of some other directory, or none where nobody thought of this one.
    let each_names_its_own = !policies.is_empty() && policies.iter().all(|policy| policy.has("privileged_groups"));
    let rules = Rules::read(root.section("policy"), !each_names_its_own);
    let names: Vec<_> = sections.iter().map(|one| one.text("name").unwrap_or_else(|| UNNAMED.into())).collect();
    let mut all: Vec<ConfiguredDirectory> = Vec::new();
    for (section, policy) in sections.into_iter().zip(policies) {
        let claims = Claims::read(&section);
        check_claims(&section, &claims, &all);
        let formerly = section.texts("formerly").unwrap_or_default();
        let looked_after = section.choice("doctor", &[("daily", true), ("off", false)], true);
        check_names(&section, &names, all.len(), &formerly);
        let groups = GroupLines::of(root, &policy);
        let own = rules.of_directory(policy);
        let mut directory = DirectoryConfig::read(section, super::credentials().as_deref());
        directory.heed(&own);
        groups.check(&directory, &own);
        all.push(ConfiguredDirectory { directory, claims, rules: own, looked_after, formerly });
    }
    (all, rules)
}

fn check_claims(section: &Section<'_>, claims: &Claims, before: &[ConfiguredDirectory]) {
    if let Some(key) = before.iter().find_map(|one| claims.overlap(&one.claims)) {
        section.fault(
            key,
            "another directory claims some of the same logins, which would then be nobody's",
            "Leave each beginning and end to one directory.",
        );
    }
}

fn check_names(section: &Section<'_>, names: &[String], place: usize, formerly: &[String]) {
    let Some(name) = names.get(place) else { return };
    if names.iter().take(place).any(|other| other.eq_ignore_ascii_case(name)) {
        let remedy = "Give each directory a name of its own, and never change it.";
        section.fault("name", "another directory has this name", remedy);
    }
    if formerly.iter().any(|former| names.contains(former)) {
        section.fault("formerly", "a directory is called that now", "Name only what this directory was called before.");
    }
}

/// Where the groups of a directory's rules are written, for faults: in its own policy, or in the general one.
struct GroupLines<'d> {
    privileged: Section<'d>,
    profiles: Section<'d>,
}

impl<'d> GroupLines<'d> {
    fn of(root: &Section<'d>, own: &Section<'d>) -> Self {
        let whose = |key| if own.has(key) { own.again() } else { root.section("policy") };
        Self { privileged: whose("privileged_groups"), profiles: whose("profile") }
    }

    /// Faults of groups that verdicts rest on and that the search for groups would never find, so that their members would
    /// count as nobody special.
    fn check(&self, directory: &DirectoryConfig, rules: &Rules) {
        // A file may have no base: all of it is searched then.
        let Ok(base) = Dn::parse(&directory.search.group_base.0) else { return };
        let of_profiles = rules.profiles.iter().flat_map(|profile| &profile.groups);
        let of_profiles = of_profiles.map(|group| (&self.profiles, "profile", group));
        let privileged = rules.privileged_groups.iter().map(|group| (&self.privileged, "privileged_groups", group));
        for (section, key, group) in privileged.chain(of_profiles) {
            if *group != base && !group.is_below(&base) {
                section.fault(
                    key,
                    format!("{group} does not lie below {base}, where the directory {} looks for groups", directory.name),
                    "Set `group_base` of the directory to an entry that has all groups below it, or name its own groups \
                     in its [directory.policy].",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use rekeyd_core::settings::Document;

    use super::*;

    /// Two directories in files and what is written after the second, which is in line 8, and the general policy.
    fn examined(second: &str, policy: &str) -> (Vec<ConfiguredDirectory>, Vec<String>) {
        let text = format!(
            "[[directory]]\nname = \"staff\"\nkind = \"ldif\"\nfile = \"/x\"\nbase = \"dc=staff\"\n\
             login_suffixes = [\"@staff\"]\n[[directory]]\nkind = \"ldif\"\nfile = \"/y\"\nbase = \"dc=pupils\"\n\
             {second}\n[policy]\n{policy}\n"
        );
        let document = Document::parse(&text);
        let root = document.root();
        let (all, _) = read(&root);
        root.finish();
        let faults = document.into_faults().into_iter().map(|fault| format!("{} {}", fault.line, fault.key)).collect();
        (all, faults)
    }

    const STAFF: &str = "privileged_groups = [\"cn=admins,dc=staff\"]\nfreeze = \"2h\"\n";
    const PUPILS: &str = "[directory.policy]\nprivileged_groups = [\"cn=teachers,dc=pupils\"]\n";

    #[test]
    fn each_directory_has_its_rules_and_watches_the_groups_that_they_rest_on() {
        let (all, faults) =
            examined(&format!("{PUPILS}freeze = \"1h\"\n[directory.policy.contacts]\nrefuse_shared = true\n"), STAFF);
        assert_eq!(faults, [""; 0]);
        let freezes: Vec<_> = all.iter().map(|one| one.rules.freeze).collect();
        assert_eq!(freezes, [Duration::from_hours(2), Duration::from_hours(1)]);
        let groups = |place: usize| all.get(place).unwrap().directory.watched_groups.clone();
        assert_eq!(groups(0), [Dn::parse("cn=admins,dc=staff").unwrap()]);
        assert_eq!(groups(1), [Dn::parse("cn=teachers,dc=pupils").unwrap()]);
        let shared: Vec<_> = all.iter().map(|one| one.directory.search.detect_shared).collect();
        assert_eq!(shared, [false, true]);
    }

    #[test]
    fn t57_no_directory_stands_on_the_groups_of_another_or_on_none() {
        // Those of the first would never be found in the second: told where they are written.
        assert_eq!(examined("", STAFF).1, ["13 policy.privileged_groups"]);
        let profile = "[[policy.profile]]\nname = \"p\"\ngroups = [\"cn=g,dc=staff\"]\n";
        assert_eq!(examined(PUPILS, &format!("{STAFF}{profile}")).1, ["17 policy.profile"]);
        assert_eq!(examined(&format!("{PUPILS}profile = []\n"), &format!("{STAFF}{profile}")).1, [""; 0]);
        let own = PUPILS.replace("dc=pupils", "dc=elsewhere");
        assert_eq!(examined(&own, STAFF).1, ["12 directory.policy.privileged_groups"]);
        // One that names its own does not speak for the other.
        assert_eq!(examined(PUPILS, "").1, ["14 policy.privileged_groups"]);
        let first = examined(PUPILS, "").0;
        assert!(first.first().unwrap().rules.privileged_groups.is_empty());
    }

    #[test]
    fn directories_share_neither_name_nor_login() {
        for (second, faults) in [
            ("name = \"pupils\"\nlogin_suffixes = [\"@pupils\"]\n", vec![]),
            ("name = \"STAFF\"\n", vec!["11 directory.name"]),
            ("formerly = [\"staff\"]\n", vec!["11 directory.formerly"]),
            ("formerly = [\"people\"]\n", vec![]),
            ("login_suffixes = [\"pupils@STAFF\"]\n", vec!["11 directory.login_suffixes"]),
            ("login_prefixes = ['EX\\']\nlogin_sufixes = []\n", vec!["12 directory.login_sufixes"]),
        ] {
            assert_eq!(examined(&format!("{second}{PUPILS}"), STAFF).1, faults, "{second}");
        }
        let document = Document::parse("[policy]\nprivileged_groups = []\n");
        assert!(read(&document.root()).0.is_empty());
        assert_eq!(document.into_faults().len(), 1, "there must be one");
    }
}
