//! Everybody looked at: `rekeyctl policy test --all` over a large tree, beside a bare paged search that reads the same
//! attributes and does nothing with them, and what memory the daemon takes meanwhile.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ldap3::{
    LdapConnAsync, Scope, SearchEntry,
    adapters::{Adapter, EntriesOnly, PagedResults},
};
use rekeyd_tests::slapd::{SERVICE, SERVICE_PASSWORD, SUFFIX};
use serde_json::Value;

use crate::{
    Context,
    daemon::Daemon,
    directory::{Directory, Hash, INELIGIBLE},
    machine,
    report::{Better, Report, Table, grouped, times},
    sink::Sink,
};

/// How many people there are where nobody says.
const PEOPLE: u64 = 50_000;

/// What the daemon reads of each person.
const ATTRIBUTES: [&str; 18] = [
    "entryUUID",
    "entryCSN",
    "memberOf",
    "userPassword",
    "uid",
    "gidNumber",
    "mail",
    "cn",
    "sn",
    "givenName",
    "displayName",
    "preferredLanguage",
    "pwdChangedTime",
    "pwdAccountLockedTime",
    "pwdStartTime",
    "pwdEndTime",
    "pwdReset",
    "pwdPolicySubentry",
];

pub(crate) fn run(context: &Context, report: &mut Report) {
    let people = context.people.unwrap_or(if context.quick { 10_000 } else { PEOPLE });
    let directory = Directory::start(Hash::Ssha, people);
    let sink = Sink::start();
    let daemon = Daemon::start(&context.binary, &directory, &sink, &[("directory.operation_timeout", "\"30s\"")]);
    daemon.reaches_the_directory();
    let before = machine::resident(daemon.pid());
    // The first of them warms the server's cache for all.
    let (_, found) = bare(&directory);
    let mut table = Table::new(
        &format!("walk: {} people looked at", grouped(found)),
        &["what", "time", "people a second", "of the bare search", "most memory of the daemon"],
    );
    let (alone, _) = bare(&directory);
    let mut row = |what: &str, time: Duration, memory: Option<f64>| {
        let seconds = time.as_secs_f64();
        table.row(vec![
            what.into(),
            format!("{seconds:.1} s"),
            grouped((found as f64 / seconds) as u64),
            times(seconds, alone.as_secs_f64()),
            memory.map_or_else(String::new, |memory| format!("{memory:.1} MiB")),
        ]);
    };
    row("a bare paged search", alone, None);
    for (what, arguments) in
        [("policy test --all", &["policy", "test", "--all"][..]), ("adopt --dry-run", &["adopt", "--dry-run"])]
    {
        let (time, memory, seen) = walk(context, &daemon, arguments);
        row(what, time, Some(memory));
        report.figure(format!("memory in {what}"), memory, "MiB", Better::Lower);
        report.time(format!("time of {what}"), time);
        report.fault((seen < people + INELIGIBLE).then(|| format!("{what} saw only {seen} of {people} people")));
        report.fault((memory > 64.0).then(|| format!("{what} took {memory:.1} MiB")));
    }
    report.table(table);
    report.note(format!("Before, the daemon had {before:.1} MiB."));
}

/// How long a bare paged search takes, and how many it finds.
fn bare(directory: &Directory) -> (Duration, u64) {
    let url = format!("ldap://{}", directory.address());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let start = Instant::now();
    let found = runtime.block_on(async {
        let (connection, mut ldap) = LdapConnAsync::new(&url).await.expect("a connection");
        ldap3::drive!(connection);
        ldap.simple_bind(SERVICE, SERVICE_PASSWORD).await.expect("an answer").success().expect("the daemon's identity");
        let adapters: Vec<Box<dyn Adapter<_, _>>> =
            vec![Box::new(EntriesOnly::new()), Box::new(PagedResults::new(500))];
        let filter = "(|(objectClass=inetOrgPerson)(objectClass=person)(objectClass=posixAccount))";
        let mut search = ldap
            .streaming_search_with(adapters, SUFFIX, Scope::Subtree, filter, ATTRIBUTES.to_vec())
            .await
            .expect("a search");
        let mut found = 0;
        while let Some(entry) = search.next().await.expect("an entry") {
            drop(SearchEntry::construct(entry));
            found += 1;
        }
        search.finish().await.success().expect("a whole answer");
        found
    });
    (start.elapsed(), found)
}

/// How long a command takes that looks at everybody, the most memory of the daemon meanwhile, and how many were seen.
fn walk(context: &Context, daemon: &Daemon, arguments: &[&str]) -> (Duration, f64, u64) {
    let mut command = Command::new(context.binary.with_file_name("rekeyctl"));
    command.arg("--socket").arg(daemon.socket()).arg("--json").args(arguments);
    let start = Instant::now();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("rekeyctl");
    let pid = daemon.pid();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let watching = std::thread::spawn(move || {
        let mut most: f64 = 0.0;
        while stopped.recv_timeout(Duration::from_millis(20)).is_err() {
            most = most.max(machine::resident(pid));
        }
        most
    });
    let mut child = child;
    let out = std::io::BufReader::new(child.stdout.take().expect("its output"));
    let mut last = Value::Null;
    let mut seen = 0;
    for line in std::io::BufRead::lines(out) {
        let line = line.expect("a line");
        if line.contains("\"line\":\"account\"") {
            seen += 1;
        } else {
            last = serde_json::from_str(&line).unwrap_or_default();
        }
    }
    assert!(child.wait().expect("its end").success() && last["line"] == "counts", "{last}");
    let time = start.elapsed();
    stop.send(()).expect("the watcher");
    (time, watching.join().expect("the watcher"), seen)
}
