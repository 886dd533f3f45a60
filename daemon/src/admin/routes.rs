//! What can be asked on the operators' socket: method and path to story, one line each. A request is read whole and
//! understood before anything is done, and everything is refused that is not known here.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use rekeyd_core::domain::{Actor, Login, NewPassword, RequestId};
use rekeyd_core::policy::authority::{Operator, Verb};
use rekeyd_core::text::form_decoded;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::answer::{self, Answer};
use super::doctor;
use super::protocol::doctor::DoctorRequest;
use super::protocol::explain::ExplainRequest;
use super::protocol::walks::{AdoptRequest, PolicyTestRequest, UndoRequest};
use super::protocol::{HelpRequest, LONGEST_BODY, LONGEST_CONFIGURATION, RestoredRequest, SetPasswordRequest};
use super::walks;
use crate::flow::operator::By;
use crate::flow::{Rekeyd, Whom, explain, operator, status};

/// A body must be there within this time.
const BODY: Duration = Duration::from_secs(10);
/// The longest reason, in characters.
const LONGEST_REASON: usize = 500;
/// How many rows a list has where nobody says, and at most.
const USUAL_ROWS: usize = 50;
const MOST_ROWS: usize = 1000;

/// A request, understood. What it holds is dropped with it.
pub(super) enum Asked {
    Adopt(walks::AdoptAsk),
    Adoptions,
    Audit(Option<Whom>, usize),
    Doctor(Option<String>),
    Explain(Whom),
    Outbox { waiting: bool, most: usize },
    PolicyTest(PolicyTestRequest),
    Restored(String),
    SendCode(Whom, String),
    SetPassword { whom: Whom, replacement: By, must_change: bool, reason: String },
    Status,
    Thaw(Whom, String),
    UndoAdoption(RequestId, String),
    VerifyAudit,
}

impl Asked {
    /// Reads a request.
    ///
    /// # Errors
    /// The answer that says what is wrong with it.
    pub(super) async fn read(request: Request<Incoming>) -> Result<Self, Answer> {
        let (head, body) = request.into_parts();
        let query = Query::parse(head.uri.query().unwrap_or(""))?;
        match (&head.method, head.uri.path()) {
            (&Method::GET, "/v1/adoptions") => query.only(&[]).map(|()| Self::Adoptions),
            (&Method::GET, "/v1/audit") => {
                query.only(&["login", "directory", "limit"])?;
                let named = |login: String| whom(&login, query.text("directory"));
                Ok(Self::Audit(query.text("login").map(named).transpose()?, query.rows()?))
            }
            (&Method::GET, "/v1/audit/verify") => query.only(&[]).map(|()| Self::VerifyAudit),
            (&Method::GET, "/v1/outbox") => {
                query.only(&["waiting", "limit"])?;
                Ok(Self::Outbox { waiting: query.flag("waiting")?, most: query.rows()? })
            }
            (&Method::GET, "/v1/status") => query.only(&[]).map(|()| Self::Status),
            (&Method::POST, path) => {
                query.only(&[])?;
                Self::read_body(path, body).await
            }
            (_, path) => Err(not_there(&head.method, path)),
        }
    }

    async fn read_body(path: &str, body: Incoming) -> Result<Self, Answer> {
        match path {
            "/v1/adopt" => {
                let asked: AdoptRequest = json(body).await?;
                let reason = asked.reason.as_deref().map(reason).transpose()?;
                walks::adopt_ask(asked, reason).map(Self::Adopt)
            }
            "/v1/adopt/undo" => {
                let asked: UndoRequest = json(body).await?;
                let id = RequestId::parse(&asked.adoption);
                let id = id.ok_or_else(|| answer::bad_request("that is not the id of an adoption"))?;
                Ok(Self::UndoAdoption(id, reason(&asked.reason)?))
            }
            "/v1/policy-test" => Ok(Self::PolicyTest(json_within(body, LONGEST_CONFIGURATION).await?)),
            "/v1/doctor" => Ok(Self::Doctor(json::<DoctorRequest>(body).await?.directory)),
            "/v1/explain" => {
                let asked: ExplainRequest = json(body).await?;
                Ok(Self::Explain(whom(&asked.login, asked.directory)?))
            }
            "/v1/restored" => Ok(Self::Restored(reason(&json::<RestoredRequest>(body).await?.reason)?)),
            "/v1/send-code" => {
                let asked: HelpRequest = json(body).await?;
                Ok(Self::SendCode(whom(&asked.login, asked.directory)?, reason(&asked.reason)?))
            }
            "/v1/set-password" => {
                let asked: SetPasswordRequest = json(body).await?;
                let replacement = match (asked.password, asked.generate) {
                    (None, true) => By::Generate,
                    (Some(password), false) => {
                        let unfit = || answer::bad_request("the password is empty, holds NUL, or is longer than 4 KiB");
                        By::Typed(NewPassword::parse(password.expose()).ok_or_else(unfit)?)
                    }
                    _ => return Err(answer::bad_request("exactly one of password and generate is needed")),
                };
                Ok(Self::SetPassword {
                    whom: whom(&asked.login, asked.directory)?,
                    replacement,
                    must_change: asked.must_change,
                    reason: reason(&asked.reason)?,
                })
            }
            "/v1/thaw" => {
                let asked: HelpRequest = json(body).await?;
                Ok(Self::Thaw(whom(&asked.login, asked.directory)?, reason(&asked.reason)?))
            }
            _ => Err(not_there(&Method::POST, path)),
        }
    }

    /// What right this needs.
    pub(super) fn verb(&self) -> Verb {
        match self {
            Self::Adopt(..) | Self::Adoptions | Self::UndoAdoption(..) => Verb::Adopt,
            Self::Audit(..) | Self::VerifyAudit => Verb::Audit,
            Self::Doctor(_) => Verb::Doctor,
            Self::Explain(_) => Verb::Explain,
            Self::Outbox { .. } => Verb::Outbox,
            Self::PolicyTest(_) => Verb::PolicyTest,
            Self::Restored(_) => Verb::Restored,
            Self::SendCode(..) => Verb::SendCode,
            Self::SetPassword { .. } => Verb::SetPassword,
            Self::Status => Verb::Status,
            Self::Thaw(..) => Verb::Thaw,
        }
    }

    /// The directory that it names.
    fn directory(&self) -> Option<&str> {
        let whom = match self {
            Self::Audit(whom, _) => whom.as_ref(),
            Self::Explain(whom) | Self::SendCode(whom, _) | Self::SetPassword { whom, .. } | Self::Thaw(whom, _) => {
                Some(whom)
            }
            Self::Doctor(directory) => return directory.as_deref(),
            Self::Adopt(_)
            | Self::Adoptions
            | Self::Outbox { .. }
            | Self::PolicyTest(_)
            | Self::Restored(_)
            | Self::Status
            | Self::UndoAdoption(..)
            | Self::VerifyAudit => None,
        };
        whom.and_then(|whom| whom.directory.as_deref())
    }

    /// Whether its answer being late leaves open what was done.
    pub(super) fn changes(&self) -> bool {
        matches!(
            self,
            Self::Restored(_) | Self::SendCode(..) | Self::SetPassword { .. } | Self::Thaw(..) | Self::UndoAdoption(..)
        )
    }

    /// Has the story told, and answers with its outcome.
    pub(super) async fn tell(self, rekeyd: Arc<Rekeyd>, operator: Operator, stop: watch::Receiver<bool>) -> Answer {
        if !operator.may(self.verb()) {
            if let Actor::Operator { uid, .. } = operator.actor() {
                log::warn!(event = "not-allowed", uid; "uid {uid} asked for more than their rank allows");
            }
            return answer::not_allowed(self.verb());
        }
        if let Some(name) = self.directory() {
            let known = rekeyd.directory_names();
            if !known.iter().any(|known| known == name) {
                return answer::bad_request(format!("there is no such directory; known are {}", known.join(", ")));
            }
        }
        let now = rekeyd.now();
        match self {
            Self::Adopt(ask) => walks::adopt(rekeyd, &operator, ask, stop).await,
            Self::Adoptions => walks::adoptions(&rekeyd).await,
            Self::Audit(whom, most) => answer::audit(status::audit(&rekeyd, whom.as_ref(), most).await),
            Self::Doctor(directory) => doctor::begin(rekeyd, &operator, directory, stop),
            Self::Explain(whom) => {
                answer::explanation(explain::explain(&rekeyd, &whom, operator.standing(), now).await)
            }
            Self::Outbox { waiting, most } => answer::outbox(status::outbox(&rekeyd, most, waiting).await),
            Self::PolicyTest(asked) => walks::policy_test(rekeyd, asked, stop),
            Self::Restored(reason) => answer::restored(operator::restored(&rekeyd, &operator, &reason, now).await),
            Self::SendCode(whom, reason) => {
                answer::send(operator::send_code(&rekeyd, &operator, whom, &reason, now).await)
            }
            Self::SetPassword { whom, replacement, must_change, reason } => answer::replace(
                operator::set_password(&rekeyd, &operator, whom, replacement, must_change, reason).await,
            ),
            Self::Status => answer::status(status::status(&rekeyd, now).await),
            Self::Thaw(whom, reason) => answer::thaw(operator::thaw(&rekeyd, &operator, &whom, &reason, now).await),
            Self::UndoAdoption(id, reason) => walks::undo(&rekeyd, &operator, id, &reason).await,
            Self::VerifyAudit => answer::chain(status::verify(&rekeyd).await),
        }
    }
}

fn not_there(method: &Method, path: &str) -> Answer {
    let known = [
        "/v1/adopt",
        "/v1/adopt/undo",
        "/v1/adoptions",
        "/v1/audit",
        "/v1/audit/verify",
        "/v1/doctor",
        "/v1/explain",
        "/v1/outbox",
        "/v1/policy-test",
        "/v1/restored",
        "/v1/send-code",
        "/v1/set-password",
        "/v1/status",
        "/v1/thaw",
    ];
    let problem = if known.contains(&path) {
        let detail = format!("{method} is not how {path} is asked");
        answer::problem(StatusCode::METHOD_NOT_ALLOWED, "method", "The other method is meant", detail)
    } else {
        let detail = format!("known are {}", known.join(", "));
        answer::problem(StatusCode::NOT_FOUND, "no-such-path", "There is no such path", detail)
    };
    Answer::problem(&problem)
}

/// Reads a body within its size and time. Its bytes are wiped once they are understood.
async fn json<T: DeserializeOwned>(body: Incoming) -> Result<T, Answer> {
    json_within(body, LONGEST_BODY).await
}

/// As [`json`], of another size.
async fn json_within<T: DeserializeOwned>(body: Incoming, longest: usize) -> Result<T, Answer> {
    let read = tokio::time::timeout(BODY, Limited::new(body, longest).collect()).await;
    let bytes = match read {
        Ok(Ok(collected)) => Zeroizing::new(collected.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let detail = format!("a body has at most {longest} bytes");
            let problem = answer::problem(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large", detail);
            return Err(Answer::problem(&problem));
        }
        Ok(Err(_)) => return Err(answer::bad_request("the body broke off")),
        Err(_) => {
            let detail = "the body took longer than 10 seconds";
            let problem = answer::problem(StatusCode::REQUEST_TIMEOUT, "too-slow", "The body is too slow", detail);
            return Err(Answer::problem(&problem));
        }
    };
    // The text of the fault could repeat a value, so only its kind and place are told.
    serde_json::from_slice(&bytes).map_err(|error| {
        let kind = match error.classify() {
            serde_json::error::Category::Data => {
                "has a field that is missing, unknown, twice there or of the wrong type"
            }
            _ => "is no JSON",
        };
        answer::bad_request(format!("the body {kind}, near column {}", error.column()))
    })
}

fn whom(login: &str, directory: Option<String>) -> Result<Whom, Answer> {
    let login = Login::parse(login).map_err(|bad| answer::bad_request(bad.to_string()))?;
    Ok(Whom { login, directory })
}

/// A reason goes into the trail as it is, so it must be one readable line.
fn reason(text: &str) -> Result<String, Answer> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > LONGEST_REASON || text.chars().any(char::is_control) {
        return Err(answer::bad_request(format!("the reason must be one line of 1 to {LONGEST_REASON} characters")));
    }
    Ok(text.to_owned())
}

/// The part of a path after its question mark.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Result<Self, Answer> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| form_decoded(text.as_bytes()).map(|text| text.to_string());
            Some((decoded(name)?, decoded(value)?))
        });
        let pairs: Option<Vec<_>> = pairs.collect();
        pairs.map(Self).ok_or_else(|| answer::bad_request("the query is not percent-encoded UTF-8"))
    }

    fn only(&self, known: &[&str]) -> Result<(), Answer> {
        for (place, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(answer::bad_request(format!("the query knows {known:?} here and nothing else")));
            }
            if self.0.iter().take(place).any(|(earlier, _)| earlier == name) {
                return Err(answer::bad_request("the query says something twice"));
            }
        }
        Ok(())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    fn flag(&self, name: &str) -> Result<bool, Answer> {
        match self.text(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(_) => Err(answer::bad_request(format!("{name} is true or false"))),
        }
    }

    fn rows(&self) -> Result<usize, Answer> {
        let Some(text) = self.text("limit") else { return Ok(USUAL_ROWS) };
        let rows = text.parse().ok().filter(|rows| (1..=MOST_ROWS).contains(rows));
        rows.ok_or_else(|| answer::bad_request(format!("limit is a whole number from 1 to {MOST_ROWS}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t127_queries_are_strict() {
        let query = |text: &str| Query::parse(text).ok();
        assert!(query("login=ada%20l%C3%B6v").is_some_and(|query| query.text("login").as_deref() == Some("ada löv")));
        for odd in ["a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert!(query(odd).is_none(), "{odd}");
        }
        assert!(query("limit=5&limit=6").is_some_and(|query| query.only(&["limit"]).is_err()));
        assert!(query("limt=5").is_some_and(|query| query.only(&["limit"]).is_err()));
        for (text, rows) in
            [("", Some(50)), ("limit=1", Some(1)), ("limit=0", None), ("limit=1001", None), ("limit=x", None)]
        {
            assert_eq!(query(text).and_then(|query| query.rows().ok()), rows, "{text}");
        }
        for (text, flag) in
            [("", Some(false)), ("waiting", Some(true)), ("waiting=true", Some(true)), ("waiting=1", None)]
        {
            assert_eq!(query(text).and_then(|query| query.flag("waiting").ok()), flag, "{text}");
        }
    }

    #[test]
    fn a_reason_is_one_line() {
        assert_eq!(reason("  first day ").ok().as_deref(), Some("first day"));
        for odd in ["", "   ", "a\nb", "a\u{1b}[2J", &"x".repeat(501)] {
            assert!(reason(odd).is_err());
        }
    }
}
