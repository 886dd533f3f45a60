//! Whether a password that one server took has come to the others. Nothing waits for that: reading stays with the server that
//! was written to, and whoever signs in elsewhere meanwhile is told by the flaw that this leaves in the status.

use std::sync::Arc;
use std::time::Duration;

use rekeyd_core::domain::{AccountId, Stamp};
use rekeyd_core::flavour::Settled;
use tokio::time::{Instant, sleep};

use super::nature::Wanted;
use super::request::Query;
use super::upstream::Upstream;
use super::wire::Failure;
use super::write::Target;
use super::{Ldap, gather};

/// How long the others are asked, and how often: at first soon, later each time after twice as long.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

impl Ldap {
    /// Asks the other servers for the new mark, in the background. One question at a time for each of them: while it is asked
    /// about one account, further ones are left out, for what delays one delays all.
    pub(super) fn follow(&self, writer: &Upstream, target: &Target) {
        for other in self.upstreams.iter().filter(|other| other.endpoint.url != writer.endpoint.url) {
            let Some(following) = other.follows() else { continue };
            let (other, wanted) = (Arc::clone(other), Arc::clone(&self.wanted));
            let (id, before, from) = (target.id.clone(), target.stamp.clone(), writer.endpoint.url.clone());
            tokio::spawn(async move {
                let _following = following;
                let begun = Instant::now();
                let mut wait = FIRST;
                let mut trouble = None;
                while begun.elapsed() < PATIENCE {
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST);
                    match arrived(&other, &wanted, &id, &before).await {
                        Ok(Some(true)) => return other.spread(&from, Ok(begun.elapsed())),
                        // Its own marks can't tell, here or ever.
                        Ok(None) => return,
                        Ok(Some(false)) => trouble = None,
                        Err(failure) => trouble = Some(failure.to_string()),
                    }
                }
                other.spread(&from, Err(trouble));
            });
        }
    }
}

/// Whether a server has the new password by now; `None` where its marks don't tell.
async fn arrived(
    upstream: &Upstream,
    wanted: &Wanted,
    id: &AccountId,
    before: &Stamp,
) -> Result<Option<bool>, Failure> {
    // One that rests is left to those who need it: whether it is back is found out by a story that tells how it went.
    if let Some(failure) = upstream.resting() {
        return Err(failure);
    }
    let mut session = upstream.session(wanted).await?;
    let nature = Arc::clone(&session.nature);
    let Some(filter) = nature.flavour.id_filter(id) else { return Ok(None) };
    let base = wanted.search.base.0.as_str();
    let found = session.link.search(&Query::below(base, filter, &nature.attributes)).await?;
    let Some(entry) = found.entries.first() else { return Ok(None) };
    let entry = gather::whole(&mut session, entry).await?;
    let Ok(stamp) = nature.flavour.stamp(&entry, &nature.mapping) else { return Ok(None) };
    upstream.answered();
    Ok(match nature.flavour.settled(before, &stamp) {
        Settled::Changed => Some(true),
        Settled::Unchanged => Some(false),
        Settled::Undecidable => None,
    })
}
