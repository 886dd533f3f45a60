//! The composition root: configuration becomes parts, parts become tasks, signals end or renew them.
//!
//! Nothing is global. The order of a start: harden the process, read the configuration, open the store, bind the
//! listeners, say READY, then begin with work that can wait. A directory that is down stops nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::DirectoryKey;
use rekeyd_core::settings::Fault;
use rekeyd_plugins::{Channel, Messages};
use ring::rand::SystemRandom;
use sd_notify::NotifyState;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{self, Config, ConfiguredDirectory};
use crate::flow::{self, Clock, Directories, Faults, Parts, Rekeyd};
use crate::store::{self, Store};
use crate::{admin, http, logging};

/// How long what is in hand may take to end after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(15);
/// How much those threads step back that work behind answers: a tenth of the processor stays theirs when all others want it.
const BEHIND: i32 = 10;
/// How often the store's epoch is renewed and old rows are pruned.
const HOUSEKEEPING: Duration = Duration::from_hours(1);

/// Why the daemon could not start or go on, with the exit status of sysexits.h.
#[derive(Debug)]
pub enum Failure {
    /// The configuration has faults.
    Configuration(Vec<Fault>),
    /// A listener or socket could not be made.
    Listen(String),
    /// The store can't be opened, or broke while running.
    Store(String),
    /// Something in the system that should always work did not.
    System(String),
}

impl Failure {
    /// Tells what is wrong on stderr, all of it, and gives the exit status.
    pub fn report(&self, file: &Path) -> ExitCode {
        match self {
            Self::Configuration(faults) => {
                eprintln!("{} has {}:", file.display(), config::count(faults.len()));
                for fault in faults {
                    eprintln!("  {fault}");
                }
                ExitCode::from(78)
            }
            Self::Listen(why) => {
                eprintln!("rekeyd can't listen: {why}");
                ExitCode::from(69)
            }
            Self::Store(why) => {
                eprintln!("the store can't be used: {why}");
                ExitCode::from(74)
            }
            Self::System(why) => {
                eprintln!("rekeyd can't start: {why}");
                ExitCode::from(71)
            }
        }
    }
}

/// Makes the process a poor target before it holds any secret: no core dumps, no ptrace by its own uid, files for
/// nobody else; and names the one TLS provider.
///
/// # Errors
/// [`Failure::System`] where the kernel refuses.
pub fn harden() -> Result<(), Failure> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let refused = |error: nix::Error| Failure::System(format!("the kernel refuses hardening: {error}"));
    nix::sys::prctl::set_dumpable(false).map_err(refused)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(refused)?;
    // As many connections as the door takes do not fit the usual soft limit.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(refused)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(refused)?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    // A second call finds the first one's provider, which is the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    Ok(())
}

/// What a run needs besides its configuration.
pub struct Run {
    /// The configuration file, read again at a reload.
    pub file: PathBuf,
    /// Wraps each channel: the trial shows messages as they are sent.
    pub around: fn(Box<dyn Channel>) -> Box<dyn Channel>,
    /// Called once when all is ready.
    pub ready: Box<dyn Fn(&Config)>,
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// Everything that stops a start, and a store that broke while running.
pub fn run(run: &Run) -> Result<(), Failure> {
    let config = Config::load(&run.file).map_err(Failure::Configuration)?;
    let faults = Faults::default();
    let counted = faults.clone();
    logging::install(config.log_level, move || counted.add()).map_err(Failure::System)?;
    let (runtime, behind) = runtimes().map_err(|error| Failure::System(error.to_string()))?;
    let ended = runtime.block_on(serve(run, config, behind.handle(), faults));
    behind.shutdown_timeout(Duration::from_secs(1));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// The threads that answer, and the one that works behind answers. Whoever works behind makes way for whoever answers:
/// what an earlier request makes to do, a mail or nothing at all, must not show in how fast the next one is answered.
fn runtimes() -> std::io::Result<(Runtime, Runtime)> {
    let mut builder = Builder::new_multi_thread();
    builder.enable_all().max_blocking_threads(16);
    let answering = builder.thread_name("answering").build()?;
    let behind = builder.thread_name("behind").worker_threads(1).on_thread_start(make_way).build()?;
    Ok((answering, behind))
}

/// Lets the calling thread have the processor when nobody else wants it.
fn make_way() {
    if let Err(error) = rustix::process::nice(BEHIND) {
        log::debug!("a thread keeps its priority: {error}");
    }
}

async fn serve(run: &Run, config: Config, behind: &Handle, faults: Faults) -> Result<(), Failure> {
    // Before anybody can be answered: a signal that comes as early as that would end the daemon on the spot.
    let signals = Signals::new()?;
    let clock = Clock::default();
    let keys = config.keys().map_err(|fault| Failure::Configuration(vec![fault]))?;
    let opened = Store::open(config.store.clone(), &keys, clock.watch(), SystemRandom::new())
        .map_err(|error| Failure::Store(error.to_string()))?;
    if let Some(voided) = opened.voided {
        log::warn!(event = "restored", tickets = voided; "the store is a copy that was put back: its live links are void");
    }
    let parts = parts_of(run, &config, &opened.store).await?;
    let rekeyd = Arc::new(Rekeyd::new(parts, opened.store, clock, faults));

    let (stop, stopped) = watch::channel(false);
    // Whoever sees the pages answer finds the operators' socket as well.
    let admin = admin::Door::bind(&config.admin, Arc::clone(&rekeyd)).map_err(Failure::Listen)?;
    let cannot = |error: std::io::Error| Failure::Listen(format!("{}: {error}", config.http.listen));
    let server = http::Server::bind(config.http.listen).map_err(cannot)?;
    let listen = server.address();
    let http = Arc::new(http::Door::new(Arc::clone(&rekeyd), config.http.clone()).map_err(Failure::System)?);
    let mut tasks: JoinSet<()> = JoinSet::new();
    tasks.spawn(Arc::clone(&http).run(server, stopped.clone()));
    tasks.spawn(admin.serve(stopped.clone()));
    tasks.spawn_on(flow::answering::run(Arc::clone(&rekeyd), stopped.clone()), behind);
    tasks.spawn_on(flow::outbox::run(Arc::clone(&rekeyd), stopped.clone()), behind);
    tasks.spawn_on(flow::reconcile::run(Arc::clone(&rekeyd), stopped.clone()), behind);
    tasks.spawn_on(keep_house(Arc::clone(&rekeyd), stopped.clone()), behind);
    tasks.spawn_on(flow::doctor::daily(Arc::clone(&rekeyd), stopped.clone()), behind);
    log::info!(event = "ready", listen = listen.to_string(), public_url = config.public_url; "ready");
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("answering on {listen}"))]);
    (run.ready)(&config);
    tasks.spawn(flow::health::watch(Arc::clone(&rekeyd), stopped));

    let failure = watch_over(run, &rekeyd, &http, behind, signals, &mut tasks, config).await;
    notify(&[NotifyState::Stopping]);
    if let Some(Failure::Store(why)) = &failure {
        // Nothing can be recorded any more, so there is nothing to wait for; what is open is settled after the next start.
        log::error!(event = "stopping"; "ending at once, since the store is broken: {why}");
        return failure.map_or(Ok(()), Err);
    }
    log::info!(event = "stopping"; "stopping: what is in hand is finished, what waits stays in the store");
    stop.send_replace(true);
    let drained = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        log::warn!(event = "drain"; "some work did not end in time; it goes on after the next start");
        tasks.shutdown().await;
    }
    if let Err(error) = rekeyd.store().close(rekeyd.now()).await {
        log::error!("the store could not be closed in order: {error}");
    }
    failure.map_or(Ok(()), Err)
}

/// Waits for signals until one ends the daemon, or until the store breaks.
async fn watch_over(
    run: &Run,
    rekeyd: &Arc<Rekeyd>,
    http: &http::Door,
    behind: &Handle,
    mut signals: Signals,
    tasks: &mut JoinSet<()>,
    mut config: Config,
) -> Option<Failure> {
    let watchdog = sd_notify::watchdog_enabled().map_or(Duration::from_secs(10), |limit| limit / 3);
    let mut beat = tokio::time::interval(watchdog);
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return None,
            _ = signals.interrupt.recv() => return None,
            _ = signals.hangup.recv() => reload(run, rekeyd, http, &mut config).await,
            why = rekeyd.store().broken() => return Some(Failure::Store(why)),
            // No part of the daemon ends by itself; one that did would leave 202s that nobody answers.
            Some(ended) = tasks.join_next() => {
                let why = ended.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string());
                return Some(Failure::System(format!("a part of the daemon ended: {why}")));
            }
            _ = beat.tick() => {
                if beats(rekeyd.store().ping(), behind, watchdog).await {
                    notify(&[NotifyState::Watchdog]);
                } else {
                    log::error!(event = "stuck"; "a part of the daemon has not moved for {} s", watchdog.as_secs_f32());
                }
            }
        }
    }
}

/// Whether the other parts still move: the store's writing thread, and the one that works behind answers. This loop is the
/// third, and a signal finds it even where they don't. A store that says that the disk is full moves, and a directory that
/// is down holds up nothing.
async fn beats<T>(store: impl Future<Output = T>, behind: &Handle, limit: Duration) -> bool {
    let both = async { tokio::join!(store, behind.spawn(async {})) };
    tokio::time::timeout(limit, both).await.is_ok()
}

/// The signals that the daemon listens to, from before it says READY.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::System(format!("signals can't be waited for: {error}")));
        Ok(Self {
            hangup: listen(SignalKind::hangup())?,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }
}

/// Reads the configuration again. A bad file changes nothing, and the log says which lines are bad.
async fn reload(run: &Run, rekeyd: &Arc<Rekeyd>, http: &http::Door, config: &mut Config) {
    // From systemd 257 a reload without the moment it began at counts as never ended; both go in one datagram.
    if let Ok(began) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, began]);
    }
    let renewed = match Config::load(&run.file) {
        Ok(new) => renew(run, new, rekeyd.store()).await,
        Err(faults) => Err(Failure::Configuration(faults)),
    };
    match renewed {
        Ok((new, parts)) => {
            for kept in new.needs_restart(config) {
                log::warn!(event = "reload", key = kept; "a changed key counts only after a restart: {kept}");
            }
            rekeyd.exchange(parts);
            http.reload(new.http.clone());
            *config = new;
            log::info!(event = "reload"; "the configuration was read again");
            notify(&[NotifyState::Ready, NotifyState::Status("configuration read again")]);
        }
        Err(Failure::Configuration(faults)) => {
            for fault in &faults {
                log::error!(event = "reload", line = fault.line; "the old configuration stays: {fault}");
            }
            let status = format!("the old configuration stays; the new one has {}", config::count(faults.len()));
            notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
        }
        Err(other) => {
            log::error!(event = "reload"; "the old configuration stays: {other:?}");
            notify(&[NotifyState::Ready, NotifyState::Status("the old configuration stays")]);
        }
    }
}

/// New parts, and the store's own key under the newest of the keys that they bring, so that an older one can be removed.
async fn renew(run: &Run, new: Config, store: &Store) -> Result<(Config, Parts), Failure> {
    let parts = parts_of(run, &new, store).await?;
    store.rewrap(&parts.keys).await.map_err(|error| Failure::Store(error.to_string()))?;
    Ok((new, parts))
}

/// The parts that a reload exchanges.
async fn parts_of(run: &Run, config: &Config, store: &Store) -> Result<Parts, Failure> {
    let faulty = |fault: Fault| Failure::Configuration(vec![fault]);
    let messages = Arc::new(Messages::load(config.messages.clone()).map_err(Failure::Configuration)?);
    let channels = config.open_channels(&messages).map_err(Failure::Configuration)?;
    let keys = config.keys().map_err(faulty)?;
    for one in &config.directories {
        one.open(DirectoryKey(0)).map_err(faulty)?;
    }
    // Nothing can go wrong any more: a name that is changed in the store must not be that of a configuration which is refused.
    let mut directories = Vec::with_capacity(config.directories.len());
    for one in &config.directories {
        directories.push(one.open(key_of(one, store).await?).map_err(faulty)?);
    }
    Ok(Parts {
        directories: Directories::new(directories),
        channels: channels.into_iter().map(|channel| (run.around)(channel)).collect(),
        identity: config.identity(),
        keys,
        general: config.rules.clone(),
        messages,
    })
}

/// The key by which a directory is remembered, under whatever name it was known before.
async fn key_of(one: &ConfiguredDirectory, store: &Store) -> Result<DirectoryKey, Failure> {
    let name = one.directory.name.as_str();
    let failed = |error: store::Error| Failure::Store(error.to_string());
    if store.rename_directory(&one.formerly, name).await.map_err(failed)? {
        log::warn!(event = "directory-renamed", directory = name; "the directory goes on under this name");
    }
    store.directory_key(name).await.map_err(failed)
}

/// Renews the epoch and prunes what has outlived its retention, now and then.
async fn keep_house(rekeyd: Arc<Rekeyd>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            () = tokio::time::sleep(HOUSEKEEPING) => {}
        }
        if let Err(error) = rekeyd.store().new_epoch().await {
            log::error!(error:? = error; "the epoch can't be renewed");
        }
        while !*stop.borrow() && matches!(rekeyd.store().prune(rekeyd.now()).await, Ok(true)) {
            tokio::task::yield_now().await;
        }
    }
}

/// Tells systemd, where it listens.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("systemd can't be told: {error}");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::{pending, ready};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn r17_a_part_that_does_not_move_is_seen() {
        let (answering, behind) = runtimes().unwrap();
        let (short, long) = (Duration::from_millis(20), Duration::from_secs(20));
        answering.block_on(async {
            assert!(beats(ready(()), behind.handle(), long).await);
            assert!(!beats(pending::<()>(), behind.handle(), short).await, "the store says nothing");
            let (release, held) = mpsc::channel::<()>();
            let stuck = behind.spawn(async move { held.recv() });
            assert!(!beats(ready(()), behind.handle(), short).await, "a task holds the one thread behind answers");
            drop(release);
            assert!(stuck.await.unwrap().is_err());
            assert!(beats(ready(()), behind.handle(), long).await);
        });
    }
}
