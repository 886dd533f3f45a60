//! A certificate authority for one run, and certificates by it: good ones, and bad ones that must be refused.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{process::output, scratch};

/// A certificate and its key, as PEM files.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate alone: the authority signs directly.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug)]
pub enum Flaw {
    /// That of an authority, which says so.
    Authority,
    /// For clients alone.
    ClientOnly,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
    /// Signed by itself.
    SelfSigned,
    /// Signed over a SHA-1 sum.
    Sha1,
    /// Signed by an authority that nobody trusts.
    Stranger,
    /// Right in every way, for another host.
    WrongName,
}

/// The file of the authority that tests trust.
pub fn authority() -> &'static Path {
    static AUTHORITY: OnceLock<PathBuf> = OnceLock::new();
    AUTHORITY.get_or_init(|| make_authority("ca"))
}

/// The certificate of every well-behaved server: `localhost` and `127.0.0.1`.
pub fn server() -> &'static Certificate {
    static SERVER: OnceLock<Certificate> = OnceLock::new();
    SERVER
        .get_or_init(|| sign("server", authority(), "DNS:localhost,IP:127.0.0.1", "20200101000000Z", "20991231000000Z"))
}

/// The certificate of a well-behaved server that listens on another address of loopback as well.
pub fn server_at(address: Ipv4Addr) -> Certificate {
    let names = format!("DNS:localhost,IP:127.0.0.1,IP:{address}");
    sign("server", authority(), &names, "20200101000000Z", "20991231000000Z")
}

/// A certificate with exactly one thing wrong.
pub fn flawed(flaw: Flaw) -> Certificate {
    let (names, start, end) = ("DNS:localhost,IP:127.0.0.1", "20200101000000Z", "20991231000000Z");
    let with = |usage: &str, authority: &str| {
        format!("subjectAltName={names}\nextendedKeyUsage={usage}\nbasicConstraints=CA:{authority}")
    };
    match flaw {
        Flaw::Authority => {
            issue("authority", authority(), &with("serverAuth\nkeyUsage=keyCertSign", "TRUE"), "sha256", (start, end))
        }
        Flaw::ClientOnly => issue("client-only", authority(), &with("clientAuth", "FALSE"), "sha256", (start, end)),
        Flaw::Expired => sign("expired", authority(), names, start, "20200102000000Z"),
        Flaw::NotYet => sign("not-yet", authority(), names, "20981231000000Z", end),
        Flaw::SelfSigned => self_signed(names),
        Flaw::Sha1 => issue("sha1", authority(), &with("serverAuth", "FALSE"), "sha1", (start, end)),
        Flaw::Stranger => sign("stranger", &make_authority("stranger-ca"), names, start, end),
        Flaw::WrongName => sign("wrong-name", authority(), "DNS:elsewhere.example.org", start, end),
    }
}

fn make_authority(name: &str) -> PathBuf {
    let folder = scratch::folder(name);
    let certificate = folder.join("ca.pem");
    new_key(&folder.join("ca.key"));
    output(
        openssl(&folder)
            .args(["req", "-x509", "-new", "-key", "ca.key", "-days", "30", "-subj", "/CN=test authority"])
            .args(["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"])
            .arg("-out")
            .arg(&certificate),
    );
    certificate
}

/// A good certificate in all but its lack of an authority.
fn self_signed(names: &str) -> Certificate {
    let folder = scratch::folder("self-signed");
    let signed = Certificate { certificate: folder.join("cert.pem"), key: folder.join("cert.key") };
    new_key(&signed.key);
    output(
        openssl(&folder)
            .args(["req", "-x509", "-new", "-key", "cert.key", "-days", "30", "-subj", "/CN=localhost"])
            .args(["-addext", &format!("subjectAltName={names}"), "-addext", "extendedKeyUsage=serverAuth"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out", "cert.pem"]),
    );
    signed
}

/// Signs a server's certificate.
fn sign(name: &str, authority: &Path, names: &str, start: &str, end: &str) -> Certificate {
    let says = format!("subjectAltName={names}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE");
    issue(name, authority, &says, "sha256", (start, end))
}

/// Signs with `openssl ca`, because `openssl x509` can not set both ends of the time before version 3.4.
fn issue(name: &str, authority: &Path, says: &str, sum: &str, (start, end): (&str, &str)) -> Certificate {
    let folder = scratch::folder(name);
    let signed = Certificate { certificate: folder.join("cert.pem"), key: folder.join("cert.key") };
    new_key(&signed.key);
    let authority = authority.parent().expect("a folder").display();
    let config = format!(
        "[ca]\ndefault_ca=test\n[test]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\ndefault_md={sum}\n\
         policy=any\nemail_in_dn=no\ncertificate={authority}/ca.pem\nprivate_key={authority}/ca.key\n\
         unique_subject=no\n[any]\ncommonName=supplied\n[server]\n{says}\n"
    );
    fs::write(folder.join("openssl.cnf"), config).expect("a written file");
    fs::write(folder.join("index"), "").expect("a written file");
    output(openssl(&folder).args(["req", "-new", "-key", "cert.key", "-subj", "/CN=localhost", "-out", "cert.csr"]));
    output(
        openssl(&folder)
            .args(["ca", "-batch", "-notext", "-config", "openssl.cnf", "-extensions", "server", "-in", "cert.csr"])
            .args(["-startdate", start, "-enddate", end, "-out", "cert.pem"]),
    );
    signed
}

fn new_key(file: &Path) {
    let folder = file.parent().expect("a folder");
    output(
        openssl(folder).args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"]).arg(file),
    );
}

fn openssl(folder: &Path) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(folder);
    command
}
