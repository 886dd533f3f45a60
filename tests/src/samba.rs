//! A real Active Directory: a Samba domain controller of the run's own, on an address of loopback that nobody else uses.
//!
//! Provisioned and started when the first test asks for it, shared by all others, which keep apart by a branch each.

use std::{
    collections::HashSet,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use ldap3::{Ldap, Mod, Scope, SearchEntry};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::{net::TcpStream, sync::Mutex, task::spawn_blocking};

use crate::{
    process::{Process, output},
    scratch,
    slapd::connect,
    tls,
};

/// The suffix of the domain.
pub const SUFFIX: &str = "DC=ad,DC=example,DC=org";
/// The domain in the names of sign-in.
pub const REALM: &str = "ad.example.org";

const ADMIN: &str = "administrator@ad.example.org";
const ADMIN_PASSWORD: &str = "Adm1n-bind-Pw-0815";
/// A server that takes longer to start is broken.
const LIMIT: Duration = Duration::from_mins(1);

/// A running domain controller.
pub struct Samba {
    folder: PathBuf,
    address: Ipv4Addr,
    process: Process,
}

impl Samba {
    /// The domain controller that all tests of the run share.
    pub async fn shared() -> Arc<Self> {
        let mut lane = LANE.lock().await;
        if let Some(samba) = &*lane {
            return Arc::clone(samba);
        }
        let samba = Self::fresh().await;
        *lane = Some(Arc::clone(&samba));
        samba
    }

    /// A domain controller for one test alone.
    pub async fn fresh() -> Arc<Self> {
        Arc::new(Self::begin().await)
    }

    async fn begin() -> Self {
        let address = free_address();
        let folder = spawn_blocking(move || provision(address)).await.expect("a provisioned domain");
        let samba = Self::start(folder, address).await;
        // The defaults of a domain, but for what would make tests wait, and a limit to wrong passwords.
        let rules = [("minPwdAge", "0"), ("lockoutThreshold", "3")];
        for (name, value) in rules {
            samba.change(SUFFIX, vec![Mod::Replace(name.as_bytes().to_vec(), one(value.as_bytes()))]).await;
        }
        samba
    }

    /// Another controller that holds what this one holds now, under the same identifiers, and hears of nothing that comes
    /// later. This one stands still while its files are copied, so the copy begins as after a power cut.
    pub async fn copy(&self) -> Arc<Self> {
        let (address, from) = (free_address(), self.folder.join("dc"));
        self.process.signal(Signal::SIGSTOP);
        let folder = spawn_blocking(move || copied(&from, address)).await;
        self.process.signal(Signal::SIGCONT);
        Arc::new(Self::start(folder.expect("a copied domain"), address).await)
    }

    async fn start(folder: PathBuf, address: Ipv4Addr) -> Self {
        let settings = folder.join("smb.conf");
        let arguments = ["-i", "-M", "single", "-s", settings.to_str().expect("a path in UTF-8")];
        let process = Process::start(&PathBuf::from("/usr/sbin/samba"), &arguments, &folder.join("out"));
        let mut samba = Self { folder, address, process };
        samba.comes_up().await;
        samba
    }

    /// Waits until clear text and TLS are both answered; TLS comes last.
    async fn comes_up(&mut self) {
        let start = Instant::now();
        loop {
            assert!(self.process.ended().is_none() && start.elapsed() < LIMIT, "samba: {}", self.process.log());
            let has_tls = TcpStream::connect(SocketAddr::from((self.address, 636))).await.is_ok();
            if has_tls
                && let Ok(mut ldap) = connect(&self.uri()).await
                && ldap.search("", Scope::Base, "(objectClass=*)", ["1.1"]).await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where clear text is spoken; this controller takes passwords there, as no real one does.
    pub fn uri(&self) -> String {
        format!("ldap://{}:389", self.address)
    }

    /// Where TLS is spoken from the first byte.
    pub fn tls_uri(&self) -> String {
        format!("ldaps://{}", self.address)
    }

    /// A connection whose holder may do anything.
    pub async fn admin(&self) -> Ldap {
        let mut ldap = connect(&self.uri()).await.expect("a connection");
        ldap.simple_bind(ADMIN, ADMIN_PASSWORD).await.expect("an answer").success().expect("the administrator");
        ldap
    }

    /// Changes an entry as the administrator.
    pub async fn change(&self, dn: &str, change: Vec<Mod<Vec<u8>>>) {
        let result = self.admin().await.modify(dn, change).await.expect("an answer");
        assert!(result.rc == 0, "{dn} can not be changed: {result:?}");
    }

    /// Changes an entry in the database itself, past the rules on passwords: the only way to an old password.
    pub async fn change_past_the_rules(&self, dn: &str, attribute: &str, value: &str) {
        let file = scratch::folder("ldif").join("change.ldif");
        let text = format!("dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n");
        fs::write(&file, text).expect("a written file");
        let mut command = Command::new("ldbmodify");
        command.arg("-H").arg(self.folder.join("dc/private/sam.ldb"));
        // DSDB_CONTROL_BYPASS_PASSWORD_HASH
        command.arg("--controls=local_oid:1.3.6.1.4.1.7165.4.3.12:0").arg(file);
        spawn_blocking(move || output(&mut command)).await.expect("ldbmodify");
    }

    /// Adds entries in LDIF to the database itself, all in one turn: many at once, as a tool that loads them does.
    pub async fn load(&self, entries: &str) {
        let file = scratch::folder("ldif").join("entries.ldif");
        fs::write(&file, entries).expect("a written file");
        let mut command = Command::new("ldbadd");
        command.arg("-H").arg(self.folder.join("dc/private/sam.ldb")).arg(file);
        spawn_blocking(move || output(&mut command)).await.expect("ldbadd");
    }

    /// Puts a rule before those that an entry has, in the words of SDDL.
    pub async fn allow(&self, dn: &str, rule: &str) {
        let mut command = Command::new("samba-tool");
        command.args(["dsacl", "set", "-s"]).arg(self.folder.join("smb.conf"));
        command.arg("-H").arg(self.folder.join("dc/private/sam.ldb"));
        command.arg(format!("--objectdn={dn}")).arg(format!("--sddl={rule}"));
        spawn_blocking(move || output(&mut command)).await.expect("samba-tool");
    }

    /// Runs commands that somebody would paste on the controller.
    pub async fn paste(&self, command: &str) {
        let sam = self.folder.join("dc/private/sam.ldb");
        let on = format!("-s {} -H {}", self.folder.join("smb.conf").display(), sam.display());
        let text = ["dsacl set", "dsacl get", "group removemembers"]
            .iter()
            .fold(command.replace("TOOLS", &on), |text, verb| {
                text.replace(&format!("samba-tool {verb} "), &format!("samba-tool {verb} {on} "))
            });
        spawn_blocking(move || Command::new("sh").arg("-c").arg(text).output())
            .await
            .expect("a shell")
            .expect("a shell");
    }

    /// The security identifier of somebody, in words.
    pub async fn sid(&self, dn: &str) -> String {
        let found = self.admin().await.search(dn, Scope::Base, "(objectClass=*)", ["objectSid"]).await;
        let (entries, _) = found.expect("an answer").success().expect("the entry");
        let entry = SearchEntry::construct(entries.into_iter().next().expect("the entry"));
        // Bytes that happen to be UTF-8 stand among the texts.
        let text = entry.attrs.get("objectSid").map(|values| values[0].as_bytes());
        let bytes = entry.bin_attrs.get("objectSid").map(|values| values[0].as_slice());
        sid_in_words(text.or(bytes).expect("an identifier"))
    }

    /// How often somebody with this security identifier has set the password of this entry, as the server's own log tells.
    pub fn password_writes(&self, dn: &str, by: &str) -> usize {
        let is_one = |line: &Value| {
            let told = &line["passwordChange"];
            let text = |name: &str| told[name].as_str().unwrap_or_default();
            text("status") == "Success" && text("userSid") == by && text("dn").eq_ignore_ascii_case(dn)
        };
        let log = self.process.log();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(is_one).count()
    }
}

/// How many addresses were tried by this run so far.
static TRIED: AtomicU8 = AtomicU8::new(0);

static LANE: Mutex<Option<Arc<Samba>>> = Mutex::const_new(None);

/// Ends the shared server. The end of the run calls it.
pub async fn stop_lane() {
    LANE.lock().await.take();
}

/// A password as the directory takes it: in quotes, in UTF-16.
pub fn quoted(password: &str) -> Vec<u8> {
    format!("\"{password}\"").encode_utf16().flat_map(u16::to_le_bytes).collect()
}

pub(crate) fn one(value: &[u8]) -> HashSet<Vec<u8>> {
    HashSet::from([value.to_vec()])
}

/// An address on which nobody answers to LDAP. The ports are fixed, so the address tells runs apart.
fn free_address() -> Ipv4Addr {
    let own = std::process::id().to_le_bytes();
    // Another test's may be under way and not answer yet.
    let first = TRIED.fetch_add(20, Ordering::Relaxed);
    (first..200)
        .map(|step| Ipv4Addr::new(127, 64 | (own[1] & 63), own[0], 1 + step))
        .find(|address| [389, 636, 3268, 3269].iter().all(|port| TcpListener::bind((*address, *port)).is_ok()))
        .expect("a free address; the ports below 1024 are root's alone, so the tests must be root")
}

/// Makes a domain in a folder of its own. Takes some seconds of computing.
fn provision(address: Ipv4Addr) -> PathBuf {
    let folder = scratch::folder("samba");
    let data = folder.join("dc");
    output(
        Command::new("samba-tool")
            .args(["domain", "provision", "--realm=AD.EXAMPLE.ORG", "--domain=ADX", "--server-role=dc"])
            .args(["--dns-backend=NONE", "--use-rfc2307", "--host-name=dc1", "--configfile=/dev/null"])
            .arg(format!("--host-ip={address}"))
            .arg(format!("--adminpass={ADMIN_PASSWORD}"))
            .arg(format!("--targetdir={}", data.display()))
            .args(["--option=interfaces=lo", "--option=bind interfaces only=yes"]),
    );
    for part in ["log", "run", "ncalrpc", "cache"] {
        fs::create_dir_all(data.join(part)).expect("a new folder");
    }
    // What the provision wrote copies the machine's own settings.
    fs::write(folder.join("smb.conf"), settings(&data.display().to_string(), address)).expect("a written file");
    folder
}

/// Copies the files of a domain into a folder of its own.
fn copied(from: &Path, address: Ipv4Addr) -> PathBuf {
    let folder = scratch::folder("samba");
    let data = folder.join("dc");
    output(Command::new("cp").arg("-a").arg(from).arg(&data));
    // The process number there is of the other one.
    fs::remove_dir_all(data.join("run")).expect("a removed folder");
    fs::create_dir(data.join("run")).expect("a new folder");
    fs::write(folder.join("smb.conf"), settings(&data.display().to_string(), address)).expect("a written file");
    folder
}

fn settings(data: &str, address: Ipv4Addr) -> String {
    let server = tls::server_at(address);
    let (certificate, key, authority) =
        (server.certificate.display(), server.key.display(), tls::authority().display());
    format!(
        "[global]\n\
         netbios name = DC1\n\
         workgroup = ADX\n\
         realm = AD.EXAMPLE.ORG\n\
         server role = active directory domain controller\n\
         server services = ldap\n\
         interfaces = {address}/8\n\
         bind interfaces only = yes\n\
         old password allowed period = 0\n\
         # A proxy of the tests can read clear text only.\n\
         ldap server require strong auth = no\n\
         private dir = {data}/private\n\
         state directory = {data}/state\n\
         cache directory = {data}/cache\n\
         lock directory = {data}\n\
         pid directory = {data}/run\n\
         ncalrpc dir = {data}/ncalrpc\n\
         binddns dir = {data}/bind-dns\n\
         logging = file\n\
         log file = {data}/log/%m.log\n\
         log level = 0 dsdb_password_json_audit:5\n\
         tls keyfile = {key}\n\
         tls certfile = {certificate}\n\
         tls cafile = {authority}\n\
         [sysvol]\n\
         path = {data}/state/sysvol\n"
    )
}

fn sid_in_words(bytes: &[u8]) -> String {
    let authority = bytes[2..8].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let parts = bytes[8..].chunks_exact(4).map(|part| u32::from_le_bytes(part.try_into().expect("four bytes")));
    parts.fold(format!("S-{}-{authority}", bytes[0]), |words, part| format!("{words}-{part}"))
}
