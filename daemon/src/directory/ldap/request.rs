//! What is asked of a server: bind, search, modify and the extended operations that rekeyd uses, in words of its own, so
//! that only `connection` knows how the library says them.

use rekeyd_core::domain::EntryName;
use rekeyd_core::flavour::filter::Filter;
use zeroize::Zeroizing;

/// The password-modify operation (RFC 3062).
pub(super) const PASSWORD_MODIFY: &str = "1.3.6.1.4.1.4203.1.11.1";
/// The condition on a write (RFC 4528).
pub(super) const ASSERTION: &str = "1.3.6.1.1.12";

/// The control that has an answer come in pages (RFC 2696) and its value for the first page of three entries. It bounds an
/// answer where a server takes no notice of the limit itself, as Samba does.
pub(super) const FIRST_THREE: (&str, [u8; 7]) = ("1.2.840.113556.1.4.319", [0x30, 0x05, 0x02, 0x01, 0x03, 0x04, 0x00]);

/// How deep a search goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    /// The entry itself.
    Base,
    /// The entry and everything below it.
    Subtree,
}

/// What to search for.
pub(super) struct Query<'q> {
    /// Where.
    pub(super) base: &'q str,
    /// How deep.
    pub(super) scope: Scope,
    /// For what.
    pub(super) filter: Filter,
    /// Exactly these attributes; none asks for names only.
    pub(super) attributes: &'q [String],
    /// The most entries.
    pub(super) limit: u16,
    /// What the server is to do with it besides, by the OID and value of a control that it may leave out.
    pub(super) control: Option<(&'q str, &'q [u8])>,
}

impl<'q> Query<'q> {
    /// Everything below an entry that fits, up to as many entries as one answer may have.
    pub(super) fn below(base: &'q str, filter: Filter, attributes: &'q [String]) -> Self {
        Self { base, scope: Scope::Subtree, filter, attributes, limit: 1000, control: None }
    }
}

/// A write of attributes.
#[derive(Clone, Copy)]
pub(super) struct Modify<'m> {
    /// Attributes, and the values that replace theirs.
    pub(super) replace: &'m [(&'static str, Zeroizing<Vec<u8>>)],
    /// The filter that the entry must fit at that moment.
    pub(super) condition: Option<&'m str>,
    /// The OID of a critical control that has the server keep to its rules on old passwords.
    pub(super) hints: Option<&'static str>,
}

/// Which page of a search (RFC 2696). Its size is the query's limit.
pub(super) struct Page<'p> {
    /// What the server gave with the page before; empty for the first.
    pub(super) cookie: &'p [u8],
}

/// One operation.
pub(super) enum Request<'r> {
    /// A bind by name and password.
    Bind { name: &'r EntryName, password: &'r str },
    /// A bind as whom the kernel says.
    BindExternal,
    /// Replaces attributes, if the entry fits the condition at that moment.
    Modify { name: &'r EntryName, modify: Modify<'r> },
    /// One page of a search.
    Page(&'r Query<'r>, Page<'r>),
    /// The password-modify operation.
    PasswordModify { name: &'r EntryName, password: &'r str },
    /// Removes one value of an attribute.
    Remove { name: &'r EntryName, attribute: &'r str, value: &'r [u8] },
    /// A search.
    Search(&'r Query<'r>),
    /// Who the server says we are (RFC 4532).
    WhoAmI,
}
