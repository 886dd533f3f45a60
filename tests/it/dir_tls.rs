//! Threats 65 to 67: no password on a connection that is not surely the directory's, and nobody is sent elsewhere.

use rekeyd_tests::{
    answerer::{AGREED, Answerer, Begin},
    branch::PASSWORD,
    faults::nothing_changed,
    proxy::{Fault, Kind, Of},
    slapd::{SERVICE_PASSWORD, Variant},
    tests,
    tls::{self, Flaw},
    world::World,
    world_config::Way,
};
use tokio::net::TcpListener;

tests! {
    async fn t65_whatever_answers_the_wish_for_tls_hears_no_password;
    async fn t66_six_and_more_wrong_certificates_hear_no_password;
    async fn t67_a_server_named_by_a_referral_is_never_called;
}

const NEW: &str = "seven violet teapots orbit";
/// BindResponse to message 2, success, as somebody in between would slip it in.
const LET_IN: &[u8] = &[0x30, 0x0c, 0x02, 0x01, 0x02, 0x61, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00];
/// ExtendedResponse to message 1: protocolError.
const REFUSED: &[u8] = &[0x30, 0x0c, 0x02, 0x01, 0x01, 0x78, 0x07, 0x0a, 0x01, 0x02, 0x04, 0x00, 0x04, 0x00];

/// Points a daemon to this server, has it try everything, and says what kind of fault it sees.
async fn tries(server: &Answerer, way: Way) -> World {
    let scheme = if way == Way::StartTls { "ldap" } else { "ldaps" };
    let world = World::builder().way(way).set("directory.cool_down", "\"100ms\"").prepare().await;
    world.set("directory.urls", &format!("[\"{scheme}://localhost:{}\"]", server.port()));
    world.restart().await;
    assert_eq!(world.signs_in("ada", PASSWORD).await.status, 503);
    assert_eq!(world.forgets("ada").await.status.as_u16() / 100, 2);
    let told = world.rekeyctl(&["set-password", "ada", "--generate", "--reason", "at the desk"], "");
    assert_eq!(told.code, 75, "{told:?}");
    world.leaves_mail_behind();
    world
}

/// No bind, no name, no password, in clear text or not.
fn hears_nothing(what: &str, server: &Answerer) {
    let heard = server.heard();
    assert!(heard.connections > 0, "{what}: nobody came");
    assert!(heard.protected.is_empty(), "{what}: {:?}", String::from_utf8_lossy(&heard.protected));
    // The wish for TLS has this name, and nothing else may be said.
    let rest = String::from_utf8_lossy(&heard.clear).replace("1.3.6.1.4.1.1466.20037", "");
    for secret in [SERVICE_PASSWORD, PASSWORD, "cn=rekeyd"] {
        assert!(!rest.contains(secret), "{what}: {rest:?}");
    }
    assert!(!has_bind(&heard.clear), "{what}: a bind in {:?}", heard.clear);
}

/// Whether a message id is followed by the beginning of a bind.
fn has_bind(heard: &[u8]) -> bool {
    heard.windows(4).any(|window| matches!(window, [0x02, 0x01, _, 0x60]))
}

async fn t65_whatever_answers_the_wish_for_tls_hears_no_password() {
    let injected = [AGREED, LET_IN].concat();
    for (what, answer, kind) in [
        ("an error", REFUSED.to_vec(), "refused"),
        ("success and more in the same packet", injected.clone(), "refused"),
        ("success and a broken piece of more", [AGREED, &[0x30, 0x82]].concat(), "refused"),
        ("an answer to something else", LET_IN.to_vec(), "down"),
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "down"),
        ("a length without end", vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x02], "down"),
        ("nothing that means anything", vec![0; 64], "down"),
        ("success, and then no TLS", AGREED.to_vec(), "down"),
    ] {
        let server = Answerer::start(Begin::Answer(answer)).await;
        let world = tries(&server, Way::StartTls).await;
        world.sees_fault(kind).await;
        hears_nothing(what, &server);
    }
    // Behind what was slipped in the true server goes on to TLS, and the daemon does not.
    let server = Answerer::start(Begin::After(injected, tls::server().clone())).await;
    let world = tries(&server, Way::StartTls).await;
    world.sees_fault("refused").await;
    hears_nothing("success and more, and then TLS", &server);
    // With a good answer it does: the server can be told apart from those above.
    let server = Answerer::start(Begin::After(AGREED.to_vec(), tls::server().clone())).await;
    let world = World::builder().way(Way::StartTls).prepare().await;
    world.set("directory.urls", &format!("[\"ldap://localhost:{}\"]", server.port()));
    world.restart().await;
    world.signs_in("ada", PASSWORD).await;
    let heard = server.heard();
    assert!(String::from_utf8_lossy(&heard.protected).contains(SERVICE_PASSWORD) && !has_bind(&heard.clear));
}

async fn t66_six_and_more_wrong_certificates_hear_no_password() {
    let flaws = [
        Flaw::Authority,
        Flaw::ClientOnly,
        Flaw::Expired,
        Flaw::NotYet,
        Flaw::SelfSigned,
        Flaw::Sha1,
        Flaw::Stranger,
        Flaw::WrongName,
    ];
    for flaw in flaws {
        let certificate = tls::flawed(flaw);
        for way in [Way::Ldaps, Way::StartTls] {
            let begin = match way {
                Way::Ldaps => Begin::AtOnce(certificate.clone()),
                _ => Begin::After(AGREED.to_vec(), certificate.clone()),
            };
            let server = Answerer::start(begin).await;
            let world = tries(&server, way.clone()).await;
            world.sees_fault("refused").await;
            let why = world.flaws()[0]["why"].to_string();
            assert!(why.contains("certificate"), "{flaw:?}: {why}");
            hears_nothing(&format!("{flaw:?}"), &server);
        }
    }
}

async fn t67_a_server_named_by_a_referral_is_never_called() {
    let rogue = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let elsewhere = format!("ldap://{}/dc=evil,dc=example??sub", rogue.local_addr().expect("an address"));
    let (world, proxy) = World::behind_a_proxy(Variant::Policy).await;
    let link = world.forgets_and_gets_link("grace").await;
    // As the answer to a write, a search and a bind; and between the entries of a search.
    for kind in [Kind::Write, Kind::Search, Kind::Bind] {
        proxy.fail(Of::Kind(kind), Fault::Result(10, Some(elsewhere.clone())));
        proxy.cut();
        let answer = world.sets_password(&link, NEW).await;
        assert!(nothing_changed(&answer), "{kind:?}: {} {}", answer.status, answer.text());
        let sign_in = world.signs_in("grace", PASSWORD).await.status;
        assert_eq!(sign_in, if kind == Kind::Write { 200 } else { 503 }, "{kind:?}");
        world.sees_fault(if kind == Kind::Write { "read-only" } else { "refused" }).await;
        proxy.heal();
        rekeyd_tests::acts::until("all is well", async || world.readiness().await == "up").await;
    }
    assert!(world.writes("grace").await.is_empty());
    proxy.fail(Of::Kind(Kind::Search), Fault::Reference(elsewhere));
    // Some of the person's groups might be there, so that nobody knows whether this is an administrator.
    world.forgets("ada").await;
    world.event(&[("event", "request-ended"), ("reason", "unknown")]).await;
    proxy.heal();
    world.surely_sets_password(&link, NEW).await;
    let call = tokio::time::timeout(std::time::Duration::from_millis(100), rogue.accept()).await;
    assert!(call.is_err(), "somebody has followed a referral");
}
