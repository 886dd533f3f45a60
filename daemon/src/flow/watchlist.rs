//! Which flaws stand, and which of their beginnings and ends the trail has yet to hear of.
//!
//! A flaw counts when it was seen in some looks running and is over when it was not in some: a server that is started
//! again is no event, and one that comes and goes is one and not hundreds.

use rekeyd_core::domain::Timestamp;

use crate::directory::{Flaw, FlawKind};

/// In so many looks running a flaw must be seen before it counts.
const STANDS: u32 = 2;
/// In so many looks running it must be missed before it is over.
const GONE: u32 = 3;

/// What is wrong with a server, and since when.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// What.
    pub(super) flaw: Flaw,
    /// Since when, by the first look that saw the server in trouble.
    pub(super) since: Timestamp,
    /// What the trail has of it.
    told: Option<FlawKind>,
    seen: u32,
    missed: u32,
}

/// What the trail is to hear.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// It stands, or has become another one.
    Began(Flaw),
    /// The server is well.
    Over(Flaw),
}

/// The flaws of one directory, at most one a server.
#[derive(Debug, Default)]
pub(super) struct Watchlist {
    list: Vec<Standing>,
}

impl Watchlist {
    /// Takes in what is wrong now.
    pub(super) fn look(&mut self, flaws: Vec<Flaw>, now: Timestamp) {
        for one in &mut self.list {
            match flaws.iter().find(|flaw| flaw.server == one.flaw.server) {
                Some(flaw) => {
                    one.seen = if flaw.kind == one.flaw.kind { one.seen.saturating_add(1) } else { 1 };
                    one.missed = 0;
                    one.flaw = flaw.clone();
                }
                None => one.missed = one.missed.saturating_add(1),
            }
        }
        self.list.retain(|one| one.missed == 0 || one.told.is_some());
        for flaw in flaws {
            if !self.list.iter().any(|one| one.flaw.server == flaw.server) {
                self.list.push(Standing { flaw, since: now, told: None, seen: 1, missed: 0 });
            }
        }
    }

    /// What stands.
    pub(super) fn standing(&self) -> Vec<Standing> {
        self.list.iter().filter(|one| one.missed == 0).cloned().collect()
    }

    /// Whether there is nothing to see and nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What the trail has yet to hear.
    pub(super) fn untold(&self) -> Vec<Change> {
        let change = |one: &Standing| {
            if one.missed >= GONE {
                return Some(Change::Over(one.flaw.clone()));
            }
            let counts = one.missed == 0 && one.seen >= STANDS && one.told != Some(one.flaw.kind);
            counts.then(|| Change::Began(one.flaw.clone()))
        };
        self.list.iter().filter_map(change).collect()
    }

    /// The trail has it.
    pub(super) fn told(&mut self, change: &Change) {
        match change {
            Change::Began(flaw) => {
                for one in self.list.iter_mut().filter(|one| one.flaw.server == flaw.server) {
                    one.told = Some(flaw.kind);
                }
            }
            Change::Over(flaw) => self.list.retain(|one| one.flaw.server != flaw.server || one.missed < GONE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(server: &str, kind: FlawKind) -> Flaw {
        Flaw { server: server.into(), kind, why: "no answer".into() }
    }

    /// Looks once, and tells the trail what it has not heard.
    fn look(list: &mut Watchlist, flaws: &[Flaw]) -> Vec<Change> {
        list.look(flaws.to_vec(), Timestamp::from_millis(0));
        let untold = list.untold();
        for change in &untold {
            list.told(change);
        }
        untold
    }

    #[test]
    fn r29_a_fault_is_one_event_and_its_end_another() {
        let (a, b) = (flaw("a", FlawKind::Down), flaw("b", FlawKind::Slow));
        let mut list = Watchlist::default();
        assert!(look(&mut list, std::slice::from_ref(&a)).is_empty());
        assert_eq!(list.standing().len(), 1, "it is seen at once");
        assert_eq!(look(&mut list, &[a.clone(), b.clone()]), [Change::Began(a.clone())]);
        assert_eq!(look(&mut list, &[a.clone(), b.clone()]), [Change::Began(b.clone())]);
        for _ in 0..100 {
            assert!(look(&mut list, &[a.clone(), b.clone()]).is_empty());
        }
        assert!(look(&mut list, std::slice::from_ref(&b)).is_empty());
        assert_eq!(list.standing().len(), 1);
        assert!(look(&mut list, std::slice::from_ref(&b)).is_empty());
        assert_eq!(look(&mut list, &[b]), [Change::Over(a)]);
    }

    #[test]
    fn r29_what_comes_and_goes_is_no_event_each_time() {
        let down = flaw("a", FlawKind::Down);
        let mut list = Watchlist::default();
        for _ in 0..10 {
            assert!(look(&mut list, std::slice::from_ref(&down)).is_empty());
            assert!(look(&mut list, &[]).is_empty());
        }
        look(&mut list, std::slice::from_ref(&down));
        assert_eq!(look(&mut list, std::slice::from_ref(&down)).len(), 1);
        for _ in 0..10 {
            assert!(look(&mut list, &[]).is_empty());
            assert!(look(&mut list, std::slice::from_ref(&down)).is_empty());
        }
    }

    #[test]
    fn r29_another_kind_of_fault_is_another_event() {
        let (down, refused) = (flaw("a", FlawKind::Down), flaw("a", FlawKind::Refused));
        let mut list = Watchlist::default();
        look(&mut list, std::slice::from_ref(&down));
        look(&mut list, std::slice::from_ref(&down));
        assert!(look(&mut list, std::slice::from_ref(&refused)).is_empty());
        assert_eq!(look(&mut list, std::slice::from_ref(&refused)), [Change::Began(refused.clone())]);
        (0..2).for_each(|_| assert!(look(&mut list, &[]).is_empty()));
        assert_eq!(look(&mut list, &[]), [Change::Over(refused)]);
        assert!(list.standing().is_empty() && list.untold().is_empty());
    }
}
