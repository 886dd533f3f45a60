//! The hook: login pages ask, on the server side, with a key.
//!
//! A client can start messages, have a password checked, and use a ticket that a person brings; it can't choose a
//! recipient or a link, nor read a ticket that nobody brought.

use std::net::IpAddr;

use hyper::StatusCode;
use hyper::http::request::Parts;
use rekeyd_core::domain::{Actor, Login, NewPassword, Source, Token};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, de};
use serde_json::json;
use zeroize::Zeroizing;

use super::answer::{self, Refusal};
use super::clients::{self, Client, Scope};
use super::door::Call;
use super::response::Answer;
use super::{alarm, language, request};
use crate::flow::reset::{self, Look};
use crate::flow::{forgotten, sign_in};

/// The document of the hook, kept by hand; a test holds it to the routes.
pub(super) const OPENAPI: &str = include_str!("../../openapi/v1.json");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecoveryCall {
    login: Typed,
    channel: Option<String>,
    locale: Option<String>,
    client_ip: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TicketCall {
    ticket: Typed,
    locale: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordCall {
    ticket: Typed,
    password: Typed,
    locale: Option<String>,
    client_ip: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignInCall {
    login: Typed,
    password: Typed,
    client_ip: Option<String>,
    user_agent: Option<String>,
}

/// Who calls: a client whose key is right and whose scopes include the call.
///
/// # Errors
/// Refused before anything of the body is read.
pub(super) fn identify(head: &Parts, clients: &[Client], scope: Scope) -> Result<Client, Refusal> {
    let client = request::single(&head.headers, "authorization")
        .ok()
        .flatten()
        .and_then(|authorization| clients::identify(clients, authorization))
        .ok_or(Refusal::Unidentified)?;
    if !client.may(scope) {
        return Err(Refusal::MayNot);
    }
    if head.uri.query().is_some() {
        return Err(Refusal::BadRequest("a call takes no query"));
    }
    request::media_type(&head.headers, "application/json")?;
    Ok(client.clone())
}

/// `POST /v1/recovery`: a person forgot a password.
pub(super) async fn recovery(call: &Call, client: Client) -> Result<Answer, Refusal> {
    let asked: RecoveryCall = parse(&call.body)?;
    if asked.channel.is_some_and(|channel| channel != "email") {
        return Err(Refusal::BadRequest("the only channel is \"email\""));
    }
    let languages = languages(&call.languages, asked.locale)?;
    let actor = actor(client, asked.client_ip)?;
    let login = match Login::parse(&asked.login.0) {
        Ok(login) => login,
        // That a text can be no login depends on the text alone, so it may be said.
        Err(bad) => {
            return Ok(answer::problem(StatusCode::UNPROCESSABLE_ENTITY, "login", &bad.to_string(), json!({})));
        }
    };
    let source = source(call, &actor);
    let ask = forgotten::Ask { login, actor, languages };
    Ok(alarm::answered(answer::forgotten_json(forgotten::request(&call.rekeyd, ask, call.now).await), source))
}

/// `POST /v1/ticket`: what is this ticket for?
pub(super) async fn ticket(call: &Call) -> Result<Answer, Refusal> {
    let asked: TicketCall = parse(&call.body)?;
    let languages = languages(&call.languages, asked.locale)?;
    let gone = || alarm::answered(answer::gone(), call.client);
    let Ok(token) = Token::parse(&asked.ticket.0) else { return Ok(gone()) };
    Ok(match reset::look(&call.rekeyd, &token, call.now).await {
        Look::Gone => gone(),
        Look::Live(opened) => answer::opened_json(&opened, |text| call.say(&languages, text)),
        Look::Unavailable => answer::unavailable("The ticket can't be looked up now."),
    })
}

/// `POST /v1/password`: a person sets a password with a ticket.
pub(super) async fn password(call: &Call, client: Client) -> Result<Answer, Refusal> {
    let asked: PasswordCall = parse(&call.body)?;
    let languages = languages(&call.languages, asked.locale)?;
    let actor = actor(client, asked.client_ip)?;
    let source = source(call, &actor);
    let Ok(token) = Token::parse(&asked.ticket.0) else { return Ok(alarm::answered(answer::gone(), source)) };
    let password = NewPassword::parse(&asked.password.0)
        .ok_or(Refusal::BadRequest("a password is not empty, holds no NUL and is no longer than 4 KiB"))?;
    // A call names no form, so the same call again is another use of the ticket.
    let nonce = call.rekeyd.fresh();
    let outcome = reset::set_password(&call.rekeyd, token, password, nonce, actor).await;
    Ok(alarm::answered(answer::set_json(&outcome, call.now, |text| call.say(&languages, text)), source))
}

/// `POST /v1/sign-in`: is this the password?
pub(super) async fn sign_in(call: &Call, client: Client) -> Result<Answer, Refusal> {
    let asked: SignInCall = parse(&call.body)?;
    if asked.user_agent.is_some_and(|agent| agent.len() > 1024) {
        return Err(Refusal::BadRequest("user_agent has at most 1024 bytes"));
    }
    let actor = actor(client, asked.client_ip)?;
    // What can be no login or no password belongs to nobody, and never reaches the directory.
    let (Ok(login), Some(password)) = (Login::parse(&asked.login.0), NewPassword::parse(&asked.password.0)) else {
        return Ok(answer::sign_in_json(&sign_in::Outcome::Denied));
    };
    let source = source(call, &actor);
    let outcome = sign_in::sign_in(&call.rekeyd, &login, &password, actor, call.now).await;
    Ok(alarm::answered(answer::sign_in_json(&outcome), source))
}

/// Reads the body of a call: one JSON object, known fields, each once.
fn parse<T: de::DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    const REFUSED: Refusal =
        Refusal::BadRequest("the body must be one JSON object with the fields of this call, each once and of its type");
    // serde would read an array as an object without names.
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(REFUSED);
    }
    // Its error is not passed on: it repeats what was sent.
    serde_json::from_slice(body).map_err(|_| REFUSED)
}

fn languages(accepted: &[String], locale: Option<String>) -> Result<Vec<String>, Refusal> {
    let refused = Refusal::BadRequest("locale must be a language tag such as \"cy\" or \"pt-BR\"");
    let wanted = locale.map(|locale| language::tag(&locale).ok_or(refused)).transpose()?;
    Ok(wanted.into_iter().chain(accepted.iter().cloned()).collect())
}

fn actor(client: Client, client_ip: Option<String>) -> Result<Actor, Refusal> {
    let refused = Refusal::BadRequest("client_ip must be one IP address");
    let ip = client_ip.map(|ip| ip.parse::<IpAddr>().map_err(|_| refused)).transpose()?;
    Ok(Actor::Client { name: client.name, source: ip.map(|ip| Source { ip: ip.to_canonical() }) })
}

/// The person's address, where the login page reports one; else its own.
fn source(call: &Call, actor: &Actor) -> IpAddr {
    match actor {
        Actor::Client { source: Some(source), .. } => source.ip,
        _ => call.client,
    }
}

/// A text that may hold a secret: wiped when dropped, never shown.
struct Typed(Zeroizing<String>);

impl<'de> Deserialize<'de> for Typed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl Visitor<'_> for Texts {
            type Value = Typed;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Typed, E> {
                Ok(Typed(Zeroizing::new(text.to_owned())))
            }
            fn visit_string<E: Error>(self, text: String) -> Result<Typed, E> {
                Ok(Typed(Zeroizing::new(text)))
            }
        }
        deserializer.deserialize_str(Texts)
    }
}

/// Whether a body can be read as the call of `path`; for tests and fuzzing.
pub fn reads(path: &str, body: &[u8]) -> bool {
    match path {
        "/v1/password" => parse::<PasswordCall>(body).is_ok(),
        "/v1/recovery" => parse::<RecoveryCall>(body).is_ok(),
        "/v1/sign-in" => parse::<SignInCall>(body).is_ok(),
        "/v1/ticket" => parse::<TicketCall>(body).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use serde_json::Value;

    use super::super::routes::{Audience, Methods, ROUTES};
    use super::*;

    #[test]
    fn t1_one_scalar_login_or_nothing() {
        for good in [
            "{\"login\":\"ada\"}",
            " \n{\"login\":\"ada\",\"channel\":\"email\",\"locale\":\"cy\",\"client_ip\":\"192.0.2.7\"}\n",
            "{\"login\":\"ada\",\"locale\":null}",
            "{\"login\":\"a@x,b@y\"}",
            "{\"login\":\"\\u00e9\"}",
        ] {
            assert!(reads("/v1/recovery", good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "null",
            "{}",
            "[]",
            "[\"ada\"]",
            "[\"ada\",null,null,null]",
            "\"ada\"",
            "{\"login\":null}",
            "{\"login\":7}",
            "{\"login\":true}",
            "{\"login\":[\"ada\"]}",
            "{\"login\":{\"$ne\":\"\"}}",
            "{\"login\":\"ada\",\"login\":\"eve\"}",
            "{\"login\":\"ada\",\"locale\":\"cy\",\"locale\":\"en\"}",
            "{\"login\":\"ada\",\"to\":\"eve@example.org\"}",
            "{\"login\":\"ada\",\"url\":\"https://evil.example\"}",
            "{\"Login\":\"ada\"}",
            "{\"login\":\"ada\"}{}",
            "{\"login\":\"ada\"",
            "{\"login\":\"ada\",}",
            "{'login':'ada'}",
            "{\"login\":\"\\ud800\"}",
            "{\"login\":\"a\nb\"}",
            "\u{feff}{\"login\":\"ada\"}",
        ] {
            assert!(!reads("/v1/recovery", bad.as_bytes()), "{bad}");
        }
        assert!(!reads("/v1/recovery", b"{\"login\":\"\xff\"}"));
        assert!(!reads("/v1/recovery", "[".repeat(16_000).as_bytes()));
        assert!(!reads("/v1/recovery", "{\"login\":".repeat(1_500).as_bytes()));
    }

    #[test]
    fn t8_a_ticket_names_the_account_alone() {
        assert!(reads("/v1/password", b"{\"ticket\":\"t\",\"password\":\"p\"}"));
        assert!(!reads("/v1/password", b"{\"ticket\":\"t\",\"password\":\"p\",\"login\":\"eve\"}"));
        assert!(!reads("/v1/ticket", b"{\"ticket\":\"t\",\"login\":\"eve\"}"));
        assert!(!reads("/v1/sign-in", b"{\"login\":\"ada\"}"));
    }

    #[test]
    fn t95_a_reported_address_is_an_address() {
        let client = || Client { name: "wiki".into(), hashes: Vec::new(), scopes: Vec::new() };
        assert!(actor(client(), Some("::ffff:192.0.2.7".into())).is_ok());
        for bad in ["", "192.0.2.7:80", "192.0.2.7, 10.0.0.1", "localhost", "[::1]"] {
            assert!(actor(client(), Some(bad.into())).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_document_is_that_of_the_routes() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let mut documented: Vec<String> = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                documented.push(format!("{method} {path}"));
            }
        }
        let mut routed: Vec<String> = ROUTES
            .iter()
            .filter(|route| route.audience == Audience::Programs)
            .map(|route| format!("{} {}", if route.methods == Methods::Send { "post" } else { "get" }, route.path))
            .collect();
        documented.sort();
        routed.sort();
        assert_eq!(documented, routed);
    }

    #[test]
    fn the_document_has_the_fields_that_are_read() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        for route in ROUTES.iter().filter(|route| route.methods == Methods::Send) {
            let post = &document["paths"][route.path]["post"];
            let schema = &post["requestBody"]["content"]["application/json"]["schema"];
            assert_eq!(schema["additionalProperties"], false, "{}", route.path);
            let sample = |names: Vec<&str>| {
                let fields: serde_json::Map<String, Value> =
                    names.into_iter().map(|name| (name.to_owned(), json!("x"))).collect();
                Value::Object(fields).to_string()
            };
            let all = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>();
            assert!(reads(route.path, sample(all).as_bytes()), "{} takes all documented fields", route.path);
            let required = schema["required"].as_array().unwrap();
            let required: Vec<_> = required.iter().filter_map(Value::as_str).collect();
            assert!(reads(route.path, sample(required.clone()).as_bytes()), "{}", route.path);
            for left_out in &required {
                let rest = required.iter().copied().filter(|name| name != left_out).collect();
                assert!(!reads(route.path, sample(rest).as_bytes()), "{} needs {left_out}", route.path);
            }
            assert_eq!(post["security"][0]["key"][0], route.endpoint.scope().unwrap().word(), "{}", route.path);
        }
    }
}
