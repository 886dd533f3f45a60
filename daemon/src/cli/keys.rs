//! Keys that an administrator hands out: for a login page, and for the key file. Each is shown once and kept nowhere.

use std::process::ExitCode;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use rekeyd_core::domain::MasterKey;
use rekeyd_core::text::escaped;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::call::Failure;
use super::print::Screen;

/// Draws a key for a login page: the key on stdout, what goes into the configuration beside it.
pub(super) fn hook_key(name: &str, screen: &Screen) -> Result<ExitCode, Failure> {
    let odd = |c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c));
    if name.is_empty() || name.contains(odd) {
        return Err(Failure::Usage(
            "a login page's name has ASCII letters, digits, dashes, dots and underlines".into(),
        ));
    }
    let key = Zeroizing::new(format!("rekeyd-hook-{}", BASE64URL_NOPAD.encode(drawn()?.as_slice())));
    let hash = format!("sha256:{}", HEXLOWER.encode(digest::digest(&digest::SHA256, key.as_bytes()).as_ref()));
    if screen.json() {
        let shown = serde_json::json!({ "name": name, "key": key.as_str(), "hash": hash });
        screen.print(&format!("{shown}\n"));
    } else {
        screen.print(&format!("{}\n", *key));
        screen.say(&format!(
            "\nThis is the only time the key is shown; the login page sends it as `Authorization: Bearer KEY`.\n\
             The configuration gets its hash:\n\n[[http.client]]\nname = \"{}\"\nkey_hashes = [\"{hash}\"]\n",
            escaped(name)
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Draws a line for the key file.
pub(super) fn new_key(screen: &Screen) -> Result<ExitCode, Failure> {
    let line = MasterKey::from_bytes(*drawn()?).encode();
    if screen.json() {
        screen.print(&format!("{}\n", serde_json::json!({ "key": line.as_str() })));
    } else {
        screen.print(&format!("{}\n", *line));
        screen.say(
            "Put it into the key file (mode 0600), above older lines; an older line can go when its last link is dead.\n",
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn drawn() -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new()
        .fill(bytes.as_mut_slice())
        .map_err(|_| Failure::Failed("the system gives no randomness".into()))?;
    Ok(bytes)
}
