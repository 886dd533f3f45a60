//! Which connections stay: what each is doing, since when, and who makes room for whom.
//!
//! A connection is *reading* from its begin, or from a request's first byte, until the headers are there; *receiving*
//! until the body is there; *busy* while its request is in work; *idle* in between. Reading and idle connections end at
//! their limits, and a body has its own. Where all places are taken, one that has waited long makes room, so that
//! connections which ask for nothing, or never come to their end of it, can't keep out one that does.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::config::Limits;

/// So many waiting connections are looked at to find one that makes room; the next look begins behind them. In a crowd
/// each newcomer costs one look, so it must be short, and any of a crowd is as good as another.
const LOOK: usize = 32;

/// The places for connections.
pub(super) struct Seats {
    limits: Limits,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    /// Where the next look for a waiting connection begins.
    looked: u64,
    seats: BTreeMap<u64, (Option<IpAddr>, Arc<Pulse>)>,
    per_source: HashMap<IpAddr, usize>,
}

/// The place of one connection, given back when dropped.
pub(super) struct Seat {
    number: u64,
    pub(super) pulse: Arc<Pulse>,
    seats: Arc<Seats>,
}

impl Seats {
    /// All free.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, at the cost of the longest waiting connection (of this source, where it is the source that has too
    /// many); `None` where all are busy.
    pub(super) fn take(self: &Arc<Self>, source: Option<IpAddr>) -> Option<Seat> {
        let mut taken = self.taken();
        let of_source = source.and_then(|source| taken.per_source.get(&source).copied()).unwrap_or(0);
        if of_source >= self.limits.connections_per_source && !taken.evict(source) {
            return None;
        }
        if taken.seats.len() >= self.limits.connections && !taken.evict(None) {
            return None;
        }
        let number = taken.next;
        taken.next += 1;
        let pulse = Arc::new(Pulse::new());
        taken.seats.insert(number, (source, Arc::clone(&pulse)));
        if let Some(source) = source {
            *taken.per_source.entry(source).or_default() += 1;
        }
        drop(taken);
        Some(Seat { number, pulse, seats: Arc::clone(self) })
    }
}

impl Taken {
    /// Ends the connection that has waited longest of those that are looked at, of one source or of all.
    fn evict(&mut self, source: Option<IpAddr>) -> bool {
        let mut longest: Option<(u64, Instant)> = None;
        let mut last = self.looked;
        let around = self.seats.range(self.looked..).chain(self.seats.range(..self.looked));
        let waiting = around
            .filter(|(_, (owner, pulse))| (source.is_none() || *owner == source) && pulse.is_waiting())
            .take(LOOK);
        for (number, (_, pulse)) in waiting {
            let since = pulse.since();
            if longest.is_none_or(|(_, longest)| since < longest) {
                longest = Some((*number, since));
            }
            last = *number;
        }
        self.looked = last + 1;
        let Some((number, _)) = longest else { return false };
        if let Some(pulse) = self.leave(number) {
            pulse.evicted.notify_one();
        }
        true
    }

    fn leave(&mut self, number: u64) -> Option<Arc<Pulse>> {
        let (source, pulse) = self.seats.remove(&number)?;
        if let Some(source) = source
            && let Some(count) = self.per_source.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&source);
            }
        }
        Some(pulse)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().leave(self.number);
    }
}

/// One source: an IPv4 address, or the /64 of an IPv6 address.
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
    }
}

const READING: u8 = 0;
const BUSY: u8 = 1;
const IDLE: u8 = 2;
const RECEIVING: u8 = 3;

/// What a connection is doing, and since when.
pub(super) struct Pulse {
    begin: Instant,
    state: AtomicU8,
    since: AtomicU64,
    /// Told when the seat goes to another connection.
    pub(super) evicted: Notify,
}

impl Pulse {
    fn new() -> Self {
        Self { begin: Instant::now(), state: AtomicU8::new(READING), since: AtomicU64::new(0), evicted: Notify::new() }
    }

    fn turn(&self, state: u8) {
        let since = u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.since.store(since, Ordering::Relaxed);
        self.state.store(state, Ordering::Release);
    }

    /// Bytes came in: an idle connection begins to read a request.
    pub(super) fn beat(&self) {
        if self.state.load(Ordering::Acquire) == IDLE {
            self.turn(READING);
        }
    }

    fn is_waiting(&self) -> bool {
        self.state.load(Ordering::Acquire) != BUSY
    }

    fn since(&self) -> Instant {
        self.begin + Duration::from_micros(self.since.load(Ordering::Relaxed))
    }

    /// The body is there: from now on the request is in work, and its connection stays.
    pub(super) fn received(&self) {
        if self.state.load(Ordering::Acquire) == RECEIVING {
            self.turn(BUSY);
        }
    }

    /// When to look again. A busy connection has its limits elsewhere, and so has a body on its way.
    pub(super) fn deadline(&self, limits: &Limits) -> Instant {
        match self.state.load(Ordering::Acquire) {
            READING => self.since() + limits.header,
            IDLE => self.since() + limits.idle,
            _ => Instant::now() + limits.idle,
        }
    }

    /// Whether the connection has waited longer than it may.
    pub(super) fn is_overdue(&self, limits: &Limits) -> bool {
        let limited = matches!(self.state.load(Ordering::Acquire), READING | IDLE);
        limited && Instant::now() >= self.deadline(limits)
    }
}

/// Marks a connection as busy until it is dropped, however that comes about; as receiving first where a body is to come.
pub(super) struct Busy(Arc<Pulse>);

impl Busy {
    pub(super) fn new(pulse: Arc<Pulse>, body_comes: bool) -> Self {
        pulse.turn(if body_comes { RECEIVING } else { BUSY });
        Self(pulse)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.turn(IDLE);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_are_given_back() {
        let seats = Arc::new(Seats::new(Limits { connections: 2, connections_per_source: 1, ..Limits::default() }));
        let source = |text: &str| Some(network(text.parse().unwrap()));
        let one = seats.take(source("192.0.2.1")).unwrap();
        let busy = Busy::new(Arc::clone(&one.pulse), false);
        assert!(seats.take(source("192.0.2.1")).is_none(), "a busy connection stays");
        let two = seats.take(source("192.0.2.2")).unwrap();
        let three = seats.take(source("192.0.2.3")).unwrap();
        drop((busy, one, two, three));
        let taken = seats.taken();
        assert!(taken.seats.is_empty() && taken.per_source.is_empty());
    }

    #[test]
    fn t104_a_body_on_its_way_makes_room_until_it_is_there() {
        let seats = Arc::new(Seats::new(Limits { connections: 1, ..Limits::default() }));
        let seat = seats.take(None).unwrap();
        let busy = Busy::new(Arc::clone(&seat.pulse), true);
        seat.pulse.received();
        assert!(seats.take(None).is_none(), "what is in work stays");
        drop(busy);
        let idle = seats.take(None).unwrap();
        let _busy = Busy::new(Arc::clone(&idle.pulse), true);
        assert!(seats.take(None).is_some(), "a body that does not come holds its place");
    }

    #[test]
    fn t104_one_that_was_just_busy_stays_in_a_crowd() {
        let seats = Arc::new(Seats::new(Limits { connections: 100, ..Limits::default() }));
        let mut held: Vec<_> = (0..100).map(|_| seats.take(None).unwrap()).collect();
        let kept = held.remove(0);
        for _ in 0..400 {
            std::thread::sleep(Duration::from_micros(200));
            drop(Busy::new(Arc::clone(&kept.pulse), false));
            held.push(seats.take(None).unwrap());
        }
        assert!(seats.taken().seats.contains_key(&kept.number), "a crowd drove out one that is served");
        assert_eq!(seats.taken().seats.len(), 100);
    }

    #[test]
    fn a_source_is_an_address_or_a_64() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
    }
}
