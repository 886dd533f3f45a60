//! How long it takes from a request to its message, with nothing else to do and while ten thousand others wait; how fast
//! what waits is worked off, against what the mail server takes from plain clients.

use std::{
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use rekeyd_tests::figures::Times;

use crate::{
    Context, PATIENCE,
    daemon::Daemon,
    directory::{Directory, Hash, Who},
    load::{self, Line},
    machine,
    report::{Better, Report, Table, grouped, millis, per_second, percent},
    sink::{Mode, Sink},
};

/// As many messages are under way at once as rekeyd sends.
const SENDERS: usize = 8;
/// About the size of a message of rekeyd's.
const SIZE: usize = 5_000;
/// The pause between two fresh requests while a queue is worked off, and how many there are at most.
const PAUSE: Duration = Duration::from_millis(100);
const FRESH: u64 = 1_000;

/// What makes many wait, and lets them go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Dam {
    /// Requests wait until the directory answers again.
    Directory,
    /// Messages wait until the mail server takes them.
    Mail,
    /// Nothing: the time runs from the first request.
    None,
}

impl Dam {
    fn words(self) -> &'static str {
        match self {
            Self::Directory => "requests that waited for the directory",
            Self::Mail => "messages that waited for the mail server",
            Self::None => "asked by 8 clients and worked off meanwhile",
        }
    }
}

pub(crate) fn run(context: &Context, report: &mut Report) {
    let (idle, many) = (context.scaled(300, 100), context.scaled(10_000, 1_000));
    let directory = Directory::start(Hash::Ssha, idle + 3 * (many + FRESH));
    let sink = Sink::start();
    let baseline = |kept| context.baselines.then(|| sink.own_rate(SENDERS, SIZE, kept, context.phase()));
    let (single, kept) = (baseline(false), baseline(true));
    // A directory or a mail server that is silent for a while is waited for.
    let more = [("directory.operation_timeout", "\"60s\""), ("channel.timeout", "\"120s\"")];
    let daemon = Daemon::start(&context.binary, &directory, &sink, &more);
    daemon.reaches_the_directory();

    let mut waits = Table::new("delivery: from a request to its message", &["meanwhile", "requests", "p50", "p99"]);
    let mut rates = Table::new(
        "delivery: how fast many are worked off",
        &[
            "what",
            "messages",
            "in",
            "rate",
            "of the sink",
            "of it, kept open",
            "own CPU each",
            "memory before",
            "at most",
        ],
    );
    let times = one_by_one(&daemon, &sink, 0..idle);
    wait_row(report, &mut waits, "nothing else", &times);

    let mut next = idle;
    for dam in [Dam::None, Dam::Directory, Dam::Mail] {
        let numbers = next..next + many;
        next += many + FRESH;
        let before = machine::resident(daemon.pid());
        match dam {
            Dam::Directory => directory.fall_silent(),
            Dam::Mail => sink.behave(Mode::Hold),
            Dam::None => {}
        }
        let now = || (Instant::now(), machine::cpu(&[daemon.pid()])[0]);
        let (mut began, mut cpu) = now();
        let asked = load::all(&daemon.recoveries(|number| Who::Known.login(number)).within(numbers.clone()), 8, &[]);
        report.fault(asked.fault(dam.words()));
        if dam != Dam::None {
            all_wait(&daemon, dam, many);
            (began, cpu) = now();
        }
        match dam {
            Dam::Directory => directory.answer_again(),
            Dam::Mail => sink.behave(Mode::Take),
            Dam::None => {}
        }
        let drain = watch(&daemon, &sink, &numbers);
        report.fault(
            (drain.lost > 0).then(|| format!("{}: {} of {many} messages did not come", dam.words(), drain.lost)),
        );
        let took = drain.last.saturating_duration_since(began);
        let rate = many as f64 / took.as_secs_f64().max(1e-9);
        let spent = machine::cpu(&[daemon.pid()])[0].saturating_sub(cpu).as_secs_f64();
        let of = |baseline: Option<f64>| baseline.map_or("-".into(), |baseline| percent(rate, baseline));
        rates.row(vec![
            dam.words().into(),
            grouped(many),
            format!("{:.2} s", took.as_secs_f64()),
            per_second(rate),
            of(single),
            of(kept),
            format!("{:.3} ms", spent * 1000.0 / many as f64),
            format!("{before:.1} MiB"),
            format!("{:.1} MiB", drain.most),
        ]);
        report.rate(format!("worked off: {}", dam.words()), rate);
        report.figure(format!("memory: {}", dam.words()), drain.most, "MiB", Better::Lower);
        wait_row(report, &mut waits, &format!("{} {}", grouped(many), dam.words()), &drain.fresh);
    }
    let doubles = (0..next).filter(|number| sink.arrivals(&Who::Known.login(*number)).len() > 1).count();
    report.fault((doubles > 0).then(|| format!("{doubles} people got their message more than once")));
    report.table(waits);
    report.table(rates);
    if let (Some(single), Some(kept)) = (single, kept) {
        report.note(format!(
            "The sink takes {} of {SIZE} bytes from {SENDERS} plain clients with a connection for each, {} over open ones.",
            per_second(single),
            per_second(kept)
        ));
    }
}

fn wait_row(report: &mut Report, table: &mut Table, meanwhile: &str, times: &Times) {
    table.row(vec![meanwhile.into(), grouped(times.count() as u64), millis(times.p50()), millis(times.p99())]);
    report.time(format!("to the message, p50: {meanwhile}"), times.p50());
    report.time(format!("to the message, p99: {meanwhile}"), times.p99());
}

/// Asks for one after the other, each when the message of the one before has come.
fn one_by_one(daemon: &Daemon, sink: &Sink, numbers: Range<u64>) -> Times {
    let mut line = Line::new(daemon.recoveries(|number| Who::Known.login(number)).within(numbers.clone()));
    let times = numbers.map(|number| {
        // At no fixed beat, so that no timer of the daemon's is always met at the same point.
        thread::sleep(Duration::from_millis(5 + number * 7 % 13));
        let began = Instant::now();
        assert!(line.ask().1, "a request was not accepted");
        loop {
            if let Some(arrival) = sink.arrivals(&Who::Known.login(number)).first() {
                return *arrival - began;
            }
            assert!(began.elapsed() < PATIENCE, "no message for {}", Who::Known.login(number));
            thread::sleep(Duration::from_micros(500));
        }
    });
    Times::new(times.collect())
}

/// Waits until so many have come as far as the dam lets them.
fn all_wait(daemon: &Daemon, dam: Dam, many: u64) {
    let (mut before, mut moved) = ((0, 0), Instant::now());
    loop {
        let (requests, notices) = daemon.waiting();
        if if dam == Dam::Mail { requests == 0 && notices >= many } else { requests >= many } {
            return;
        }
        if (requests, notices) != before {
            (before, moved) = ((requests, notices), Instant::now());
        }
        assert!(moved.elapsed() < PATIENCE, "{requests} requests and {notices} messages wait instead of {many}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// What was seen while a queue was worked off.
struct Drain {
    /// When the last message came, and how many never did.
    last: Instant,
    lost: u64,
    /// From fresh requests to their messages.
    fresh: Times,
    /// The most memory that the daemon had, in MiB.
    most: f64,
}

/// Watches until the messages of all these have come, and of some fresh requests with the numbers after them.
fn watch(daemon: &Daemon, sink: &Sink, numbers: &Range<u64>) -> Drain {
    let (start, mut most) = (Instant::now(), 0.0_f64);
    let (mut taken, mut moved) = (sink.count(), start);
    let fresh = numbers.end..numbers.end + FRESH;
    let mut line = Line::new(daemon.recoveries(|number| Who::Known.login(number)).within(fresh.clone()));
    let (mut asked, mut missing): (Vec<Instant>, Vec<u64>) = (Vec::new(), numbers.clone().collect());
    let came = |number: u64| sink.arrivals(&Who::Known.login(number)).first().copied();
    while !missing.is_empty() && moved.elapsed() < PATIENCE {
        if sink.count() != taken {
            (taken, moved) = (sink.count(), Instant::now());
        }
        if (asked.len() as u64) < FRESH {
            asked.push(Instant::now());
            assert!(line.ask().1, "a fresh request was not accepted");
        }
        thread::sleep(PAUSE);
        most = most.max(machine::resident(daemon.pid()));
        // Those that came last are looked for first, so that a look is short as long as they have not come.
        while missing.last().is_some_and(|number| came(*number).is_some()) {
            missing.pop();
        }
        if missing.len() < 100 {
            missing.retain(|number| came(*number).is_none());
        }
    }
    daemon.drains(PATIENCE);
    missing.retain(|number| came(*number).is_none());
    let last = numbers.clone().filter_map(came).max().unwrap_or(start);
    let fresh = fresh.zip(&asked).filter_map(|(number, began)| Some(came(number)? - *began)).collect();
    Drain { last, lost: missing.len() as u64, fresh: Times::new(fresh), most }
}
