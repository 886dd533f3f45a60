//! What writing the canary's password has shown of a server.

use rekeyd_core::domain::Timestamp;
use rekeyd_core::flavour::openldap::Conditions;
use rekeyd_core::flavour::{Change, Flavour};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::Ground;
use crate::directory::ldap::request::Modify;
use crate::directory::ldap::wire::{Failure, Link, PASSING};

/// What writing the canary's password has shown.
#[derive(Clone, Debug)]
pub(in crate::directory::ldap) struct Proof {
    /// How far a write can carry a condition.
    pub(in crate::directory::ldap) conditions: Conditions,
    /// How it went, in words.
    pub(in crate::directory::ldap) words: String,
    /// Whether that is as good as it can be.
    pub(in crate::directory::ldap) whole: bool,
    /// Whether the server takes no writes at all, so that nothing could be shown.
    pub(in crate::directory::ldap) copy: bool,
    /// Whether its password was written.
    pub(in crate::directory::ldap) written: bool,
    /// What the server says was the moment of that, if it shows it.
    pub(in crate::directory::ldap) stamped: Option<Timestamp>,
    /// Whether the password policy overlay is on this database, where the canary could tell.
    pub(in crate::directory::ldap) overlay: Option<bool>,
}

impl Proof {
    /// Nothing was written, and writes carry no condition.
    pub(super) fn none(words: impl Into<String>) -> Self {
        Self {
            conditions: Conditions::None,
            words: words.into(),
            whole: false,
            copy: false,
            written: false,
            stamped: None,
            overlay: None,
        }
    }
}

/// A password that nobody knows and every quality check likes.
pub(in crate::directory::ldap) fn random_password() -> Result<Zeroizing<String>, ring::error::Unspecified> {
    let mut bytes = Zeroizing::new([0_u8; 24]);
    SystemRandom::new().fill(bytes.as_mut_slice())?;
    Ok(Zeroizing::new(format!("aA1!{}", data_encoding::BASE64URL_NOPAD.encode(bytes.as_slice()))))
}

/// Writes a password that nobody knows to the canary of a server that takes no condition on a write, and says by that
/// whether it takes writes at all.
pub(super) async fn plain(link: &mut Link, ground: &Ground<'_>, flavour: &Flavour) -> Result<Proof, Failure> {
    let way = "by a Modify, right after a look: this product takes no condition on a write";
    // Its clock is all that is to be known of a server without a canary.
    let none = Proof { whole: true, stamped: ground.root.clock, ..Proof::none(way) };
    let Some(canary) = &ground.wanted.ldap.canary else { return Ok(none) };
    let Ok(password) = random_password() else { return Ok(none) };
    let reply = match flavour.canary(&password) {
        Change::Modify { replace, condition, hints } => {
            link.modify(canary, Modify { replace: &replace, condition: condition.as_deref(), hints }).await?
        }
        Change::Exop { password } => link.set_password(canary, &password).await?,
    };
    match reply.code {
        0 => Ok(Proof { written: true, ..none }),
        // Kept as a proof, this would hold long after the trouble.
        passing if PASSING.contains(&passing) => Err(Failure::Unreachable(reply.words())),
        _ => Ok(Proof {
            whole: false,
            copy: flavour.is_copy(&reply),
            words: format!("the canary's password can't be set: {}", reply.words()),
            ..none
        }),
    }
}
