//! How fast passwords are checked, against the binds that the same directory takes from as many clients without rekeyd.

use std::time::Duration;

use crate::{
    Context,
    daemon::Daemon,
    directory::{self, Directory, Hash, PASSWORD, Who},
    load,
    report::{Report, Table, millis, per_second, percent},
    sink::Sink,
    wire::{self, Talk},
};

const CLIENTS: [usize; 4] = [1, 8, 32, 256];

pub(crate) fn run(context: &Context, report: &mut Report) {
    let sink = Sink::start();
    let mut table = Table::new(
        "signin: sign-ins against the directory's own binds (kept connections, clear text on loopback)",
        &[
            "hash",
            "clients",
            "binds",
            "p50",
            "p99",
            "sign-ins",
            "p50",
            "p99",
            "of binds",
            "added p50",
            "own CPU each",
            "directory's CPU each",
            "a bind's CPU",
        ],
    );
    for hash in [Hash::Ssha, Hash::Argon2] {
        let directory = Directory::start(hash, 1_000);
        let people = directory.people;
        let login = move |number: u64| Who::Known.login(number % people);
        let binds =
            Talk::ldap(directory.address(), None, move |number| wire::bind(&directory::dn(&login(number)), PASSWORD));
        // With Argon2 many clients wait longer than an operation may take by default.
        let more = [("directory.operation_timeout", "\"60s\""), ("http.limits.request", "\"60s\"")];
        let daemon = Daemon::start(&context.binary, &directory, &sink, &more);
        daemon.reaches_the_directory();
        let sign_ins = daemon.hook("/v1/sign-in", move |number| {
            format!("{{\"login\":\"{}\",\"password\":\"{PASSWORD}\"}}", login(number))
        });
        for clients in CLIENTS {
            let alone = context.baselines.then(|| load::closed(&binds, clients, context.phase(), &[directory.pid()]));
            let run = load::closed(&sign_ins, clients, context.phase(), &[daemon.pid(), directory.pid()]);
            let name = format!("{} {clients}", hash.scheme());
            report.fault(run.fault(&format!("sign-in, {name}")));
            report.fault(alone.as_ref().and_then(|alone| alone.fault(&format!("bind, {name}"))));
            let of = |give: &dyn Fn(&load::Run) -> String| alone.as_ref().map_or("-".into(), give);
            let added = |alone: &load::Run| {
                let added = run.times.p50().as_secs_f64() - alone.times.p50().as_secs_f64();
                format!("{:.2} ms", added * 1000.0)
            };
            table.row(vec![
                hash.scheme().into(),
                clients.to_string(),
                of(&|alone| per_second(alone.rate())),
                of(&|alone| millis(alone.times.p50())),
                of(&|alone| millis(alone.times.p99())),
                per_second(run.rate()),
                millis(run.times.p50()),
                millis(run.times.p99()),
                of(&|alone| percent(run.rate(), alone.rate())),
                of(&added),
                format!("{:.4} ms", run.cpu_ms(0)),
                format!("{:.4} ms", run.cpu_ms(1)),
                of(&|alone| format!("{:.4} ms", alone.cpu_ms(0))),
            ]);
            report.rate(format!("sign-ins: {name}"), run.rate());
            report.time(format!("sign-in p50: {name}"), run.times.p50());
            report.time(format!("sign-in p99: {name}"), run.times.p99());
            report.time(format!("sign-in CPU: {name}"), Duration::from_secs_f64(run.cpu_ms(0) / 1000.0));
        }
    }
    report.table(table);
}
