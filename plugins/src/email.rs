//! The channel `email`: hands letters to one of several smart hosts over required TLS.
//!
//! The next host is tried only while the letter has surely not been taken by the one before. What a host refuses for
//! good is refused; what is our own fault (signing in, sender, relaying) waits, since an operator can mend it. A host that
//! can't be reached, does not let us in or breaks off is left alone for a while, and then tried by one letter.
//! One delivery takes at most, for each host, `connect_timeout` and six times `timeout`: a kept connection that is dead,
//! a new one, the offer, and three times as long for the letter itself, which the host may still refuse.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rekeyd_core::domain::{ContactKind, Notice, Recipient};

use crate::mime::{Letter, Sender};
use crate::rest::{Leave, Rest};
use crate::smtp::{Dialogue, Host, Limits, Login, Security, Step, Trouble};
use crate::{Channel, Delivered, Messages, WayTrouble};

/// A connection that waited longer for its next letter is not used again; hosts close theirs after a minute or more.
const IDLE: Duration = Duration::from_secs(15);
/// After so many letters a connection is closed; hosts have limits of their own, of a hundred and more.
const LETTERS: u32 = 90;

/// The channel.
pub(crate) struct Email {
    pub(crate) name: String,
    pub(crate) hosts: Vec<Way>,
    pub(crate) security: Security,
    pub(crate) login: Option<Login>,
    pub(crate) hello: String,
    pub(crate) limits: Limits,
    pub(crate) connections: usize,
    pub(crate) sender: Sender,
    pub(crate) messages: Arc<Messages>,
}

/// A host, the connections to it that are open and unused, and whether it rests.
pub(crate) struct Way {
    host: Host,
    waiting: Mutex<Vec<Waiting>>,
    rest: Rest,
}

struct Waiting {
    dialogue: Dialogue,
    since: Instant,
    letters: u32,
}

/// How it went with one host.
enum Tried {
    /// This is how the delivery ended.
    Ended(Delivered),
    /// It can't carry the letter at all; another may.
    Lacking(String),
    /// It surely did not take the letter; another may.
    NotTaken(String),
    /// It takes no letter at present, whatever letter it is; another may.
    Shut(String),
}

#[async_trait]
impl Channel for Email {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> ContactKind {
        ContactKind::Email
    }

    async fn deliver(&self, to: &Recipient, notice: &Notice) -> Delivered {
        let organisation = &self.messages.config.organisation;
        let rendered = self.messages.render(notice);
        let letter = match rendered.and_then(|rendered| self.sender.letter(organisation, to, notice, &rendered)) {
            Ok(letter) => letter,
            Err(why) => return Delivered::Never(why),
        };
        let mut reasons = Vec::new();
        let (mut hopeless, mut shut) = (true, true);
        for way in &self.hosts {
            let why = match self.try_host(way, &letter).await {
                Tried::Ended(delivered) => return delivered,
                Tried::Lacking(why) => {
                    shut = false;
                    why
                }
                Tried::NotTaken(why) => {
                    (hopeless, shut) = (false, false);
                    why
                }
                Tried::Shut(why) => {
                    hopeless = false;
                    why
                }
            };
            reasons.push(format!("{}: {why}", way.host));
        }
        let reasons = reasons.join("; ");
        match (hopeless, shut) {
            (true, false) => Delivered::Never(reasons),
            (_, true) => Delivered::Shut(reasons),
            (false, false) => Delivered::Later(reasons),
        }
    }

    fn width(&self) -> usize {
        self.connections
    }

    fn trouble(&self) -> Option<WayTrouble> {
        let now = Instant::now();
        let resting: Vec<_> = self.hosts.iter().map(|way| (way, way.rest.trouble(now))).collect();
        let is_shut = resting.iter().all(|(_, trouble)| trouble.is_some());
        let told: Vec<_> =
            resting.into_iter().filter_map(|(way, trouble)| trouble.map(|(why, rest)| (way, why, rest))).collect();
        let shortest = told.iter().map(|(_, _, rest)| *rest).min()?;
        let why: Vec<_> = told.iter().map(|(way, why, _)| format!("{}: {why}", way.host)).collect();
        Some(WayTrouble { why: why.join("; "), rest: shortest, shut: is_shut })
    }

    async fn probe(&self) -> Result<String, String> {
        let mut told = Vec::new();
        let mut fine = true;
        for way in &self.hosts {
            let leave = way.rest.ask(Instant::now());
            let found = match self.open(way).await {
                Ok(mut dialogue) => {
                    let found = dialogue.check(self.limits).await;
                    dialogue.leave().await;
                    found
                }
                Err(trouble) => Err(trouble),
            };
            fine &= found.is_ok();
            let found = found.map_err(|trouble| trouble.words(""));
            match (&found, leave) {
                (Ok(_), _) => way.rest.works(Instant::now()),
                (Err(why), Ok(leave)) => way.rest.fails(leave, why, Instant::now()),
                (Err(_), Err(_)) => {}
            }
            told.push(format!("{}: {}", way.host, found.unwrap_or_else(|why| why)));
        }
        let told = told.join("; ");
        if fine { Ok(told) } else { Err(told) }
    }
}

impl Email {
    async fn open(&self, way: &Way) -> Result<Dialogue, Trouble> {
        Dialogue::open(&way.host, &self.security, &self.hello, self.login.as_ref(), self.limits).await
    }

    async fn try_host(&self, way: &Way, letter: &Letter) -> Tried {
        let leave = match way.rest.ask(Instant::now()) {
            Ok(leave) => leave,
            Err(why) => return Tried::Shut(why),
        };
        let fails = |why: &str| way.rest.fails(leave, why, Instant::now());
        let (mut dialogue, letters) = loop {
            let (mut dialogue, letters) = match way.take() {
                Some(waiting) => (waiting.dialogue, waiting.letters),
                None => match self.open(way).await {
                    Ok(dialogue) => (dialogue, 0),
                    Err(trouble) => {
                        let why = trouble.words(&letter.to);
                        fails(&why);
                        return Tried::Shut(why);
                    }
                },
            };
            match dialogue.offer(letter, self.limits).await {
                Ok(()) => break (dialogue, letters),
                // The host may close connections that wait; a new one tells more.
                Err(trouble) if letters > 0 && trouble.breaks_off() => way.forget(),
                Err(trouble) => {
                    return self.judged(way, leave, letter, (dialogue, letters + 1), &trouble).await;
                }
            }
        };
        match dialogue.hand_over(letter, self.limits).await {
            Ok(()) => {
                way.rest.works(Instant::now());
                self.keep(way, dialogue, letters + 1).await;
                Tried::Ended(Delivered::Delivered)
            }
            Err(Trouble::Broken(why)) => {
                fails(&why);
                Tried::Ended(Delivered::Unsure(format!("{}: {why}", way.host)))
            }
            Err(trouble) => self.judged(way, leave, letter, (dialogue, letters + 1), &trouble).await,
        }
    }

    /// What a trouble means for the letter, for the host, and for the connection.
    async fn judged(
        &self,
        way: &Way,
        leave: Leave,
        letter: &Letter,
        (dialogue, letters): (Dialogue, u32),
        trouble: &Trouble,
    ) -> Tried {
        let tried = judge(trouble, letter);
        match &tried {
            Tried::Shut(why) => way.rest.fails(leave, why, Instant::now()),
            _ => way.rest.works(Instant::now()),
        }
        self.part(way, dialogue, trouble, letters).await;
        tried
    }

    /// Keeps the connection after a trouble that it outlives.
    async fn part(&self, way: &Way, dialogue: Dialogue, trouble: &Trouble, letters: u32) {
        if dialogue.outlives(trouble) {
            self.keep(way, dialogue, letters).await;
        } else {
            dialogue.leave().await;
        }
    }

    /// Keeps the connection for the next letter, unless it has carried enough.
    async fn keep(&self, way: &Way, dialogue: Dialogue, letters: u32) {
        if letters < LETTERS {
            way.keep(dialogue, letters, self.connections);
        } else {
            dialogue.leave().await;
        }
    }
}

/// What a refusal means for the letter; whatever broke before its end was sent has not taken it.
fn judge(trouble: &Trouble, letter: &Letter) -> Tried {
    let why = trouble.words(&letter.to);
    if trouble.breaks_off() {
        return Tried::Shut(why);
    }
    let for_good = match trouble {
        Trouble::Lacking(_) => return Tried::Lacking(why),
        // Every letter has the same sender, and the same parameters but for addresses beyond ASCII.
        Trouble::Refused(Step::Mail | Step::Reset, _) if !letter.needs_utf8 => return Tried::Shut(why),
        Trouble::Refused(Step::End, reply) => reply.code >= 500,
        Trouble::Refused(Step::Data | Step::Rcpt, reply) => reply.code >= 500 && !reply.is_about_us(),
        Trouble::Broken(_) | Trouble::Refused(..) => false,
    };
    if for_good { Tried::Ended(Delivered::Never(why)) } else { Tried::NotTaken(why) }
}

impl Way {
    pub(crate) fn to(host: Host) -> Self {
        Self { host, waiting: Mutex::default(), rest: Rest::default() }
    }

    /// The connection that waited least, if one is fresh enough.
    fn take(&self) -> Option<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|one| one.since.elapsed() < IDLE);
        waiting.pop()
    }

    fn forget(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn keep(&self, dialogue: Dialogue, letters: u32, most: usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < most {
            waiting.push(Waiting { dialogue, since: Instant::now(), letters });
        }
    }
}
