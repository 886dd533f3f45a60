//! `rekeyctl doctor`: what the daemon finds when it looks at its directories from end to end, what is new since the last
//! time, and the commands that mend it. Nothing of that is run.

use std::process::ExitCode;

use rekeyd_core::text::escaped;

use super::call::{Client, Failure};
use super::check::{Entry, entries};
use super::print::{Screen, Tone};
use crate::admin::protocol::Moment;
use crate::admin::protocol::doctor::{DoctorLine, DoctorProbe, DoctorRequest};

/// What was told of one directory.
struct Chart {
    name: String,
    since: Option<Moment>,
    probes: Vec<DoctorProbe>,
    gone: Vec<(String, Option<String>, String)>,
    /// How many are broken, known at the end.
    broken: Option<u64>,
}

/// Asks for it. Ends with 1 where something is broken, as `check` does.
pub(super) async fn run(directory: Option<String>, client: &Client, screen: &Screen) -> Result<ExitCode, Failure> {
    let mut charts: Vec<Chart> = Vec::new();
    let mut tried = 0;
    let each = |line: &[u8]| {
        let read: DoctorLine = serde_json::from_slice(line)
            .map_err(|_| Failure::Failed("the daemon's answer is not understood; is it of another version?".into()))?;
        if screen.json() {
            screen.print_line(line);
        }
        match (read, charts.last_mut()) {
            (DoctorLine::Directory { directory, since }, _) => {
                charts.push(Chart { name: directory, since, probes: Vec::new(), gone: Vec::new(), broken: None });
            }
            (DoctorLine::Probe(probe), Some(chart)) => {
                tried += 1;
                screen.tried(tried, &probe.what);
                chart.probes.push(probe);
            }
            (DoctorLine::Gone { code, server, evidence }, Some(chart)) => chart.gone.push((code, server, evidence)),
            (DoctorLine::End { broken, .. }, Some(chart)) => chart.broken = Some(broken),
            (DoctorLine::Failed { why }, _) => return Err(Failure::Failed(why)),
            (_, None) => return Err(Failure::Failed("the daemon's answer has no begin".into())),
        }
        Ok(())
    };
    let request = DoctorRequest { directory };
    let asked = client.lines("/v1/doctor", &request, each).await;
    screen.end_of_progress();
    asked?;
    if charts.is_empty() || charts.iter().any(|chart| chart.broken.is_none()) {
        return Err(Failure::Failed("the daemon's answer broke off".into()));
    }
    if !screen.json() {
        screen.print(&charts.iter().map(|chart| shown(screen, chart)).collect::<Vec<_>>().join("\n"));
    }
    let broken = charts.iter().any(|chart| chart.broken.is_some_and(|broken| broken > 0));
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn shown(screen: &Screen, chart: &Chart) -> String {
    let since = chart.since.map(|since| screen.moment(since));
    let compared = since.as_ref().map_or_else(|| ", looked at for the first time".into(), |at| format!(", since {at}"));
    let mut text = format!("{}{compared}\n\n", escaped(&chart.name));
    let told: Vec<String> = chart.probes.iter().map(|probe| sentence(probe, since.as_deref())).collect();
    text.push_str(&entries(
        screen,
        chart.probes.iter().zip(&told).map(|(probe, what)| Entry {
            left: [probe.severity.clone(), probe.code.clone().unwrap_or_default()],
            tone: match probe.severity.as_str() {
                "broken" => Tone::Bad,
                "fine" => Tone::Good,
                _ => Tone::Warning,
            },
            what,
            remedy: probe.remedy.as_deref(),
        }),
    ));
    let gone: Vec<String> = chart
        .gone
        .iter()
        .map(|(_, server, evidence)| {
            format!("{}it was: {evidence}", server.as_ref().map_or_else(String::new, |server| format!("{server}: ")))
        })
        .collect();
    text.push_str(&entries(
        screen,
        chart.gone.iter().zip(&gone).map(|((code, ..), what)| Entry {
            left: ["gone".into(), code.clone()],
            tone: Tone::Good,
            what,
            remedy: None,
        }),
    ));
    let commands: Vec<String> = chart.probes.iter().filter_map(mended).collect();
    if !commands.is_empty() {
        text.push_str("\nTo mend it, read, then run what fits:\n");
        text.push_str(&commands.concat());
    }
    text
}

fn sentence(probe: &DoctorProbe, since: Option<&str>) -> String {
    let server = probe.server.as_ref().map_or_else(String::new, |server| format!("{server}: "));
    let change = match (probe.change.as_deref(), since) {
        (Some("new"), Some(since)) => format!(" [new since {since}]"),
        (Some("changed"), Some(since)) => format!(" [changed since {since}]"),
        _ => String::new(),
    };
    format!("{server}{}: {}{change}", probe.what, probe.evidence)
}

/// The commands of one finding, from the first column on, so that they can be pasted.
fn mended(probe: &DoctorProbe) -> Option<String> {
    let command = probe.command.as_ref()?;
    let server = probe.server.as_deref().unwrap_or_default();
    let mut text = format!("\n# {} {}\n", escaped(probe.code.as_deref().unwrap_or_default()), escaped(server));
    for line in command.lines() {
        text.push_str(&escaped(line));
        text.push('\n');
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::super::print::tests::plain;
    use super::*;

    #[test]
    fn findings_are_aligned_and_commands_can_be_pasted() {
        let probe = |severity: &str, code: Option<&str>, evidence: &str, change: Option<&str>| DoctorProbe {
            severity: severity.into(),
            code: code.map(Into::into),
            server: Some("ldaps://a".into()),
            what: "rank".into(),
            evidence: evidence.into(),
            remedy: code.map(|_| "Mend it.".into()),
            command: code.map(|_| "ldapmodify <<'END'\ndn: x\nEND\n".into()),
            change: change.map(Into::into),
        };
        let chart = Chart {
            name: "people".into(),
            since: Some(Moment(rekeyd_core::domain::Timestamp::from_millis(1_700_000_000_000))),
            probes: vec![
                probe("fine", None, "good", None),
                probe("broken", Some("all-powerful"), "bad\u{1b}", Some("new")),
            ],
            gone: vec![("clock".into(), None, "slow".into())],
            broken: Some(1),
        };
        let expected = "\
people, since 2023-11-14 22:13:20 UTC

  fine                  ldaps://a: rank: good
  broken  all-powerful  ldaps://a: rank: bad\\u{1b} [new since 2023-11-14 22:13:20 UTC]
                        Mend it.
  gone  clock  it was: slow

To mend it, read, then run what fits:

# all-powerful ldaps://a
ldapmodify <<'END'
dn: x
END
";
        assert_eq!(shown(&plain(), &chart), expected);
    }
}
