//! What a look at a directory finds: each thing in words, with what it was seen by and what mends it. Whatever can be wrong
//! there has a code, which never changes its meaning, so that one look can be compared with the next.

use tokio::sync::mpsc;

/// One thing that was tried.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What is wrong; `None` where nothing is.
    pub cause: Option<Cause>,
    /// The server it was tried on, by its URL; `None` where it is no server's.
    pub server: Option<String>,
    /// What was tried.
    pub what: String,
    /// How it went, in words: the evidence.
    pub outcome: String,
    /// Whether it is as it should be.
    pub grade: Grade,
    /// What to do about it, in words.
    pub remedy: Option<String>,
    /// The same as commands to paste, with this directory's names filled in.
    pub command: Option<String>,
}

impl Probe {
    /// As it should be.
    pub fn fine(what: impl Into<String>, outcome: impl Into<String>) -> Self {
        Self {
            cause: None,
            server: None,
            what: what.into(),
            outcome: outcome.into(),
            grade: Grade::Fine,
            remedy: None,
            command: None,
        }
    }

    /// Something is wrong.
    pub fn found(cause: Cause, grade: Grade, what: impl Into<String>, outcome: impl Into<String>) -> Self {
        Self { cause: Some(cause), grade, ..Self::fine(what, outcome) }
    }

    /// Adds what mends it, in words.
    #[must_use]
    pub fn mended_by(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// Adds the commands that do that, where there are some.
    #[must_use]
    pub fn with(self, command: impl Into<Option<String>>) -> Self {
        Self { command: command.into(), ..self }
    }
}

/// How a probe went.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Grade {
    /// As it should be.
    Fine,
    /// Works, but somebody should know.
    Note,
    /// Does not work.
    Broken,
}

impl Grade {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Note => "note",
            Self::Broken => "broken",
        }
    }
}

/// How much is tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Care {
    /// What a start needs: quick, and nothing is written but the canary's password, with a good one.
    Check,
    /// Everything: what is written to the canary that must be refused, and the rights of our accounts.
    Doctor,
}

/// Takes what is found while the look goes on.
#[derive(Clone)]
pub struct Listener(mpsc::Sender<Probe>);

impl Listener {
    /// A listener, and where its probes come out.
    pub fn new() -> (Self, mpsc::Receiver<Probe>) {
        let (sender, receiver) = mpsc::channel(8);
        (Self(sender), receiver)
    }

    /// Tells a probe; whoever no longer listens misses it.
    pub(super) async fn hear(&self, probe: Probe) {
        drop(self.0.send(probe).await);
    }
}

/// Makes the closed set of causes together with its codes.
macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// What can be wrong with a directory, for rekeyd.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Cause {
            $($(#[$doc])* $name,)*
        }

        impl Cause {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code, for machines, and for the manual.
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }
        }
    };
}

causes! {
    /// Our account skips every rule and may write anything: the server's own administrator.
    AllPowerful = "all-powerful",
    /// An attribute that the configuration names is unknown to the server, or has another name there.
    AttributeUnknown = "attribute-unknown",
    /// There is no canary, so that much can't be proved.
    CanaryMissing = "canary-missing",
    /// The canary is configured, and can't be read or written.
    CanaryUnusable = "canary-unusable",
    /// The server keeps a password that comes in clear text as it is.
    ClearText = "clear-text",
    /// Its clock and ours differ.
    Clock = "clock",
    /// The server can't have a write carry a condition.
    ConditionMissing = "condition-missing",
    /// Groups that verdicts rest on, or their members, can't be seen.
    GroupsHidden = "groups-hidden",
    /// The search for groups takes long: an index is missing.
    GroupsSlow = "groups-slow",
    /// An old password was taken again, though the policy remembers it.
    HistoryBypassed = "history-bypassed",
    /// The policy remembers no old passwords.
    HistoryOff = "history-off",
    /// An attribute that stable ids rest on is hidden.
    IdHidden = "id-hidden",
    /// Servers mark passwords in different ways, so that a link that was made on one is refused on another.
    MarksDiffer = "marks-differ",
    /// A password must stand for a while before it may be replaced.
    MinAge = "min-age",
    /// An account that sets temporary passwords lacks the right to have them changed.
    MustChangeDenied = "must-change-denied",
    /// The policy does not have temporary passwords changed.
    MustChangeOff = "must-change-off",
    /// The server does not know who we are.
    Nobody = "nobody",
    /// The server does not let us in.
    NotLetIn = "not-let-in",
    /// Our account is an administrator of passwords: rules on passwords are not looked at.
    PasswordAdministrator = "password-administrator",
    /// Some people's passwords never expire, and need not be changed when they should be.
    PasswordsNeverExpire = "passwords-never-expire",
    /// Some people need no password at all.
    PasswordsNotNeeded = "passwords-not-needed",
    /// Hashes of people's passwords can be read.
    PasswordsReadable = "passwords-readable",
    /// Nobody can be seen whom the filter means.
    PeopleHidden = "people-hidden",
    /// The password policy can't be read.
    PolicyHidden = "policy-hidden",
    /// The server keeps no password policy.
    PolicyMissing = "policy-missing",
    /// Our account, or a group that it is in, rules over others.
    PrivilegedService = "privileged-service",
    /// A password was taken that the policy forbids.
    QualityBypassed = "quality-bypassed",
    /// The policy checks neither length nor quality.
    QualityOff = "quality-off",
    /// The server takes no writes.
    ReadOnly = "read-only",
    /// The server gives no reason when it refuses a password.
    ReasonsMissing = "reasons-missing",
    /// Part of what we ask for is on another server.
    Referral = "referral",
    /// We lack the right to set passwords.
    ResetDenied = "reset-denied",
    /// The policy wants the old password.
    SafeModify = "safe-modify",
    /// The server gives us fewer entries than an answer may have.
    SizeLimit = "size-limit",
    /// What the state of accounts rests on is hidden.
    StateHidden = "state-hidden",
    /// FreeIPA takes our account for an administrator: people would have to choose a second password at once.
    TakenForAdministrator = "taken-for-administrator",
    /// FreeIPA checks no policy for our account.
    TakenForManager = "taken-for-manager",
    /// It is not known what FreeIPA takes our account for.
    TakenForUnknown = "taken-for-unknown",
    /// Passwords go to the server in clear text, on this machine.
    TlsClear = "tls-clear",
    /// The server's certificate ends soon.
    TlsExpires = "tls-expires",
    /// TLS fails: the certificate, its name, or what the two sides speak.
    TlsRefused = "tls-refused",
    /// A lock by failures can't be lifted, though the policy of rekeyd wants it.
    UnlockDenied = "unlock-denied",
    /// The server is not reached.
    Unreachable = "unreachable",
    /// The policy does not let people change their passwords.
    UserChangeOff = "user-change-off",
    /// Something else went wrong on the way.
    Unclear = "unclear",
    /// Our account may write what rekeyd never writes.
    WritesTooMuch = "writes-too-much",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_cause_stands_in_the_manual() {
        let manual = include_str!("../../../packaging/man/rekeyctl.8.md");
        for cause in Cause::ALL {
            assert!(manual.contains(&format!("\n*{}*\n", cause.code())), "{}", cause.code());
        }
    }

    #[test]
    fn codes_tell_causes_apart() {
        let codes: BTreeSet<&str> = Cause::ALL.iter().map(|cause| cause.code()).collect();
        assert_eq!(codes.len(), Cause::ALL.len());
        assert!(codes.iter().all(|code| code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
    }
}
