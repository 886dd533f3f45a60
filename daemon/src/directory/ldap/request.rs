//! What is asked of a server: bind, search, modify and the extended operations that rekeyd uses, in words of its own, so
//! that only `connection` knows how the library says them.

use rekeyd_core::domain::EntryName;
use rekeyd_core::flavour::filter::Filter;
use zeroize::Zeroizing;

/// The password-modify operation (RFC 3062).
pub(super) const PASSWORD_MODIFY: &str = "1.3.6.1.4.1.4203.1.11.1";
/// The condition on a write (RFC 4528).
pub(super) const ASSERTION: &str = "1.3.6.1.1.12";

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
    Modify { name: &'r EntryName, replace: &'r [(&'static str, Zeroizing<Vec<u8>>)], condition: Option<&'r Filter> },
    /// One page of a search.
    Page(&'r Query<'r>, Page<'r>),
    /// The password-modify operation.
    PasswordModify { name: &'r EntryName, password: &'r str },
    /// A search.
    Search(&'r Query<'r>),
    /// Who the server says we are (RFC 4532).
    WhoAmI,
}
