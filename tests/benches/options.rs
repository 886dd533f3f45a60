//! The command line of `tests/bench`.

use std::{path::PathBuf, time::Duration};

use crate::{Bench, Context, LIST, kill};

/// What is asked for.
pub(crate) struct Options {
    pub(crate) context: Context,
    names: Vec<String>,
    /// Another program to compare with, and how often.
    pub(crate) against: Option<PathBuf>,
    pub(crate) pairs: u32,
    /// Whether the daemon is to be killed, how often, and by which seed.
    pub(crate) kills: bool,
    pub(crate) rounds: u32,
    pub(crate) seed: u64,
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
            people: None,
        };
        let mut options = Self {
            context,
            names: Vec::new(),
            against: None,
            pairs: 5,
            kills: false,
            rounds: 200,
            seed: 1,
            json: None,
            list: false,
        };
        let (mut seconds, mut soak) = (None, None);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value."));
            match argument.as_str() {
                "--against" => options.against = Some(value()?.into()),
                "--binary" => options.context.binary = value()?.into(),
                "--json" => options.json = Some(value()?.into()),
                "--list" => options.list = true,
                "--people" => options.context.people = Some(number(value()?)?.into()),
                "--pairs" => options.pairs = number(value()?)?,
                "--quick" => options.context.quick = true,
                "--rounds" => options.rounds = number(value()?)?,
                "--seed" => options.seed = number(value()?)?.into(),
                "--seconds" => seconds = Some(duration(value()?)?.as_secs_f64()),
                "--soak" => soak = Some(duration(value()?)?),
                kill::NAME => options.kills = true,
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
        // Many short runs by turns tell more of a difference than a few long ones.
        options.context.quick |= options.against.is_some();
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

    /// The measurements that are asked for: all, where nothing is named.
    pub(crate) fn chosen(&self) -> impl Iterator<Item = &'static Bench> {
        let all = self.names.is_empty() && !self.kills;
        LIST.iter().filter(move |bench| all || self.names.iter().any(|name| name == bench.name))
    }
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| format!("{text} is no number above 0."))
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
