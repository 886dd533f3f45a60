//! A smart host that follows a script: what it says at each step, where it hangs up, and what it saw.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// When the host encrypts.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Tls {
    Implicit,
    Never,
    Upgrade,
}

/// What the host does at a step that is not the usual: one thing after the other, separated by `|`. A thing is an answer
/// (lines end with CR LF by themselves), `raw:` with bytes, or one of `cut`, `reset`, `hang`, `pause`, `endless` (lines
/// without end) and `long` (a line without end). At `END` the letter counts as taken where the first thing is `took` or an
/// answer of success.
pub(crate) struct Script {
    pub(crate) tls: Tls,
    pub(crate) steps: HashMap<&'static str, &'static str>,
    pub(crate) certificate: &'static str,
    pub(crate) pipelining: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self { tls: Tls::Upgrade, steps: HashMap::new(), certificate: "localhost", pipelining: false }
    }
}

/// A running host; it ends with the test's runtime.
pub(crate) struct Smtp {
    pub(crate) port: u16,
    script: Arc<Mutex<Arc<Script>>>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    /// Each with whether it came encrypted.
    commands: Vec<(bool, String)>,
    letters: Vec<String>,
    /// How many pieces of bytes came, as the kernel handed them over.
    pieces: usize,
}

/// A connection whose end can be made a reset.
pub(crate) trait Line: AsyncRead + AsyncWrite + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl Line for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Line for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl Smtp {
    /// A host with some unusual steps.
    pub(crate) async fn with(tls: Tls, steps: &[(&'static str, &'static str)]) -> Self {
        Self::start(Script { tls, steps: steps.iter().copied().collect(), ..Script::default() }).await
    }

    pub(crate) async fn start(script: Script) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    /// A host behind a socket that listens already.
    pub(crate) fn on(listener: TcpListener, script: Script) -> Self {
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let script = Arc::new(Mutex::new(Arc::new(script)));
        let (play, told) = (Arc::clone(&script), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                told.lock().unwrap().connections += 1;
                let (script, seen) = (Arc::clone(&play), Arc::clone(&told));
                tokio::spawn(async move {
                    let now = Arc::clone(&script.lock().unwrap());
                    if now.tls == Tls::Implicit {
                        let Ok(stream) = acceptor(now.certificate).accept(stream).await else { return };
                        let _ = talk(stream, &script, &seen, true, true).await;
                    } else if let Some(stream) = talk(stream, &script, &seen, false, true).await {
                        let Ok(stream) = acceptor(now.certificate).accept(stream).await else { return };
                        let _ = talk(stream, &script, &seen, true, false).await;
                    }
                });
            }
        });
        Self { port, script, seen }
    }

    /// Does the usual from now on.
    pub(crate) fn heal(&self) {
        let mut script = self.script.lock().unwrap();
        *script = Arc::new(Script { tls: script.tls, pipelining: script.pipelining, ..Script::default() });
    }

    /// How many pieces of bytes came.
    pub(crate) fn pieces(&self) -> usize {
        self.seen.lock().unwrap().pieces
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

/// Speaks until the end; gives the stream back when the client wants encryption now.
async fn talk<S: Line>(
    mut stream: S,
    script: &Mutex<Arc<Script>>,
    seen: &Mutex<Seen>,
    encrypted: bool,
    greet: bool,
) -> Option<S> {
    let step = |name: &'static str| script.lock().unwrap().steps.get(name).copied();
    let mut heard: Vec<u8> = Vec::new();
    if greet {
        say(&mut stream, step("GREETING").unwrap_or("220 test ESMTP")).await?;
    }
    loop {
        let line = until(&mut stream, &mut heard, b"\r\n", seen).await?;
        seen.lock().unwrap().commands.push((encrypted, line.clone()));
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                let now = Arc::clone(&script.lock().unwrap());
                let usual = match (now.tls, encrypted, now.pipelining) {
                    (Tls::Upgrade, false, _) => "250-test\r\n250 STARTTLS",
                    (_, _, false) => "250-test\r\n250-SMTPUTF8\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN",
                    (_, _, true) => {
                        "250-test\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN"
                    }
                };
                let name = if encrypted { "EHLO" } else { "CLEAR-EHLO" };
                say(&mut stream, step(name).unwrap_or(usual)).await?;
            }
            "STARTTLS" => {
                let answer = step("STARTTLS").unwrap_or("220 go ahead");
                say(&mut stream, answer).await?;
                if answer.starts_with("220") {
                    return Some(stream);
                }
            }
            "AUTH" => {
                let asks: &[_] = if line == "AUTH LOGIN" { &["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"] } else { &[] };
                for ask in asks {
                    say(&mut stream, ask).await?;
                    let answer = until(&mut stream, &mut heard, b"\r\n", seen).await?;
                    seen.lock().unwrap().commands.push((encrypted, answer));
                }
                say(&mut stream, step("AUTH").unwrap_or("235 fine")).await?;
            }
            "MAIL" => say(&mut stream, step("MAIL").unwrap_or("250 fine")).await?,
            "RCPT" => say(&mut stream, step("RCPT").unwrap_or("250 fine")).await?,
            "NOOP" | "RSET" => say(&mut stream, "250 fine").await?,
            "DATA" => {
                let answer = step("DATA").unwrap_or("354 go ahead");
                say(&mut stream, answer).await?;
                if !answer.starts_with("354") {
                    continue;
                }
                let letter = until(&mut stream, &mut heard, b"\r\n.\r\n", seen).await?;
                let answer = step("END").unwrap_or("250 queued");
                if answer.starts_with("took") || answer.starts_with("250") {
                    seen.lock().unwrap().letters.push(format!("{}\r\n", letter.replace("\r\n..", "\r\n.")));
                }
                say(&mut stream, answer).await?;
                say(&mut stream, step("AFTER").unwrap_or("")).await?;
            }
            "QUIT" => {
                // Nobody waits for what comes here.
                say(&mut stream, step("QUIT").unwrap_or("221 bye")).await?;
                return None;
            }
            _ => say(&mut stream, "500 what?").await?,
        }
    }
}

/// Does what a step says; nothing more where the connection is at its end.
async fn say<S: Line>(stream: &mut S, things: &str) -> Option<()> {
    for thing in things.split('|') {
        match thing {
            "" | "took" => {}
            "cut" => return None,
            "hang" => std::future::pending().await,
            "pause" => tokio::time::sleep(Duration::from_millis(100)).await,
            "reset" => {
                stream.socket().set_zero_linger().unwrap();
                return None;
            }
            "endless" => loop {
                stream.write_all(b"250-more\r\n").await.ok()?;
            },
            "long" => loop {
                stream.write_all(&[b'x'; 1024]).await.ok()?;
            },
            _ => {
                let bytes = thing.strip_prefix("raw:").map_or_else(|| format!("{thing}\r\n"), str::to_owned);
                stream.write_all(bytes.as_bytes()).await.ok()?;
                stream.flush().await.ok()?;
            }
        }
    }
    Some(())
}

async fn until<S: Line>(stream: &mut S, heard: &mut Vec<u8>, end: &[u8], seen: &Mutex<Seen>) -> Option<String> {
    loop {
        if let Some(at) = heard.windows(end.len()).position(|window| window == end) {
            let line: Vec<u8> = heard.drain(..at + end.len()).take(at).collect();
            return String::from_utf8(line).ok();
        }
        if stream.read_buf(heard).await.ok()? == 0 {
            return None;
        }
        seen.lock().unwrap().pieces += 1;
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
