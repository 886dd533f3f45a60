//! Real OpenLDAP servers: how they are set up, started and asked what happened in them.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex as Lock},
    time::{Duration, Instant},
};

use ldap3::{Ldap, LdapConnAsync, Mod, Scope, SearchEntry, controls::RelaxRules};
use nix::sys::signal::Signal;
use tokio::sync::Mutex;

use crate::{
    process::{Process, free_port},
    scratch,
    slapd_config::{self, Special},
};

/// The suffix of every directory.
pub const SUFFIX: &str = "dc=example,dc=org";
/// The identity that no rule binds.
pub const ADMIN: &str = "cn=admin,dc=example,dc=org";
/// The identity of the daemon: may replace passwords, read nearly everything, and write `pwdReset`.
pub const SERVICE: &str = "cn=rekeyd,ou=services,dc=example,dc=org";
/// An entry of the daemon's own to learn on how the server behaves; its password may be read, too.
pub const CANARY: &str = "uid=rekeyd-canary,ou=services,dc=example,dc=org";
/// The password of [`SERVICE`].
pub const SERVICE_PASSWORD: &str = "service-bind-Pw-4711";

/// The password of all administrators.
pub const ADMIN_PASSWORD: &str = "admin-bind-Pw-0815";
/// A server that takes longer to start, or to stop, is broken.
const LIMIT: Duration = Duration::from_secs(20);

/// The kinds of server that tests run against.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Variant {
    /// With no password policy and no `memberOf`, as many are.
    Bare,
    /// With quality, history, lockout, must-change and `memberOf`; hashes clear text.
    Policy,
}

/// A write that the server's own access log has recorded.
#[derive(Clone, Debug)]
pub struct Write {
    /// The entry, as it was called then.
    pub dn: String,
    /// The identity that wrote, in lower case. The server's own book-keeping appears under [`ADMIN`].
    pub by: String,
    /// `add`, `delete`, `modify` or `modrdn`.
    pub kind: String,
    /// The names of the attributes that were changed.
    pub attributes: BTreeSet<String>,
    /// When it began, in a form that sorts.
    pub time: String,
    /// The LDAP result code; 0 is success.
    pub result: u32,
    /// The connection that it came on.
    pub session: String,
}

/// A bind that the server's own access log has recorded.
#[derive(Clone, Debug)]
pub struct Bind {
    /// The entry that was named.
    pub dn: String,
    /// The connection that it came on.
    pub session: String,
}

impl Write {
    /// Whether the daemon wrote this.
    pub fn is_by_service(&self) -> bool {
        self.by.eq_ignore_ascii_case(SERVICE)
    }

    /// Whether this changed the password.
    pub fn sets_password(&self) -> bool {
        self.result == 0 && self.attributes.contains("userPassword")
    }
}

/// A running slapd on loopback, with a folder of its own.
pub struct Slapd {
    folder: PathBuf,
    variant: Variant,
    port: u16,
    tls_port: u16,
    process: Lock<Option<Process>>,
}

impl Slapd {
    /// The server of this kind that all tests of the run share. Tests keep apart by a branch of their own.
    pub async fn shared(variant: Variant) -> Arc<Self> {
        let mut lanes = LANES.lock().await;
        let lanes = lanes.get_or_insert_with(HashMap::new);
        if let Some(slapd) = lanes.get(&variant) {
            return Arc::clone(slapd);
        }
        let slapd = Self::fresh(variant).await;
        lanes.insert(variant, Arc::clone(&slapd));
        slapd
    }

    /// A server for one test alone, which may stop it.
    pub async fn fresh(variant: Variant) -> Arc<Self> {
        for _ in 0..5 {
            // Somebody else may be faster at one of the ports.
            if let Some(slapd) = Self::begin(variant, &Special::default(), free_port()).await {
                slapd.fill().await;
                return Arc::new(slapd);
            }
        }
        panic!("slapd does not start");
    }

    /// Starts an empty server that speaks clear text on this port; none where somebody else has the port.
    pub(crate) async fn begin(variant: Variant, special: &Special, port: u16) -> Option<Self> {
        let folder = scratch::folder("slapd");
        for part in ["db", "log"] {
            fs::create_dir(folder.join(part)).expect("a new folder");
        }
        fs::write(folder.join("slapd.conf"), slapd_config::text(variant, special, &folder)).expect("a written file");
        let tls_port = free_port();
        let process = Lock::new(Some(launch(&folder, port, tls_port, &[])));
        let slapd = Self { folder, variant, port, tls_port, process };
        if slapd.is_up().await {
            return Some(slapd);
        }
        eprintln!("slapd: {}", fs::read_to_string(slapd.folder.join("out")).unwrap_or_default());
        None
    }

    /// Where clear text is spoken.
    pub fn uri(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// Where TLS is spoken from the first byte.
    pub fn tls_uri(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.tls_port)
    }

    /// Where the kernel says who asks: the user that runs the tests is [`SERVICE`] there.
    pub fn socket_uri(&self) -> String {
        format!("ldapi://{}", self.folder.join("ldapi").display().to_string().replace('/', "%2F"))
    }

    /// What kind of server this is.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// Stops the server; its data and its ports are kept for [`Self::start`].
    pub fn stop(&self) {
        let process = self.process.lock().expect("the process").take();
        let mut process = process.expect("a running server");
        process.signal(Signal::SIGTERM);
        process.wait(LIMIT);
    }

    /// Starts the server again after [`Self::stop`].
    pub async fn start(&self) {
        self.start_in(&[]).await;
    }

    /// As [`Self::start`], with these variables in its environment.
    pub(crate) async fn start_in(&self, environment: &[(&str, &str)]) {
        let process = launch(&self.folder, self.port, self.tls_port, environment);
        *self.process.lock().expect("the process") = Some(process);
        assert!(self.is_up().await, "slapd does not start again");
    }

    /// Lets the server hang: connections are taken, nothing is answered, until [`Self::thaw`].
    pub fn freeze(&self) {
        let process = self.process.lock().expect("the process");
        let process = process.as_ref().expect("a running server");
        process.signal(Signal::SIGSTOP);
        let start = Instant::now();
        // On a busy machine one of its threads may still answer for a while.
        while !stopped(process.pid()) {
            assert!(start.elapsed() < LIMIT, "slapd does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends [`Self::freeze`].
    pub fn thaw(&self) {
        self.process.lock().expect("the process").as_ref().expect("a running server").signal(Signal::SIGCONT);
    }

    /// Whether this password lets this entry in. A wrong one counts as a failure there.
    pub async fn binds(&self, dn: &str, password: &str) -> bool {
        let mut ldap = connect(&self.uri()).await.expect("a connection");
        let result = ldap.simple_bind(dn, password).await.expect("an answer");
        assert!([0, 49].contains(&result.rc), "a bind was answered by {result:?}");
        result.rc == 0
    }

    /// All values of an attribute, operational ones too, as the administrator sees them.
    pub async fn values(&self, dn: &str, attribute: &str) -> Vec<String> {
        let mut ldap = self.admin().await;
        let found = ldap.search(dn, Scope::Base, "(objectClass=*)", [attribute]).await.expect("an answer");
        let (entries, _) = found.success().unwrap_or_else(|fault| panic!("{dn} can not be read: {fault}"));
        let entry = SearchEntry::construct(entries.into_iter().next().expect("the entry"));
        let text = entry.attrs.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case(attribute));
        let bytes = entry.bin_attrs.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case(attribute));
        let bytes = bytes.flat_map(|(_, values)| values).map(|value| String::from_utf8_lossy(&value).into_owned());
        text.flat_map(|(_, values)| values).chain(bytes).collect()
    }

    /// The only value of an attribute, if it has one.
    pub async fn attribute(&self, dn: &str, attribute: &str) -> Option<String> {
        let mut values = self.values(dn, attribute).await;
        assert!(values.len() < 2, "{dn} has several values of {attribute}");
        values.pop()
    }

    /// Whether there is such an entry.
    pub async fn exists(&self, dn: &str) -> bool {
        let found = self.admin().await.search(dn, Scope::Base, "(objectClass=*)", ["1.1"]).await.expect("an answer");
        found.1.rc == 0
    }

    /// Adds an entry as the administrator. A name may come several times.
    pub async fn add(&self, dn: &str, attributes: &[(&str, &str)]) {
        add(&mut self.admin().await, dn, attributes).await;
    }

    /// Gives an attribute exactly these values as the administrator, operational attributes too; none removes it.
    pub async fn set(&self, dn: &str, attribute: &str, values: &[&str]) {
        set(&mut self.admin().await, dn, attribute, values).await;
    }

    /// Removes an entry as the administrator.
    pub async fn delete(&self, dn: &str) {
        self.admin().await.delete(dn).await.expect("an answer").success().expect("a deletion");
    }

    /// Gives an entry a new first component, below a new parent if one is named.
    pub async fn rename(&self, dn: &str, rdn: &str, parent: Option<&str>) {
        self.admin().await.modifydn(dn, rdn, true, parent).await.expect("an answer").success().expect("a renaming");
    }

    /// Changes a password as its holder does with another program.
    pub async fn change_own_password(&self, dn: &str, old: &str, new: &str) {
        let mut ldap = connect(&self.uri()).await.expect("a connection");
        ldap.simple_bind(dn, old).await.expect("an answer").success().expect("the old password");
        let change = vec![Mod::Replace("userPassword", HashSet::from([new]))];
        ldap.modify(dn, change).await.expect("an answer").success().expect("a change");
    }

    /// Every attempt to write to this entry since it was made, in order.
    ///
    /// The log lists an entry under the name it had then, so after a renaming ask for both.
    pub async fn writes(&self, dn: &str) -> Vec<Write> {
        let filter = format!("(&(objectClass=auditWriteObject)(reqDN={}))", ldap3::ldap_escape(dn));
        self.recorded(&filter).await
    }

    /// Every attempt of the daemon to write below a branch, in order.
    pub async fn service_writes(&self, branch: &str) -> Vec<Write> {
        let branch = branch.to_lowercase();
        let mut writes = self.recorded(&format!("(&(objectClass=auditWriteObject)(reqAuthzID={SERVICE}))")).await;
        writes.retain(|write| write.dn.to_lowercase().ends_with(&branch));
        writes
    }

    /// Every bind so far, in order, whether it let somebody in or not.
    pub async fn bind_records(&self) -> Vec<Bind> {
        let binds = self.recorded("(objectClass=auditBind)").await.into_iter();
        binds.map(|bind| Bind { dn: bind.dn, session: bind.session }).collect()
    }

    async fn recorded(&self, filter: &str) -> Vec<Write> {
        let mut ldap = connect(&self.uri()).await.expect("a connection");
        ldap.simple_bind("cn=accesslog", ADMIN_PASSWORD).await.expect("an answer").success().expect("the log's owner");
        let names = ["reqAuthzID", "reqDN", "reqMod", "reqResult", "reqSession", "reqStart", "reqType"];
        let found = ldap.search("cn=accesslog", Scope::OneLevel, filter, names).await.expect("an answer");
        let (entries, _) = found.success().expect("the log");
        let mut writes: Vec<Write> = entries.into_iter().map(|entry| write(&SearchEntry::construct(entry))).collect();
        writes.sort_by(|left, right| left.time.cmp(&right.time));
        writes
    }

    /// A connection whose holder may do anything.
    pub async fn admin(&self) -> Ldap {
        let mut ldap = connect(&self.uri()).await.expect("a connection");
        ldap.simple_bind(ADMIN, ADMIN_PASSWORD).await.expect("an answer").success().expect("the administrator");
        ldap
    }

    /// A connection whose holder is taken for the daemon.
    pub async fn service(&self) -> Ldap {
        let mut ldap = connect(&self.uri()).await.expect("a connection");
        ldap.simple_bind(SERVICE, SERVICE_PASSWORD).await.expect("an answer").success().expect("the daemon's identity");
        ldap
    }

    /// Waits for the first answer; no when the server has ended.
    async fn is_up(&self) -> bool {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if self.process.lock().expect("the process").as_mut().expect("a server").ended().is_some() {
                return false;
            }
            if let Ok(mut ldap) = connect(&self.uri()).await
                && ldap.search("", Scope::Base, "(objectClass=*)", ["1.1"]).await.is_ok()
            {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("slapd does not answer");
    }

    /// What every directory holds: the suffix, the daemon's entries and the policies.
    pub(crate) async fn fill(&self) {
        let ldap = &mut self.admin().await;
        add(
            ldap,
            SUFFIX,
            &[("objectClass", "organization"), ("objectClass", "dcObject"), ("dc", "example"), ("o", "Example")],
        )
        .await;
        let services = format!("ou=services,{SUFFIX}");
        add(ldap, &services, &[("objectClass", "organizationalUnit")]).await;
        let role = [("objectClass", "organizationalRole"), ("objectClass", "simpleSecurityObject")];
        add(ldap, SERVICE, &[role[0], role[1], ("userPassword", SERVICE_PASSWORD)]).await;
        let canary =
            [("objectClass", "account"), ("objectClass", "simpleSecurityObject"), ("userPassword", "canary-Pw-2342")];
        add(ldap, CANARY, &canary).await;
        if self.variant == Variant::Policy {
            // Given by an administrator, so the policy would ask the daemon to change its own password first.
            set(ldap, SERVICE, "pwdReset", &[]).await;
            set(ldap, CANARY, "pwdReset", &[]).await;
            add(ldap, &format!("ou=policies,{SUFFIX}"), &[("objectClass", "organizationalUnit")]).await;
            add_policy(ldap, "default", &[]).await;
            add_policy(ldap, "ageing", &[("pwdMaxAge", "86400")]).await;
        }
    }
}

static LANES: Mutex<Option<HashMap<Variant, Arc<Slapd>>>> = Mutex::const_new(None);

/// Ends the shared servers. The end of the run calls it.
pub async fn stop_lanes() {
    LANES.lock().await.take();
}

/// Adds an entry over a connection that is already there.
pub async fn add(ldap: &mut Ldap, dn: &str, attributes: &[(&str, &str)]) {
    let mut grouped: HashMap<&str, HashSet<&str>> = HashMap::new();
    for (name, value) in attributes {
        grouped.entry(name).or_default().insert(value);
    }
    let result = ldap.with_controls(RelaxRules).add(dn, grouped.into_iter().collect()).await.expect("an answer");
    assert!(result.rc == 0, "{dn} can not be added: {result:?}");
}

/// Replaces the values of an attribute over a connection that is already there.
pub async fn set(ldap: &mut Ldap, dn: &str, attribute: &str, values: &[&str]) {
    let change = vec![Mod::Replace(attribute, values.iter().copied().collect())];
    let result = ldap.with_controls(RelaxRules).modify(dn, change).await.expect("an answer");
    assert!(result.rc == 0, "{attribute} of {dn} can not be set: {result:?}");
}

async fn add_policy(ldap: &mut Ldap, name: &str, more: &[(&str, &str)]) {
    let rules = [
        ("objectClass", "device"),
        ("objectClass", "pwdPolicy"),
        ("pwdAttribute", "userPassword"),
        ("pwdCheckQuality", "2"),
        ("pwdInHistory", "3"),
        ("pwdLockout", "TRUE"),
        ("pwdLockoutDuration", "300"),
        ("pwdMaxFailure", "3"),
        ("pwdMinLength", "8"),
        ("pwdMustChange", "TRUE"),
    ];
    let rules: Vec<_> = rules.iter().chain(more).copied().collect();
    add(ldap, &format!("cn={name},ou=policies,{SUFFIX}"), &rules).await;
}

/// Whether all threads of a process stand still.
fn stopped(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("the threads").filter_map(Result::ok);
    let state = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
    // The state follows the name in brackets.
    threads.map(state).all(|stat| stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T')))
}

/// Connects, in clear text.
pub async fn connect(uri: &str) -> ldap3::result::Result<Ldap> {
    let (connection, ldap) = LdapConnAsync::new(uri).await?;
    ldap3::drive!(connection);
    Ok(ldap)
}

fn write(entry: &SearchEntry) -> Write {
    let one = |name: &str| entry.attrs.get(name).and_then(|values| values.first()).cloned().unwrap_or_default();
    // A value of the log reads `mail:+ ada@example.org`; one that is not UTF-8 still begins with the name.
    let text = entry.attrs.get("reqMod").into_iter().flatten().map(|value| value.as_bytes().to_vec());
    let bytes = entry.bin_attrs.get("reqMod").into_iter().flatten().cloned();
    let attributes = text.chain(bytes).filter_map(|value| {
        let name = value.split(|byte| *byte == b':').next()?;
        (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
    });
    Write {
        dn: one("reqDN"),
        by: one("reqAuthzID").to_lowercase(),
        kind: one("reqType"),
        attributes: attributes.collect(),
        time: one("reqStart"),
        result: one("reqResult").parse().expect("a result code"),
        session: one("reqSession"),
    }
}

fn launch(folder: &Path, port: u16, tls_port: u16, environment: &[(&str, &str)]) -> Process {
    let socket = folder.join("ldapi").display().to_string().replace('/', "%2F");
    let listeners = format!("ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{tls_port}/ ldapi://{socket}/????x-mod=0777");
    let config = folder.join("slapd.conf");
    let arguments = ["-d", "0", "-f", config.to_str().expect("a path in UTF-8"), "-h", &listeners];
    Process::start_in(Path::new("/usr/sbin/slapd"), &arguments, environment, &folder.join("out"))
}
