//! A client for the doors: what was sent and what came back, with nothing in between.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, SET_COOKIE},
};
use hyper_util::rt::TokioIo;
use regex::Regex;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// No answer takes longer, unless something hangs.
const LIMIT: Duration = Duration::from_mins(1);

/// Where a door is. Every call is a connection of its own.
#[derive(Clone, Debug)]
pub enum Door {
    /// On TCP.
    Tcp(SocketAddr),
    /// On a Unix socket.
    Unix(PathBuf),
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, in order.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|fault| panic!("no JSON ({fault}): {:?}", self.body))
    }

    /// A header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    /// The cookies that the answer sets, as the next request sends them.
    pub fn cookies(&self) -> String {
        let set = self.headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().expect("ASCII"));
        set.map(|cookie| cookie.split(';').next().unwrap_or_default()).collect::<Vec<_>>().join("; ")
    }

    /// What a browser would send without being asked: the hidden fields of the page's form.
    pub fn hidden_fields(&self) -> Vec<(String, String)> {
        let input = Regex::new(r#"<input[^>]*type="?hidden[^>]*>"#).expect("a pattern");
        let attribute = |tag: &str, name: &str| {
            let pattern = Regex::new(&format!(r#"{name}="([^"]*)""#)).expect("a pattern");
            pattern.captures(tag).map(|found| found[1].replace("&#x2f;", "/").replace("&amp;", "&")).unwrap_or_default()
        };
        let page = self.text();
        input.find_iter(&page).map(|tag| (attribute(tag.as_str(), "name"), attribute(tag.as_str(), "value"))).collect()
    }
}

impl Door {
    /// Asks for a page.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    /// Sends a form.
    pub async fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.post_form_with(path, &[], fields).await
    }

    /// Sends a form with more headers.
    pub async fn post_form_with(&self, path: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Answer {
        let kind = [(CONTENT_TYPE.as_str(), "application/x-www-form-urlencoded")];
        self.send(Method::POST, path, &[&kind, headers].concat(), form(fields).into()).await
    }

    /// Asks for a page with a form, fills it in as a person does, and sends it as a browser does.
    pub async fn fill_form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let page = self.get(path).await;
        let hidden = page.hidden_fields();
        let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let fields: Vec<_> = hidden.chain(fields.iter().copied()).collect();
        let cookies = page.cookies();
        let headers = [(COOKIE.as_str(), cookies.as_str())];
        self.post_form_with(path, if cookies.is_empty() { &[] } else { &headers }, &fields).await
    }

    /// Sends JSON, with a key if one is given.
    pub async fn post_json(&self, path: &str, key: Option<&str>, body: &Value) -> Answer {
        let bearer = key.map(|key| format!("Bearer {key}"));
        let mut headers = vec![(CONTENT_TYPE.as_str(), "application/json")];
        headers.extend(bearer.as_deref().map(|bearer| (AUTHORIZATION.as_str(), bearer)));
        self.send(Method::POST, path, &headers, body.to_string().into()).await
    }

    /// Sends any request.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
        self.try_send(method, path, headers, body).await.unwrap_or_else(|| panic!("no answer from {path}"))
    }

    /// As [`Self::send`], where the far end may die: `None` where no whole answer comes.
    pub async fn try_send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(HOST.as_str())) {
            request = request.header(HOST, self.host());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).expect("a request");
        let call = async {
            match self {
                Self::Tcp(address) => exchange(TcpStream::connect(address).await.ok()?, request).await,
                Self::Unix(path) => exchange(UnixStream::connect(path).await.ok()?, request).await,
            }
        };
        timeout(LIMIT, call).await.ok()?
    }

    /// The name of the door, as a client that knows nothing better calls it.
    fn host(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    /// Sends these bytes and gives every byte that comes back until the end; ask for `Connection: close`.
    pub async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        self.try_raw(bytes).await.expect("an answer")
    }

    /// As [`Self::raw`], where the connection may break.
    ///
    /// # Errors
    /// What the system says of the connection.
    pub async fn try_raw(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let call = async {
            match self {
                Self::Tcp(address) => pour(TcpStream::connect(address).await?, bytes).await,
                Self::Unix(path) => pour(UnixStream::connect(path).await?, bytes).await,
            }
        };
        timeout(LIMIT, call).await.expect("an end of the answer")
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Option<Answer> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.ok()?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    connection.abort();
    Some(Answer { status: head.status, headers: head.headers, body })
}

async fn pour(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The body that a browser sends for a form.
pub fn form(fields: &[(&str, &str)]) -> String {
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    fields.join("&")
}

/// Percent-encodes everything but letters and digits.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
