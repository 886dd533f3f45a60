//! rekeyd: people set their own password, in the directory their organisation already has.
//!
//! This page is the map. Read it once, and every line of the daemon has a place.
//!
//! # Floors
//!
//! Imports go down only; a test reads the `use` lines, and Cargo holds the pure floors apart.
//!
//! | floor | what is there |
//! |---|---|
//! | [`command`], [`cli`], [`demo`] | the two programs and the trial |
//! | [`serve`], [`config`], [`logging`] | the composition root: configuration becomes parts, parts become tasks |
//! | [`http`], [`admin`] | the doors: bytes become an ask, outcomes become an answer; they know the stories and the nouns only |
//! | [`flow`] | the stories: gather, judge, act, record |
//! | [`directory`], [`store`], [`rekeyd_plugins`] | the outside: the organisation's directory, what rekeyd remembers, how it reaches people |
//! | [`rekeyd_core`] | the nouns, the verdicts, the directory flavours, the reading of settings: pure |
//!
//! Six sentences place every line. Nouns in `domain`, verdicts in `policy`, stories in `flow`, the outside in
//! `directory`, `store`, `plugins`, the doors in `http`, `admin`, `cli`. Imports go down the floors only. Core is pure:
//! time, chance and history come in as arguments. Each part owns the struct of its own configuration section. Closed
//! sets are enums ([`directory::Directory`], [`store::Store`]), open sets are traits ([`rekeyd_plugins::Channel`]). An
//! ordinary refusal is an outcome, not an error, and each door turns outcomes into answers in one file.
//!
//! # Five walks
//!
//! **A password is forgotten.** `http` parses a [`Login`](rekeyd_core::domain::Login) and hands it to
//! [`flow::forgotten::request`], which writes one row and answers; nobody has looked at the account yet.
//! On a thread that makes way for those who answer, and once nobody has asked for a moment,
//! [`flow::answering::run`] takes the row: one look-up, one [verdict](rekeyd_core::policy::eligibility::judge), and
//! [`store::Store::issue`] makes tickets and messages in one transaction. [`flow::outbox::run`] makes the link from
//! the ticket and the key ring, and a [`Channel`](rekeyd_plugins::Channel) delivers it; `flow::ways` says whether any
//! gets through at present.
//!
//! With several directories `flow::directories` says whose the login is: the one's whose rule
//! [claims](rekeyd_core::policy::claims) it, else the first's that knows it, and nobody's while one before that can't
//! answer. From then on an account is asked of its own directory, by the key that rekeyd gave that, and judged by its rules.
//!
//! **A link is used.** Opening it comes to [`flow::reset::look`] and changes nothing. Setting a password comes to
//! [`flow::reset::set_password`]: read the account on a server that takes writes, judge it again, accept the
//! password for it, claim the ticket, and [write](directory::Directory::write) with a
//! [`Permit`](rekeyd_core::policy::permit::Permit) that only those proofs make. One transaction then spends the
//! ticket, voids the others, and queues the notices. A lost answer is settled by the account's stamp, at once or by
//! [`flow::reconcile::run`].
//!
//! **A server is met.** [`directory`] reads its root entry, tells the [product](rekeyd_core::flavour::product::Product) by it, and
//! learns in a file for each product what that one keeps where. From there on a [`Flavour`](rekeyd_core::flavour::Flavour) says
//! what to ask for, what an entry means, how a password is written, and what the answer was.
//!
//! **An operator helps.** `rekeyctl` asks on the admin socket; `admin` ranks the caller by the kernel's word
//! ([`Operator::rank`](rekeyd_core::policy::authority::Operator::rank)), and [`flow::operator`] sends a link or
//! replaces the password by the same verdict and the same permit.
//!
//! **Everybody is looked at.** `rekeyctl policy test` and `rekeyctl adopt` come to [`flow::compare`] and [`flow::adopt`],
//! which [walk](directory::Directory::walk) page by page with a memory that does not grow: watched groups are read once,
//! from above, and each page is judged with what rekeyd remembers of it. The answer goes out line by line.
//!
//! **Somebody asks what is wrong.** `rekeyctl doctor` comes to [`flow::doctor::run`], which has each
//! [directory](directory::Directory::probe) looked at on connections of its own, tells each [probe](directory::Probe) as it is
//! found, compares what has a [cause](directory::probe::Cause) with the last look, and keeps it for the next. `rekeyctl check`
//! asks for the first half of the same look, without a daemon.
//!
//! # Invariants
//!
//! * Self-service writes to the directory exactly once, at SET, with the person's own password; before that nothing.
//! * No answer of a recovery request depends on the account: the answer precedes the look-up. Nor does the next one: work
//!   behind answers stands in a lane of its own, which waits for a quiet moment, and behind every answer the disk is waited
//!   for as often.
//! * Nothing writes a password but [`directory::Directory::write`], and nothing makes a permit without a verdict on a
//!   fresh reading, an accepted password, and a claimed ticket or an authorized operator.
//! * A 202 is given when the request is on disk. What was accepted ends as sent, merged, refused, expired or cancelled.
//! * No directory answers for a login that an earlier one may know, and no account is judged by the rules of another directory.
//! * A token is nowhere at rest: the store keeps a keyed hash, and the link is made again for each try at delivery.
//! * Each change has its row in the trail, written in the same transaction; what happens outside the store is recorded
//!   before it is done.
//! * `http` and `admin` know neither `directory` nor `store` nor the plugins: a door can become a process of its own.
//! * No secret type can be printed, and no text of a server is interpreted outside its flavour.

pub mod admin;
pub mod cli;
pub mod command;
pub mod config;
pub mod demo;
pub mod directory;
pub mod flow;
pub mod http;
pub mod logging;
pub mod serve;
pub mod store;
