//! How fast passwords are set by links, against the directory's own password-modify operation from as many clients.

use std::sync::Arc;

use rekeyd_tests::slapd::{SERVICE, SERVICE_PASSWORD};

use crate::{
    Context, PATIENCE,
    daemon::Daemon,
    directory::{self, Directory, Hash, Who},
    load::{self, Line},
    report::{Report, Table, millis, per_second, percent},
    sink::Sink,
    wire::{self, Talk},
};

const CLIENTS: [u64; 3] = [1, 8, 32];
/// How many of those whose password was set sign in with it.
const CHECKED: u64 = 50;

pub(crate) fn run(context: &Context, report: &mut Report) {
    let each = context.scaled(2_000, 400);
    let wanted = each * CLIENTS.len() as u64;
    // The second half is for the directory alone.
    let directory = Directory::start(Hash::Ssha, 2 * wanted);
    let sink = Sink::start();
    let daemon = Daemon::start(&context.binary, &directory, &sink, &[]);
    daemon.reaches_the_directory();

    sink.keep_messages(true);
    let asked = load::all(&daemon.recoveries(|number| Who::Known.login(number)).within(0..wanted), 8, &[]);
    report.fault(asked.fault("preparing tickets"));
    report.fault(daemon.drains(PATIENCE).map(|left| format!("tickets are not prepared: {left:?} wait")));
    let tickets = tickets(&sink, wanted);
    let found = tickets.iter().filter(|ticket| !ticket.is_empty()).count() as u64;
    report.fault((found < wanted).then(|| format!("{} of {wanted} links did not come", wanted - found)));

    let modify = Talk::ldap(directory.address(), Some(wire::bind(SERVICE, SERVICE_PASSWORD)), move |number| {
        wire::password_modify(&directory::dn(&Who::Known.login(wanted + number % wanted)), &password(number))
    });
    let tickets = Arc::new(tickets);
    let sets = daemon.hook("/v1/password", move |number| {
        let ticket = tickets.get(number as usize).map(String::as_str).unwrap_or_default();
        format!("{{\"ticket\":\"{ticket}\",\"password\":\"{}\"}}", password(number))
    });
    let mut table = Table::new(
        "set: passwords set by links, against the directory's own password-modify (SSHA, history, synced)",
        &[
            "clients",
            "modifies",
            "p50",
            "p99",
            "sets",
            "p50",
            "p99",
            "of modifies",
            "own CPU each",
            "directory's CPU each",
            "a modify's CPU",
        ],
    );
    for (place, clients) in CLIENTS.into_iter().enumerate() {
        let alone =
            context.baselines.then(|| load::closed(&modify, clients as usize, context.phase(), &[directory.pid()]));
        report.fault(alone.as_ref().and_then(|alone| alone.fault("password-modify")));
        let first = place as u64 * each;
        let run = load::all(&sets.within(first..first + each), clients as usize, &[daemon.pid(), directory.pid()]);
        report.fault(run.fault(&format!("set, {clients} clients")));
        let of = |give: &dyn Fn(&load::Run) -> String| alone.as_ref().map_or("-".into(), give);
        table.row(vec![
            clients.to_string(),
            of(&|alone| per_second(alone.rate())),
            of(&|alone| millis(alone.times.p50())),
            of(&|alone| millis(alone.times.p99())),
            per_second(run.rate()),
            millis(run.times.p50()),
            millis(run.times.p99()),
            of(&|alone| percent(run.rate(), alone.rate())),
            format!("{:.3} ms", run.cpu_ms(0)),
            format!("{:.3} ms", run.cpu_ms(1)),
            of(&|alone| format!("{:.3} ms", alone.cpu_ms(0))),
        ]);
        report.rate(format!("sets: {clients}"), run.rate());
        report.time(format!("set p50: {clients}"), run.times.p50());
        report.time(format!("set p99: {clients}"), run.times.p99());
    }
    report.table(table);

    let check = Talk::ldap(directory.address(), None, |number| {
        wire::bind(&directory::dn(&Who::Known.login(number)), &password(number))
    });
    let mut line = Line::new(check.within(0..CHECKED));
    let wrong = (0..CHECKED).filter(|_| !line.ask().1).count();
    report.fault((wrong > 0).then(|| format!("{wrong} of {CHECKED} new passwords do not let in")));
    report.fault(daemon.drains(PATIENCE).map(|left| format!("notices are not sent: {left:?} wait")));
    let told = sink.count();
    report.fault((told != 2 * wanted).then(|| format!("{told} messages came instead of {}", 2 * wanted)));
}

/// A password that nobody else gets and that the rules take.
fn password(number: u64) -> String {
    // Steps of a large odd number look like chance.
    let noise = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("Vq{noise:016x}~korb")
}

/// The token of each of the first so many people; empty for those who got none.
fn tickets(sink: &Sink, wanted: u64) -> Vec<String> {
    let mut tickets = vec![String::new(); wanted as usize];
    for message in sink.keep_messages(false) {
        let link = message.link("/r/");
        let number = message.to[0].get(1..8).and_then(|digits| digits.parse::<usize>().ok());
        if let (Some((_, token)), Some(ticket)) =
            (link.rsplit_once('/'), number.and_then(|number| tickets.get_mut(number)))
        {
            token.clone_into(ticket);
        }
    }
    tickets
}
