//! One story at a time per account: a reset and an operator's replacement never overlap.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekeyd_core::domain::AccountId;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};
use tokio::time::timeout;

/// How many idle entries are kept before they are swept.
const SWEEP: usize = 1024;

/// How many stories that strangers can begin wait for one account: a form that is sent again and again finds its place, and
/// whoever has a link can't fill the daemon with it.
const LINE: usize = 255;

/// A lock per account, made when it is asked for.
#[derive(Default)]
pub(super) struct Turns {
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    by_account: HashMap<AccountId, Entry>,
    /// Grows with every story that ends.
    count: u64,
    /// The count when entries were last swept: of what ended before, only this is known.
    swept: u64,
}

struct Entry {
    turn: Arc<Turn<()>>,
    /// The count when a story about this account last ended.
    ended: u64,
}

/// A moment among the stories, taken before an account is read.
#[derive(Clone, Copy)]
pub(super) struct Before(u64);

/// The account's turn; it is over when this is dropped.
pub(super) struct Held<'t> {
    turns: &'t Turns,
    account: AccountId,
    _turn: OwnedMutexGuard<()>,
}

impl Turns {
    /// The present moment, for [`Turns::take_since`].
    pub(super) fn now(&self) -> Before {
        Before(self.book().count)
    }

    /// Waits for the account's turn.
    pub(super) async fn take(&self, account: &AccountId) -> Held<'_> {
        self.take_since(account, Before(0)).await.0
    }

    /// As [`Turns::take`], for a story that somebody waits for: `None` where it is not had within so long.
    pub(super) async fn take_within(&self, account: &AccountId, limit: Duration) -> Option<Held<'_>> {
        timeout(limit, self.take(account)).await.ok()
    }

    /// As [`Turns::take`]; the second value says whether another story may have ended since that moment, so that what was
    /// read after it is to be read again.
    pub(super) async fn take_since(&self, account: &AccountId, before: Before) -> (Held<'_>, bool) {
        let turn = self.line(account);
        self.wait(turn, account, before).await
    }

    /// As [`Turns::take_since`], for stories that strangers can begin: `None`, at once, where [`LINE`] of them wait already.
    pub(super) async fn queue_since(&self, account: &AccountId, before: Before) -> Option<(Held<'_>, bool)> {
        let turn = self.line(account);
        // One is the book's, one is this story's own.
        if Arc::strong_count(&turn) > LINE + 2 {
            return None;
        }
        Some(self.wait(turn, account, before).await)
    }

    /// The line before an account, in which whoever has this stands.
    fn line(&self, account: &AccountId) -> Arc<Turn<()>> {
        let mut book = self.book();
        if book.by_account.len() > SWEEP {
            book.by_account.retain(|_, entry| Arc::strong_count(&entry.turn) > 1);
            book.swept = book.count;
        }
        let ended = book.swept;
        let fresh = || Entry { turn: Arc::default(), ended };
        Arc::clone(&book.by_account.entry(account.clone()).or_insert_with(fresh).turn)
    }

    async fn wait(&self, turn: Arc<Turn<()>>, account: &AccountId, before: Before) -> (Held<'_>, bool) {
        let held = Held { turns: self, account: account.clone(), _turn: turn.lock_owned().await };
        let ended = self.book().by_account.get(account).map(|entry| entry.ended);
        (held, ended.is_none_or(|ended| ended > before.0))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Before the turn itself ends, so that whoever has it next sees this.
        let mut book = self.turns.book();
        book.count = book.count.saturating_add(1);
        let count = book.count;
        if let Some(entry) = book.by_account.get_mut(&self.account) {
            entry.ended = count;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rekeyd_core::domain::DirectoryKey;

    use super::*;

    #[tokio::test]
    async fn one_account_one_story() {
        let turns = Arc::new(Turns::default());
        let inside = Arc::new(AtomicUsize::new(0));
        let account = AccountId { directory: DirectoryKey(1), stable: "a".into() };
        let stories = (0..20).map(|_| {
            let (turns, inside, account) = (Arc::clone(&turns), Arc::clone(&inside), account.clone());
            tokio::spawn(async move {
                let _turn = turns.take(&account).await;
                let together = inside.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                together
            })
        });
        for story in futures_util::future::join_all(stories).await {
            assert_eq!(story.ok(), Some(0));
        }
    }

    #[tokio::test]
    async fn t78_one_account_has_a_line_of_bounded_length() {
        let turns = Turns::default();
        let account = |name: &str| AccountId { directory: DirectoryKey(1), stable: name.into() };
        let (a, b) = (account("a"), account("b"));
        let held = turns.take(&a).await;
        let mut line: Vec<_> = (0..LINE).map(|_| Box::pin(turns.queue_since(&a, Before(0)))).collect();
        for waiting in &mut line {
            assert!(futures_util::poll!(waiting).is_pending());
        }
        assert!(turns.queue_since(&a, Before(0)).await.is_none(), "told at once");
        assert!(turns.queue_since(&b, Before(0)).await.is_some(), "it is another account's line");
        let operator = turns.take(&a);
        let mut operator = std::pin::pin!(operator);
        assert!(futures_util::poll!(&mut operator).is_pending(), "an operator always finds a place");
        line.pop();
        let next = std::pin::pin!(turns.queue_since(&a, Before(0)));
        assert!(futures_util::poll!(next).is_ready(), "the operator took the place");
        drop(held);
        assert!(line.remove(0).await.is_some());
    }

    #[tokio::test]
    async fn t78_who_is_waited_for_does_not_wait_for_ever() {
        let turns = Turns::default();
        let account = AccountId { directory: DirectoryKey(1), stable: "a".into() };
        let held = turns.take_within(&account, Duration::from_millis(1)).await;
        assert!(held.is_some());
        assert!(turns.take_within(&account, Duration::from_millis(1)).await.is_none());
        drop(held);
        assert!(turns.take_within(&account, Duration::from_mins(1)).await.is_some(), "who gave up holds nobody up");
    }

    #[tokio::test]
    async fn a_story_that_ended_since_is_told() {
        let turns = Turns::default();
        let account = |name: &str| AccountId { directory: DirectoryKey(1), stable: name.into() };
        let before = turns.now();
        assert!(!turns.take_since(&account("a"), before).await.1);
        assert!(turns.take_since(&account("a"), before).await.1, "one came and went, and nobody waited");
        assert!(!turns.take_since(&account("b"), before).await.1, "it was about somebody else");
        let before = turns.now();
        assert!(!turns.take_since(&account("a"), before).await.1);
        for number in 0..=SWEEP {
            drop(turns.take(&account(&number.to_string())).await);
        }
        assert!(turns.take_since(&account("c"), before).await.1, "nobody knows any more");
        assert!(!turns.take_since(&account("d"), turns.now()).await.1);
    }
}
