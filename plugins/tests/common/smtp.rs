//! A smart host that follows a script: what it says at each step, where it hangs up, and what it saw.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// When the host encrypts.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Tls {
    Implicit,
    Never,
    Upgrade,
}

/// What the host does at a step that is not the usual: an answer (lines end with CR LF by themselves), `cut` or `hang`.
pub(crate) struct Script {
    pub(crate) tls: Tls,
    pub(crate) steps: HashMap<&'static str, &'static str>,
    pub(crate) certificate: &'static str,
}

impl Default for Script {
    fn default() -> Self {
        Self { tls: Tls::Upgrade, steps: HashMap::new(), certificate: "localhost" }
    }
}

/// A running host; it ends with the test's runtime.
pub(crate) struct Smtp {
    pub(crate) port: u16,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    /// Each with whether it came encrypted.
    commands: Vec<(bool, String)>,
    letters: Vec<String>,
}

impl Smtp {
    /// A host with some unusual steps.
    pub(crate) async fn with(tls: Tls, steps: &[(&'static str, &'static str)]) -> Self {
        Self::start(Script { tls, steps: steps.iter().copied().collect(), ..Script::default() }).await
    }

    pub(crate) async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (script, told) = (Arc::new(script), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                told.lock().unwrap().connections += 1;
                let (script, seen) = (Arc::clone(&script), Arc::clone(&told));
                tokio::spawn(async move {
                    if script.tls == Tls::Implicit {
                        let Ok(stream) = acceptor(script.certificate).accept(stream).await else { return };
                        let _ = talk(stream, &script, &seen, true, true).await;
                        return;
                    }
                    let mut stream = stream;
                    if talk(&mut stream, &script, &seen, false, true).await == Some(()) {
                        let Ok(stream) = acceptor(script.certificate).accept(stream).await else { return };
                        let _ = talk(stream, &script, &seen, true, false).await;
                    }
                });
            }
        });
        Self { port, seen }
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    pub(crate) fn letters(&self) -> Vec<String> {
        self.seen.lock().unwrap().letters.clone()
    }

    /// All commands, those in clear text marked.
    pub(crate) fn commands(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.commands.iter().map(|(safe, line)| if *safe { line.clone() } else { format!("clear {line}") }).collect()
    }
}

/// Speaks until the end; `Some` when the client wants encryption now.
async fn talk<S>(mut stream: S, script: &Script, seen: &Mutex<Seen>, encrypted: bool, greet: bool) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let step = |name: &'static str, usual: &'static str| script.steps.get(name).copied().unwrap_or(usual);
    let mut heard: Vec<u8> = Vec::new();
    if greet {
        say(&mut stream, step("GREETING", "220 test ESMTP")).await?;
    }
    loop {
        let line = until(&mut stream, &mut heard, b"\r\n").await?;
        seen.lock().unwrap().commands.push((encrypted, line.clone()));
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                let usual = match (script.tls, encrypted) {
                    (Tls::Upgrade, false) => "250-test\r\n250 STARTTLS",
                    _ => "250-test\r\n250-SMTPUTF8\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN",
                };
                say(&mut stream, step(if encrypted { "EHLO" } else { "CLEAR-EHLO" }, usual)).await?;
            }
            "STARTTLS" => {
                say(&mut stream, step("STARTTLS", "220 go ahead")).await?;
                return (script.steps.get("STARTTLS").is_none_or(|said| said.starts_with("220"))).then_some(());
            }
            "AUTH" if line == "AUTH LOGIN" => {
                for ask in ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"] {
                    say(&mut stream, ask).await?;
                    let answer = until(&mut stream, &mut heard, b"\r\n").await?;
                    seen.lock().unwrap().commands.push((encrypted, answer));
                }
                say(&mut stream, step("AUTH", "235 fine")).await?;
            }
            "AUTH" => say(&mut stream, step("AUTH", "235 fine")).await?,
            "MAIL" => say(&mut stream, step("MAIL", "250 fine")).await?,
            "RCPT" => say(&mut stream, step("RCPT", "250 fine")).await?,
            "NOOP" => say(&mut stream, step("NOOP", "250 fine")).await?,
            "DATA" => {
                say(&mut stream, step("DATA", "354 go ahead")).await?;
                if script.steps.get("DATA").is_some_and(|said| !said.starts_with("354")) {
                    continue;
                }
                let letter = until(&mut stream, &mut heard, b"\r\n.\r\n").await?;
                seen.lock().unwrap().letters.push(format!("{}\r\n", letter.replace("\r\n..", "\r\n.")));
                say(&mut stream, step("END", "250 queued")).await?;
                say(&mut stream, step("AFTER", "")).await?;
            }
            "QUIT" => return None,
            _ => say(&mut stream, "500 what?").await?,
        }
    }
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, answer: &str) -> Option<()> {
    match answer {
        "" => return Some(()),
        "cut" => return None,
        "hang" => std::future::pending().await,
        _ => stream.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?,
    }
    stream.flush().await.ok()
}

async fn until<S: AsyncRead + Unpin>(stream: &mut S, heard: &mut Vec<u8>, end: &[u8]) -> Option<String> {
    loop {
        if let Some(at) = heard.windows(end.len()).position(|window| window == end) {
            let line: Vec<u8> = heard.drain(..at + end.len()).take(at).collect();
            return String::from_utf8(line).ok();
        }
        if stream.read_buf(heard).await.ok()? == 0 {
            return None;
        }
    }
}

/// The certificate of the authority that signed all hosts.
pub(crate) fn authority() -> PathBuf {
    certificates().join("ca.pem")
}

fn acceptor(name: &str) -> TlsAcceptor {
    let file = |ending: &str| certificates().join(format!("{name}.{ending}"));
    let chain = CertificateDer::pem_file_iter(file("pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()))
}

/// An authority, and certificates for `localhost` and for another name, made once by `openssl`.
fn certificates() -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "a test makes its certificates by openssl")]
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let script = r#"set -e
            new() { openssl ecparam -name prime256v1 -genkey -noout -out $1.key; }
            new ca; openssl req -x509 -new -key ca.key -subj /CN=test-authority -days 2 -out ca.pem
            for name in localhost other.example; do
                new $name; openssl req -new -key $name.key -subj /CN=$name -out $name.csr
                echo "subjectAltName=DNS:$name" > $name.ext
                openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile $name.ext -out $name.pem
            done"#;
        let made = Command::new("sh").args(["-c", script]).current_dir(folder.path()).output().unwrap();
        assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        folder
    });
    folder.path().to_owned()
}
