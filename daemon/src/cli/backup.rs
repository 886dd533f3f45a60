//! `rekeyctl backup`: a copy of the store while the daemon goes on, or while it does not run.

use std::path::Path;
use std::process::ExitCode;

use rekeyd_core::text::escaped;
use serde_json::json;

use super::call::Failure;
use super::print::Screen;
use crate::config::{self, Config};
use crate::store::Store;

/// Copies the store that a configuration names. Ends with 78 where the configuration has faults.
pub(super) fn run(config: &Path, to: &Path, screen: &Screen) -> Result<ExitCode, Failure> {
    let config = match Config::load(config) {
        Ok(config) => config,
        Err(faults) => {
            screen.complain(&format!(
                "{} has {}: `rekeyctl check` names them",
                config.display(),
                config::count(faults.len())
            ));
            return Ok(ExitCode::from(78));
        }
    };
    Store::backup(&config.store, to).map_err(|error| Failure::Failed(error.to_string()))?;
    let shown = escaped(&to.display().to_string());
    screen.print(&if screen.json() {
        format!("{}\n", json!({"copy": to.display().to_string()}))
    } else {
        format!("{shown} is a copy of {}; its links are void when it is put back\n", config.store.path.display())
    });
    Ok(ExitCode::SUCCESS)
}
