//! `rekeyctl policy test`: who may reset a password without help, and who would by another configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::adopt::{understood, whole};
use super::call::{Client, Failure};
use super::print::Screen;
use super::spool::Spool;
use crate::admin::protocol::LONGEST_CONFIGURATION;
use crate::admin::protocol::walks::{PolicyCount, PolicyLine, PolicyTestRequest, PolicyVerdict};

/// What is to be tried.
#[derive(Subcommand)]
pub(super) enum Policy {
    /// Say who may reset the password without help, or who gains and who loses that by another configuration.
    Test {
        /// Whose verdicts.
        #[arg(required_unless_present = "all")]
        logins: Vec<String>,
        /// Everybody's.
        #[arg(long, conflicts_with = "logins")]
        all: bool,
        /// Another configuration. It is read here and compared by the daemon, which changes nothing by it.
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
        /// The directory, where there are several.
        #[arg(long, value_name = "NAME")]
        directory: Option<String>,
    },
}

/// Tries it.
pub(super) async fn run(policy: Policy, client: &Client, screen: &Screen) -> Result<ExitCode, Failure> {
    let Policy::Test { logins, all: _, against, directory } = policy;
    let against = against.map(read).transpose()?;
    let compared = against.is_some();
    let request = PolicyTestRequest { directory, logins, against };
    let head: &[&'static str] = if compared {
        &["", "login", "now", "then", "by the rule", "entry"]
    } else {
        &["may", "login", "reason", "by the rule", "entry"]
    };
    let mut rows = Spool::new(head)?;
    let mut end = None;
    let mut looked_at = 0;
    let each = |line: &[u8]| {
        let read: PolicyLine = understood(line)?;
        if screen.json() {
            screen.print_line(line);
        }
        match read {
            PolicyLine::Account(one) if !screen.json() => {
                looked_at += 1;
                screen.progress(looked_at);
                let rule = |verdict: &PolicyVerdict| verdict.rule.clone().unwrap_or_default();
                let entry = one.entry.clone().unwrap_or_default();
                if let Some(then) = &one.then {
                    let rule = if then.allowed { rule(&one.now) } else { rule(then) };
                    rows.add(&[&one.change, &one.login, &words(&one.now), &words(then), &rule, &entry])?;
                } else {
                    let may = if one.now.allowed { "yes" } else { "no" };
                    let reason = one.now.reason.clone().unwrap_or_default();
                    rows.add(&[may, &one.login, &reason, &rule(&one.now), &entry])?;
                }
            }
            PolicyLine::Account(_) => {}
            PolicyLine::Counts { counts, .. } => end = Some(Ok(counts)),
            PolicyLine::Failed { why } => end = Some(Err(why)),
            PolicyLine::Progress { accounts } => {
                looked_at = accounts;
                screen.progress(accounts);
            }
        }
        Ok(())
    };
    client.lines("/v1/policy-test", &request, each).await?;
    screen.end_of_progress();
    let counts = whole(end)?;
    if !screen.json() {
        screen.print(&counted(screen, &counts, compared));
        rows.print()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: PathBuf) -> Result<String, Failure> {
    let text =
        std::fs::read_to_string(&file).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    if text.len() > LONGEST_CONFIGURATION / 2 {
        return Err(Failure::Usage(format!("{} is too long for a configuration", file.display())));
    }
    Ok(text)
}

fn words(verdict: &PolicyVerdict) -> String {
    match &verdict.reason {
        None => "may".into(),
        Some(reason) => format!("may not: {reason}"),
    }
}

/// Gains, losses, and what stays the same by reason.
fn counted(screen: &Screen, counts: &[PolicyCount], compared: bool) -> String {
    let sum = |change: &str| -> u64 {
        counts.iter().filter(|count| count.change == change).map(|count| count.accounts).sum()
    };
    let one = |reason: &Option<String>| reason.clone().unwrap_or_else(|| "may".into());
    let mut rows: Vec<Vec<String>> = Vec::new();
    if compared {
        for (change, title) in [("gains", "gain self-service"), ("loses", "lose self-service"), ("same", "no change")] {
            rows.push(vec![sum(change).to_string(), title.to_owned(), String::new(), String::new()]);
            let of = counts.iter().filter(|count| count.change == change);
            rows.extend(
                of.map(|count| vec![count.accounts.to_string(), String::new(), one(&count.now), one(&count.then)]),
            );
        }
        return format!("{}\n", screen.table(&["accounts", "", "now", "then"], rows));
    }
    let may: u64 = counts.iter().filter(|count| count.now.is_none()).map(|count| count.accounts).sum();
    rows.push(vec![may.to_string(), "may".into(), String::new()]);
    rows.push(vec![(sum("same") - may).to_string(), "may not".into(), String::new()]);
    let not = counts.iter().filter_map(|count| Some((count.accounts, count.now.clone()?)));
    rows.extend(not.map(|(accounts, reason)| vec![accounts.to_string(), String::new(), reason]));
    format!("{}\n", screen.table(&["accounts", "", "reason"], rows))
}

#[cfg(test)]
mod tests {
    use super::super::print::tests::plain;
    use super::*;

    #[test]
    fn counts_come_by_change_and_by_reason() {
        let count = |change: &str, now: Option<&str>, then: Option<&str>, accounts| PolicyCount {
            change: change.into(),
            now: now.map(str::to_owned),
            then: then.map(str::to_owned),
            accounts,
        };
        let counts = [
            count("loses", None, Some("privileged"), 2),
            count("same", None, None, 40),
            count("same", Some("expired"), Some("expired"), 1),
        ];
        let text = counted(&plain(), &counts, true);
        assert_eq!(
            text,
            "ACCOUNTS                     NOW      THEN\n0         gain self-service\n2         lose self-service\n\
             2                            may      privileged\n41        no change\n40                           may      may\n\
             1                            expired  expired\n\n"
        );
        let counts = [count("same", None, None, 40), count("same", Some("expired"), None, 3)];
        assert_eq!(
            counted(&plain(), &counts, false),
            "ACCOUNTS           REASON\n40        may\n3         may not\n3                  expired\n\n"
        );
    }
}
