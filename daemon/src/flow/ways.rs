//! Whether messages can leave at all: how many at once, what is wrong with a way, and who is told of it.
//!
//! Where every way is shut the messages stay where they are, and one at a time finds out whether a way works again; with
//! none to send, a way is probed without one. So a mail server that is down is asked once in a few seconds, however many messages wait.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rekeyd_core::domain::{Actor, Event, EventKind, Timestamp};
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
        for (channel, event) in self.untold(troubled, rekeyd.now()) {
            if let Err(error) = rekeyd.store.record(event).await {
                trouble::tell(&error, "an event could not be recorded");
                self.failed = Some(Instant::now());
            } else {
                self.told(channel);
            }
        }
    }

    /// What the trail is to be told of, channel by channel.
    fn untold(&self, troubled: &HashMap<String, (bool, String)>, now: Timestamp) -> Vec<(String, Event)> {
        let event = |channel: &str, kind, outcome: &str| {
            Event::new(now, kind, Actor::System, None, outcome).with("channel", channel.to_owned())
        };
        let began = troubled.iter().filter(|(channel, _)| !self.recorded.contains(*channel));
        let began = began.map(|(channel, (is_shut, why))| {
            let outcome = if *is_shut { "down" } else { "partly" };
            (channel.clone(), event(channel, EventKind::ChannelDown, outcome).because(why.clone()))
        });
        let over = self.recorded.iter().filter(|channel| !troubled.contains_key(*channel));
        let over = over.map(|channel| (channel.clone(), event(channel, EventKind::ChannelUp, "up")));
        began.chain(over).collect()
    }

    /// The trail has it: a trouble that has begun, or the end of one.
    fn told(&mut self, channel: String) {
        if !self.recorded.remove(&channel) {
            self.recorded.insert(channel);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a trouble of the channel `mail`, or of none.
    fn tells(ways: &mut Ways, why: Option<&str>, is_kept: bool) -> Vec<(EventKind, String)> {
        let troubled = why.map(|why| ("mail".to_owned(), (true, why.to_owned()))).into_iter().collect();
        let untold = ways.untold(&troubled, Timestamp::from_millis(0));
        if is_kept {
            for (channel, _) in &untold {
                ways.told(channel.clone());
            }
        }
        untold.into_iter().map(|(_, event)| (event.kind, event.outcome)).collect()
    }

    #[test]
    fn the_trail_has_each_trouble_once_and_its_end_once() {
        let mut ways = Ways::default();
        let down = vec![(EventKind::ChannelDown, "down".to_owned())];
        let up = vec![(EventKind::ChannelUp, "up".to_owned())];
        assert!(tells(&mut ways, None, true).is_empty());
        // What the trail can't take is told of again, and what it has is not, in whatever words.
        assert_eq!(tells(&mut ways, Some("refused"), false), down);
        assert_eq!(tells(&mut ways, Some("refused"), true), down);
        assert!(tells(&mut ways, Some("refused"), true).is_empty());
        assert!(tells(&mut ways, Some("too slow"), true).is_empty());
        assert_eq!(tells(&mut ways, None, false), up);
        assert_eq!(tells(&mut ways, None, true), up);
        assert!(tells(&mut ways, None, true).is_empty());
        // One that was over before the trail had its beginning leaves nothing.
        assert_eq!(tells(&mut ways, Some("refused"), false), down);
        assert!(tells(&mut ways, None, true).is_empty());
    }
}
