//! SQLite's method: one whole story, killed at its first call of some kind to the system, then at its second, and so on,
//! until a story comes to its end.
//!
//! The story begins with the start of the daemon and ends with its stop. A tracer does the killing, and counts by
//! thread: with one worker, one thread speaks to everybody outside and another one writes the database.

use std::{
    fmt,
    os::unix::process::ExitStatusExt,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    acts::address,
    branch::PASSWORD,
    clients::Clients,
    invariants,
    killer::tracer,
    slapd::{Slapd, Variant},
    world::World,
    world_config::Way,
};

/// The calls at which something becomes so: on disk, or for somebody else.
pub const CALLS: [&str; 8] = ["connect", "fdatasync", "fsync", "pwrite64", "rename", "sendto", "write", "writev"];
/// After so many rounds everything is checked to its end; between them what is open may stay open.
const CHECK: u32 = 20;
/// A story that takes longer goes on without what it waits for.
const PATIENCE: Duration = Duration::from_secs(4);

/// How the runs went.
#[derive(Debug, Default)]
pub struct Report {
    /// How many stories were told.
    pub rounds: u32,
    /// How many of them were cut off.
    pub cut: u32,
    /// For each call, how often the longest thread of a whole story does it, as far as was tried.
    pub counts: Vec<(String, u32)>,
    /// What did not hold.
    pub violations: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, cut, counts, violations, took } = self;
        let (violations, seconds) = (violations.len(), took.as_secs());
        write!(f, "{rounds} stories, {cut} of them cut off, {violations} violations, {seconds} s; until {counts:?}")
    }
}

/// Cuts stories off at each of these calls: at the `first` one, at the one `step` later, and so on until none is left.
pub async fn run(calls: &[&str], first: u32, step: usize, progress: impl Fn(&str)) -> Report {
    let start = Instant::now();
    let mut report = Report::default();
    for call in calls {
        let stage = Stage::set().await;
        for count in (first..).step_by(step) {
            let login = format!("p{count}");
            let was_cut = stage.tell(&login, call, count).await;
            report.rounds += 1;
            report.cut += u32::from(was_cut);
            let violations = if was_cut && report.rounds % CHECK != 0 {
                invariants::look(&stage.clients.world, &stage.clients.ledger).await
            } else {
                stage.mends().await
            };
            for violation in violations {
                let told = format!("{call} {count}: {violation}");
                progress(&told);
                report.violations.push(told);
            }
            assert!(stage.clients.world.stop().success(), "{}", stage.clients.world.log());
            if !was_cut {
                report.counts.push(((*call).to_owned(), count));
                break;
            }
        }
        report.took = start.elapsed();
        progress(&format!("{call}: {report}"));
    }
    report
}

struct Stage {
    clients: Clients,
}

impl Stage {
    async fn set() -> Self {
        let slapd = Slapd::fresh(Variant::Policy).await;
        let world = World::builder()
            .slapd(&slapd)
            .way(Way::Clear(None))
            .set("directory.operation_timeout", r#""2s""#)
            // Calls that only tell of what is done are as good as each other.
            .set("log_level", r#""info""#)
            .prepare()
            .await;
        Self { clients: Clients::of(&Arc::new(world), &[]) }
    }

    /// Tells the story of one person under the tracer, as far as it comes, and starts the daemon again; says whether it
    /// was cut off.
    async fn tell(&self, login: &str, call: &str, count: u32) -> bool {
        let Clients { world, ledger } = &self.clients;
        world.branch().add_person(login, PASSWORD).await;
        ledger.meets(login, &address(login), PASSWORD);
        let words = tracer(call, count);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        world.launch_under(&words, &[("TOKIO_WORKER_THREADS", "1")]);
        if world.becomes_ready().await {
            self.story(login).await;
            world.quits();
        }
        let ended = world.ends();
        let was_cut = ended.signal() == Some(Signal::SIGKILL as i32);
        assert!(was_cut || ended.success(), "{ended}: {}", world.log());
        if was_cut {
            ledger.crashed();
        }
        world.revive().await;
        was_cut
    }

    /// Request, link, password, notice: each where the one before came.
    async fn story(&self, login: &str) -> Option<()> {
        let clients = &self.clients;
        clients.forgets(login).await?;
        self.mail(login, 1).await?;
        let token = clients.tokens(login, "/r/").pop()?;
        clients.sets(login, &token, &format!("{login} has seven violet teapots")).await?;
        self.mail(login, 2).await
    }

    async fn mail(&self, login: &str, count: usize) -> Option<()> {
        let start = Instant::now();
        while self.clients.world.smtp().last_to(&address(login)).0 < count {
            if start.elapsed() > PATIENCE || self.clients.world.has_ended() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Some(())
    }

    /// When everything is settled, whoever did not come to an end can: their last link works, or they get another one.
    async fn mends(&self) -> Vec<String> {
        let Clients { world, ledger } = &self.clients;
        let mut violations = invariants::check(world, ledger).await;
        let logins: Vec<_> = ledger.state().people.keys().cloned().collect();
        for login in logins {
            if ledger.passwords(&login).iter().any(|password| password != PASSWORD) {
                continue;
            }
            let told = self.clients.forgets(&login).await;
            let came = self.mail(&login, 1).await.is_some();
            let token = self.clients.tokens(&login, "/r/").pop().unwrap_or_default();
            let status = self.clients.sets(&login, &token, &format!("{login} has nine copper kettles")).await;
            if status.is_none_or(|status| status != 204) {
                violations.push(format!("{login} is shut out: {told:?}, message {came}, {status:?}"));
            }
        }
        violations.extend(invariants::check(world, ledger).await);
        violations
    }
}
