//! Whether a world still holds what it promises, seen from outside alone: the directory and its log, the mail server, a
//! look into the database, the trail, and the ledger of what the clients were told.
//!
//! | | holds | asked of |
//! |---|---|---|
//! | I1 | a 202 is given only for what is on disk | ledger, database |
//! | I2 | one token writes at most one password | directory's log, database |
//! | I3 | the old password lets in, or the new one; never neither | ledger, directory |
//! | I4 | no token works after a reported success | ledger, mail, hook |
//! | I5 | what was accepted ends once, and nothing vanishes | database now and at the check before, mail |
//! | I6 | only people who may get it get mail, and of their own account | ledger, mail, pages |
//! | I7 | each change has its row, and the chain is whole | database, `rekeyctl audit --verify` |
//! | I8 | limits and counts never go back | database now and at the check before |
//! | I9 | no secret lies about | log, state, mail, trail |

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use ldap3::{Scope, SearchEntry};
use ring::digest;
use serde_json::json;

use crate::{
    books::Books,
    ledger::{Ledger, Person},
    mail::Message,
    secrets::Search,
    world::World,
};

/// What was begun has ended after so long a time, the settling of a lost write included.
const LIMIT: Duration = Duration::from_secs(40);
/// What a change of a password by the daemon may touch, besides the server's own book-keeping.
const WRITTEN: [&str; 2] = ["userPassword", "pwdReset"];

/// Waits until nothing is open any more, and says everything that does not hold. The clients must be quiet.
pub async fn check(world: &World, ledger: &Ledger) -> Vec<String> {
    let start = Instant::now();
    let left = loop {
        let open = Books::read(&world.database()).open();
        if open.is_empty() || start.elapsed() > LIMIT {
            break open;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mut violations: Vec<_> = left.into_iter().map(|what| format!("I5: {what} after {LIMIT:?}")).collect();
    violations.extend(look(world, ledger).await);
    violations
}

/// As [`check`], without waiting: what is open may be so. The clients must be quiet.
pub async fn look(world: &World, ledger: &Ledger) -> Vec<String> {
    // The daemon may be sending what waits: what was there before the books must stand in them, and what stands in them
    // must be there after.
    let mail = || if world.sends_mail() { world.smtp().messages() } else { Vec::new() };
    let earlier = mail();
    let books = Books::read(&world.database());
    let messages: Vec<Message> = mail();
    let before = ledger.state().seen.replace(books.clone()).unwrap_or_default();
    let entries = entries(world).await;
    let mut violations = Violations(Vec::new());
    violations.accepted(&books, ledger);
    violations.kept(&before, &books);
    violations.never_back(&before, &books);
    violations.told(&books);
    if world.sends_mail() {
        violations.mailed(&books, ledger, &messages, earlier.len());
    }
    violations.written(world, &books, ledger, &entries).await;
    violations.bound(world, ledger, &entries).await;
    violations.dead(world, ledger).await;
    violations.own(world, ledger, &messages).await;
    violations.secret(world, ledger, &messages);
    violations.0
}

/// What the directory holds of a person.
struct Entry {
    dn: String,
    id: String,
    hash: String,
    /// Whether no password lets in now.
    is_shut: bool,
}

async fn entries(world: &World) -> HashMap<String, Entry> {
    let mut ldap = world.slapd().admin().await;
    let shut = ["pwdAccountLockedTime", "pwdEndTime", "pwdStartTime"];
    let wanted = ["uid", "entryUUID", "userPassword"].iter().chain(&shut).copied().collect::<Vec<_>>();
    let found = ldap.search(world.branch().base(), Scope::Subtree, "(uid=*)", wanted).await.expect("an answer");
    let (found, _) = found.success().expect("the branch");
    let entry = |found| {
        let SearchEntry { dn, attrs, .. } = SearchEntry::construct(found);
        let one = |name: &str| attrs.get(name).and_then(|values| values.first()).cloned().unwrap_or_default();
        let is_shut = shut.iter().any(|name| attrs.contains_key(*name));
        (one("uid"), Entry { id: one("entryUUID"), hash: one("userPassword"), is_shut, dn })
    };
    found.into_iter().map(entry).collect()
}

struct Violations(Vec<String>);

impl Violations {
    fn unless(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }

    /// I1.
    fn accepted(&mut self, books: &Books, ledger: &Ledger) {
        let state = ledger.state();
        for handle in &state.handles {
            self.unless(books.requests.contains_key(handle), || {
                format!("I1: the request {handle} was answered with 202 and is not in the store")
            });
        }
        let (kept, told) = (books.requests.len(), state.handles.len() + state.nameless);
        self.unless(kept >= told, || format!("I1: {told} requests were accepted, {kept} are in the store"));
        self.unless(books.integrity == "ok", || format!("I1: the database is damaged: {}", books.integrity));
    }

    /// I5: what has ended stays so, nothing vanishes, and what was promised is there.
    fn kept(&mut self, before: &Books, now: &Books) {
        for (id, was) in &before.requests {
            let is = now.requests.get(id);
            self.unless(is.is_some_and(|is| was.state == "waiting" || is.state == was.state), || {
                format!("I5: the request {id} was {was:?} and is {is:?}")
            });
        }
        for (id, was) in &before.tickets {
            let is = now.tickets.get(id);
            let fine = is.is_some_and(|is| match was.state.as_str() {
                "spent" => is.state == "spent",
                // A write that came to light late spends a ticket that had died meanwhile.
                "void" => is.state == "void" || is.state == "spent",
                _ => true,
            });
            self.unless(fine, || format!("I4: the ticket {id} was {was:?} and is {is:?}"));
        }
        for (id, was) in &before.notices {
            let is = now.notices.get(id);
            // A link may be asked for again, a notice may not.
            let ended = was.state == "cancelled" || was.state == "sent" && was.ticket.is_none();
            self.unless(is.is_some_and(|is| !ended || is.state == was.state), || {
                format!("I5: the message {id} was {was:?} and is {is:?}")
            });
        }
        let linked: BTreeSet<_> = now.notices.values().filter_map(|notice| notice.ticket.as_ref()).collect();
        for (id, request) in now.requests.iter().filter(|(_, request)| ["made", "merged"].contains(&&*request.state)) {
            let is_answered = request.ticket.as_ref().is_some_and(|ticket| linked.contains(ticket));
            self.unless(is_answered, || format!("I5: the request {id} is {} without a message", request.state));
        }
    }

    /// I8, and I7 for rows that were there.
    fn never_back(&mut self, before: &Books, now: &Books) {
        let moment = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a moment").as_millis();
        for (key, was) in &before.paces {
            let is = now.paces.get(key);
            // An empty counter may be forgotten.
            let fine = is.map_or(u128::from(was.unsigned_abs()) <= moment, |is| is >= was);
            self.unless(fine, || format!("I8: a counter went back from {was} to {is:?}"));
        }
        for (id, was) in &before.tickets {
            let tries = now.tickets.get(id).map_or(was.tries, |is| is.tries);
            self.unless(tries >= was.tries, || format!("I8: the tries of {id} went from {} to {tries}", was.tries));
        }
        self.unless(now.era >= before.era, || format!("I8: the era went from {} to {}", before.era, now.era));
        for (number, was) in &before.events {
            let is = now.events.get(number);
            self.unless(is.is_some_and(|is| is.hash == was.hash), || {
                format!("I7: row {number} was {was:?}, is {is:?}")
            });
        }
    }

    /// I7: as many rows of the trail as there were changes.
    fn told(&mut self, books: &Books) {
        let requests = |states: &[&str]| {
            books.requests.values().filter(|request| states.contains(&request.state.as_str())).count()
        };
        let notices =
            |states: &[&str]| books.notices.values().filter(|notice| states.contains(&notice.state.as_str())).count();
        let tickets = |sets: bool| {
            let of_kind = books.tickets.values().filter(|ticket| ticket.sets_a_password() == sets);
            of_kind.filter(|ticket| ticket.state == "spent").count()
        };
        for (what, changes, kind) in [
            ("requests with a ticket", requests(&["made"]), "ticket-issued"),
            ("merged requests", requests(&["merged"]), "request-merged"),
            ("requests without a ticket", requests(&["refused", "expired"]), "request-ended"),
            ("used links", tickets(true), "password-set"),
            ("reports", tickets(false), "not-me"),
        ] {
            let rows = books.count(kind);
            self.unless(rows == changes, || format!("I7: {changes} {what}, and {rows} rows of {kind}"));
        }
        // A message may be sent again, so there may be more rows than messages.
        for (states, kind) in
            [(&["sent"][..], "notice-delivered"), (&["failed", "cancelled", "expired"], "notice-failed")]
        {
            let (ended, rows) = (notices(states), books.count(kind));
            self.unless(rows >= ended, || format!("I7: {ended} messages are {states:?}, and {rows} rows say so"));
        }
        let told = books.notices.values().filter(|notice| notice.kind == "password-changed").count();
        let set: BTreeMap<_, usize> =
            count(books.events.values().filter(|event| event.kind == "password-set").map(|event| &event.account));
        let told_of = |account: &Option<String>| {
            books
                .notices
                .values()
                .filter(|notice| notice.kind == "password-changed" && Some(&notice.account) == account.as_ref())
                .count()
        };
        for (account, times) in &set {
            self.unless(told_of(account) >= *times, || {
                format!("I5: {account:?} was told {told} times of {times} passwords")
            });
        }
    }

    /// I5 and I6: what was sent has arrived, what arrived was to be sent, and copies are copies. Messages from the place
    /// `late` on may be younger than the books.
    fn mailed(&mut self, books: &Books, ledger: &Ledger, messages: &[Message], late: usize) {
        let state = ledger.state();
        let mut arrived: BTreeMap<String, Vec<&Message>> = BTreeMap::new();
        let mut early = BTreeSet::new();
        for (place, message) in messages.iter().enumerate() {
            let id = message.header("Message-ID").unwrap_or_default();
            let id = id.trim_start_matches('<').split('@').next().unwrap_or_default().to_owned();
            if place < late {
                early.insert(id.clone());
            }
            arrived.entry(id).or_default().push(message);
        }
        for (id, notice) in books.notices.iter().filter(|(_, notice)| notice.state == "sent") {
            self.unless(arrived.contains_key(id), || format!("I5: {id} ({}) is sent and did not arrive", notice.kind));
        }
        let again = |account: &str| {
            let merged = books.events.values().filter(|event| event.kind == "request-merged");
            merged
                .filter(|event| {
                    event.account.as_deref() == Some(account) && event.payload.contains(r#"["again","yes"]"#)
                })
                .count()
        };
        for (id, copies) in &arrived {
            let Some(notice) = books.notices.get(id) else {
                self.unless(!early.contains(id), || format!("I6: a message {id} arrived that nobody queued"));
                continue;
            };
            self.unless(copies.iter().all(|copy| copy.raw == copies[0].raw), || {
                format!("I5: two messages {id} are not the same")
            });
            let most = 1 + again(&notice.account) + state.crashes + state.lost_mail_answers;
            self.unless(copies.len() <= most, || format!("I5: {id} came {} times, not {most} at most", copies.len()));
        }
        let known: BTreeSet<_> = state.people.values().flat_map(|person| &person.addresses).collect();
        for to in messages.iter().flat_map(|message| &message.to).filter(|to| !known.contains(to)) {
            self.0.push(format!("I6: {to} got a message"));
        }
    }

    /// I2, and I7 for the directory: each write is of one used ticket or one replacement, and of nothing but a password.
    async fn written(&mut self, world: &World, books: &Books, ledger: &Ledger, entries: &HashMap<String, Entry>) {
        let writes = world.slapd().service_writes(world.branch().base()).await;
        let mut passwords: BTreeMap<String, usize> = BTreeMap::new();
        for write in writes.iter().filter(|write| write.result == 0) {
            let by_us = |name: &&String| !name.starts_with("pwd") || name.as_str() == "pwdReset";
            let strange: Vec<_> =
                write.attributes.iter().filter(by_us).filter(|name| !WRITTEN.contains(&name.as_str())).collect();
            let fine = write.kind == "modify" && write.sets_password();
            self.unless(fine && strange.iter().all(|name| is_bookkeeping(name)), || {
                format!("I2: the daemon wrote {strange:?} ({}) to {}", write.kind, write.dn)
            });
            *passwords.entry(write.dn.to_lowercase()).or_default() += 1;
        }
        let state = ledger.state();
        for (login, person) in &state.people {
            let Some(entry) = entries.get(login) else { continue };
            let written = passwords.get(&entry.dn.to_lowercase()).copied().unwrap_or(0);
            self.unless_recorded(books, login, person, entry, written);
        }
        let known: BTreeSet<_> =
            state.people.keys().filter_map(|login| entries.get(login)).map(|entry| entry.dn.to_lowercase()).collect();
        for (dn, _) in passwords.iter().filter(|(dn, _)| !known.contains(*dn)) {
            self.0.push(format!("I6: the password of {dn} was written"));
        }
    }

    fn unless_recorded(&mut self, books: &Books, login: &str, person: &Person, entry: &Entry, written: usize) {
        let ours = |account: &str| account.split_once(':').is_some_and(|(_, id)| id == entry.id);
        let tickets: Vec<_> = books.tickets.values().filter(|ticket| ours(&ticket.account)).collect();
        let account = tickets.first().map(|ticket| ticket.account.clone());
        let account = account
            .or_else(|| books.events.values().find_map(|event| event.account.clone().filter(|account| ours(account))));
        let Some(account) = account else {
            self.unless(written == 0, || format!("I7: {login}'s password was written, and nothing tells of it"));
            return;
        };
        let spent = tickets.iter().filter(|ticket| ticket.sets_a_password() && ticket.state == "spent").count();
        let set = books.count_of(&account, "password-set", "set");
        let replaced = books.count_of(&account, "password-replaced", "replaced");
        // Writes of which nobody knows yet, or ever.
        let open = tickets.iter().filter(|ticket| ticket.is_held()).count()
            + books.replacements.iter().filter(|replaced| ours(replaced)).count()
            + books.count_of(&account, "set-unsure", "void")
            + books.count_of(&account, "password-replaced", "unsure");
        self.unless(spent == set, || format!("I7: {login} has {spent} used tickets and {set} rows of set passwords"));
        self.unless(written <= set + replaced + open, || {
            format!("I2: {login}'s password was written {written} times, by {set} tickets, {replaced} operators, {open} unknown")
        });
        self.unless(person.is_changed_elsewhere || written >= set + replaced, || {
            format!("I7: {login}'s password was written {written} times, {set} + {replaced} are recorded")
        });
    }

    /// I3.
    async fn bound(&mut self, world: &World, ledger: &Ledger, entries: &HashMap<String, Entry>) {
        let logins: Vec<_> = ledger.state().people.keys().cloned().collect();
        for login in logins {
            let Some(entry) = entries.get(&login) else { continue };
            let passwords = ledger.passwords(&login);
            // The hash is asked first: a wrong bind would count as a failure of the person's.
            match passwords.iter().find(|password| is_of(&entry.hash, password)) {
                None => self
                    .0
                    .push(format!("I3: none of {} possible passwords of {login} is the present one", passwords.len())),
                Some(password) => {
                    let binds = entry.is_shut || world.slapd().binds(&entry.dn, password).await;
                    self.unless(binds, || format!("I3: the password of {login} does not let in"));
                }
            }
        }
    }

    /// I4.
    async fn dead(&mut self, world: &World, ledger: &Ledger) {
        let dead: Vec<_> = ledger.state().people.values().flat_map(|person| person.dead.iter().cloned()).collect();
        for token in dead {
            let answer = world.hook("/v1/ticket", &json!({"ticket": token})).await;
            self.unless(answer.status == 410, || format!("I4: a dead token is answered with {}", answer.status));
        }
    }

    /// I6: the link of a message opens the account of the person who got it.
    async fn own(&mut self, world: &World, ledger: &Ledger, messages: &[Message]) {
        let whose: BTreeMap<String, String> = {
            let state = ledger.state();
            let all = state.people.iter();
            all.flat_map(|(login, person)| person.addresses.iter().map(|to| (to.clone(), login.clone()))).collect()
        };
        // The newest message of each is enough: an older one's link is dead or the same.
        let newest: BTreeMap<&String, &Message> = messages
            .iter()
            .filter(|message| !message.tokens("/r/").is_empty())
            .flat_map(|message| message.to.iter().map(move |to| (to, message)))
            .collect();
        for (to, message) in newest {
            let Some(login) = whose.get(to) else { continue };
            for token in message.tokens("/r/") {
                let page = world.door().get(&format!("/r/{token}")).await;
                let fine = page.status == 410 || page.text().contains(login.as_str());
                self.unless(fine, || format!("I6: {to} got a link of somebody else's"));
            }
        }
    }

    /// I9, and the chain of I7.
    fn secret(&mut self, world: &World, ledger: &Ledger, messages: &[Message]) {
        let logins: Vec<_> = ledger.state().people.keys().cloned().collect();
        let passwords: Vec<_> = logins.iter().flat_map(|login| ledger.passwords(login)).collect();
        for password in &passwords {
            world.secret(password);
        }
        let secrets = Search::new(&world.secrets());
        let places = [world.folder().join("log"), world.state(), world.folder().join("epoch")];
        self.0.extend(places.iter().flat_map(|place| secrets.below(place)).map(|found| format!("I9: {found}")));
        let passwords = Search::new(&passwords);
        for message in messages {
            let found = passwords.in_bytes("a message", &message.raw);
            self.unless(found.is_empty(), || format!("I9: a message to {:?} holds a password", message.to));
        }
        let told = world.rekeyctl(&["--json", "audit", "--verify"], "");
        self.unless(told.code == 0 && told.json()["whole"] == true, || format!("I7: the chain is broken: {told:?}"));
        let trail = serde_json::Value::from(world.audit()).to_string();
        self.0.extend(secrets.in_bytes("the trail", trail.as_bytes()).into_iter().map(|found| format!("I9: {found}")));
    }
}

fn count<T: Ord>(all: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counted = BTreeMap::new();
    all.for_each(|one| *counted.entry(one).or_default() += 1);
    counted
}

/// What the server itself writes along with a change.
fn is_bookkeeping(attribute: &str) -> bool {
    ["entryCSN", "modifiersName", "modifyTimestamp"].contains(&attribute)
}

/// Whether a password is the one of this hash (RFC 3112 as OpenLDAP writes it: `{SSHA}`).
fn is_of(hash: &str, password: &str) -> bool {
    let Some(salted) = hash.strip_prefix("{SSHA}").and_then(|text| BASE64.decode(text.as_bytes()).ok()) else {
        return hash == password;
    };
    let (known, salt) = salted.split_at(20);
    let salted = [password.as_bytes(), salt].concat();
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &salted).as_ref() == known
}
