//! The targets: one for every parser that foreign bytes reach, with the rule that its answer must keep.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::str;

use hyper::Uri;
use rekeyd::config::Config;
use rekeyd::directory::{ldap, ldif_format};
use rekeyd::http::form::Form;
use rekeyd::http::{believed, forwarded, language, leads, reads, request};
use rekeyd_core::domain::{Dn, EmailAddress, Login, Token};
use rekeyd_core::flavour::active_directory::ActiveDirectory;
use rekeyd_core::flavour::active_directory::descriptor::{CONTROL_ACCESS, Descriptor};
use rekeyd_core::flavour::active_directory::filetime;
use rekeyd_core::flavour::active_directory::guid::Guid;
use rekeyd_core::flavour::active_directory::sid::Sid;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::ppolicy::PolicyAnswer;
use rekeyd_core::flavour::time;
use rekeyd_core::flavour::{Outcome, Reply, Verified};
use rekeyd_plugins::reply;

/// A parser under test.
pub struct Target {
    /// Its name on the command line, and that of its corpus.
    pub name: &'static str,
    /// Whose bytes it reads.
    pub what: &'static str,
    /// Panics when the parser breaks its rule.
    pub hold: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "access-list", what: "access lists and identifiers from Active Directory", hold: access_list },
    Target { name: "ad-answer", what: "what Active Directory says of a bind or a write", hold: ad_answer },
    Target { name: "address", what: "mail addresses from the directory", hold: address },
    Target { name: "config", what: "the configuration file", hold: config },
    Target { name: "dn", what: "names of entries, and which lies below which", hold: dn },
    Target { name: "filter", what: "search filters in the configuration", hold: filter },
    Target { name: "filetime", what: "moments and lengths of time from Active Directory", hold: file_time },
    Target { name: "form", what: "bodies of forms", hold: form },
    Target { name: "forwarded", what: "X-Forwarded-For lines", hold: forwarded_for },
    Target { name: "generalized-time", what: "moments from the directory", hold: generalized_time },
    Target { name: "http-head", what: "heads of requests, whichever way they are cut", hold: http_head },
    Target { name: "hook-json", what: "bodies of calls on the hook", hold: hook_json },
    Target { name: "language", what: "Accept-Language lines", hold: accept_language },
    Target { name: "ldap-message", what: "what a directory sends", hold: ldap_message },
    Target { name: "ldif", what: "the directory of the trial", hold: ldif },
    Target { name: "login", what: "what people type as their login", hold: login },
    Target { name: "path", what: "request targets, under a base path and without", hold: path },
    Target { name: "ppolicy", what: "the password policy control", hold: ppolicy },
    Target { name: "smtp-reply", what: "what a mail server says", hold: smtp_reply },
    Target { name: "token", what: "tokens in links", hold: token },
];

/// Whoever holds nothing and is nobody may do nothing, unless there is no list; identifiers are written as they were read.
fn access_list(data: &[u8]) {
    if let Ok(sid) = Sid::parse(data) {
        assert_eq!(sid.bytes(), data);
        assert_eq!(Sid::from_text(&sid.to_string()), Ok(sid));
    }
    if let Ok(guid) = Guid::parse(data) {
        assert_eq!(Guid::from_text(&guid.to_string()), Ok(guid));
    }
    let Ok(list) = Descriptor::parse(data) else { return };
    let Ok(nobody) = Sid::from_text("S-1-5-21-1-2-3-4") else { return };
    let token = BTreeSet::new();
    let allowed = |right| list.allows(&token, &nobody, right, &[Guid::known(1)]);
    assert_eq!(allowed(CONTROL_ACCESS), allowed(0x1_0000), "nobody is let in by an entry");
}

/// Only two numbers and two names say that a password was right, and no text says that a write was done.
fn ad_answer(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let known = ["532", "773", "PASSWORD_EXPIRED", "PASSWORD_MUST_CHANGE"];
    for code in [1, 10, 19, 49, 50, 53] {
        let reply = Reply { code, text: text.to_owned(), policy: None };
        assert_ne!(ActiveDirectory::outcome(&reply, false, false), Outcome::Done);
        match ActiveDirectory::verified(&reply) {
            Ok(Verified::Right) => panic!("{code} {text:?}: right"),
            Ok(Verified::RightButMustChange) => assert!(known.iter().any(|known| text.contains(known)), "{text:?}"),
            Ok(Verified::Wrong) | Err(_) => {}
        }
    }
}

/// One plain address or none: nothing that a mail server could take for two, for a route or for a line of its own.
fn address(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if EmailAddress::parse(text).is_ok() {
        let separators = |c: char| c.is_control() || c.is_whitespace() || "<>()[],;:\\\"".contains(c);
        assert!(!text.contains(separators) && text.matches('@').count() == 1, "{text:?} is an address");
    }
}

/// Every fault names a line that exists and a remedy.
fn config(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Err(faults) = Config::parse(text) {
        assert!(!faults.is_empty(), "a configuration is refused without a reason");
        for fault in faults {
            assert!(fault.line <= text.lines().count() + 1, "{fault}");
            assert!(!fault.what.is_empty() && !fault.remedy.is_empty(), "{fault}");
        }
    }
}

/// A normal form is its own normal form, and what lies below something has more parts than it.
fn dn(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (one, other) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(one) = Dn::parse(one) else { return };
    assert_eq!(Dn::parse(one.as_str()).as_ref(), Ok(&one), "{one} is not normal");
    assert!(!one.is_below(&one), "{one} lies below itself");
    let Ok(other) = Dn::parse(other) else { return };
    // Within a value a comma is escaped in hexadecimal, so commas are separators.
    let parts = |dn: &Dn| dn.as_str().split(',').map(str::to_owned).collect::<Vec<_>>();
    let (one_parts, other_parts) = (parts(&one), parts(&other));
    let below = one_parts.len() > other_parts.len() && one_parts.ends_with(&other_parts);
    assert_eq!(one.is_below(&other), below, "{one} below {other}");
    assert!(!(one.is_below(&other) && other.is_below(&one)), "{one} and {other} lie below each other");
}

/// Nothing but an end; the depth of a filter is bounded.
fn filter(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Err(bad) = Filter::parse(text) {
        assert!(bad.at <= text.len(), "{text:?}: {} of {}", bad.at, text.len());
    }
}

/// A number that is read is written the same, and is a moment or a length, not both.
fn file_time(data: &[u8]) {
    let Ok(number) = filetime::parse(data) else {
        assert!(filetime::end_of_account(data).is_err() && filetime::length(data).is_err());
        return;
    };
    assert_eq!(number.to_string().as_bytes(), data);
    assert_eq!(filetime::end_of_account(data).is_ok(), number >= 0);
    assert_eq!(filetime::end_of_password(data).is_ok(), number >= 0);
    assert_eq!(filetime::length(data).is_ok(), number <= 0);
    assert_eq!(filetime::moment(number).is_ok(), number > 0);
}

/// Read by a second, slower reader: the same fields with the same bytes, or nothing.
fn form(data: &[u8]) {
    const KNOWN: [&str; 3] = ["login", "nonce", "password"];
    let Ok(form) = Form::parse(data, &KNOWN) else { return };
    let mut expected = BTreeMap::new();
    for pair in data.split(|byte| *byte == b'&').filter(|_| !data.is_empty()) {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let name = decoded(halves.next().unwrap_or_default());
        let value = decoded(halves.next().unwrap_or_default());
        assert!(expected.insert(name, value).is_none(), "a field twice");
    }
    for name in KNOWN {
        let value = expected.remove(name.as_bytes()).unwrap_or_default();
        assert_eq!(form.field(name).as_bytes(), value, "{name}");
    }
    assert!(expected.is_empty(), "a field that nobody knows");
}

/// Percent signs and plus signs resolved; digits that are none resolve to something that no form decodes to.
fn decoded(part: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = part.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(*digit).to_digit(16)).unwrap_or(999);
                u8::try_from(digit() * 16 + digit()).unwrap_or(0xff)
            }
            byte => *byte,
        });
    }
    bytes
}

/// A client that is no trusted proxy is believed by nobody; a trusted one is named by a trusted one only.
fn forwarded_for(data: &[u8]) {
    let proxy = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let stranger = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let trusts = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets().first() == Some(&10));
    let lines = || data.split(|byte| *byte == b'\n');
    assert_eq!(forwarded::client_address(stranger, lines(), trusts), Ok(stranger));
    let Ok(client) = forwarded::client_address(proxy, lines(), trusts) else { return };
    assert_eq!(client, client.to_canonical(), "an address in two spellings has two budgets");
    assert!(client == proxy || !data.is_empty(), "{client} out of nothing");
}

/// What is read is written as the same second.
fn generalized_time(data: &[u8]) {
    let Ok(moment) = time::parse(data) else { return };
    let written = time::write(moment);
    // A zone can carry a moment out of the years that the format has.
    if written.len() == "20261030120000Z".len() && !written.starts_with('-') {
        let again = time::parse(written.as_bytes()).expect("what was written is read");
        assert_eq!(again.seconds(), moment.seconds(), "{written}");
    }
}

/// What is believed does not depend on how the bytes are cut, and is the beginning of them with nothing but NUL behind.
fn http_head(data: &[u8]) {
    let Some((piece, bytes)) = data.split_first() else { return };
    let whole = believed(bytes, bytes.len());
    assert_eq!(believed(bytes, usize::from(*piece)), whole);
    let kept = whole.iter().zip(bytes).take_while(|(seen, sent)| seen == sent).count();
    assert!(whole.iter().skip(kept).all(|byte| *byte == 0), "{}", whole.escape_ascii());
}

/// What is taken is one JSON object with fields of the call alone, none of them twice.
fn hook_json(data: &[u8]) {
    for (path, fields) in [
        ("/v1/password", &["ticket", "password", "nonce"][..]),
        ("/v1/recovery", &["login", "channel", "locale", "client_ip"]),
        ("/v1/sign-in", &["login", "password", "client_ip", "user_agent"]),
        ("/v1/ticket", &["ticket"]),
    ] {
        if !reads(path, data) {
            continue;
        }
        let value: serde_json::Value = serde_json::from_slice(data).expect("JSON");
        let object = value.as_object().expect("an object");
        assert!(object.keys().all(|key| fields.contains(&key.as_str())), "{path}: {:?}", object.keys());
        assert!(object.values().all(|value| value.is_string() || value.is_null()), "{path}: more than texts");
    }
}

/// Few tags, each in the shape of BCP 47.
fn accept_language(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let tags = language::accepted(text);
    assert!(tags.len() <= 8, "{} tags", tags.len());
    for tag in tags {
        assert_eq!(language::tag(&tag).as_ref(), Some(&tag));
        assert!(["ltr", "rtl"].contains(&language::direction(&tag)));
    }
}

/// Whole messages are whole by themselves, and what has become senseless makes no sense with more behind it.
fn ldap_message(data: &[u8]) {
    let seen = ldap::whole_messages(data);
    if let Ok(length) = seen {
        assert_eq!(data.get(..length).map(ldap::whole_messages), Some(Ok(length)));
    }
    let (half, _) = data.split_at(data.len() / 2);
    match (ldap::whole_messages(half), seen) {
        (Ok(some), Ok(all)) => assert!(some <= all),
        (Err(_), seen) => assert!(seen.is_err(), "{}", data.escape_ascii()),
        (Ok(_), Err(_)) => {}
    }
}

/// What is read, written and read again is the same.
fn ldif(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match ldif_format::parse(text) {
        Ok(records) => {
            let written = ldif_format::write(&records);
            let again = ldif_format::parse(&written).expect("what was written is read");
            assert_eq!(ldif_format::write(&again), written);
            assert_eq!(again.len(), records.len());
            for (before, after) in records.iter().zip(&again) {
                assert_eq!(before.entry.name().0, after.entry.name().0);
                for attribute in before.entry.attributes() {
                    assert_eq!(after.entry.values(&attribute.name), attribute.values, "{}", attribute.name);
                }
            }
        }
        Err(bad) => assert!(bad.line <= text.lines().count() + 1, "{bad}"),
    }
}

/// A login is itself when it is read again, has one folded form, and holds nothing that could begin a line.
fn login(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(login) = Login::parse(text) else { return };
    let again = Login::parse(login.as_str());
    assert!(again.is_ok_and(|again| again == login), "{:?} is read as something else", login.as_str());
    assert!(login.is(login.as_str()), "{:?} is not itself", login.as_str());
    assert!(!login.as_str().contains(|c: char| c.is_control()), "{:?}", login.as_str());
}

/// Only the raw text of a route leads to it.
fn path(data: &[u8]) {
    let Ok(uri) = Uri::try_from(data) else { return };
    let Ok((path, _)) = request::target(&uri) else { return };
    for base in ["", "/reset"] {
        let Some(route) = leads(path, base) else { continue };
        let inner = path.strip_prefix(base).filter(|rest| rest.starts_with('/')).unwrap_or(path);
        match route.strip_suffix("{token}") {
            None => assert_eq!(inner, route),
            Some(stem) => {
                let token = inner.strip_prefix(stem).expect("the route's own beginning");
                assert!(!token.is_empty() && !token.contains('/'), "{path:?} leads to {route}");
            }
        }
    }
}

/// A value is one SEQUENCE with nothing after it, and no shorter than what it says.
fn ppolicy(data: &[u8]) {
    if let Ok(answer) = PolicyAnswer::parse(data) {
        assert_eq!(data.first(), Some(&0x30));
        let empty = answer == PolicyAnswer::default();
        assert!(empty || data.len() >= 5, "{answer:?} out of {} bytes", data.len());
    }
}

/// A whole answer is whole by itself.
fn smtp_reply(data: &[u8]) {
    if let Ok(Some(length)) = reply::answer_length(data) {
        let alone = data.get(..length).map(reply::answer_length);
        assert_eq!(alone, Some(Ok(Some(length))), "{}", data.escape_ascii());
    }
}

/// One text is one token: no second spelling of it is taken.
fn token(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(token) = Token::parse(text) else { return };
    assert!(token.link("", "").expose() == text, "{text:?} has another spelling");
    assert!(token.is(&token));
}
