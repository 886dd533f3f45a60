//! One connection and the operations on it, each with a deadline and in a task of its own: the LDAP library can panic on
//! a malformed answer, and that must end one operation, not the daemon.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ldap3::asn1::{PL, StructureTag};
use ldap3::controls::{Assertion, MakeCritical as _, RawControl};
use ldap3::exop::{PasswordModify, WhoAmI};
use ldap3::{Ldap, LdapError, LdapResult, Mod, ResultEntry, Scope, SearchOptions};
use rekeyd_core::domain::EntryName;
use rekeyd_core::flavour::Reply;
use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::ppolicy::{self, PolicyAnswer};
use tokio::task::AbortHandle;
use zeroize::Zeroizing;

/// After so many operations a connection is replaced: the library remembers each search for as long as it lives.
const MOST_USES: u32 = 50_000;

/// After so long without use a connection is replaced: firewalls forget such ones without a word.
const MOST_IDLE: Duration = Duration::from_mins(5);

/// What an operation ends with when the server can't answer it now: operationsError, timeLimitExceeded, adminLimitExceeded,
/// busy, unavailable, other. It says nothing about the entries, so that nothing may be concluded or kept.
pub(super) const PASSING: [u32; 6] = [1, 3, 11, 51, 52, 80];

/// Why an operation has no answer.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The connection ended while the operation was under way.
    Broken(String),
    /// The server is reached and does not let us in, or is not what the configuration says.
    Refused(String),
    /// No answer in time.
    Silent(String),
    /// Nothing was done: no connection, or a server that can't answer searches at the moment.
    Unreachable(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Broken(why) | Self::Refused(why) | Self::Silent(why) | Self::Unreachable(why)) = self;
        f.write_str(why)
    }
}

impl Failure {
    /// With the server's name before its words.
    pub(super) fn of(self, server: &str) -> Self {
        let named = |why: String| format!("{server}: {why}");
        match self {
            Self::Broken(why) => Self::Broken(named(why)),
            Self::Refused(why) => Self::Refused(named(why)),
            Self::Silent(why) => Self::Silent(named(why)),
            Self::Unreachable(why) => Self::Unreachable(named(why)),
        }
    }
}

/// A connection that many operations share.
#[derive(Clone)]
pub(super) struct Link {
    ldap: Ldap,
    deadline: Duration,
    broken: Arc<AtomicBool>,
    uses: Arc<AtomicU32>,
    made: Instant,
    used: Arc<AtomicU64>,
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

/// What a search found.
pub(super) struct Results {
    /// The entries.
    pub(super) entries: Vec<Entry>,
    /// Whether it was referred to other servers, too. Nobody asks them, since nobody gives them our credentials.
    pub(super) references: bool,
    /// The server's last word.
    pub(super) reply: Reply,
}

impl Link {
    pub(super) fn new(ldap: Ldap, deadline: Duration) -> Self {
        Self {
            ldap,
            deadline,
            broken: Arc::default(),
            uses: Arc::default(),
            made: Instant::now(),
            used: Arc::default(),
        }
    }

    /// Whether it is good for another operation.
    pub(super) fn is_usable(&self) -> bool {
        !self.broken.load(Ordering::Relaxed)
            && self.uses.load(Ordering::Relaxed) < MOST_USES
            && self.made.elapsed().saturating_sub(Duration::from_millis(self.used.load(Ordering::Relaxed))) < MOST_IDLE
            && !self.ldap.clone().is_closed()
    }

    /// Searches. A server that can't answer now is a failure; every other end is for the caller to read.
    pub(super) async fn search(&self, query: Query<'_>) -> Result<Results, Failure> {
        let (base, scope, limit) = (query.base.to_owned(), query.scope, query.limit);
        let filter = query.filter.to_string();
        let attributes = if query.attributes.is_empty() { vec!["1.1".to_owned()] } else { query.attributes.to_vec() };
        let results = self
            .run(async move |mut ldap| {
                ldap.with_search_options(SearchOptions::new().sizelimit(i32::from(limit)));
                let mut stream = ldap.streaming_search(&base, scope, &filter, attributes).await?;
                let mut entries = Vec::new();
                let mut references = false;
                while let Some(found) = stream.next().await? {
                    if found.is_ref() || found.is_intermediate() {
                        references |= found.is_ref();
                        continue;
                    }
                    entries.push(entry(found).ok_or(LdapError::EndOfStream)?);
                    if entries.len() > usize::from(limit) {
                        return Err(LdapError::EndOfStream);
                    }
                }
                let result = stream.finish().await;
                Ok(Results { entries, references, reply: reply(result) })
            })
            .await?;
        if PASSING.contains(&results.reply.code) {
            return Err(Failure::Unreachable(results.reply.words()));
        }
        Ok(results)
    }

    /// Replaces attributes, if the entry fits the condition at that moment.
    pub(super) async fn modify(
        &self,
        name: &EntryName,
        replace: &[(&'static str, Zeroizing<Vec<u8>>)],
        condition: Option<&str>,
    ) -> Result<Reply, Failure> {
        let name = name.0.clone();
        let replace = replace.to_vec();
        let condition = condition.map(str::to_owned);
        self.run(async move |mut ldap| {
            let mut controls = vec![policy_control()];
            if let Some(condition) = condition {
                controls.push(Assertion { filter: condition }.critical().into());
            }
            let changes = replace
                .iter()
                .map(|(attribute, value)| Mod::Replace(attribute.as_bytes().to_vec(), HashSet::from([value.to_vec()])));
            let changes = changes.collect();
            ldap.with_controls(controls).modify(&name, changes).await.map(reply)
        })
        .await
    }

    /// The password-modify operation.
    pub(super) async fn set_password(&self, name: &EntryName, password: &Zeroizing<String>) -> Result<Reply, Failure> {
        let (name, password) = (name.0.clone(), password.clone());
        self.run(async move |mut ldap| {
            let change = PasswordModify { user_id: Some(&name), old_pass: None, new_pass: Some(&password) };
            ldap.with_controls(vec![policy_control()]).extended(change).await.map(|result| reply(result.1))
        })
        .await
    }

    /// A simple bind. The password must not be empty: that would be an anonymous success.
    pub(super) async fn bind(&self, name: &EntryName, password: Zeroizing<String>) -> Result<Reply, Failure> {
        if name.0.is_empty() || password.is_empty() || password.contains('\0') {
            return Err(Failure::Refused("a bind without a name or a password is never sent".into()));
        }
        let name = name.0.clone();
        self.run(async move |mut ldap| {
            ldap.with_controls(vec![policy_control()]).simple_bind(&name, &password).await.map(reply)
        })
        .await
    }

    /// A bind as whom the kernel says.
    pub(super) async fn bind_external(&self) -> Result<Reply, Failure> {
        self.run(async move |mut ldap| ldap.sasl_external_bind().await.map(reply)).await
    }

    /// Who the server says we are, such as `dn:cn=rekeyd,dc=example,dc=org`.
    pub(super) async fn who_am_i(&self) -> Result<Option<String>, Failure> {
        self.run(async move |mut ldap| {
            let answer = ldap.extended(WhoAmI).await?;
            Ok(answer.0.val.filter(|_| answer.1.rc == 0).and_then(|value| String::from_utf8(value).ok()))
        })
        .await
    }

    async fn run<T: Send + 'static, F: Future<Output = Result<T, LdapError>> + Send + 'static>(
        &self,
        operation: impl FnOnce(Ldap) -> F,
    ) -> Result<T, Failure> {
        self.uses.fetch_add(1, Ordering::Relaxed);
        let age = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used.store(age, Ordering::Relaxed);
        let task = tokio::spawn(operation(self.ldap.clone()));
        // Whoever stops waiting ends it, or it would wait as long as the connection lives.
        let _stop = Stop(task.abort_handle());
        let failure = match tokio::time::timeout(self.deadline, task).await {
            Ok(Ok(Ok(answer))) => return Ok(answer),
            Ok(Ok(Err(LdapError::OpSend { .. }))) => Failure::Unreachable("the connection has ended".into()),
            Ok(Ok(Err(error))) => Failure::Broken(format!("the connection ended: {error}")),
            Ok(Err(_)) => Failure::Broken("the server's answer makes no sense".into()),
            Err(_) => Failure::Silent(format!("no answer within {} ms", self.deadline.as_millis())),
        };
        self.broken.store(true, Ordering::Relaxed);
        Err(failure)
    }
}

/// Ends a task with whoever waits for it.
struct Stop(AbortHandle);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn policy_control() -> RawControl {
    RawControl { ctype: ppolicy::OID.to_owned(), crit: false, val: None }
}

fn reply(result: LdapResult) -> Reply {
    let control = result.ctrls.into_iter().map(|control| control.1).find(|control| control.ctype == ppolicy::OID);
    let policy = control.and_then(|control| PolicyAnswer::parse(&control.val.unwrap_or_default()).ok());
    Reply { code: result.rc, text: result.text, policy }
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
