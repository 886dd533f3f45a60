//! Probes of one server as they are collected, and how they are put together.

use crate::directory::ldap::wire::Failure;
use crate::directory::probe::{Cause, Grade, Listener, Probe};

/// Probes of one server, told a few at a time.
pub(super) struct Chart<'l> {
    server: String,
    listener: &'l Listener,
    untold: Vec<Probe>,
}

impl<'l> Chart<'l> {
    pub(super) fn new(server: &str, listener: &'l Listener) -> Self {
        Self { server: server.to_owned(), listener, untold: Vec::new() }
    }

    pub(super) fn add(&mut self, probe: Probe) {
        self.untold.push(Probe { server: Some(self.server.clone()), ..probe });
    }

    /// Tells what was found since the last time.
    pub(super) async fn tell(&mut self) {
        for probe in self.untold.drain(..) {
            self.listener.hear(probe).await;
        }
    }

    /// The server is not reached, or does not let us in.
    pub(super) fn unreached(&mut self, failure: &Failure) {
        let why = failure.to_string();
        let (cause, remedy) = match failure {
            Failure::Refused(_) if why.contains("TLS: ") => {
                (Cause::TlsRefused, "Mend what it says; rekeyd has no switch that skips a check of certificates.")
            }
            Failure::Refused(_) => (Cause::NotLetIn, "Mend what it says, in the configuration or in the directory."),
            _ => (Cause::Unreachable, "Start the server, or mend `urls`; check firewalls between here and there."),
        };
        self.add(Probe::found(cause, Grade::Broken, "reach it", why).mended_by(remedy));
    }
}
