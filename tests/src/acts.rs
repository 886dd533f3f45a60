//! What visitors, login pages and operators do in a world, and what they can be told.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use hyper::{Method, StatusCode, body::Bytes};
use serde_json::{Value, json};

use crate::{
    http::{Answer, Door},
    slapd,
    world::{World, blocking_get, program},
};

/// Whatever takes longer has failed.
const LIMIT: Duration = Duration::from_secs(20);

/// How a run of `rekeyctl` ended.
#[derive(Debug)]
pub struct Told {
    /// The exit code.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it said on its standard error.
    pub err: String,
}

impl Told {
    /// What it printed, as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|fault| panic!("no JSON ({fault}): {self:?}"))
    }

    /// Fails the test unless the run went well.
    #[must_use]
    pub fn fine(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

impl From<Output> for Told {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("an exit code"),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl World {
    // What a visitor does.

    /// Fills in the page for those who forgot their password.
    pub async fn forgets(&self, login: &str) -> Answer {
        self.door().fill_form("/forgot", &[("login", login)]).await
    }

    /// Waits for so many messages to an address, and gives the path of the link to set a password in the last one.
    pub async fn link(&self, address: &str, count: usize) -> String {
        let messages = self.smtp().wait_for_mail_to(address, count).await;
        self.path(&messages.last().expect("a message").link("/r/"))
    }

    /// Waits for so many messages to an address, and gives the path of the "this was not me" link in the last one.
    pub async fn not_me_link(&self, address: &str, count: usize) -> String {
        let messages = self.smtp().wait_for_mail_to(address, count).await;
        self.path(&messages.last().expect("a message").link("/not-me/"))
    }

    fn path(&self, link: &str) -> String {
        link.strip_prefix(&self.url("")).unwrap_or_else(|| panic!("a link to somewhere else: {link}")).to_owned()
    }

    /// Somebody forgets the password, and gets a link. Gives its path.
    pub async fn forgets_and_gets_link(&self, login: &str) -> String {
        let address = address(login);
        let count = self.smtp().messages_to(&address).len() + 1;
        let answer = self.forgets(login).await;
        assert!(answer.status.is_success() || answer.status.is_redirection(), "{answer:?}");
        self.link(&address, count).await
    }

    /// Somebody who has so many messages already forgets the password, and gets a link. Gives its path.
    ///
    /// Waits for those messages first, so that a notice under way is not taken for the link.
    pub async fn link_after(&self, login: &str, messages: usize) -> String {
        self.smtp().wait_for_mail_to(&address(login), messages).await;
        self.forgets_and_gets_link(login).await
    }

    /// Opens a link and sets a password on its page.
    pub async fn sets_password(&self, link: &str, password: &str) -> Answer {
        self.secret(password);
        self.door().fill_form(link, &[("password", password), ("confirm", password)]).await
    }

    /// Sets a password by a link, and it is set.
    pub async fn surely_sets_password(&self, link: &str, password: &str) {
        let answer = self.sets_password(link, password).await;
        assert!(is_set(&answer), "{} {}", answer.status, answer.text());
    }

    // What a login page does.

    /// Calls the hook with the right key.
    pub async fn hook(&self, path: &str, body: &Value) -> Answer {
        self.door().post_json(path, Some(self.hook_key()), body).await
    }

    /// Asks whether a password is right.
    pub async fn signs_in(&self, login: &str, password: &str) -> Answer {
        self.secret(password);
        self.hook("/v1/sign-in", &json!({"login": login, "password": password})).await
    }

    // What an operator does.

    /// Calls the administrator's socket.
    pub async fn admin(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let kind = [("content-type", "application/json")];
        Door::Unix(self.admin_socket()).send(method, path, if body.is_empty() { &[] } else { &kind }, body).await
    }

    /// Runs `rekeyctl`, typing these lines when it asks.
    pub fn rekeyctl(&self, arguments: &[&str], typed: &str) -> Told {
        let mut command = Command::new(program("rekeyctl"));
        command.arg("--socket").arg(self.admin_socket()).args(arguments);
        run(command, typed)
    }

    /// Runs `rekeyctl --json`, which must go well, and gives what it printed.
    pub fn asks(&self, arguments: &[&str]) -> Value {
        self.rekeyctl(&[&["--json"], arguments].concat(), "").fine().json()
    }

    /// The rows of the audit trail, oldest first.
    pub fn audit(&self) -> Vec<Value> {
        let trail = blocking_get(&self.admin_socket(), "/v1/audit?limit=1000");
        let mut rows = trail["events"].as_array().cloned().expect("rows");
        rows.reverse();
        rows
    }

    /// Waits for a row of the trail that has all of this, and gives it.
    pub async fn event(&self, wanted: &[(&str, &str)]) -> Value {
        let start = Instant::now();
        loop {
            let rows = self.audit();
            let fits = |row: &&Value| wanted.iter().all(|(name, value)| row[*name].as_str() == Some(value));
            if let Some(row) = rows.iter().rev().find(fits) {
                return row.clone();
            }
            assert!(start.elapsed() < LIMIT, "no row {wanted:?} in {rows:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every request is answered, and every message sent and recorded as sent.
    pub async fn all_is_sent(&self) {
        let done = async || {
            let status = blocking_get(&self.admin_socket(), "/v1/status");
            status["requests_waiting"] == 0 && status["notices_waiting"] == 0
        };
        until("all is sent", done).await;
    }

    /// Sends somebody a link as root.
    pub fn sends_code(&self, login: &str) -> Told {
        self.rekeyctl(&["send-code", login, "--reason", "asked at the desk"], "")
    }

    // What can be seen of it in the directory.

    /// Every write of the daemon to somebody's entry, in order.
    pub async fn writes(&self, login: &str) -> Vec<slapd::Write> {
        let dn = self.dn(login);
        let mut writes = self.slapd().writes(&dn).await;
        writes.retain(slapd::Write::is_by_service);
        writes
    }

    /// Whether this password lets somebody in.
    pub async fn binds(&self, login: &str, password: &str) -> bool {
        self.secret(password);
        self.slapd().binds(&self.dn(login), password).await
    }
}

/// Runs a program to its end, typing these lines when it asks.
pub fn run(mut command: Command, typed: &str) -> Told {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|fault| panic!("{command:?}: {fault}"));
    // A program that asks for nothing may have ended already.
    child.stdin.take().expect("its input").write_all(typed.as_bytes()).ok();
    child.wait_with_output().expect("its output").into()
}

/// Waits until something is so; fails the test with these words if it does not become so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < LIMIT, "not so after {} s: {what}", LIMIT.as_secs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The address of somebody: the login as far as addresses may hold it.
pub fn address(login: &str) -> String {
    let plain = login.replace('ë', "e");
    let local: String =
        plain.chars().filter(|letter| letter.is_ascii_alphanumeric() || "-._".contains(*letter)).collect();
    format!("{local}@example.org")
}

/// Whether an answer of the page says that the password was set.
pub fn is_set(answer: &Answer) -> bool {
    answer.status == StatusCode::OK
}
