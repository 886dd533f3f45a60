//! The one table from outcomes to answers: status, page and JSON of everything that a story or a check can end in.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::StatusCode;
use rekeyd_core::domain::Timestamp;
use rekeyd_core::policy::password::{self, Weakness};
use rekeyd_core::policy::rules::PasswordRules;
use serde_json::{Value, json};

use super::demands::rejected;
use super::page::{Message, Mood, Next, Page, Text};
use super::response::Answer;
use crate::flow::health::{DirectoryHealth, Health};
use crate::flow::reset::{Opened, SetOutcome};
use crate::flow::{forgotten, not_me, sign_in};

/// A request that reaches no story.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// It is not what this door takes; the words are for whoever wrote the client.
    BadRequest(&'static str),
    /// A body beyond 16 KiB.
    BodyTooLarge,
    /// Too many requests are in work.
    Busy,
    /// A fault of ours.
    Fault,
    /// A form that another site had the browser send.
    ForeignSite,
    /// The client may not make this call.
    MayNot,
    /// Another media type than this.
    MediaType(&'static str),
    /// The route has other methods; these.
    Method(&'static str),
    /// A host that is not ours.
    Misdirected,
    /// There is no such page or call.
    NotFound,
    /// A target beyond 2 KiB.
    TargetTooLong,
    /// The work did not end in time.
    TooLate,
    /// The request did not arrive in time.
    TooSlow,
    /// The key is missing or unknown.
    Unidentified,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy | Self::TooLate => StatusCode::SERVICE_UNAVAILABLE,
            Self::Fault => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ForeignSite | Self::MayNot => StatusCode::FORBIDDEN,
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Unidentified => StatusCode::UNAUTHORIZED,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad-request",
            Self::BodyTooLarge => "body-too-large",
            Self::Busy => "busy",
            Self::Fault => "fault",
            Self::ForeignSite => "foreign-site",
            Self::MayNot => "scope",
            Self::MediaType(_) => "media-type",
            Self::Method(_) => "method",
            Self::Misdirected => "misdirected",
            Self::NotFound => "not-found",
            Self::TargetTooLong => "target-too-long",
            Self::TooLate => "too-late",
            Self::TooSlow => "too-slow",
            Self::Unidentified => "key",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::BadRequest(why) => (*why).to_owned(),
            Self::BodyTooLarge => "A body has at most 16 KiB.".into(),
            Self::Busy => "Too many requests are in work; try again in a moment.".into(),
            Self::Fault => "A fault of rekeyd's own; its journal says more.".into(),
            Self::ForeignSite => "This form was sent by another site.".into(),
            Self::MayNot => "This client's scopes do not include this call.".into(),
            Self::MediaType(wanted) => format!("The body must be {wanted} in UTF-8, not compressed."),
            Self::Method(allowed) => format!("Allowed here: {allowed}."),
            Self::Misdirected => "This host is not served here.".into(),
            Self::NotFound => "There is no such call.".into(),
            Self::TargetTooLong => "A target has at most 2 KiB.".into(),
            Self::TooLate => "The work did not end in time.".into(),
            Self::TooSlow => "The request did not arrive in time.".into(),
            Self::Unidentified => "Send the client's key as Authorization: Bearer KEY.".into(),
        }
    }

    /// For a login page.
    pub(super) fn problem(&self) -> Answer {
        self.with_headers(problem(self.status(), self.code(), &self.detail(), json!({})))
    }

    /// For a person: status and page.
    pub(super) fn page(&self) -> (StatusCode, Page) {
        let name = match self {
            Self::BadRequest(_) | Self::BodyTooLarge | Self::MediaType(_) | Self::TargetTooLong | Self::TooSlow => {
                "bad-request"
            }
            Self::Busy | Self::TooLate => "busy",
            Self::Fault => "fault",
            Self::ForeignSite => "foreign-site",
            Self::MayNot | Self::Unidentified | Self::NotFound => "not-found",
            Self::Method(_) => "method",
            Self::Misdirected => "misdirected",
        };
        // A foreign name gets no link: whoever sent the browser here by that name should not be helped along.
        let next = if matches!(self, Self::Misdirected) { Next::Nothing } else { Next::Forgot };
        (self.status(), message(name, Mood::Trouble, next))
    }

    /// The headers that belong to a refusal, on page and problem alike.
    pub(super) fn with_headers(&self, answer: Answer) -> Answer {
        match self {
            Self::Busy | Self::TooLate => answer.retry_after(Duration::from_secs(1)),
            Self::Method(allowed) => answer.header("allow", allowed),
            Self::Unidentified => answer.header("www-authenticate", "Bearer realm=\"rekeyd\""),
            _ => answer,
        }
    }
}

/// The answer to a request for a message, on its page. The wait is for `Retry-After`.
pub(super) fn forgotten_page(outcome: forgotten::Accepted) -> (StatusCode, Page, Option<Duration>) {
    use forgotten::Accepted;
    match outcome {
        Accepted::Accepted { .. } => (StatusCode::ACCEPTED, message("sent", Mood::Good, Next::Nothing), None),
        Accepted::TooOften(wait) => {
            let text = per_unit("too-often", wait);
            let page =
                Page::Message(Message { more: Some(text), ..Message::new("too-often", Mood::Trouble, Next::Forgot) });
            (StatusCode::TOO_MANY_REQUESTS, page, Some(wait))
        }
        Accepted::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            message("busy", Mood::Trouble, Next::Forgot),
            Some(Duration::from_secs(30)),
        ),
    }
}

/// The answer to a request for a message, on the hook.
pub(super) fn forgotten_json(outcome: forgotten::Accepted) -> Answer {
    use forgotten::Accepted;
    match outcome {
        Accepted::Accepted { request, expires_in } => Answer::json(
            StatusCode::ACCEPTED,
            &json!({ "request": request.to_string(), "expires_in": expires_in.as_secs() }),
        ),
        Accepted::TooOften(wait) => too_often(wait),
        Accepted::Unavailable => unavailable("The request was not accepted; ask again later."),
    }
}

/// Status and page of a link that shows no form.
pub(super) fn closed_page(gone: bool) -> (StatusCode, Page) {
    if gone {
        (StatusCode::GONE, message("gone", Mood::Trouble, Next::Forgot))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, message("unavailable", Mood::Trouble, Next::Again))
    }
}

/// What a ticket is for, on the hook.
pub(super) fn opened_json(opened: &Opened, say: impl Fn(&Text) -> String) -> Answer {
    let words: Vec<_> = rules(&opened.rules).iter().map(say).collect();
    let body = json!({
        "purpose": opened.purpose.word(),
        "login": opened.login,
        "expires_at": opened.expires.and_then(rfc3339),
        "rules": {
            "min_length": opened.rules.min_length,
            "max_length": opened.rules.max_length,
            "min_score": opened.rules.min_score,
            "words": words,
        },
    });
    Answer::json(StatusCode::OK, &body)
}

/// What the page says after a password was sent by a link.
pub(super) enum SetPage {
    /// The form again, with what is wrong.
    Form(Vec<Text>),
    /// Another page.
    Other(StatusCode, Page),
}

/// The answer to a new password, on its page.
pub(super) fn set_page(outcome: SetOutcome, now: Timestamp) -> SetPage {
    let (status, page) = match outcome {
        SetOutcome::Gone => closed_page(true),
        SetOutcome::Refused { reference } => {
            let more = Text::new("refused-reference").with("reference", reference);
            let message = Message { more: Some(more), ..Message::new("refused", Mood::Trouble, Next::Nothing) };
            (StatusCode::FORBIDDEN, Page::Message(message))
        }
        SetOutcome::Rejected { rejection, demands, again: true } => {
            return SetPage::Form(rejected(&rejection, &demands, now));
        }
        SetOutcome::Rejected { rejection, demands, again: false } => {
            // What helps to keep the rule says more than its name.
            let more = rejected(&rejection, &demands, now).pop();
            let message = Message { more, ..Message::new("rejected", Mood::Trouble, Next::Nothing) };
            (StatusCode::UNPROCESSABLE_ENTITY, Page::Message(message))
        }
        SetOutcome::Set { locked_until } => {
            let more = locked_until.map(|until| per_unit("done-locked", until.since(now)));
            (StatusCode::OK, Page::Message(Message { more, ..Message::new("done", Mood::Good, Next::SignIn) }))
        }
        SetOutcome::Unavailable => closed_page(false),
        SetOutcome::Weak(weaknesses) if weaknesses.is_empty() => closed_page(false),
        SetOutcome::Unsure => unsure_page(),
        SetOutcome::Weak(weaknesses) => return SetPage::Form(weaknesses.iter().copied().map(weak).collect()),
    };
    SetPage::Other(status, page)
}

/// The page of a setting whose outcome is unknown.
pub(super) fn unsure_page() -> (StatusCode, Page) {
    (StatusCode::ACCEPTED, message("unsure", Mood::Trouble, Next::SignIn))
}

/// The answer to a new password, on the hook.
pub(super) fn set_json(outcome: &SetOutcome, now: Timestamp, say: impl Fn(&Text) -> String) -> Answer {
    let violations = |texts: Vec<Text>, again: bool| {
        let violations: Vec<Value> = texts.iter().map(|text| json!({ "code": text.id, "text": say(text) })).collect();
        let detail = if again {
            "The password breaks a rule; the ticket still works."
        } else {
            "The directory does not let this password be set."
        };
        let more = json!({ "violations": violations, "again": again });
        problem(StatusCode::UNPROCESSABLE_ENTITY, "password", detail, more)
    };
    match outcome {
        SetOutcome::Gone => gone(),
        SetOutcome::Refused { reference } => problem(
            StatusCode::FORBIDDEN,
            "refused",
            "This account may not be reset any more; support finds the reason by the reference.",
            json!({ "reference": reference }),
        ),
        SetOutcome::Rejected { rejection, demands, again } => violations(rejected(rejection, demands, now), *again),
        SetOutcome::Set { locked_until: None } => Answer::empty(StatusCode::NO_CONTENT),
        SetOutcome::Set { locked_until: Some(until) } => {
            Answer::json(StatusCode::OK, &json!({ "outcome": "set", "locked_until": rfc3339(*until) }))
        }
        SetOutcome::Unavailable => unavailable("Nothing was changed; the ticket still works."),
        SetOutcome::Unsure => unsure_json(),
        // Refused without a reason that could be named: nothing in the password can be mended.
        SetOutcome::Weak(weaknesses) if weaknesses.is_empty() => {
            unavailable("Nothing was changed; the ticket still works.")
        }
        SetOutcome::Weak(weaknesses) => violations(weaknesses.iter().copied().map(weak).collect(), true),
    }
}

/// The answer of a setting whose outcome is unknown, on the hook.
pub(super) fn unsure_json() -> Answer {
    Answer::json(StatusCode::ACCEPTED, &json!({ "outcome": "unknown" }))
}

/// The answer to a ticket that opens nothing, on the hook: the same for unknown, used, expired and void ones.
pub(super) fn gone() -> Answer {
    problem(StatusCode::GONE, "gone", "This ticket is unknown, used, expired or void.", json!({}))
}

/// The store can't be asked, on the hook.
pub(super) fn unavailable(detail: &str) -> Answer {
    problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail, json!({})).retry_after(Duration::from_secs(30))
}

/// The answer to "this was not me", on its page; `None` shows the form again.
pub(super) fn not_me_page(outcome: not_me::Outcome) -> Option<(StatusCode, Page)> {
    Some(match outcome {
        not_me::Outcome::Done => (StatusCode::OK, message("not-me-done", Mood::Good, Next::Nothing)),
        not_me::Outcome::Gone => (StatusCode::GONE, message("not-me-gone", Mood::Trouble, Next::Nothing)),
        not_me::Outcome::Mismatch => return None,
        not_me::Outcome::Unavailable => closed_page(false),
    })
}

/// The answer to a sign-in.
pub(super) fn sign_in_json(outcome: &sign_in::Outcome) -> Answer {
    match outcome {
        sign_in::Outcome::Denied => problem(
            StatusCode::UNAUTHORIZED,
            "denied",
            "The login and the password do not go together, or the account may not sign in.",
            json!({ "outcome": "denied" }),
        )
        .header("www-authenticate", "Bearer realm=\"rekeyd\""),
        sign_in::Outcome::Granted(granted) => Answer::json(
            StatusCode::OK,
            &json!({
                "outcome": "granted",
                "account": granted.account,
                "directory": granted.directory,
                "login": granted.login,
            }),
        ),
        sign_in::Outcome::TooOften(wait) => too_often(*wait),
        sign_in::Outcome::Unavailable => unavailable("The directory can't be asked; try again."),
    }
}

/// Whether the door is ready: while the directory is down requests are accepted all the same.
pub(super) fn ready(health: &Health) -> Answer {
    let store = if health.store { "up" } else { "down" };
    let word = |health: DirectoryHealth| match health {
        DirectoryHealth::Down => "down",
        DirectoryHealth::Impaired => "impaired",
        DirectoryHealth::Up => "up",
    };
    let each: BTreeMap<_, _> = health.directories.iter().map(|(name, health)| (name, word(*health))).collect();
    let directory = word(health.directory());
    let status = if health.store { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Answer::json(status, &json!({ "ready": health.store, "store": store, "directory": directory, "directories": each }))
}

/// The password rules, one text a line.
pub(super) fn rules(rules: &PasswordRules) -> Vec<Text> {
    password::describe(rules).into_iter().map(|rule| with_numbers(rule.id, rule.args)).collect()
}

/// A text in the largest unit that says enough: `id-minutes`, `id-hours` or `id-days` with their count, rounded up.
pub(super) fn per_unit(id: &str, duration: Duration) -> Text {
    const UNITS: [(u64, u64, &str); 3] =
        [(60, 90 * 60, "minutes"), (3600, 36 * 3600, "hours"), (86400, u64::MAX, "days")];
    let seconds = duration.as_secs().max(1);
    let (length, unit) = UNITS
        .iter()
        .find(|(_, below, _)| seconds < *below)
        .map_or((86400, "days"), |(length, _, unit)| (*length, *unit));
    Text::new(format!("{id}-{unit}")).with("count", seconds.div_ceil(length).to_string())
}

fn weak(weakness: Weakness) -> Text {
    with_numbers(weakness.id(), weakness.args())
}

fn with_numbers(id: &'static str, args: Vec<(&'static str, u32)>) -> Text {
    args.into_iter().fold(Text::new(id), |text, (name, number)| text.with(name, number.to_string()))
}

fn message(name: &'static str, mood: Mood, next: Next) -> Page {
    Page::Message(Message::new(name, mood, next))
}

fn too_often(wait: Duration) -> Answer {
    problem(StatusCode::TOO_MANY_REQUESTS, "too-often", "This source asks too often.", json!({})).retry_after(wait)
}

/// Problem details of RFC 9457, with what is said besides.
pub(super) fn problem(status: StatusCode, code: &str, detail: &str, more: Value) -> Answer {
    let mut body = json!({
        "type": format!("urn:rekeyd:problem:{code}"),
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
    });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    Answer::problem(status, &body)
}

fn rfc3339(at: Timestamp) -> Option<String> {
    jiff::Timestamp::from_second(at.seconds()).ok().map(|at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_said_in_the_unit_that_says_enough() {
        for (seconds, id, count) in [
            (0, "x-minutes", "1"),
            (60, "x-minutes", "1"),
            (61, "x-minutes", "2"),
            (1800, "x-minutes", "30"),
            (5399, "x-minutes", "90"),
            (5400, "x-hours", "2"),
            (86400, "x-hours", "24"),
            (7 * 86400, "x-days", "7"),
        ] {
            let text = per_unit("x", Duration::from_secs(seconds));
            assert_eq!((text.id.as_ref(), text.args.first().map(|arg| arg.1.as_str())), (id, Some(count)), "{seconds}");
        }
    }

    #[test]
    fn moments_are_written_in_utc() {
        assert_eq!(rfc3339(Timestamp::from_millis(1_795_000_000_999)).as_deref(), Some("2026-11-18T11:06:40Z"));
    }

    #[test]
    fn a_refusal_without_a_reason_is_not_about_the_password() {
        let status =
            |outcome| set_json(&outcome, Timestamp::from_millis(0), |text| text.id.to_string()).status.as_u16();
        assert_eq!(status(SetOutcome::Weak(Vec::new())), 503);
        assert_eq!(status(SetOutcome::Weak(vec![Weakness::Common])), 422);
    }

    #[test]
    fn t20_a_ticket_that_opens_nothing_says_so_in_one_way() {
        let (one, other) = (gone(), set_json(&SetOutcome::Gone, Timestamp::from_millis(0), |text| text.id.to_string()));
        assert_eq!((one.status, &one.body), (other.status, &other.body));
    }
}
