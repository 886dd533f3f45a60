//! A real 389 Directory Server, set up in a folder of its own from the package's template, without its installer.
//!
//! Started when the first test asks for it, shared by all others, which keep apart by a branch each.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use ldap3::{Ldap, Mod, Scope};
use nix::sys::signal::Signal;
use tokio::{net::TcpStream, sync::Mutex, task::spawn_blocking};

use crate::{
    process::{Process, free_port, output},
    scratch,
    slapd::connect,
    tls,
};

/// The suffix of the directory.
pub const SUFFIX: &str = "dc=example,dc=org";
/// The identity that no rule binds.
pub const ADMIN: &str = "cn=Directory Manager";
/// The role by which the console of this product disables people.
pub const DISABLED_ROLE: &str = "cn=nsManagedDisabledRole,dc=example,dc=org";

/// Its password.
pub const ADMIN_PASSWORD: &str = "manager-bind-Pw-0815";
const TEMPLATE: &str = "/usr/share/dirsrv/data/template-dse.ldif";
/// A server that takes longer to start is broken.
const LIMIT: Duration = Duration::from_mins(1);

/// A running server.
pub struct Ds389 {
    folder: PathBuf,
    port: u16,
    tls_port: u16,
    process: Process,
}

impl Ds389 {
    /// The server that all tests of the run share.
    pub async fn shared() -> Arc<Self> {
        let mut lane = LANE.lock().await;
        if let Some(server) = &*lane {
            return Arc::clone(server);
        }
        let server = Self::fresh().await;
        *lane = Some(Arc::clone(&server));
        server
    }

    /// A server for one test alone.
    pub async fn fresh() -> Arc<Self> {
        for _ in 0..5 {
            // Somebody else may be faster at one of the ports.
            if let Some(server) = Self::begin().await {
                server.fill().await;
                return Arc::new(server);
            }
        }
        panic!("389-ds does not start");
    }

    /// Another server that holds what this one holds now, under the same identifiers, and hears of nothing that comes later.
    /// This one stands still while its files are copied, so the copy begins as after a power cut.
    pub async fn copy(&self) -> Arc<Self> {
        for _ in 0..5 {
            let (port, tls_port, from) = (free_port(), free_port(), self.folder.clone());
            self.process.signal(Signal::SIGSTOP);
            let folder = spawn_blocking(move || copied(&from, port, tls_port)).await;
            self.process.signal(Signal::SIGCONT);
            if let Some(server) = Self::start(folder.expect("a copied folder"), port, tls_port).await {
                return Arc::new(server);
            }
        }
        panic!("a copy of 389-ds does not start");
    }

    async fn begin() -> Option<Self> {
        let (port, tls_port) = (free_port(), free_port());
        let folder = spawn_blocking(move || set_up(port, tls_port)).await.expect("a folder");
        Self::start(folder, port, tls_port).await
    }

    async fn start(folder: PathBuf, port: u16, tls_port: u16) -> Option<Self> {
        let at = |part: &str| folder.join(part).display().to_string();
        let arguments = ["-D", &at("etc"), "-i", &at("run/pid"), "-d", "0"];
        let process = Process::start(&PathBuf::from("/usr/sbin/ns-slapd"), &arguments, &folder.join("out"));
        let mut server = Self { folder, port, tls_port, process };
        let start = Instant::now();
        loop {
            if server.process.ended().is_some() {
                let errors = fs::read_to_string(server.folder.join("log/errors")).unwrap_or_default();
                eprintln!("389-ds: {}\n{errors}", server.process.log());
                return None;
            }
            assert!(start.elapsed() < LIMIT, "389-ds does not answer");
            let has_tls = TcpStream::connect(("127.0.0.1", tls_port)).await.is_ok();
            if has_tls
                && let Ok(mut ldap) = connect(&server.uri()).await
                && ldap.search("", Scope::Base, "(objectClass=*)", ["1.1"]).await.is_ok()
            {
                return Some(server);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where clear text is spoken.
    pub fn uri(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// Where TLS is spoken from the first byte.
    pub fn tls_uri(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.tls_port)
    }

    /// A connection whose holder may do anything.
    pub async fn admin(&self) -> Ldap {
        let mut ldap = connect(&self.uri()).await.expect("a connection");
        ldap.simple_bind(ADMIN, ADMIN_PASSWORD).await.expect("an answer").success().expect("the administrator");
        ldap
    }

    /// Lets the database of people take no writes, or take them again, while the server runs.
    pub async fn takes_writes(&self, takes: bool) {
        let value = if takes { "off" } else { "on" };
        self.set("cn=userroot,cn=ldbm database,cn=plugins,cn=config", &[("nsslapd-readonly", value)]).await;
    }

    /// Applies changes in LDIF as the administrator.
    pub async fn apply(&self, changes: &str) {
        let file = scratch::folder("ldif").join("changes.ldif");
        fs::write(&file, changes).expect("a written file");
        let mut command = Command::new("ldapmodify");
        command.args(["-x", "-D", ADMIN, "-w", ADMIN_PASSWORD, "-H", &self.uri(), "-f"]).arg(file);
        spawn_blocking(move || output(&mut command)).await.expect("ldapmodify");
    }

    /// Lets the server write down when each password was set, which it does not by itself.
    pub async fn tracks_passwords(&self) {
        self.set("cn=config", &[("passwordTrackUpdateTime", "on")]).await;
    }

    /// How often somebody has set the password of this entry, as the server's own audit log tells.
    pub fn password_writes(&self, dn: &str, by: &str) -> usize {
        let log = fs::read_to_string(self.folder.join("log/audit")).unwrap_or_default();
        let is_one = |record: &&str| {
            let has = |wanted: &str| record.lines().any(|line| line.eq_ignore_ascii_case(wanted));
            has(&format!("dn: {dn}"))
                && has("result: 0")
                && has("replace: userPassword")
                && has(&format!("modifiersname: {by}"))
        };
        log.split("\n\n").filter(is_one).count()
    }

    /// What every test rests on: the suffix, the general policy, the disabling role and the plugins.
    async fn fill(&self) {
        let any = ("objectClass", "extensibleObject");
        let backend = [any, ("objectClass", "nsBackendInstance"), ("nsslapd-suffix", SUFFIX), ("cn", "userroot")];
        self.add("cn=userroot,cn=ldbm database,cn=plugins,cn=config", &backend).await;
        let tree =
            [any, ("objectClass", "nsMappingTree"), ("nsslapd-state", "backend"), ("nsslapd-backend", "userroot")];
        self.add(&format!("cn=\"{SUFFIX}\",cn=mapping tree,cn=config"), &[&tree[..], &[("cn", SUFFIX)]].concat()).await;
        self.add(SUFFIX, &[("objectClass", "domain"), ("dc", "example")]).await;
        let rules = [
            ("nsslapd-auditlog-logging-enabled", "on"),
            ("nsslapd-pwpolicy-local", "on"),
            ("passwordCheckSyntax", "on"),
            ("passwordMinLength", "8"),
            ("passwordMinCategories", "1"),
            ("passwordHistory", "on"),
            ("passwordInHistory", "3"),
            ("passwordLockout", "on"),
            ("passwordMaxFailure", "3"),
            ("passwordLockoutDuration", "300"),
            ("passwordMustChange", "on"),
        ];
        self.set("cn=config", &rules).await;
        self.disable_by_role().await;
    }

    /// What the product's own tool makes the first time that it disables somebody.
    async fn disable_by_role(&self) {
        let role = [("objectClass", "LDAPsubentry"), ("objectClass", "nsRoleDefinition")];
        let managed = [("objectClass", "nsSimpleRoleDefinition"), ("objectClass", "nsManagedRoleDefinition")];
        self.add(DISABLED_ROLE, &[&role[..], &managed[..]].concat()).await;
        let disabled = format!("cn=nsDisabledRole,{SUFFIX}");
        let nested = [
            ("objectClass", "nsComplexRoleDefinition"),
            ("objectClass", "nsNestedRoleDefinition"),
            ("nsRoleDN", DISABLED_ROLE),
        ];
        self.add(&disabled, &[&role[..], &nested[..]].concat()).await;
        let templates = format!("cn=nsAccountInactivationTmp,{SUFFIX}");
        self.add(&templates, &[("objectClass", "nsContainer")]).await;
        let template = [
            ("objectClass", "extensibleObject"),
            ("objectClass", "costemplate"),
            ("objectClass", "ldapsubentry"),
            ("cn", &disabled),
            ("cosPriority", "1"),
            ("nsAccountLock", "true"),
        ];
        self.add(&format!("cn=\"{disabled}\",{templates}"), &template).await;
        let class = [
            ("objectClass", "LDAPsubentry"),
            ("objectClass", "cosSuperDefinition"),
            ("objectClass", "cosClassicDefinition"),
            ("costemplatedn", &templates),
            ("cosspecifier", "nsRole"),
            ("cosattribute", "nsAccountLock operational"),
        ];
        self.add(&format!("cn=nsAccountInactivation_cos,{SUFFIX}"), &class).await;
    }

    async fn add(&self, dn: &str, attributes: &[(&str, &str)]) {
        let single = attributes.iter().map(|(name, _)| *name).collect::<HashSet<_>>().into_iter();
        let values = |name: &str| attributes.iter().filter(|(one, _)| *one == name).map(|(_, value)| *value).collect();
        let result = self.admin().await.add(dn, single.map(|name| (name, values(name))).collect()).await;
        let result = result.expect("an answer");
        assert!(result.rc == 0, "{dn} can not be added: {result:?}");
    }

    async fn set(&self, dn: &str, attributes: &[(&str, &str)]) {
        let change = attributes.iter().map(|(name, value)| Mod::Replace(*name, HashSet::from([*value]))).collect();
        let result = self.admin().await.modify(dn, change).await.expect("an answer");
        assert!(result.rc == 0, "{dn} can not be changed: {result:?}");
    }
}

static LANE: Mutex<Option<Arc<Ds389>>> = Mutex::const_new(None);

/// Ends the shared server. The end of the run calls it.
pub async fn stop_lane() {
    LANE.lock().await.take();
}

/// Makes the folder of a server that has no database yet.
fn set_up(port: u16, tls_port: u16) -> PathBuf {
    let folder = scratch::folder("ds389");
    for part in ["etc/schema", "bak", "cert", "db", "inst", "ldif", "lock", "log", "run", "tmp"] {
        fs::create_dir_all(folder.join(part)).expect("a new folder");
    }
    for (from, to) in [("schema/99user.ldif", "etc/schema/99user.ldif"), ("config/slapd-collations.conf", "etc")] {
        output(Command::new("cp").arg(Path::new("/etc/dirsrv").join(from)).arg(folder.join(to)));
    }
    keep_certificate(&folder.join("cert"));
    let template = fs::read_to_string(TEMPLATE).expect("the package's template");
    fs::write(folder.join("etc/dse.ldif"), settings(&template, &folder, port, tls_port)).expect("a written file");
    folder
}

/// Copies a server into a folder of its own.
fn copied(from: &Path, port: u16, tls_port: u16) -> PathBuf {
    let folder = scratch::folder("ds389");
    output(Command::new("cp").arg("-a").arg(from.join(".")).arg(&folder));
    // What tells of the other one's process and of its doings.
    for part in ["lock", "log", "run"] {
        fs::remove_dir_all(folder.join(part)).expect("a removed folder");
        fs::create_dir(folder.join(part)).expect("a new folder");
    }
    // The memory that processes share on the database; what has been done is in the database's log.
    for entry in fs::read_dir(folder.join("db")).expect("a folder") {
        let file = entry.expect("an entry");
        if file.file_name().to_string_lossy().starts_with("__db.") {
            fs::remove_file(file.path()).expect("a removed file");
        }
    }
    let file = folder.join("etc/dse.ldif");
    // The server folds long lines, and a path may be in two.
    let text = fs::read_to_string(&file).expect("the settings").replace("\n ", "");
    let text = text.replace(&format!("{}/", from.display()), &format!("{}/", folder.display()));
    let ports = [("nsslapd-port", port), ("nsslapd-secureport", tls_port)];
    let moved = text.lines().map(|line| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let port = ports.iter().find(|(one, _)| *one == name);
        port.map_or_else(|| line.to_owned(), |(name, port)| format!("{name}: {port}"))
    });
    let moved: Vec<_> = moved.collect();
    fs::write(&file, format!("{}\n", moved.join("\n"))).expect("a written file");
    folder
}

fn settings(template: &str, folder: &Path, port: u16, tls_port: u16) -> String {
    let at = |part: &str| folder.join(part).display().to_string();
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).expect("the users").expect("the own user");
    let port = port.to_string();
    let places = [
        ("bak_dir", at("bak")),
        ("cert_dir", at("cert")),
        ("config_dir", at("etc")),
        ("db_dir", at("db")),
        ("db_home_dir", at("db")),
        ("db_lib", "bdb".to_owned()),
        ("ds_passwd", format!("{{CLEAR}}{ADMIN_PASSWORD}")),
        ("ds_port", port.clone()),
        ("ds_suffix", SUFFIX.to_owned()),
        ("ds_user", user.name),
        ("fqdn", "localhost".to_owned()),
        ("inst_dir", at("inst")),
        ("ldapi", at("run/ldapi")),
        ("ldapi_autobind", "off".to_owned()),
        ("ldapi_enabled", "off".to_owned()),
        ("ldif_dir", at("ldif")),
        ("lock_dir", at("lock")),
        ("log_dir", at("log")),
        ("rootdn", ADMIN.to_owned()),
        ("run_dir", at("run")),
        ("schema_dir", at("etc/schema")),
        ("tmp_dir", at("tmp")),
    ];
    let filled =
        places.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("%{name}%"), value));
    // On loopback alone; with sums of passwords that cost less to check than those it takes by itself.
    let more = format!(
        "nsslapd-listenhost: 127.0.0.1\nnsslapd-securelistenhost: 127.0.0.1\nnsslapd-securePort: {tls_port}\n\
         nsslapd-security: on\nnsslapd-rootpwstoragescheme: CLEAR\npasswordStorageScheme: SSHA512\n\
         nsslapd-port: {port}\n"
    );
    let filled = filled.replacen(&format!("nsslapd-port: {port}\n"), &more, 1);
    // Accounts that nobody uses expire where an entry says so.
    let idle = "alwaysrecordlogin: no\nstateattrname: lastLoginTime\naltstateattrname: createTimestamp\n\
                specattrname: acctPolicySubentry\nlimitattrname: accountInactivityLimit\n";
    let filled = filled.replacen("alwaysrecordlogin: no\n", idle, 1);
    ["MemberOf Plugin", "Account Policy Plugin"].iter().fold(filled, |text, plugin| switch_on(&text, plugin))
}

/// Switches a plugin on that the template leaves off.
fn switch_on(text: &str, plugin: &str) -> String {
    let off = "nsslapd-pluginenabled: off";
    let entry = text.find(&format!("dn: cn={plugin},")).expect("the plugin");
    let place = entry + text[entry..].to_ascii_lowercase().find(off).expect("a plugin that is off");
    format!("{}{}{}", &text[..place], "nsslapd-pluginEnabled: on", &text[place + off.len()..])
}

/// Puts the certificate of the run into a store as the server reads it.
fn keep_certificate(store: &Path) {
    let server = tls::server();
    let bundle = store.join("server.p12");
    output(
        Command::new("openssl")
            .args(["pkcs12", "-export", "-name", "Server-Cert", "-passout", "pass:x", "-in"])
            .arg(&server.certificate)
            .arg("-inkey")
            .arg(&server.key)
            .arg("-out")
            .arg(&bundle),
    );
    output(Command::new("certutil").args(["-N", "--empty-password", "-d"]).arg(store));
    output(
        Command::new("certutil")
            .args(["-A", "-n", "CA", "-t", "CT,,", "-a", "-d"])
            .arg(store)
            .arg("-i")
            .arg(tls::authority()),
    );
    output(Command::new("pk12util").args(["-W", "x", "-K", "", "-i"]).arg(&bundle).arg("-d").arg(store));
}
