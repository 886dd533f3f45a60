//! What the machine is, what it can do without rekeyd, and what a process uses of it.

use std::{
    convert::Infallible,
    fs::{self, File},
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rekeyd_tests::{figures::Times, process::Process, scratch};

/// How long each of these processes has computed, in its own code and in the kernel.
pub(crate) fn cpu(processes: &[u32]) -> Vec<Duration> {
    processes.iter().map(|process| cpu_of(*process).unwrap_or_default()).collect()
}

/// Fields 14 and 15 of `stat`, in hundredths of a second; the name before them may hold spaces.
fn cpu_of(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(ticks * 10))
}

/// The resident memory of a process, in MiB.
pub(crate) fn resident(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(f64::NAN);
    kilobytes / 1024.0
}

/// How many descriptors a process has open; not known to others than its owner and root.
pub(crate) fn descriptors(process: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{process}/fd")).ok()?.count())
}

/// What the tables were measured on, line by line.
pub(crate) fn describe(binary: &Path) -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let memory =
        memory.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = said("git", &["log", "-1", "--format=%h %cs %s"]).unwrap_or_else(|| "unknown".into());
    let changed = said("git", &["status", "--porcelain", "--untracked-files=no"]).is_some_and(|list| !list.is_empty());
    let size = fs::metadata(binary).map_or(0, |file| file.len()) as f64 / 1e6;
    let overrides: Vec<String> = std::env::vars()
        .filter(|(name, _)| name.starts_with("CARGO_PROFILE_"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let profile = if overrides.is_empty() { String::new() } else { format!("; {}", overrides.join(" ")) };
    let folder = scratch::root().display().to_string();
    let disk = said("df", &["--output=source,fstype", &folder]).unwrap_or_default();
    let disk = disk.lines().last().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    vec![
        (
            "machine",
            format!(
                "{} cores, {}, {:.0} GiB",
                cores,
                model.trim_matches([':', '\t', ' ']),
                memory as f64 / 1_048_576.0
            ),
        ),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("load", format!("{} (1, 5, 15 minutes before)", load())),
        ("store on", disk),
        ("program", format!("{} ({size:.1} MB{profile})", binary.display())),
        ("commit", if changed { format!("{commit}, with changes") } else { commit }),
    ]
}

/// How many processes wanted to run in the last 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(", ")
}

/// How long it takes to have 4 KiB at the end of a file on disk, again and again for so long.
pub(crate) fn sync(length: Duration) -> (f64, Times) {
    let path = scratch::folder("sync").join("file");
    let mut file = File::create(&path).expect("a file");
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < length {
        let began = Instant::now();
        file.write_all(&[7; 4096]).expect("a written block");
        file.sync_data().expect("a synced file");
        times.push(began.elapsed());
    }
    (times.len() as f64 / start.elapsed().as_secs_f64(), Times::new(times))
}

/// An HTTP server that does nothing, in a process of its own.
pub(crate) struct Nothing {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Nothing {
    /// The argument by which this program is that server.
    pub(crate) const ARGUMENT: &str = "--serve-nothing";

    pub(crate) fn start() -> Self {
        let program = std::env::current_exe().expect("this program");
        let log = scratch::folder("nothing").join("log");
        let process = Process::start(&program, &[Self::ARGUMENT], &log);
        let start = Instant::now();
        loop {
            if let Some(address) = process.log().lines().next().and_then(|line| line.parse().ok()) {
                return Self { process, address };
            }
            assert!(start.elapsed() < Duration::from_secs(10), "the empty server does not start: {}", process.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Is that server, until it is killed. It answers as the hook does, in bytes, after reading nothing.
    pub(crate) fn serve() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            println!("{}", listener.local_addr().expect("an address"));
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                stream.set_nodelay(true).expect("a socket");
                let answer = |_: Request<hyper::body::Incoming>| async {
                    let body = r#"{"request":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","expires_in":86400}"#;
                    let answer =
                        Response::builder().status(StatusCode::ACCEPTED).header("content-type", "application/json");
                    Ok::<_, Infallible>(answer.body(Full::new(Bytes::from_static(body.as_bytes()))).expect("an answer"))
                };
                tokio::spawn(async move {
                    // A client that goes away is no concern of the server.
                    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await);
                });
            }
        });
    }
}
