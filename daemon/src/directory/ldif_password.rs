//! Passwords of the LDIF directory: Argon2id, in the form that OpenLDAP's own module writes.

use argon2::Argon2;
use argon2::password_hash::phc::{PasswordHash, Salt};
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use rekeyd_core::domain::Timestamp;
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::policy_entry::Policy;
use rekeyd_core::flavour::{Rejection, time};
use ring::rand::{SecureRandom, SystemRandom};

/// The scheme before each hash.
const SCHEME: &str = "{ARGON2}";

/// A hash that no password has, of the same cost as the others: Argon2id over 16 bytes of salt, with a tag of zeros.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes a password with a fresh salt.
pub(super) fn hash(password: &str) -> Result<String, String> {
    let mut salt = [0; 16];
    SystemRandom::new().fill(&mut salt).map_err(|_| "the system gives no randomness")?;
    let salt = Salt::new(&salt).map_err(|error| error.to_string())?;
    let hash: PasswordHash =
        Argon2::default().hash_password_with_salt(password.as_bytes(), &salt).map_err(|error| error.to_string())?;
    Ok(format!("{SCHEME}{hash}"))
}

/// Whether a password fits any of some values of `userPassword` or `pwdHistory`. Every other scheme fits nothing.
pub(super) fn fits_any(password: &str, values: &[Vec<u8>]) -> bool {
    // All are tried, so that the time tells nothing about which one fits.
    values.iter().fold(false, |so_far, value| {
        let hash = std::str::from_utf8(value).ok().and_then(|value| value.strip_prefix(SCHEME));
        hash.is_some_and(|hash| fits(password, hash)) | so_far
    })
}

/// Takes as long as [`fits_any`] with one value, and never fits.
pub(super) fn fits_nothing(password: &str) -> bool {
    fits(password, NOBODYS)
}

fn fits(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Hashes the new password into the entry as a server with the overlay would.
pub(super) fn replace(entry: &mut Entry, new: &str, policy: &Policy) -> Result<(), Rejection> {
    if i64::try_from(new.len()).is_ok_and(|length| length < policy.min_length) {
        return Err(Rejection::TooShort);
    }
    let history = usize::try_from(policy.in_history).unwrap_or(0);
    let mut old: Vec<Vec<u8>> =
        entry.values("userPassword").iter().chain(entry.values("pwdHistory")).cloned().collect();
    old.truncate(history);
    if fits_any(new, &old) {
        return Err(Rejection::InHistory);
    }
    let hash = hash(new).map_err(Rejection::Other)?;
    let now = clock();
    let second = time::write(now);
    let changed = format!("{}.{:03}Z", second.trim_end_matches('Z'), now.millis().rem_euclid(1000));
    entry.replace("userPassword", vec![hash.into_bytes()]);
    entry.replace("pwdHistory", old);
    entry.replace("pwdChangedTime", vec![changed.into_bytes()]);
    for gone in ["pwdReset", "pwdAccountLockedTime", "pwdFailureTime", "pwdGraceUseTime"] {
        entry.replace(gone, Vec::new());
    }
    Ok(())
}

/// The clock of this directory, as a server has its own.
#[expect(clippy::disallowed_methods, reason = "this file is a server of its own; its times are not rekeyd's")]
pub(super) fn clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_hash_fits_its_password_only() {
        let value = hash("correct horse").unwrap().into_bytes();
        let other = hash("other").unwrap().into_bytes();
        assert!(value.starts_with(b"{ARGON2}$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(fits_any("correct horse", &[other.clone(), value.clone()]));
        assert!(!fits_any("correct horse", &[other]));
        assert!(!fits_any("Correct horse", &[value]));
        assert!(!fits_any("clear", &[b"clear".to_vec(), b"{SSHA}clear".to_vec(), vec![0xff]]));
        assert!(PasswordHash::new(NOBODYS).is_ok());
        assert!(!fits_nothing("clear"));
    }
}
