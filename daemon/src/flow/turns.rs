//! One story at a time per account: a reset and an operator's replacement never overlap.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rekeyd_core::domain::AccountId;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// How many idle entries are kept before they are swept.
const SWEEP: usize = 1024;

/// A lock per account, made when it is asked for.
#[derive(Default)]
pub(super) struct Turns {
    by_account: Mutex<HashMap<AccountId, Weak<Turn<()>>>>,
}

impl Turns {
    /// Waits for the account's turn; it is over when the guard is dropped. The second value says whether another story
    /// came in between, so that what was read before is to be read again.
    pub(super) async fn take(&self, account: &AccountId) -> (OwnedMutexGuard<()>, bool) {
        let turn = {
            let mut by_account = self.by_account.lock().unwrap_or_else(PoisonError::into_inner);
            if by_account.len() > SWEEP {
                by_account.retain(|_, turn| turn.strong_count() > 0);
            }
            let known = by_account.get(account).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::new(Turn::new(()));
                by_account.insert(account.clone(), Arc::downgrade(&turn));
                turn
            })
        };
        match Arc::clone(&turn).try_lock_owned() {
            Ok(guard) => (guard, false),
            Err(_) => (turn.lock_owned().await, true),
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
                let (_turn, _) = turns.take(&account).await;
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
}
