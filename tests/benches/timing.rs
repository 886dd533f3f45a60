//! Whether the time of an answer tells who exists: requests for people who are known, unknown and known but not eligible, in
//! random order, in quiet, under load, with a slow mail server and with none; and whether work for earlier requests shows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rekeyd_tests::figures::Times;

use crate::{
    Context,
    daemon::Daemon,
    directory::{Directory, Hash, INELIGIBLE, Who},
    load::{self, Line},
    report::{Better, Report, Table, grouped, millis},
    sink::{Mode, Sink},
};

const KINDS: [Who; 3] = [Who::Known, Who::Unknown, Who::Ineligible];
/// Requests a second beside the measured ones, where there is load.
const LOAD: f64 = 300.0;
/// How slow the mail server is with each of its answers, where it is slow.
const SLOW: Duration = Duration::from_millis(50);
/// How many requests go before a probe, and how long the daemon may rest after it.
const BEFORE: usize = 10;
const REST: Duration = Duration::from_millis(20);

/// What goes on while answers are timed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Down,
    Idle,
    Loaded,
    Slow,
}

impl State {
    fn words(self) -> &'static str {
        match self {
            Self::Down => "mail server down",
            Self::Idle => "idle",
            Self::Loaded => "loaded",
            Self::Slow => "mail server slow",
        }
    }
}

/// Only the last of it: whether work for earlier requests shows.
pub(crate) fn run_probe(context: &Context, report: &mut Report) {
    let probes = context.scaled(3_000, 300);
    let directory = Directory::start(Hash::Ssha, probes * BEFORE as u64);
    let mut table = table();
    probe(context, report, &directory, probes, &mut table);
    report.table(table);
}

pub(crate) fn run(context: &Context, report: &mut Report) {
    let (samples, probes) = (context.scaled(10_000, 2_000), context.scaled(1_000, 300));
    let directory = Directory::start(Hash::Ssha, samples.max(probes * BEFORE as u64));
    let mut table = table();
    for state in [State::Idle, State::Loaded, State::Slow, State::Down] {
        let sink = Sink::start();
        let daemon = Daemon::start(&context.binary, &directory, &sink, &[]);
        daemon.reaches_the_directory();
        match state {
            State::Down => sink.behave(Mode::Down),
            State::Slow => sink.behave(Mode::Slow(SLOW)),
            State::Idle | State::Loaded => {}
        }
        let beside = (state == State::Loaded).then(|| Beside::start(&daemon, &directory));
        let [known, unknown, ineligible] = interleaved(report, &daemon, &directory, samples);
        drop(beside);
        for (names, one, other) in [
            ("known, unknown", &known, &unknown),
            ("ineligible, unknown", &ineligible, &unknown),
            ("known, ineligible", &known, &ineligible),
        ] {
            row(report, &mut table, state.words(), names, one, other);
        }
    }
    probe(context, report, &directory, probes, &mut table);
    report.table(table);
}

fn table() -> Table {
    Table::new(
        "timing: do the times of answers tell who exists? (hook; 0.5 tells nothing)",
        &["state", "kinds", "each", "AUC", "standard error", "p50", "p50", "p99", "p99", "p99 apart"],
    )
}

fn probe(context: &Context, report: &mut Report, directory: &Directory, probes: u64, table: &mut Table) {
    let sink = Sink::start();
    let daemon = Daemon::start(&context.binary, directory, &sink, &[]);
    daemon.reaches_the_directory();
    let (known, unknown) = after_others(report, &daemon, directory, probes);
    row(report, table, &format!("probe after {BEFORE} others"), "known, unknown", &known, &unknown);
}

fn row(report: &mut Report, table: &mut Table, state: &str, names: &str, one: &Times, other: &Times) {
    let (auc, apart) = (one.auc(other), one.p99().abs_diff(other.p99()));
    table.row(vec![
        state.into(),
        names.into(),
        grouped(one.count() as u64),
        format!("{auc:.3}"),
        format!("{:.3}", one.auc_error(other)),
        millis(one.p50()),
        millis(other.p50()),
        millis(one.p99()),
        millis(other.p99()),
        millis(apart),
    ]);
    report.figure(format!("AUC from 0.5: {state}: {names}"), (auc - 0.5).abs(), "", Better::Lower);
    report.time(format!("p99 apart: {state}: {names}"), apart);
}

/// Times about so many requests of each kind, in random order. Each draw is independent of those before: work for one
/// request may slow the next, and that must meet all kinds alike.
fn interleaved(report: &mut Report, daemon: &Daemon, directory: &Directory, samples: u64) -> [Times; 3] {
    let mut lines = KINDS.map(|kind| Line::new(asks(daemon, directory, kind)));
    let mut times = KINDS.map(|_| Vec::new());
    let (mut chance, mut wrong) = (Chance(7), 0_u64);
    for _ in 0..3 * samples {
        let kind = chance.below(3) as usize;
        let (took, fine) = lines[kind].ask();
        times[kind].push(took);
        wrong += u64::from(!fine);
    }
    report.fault((wrong > 0).then(|| format!("{wrong} requests were not accepted")));
    times.map(Times::new)
}

/// Times a request for somebody unknown right after some requests for people who are known, and who are not.
fn after_others(report: &mut Report, daemon: &Daemon, directory: &Directory, probes: u64) -> (Times, Times) {
    let mut lines = [Who::Known, Who::Unknown].map(|kind| Line::new(asks(daemon, directory, kind)));
    // Of names that nobody asks for otherwise.
    let mut probe = Line::new(daemon.recoveries(|number| Who::Unknown.login(9_000_000 + number)));
    let mut times = [Vec::new(), Vec::new()];
    let (mut chance, mut wrong) = (Chance(11), 0_u64);
    for _ in 0..probes {
        let first = usize::from(chance.below(2) == 1);
        for kind in [first, 1 - first] {
            for _ in 0..BEFORE {
                wrong += u64::from(!lines[kind].ask().1);
            }
            let (took, fine) = probe.ask();
            times[kind].push(took);
            wrong += u64::from(!fine);
            thread::sleep(REST);
        }
    }
    report.fault((wrong > 0).then(|| format!("{wrong} requests were not accepted")));
    let [known, unknown] = times;
    (Times::new(known), Times::new(unknown))
}

fn asks(daemon: &Daemon, directory: &Directory, kind: Who) -> crate::wire::Talk {
    let people = if kind == Who::Ineligible { INELIGIBLE } else { directory.people };
    daemon.recoveries(move |number| kind.login(number % people))
}

/// Requests of all kinds that go on beside, until it is dropped.
struct Beside {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Beside {
    fn start(daemon: &Daemon, directory: &Directory) -> Self {
        let people = directory.people;
        // Backwards, so that they seldom meet those that are timed.
        let talk = daemon.recoveries(move |number| {
            let kind = KINDS[number as usize % 3];
            let people = if kind == Who::Ineligible { INELIGIBLE } else { people };
            kind.login(people - 1 - number % people)
        });
        let over = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let over = Arc::clone(&over);
            move || {
                while !over.load(Ordering::Relaxed) {
                    load::open(&talk, 8, LOAD, Duration::from_millis(700), &[]);
                }
            }
        });
        thread::sleep(Duration::from_millis(500));
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the load beside");
        }
    }
}

/// Numbers that look like chance and are the same in each run (a linear congruence of Knuth's).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}
