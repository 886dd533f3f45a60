//! D6: the checklist of what must be known of each directory, line by line, with what comes of it on each product and what
//! the directory holds afterwards. Whoever adds a product fills in a column.

use rekeyd_tests::{
    estate::Product,
    situations::{ALL, Situation},
    tests,
};

tests! {
    fn d6_every_line_of_the_checklist_is_tried_on_each_product;
}

/// Where a line is tried.
#[derive(Clone, Copy, Debug)]
enum Tried {
    /// In the one list of situations.
    As(&'static str),
    /// By this test, or by one for each product whose names begin so.
    By(&'static str),
}
use Tried::{As, By};

/// What comes of it: why the person is not helped, or nothing where a new password is set; and what is left in the end.
struct Line {
    what: &'static str,
    tried: Tried,
    openldap: Comes,
    active_directory: Comes,
    ds389: Comes,
}

#[derive(Clone, Copy, Debug)]
enum Comes {
    /// A new password is set. What the directory holds then, besides it.
    Set(&'static str),
    /// Refused for this reason. What the directory holds still.
    Refused(&'static str, &'static str),
    /// The product has no such thing.
    Never(&'static str),
    /// What the person is told, and what is true then; for lines that a test of their own tries.
    Told(&'static str, &'static str),
}
use Comes::{Never, Refused, Set, Told};

const fn line(what: &'static str, tried: Tried, openldap: Comes, active_directory: Comes, ds389: Comes) -> Line {
    Line { what, tried, openldap, active_directory, ds389 }
}

const fn alike(what: &'static str, tried: Tried, comes: Comes) -> Line {
    line(what, tried, comes, comes, comes)
}

const WORDS: &str = "d6_what_the_server_refuses_is_told_in_words_";
const OLD: &str = "the old password, and it opens; no write was tried, or none was taken";

const LINES: &[Line] = &[
    alike("wrong-policy password", By(WORDS), Told("too short, in words; the link still works", OLD)),
    line(
        "reused password",
        By(WORDS),
        Told("used before, in words; the link still works", OLD),
        Told("not refused: a reset does not ask for the history, and Samba has no control that would", "the new one"),
        Told("used before, in words; the link still works", OLD),
    ),
    line(
        "too-young password",
        By(WORDS),
        Told("too young, in words", OLD),
        Told("not refused: a reset does not ask for the age", "the new one"),
        Told("too young, in words", OLD),
    ),
    line(
        "must-change account",
        As("must-change-known"),
        Set("no pwdReset"),
        Set("pwdLastSet of now"),
        Set("pwdReset FALSE"),
    ),
    line(
        "must-change account of which nobody knows whether its person ever had a password",
        As("must-change"),
        Set("no pwdReset"),
        Refused("undecided", "pwdLastSet 0"),
        Refused("undecided", "pwdReset TRUE"),
    ),
    line(
        "expired password",
        As("password-expired"),
        Set("pwdChangedTime of now"),
        Set("no expiry in msDS-User-Account-Control-Computed"),
        Set("another passwordExpirationTime"),
    ),
    line(
        "expired account",
        As("account-expired"),
        Refused("expired", "pwdEndTime as it was"),
        Refused("expired", "accountExpires as it was"),
        Refused("expired", "lastLoginTime as it was: only idleness ends an account there"),
    ),
    line(
        "disabled",
        As("disabled"),
        Refused("disabled", "the organisation's own mark"),
        Refused("disabled", "userAccountControl 514"),
        Refused("disabled", "nsAccountLock true"),
    ),
    line(
        "disabled by a role",
        As("disabled-by-role"),
        Never("no roles"),
        Never("no roles"),
        Refused("disabled", "nsAccountLock true, which is computed"),
    ),
    line(
        "lock by failures",
        As("locked-by-failures"),
        Set("no pwdAccountLockedTime"),
        Set("lockoutTime 0"),
        Set("passwordRetryCount 0"),
    ),
    line(
        "lock by admin",
        As("locked-for-good"),
        Refused("locked-by-admin", "pwdAccountLockedTime 000001010000Z"),
        Refused("locked-by-admin", "lockoutTime: a lock by failures that only an administrator ends"),
        Refused("locked-by-admin", "passwordRetryCount 3: a lock by failures that only an administrator ends"),
    ),
    line(
        "never activated",
        As("no-password"),
        Refused("never-activated", "no password"),
        Refused("never-activated", "no password, pwdLastSet 0"),
        Refused("undecided", "no password, which nobody may see"),
    ),
    alike("privileged by nested group", As("nested-admin"), Refused("privileged", OLD)),
    line(
        "privileged by primary group",
        As("primary-admin"),
        Never("the primary group is a number; `memberUid` groups are tried in the law"),
        Refused("privileged", "primaryGroupID 512"),
        Never("no primary groups"),
    ),
    alike("duplicate mail", As("twin-mail"), Refused("ambiguous", OLD)),
    line(
        "duplicate login",
        As("twin-login"),
        Refused("ambiguous", OLD),
        Never("the domain takes no second sAMAccountName"),
        Refused("ambiguous", OLD),
    ),
    alike("odd DN", As("odd-dn"), Set("nothing else")),
    alike(
        "UTF-8 and 64+ character password",
        By("d6_passwords_of_any_script_and_length_are_set_"),
        Set("nothing else"),
    ),
    line(
        "timeout after the write",
        By("d6_a_lost_answer_is_settled_by_a_look"),
        Told("set", "the new password, written once"),
        Told("set", "the new password, written once"),
        Told("set where passwordTrackUpdateTime is on, else that nobody knows", "the new password, written once"),
    ),
    line(
        "timeout before the write",
        By("d6_a_lost_write_is_not_taken_for_done"),
        Told("set: the write carries its condition and is sent again", "the new password, written once"),
        Told("that nobody knows", OLD),
        Told("that nobody knows", OLD),
    ),
    alike(
        "read-only replica",
        By("d6_a_copy_that_takes_no_writes_is_left_alone"),
        Told("set, by the other server; nobody follows the referral", "the new password, written once"),
    ),
    alike(
        "stale replica",
        By("d6_a_stale_copy_decides_nothing_and_is_told_of_"),
        Told("refused, if the server that takes writes says so; operators read behind", "the old password on the copy"),
    ),
    alike(
        "TLS name mismatch",
        By("d6_a_certificate_for_another_name_stops_everything"),
        Told("nothing was changed, the link still works", OLD),
    ),
    alike(
        "missing right on one attribute",
        By("d6_a_missing_right_is_told_to_operators_alone"),
        Told("it can't be set; operators read missing-right in the trail", OLD),
    ),
    alike("attribute that can't be read", As("hidden"), Refused("unknown", OLD)),
];

fn d6_every_line_of_the_checklist_is_tried_on_each_product() {
    let sources = concat!(include_str!("scenarios.rs"), include_str!("mishaps.rs"), include_str!("stale.rs"));
    let mut faults = Vec::new();
    for line in LINES {
        match line.tried {
            By(test) if sources.contains(&format!("    async fn {test}")) => {}
            By(test) => faults.push(format!("{}: no test is called {test}", line.what)),
            As(name) => match ALL.iter().find(|situation| situation.name == name) {
                Some(situation) => faults.extend(disagrees(line, situation)),
                None => faults.push(format!("{}: no situation is called {name}", line.what)),
            },
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Where the checklist says something else than the list that is tried.
fn disagrees(line: &Line, situation: &Situation) -> Vec<String> {
    let columns = [line.openldap, line.active_directory, line.ds389];
    let told = Product::ALL.into_iter().zip(columns).filter(|(product, comes)| {
        let refused = situation.on(*product).map(|truth| truth.refused);
        match comes {
            Never(why) => refused.is_some() || why.is_empty(),
            Refused(reason, holds) => refused != Some(Some(*reason)) || holds.is_empty(),
            Set(holds) => refused != Some(None) || holds.is_empty(),
            Told(told, holds) => told.is_empty() || holds.is_empty(),
        }
    });
    told.map(|(product, comes)| format!("{} on {product:?}: {comes:?}", line.what)).collect()
}
