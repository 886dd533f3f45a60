//! Whether messages can leave at all: how many at once, what is wrong with a way, and who is told of it.
//!
//! Where every way is shut the messages stay where they are, and one at a time finds out whether a way works again; with
//! none to send, a way is probed without one. So a mail server that is down is asked once in a few seconds, however many messages wait.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::{Actor, Event, EventKind};
use tokio::task::JoinSet;

use super::rekeyd::{Parts, Rekeyd};
use super::trouble;

/// What is known of the ways.
#[derive(Default)]
pub(super) struct Ways {
    /// The channels whose trouble was told of.
    troubled: HashSet<String>,
    shut: bool,
    probes: JoinSet<()>,
}

impl Ways {
    /// How many messages may be under way now: none while every way rests, one to find out. Tells of what has changed.
    pub(super) async fn open(&mut self, rekeyd: &Rekeyd) -> usize {
        let parts = rekeyd.parts();
        let mut troubled = HashSet::new();
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
            let Some(trouble) = trouble else { continue };
            if !self.troubled.contains(channel.name()) {
                let outcome = if trouble.shut { "down" } else { "partly" };
                log::warn!(event = "channel-down", channel = channel.name(); "messages wait or go another way: {}", trouble.why);
                let event = Event::new(rekeyd.now(), EventKind::ChannelDown, Actor::System, None, outcome);
                tell(rekeyd, event.because(trouble.why), channel.name()).await;
            }
            troubled.insert(channel.name().to_owned());
        }
        for works in self.troubled.difference(&troubled) {
            log::info!(event = "channel-up", channel = works.as_str(); "the channel works again");
            tell(rekeyd, Event::new(rekeyd.now(), EventKind::ChannelUp, Actor::System, None, "up"), works).await;
        }
        self.troubled = troubled;
        self.shut = open.is_none();
        open.unwrap_or_else(|| usize::from(rest.is_none_or(|rest| rest.is_zero())))
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

async fn tell(rekeyd: &Rekeyd, event: Event, channel: &str) {
    if let Err(error) = rekeyd.store.record(event.with("channel", channel)).await {
        trouble::tell(&error, "an event could not be recorded");
    }
}
