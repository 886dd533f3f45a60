//! What a delivered message says: headers, parts and links, decoded as a mail program does.

use std::sync::LazyLock;

use data_encoding::BASE64_MIME_PERMISSIVE;
use regex::{Captures, Regex};

/// A message as a server took it.
#[derive(Clone)]
pub struct Message {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Every byte, with dots unstuffed and lines ending in CR LF.
    pub raw: Vec<u8>,
}

/// One part that is not a container: its kind in lower case, and its decoded text.
struct Part {
    kind: String,
    text: String,
}

impl Message {
    /// The decoded value of the first header of this name.
    pub fn header(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.raw);
        header(split(&text).0, name).map(|value| decode_words(&value))
    }

    /// The plain text; empty when there is none.
    pub fn text(&self) -> String {
        self.part("text/plain")
    }

    /// The HTML; empty when there is none.
    pub fn html(&self) -> String {
        self.part("text/html")
    }

    /// All links of the plain text, in order.
    pub fn links(&self) -> Vec<String> {
        static LINK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"https?://[^\s<>]+").expect("a pattern"));
        LINK.find_iter(&self.text()).map(|found| found.as_str().to_owned()).collect()
    }

    /// The only link that has this in it, such as `/r/`.
    pub fn link(&self, part: &str) -> String {
        let mut links: Vec<_> = self.links().into_iter().filter(|link| link.contains(part)).collect();
        links.dedup();
        assert!(links.len() == 1, "links with {part}: {links:?} in\n{}", self.text());
        links.remove(0)
    }

    /// The tokens of all links that have this in them, such as `/r/`.
    pub fn tokens(&self, part: &str) -> Vec<String> {
        let links = self.links().into_iter().filter(|link| link.contains(part));
        links.filter_map(|link| link.rsplit_once('/').map(|(_, token)| token.to_owned())).collect()
    }

    fn part(&self, kind: &str) -> String {
        let mut parts = Vec::new();
        collect(&String::from_utf8_lossy(&self.raw), &mut parts);
        parts.into_iter().find(|part| part.kind == kind).map(|part| part.text).unwrap_or_default()
    }
}

fn collect(text: &str, parts: &mut Vec<Part>) {
    let (head, body) = split(text);
    let content = header(head, "content-type").unwrap_or_else(|| "text/plain".to_owned());
    let kind = content.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind.starts_with("multipart/") {
        static BOUNDARY: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r#"[Bb]oundary="?([^";]+)"?"#).expect("a pattern"));
        let boundary = BOUNDARY.captures(&content).expect("a boundary")[1].to_owned();
        let body = format!("\r\n{body}");
        let (body, _) = body.split_once(&format!("\r\n--{boundary}--")).expect("an end of the parts");
        for part in body.split(&format!("\r\n--{boundary}\r\n")).skip(1) {
            collect(part, parts);
        }
        return;
    }
    let text = match header(head, "content-transfer-encoding").unwrap_or_default().to_ascii_lowercase().as_str() {
        "base64" => String::from_utf8(BASE64_MIME_PERMISSIVE.decode(body.as_bytes()).expect("base64")),
        "quoted-printable" => String::from_utf8(unquote(&body.replace("=\r\n", ""))),
        _ => Ok(body.to_owned()),
    };
    parts.push(Part { kind, text: text.expect("UTF-8").replace("\r\n", "\n") });
}

fn split(text: &str) -> (&str, &str) {
    if let Some(body) = text.strip_prefix("\r\n") {
        return ("", body);
    }
    text.split_once("\r\n\r\n").unwrap_or((text, ""))
}

fn header(head: &str, name: &str) -> Option<String> {
    let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    unfolded.split("\r\n").find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// RFC 2047: words in a header that are not ASCII.
fn decode_words(value: &str) -> String {
    static WORD: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"=\?[Uu][Tt][Ff]-8\?([BbQq])\?([^?]*)\?=(?:\s+(=\?))?").expect("a pattern"));
    let mut value = value.to_owned();
    // The space between two words is not part of the text.
    while WORD.is_match(&value) {
        value = WORD
            .replace(&value, |found: &Captures<'_>| {
                let bytes = if found[1].eq_ignore_ascii_case("b") {
                    BASE64_MIME_PERMISSIVE.decode(found[2].as_bytes()).expect("base64")
                } else {
                    unquote(&found[2].replace('_', " "))
                };
                format!("{}{}", String::from_utf8_lossy(&bytes), found.get(3).map_or("", |next| next.as_str()))
            })
            .into_owned();
    }
    value
}

fn unquote(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'='
            && let Some(pair) = tail.get(..2)
            && let Ok(byte) = u8::from_str_radix(&String::from_utf8_lossy(pair), 16)
        {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
        }
    }
    bytes
}
