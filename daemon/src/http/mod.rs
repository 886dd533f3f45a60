//! The HTTP door: bytes become calls, outcomes become bytes. It knows the stories, and nothing of what is behind them.
//!
//! * `routes` is the one page with every route; `door` checks what every request must pass, in order of cost.
//! * `pages` serves people, `hook` serves login pages; `answer` is the one table from outcomes to both kinds of answer.
//! * [`server`] is the accept loop, `seats` says who stays connected, `strict` refuses heads that could be read in two
//!   ways; [`config`] is the `[http]` section, [`clients`]
//!   holds the hook's keys.
//! * [`request`], [`form`], [`forwarded`] and [`language`] read what comes from outside: pure functions, strict, for
//!   tests and fuzzing to call.
//! * `alarm` logs what looks like an attack.
//! * `page` and `response` make what goes out: every page from its template, every answer with its headers.
//!
//! The link base never comes from a request, no page needs a script, and no answer before the link is opened depends
//! on an account.

pub mod clients;
pub mod config;
pub mod form;
pub mod forwarded;
pub mod language;
pub mod request;
pub mod server;

mod alarm;
mod answer;
mod demands;
mod door;
mod hook;
mod page;
mod pages;
mod response;
mod routes;
mod seats;
mod strict;

pub use config::Config;
pub use door::Door;
pub use hook::reads;
pub use routes::leads;
pub use server::Server;
pub use strict::believed;
