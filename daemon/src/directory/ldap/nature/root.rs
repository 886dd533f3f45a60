//! What a server says of itself in its root entry.

use rekeyd_core::domain::{Dn, Timestamp};
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::ppolicy;
use rekeyd_core::flavour::product::{self, Product, Unrecognised};

use crate::directory::ldap::request::{ASSERTION, PASSWORD_MODIFY};
use crate::directory::ldap::wire::{Failure, Link};

/// The attributes that are asked for besides those by which products are told apart.
const ATTRIBUTES: [&str; 8] = [
    "supportedControl",
    "namingContexts",
    "subschemaSubentry",
    "defaultNamingContext",
    "currentTime",
    "dsServiceName",
    // Who we are in Active Directory, and where its schema is: what an access list lets us see rests on both.
    "tokenGroups",
    "schemaNamingContext",
];

/// What a server says of itself.
#[derive(Clone, Debug)]
pub(in crate::directory::ldap) struct Root {
    /// The product that it shows itself to be.
    pub(in crate::directory::ldap) detected: Result<Product, Unrecognised>,
    /// Whether it takes a condition on a write.
    pub(in crate::directory::ldap) assertion: bool,
    /// Whether it has the password-modify operation.
    pub(in crate::directory::ldap) password_modify: bool,
    /// Whether it answers the password policy control.
    pub(in crate::directory::ldap) policy_control: bool,
    /// Where its data begins.
    pub(super) contexts: Vec<String>,
    /// Where its schema is.
    pub(super) schema: Option<String>,
    /// What its clock said.
    pub(super) clock: Option<Timestamp>,
    /// The whole entry.
    pub(in crate::directory::ldap) entry: Entry,
}

impl Root {
    pub(super) async fn read(link: &mut Link) -> Result<Self, Failure> {
        let names: Vec<String> = ATTRIBUTES.into_iter().chain(product::ATTRIBUTES).map(str::to_owned).collect();
        let Some(entry) = super::entry(link, "", &names).await? else {
            return Err(Failure::Refused("the server's root entry can't be read".into()));
        };
        let lists = |name: &str, oid: &str| entry.texts(name).any(|value| value == oid);
        let modify = lists("supportedExtension", PASSWORD_MODIFY);
        let (assertion, policy_control) =
            (lists("supportedControl", ASSERTION), lists("supportedControl", ppolicy::OID));
        let schema = entry.texts("subschemaSubentry").next().map(str::to_owned);
        let clock = entry.moment("currentTime").ok().flatten();
        Ok(Self {
            clock,
            detected: Product::detect(&entry),
            assertion,
            password_modify: modify,
            policy_control,
            contexts: entry.texts("namingContexts").map(str::to_owned).collect(),
            schema,
            entry,
        })
    }

    /// The naming context that an entry is in, if it is in one.
    pub(in crate::directory::ldap) fn context_of(&self, name: &str) -> Option<&str> {
        let name = Dn::parse(name).ok()?;
        let holds =
            |context: &&String| Dn::parse(context).is_ok_and(|context| name == context || name.is_below(&context));
        self.contexts.iter().filter(holds).max_by_key(|context| context.len()).map(String::as_str)
    }
}
