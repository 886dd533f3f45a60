//! Where the password of rekeyd's own account comes from: a file that nobody else may read, or a systemd credential.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::directory::config::PasswordFile;

/// More than any password has, in bytes.
const LONGEST: u64 = 4096;

/// Reads the password; one line end at its end does not belong to it. It is read anew for each connection, so that a
/// rotated one is found.
///
/// # Errors
/// What is wrong with the file, never what is in it.
pub(super) fn read(file: &PasswordFile) -> Result<Zeroizing<String>, String> {
    let path = path(file)?;
    let wrong = |what: &str| format!("the password file {}: {what}", path.display());
    let mut open = File::open(&path).map_err(|error| wrong(&error.to_string()))?;
    let metadata = open.metadata().map_err(|error| wrong(&error.to_string()))?;
    if !metadata.is_file() {
        return Err(wrong("it is no file"));
    }
    let mode = metadata.permissions().mode();
    if mode & 0o007 != 0 {
        return Err(wrong("everybody on this machine may read it; take that right away with chmod o="));
    }
    if mode & 0o020 != 0 {
        return Err(wrong("its group may write it; take that right away with chmod g-w"));
    }
    let mut text = Zeroizing::new(String::new());
    open.by_ref().take(LONGEST + 1).read_to_string(&mut text).map_err(|error| wrong(&error.to_string()))?;
    if text.len() as u64 > LONGEST {
        return Err(wrong("it is longer than a password"));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    // An empty password would turn the bind into an anonymous success.
    if line.is_empty() || line.contains(['\0', '\n']) {
        return Err(wrong("it holds no password on one line"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

fn path(file: &PasswordFile) -> Result<PathBuf, String> {
    match file {
        PasswordFile::Path(path) => Ok(path.clone()),
        PasswordFile::Credential(name) => {
            #[expect(clippy::disallowed_methods, reason = "systemd passes the folder of the credentials this way")]
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
            let folder = folder
                .ok_or_else(|| format!("there is no credential {name}: add LoadCredential={name}:… to the unit"))?;
            Ok(PathBuf::from(folder).join(name))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    #[test]
    fn t64_only_a_private_file_with_a_password_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bind");
        for (text, mode, expected) in [
            ("secret", 0o600, Some("secret")),
            ("secret\n", 0o400, Some("secret")),
            ("secret\r\n", 0o640, Some("secret")),
            (" se cret ", 0o600, Some(" se cret ")),
            ("secret", 0o644, None),
            ("secret", 0o660, None),
            ("", 0o600, None),
            ("\n", 0o600, None),
            ("a\nb", 0o600, None),
            ("a\0b", 0o600, None),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = read(&PasswordFile::Path(path.clone()));
            assert_eq!(read.as_ref().ok().map(|text| text.as_str()), expected, "{text:?} {mode:o}");
            fs::remove_file(&path).unwrap();
        }
        assert!(read(&PasswordFile::Path(folder.path().join("absent"))).is_err());
        assert!(read(&PasswordFile::Path(folder.path().to_owned())).is_err());
    }
}
