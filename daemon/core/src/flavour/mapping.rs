//! Which attributes mean what: what is configured, on top of what is usual for the product.

use crate::domain::Dn;
use crate::flavour::Mapping;
use crate::flavour::filter::Filter;
use crate::flavour::markers::Markers;
use crate::flavour::product::Product;

/// What is configured of a [`Mapping`]; the product decides the rest.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// See [`Mapping::logins`].
    pub logins: Option<Vec<String>>,
    /// See [`Mapping::emails`].
    pub emails: Option<Vec<String>>,
    /// See [`Mapping::names`].
    pub names: Option<Vec<String>>,
    /// See [`Mapping::language`].
    pub language: Option<String>,
    /// See [`Mapping::markers`].
    pub markers: Markers,
    /// See [`Mapping::apart`].
    pub apart: Vec<Dn>,
}

impl Configured {
    /// What holds on a server of this product.
    pub fn on(&self, product: Product) -> Mapping {
        let list = |configured: &Option<Vec<String>>, usual: &[&str]| {
            configured.clone().unwrap_or_else(|| usual.iter().map(|name| (*name).to_owned()).collect())
        };
        let logins: &[&str] = match product {
            Product::ActiveDirectory => &["sAMAccountName", "userPrincipalName", "mail"],
            Product::Ds389 | Product::FreeIpa | Product::OpenLdap => &["uid", "mail"],
        };
        Mapping {
            logins: list(&self.logins, logins),
            emails: list(&self.emails, &["mail"]),
            names: list(&self.names, &["displayName", "cn", "givenName", "sn"]),
            language: Some(self.language.clone().unwrap_or_else(|| "preferredLanguage".into())),
            markers: self.markers.clone(),
            apart: self.apart.clone(),
        }
    }
}

/// What makes an entry a person's where nobody says otherwise.
pub fn people(product: Product) -> Filter {
    let class = |name: &str| Filter::equal("objectClass", name);
    match product {
        // The category is indexed, and computers, which are users too, have another one.
        Product::ActiveDirectory => Filter::And(vec![Filter::equal("objectCategory", "person"), class("user")]),
        Product::Ds389 => {
            Filter::Or(vec![class("inetOrgPerson"), class("person"), class("nsPerson"), class("posixAccount")])
        }
        // Hosts and services are accounts of Kerberos as well, and the shadow tree for old clients holds copies.
        Product::FreeIpa => Filter::And(vec![class("person"), class("posixAccount")]),
        Product::OpenLdap => Filter::Or(vec![class("inetOrgPerson"), class("person"), class("posixAccount")]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_stands_over_what_is_usual() {
        let usual = Configured::default().on(Product::ActiveDirectory);
        assert_eq!(usual.logins, ["sAMAccountName", "userPrincipalName", "mail"]);
        let people = people(Product::ActiveDirectory).to_string();
        assert_eq!(people, "(&(objectCategory=person)(objectClass=user))");
        let configured = Configured { logins: Some(vec!["employeeNumber".into()]), ..Configured::default() };
        for (_, product) in Product::ALL {
            let mapping = configured.on(product);
            assert_eq!(mapping.logins, ["employeeNumber"]);
            assert_eq!(mapping.emails, ["mail"]);
        }
    }
}
