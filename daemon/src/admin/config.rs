//! The `[admin]` section: where the operators' socket lies, and whose group may use it.

use std::path::PathBuf;

use rekeyd_core::settings::Section;

use super::protocol::DEFAULT_SOCKET;

/// The operators' socket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AdminConfig {
    /// The socket's path; its folder belongs to rekeyd or root, and nobody else may write there.
    pub socket: PathBuf,
    /// The group whose members are operators. Without it root alone may call.
    pub group: Option<String>,
    /// Whether rekeyd may run where the kernel shows it other uids than the machine has (rootless containers).
    pub allow_user_namespace: bool,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { socket: DEFAULT_SOCKET.into(), group: None, allow_user_namespace: false }
    }
}

impl AdminConfig {
    /// Reads `[admin]`; what is wrong becomes a fault of the document and the default takes its place.
    pub fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let socket = section.parsed("socket", "Write an absolute path, such as \"/run/rekeyd/admin.sock\".", |text| {
            let path = PathBuf::from(text);
            // The kernel keeps 108 bytes for the path of a socket, one of them for the end.
            if !path.is_absolute() || path.file_name().is_none() {
                Err("it is not the absolute path of a file".to_owned())
            } else if text.len() > 107 {
                Err("it is longer than 107 bytes, which is the most that a socket's path can have".to_owned())
            } else {
                Ok(path)
            }
        });
        let group = section.parsed("group", "Write the name of a group, such as \"rekeyd-operators\".", |text| {
            let odd = |c: char| c.is_control() || c.is_whitespace() || c == ':' || c == ',';
            if text.is_empty() || text.contains(odd) {
                Err("it is no name of a group".to_owned())
            } else {
                Ok(text.to_owned())
            }
        });
        let config = Self {
            socket: socket.unwrap_or(default.socket),
            group,
            allow_user_namespace: section.flag("allow_user_namespace", default.allow_user_namespace),
        };
        section.finish();
        config
    }
}

#[cfg(test)]
mod tests {
    use rekeyd_core::settings::Document;

    use super::*;

    #[test]
    fn what_is_wrong_is_named_and_the_default_stands() {
        let long = format!("[admin]\nsocket = \"/{}\"\ngroup = \"a b\"\nsokket = 1\n", "x".repeat(107));
        let document = Document::parse(&long);
        assert_eq!(AdminConfig::read(document.root().section("admin")), AdminConfig::default());
        let faults: Vec<_> = document.into_faults().into_iter().map(|fault| (fault.line, fault.key)).collect();
        let expected = [(2, "admin.socket"), (3, "admin.group"), (4, "admin.sokket")];
        assert_eq!(faults, expected.map(|(line, key)| (line, key.to_owned())));
    }
}
