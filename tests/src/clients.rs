//! Clients of a daemon that may die at any moment: they note in the ledger what they did and what they were told, and
//! take a broken connection for what it is.

use std::sync::Arc;

use hyper::{Method, StatusCode, body::Bytes};
use serde_json::{Value, json};

use crate::{
    acts::address,
    http::{Answer, Door, form},
    ledger::{Heard, Ledger},
    world::World,
};

/// All clients of a world.
#[derive(Clone)]
pub struct Clients {
    /// Where they are.
    pub world: Arc<World>,
    /// What they know.
    pub ledger: Arc<Ledger>,
}

impl Clients {
    /// The clients of a world whose people are these, with their passwords as they are at first.
    pub fn of(world: &Arc<World>, logins: &[&str]) -> Self {
        let ledger = Arc::new(Ledger::of(logins, crate::branch::PASSWORD));
        Self { world: Arc::clone(world), ledger }
    }

    /// Kills the daemon, and says so to the ledger.
    pub fn kill(&self) {
        self.world.kill9();
        self.ledger.crashed();
    }

    /// Calls the hook; `None` where no whole answer comes.
    pub async fn hook(&self, path: &str, body: &Value) -> Option<Answer> {
        let key = format!("Bearer {}", self.world.hook_key());
        let headers = [("content-type", "application/json"), ("authorization", &key)];
        self.world.door().try_send(Method::POST, path, &headers, body.to_string().into()).await
    }

    async fn admin(&self, path: &str, body: &Value) -> Option<Answer> {
        let door = Door::Unix(self.world.admin_socket());
        door.try_send(Method::POST, path, &[("content-type", "application/json")], body.to_string().into()).await
    }

    /// Says through a login page that a password is forgotten.
    pub async fn forgets(&self, login: &str) -> Option<StatusCode> {
        let answer = self.hook("/v1/recovery", &json!({"login": login})).await?;
        if answer.status == 202 {
            self.ledger.accepted(answer.json()["request"].as_str().expect("a handle"));
        }
        Some(answer.status)
    }

    /// Sets a password by a token through a login page. Tokens that the person got before can set nothing once it is done.
    pub async fn sets(&self, login: &str, token: &str, password: &str) -> Option<StatusCode> {
        let body = json!({"ticket": token, "password": password});
        self.tries(login, token, password, async || self.hook("/v1/password", &body).await).await
    }

    /// As [`Self::sets`], by the form of the link's page with this nonce.
    pub async fn fills_in(&self, login: &str, token: &str, password: &str, nonce: &str) -> Option<StatusCode> {
        let fields = [("nonce", nonce), ("password", password), ("confirm", password)];
        let page = async || self.page(&format!("/r/{token}"), &fields).await;
        self.tries(login, token, password, page).await
    }

    async fn tries(
        &self,
        login: &str,
        token: &str,
        password: &str,
        send: impl AsyncFnOnce() -> Option<Answer>,
    ) -> Option<StatusCode> {
        self.world.secret(password);
        let mut dead = self.tokens(login, "/r/");
        dead.push(token.to_owned());
        let attempt = self.ledger.begins(login, password);
        let answer = send().await;
        let heard = heard(answer.as_ref());
        self.ledger.ends(login, attempt, heard);
        match answer.as_ref().map(|answer| answer.status.as_u16()) {
            // No more than this: one that is gone because a SET holds it may be given back.
            Some(403) => self.ledger.dead(login, [token.to_owned()]),
            _ if heard == Heard::Done => self.ledger.dead(login, dead),
            _ => {}
        }
        answer.map(|answer| answer.status)
    }

    /// Says "this was not me" by a token. Links that the person got before can set nothing once it is done.
    pub async fn denies(&self, login: &str, token: &str) -> Option<StatusCode> {
        let dead = self.tokens(login, "/r/");
        let answer = self.page(&format!("/not-me/{token}"), &[("login", login)]).await?;
        if answer.status == 200 {
            self.ledger.dead(login, dead);
        }
        Some(answer.status)
    }

    /// Replaces a password as root.
    pub async fn replaces(&self, login: &str, password: &str) -> Option<StatusCode> {
        self.world.secret(password);
        let dead = self.tokens(login, "/r/");
        let attempt = self.ledger.begins(login, password);
        let body = json!({"login": login, "password": password, "must_change": false, "reason": "at the desk"});
        let answer = self.admin("/v1/set-password", &body).await;
        let heard = heard(answer.as_ref());
        self.ledger.ends(login, attempt, heard);
        if heard == Heard::Done {
            self.ledger.dead(login, dead);
        }
        answer.map(|answer| answer.status)
    }

    /// Sends a link as root.
    pub async fn sends_code(&self, login: &str) -> Option<StatusCode> {
        let answer = self.admin("/v1/send-code", &json!({"login": login, "reason": "at the desk"})).await?;
        if answer.status == 200 {
            self.ledger.accepted(answer.json()["request"].as_str().expect("a handle"));
        }
        Some(answer.status)
    }

    /// Lifts a freeze as root.
    pub async fn thaws(&self, login: &str) -> Option<StatusCode> {
        let answer = self.admin("/v1/thaw", &json!({"login": login, "reason": "it was them"})).await?;
        Some(answer.status)
    }

    /// Signs in, where it is certain which password is right: a wrong one would count as a failure of the person's.
    pub async fn signs_in(&self, login: &str) -> Option<StatusCode> {
        let passwords = self.ledger.passwords(login);
        let [password] = passwords.as_slice() else { return None };
        Some(self.hook("/v1/sign-in", &json!({"login": login, "password": password})).await?.status)
    }

    /// The tokens that somebody was sent so far in links that have this in them, oldest first.
    pub fn tokens(&self, login: &str, part: &str) -> Vec<String> {
        let messages = self.world.smtp().messages_to(&address(login));
        messages.iter().flat_map(|message| message.tokens(part)).collect()
    }

    async fn page(&self, path: &str, fields: &[(&str, &str)]) -> Option<Answer> {
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        self.world.door().try_send(Method::POST, path, &kind, Bytes::from(form(fields))).await
    }
}

/// What an answer to a wish for another password says of it.
fn heard(answer: Option<&Answer>) -> Heard {
    let Some(answer) = answer else { return Heard::Nothing };
    let text = String::from_utf8_lossy(&answer.body);
    match answer.status.as_u16() {
        200 | 204 => Heard::Done,
        // Nothing was begun, or what was begun was given back.
        400 | 401 | 403 | 404 | 409 | 410 | 413 | 422 | 429 => Heard::NotDone,
        503 if !text.contains("too-late") => Heard::NotDone,
        _ => Heard::Nothing,
    }
}
