//! A refusal by the directory in words: the rule that was broken, and what the directory says that it demands.

use rekeyd_core::domain::Timestamp;
use rekeyd_core::flavour::{Demands, Rejection};

use super::answer::per_unit;
use super::page::Text;

/// The rule that refused, and what helps to keep it: the number behind a rule that is named, the whole policy where none is.
pub(super) fn rejected(rejection: &Rejection, demands: &Demands, now: Timestamp) -> Vec<Text> {
    let number = |id: &'static str, number: Option<u32>| number.map(|n| Text::new(id).with("count", n.to_string()));
    let length = || number("demands-length", demands.length);
    let history = || number("demands-history", demands.history);
    let wait = || {
        let left = demands.free_from?.since(now);
        (!left.is_zero()).then(|| per_unit("demands-wait", left))
    };
    let more: Vec<Option<Text>> = match rejection {
        Rejection::TooShort => vec![length()],
        Rejection::InHistory => vec![history()],
        Rejection::TooYoung => vec![wait()],
        Rejection::NotComplex | Rejection::Other(_) => {
            vec![length(), demands.complex.then(|| Text::new("demands-complex")), history(), wait()]
        }
        Rejection::MissingRight(_)
        | Rejection::MustSupplyOld
        | Rejection::NoTls(_)
        | Rejection::NotAllowed
        | Rejection::Protected(_)
        | Rejection::TooLong => Vec::new(),
    };
    let rule = Text::new(format!("rejected-{}", rejection.code()));
    [rule].into_iter().chain(more.into_iter().flatten()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rekeyd_core::policy::password::Weakness;

    use super::super::hook::OPENAPI;
    use super::*;

    #[test]
    fn every_code_of_a_violation_stands_in_the_document() {
        let now = Timestamp::from_millis(0);
        let mut codes: Vec<String> = Weakness::ALL.iter().map(|weakness| weakness.id().to_owned()).collect();
        let why = String::new;
        for rejection in [
            Rejection::InHistory,
            Rejection::MissingRight(why()),
            Rejection::MustSupplyOld,
            Rejection::NoTls(why()),
            Rejection::NotAllowed,
            Rejection::NotComplex,
            Rejection::Other(why()),
            Rejection::Protected(why()),
            Rejection::TooLong,
            Rejection::TooShort,
            Rejection::TooYoung,
        ] {
            for free_from in [60, 5 * 3600, 80 * 3600].map(|seconds| now.plus(Duration::from_secs(seconds))) {
                let (length, history, free_from) = (Some(14), Some(24), Some(free_from));
                let demands = Demands { length, history, complex: true, least_age: None, free_from };
                codes.extend(rejected(&rejection, &demands, now).into_iter().map(|text| text.id.to_string()));
            }
        }
        codes.sort();
        codes.dedup();
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap_or_default();
        let code = document.pointer("/components/schemas/Problem/properties/violations/items/properties/code");
        let told = code.and_then(|code| code.get("examples")).and_then(|all| all.as_array()).into_iter().flatten();
        let told: Vec<&str> = told.filter_map(|code| code.as_str()).collect();
        assert_eq!(told, codes);
    }

    #[test]
    fn a_refusal_says_the_number_or_the_whole_policy() {
        let now = Timestamp::from_millis(1_000_000);
        let demands = Demands {
            length: Some(14),
            history: Some(24),
            complex: true,
            least_age: Some(Duration::from_hours(24)),
            free_from: Some(now.plus(Duration::from_mins(30))),
        };
        let ids = |rejection: &Rejection, demands: &Demands| -> Vec<String> {
            rejected(rejection, demands, now).iter().map(|text| text.id.to_string()).collect()
        };
        assert_eq!(ids(&Rejection::TooShort, &demands), ["rejected-too-short", "demands-length"]);
        assert_eq!(ids(&Rejection::InHistory, &demands), ["rejected-in-history", "demands-history"]);
        assert_eq!(ids(&Rejection::TooYoung, &demands), ["rejected-too-young", "demands-wait-minutes"]);
        assert_eq!(
            ids(&Rejection::Other("0000052D".into()), &demands),
            ["rejected-other", "demands-length", "demands-complex", "demands-history", "demands-wait-minutes"]
        );
        assert_eq!(ids(&Rejection::TooShort, &Demands::default()), ["rejected-too-short"]);
        let past = Demands { free_from: Some(now), ..demands };
        assert_eq!(ids(&Rejection::TooYoung, &past), ["rejected-too-young"]);
    }
}
