//! Fresh work and deferred work take turns, so that neither a flood nor a backlog starves the other.

/// Whose turn is next: theirs who did not come last. Kept from one lease to the next, since a lease of one is common.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Turn {
    /// What was tried before.
    Deferred,
    /// What was never tried.
    #[default]
    Fresh,
}

impl Turn {
    /// Up to `most`, one of each in turn for as long as there are any.
    pub(super) fn take<T>(&mut self, most: usize, fresh: Vec<T>, deferred: Vec<T>) -> Vec<T> {
        let (mut fresh, mut deferred) = (fresh.into_iter(), deferred.into_iter());
        let mut taken = Vec::new();
        while taken.len() < most {
            let (next, other) = match self {
                Self::Deferred => (deferred.next().map(|one| (one, Self::Fresh)), &mut fresh),
                Self::Fresh => (fresh.next().map(|one| (one, Self::Deferred)), &mut deferred),
            };
            // Where one kind has nothing, the other goes on, and the turn stays where it is.
            let Some((one, after)) = next.or_else(|| other.next().map(|one| (one, *self))) else { break };
            *self = after;
            taken.push(one);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r9_leases_of_one_take_turns_too() {
        let mut turn = Turn::default();
        let taken: Vec<_> = (0..4).flat_map(|_| turn.take(1, vec!["fresh"], vec!["deferred"])).collect();
        assert_eq!(taken, ["fresh", "deferred", "fresh", "deferred"]);
        assert_eq!(turn.take(3, vec![1, 2], vec![]), [1, 2]);
        assert_eq!(turn.take(3, vec![1], vec![7]), [7, 1]);
    }
}
