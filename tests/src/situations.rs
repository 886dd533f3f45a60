//! The one list of situations that an account can be in, what each product makes of them, and what rekeyd must.
//!
//! How they come about on a server lies in [`crate::making`]. Nothing here is computed: it is what the law of the daemon says
//! for what these products do, written down once, for the scenarios and for the comparison with the servers.

use crate::estate::Product;

/// Whether the right password lets somebody in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Door {
    /// It does.
    Open,
    /// The server says that the password must be changed first; some let in for that alone.
    ChangeFirst,
    /// It does not.
    Shut,
}

/// What an attribute holds after the story.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Holds {
    /// Nothing.
    Nothing,
    /// This.
    Just(&'static str),
    /// Anything but this.
    Not(&'static str),
}

/// What is true of a situation on one product.
#[derive(Clone, Copy, Debug)]
pub struct Truth {
    /// What rekeyd finds.
    pub findings: &'static [&'static str],
    /// Why the person is not helped; none where a new password can be set.
    pub refused: Option<&'static str>,
    /// What the server says to the right password before.
    pub door: Door,
    /// What an attribute holds afterwards.
    pub after: &'static [(&'static str, Holds)],
}

/// One situation.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// What it is called, and the beginning of the login.
    pub name: &'static str,
    /// On OpenLDAP; none where it has no such thing.
    pub openldap: Option<Truth>,
    /// In Active Directory.
    pub active_directory: Option<Truth>,
    /// On 389-ds.
    pub ds389: Option<Truth>,
}

impl Situation {
    /// What is true on a product, if there is such a thing there.
    pub fn on(&self, product: Product) -> Option<Truth> {
        match product {
            Product::OpenLdap => self.openldap,
            Product::ActiveDirectory => self.active_directory,
            Product::Ds389 => self.ds389,
        }
    }
}

const fn helped(findings: &'static [&'static str], door: Door) -> Truth {
    Truth { findings, refused: None, door, after: &[] }
}

const fn refused(reason: &'static str, findings: &'static [&'static str], door: Door) -> Truth {
    Truth { findings, refused: Some(reason), door, after: &[] }
}

impl Truth {
    const fn then(self, after: &'static [(&'static str, Holds)]) -> Self {
        Self { after, ..self }
    }
}

const fn everywhere(name: &'static str, truth: Truth) -> Situation {
    Situation { name, openldap: Some(truth), active_directory: Some(truth), ds389: Some(truth) }
}

const fn nowhere(name: &'static str) -> Situation {
    Situation { name, openldap: None, active_directory: None, ds389: None }
}

use Door::{ChangeFirst, Open, Shut};
use Holds::{Just, Not, Nothing};

/// All of them.
pub const ALL: &[Situation] = &[
    everywhere("active", helped(&[], Open)),
    everywhere("odd-dn", helped(&[], Open)),
    everywhere("o'brien (x)", helped(&[], Open)),
    everywhere("loop", helped(&[], Open)),
    // A login outside of ASCII; 389-ds takes none by default, so there it is the name alone.
    everywhere("zoë", helped(&[], Open)),
    everywhere("nested-admin", refused("privileged", &["privileged"], Open)),
    // Login and address stand at two entries each; which of the two is asked about does not matter.
    everywhere("twin-mail", refused("ambiguous", &[], Open)),
    Situation {
        openldap: Some(refused("ambiguous", &[], Open)),
        ds389: Some(refused("ambiguous", &[], Open)),
        // The directory lets no second account have the name.
        ..nowhere("twin-login")
    },
    Situation {
        openldap: Some(refused("never-activated", &["never-activated"], Shut)),
        active_directory: Some(refused("never-activated", &["must-change", "never-activated"], Shut)),
        // Nobody may see whether there is a password; an old one of before the policy would leave as few signs.
        ds389: Some(refused("undecided", &["undecided"], Shut)),
        ..nowhere("no-password")
    },
    Situation {
        // What is there from the start has no time of change.
        openldap: Some(refused("never-activated", &["never-activated"], Open)),
        active_directory: Some(refused("undecided", &["undecided"], Open)),
        ds389: Some(refused("never-activated", &["must-change", "never-activated"], ChangeFirst)),
        ..nowhere("first-password")
    },
    // An administrator's password, and nothing shows whether its person had one before.
    Situation {
        openldap: Some(helped(&["must-change"], ChangeFirst).then(&[("pwdReset", Nothing)])),
        active_directory: Some(
            refused("undecided", &["must-change", "undecided"], ChangeFirst).then(&[("pwdLastSet", Just("0"))]),
        ),
        ds389: Some(
            refused("undecided", &["must-change", "undecided"], ChangeFirst).then(&[("pwdReset", Just("TRUE"))]),
        ),
        ..nowhere("must-change")
    },
    // The same, and an adoption has said that its person had.
    Situation {
        openldap: Some(helped(&["must-change"], ChangeFirst).then(&[("pwdReset", Nothing)])),
        active_directory: Some(helped(&["must-change"], ChangeFirst).then(&[("pwdLastSet", Not("0"))])),
        ds389: Some(helped(&["must-change"], ChangeFirst).then(&[("pwdReset", Just("FALSE"))])),
        ..nowhere("must-change-known")
    },
    Situation {
        openldap: Some(helped(&["password-expired"], ChangeFirst).then(&[("pwdChangedTime", Not("20250101000000Z"))])),
        active_directory: Some(
            helped(&["password-expired"], ChangeFirst).then(&[("msDS-User-Account-Control-Computed", Just("0"))]),
        ),
        ds389: Some(
            helped(&["password-expired"], ChangeFirst).then(&[("passwordExpirationTime", Not("20250101000000Z"))]),
        ),
        ..nowhere("password-expired")
    },
    Situation {
        openldap: Some(helped(&["locked-by-failures"], Shut).then(&[("pwdAccountLockedTime", Nothing)])),
        active_directory: Some(helped(&["locked-by-failures"], Shut).then(&[("lockoutTime", Just("0"))])),
        ds389: Some(helped(&["locked-by-failures"], Shut).then(&[("passwordRetryCount", Just("0"))])),
        ..nowhere("locked-by-failures")
    },
    Situation {
        openldap: Some(
            refused("locked-by-admin", &["locked-by-admin"], Shut)
                .then(&[("pwdAccountLockedTime", Just("000001010000Z"))]),
        ),
        // Neither product knows another lock of this kind than one by failures that never ends.
        active_directory: Some(
            refused("locked-by-admin", &["locked-by-admin"], Shut).then(&[("lockoutTime", Not("0"))]),
        ),
        ds389: Some(refused("locked-by-admin", &["locked-by-admin"], Shut).then(&[("passwordRetryCount", Just("3"))])),
        ..nowhere("locked-for-good")
    },
    // How long the lock lasts, a policy says that rekeyd may not know of; the domain's own would end it.
    Situation {
        active_directory: Some(
            refused("locked-by-admin", &["locked-by-admin"], Shut).then(&[("lockoutTime", Not("0"))]),
        ),
        ..nowhere("locked-unseen")
    },
    Situation {
        openldap: Some(refused("disabled", &["disabled"], Open).then(&[("employeeType", Just("disabled"))])),
        active_directory: Some(refused("disabled", &["disabled"], Shut).then(&[("userAccountControl", Just("514"))])),
        ds389: Some(refused("disabled", &["disabled"], Shut).then(&[("nsAccountLock", Just("true"))])),
        ..nowhere("disabled")
    },
    Situation {
        ds389: Some(refused("disabled", &["disabled"], Shut).then(&[("nsAccountLock", Just("true"))])),
        ..nowhere("disabled-by-role")
    },
    Situation {
        openldap: Some(refused("expired", &["expired"], Shut).then(&[("pwdEndTime", Just("20251231000000Z"))])),
        active_directory: Some(
            refused("expired", &["expired"], Shut).then(&[("accountExpires", Just("132000000000000000"))]),
        ),
        // Only an account that nobody uses expires there.
        ds389: Some(refused("expired", &["expired"], Shut)),
        ..nowhere("account-expired")
    },
    Situation {
        openldap: Some(
            refused("not-yet-valid", &["not-yet-valid"], Shut).then(&[("pwdStartTime", Just("20991231000000Z"))]),
        ),
        // A temporary password of which the time has not come, and nothing shows whether there was one before.
        ds389: Some(refused("undecided", &["must-change", "undecided"], Shut)),
        ..nowhere("not-yet-valid")
    },
    Situation {
        openldap: Some(refused("holder-may-not-change", &["holder-may-not-change"], Open)),
        active_directory: Some(refused("holder-may-not-change", &["holder-may-not-change"], Open)),
        ds389: Some(refused("holder-may-not-change", &["holder-may-not-change"], Open)),
        ..nowhere("may-not-change")
    },
    everywhere("hidden", refused("unknown", &["unknown"], Open)),
    // What would refuse them is there, and rekeyd may not see that it is.
    Situation { active_directory: Some(refused("unknown", &["unknown"], Open)), ..nowhere("hidden-admin") },
    Situation { active_directory: Some(refused("unknown", &["unknown"], Open)), ..nowhere("hidden-service") },
    Situation { active_directory: Some(refused("unknown", &["unknown"], Open)), ..nowhere("hidden-marker") },
    // Somebody who sets other people's passwords past every rule: by name, and as a member.
    Situation { ds389: Some(refused("privileged", &["privileged"], Open)), ..nowhere("password-admin") },
    Situation { ds389: Some(refused("privileged", &["privileged"], Open)), ..nowhere("password-keeper") },
    Situation { active_directory: Some(refused("privileged", &["privileged"], Open)), ..nowhere("domain-admin") },
    Situation { active_directory: Some(refused("privileged", &["privileged"], Open)), ..nowhere("primary-admin") },
    Situation { active_directory: Some(refused("privileged", &["privileged"], Open)), ..nowhere("stale-admin") },
    Situation { active_directory: Some(refused("not-a-person", &["not-a-person"], Open)), ..nowhere("service") },
    // The search for people does not find it.
    Situation { active_directory: Some(refused("not-found", &[], Open)), ..nowhere("computer") },
    Situation {
        active_directory: Some(
            refused("password-elsewhere", &["password-elsewhere"], Shut)
                .then(&[("userAccountControl", Just("262656"))]),
        ),
        ..nowhere("smartcard")
    },
    // What time of the day it is does not concern a reset.
    Situation { active_directory: Some(helped(&[], Shut)), ..nowhere("no-hours") },
];
