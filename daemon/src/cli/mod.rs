//! `rekeyctl`: what operators type, and what it ends with.
//!
//! Data goes to stdout, everything said about it to stderr. Nothing secret is ever taken from the command line, where
//! the whole machine can read it. The statuses it ends with are part of the contract (sysexits.h):
//!
//! | status | meaning |
//! |---|---|
//! | 0 | done, or as asked |
//! | 1 | the answer is no: refused, not found, a broken trail, a probe that failed |
//! | 64 | wrong usage |
//! | 69 | the daemon does not answer |
//! | 70 | rekeyctl or the daemon failed |
//! | 75 | nothing was done, or nobody knows; try again |
//! | 77 | the caller may not |
//! | 78 | the configuration has faults |

mod adopt;
mod backup;
mod call;
mod check;
mod doctor;
mod keys;
mod policy;
mod print;
mod probe;
mod show;
mod spool;
mod typed;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use self::call::{Client, Failure, answered};
pub(crate) use self::print::wants_colour;
use self::print::{Screen, query};
use crate::admin::protocol::explain::{ExplainRequest, Explanation};
use crate::admin::protocol::{
    Audit, Chain, DEFAULT_SOCKET, HelpRequest, Outbox, Password, Replaced, Restored, RestoredRequest, Sent,
    SetPasswordRequest, Status, Thawed,
};
use crate::config::{self, Config};
use clap::{Parser, Subcommand};

const STATUSES: &str = "Ends with 0 (done), 1 (the answer is no), 64 (usage), 69 (the daemon does not answer), \
                        70 (failed), 75 (try again), 77 (you may not), 78 (faults in the configuration).";

/// Helps people who forgot their password, and looks after rekeyd.
#[derive(Parser)]
#[command(name = "rekeyctl", version, after_help = STATUSES)]
struct Arguments {
    /// The daemon's socket; without it the one that the configuration names.
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = config::DEFAULT_FILE, global = true)]
    config: PathBuf,
    /// Print JSON, with moments in UTC.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Take accounts that are older than rekeyd as activated or not, by what they show.
    Adopt(adopt::Adopt),
    /// Show the audit trail, newest first.
    Audit {
        /// Only what happened to this account: its login, or its stable id where the entry is gone.
        login: Option<String>,
        /// In which directory, where several know the login.
        #[arg(long, value_name = "NAME", requires = "login")]
        directory: Option<String>,
        /// How many rows.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Check that no row was changed, removed or put in between.
        #[arg(long, conflicts_with_all = ["login", "directory", "limit"])]
        verify: bool,
    },
    /// Copy the store into a new file while the daemon goes on.
    Backup {
        /// The file to make.
        file: PathBuf,
    },
    /// Name every fault of the configuration, then try what it names.
    Check {
        /// Only read; try nothing.
        #[arg(long)]
        offline: bool,
    },
    /// Look at the directories from end to end, say what is wrong, what is new, and the commands that mend it.
    Doctor {
        /// Only this one.
        #[arg(long, value_name = "NAME")]
        directory: Option<String>,
    },
    /// Say why somebody may or may not reset their password, with the evidence.
    Explain {
        /// Whom.
        login: String,
        /// In which directory, where several know the login.
        #[arg(long, value_name = "NAME")]
        directory: Option<String>,
    },
    /// Draw a key for a login page; it is shown once.
    HookKey {
        /// The name of the login page.
        name: String,
    },
    /// Draw a line for the key file.
    NewKey,
    /// Show messages, newest first.
    Outbox {
        /// Only those that are still to be delivered.
        #[arg(long)]
        waiting: bool,
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Try the rules that verdicts are made by.
    Policy {
        #[command(subcommand)]
        command: policy::Policy,
    },
    /// Void all links, because the store was restored from a copy.
    Restored {
        /// Why, for the audit trail; asked for on a terminal where it is left out.
        #[arg(long)]
        reason: Option<String>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Send somebody a link; the old password works until they set a new one.
    SendCode {
        /// Whom.
        login: String,
        /// In which directory, where several know the login.
        #[arg(long, value_name = "NAME")]
        directory: Option<String>,
        /// Why, for the audit trail; asked for on a terminal where it is left out.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Replace somebody's password, typed without echo or read from stdin; the old one stops at once.
    SetPassword {
        /// Whose.
        login: String,
        /// In which directory, where several know the login.
        #[arg(long, value_name = "NAME")]
        directory: Option<String>,
        /// Draw one and print it, instead of typing one.
        #[arg(long)]
        generate: bool,
        /// Do not have it changed at the next sign-in.
        #[arg(long)]
        no_must_change: bool,
        /// Why, for the audit trail; asked for on a terminal where it is left out.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Show how the daemon does.
    Status,
    /// Lift a freeze of self-service.
    Thaw {
        /// Whose.
        login: String,
        /// In which directory, where several know the login.
        #[arg(long, value_name = "NAME")]
        directory: Option<String>,
        /// Why, for the audit trail; asked for on a terminal where it is left out.
        #[arg(long)]
        reason: Option<String>,
    },
}

/// Runs the operators' program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(told) => {
            // Help and version are no errors; either way there is nobody left to tell where the terminal is gone.
            drop(told.print());
            return if told.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let screen = Screen::new(arguments.json);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::Failed(error.to_string()).report(&screen),
    };
    match runtime.block_on(run(arguments, &screen)) {
        Ok(status) => status,
        Err(failure) => failure.report(&screen),
    }
}

async fn run(arguments: Arguments, screen: &Screen) -> Result<ExitCode, Failure> {
    let client = || {
        // Every operator may call; not every one may read the configuration.
        let configured = || Config::load(&arguments.config).ok().map(|config| config.admin.socket);
        Client::new(arguments.socket.clone().or_else(configured).unwrap_or_else(|| DEFAULT_SOCKET.into()))
    };
    match arguments.command {
        Command::Adopt(adopt) => adopt::run(adopt, &client(), screen).await,
        Command::Audit { verify: true, .. } => {
            let answer = client().get("/v1/audit/verify").await?;
            let chain: Chain = answered(&answer)?;
            screen.show(&answer, || show::chain(chain));
            Ok(if chain.whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Audit { login, directory, limit, verify: false } => {
            let mut whom = String::new();
            for (name, text) in [("login", login), ("directory", directory)] {
                whom += &text.map_or_else(String::new, |text| format!("&{name}={}", query(&text)));
            }
            let answer = client().get(&format!("/v1/audit?limit={limit}{whom}")).await?;
            let audit: Audit = answered(&answer)?;
            screen.show(&answer, || show::audit(screen, &audit.events));
            Ok(ExitCode::SUCCESS)
        }
        Command::Backup { file } => backup::run(&arguments.config, &file, screen),
        Command::Check { offline } => Ok(check::run(&arguments.config, offline, screen).await),
        Command::Doctor { directory } => doctor::run(directory, &client(), screen).await,
        Command::Explain { login, directory } => {
            let answer = client().post("/v1/explain", &ExplainRequest { login, directory }).await?;
            let explanation: Explanation = answered(&answer)?;
            screen.show(&answer, || show::explanation(screen, &explanation));
            Ok(if explanation.account.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::HookKey { name } => keys::hook_key(&name, screen),
        Command::NewKey => keys::new_key(screen),
        Command::Outbox { waiting, limit } => {
            let answer = client().get(&format!("/v1/outbox?waiting={waiting}&limit={limit}")).await?;
            let outbox: Outbox = answered(&answer)?;
            screen.show(&answer, || show::outbox(screen, &outbox.notices));
            Ok(ExitCode::SUCCESS)
        }
        Command::Policy { command } => policy::run(command, &client(), screen).await,
        Command::Restored { reason, yes } => {
            if !yes {
                confirm("Every link that was sent and not used yet will be void.")?;
            }
            let reason = given(reason)?;
            let answer = client().post("/v1/restored", &RestoredRequest { reason }).await?;
            let restored: Restored = answered(&answer)?;
            screen.show(&answer, || show::restored(restored));
            Ok(ExitCode::SUCCESS)
        }
        Command::SendCode { login, directory, reason } => {
            let reason = given(reason)?;
            let request = HelpRequest { login: login.clone(), directory, reason };
            let answer = client().post("/v1/send-code", &request).await?;
            let sent: Sent = answered(&answer)?;
            screen.show(&answer, || show::sent(&login, &sent));
            Ok(ExitCode::SUCCESS)
        }
        Command::SetPassword { login, directory, generate, no_must_change, reason } => {
            let reason = given(reason)?;
            let password = if generate { None } else { Some(Password::new(typed::password(&login)?)) };
            let must_change = !no_must_change;
            let request =
                SetPasswordRequest { login: login.clone(), directory, reason, password, generate, must_change };
            let answer = client().post("/v1/set-password", &request).await?;
            let replaced: Replaced = answered(&answer)?;
            screen.say(&show::replaced(&login, &replaced));
            let generated = replaced.password.as_ref().map(|password| format!("{}\n", password.expose()));
            screen.show(&answer, || generated.unwrap_or_default());
            Ok(ExitCode::SUCCESS)
        }
        Command::Status => {
            let answer = client().get("/v1/status").await?;
            let status: Status = answered(&answer)?;
            screen.show(&answer, || show::status(screen, &status));
            Ok(ExitCode::SUCCESS)
        }
        Command::Thaw { login, directory, reason } => {
            let reason = given(reason)?;
            let request = HelpRequest { login: login.clone(), directory, reason };
            let answer = client().post("/v1/thaw", &request).await?;
            let thawed: Thawed = answered(&answer)?;
            screen.show(&answer, || show::thawed(&login, &thawed));
            Ok(if thawed.thawed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// The reason as given, or asked for on a terminal. A script that gives none has that written into the trail.
fn given(reason: Option<String>) -> Result<String, Failure> {
    match reason {
        Some(reason) => Ok(reason),
        None if std::io::stdin().is_terminal() => asked("Why (for the audit trail)? "),
        None => Ok("no reason given".into()),
    }
}

/// Asks on a terminal; elsewhere nobody could answer, so `--yes` has to stand there already.
fn confirm(what: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage("nobody is there to be asked: add --yes".into()));
    }
    match asked(&format!("{what} Go on? [y/N] "))?.as_str() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::No("nothing was done".into())),
    }
}

/// One line from the terminal.
fn asked(prompt: &str) -> Result<String, Failure> {
    eprint!("{prompt}");
    let mut line = String::new();
    let read = std::io::stderr().flush().and_then(|()| std::io::stdin().read_line(&mut line));
    read.map(|_| line.trim().to_owned()).map_err(|error| Failure::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn status(line: &str) -> Option<i32> {
        Arguments::try_parse_from(line.split(' ')).err().map(|error| error.exit_code())
    }

    #[test]
    fn what_operators_type_is_understood() {
        for line in [
            "rekeyctl status",
            "rekeyctl --socket /x/admin.sock explain ada",
            "rekeyctl explain ada --json",
            "rekeyctl outbox --waiting --limit 5",
            "rekeyctl audit",
            "rekeyctl audit ada --limit 1000",
            "rekeyctl audit --verify",
            "rekeyctl backup /x/copy.db",
            "rekeyctl thaw ada --reason x",
            "rekeyctl restored --reason x --yes",
            "rekeyctl send-code ada --reason x",
            "rekeyctl send-code ada",
            "rekeyctl set-password ada --reason x --generate --no-must-change",
            "rekeyctl check --config /x --offline",
            "rekeyctl doctor",
            "rekeyctl doctor --directory staff --json",
            "rekeyctl hook-key wiki",
            "rekeyctl new-key",
            "rekeyctl adopt --dry-run",
            "rekeyctl adopt --dry-run --directory main --filter (uid=a*) --json",
            "rekeyctl adopt --filter (uid=a*) --undecided-as activated --reason x --yes",
            "rekeyctl adopt --undo abc --reason x",
            "rekeyctl adopt --list",
            "rekeyctl policy test --all",
            "rekeyctl policy test ada grace --against /x/other.toml --directory main",
        ] {
            assert_eq!(status(line), None, "{line}");
        }
    }

    #[test]
    fn p6_no_secret_is_taken_from_the_command_line() {
        for line in [
            "rekeyctl",
            "rekeyctl set-password ada --reason x --password y",
            "rekeyctl set-password ada hunter2 --reason x",
            "rekeyctl audit --limit 0",
            "rekeyctl audit ada --verify",
            "rekeyctl adopt --undecided-as activated",
            "rekeyctl adopt --undecided-as perhaps --filter (uid=a*)",
            "rekeyctl adopt --list --dry-run",
            "rekeyctl policy test",
            "rekeyctl policy test ada --all",
        ] {
            assert_eq!(status(line), Some(2), "{line}");
        }
    }

    #[test]
    fn the_command_tree_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
