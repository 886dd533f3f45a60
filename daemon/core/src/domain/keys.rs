//! The keys behind links, hashes and sealed values.
//!
//! A [`KeyRing`] comes from a credential and makes tokens; its oldest keys stay until their last ticket is dead. A
//! [`DataKey`](Sealed) is drawn once per store, kept there wrapped by the ring, and hashes and seals what lies at rest,
//! so that rotating the ring resets no limit and re-encrypts nothing.

use data_encoding::{BASE64, HEXLOWER};
use ring::{aead, digest, hmac};
use zeroize::Zeroizing;

use super::{AccountId, Purpose, TicketId, Token};

/// Names a key of the ring, in tokens and with tickets: four bytes that tell nothing about the key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct KeyId(pub [u8; 4]);

/// 256 secret bits.
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// From the system's randomness.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The written form for a key file: base64, one key a line.
    pub fn encode(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(self.0.as_slice()))
    }

    fn id(&self) -> KeyId {
        let tag = self.mac(&[b"rekeyd key id"]);
        let mut id = [0; 4];
        id.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        KeyId(id)
    }

    /// HMAC-SHA256 over parts, each preceded by its length so that no two lists of parts read the same.
    fn mac(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice()));
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign()
    }
}

/// The keys that make tokens, newest first. Never empty.
pub struct KeyRing {
    newest: MasterKey,
    older: Vec<MasterKey>,
}

impl KeyRing {
    /// A ring of one key.
    pub fn new(newest: MasterKey) -> Self {
        Self { newest, older: Vec::new() }
    }

    /// Reads a key file: base64 of 32 bytes a line, newest first; empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// Words that say which line is wrong; the line itself is never repeated.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bytes = Zeroizing::new(BASE64.decode(line.as_bytes()).unwrap_or_default());
            let key: [u8; 32] = bytes
                .as_slice()
                .try_into()
                .map_err(|_| format!("line {} of the key file is not base64 of 32 bytes", number + 1))?;
            keys.push(MasterKey::from_bytes(key));
        }
        if keys.is_empty() {
            return Err("the key file holds no key".into());
        }
        let newest = keys.remove(0);
        Ok(Self { newest, older: keys })
    }

    /// The key that new tickets are made with.
    pub fn current(&self) -> KeyId {
        self.newest.id()
    }

    /// Whether tokens of this key can still be checked.
    pub fn knows(&self, id: KeyId) -> bool {
        self.find(id).is_some()
    }

    fn find(&self, id: KeyId) -> Option<&MasterKey> {
        std::iter::once(&self.newest).chain(&self.older).find(|key| key.id() == id)
    }

    /// The token of a ticket: the same whenever it is asked for, so that a message can be sent again without a token at
    /// rest. `None` where the ring no longer has the key.
    pub fn token(
        &self,
        key: KeyId,
        ticket: &TicketId,
        purpose: Purpose,
        account: &AccountId,
        contact: &AddressHash,
    ) -> Option<Token> {
        let tag = self.find(key)?.mac(&[
            b"rekeyd token 1",
            ticket.bytes(),
            purpose.word().as_bytes(),
            &account.directory.0.to_be_bytes(),
            account.stable.as_bytes(),
            &contact.0,
        ]);
        let mut mac = [0; 32];
        mac.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        Some(Token::new(key, mac))
    }

    /// Wraps the store's data key under the newest key. `nonce` is fresh chance.
    pub fn wrap(&self, data: &DataKey, nonce: [u8; 12]) -> Sealed {
        seal(&subkey(&self.newest, b"wrap"), nonce, b"data key", data.0.0.as_slice())
    }

    /// Unwraps a data key that any key of the ring wrapped; the second value says whether that was the newest one.
    pub fn unwrap(&self, sealed: &Sealed) -> Option<(DataKey, bool)> {
        std::iter::once(&self.newest).chain(&self.older).enumerate().find_map(|(age, key)| {
            let bytes = open(&subkey(key, b"wrap"), sealed, b"data key")?;
            let bytes: [u8; 32] = bytes.as_slice().try_into().ok()?;
            Some((DataKey(MasterKey::from_bytes(bytes)), age == 0))
        })
    }
}

/// The store's own key: hashes addresses and tokens, seals typed logins and recipients.
pub struct DataKey(MasterKey);

impl DataKey {
    /// From the system's randomness.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(MasterKey::from_bytes(bytes))
    }

    /// The keyed hash under which a token is kept and found.
    pub fn token_hash(&self, token: &Token) -> TokenHash {
        TokenHash(bytes_of(&self.0.mac(&[b"token", token.to_bytes().as_slice()])))
    }

    /// The keyed hash of a contact's folded address.
    pub fn address_hash(&self, folded: &str) -> AddressHash {
        AddressHash(bytes_of(&self.0.mac(&[b"address", folded.as_bytes()])))
    }

    /// The key of a pace counter: its scope and whom it counts, unreadable at rest.
    pub fn pace_key(&self, scope: &str, whom: &str) -> [u8; 16] {
        let mut key = [0; 16];
        key.iter_mut()
            .zip(self.0.mac(&[b"pace", scope.as_bytes(), whom.as_bytes()]).as_ref())
            .for_each(|(to, from)| *to = *from);
        key
    }

    /// Seals a value for one use (`label`) and one row (`row`), so that a value copied elsewhere does not open.
    pub fn seal(&self, label: &str, row: &[u8], nonce: [u8; 12], plain: &[u8]) -> Sealed {
        seal(&subkey(&self.0, label.as_bytes()), nonce, row, plain)
    }

    /// Opens a sealed value; `None` where the label, the row, the key or the bytes are not those it was sealed with.
    pub fn open(&self, label: &str, row: &[u8], sealed: &Sealed) -> Option<Zeroizing<Vec<u8>>> {
        open(&subkey(&self.0, label.as_bytes()), sealed, row)
    }
}

/// A value encrypted at rest: nonce, then ChaCha20-Poly1305 ciphertext and tag (RFC 8439).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sealed(pub Vec<u8>);

/// What the store keeps of a token.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TokenHash(pub [u8; 32]);

/// What the store keeps of an address that a ticket is bound to.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct AddressHash(pub [u8; 32]);

impl AddressHash {
    /// A short form for the audit trail.
    pub fn short(&self) -> String {
        HEXLOWER.encode(self.0.first_chunk::<6>().map_or(&[][..], |chunk| chunk.as_slice()))
    }
}

/// SHA-256 over parts, each preceded by its length.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = [0; 32];
    out.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    out
}

fn bytes_of(tag: &hmac::Tag) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    out
}

fn subkey(key: &MasterKey, label: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(bytes_of(&key.mac(&[b"seal", label])))
}

fn seal(key: &[u8; 32], nonce: [u8; 12], row: &[u8], plain: &[u8]) -> Sealed {
    let mut bytes = nonce.to_vec();
    let mut text = plain.to_vec();
    if let Ok(key) = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, key) {
        let sealed = aead::LessSafeKey::new(key).seal_in_place_append_tag(
            aead::Nonce::assume_unique_for_key(nonce),
            aead::Aad::from(row),
            &mut text,
        );
        if sealed.is_err() {
            text.clear();
        }
    }
    bytes.extend_from_slice(&text);
    Sealed(bytes)
}

fn open(key: &[u8; 32], sealed: &Sealed, row: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, text) = sealed.0.split_first_chunk::<12>()?;
    let mut text = Zeroizing::new(text.to_vec());
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::CHACHA20_POLY1305, key).ok()?);
    let length =
        key.open_in_place(aead::Nonce::assume_unique_for_key(*nonce), aead::Aad::from(row), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::DirectoryKey;
    use super::*;

    fn account(stable: &str) -> AccountId {
        AccountId { directory: DirectoryKey(1), stable: stable.into() }
    }

    #[test]
    fn p4_a_token_belongs_to_one_ticket_purpose_account_and_address() {
        let ring = KeyRing::new(MasterKey::from_bytes([1; 32]));
        let data = DataKey::from_bytes([2; 32]);
        let (ada, eve) = (data.address_hash("ada@example.org"), data.address_hash("eve@example.org"));
        let token = |ticket: u8, purpose, stable: &str, address| {
            let token =
                ring.token(ring.current(), &TicketId::from_bytes([ticket; 22]), purpose, &account(stable), address);
            token.unwrap().to_bytes().to_vec()
        };
        let first = token(1, Purpose::Reset, "a", &ada);
        assert_eq!(first, token(1, Purpose::Reset, "a", &ada));
        for other in [
            token(2, Purpose::Reset, "a", &ada),
            token(1, Purpose::Activation, "a", &ada),
            token(1, Purpose::Reset, "b", &ada),
            token(1, Purpose::Reset, "a", &eve),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn t136_a_rotated_ring_still_knows_its_older_keys() {
        let (old, new) = (MasterKey::from_bytes([1; 32]), MasterKey::from_bytes([9; 32]));
        let before = KeyRing::parse(&old.encode()).unwrap();
        let after = KeyRing::parse(&format!("# newest first\n{}\n\n{}\n", *new.encode(), *old.encode())).unwrap();
        let id = TicketId::from_bytes([3; 22]);
        let address = AddressHash([0; 32]);
        let token = |ring: &KeyRing, key| {
            ring.token(key, &id, Purpose::Reset, &account("a"), &address).map(|t| t.to_bytes().to_vec())
        };
        assert_eq!(token(&before, before.current()), token(&after, before.current()));
        assert!(!before.knows(after.current()));
        let wrapped = before.wrap(&DataKey::from_bytes([5; 32]), [7; 12]);
        assert!(after.unwrap(&wrapped).is_some_and(|(_, newest)| !newest));
        assert!(KeyRing::new(MasterKey::from_bytes([8; 32])).unwrap(&wrapped).is_none());
    }

    #[test]
    fn sealed_values_open_only_where_they_were_sealed() {
        let data = DataKey::from_bytes([2; 32]);
        let sealed = data.seal("login", b"row 1", [4; 12], b"ada");
        assert_eq!(data.open("login", b"row 1", &sealed).unwrap().as_slice(), b"ada");
        assert!(data.open("login", b"row 2", &sealed).is_none());
        assert!(data.open("recipient", b"row 1", &sealed).is_none());
        assert!(data.open("login", b"row 1", &Sealed(vec![1, 2, 3])).is_none());
    }

    #[test]
    fn key_files_say_which_line_is_wrong_and_not_what_it_holds() {
        let told = KeyRing::parse("# a comment\nhunter2\n").err();
        assert_eq!(told.as_deref(), Some("line 2 of the key file is not base64 of 32 bytes"));
        assert!(KeyRing::parse("").is_err());
    }
}
