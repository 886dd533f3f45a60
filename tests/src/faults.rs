//! What the daemon says of a directory in trouble: in its status, on `/readyz`, and in the trail.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    acts::until,
    http::Answer,
    proxy::Proxy,
    slapd::{Slapd, Variant, Write},
    world::World,
    world_config::Way,
};

/// How long a fault may take to be seen (R29).
const SEEN: Duration = Duration::from_secs(30);

impl World {
    /// A world whose daemon goes to a shared directory through a proxy.
    pub async fn behind_a_proxy(variant: Variant) -> (Self, Proxy) {
        let slapd = Slapd::shared(variant).await;
        let proxy = Proxy::start(&slapd.uri()).await;
        (Self::builder().slapd(&slapd).way(Way::Clear(Some(proxy.uri()))).start().await, proxy)
    }

    /// As [`Self::behind_a_proxy`], with short limits of time, so that what takes seconds takes tenths.
    pub async fn impatient(variant: Variant) -> (Self, Proxy) {
        let slapd = Slapd::shared(variant).await;
        let proxy = Proxy::start(&slapd.uri()).await;
        let world = Self::builder()
            .slapd(&slapd)
            .way(Way::Clear(Some(proxy.uri())))
            .set("directory.operation_timeout", "\"500ms\"")
            .set("directory.connect_timeout", "\"500ms\"")
            .set("directory.cool_down", "\"500ms\"")
            .start()
            .await;
        (world, proxy)
    }

    /// What is wrong with the first directory, as the status has it.
    pub fn flaws(&self) -> Vec<Value> {
        self.asks(&["status"])["directories"][0]["flaws"].as_array().cloned().expect("a list")
    }

    /// Waits until this kind of fault is seen: in the status, on `/readyz`, and as one row of the trail.
    pub async fn sees_fault(&self, kind: &str) {
        let start = Instant::now();
        until("the fault is in the status", async || self.flaws().iter().any(|flaw| flaw["kind"] == kind)).await;
        until("/readyz says so", async || self.readiness().await != "up").await;
        self.event(&[("event", "directory-fault"), ("outcome", "began"), ("reason", kind)]).await;
        assert!(start.elapsed() < SEEN, "{kind} was seen after {:?}", start.elapsed());
    }

    /// Waits until the fault is over by itself: nothing is wrong any more, and the trail says that it was once.
    pub async fn sees_its_end(&self, kind: &str) {
        let start = Instant::now();
        let over = [("event", "directory-fault"), ("outcome", "over")];
        self.event(&over).await;
        until("all is well", async || self.readiness().await == "up" && self.flaws().is_empty()).await;
        assert!(start.elapsed() < SEEN, "{kind} was over after {:?}", start.elapsed());
        let began =
            |row: &&Value| row["event"] == "directory-fault" && row["outcome"] == "began" && row["reason"] == kind;
        let rows = self.audit();
        assert_eq!(rows.iter().filter(began).count(), 1, "{rows:#?}");
    }

    /// What `/readyz` says of the directory; the daemon itself is ready all the time.
    pub async fn readiness(&self) -> String {
        let ready = self.door().get("/readyz").await;
        assert_eq!(ready.status, 200, "{}", ready.text());
        ready.json()["directory"].as_str().expect("a word").to_owned()
    }

    /// The writes of the daemon to somebody's entry that set a password, by the directory's own log.
    pub async fn passwords_written(&self, login: &str) -> usize {
        self.writes(login).await.iter().filter(|write| Write::sets_password(write)).count()
    }
}

/// What the page says where nothing was changed.
pub fn nothing_changed(answer: &Answer) -> bool {
    answer.status == 503 && answer.text().contains("Nothing was changed, and your link still works")
}

/// What the page says where nobody knows.
pub fn nobody_knows(answer: &Answer) -> bool {
    answer.status == 202 && answer.text().contains("It may be set, or it may not")
}
