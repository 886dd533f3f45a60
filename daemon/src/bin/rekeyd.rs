//! The daemon: reads its command line and serves.

use std::process::ExitCode;

fn main() -> ExitCode {
    rekeyd::command::main()
}
