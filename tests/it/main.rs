//! The list of all integration tests.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used
)]

mod adopt;
mod check;
mod checker;
mod checklist;
mod crash;
mod crowds;
mod demo;
mod differential;
mod dir_answers;
mod dir_down;
mod dir_failover;
mod dir_identity;
mod dir_limits;
mod dir_several;
mod dir_tls;
mod dir_unsure;
mod doctor;
mod doctor_rules;
mod doors;
mod everybody;
mod figures;
mod hook;
mod hostile;
mod kept;
mod kills;
mod law;
mod leaks;
mod mail_faults;
mod mail_flow;
mod mishaps;
mod operators;
mod oracle;
mod pages;
mod races;
mod rig;
mod running;
mod scenarios;
mod search;
mod sequence;
mod smuggling;
mod stale;
mod store_faults;
mod store_full;
mod store_power;
mod story;
mod survey;
mod tickets;
mod tidy;
mod tokens;
mod trail;
mod walk;

use std::process::ExitCode;

use rekeyd_tests::harness;

fn main() -> ExitCode {
    let modules = [
        adopt::all(),
        check::all(),
        crowds::all(),
        checker::all(),
        checklist::all(),
        crash::all(),
        demo::all(),
        differential::all(),
        dir_answers::all(),
        dir_down::all(),
        dir_failover::all(),
        dir_identity::all(),
        dir_limits::all(),
        dir_several::all(),
        dir_tls::all(),
        dir_unsure::all(),
        doctor::all(),
        doctor_rules::all(),
        doors::all(),
        everybody::all(),
        figures::all(),
        hostile::all(),
        hook::all(),
        kept::all(),
        kills::all(),
        law::all(),
        leaks::all(),
        mail_faults::all(),
        mail_flow::all(),
        mishaps::all(),
        operators::all(),
        oracle::all(),
        pages::all(),
        races::all(),
        rig::all(),
        running::all(),
        scenarios::all(),
        search::all(),
        sequence::all(),
        smuggling::all(),
        stale::all(),
        store_faults::all(),
        store_full::all(),
        store_power::all(),
        story::all(),
        survey::all(),
        tickets::all(),
        tidy::all(),
        tokens::all(),
        trail::all(),
        walk::all(),
    ];
    harness::main(modules.into_iter().flatten().collect())
}
