//! How tests are named, chosen, run side by side and counted.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    process::ExitCode,
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use libtest_mimic::{Arguments, Conclusion, Failed, Trial};
use regex::Regex;
use tokio::runtime::{Builder, Runtime};

use crate::{ds389, samba, scratch, slapd};

/// A test that takes longer has hung.
const LIMIT: Duration = Duration::from_mins(2);
/// Tests wait for servers more than they compute; more of them at once would only starve the servers.
const THREADS: usize = 4;

/// One test: its name and what it does. The macro [`crate::tests!`] makes them.
pub struct Test {
    name: &'static str,
    body: Body,
}

#[derive(Clone, Copy)]
enum Body {
    Plain(fn()),
    Waiting(fn() -> Pin<Box<dyn Future<Output = ()>>>),
}

impl Test {
    /// A test that waits for nothing.
    pub const fn plain(name: &'static str, body: fn()) -> Self {
        Self { name, body: Body::Plain(body) }
    }

    /// A test that waits for servers.
    pub const fn waiting(name: &'static str, body: fn() -> Pin<Box<dyn Future<Output = ()>>>) -> Self {
        Self { name, body: Body::Waiting(body) }
    }

    fn run(&self) {
        match self.body {
            Body::Plain(body) => body(),
            Body::Waiting(body) => runtime().block_on(body()),
        }
    }
}

/// Lists the tests of a module, one declaration a line, and defines `all()` for the list in `main`.
///
/// A test that is not listed is dead code, which the lints refuse.
#[macro_export]
macro_rules! tests {
    ($($first:tt $second:ident $($third:ident)?;)*) => {
        /// The tests of this module.
        pub(crate) fn all() -> Vec<$crate::harness::Test> {
            vec![$($crate::tests!(@one $first $second $($third)?)),*]
        }
    };
    (@one async fn $name:ident) => {
        $crate::harness::Test::waiting(stringify!($name), || Box::pin($name()))
    };
    (@one fn $name:ident) => {
        $crate::harness::Test::plain(stringify!($name), $name)
    };
}

/// The one runtime of the test program. Servers that several tests share live on it, so it outlives every test.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime"))
}

/// Runs what the command line asks for: `--list` prints names, an argument is a regular expression that names must match.
///
/// Ends the shared servers, and removes the scratch folder unless a test failed and its files are wanted.
pub fn main(tests: Vec<Test>) -> ExitCode {
    let mut pattern = None;
    let mut list = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--list" => list = true,
            "--nocapture" | "--quiet" => {}
            flag if flag.starts_with('-') => {
                eprintln!("Unknown option {flag}; known: --list, and a regular expression.");
                return ExitCode::from(2);
            }
            text => match Regex::new(text) {
                Ok(regex) => pattern = Some(regex),
                Err(fault) => {
                    eprintln!("Not a regular expression: {fault}");
                    return ExitCode::from(2);
                }
            },
        }
    }
    let mut chosen: Vec<Test> =
        tests.into_iter().filter(|test| pattern.as_ref().is_none_or(|pattern| pattern.is_match(test.name))).collect();
    chosen.sort_by_key(|test| test.name);
    if let Some(pair) = chosen.windows(2).find(|pair| pair[0].name == pair[1].name) {
        eprintln!("Two tests are called {}.", pair[0].name);
        return ExitCode::from(2);
    }
    if list {
        for test in &chosen {
            println!("{}", test.name);
        }
        return ExitCode::SUCCESS;
    }
    let conclusion = run(chosen);
    runtime().block_on(async {
        slapd::stop_lanes().await;
        samba::stop_lane().await;
        ds389::stop_lane().await;
    });
    if conclusion.has_failed() {
        eprintln!("The files of this run are kept in {}.", scratch::root().display());
    } else {
        scratch::remove();
    }
    conclusion.exit_code()
}

fn run(tests: Vec<Test>) -> Conclusion {
    let trials = tests.into_iter().map(|test| Trial::test(test.name, move || limited(&test))).collect();
    let arguments = Arguments { test_threads: Some(THREADS), ..Arguments::default() };
    libtest_mimic::run(&arguments, trials)
}

/// Runs a test on a thread of its own, so that one that hangs is reported and the others go on.
fn limited(test: &Test) -> Result<(), Failed> {
    let (sender, ended) = mpsc::channel();
    let (name, body) = (test.name, Test { name: test.name, body: test.body });
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| body.run()));
            // Nobody listens any more once the limit has passed.
            sender.send(()).ok();
            if let Err(panic) = outcome {
                resume_unwind(panic);
            }
        })
        .map_err(|fault| format!("no thread: {fault}"))?;
    if ended.recv_timeout(LIMIT).is_err() {
        return Err(format!("not done after {} s", LIMIT.as_secs()).into());
    }
    // The panic's own message has been printed where it happened.
    thread.join().map_err(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or(panic.downcast_ref::<&str>().copied());
        message.unwrap_or("panicked").into()
    })
}
