//! Who our account is to the server, and what of that is too much: an administrator, of everything or of passwords, and one
//! who is shown what nobody needs.

use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::freeipa::Writer;
use rekeyd_core::flavour::product::Product;
use rekeyd_core::flavour::remedy::Place;

use super::seen::Chart;
use crate::directory::ldap::nature::{self, Nature};
use crate::directory::ldap::wire::{Failure, Link};
use crate::directory::probe::{Cause, Grade, Probe};

/// Whether the hashes of people's passwords are shown to us.
pub(super) async fn readable_passwords(
    nature: &Nature,
    link: &mut Link,
    sample: &Entry,
    place: &Place,
    to: &mut Chart<'_>,
) -> Result<(), Failure> {
    if nature.flavour.product() == Product::ActiveDirectory {
        // They are shown to nobody there.
        return Ok(());
    }
    let names = ["userPassword".to_owned(), "pwdHistory".to_owned(), "passwordHistory".to_owned()];
    let Some(entry) = nature::entry(link, &sample.name().0, &names).await? else { return Ok(()) };
    let shown: Vec<&str> = names.iter().map(String::as_str).filter(|name| entry.has(name)).collect();
    if shown.is_empty() {
        to.add(Probe::fine("rights", "no hash of a password can be read"));
        return Ok(());
    }
    let access = |access| place.access(&place.base, &shown, access);
    let command = match nature.flavour.product() {
        Product::OpenLdap if shown == ["userPassword"] => access("=xw"),
        Product::OpenLdap => access("none"),
        _ => access("noread"),
    };
    to.add(
        Probe::found(
            Cause::PasswordsReadable,
            Grade::Note,
            "rights",
            format!("{} may read {} of {}", place.own, shown.join(", "), sample.name().0),
        )
        .mended_by("Take the right to read it away: rekeyd needs no hash of anybody's password.")
        .with(command),
    );
    Ok(())
}

/// What `FreeIPA`'s password plugin takes us for.
pub(super) fn taken_for(writer: &Writer, to: &mut Chart<'_>) {
    let cause = match writer {
        Writer::SysAccount => None,
        Writer::Admin => Some(Cause::TakenForAdministrator),
        Writer::DsManager => Some(Cause::TakenForManager),
        Writer::Unknown(_) => Some(Cause::TakenForUnknown),
    };
    match cause.zip(writer.obstacle()) {
        Some((cause, why)) => to.add(
            Probe::found(cause, Grade::Broken, "rights", why)
                .mended_by(
                    "Run it on one server, see on every server that rekeyd writes to that the list has it, since \
                     cn=config is not replicated, and restart their directory servers.",
                )
                .with(
                    "ipa sysaccount-policy rekeyd --privileged=true\n\
                     ldapsearch -LLL -D 'cn=Directory Manager' -W -b cn=ipa_pwd_extop,cn=plugins,cn=config -s base \
                     SysAcctManagersDNs\nsystemctl restart dirsrv.target\n"
                        .to_owned(),
                ),
        ),
        None => to.add(Probe::fine("rights", "the server holds our writes to the policy, and lets the password stand")),
    }
}

pub(super) fn all_powerful(words: String) -> Probe {
    Probe::found(Cause::AllPowerful, Grade::Broken, "rank", words).mended_by(
        "Make an account of rekeyd's own with the rights in config/ (openldap-acl.ldif, ds389-acl.ldif) and name it as \
         `bind_dn`; for this one the server checks neither quality nor history.",
    )
}

pub(super) fn password_administrator(words: String, command: Option<String>) -> Probe {
    Probe::found(Cause::PasswordAdministrator, Grade::Broken, "rank", words)
        .mended_by(
            "Make it an ordinary writer of passwords: for an administrator of passwords the server checks neither \
                    quality nor history, and people could set whatever they like.",
        )
        .with(command)
}
