//! How many requests for recovery are accepted, each on disk before it is answered: on the hook and on the page, against an
//! HTTP server that does nothing and against what the disk can sync.

use std::time::Duration;

use crate::{
    Context,
    daemon::Daemon,
    directory::{Directory, Hash, Who},
    load,
    machine::{self, Nothing},
    report::{Report, Table, grouped, millis, per_second, percent, times},
    sink::Sink,
    wire::{self, Talk},
};

const CLIENTS: [usize; 3] = [1, 8, 64];

pub(crate) fn run(context: &Context, report: &mut Report) {
    let directory = Directory::start(Hash::Ssha, context.scaled(10_000, 2_000));
    let sink = Sink::start();
    // While the directory is silent, nothing but accepting goes on.
    let silent = [("directory.operation_timeout", "\"60s\""), ("directory.cool_down", "\"60s\"")];
    let people = directory.people;
    let login = move |number| Who::Known.login(number % people);

    let (syncs, sync_times) = machine::sync(context.phase());
    let mut bare = Vec::new();
    if context.baselines {
        let nothing = Nothing::start();
        let address = nothing.address;
        let talk = Talk::http(address, move |number| {
            let body = format!("{{\"login\":\"{}\"}}", login(number));
            wire::post_json(address, "hook-key-0", "/v1/recovery", &body)
        });
        bare = CLIENTS.map(|clients| load::closed(&talk, clients, context.phase(), &[nothing.pid()])).into();
    }

    let mut table = Table::new(
        "accept: durable acceptances of recovery requests",
        &[
            "door, what else goes on",
            "clients",
            "accepted",
            "p50",
            "p99",
            "CPU each",
            "of an empty server",
            "of its CPU",
            "requests a sync",
        ],
    );
    let mut halves = Table::new(
        "accept: at half the best rate, by the clock (64 connections)",
        &["door", "asked", "accepted", "p50", "p99", "p99.9", "p99 against one sync"],
    );
    for (clients, run) in CLIENTS.iter().zip(&bare) {
        table.row(vec![
            "an HTTP server that does nothing".into(),
            clients.to_string(),
            per_second(run.rate()),
            millis(run.times.p50()),
            millis(run.times.p99()),
            format!("{:.4} ms", run.cpu_ms(0)),
            "100 %".into(),
            "1.00 x".into(),
            "-".into(),
        ]);
    }
    for (door, works) in [("hook", false), ("page", false), ("hook", true)] {
        let daemon = Daemon::start(&context.binary, &directory, &sink, &silent);
        daemon.reaches_the_directory();
        if !works {
            directory.fall_silent();
        }
        let talk = if door == "hook" { daemon.recoveries(login) } else { daemon.forms(login) };
        let mut best: f64 = 0.0;
        for (place, clients) in CLIENTS.into_iter().enumerate() {
            let run = load::closed(&talk, clients, context.phase(), &[daemon.pid()]);
            let what = if works { "requests answered meanwhile" } else { "acceptance alone" };
            report.fault(run.fault(&format!("{door}, {clients} clients")));
            let baseline = bare.get(place);
            table.row(vec![
                format!("{door}, {what}"),
                clients.to_string(),
                per_second(run.rate()),
                millis(run.times.p50()),
                millis(run.times.p99()),
                format!("{:.4} ms", run.cpu_ms(0)),
                baseline.map_or("-".into(), |bare| percent(run.rate(), bare.rate())),
                baseline.map_or("-".into(), |bare| times(run.cpu_ms(0), bare.cpu_ms(0))),
                format!("{:.2}", run.rate() / syncs),
            ]);
            let name = format!("{door}{} {clients}", if works { ", all at work" } else { "" });
            report.rate(format!("accepted: {name}"), run.rate());
            report.time(format!("CPU each: {name}"), Duration::from_secs_f64(run.cpu_ms(0) / 1000.0));
            best = best.max(run.rate());
        }
        if !works {
            let run = load::open(&talk, 64, best / 2.0, context.phase() * 2, &[daemon.pid()]);
            report.fault(run.fault(&format!("{door}, by the clock")));
            halves.row(vec![
                door.into(),
                per_second(best / 2.0),
                per_second(run.rate()),
                millis(run.times.p50()),
                millis(run.times.p99()),
                millis(run.times.percentile(99.9)),
                times(run.times.p99().as_secs_f64(), sync_times.p99().as_secs_f64()),
            ]);
            report.time(format!("p50 at half: {door}"), run.times.p50());
            report.time(format!("p99 at half: {door}"), run.times.p99());
            directory.answer_again();
        }
    }
    report.table(table);
    report.table(halves);
    report.note(format!(
        "The disk syncs 4 KiB {} times a second, one after the other (p50 {}, p99 {}).",
        grouped(syncs as u64),
        millis(sync_times.p50()),
        millis(sync_times.p99())
    ));
}
