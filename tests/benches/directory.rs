//! The directory of the measurements: a slapd with a password policy and many people, that syncs what it writes.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rekeyd_tests::{
    process::{Process, free_port, output},
    scratch,
    slapd::{ADMIN, CANARY, SERVICE, SERVICE_PASSWORD, SUFFIX},
};

/// Everybody's password.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// How many are locked by an administrator.
pub(crate) const INELIGIBLE: u64 = 2_000;

/// How passwords are hashed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hash {
    Argon2,
    Ssha,
}

impl Hash {
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Argon2 => "{ARGON2}",
            Self::Ssha => "{SSHA}",
        }
    }
}

/// Somebody to ask for. All three kinds of name have the same length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Who {
    /// Active, with a mail address.
    Known,
    /// Locked by an administrator.
    Ineligible,
    /// In no directory.
    Unknown,
}

impl Who {
    /// The login name of the one of this number.
    pub(crate) fn login(self, number: u64) -> String {
        let kind = match self {
            Self::Known => 'k',
            Self::Ineligible => 'i',
            Self::Unknown => 'u',
        };
        format!("{kind}{number:07}")
    }
}

/// A running slapd. Dropping it ends it.
pub(crate) struct Directory {
    process: Process,
    port: u16,
    /// How many are active.
    pub(crate) people: u64,
}

impl Directory {
    /// Makes a directory with so many people who are active, and [`INELIGIBLE`] others.
    pub(crate) fn start(hash: Hash, people: u64) -> Self {
        let folder = scratch::folder("slapd");
        fs::create_dir(folder.join("db")).expect("a new folder");
        fs::write(folder.join("slapd.conf"), config(&folder, hash)).expect("a written file");
        fs::write(folder.join("people.ldif"), ldif(hash, people)).expect("a written file");
        let text = |path: PathBuf| path.display().to_string();
        let (config, people_file) = (text(folder.join("slapd.conf")), text(folder.join("people.ldif")));
        output(Command::new("/usr/sbin/slapadd").args(["-q", "-f", &config, "-b", SUFFIX, "-l", &people_file]));
        for _ in 0..5 {
            let port = free_port();
            let listener = format!("ldap://127.0.0.1:{port}/");
            let arguments = ["-d", "0", "-f", &config, "-h", &listener];
            let mut process = Process::start(Path::new("/usr/sbin/slapd"), &arguments, &folder.join("out"));
            let start = Instant::now();
            while process.ended().is_none() {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                    return Self { process, port, people };
                }
                assert!(start.elapsed() < Duration::from_secs(20), "slapd does not answer: {}", process.log());
                thread::sleep(Duration::from_millis(5));
            }
            // Somebody was faster at the port.
        }
        panic!("slapd does not start: {}", fs::read_to_string(folder.join("out")).unwrap_or_default());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Takes connections and answers nothing, until [`Self::answer_again`].
    pub(crate) fn fall_silent(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    pub(crate) fn answer_again(&self) {
        self.process.signal(Signal::SIGCONT);
    }
}

/// The entry of somebody.
pub(crate) fn dn(login: &str) -> String {
    format!("uid={login},ou=people,{SUFFIX}")
}

/// The group whose members are privileged.
pub(crate) fn admins() -> String {
    format!("cn=admins,ou=groups,{SUFFIX}")
}

fn config(folder: &Path, hash: Hash) -> String {
    let folder = folder.display();
    let scheme = hash.scheme();
    format!(
        r#"
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
moduleload memberof
moduleload argon2
password-hash {scheme}
sizelimit 2000
database mdb
suffix {SUFFIX}
rootdn {ADMIN}
directory {folder}/db
maxsize 17179869184
limits dn.exact="{SERVICE}" size.pr=1000 size.prtotal=unlimited
index objectClass,uid,mail,member,memberOf,entryUUID,entryCSN eq
access to dn.exact="{CANARY}" attrs=userPassword
  by dn.exact="{SERVICE}" write by self =xw by anonymous auth by * none
access to attrs=userPassword
  by dn.exact="{SERVICE}" =xw by self =xw by anonymous auth by * none
access to attrs=pwdReset
  by dn.exact="{SERVICE}" manage by self read by * none
access to *
  by dn.exact="{SERVICE}" read by self read by users =x by * none
overlay memberof
overlay ppolicy
ppolicy_default cn=default,ou=policies,{SUFFIX}
ppolicy_hash_cleartext
ppolicy_use_lockout
"#
    )
}

fn ldif(hash: Hash, people: u64) -> String {
    let hashed = |password: &str| {
        let module = ["-o", "module-path=/usr/lib/ldap", "-o", "module-load=argon2"];
        let mut command = Command::new("/usr/sbin/slappasswd");
        output(command.args(module).args(["-h", hash.scheme(), "-n", "-s", password]))
    };
    let (everybody, service) = (hashed(PASSWORD), hashed(SERVICE_PASSWORD));
    let mut text = format!(
        "dn: {SUFFIX}\nobjectClass: organization\nobjectClass: dcObject\ndc: example\no: Example\n\n\
         dn: {SERVICE}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: rekeyd\nuserPassword: {service}\n\n\
         dn: {CANARY}\nobjectClass: account\nobjectClass: simpleSecurityObject\nuid: rekeyd-canary\nuserPassword: {service}\n\n\
         dn: cn=default,ou=policies,{SUFFIX}\nobjectClass: device\nobjectClass: pwdPolicy\ncn: default\n\
         pwdAttribute: userPassword\npwdCheckQuality: 2\npwdInHistory: 3\npwdLockout: TRUE\npwdLockoutDuration: 300\n\
         pwdMaxFailure: 3\npwdMinLength: 8\n\n"
    );
    let boss = dn("boss");
    write!(text, "dn: {}\nobjectClass: groupOfNames\ncn: admins\nmember: {boss}\n\n", admins()).expect("a text");
    let mut person = |login: &str, more: &str| {
        write!(
            text,
            "dn: {}\nobjectClass: inetOrgPerson\nuid: {login}\ncn: {login}\nsn: {login}\nmail: {login}@example.org\n\
             userPassword: {everybody}\npwdChangedTime: 20250101000000Z\n{more}\n",
            dn(login)
        )
        .expect("a text");
    };
    person("boss", &format!("memberOf: {}\n", admins()));
    for number in 0..people {
        person(&Who::Known.login(number), "");
    }
    for number in 0..INELIGIBLE {
        person(&Who::Ineligible.login(number), "pwdAccountLockedTime: 000001010000Z\n");
    }
    // Parents come first.
    let (suffix, rest) = text.split_once("\n\n").expect("the suffix");
    let units = ["services", "policies", "groups", "people"]
        .map(|unit| format!("dn: ou={unit},{SUFFIX}\nobjectClass: organizationalUnit\nou: {unit}\n\n"));
    format!("{suffix}\n\n{}{rest}", units.concat())
}
