//! The HTTP door: bytes become calls, outcomes become bytes. It knows the stories, and nothing of what is behind them.
//!
//! * `routes` is the one page with every route; `porter` checks what every request must pass, in order of cost.
//! * `pages` serves people, `hook` serves login pages; `answer` is the one table from outcomes to both kinds of answer.
//! * [`server`] is the accept loop with its limits; [`config`] is the `[http]` section, [`clients`] the hook's keys.
//! * [`request`], [`form`], [`forwarded`] and [`language`] read what comes from outside: pure functions, strict, for
//!   tests and fuzzing to call.
//! * `page` and `response` make what goes out: every page from its template, every answer with its headers.
//!
//! The link base never comes from a request, no page needs a script, and no answer before the link is opened depends
//! on an account.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch;

use crate::flow::Rekeyd;

pub mod clients;
pub mod config;
pub mod form;
pub mod forwarded;
pub mod language;
pub mod request;
pub mod server;

mod answer;
mod hook;
mod page;
mod pages;
mod porter;
mod response;
mod routes;

pub use config::HttpConfig;
pub use hook::reads;

use porter::Porter;
use server::Server;

/// The HTTP door, listening.
pub struct Door {
    server: Server,
    handle: Handle,
}

/// What the rest of the daemon has of an open door.
#[derive(Clone)]
pub struct Handle {
    porter: Arc<Porter>,
    address: SocketAddr,
}

impl Door {
    /// Begins to listen; connections wait until [`Door::serve`].
    ///
    /// # Errors
    /// Words that say why the address can't be had.
    pub async fn bind(config: &HttpConfig, public_url: &str, rekeyd: Arc<Rekeyd>) -> Result<Self, String> {
        let porter = Arc::new(Porter::new(rekeyd, config.clone(), public_url)?);
        let server = Server::bind(config.listen).await.map_err(|error| format!("on {}: {error}", config.listen))?;
        let address = server.address();
        Ok(Self { server, handle: Handle { porter, address } })
    }

    /// The handle.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves until `stop` turns true, then ends in order: what is in work is answered.
    pub async fn serve(self, stop: watch::Receiver<bool>) {
        let porter = self.handle.porter;
        let limits = porter.setting().config.limits;
        let exempt = |ip: IpAddr| ip.is_loopback() || porter.setting().config.trusts(ip);
        let answering = Arc::clone(&porter);
        let handle = move |request, peer| Arc::clone(&answering).handle(request, peer);
        self.server.run(limits, exempt, handle, stop).await;
    }
}

impl Handle {
    /// Where the door listens, with the port that the system chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes a new configuration, and the present identity and words with it; `listen` and the limits stay until a
    /// restart. To be called after [`Rekeyd::exchange`].
    pub fn reload(&self, config: &HttpConfig, public_url: &str) {
        self.porter.reload(config.clone(), public_url);
    }
}
