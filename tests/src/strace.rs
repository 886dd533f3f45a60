//! Watches the system calls of a running daemon, or lets them fail. This needs root, since the daemon can't be looked into.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{process::Process, scratch, world::World};

/// A tracer at work. Dropping it lets the daemon go on by itself.
pub struct Strace {
    process: Process,
    trace: PathBuf,
}

impl Strace {
    /// Attaches to the daemon of a world, with these arguments.
    pub fn attach(world: &World, arguments: &[&str]) -> Self {
        let folder = scratch::folder("strace");
        let (log, trace) = (folder.join("log"), folder.join("trace"));
        let pid = world.pid().to_string();
        let output = trace.to_str().expect("a path in UTF-8");
        let arguments = [&["-f", "-p", &pid, "-o", output], arguments].concat();
        let mut process = Process::start(Path::new("strace"), &arguments, &log);
        let start = Instant::now();
        while !process.log().contains(&format!("Process {pid} attached")) {
            let failed = process.ended().is_some() || start.elapsed() > Duration::from_secs(10);
            assert!(!failed, "this test looks into the daemon by strace, which needs root: {}", process.log());
            thread::sleep(Duration::from_millis(5));
        }
        Self { process, trace }
    }

    /// What it wrote until now.
    pub fn so_far(&self) -> String {
        std::fs::read_to_string(&self.trace).expect("a trace")
    }

    /// Ends it, and gives what it wrote.
    pub fn end(mut self) -> String {
        self.process.signal(nix::sys::signal::Signal::SIGINT);
        self.read()
    }

    /// What it wrote of a daemon that has ended.
    pub fn trace_of_the_dead(mut self) -> String {
        self.read()
    }

    fn read(&mut self) -> String {
        self.process.wait(Duration::from_secs(10));
        std::fs::read_to_string(&self.trace).expect("a trace")
    }
}
