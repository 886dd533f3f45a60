//! The trial: everything on this machine alone, with a directory in one file and mails in a folder.
//!
//! It writes a configuration like anybody's and serves it; nothing in the daemon knows that it is a trial.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argon2::password_hash::{PasswordHasher, phc::Salt};
use async_trait::async_trait;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use rekeyd_core::domain::{ContactKind, MasterKey, Notice, NoticeKind, Recipient};
use rekeyd_plugins::{Channel, Delivered};
use ring::rand::{SecureRandom, SystemRandom};

use crate::config::Config;
use crate::serve::{self, Failure, Run};

/// The password that everybody in the trial begins with.
const PASSWORD: &str = "correct horse battery staple";

/// A person of the trial: login, names, and what the entry says besides; then why they may or may not reset.
struct Person {
    login: &'static str,
    name: &'static str,
    lines: &'static [&'static str],
    why: &'static str,
}

const PEOPLE: [Person; 7] = [
    Person {
        login: "ada",
        name: "Ada Lovelace",
        lines: &["pwdChangedTime: 20260105090000Z"],
        why: "may: an ordinary account",
    },
    Person {
        login: "grace",
        name: "Grace Jones",
        lines: &["pwdChangedTime: 20260105090000Z", "preferredLanguage: cy"],
        why: "may: an ordinary account whose language is Welsh",
    },
    Person {
        login: "noether",
        name: "Emmy Noether",
        lines: &[],
        why: "may not: never activated; an operator sends an activation link",
    },
    Person {
        login: "hopper",
        name: "Grace Hopper",
        lines: &["pwdChangedTime: 20260105090000Z", "pwdEndTime: 20260201000000Z"],
        why: "may not: the account has expired",
    },
    Person {
        login: "turing",
        name: "Alan Turing",
        lines: &["pwdChangedTime: 20260105090000Z", "employeeType: disabled"],
        why: "may not: disabled by an administrator",
    },
    Person {
        login: "root",
        name: "Root Administrator",
        lines: &["pwdChangedTime: 20260105090000Z"],
        why: "may not: an administrator, through a group within a group",
    },
    Person {
        login: "twin",
        name: "Twin",
        lines: &["pwdChangedTime: 20260105090000Z"],
        why: "may not: two entries answer to this login",
    },
];

/// Runs the trial until it is stopped. Without `state` everything lies in a temporary folder that is removed at the end.
pub fn run(listen: SocketAddr, state: Option<PathBuf>) -> ExitCode {
    let kept = state.is_some();
    let folder = match state.map_or_else(temporary, Ok).and_then(|folder| prepare(&folder, listen).map(|()| folder)) {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("the trial's folder can't be made: {error}");
            return ExitCode::from(73);
        }
    };
    let file = folder.join("rekeyd.toml");
    let shown = folder.clone();
    let run = Run {
        file: file.clone(),
        around: |channel| Box::new(Shown { channel }),
        ready: Box::new(move |config| welcome(config, &shown)),
    };
    let ended = serve::run(&run);
    if !kept && let Err(error) = fs::remove_dir_all(&folder) {
        eprintln!("{} could not be removed: {error}", folder.display());
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Listen(why)) => {
            eprintln!("rekeyd can't listen: {why}\nTry another port: rekeyd demo --listen 127.0.0.1:8081");
            ExitCode::from(69)
        }
        Err(failure) => failure.report(&file),
    }
}

/// Writes what a fresh trial needs; a folder that was used before keeps its people, keys and store.
fn prepare(folder: &Path, listen: SocketAddr) -> io::Result<()> {
    for part in ["", "mail", "store", "epoch"] {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join(part))?;
    }
    let folder = &folder.canonicalize()?;
    if !folder.join("people.ldif").exists() {
        write(&folder.join("people.ldif"), &people()?)?;
    }
    if !folder.join("keys").exists() {
        write(&folder.join("keys"), &MasterKey::from_bytes(random()?).encode())?;
    }
    if !folder.join("hook.key").exists() {
        write(&folder.join("hook.key"), &BASE64URL_NOPAD.encode(&random::<32>()?))?;
    }
    let hook = fs::read_to_string(folder.join("hook.key"))?;
    let hash = ring::digest::digest(&ring::digest::SHA256, hook.trim().as_bytes());
    write(&folder.join("rekeyd.toml"), &configuration(folder, listen, &HEXLOWER.encode(hash.as_ref())))
}

fn configuration(folder: &Path, listen: SocketAddr, hook_hash: &str) -> String {
    let folder = folder.display();
    // Whoever tries it is an operator of it.
    let group = nix::unistd::Group::from_gid(nix::unistd::getgid()).ok().flatten();
    let group = group.filter(|_| !nix::unistd::getuid().is_root());
    let group = group.map_or_else(String::new, |group| format!("group = {:?}", group.name));
    format!(
        r#"# The trial's configuration, written anew at each start.
public_url = "http://{listen}"
key_file = "{folder}/keys"

[http]
listen = "{listen}"

[[http.client]]
name = "login-page"
key_hashes = ["sha256:{hook_hash}"]
scopes = ["recovery", "ticket", "password", "sign-in"]

[admin]
socket = "{folder}/admin.sock"
allow_user_namespace = true
{group}

[store]
path = "{folder}/store/rekeyd.db"
epoch_file = "{folder}/epoch/epoch"

[[directory]]
name = "trial"
kind = "ldif"
file = "{folder}/people.ldif"
base = "dc=example,dc=org"
login_attributes = ["uid", "mail"]

[directory.markers]
disabled = ["employeeType=disabled"]

[policy]
privileged_groups = ["cn=admins,ou=groups,dc=example,dc=org"]

[messages]
organisation = "Example University"
service = "Example account"
help = "the service desk, room 101"

[[channel]]
kind = "file"
name = "folder"
folder = "{folder}/mail"
from = "no-reply@example.org"
"#
    )
}

/// The directory: people under two units, and an administrators' group that has another group as its member.
fn people() -> io::Result<String> {
    let salt = Salt::try_from(random::<16>()?.as_slice()).map_err(io::Error::other)?;
    let hash =
        argon2::Argon2::default().hash_password_with_salt(PASSWORD.as_bytes(), &salt).map_err(io::Error::other)?;
    let mut ldif = String::from("version: 1\n");
    for (name, class, rdn) in [
        ("dc=example,dc=org", "domain", "dc: example"),
        ("ou=people,dc=example,dc=org", "organizationalUnit", "ou: people"),
        ("ou=alumni,dc=example,dc=org", "organizationalUnit", "ou: alumni"),
        ("ou=groups,dc=example,dc=org", "organizationalUnit", "ou: groups"),
    ] {
        ldif += &format!("\ndn: {name}\nobjectClass: {class}\n{rdn}\n");
    }
    for person in &PEOPLE {
        let units: &[&str] = if person.login == "twin" { &["people", "alumni"] } else { &["people"] };
        for unit in units {
            let (login, name) = (person.login, person.name);
            let surname = name.rsplit(' ').next().unwrap_or(name);
            ldif += &format!(
                "\ndn: uid={login},ou={unit},dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: {login}\ncn: {name}\nsn: {surname}\nmail: {login}@example.org\nuserPassword: {{ARGON2}}{hash}\n"
            );
            for line in person.lines {
                ldif += &format!("{line}\n");
            }
        }
    }
    ldif += "\ndn: cn=operators,ou=groups,dc=example,dc=org\nobjectClass: groupOfNames\ncn: operators\nmember: uid=root,ou=people,dc=example,dc=org\n";
    ldif += "\ndn: cn=admins,ou=groups,dc=example,dc=org\nobjectClass: groupOfNames\ncn: admins\nmember: cn=operators,ou=groups,dc=example,dc=org\n";
    Ok(ldif)
}

/// Says where to click, who exists, and what else to try.
fn welcome(config: &Config, folder: &Path) {
    let style = Style::of(&io::stdout());
    let (bold, dim, plain) = (style.bold, style.dim, style.plain);
    let url = &config.public_url;
    let folder = folder.display();
    let mut text = format!(
        "\n{bold}rekeyd is ready to be tried.{plain}\n\n  Open {bold}{url}/forgot{plain} and type one of these logins. Mails appear below.\n\n"
    );
    text += &format!("  {dim}{:<9} {:<20} {}{plain}\n", "login", "name", "may they reset?");
    for person in &PEOPLE {
        text += &format!("  {bold}{:<9}{plain} {:<20} {}\n", person.login, person.name, person.why);
    }
    text += &format!(
        "\n  Everybody's password is {bold}{PASSWORD}{plain}; the page answers the same for all of them, and for nobody.\n\
         \n  {dim}Ask why{plain}        rekeyctl --socket {folder}/admin.sock explain turing\
         \n  {dim}Activate{plain}       rekeyctl --socket {folder}/admin.sock send-code noether --reason 'first day'\
         \n  {dim}The hook{plain}       curl -H \"Authorization: Bearer $(cat {folder}/hook.key)\" --json '{{\"login\":\"ada\"}}' {url}/v1/recovery\
         \n  {dim}All mails{plain}      {folder}/mail/\
         \n  {dim}Stop{plain}           Ctrl-C\n\n"
    );
    say(&text);
}

/// A channel of the trial: delivers as the one inside does, and shows what was sent.
struct Shown {
    channel: Box<dyn Channel>,
}

#[async_trait]
impl Channel for Shown {
    fn name(&self) -> &str {
        self.channel.name()
    }

    fn kind(&self) -> ContactKind {
        self.channel.kind()
    }

    async fn deliver(&self, to: &Recipient, notice: &Notice) -> Delivered {
        let delivered = self.channel.deliver(to, notice).await;
        if delivered == Delivered::Delivered {
            show(to, notice);
        }
        delivered
    }

    async fn probe(&self) -> Result<String, String> {
        self.channel.probe().await
    }
}

fn show(to: &Recipient, notice: &Notice) {
    let style = Style::of(&io::stdout());
    let (bold, dim, plain) = (style.bold, style.dim, style.plain);
    let about = match notice.kind {
        NoticeKind::ActivationLink => "set your first password",
        NoticeKind::PasswordChanged => "your password was changed",
        NoticeKind::PasswordReplaced => "your password was replaced by an operator",
        NoticeKind::PasswordUnsure => "your password may have been changed",
        NoticeKind::RecoveryRefused => "your password can't be reset here",
        NoticeKind::ResetLink => "set a new password",
    };
    let mut text = format!("  {bold}mail{plain} to {bold}{}{plain}: {about} ({})\n", to.address.as_str(), notice.login);
    if let Some(link) = &notice.link {
        text += &format!("       {dim}link{plain}   {}\n", link.expose());
    }
    if let Some(link) = &notice.not_me {
        text += &format!("       {dim}not me{plain} {}\n", link.expose());
    }
    say(&(text + "\n"));
}

/// Writes to the terminal; one that is gone is no reason to stop serving.
fn say(text: &str) {
    drop(io::stdout().lock().write_all(text.as_bytes()));
}

/// Bold and dim, on a terminal that did not ask for none.
struct Style {
    bold: &'static str,
    dim: &'static str,
    plain: &'static str,
}

impl Style {
    fn of(stream: &impl IsTerminal) -> Self {
        #[expect(clippy::disallowed_methods, reason = "NO_COLOR is how people tell every program at once")]
        let wanted = std::env::var_os("NO_COLOR").is_none();
        if wanted && stream.is_terminal() {
            Self { bold: "\u{1b}[1m", dim: "\u{1b}[2m", plain: "\u{1b}[0m" }
        } else {
            Self { bold: "", dim: "", plain: "" }
        }
    }
}

fn temporary() -> io::Result<PathBuf> {
    Ok(std::env::temp_dir().join(format!("rekeyd-demo-{}", HEXLOWER.encode(&random::<6>()?))))
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no randomness"))?;
    Ok(bytes)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
