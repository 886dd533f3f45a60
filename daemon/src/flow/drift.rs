//! What has changed with a directory between two looks of the doctor: pure, so that it can be told without a server.

use serde::{Deserialize, Serialize};

/// One thing that was found, as it is kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Found {
    /// The cause's code.
    pub code: String,
    /// On which server.
    pub server: Option<String>,
    /// `note` or `broken`.
    pub grade: String,
    /// By what it was seen.
    pub evidence: String,
}

/// What became of something that was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// It is as bad as it was, in another way.
    Changed,
    /// It was there before.
    Known,
    /// It was not.
    New,
}

impl Change {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Known => "known",
            Self::New => "new",
        }
    }
}

impl Found {
    fn is_about(&self, other: &Self) -> bool {
        self.code == other.code && self.server == other.server
    }

    /// Whether it says the same. Numbers do not count: days that are left, milliseconds that it took.
    fn says(&self, other: &Self) -> bool {
        let plain = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        self.is_about(other) && self.grade == other.grade && plain(&self.evidence) == plain(&other.evidence)
    }
}

/// Says of one finding what became of it, and takes what it is matched with out of what was found before; what is left there
/// in the end is gone.
pub(super) fn became(before: &mut Vec<Found>, now: &Found) -> Change {
    let same = before.iter().position(|old| old.says(now));
    let near = || before.iter().position(|old| old.is_about(now));
    match same.map(|place| (place, Change::Known)).or_else(|| near().map(|place| (place, Change::Changed))) {
        Some((place, change)) => {
            before.swap_remove(place);
            change
        }
        None => Change::New,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str, server: &str, evidence: &str) -> Found {
        Found { code: code.into(), server: Some(server.into()), grade: "note".into(), evidence: evidence.into() }
    }

    #[test]
    fn drift_is_new_gone_or_changed() {
        let mut before =
            vec![found("tls-expires", "a", "29 days"), found("min-age", "a", "an hour"), found("clock", "a", "slow")];
        assert_eq!(became(&mut before, &found("tls-expires", "a", "8 days")), Change::Known);
        assert_eq!(became(&mut before, &found("tls-expires", "b", "8 days")), Change::New);
        assert_eq!(became(&mut before, &found("min-age", "a", "a day")), Change::Changed);
        assert_eq!(before, [found("clock", "a", "slow")]);
    }
}
