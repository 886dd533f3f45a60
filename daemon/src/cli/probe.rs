//! Tries what a configuration names: key file, store, directory, channels, the address of the pages. All at once, each
//! with a limit of its own, so that one dead server does not hide the state of another.

use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::{DirectoryKey, KeyRing};
use rekeyd_plugins::{Channel, Messages};

use crate::config::Config;
use crate::directory::{Care, Directory, Grade, Listener, Probe};
use crate::flow::Clock;
use crate::store::Store;

/// How long one thing may take to be tried.
const LIMIT: Duration = Duration::from_secs(30);

/// Tries everything whose files are as they should be; what is wrong with the others is told as a fault, before.
pub(super) async fn all(config: &Config) -> Vec<Probe> {
    let mut probes = Vec::new();
    if let Ok(keys) = config.keys() {
        probes.push(fine("key file", "holds keys that can be read".into()));
        probes.push(store(config, &keys));
    }
    let channels = match Messages::load(config.messages.clone()).map(Arc::new) {
        Ok(messages) => config.open_channels(&messages),
        Err(faults) => Err(faults),
    };
    // The key under which the store knows the directory plays no part in trying it.
    let opened = config.directories.iter().map(|one| Directory::open(&one.directory, DirectoryKey(0)));
    let directories: Vec<_> = opened.filter_map(Result::ok).collect();
    let (of_directory, of_channels, of_pages) = tokio::join!(
        async {
            let probed = directories.iter().map(async |directory| {
                let mut probes = directory_probes(directory).await;
                if config.directories.len() > 1 {
                    for probe in &mut probes {
                        probe.what = format!("{}: {}", directory.name(), probe.what);
                    }
                }
                probes
            });
            futures_util::future::join_all(probed).await.into_iter().flatten()
        },
        async {
            match &channels {
                Ok(channels) => channel_probes(channels).await,
                Err(_) => Vec::new(),
            }
        },
        pages(&config.public_url),
    );
    probes.extend(of_directory.into_iter().chain(of_channels).chain([of_pages]));
    probes
}

fn store(config: &Config, keys: &KeyRing) -> Probe {
    match Store::probe(&config.store, keys) {
        Ok(outcome) => fine("store", outcome),
        Err(error) => broken(
            "store",
            error.to_string(),
            "See that the user rekeyd owns the folder and the key file is the right one.",
        ),
    }
}

async fn directory_probes(directory: &Directory) -> Vec<Probe> {
    let (listener, mut told) = Listener::new();
    let mut probes = Vec::new();
    let look = directory.probe(Care::Check, Clock::default().now(), listener);
    let listen = async {
        while let Some(probe) = told.recv().await {
            probes.push(probe);
        }
    };
    if tokio::time::timeout(LIMIT, async { tokio::join!(look, listen) }).await.is_err() {
        probes.push(broken("directory", silent(), "Look at the server, and at what lies between."));
    }
    probes
}

async fn channel_probes(channels: &[Box<dyn Channel>]) -> Vec<Probe> {
    let probe = async |channel: &dyn Channel| {
        let what = format!("channel {}", channel.name());
        match tokio::time::timeout(LIMIT, channel.probe()).await {
            Ok(Ok(outcome)) => fine(&what, outcome),
            Ok(Err(why)) => broken(&what, why, "Mend it, or messages will wait for up to a day and then be given up."),
            Err(_) => broken(&what, silent(), "Look at the server, and at what lies between."),
        }
    };
    futures_util::future::join_all(channels.iter().map(|channel| probe(channel.as_ref()))).await
}

/// Whether the address that stands in every link means something, as far as this machine can tell.
async fn pages(public_url: &str) -> Probe {
    let what = "public_url";
    let rest = public_url.split_once("://").map_or(public_url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    let port = if public_url.starts_with("https:") { 443 } else { 80 };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let target = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    let remedy = "People follow links to it: see that its name, its proxy and its certificate are in place.";
    let note = |outcome: String| Probe { grade: Grade::Note, ..Probe::fine(what, outcome).mended_by(remedy) };
    let reached = tokio::time::timeout(LIMIT / 6, tokio::net::TcpStream::connect(target.as_str())).await;
    match reached {
        Ok(Ok(_)) => fine(what, format!("something answers at {target}")),
        // It may be up for everybody but this machine, and it is down until rekeyd runs.
        Ok(Err(error)) => note(format!("nothing answers at {target} from here: {error}")),
        Err(_) => note(format!("nothing answers at {target} from here in time")),
    }
}

fn silent() -> String {
    format!("nothing was heard for {} seconds", LIMIT.as_secs())
}

fn fine(what: &str, outcome: String) -> Probe {
    Probe::fine(what, outcome)
}

fn broken(what: &str, outcome: String, remedy: &str) -> Probe {
    Probe { grade: Grade::Broken, ..Probe::fine(what, outcome).mended_by(remedy) }
}
