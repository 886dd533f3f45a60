//! What a world stands on: a branch of OpenLDAP with the usual people, or an estate on any product.

use std::sync::Arc;

use crate::{branch::Branch, estate::Estate, slapd::Slapd};

/// The part of a directory that a world's daemon looks after.
pub(crate) enum Ground {
    /// A branch of OpenLDAP, with the people that most tests ask about.
    Branch(Branch),
    /// An estate on any product, with whom the test put there.
    Estate(Arc<Estate>),
}

impl Ground {
    /// The branch; most tests stand on one.
    pub(crate) fn branch(&self) -> &Branch {
        match self {
            Self::Branch(branch) => branch,
            Self::Estate(_) => panic!("a world on an estate has no branch"),
        }
    }

    /// The estate, of a world on one.
    pub(crate) fn estate(&self) -> &Estate {
        match self {
            Self::Branch(_) => panic!("a world on a branch has no estate"),
            Self::Estate(estate) => estate,
        }
    }

    /// The OpenLDAP server below a branch.
    pub(crate) fn slapd(&self) -> &Slapd {
        &self.branch().slapd
    }

    /// Where people and groups are.
    pub(crate) fn base(&self) -> &str {
        match self {
            Self::Branch(branch) => branch.base(),
            Self::Estate(estate) => estate.base(),
        }
    }

    /// The entry of somebody.
    pub(crate) fn dn(&self, login: &str) -> String {
        match self {
            Self::Branch(branch) => branch.dn(login),
            Self::Estate(estate) => estate.dn_of(login),
        }
    }
}
