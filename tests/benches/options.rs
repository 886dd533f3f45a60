//! The command line of `tests/bench`.

use std::{path::PathBuf, time::Duration};

use crate::{Bench, Context, LIST};

/// What is asked for.
pub(crate) struct Options {
    pub(crate) context: Context,
    names: Vec<String>,
    /// Where figures are written to as well.
    pub(crate) json: Option<PathBuf>,
    /// Only the names of the measurements.
    pub(crate) list: bool,
}

impl Options {
    /// Reads the arguments, the program's own name left out.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|fault| format!("where am I? {fault}"))?;
        let context = Context {
            binary: own.with_file_name("rekeyd"),
            seconds: 0.0,
            quick: false,
            baselines: true,
            soak: Duration::ZERO,
        };
        let mut options = Self { context, names: Vec::new(), json: None, list: false };
        let (mut seconds, mut soak) = (None, None);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value."));
            match argument.as_str() {
                "--binary" => options.context.binary = value()?.into(),
                "--json" => options.json = Some(value()?.into()),
                "--list" => options.list = true,
                "--quick" => options.context.quick = true,
                "--seconds" => seconds = Some(duration(value()?)?.as_secs_f64()),
                "--soak" => soak = Some(duration(value()?)?),
                name if LIST.iter().any(|bench| bench.name == name) => options.names.push(name.to_owned()),
                other => {
                    let names: Vec<_> = LIST.iter().map(|bench| bench.name).collect();
                    return Err(format!(
                        "Unknown: {other}. Measurements: {}; the head of tests/bench explains the options.",
                        names.join(", ")
                    ));
                }
            }
        }
        let quick = options.context.quick;
        options.context.seconds = seconds.unwrap_or(if quick { 1.0 } else { 3.0 });
        options.context.soak = soak.unwrap_or(Duration::from_secs(if quick { 10 } else { 30 }));
        if !options.list && !options.context.binary.exists() {
            return Err(format!(
                "{} does not exist: build it, or name another by --binary.",
                options.context.binary.display()
            ));
        }
        Ok(options)
    }

    /// The measurements that are asked for: all, where none is named.
    pub(crate) fn chosen(&self) -> impl Iterator<Item = &'static Bench> {
        LIST.iter().filter(|bench| self.names.is_empty() || self.names.iter().any(|name| name == bench.name))
    }
}

/// Seconds, or minutes or hours with their letter: `90`, `90s`, `60m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        _ => (text, 1.0),
    };
    let seconds = number.parse::<f64>().ok().filter(|number| *number > 0.0 && *number < 1e6);
    seconds
        .map(|seconds| Duration::from_secs_f64(seconds * unit))
        .ok_or_else(|| format!("{text} is no length of time."))
}
