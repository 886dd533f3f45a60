//! Kills at random moments under load: people ask, set passwords, deny and sign in, operators help, and the daemon is
//! killed and started again, round after round, while the checker of the invariants looks.
//!
//! A seed decides what everybody does and when the kills come; the machine decides how fast. So a seed names a run, and
//! a violation is a bug whether or not the same seed shows it again.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{sync::RwLock, task::JoinSet};

use crate::{
    acts::address,
    branch::PASSWORD,
    clients::Clients,
    invariants,
    slapd::{Slapd, Variant},
    world::World,
    world_config::Way,
};

/// How many rounds one world sees; then everything is checked to the end, and a fresh one begins.
const EPISODE: u32 = 100;
/// After so many rounds everything is looked at, with what is open left open.
const LOOK: u32 = 20;
/// How many people there are.
const PEOPLE: u64 = 12;
/// The longest life of a daemon, in milliseconds.
const LIFE: u64 = 400;

/// How a run ended.
#[derive(Debug, Default)]
pub struct Report {
    /// How many rounds there were, each with a kill.
    pub rounds: u32,
    /// How many things the clients did.
    pub acts: u64,
    /// How many passwords were set, as the clients were told.
    pub set: u64,
    /// What did not hold, each with its round.
    pub violations: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, acts, set, violations, took } = self;
        let (violations, seconds) = (violations.len(), took.as_secs());
        write!(f, "{rounds} kills, {acts} acts, {set} passwords set, {violations} violations, {seconds} s")
    }
}

/// Runs so many rounds; `progress` hears of each violation at once, and of each episode.
pub async fn run(rounds: u32, seed: u64, progress: impl Fn(&str)) -> Report {
    let start = Instant::now();
    let mut report = Report::default();
    let mut dice = Dice(seed);
    while report.rounds < rounds {
        let episode = EPISODE.min(rounds - report.rounds);
        live(episode, &mut dice, &mut report, &progress).await;
        report.took = start.elapsed();
        progress(&format!("seed {seed}: {report}"));
    }
    report
}

/// One world, killed so many times.
async fn live(rounds: u32, dice: &mut Dice, report: &mut Report, progress: &impl Fn(&str)) {
    let stage = Stage::set().await;
    let mut people = JoinSet::new();
    for number in 0..PEOPLE {
        people.spawn(stage.clone().person(format!("p{number}"), Dice(dice.next())));
    }
    people.spawn(stage.clone().stranger(Dice(dice.next())));
    let world = &stage.clients.world;
    world.stop();
    for round in 1..=rounds {
        if dice.below(8) == 0 {
            world.launch();
            tokio::time::sleep(Duration::from_millis(dice.below(60))).await;
        } else {
            world.revive().await;
            tokio::time::sleep(Duration::from_millis(dice.below(LIFE))).await;
        }
        stage.clients.kill();
        report.rounds += 1;
        if round % LOOK == 0 && round < rounds {
            world.revive().await;
            let _quiet = stage.gate.write().await;
            let violations = invariants::look(world, &stage.clients.ledger).await;
            stage.clients.kill();
            note(report, violations, progress);
        }
    }
    world.revive().await;
    stage.is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = people.join_next().await {
        ended.expect("a client");
    }
    let violations = invariants::check(world, &stage.clients.ledger).await;
    if !violations.is_empty() {
        world.leaves_mail_behind();
    }
    note(report, violations, progress);
    report.acts += stage.acts.load(Ordering::Relaxed);
    report.set += stage.passwords.load(Ordering::Relaxed);
}

fn note(report: &mut Report, violations: Vec<String>, progress: &impl Fn(&str)) {
    for violation in violations {
        let told = format!("round {}: {violation}", report.rounds);
        progress(&told);
        report.violations.push(told);
    }
}

/// A world with its clients.
#[derive(Clone)]
struct Stage {
    clients: Clients,
    /// Open while clients may act; whoever checks takes all of it.
    gate: Arc<RwLock<()>>,
    is_over: Arc<AtomicBool>,
    acts: Arc<AtomicU64>,
    passwords: Arc<AtomicU64>,
}

impl Stage {
    async fn set() -> Self {
        let slapd = Slapd::fresh(Variant::Policy).await;
        let wide = r#""100000 in 1d""#;
        let mut builder = World::builder().slapd(&slapd).way(Way::Clear(None));
        for pace in ["account", "account_day", "account_spent", "contact_day", "resend", "source", "sign_in"] {
            builder = builder.set(&format!("policy.paces.{pace}"), wide);
        }
        let builder = builder
            .set("policy.lives.merge", r#""1s""#)
            .set("directory.operation_timeout", r#""2s""#)
            // What is tried here is not how strong passwords are.
            .set("policy.password.min_score", "0");
        let world = Arc::new(builder.start().await);
        let logins: Vec<_> = (0..PEOPLE).map(|number| format!("p{number}")).collect();
        for login in &logins {
            world.branch().add_person(login, PASSWORD).await;
        }
        let logins: Vec<_> = logins.iter().map(String::as_str).collect();
        Self {
            clients: Clients::of(&world, &logins),
            gate: Arc::default(),
            is_over: Arc::default(),
            acts: Arc::default(),
            passwords: Arc::default(),
        }
    }

    /// What one person does, and what operators do for them.
    async fn person(self, login: String, mut dice: Dice) {
        let Self { clients, .. } = &self;
        let mut count = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            count += 1;
            let password = format!("{login} {count} {:016x}", dice.next());
            match dice.below(20) {
                0..=9 => self.forgets_and_sets(&login, &password, &mut dice).await,
                10..=11 => drop(self.act(clients.forgets(&login)).await),
                12..=13 => drop(self.act(clients.signs_in(&login)).await),
                14 => drop(self.act(clients.replaces(&login, &password)).await),
                15 => drop(self.act(clients.sends_code(&login)).await),
                16 => {
                    if let Some(token) = clients.tokens(&login, "/not-me/").pop() {
                        self.act(clients.denies(&login, &token)).await;
                        self.pause(&mut dice, 100).await;
                        // Whether or not it was heard: a frozen person would do nothing any more.
                        while self.act(clients.thaws(&login)).await.is_none() && !self.is_over.load(Ordering::Relaxed) {
                        }
                    }
                }
                // A link that is old as like as not.
                17..=18 => {
                    let tokens = clients.tokens(&login, "/r/");
                    if let Some(token) =
                        tokens.get(usize::try_from(dice.below(1 + tokens.len() as u64)).expect("a place"))
                    {
                        self.sets(&login, token, &password).await;
                    }
                }
                // Twice at once, by two browsers.
                _ => {
                    if let Some(token) = clients.tokens(&login, "/r/").pop() {
                        let other = format!("{password} as well");
                        tokio::join!(self.sets(&login, &token, &password), self.sets(&login, &token, &other));
                    }
                }
            }
            self.pause(&mut dice, 60).await;
        }
    }

    /// The whole story, as far as it comes.
    async fn forgets_and_sets(&self, login: &str, password: &str, dice: &mut Dice) {
        let clients = &self.clients;
        let address = address(login);
        let (before, _) = clients.world.smtp().last_to(&address);
        self.act(clients.forgets(login)).await;
        let start = Instant::now();
        while clients.world.smtp().last_to(&address).0 == before && start.elapsed() < Duration::from_secs(2) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let Some(token) = clients.tokens(login, "/r/").pop() else { return };
        if dice.below(2) == 0 {
            self.act(clients.hook("/v1/ticket", &json!({"ticket": token}))).await;
        }
        self.sets(login, &token, password).await;
    }

    async fn sets(&self, login: &str, token: &str, password: &str) {
        if self.act(self.clients.sets(login, token, password)).await.is_some_and(|status| status == 204) {
            self.passwords.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Somebody who asks for those who may get nothing.
    async fn stranger(self, mut dice: Dice) {
        let others = ["hopper", "turing", "boss", "noether", "twin", "nomail", "tomorrow", "nobody"];
        while !self.is_over.load(Ordering::Relaxed) {
            let login = others[usize::try_from(dice.below(others.len() as u64)).expect("a place")];
            self.act(self.clients.forgets(login)).await;
            self.pause(&mut dice, 100).await;
        }
    }

    /// Does one thing, unless everybody is to be quiet; waits a little where nobody answers.
    async fn act<T>(&self, what: impl Future<Output = Option<T>>) -> Option<T> {
        let answer = {
            let _open = self.gate.read().await;
            what.await
        };
        self.acts.fetch_add(1, Ordering::Relaxed);
        if answer.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        answer
    }

    async fn pause(&self, dice: &mut Dice, most: u64) {
        tokio::time::sleep(Duration::from_millis(dice.below(most))).await;
    }
}

/// Numbers by chance that a seed gives again (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
