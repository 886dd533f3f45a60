//! One connection: the only file that speaks with the LDAP library. Requests go out together, answers come back within
//! limits of size, number and time. Whatever goes wrong ends the connection; nobody asks on after an answer that makes no
//! sense.

use std::collections::HashSet;
use std::os::unix::net::UnixStream as Pair;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::try_join_all;
use ldap3::asn1::{PL, StructureTag};
use ldap3::controls::{Assertion, Control, ControlType, MakeCritical as _, PagedResults, RawControl};
use ldap3::exop::{PasswordModify, WhoAmI};
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Mod, ResultEntry, SearchOptions, StdStream};
use rekeyd_core::domain::EntryName;
use rekeyd_core::flavour::Reply;
use rekeyd_core::flavour::active_directory::HINTS_VALUE;
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::ppolicy::{self, PolicyAnswer};
use tokio::task::AbortHandle;

use super::guard::{self, Sight, Stream};
use super::request::{Page, Query, Request, Scope};
use super::strainer::Pieces;
use super::wire::Failure;

/// The most answers to one search that are no entries.
const MOST_ASIDES: usize = 1000;
/// After so many operations a connection is replaced: the library remembers each search for as long as it lives.
const MOST_USES: u32 = 50_000;

/// A connection that is in use by one story at a time.
pub(super) struct Connection {
    ldap: Ldap,
    sight: Sight,
    /// The library's task and the guard's.
    tasks: [AbortHandle; 2],
    uses: u32,
    /// Whether every request has its whole answer.
    settled: bool,
}

/// What one request was answered with.
pub(super) struct Answered {
    pub(super) entries: Vec<Entry>,
    /// Whether a search was referred to other servers.
    pub(super) references: bool,
    pub(super) reply: Reply,
    /// The value of an extended operation.
    pub(super) value: Option<Vec<u8>>,
    /// Where the next page of a search begins; none after the last.
    pub(super) cookie: Option<Vec<u8>>,
}

impl Connection {
    /// Has the library speak on a stream, with the guard between them.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] where the system has no more descriptors.
    pub(super) async fn new(stream: Stream) -> Result<Self, Failure> {
        Self::on(guard::before(stream)).await
    }

    /// As [`Self::new`], but what searches find goes to the strainer in pieces, and only the rest to the library.
    pub(super) async fn strained(stream: Stream, pieces: Pieces, patience: Duration) -> Result<Self, Failure> {
        Self::on(guard::before_strained(stream, pieces, patience)).await
    }

    async fn on(guarded: std::io::Result<(Pair, Sight, AbortHandle)>) -> Result<Self, Failure> {
        let unreachable = |why: String| Failure::Unreachable(why);
        let (end, sight, passing) = guarded.map_err(|error| unreachable(error.to_string()))?;
        let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(end));
        // The address is that of the pair of sockets: it has none.
        let opened = LdapConnAsync::with_settings(settings, "ldapi:///").await;
        let (driver, ldap) = opened.map_err(|error| unreachable(error.to_string()))?;
        let driving = tokio::spawn(async move {
            // How a connection ends is seen by the operations on it.
            drop(driver.drive().await);
        });
        Ok(Self { ldap, sight, tasks: [driving.abort_handle(), passing], uses: 0, settled: true })
    }

    /// Whether it is certain that nothing is under way on it, and the server is there.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.settled && self.uses < MOST_USES && !self.ldap.is_closed() && self.sight.is_quiet()
    }

    /// Whether the last exchange came to its end.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Sends requests together and waits for all their answers, which come in the order of the requests.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] where the requests did not go out, so that no server can have acted on them;
    /// [`Failure::Silent`] where the answers did not come in time; [`Failure::Beyond`] where one of them went beyond the
    /// limits; [`Failure::Broken`] for every other end.
    pub(super) async fn exchange(
        &mut self,
        requests: &[Request<'_>],
        deadline: Duration,
    ) -> Result<Vec<Answered>, Failure> {
        // Whoever drops this half-way leaves a connection that nobody uses again.
        if !std::mem::replace(&mut self.settled, false) {
            return Err(Failure::Unreachable("the connection has ended".into()));
        }
        self.uses = self.uses.saturating_add(u32::try_from(requests.len()).unwrap_or(u32::MAX));
        let answers = try_join_all(requests.iter().map(|request| ask(self.ldap.clone(), request, deadline)));
        // The library can panic on a malformed answer; that ends one connection, not the daemon.
        let answers = tokio::time::timeout(deadline, AssertUnwindSafe(answers).catch_unwind()).await;
        let answered = match answers {
            Ok(Ok(Ok(answered))) => answered,
            Ok(Ok(Err(Unanswered::Ended(LdapError::OpSend { .. })))) => {
                return Err(Failure::Unreachable("the connection has ended".into()));
            }
            Ok(Ok(Err(Unanswered::Beyond(why)))) => return Err(Failure::Beyond(why.into())),
            Ok(Ok(Err(_)) | Err(_)) if self.sight.is_beyond() => {
                return Err(Failure::Beyond("the server's answer is too large".into()));
            }
            Ok(Ok(Err(Unanswered::Ended(error)))) => {
                return Err(Failure::Broken(format!("the connection ended: {error}")));
            }
            Ok(Err(_)) => return Err(Failure::Broken("the server's answer makes no sense".into())),
            Err(_) => return Err(Failure::Silent(format!("no answer within {} ms", deadline.as_millis()))),
        };
        self.settled = true;
        Ok(answered)
    }
}

impl Drop for Connection {
    /// What was not sent yet is not sent any more: nobody waits for its answer, and it may be taken for undone.
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Why there is no answer.
enum Unanswered {
    /// It goes beyond what was asked for, or can't be taken apart.
    Beyond(&'static str),
    /// The connection can't go on.
    Ended(LdapError),
}

impl From<LdapError> for Unanswered {
    fn from(error: LdapError) -> Self {
        Self::Ended(error)
    }
}

/// One request and its answer, in the library's words.
async fn ask(mut ldap: Ldap, request: &Request<'_>, deadline: Duration) -> Result<Answered, Unanswered> {
    Ok(match request {
        Request::Bind { name, password } => {
            plain(ldap.with_controls(vec![policy_control()]).simple_bind(&name.0, password).await?)
        }
        Request::BindExternal => plain(ldap.sasl_external_bind().await?),
        Request::Modify { name, modify } => {
            // A server that does not know one of these must not write.
            let condition = modify.condition.map(|filter| Assertion { filter: filter.to_owned() }.critical().into());
            let hints = modify.hints.map(|oid| raw(oid, true, Some(HINTS_VALUE.to_vec())));
            let controls = [policy_control()].into_iter().chain(condition).chain(hints).collect::<Vec<RawControl>>();
            let changes = modify.replace.iter();
            let changes = changes
                .map(|(attribute, value)| Mod::Replace(attribute.as_bytes().to_vec(), HashSet::from([value.to_vec()])))
                .collect();
            plain(ldap.with_controls(controls).modify(&name.0, changes).await?)
        }
        Request::PasswordModify { name, password } => {
            let change = PasswordModify { user_id: Some(&name.0), old_pass: None, new_pass: Some(password) };
            plain(ldap.with_controls(vec![policy_control()]).extended(change).await?.1)
        }
        Request::Page(query, page) => search(ldap, query, Some(page), deadline).await?,
        Request::Remove { name, attribute, value } => {
            let change = Mod::Delete(attribute.as_bytes().to_vec(), HashSet::from([value.to_vec()]));
            plain(ldap.modify(&name.0, vec![change]).await?)
        }
        Request::Search(query) => search(ldap, query, None, deadline).await?,
        Request::WhoAmI => {
            let answer = ldap.extended(WhoAmI).await?;
            Answered { value: answer.0.val, ..plain(answer.1) }
        }
    })
}

async fn search(
    mut ldap: Ldap,
    query: &Query<'_>,
    page: Option<&Page<'_>>,
    deadline: Duration,
) -> Result<Answered, Unanswered> {
    let scope = match query.scope {
        Scope::Base => ldap3::Scope::Base,
        Scope::Subtree => ldap3::Scope::Subtree,
    };
    // Somewhat longer than we wait: the server's own limit is for searches that nobody waits for any more.
    let seconds = i32::try_from(deadline.as_secs()).unwrap_or(i32::MAX).saturating_add(1);
    // All pages together may hold any number; one page holds no more than is asked for.
    let limit = if page.is_some() { 0 } else { i32::from(query.limit) };
    ldap.with_search_options(SearchOptions::new().sizelimit(limit).timelimit(seconds));
    let extra = query.control.map(|(oid, value)| raw(oid, false, Some(value.to_vec())));
    let paged = page.map(|page| PagedResults { size: i32::from(query.limit), cookie: page.cookie.to_vec() });
    // A server that does not know pages must not send everything at once.
    let controls: Vec<RawControl> = extra.into_iter().chain(paged.map(|paged| paged.critical().into())).collect();
    if !controls.is_empty() {
        ldap.with_controls(controls);
    }
    let names_only = ["1.1".to_owned()];
    let attributes = if query.attributes.is_empty() { &names_only[..] } else { query.attributes };
    let mut stream = ldap.streaming_search(query.base, scope, &query.filter.to_string(), attributes).await?;
    let (mut entries, mut asides, mut references) = (Vec::new(), 0, false);
    while let Some(found) = stream.next().await? {
        if found.is_ref() || found.is_intermediate() {
            asides += 1;
            references |= found.is_ref();
        } else {
            entries.push(entry(found).ok_or(Unanswered::Beyond("an entry makes no sense"))?);
        }
        if asides > MOST_ASIDES || entries.len() > usize::from(query.limit) {
            return Err(Unanswered::Beyond("the server sends more than was asked for"));
        }
    }
    let result = stream.finish().await;
    let cookie = cookie(&result).filter(|cookie| !cookie.is_empty());
    Ok(Answered { entries, references, cookie, ..plain(result) })
}

/// What the password policy says is asked for with every operation on a password.
fn policy_control() -> RawControl {
    raw(ppolicy::OID, false, None)
}

fn raw(oid: &str, critical: bool, value: Option<Vec<u8>>) -> RawControl {
    RawControl { ctype: oid.to_owned(), crit: critical, val: value }
}

fn plain(result: LdapResult) -> Answered {
    let control = result.ctrls.into_iter().map(|control| control.1).find(|control| control.ctype == ppolicy::OID);
    let policy = control.and_then(|control| PolicyAnswer::parse(&control.val.unwrap_or_default()).ok());
    let reply = Reply { code: result.rc, text: result.text, policy };
    Answered { entries: Vec::new(), references: false, reply, value: None, cookie: None }
}

fn cookie(result: &LdapResult) -> Option<Vec<u8>> {
    let paged = result.ctrls.iter().find(|Control(kind, _)| matches!(kind, Some(ControlType::PagedResults)));
    paged.map(|Control(_, control)| control.parse::<PagedResults>().cookie)
}

/// Takes a search result apart without trusting its shape.
fn entry(found: ResultEntry) -> Option<Entry> {
    let mut parts = constructed(found.0)?.into_iter();
    let mut entry = Entry::new(EntryName(String::from_utf8(primitive(parts.next()?)?).ok()?));
    for attribute in constructed(parts.next()?)? {
        let mut parts = constructed(attribute)?.into_iter();
        let name = String::from_utf8(primitive(parts.next()?)?).ok()?;
        for value in constructed(parts.next()?)? {
            entry.add(&name, primitive(value)?);
        }
    }
    Some(entry)
}

fn constructed(tag: StructureTag) -> Option<Vec<StructureTag>> {
    match tag.payload {
        PL::C(parts) => Some(parts),
        PL::P(_) => None,
    }
}

fn primitive(tag: StructureTag) -> Option<Vec<u8>> {
    match tag.payload {
        PL::P(bytes) => Some(bytes),
        PL::C(_) => None,
    }
}
