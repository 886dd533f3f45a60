//! What a server answers, taken apart without trusting its shape.

use rekeyd_core::domain::EntryName;
use rekeyd_core::flavour::Reply;
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::ppolicy::{self, PolicyAnswer};

use super::ber::{BOOLEAN, ENUMERATED, Elements, INTEGER, Malformed, OCTETS, SEQUENCE, SET};

/// One message of a server.
pub(super) struct Answer {
    /// The request that it belongs to; 0 is the server's own word.
    pub(super) id: u32,
    pub(super) body: Body,
}

/// What is in a message.
pub(super) enum Body {
    /// An entry that was found.
    Entry(Entry),
    /// Something on the way that says nothing.
    Intermediate,
    /// A search goes on elsewhere.
    Reference,
    /// The end of an operation: its tag, the result, and the value of an extended operation.
    Result { kind: u8, reply: Reply, value: Option<Vec<u8>> },
}

impl Answer {
    /// Reads a whole message.
    ///
    /// # Errors
    /// [`Malformed`] for everything that RFC 4511 does not know, and for names and words that are not UTF-8.
    pub(super) fn read(message: &[u8]) -> Result<Self, Malformed> {
        let mut parts = Elements(Elements(message).expect(SEQUENCE)?);
        let id = parts.number(INTEGER)?;
        let (kind, content) = parts.next()?.ok_or(Malformed)?;
        let content = Elements(content);
        let body = match kind {
            0x64 => Body::Entry(entry(content)?),
            0x73 => Body::Reference,
            0x79 => Body::Intermediate,
            0x61 | 0x65 | 0x67 | 0x78 => {
                // What follows the controls, or stands in their place, is one server's habit and nobody's business.
                let policy = parts.accept(0xa0)?.map(|controls| policy_of(Elements(controls))).transpose()?.flatten();
                result(kind, content, policy)?
            }
            _ => return Err(Malformed),
        };
        Ok(Self { id, body })
    }
}

fn entry(mut parts: Elements<'_>) -> Result<Entry, Malformed> {
    let mut entry = Entry::new(EntryName(text(parts.expect(OCTETS)?)?));
    let mut attributes = Elements(parts.expect(SEQUENCE)?);
    while let Some((kind, attribute)) = attributes.next()? {
        let mut parts = Elements(attribute);
        let name = parts.expect(OCTETS)?;
        let name = std::str::from_utf8(name).map_err(|_| Malformed)?;
        let mut values = Elements(parts.expect(SET)?);
        while let Some((tag, value)) = values.next()? {
            if tag != OCTETS || kind != SEQUENCE {
                return Err(Malformed);
            }
            entry.add(name, value);
        }
    }
    Ok(entry)
}

fn result(kind: u8, mut parts: Elements<'_>, policy: Option<PolicyAnswer>) -> Result<Body, Malformed> {
    let code = parts.number(ENUMERATED)?;
    let _matched = parts.expect(OCTETS)?;
    // Words are for operators, who can read the rest of them.
    let words = String::from_utf8_lossy(parts.expect(OCTETS)?).into_owned();
    let mut value = None;
    while let Some((tag, content)) = parts.next()? {
        if tag == 0x8b && kind == 0x78 {
            value = Some(content.to_vec());
        }
    }
    Ok(Body::Result { kind, reply: Reply { code, text: words, policy }, value })
}

/// What the password policy control says, if it came. One that can't be read counts as none.
fn policy_of(mut controls: Elements<'_>) -> Result<Option<PolicyAnswer>, Malformed> {
    let mut found = None;
    while let Some((_, control)) = controls.next()? {
        let mut parts = Elements(control);
        let oid = parts.expect(OCTETS)?;
        parts.accept(BOOLEAN)?;
        let value = parts.accept(OCTETS)?.unwrap_or_default();
        if oid == ppolicy::OID.as_bytes() {
            found = PolicyAnswer::parse(value).ok();
        }
    }
    Ok(found)
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use rekeyd_core::flavour::ppolicy::PolicyError;

    use super::super::ber::Writer;
    use super::*;

    fn message(id: u32, inside: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut to = Writer::with_room(64);
        to.nest(SEQUENCE, |to| {
            to.number(INTEGER, id);
            inside(to);
        });
        to.bytes().to_vec()
    }

    fn done(to: &mut Writer, kind: u8, code: u32) {
        to.nest(kind, |to| {
            to.number(ENUMERATED, code);
            to.octets(OCTETS, b"");
            to.octets(OCTETS, b"words");
        });
    }

    #[test]
    fn a_result_comes_with_what_the_policy_says() {
        let bytes = message(7, |to| {
            done(to, 0x61, 49);
            to.nest(0xa0, |to| {
                to.nest(SEQUENCE, |to| to.octets(OCTETS, b"1.2.3"));
                to.nest(SEQUENCE, |to| {
                    to.octets(OCTETS, ppolicy::OID.as_bytes());
                    to.octets(OCTETS, &[0x30, 3, 0x81, 1, 1]);
                });
            });
        });
        let Answer { id, body: Body::Result { kind, reply, value } } = Answer::read(&bytes).unwrap() else { panic!() };
        assert_eq!((id, kind, reply.code, reply.text.as_str(), value), (7, 0x61, 49, "words", None));
        assert_eq!(reply.policy.and_then(|policy| policy.error), Some(PolicyError::Locked));
    }

    #[test]
    fn an_entry_has_the_values_it_came_with() {
        let bytes = message(3, |to| {
            to.nest(0x64, |to| {
                to.octets(OCTETS, b"uid=ada");
                to.nest(SEQUENCE, |to| {
                    for (name, values) in [("mail", &[&b"a@x"[..], b"b@x"][..]), ("bytes", &[&[0xff, 0][..]])] {
                        to.nest(SEQUENCE, |to| {
                            to.octets(OCTETS, name.as_bytes());
                            to.nest(SET, |to| values.iter().for_each(|value| to.octets(OCTETS, value)));
                        });
                    }
                });
            });
        });
        let Answer { body: Body::Entry(entry), .. } = Answer::read(&bytes).unwrap() else { panic!() };
        assert_eq!(entry.name().0, "uid=ada");
        assert_eq!(entry.texts("MAIL").collect::<Vec<_>>(), ["a@x", "b@x"]);
        assert_eq!(entry.values("bytes"), [[0xff, 0]]);
    }

    #[test]
    fn t68_what_is_no_answer_is_refused() {
        let deep = message(1, |to| {
            let mut inner = vec![0x30, 0];
            for _ in 0..10_000 {
                let mut outer = Writer::with_room(inner.len() + 8);
                outer.octets(SEQUENCE, &inner);
                inner = outer.bytes().to_vec();
            }
            to.octets(0x64, &inner);
        });
        let odd = message(1, |to| to.octets(0x6f, b""));
        let not_utf8 = message(1, |to| {
            to.nest(0x64, |to| {
                to.octets(OCTETS, &[0xff]);
                to.nest(SEQUENCE, |_| {});
            });
        });
        let mut long = message(1, |to| done(to, 0x65, 0));
        long.pop();
        for bytes in [&deep[..], &odd, &not_utf8, &long, &[0x30, 0], &[0x04, 1, 1], &[]] {
            assert!(Answer::read(bytes).is_err());
        }
    }

    #[test]
    fn t68_no_bytes_end_the_process() {
        // Every change of one byte and every cut of a whole message: read or refused, in time that the length bounds.
        let bytes = message(3, |to| {
            to.nest(0x64, |to| {
                to.octets(OCTETS, b"uid=ada");
                to.nest(SEQUENCE, |to| {
                    to.nest(SEQUENCE, |to| {
                        to.octets(OCTETS, b"mail");
                        to.nest(SET, |to| to.octets(OCTETS, b"a@x"));
                    });
                });
            });
        });
        for at in 0..bytes.len() {
            assert!(Answer::read(bytes.get(..at).unwrap()).is_err());
            for value in 0..=255 {
                let mut changed = bytes.clone();
                if let Some(byte) = changed.get_mut(at) {
                    *byte = value;
                }
                drop(Answer::read(&changed));
            }
        }
    }
}
