//! What FreeIPA's password plugin takes a writer for: by two lists in its own settings, which every server keeps for
//! itself.

use crate::domain::Dn;
use crate::flavour::entry::Entry;

/// The plugin's settings, on each server.
pub const PLUGIN: &str = "cn=ipa_pwd_extop,cn=plugins,cn=config";

/// The two lists in [`PLUGIN`].
pub const LISTS: [&str; 2] = ["SysAcctManagersDNs", "passSyncManagersDNs"];

/// What the plugin takes a writer of other people's passwords for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Writer {
    /// Anybody on neither list: the password has expired at once, and the policy on its quality is not looked at.
    Admin,
    /// The Directory Manager or an account in `passSyncManagersDNs`: the password stands, and no policy is looked at.
    DsManager,
    /// An account in `SysAcctManagersDNs`: the policy holds as for the person, and the password stands.
    SysAccount,
    /// The lists can't be read, for this reason.
    Unknown(String),
}

impl Writer {
    /// What an account is to the plugin, by the plugin's settings as read on one server; `None` where they can't be.
    /// `searchable` says that it is proved that the lists would be seen if they were there.
    pub fn of(own: &Dn, settings: Option<&Entry>, searchable: bool) -> Self {
        if own.as_str() == "cn=directory manager" {
            return Self::DsManager;
        }
        let Some(settings) = settings else { return Self::Unknown(format!("{PLUGIN} can't be read")) };
        let lists =
            |name: &str| settings.texts(name).any(|listed| Dn::parse(listed).is_ok_and(|listed| listed == *own));
        match (lists("SysAcctManagersDNs"), lists("passSyncManagersDNs")) {
            // On both lists the one that skips the policy is the safer belief.
            (_, true) => Self::DsManager,
            (true, false) => Self::SysAccount,
            (false, false) if searchable => Self::Admin,
            (false, false) => Self::Unknown(format!("the lists in {PLUGIN} can't be seen")),
        }
    }

    /// Why it may not write what a person chose, with the command that mends it; `None` where it may.
    pub fn obstacle(&self) -> Option<String> {
        let remedy = "run `ipa sysaccount-policy NAME --privileged=true` for rekeyd's system account, see that \
                      SysAcctManagersDNs lists it on every server that rekeyd writes to, and restart their directory \
                      servers";
        match self {
            Self::SysAccount => None,
            Self::Admin => Some(format!(
                "FreeIPA would take rekeyd for an administrator, and the person would have to choose a second password \
                 at once: {remedy}"
            )),
            Self::DsManager => Some(format!("FreeIPA would look at no password policy for rekeyd's account: {remedy}")),
            Self::Unknown(why) => {
                Some(format!("it is not known what FreeIPA takes rekeyd's account for ({why}): {remedy}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::domain::EntryName;

    #[test]
    fn t70_who_writes_decides_what_becomes_of_a_password() {
        let own = Dn::parse("uid=rekeyd,cn=sysaccounts,cn=etc,dc=example,dc=org").unwrap();
        let settings = |lists: &[(&str, &str)]| {
            let mut entry = Entry::new(EntryName(PLUGIN.into()));
            for (name, value) in lists {
                entry.add(name, *value);
            }
            entry
        };
        let spelled = "UID=rekeyd, cn=sysaccounts,cn=etc,dc=Example,dc=org";
        for (settings, searchable, expected) in [
            (Some(settings(&[(LISTS[0], spelled)])), true, Writer::SysAccount),
            (Some(settings(&[(LISTS[1], spelled)])), true, Writer::DsManager),
            (Some(settings(&[(LISTS[0], spelled), (LISTS[1], spelled)])), true, Writer::DsManager),
            (Some(settings(&[(LISTS[0], "uid=other,cn=sysaccounts,cn=etc,dc=example,dc=org")])), true, Writer::Admin),
            (Some(settings(&[])), true, Writer::Admin),
        ] {
            assert_eq!(Writer::of(&own, settings.as_ref(), searchable), expected);
        }
        let unseen = Writer::of(&own, Some(&settings(&[])), false);
        assert!(matches!(unseen, Writer::Unknown(_)));
        assert!(matches!(Writer::of(&own, None, true), Writer::Unknown(_)));
        assert_eq!(Writer::of(&Dn::parse("CN=Directory Manager").unwrap(), None, false), Writer::DsManager);

        assert_eq!(Writer::SysAccount.obstacle(), None);
        for writer in [Writer::Admin, Writer::DsManager, unseen] {
            let why = writer.obstacle().unwrap_or_default();
            assert!(why.contains("ipa sysaccount-policy NAME --privileged=true"), "{why}");
        }
    }
}
