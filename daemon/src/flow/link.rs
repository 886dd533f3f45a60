//! Makes the tickets and messages of a link, and those of the notices that follow a change.

use rekeyd_core::domain::{
    Account, Actor, Contact, Event, EventKind, NoticeKind, Origin, Purpose, Recipient, RequestId, Ticket, Timestamp,
    Token,
};
use rekeyd_core::policy::eligibility::Terms;

use super::rekeyd::{Parts, Rekeyd};
use super::start::addresses;
use super::trouble::Trouble;
use crate::store::{Counter, Issue, NewNotice, NewTicket, StoredTicket};

/// A request that has been judged and may be answered with a link.
pub(super) struct Answer<'a> {
    pub(super) request: RequestId,
    pub(super) origin: Origin,
    pub(super) account: &'a Account,
    pub(super) terms: &'a Terms,
    pub(super) contacts: Vec<&'a Contact>,
    pub(super) languages: &'a [String],
    pub(super) event: Event,
}

impl Rekeyd {
    /// Everything that answering with a link writes: per address one ticket, its "this was not me" ticket, one message.
    pub(super) fn issue_of(&self, parts: &Parts, answer: Answer<'_>, now: Timestamp) -> Issue {
        let account = answer.account;
        let rules = parts.rules_of(&account.id);
        let purpose = answer.terms.purpose();
        let (kind, life) = match purpose {
            Purpose::Activation => (NoticeKind::ActivationLink, rules.lives.activation),
            Purpose::NotMe | Purpose::Reset => (NoticeKind::ResetLink, rules.lives.reset),
        };
        let mut tickets = Vec::new();
        let mut notices = Vec::new();
        let mut counters = Vec::new();
        // An operator's link is the operator's responsibility: a stranger who used up the account's budget can't stop it.
        let paced = answer.origin == Origin::Person;
        if paced {
            let whom = account.id.to_string();
            counters.push(Counter { scope: "account", whom: whom.clone(), quota: rules.paces.account });
            counters.push(Counter { scope: "account-day", whom, quota: rules.paces.account_day });
        }
        for address in addresses(&answer.contacts) {
            let folded = address.folded();
            if paced {
                counters.push(Counter { scope: "contact-day", whom: folded.clone(), quota: rules.paces.contact_day });
            }
            let ticket = self.ticket_of(parts, account, purpose, answer.origin, &folded, now);
            let not_me = self.ticket_of(parts, account, Purpose::NotMe, Origin::Person, &folded, now);
            notices.push(NewNotice {
                id: self.fresh_notice(),
                kind,
                account: account.id.clone(),
                login: account.login.clone(),
                name: account.names.first().cloned(),
                languages: languages_of(account, answer.languages),
                recipient: Recipient { address: address.clone() },
                ticket: Some(ticket.id),
                not_me: (kind == NoticeKind::ResetLink).then_some(not_me.id),
                at: now,
                deadline: now.plus(rules.lives.request),
            });
            tickets.extend(self.kept(parts, ticket, life));
            if kind == NoticeKind::ResetLink {
                tickets.extend(self.kept(parts, not_me, rules.lives.not_me));
            }
        }
        let masked: Vec<_> = notices.iter().map(|notice| notice.recipient.address.masked()).collect();
        Issue {
            request: answer.request,
            tickets,
            notices,
            counters,
            spare: Counter { scope: "account-spare", whom: account.id.to_string(), quota: rules.paces.account_spent },
            resend: Counter { scope: "resend", whom: account.id.to_string(), quota: rules.paces.resend },
            merge_after: now.minus(rules.lives.merge),
            event: answer.event.with("purpose", purpose.word()).with("to", masked.join(" ")),
        }
    }

    /// The notices that tell a person of a change, to every permitted address, each with a "this was not me" link.
    pub(super) fn tell(
        &self,
        parts: &Parts,
        account: &Account,
        kind: NoticeKind,
        now: Timestamp,
    ) -> (Vec<NewNotice>, Vec<NewTicket>) {
        let rules = parts.rules_of(&account.id);
        // What a link did may have been somebody else's doing; what an operator did is no stranger's.
        let by_link = matches!(kind, NoticeKind::PasswordChanged | NoticeKind::PasswordUnsure);
        let permitted: Vec<_> = account.contacts.iter().filter(|contact| rules.contacts.permits(contact)).collect();
        let mut notices = Vec::new();
        let mut tickets = Vec::new();
        for address in addresses(&permitted) {
            let not_me = self.ticket_of(parts, account, Purpose::NotMe, Origin::Person, &address.folded(), now);
            notices.push(NewNotice {
                id: self.fresh_notice(),
                kind,
                account: account.id.clone(),
                login: account.login.clone(),
                name: account.names.first().cloned(),
                languages: languages_of(account, &[]),
                recipient: Recipient { address: address.clone() },
                ticket: None,
                not_me: by_link.then_some(not_me.id),
                at: now,
                deadline: now.plus(rules.lives.request),
            });
            if by_link {
                tickets.extend(self.kept(parts, not_me, rules.lives.not_me));
            }
        }
        (notices, tickets)
    }

    fn ticket_of(
        &self,
        parts: &Parts,
        account: &Account,
        purpose: Purpose,
        origin: Origin,
        folded: &str,
        now: Timestamp,
    ) -> Ticket {
        Ticket {
            id: self.fresh_ticket(),
            purpose,
            origin,
            account: account.id.clone(),
            login: account.login.clone(),
            contact: self.store.data_key().address_hash(folded),
            stamp: account.stamp.clone(),
            key: parts.keys.current(),
            issued: now,
            expires: None,
            tries: 0,
            profile: parts.rules_of(&account.id).password_for(account).1.map(str::to_owned),
        }
    }

    /// A ticket as it is kept: with the keyed hash of its token, never the token.
    fn kept(&self, parts: &Parts, ticket: Ticket, life: std::time::Duration) -> Option<NewTicket> {
        let token = parts.keys.token(ticket.key, &ticket.id, ticket.purpose, &ticket.account, &ticket.contact)?;
        Some(NewTicket { hash: self.store.data_key().token_hash(&token), ticket, life })
    }
}

/// The row of the trail for a request that ends without a link.
pub(super) fn refused(actor: Actor, why: &str, now: Timestamp) -> Event {
    Event::new(now, EventKind::RequestEnded, actor, None, "refused").because(why)
}

/// The directory's language first, then what was asked for.
fn languages_of(account: &Account, asked: &[String]) -> Vec<String> {
    account.language.iter().cloned().chain(asked.iter().cloned()).take(8).collect()
}

/// The ticket of a token, if the token was made by a key of the ring for exactly this ticket.
pub(super) async fn ticket_of(
    rekeyd: &Rekeyd,
    parts: &Parts,
    token: &Token,
    now: Timestamp,
) -> Result<Option<StoredTicket>, Trouble> {
    if !parts.keys.knows(token.key()) {
        return Ok(None);
    }
    let stored = rekeyd.store.ticket(rekeyd.store.data_key().token_hash(token), now).await?;
    Ok(stored.filter(|stored| {
        let ticket = &stored.ticket;
        let made = parts.keys.token(ticket.key, &ticket.id, ticket.purpose, &ticket.account, &ticket.contact);
        made.is_some_and(|made| made.is(token))
    }))
}
