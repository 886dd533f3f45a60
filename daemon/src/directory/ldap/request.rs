//! What is asked of a server, as the bytes of RFC 4511: bind, search, modify and the extended operations that rekeyd uses.

use rekeyd_core::domain::EntryName;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::ppolicy;
use zeroize::Zeroizing;

use super::ber::{BOOLEAN, ENUMERATED, INTEGER, OCTETS, SEQUENCE, SET, Writer};

/// Who am I (RFC 4532).
pub(super) const WHO_AM_I: &str = "1.3.6.1.4.1.4203.1.11.3";
/// TLS from the next byte on.
pub(super) const START_TLS: &str = "1.3.6.1.4.1.1466.20037";
/// The password-modify operation (RFC 3062).
pub(super) const PASSWORD_MODIFY: &str = "1.3.6.1.4.1.4203.1.11.1";
/// The condition on a write (RFC 4528).
pub(super) const ASSERTION: &str = "1.3.6.1.1.12";

/// How deep a search goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    /// The entry itself.
    Base,
    /// The entry and everything below it.
    Subtree,
}

/// What to search for.
pub(super) struct Query<'q> {
    /// Where.
    pub(super) base: &'q str,
    /// How deep.
    pub(super) scope: Scope,
    /// For what.
    pub(super) filter: Filter,
    /// Exactly these attributes; none asks for names only.
    pub(super) attributes: &'q [String],
    /// The most entries.
    pub(super) limit: u16,
}

/// One operation.
pub(super) enum Request<'r> {
    /// A bind by name and password.
    Bind { name: &'r EntryName, password: &'r str },
    /// A bind as whom the kernel says.
    BindExternal,
    /// An extended operation without a value.
    Extended { operation: &'static str },
    /// Replaces attributes, if the entry fits the condition at that moment.
    Modify { name: &'r EntryName, replace: &'r [(&'static str, Zeroizing<Vec<u8>>)], condition: Option<&'r Filter> },
    /// The password-modify operation.
    PasswordModify { name: &'r EntryName, password: &'r str },
    /// A search.
    Search(&'r Query<'r>),
}

impl Request<'_> {
    /// The tag of the answer that ends it.
    pub(super) fn answered_by(&self) -> u8 {
        match self {
            Self::Bind { .. } | Self::BindExternal => 0x61,
            Self::Extended { .. } | Self::PasswordModify { .. } => 0x78,
            Self::Modify { .. } => 0x67,
            Self::Search(_) => 0x65,
        }
    }

    /// The most entries that it may be answered with.
    pub(super) fn limit(&self) -> usize {
        if let Self::Search(query) = self { usize::from(query.limit) } else { 0 }
    }

    /// How many bytes are enough for a message that must not be moved while it is written, as it holds a password.
    pub(super) fn room(&self) -> usize {
        const FRAME: usize = 512;
        match self {
            Self::Bind { name, password } | Self::PasswordModify { name, password } => {
                FRAME + name.0.len() + password.len()
            }
            Self::Modify { name, replace, .. } => {
                FRAME + name.0.len() + replace.iter().map(|(name, value)| 64 + name.len() + value.len()).sum::<usize>()
            }
            Self::BindExternal | Self::Extended { .. } | Self::Search(_) => FRAME,
        }
    }

    /// Writes the message with this id. `seconds` is the time that a search may take the server.
    pub(super) fn write(&self, id: u32, seconds: u32, to: &mut Writer) {
        to.nest(SEQUENCE, |to| {
            to.number(INTEGER, id);
            match self {
                Self::Bind { name, password } => {
                    to.nest(0x60, |to| {
                        to.number(INTEGER, 3);
                        to.octets(OCTETS, name.0.as_bytes());
                        to.octets(0x80, password.as_bytes());
                    });
                    controls(to, None);
                }
                Self::BindExternal => to.nest(0x60, |to| {
                    to.number(INTEGER, 3);
                    to.octets(OCTETS, b"");
                    to.nest(0xa3, |to| {
                        to.octets(OCTETS, b"EXTERNAL");
                        to.octets(OCTETS, b"");
                    });
                }),
                Self::Extended { operation } => to.nest(0x77, |to| to.octets(0x80, operation.as_bytes())),
                Self::Modify { name, replace, condition } => {
                    to.nest(0x66, |to| {
                        to.octets(OCTETS, name.0.as_bytes());
                        to.nest(SEQUENCE, |to| replace.iter().for_each(|(name, value)| replacement(to, name, value)));
                    });
                    controls(to, *condition);
                }
                Self::PasswordModify { name, password } => {
                    to.nest(0x77, |to| {
                        to.octets(0x80, PASSWORD_MODIFY.as_bytes());
                        to.nest(0x81, |to| {
                            to.nest(SEQUENCE, |to| {
                                to.octets(0x80, name.0.as_bytes());
                                to.octets(0x82, password.as_bytes());
                            });
                        });
                    });
                    controls(to, None);
                }
                Self::Search(query) => search(to, query, seconds),
            }
        });
    }
}

fn replacement(to: &mut Writer, name: &str, value: &[u8]) {
    to.nest(SEQUENCE, |to| {
        to.number(ENUMERATED, 2);
        to.nest(SEQUENCE, |to| {
            to.octets(OCTETS, name.as_bytes());
            to.nest(SET, |to| to.octets(OCTETS, value));
        });
    });
}

fn search(to: &mut Writer, query: &Query<'_>, seconds: u32) {
    to.nest(0x63, |to| {
        to.octets(OCTETS, query.base.as_bytes());
        to.number(
            ENUMERATED,
            match query.scope {
                Scope::Base => 0,
                Scope::Subtree => 2,
            },
        );
        // Aliases stay what they are.
        to.number(ENUMERATED, 0);
        to.number(INTEGER, u32::from(query.limit));
        to.number(INTEGER, seconds);
        to.flag(BOOLEAN, false);
        filter(to, &query.filter);
        to.nest(SEQUENCE, |to| {
            if query.attributes.is_empty() {
                to.octets(OCTETS, b"1.1");
            }
            query.attributes.iter().for_each(|name| to.octets(OCTETS, name.as_bytes()));
        });
    });
}

/// What the password policy says is asked for with every operation on a password, and the condition goes along where
/// there is one: a server that does not know it must not write.
fn controls(to: &mut Writer, condition: Option<&Filter>) {
    to.nest(0xa0, |to| {
        to.nest(SEQUENCE, |to| to.octets(OCTETS, ppolicy::OID.as_bytes()));
        if let Some(condition) = condition {
            to.nest(SEQUENCE, |to| {
                to.octets(OCTETS, ASSERTION.as_bytes());
                to.flag(BOOLEAN, true);
                to.nest(OCTETS, |to| filter(to, condition));
            });
        }
    });
}

fn filter(to: &mut Writer, wanted: &Filter) {
    let compare = |to: &mut Writer, tag: u8, attribute: &str, value: &[u8]| {
        to.nest(tag, |to| {
            to.octets(OCTETS, attribute.as_bytes());
            to.octets(OCTETS, value);
        });
    };
    match wanted {
        Filter::And(all) => to.nest(0xa0, |to| all.iter().for_each(|one| filter(to, one))),
        Filter::Or(some) => to.nest(0xa1, |to| some.iter().for_each(|one| filter(to, one))),
        Filter::Not(one) => to.nest(0xa2, |to| filter(to, one)),
        Filter::Equal(attribute, value) => compare(to, 0xa3, attribute, value),
        Filter::Pieces(attribute, pieces) => to.nest(0xa4, |to| {
            to.octets(OCTETS, attribute.as_bytes());
            to.nest(SEQUENCE, |to| {
                let last = pieces.len().saturating_sub(1);
                for (place, piece) in pieces.iter().enumerate().filter(|(_, piece)| !piece.is_empty()) {
                    let tag = if place == 0 {
                        0x80
                    } else if place == last {
                        0x82
                    } else {
                        0x81
                    };
                    to.octets(tag, piece);
                }
            });
        }),
        Filter::AtLeast(attribute, value) => compare(to, 0xa5, attribute, value),
        Filter::AtMost(attribute, value) => compare(to, 0xa6, attribute, value),
        Filter::Present(attribute) => to.octets(0x87, attribute.as_bytes()),
        Filter::Approximately(attribute, value) => compare(to, 0xa8, attribute, value),
        Filter::Extensible(rule, value) => extensible(to, rule, value),
    }
}

/// A match by a named rule: the attribute, `dn` where the parts of the name count too, and the rule, with colons between.
fn extensible(to: &mut Writer, left: &str, value: &[u8]) {
    let mut parts = left.split(':');
    let attribute = parts.next().unwrap_or_default();
    let mut names = false;
    let mut rule = "";
    for part in parts {
        if part.eq_ignore_ascii_case("dn") && !names && rule.is_empty() {
            names = true;
        } else {
            rule = part;
        }
    }
    to.nest(0xa9, |to| {
        if !rule.is_empty() {
            to.octets(0x81, rule.as_bytes());
        }
        if !attribute.is_empty() {
            to.octets(0x82, attribute.as_bytes());
        }
        to.octets(0x83, value);
        if names {
            to.flag(0x84, true);
        }
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use data_encoding::HEXLOWER;

    use super::*;

    fn hex(request: &Request<'_>) -> String {
        let mut to = Writer::with_room(request.room());
        request.write(1, 5, &mut to);
        HEXLOWER.encode(to.bytes())
    }

    /// The bytes that OpenLDAP's own tools send for the same filters.
    #[test]
    fn filters_have_the_bytes_of_the_standard() {
        for (text, bytes) in [
            ("(uid=ada)", "a30a04037569640403616461"),
            ("(&)", ""),
            ("(!(uid=*))", "a2058703756964"),
            ("(|(a=1)(b>=2)(c<=3)(d~=4))", "a120a306040161040131a506040162040132a606040163040133a806040164040134"),
            ("(cn=a*b*c)", "a40f0402636e3009800161810162820163"),
            ("(cn=*b*)", "a4090402636e3003810162"),
            ("(cn=a*)", "a4090402636e3003800161"),
            ("(a:dn:2.5.13.5:=x)", "a9138108322e352e31332e358201618301788401ff"),
            ("(:2.5.13.5:=x)", "a90d8108322e352e31332e35830178"),
            ("(ou:dn:=x)", "a90a82026f758301788401ff"),
        ] {
            let Ok(parsed) = Filter::parse(text) else { continue };
            let mut to = Writer::with_room(64);
            filter(&mut to, &parsed);
            assert_eq!(HEXLOWER.encode(to.bytes()), bytes, "{text}");
        }
    }

    #[test]
    fn requests_have_the_bytes_of_the_standard() {
        let name = EntryName("cn=a".into());
        assert_eq!(hex(&Request::BindExternal), "301802010160130201030400a30c040845585445524e414c0400");
        assert_eq!(
            hex(&Request::Extended { operation: START_TLS }),
            "301d02010177188016312e332e362e312e342e312e313436362e3230303337"
        );
        let query =
            Query { base: "dc=x", scope: Scope::Subtree, filter: Filter::present("uid"), attributes: &[], limit: 2 };
        assert_eq!(
            hex(&Request::Search(&query)),
            "30250201016320040464633d780a01020a0100020102020105010100870375696430050403312e31"
        );
        let bind = hex(&Request::Bind { name: &name, password: "pw" });
        assert!(bind.starts_with("303602010160") && bind.contains("020103040463".get(..8).unwrap()), "{bind}");
    }

    #[test]
    fn p6_no_message_with_a_password_is_moved_while_it_is_written() {
        let name = EntryName("uid=ada,ou=people,dc=example,dc=org".repeat(20));
        let password = "x".repeat(1024);
        let replace = [("userPassword", Zeroizing::new(password.clone().into_bytes()))];
        for request in [
            Request::Bind { name: &name, password: &password },
            Request::PasswordModify { name: &name, password: &password },
            Request::Modify { name: &name, replace: &replace, condition: None },
        ] {
            let mut to = Writer::with_room(request.room());
            let before = to.bytes().as_ptr();
            request.write(u32::MAX, 5, &mut to);
            assert_eq!(to.bytes().as_ptr(), before);
            assert!(to.bytes().len() <= request.room());
        }
    }
}
