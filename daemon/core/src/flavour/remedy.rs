//! The commands that mend what is wrong with a directory, in the tools of each product, with the real names filled in. They
//! are for an administrator to read, paste and run; rekeyd runs none of them.

use crate::flavour::active_directory::sid::Sid;
use crate::flavour::product::Product;

/// What the commands are about.
#[derive(Clone, Debug)]
pub struct Place {
    /// The product.
    pub product: Product,
    /// Whether an Active Directory is Samba's.
    pub samba: bool,
    /// The server.
    pub url: String,
    /// Where people are.
    pub base: String,
    /// Where its data begins.
    pub suffix: String,
    /// Our own entry, or the one by which operators' passwords are set.
    pub own: String,
    /// Its identifier, where the product has such.
    pub sid: Option<Sid>,
}

/// The class of users, in access lists of Active Directory.
const USER: &str = "bf967aba-0de6-11d0-a285-00aa003049e2";

/// What our account may do, in access lists of Active Directory: the right, on what, and the same for `dsacls`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delegated {
    /// To have the password changed at the next sign-in.
    MustChange,
    /// To set it.
    Reset,
    /// To lift a lock by failures.
    Unlock,
}

impl Delegated {
    fn rule(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::MustChange => ("RPWP", "bf967a0a-0de6-11d0-a285-00aa003049e2", "RPWP;pwdLastSet;user"),
            Self::Reset => ("CR", "00299570-246d-11d0-a768-00aa006e0529", "CA;Reset Password;user"),
            Self::Unlock => ("RPWP", "28630ebf-41d5-11d1-a9c1-0000f80367c1", "RPWP;lockoutTime;user"),
        }
    }
}

impl Place {
    /// Lets our account do this, and no more, with some attributes of everything below an entry. `access` is in the words of
    /// OpenLDAP (`read`, `=xw`, `none`).
    pub fn access(&self, below: &str, attributes: &[&str], access: &str) -> Option<String> {
        match self.product {
            Product::OpenLdap => {
                let attributes =
                    if attributes.is_empty() { String::new() } else { format!(" attrs={}", attributes.join(",")) };
                let rule = format!(
                    "{{0}}to dn.subtree=\"{below}\"{attributes} by dn.exact=\"{}\" {access} by * break",
                    self.own
                );
                Some(self.of_the_database("add: olcAccess", &attribute("olcAccess", &rule)))
            }
            Product::Ds389 | Product::FreeIpa => {
                let (verb, rights) = match access {
                    "read" => ("allow", "read, search, compare"),
                    "=xw" => ("allow", "write"),
                    "noread" => ("deny", "read, search, compare"),
                    _ => ("deny", "write"),
                };
                let named = attributes.join(" || ");
                let rule = format!(
                    "(target=\"ldap:///{below}\")(targetattr=\"{named}\")(version 3.0; acl \"rekeyd: {verb} {rights}\"; \
                     {verb} ({rights}) userdn=\"ldap:///{}\";)",
                    self.own
                );
                Some(self.by_an_administrator(below, "add: aci", &attribute("aci", &rule)))
            }
            Product::ActiveDirectory => None,
        }
    }

    /// Gives an attribute of an entry, such as a password policy's, one value in the place of its others.
    pub fn set(&self, entry: &str, name: &str, value: &str) -> Option<String> {
        match self.product {
            Product::ActiveDirectory => None,
            Product::Ds389 | Product::FreeIpa | Product::OpenLdap => {
                Some(self.by_an_administrator(entry, &format!("replace: {name}"), &attribute(name, value)))
            }
        }
    }

    /// Takes one value of an attribute away.
    pub fn take(&self, entry: &str, name: &str, value: &str) -> Option<String> {
        match self.product {
            Product::ActiveDirectory => None,
            Product::Ds389 | Product::FreeIpa | Product::OpenLdap => {
                Some(self.by_an_administrator(entry, &format!("delete: {name}"), &attribute(name, value)))
            }
        }
    }

    /// Has OpenLDAP hash what comes in clear text.
    pub fn hashes(&self) -> String {
        let overlay = "sed -n 's/^dn: //p'";
        format!(
            "{}OVERLAY=$(ldapsearch -QLLL -Y EXTERNAL -H ldapi:/// -o ldif-wrap=no -b \"$DB\" \
             '(objectClass=olcPPolicyConfig)' dn | {overlay})\n{}",
            self.database(),
            ldif_through_sed(
                "OVERLAY",
                "changetype: modify\nreplace: olcPPolicyHashCleartext\nolcPPolicyHashCleartext: TRUE\n"
            )
        )
    }

    /// Lets our account have whole answers.
    pub fn whole_answers(&self) -> Option<String> {
        match self.product {
            Product::OpenLdap => {
                let limit = format!("{{0}}dn.exact=\"{}\" size=unlimited", self.own);
                Some(self.of_the_database("add: olcLimits", &attribute("olcLimits", &limit)))
            }
            Product::Ds389 | Product::FreeIpa => {
                let change = attribute("nsSizeLimit", "-1");
                Some(self.by_an_administrator(&self.own, "replace: nsSizeLimit", &change))
            }
            Product::ActiveDirectory => None,
        }
    }

    /// Delegates rights on all people to our account.
    pub fn delegate(&self, rights: &[Delegated]) -> String {
        let (below, on_windows, who) = (quoted(&self.base), windows(&self.base), self.principal());
        let rule = |right: &Delegated| {
            let (letters, on, words) = right.rule();
            match (&self.sid, self.samba) {
                (Some(sid), true) => {
                    format!("samba-tool dsacl set --objectdn={below} --sddl='(OA;CIIO;{letters};{on};{USER};{sid})'\n")
                }
                _ => format!("dsacls {on_windows} /I:S /G \"{who}:{words}\"\n"),
            }
        };
        rights.iter().map(rule).collect()
    }

    /// Takes our account out of a group of Active Directory.
    pub fn leave(&self, group: &str) -> String {
        if self.samba {
            format!("samba-tool group removemembers {} --member-dn={}\n", quoted(group), quoted(&self.own))
        } else {
            format!("Remove-ADGroupMember -Identity {} -Members {}\n", windows(group), windows(&self.own))
        }
    }

    /// Shows what the access list of all people gives our account, so that too much can be taken away.
    pub fn list(&self) -> String {
        match (&self.sid, self.samba) {
            (Some(sid), true) => {
                format!("samba-tool dsacl get --objectdn={} | tr '(' '\\n' | grep {sid}\n", quoted(&self.base))
            }
            _ => format!("dsacls {} | findstr /I \"{}\"\n", windows(&self.base), self.principal()),
        }
    }

    fn principal(&self) -> String {
        self.sid.as_ref().map_or_else(|| self.own.clone(), ToString::to_string)
    }

    /// Changes the database of OpenLDAP, as root on its machine.
    fn of_the_database(&self, change: &str, lines: &str) -> String {
        format!("{}{}", self.database(), ldif_through_sed("DB", &format!("changetype: modify\n{change}\n{lines}")))
    }

    fn database(&self) -> String {
        let filter = quoted(&format!("(olcSuffix={})", self.suffix));
        format!(
            "DB=$(ldapsearch -QLLL -Y EXTERNAL -H ldapi:/// -o ldif-wrap=no -b cn=config {filter} dn | \
             sed -n 's/^dn: //p')\n"
        )
    }

    fn by_an_administrator(&self, entry: &str, change: &str, lines: &str) -> String {
        let who = match self.product {
            Product::Ds389 | Product::FreeIpa => "\"cn=Directory Manager\"",
            Product::ActiveDirectory | Product::OpenLdap => "\"$ADMIN\"",
        };
        let which = if who.contains('$') { "ADMIN=...  # the name of your directory's administrator\n" } else { "" };
        let url = quoted(&self.url);
        let name = attribute("dn", entry);
        format!("{which}ldapmodify -x -D {who} -W -H {url} <<'END'\n{name}changetype: modify\n{change}\n{lines}END\n")
    }
}

/// One line of LDIF (RFC 2849): as it is, or in base64 where it would be taken for something else.
fn attribute(name: &str, value: &str) -> String {
    let plain = value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && !value.starts_with([' ', ':', '<']);
    if plain && !value.ends_with(' ') {
        format!("{name}: {value}\n")
    } else {
        format!("{name}:: {}\n", data_encoding::BASE64.encode(value.as_bytes()))
    }
}

fn ldif_through_sed(variable: &str, lines: &str) -> String {
    format!(
        "sed \"s/^dn: .*/dn: ${variable}/\" <<'END' | ldapmodify -Q -Y EXTERNAL -H ldapi:///\ndn: {variable}\n{lines}END\n"
    )
}

/// For a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// For Windows' shells.
fn windows(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(product: Product) -> Place {
        Place {
            product,
            samba: true,
            url: "ldaps://ldap.example.org".into(),
            base: "ou=people,dc=example,dc=org".into(),
            suffix: "dc=example,dc=org".into(),
            own: "cn=rekeyd,ou=services,dc=example,dc=org".into(),
            sid: Sid::from_text("S-1-5-21-1-2-3-1103").ok(),
        }
    }

    #[test]
    fn commands_can_be_pasted() {
        let openldap = place(Product::OpenLdap).access("ou=people,dc=example,dc=org", &["userPassword"], "=xw");
        let expected = "\
DB=$(ldapsearch -QLLL -Y EXTERNAL -H ldapi:/// -o ldif-wrap=no -b cn=config '(olcSuffix=dc=example,dc=org)' dn | sed -n 's/^dn: //p')
sed \"s/^dn: .*/dn: $DB/\" <<'END' | ldapmodify -Q -Y EXTERNAL -H ldapi:///
dn: DB
changetype: modify
add: olcAccess
olcAccess: {0}to dn.subtree=\"ou=people,dc=example,dc=org\" attrs=userPassword by dn.exact=\"cn=rekeyd,ou=services,dc=example,dc=org\" =xw by * break
END
";
        assert_eq!(openldap.as_deref(), Some(expected));
        let ds = place(Product::Ds389).set("cn=config", "passwordMustChange", "on");
        let expected = "\
ldapmodify -x -D \"cn=Directory Manager\" -W -H 'ldaps://ldap.example.org' <<'END'
dn: cn=config
changetype: modify
replace: passwordMustChange
passwordMustChange: on
END
";
        assert_eq!(ds.as_deref(), Some(expected));
        let samba = place(Product::ActiveDirectory).delegate(&[Delegated::Reset]);
        let expected = "samba-tool dsacl set --objectdn='ou=people,dc=example,dc=org' \
            --sddl='(OA;CIIO;CR;00299570-246d-11d0-a768-00aa006e0529;bf967aba-0de6-11d0-a285-00aa003049e2;S-1-5-21-1-2-3-1103)'\n";
        assert_eq!(samba, expected);
        let windows = Place { samba: false, ..place(Product::ActiveDirectory) }.delegate(&[Delegated::Unlock]);
        assert!(
            windows.contains("dsacls \"ou=people,dc=example,dc=org\" /I:S /G \"S-1-5-21-1-2-3-1103:RPWP;"),
            "{windows}"
        );
    }

    #[test]
    fn t63_odd_names_stay_names() {
        let odd = Place { base: "ou=O'Brien $(reboot)".into(), suffix: "o=a'b".into(), ..place(Product::OpenLdap) };
        let text = odd.access("ou=L\u{f6}vens `x`,o=a'b", &[], "read").unwrap_or_default();
        assert!(
            text.contains("'(olcSuffix=o=a'\\''b)'") && text.contains("olcAccess:: ") && !text.contains('`'),
            "{text}"
        );
    }
}
