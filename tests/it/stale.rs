//! D6: a copy that hears of no changes. It is asked first, so it decides who gets a link; but whether a password is set is
//! judged on the server that takes writes. What does not come over to it is told to operators.

use std::sync::Arc;

use rekeyd_tests::{
    acts::{self, until},
    ds389::Ds389,
    estate::{Estate, OWN, Product, Server},
    faults::nothing_changed,
    proxy::{Fault, Kind, Of, Proxy},
    samba::Samba,
    slapd::{Slapd, Variant, connect},
    tests,
    world::World,
};

tests! {
    async fn d6_a_stale_copy_decides_nothing_and_is_told_of_active_directory;
    async fn d6_a_stale_copy_decides_nothing_and_is_told_of_ds389;
    async fn d6_a_stale_copy_decides_nothing_and_is_told_of_openldap;
}

const NEW: &str = "Vj4Zk9Wq2XyQ7Bn6";
/// Who is helped, who is disabled while a link lies in the mailbox, and who is disabled before anybody asks.
const PEOPLE: [&str; 3] = ["helped", "caught", "gone"];

/// A server that takes writes, and a copy of it as it was once.
struct Stale {
    estate: Arc<Estate>,
    /// Before the copy, and before the server that takes writes.
    proxies: [Proxy; 2],
    /// Kept so that it runs.
    copy: Server,
}

impl Stale {
    async fn new(writer: Server, copied: impl AsyncFnOnce(&Estate) -> Server) -> Self {
        let estate = Estate::claim_on(writer).await;
        for name in PEOPLE {
            estate.add_active(&estate.dn(name), &estate.login(name), &[]).await;
        }
        let copy = copied(&estate).await;
        let uri = match &copy {
            Server::OpenLdap(server) => server.uri(),
            Server::ActiveDirectory(server) => server.uri(),
            Server::Ds389(server) => server.uri(),
        };
        let proxies = [Proxy::start(&uri).await, Proxy::start(&estate.uri()).await];
        Self { estate: Arc::new(estate), proxies, copy }
    }

    /// The daemon knows both, the copy first.
    async fn world(&self) -> World {
        let marker = if self.estate.product() == Product::OpenLdap { r#"["employeeType=disabled"]"# } else { "" };
        World::builder()
            .estate(&self.estate)
            .set("directory.urls", &format!("{:?}", self.proxies.each_ref().map(Proxy::uri)))
            .set("directory.ca_file", "")
            .set("directory.clear_text_on_loopback", "true")
            .set("directory.markers.disabled", marker)
            .start()
            .await
    }

    /// Whether a password lets somebody in: on the copy, and on the server that takes writes.
    async fn opens(&self, name: &str, password: &str) -> [bool; 2] {
        let mut opens = [false; 2];
        for (proxy, open) in self.proxies.iter().zip(&mut opens) {
            let mut ldap = connect(&proxy.uri()).await.expect("a connection");
            *open = ldap.simple_bind(&self.estate.dn(name), password).await.expect("an answer").rc == 0;
        }
        opens
    }

    async fn disable(&self, name: &str) {
        self.estate.befalls("disabled", &self.estate.dn(name)).await;
    }

    /// The story, the same on all products. It takes more than ten seconds: so long a password may be on its way.
    async fn decides_nothing_and_is_told_of(&self) {
        let product = self.estate.product();
        let world = self.world().await;
        world.reaches_the_directory().await;
        self.disable("gone").await;
        self.proxies.iter().for_each(|proxy| drop(proxy.seen()));
        let mut links = Vec::new();
        for name in PEOPLE {
            // The copy knows nothing of it and is believed as far as a message goes, which changes nothing.
            links.push(world.forgets_and_gets_link(&self.estate.login(name)).await);
        }
        let asked = self.proxies.each_ref().map(|proxy| proxy.seen().contains(&Kind::Search));
        assert!(asked[0], "{product:?}: the copy was not asked");
        self.disable("caught").await;
        for (name, link) in PEOPLE.into_iter().zip(&links).skip(1) {
            let mut answer = world.sets_password(link, NEW).await;
            if nothing_changed(&answer) {
                // The first try has found out that the copy takes no writes; the next one is judged on the other.
                answer = world.sets_password(link, NEW).await;
            }
            let what = format!("{product:?}: {name}: {} {}", answer.status, answer.text());
            assert!(!acts::is_set(&answer) && !nothing_changed(&answer), "{what}");
            assert!(!answer.text().contains("disabled"), "{what}");
            assert_eq!(self.estate.password_writes(&self.estate.dn(name)).await, 0, "{what}");
            assert!(self.opens(name, OWN).await[0], "the copy still has the old password: {what}");
        }
        let refused = |rows: Vec<serde_json::Value>| {
            rows.iter().filter(|row| row["event"] == "ticket-refused" && row["reason"] == "disabled").count()
        };
        until("both refusals are in the trail", async || refused(world.audit()) == 2).await;
        // Nobody is harmed by the copy: who may be helped is.
        assert!(world.flaws().is_empty(), "{product:?}: {:?}", world.flaws());
        world.surely_sets_password(&links[0], NEW).await;
        assert_eq!(self.estate.password_writes(&self.estate.dn("helped")).await, 1, "{product:?}");
        assert_eq!(self.opens("helped", NEW).await, [false, true], "{product:?}");
        assert_eq!(self.opens("helped", OWN).await, [true, false], "{product:?}");
        world.sees_fault("behind").await;
        let flaw = &world.flaws()[0];
        assert_eq!(flaw["server"], self.proxies[0].uri(), "{product:?}: {flaw}");
        // A sign-in is checked where the account was found, and nowhere else: a wrong password that was tried on two
        // servers would count twice, and lock people out after half as many tries. So the copy's word stands there, as it
        // does for everything else that asks it, and the flaw tells operators why.
        let login = self.estate.login("helped");
        assert_eq!(world.signs_in(&login, NEW).await.status, 401, "{product:?}");
        assert_eq!(world.signs_in(&login, OWN).await.json()["outcome"], "granted", "{product:?}");
        // Without the copy the next server says what is true.
        self.proxies[0].close().await;
        assert_eq!(world.signs_in(&login, NEW).await.json()["outcome"], "granted", "{product:?}");
        assert_eq!(world.signs_in(&login, OWN).await.status, 401, "{product:?}");
    }
}

async fn d6_a_stale_copy_decides_nothing_and_is_told_of_active_directory() {
    let samba = Samba::shared().await;
    let writer = Server::ActiveDirectory(Arc::clone(&samba));
    let stale = Stale::new(writer, async |_| Server::ActiveDirectory(samba.copy().await)).await;
    // As a controller that may only be read answers.
    let elsewhere = Some(stale.estate.uri());
    stale.proxies[0].fail(Of::Kind(Kind::Write), Fault::Result(10, elsewhere));
    stale.decides_nothing_and_is_told_of().await;
}

async fn d6_a_stale_copy_decides_nothing_and_is_told_of_ds389() {
    let ds389 = Ds389::fresh().await;
    // Without the time of each password nobody could tell that one has not come over.
    ds389.tracks_passwords().await;
    let writer = Server::Ds389(Arc::clone(&ds389));
    let stale = Stale::new(writer, async |_| Server::Ds389(ds389.copy().await)).await;
    if let Server::Ds389(copy) = &stale.copy {
        copy.takes_writes(false).await;
    }
    stale.decides_nothing_and_is_told_of().await;
}

async fn d6_a_stale_copy_decides_nothing_and_is_told_of_openldap() {
    let [copy, writer] = Slapd::pair(Variant::Policy).await;
    let stale = Stale::new(Server::OpenLdap(Arc::clone(&writer)), async |estate| {
        for name in PEOPLE {
            let dn = estate.dn(name);
            until("the copy has what was written", async || {
                copy.holds(&dn).await
                    && copy.attribute(&dn, "entryCSN").await == writer.attribute(&dn, "entryCSN").await
            })
            .await;
        }
        // Nor may the writer hear of a wrong password there: what comes with it is the whole entry, the old password with it.
        copy.hears_no_changes().await;
        writer.hears_no_changes().await;
        copy.takes_writes(false).await;
        Server::OpenLdap(copy)
    })
    .await;
    stale.decides_nothing_and_is_told_of().await;
}
