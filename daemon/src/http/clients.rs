//! The login pages that may call the hook: their keys, kept as hashes, and what each may do.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::digest;
use zeroize::Zeroizing;

/// What a client may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Set a password with the ticket that a person brings.
    Password,
    /// Ask for a message.
    Recovery,
    /// Have a password checked.
    SignIn,
    /// Read what a person's ticket is for.
    Ticket,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Password, Self::Recovery, Self::SignIn, Self::Ticket];

    /// The word in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Recovery => "recovery",
            Self::SignIn => "sign-in",
            Self::Ticket => "ticket",
        }
    }
}

/// A login page that may call the hook.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its name in the audit trail.
    pub name: String,
    /// SHA-256 of its key; two while one key takes over from another.
    pub hashes: Vec<[u8; 32]>,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

impl Client {
    /// Whether it may do this.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// A key as it is handed out, and the hash that goes into the configuration.
pub struct DrawnKey {
    /// For the login page.
    pub key: Zeroizing<String>,
    /// For `key_hashes`.
    pub hash: String,
}

/// Makes a key from 256 bits of the system's randomness. Its hash is what `printf %s KEY | sha256sum` prints.
pub fn draw(random: [u8; 32]) -> DrawnKey {
    let key = Zeroizing::new(format!("rekeyd-hook-{}", BASE64URL_NOPAD.encode(Zeroizing::new(random).as_slice())));
    let hash = hash_of(&key);
    DrawnKey { key, hash }
}

/// The hash of a key, as the configuration writes it.
pub fn hash_of(key: &str) -> String {
    format!("sha256:{}", HEXLOWER.encode(&hash(key)))
}

/// Reads a hash as the configuration writes it.
///
/// # Errors
/// Words that say what is wrong; the text is never repeated, since somebody will write the key itself there one day.
pub fn parse_hash(text: &str) -> Result<[u8; 32], String> {
    let hex = text.strip_prefix("sha256:").ok_or("it does not begin with sha256:")?;
    let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).unwrap_or_default();
    bytes.try_into().map_err(|_| "it is not 64 hexadecimal digits".to_owned())
}

/// The client whose key stands in an `Authorization` header. Every key is compared, and compared whole, so that the
/// time tells nothing.
pub fn identify<'c>(clients: &'c [Client], authorization: &str) -> Option<&'c Client> {
    let (scheme, key) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return None;
    }
    let sent = hash(key.trim_matches(' '));
    clients.iter().fold(None, |found, client| {
        let fits = client.hashes.iter().fold(false, |fits, known| fits | is_same(known, &sent));
        if fits { Some(client) } else { found }
    })
}

fn hash(key: &str) -> [u8; 32] {
    let mut out = [0; 32];
    let digest = digest::digest(&digest::SHA256, key.as_bytes());
    out.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    out
}

fn is_same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let difference = one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_hash_is_what_sha256sum_prints() {
        assert_eq!(HEXLOWER.encode(&hash("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn t97_only_the_whole_key_of_a_client_is_taken() {
        let drawn = draw([7; 32]);
        let next = draw([8; 32]);
        let client = Client {
            name: "wiki".into(),
            hashes: vec![parse_hash(&drawn.hash).unwrap(), parse_hash(&next.hash).unwrap()],
            scopes: vec![Scope::Recovery],
        };
        let clients = [client];
        let name = |header: &str| identify(&clients, header).map(|client| client.name.as_str());
        assert_eq!(name(&format!("Bearer {}", *drawn.key)), Some("wiki"));
        assert_eq!(name(&format!("bearer  {}", *next.key)), Some("wiki"));
        let cut = drawn.key.get(..drawn.key.len() - 1).unwrap();
        for wrong in [
            String::new(),
            "Bearer".into(),
            "Bearer ".into(),
            format!("Basic {}", *drawn.key),
            format!("Bearer {cut}"),
            format!("Bearer {}x", *drawn.key),
            format!("Bearer {}", drawn.key.to_uppercase()),
            format!("Bearer {}", drawn.hash),
        ] {
            assert_eq!(name(&wrong), None);
        }
    }

    #[test]
    fn hashes_read_back() {
        assert!(parse_hash(&draw([1; 32]).hash).is_ok());
        for wrong in ["", "sha256:", "sha256:00", "sha512:00", &format!("sha256:{}", "g".repeat(64))] {
            assert!(parse_hash(wrong).is_err(), "{wrong}");
        }
    }
}
