//! A38: every order of steps with one link, up to five long. A model says which of them change a password; no other does.
//!
//! The model knows the life of a link, whether its person is shut out, and nothing of how the daemon works. Steps that
//! change nothing by the model are all tried wherever one stands, and leave everything as it was, so that only orders of
//! the other steps have to be walked.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rekeyd_tests::{
    acts::{address, until},
    branch::PASSWORD,
    clients::Clients,
    invariants, tests,
    world::World,
};
use serde_json::json;
use tokio::task::JoinSet;

tests! {
    async fn t38_only_the_legal_orders_of_steps_change_a_password;
}

/// How long an order is at most.
const LONGEST: usize = 5;
/// How many people walk at once.
const AT_ONCE: usize = 8;

/// A step after which something may be different.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// Sets a password by the link, on the hook.
    Set,
    /// The same on the link's page.
    SetOnPage,
    /// "This was not me".
    Deny,
    /// Says once more that the password is forgotten, and goes on with the new link where there is one.
    Ask,
    /// An operator lifts the freeze.
    Thaw,
    /// An operator replaces the password.
    Replace,
    /// An administrator of the directory locks the account.
    Lock,
}

const STEPS: [Step; 7] = [Step::Set, Step::SetOnPage, Step::Deny, Step::Ask, Step::Thaw, Step::Replace, Step::Lock];

/// What the model knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct State {
    /// Whether the link opens.
    lives: bool,
    /// Whether "this was not me" opens.
    may_deny: bool,
    frozen: bool,
    locked: bool,
    /// How often the password was written.
    writes: usize,
}

impl State {
    const NEW: Self = Self { lives: true, may_deny: true, frozen: false, locked: false, writes: 0 };

    /// What a step leads to, and how it is answered.
    fn after(self, step: Step) -> (Self, u16) {
        let mut next = self;
        let status = match step {
            Step::Set | Step::SetOnPage => {
                next.lives = false;
                match (self.lives, self.locked) {
                    (true, false) => {
                        next.writes += 1;
                        if step == Step::Set { 204 } else { 200 }
                    }
                    (true, true) => 403,
                    (false, _) => 410,
                }
            }
            Step::Deny if self.may_deny => {
                (next.lives, next.may_deny, next.frozen) = (false, false, true);
                200
            }
            Step::Deny => 410,
            Step::Ask => {
                if !self.lives && !self.frozen && !self.locked {
                    (next.lives, next.may_deny) = (true, true);
                }
                202
            }
            Step::Thaw => {
                next.frozen = false;
                200
            }
            Step::Replace if self.locked => 409,
            Step::Replace => {
                next.lives = false;
                next.writes += 1;
                200
            }
            Step::Lock => {
                next.locked = true;
                0
            }
        };
        (next, status)
    }
}

/// Every order of steps each of which changes something by the model.
fn orders() -> Vec<Vec<Step>> {
    let mut all = vec![(State::NEW, Vec::new())];
    let mut place = 0;
    while let Some((state, order)) = all.get(place).cloned() {
        place += 1;
        if order.len() < LONGEST {
            let next = STEPS.iter().map(|step| (state.after(*step).0, *step)).filter(|(next, _)| *next != state);
            // Operators may go on replacing for ever, and people asking.
            let is_endless = |step: &Step| [Step::Ask, Step::Replace].contains(step);
            let next = next.filter(|(_, step)| !is_endless(step) || !order.contains(step));
            all.extend(next.map(|(next, step)| (next, [&order[..], &[step]].concat())));
        }
    }
    // An order that another one begins with is walked on the way.
    let all: Vec<_> = all.into_iter().map(|(_, order)| order).collect();
    let is_begun = |order: &&Vec<Step>| all.iter().any(|other| other.len() > order.len() && other.starts_with(order));
    all.iter().filter(|order| !is_begun(order)).cloned().collect()
}

async fn t38_only_the_legal_orders_of_steps_change_a_password() {
    let orders = orders();
    assert!(orders.len() > 100, "{}", orders.len());
    let wide = r#""100000 in 1d""#;
    let builder = ["account", "account_day", "contact_day", "source", "client"]
        .iter()
        .fold(World::builder(), |builder, pace| builder.set(&format!("policy.paces.{pace}"), wide));
    // What is tried here is not how strong passwords are.
    let world = Arc::new(builder.set("policy.password.min_score", "0").start().await);
    let logins: Vec<_> = (0..orders.len()).map(|number| format!("walker{number:03}")).collect();
    let clients = Clients::of(&world, &logins.iter().map(String::as_str).collect::<Vec<_>>());
    for login in &logins {
        world.branch().add_person(login, PASSWORD).await;
        assert_eq!(clients.forgets(login).await.expect("an answer"), 202);
    }
    until("everybody has a link", async || world.smtp().messages().len() == logins.len()).await;
    let (mut walkers, mut ends) = (JoinSet::new(), Vec::new());
    let mut stood = Vec::new();
    for (order, login) in orders.into_iter().zip(logins) {
        // Where another one stands on its way, this one need not.
        let known = (0..order.len()).take_while(|place| stood.contains(&order[..=*place].to_vec())).count();
        stood.extend((known..order.len()).map(|place| order[..=place].to_vec()));
        if walkers.len() == AT_ONCE {
            ends.push(walkers.join_next().await.expect("a walker").expect("a walk"));
        }
        walkers.spawn(walk(clients.clone(), login, order, known));
    }
    while let Some(ended) = walkers.join_next().await {
        ends.push(ended.expect("a walk"));
    }
    let violations = invariants::check(&world, &clients.ledger).await;
    assert!(violations.is_empty(), "{violations:#?}");
    for (login, links) in ends {
        let tokens: BTreeSet<_> = clients.tokens(&login, "/r/").into_iter().collect();
        assert_eq!(tokens.len(), links, "{login} asked at the end, and may not have another link");
    }
}

/// Walks one order, and stands after all but the first `known` steps; says how many links its person has in the end.
async fn walk(clients: Clients, login: String, order: Vec<Step>, known: usize) -> (String, usize) {
    let link = clients.tokens(&login, "/r/").pop().expect("a link");
    let not_me = clients.tokens(&login, "/not-me/").pop().expect("a link");
    let mut walker = Walker { clients, login, link, not_me };
    let mut state = State::NEW;
    if known == 0 {
        walker.stands(state, &[]).await;
    }
    for (place, step) in order.iter().enumerate() {
        let (next, expected) = state.after(*step);
        let status = walker.goes(*step, place, next.lives && !state.lives).await;
        assert_eq!(status, expected, "{step:?} of {order:?} at {state:?}");
        state = next;
        if place >= known {
            walker.stands(state, &order[..=place]).await;
        }
    }
    // Asked once more where that brings nothing new; it is answered some time later, when nothing else happens.
    let links: BTreeSet<_> = walker.clients.tokens(&walker.login, "/r/").into_iter().collect();
    if state.lives || state.frozen || state.locked {
        assert_eq!(walker.clients.forgets(&walker.login).await.expect("an answer"), 202);
    }
    (walker.login, links.len())
}

struct Walker {
    clients: Clients,
    login: String,
    link: String,
    not_me: String,
}

impl Walker {
    /// Takes a step; says how it was answered. By a step that brings a new link, that is the link from then on.
    async fn goes(&mut self, step: Step, place: usize, brings: bool) -> u16 {
        let before = self.clients.tokens(&self.login, "/r/").len();
        let status = self.tries(step, place).await;
        if brings {
            while self.clients.tokens(&self.login, "/r/").len() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let message = self.clients.world.smtp().messages_to(&address(&self.login));
            let message = message.iter().rfind(|message| !message.tokens("/r/").is_empty()).expect("a link");
            (self.link, self.not_me) = (message.tokens("/r/").remove(0), message.tokens("/not-me/").remove(0));
        }
        status
    }

    async fn tries(&self, step: Step, place: usize) -> u16 {
        let Self { clients, login, link, not_me } = self;
        let password = format!("{login} walks {place} times around");
        let status = match step {
            Step::Set => clients.sets(login, link, &password).await,
            Step::SetOnPage => clients.fills_in(login, link, &password, &nonce(place)).await,
            Step::Deny => clients.denies(login, not_me).await,
            Step::Ask => clients.forgets(login).await,
            Step::Thaw => clients.thaws(login).await,
            Step::Replace => clients.replaces(login, &password).await,
            Step::Lock => {
                let slapd = clients.world.slapd();
                slapd.set(&clients.world.dn(login), "pwdAccountLockedTime", &["000001010000Z"]).await;
                return 0;
            }
        };
        status.expect("an answer").as_u16()
    }

    /// All that changes nothing by the model is tried, and nothing has changed.
    async fn stands(&self, state: State, order: &[Step]) {
        let Self { clients, login, link, not_me } = self;
        let (door, told) = (clients.world.door(), format!("{state:?} after {order:?}"));
        let (opens, denies) = (if state.lives { 200 } else { 410 }, if state.may_deny { 200 } else { 410 });
        let hook = async |path: &str, body| clients.hook(path, &body).await.expect("an answer").status.as_u16();
        // Looked at.
        assert_eq!(door.get(&format!("/r/{link}")).await.status, opens, "{told}");
        assert_eq!(door.get(&format!("/not-me/{not_me}")).await.status, denies, "{told}");
        assert_eq!(hook("/v1/ticket", json!({"ticket": link})).await, opens, "{told}");
        // Each token where the other belongs.
        let password = format!("{login} takes another way");
        assert_eq!(hook("/v1/password", json!({"ticket": not_me, "password": password})).await, 410, "{told}");
        assert_eq!(hook("/v1/ticket", json!({"ticket": not_me})).await, 410, "{told}");
        let crossed = door.post_form(&format!("/not-me/{link}"), &[("login", login)]).await;
        assert_eq!(crossed.status, 410, "{told}");
        let crossed = door.post_form(&format!("/r/{not_me}"), &[("password", &password), ("confirm", &password)]).await;
        assert_eq!(crossed.status, 410, "{told}");
        // Steps left out or not meant: forms as they stand, two passwords that differ, a name that is another's.
        for fields in [&[][..], &[("password", ""), ("confirm", "")], &[("password", &password), ("confirm", "other")]]
        {
            let status = door.post_form(&format!("/r/{link}"), fields).await.status;
            assert!(status.is_client_error(), "{status} {told}");
        }
        let other = door.post_form(&format!("/not-me/{not_me}"), &[("login", "somebody")]).await;
        assert!(other.status.is_client_error(), "{told}");
        // A password that the rules refuse, where one may be tried at all.
        if !state.lives || !state.locked {
            let weak = hook("/v1/password", json!({"ticket": link, "password": "short"})).await;
            assert_eq!(weak, if state.lives { 422 } else { 410 }, "{told}");
        }
        // Nothing of that has written anything.
        assert_eq!(
            clients.world.writes(login).await.iter().filter(|write| write.result == 0).count(),
            state.writes,
            "{told}"
        );
    }
}

/// A form of its own for each step: the same one again would be a repeat.
fn nonce(place: usize) -> String {
    data_encoding::BASE64URL_NOPAD.encode(&[u8::try_from(place).expect("a small number"); 16])
}
