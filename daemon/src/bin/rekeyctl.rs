//! The operators' command.

use std::process::ExitCode;

fn main() -> ExitCode {
    rekeyd::cli::main()
}
