//! The letter that carries a notice. Sender, reply address and return path come from the configuration alone; id, date
//! and boundary from the notice, so that the same notice is the same letter to the byte.

use std::time::{Duration, UNIX_EPOCH};

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, Message, MultiPart, SinglePart};
use rekeyd_core::domain::{EmailAddress, Notice, Recipient};
use rekeyd_core::settings::Section;
use zeroize::Zeroizing;

use crate::render::Rendered;

/// Whom letters come from.
#[derive(Clone, Debug)]
pub struct Sender {
    from: Address,
    name: Option<String>,
    reply_to: Option<Address>,
    bounce_to: Address,
}

/// A letter, ready to be handed over. It holds links, so it has no `Debug` and is wiped when dropped.
pub struct Letter {
    /// The return path, from the configuration.
    pub bounce_to: String,
    /// The one recipient, with the domain in A-labels.
    pub to: String,
    /// Whether the recipient's address needs SMTPUTF8.
    pub needs_utf8: bool,
    /// Headers and body; every line ends with CR LF, and neither of the two stands alone.
    pub bytes: Zeroizing<Vec<u8>>,
}

impl Sender {
    /// Reads `from`, `from_name`, `reply_to` and `bounce_to` of a channel; `default` is for channels whose letters go
    /// nowhere.
    pub fn read(section: &Section<'_>, default: Option<&str>) -> Option<Self> {
        let remedy = "Write a plain address of ASCII characters, such as \"no-reply@example.org\".";
        let reply_to = section.parsed("reply_to", remedy, plain_address);
        let bounce_to = section.parsed("bounce_to", remedy, plain_address);
        let name = section.parsed("from_name", "Write a name in one line.", |text| {
            // The MIME library panics on line breaks here.
            if text.chars().any(char::is_control) {
                Err("it has control characters".into())
            } else {
                Ok(text.to_owned())
            }
        });
        let from = match default {
            Some(default) if !section.has("from") => plain_address(default).ok()?,
            _ => section.parsed_required("from", remedy, plain_address)?,
        };
        Some(Self { bounce_to: bounce_to.unwrap_or_else(|| from.clone()), from, name, reply_to })
    }

    /// The domain that letters come from.
    pub fn domain(&self) -> &str {
        self.from.domain()
    }

    /// Writes the letter. `organisation` stands before the sender's address where the configuration has no `from_name`.
    ///
    /// # Errors
    /// Says in words why there can be no such letter, without the address.
    pub fn letter(
        &self,
        organisation: &str,
        to: &Recipient,
        notice: &Notice,
        rendered: &Rendered,
    ) -> Result<Letter, String> {
        let recipient = Address::new(to.address.local(), to.address.ascii_domain())
            .map_err(|_| "the recipient's address is none that mail can carry")?;
        let seconds = u64::try_from(notice.at.seconds()).unwrap_or(0);
        let name = self.name.clone().unwrap_or_else(|| organisation.to_owned());
        let raw = |name, value: &str| HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned());
        let mut builder = Message::builder()
            .from(Mailbox::new(Some(name), self.from.clone()))
            .to(Mailbox::new(None, recipient.clone()))
            .subject(rendered.subject.as_str())
            .date(UNIX_EPOCH + Duration::from_secs(seconds))
            .message_id(Some(format!("<{}@{}>", notice.id, self.domain())))
            .raw_header(raw("Auto-Submitted", "auto-generated"))
            .raw_header(raw("X-Auto-Response-Suppress", "All"))
            .raw_header(raw("Content-Language", &rendered.language));
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(Mailbox::new(None, reply_to.clone()));
        }
        let envelope = Envelope::new(Some(self.bounce_to.clone()), vec![recipient.clone()])
            .map_err(|_| "the letter has no recipient")?;
        let parts = MultiPart::alternative()
            .boundary(format!("rekeyd-{}", notice.id))
            .singlepart(part(ContentType::TEXT_PLAIN, &rendered.text)?)
            .singlepart(part(ContentType::TEXT_HTML, &rendered.html)?);
        let message =
            builder.envelope(envelope).multipart(parts).map_err(|_| "the letter could not be put together")?;
        let bytes = Zeroizing::new(message.formatted());
        if !ends_of_lines_are_whole(&bytes) {
            return Err("the letter would have broken line ends".into());
        }
        let to: &str = recipient.as_ref();
        Ok(Letter { bounce_to: self.bounce_to.to_string(), needs_utf8: !to.is_ascii(), to: to.to_owned(), bytes })
    }
}

/// One part in quoted-printable: only ASCII in lines of at most 76 characters, whatever the text holds.
fn part(content: ContentType, text: &str) -> Result<SinglePart, String> {
    let body = Body::new_with_encoding(text.to_owned(), ContentTransferEncoding::QuotedPrintable)
        .map_err(|_| "the text can't be encoded")?;
    Ok(SinglePart::builder().header(content).body(body))
}

fn plain_address(text: &str) -> Result<Address, String> {
    let address = EmailAddress::parse(text).map_err(|error| error.to_string())?;
    if !address.local().is_ascii() {
        return Err("it is not a plain address of the form name@domain".into());
    }
    Address::new(address.local(), address.ascii_domain())
        .map_err(|_| "it is not a plain address of the form name@domain".into())
}

/// Whether CR and LF come only as pairs: a lone one could end a line, and so the letter, at one server and not at the
/// next.
fn ends_of_lines_are_whole(bytes: &[u8]) -> bool {
    let mut before = None;
    for byte in bytes.iter().copied().chain([0]) {
        if (before == Some(b'\r')) != (byte == b'\n') {
            return false;
        }
        before = Some(byte);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t81_a_lone_end_of_line_is_seen() {
        for fine in ["", "a\r\nb", "\r\n\r\n"] {
            assert!(ends_of_lines_are_whole(fine.as_bytes()), "{fine:?}");
        }
        for broken in ["\r", "\n", "a\nb\r\n", "a\rb\r\n", "\r\r\n", "\r\n\n", "a\r"] {
            assert!(!ends_of_lines_are_whole(broken.as_bytes()), "{broken:?}");
        }
    }
}
