//! D6: what goes wrong on the way to each of the three products: answers that get lost, copies that take no writes, a
//! certificate for another name, a right that is missing, a verdict that changes while the link lies in the mailbox.

use std::sync::Arc;

use futures_util::future::join_all;
use rekeyd_tests::{
    acts,
    builder::Builder,
    ds389::Ds389,
    estate::{Estate, OWN, Product, Server, door},
    faults::{nobody_knows, nothing_changed},
    http::Answer,
    proxy::{Fate, Fault, Kind, Of, Proxy},
    relay::Relay,
    situations::Door,
    tests,
    world::World,
};

tests! {
    async fn d6_a_certificate_for_another_name_stops_everything;
    async fn d6_a_copy_that_takes_no_writes_is_left_alone;
    async fn d6_a_lost_answer_is_settled_by_a_look;
    async fn d6_a_lost_write_is_not_taken_for_done;
    async fn d6_a_missing_right_is_told_to_operators_alone;
    async fn d6_a_server_that_takes_no_writes_is_seen;
    async fn d6_a_verdict_that_has_changed_is_heard;
    async fn d6_a_reset_keeps_to_old_passwords_where_the_directory_has_a_control_for_that;
    async fn t57_a_group_that_no_token_holds_helps_nobody_and_is_told;
}

const NEW: &str = "Vj4Zk9Wq2XyQ7Bn6";

/// An estate with one active person, on each product.
async fn estates() -> Vec<Arc<Estate>> {
    let mut estates = Vec::new();
    for product in Product::ALL {
        let estate = Estate::claim(product).await;
        estate.make("active").await;
        estates.push(Arc::new(estate));
    }
    estates
}

/// A world whose daemon goes to the estate through a proxy.
fn through(estate: &Arc<Estate>, proxy: &Proxy) -> Builder {
    World::builder()
        .estate(estate)
        .set("directory.urls", &format!("[{:?}]", proxy.uri()))
        .set("directory.ca_file", "")
        .set("directory.clear_text_on_loopback", "true")
        .set("directory.cool_down", "\"200ms\"")
}

async fn link(world: &World) -> String {
    world.forgets_and_gets_link(&world.estate().login_of("active")).await
}

/// The right password is the old one still, and nothing was written.
async fn nothing_happened(estate: &Estate, what: &str) {
    let dn = estate.dn_of("active");
    assert_eq!(estate.password_writes(&dn).await, 0, "{:?}: {what}", estate.product());
    let answer = estate.bind(&dn, OWN).await;
    assert_eq!(door(estate.product(), &answer), Door::Open, "{:?}: {what}: {answer:?}", estate.product());
}

/// The new password is the right one, the old one is not, and it was written once.
async fn is_set(estate: &Estate, what: &str) {
    let dn = estate.dn_of("active");
    let (new, old) = (estate.bind(&dn, NEW).await, estate.bind(&dn, OWN).await);
    let doors = [door(estate.product(), &new), door(estate.product(), &old)];
    assert_eq!(doors, [Door::Open, Door::Shut], "{:?}: {what}: {new:?}", estate.product());
    assert_eq!(estate.password_writes(&dn).await, 1, "{:?}: {what}", estate.product());
}

fn says(what: &str, estate: &Estate, answer: &Answer) -> String {
    format!("{:?}: {what}: {} {}", estate.product(), answer.status, answer.text())
}

async fn d6_a_lost_answer_is_settled_by_a_look() {
    // 389-ds marks passwords with their time where it is told to, and then as surely as the others.
    let marking = Ds389::fresh().await;
    marking.tracks_passwords().await;
    let marking = Estate::claim_on(Server::Ds389(marking)).await;
    marking.make("active").await;
    let plain = estates().await.into_iter().map(|estate| (estate, false));
    let all: Vec<_> = plain.chain([(Arc::new(marking), true)]).collect();
    join_all(all.iter().map(async |(estate, marks)| {
        let (world, answer) = loses(estate, Fate::LoseAnswer).await;
        let what = says("the answer is lost", estate, &answer);
        // Where nothing marks the password, nobody knows, and that is what is said.
        let told = if estate.product() != Product::Ds389 || *marks { acts::is_set } else { nobody_knows };
        assert!(told(&answer), "{what}");
        is_set(estate, &what).await;
        drop(world);
    }))
    .await;
}

async fn d6_a_lost_write_is_not_taken_for_done() {
    join_all(estates().await.iter().map(async |estate| {
        let (world, answer) = loses(estate, Fate::LoseRequest).await;
        let what = says("the write is lost", estate, &answer);
        if estate.product() == Product::OpenLdap {
            // It carries its condition, so it can be sent again.
            assert!(acts::is_set(&answer), "{what}");
            is_set(estate, &what).await;
        } else {
            // It may be under way still.
            assert!(nobody_knows(&answer), "{what}");
            nothing_happened(estate, &what).await;
        }
        drop(world);
    }))
    .await;
}

/// Sets a password while something gets lost, and gives what the person is told.
async fn loses(estate: &Arc<Estate>, fate: Fate) -> (World, Answer) {
    let proxy = Proxy::start(&estate.uri()).await;
    let world = through(estate, &proxy).start().await;
    let link = link(&world).await;
    proxy.next_write(fate);
    let answer = world.sets_password(&link, NEW).await;
    (world, answer)
}

async fn d6_a_copy_that_takes_no_writes_is_left_alone() {
    join_all(estates().await.into_iter().map(async |estate| {
        let (copy, writer) = (Proxy::start(&estate.uri()).await, Proxy::start(&estate.uri()).await);
        let urls = format!("[{:?}, {:?}]", copy.uri(), writer.uri());
        let elsewhere = "ldap://127.0.0.99/dc=evil,dc=example".to_owned();
        copy.fail(Of::Kind(Kind::Write), Fault::Result(10, Some(elsewhere)));
        let world = through(&estate, &copy).set("directory.urls", &urls).start().await;
        let link = link(&world).await;
        let answer = world.sets_password(&link, NEW).await;
        if !acts::is_set(&answer) {
            // The first try has found out; the next one goes to the other.
            assert!(nothing_changed(&answer), "{}", says("a copy", &estate, &answer));
            nothing_happened(&estate, "a copy").await;
            world.surely_sets_password(&link, NEW).await;
        }
        is_set(&estate, "past the copy").await;
    }))
    .await;
}

async fn d6_a_server_that_takes_no_writes_is_seen() {
    let ds389 = Ds389::fresh().await;
    let estate = Arc::new(Estate::claim_on(Server::Ds389(Arc::clone(&ds389))).await);
    estate.make("active").await;
    let world = World::builder().estate(&estate).start().await;
    let link = link(&world).await;
    ds389.takes_writes(false).await;
    let answer = world.sets_password(&link, NEW).await;
    assert!(nothing_changed(&answer), "{}", says("read-only", &estate, &answer));
    world.sees_fault("read-only").await;
    nothing_happened(&estate, "read-only").await;
    ds389.takes_writes(true).await;
    world.sees_its_end("read-only").await;
    world.surely_sets_password(&link, NEW).await;
    is_set(&estate, "writable again").await;
}

async fn d6_a_certificate_for_another_name_stops_everything() {
    join_all(estates().await.into_iter().map(async |estate| {
        let relay = Relay::start(&estate.tls_uri()).await;
        let world = World::builder().estate(&estate).start().await;
        let link = link(&world).await;
        world.set("directory.urls", &format!("[{:?}]", relay.uri()));
        assert!(world.stop().success());
        world.restart().await;
        world.sees_fault("refused").await;
        let why = world.flaws()[0]["why"].to_string();
        assert!(why.contains("certificate"), "{why}");
        let answer = world.sets_password(&link, NEW).await;
        assert!(nothing_changed(&answer), "{}", says("another name", &estate, &answer));
        nothing_happened(&estate, "another name").await;
    }))
    .await;
}

async fn d6_a_missing_right_is_told_to_operators_alone() {
    join_all(estates().await.into_iter().map(async |estate| {
        estate.forbid_writing("active").await;
        let world = World::builder().estate(&estate).start().await;
        let link = link(&world).await;
        let answer = world.sets_password(&link, NEW).await;
        let what = says("a missing right", &estate, &answer);
        assert!(answer.status.as_u16() >= 400 && !answer.text().contains("right"), "{what}");
        nothing_happened(&estate, &what).await;
        let row = world.event(&[("event", "password-rejected"), ("reason", "missing-right")]).await;
        assert!(row["account"].is_string(), "{what}: {row}");
    }))
    .await;
}

async fn d6_a_verdict_that_has_changed_is_heard() {
    join_all(estates().await.into_iter().map(async |estate| {
        let product = estate.product();
        let marker = if product == Product::OpenLdap { r#"["employeeType=disabled"]"# } else { "" };
        let world = World::builder().estate(&estate).set("directory.markers.disabled", marker).start().await;
        let link = link(&world).await;
        estate.befalls("disabled", &estate.dn_of("active")).await;
        let answer = world.sets_password(&link, NEW).await;
        let what = says("disabled meanwhile", &estate, &answer);
        assert!(!acts::is_set(&answer) && !answer.text().contains("disabled"), "{what}");
        assert_eq!(estate.password_writes(&estate.dn_of("active")).await, 0, "{what}");
        world.event(&[("event", "ticket-refused"), ("reason", "disabled")]).await;
    }))
    .await;
}

async fn t57_a_group_that_no_token_holds_helps_nobody_and_is_told() {
    let estate = Arc::new(Estate::claim(Product::ActiveDirectory).await);
    estate.make("active").await;
    estate.join(&estate.group("admins"), &estate.dn_of("active")).await;
    // From a security group to a distribution group.
    estate.set(&estate.group("admins"), "groupType", &["2"]).await;
    let world = World::builder().estate(&estate).start().await;
    let told = world.asks(&["explain", &estate.login_of("active")]);
    assert_eq!(told["reason"]["code"], "unknown", "{told}");
    let told = world.rekeyctl(&["doctor"], "").out;
    assert!(told.contains("distribution group"), "{told}");
}

/// What Windows lists, in the place of a control that Samba lists, and how a request carries it: critical, with the value
/// that has old passwords count.
const HINTS: &[u8] = b"1.2.840.113556.1.4.2239";
const LISTED: &[u8] = b"1.2.840.113556.1.4.1339";
const CARRIED: &[u8] = b"1.2.840.113556.1.4.2239\x01\x01\xff\x04\x05\x30\x03\x02\x01\x01";

async fn d6_a_reset_keeps_to_old_passwords_where_the_directory_has_a_control_for_that() {
    let estate = Arc::new(Estate::claim(Product::ActiveDirectory).await);
    for name in ["active", "other"] {
        estate.add_active(&estate.dn(name), &estate.login(name), &[]).await;
    }
    let proxy = Proxy::start(&estate.uri()).await;
    proxy.swap(LISTED, HINTS);
    let world = through(&estate, &proxy).start().await;
    let link = world.forgets_and_gets_link(&estate.login("active")).await;
    let again = world.forgets_and_gets_link(&estate.login("other")).await;
    let of_hints = |write: &Vec<u8>| write.windows(CARRIED.len()).any(|window| window == CARRIED);
    drop(proxy.writes());

    // This server does not know the control and says so (12): nothing is written, and nothing is tried without it.
    let answer = world.sets_password(&link, NEW).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    let row = world.event(&[("event", "password-rejected"), ("reason", "missing-right")]).await;
    assert_eq!(row["outcome"], "rejected", "{row}");
    assert!(world.log().contains("policy hints control"), "{}", world.log());
    let writes = proxy.writes();
    assert!(writes.len() == 1 && writes.iter().all(of_hints), "{writes:x?}");
    assert_eq!(estate.password_writes(&estate.dn("active")).await, 0);
    assert_eq!(estate.bind(&estate.dn("active"), OWN).await.rc, 0, "the old password works on");

    // One that does answers as Windows does to an old password: the rule is not named, and another one may do.
    proxy.fail(Of::Writing("unicodePwd".to_owned()), Fault::Result(19, None));
    let answer = world.sets_password(&again, NEW).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(proxy.writes().iter().all(of_hints));
    proxy.heal();
    proxy.fail(Of::Writing("unicodePwd".to_owned()), Fault::Result(0, None));
    world.surely_sets_password(&again, NEW).await;
    let writes = proxy.writes();
    assert!(writes.len() == 1 && writes.iter().all(of_hints), "{writes:x?}");
}
