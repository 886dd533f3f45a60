//! Who belongs to the groups that verdicts rest on, for a walk over everybody: each such group is read once with all that
//! is nested in it, and kept as sixteen bytes for each member. Asking upwards from each account, as a look-up does,
//! would cost several searches for each of a million accounts.
//!
//! What counts as a member is what a look-up finds: names and numbers, `member`, `uniqueMember` and `memberUid`, ranged
//! values, and primary groups. Where a value is only nearly an account's name, the account is looked up.

use std::collections::BTreeSet;
use std::pin::pin;

use rekeyd_core::domain::{Dn, sha256};
use rekeyd_core::flavour::Flavour;
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;
use tokio::sync::mpsc::Receiver;

use super::connect::Who;
use super::nature::Nature;
use super::pages::Pages;
use super::request::{Query, Scope};
use super::strainer::{Piece, Pieces};
use super::upstream::Upstream;
use super::wire::{Failure, Link};

/// The most members of all watched groups together: 48 MiB would be used for them, besides what the walk itself needs.
const MOST: usize = 3_000_000;

/// What is read of a group.
const ATTRIBUTES: [&str; 6] = ["member", "uniqueMember", "memberUid", "gidNumber", "primaryGroupToken", "objectClass"];

/// Sixteen bytes that stand for a name: nobody finds another name with the same ones.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Mark([u8; 16]);

impl Mark {
    /// That of a text among its kind.
    pub(super) fn new(kind: &str, text: &str) -> Self {
        let hash = sha256(&[kind.as_bytes(), text.as_bytes()]);
        let mut mark = [0; 16];
        mark.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        Self(mark)
    }

    fn entry(name: &Dn) -> Self {
        Self::new("entry", name.as_str())
    }
}

/// The members of the watched groups.
#[derive(Debug, Default)]
pub(super) struct Members {
    groups: Vec<Group>,
}

/// The members of one group and of all that is nested in it.
#[derive(Debug)]
struct Group {
    name: Dn,
    /// Of names and logins; in order, each once.
    members: Vec<Mark>,
    /// Of logins in another case, and of names with something behind them; in order.
    alike: Vec<Mark>,
    /// The numbers by which POSIX names a primary group.
    gids: Vec<String>,
    /// Those by which Active Directory does.
    tokens: Vec<String>,
}

/// To which watched groups an account belongs.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Belongs {
    /// To these, or why nobody can tell.
    To(Result<Vec<Dn>, String>),
    /// The server has to be asked.
    Doubtful,
}

impl Members {
    /// Reads all watched groups.
    ///
    /// # Errors
    /// Why not all members are known; then nothing may be concluded.
    pub(super) async fn gather(
        upstream: &Upstream,
        base: &str,
        watched: &[Dn],
        nature: &Nature,
    ) -> Result<Self, Failure> {
        let mut groups: Vec<Group> = Vec::new();
        if watched.is_empty() {
            return Ok(Self { groups });
        }
        let nested = names_of_groups(upstream, base, nature).await?;
        let (pieces, receiver) = Pieces::new();
        let mut reader = Reader { link: upstream.strained(pieces).await?, receiver, nested: &nested, room: MOST };
        for name in watched {
            if groups.iter().any(|group| group.name == *name) {
                continue;
            }
            groups.push(reader.expand(name).await?);
        }
        Ok(Self { groups })
    }

    /// The watched groups that an account belongs to.
    pub(super) fn of(&self, account: &Entry, flavour: &Flavour) -> Belongs {
        // Whoever's own name can't be read has an unknown state anyhow.
        let names = std::iter::once(account.name().0.as_str()).chain(flavour.groups_named(account));
        let names: Vec<Dn> = names.filter_map(|name| Dn::parse(name).ok()).collect();
        let logins = || account.texts("uid");
        let mut marks: Vec<Mark> = names.iter().map(Mark::entry).collect();
        marks.extend(logins().map(|login| Mark::new("login", login)));
        let mut alike: Vec<Mark> = marks.clone();
        alike.extend(logins().map(|login| Mark::new("login", &login.to_lowercase())));
        let gid = account.texts("gidNumber").next();
        let primary = account.texts("primaryGroupID").next();
        let mut belongs = Vec::new();
        for group in &self.groups {
            let among = |all: &[Mark], mark: &Mark| all.binary_search(mark).is_ok();
            let is_member = marks.iter().any(|mark| among(&group.members, mark))
                || names.iter().skip(1).any(|seed| *seed == group.name)
                || gid.is_some_and(|gid| group.gids.iter().any(|number| number == gid))
                || primary.is_some_and(|token| group.tokens.iter().any(|number| number == token));
            if is_member {
                belongs.push(group.name.clone());
            } else if alike.iter().any(|mark| among(&group.alike, mark) || among(&group.members, mark)) {
                return Belongs::Doubtful;
            }
        }
        Belongs::To(Ok(belongs))
    }
}

/// The names of everything below a base that has members.
async fn names_of_groups(upstream: &Upstream, base: &str, nature: &Nature) -> Result<Vec<Mark>, Failure> {
    let mut any: Vec<Filter> = vec![Filter::equal("objectClass", "posixGroup")];
    let members = ["member", "uniqueMember", "memberUid"];
    any.extend(members.into_iter().filter(|name| nature.defines(name)).map(Filter::present));
    let mut pages = Pages::begin(
        upstream.fresh(Who::Rekeyd).await?,
        nature.flavour.product(),
        base.to_owned(),
        Filter::Or(any),
        Vec::new(),
    );
    let mut names = Vec::new();
    while let Some(page) = pages.next().await? {
        names.extend(page.iter().filter_map(|group| Dn::parse(&group.name().0).ok()).map(|name| Mark::entry(&name)));
    }
    names.sort_unstable();
    Ok(names)
}

/// A connection that reads groups of any size.
struct Reader<'n> {
    link: Link,
    receiver: Receiver<Vec<Piece>>,
    nested: &'n [Mark],
    room: usize,
}

impl Reader<'_> {
    /// Reads a group and all that is nested in it, each once.
    async fn expand(&mut self, name: &Dn) -> Result<Group, Failure> {
        let mut group =
            Group { name: name.clone(), members: Vec::new(), alike: Vec::new(), gids: Vec::new(), tokens: Vec::new() };
        let mut waiting = vec![name.as_str().to_owned()];
        let mut known = BTreeSet::from([Mark::entry(name)]);
        while let Some(name) = waiting.pop() {
            let mut attributes: Vec<String> = ATTRIBUTES.map(str::to_owned).to_vec();
            // A server with a limit on values names the range that it has sent, and is asked for the next.
            while !attributes.is_empty() {
                let mut taken = Taken { group: &mut group, found: Found::default(), nested: self.nested };
                let query = Query {
                    base: &name,
                    scope: Scope::Base,
                    filter: Filter::present("objectClass"),
                    attributes: &attributes,
                    limit: 1,
                    control: None,
                };
                read(&mut self.link, &mut self.receiver, &query, &mut taken, self.room).await?;
                let found = taken.found;
                if !found.there {
                    return Err(Failure::Beyond(format!("the group {name} can't be read")));
                }
                for inner in found.groups {
                    if known.insert(Mark::entry(&inner)) {
                        waiting.push(inner.as_str().to_owned());
                    }
                }
                if found.is_posix {
                    group.gids.extend(found.gids);
                }
                attributes = found.next;
            }
        }
        for marks in [&mut group.members, &mut group.alike] {
            marks.sort_unstable();
            marks.dedup();
            marks.shrink_to_fit();
        }
        self.room = self.room.saturating_sub(group.members.len() + group.alike.len());
        Ok(group)
    }
}

/// One search, whose finds are taken as they come.
async fn read(
    link: &mut Link,
    receiver: &mut Receiver<Vec<Piece>>,
    query: &Query<'_>,
    taken: &mut Taken<'_>,
    room: usize,
) -> Result<(), Failure> {
    let mut searching = pin!(link.search(query));
    let found = loop {
        tokio::select! {
            biased;
            pieces = receiver.recv() => match pieces {
                Some(pieces) => taken.take(pieces, room)?,
                None => break searching.await,
            },
            found = &mut searching => break found,
        }
    };
    // The end of a search passes after everything that it found.
    while let Ok(pieces) = receiver.try_recv() {
        taken.take(pieces, room)?;
    }
    match found?.reply {
        reply if reply.code == 0 => Ok(()),
        reply => Err(Failure::Beyond(format!("the group {} can't be read: {}", query.base, reply.words()))),
    }
}

/// What one answer says beyond members.
#[derive(Default)]
struct Found {
    there: bool,
    is_posix: bool,
    gids: Vec<String>,
    groups: Vec<Dn>,
    /// What is to be asked for next.
    next: Vec<String>,
    kind: Kind,
}

/// The type that the values belong to.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
enum Kind {
    Class,
    Gid,
    Login,
    Name,
    NameAndId,
    #[default]
    Other,
    Token,
}

/// Takes pieces into a group.
struct Taken<'g> {
    group: &'g mut Group,
    found: Found,
    nested: &'g [Mark],
}

impl Taken<'_> {
    fn take(&mut self, pieces: Vec<Piece>, room: usize) -> Result<(), Failure> {
        for piece in pieces {
            match piece {
                Piece::Entry => self.found.there = true,
                Piece::Type(name) => self.begin(&String::from_utf8_lossy(&name)),
                Piece::Value(value) => {
                    if let Ok(value) = String::from_utf8(value) {
                        self.value(value);
                    }
                }
            }
        }
        if self.group.members.len() + self.group.alike.len() > room {
            let name = &self.group.name;
            return Err(Failure::Beyond(format!(
                "the groups that verdicts rest on have more than {MOST} members together, up to {name}"
            )));
        }
        Ok(())
    }

    fn begin(&mut self, name: &str) {
        let (bare, options) = name.split_once(';').unwrap_or((name, ""));
        self.found.kind = match bare.to_ascii_lowercase().as_str() {
            "gidnumber" => Kind::Gid,
            "member" => Kind::Name,
            "memberuid" => Kind::Login,
            "objectclass" => Kind::Class,
            "primarygrouptoken" => Kind::Token,
            "uniquemember" => Kind::NameAndId,
            _ => Kind::Other,
        };
        if let Some(next) = next_range(options) {
            self.found.next.push(format!("{bare};range={next}-*"));
        }
    }

    fn value(&mut self, value: String) {
        match self.found.kind {
            Kind::Class => self.found.is_posix |= value.eq_ignore_ascii_case("posixGroup"),
            Kind::Gid => self.found.gids.push(value),
            Kind::Login => {
                self.group.members.push(Mark::new("login", &value));
                let lower = value.to_lowercase();
                if lower != value {
                    self.group.alike.push(Mark::new("login", &lower));
                }
            }
            Kind::Name => self.name(&value, false),
            // A name may have a number behind it (RFC 4517, 3.3.21), and servers differ on whom that means.
            Kind::NameAndId => match value.rsplit_once('#') {
                Some((name, id)) if id.starts_with('\'') && id.ends_with("'B") => self.name(name, true),
                _ => self.name(&value, false),
            },
            Kind::Other => {}
            Kind::Token => self.group.tokens.push(value),
        }
    }

    fn name(&mut self, value: &str, alike: bool) {
        // Nobody can be found by what is no name.
        let Ok(name) = Dn::parse(value) else { return };
        let mark = Mark::entry(&name);
        if alike {
            self.group.alike.push(mark);
        } else {
            self.group.members.push(mark);
        }
        if self.nested.binary_search(&mark).is_ok() {
            self.found.groups.push(name);
        }
    }
}

/// Where the values after a range begin (MS-ADTS 3.1.1.3.1.3.3): `range=0-1499` says that there are more.
fn next_range(options: &str) -> Option<u64> {
    let range = options.split(';').find_map(|option| option.strip_prefix("range="))?;
    let (_, last) = range.split_once('-')?;
    last.parse::<u64>().ok()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rekeyd_core::domain::EntryName;
    use rekeyd_core::flavour::product::Product;

    use super::*;

    fn group(pieces: Vec<Piece>) -> (Group, Found) {
        let name = Dn::parse("cn=admins,dc=x").unwrap();
        let mut group = Group { name, members: vec![], alike: vec![], gids: vec![], tokens: vec![] };
        let nested = [Mark::entry(&Dn::parse("cn=inner,dc=x").unwrap())];
        let mut taken = Taken { group: &mut group, found: Found::default(), nested: &nested };
        taken.take(pieces, 100).unwrap();
        let found = taken.found;
        group.members.sort_unstable();
        group.alike.sort_unstable();
        group.gids.extend(found.gids.clone());
        (group, found)
    }

    fn pieces(text: &[&str]) -> Vec<Piece> {
        let piece = |word: &&str| match word.strip_suffix(':') {
            Some(name) => Piece::Type(name.as_bytes().to_vec()),
            None => Piece::Value(word.as_bytes().to_vec()),
        };
        std::iter::once(Piece::Entry).chain(text.iter().map(piece)).collect()
    }

    fn person(name: &str, attributes: &[(&str, &str)]) -> Entry {
        let mut entry = Entry::new(EntryName(name.into()));
        for (name, value) in attributes {
            entry.add(name, *value);
        }
        entry
    }

    #[test]
    fn t57_members_are_known_by_name_login_and_number() {
        let text = [
            "member:",
            "UID=Ada, dc=x",
            "cn=Inner,dc=x",
            "uniqueMember:",
            "uid=grace,dc=x#'0101'B",
            "memberUid:",
            "alan",
            "Emmy",
            "gidNumber:",
            "500",
            "objectClass:",
            "posixGroup",
            "primaryGroupToken:",
            "512",
        ];
        let (admins, found) = group(pieces(&text));
        assert_eq!(found.groups, [Dn::parse("cn=inner,dc=x").unwrap()]);
        assert!(found.there && found.is_posix && found.next.is_empty());
        let members = Members { groups: vec![admins] };
        let to = Belongs::To(Ok(vec![Dn::parse("cn=admins,dc=x").unwrap()]));
        let none = Belongs::To(Ok(vec![]));
        for (name, attributes, expected) in [
            ("uid=ada,dc=x", &[][..], &to),
            ("uid=eve,dc=x", &[("memberOf", "cn=inner,dc=x")], &to),
            ("uid=eve,dc=x", &[("memberOf", "CN=admins,dc=x")], &to),
            ("uid=eve,dc=x", &[("uid", "alan")], &to),
            ("uid=eve,dc=x", &[("uid", "Emmy")], &to),
            ("uid=eve,dc=x", &[("uid", "emmy")], &Belongs::Doubtful),
            ("uid=eve,dc=x", &[("uid", "ALAN")], &Belongs::Doubtful),
            ("uid=eve,dc=x", &[("gidNumber", "500")], &to),
            ("uid=eve,dc=x", &[("primaryGroupID", "512")], &to),
            ("uid=grace,dc=x", &[], &Belongs::Doubtful),
            ("uid=eve,dc=x", &[("uid", "eve"), ("gidNumber", "512"), ("memberOf", "cn=other,dc=x")], &none),
        ] {
            let flavour = Flavour::before_all(Product::OpenLdap);
            assert_eq!(members.of(&person(name, attributes), &flavour), *expected, "{name} {attributes:?}");
        }
    }

    #[test]
    fn t71_values_in_ranges_are_asked_for_to_the_last() {
        for (options, next) in [
            ("range=0-1499", Some(1500)),
            ("range=1500-2999", Some(3000)),
            ("range=3000-*", None),
            ("", None),
            ("lang-cy;range=0-4", Some(5)),
            ("range=0-x", None),
        ] {
            assert_eq!(next_range(options), next, "{options}");
        }
        let (_, found) = group(pieces(&["member:", "member;range=0-1499:", "uid=ada,dc=x"]));
        assert_eq!(found.next, ["member;range=1500-*"]);
    }
}
