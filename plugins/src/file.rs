//! The channel `file`: one `.eml` per notice in a folder, for trial and tests. A repeat replaces the same file.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rekeyd_core::domain::{ContactKind, Notice, Recipient};
use rekeyd_core::settings::{Fault, Section};

use crate::mime::Sender;
use crate::{Channel, ChannelConfig, Delivered, Messages};

/// Whom letters come from where nothing is said; nobody gets them by mail.
const NOBODY: &str = "rekeyd@rekeyd.invalid";

/// What a section of the kind `file` says.
pub struct FileConfig {
    name: String,
    folder: PathBuf,
    sender: Sender,
}

/// The channel.
struct FileChannel {
    name: String,
    folder: PathBuf,
    sender: Sender,
    messages: Arc<Messages>,
}

impl FileConfig {
    /// Reads the section.
    pub(crate) fn read(section: &Section<'_>, name: String) -> Option<Box<dyn ChannelConfig>> {
        let remedy = "Write the folder's path from the root, such as \"/var/lib/rekeyd/mail\".";
        let folder = section.parsed_required("folder", remedy, |text| {
            if Path::new(text).is_absolute() {
                Ok(PathBuf::from(text))
            } else {
                Err("it is not an absolute path".into())
            }
        });
        let sender = Sender::read(section, Some(NOBODY));
        Some(Box::new(Self { name, folder: folder?, sender: sender? }))
    }
}

impl ChannelConfig for FileConfig {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&self, messages: &Arc<Messages>, _: Option<&Path>) -> Result<Box<dyn Channel>, Vec<Fault>> {
        let (name, folder, sender) = (self.name.clone(), self.folder.clone(), self.sender.clone());
        Ok(Box::new(FileChannel { name, folder, sender, messages: Arc::clone(messages) }))
    }
}

#[async_trait]
impl Channel for FileChannel {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> ContactKind {
        ContactKind::Email
    }

    async fn deliver(&self, to: &Recipient, notice: &Notice) -> Delivered {
        let letter = self
            .messages
            .render(notice)
            .and_then(|rendered| self.sender.letter(&self.messages.config.organisation, to, notice, &rendered));
        let letter = match letter {
            Ok(letter) => letter,
            Err(why) => return Delivered::Never(why),
        };
        let at = jiff::Timestamp::from_millisecond(notice.at.millis()).unwrap_or_default();
        let name = format!("{}-{}-{}.eml", at.strftime("%Y%m%dT%H%M%SZ"), notice.kind.word(), notice.id);
        let folder = self.folder.clone();
        let written = tokio::task::spawn_blocking(move || write(&folder, &name, &letter.bytes)).await;
        match written.unwrap_or_else(|_| Err(io::ErrorKind::Other.into())) {
            Ok(()) => Delivered::Delivered,
            Err(error) => Delivered::Later(format!("the folder can't be written to: {}", error.kind())),
        }
    }

    async fn probe(&self) -> Result<String, String> {
        let folder = self.folder.clone();
        let tried = tokio::task::spawn_blocking(move || {
            write(&folder, ".probe", b"")?;
            fs::remove_file(folder.join(".probe"))
        });
        match tried.await.unwrap_or_else(|_| Err(io::ErrorKind::Other.into())) {
            Ok(()) => Ok(format!("messages go into the folder {}", self.folder.display())),
            Err(error) => Err(format!("the folder {} can't be written to: {}", self.folder.display(), error.kind())),
        }
    }
}

/// Writes a file that appears whole or not at all, and that only the service can read.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let half = folder.join(format!(".{name}.part"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&half, folder.join(name))
}
