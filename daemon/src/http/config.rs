//! The `[http]` section: where the door listens, whom it believes, how long it waits, and which login pages may call.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use rekeyd_core::settings::Section;

use super::clients::{Client, Scope, parse_hash};
use super::request::Authority;

/// How the HTTP door is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens, in plain HTTP; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Names besides that of the public URL under which the door answers, such as the one login pages use inside.
    pub hosts: Vec<Authority>,
    /// How much and how long.
    pub limits: Limits,
    /// The login pages that may call the hook.
    pub clients: Vec<Client>,
}

/// How much the door takes, and how long it waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Open connections in all; beyond, the one that waits longest makes room.
    pub connections: usize,
    /// Open connections of one address (IPv6: one /64); loopback and trusted proxies are not counted.
    pub connections_per_source: usize,
    /// Requests in work at once; beyond, the answer is 503. An eighth is kept for those that set a password.
    pub requests: usize,
    /// From the first byte of a request, or from the connection's begin, to the end of its headers.
    pub header: Duration,
    /// For the whole body of a request.
    pub body: Duration,
    /// Between two requests of a connection.
    pub idle: Duration,
    /// For a whole request, its body included.
    pub request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_source: 64,
            requests: 512,
            header: Duration::from_secs(5),
            body: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            request: Duration::from_secs(15),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            trusted_proxies: Vec::new(),
            hosts: Vec::new(),
            limits: Limits::default(),
            clients: Vec::new(),
        }
    }
}

impl Config {
    /// Reads `[http]`. Faults are reported to the section's document.
    pub fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let listen = section
            .parsed("listen", "Write ADDRESS:PORT, such as \"127.0.0.1:8080\" or \"[::1]:8080\".", |text| {
                text.parse().map_err(|_| "it is no address with a port".to_owned())
            })
            .unwrap_or(default.listen);
        let trusted_proxies = section
            .list("trusted_proxies", "Write an address or a network, such as \"10.0.0.5\" or \"10.0.0.0/24\".", network)
            .unwrap_or_default();
        if !listen.ip().is_loopback() && trusted_proxies.is_empty() {
            section.fault(
                "listen",
                "passwords would cross the network in clear text",
                "Listen on a loopback address, or list the proxies that speak TLS for rekeyd in trusted_proxies.",
            );
        }
        let hosts = section
            .list("hosts", "Write a host name with its port, such as \"rekeyd.internal:8080\".", |text| {
                Authority::parse(text).ok_or_else(|| "it is no host name".to_owned())
            })
            .unwrap_or_default();
        let limits = Limits::read(section.section("limits"));
        let clients = read_clients(&section);
        section.finish();
        Self { listen, trusted_proxies, hosts, limits, clients }
    }

    /// Whether a peer's `X-Forwarded-For` is believed.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(&ip))
    }
}

impl Limits {
    /// How many of the requests in work at once are kept for those that set a password.
    pub(super) fn kept_for_sets(&self) -> usize {
        self.requests / 8
    }

    fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let count = |key, default: usize| {
            let number = section.number(key, 1..=65_536, default as u64);
            usize::try_from(number).unwrap_or(default)
        };
        let time =
            |key, most, default| section.duration(key, Duration::from_secs(1)..=Duration::from_secs(most), default);
        let limits = Self {
            connections: count("max_connections", default.connections),
            connections_per_source: count("max_connections_per_source", default.connections_per_source),
            requests: count("max_requests", default.requests),
            header: time("header", 60, default.header),
            body: time("body", 60, default.body),
            idle: time("idle", 600, default.idle),
            request: time("request", 120, default.request),
        };
        section.finish();
        limits
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "it is neither an address nor a network".to_owned())?;
    if network.prefix_len() == 0 {
        return Err("everybody could claim any address".into());
    }
    Ok(network.trunc())
}

fn read_clients(section: &Section<'_>) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::new();
    for entry in section.sections("client") {
        let name = entry
            .parsed_required("name", "Name the login page, such as \"wiki\".", |text| {
                let fits = (1..=64).contains(&text.len())
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
                if fits { Ok(text.to_owned()) } else { Err("it has characters besides a-z, 0-9, - _ .".into()) }
            })
            .unwrap_or_default();
        if clients.iter().any(|client| client.name == name) && !name.is_empty() {
            entry.fault("name", "two clients have this name", "Give each login page a name of its own.");
        }
        let remedy = "Write \"sha256:\" and 64 hexadecimal digits; `rekeyctl hook-key` prints a key and its hash.";
        let hashes = entry.list("key_hashes", remedy, parse_hash);
        let count = hashes.as_ref().map_or(0, Vec::len);
        if !(1..=2).contains(&count) {
            entry.fault("key_hashes", "a client has one key, or two while one takes over from the other", remedy);
        }
        let hashes = hashes.unwrap_or_default();
        if clients.iter().any(|client| client.hashes.iter().any(|hash| hashes.contains(hash))) {
            entry.fault("key_hashes", "another client has this key", "Make a key with `rekeyctl hook-key`.");
        }
        let remedy = "List what it may do: \"recovery\", \"ticket\", \"password\", \"sign-in\".";
        let scopes = entry.list("scopes", remedy, |text| {
            Scope::ALL.into_iter().find(|scope| scope.word() == text).ok_or_else(|| "there is no such scope".to_owned())
        });
        if scopes.as_ref().is_none_or(Vec::is_empty) {
            entry.fault("scopes", "it may do nothing", remedy);
        }
        entry.finish();
        clients.push(Client { name, hashes, scopes: scopes.unwrap_or_default() });
    }
    clients
}

#[cfg(test)]
mod tests {
    use rekeyd_core::settings::Document;

    use super::*;

    fn read(text: &str) -> (Config, Vec<String>) {
        let document = Document::parse(text);
        let root = document.root();
        let config = Config::read(root.section("http"));
        root.finish();
        (config, document.into_faults().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_absent_section_is_a_safe_one() {
        let (config, faults) = read("");
        assert!(faults.is_empty(), "{faults:?}");
        assert!(config.listen.ip().is_loopback());
        assert!(config.clients.is_empty());
    }

    #[test]
    fn every_fault_has_its_line() {
        let (_, faults) = read(concat!(
            "[http]\n",
            "listen = \"0.0.0.0:80\"\n",
            "trusted_proxies = [\"0.0.0.0/0\"]\n",
            "[http.limits]\n",
            "max_conections = 5\n",
            "header = \"1h\"\n",
            "[[http.client]]\n",
            "name = \"wiki\"\n",
            "key_hashes = [\"md5:00\"]\n",
            "scopes = [\"everything\"]\n",
        ));
        let starts: Vec<_> = faults.iter().map(|fault| fault.split(". ").next().unwrap_or_default()).collect();
        assert_eq!(
            starts,
            [
                "line 2: http.listen: passwords would cross the network in clear text",
                "line 3: http.trusted_proxies: everybody could claim any address",
                "line 5: http.limits.max_conections: no such key",
                "line 6: http.limits.header: it is out of range",
                "line 9: http.client.key_hashes: a client has one key, or two while one takes over from the other",
                "line 9: http.client.key_hashes: it does not begin with sha256:",
                "line 10: http.client.scopes: it may do nothing",
                "line 10: http.client.scopes: there is no such scope",
            ]
        );
    }

    #[test]
    fn t108_plain_http_stays_on_loopback_or_behind_a_proxy() {
        for (listen, proxies, fine) in [
            ("127.0.0.1:0", "", true),
            ("[::1]:8080", "", true),
            ("0.0.0.0:8080", "", false),
            ("10.0.0.7:8080", "", false),
            ("10.0.0.7:8080", "trusted_proxies = [\"10.0.0.5\"]", true),
        ] {
            let (_, faults) = read(&format!("[http]\nlisten = \"{listen}\"\n{proxies}\n"));
            assert_eq!(faults.is_empty(), fine, "{listen} {faults:?}");
        }
    }

    #[test]
    fn two_clients_share_neither_name_nor_key() {
        let client = format!(
            "[[http.client]]\nname = \"wiki\"\nkey_hashes = [\"sha256:{}\"]\nscopes = [\"recovery\", \"sign-in\"]\n",
            "0".repeat(64)
        );
        let (config, faults) = read(&client);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(config.clients.len(), 1);
        let (_, faults) = read(&format!("{client}{client}"));
        assert_eq!(faults.len(), 2, "{faults:?}");
    }
}
