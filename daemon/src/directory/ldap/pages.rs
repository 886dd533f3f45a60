//! A search of any size, page by page (RFC 2696), with no more than a few pages in memory. It is complete or it fails: what
//! a server's limits cut off is never taken for the whole.
//!
//! The mark that a server gives for the next page means nothing on another connection, and a server may keep only one for
//! each: so a search has a connection of its own, and one that breaks off is begun anew from its first page.

use rekeyd_core::flavour::entry::Entry;
use rekeyd_core::flavour::filter::Filter;
use rekeyd_core::flavour::product::Product;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::request::Query;
use super::wire::{Failure, Link};

/// How many entries a page has.
pub(super) const PAGE: u16 = 500;
/// How many pages may wait to be taken.
const AHEAD: usize = 1;

/// A page, or the end of all.
enum Sent {
    Page(Vec<Entry>),
    End,
}

/// The pages of one search, fetched while those before are worked on. Dropping it ends the search and its connection.
pub(super) struct Pages {
    pages: mpsc::Receiver<Result<Sent, Failure>>,
    task: AbortHandle,
}

impl Pages {
    /// Begins a search below a base on a connection of its own. No attributes ask for names only.
    pub(super) fn begin(
        mut link: Link,
        product: Product,
        base: String,
        filter: Filter,
        attributes: Vec<String>,
    ) -> Self {
        let (sender, pages) = mpsc::channel(AHEAD);
        let task = tokio::spawn(async move {
            let query = Query { limit: PAGE, ..Query::below(&base, filter, &attributes) };
            let mut cookie = Vec::new();
            loop {
                let page = page(&mut link, product, &query, &cookie).await;
                let next = page.as_ref().ok().and_then(|(_, next)| next.clone());
                let is_last = next.is_none();
                if sender.send(page.map(|(entries, _)| Sent::Page(entries))).await.is_err() {
                    return;
                }
                if is_last {
                    // Whoever waits has heard of a failure already.
                    drop(sender.send(Ok(Sent::End)).await);
                    return;
                }
                cookie = next.unwrap_or_default();
            }
        });
        Self { pages, task: task.abort_handle() }
    }

    /// The next page, which may be empty; none after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Entry>>, Failure> {
        match self.pages.recv().await {
            Some(Ok(Sent::Page(entries))) => Ok(Some(entries)),
            Some(Ok(Sent::End)) => {
                self.pages.close();
                Ok(None)
            }
            Some(Err(failure)) => Err(failure),
            None => Err(Failure::Broken("the search has ended".into())),
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One page. What can't be had of it is this question's affair alone: everybody else is answered as ever.
async fn page(
    link: &mut Link,
    product: Product,
    query: &Query<'_>,
    cookie: &[u8],
) -> Result<(Vec<Entry>, Option<Vec<u8>>), Failure> {
    let (found, next) = link.page(query, cookie).await?;
    let words = found.reply.words();
    let base = query.base;
    match found.reply.code {
        0 => Ok((found.entries, next)),
        3 | 4 | 11 => Err(Failure::Beyond(format!(
            "the server gives only a part of what lies below {base}: {words}. {}",
            wider(product)
        ))),
        12 => Err(Failure::Beyond(format!("the server has no paged results, and a walk needs them: {words}"))),
        32 => Err(Failure::Beyond(format!("{base} is not there, or rekeyd's account may not see it"))),
        10 => Err(Failure::Beyond(format!("{base} is on another server"))),
        1 | 51 | 52 | 80 => Err(Failure::Unreachable(words)),
        _ => Err(Failure::Beyond(format!("a search below {base} is refused: {words}"))),
    }
}

/// How a server is told to give everything.
fn wider(product: Product) -> &'static str {
    match product {
        Product::ActiveDirectory => "Raise the limits of its query policy (ntdsutil, \"LDAP policies\")",
        Product::Ds389 | Product::FreeIpa => {
            "Lift its limits for rekeyd's account: set nsPagedSizeLimit and nsPagedLookThroughLimit of its entry to -1"
        }
        Product::OpenLdap => {
            "Lift its limits for rekeyd's account, such as \
             `limits dn.exact=\"its name\" size.pr=500 size.prtotal=unlimited time=unlimited`"
        }
    }
}
