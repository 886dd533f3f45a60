//! Several directories behind one daemon: whose login it is, by which rules its account is judged, and what becomes of it
//! while its directory is down or out of the configuration. The first is an OpenLDAP with a password policy, the second one
//! without.

use rekeyd_tests::{
    acts::until,
    branch::{Branch, PASSWORD},
    faults::nothing_changed,
    proxy::Proxy,
    slapd::{SERVICE, Slapd, Variant, Write},
    tests,
    world::World,
    world_config::Way,
};
use serde_json::{Value, json};

tests! {
    async fn ctl_operators_name_the_directory_that_they_mean;
    async fn p2_each_account_is_judged_by_the_rules_of_its_own_directory;
    async fn r4_a_directory_that_is_down_lets_no_later_one_answer_for_it;
    async fn run_a_directory_that_is_taken_out_forgets_nothing_and_comes_back_by_another_name;
    async fn t57_groups_of_one_directory_make_no_administrators_of_another;
}

const NEW: &str = "seven violet teapots orbit";
const LONGER: &str = "seven violet teapots orbit nine amber lanterns";

/// A world with a second directory, in which `ada` has another address and a `lovelace` is whom the first does not know.
struct Two {
    world: World,
    other: Branch,
    proxy: Proxy,
}

impl Two {
    async fn start() -> Self {
        let first = Slapd::shared(Variant::Policy).await;
        let proxy = Proxy::start(&first.uri()).await;
        let other = Branch::grow(&Slapd::shared(Variant::Bare).await).await;
        other.add_person("lovelace", PASSWORD).await;
        other.slapd.set(&other.dn("ada"), "mail", &["ada.other@example.org"]).await;
        let world = World::builder().slapd(&first).way(Way::Clear(Some(proxy.uri()))).prepare().await;
        let two = Self { world, other, proxy };
        two.second_is("other");
        two.world.restart().await;
        two
    }

    /// What the configuration says of the second directory.
    fn keys(&self, name: &str) -> Vec<(&'static str, String)> {
        let base = self.other.base();
        vec![
            ("name", format!("{name:?}")),
            ("urls", format!("[{:?}]", self.other.slapd.uri())),
            ("clear_text_on_loopback", "true".to_owned()),
            ("bind_dn", format!("{SERVICE:?}")),
            ("bind_password_file", format!("\"{}\"", self.world.folder().join("secrets/bind").display())),
            ("base", format!("{base:?}")),
            ("group_base", format!("\"ou=groups,{base}\"")),
            ("login_prefixes", r"['OTHER\']".to_owned()),
            ("policy.privileged_groups", format!("[\"cn=admins,ou=groups,{base}\"]")),
            ("policy.password.min_length", "40".to_owned()),
        ]
    }

    fn second_is(&self, name: &str) {
        for (key, value) in self.keys(name) {
            self.world.set(&format!("directory~2.{key}"), &value);
        }
    }

    fn second_is_gone(&self) {
        for (key, _) in self.keys("") {
            self.world.set(&format!("directory~2.{key}"), "");
        }
    }

    /// The passwords that the daemon has written to somebody in the second directory.
    async fn written(&self, login: &str) -> usize {
        let writes = self.other.slapd.writes(&self.other.dn(login)).await;
        writes.iter().filter(|write| write.is_by_service() && Write::sets_password(write)).count()
    }

    async fn refusal(&self, reason: &str) -> Value {
        self.world.event(&[("event", "request-ended"), ("outcome", "refused"), ("reason", reason)]).await
    }
}

async fn p2_each_account_is_judged_by_the_rules_of_its_own_directory() {
    let two = Two::start().await;
    let world = &two.world;
    // One login in both: the first that knows it is it, for the link and for the sign-in.
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, NEW).await;
    assert!(world.binds("ada", NEW).await && two.other.slapd.binds(&two.other.dn("ada"), PASSWORD).await);
    assert_eq!(world.signs_in("ada", NEW).await.status, 200);
    assert_eq!(world.signs_in("ada", PASSWORD).await.status, 401, "the other one's password");
    // Who is in the second alone is found there, and what is enough in the first is too short here.
    let link = world.forgets_and_gets_link("lovelace").await;
    assert!(world.door().get(&link).await.text().contains("40"), "the page tells the directory's own rule");
    let refused = world.sets_password(&link, NEW).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    world.surely_sets_password(&link, LONGER).await;
    assert_eq!(world.signs_in("lovelace", LONGER).await.status, 200);
    assert_eq!((two.written("lovelace").await, two.written("ada").await), (1, 0));
    // A prefix says whose login it is.
    world.forgets(r"OTHER\ada").await;
    let link = world.link("ada.other@example.org", 1).await;
    world.surely_sets_password(&link, LONGER).await;
    let granted = world.signs_in(r"other\ADA", LONGER).await.json();
    assert_eq!((granted["login"].as_str(), granted["directory"].as_str()), (Some("ada"), Some("other")), "{granted}");
    assert!(world.binds("ada", NEW).await, "the namesake's password stays");
    let set = world.event(&[("event", "password-set"), ("directory", "other")]).await;
    assert_eq!(set["outcome"], "set", "{set}");
}

async fn t57_groups_of_one_directory_make_no_administrators_of_another() {
    let two = Two::start().await;
    let world = &two.world;
    world.forgets(r"OTHER\boss").await;
    assert_eq!(two.refusal("privileged").await["directory"], "other");
    // A directory that names no groups of its own would stand on those of another.
    world.set("directory~2.policy.privileged_groups", "");
    let told = world.rekeyctl(&["--config", &world.config().display().to_string(), "check", "--offline"], "");
    assert_eq!(told.code, 78, "{told:?}");
    assert!(told.out.contains("policy.privileged_groups") && told.out.contains("the directory other"), "{told:?}");
    world.reload().await;
    world.forgets(r"OTHER\boss").await;
    until("the old configuration stays", async || {
        world.audit().iter().filter(|row| row["reason"] == "privileged" && row["directory"] == "other").count() == 2
    })
    .await;
    assert!(world.smtp().messages().is_empty());
}

async fn r4_a_directory_that_is_down_lets_no_later_one_answer_for_it() {
    let two = Two::start().await;
    let world = &two.world;
    let link = world.forgets_and_gets_link("lovelace").await;
    two.proxy.close().await;
    // Each of these may be the first one's, for all that anybody knows.
    for login in ["ada", "lovelace", "nobody"] {
        assert_eq!(world.hook("/v1/recovery", &json!({"login": login})).await.status, 202, "{login}");
        assert_eq!(world.signs_in(login, PASSWORD).await.status, 503, "{login}");
    }
    world.sees_fault("down").await;
    until("requests were put back more than once", async || world.log().contains("attempts=1")).await;
    assert_eq!(world.asks(&["status"])["requests_waiting"], 3);
    assert!(world.smtp().messages_to("ada.other@example.org").is_empty());
    let told = world.rekeyctl(&["explain", "lovelace"], "");
    assert!(told.code == 75 && told.err.contains("main: "), "{told:?}");
    let ready = world.door().get("/readyz").await.json();
    assert_eq!(
        ready,
        json!({"ready": true, "store": "up", "directory": "down", "directories": {"main": "down", "other": "up"}})
    );
    // Whoever is known to be the second one's is served: by a link, by the login, by an operator's word.
    world.surely_sets_password(&link, LONGER).await;
    assert_eq!(world.signs_in(r"OTHER\lovelace", LONGER).await.status, 200);
    world.forgets(r"OTHER\ada").await;
    world.link("ada.other@example.org", 1).await;
    let grace = ["send-code", "grace", "--directory", "other", "--reason", "at the desk"];
    assert_eq!(world.rekeyctl(&grace, "").code, 0);
    world.link("grace@example.org", 1).await;
    two.proxy.open().await;
    world.link("ada@example.org", 1).await;
    two.refusal("not-found").await;
    world.sees_its_end("down").await;
    until("all are answered", async || world.asks(&["status"])["requests_waiting"] == 0).await;
}

async fn run_a_directory_that_is_taken_out_forgets_nothing_and_comes_back_by_another_name() {
    let two = Two::start().await;
    let world = &two.world;
    let link = world.forgets_and_gets_link("lovelace").await;
    two.second_is_gone();
    world.reload().await;
    for _ in 0..2 {
        let answer = world.sets_password(&link, LONGER).await;
        assert!(nothing_changed(&answer), "{} {}", answer.status, answer.text());
    }
    let token = link.rsplit_once('/').expect("a token").1;
    let answer = world.hook("/v1/password", &json!({"ticket": token, "password": LONGER})).await;
    assert!(answer.status == 503 && answer.text().contains("the ticket still works"), "{}", answer.text());
    let status = world.asks(&["status"]);
    assert_eq!(status["directories"].as_array().map(Vec::len), Some(1), "{status}");
    let left = &status["left_behind"][0];
    assert!(left["name"] == "other" && left["tickets_live"].as_u64() >= Some(1), "{status}");
    let table = world.rekeyctl(&["status"], "").fine();
    assert!(table.out.contains("other is out of the configuration"), "{table:?}");
    assert_eq!(world.event(&[("event", "ticket-issued")]).await["directory"], "other", "the trail is readable");
    world.forgets("lovelace").await;
    two.refusal("not-found").await;
    // It comes back as the same one, whatever it is called.
    two.second_is("renamed");
    world.set("directory~2.formerly", r#"["other"]"#);
    world.reload().await;
    world.surely_sets_password(&link, LONGER).await;
    assert!(two.other.slapd.binds(&two.other.dn("lovelace"), LONGER).await);
    assert_eq!(world.event(&[("event", "password-set")]).await["directory"], "renamed");
    assert!(world.asks(&["status"])["left_behind"].is_null());
    let told = world.asks(&["explain", "lovelace"]);
    assert!(told["account"]["activated"].is_string() && told["account"]["directory"] == "renamed", "{told}");
    // Nothing needs the old name at a restart.
    world.stop();
    world.restart().await;
    assert!(world.asks(&["explain", "lovelace"])["account"]["activated"].is_string());
}

async fn ctl_operators_name_the_directory_that_they_mean() {
    let two = Two::start().await;
    let world = &two.world;
    let status = world.asks(&["status"]);
    let names: Vec<_> =
        status["directories"].as_array().expect("a list").iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["main", "other"]);
    // An explanation is about the account that the person reaches, and names the others.
    let told = world.asks(&["explain", "ada"]);
    assert_eq!(told["account"]["directory"], "main", "{told}");
    assert!(told["elsewhere"][0].as_str().is_some_and(|id| id.starts_with("other:")), "{told}");
    let told = world.asks(&["explain", "ada", "--directory", "other"]);
    assert_eq!(told["account"]["directory"], "other", "{told}");
    // Who does something must say to whom.
    let reason = ["--reason", "at the desk"];
    for verb in [&["send-code", "ada"][..], &["set-password", "ada", "--generate"], &["thaw", "ada"]] {
        let told = world.rekeyctl(&[verb, &reason].concat(), "");
        assert!(told.code == 1 && told.err.contains("ambiguous") && told.err.contains("--directory"), "{told:?}");
    }
    assert_eq!(world.rekeyctl(&["explain", "ada", "--directory", "nowhere"], "").code, 64);
    assert_eq!(world.rekeyctl(&[&["send-code", "ada", "--directory", "other"][..], &reason].concat(), "").code, 0);
    let link = world.link("ada.other@example.org", 1).await;
    world.surely_sets_password(&link, LONGER).await;
    assert!(two.other.slapd.binds(&two.other.dn("ada"), LONGER).await && world.binds("ada", PASSWORD).await);
    let replace = ["set-password", "ada", "--directory", "other", "--generate", "--no-must-change"];
    let told = world.rekeyctl(&[&replace[..], &reason].concat(), "").fine();
    let password = told.out.trim();
    world.secret(password);
    assert!(two.other.slapd.binds(&two.other.dn("ada"), password).await && world.binds("ada", PASSWORD).await);
    assert!(world.writes("ada").await.is_empty());
    // Who is in one directory alone is meant without a word.
    assert_eq!(world.rekeyctl(&[&["send-code", "lovelace"][..], &reason].concat(), "").code, 0);
    world.link("lovelace@example.org", 1).await;
    let audit = world.asks(&["audit", "ada", "--directory", "other"]);
    let rows = audit["events"].as_array().expect("rows");
    assert!(!rows.is_empty() && rows.iter().all(|row| row["directory"] == "other"), "{audit}");
    let told = world.rekeyctl(&["--config", &world.config().display().to_string(), "check"], "");
    assert!(told.out.contains("other: ") && told.out.contains("main: "), "{told:?}");
}
