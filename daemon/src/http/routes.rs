//! Every route there is, on one page. A path is matched byte by byte: nothing is decoded, joined or folded.

use super::clients::Scope;

/// What a route leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Endpoint {
    ChangePassword,
    Forgot,
    Health,
    Home,
    Icon,
    NotMe,
    OpenApi,
    Password,
    Ready,
    Recovery,
    Reset,
    SignIn,
    Ticket,
}

/// The methods of a route.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Methods {
    /// A page with a form.
    Form,
    /// Something to read.
    Read,
    /// A call.
    Send,
}

/// Whom a route's answers, refusals included, are for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Audience {
    /// People with a browser.
    People,
    /// Programs.
    Programs,
}

/// One route.
#[derive(Debug)]
pub(super) struct Route {
    /// Its path; `{token}` stands for one segment.
    pub(super) path: &'static str,
    pub(super) methods: Methods,
    pub(super) endpoint: Endpoint,
    pub(super) audience: Audience,
}

/// The routes.
pub(super) const ROUTES: [Route; 13] = [
    for_people("/", Methods::Read, Endpoint::Home),
    for_people("/.well-known/change-password", Methods::Read, Endpoint::ChangePassword),
    for_people("/forgot", Methods::Form, Endpoint::Forgot),
    for_people("/icon.svg", Methods::Read, Endpoint::Icon),
    for_people("/not-me/{token}", Methods::Form, Endpoint::NotMe),
    for_people("/r/{token}", Methods::Form, Endpoint::Reset),
    for_programs("/healthz", Methods::Read, Endpoint::Health),
    for_programs("/readyz", Methods::Read, Endpoint::Ready),
    for_programs("/v1/openapi.json", Methods::Read, Endpoint::OpenApi),
    for_programs("/v1/password", Methods::Send, Endpoint::Password),
    for_programs("/v1/recovery", Methods::Send, Endpoint::Recovery),
    for_programs("/v1/sign-in", Methods::Send, Endpoint::SignIn),
    for_programs("/v1/ticket", Methods::Send, Endpoint::Ticket),
];

const fn for_people(path: &'static str, methods: Methods, endpoint: Endpoint) -> Route {
    Route { path, methods, endpoint, audience: Audience::People }
}

const fn for_programs(path: &'static str, methods: Methods, endpoint: Endpoint) -> Route {
    Route { path, methods, endpoint, audience: Audience::Programs }
}

impl Methods {
    /// The value of `Allow`.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Self::Form => "GET, HEAD, POST",
            Self::Read => "GET, HEAD",
            Self::Send => "POST",
        }
    }

    /// Whether a method is among them.
    pub(super) fn has(self, method: &hyper::Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }
}

impl Endpoint {
    /// The scope that a client needs for it.
    pub(super) fn scope(self) -> Option<Scope> {
        match self {
            Self::Password => Some(Scope::Password),
            Self::Recovery => Some(Scope::Recovery),
            Self::SignIn => Some(Scope::SignIn),
            Self::Ticket => Some(Scope::Ticket),
            Self::ChangePassword
            | Self::Forgot
            | Self::Health
            | Self::Home
            | Self::Icon
            | Self::NotMe
            | Self::OpenApi
            | Self::Ready
            | Self::Reset => None,
        }
    }

    /// Whether supervisors ask here, who know the daemon by its address only.
    pub(super) fn is_for_supervisors(self) -> bool {
        matches!(self, Self::Health | Self::Ready)
    }

    /// Whether a password may be on its way to the directory, so that no answer in time means *unknown*.
    pub(super) fn sets_password(self) -> bool {
        matches!(self, Self::Password | Self::Reset)
    }
}

/// The route of a raw path, and the text that stands for its token. `base` is the path of the public URL, which a
/// proxy may or may not have taken off.
pub(super) fn find<'p>(path: &'p str, base: &str) -> Option<(&'static Route, Option<&'p str>)> {
    let path = path.strip_prefix(base).filter(|rest| rest.starts_with('/')).unwrap_or(path);
    ROUTES.iter().find_map(|route| match route.path.strip_suffix("{token}") {
        None => (route.path == path).then_some((route, None)),
        Some(stem) => {
            let token = path.strip_prefix(stem)?;
            (!token.is_empty() && !token.contains('/')).then_some((route, Some(token)))
        }
    })
}

/// The route that a raw path leads to, as it is written in the list; for tests and fuzzing.
pub fn leads(path: &str, base: &str) -> Option<&'static str> {
    find(path, base).map(|(route, _)| route.path)
}

/// Whom the answer to a path is for, whether or not there is such a route.
pub(super) fn audience(path: &str, base: &str) -> Audience {
    match find(path, base) {
        Some((route, _)) => route.audience,
        None if path.starts_with("/v1/") => Audience::Programs,
        None => Audience::People,
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn endpoint(path: &str) -> Option<Endpoint> {
        find(path, "").map(|(route, _)| route.endpoint)
    }

    #[test]
    fn t98_only_the_raw_path_is_a_route() {
        let mutations = |path: &str| {
            let upper = path.to_ascii_uppercase();
            let tail = path.get(1..).unwrap_or_default().to_owned();
            let encoded =
                tail.split_at_checked(1).map(|(first, rest)| format!("/%{}{rest}", HEXLOWER.encode(first.as_bytes())));
            let mut all = vec![
                format!("{path}/"),
                format!("{path}//"),
                format!("{path};x"),
                format!("{path};"),
                format!("{path}%20"),
                format!("{path}%00"),
                format!("{path}%2f"),
                format!("{path}."),
                format!("{path}/."),
                format!("{path}/.."),
                format!("{path}\\"),
                format!("{path},"),
                format!("/{path}"),
                format!("/.{path}"),
                format!("/x/..{path}"),
                format!("/%2e{path}"),
                format!("/%2e%2e{path}"),
                format!("/x/%2e%2e{path}"),
                format!("/;x{path}"),
                tail,
                path.replace('/', "\\"),
                path.replace('/', "%2f"),
                path.replace('/', "//"),
                upper,
            ];
            all.extend(encoded);
            all
        };
        let mut count = 0;
        for route in &ROUTES {
            if route.path == "/" || route.path.contains('{') {
                continue;
            }
            for mutation in mutations(route.path).iter().filter(|mutation| *mutation != route.path) {
                assert_eq!(endpoint(mutation), None, "{mutation}");
                count += 1;
            }
        }
        assert!(count >= 200, "{count}");
    }

    #[test]
    fn a_token_is_one_segment() {
        assert_eq!(
            find("/r/abc", "").map(|(route, token)| (route.endpoint, token)),
            Some((Endpoint::Reset, Some("abc")))
        );
        assert_eq!(endpoint("/r/%00"), Some(Endpoint::Reset));
        for path in ["/r", "/r/", "/r//", "/r/a/b", "/r/a/", "/R/a", "//r/a", "/not-me/", "/not-me/a/b"] {
            assert_eq!(endpoint(path), None, "{path}");
        }
    }

    #[test]
    fn a_base_may_be_there_or_not() {
        let endpoint = |path: &str| find(path, "/reset").map(|(route, _)| route.endpoint);
        assert_eq!(endpoint("/reset/forgot"), Some(Endpoint::Forgot));
        assert_eq!(endpoint("/forgot"), Some(Endpoint::Forgot));
        assert_eq!(endpoint("/reset/"), Some(Endpoint::Home));
        assert_eq!(endpoint("/reset"), None);
        assert_eq!(endpoint("/resetforgot"), None);
        assert_eq!(endpoint("/reset/reset/forgot"), None);
    }

    #[test]
    fn t107_methods_are_those_of_the_route() {
        let has = |methods: Methods, method: &str| {
            hyper::Method::from_bytes(method.as_bytes()).is_ok_and(|method| methods.has(&method))
        };
        for method in ["OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "CONNECT", "get", "GET, HEAD", "PROPFIND"] {
            for methods in [Methods::Form, Methods::Read, Methods::Send] {
                assert!(!has(methods, method), "{method}");
            }
        }
        assert!(has(Methods::Form, "POST") && has(Methods::Form, "HEAD"));
        assert!(!has(Methods::Read, "POST") && !has(Methods::Send, "GET"));
    }

    #[test]
    fn every_call_of_the_hook_needs_a_scope() {
        for route in &ROUTES {
            assert_eq!(route.endpoint.scope().is_some(), route.methods == Methods::Send, "{}", route.path);
        }
    }
}
