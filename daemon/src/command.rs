//! The daemon's command line: serve, check only, or the trial.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config};
use crate::{demo, serve};

/// Lets people set their own password, in the directory their organisation already has.
#[derive(Parser)]
#[command(name = "rekeyd", version, about)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_FILE, global = true)]
    config: PathBuf,
    /// Read the configuration, name every fault, and end.
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Try everything on this machine alone: a small directory in a file, mails in a folder, nothing to configure.
    Demo {
        /// Where the pages answer.
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Where everything is kept; without it a temporary folder that is removed at the end.
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
    },
}

/// Runs the daemon's program. Usage errors end with 64, faults of the configuration with 78 (sysexits.h).
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(told) => {
            // Help and version are no errors; either way there is nobody left to tell where the terminal is gone.
            drop(told.print());
            return if told.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    if let Err(failure) = serve::harden() {
        return failure.report(&arguments.config);
    }
    if let Some(Command::Demo { listen, state }) = arguments.command {
        return demo::run(listen, state);
    }
    if arguments.check {
        return match Config::load(&arguments.config) {
            Ok(_) => {
                println!("{} is fine; `rekeyctl check` also tries what it names.", arguments.config.display());
                ExitCode::SUCCESS
            }
            Err(faults) => serve::Failure::Configuration(faults).report(&arguments.config),
        };
    }
    let run = serve::Run { file: arguments.config.clone(), around: |channel| channel, ready: Box::new(|_| {}) };
    match serve::run(&run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&arguments.config),
    }
}
