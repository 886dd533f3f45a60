//! A real browser with scripts switched off, driven over the WebDriver protocol.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use hyper::StatusCode;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    http::{Answer, Door},
    process::{Process, free_port},
    scratch,
};

const LIMIT: Duration = Duration::from_secs(30);
/// The name under which WebDriver hands out elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window. Dropping it ends it.
pub struct Browser {
    driver: Process,
    door: Door,
    session: String,
    folder: PathBuf,
}

impl Browser {
    /// Starts a browser that runs no scripts.
    pub async fn start() -> Self {
        let folder = scratch::folder("browser");
        let (driver, door) = start_driver(&folder).await;
        let profile = format!("--user-data-dir={}", folder.join("profile").display());
        // The driver ends with the test program whatever happens, and so must the browser that it starts.
        let wrapper = folder.join("chromium");
        fs::write(&wrapper, "#!/bin/sh\nexec setpriv --pdeathsig KILL -- /usr/bin/chromium \"$@\"\n")
            .expect("a written file");
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("permissions");
        let wishes = json!({"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": {
            "binary": wrapper,
            "args": ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-dev-shm-usage", "--window-size=1000,900", profile],
            "prefs": {"profile.managed_default_content_settings.javascript": 2},
        }}}});
        let answer = door.post_json("/session", None, &wishes).await;
        assert!(answer.status.is_success(), "no browser: {}\n{}", answer.text(), driver.log());
        let session = answer.json()["value"]["sessionId"].as_str().expect("a session").to_owned();
        Self { driver, door, session, folder }
    }

    /// Opens a page.
    pub async fn open(&self, url: &str) {
        self.post("url", &json!({"url": url})).await;
    }

    /// Where the browser is now.
    pub async fn url(&self) -> String {
        text(&self.get("url").await)
    }

    /// The title of the page.
    pub async fn title(&self) -> String {
        text(&self.get("title").await)
    }

    /// What a person reads on the page, or in the first element that a CSS selector finds.
    pub async fn text(&self, selector: &str) -> String {
        let element = self.find(selector).await;
        text(&self.get(&format!("element/{element}/text")).await)
    }

    /// Whether a CSS selector finds anything.
    pub async fn has(&self, selector: &str) -> bool {
        let found = self.post("elements", &json!({"using": "css selector", "value": selector})).await;
        !found.as_array().expect("a list").is_empty()
    }

    /// Types into a field, in place of what it holds.
    pub async fn fill(&self, selector: &str, value: &str) {
        let element = self.find(selector).await;
        self.post(&format!("element/{element}/clear"), &json!({})).await;
        self.post(&format!("element/{element}/value"), &json!({"text": value})).await;
    }

    /// Clicks, and waits for the page that it leads to: without scripts every click worth a test leads to one.
    pub async fn click(&self, selector: &str) {
        let old = self.find("html").await;
        let element = self.find(selector).await;
        self.post(&format!("element/{element}/click"), &json!({})).await;
        let start = Instant::now();
        // The driver may answer before the browser has begun to leave the page.
        while self.door.get(&self.path(&format!("element/{old}/name"))).await.status.is_success() {
            assert!(start.elapsed() < LIMIT, "a click on {selector} leads nowhere");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Clicks the button that sends the page's form.
    pub async fn submit(&self) {
        self.click("form button, form input[type=submit]").await;
    }

    /// Keeps a picture of the page and says where.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let picture = text(&self.get("screenshot").await);
        let file = self.folder.join(format!("{name}.png"));
        fs::write(&file, BASE64.decode(picture.as_bytes()).expect("base64")).expect("a written file");
        file
    }

    async fn find(&self, selector: &str) -> String {
        let found = self.post("element", &json!({"using": "css selector", "value": selector})).await;
        text(&found[ELEMENT])
    }

    async fn get(&self, path: &str) -> Value {
        value(&self.door.get(&self.path(path)).await)
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        value(&self.door.post_json(&self.path(path), None, body).await)
    }

    fn path(&self, path: &str) -> String {
        format!("/session/{}/{path}", self.session)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver takes the browser with it when it is asked to end; killing it would leave the browser behind.
        self.driver.signal(Signal::SIGTERM);
        let start = Instant::now();
        while self.driver.ended().is_none() && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

async fn start_driver(folder: &Path) -> (Process, Door) {
    let start = Instant::now();
    loop {
        let port = free_port();
        let arguments = [format!("--port={port}"), "--allowed-ips=127.0.0.1".to_owned()];
        let home = folder.to_str().expect("a path in UTF-8");
        let mut driver = Process::start_in(
            Path::new("/usr/bin/chromedriver"),
            &[&arguments[0], &arguments[1]],
            // The browser writes below its home, whatever its profile.
            &[("HOME", home), ("TMPDIR", home)],
            &folder.join("driver"),
        );
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        while driver.ended().is_none() {
            assert!(start.elapsed() < LIMIT, "chromedriver does not answer: {}", driver.log());
            if TcpStream::connect(address).await.is_ok() {
                return (driver, Door::Tcp(address));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn value(answer: &Answer) -> Value {
    assert!(answer.status == StatusCode::OK, "the browser says {}", answer.text());
    answer.json()["value"].clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
