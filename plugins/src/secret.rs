//! Where every secret of rekeyd's own comes from (keys, passwords towards directory and smart hosts): a file that not
//! everybody can read, or a systemd credential. Never the configuration, the environment or a command line.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// No secret is longer.
const LONGEST: u64 = 4096;

/// Where a secret is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SecretSource {
    /// A credential of this name, loaded by systemd (`LoadCredential=`).
    Credential(String),
    /// A file.
    File(PathBuf),
}

/// A secret, wiped when dropped. It has no `Debug`.
pub struct Secret(Zeroizing<String>);

impl SecretSource {
    /// What to write for one.
    pub const REMEDY: &str = "Write a path from the root, or \"credential:NAME\" for a credential that systemd loads.";

    /// Reads a setting: an absolute path or `credential:NAME`.
    ///
    /// # Errors
    /// Says what is wrong with it, without repeating it: it may be the secret itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("credential:") {
            let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            return if plain && !name.starts_with('.') {
                Ok(Self::Credential(name.to_owned()))
            } else {
                Err("it is no name of a credential".into())
            };
        }
        if Path::new(text).is_absolute() {
            return Ok(Self::File(text.into()));
        }
        Err("it is neither an absolute path nor a credential".into())
    }

    /// Reads the secret; one line break at its end is not part of it. `credentials` is systemd's folder of them.
    ///
    /// # Errors
    /// Says in words why it can't be read or is not safe where it is.
    pub fn read(&self, credentials: Option<&Path>) -> Result<Secret, String> {
        let (Secret(mut text), path) = self.whole(credentials)?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        if text.is_empty() {
            return Err(format!("{} is empty", path.display()));
        }
        if text.contains(['\0', '\r', '\n']) {
            return Err(format!("{} has more than one line", path.display()));
        }
        Ok(Secret(text))
    }

    /// Reads a secret of several lines, as it stands.
    ///
    /// # Errors
    /// As [`SecretSource::read`].
    pub fn read_lines(&self, credentials: Option<&Path>) -> Result<Secret, String> {
        self.whole(credentials).map(|(text, _)| text)
    }

    fn whole(&self, credentials: Option<&Path>) -> Result<(Secret, PathBuf), String> {
        let path = match self {
            Self::Credential(name) => {
                let folder = credentials.ok_or("systemd has passed no credentials to this process")?;
                folder.join(name)
            }
            Self::File(path) => path.clone(),
        };
        let cannot = |error: std::io::Error| format!("{} can't be read: {}", path.display(), error.kind());
        let file = File::open(&path).map_err(cannot)?;
        let facts = file.metadata().map_err(cannot)?;
        if !facts.is_file() {
            return Err(format!("{} is not a file", path.display()));
        }
        if facts.mode() & 0o007 != 0 {
            return Err(format!("{} can be read or written by everybody (chmod o-rwx)", path.display()));
        }
        if facts.mode() & 0o020 != 0 {
            return Err(format!("{} can be written by its group (chmod g-w)", path.display()));
        }
        if facts.len() > LONGEST {
            return Err(format!("{} is longer than {LONGEST} bytes", path.display()));
        }
        // With the whole room from the start, nothing is moved and left behind in freed memory.
        let mut text = Zeroizing::new(String::with_capacity(4097));
        file.take(LONGEST).read_to_string(&mut text).map_err(cannot)?;
        Ok((Secret(text), path))
    }
}

impl Secret {
    /// The secret, for the protocol that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The secret itself, for a protocol that keeps it.
    pub fn into_text(self) -> Zeroizing<String> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn p6_a_secret_comes_only_from_a_private_file_or_a_credential() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("smtp");
        fs::write(&path, "geheim \n").unwrap();
        let source = SecretSource::parse(path.to_str().unwrap()).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(source.read(None).err().unwrap().contains("by everybody"));
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert_eq!(source.read(None).ok().unwrap().expose(), "geheim ");

        let credential = SecretSource::parse("credential:smtp").unwrap();
        assert_eq!(credential.read(Some(folder.path())).ok().unwrap().expose(), "geheim ");
        assert!(credential.read(None).err().unwrap().contains("no credentials"));

        for wrong in ["hunter2", "credential:", "credential:../x", "credential:.x", "./x", ""] {
            let what = SecretSource::parse(wrong).unwrap_err();
            assert!(wrong.is_empty() || !what.contains(wrong), "{what}");
        }
        for (text, why) in [
            ("", "empty"),
            ("\n", "empty"),
            ("a\nb\n", "one line"),
            ("a\0b", "one line"),
            (&"x".repeat(5000), "longer"),
        ] {
            fs::write(&path, text).unwrap();
            assert!(source.read(None).err().unwrap().contains(why), "{why}");
        }
    }
}
