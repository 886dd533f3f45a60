//! FreeIPA: 389 Directory Server with Kerberos, whose own plugin takes every write of a password and decides by who
//! writes it what becomes of it. Experimental: no server was to be had for the tests, which rest on entries written
//! down after its sources and documents.

pub mod policy;
mod state;
mod writer;

use zeroize::Zeroizing;

use crate::domain::{Dn, Stamp, Standing};
use crate::flavour::ds389::{self, Ds389};
use crate::flavour::entry::{Entry, Unreadable};
use crate::flavour::filter::Filter;
use crate::flavour::markers::Markers;
use crate::flavour::{Change, Outcome, Reading, Rejection, Reply, Settled, Verified};
use crate::policy::permit::Permit;

pub use writer::{LISTS, PLUGIN, Writer};

/// The attribute with the stable id.
pub const ID: &str = "ipaUniqueID";

/// The stamp of an account without a password.
const UNSET: &str = "krbLastPwdChange absent";

/// What is known of one FreeIPA server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FreeIpa {
    /// The directory server beneath.
    pub ds: Ds389,
    /// Where FreeIPA's tree begins (`basedn` in its own words).
    pub suffix: Dn,
    /// What the plugin takes the account for that looks up and writes for persons, on this very server.
    pub writer: Writer,
    /// What it takes the account for that writes temporary passwords for operators, where there is one.
    pub operators: Option<Writer>,
}

impl FreeIpa {
    /// The attributes to ask for by name.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        state::STATE.into_iter().chain([ID]).chain(self.ds.attributes())
    }

    /// What must be proved readable before "absent" means anything.
    pub fn must_read(&self, markers: &Markers) -> Vec<String> {
        let own = state::STATE.into_iter().chain(["memberOf"]).filter(|name| self.ds.defines(name));
        let mut all = self.ds.must_read(markers);
        // The password's state is Kerberos's here, and these are neither written nor shown to anybody by default.
        all.retain(|name| !ds389::state::PASSWORD.iter().any(|own| own.eq_ignore_ascii_case(name)));
        all.extend(own.map(str::to_owned));
        all.sort_unstable_by_key(|name| name.to_ascii_lowercase());
        all.dedup_by(|one, other| one.eq_ignore_ascii_case(other));
        all
    }

    /// The mark of the present password, with what must still be so of the account when it is replaced.
    pub fn stamp(&self, entry: &Entry, markers: &Markers) -> Result<Stamp, Unreadable> {
        let attribute = "krbLastPwdChange";
        let stamp = match entry.text(attribute)? {
            Some(value) => Stamp::new(format!("{attribute}={value}"), entry.moment(attribute).ok().flatten()),
            None => Stamp::new(UNSET, None),
        };
        let id = entry.text(ID)?.ok_or_else(|| Unreadable::hidden(ID))?;
        let named = state::GUARDED.into_iter().filter(|name| self.ds.defines(name));
        let marked = markers.attributes().filter(|name| self.ds.defines(name));
        let guarded = named.chain(marked).map(|name| ds389::as_read(entry, name));
        let guard = Filter::And([Filter::equal(ID, id)].into_iter().chain(guarded).collect());
        Ok(stamp.guarded(guard.to_string()))
    }

    /// What the server says of an account.
    pub fn standing(&self, reading: &Reading<'_>, standing: &mut Standing) {
        state::read(self, reading, standing);
    }

    /// How a password is written here: in clear text, from which the plugin makes the Kerberos keys, too.
    pub fn change(&self, permit: &Permit) -> Result<Change, Rejection> {
        if permit.must_change() {
            // What an account that is on neither list writes has expired by then.
            if ![Some(&self.writer), self.operators.as_ref()].contains(&Some(&Writer::Admin)) {
                return Err(Rejection::MissingRight(
                    "must-change needs an account of its own for operators, which is in neither SysAcctManagersDNs \
                     nor passSyncManagersDNs"
                        .into(),
                ));
            }
        } else if let Some(why) = self.writer.obstacle() {
            return Err(Rejection::MissingRight(why));
        }
        let password = Zeroizing::new(permit.password().expose().as_bytes().to_vec());
        Ok(Change::Modify { replace: vec![("userPassword", password)], condition: None, hints: None })
    }

    /// Whether an entry that was read after a write with must-change shows that it took.
    pub fn must_be_changed(entry: &Entry) -> bool {
        state::is_set_by_another(entry).unwrap_or(false)
    }

    /// What the server's answer to a write means.
    pub fn outcome(reply: &Reply, must_change: bool) -> Outcome {
        Ds389::outcome(reply, must_change)
    }

    /// Whether the answer to a write says that this server takes none.
    pub fn is_copy(reply: &Reply) -> bool {
        Ds389::is_copy(reply)
    }

    /// What the server's answer to a person's bind means; `Err` where it says nothing about the password.
    pub fn verified(reply: &Reply) -> Result<Verified, String> {
        Ds389::verified(reply)
    }

    /// Whether a password was written between two readings.
    pub fn settled(before: &Stamp, after: &Stamp) -> Settled {
        if before == after {
            Settled::Unchanged
        } else if after.as_str() == UNSET {
            Settled::Undecidable
        } else {
            Settled::Changed
        }
    }
}
