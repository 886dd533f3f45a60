//! What the daemon answers, in words and tables for people. Foreign text is made harmless wherever it is put in.

use rekeyd_core::text::escaped;

use super::print::{Screen, Tone};
use crate::admin::protocol::explain::{ExplainedAccount, Explanation};
use crate::admin::protocol::{
    AuditEvent, Chain, LeftBehind, Moment, OutboxNotice, Replaced, Restored, Sent, Status, Thawed,
};

/// How the daemon does.
pub(super) fn status(screen: &Screen, status: &Status) -> String {
    let since = |oldest: Option<Moment>| {
        oldest.map_or_else(String::new, |oldest| format!(", the oldest since {}", screen.moment(oldest)))
    };
    let directories = status.directories.iter().flat_map(|directory| {
        let answers = if directory.up { "answers" } else { "does not answer; requests wait until it does" };
        let flaws = directory.flaws.iter().map(|flaw| {
            let since = screen.moment(flaw.since);
            ("", format!("{} is {} since {since}: {}", flaw.server, flaw.kind, flaw.why))
        });
        let doctor = directory.doctor.filter(|last| last.broken + last.notes > 0).map(|last| {
            let at = screen.moment(last.at);
            (
                "",
                format!(
                    "the doctor found {} broken and {} to know at {at}: `rekeyctl doctor`",
                    last.broken, last.notes
                ),
            )
        });
        [("directory", format!("{} {answers}", directory.name))].into_iter().chain(flaws).chain(doctor)
    });
    let left = status.left_behind.iter().map(|left| {
        let LeftBehind { name, accounts, tickets_live, unsettled } = left;
        let kept = format!("{accounts} accounts, {tickets_live} links, {unsettled} unsettled");
        ("left behind", format!("{name} is out of the configuration; kept until it is back: {kept}"))
    });
    let troubles: Vec<_> = status.channel_troubles.iter().map(|one| format!("{}: {}", one.channel, one.why)).collect();
    let clock = status.clock_set.map(|set| {
        let way = if set.by_seconds < 0 { "back" } else { "forward" };
        ("clock", format!("set {way} by {} s at {}", set.by_seconds.unsigned_abs(), screen.moment(set.at)))
    });
    let rows = [("rekeyd", format!("{}, since {}", status.version, screen.moment(status.started)))];
    let rest = [
        ("channels", status.channels.join(", ")),
        ("in trouble", troubles.join("; ")),
        ("requests waiting", format!("{}{}", status.requests_waiting, since(status.oldest_request))),
        ("messages waiting", format!("{}{}", status.notices_waiting, since(status.oldest_notice))),
        ("messages given up", format!("{} in the last day", status.notices_failed)),
        ("links alive", status.tickets_live.to_string()),
        ("passwords not settled", status.claims_open.to_string()),
        ("rows of the trail", status.events.to_string()),
        ("faults of its own", format!("{}; the log says where", status.panics)),
    ];
    let rest = rest.into_iter().filter(|(name, _)| match *name {
        "in trouble" => !troubles.is_empty(),
        "faults of its own" => status.panics > 0,
        _ => true,
    });
    let rows = rows.into_iter().chain(directories).chain(left).chain(rest).chain(clock);
    screen.table(&[], rows.map(|(name, value)| vec![name.to_owned(), value]))
}

/// Messages.
pub(super) fn outbox(screen: &Screen, notices: &[OutboxNotice]) -> String {
    if notices.is_empty() {
        return "no messages\n".into();
    }
    let head = ["queued", "message", "login", "to", "state", "tries", "next try", "reason"];
    let row = |notice: &OutboxNotice| {
        vec![
            screen.moment(notice.created),
            notice.notice.clone(),
            notice.login.clone(),
            notice.to.clone(),
            notice.state.clone(),
            notice.attempts.to_string(),
            notice.due.map_or_else(String::new, |due| screen.moment(due)),
            notice.reason.clone().unwrap_or_default(),
        ]
    };
    screen.table(&head, notices.iter().map(row))
}

/// Rows of the trail.
pub(super) fn audit(screen: &Screen, events: &[AuditEvent]) -> String {
    if events.is_empty() {
        return "nothing happened\n".into();
    }
    let head = ["number", "when", "event", "who", "to whom", "outcome", "why"];
    let row = |event: &AuditEvent| {
        let details = event.details.iter().map(|(name, value)| format!("{name}={value}"));
        let why: Vec<String> = event.reason.iter().cloned().chain(details).collect();
        vec![
            event.number.to_string(),
            screen.moment(event.at),
            event.event.clone(),
            format!("{} {}", event.actor_kind, event.actor.as_deref().unwrap_or("(erased)")),
            whom(event),
            event.outcome.clone(),
            why.join(", "),
        ]
    };
    screen.table(&head, events.iter().map(row))
}

/// An account by its directory's name, which is easier to know again than the key that the trail has.
fn whom(event: &AuditEvent) -> String {
    match (&event.directory, event.account.as_deref().and_then(|account| account.split_once(':'))) {
        (Some(name), Some((_, stable))) => format!("{name}:{stable}"),
        _ => event.account.clone().unwrap_or_default(),
    }
}

/// Whether the trail is whole.
pub(super) fn chain(chain: Chain) -> String {
    if chain.whole {
        format!("the audit trail is whole: {} rows, each fitting the one before\n", chain.rows)
    } else {
        format!("the audit trail is broken at row {}: it was changed, or a row before it is gone\n", chain.rows)
    }
}

/// Why an account may or may not do something.
pub(super) fn explanation(screen: &Screen, explanation: &Explanation) -> String {
    let mut text = String::new();
    if let Some(account) = &explanation.account {
        if !explanation.elsewhere.is_empty() {
            text.push_str("Other directories know this login, too; the account below is the one that it means:\n");
            for id in &explanation.elsewhere {
                line(&mut text, &format!("  {}", escaped(id)));
            }
            text.push('\n');
        }
        text.push_str(&explained(screen, account));
    } else if explanation.matches.is_empty() {
        text.push_str("no entry of the directory matches this login\n");
    } else {
        text.push_str("several entries match this login, so nobody can say whose it is:\n");
        for id in &explanation.matches {
            line(&mut text, &format!("  {}", escaped(id)));
        }
    }
    if let (None, Some(reason)) = (&explanation.account, &explanation.reason) {
        line(&mut text, &format!("\nreason code: {}\n{}", escaped(&reason.code), escaped(&reason.remedy)));
    }
    text
}

fn explained(screen: &Screen, account: &ExplainedAccount) -> String {
    let mut text = String::new();
    let names = account.names.join(", ");
    let name = if names.is_empty() { &account.login } else { &names };
    let about = [
        ("login", account.login.clone()),
        ("name", name.clone()),
        ("entry", account.entry.clone()),
        ("directory", account.directory.clone()),
        ("stable id", account.id.clone()),
        ("read from", format!("{} at {}", account.server, screen.moment(account.read_at))),
        ("password mark", account.stamp.clone()),
        ("activated", account.activated.map_or_else(|| "not that rekeyd knows".into(), |at| screen.moment(at))),
        ("adopted", adopted(screen, account)),
        ("frozen until", account.frozen_until.map_or_else(String::new, |until| screen.moment(until))),
        ("password rules", account.profile.clone().unwrap_or_else(|| "the general ones".into())),
        ("groups", if account.groups.is_empty() { "none".into() } else { account.groups.join("\n") }),
    ];
    let about = about.into_iter().filter(|(_, value)| !value.is_empty());
    text.push_str(&listed(screen, about));

    if !account.privileged_by.is_empty() {
        section(&mut text, "Administrator access by");
        for (depth, group) in account.privileged_by.iter().enumerate() {
            line(&mut text, &format!("{}{}", "  ".repeat(depth.min(20)), escaped(group)));
        }
    }

    section(&mut text, "Findings");
    if account.findings.is_empty() {
        text.push_str("none: an active account\n");
    } else {
        let head = ["finding", "rests on", "value", "said by", "until"];
        let row = |finding: &crate::admin::protocol::explain::ExplainedFinding| {
            vec![
                finding.words.clone(),
                finding.attribute.clone(),
                finding.value.clone(),
                finding.server.clone(),
                finding.until.map_or_else(String::new, |until| screen.moment(until)),
            ]
        };
        text.push_str(&screen.table(&head, account.findings.iter().map(row)));
    }

    section(&mut text, "Verdicts");
    let widest = account.verdicts.iter().map(|verdict| verdict.act.chars().count()).max().unwrap_or(0);
    let mut told = Vec::new();
    for verdict in &account.verdicts {
        let act = format!("{:widest$}", escaped(&verdict.act));
        if verdict.allowed {
            line(&mut text, &format!("{act}  {}", screen.paint(Tone::Good, "yes")));
            continue;
        }
        let code = verdict.reason.as_ref().map_or_else(String::new, |reason| escaped(&reason.code));
        line(&mut text, &format!("{act}  {}   {code}", screen.paint(Tone::Bad, "no")));
        // What would change several verdicts is said once.
        if let Some(reason) = verdict.reason.as_ref().filter(|reason| !told.contains(&reason.code.as_str())) {
            told.push(reason.code.as_str());
            let margin = widest + 7;
            for words in reason.rule.iter().chain([&reason.remedy]) {
                text.push_str(&" ".repeat(margin));
                text.push_str(&screen.indented(margin, words, Some(Tone::Quiet)));
            }
        }
    }

    section(&mut text, "Addresses");
    if account.contacts.is_empty() {
        text.push_str("none\n");
    } else {
        let head = ["kind", "address", "from", "proved", "may be used"];
        let row = |contact: &crate::admin::protocol::explain::ExplainedContact| {
            vec![
                contact.kind.clone(),
                contact.address.clone(),
                contact.source.clone(),
                contact.proved.map_or_else(|| "no".into(), |at| screen.moment(at)),
                if contact.permitted { "yes".into() } else { "no, by policy".into() },
            ]
        };
        text.push_str(&screen.table(&head, account.contacts.iter().map(row)));
    }

    section(&mut text, "Latest events");
    text.push_str(&audit(screen, &account.events));
    text
}

/// What an adoption took an account for, as far as rekeyd has not seen better since.
fn adopted(screen: &Screen, account: &ExplainedAccount) -> String {
    let adopted = account.adopted.as_ref();
    adopted.map_or_else(String::new, |adopted| format!("as {} at {}", adopted.taken, screen.moment(adopted.at)))
}

/// Names with values; a value of several lines stays in its column.
fn listed<'a>(screen: &Screen, rows: impl Iterator<Item = (&'a str, String)>) -> String {
    let rows = rows.flat_map(|(name, value)| {
        let lines: Vec<_> = value.split('\n').map(str::to_owned).collect();
        lines
            .into_iter()
            .enumerate()
            .map(move |(at, line)| vec![if at == 0 { name.to_owned() } else { String::new() }, line])
    });
    screen.table(&[], rows)
}

/// A message is on its way.
pub(super) fn sent(login: &str, sent: &Sent) -> String {
    let what = if sent.purpose == "activation" { "an activation link" } else { "a reset link" };
    format!("{what} for {} is on its way to {}\n", escaped(login), escaped(&sent.to.join(", ")))
}

/// A password was replaced; the password itself is not part of what is said.
pub(super) fn replaced(login: &str, replaced: &Replaced) -> String {
    let then = match (replaced.must_change, replaced.must_change_unseen) {
        (true, false) => "the new one must be changed at the next sign-in",
        (true, true) => {
            "the new one should be changed at the next sign-in, but the directory does not show that it must be: tell \
             the person, or look at what the password policy of this account says"
        }
        (false, _) => "the new one stays",
    };
    format!("the old password of {} has stopped; {then}\n", escaped(login))
}

/// A freeze was lifted, or there was none.
pub(super) fn thawed(login: &str, thawed: &Thawed) -> String {
    if thawed.thawed {
        format!("self-service works again for {}\n", escaped(login))
    } else {
        format!("self-service was not frozen for {}\n", escaped(login))
    }
}

/// A restore was declared.
pub(super) fn restored(restored: Restored) -> String {
    match restored.voided {
        0 => "no link was alive; none had to be voided\n".into(),
        1 => "1 link is void now; whoever waits for it asks again\n".into(),
        voided => format!("{voided} links are void now; whoever waits for one asks again\n"),
    }
}

fn section(text: &mut String, title: &str) {
    line(text, &format!("\n{title}"));
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use rekeyd_core::domain::Timestamp;

    use super::super::print::tests::plain;
    use super::*;
    use crate::admin::protocol::explain::{ExplainedContact, ExplainedFinding, Reason, Verdict};

    fn account() -> ExplainedAccount {
        let at = Moment(Timestamp::from_millis(1_700_000_000_000));
        ExplainedAccount {
            id: "a1".into(),
            directory: "pupils".into(),
            login: "turing".into(),
            entry: "uid=turing,ou=people,dc=example,dc=org".into(),
            server: "ldap://one".into(),
            names: vec!["Alan \u{1b}]0;owned\u{7}Turing".into()],
            stamp: "pwdChangedTime=20240101000000Z".into(),
            findings: vec![ExplainedFinding {
                finding: "disabled".into(),
                words: "disabled by an administrator".into(),
                attribute: "pwdAccountLockedTime".into(),
                value: "000001010000Z".into(),
                server: "ldap://one".into(),
                until: None,
            }],
            privileged_by: vec!["cn=staff,dc=example,dc=org".into(), "cn=admins,dc=example,dc=org".into()],
            read_at: at,
            adopted: None,
            groups: vec!["cn=staff,dc=example,dc=org".into(), "cn=all,dc=example,dc=org".into()],
            contacts: vec![ExplainedContact {
                kind: "email".into(),
                address: "t…@e….org".into(),
                source: "mail".into(),
                proved: Some(at),
                permitted: true,
            }],
            verdicts: vec![
                Verdict {
                    act: "reset by the person".into(),
                    allowed: false,
                    reason: Some(Reason {
                        code: "disabled".into(),
                        remedy: "Enable the account in the directory.".into(),
                        rule: Some("the table".into()),
                        evidence: None,
                    }),
                },
                Verdict { act: "sign in".into(), allowed: true, reason: None },
            ],
            profile: None,
            activated: Some(at),
            frozen_until: None,
            events: Vec::new(),
        }
    }

    #[test]
    fn an_explanation_reads_top_to_bottom() {
        let elsewhere = vec!["staff:b2".into()];
        let explanation = Explanation {
            found: "account".into(),
            matches: Vec::new(),
            account: Some(account()),
            elsewhere,
            reason: None,
        };
        let expected = "\
Other directories know this login, too; the account below is the one that it means:
  staff:b2

login           turing
name            Alan \\u{1b}]0;owned\\u{7}Turing
entry           uid=turing,ou=people,dc=example,dc=org
directory       pupils
stable id       a1
read from       ldap://one at 2023-11-14 22:13:20 UTC
password mark   pwdChangedTime=20240101000000Z
activated       2023-11-14 22:13:20 UTC
password rules  the general ones
groups          cn=staff,dc=example,dc=org
                cn=all,dc=example,dc=org

Administrator access by
cn=staff,dc=example,dc=org
  cn=admins,dc=example,dc=org

Findings
FINDING                       RESTS ON              VALUE          SAID BY     UNTIL
disabled by an administrator  pwdAccountLockedTime  000001010000Z  ldap://one

Verdicts
reset by the person  no   disabled
                          the table
                          Enable the account in the directory.
sign in              yes

Addresses
KIND   ADDRESS    FROM  PROVED                   MAY BE USED
email  t…@e….org  mail  2023-11-14 22:13:20 UTC  yes

Latest events
nothing happened
";
        assert_eq!(super::explanation(&plain(), &explanation), expected);
    }

    #[test]
    fn who_is_not_found_or_ambiguous_is_told_with_a_remedy() {
        let reason =
            Reason { code: "ambiguous".into(), remedy: "Narrow the filter.".into(), rule: None, evidence: None };
        let matches = vec!["1:a".into(), "1:b".into()];
        let told = Explanation {
            found: "ambiguous".into(),
            matches,
            account: None,
            elsewhere: Vec::new(),
            reason: Some(reason),
        };
        let text = super::explanation(&plain(), &told);
        assert!(
            text.contains("  1:a\n  1:b\n") && text.ends_with("reason code: ambiguous\nNarrow the filter.\n"),
            "{text}"
        );
    }

    #[test]
    fn t126_foreign_text_in_messages_is_harmless() {
        let sent =
            Sent { account: "a".into(), purpose: "reset".into(), request: "r".into(), to: vec!["a\u{1b}[2J@b".into()] };
        assert_eq!(super::sent("a\u{202e}da", &sent), "a reset link for a\\u{202e}da is on its way to a\\u{1b}[2J@b\n");
    }
}
