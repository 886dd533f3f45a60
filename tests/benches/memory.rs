//! What the daemon takes: memory after its start, after the first stories, after many requests and over time under load;
//! open descriptors; the time to READY on an empty store and on a full one; the size of the program.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rekeyd_tests::{figures::median, figures::spread, process::free_port};
use rusqlite::Connection;

use crate::{
    Context, PATIENCE,
    daemon::Daemon,
    directory::{Directory, Hash, PASSWORD, Who},
    load::{self, Line},
    machine,
    report::{Better, Report, Table, grouped, times},
    sink::Sink,
};

/// Tickets and waiting requests of the full store.
const TICKETS: i64 = 100_000;
const REQUESTS: u64 = 10_000;
/// Tickets made by the real story, of which the full store's are copies.
const REAL: u64 = 300;
/// Requests a second while memory is watched over time.
const LOAD: f64 = 200.0;
/// Starts of each kind.
const STARTS: usize = 9;

pub(crate) fn run(context: &Context, report: &mut Report) {
    resident(context, report);
    ready(context, report);
    let size = fs::metadata(&context.binary).map_or(0, |file| file.len()) as f64 / 1e6;
    report.note(format!("The program has {size:.1} MB."));
    report.figure("program", size, "MB", Better::Lower);
}

fn resident(context: &Context, report: &mut Report) {
    let directory = Directory::start(Hash::Ssha, 10_000);
    let sink = Sink::start();
    let daemon = Daemon::start(&context.binary, &directory, &sink, &[]);
    daemon.reaches_the_directory();
    let mut table =
        Table::new("memory: resident, and open descriptors", &["when", "memory", "of the start's", "descriptors"]);
    let mut first = None;
    let mut row = |report: &mut Report, when: &str| {
        let memory = machine::resident(daemon.pid());
        let descriptors = machine::descriptors(daemon.pid()).map_or("-".into(), |count| count.to_string());
        table.row(vec![
            when.into(),
            format!("{memory:.1} MiB"),
            times(memory, *first.get_or_insert(memory)),
            descriptors,
        ]);
        report.figure(format!("memory {when}"), memory, "MiB", Better::Lower);
    };
    thread::sleep(Duration::from_secs(1));
    row(report, "after the start");
    stories(report, &daemon, &sink);
    row(report, "after the first stories");

    let many = context.scaled(100_000, 10_000);
    // Most of what is typed belongs to nobody; every tenth request sends a message.
    let talk = daemon.recoveries(|number| {
        if number % 10 == 0 { Who::Known.login(number / 10 % 10_000) } else { Who::Unknown.login(number) }
    });
    let asked = load::all(&talk.within(0..many), 64, &[]);
    report.fault(asked.fault("many requests"));
    row(report, &format!("when {} requests were accepted", grouped(many)));
    let left = daemon.drains(PATIENCE);
    row(report, &format!("when {} requests were answered", grouped(many)));
    report.fault(left.map(|left| format!("not answered in time: {left:?} wait")));

    let (mut samples, start) = (Vec::new(), Instant::now());
    while start.elapsed() < context.soak {
        let run = load::open(&talk, 8, LOAD, Duration::from_millis(700), &[]);
        report.fault(run.fault("under load"));
        samples.push(machine::resident(daemon.pid()));
    }
    let quarter = (samples.len() / 4).max(1);
    let (begin, end) = (median(&samples[..quarter]), median(&samples[samples.len() - quarter..]));
    let (least, most) = spread(&samples);
    row(report, &format!("after {} s at {LOAD}/s", context.soak.as_secs()));
    report.table(table);
    report.note(format!(
        "Over {} s at {LOAD}/s: first quarter {begin:.1} MiB, last quarter {end:.1} MiB ({least:.1} to {most:.1}); --soak 60m watches for an hour.",
        context.soak.as_secs()
    ));
    report.figure("memory gained over time", end - begin, "MiB", Better::Lower);
}

/// Somebody forgets a password, opens the link, sets a new one and signs in.
fn stories(report: &mut Report, daemon: &Daemon, sink: &Sink) {
    let login = "k0009999";
    sink.keep_messages(true);
    let mut line = Line::new(daemon.forms(move |_| login.into()));
    assert!(line.ask().1, "the form is not taken");
    let left = daemon.drains(PATIENCE);
    report.fault(left.map(|left| format!("the first link is not sent: {left:?} wait")));
    let message = sink.keep_messages(false).pop().expect("a message");
    let link = message.link("/r/");
    let token = link.rsplit_once('/').map(|(_, token)| token.to_owned()).expect("a token");
    let host = daemon.address();
    let page = line.send(format!("GET /r/{token} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes());
    assert!(page.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&page));
    let password = "Vq81tuvalu~korb";
    let body = format!("{{\"ticket\":\"{token}\",\"password\":\"{password}\"}}");
    let set = Line::new(daemon.hook("/v1/password", move |_| body.clone())).ask().1;
    let body = format!("{{\"login\":\"{login}\",\"password\":\"{password}\"}}");
    let signed_in = Line::new(daemon.hook("/v1/sign-in", move |_| body.clone())).ask().1;
    let body = format!("{{\"login\":\"{login}\",\"password\":\"{PASSWORD}\"}}");
    let with_the_old = Line::new(daemon.hook("/v1/sign-in", move |_| body.clone())).ask().1;
    report.fault((!(set && signed_in && !with_the_old)).then(|| "the first stories ended wrongly".into()));
}

fn ready(context: &Context, report: &mut Report) {
    // A directory that is down holds up no start.
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut table = Table::new(
        "memory: from the start of the process to READY",
        &["store", "starts", "median", "least", "most", "of a program that does nothing"],
    );
    let nothing: Vec<f64> = (0..STARTS).map(|_| nothing().as_secs_f64() * 1000.0).collect();
    let mut row = |report: &mut Report, store: &str, starts: &[f64]| {
        let (least, most) = spread(starts);
        let one = |number: f64| format!("{number:.1} ms");
        let cells = [
            starts.len().to_string(),
            one(median(starts)),
            one(least),
            one(most),
            times(median(starts), median(&nothing)),
        ];
        table.row([store.to_owned()].into_iter().chain(cells).collect());
        report.figure(format!("READY: {store}"), median(starts), "ms", Better::Lower);
    };
    let first: Vec<f64> = (0..STARTS)
        .map(|_| Daemon::prepare(&context.binary, nowhere, nowhere, &[]).launch().as_secs_f64() * 1000.0)
        .collect();
    row(report, "none yet", &first);
    let mut daemon = Daemon::prepare(&context.binary, nowhere, nowhere, &[]);
    daemon.launch();
    daemon.stop();
    row(report, "empty", &starts(&mut daemon, false));
    let mut daemon = full(context, nowhere);
    let name = format!("{} tickets, {} requests", grouped(TICKETS as u64), grouped(REQUESTS));
    row(report, &name, &starts(&mut daemon, false));
    row(report, &format!("{name}, after kill -9"), &starts(&mut daemon, true));
    daemon.launch();
    let (waiting, _) = daemon.waiting();
    report.fault(
        (waiting != REQUESTS).then(|| format!("{waiting} requests wait after the starts instead of {REQUESTS}")),
    );
    report.table(table);
}

/// What starting any process takes here, in the way in which the daemon is started.
fn nothing() -> Duration {
    let began = Instant::now();
    let status = Command::new("setpriv").args(["--pdeathsig", "KILL", "--", "true"]).status();
    assert!(status.is_ok_and(|status| status.success()), "true can not be run");
    began.elapsed()
}

fn starts(daemon: &mut Daemon, killed: bool) -> Vec<f64> {
    (0..STARTS)
        .map(|_| {
            let took = daemon.launch();
            if killed {
                daemon.kill();
            } else {
                daemon.stop();
            }
            took.as_secs_f64() * 1000.0
        })
        .collect()
}

/// A daemon that was stopped with a full store. Its requests came in by the hook; of its tickets some were made by the real
/// story, and the others are copies of their rows: a start reads how many there are, not what they hold.
fn full(context: &Context, nowhere: SocketAddr) -> Daemon {
    let directory = Directory::start(Hash::Ssha, REAL);
    let sink = Sink::start();
    let mut daemon = Daemon::start(&context.binary, &directory, &sink, &[("directory.operation_timeout", "\"60s\"")]);
    daemon.reaches_the_directory();
    let people = daemon.recoveries(|number| Who::Known.login(number));
    assert!(load::all(&people.within(0..REAL), 8, &[]).fault("tickets").is_none(), "tickets can not be made");
    assert!(daemon.drains(PATIENCE).is_none(), "tickets are not made");
    directory.fall_silent();
    assert!(
        load::all(&people.within(REAL..REAL + REQUESTS), 8, &[]).fault("requests").is_none(),
        "requests are refused"
    );
    daemon.kill();
    daemon.set("directory.urls", &format!("[\"ldap://{nowhere}\"]"));
    daemon.launch();
    daemon.stop();
    multiply(&daemon.database());
    daemon
}

fn multiply(database: &Path) {
    let connection = Connection::open(database).expect("the database");
    let count =
        || -> i64 { connection.query_row("SELECT count(*) FROM tickets", [], |row| row.get(0)).expect("a count") };
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info('tickets')").expect("columns");
    let names = statement.query_map([], |row| row.get::<_, String>(0)).expect("columns");
    let names: Vec<String> = names.collect::<Result<_, _>>().expect("columns");
    let values: Vec<&str> = names
        .iter()
        .map(|name| match name.as_str() {
            "id" => "randomblob(16)",
            "hash" => "randomblob(32)",
            other => other,
        })
        .collect();
    let (names, values) = (names.join(", "), values.join(", "));
    while count() < TICKETS {
        let more = TICKETS - count();
        let copy = format!("INSERT INTO tickets ({names}) SELECT {values} FROM tickets LIMIT {more}");
        connection.execute(&copy, []).expect("copied tickets");
    }
}
