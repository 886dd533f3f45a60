//! The trial: one command, and its people behave as it says.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rekeyd_tests::{
    acts::{Told, is_set, run, until},
    branch::PASSWORD,
    http::Door,
    mail::Message,
    process::{Process, free_port},
    scratch, tests,
    world::program,
};
use serde_json::{Value, json};

tests! {
    async fn demo_its_people_behave_as_it_says;
    async fn demo_keeps_its_state_and_takes_no_other_folder;
    async fn demo_shows_where_to_click_and_what_is_sent;
}

const NEW: &str = "seven violet teapots orbit";

/// A running trial.
struct Trial {
    process: Process,
    door: Door,
    folder: PathBuf,
}

impl Trial {
    async fn start(folder: PathBuf) -> Self {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
        let arguments = ["demo", "--listen", &address.to_string(), "--state", folder.to_str().expect("a path")];
        let process = Process::start(&program("rekeyd"), &arguments, &folder.with_extension("log"));
        let mut trial = Self { process, door: Door::Tcp(address), folder };
        let start = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(trial.process.ended().is_none() && start.elapsed() < Duration::from_secs(20), "{}", trial.said());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        trial
    }

    fn said(&self) -> String {
        self.process.log()
    }

    /// All messages, oldest first.
    fn mails(&self) -> Vec<Message> {
        let mut files: Vec<_> =
            fs::read_dir(self.folder.join("mail")).expect("a folder").filter_map(Result::ok).collect();
        files.retain(|file| file.path().extension().is_some_and(|extension| extension == "eml"));
        files.sort_by_key(|file| file.metadata().and_then(|metadata| metadata.modified()).expect("a moment"));
        let read = |file: fs::DirEntry| fs::read(file.path()).expect("a message");
        let message = |raw| Message { from: String::new(), to: Vec::new(), raw };
        files.into_iter().map(read).map(message).collect()
    }

    fn mails_to(&self, address: &str) -> Vec<Message> {
        self.mails().into_iter().filter(|mail| mail.header("To").as_deref() == Some(address)).collect()
    }

    async fn link(&self, login: &str, count: usize) -> String {
        let address = format!("{login}@example.org");
        until("the mail lies in the folder", async || self.mails_to(&address).len() >= count).await;
        let link = self.mails_to(&address).pop().expect("a mail").link("/r/");
        link.split_once("/r/").map(|(_, token)| format!("/r/{token}")).expect("a token")
    }

    async fn sets_password(&self, link: &str) -> bool {
        is_set(&self.door.fill_form(link, &[("password", NEW), ("confirm", NEW)]).await)
    }

    async fn hook(&self, path: &str, body: &Value) -> rekeyd_tests::http::Answer {
        let key = fs::read_to_string(self.folder.join("hook.key")).expect("the key");
        self.door.post_json(path, Some(key.trim()), body).await
    }

    fn rekeyctl(&self, arguments: &[&str]) -> Told {
        let mut command = Command::new(program("rekeyctl"));
        command.arg("--socket").arg(self.folder.join("admin.sock")).args(arguments);
        run(command, "")
    }

    fn reason(&self, login: &str) -> Value {
        self.rekeyctl(&["--json", "explain", login]).json()["reason"]["code"].clone()
    }

    fn stop(mut self) -> String {
        self.process.signal(Signal::SIGINT);
        assert!(self.process.wait(Duration::from_secs(20)).success(), "{}", self.said());
        self.said()
    }
}

async fn demo_its_people_behave_as_it_says() {
    let trial = Trial::start(scratch::folder("demo")).await;
    let expected = [
        ("ada", Value::Null, true),
        ("grace", Value::Null, true),
        ("noether", "never-activated".into(), true),
        ("hopper", "expired".into(), false),
        ("turing", "disabled".into(), false),
        ("root", "privileged".into(), true),
        ("twin", "ambiguous".into(), false),
    ];
    for (login, reason, signs_in) in &expected {
        assert_eq!(&trial.reason(login), reason, "{login}");
        let answer = trial.hook("/v1/sign-in", &json!({"login": login, "password": PASSWORD})).await;
        assert_eq!(answer.status == 200, *signs_in, "{login}: {}", answer.text());
        assert_eq!(trial.door.fill_form("/forgot", &[("login", login)]).await.status, 202, "{login}");
    }
    for login in ["ada", "grace"] {
        let link = trial.link(login, 1).await;
        assert!(trial.sets_password(&link).await, "{login}");
        assert_eq!(trial.hook("/v1/sign-in", &json!({"login": login, "password": NEW})).await.status, 200, "{login}");
        assert_eq!(trial.hook("/v1/sign-in", &json!({"login": login, "password": PASSWORD})).await.status, 401);
    }
    // The operator may activate one of them.
    assert_eq!(trial.rekeyctl(&["send-code", "noether", "--reason", "first day"]).code, 0);
    let link = trial.link("noether", 1).await;
    assert!(trial.sets_password(&link).await);
    assert_eq!(trial.hook("/v1/sign-in", &json!({"login": "noether", "password": NEW})).await.status, 200);
    until("all have been told", async || trial.mails().len() >= 6).await;
    for login in ["hopper", "turing", "root", "twin"] {
        assert!(trial.mails_to(&format!("{login}@example.org")).is_empty(), "{login} got a mail");
    }
    let welsh = trial.mails_to("grace@example.org").remove(0);
    assert!(!welsh.text().is_empty() && !welsh.html().is_empty());
}

async fn demo_keeps_its_state_and_takes_no_other_folder() {
    let folder = scratch::folder("demo").join("new");
    let trial = Trial::start(folder.clone()).await;
    trial.door.fill_form("/forgot", &[("login", "ada")]).await;
    let link = trial.link("ada", 1).await;
    let key = fs::read(folder.join("hook.key")).expect("the key");
    trial.stop();
    let trial = Trial::start(folder.clone()).await;
    assert_eq!(fs::read(folder.join("hook.key")).expect("the key"), key);
    assert!(trial.sets_password(&link).await, "a link does not outlive a restart");
    trial.stop();
    let trial = Trial::start(folder.clone()).await;
    assert_eq!(trial.hook("/v1/sign-in", &json!({"login": "ada", "password": NEW})).await.status, 200);
    open_to_others(&folder);
}

/// Nothing of the trial may be read by others.
fn open_to_others(folder: &Path) {
    for file in ["hook.key", "keys", "people.ldif", "admin.sock", "rekeyd.toml"] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(folder.join(file)).expect(file).permissions());
        assert_eq!(mode & 0o007, 0, "{file} is open to others: {mode:o}");
    }
}

async fn demo_shows_where_to_click_and_what_is_sent() {
    let trial = Trial::start(scratch::folder("demo")).await;
    let Door::Tcp(address) = trial.door else { panic!("a door on TCP") };
    until("it says where to click", async || trial.said().contains("/forgot")).await;
    for word in
        ["ada", "grace", "noether", "hopper", "turing", "root", "twin", PASSWORD, &format!("http://{address}/forgot")]
    {
        assert!(trial.said().contains(word), "{word} is not in\n{}", trial.said());
    }
    trial.door.fill_form("/forgot", &[("login", "ada")]).await;
    let link = trial.link("ada", 1).await;
    until("the mail is shown", async || trial.said().contains(&link)).await;
    let said = trial.stop();
    assert!(!said.contains("panicked") && !said.contains("error:"), "{said}");
}
