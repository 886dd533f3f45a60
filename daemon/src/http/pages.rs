//! The pages' handlers: a form is parsed, a story told, its outcome shown.

use data_encoding::BASE64URL_NOPAD;
use hyper::StatusCode;
use rekeyd_core::domain::{Actor, BadLogin, Login, NewPassword, Source, Token};

use super::answer::{self, Refusal, SetPage};
use super::door::Call;
use super::form::{BadForm, Form};
use super::page::{ICON, Message, Mood, Next, Page, Reset, Text};
use super::response::Answer;
use crate::flow::reset::{self, Look, Opened};
use crate::flow::{forgotten, not_me};

/// `GET /icon.svg`.
pub(super) fn icon() -> Answer {
    Answer::new(StatusCode::OK, "image/svg+xml", ICON)
}

/// `GET /` and `GET /.well-known/change-password`: the begin is elsewhere.
pub(super) fn to_forgot(call: &Call) -> Answer {
    Answer::see_other(&format!("{}/forgot", call.setting.site.base))
}

/// `GET /forgot`.
pub(super) fn ask(call: &Call) -> Answer {
    call.page(StatusCode::OK, &Page::Forgot(None))
}

/// `POST /forgot`. The answer depends on the form and the language alone, and repeats nothing of what was typed.
pub(super) async fn forgot(call: &Call) -> Result<Answer, Refusal> {
    let form = Form::parse(&call.body, &["login"]).map_err(odd)?;
    let login = match Login::parse(form.field("login")) {
        Ok(login) => login,
        Err(bad) => return Ok(call.page(StatusCode::UNPROCESSABLE_ENTITY, &Page::Forgot(Some(no_login(bad))))),
    };
    let ask = forgotten::Ask { login, actor: visitor(call), languages: call.languages.clone() };
    let (status, page, wait) = answer::forgotten_page(forgotten::request(&call.rekeyd, ask, call.now).await);
    let answer = call.page(status, &page);
    Ok(match wait {
        Some(wait) => answer.retry_after(wait),
        None => answer,
    })
}

/// `GET /r/{token}`: shows the form, or that there is none. Nothing changes, however often it is opened and by whom.
pub(super) async fn open(call: &Call) -> Answer {
    match look(call).await {
        Ok(opened) => reset_form(call, StatusCode::OK, opened, Vec::new(), false),
        Err(answer) => answer,
    }
}

/// `POST /r/{token}`.
pub(super) async fn set(call: &Call) -> Result<Answer, Refusal> {
    let form = Form::parse(&call.body, &["password", "confirm", "nonce"]).map_err(odd)?;
    let again = |opened, trouble, about_confirm| {
        reset_form(call, StatusCode::UNPROCESSABLE_ENTITY, opened, vec![trouble], about_confirm)
    };
    let Some(password) = NewPassword::parse(form.field("password")) else {
        let trouble = if form.field("password").is_empty() { "reset-empty" } else { "reset-impossible" };
        return Ok(look(call).await.map_or_else(|closed| closed, |opened| again(opened, Text::new(trouble), false)));
    };
    if form.field("confirm") != form.field("password") {
        let trouble = Text::new("reset-differs");
        return Ok(look(call).await.map_or_else(|closed| closed, |opened| again(opened, trouble, true)));
    }
    let nonce = match form.field("nonce") {
        "" => call.rekeyd.fresh(),
        text => BASE64URL_NOPAD
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(Refusal::BadRequest("the nonce is not one of ours"))?,
    };
    let Some(token) = token(call) else { return Ok(closed(call, true)) };
    let outcome = reset::set_password(&call.rekeyd, token, password, nonce, visitor(call)).await;
    Ok(match answer::set_page(outcome, call.now) {
        SetPage::Other(status, page) => call.page(status, &page),
        SetPage::Form(troubles) => match look(call).await {
            Ok(opened) => reset_form(call, StatusCode::UNPROCESSABLE_ENTITY, opened, troubles, false),
            Err(answer) => answer,
        },
    })
}

/// `GET /not-me/{token}`.
pub(super) async fn open_not_me(call: &Call) -> Answer {
    let Some(token) = token(call) else { return not_me_closed(call, true) };
    match not_me::look(&call.rekeyd, &token, call.now).await {
        not_me::Look::Gone => not_me_closed(call, true),
        not_me::Look::Live => call.page(StatusCode::OK, &Page::NotMe(None)),
        not_me::Look::Unavailable => not_me_closed(call, false),
    }
}

/// `POST /not-me/{token}`.
pub(super) async fn report_not_me(call: &Call) -> Result<Answer, Refusal> {
    let form = Form::parse(&call.body, &["login"]).map_err(odd)?;
    let Some(token) = token(call) else { return Ok(not_me_closed(call, true)) };
    let login = match Login::parse(form.field("login")) {
        Ok(login) => login,
        // The form is shown only where there is one, so that a dead link says so whatever is typed.
        Err(bad) => {
            return Ok(match not_me::look(&call.rekeyd, &token, call.now).await {
                not_me::Look::Gone => not_me_closed(call, true),
                not_me::Look::Live => call.page(StatusCode::UNPROCESSABLE_ENTITY, &Page::NotMe(Some(no_login(bad)))),
                not_me::Look::Unavailable => not_me_closed(call, false),
            });
        }
    };
    let outcome = not_me::report(&call.rekeyd, &token, &login, visitor(call), call.now).await;
    let again = (StatusCode::UNPROCESSABLE_ENTITY, Page::NotMe(Some(Text::new("not-me-mismatch"))));
    let (status, page) = answer::not_me_page(outcome).unwrap_or(again);
    Ok(call.page(status, &page))
}

/// The link's ticket, or the page that says why there is no form.
async fn look(call: &Call) -> Result<Opened, Answer> {
    let Some(token) = token(call) else { return Err(closed(call, true)) };
    match reset::look(&call.rekeyd, &token, call.now).await {
        Look::Gone => Err(closed(call, true)),
        Look::Live(opened) => Ok(opened),
        Look::Unavailable => Err(closed(call, false)),
    }
}

/// The token in the path. An odd text is answered like a token that is gone.
fn token(call: &Call) -> Option<Token> {
    call.token.as_ref().and_then(|text| Token::parse(text).ok())
}

fn closed(call: &Call, gone: bool) -> Answer {
    let (status, page) = answer::closed_page(gone);
    call.page(status, &page)
}

fn not_me_closed(call: &Call, gone: bool) -> Answer {
    if gone {
        call.page(StatusCode::GONE, &Page::Message(Message::new("not-me-gone", Mood::Trouble, Next::Nothing)))
    } else {
        closed(call, false)
    }
}

fn reset_form(call: &Call, status: StatusCode, opened: Opened, troubles: Vec<Text>, about_confirm: bool) -> Answer {
    let nonce = BASE64URL_NOPAD.encode(&call.rekeyd.fresh::<16>());
    call.page(status, &Page::Reset(Box::new(Reset { opened, nonce, troubles, about_confirm, now: call.now })))
}

fn visitor(call: &Call) -> Actor {
    Actor::Visitor { source: Source { ip: call.client } }
}

fn no_login(bad: BadLogin) -> Text {
    match bad {
        BadLogin::Empty => Text::new("forgot-empty"),
        BadLogin::Forbidden => Text::new("forgot-forbidden"),
        BadLogin::TooLong => Text::new("forgot-long"),
    }
}

fn odd(bad: BadForm) -> Refusal {
    Refusal::BadRequest(match bad {
        BadForm::Encoding => "a field of the form does not decode",
        BadForm::Repeated => "a field of the form stands there twice",
        BadForm::Unknown => "the form has a field that does not belong there",
    })
}
