//! The door itself: checks what every request must pass, hands it to its story, and dresses what comes back.
//!
//! The order is that of cost: target, host, route, method, who asks, where the form comes from, media type; then the
//! body; then the story. A panic ends in a 500, a story that does not end in time in a 503, or, where a password may be
//! on its way, in the truth that nobody knows.

use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures_util::FutureExt;
use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use rekeyd_core::domain::Timestamp;
use tokio::sync::{Semaphore, watch};
use zeroize::Zeroizing;

use super::alarm::Alarm;
use super::answer::{self, Refusal};
use super::clients::Client;
use super::config::Config;
use super::forwarded::Malformed;
use super::page::{Frame, Page, STYLE, Say, Templates, Text};
use super::request::{self, Site};
use super::response::{Answer, Dress};
use super::routes::{self, Audience, Endpoint, Route};
use super::server::{Peer, Server};
use super::{alarm, forwarded, hook, language, pages};
use crate::flow::{Identity, Rekeyd, health};

/// The HTTP door.
pub struct Door {
    rekeyd: Arc<Rekeyd>,
    templates: Templates,
    setting: RwLock<Arc<Setting>>,
    free: Semaphore,
    alarm: Alarm,
}

/// What a reload exchanges, all together.
pub(super) struct Setting {
    pub(super) config: Config,
    pub(super) site: Site,
    identity: Identity,
    dress: Dress,
    /// Pages that are the same for everybody, by name and language.
    still: Mutex<HashMap<(&'static str, String), Bytes>>,
}

impl Setting {
    fn new(config: Config, identity: Identity) -> Self {
        let site = Site::new(&identity.public_url, config.hosts.clone());
        let dress = Dress::new(STYLE, site.https);
        Self { config, site, identity, dress, still: Mutex::default() }
    }
}

/// A request that has passed all checks, with all that its story needs.
pub(super) struct Call {
    pub(super) door: Arc<Door>,
    pub(super) rekeyd: Arc<Rekeyd>,
    pub(super) setting: Arc<Setting>,
    /// The client's address, behind the trusted proxies.
    pub(super) client: IpAddr,
    /// The text in the path where a token stands.
    pub(super) token: Option<Zeroizing<String>>,
    pub(super) languages: Vec<String>,
    pub(super) body: Zeroizing<Vec<u8>>,
    pub(super) now: Timestamp,
}

impl Call {
    /// A page as an answer.
    pub(super) fn page(&self, status: StatusCode, page: &Page) -> Answer {
        self.door.page(&self.setting, &self.languages, status, page)
    }

    /// A text in one of these languages.
    pub(super) fn say(&self, languages: &[String], text: &Text) -> String {
        let args: Vec<_> = text.args.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.rekeyd.say(languages, &text.id, &args)
    }
}

impl Door {
    /// A door to these stories.
    ///
    /// # Errors
    /// Words, where a built-in template is broken.
    pub fn new(rekeyd: Arc<Rekeyd>, config: Config) -> Result<Self, String> {
        let templates = Templates::new().map_err(|error| format!("a page's template is broken: {error}"))?;
        let free = Semaphore::new(config.limits.requests);
        let setting = Setting::new(config, rekeyd.identity());
        Ok(Self { rekeyd, templates, setting: RwLock::new(Arc::new(setting)), free, alarm: Alarm::default() })
    }

    /// Takes a new configuration, and the present identity and words with it; `listen` and the limits stay until a
    /// restart. To be called after [`Rekeyd::exchange`].
    pub fn reload(&self, config: Config) {
        let Config { listen, limits, .. } = self.setting().config;
        let setting = Arc::new(Setting::new(Config { listen, limits, ..config }, self.rekeyd.identity()));
        *self.setting.write().unwrap_or_else(PoisonError::into_inner) = setting;
    }

    /// Serves until `stop` turns true, then ends in order: what is in work is answered.
    pub async fn run(self: Arc<Self>, server: Server, stop: watch::Receiver<bool>) {
        let limits = self.setting().config.limits;
        let near = |ip: IpAddr| ip.is_loopback() || self.setting().config.trusts(ip);
        let door = Arc::clone(&self);
        let handle = move |request, peer| Arc::clone(&door).handle(request, peer);
        server.run(limits, near, handle, stop).await;
    }

    fn setting(&self) -> Arc<Setting> {
        Arc::clone(&self.setting.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers one request, whatever it is.
    pub async fn handle<B>(self: Arc<Self>, request: Request<B>, peer: Peer) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let setting = self.setting();
        let (head, body) = request.into_parts();
        let languages = request::single(&head.headers, "accept-language").ok().flatten().map(language::accepted);
        let languages = languages.unwrap_or_default();
        let audience = routes::audience(head.uri.path(), &setting.site.base);
        let refuse = |refusal: &Refusal| match audience {
            Audience::People => {
                let (status, page) = refusal.page();
                refusal.with_headers(self.page(&setting, &languages, status, &page))
            }
            Audience::Programs => refusal.problem(),
        };
        let lines = head.headers.get_all("x-forwarded-for").iter();
        let trusts = |ip| setting.config.trusts(ip);
        let client = forwarded::client_address(peer.remote.ip(), lines.map(HeaderValue::as_bytes), trusts);
        let work = self.work(&setting, &head, body, peer, client, &languages);
        let answer = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(Ok(answer)) => answer,
            Ok(Err(refusal)) => {
                self.alarm.refused(&refusal, client.unwrap_or(peer.remote.ip().to_canonical()));
                refuse(&refusal)
            }
            Err(_) => {
                log::error!(event = "handler-panicked"; "an answer ended in a fault");
                refuse(&Refusal::Fault)
            }
        };
        // The route, never the path: tokens stand in paths.
        let route = routes::find(head.uri.path(), &setting.site.base).map_or("-", |(route, _)| route.path);
        log::debug!(event = "answered", route = route, status = answer.status.as_u16(); "{} {route}", head.method);
        answer.dress(&setting.dress)
    }

    async fn work<B>(
        self: &Arc<Self>,
        setting: &Arc<Setting>,
        head: &Parts,
        body: B,
        peer: Peer,
        client: Result<IpAddr, Malformed>,
        languages: &[String],
    ) -> Result<Answer, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (path, _) = request::target(&head.uri)?;
        let found = routes::find(path, &setting.site.base);
        if !found.is_some_and(|(route, _)| route.endpoint.is_for_supervisors()) {
            request::host(&head.headers, head.version, &setting.site, peer.local)?;
        }
        let (route, token) = found.ok_or(Refusal::NotFound)?;
        if !route.methods.has(&head.method) {
            return Err(Refusal::Method(route.methods.allow()));
        }
        match route.endpoint {
            Endpoint::Health => return Ok(Answer::new(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")),
            Endpoint::Ready => return Ok(answer::ready(&health::ready(&self.rekeyd).await)),
            _ => {}
        }
        let client = client.map_err(|_| Refusal::BadRequest("the proxy's X-Forwarded-For can't be read"))?;
        // Those who set a password have come far: places are kept for them that nobody else takes.
        let kept = if route.endpoint.sets_password() { 0 } else { setting.config.limits.kept_for_sets() };
        if self.free.available_permits() <= kept {
            return Err(Refusal::Busy);
        }
        let caller = admit(setting, head, route, peer)?;
        let within = setting.config.limits.request;
        let work = async {
            let body = match head.method {
                Method::POST => request::body(body, &head.headers, setting.config.limits.body).await?,
                _ => Zeroizing::default(),
            };
            // Only now, so that bodies which do not come take no place from those that are there.
            if self.free.available_permits() <= kept {
                return Err(Refusal::Busy);
            }
            let _place = self.free.try_acquire().map_err(|_| Refusal::Busy)?;
            let call = Call {
                door: Arc::clone(self),
                rekeyd: Arc::clone(&self.rekeyd),
                setting: Arc::clone(setting),
                client,
                token: token.map(|token| Zeroizing::new(token.to_owned())),
                languages: languages.to_vec(),
                body,
                now: self.rekeyd.now(),
            };
            let told = tell(&call, route, &head.method, caller).await?;
            // On the hook, the person's address is known to the call alone.
            Ok(if route.audience == Audience::People { alarm::answered(told, client) } else { told })
        };
        match tokio::time::timeout(within, work).await {
            Ok(done) => done,
            Err(_) if route.endpoint.sets_password() && head.method == Method::POST => Ok(match route.audience {
                Audience::People => {
                    let (status, page) = answer::unsure_page();
                    self.page(setting, languages, status, &page)
                }
                Audience::Programs => answer::unsure_json(),
            }),
            Err(_) => Err(Refusal::TooLate),
        }
    }

    /// A page in the first of the wanted languages that there is.
    fn page(&self, setting: &Setting, languages: &[String], status: StatusCode, page: &Page) -> Answer {
        let language = self.rekeyd.language(languages);
        let html =
            |html: Bytes| Answer::new(status, "text/html; charset=utf-8", html).header("content-language", &language);
        let key = page.still().map(|name| (name, language.clone()));
        if let Some(key) = &key
            && let Some(kept) = setting.still.lock().unwrap_or_else(PoisonError::into_inner).get(key)
        {
            return html(kept.clone());
        }
        let say: Say = {
            let (rekeyd, languages) = (Arc::clone(&self.rekeyd), languages.to_vec());
            Arc::new(move |id, args| rekeyd.say(&languages, id, args))
        };
        let frame = Frame { identity: &setting.identity, base: &setting.site.base, language: &language };
        match self.templates.render(page, &frame, &say) {
            Ok(text) => {
                let text = Bytes::from(text);
                if let Some(key) = key {
                    setting.still.lock().unwrap_or_else(PoisonError::into_inner).insert(key, text.clone());
                }
                html(text)
            }
            Err(error) => {
                log::error!(event = "page-broken"; "a page can't be rendered: {error:#}");
                Answer::new(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", "This page is broken.\n")
            }
        }
    }
}

/// Who asks, checked before anything of the body is read: a client by its key, a form by the site it comes from.
fn admit(setting: &Setting, head: &Parts, route: &Route, peer: Peer) -> Result<Option<Client>, Refusal> {
    if let Some(scope) = route.endpoint.scope() {
        return hook::identify(head, &setting.config.clients, scope).map(Some);
    }
    if head.method == Method::POST {
        request::same_site(&head.headers, &setting.site, peer.local)?;
        request::media_type(&head.headers, "application/x-www-form-urlencoded")?;
    }
    Ok(None)
}

/// Hands a call to its story. Those that carry much and are told seldom lie in a box, so that every request need not have
/// room for them.
async fn tell(call: &Call, route: &Route, method: &Method, caller: Option<Client>) -> Result<Answer, Refusal> {
    let post = method == Method::POST;
    match (route.endpoint, caller) {
        (Endpoint::ChangePassword | Endpoint::Home, _) => Ok(pages::to_forgot(call)),
        (Endpoint::Forgot, _) if post => pages::forgot(call).await,
        (Endpoint::Forgot, _) => Ok(pages::ask(call)),
        (Endpoint::Icon, _) => Ok(pages::icon()),
        (Endpoint::NotMe, _) if post => Box::pin(pages::report_not_me(call)).await,
        (Endpoint::NotMe, _) => Ok(pages::open_not_me(call).await),
        (Endpoint::OpenApi, _) => Ok(Answer::new(StatusCode::OK, "application/json", hook::OPENAPI)),
        (Endpoint::Reset, _) if post => Box::pin(pages::set(call)).await,
        (Endpoint::Reset, _) => Ok(pages::open(call).await),
        (Endpoint::Password, Some(client)) => Box::pin(hook::password(call, client)).await,
        (Endpoint::Recovery, Some(client)) => hook::recovery(call, client).await,
        (Endpoint::SignIn, Some(client)) => Box::pin(hook::sign_in(call, client)).await,
        (Endpoint::Ticket, Some(_)) => hook::ticket(call).await,
        // Those above need a client, and these two were answered before.
        (Endpoint::Password | Endpoint::Recovery | Endpoint::SignIn | Endpoint::Ticket, None) => {
            Err(Refusal::Unidentified)
        }
        (Endpoint::Health | Endpoint::Ready, _) => Err(Refusal::NotFound),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, clippy::unwrap_used)]
    use std::convert::Infallible;
    use std::os::unix::fs::PermissionsExt;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame as Piece;
    use rekeyd_core::domain::MasterKey;
    use rekeyd_plugins::Messages;
    use ring::rand::SystemRandom;

    use super::*;
    use crate::flow::{Clock, Directories, Faults, Parts};
    use crate::store::Store;

    /// A body whose reading ends in a fault.
    struct Broken;

    impl Body for Broken {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Piece<Self::Data>, Self::Error>>> {
            panic!("not to be repeated")
        }
    }

    async fn door(folder: &std::path::Path) -> Arc<Door> {
        for part in ["store", "epoch", "mail"] {
            std::fs::create_dir(folder.join(part)).unwrap();
        }
        for (name, text) in [
            ("keys", MasterKey::from_bytes([7; 32]).encode()),
            ("people.ldif", "dn: dc=x\nobjectClass: domain\ndc: x\n".to_owned().into()),
        ] {
            std::fs::write(folder.join(name), text).unwrap();
            std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let config = crate::config::Config::parse(&CONFIG.replace("DIR", &folder.display().to_string())).unwrap();
        let (keys, clock) = (config.keys().unwrap(), Clock::default());
        let store = Store::open(config.store.clone(), &keys, clock.watch(), SystemRandom::new()).unwrap().store;
        let messages = Arc::new(Messages::load(config.messages.clone()).unwrap());
        let parts = Parts {
            directories: Directories::new(vec![
                config.directories.first().unwrap().open(store.directory_key("trial").await.unwrap()).unwrap(),
            ]),
            channels: config.open_channels(&messages).unwrap(),
            identity: config.identity(),
            general: config.rules.clone(),
            messages,
            keys,
        };
        Arc::new(Door::new(Arc::new(Rekeyd::new(parts, store, clock, Faults::default())), config.http).unwrap())
    }

    const CONFIG: &str = r#"
public_url = "http://127.0.0.1:8080"
key_file = "DIR/keys"
[store]
path = "DIR/store/rekeyd.db"
epoch_file = "DIR/epoch/epoch"
[[directory]]
name = "trial"
kind = "ldif"
file = "DIR/people.ldif"
base = "dc=x"
[[channel]]
kind = "file"
folder = "DIR/mail"
from = "no-reply@example.org"
[policy]
privileged_groups = []
[messages]
organisation = "Example School"
help = "the desk"
"#;

    fn request<B>(body: B) -> Request<B> {
        Request::post("/forgot")
            .header("host", "127.0.0.1:8080")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .unwrap()
    }

    #[tokio::test]
    async fn t114_a_fault_is_answered_and_the_next_request_too() {
        let folder = tempfile::tempdir().unwrap();
        let door = door(folder.path()).await;
        let peer = Peer { remote: "127.0.0.1:9".parse().unwrap(), local: "127.0.0.1:8080".parse().unwrap() };
        for _ in 0..3 {
            let answer = Arc::clone(&door).handle(request(Broken), peer).await;
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
        let free = door.free.available_permits();
        assert_eq!(free, door.setting().config.limits.requests, "a fault keeps its place");
        let whole = request(Full::new(Bytes::from_static(b"login=ada")));
        assert_eq!(Arc::clone(&door).handle(whole, peer).await.status(), StatusCode::ACCEPTED);
    }
}
