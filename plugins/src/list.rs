//! Which kinds of channel exist. A new kind is one file that implements [`ChannelConfig`] and
//! [`Channel`], and one line in [`KINDS`].

use std::path::Path;
use std::sync::Arc;

use rekeyd_core::settings::{Fault, Section};

use crate::email_config::EmailConfig;
use crate::file::FileConfig;
use crate::{Channel, Messages};

/// How a kind reads its own keys of a `[[channel]]` section; `kind` and `name` are read already.
struct Kind {
    word: &'static str,
    read: fn(&Section<'_>, String) -> Option<Box<dyn ChannelConfig>>,
}

/// All kinds.
const KINDS: &[Kind] =
    &[Kind { word: "email", read: EmailConfig::read }, Kind { word: "file", read: FileConfig::read }];

/// What a `[[channel]]` section says, before files are opened.
pub trait ChannelConfig: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Makes the channel: reads its secrets and certificates, but connects to nothing. `credentials` is the folder of
    /// systemd credentials, if there is one.
    ///
    /// # Errors
    /// Every fault that only the files could show.
    fn open(&self, messages: &Arc<Messages>, credentials: Option<&Path>) -> Result<Box<dyn Channel>, Vec<Fault>>;
}

/// Reads every `[[channel]]` section, in order; faults are reported to the document and their sections left out.
pub fn read(root: &Section<'_>) -> Vec<Box<dyn ChannelConfig>> {
    let mut channels: Vec<Box<dyn ChannelConfig>> = Vec::new();
    for section in root.sections("channel") {
        let words: Vec<_> = KINDS.iter().map(|kind| format!("{:?}", kind.word)).collect();
        let remedy = format!("Write one of {}.", words.join(", "));
        let kind = section.parsed_required("kind", &remedy, |text| {
            KINDS.iter().find(|kind| kind.word == text).ok_or_else(|| "no channel of that kind exists".to_owned())
        });
        let Some(kind) = kind else { continue };
        let name = section.text("name").unwrap_or_else(|| kind.word.to_owned());
        if channels.iter().any(|channel| channel.name() == name) {
            section.fault("name", "two channels have the same name", "Give each [[channel]] a name of its own.");
        }
        channels.extend((kind.read)(&section, name));
        section.finish();
    }
    channels
}

#[cfg(test)]
mod tests {
    use rekeyd_core::settings::Document;

    use super::*;

    #[test]
    fn each_section_becomes_a_channel_and_every_fault_is_named() {
        let text = "
[[channel]]
kind = \"file\"
folder = \"/var/lib/rekeyd/mail\"
from = \"no-reply@example.org\"

[[channel]]
kind = \"pigeon\"

[[channel]]
kind = \"file\"
folder = \"mail\"
from = \"no-reply\"
fodler = \"x\"
";
        let document = Document::parse(text);
        let channels = read(&document.root());
        assert_eq!(channels.iter().map(|channel| channel.name()).collect::<Vec<_>>(), ["file"]);
        let faults: Vec<_> = document.into_faults().iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "line 8: channel.kind: no channel of that kind exists. Write one of \"email\", \"file\".",
                "line 10: channel.name: two channels have the same name. Give each [[channel]] a name of its own.",
                "line 12: channel.folder: it is not an absolute path. Write the folder's path from the root, such as \
                 \"/var/lib/rekeyd/mail\".",
                "line 13: channel.from: it is not a plain address of the form name@domain. Write a plain address of \
                 ASCII characters, such as \"no-reply@example.org\".",
                "line 14: channel.fodler: no such key. Did you mean \"folder\"?",
            ]
        );
    }
}
