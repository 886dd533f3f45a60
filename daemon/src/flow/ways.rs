//! Whether messages can leave at all: how many at once, what is wrong with a way, and who is told of it.
//!
//! Where every way is shut the messages stay where they are, and one at a time finds out whether a way works again; with
//! none to send, a way is probed without one. So a mail server that is down is asked once in a few seconds, however many messages wait.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rekeyd_core::domain::{Actor, Event, EventKind};
use tokio::task::JoinSet;

use super::rekeyd::{Parts, Rekeyd};
use super::trouble;

/// What the trail can't take now is tried again after so long.
const AGAIN: Duration = Duration::from_secs(5);

/// What is known of the ways.
#[derive(Default)]
pub(super) struct Ways {
    /// The channels whose trouble the log tells of.
    logged: HashSet<String>,
    /// The channels whose trouble the trail tells of.
    recorded: HashSet<String>,
    /// When the trail last could not be written.
    failed: Option<Instant>,
    shut: bool,
    probes: JoinSet<()>,
}

impl Ways {
    /// How many messages may be under way now: none while every way rests, one to find out. Tells of what has changed.
    pub(super) async fn open(&mut self, rekeyd: &Rekeyd) -> usize {
        let parts = rekeyd.parts();
        let mut troubled = HashMap::new();
        let mut open = None;
        let mut rest: Option<Duration> = None;
        for channel in &parts.channels {
            let trouble = channel.trouble();
            match &trouble {
                Some(trouble) if trouble.shut => {
                    rest = Some(rest.map_or(trouble.rest, |rest| rest.min(trouble.rest)));
                }
                _ => open = open.or(Some(channel.width())),
            }
            if let Some(trouble) = trouble {
                troubled.insert(channel.name().to_owned(), (trouble.shut, trouble.why));
            }
        }
        self.log(&troubled);
        self.record(rekeyd, &troubled).await;
        self.shut = open.is_none();
        open.unwrap_or_else(|| usize::from(rest.is_none_or(|rest| rest.is_zero())))
    }

    /// Tells the log what has changed.
    fn log(&mut self, troubled: &HashMap<String, (bool, String)>) {
        for (channel, (_, why)) in troubled {
            if self.logged.insert(channel.clone()) {
                log::warn!(event = "channel-down", channel = channel.as_str(); "messages wait or go another way: {why}");
            }
        }
        self.logged.retain(|channel| {
            let is_troubled = troubled.contains_key(channel);
            if !is_troubled {
                log::info!(event = "channel-up", channel = channel.as_str(); "the channel works again");
            }
            is_troubled
        });
    }

    /// Tells the trail what has changed since it was last told. What it can't take now is told of later.
    async fn record(&mut self, rekeyd: &Rekeyd, troubled: &HashMap<String, (bool, String)>) {
        if self.failed.is_some_and(|failed| failed.elapsed() < AGAIN) {
            return;
        }
        self.failed = None;
        let event = |kind, outcome: &str| Event::new(rekeyd.now(), kind, Actor::System, None, outcome);
        let began =
            troubled.iter().filter(|(channel, _)| !self.recorded.contains(*channel)).map(|(channel, trouble)| {
                let (is_shut, why) = trouble;
                let event = event(EventKind::ChannelDown, if *is_shut { "down" } else { "partly" });
                (channel.clone(), event.because(why.clone()))
            });
        let over = self.recorded.iter().filter(|channel| !troubled.contains_key(*channel));
        let over = over.map(|channel| (channel.clone(), event(EventKind::ChannelUp, "up")));
        for (channel, event) in began.chain(over).collect::<Vec<_>>() {
            if let Err(error) = rekeyd.store.record(event.with("channel", channel.clone())).await {
                trouble::tell(&error, "an event could not be recorded");
                self.failed = Some(Instant::now());
            } else if !self.recorded.remove(&channel) {
                self.recorded.insert(channel);
            }
        }
    }

    /// Whether nothing gets through as far as is known.
    pub(super) fn are_shut(&self) -> bool {
        self.shut
    }

    /// Finds out whether ways work again that have rested, without a message: there is none to send.
    pub(super) fn probe(&mut self, rekeyd: &Rekeyd) {
        while self.probes.try_join_next().is_some() {}
        let parts = rekeyd.parts();
        let rested =
            |parts: &Parts| parts.channels.iter().any(|channel| channel.trouble().is_some_and(|t| t.rest.is_zero()));
        if !self.probes.is_empty() || !rested(&parts) {
            return;
        }
        self.probes.spawn(async move { probe(parts).await });
    }
}

async fn probe(parts: Arc<Parts>) {
    for channel in parts.channels.iter().filter(|channel| channel.trouble().is_some()) {
        if let Err(why) = channel.probe().await {
            log::debug!(channel = channel.name(); "still in trouble: {why}");
        }
    }
}
