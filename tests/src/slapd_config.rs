//! How a slapd of the tests is set up: its schema, its overlays, and who may read and write what.

use std::path::Path;

use crate::{
    slapd::{ADMIN, ADMIN_PASSWORD, CANARY, SERVICE, SUFFIX, Variant},
    tls,
};

/// What is special about a server, in the words of its configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Special {
    /// For the whole server: modules, its number.
    pub(crate) whole: String,
    /// For the database of people: overlays, where it is copied from.
    pub(crate) people: String,
}

/// The text of the file `slapd.conf` of a server that keeps everything in a folder.
pub(crate) fn text(variant: Variant, special: &Special, folder: &Path) -> String {
    let folder = folder.display();
    let (authority, server) = (tls::authority().display(), tls::server());
    let (certificate, key) = (server.certificate.display(), server.key.display());
    let user = nix::unistd::getuid();
    let group = nix::unistd::getgid();
    let overlays = match variant {
        Variant::Bare => String::new(),
        Variant::Policy => format!(
            "overlay memberof\noverlay ppolicy\nppolicy_default cn=default,ou=policies,{SUFFIX}\n\
             ppolicy_hash_cleartext\nppolicy_use_lockout\n"
        ),
    };
    format!(
        r#"
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload accesslog
{modules}{whole}TLSCACertificateFile {authority}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
password-hash {{SSHA}}
sizelimit 2000
authz-regexp "gidNumber={group}\\+uidNumber={user},cn=peercred,cn=external,cn=auth" "{SERVICE}"

database config
rootdn cn=config
rootpw {ADMIN_PASSWORD}

# The access log must come before the database that logs into it.
database mdb
suffix cn=accesslog
directory {folder}/log
rootdn cn=accesslog
rootpw {ADMIN_PASSWORD}
maxsize 1073741824
dbnosync
index reqStart,reqType,reqDN,reqAuthzID,reqResult eq
index objectClass eq

database mdb
suffix {SUFFIX}
rootdn {ADMIN}
rootpw {ADMIN_PASSWORD}
directory {folder}/db
maxsize 1073741824
dbnosync
index objectClass,uid,mail,member,entryUUID,entryCSN{index} eq
# Nobody can tell the state of one called "veiled": what it rests on is hidden from the daemon.
access to dn.regex="^uid=veiled," attrs=entryUUID{state}
  by dn.exact="{SERVICE}" none by * none
access to dn.exact="{CANARY}" attrs=userPassword
  by dn.exact="{SERVICE}" write by self =xw by anonymous auth by * none
access to attrs=userPassword
  by dn.exact="{SERVICE}" =xw by self =xw by anonymous auth by * none
{veil}{reset_rule}access to *
  by dn.exact="{SERVICE}" read by self read by users =x by * none
{overlays}{people}
overlay accesslog
logdb cn=accesslog
logops writes session
logsuccess FALSE
"#,
        whole = special.whole,
        people = special.people,
        // What may be searched for and not be read: that it is there can't be seen, and that it is not can't be proved.
        veil = match variant {
            Variant::Bare => String::new(),
            Variant::Policy => format!(
                "access to dn.regex=\"^uid=gauze,\" attrs=pwdAccountLockedTime\n  by dn.exact=\"{SERVICE}\" search by * none\n"
            ),
        },
        // A server without a policy does not know its attributes either.
        modules = match variant {
            Variant::Bare => "",
            Variant::Policy => "moduleload ppolicy\nmoduleload memberof\n",
        },
        index = match variant {
            Variant::Bare => "",
            Variant::Policy => ",memberOf",
        },
        state = match variant {
            Variant::Bare => "",
            Variant::Policy => ",memberOf,pwdAccountLockedTime,pwdChangedTime,pwdEndTime,pwdReset,pwdStartTime",
        },
        reset_rule = match variant {
            Variant::Bare => String::new(),
            // Less than "manage" can not write it; it makes nobody a password administrator.
            Variant::Policy =>
                format!("access to attrs=pwdReset\n  by dn.exact=\"{SERVICE}\" manage by self read by * none\n"),
        },
    )
}
