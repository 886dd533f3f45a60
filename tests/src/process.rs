//! Programs that a test starts: they end with the test, also when the test program is killed.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

/// A running program. Dropping it kills it, and what it started in its process group, and waits for it.
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a program in a process group of its own. What it prints goes to the file `log`.
    pub fn start(program: &Path, arguments: &[&str], log: &Path) -> Self {
        Self::start_in(program, arguments, &[], log)
    }

    /// Starts a program with environment variables of its own; those of the test program are not passed on, but for PATH.
    pub fn start_in(program: &Path, arguments: &[&str], environment: &[(&str, &str)], log: &Path) -> Self {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let out = File::options().create(true).append(true).open(log).expect("a log file");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(out.try_clone().expect("a second handle")).stderr(out);
        command.process_group(0);
        let child = spawn(command).unwrap_or_else(|fault| panic!("{name} can not be started: {fault}"));
        Self { child, name, log: log.to_owned() }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to this process alone.
    pub fn signal(&self, signal: Signal) {
        kill(self.raw_pid(), signal).unwrap_or_else(|fault| panic!("{signal} to {}: {fault}", self.name));
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Waits until it ends by itself; fails the test if it does not.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                start.elapsed() < limit,
                "{} runs after {} s; its log:\n{}",
                self.name,
                limit.as_secs(),
                self.log()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group may be gone already, and then there is nothing to end.
        if let Err(fault) = killpg(self.raw_pid(), Signal::SIGKILL)
            && fault != Errno::ESRCH
        {
            eprintln!("{} can not be killed: {fault}", self.name);
        }
        if let Err(fault) = self.child.wait() {
            eprintln!("{} can not be waited for: {fault}", self.name);
        }
    }
}

/// Starts a command from a thread that lives as long as the test program.
///
/// The kernel's parent-death signal comes when the *thread* that forked ends, and a test's thread ends early.
fn spawn(command: Command) -> io::Result<Child> {
    struct Order(Command, mpsc::Sender<io::Result<Child>>);
    static ORDERS: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for Order(mut command, answer) in orders {
                answer.send(command.spawn()).ok();
            }
        });
        Mutex::new(sender)
    });
    let (sender, answer) = mpsc::channel();
    orders.lock().expect("the spawning thread").send(Order(command, sender)).expect("the spawning thread");
    answer.recv().expect("the spawning thread")
}

/// A port on loopback that nothing listens on now. Another run may take it before its user does: be ready to ask again.
///
/// It lies below the range from which the kernel picks the near ends of connections, so none of those can be in the way,
/// also when a server is started again on the port that it had.
pub fn free_port() -> u16 {
    const PORTS: Range<u32> = 20_000..32_000;
    static LAST: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(101);
    loop {
        let place = first.wrapping_add(LAST.fetch_add(1, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        let port = u16::try_from(PORTS.start + place).expect("a port");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Runs a command to its end and gives what it printed; fails the test when the command fails.
pub fn output(command: &mut Command) -> String {
    let result = command.stdin(Stdio::null()).output().unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
    assert!(result.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&result.stderr));
    String::from_utf8_lossy(&result.stdout).into_owned()
}
