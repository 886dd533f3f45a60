//! What can be said of the servers for the one who looks after them: whether each is reached and by what certificate, who we
//! are there, what we may see, how a password will be written, and, where that much is asked for, whether the server's rules
//! hold for us and whether we may do more than we need. Each thing is proved rather than believed where a proof is to be
//! had, and told with its evidence and with what mends it.
//!
//! `check` asks for the first half, `doctor` for all of it: one implementation, two depths.

mod access;
mod certificate;
mod marking;
mod people;
mod policies;
mod rank;
mod rights;
mod seen;
mod trial;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rekeyd_core::domain::Timestamp;
use rekeyd_core::flavour::Flavour;
use rekeyd_core::flavour::active_directory::Maker;
use rekeyd_core::flavour::active_directory::sid::Sid;
use rekeyd_core::flavour::product::Product;
use rekeyd_core::flavour::remedy::Place;

use self::marking::Marking;
use self::seen::Chart;
use super::connect::Who;
use super::nature::{self, Nature};
use super::upstream::{Session, Upstream};
use super::wire::{Failure, Link};
use super::{Identity, Ldap};
use crate::directory::probe::{Care, Cause, Grade, Listener, Probe};

impl Ldap {
    /// The same directory with connections of its own, of which nothing is known yet.
    pub(in crate::directory) fn apart(&self) -> Self {
        let apart = |upstream: &Arc<Upstream>| Arc::new(upstream.apart(&self.wanted.ldap));
        Self {
            key: self.key,
            name: self.name.clone(),
            wanted: Arc::clone(&self.wanted),
            upstreams: self.upstreams.iter().map(apart).collect(),
            up: AtomicBool::new(false),
        }
    }

    pub(in crate::directory) async fn probe(&self, care: Care, now: Timestamp, listener: &Listener) {
        let mut marking = Marking::default();
        for upstream in &self.upstreams {
            let mut chart = Chart::new(&upstream.endpoint.url, listener);
            match certificate::look(upstream, now, &mut chart).await {
                Ok(()) => {}
                Err(failure) => {
                    chart.unreached(&failure);
                    chart.tell().await;
                    continue;
                }
            }
            chart.tell().await;
            match upstream.session(&self.wanted).await {
                Ok(mut session) => {
                    marking
                        .compare(&upstream.endpoint.url, &session.nature.flavour)
                        .into_iter()
                        .for_each(|probe| chart.add(probe));
                    let looked = self.look_around(upstream, &mut session, care, now, &mut chart).await;
                    if let Err(failure) = looked {
                        chart.add(
                            Probe::found(Cause::Unclear, Grade::Broken, "answers", failure.to_string())
                                .mended_by("Look at the server's log."),
                        );
                    }
                }
                Err(failure) => chart.unreached(&failure),
            }
            chart.tell().await;
        }
    }

    async fn look_around(
        &self,
        upstream: &Upstream,
        session: &mut Session,
        care: Care,
        now: Timestamp,
        to: &mut Chart<'_>,
    ) -> Result<(), Failure> {
        let nature = Arc::clone(&session.nature);
        let place = self.place(upstream, session).await?;
        who_we_are(&nature, &mut session.link, to).await?;
        to.tell().await;
        let sample = self.people_there(session, &place, to).await?;
        self.groups_there(session, &place, to);
        to.tell().await;
        self.writing(session, &place, now, to);
        let policy = self.policies_there(upstream, session, &place, to).await?;
        to.tell().await;
        if care == Care::Doctor {
            if nature.proof.copy {
                to.add(
                    Probe::found(Cause::ReadOnly, Grade::Note, "writing", "the server is a copy that takes no writes")
                        .mended_by("Name at least one server in `urls` that takes writes; this one answers look-ups."),
                );
            }
            self.limits(session, &place, to).await?;
            if let Some(sample) = &sample {
                rights::of_ours(&nature, &mut session.link, sample, &place, to).await?;
            }
            to.tell().await;
            self.trial(upstream, session, sample.as_ref(), policy.as_ref(), &place, to).await?;
            to.tell().await;
            self.operators(upstream, &nature, sample.as_ref(), &place, to).await?;
        }
        Ok(())
    }

    /// What is needed to write a remedy down.
    async fn place(&self, upstream: &Upstream, session: &mut Session) -> Result<Place, Failure> {
        let nature = Arc::clone(&session.nature);
        let base = self.wanted.search.base.0.clone();
        let own = match &self.wanted.ldap.identity {
            Identity::Simple { dn, .. } => dn.0.clone(),
            Identity::External => nature.own.as_ref().map_or_else(String::new, |own| own.as_str().to_owned()),
        };
        let samba = matches!(&nature.flavour, Flavour::ActiveDirectory(ad) if ad.maker == Maker::Samba);
        Ok(Place {
            product: nature.flavour.product(),
            samba,
            url: upstream.endpoint.url.clone(),
            suffix: nature.root.context_of(&base).unwrap_or(&base).to_owned(),
            sid: if nature.flavour.product() == Product::ActiveDirectory {
                sid_of(&mut session.link, &own).await?
            } else {
                None
            },
            base,
            own,
        })
    }

    /// The account by which operators' passwords are set, where there is one.
    async fn operators(
        &self,
        upstream: &Upstream,
        nature: &Nature,
        sample: Option<&rekeyd_core::flavour::entry::Entry>,
        place: &Place,
        to: &mut Chart<'_>,
    ) -> Result<(), Failure> {
        let Some(identity) = &self.wanted.ldap.operator else { return Ok(()) };
        let mut link = match upstream.fresh(Who::Operators).await {
            Ok(link) => link,
            Err(failure) => {
                to.add(
                    Probe::found(Cause::NotLetIn, Grade::Broken, "operators' account", failure.to_string())
                        .mended_by("Mend `operator_bind_dn` and its password file; until then operators set none."),
                );
                return Ok(());
            }
        };
        let own = match identity {
            Identity::Simple { dn, .. } => dn.0.clone(),
            Identity::External => place.own.clone(),
        };
        to.add(Probe::fine("operators' account", format!("let in as {own}")));
        let place = Place { own: own.clone(), sid: sid_of_if(nature, &mut link, &own).await?, ..place.clone() };
        if let Some(sample) = sample {
            rights::of_operators(nature, &mut link, sample, &place, to).await?;
        }
        Ok(())
    }
}

/// Says who we are, as the server sees it, and whether that is somebody who rules over others.
async fn who_we_are(nature: &Nature, link: &mut Link, to: &mut Chart<'_>) -> Result<(), Failure> {
    // Samba has no such operation; whoever was let in there is who was named.
    let own = nature.own.as_ref().map(|own| own.as_str().to_owned());
    let named = own.filter(|_| nature.flavour.product() == Product::ActiveDirectory);
    let who = link.who_am_i().await?.filter(|name| !name.is_empty());
    match who.or(named) {
        Some(who) => to.add(Probe::fine("reach it", format!("as {who}"))),
        None => to.add(
            Probe::found(Cause::Nobody, Grade::Broken, "reach it", "the server takes us for nobody")
                .mended_by("Map the socket's identity to an entry of the directory, or use bind_dn."),
        ),
    }
    Ok(())
}

/// The identifier of an account of Active Directory, by its name in whichever form one may sign in with.
async fn sid_of(link: &mut Link, own: &str) -> Result<Option<Sid>, Failure> {
    if !own.contains('=') {
        return Ok(None);
    }
    let found = nature::entry(link, own, &["objectSid".to_owned()]).await?;
    Ok(found.and_then(|entry| entry.values("objectSid").first().and_then(|sid| Sid::parse(sid).ok())))
}

async fn sid_of_if(nature: &Nature, link: &mut Link, own: &str) -> Result<Option<Sid>, Failure> {
    if nature.flavour.product() == Product::ActiveDirectory { sid_of(link, own).await } else { Ok(None) }
}
