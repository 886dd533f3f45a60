//! Which directory product a server is, by what its root entry says. Detection is only as good as what a server shows of
//! itself, so that `kind` in the configuration can overrule it, and a contradiction is told.

use std::fmt;

use crate::flavour::active_directory;
use crate::flavour::entry::Entry;

/// The attributes of the root entry by which products are told apart.
pub const ATTRIBUTES: [&str; 7] = [
    "objectClass",
    "structuralObjectClass",
    "vendorName",
    "vendorVersion",
    "supportedCapabilities",
    "supportedExtension",
    "ipaDomainLevel",
];

/// Where FreeIPA's own extended operations begin.
const FREEIPA_OPERATIONS: &str = "2.16.840.1.113730.3.8.10.";

/// A directory product that rekeyd speaks with.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Product {
    /// Active Directory, of Windows or of Samba.
    ActiveDirectory,
    /// 389 Directory Server.
    Ds389,
    /// FreeIPA, which is a 389 Directory Server with rules of its own.
    FreeIpa,
    /// OpenLDAP.
    OpenLdap,
}

/// A server that shows no sign of any product that is known here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unrecognised {
    /// What it says of its maker, if it says anything.
    pub vendor: Option<String>,
}

impl fmt::Display for Unrecognised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.vendor {
            Some(vendor) => write!(f, "the server's root entry names a product that is not known here ({vendor})")?,
            None => f.write_str("the server's root entry does not show which product it is")?,
        }
        f.write_str(
            "; say it in the configuration: kind = \"openldap\", \"active_directory\", \"ds389\" or \"freeipa\"",
        )
    }
}

impl Product {
    /// All of them, with their words in the configuration.
    pub const ALL: [(&'static str, Self); 4] = [
        ("openldap", Self::OpenLdap),
        ("active_directory", Self::ActiveDirectory),
        ("ds389", Self::Ds389),
        ("freeipa", Self::FreeIpa),
    ];

    /// Tells a server's product from its root entry.
    ///
    /// # Errors
    /// [`Unrecognised`] where nothing in it points to one.
    pub fn detect(root: &Entry) -> Result<Self, Unrecognised> {
        let says = |name: &str, test: &dyn Fn(&str) -> bool| root.texts(name).any(test);
        let class = |value: &str| value.eq_ignore_ascii_case("OpenLDAProotDSE");
        if says("supportedCapabilities", &|oid| oid == active_directory::CONTROLLER) {
            Ok(Self::ActiveDirectory)
        } else if says("supportedExtension", &|oid| oid.starts_with(FREEIPA_OPERATIONS)) || root.has("ipaDomainLevel") {
            Ok(Self::FreeIpa)
        } else if says("vendorName", &|name| name.eq_ignore_ascii_case("389 Project"))
            || says("vendorVersion", &|version| version.starts_with("389-Directory/"))
        {
            Ok(Self::Ds389)
        } else if says("structuralObjectClass", &class) || says("objectClass", &class) {
            Ok(Self::OpenLdap)
        } else {
            Err(Unrecognised { vendor: root.texts("vendorName").next().map(str::to_owned) })
        }
    }

    /// Its word in the configuration.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, product)| *product == self).map_or("", |(word, _)| word)
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ActiveDirectory => "Active Directory",
            Self::Ds389 => "389 Directory Server",
            Self::FreeIpa => "FreeIPA",
            Self::OpenLdap => "OpenLDAP",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::EntryName;

    fn root(attributes: &[(&str, &str)]) -> Entry {
        let mut root = Entry::new(EntryName(String::new()));
        for (name, value) in attributes {
            root.add(name, *value);
        }
        root
    }

    #[test]
    fn products_are_told_by_their_root_entries() {
        let samba = [("supportedCapabilities", "1.2.840.113556.1.4.800"), ("vendorName", "Samba Team (…)")];
        let windows = [
            ("supportedCapabilities", "1.2.840.113556.1.4.1670"),
            ("supportedCapabilities", active_directory::CONTROLLER),
        ];
        let ds = [("vendorName", "389 Project"), ("vendorVersion", "389-Directory/2.3.1 B2025.016.1616")];
        let ipa = [ds[0], ds[1], ("supportedExtension", "2.16.840.1.113730.3.8.10.3")];
        for (attributes, product) in [
            (&samba[..], Product::ActiveDirectory),
            (&windows, Product::ActiveDirectory),
            (&ds, Product::Ds389),
            (&ds[1..], Product::Ds389),
            (&ipa, Product::FreeIpa),
            (&[ds[0], ("ipaDomainLevel", "1")], Product::FreeIpa),
            (&[("objectClass", "top"), ("objectClass", "OpenLDAProotDSE")], Product::OpenLdap),
            (&[("structuralObjectClass", "OpenLDAProotDSE")], Product::OpenLdap),
        ] {
            assert_eq!(Product::detect(&root(attributes)), Ok(product), "{attributes:?}");
        }
    }

    #[test]
    fn an_unknown_product_is_an_error_that_names_the_key() {
        for (attributes, named) in [(&[][..], "does not show"), (&[("vendorName", "Novell, Inc.")], "Novell, Inc.")] {
            let words = Product::detect(&root(attributes)).map_err(|unknown| unknown.to_string());
            assert!(words.as_ref().is_err_and(|words| words.contains(named) && words.contains("kind = ")), "{words:?}");
        }
    }

    #[test]
    fn each_product_has_its_word() {
        for (word, product) in Product::ALL {
            assert_eq!(product.word(), word);
        }
    }
}
