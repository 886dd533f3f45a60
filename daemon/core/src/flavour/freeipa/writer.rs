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
        let remedy = "run `ipa sysaccount-policy NAME --privileged=true` for rekeyd's system account, and see that \
                      SysAcctManagersDNs lists it on every server that rekeyd writes to";
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
