//! `tests/bench`: measures a release build of rekeyd and prints tables; `tests/bench` itself says how it is called.
//!
//! * `accept`, … are the measurements: each starts what it needs, prints tables and gives figures. `LIST` names them.
//! * [`kill`] is no measurement but the long form of a test: it is run only where it is named.
//! * [`against`] compares two builds by their figures; [`report`] is what a measurement gives.
//! * [`load`] and [`wire`] are the load tool; [`daemon`], [`directory`], [`sink`] and [`machine`] are what is measured and
//!   what it is measured against.
//!
//! No time is asserted. What fails a run is a wrong answer or a lost message.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used
)]

mod accept;
mod against;
mod daemon;
mod delivery;
mod directory;
mod kill;
mod load;
mod machine;
mod memory;
mod options;
mod report;
mod set;
mod signin;
mod sink;
mod timing;
mod walk;
mod wire;

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use rekeyd_tests::scratch;
use serde_json::json;

use crate::{machine::Nothing, options::Options, report::Report};

/// What waits while nothing at all is worked off for so long is lost.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// One measurement.
pub(crate) struct Bench {
    pub(crate) name: &'static str,
    /// What it measures, in a line.
    about: &'static str,
    pub(crate) run: fn(&Context, &mut Report),
}

/// All measurements, in the order in which they are run.
pub(crate) const LIST: &[Bench] = &[
    Bench { name: "accept", about: "durable acceptances of recovery requests", run: accept::run },
    Bench { name: "signin", about: "sign-ins against the directory's own binds", run: signin::run },
    Bench { name: "set", about: "passwords set by links against the directory's password-modify", run: set::run },
    Bench {
        name: "delivery",
        about: "from a request to its message, and how fast queues are worked off",
        run: delivery::run,
    },
    Bench { name: "timing", about: "whether the times of answers tell who exists", run: timing::run },
    Bench { name: "probe", about: "only that part of timing that asks after others", run: timing::run_probe },
    Bench { name: "walk", about: "everybody looked at, against a bare paged search of the same tree", run: walk::run },
    Bench { name: "memory", about: "memory, descriptors, time to READY, size of the program", run: memory::run },
];

/// How a measurement is to go about it.
#[derive(Clone)]
pub(crate) struct Context {
    /// The program.
    pub(crate) binary: PathBuf,
    /// How long one phase of a measurement lasts.
    seconds: f64,
    /// Fewer samples.
    pub(crate) quick: bool,
    /// Whether the baselines are measured too.
    pub(crate) baselines: bool,
    /// How long memory is watched under load.
    pub(crate) soak: Duration,
    /// How many people are looked at in a walk, where somebody says so.
    pub(crate) people: Option<u64>,
}

impl Context {
    pub(crate) fn phase(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// A number of samples: as it should be, or for those in a hurry.
    pub(crate) fn scaled(&self, full: u64, quick: u64) -> u64 {
        if self.quick { quick } else { full }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == Nothing::ARGUMENT) {
        Nothing::serve();
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(&arguments) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("{fault}");
            return ExitCode::from(2);
        }
    };
    if options.list {
        for bench in LIST {
            println!("{:<10} {}", bench.name, bench.about);
        }
        println!("{:<10} {}", kill::NAME, kill::ABOUT);
        return ExitCode::SUCCESS;
    }
    let header = machine::describe(&options.context.binary);
    for (name, value) in &header {
        println!("{name:<10} {value}");
    }
    let start = Instant::now();
    let mut all = serde_json::Map::new();
    let mut faults = 0;
    for bench in options.chosen() {
        let told = if let Some(other) = &options.against {
            against::compare(&options.context, bench, other, options.pairs)
        } else {
            let mut report = Report::default();
            (bench.run)(&options.context, &mut report);
            report.json()
        };
        faults += told["faults"].as_array().map_or(0, Vec::len);
        all.insert(bench.name.to_owned(), told);
    }
    if options.kills {
        let mut report = Report::default();
        kill::run(options.rounds, options.seed, &mut report);
        faults += report.faults.len();
        all.insert(kill::NAME.to_owned(), report.json());
    }
    println!("\nin {} s; load now {}", start.elapsed().as_secs(), machine::load());
    if let Some(file) = &options.json {
        let header: serde_json::Map<_, _> =
            header.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        fs::write(file, json!({"header": header, "benches": all}).to_string()).expect("a written file");
    }
    scratch::remove();
    if faults > 0 {
        println!("\n{faults} faults");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
