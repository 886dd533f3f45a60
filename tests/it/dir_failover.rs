//! R6: several servers. One that dies in the middle of a SET takes nobody's password with it, the next SET goes to the next
//! server at once, and nobody is checked on one and written on another.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rekeyd_tests::{
    acts::until,
    branch::PASSWORD,
    faults::{nobody_knows, nothing_changed},
    http::Answer,
    process::free_port,
    proxy::{Fate, Fault, Kind, Of, Proxy},
    slapd::{Slapd, Variant, Write},
    tests,
    world::World,
    world_config::Way,
};

tests! {
    async fn r6_a_writer_that_dies_before_the_write_arrives;
    async fn r6_a_writer_that_dies_after_the_write;
    async fn r6_a_writer_that_dies_before_the_look_is_replaced_within_the_set;
    async fn r6_a_copy_that_becomes_the_writer_is_found;
    async fn r6_a_copy_that_stays_behind_is_told_of;
    async fn r6_one_of_two_that_is_down_is_seen_and_harms_nobody;
}

const NEW: &str = "seven violet teapots orbit";
/// A definite answer, and the next server's.
const ANSWER: Duration = Duration::from_secs(15);
const NEXT: Duration = Duration::from_secs(5);

/// Two servers that copy from each other, each behind a proxy, and a daemon that prefers the first.
struct Pair {
    world: World,
    slapds: [Arc<Slapd>; 2],
    proxies: [Proxy; 2],
}

impl Pair {
    async fn start() -> Self {
        let slapds = Slapd::pair(Variant::Policy).await;
        let proxies = [Proxy::start(&slapds[0].uri()).await, Proxy::start(&slapds[1].uri()).await];
        let urls = format!("[{:?}, {:?}]", proxies[0].uri(), proxies[1].uri());
        let builder = World::builder().slapd(&slapds[0]).way(Way::Clear(None)).set("directory.urls", &urls);
        let world = builder.prepare().await;
        let [first, second] = &slapds;
        until("both hold the same people", async || {
            let person = world.dn("zoë");
            second.holds(&person).await
                && second.holds(&world.branch().group("right")).await
                && second.attribute(&world.dn("grace"), "entryCSN").await
                    == first.attribute(&world.dn("grace"), "entryCSN").await
        })
        .await;
        world.restart().await;
        world.reaches_the_directory().await;
        Self { world, slapds, proxies }
    }

    /// How many writes of the daemon have set somebody's password, on both servers.
    async fn written(&self, login: &str) -> usize {
        let mut written = 0;
        for slapd in &self.slapds {
            let writes = slapd.writes(&self.world.dn(login)).await;
            written += writes.iter().filter(|write| write.is_by_service() && Write::sets_password(write)).count();
        }
        written
    }

    /// Which of old and new lets somebody in, on each server, once they agree.
    async fn lets_in(&self, login: &str, password: &str) {
        self.world.secret(password);
        for slapd in &self.slapds {
            let dn = self.world.dn(login);
            until("the password lets in", async || slapd.binds(&dn, password).await).await;
        }
    }

    /// Sets ada's password while the first server dies at this point.
    async fn dies(&self, link: &str, fate: Fate) -> Answer {
        let start = Instant::now();
        self.proxies[0].next_write(fate);
        let (answer, ()) = tokio::join!(self.world.sets_password(link, NEW), async {
            self.proxies[0].stopped().await;
            self.proxies[0].close().await;
        });
        assert!(start.elapsed() < ANSWER, "{:?}", start.elapsed());
        answer
    }

    /// Somebody else's SET goes to the second server: looked at there, written there, and nowhere else.
    async fn the_next_goes_to_the_next(&self, link: &str) {
        self.proxies.iter().for_each(|proxy| drop(proxy.seen()));
        let start = Instant::now();
        self.world.surely_sets_password(link, NEW).await;
        assert!(start.elapsed() < NEXT, "{:?}", start.elapsed());
        let seen = self.proxies[1].seen();
        let write = seen.iter().rposition(|kind| *kind == Kind::Write).expect("a write");
        assert!(seen[..write].contains(&Kind::Search), "{seen:?}");
        assert!(!self.proxies[0].seen().contains(&Kind::Write));
    }
}

async fn r6_a_writer_that_dies_before_the_write_arrives() {
    let pair = Pair::start().await;
    let (ada, grace) = (pair.world.forgets_and_gets_link("ada").await, pair.world.forgets_and_gets_link("grace").await);
    drop(pair.proxies[1].seen());
    let answer = pair.dies(&ada, Fate::HoldRequest).await;
    assert!(nobody_knows(&answer), "{} {}", answer.status, answer.text());
    assert!(!pair.proxies[1].seen().contains(&Kind::Write), "what was checked on one was written on the other");
    pair.lets_in("ada", PASSWORD).await;
    pair.the_next_goes_to_the_next(&grace).await;
    pair.world.sees_fault("down").await;
    pair.proxies[0].open().await;
    // Only that server can say, and once it does the link is free.
    let limit = Instant::now() + Duration::from_mins(1);
    while pair.world.sets_password(&ada, NEW).await.status != 200 {
        assert!(Instant::now() < limit, "the link is not free again");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    pair.lets_in("ada", NEW).await;
    pair.lets_in("grace", NEW).await;
    assert_eq!((pair.written("ada").await, pair.written("grace").await), (1, 1));
    pair.world.sees_its_end("down").await;
}

async fn r6_a_writer_that_dies_after_the_write() {
    let pair = Pair::start().await;
    let (ada, grace) = (pair.world.forgets_and_gets_link("ada").await, pair.world.forgets_and_gets_link("grace").await);
    drop(pair.proxies[1].seen());
    let answer = pair.dies(&ada, Fate::HoldAnswer).await;
    assert!(nobody_knows(&answer), "{} {}", answer.status, answer.text());
    assert!(!pair.proxies[1].seen().contains(&Kind::Write), "what was checked on one was written on the other");
    pair.lets_in("ada", NEW).await;
    pair.the_next_goes_to_the_next(&grace).await;
    assert!(pair.world.sets_password(&ada, "nine copper kettles in a row").await.status.is_client_error());
    pair.proxies[0].open().await;
    let limit = Instant::now() + Duration::from_mins(1);
    while pair.world.asks(&["status"])["claims_open"] != 0 {
        assert!(Instant::now() < limit, "it is not settled");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    pair.world.event(&[("event", "password-set"), ("actor_kind", "system")]).await;
    pair.world.smtp().wait_for_mail_to("ada@example.org", 2).await;
    assert!(pair.world.sets_password(&ada, "nine copper kettles in a row").await.status.is_client_error());
    assert_eq!((pair.written("ada").await, pair.written("grace").await), (1, 1));
}

async fn r6_a_writer_that_dies_before_the_look_is_replaced_within_the_set() {
    let pair = Pair::start().await;
    let ada = pair.world.forgets_and_gets_link("ada").await;
    // The first hangs at the look that precedes the write: it answers nothing any more.
    pair.proxies[0].fail(Of::All, Fault::Silent);
    pair.proxies.iter().for_each(|proxy| drop(proxy.seen()));
    let start = Instant::now();
    let answer = pair.world.sets_password(&ada, NEW).await;
    assert!(start.elapsed() < ANSWER, "{:?}", start.elapsed());
    assert!(!pair.proxies[0].seen().contains(&Kind::Write));
    if answer.status != 200 {
        assert!(nothing_changed(&answer), "{} {}", answer.status, answer.text());
        pair.the_next_goes_to_the_next(&ada).await;
    }
    pair.lets_in("ada", NEW).await;
    assert_eq!(pair.written("ada").await, 1);
    pair.proxies[0].heal();
}

async fn r6_a_copy_that_becomes_the_writer_is_found() {
    let slapds = Slapd::pair(Variant::Policy).await;
    slapds[0].takes_writes(false).await;
    let urls = format!("[{:?}, {:?}]", slapds[0].uri(), slapds[1].uri());
    let builder = World::builder().slapd(&slapds[1]).way(Way::Clear(None)).set("directory.urls", &urls);
    let world = builder.prepare().await;
    // A database that is read-only takes no copies either: people come when it is opened for a while.
    slapds[0].takes_writes(true).await;
    until("the first holds the people, too", async || {
        slapds[0].holds(&world.branch().group("right")).await && slapds[0].holds(&world.dn("zoë")).await
    })
    .await;
    slapds[0].takes_writes(false).await;
    world.restart().await;
    world.reaches_the_directory().await;
    // The first answers look-ups, the second takes writes, and that is as it should be.
    let (ada, grace) = (world.forgets_and_gets_link("ada").await, world.forgets_and_gets_link("grace").await);
    world.surely_sets_password(&ada, NEW).await;
    assert!(world.flaws().is_empty(), "{:?}", world.flaws());
    let writes = slapds[0].writes(&world.dn("ada")).await;
    assert!(!writes.iter().any(|write| write.is_by_service() && write.result == 0), "{writes:?}");
    slapds[1].stop();
    let answer = world.sets_password(&grace, NEW).await;
    assert!(nothing_changed(&answer), "{} {}", answer.status, answer.text());
    world.sees_fault("read-only").await;
    // It is promoted.
    slapds[0].takes_writes(true).await;
    until("the link works", async || world.sets_password(&grace, NEW).await.status == 200).await;
    assert!(slapds[0].binds(&world.dn("grace"), NEW).await);
    slapds[1].start().await;
    world.sees_its_end("read-only").await;
}

async fn r6_one_of_two_that_is_down_is_seen_and_harms_nobody() {
    let slapd = Slapd::shared(Variant::Policy).await;
    let world = World::builder().slapd(&slapd).prepare().await;
    let dead = format!("ldaps://127.0.0.1:{}", free_port());
    // The second is asked by nobody, and still it is known that it is down before it is needed.
    world.set("directory.urls", &format!("[{:?}, {dead:?}]", slapd.tls_uri()));
    world.restart().await;
    world.sees_fault("down").await;
    assert_eq!(world.readiness().await, "impaired");
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, NEW).await;
    let told = world.rekeyctl(&["status"], "");
    assert!(told.code == 0 && told.out.contains(&dead) && told.out.contains("is down since"), "{told:?}");
    world.set("directory.urls", &format!("[{:?}]", slapd.tls_uri()));
    world.reload().await;
    world.sees_its_end("down").await;
}

/// It takes ten seconds: so long the other server is given.
async fn r6_a_copy_that_stays_behind_is_told_of() {
    let pair = Pair::start().await;
    let [first, second] = &pair.slapds;
    let (world, ada) = (&pair.world, pair.world.dn("ada"));
    // No password comes before it: the server is asked about one at a time, and others are left out meanwhile.
    second.stops_copying().await;
    let link = world.forgets_and_gets_link("ada").await;
    world.surely_sets_password(&link, NEW).await;
    world.sees_fault("behind").await;
    let flaws = world.flaws();
    let flaw = flaws.iter().find(|flaw| flaw["kind"] == "behind").expect("the flaw");
    assert_eq!(flaw["server"].as_str(), Some(pair.proxies[1].uri().as_str()), "{flaw}");
    assert!(first.binds(&ada, NEW).await && second.binds(&ada, PASSWORD).await && !second.binds(&ada, NEW).await);
    assert!(!world.audit().iter().any(|row| row["event"] == "directory-fault" && row["outcome"] == "over"));
}
