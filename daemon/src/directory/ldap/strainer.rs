//! Takes what searches find out of a server's answers piece by piece, so that an entry of any size can be read: a group
//! with a million members comes as one message of fifty million bytes. All other messages are passed on whole.
//!
//! It reads no more than the order in which types and values come; which message is whose is the library's affair, which
//! sees the end of each search.

use tokio::sync::mpsc;

use super::guard::{Header, LONGEST_MESSAGE, Unfit, whole_messages};

/// The longest single name or value.
const LONGEST_PIECE: usize = 64 * 1024;
/// How many readings' worth of pieces may wait.
const QUEUE: usize = 4;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
/// `SearchResultEntry` is application 4 (RFC 4511, 4.5.2).
const ENTRY: u8 = 0x64;
/// Controls after an operation.
const CONTROLS: u8 = 0xa0;

/// A piece of an entry.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Piece {
    /// An entry begins.
    Entry,
    /// The type of the values that follow, with its options.
    Type(Vec<u8>),
    /// A value.
    Value(Vec<u8>),
}

/// Where the pieces go.
pub(super) struct Pieces(mpsc::Sender<Vec<Piece>>);

impl Pieces {
    /// Both ends.
    pub(super) fn new() -> (Self, mpsc::Receiver<Vec<Piece>>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Hands some on; waits while nobody takes them. Says whether anybody still does.
    pub(super) async fn send(&self, pieces: Vec<Piece>) -> bool {
        pieces.is_empty() || self.0.send(pieces).await.is_ok()
    }
}

/// What some bytes hold.
#[derive(Debug, Default)]
pub(super) struct Strained {
    /// So many of them are done with.
    pub(super) done: usize,
    /// The pieces of entries.
    pub(super) pieces: Vec<Piece>,
    /// The other messages.
    pub(super) passed: Vec<u8>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Place {
    #[default]
    Message,
    Operation,
    Name,
    List,
    AttributeOrEnd,
    Type,
    Set,
    ValueOrAttribute,
}

/// The reader of one connection.
#[derive(Debug, Default)]
pub(super) struct Strainer {
    place: Place,
    /// How many bytes are left of the entry's message.
    left: usize,
}

impl Strainer {
    /// Reads on; bytes that are not done with come again, with more behind them.
    ///
    /// # Errors
    /// [`Unfit`] as soon as the bytes can't become messages any more.
    pub(super) fn strain(&mut self, bytes: &[u8]) -> Result<Strained, Unfit> {
        let mut strained = Strained::default();
        loop {
            if self.place != Place::Message && self.left == 0 {
                self.place = Place::Message;
            }
            let rest = bytes.get(strained.done..).unwrap_or_default();
            let more = if self.place == Place::Message {
                self.message(rest, &mut strained)?
            } else {
                self.element(rest, &mut strained)?
            };
            if !more {
                return Ok(strained);
            }
        }
    }

    /// The head of a message; one that is no entry is passed on. Says whether there was enough of it.
    fn message(&mut self, rest: &[u8], strained: &mut Strained) -> Result<bool, Unfit> {
        let Some(message) = Header::read(rest)? else { return Ok(false) };
        if message.tag != SEQUENCE {
            return Err(Unfit::Malformed);
        }
        let Some(id) = Header::read(rest.get(message.own..).unwrap_or_default())? else { return Ok(false) };
        if id.tag != INTEGER || id.content > 4 {
            return Err(Unfit::Malformed);
        }
        let head = id.own + id.content;
        let Some(operation) = rest.get(message.own + head..).and_then(|rest| rest.first()) else { return Ok(false) };
        if *operation == ENTRY {
            self.place = Place::Operation;
            self.left = message.content.checked_sub(head).ok_or(Unfit::Malformed)?;
            strained.done += message.own + head;
            return Ok(true);
        }
        if message.content > LONGEST_MESSAGE {
            return Err(Unfit::Malformed);
        }
        let Some(whole) = rest.get(..message.own + message.content) else { return Ok(false) };
        if whole_messages(whole)? != whole.len() {
            return Err(Unfit::Malformed);
        }
        strained.passed.extend_from_slice(whole);
        strained.done += whole.len();
        Ok(true)
    }

    /// The next element of an entry. Says whether there was enough of it.
    fn element(&mut self, rest: &[u8], strained: &mut Strained) -> Result<bool, Unfit> {
        let Some(header) = Header::read(rest)? else { return Ok(false) };
        let (next, is_whole) = match (self.place, header.tag) {
            (Place::Operation, ENTRY) => (Place::Name, false),
            (Place::Name, OCTETS) => (Place::List, true),
            (Place::List, SEQUENCE) => (Place::AttributeOrEnd, false),
            (Place::AttributeOrEnd | Place::ValueOrAttribute, SEQUENCE) => (Place::Type, false),
            (Place::Type, OCTETS) => (Place::Set, true),
            (Place::Set, SET) => (Place::ValueOrAttribute, false),
            (Place::ValueOrAttribute, OCTETS) => (Place::ValueOrAttribute, true),
            (Place::AttributeOrEnd | Place::ValueOrAttribute, CONTROLS) => (Place::AttributeOrEnd, true),
            _ => return Err(Unfit::Malformed),
        };
        let length = if is_whole { header.own + header.content } else { header.own };
        if is_whole && header.content > LONGEST_PIECE {
            return Err(Unfit::Malformed);
        }
        let Some(element) = rest.get(..length) else { return Ok(false) };
        let content = || element.get(header.own..).unwrap_or_default().to_vec();
        match (self.place, header.tag) {
            (Place::Name, _) => strained.pieces.push(Piece::Entry),
            (Place::Type, _) => strained.pieces.push(Piece::Type(content())),
            (Place::ValueOrAttribute, OCTETS) => strained.pieces.push(Piece::Value(content())),
            _ => {}
        }
        self.left = self.left.checked_sub(length).ok_or(Unfit::Malformed)?;
        self.place = next;
        strained.done += length;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        // The long form, as some servers always write it.
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x84], length.as_slice(), content].concat()
    }

    fn entry(id: u8, attributes: &[(&str, &[&str])]) -> Vec<u8> {
        let list: Vec<u8> = attributes
            .iter()
            .flat_map(|(name, values)| {
                let values: Vec<u8> = values.iter().flat_map(|value| element(OCTETS, value.as_bytes())).collect();
                element(SEQUENCE, &[element(OCTETS, name.as_bytes()), element(SET, &values)].concat())
            })
            .collect();
        let operation = element(ENTRY, &[element(OCTETS, b"cn=x"), element(SEQUENCE, &list)].concat());
        element(SEQUENCE, &[element(INTEGER, &[id]), operation].concat())
    }

    /// SearchResultDone, success.
    fn done(id: u8) -> Vec<u8> {
        let operation = element(0x65, &[element(0x0a, &[0]), element(OCTETS, b""), element(OCTETS, b"")].concat());
        element(SEQUENCE, &[element(INTEGER, &[id]), operation].concat())
    }

    fn words(pieces: &[Piece]) -> String {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let words = pieces.iter().map(|piece| match piece {
            Piece::Entry => "*".to_owned(),
            Piece::Type(name) => format!("{}:", text(name)),
            Piece::Value(value) => text(value),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn t68_what_is_no_answer_is_refused() {
        let mut long = entry(2, &[("member", &["a"])]);
        // The message ends within its entry.
        *long.get_mut(5).unwrap() -= 3;
        for odd in [long, element(SEQUENCE, &element(SEQUENCE, b"")), element(OCTETS, b"x"), vec![0x30, 0x80, 1, 1]] {
            let mut strainer = Strainer::default();
            assert!(strainer.strain(&odd).is_err(), "{odd:x?}");
        }
        let huge = element(OCTETS, &vec![b'x'; LONGEST_PIECE + 1]);
        assert!(Strainer { place: Place::ValueOrAttribute, left: usize::MAX }.strain(&huge).is_err());
    }

    #[test]
    fn t57_entries_are_read_however_their_bytes_arrive() {
        let whole = [
            entry(2, &[("member;range=0-1", &["uid=a", "uid=b"]), ("objectClass", &["group"]), ("cn", &[])]),
            entry(2, &[]),
            done(2),
            entry(3, &[("member", &["uid=c"])]),
            done(3),
        ]
        .concat();
        for cut in 1..=whole.len() {
            let (mut strainer, mut waiting) = (Strainer::default(), Vec::new());
            let (mut pieces, mut passed) = (Vec::new(), Vec::new());
            for some in whole.chunks(cut) {
                waiting.extend_from_slice(some);
                let strained = strainer.strain(&waiting).unwrap();
                waiting.drain(..strained.done);
                pieces.extend(strained.pieces);
                passed.extend(strained.passed);
            }
            assert!(waiting.is_empty(), "{cut}");
            assert_eq!(
                words(&pieces),
                "* member;range=0-1: uid=a uid=b objectClass: group cn: * * member: uid=c",
                "{cut}"
            );
            assert_eq!(passed, [done(2), done(3)].concat(), "{cut}");
        }
    }
}
