//! Requests that can be read in two ways: what each of them is answered with, and that nothing hidden in one is ever done.
//!
//! In the corpus every honest part asks for `nobody`, and every part that must stay unread asks for `grace`.

use rekeyd_tests::{tests, world::World};

tests! {
    async fn t103_no_request_hides_in_another;
    async fn t103_what_is_well_formed_is_answered_in_its_order;
    async fn t105_no_other_protocol_is_spoken;
}

/// `{host}` is the door's own name, `{form}` the line that says what kind of body a form is, `{hidden}` a whole request
/// that must not be read as one. The statuses are those of all answers that come, in their order.
struct Case(&'static str, &'static [u16]);

const HOST: &str = "Host: {host}\r\n";
/// The begin of a request with a form; its length and its end are left to the case.
const POST: &str = "POST /forgot HTTP/1.1\r\nHost: {host}\r\n{form}";

/// Two lengths, or one that is said in an odd way.
const LENGTHS: &[Case] = &[
    Case("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nfe\r\n{hidden}\r\n0\r\n\r\n", &[400]),
    Case("Content-Length: 12\r\nContent-Length: 12\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: 12\r\nContent-Length: 0\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: 0\r\nContent-Length: 12\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: 12\r\ncontent-length: 300\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: 12, 12\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: 12,0\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: +12\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: -12\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: 1 2\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: 0xc\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: 12.0\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: 12e0\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: \"12\"\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: ١٢\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: \x0b12\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: 12\x0c\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: 12\0\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length:\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: \r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length:\r\n 12\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length : 12\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length\t: 12\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case(" Content-Length: 12\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("X: y\rContent-Length: 12\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: 18446744073709551628\r\n\r\nlogin=nobody{hidden}", &[400]),
    Case("Content-Length: 99999999999999999999999999\r\n\r\nlogin=nobody{hidden}", &[400]),
    // A length beyond all bounds is one that is understood, and refused unread.
    Case("Content-Length: 9999999999\r\n\r\nlogin=nobody{hidden}", &[413]),
    // Other names say nothing: the form has no body, and what follows is no request.
    Case("Content_Length: 12\r\n\r\nlogin=nobody{hidden}", &[422, 400]),
    Case("X-Content-Length: 12\r\n\r\nlogin=nobody{hidden}", &[422, 400]),
];

/// A transfer encoding that somebody else might not see, or see as another.
const ENCODINGS: &[Case] = &[
    Case("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: identity\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: chunk\r\n ed\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding:\n chunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: \u{a0}chunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: chunKed\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case(" Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer-Encoding:\r\n\r\n0\r\n\r\n{hidden}", &[400]),
    Case("Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}", &[422, 400]),
    // What follows a chunked body is never read.
    Case("Transfer-Encoding: chunked\r\n\r\nc\r\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[202]),
    Case("TRANSFER-ENCODING:CHUNKED\r\n\r\nc\r\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[202]),
];

/// Chunks whose size two programs could read as two sizes.
const CHUNKS: &[Case] = &[
    Case("c;name=value\r\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[202]),
    Case("c ;a=\"b;c\";d\r\nlogin=nobody\r\n0;last\r\n\r\n{hidden}", &[202]),
    Case("00000c\r\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[202]),
    Case("c\r\nlogin=nobody\r\n0\r\nContent-Length: 9\r\nHost: evil.example\r\n\r\n{hidden}", &[202]),
    Case("c;\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[400]),
    Case("c;a=\"\n\"\r\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[400]),
    Case("c\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[400]),
    Case("c\rlogin=nobody\r\n0\r\n\r\n{hidden}", &[400]),
    Case("c\r\nlogin=nobody\n0\r\n\r\n{hidden}", &[400]),
    Case("c\r\nlogin=nobodyxx0\r\n\r\n{hidden}", &[400]),
    Case("0xc\r\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[400]),
    Case("+c\r\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[400]),
    Case("-c\r\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[400]),
    Case("g\r\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[400]),
    Case("\r\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[400]),
    Case("c_0\r\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[400]),
    Case("1000000000000000c\r\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[400]),
    Case("fffffffffffffffff\r\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[400]),
    // The largest size there is, and so all that follows is its data, until nobody waits for more.
    Case("ffffffffffffffff\r\nlogin=nobody\r\n0\r\n\r\n{hidden}", &[408]),
    Case("c\r\nlogin=nobody\r\n0\r\nX y\r\n\r\n{hidden}", &[400]),
];

/// Heads: lines that end oddly, names with odd characters, targets that name a host, versions that are none.
const HEADS: &[Case] = &[
    Case("GET /forgot HTTP/1.1\n{H}Connection: close\n\n", &[400]),
    Case("GET /forgot HTTP/1.1\r\n{H}X: y\nConnection: close\r\n\r\n", &[400]),
    Case("GET /forgot HTTP/1.1\r\n{H}\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.1\r\r\n{H}\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.1\r\n{H}X: y\r\r\n\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.1\r\n{H}X: y\r\n z\r\n\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.1\r\n{H}X: y\r\n\tz\r\n\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.1\r\n X: y\r\n{H}\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.1\r\n{H}X: a\0b\r\n\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.1\r\n{H}X\0: b\r\n\r\n{hidden}", &[400]),
    Case("GET /for\0got HTTP/1.1\r\n{H}\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.1\r\n{H}X : y\r\n\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.1\r\n{H}no colon\r\n\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.1\r\n{H}: y\r\n\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.1\r\n{H}X(y): z\r\n\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.1\r\n{H}Ẍ: z\r\n\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.1\r\n{H}X: \x07\r\n\r\n{hidden}", &[400]),
    Case("GET http://{host}/forgot HTTP/1.1\r\n{H}Connection: close\r\n\r\n", &[400]),
    Case("GET http://evil.example/forgot HTTP/1.1\r\n{H}Connection: close\r\n\r\n", &[400]),
    Case("GET https://{host}/forgot HTTP/1.1\r\n{H}Connection: close\r\n\r\n", &[400]),
    Case("GET {host} HTTP/1.1\r\n{H}Connection: close\r\n\r\n", &[400]),
    Case("GET forgot HTTP/1.1\r\n{H}Connection: close\r\n\r\n", &[400]),
    Case("CONNECT {host} HTTP/1.1\r\n{H}Connection: close\r\n\r\n", &[400]),
    Case("OPTIONS * HTTP/1.1\r\n{H}Connection: close\r\n\r\n", &[404]),
    Case("GET /forgot HTTP/1.1\r\nConnection: close\r\n\r\n", &[400]),
    Case("GET /forgot HTTP/1.1\r\n{H}{H}Connection: close\r\n\r\n", &[400]),
    Case("GET /forgot HTTP/1.1\r\n{H}Host: evil.example\r\nConnection: close\r\n\r\n", &[400]),
    Case("GET /forgot\r\n", &[400]),
    Case("GET /forgot\r\n\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.0\r\nConnection: close\r\n\r\n", &[421]),
    Case("GET /forgot HTTP/1.0\r\n{H}\r\n", &[200]),
    Case("POST /forgot HTTP/1.0\r\n{H}{form}Transfer-Encoding: chunked\r\n\r\nc\r\nlogin=nobody\r\n0\r\n\r\n", &[400]),
    Case("GET /forgot HTTP/1.2\r\n{H}\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/2.0\r\n{H}\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.10\r\n{H}\r\n{hidden}", &[400]),
    Case("GET /forgot http/1.1\r\n{H}\r\n{hidden}", &[400]),
    Case("GET /forgot HTTP/1.1 \r\n{H}\r\n{hidden}", &[400]),
    Case("GET /forgot  HTTP/1.1\r\n{H}\r\n{hidden}", &[400]),
    Case("GET  /forgot HTTP/1.1\r\n{H}\r\n{hidden}", &[400]),
    Case("GET\t/forgot HTTP/1.1\r\n{H}\r\n{hidden}", &[400]),
    Case("GET /forgot\tHTTP/1.1\r\n{H}\r\n{hidden}", &[400]),
    Case(" GET /forgot HTTP/1.1\r\n{H}\r\n{hidden}", &[400]),
    Case("G(T /forgot HTTP/1.1\r\n{H}\r\n{hidden}", &[400]),
    Case("GET /forgot x HTTP/1.1\r\n{H}\r\n{hidden}", &[400]),
    // The length of what is not asked for counts, too: this body holds what looks like a request.
    Case("GET /forgot HTTP/1.1\r\n{H}Connection: close\r\nContent-Length: 200\r\n\r\n{hidden}", &[200]),
];

async fn t103_no_request_hides_in_another() {
    let world = world().await;
    let mut faults = Vec::new();
    let bodies = LENGTHS.iter().chain(ENCODINGS).map(|Case(text, statuses)| (format!("{POST}{text}"), *statuses));
    let chunks = CHUNKS
        .iter()
        .map(|Case(text, statuses)| (format!("{POST}Transfer-Encoding: chunked\r\n\r\n{text}"), *statuses));
    let heads = HEADS.iter().map(|Case(text, statuses)| (text.replace("{H}", HOST), *statuses));
    for (text, expected) in bodies.chain(chunks).chain(heads) {
        let answers = statuses(&world, &text).await;
        if answers != expected {
            faults.push(format!("{answers:?} instead of {expected:?} for {text:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    nothing_hidden_was_done(&world).await;
}

async fn t103_what_is_well_formed_is_answered_in_its_order() {
    let world = world().await;
    let one = format!("{POST}Content-Length: 12\r\n\r\nlogin=nobody");
    let two = format!("{POST}Connection: close\r\nContent-Length: 12\r\n\r\nlogin=nobody");
    for (text, expected) in [
        (format!("{one}{one}{two}"), &[202, 202, 202][..]),
        // An empty line too many after a request is a well-known fault of clients, and harmless.
        (format!("{one}\r\n{two}"), &[202, 202]),
        (format!("{one}garbage\r\n\r\n"), &[202, 400]),
        (format!("{one}\0\r\n\r\n{two}"), &[202, 400]),
        (format!("{two}{{hidden}}"), &[202]),
        // A body may be refused unread; what comes behind it is then not read either.
        ("POST /nowhere HTTP/1.1\r\nHost: {host}\r\nContent-Length: 200\r\n\r\n{hidden}".into(), &[404]),
        (format!("POST /v1/recovery HTTP/1.1\r\n{HOST}Content-Length: 9000\r\n\r\n{{hidden}}"), &[401]),
        // Whoever asks first hears first; whoever is refused is not asked for the body.
        (
            format!("{POST}Expect: 100-continue\r\nConnection: close\r\nContent-Length: 12\r\n\r\nlogin=nobody"),
            &[100, 202],
        ),
        (format!("{POST}Expect: 100-continue\r\nContent-Length: 99999\r\n\r\n"), &[413]),
        (format!("POST /nowhere HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 12\r\n\r\n"), &[404]),
        (format!("{POST}Expect: 200-ok\r\nConnection: close\r\nContent-Length: 12\r\n\r\nlogin=nobody"), &[202]),
        // Names of headers that a proxy would take away mean nothing here.
        (format!("{POST}Connection: close, Content-Length, Host\r\nContent-Length: 12\r\n\r\nlogin=nobody"), &[202]),
    ] {
        assert_eq!(statuses(&world, &text).await, expected, "{text}");
    }
    nothing_hidden_was_done(&world).await;
}

async fn t105_no_other_protocol_is_spoken() {
    let world = world().await;
    let settings = "\0\0\0\u{4}\0\0\0\0\0";
    for (text, expected) in [
        (format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{settings}"), &[][..]),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}".to_owned(), &[400]),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /forgot HTTP/1.1\r\nHost: {host}\r\n\r\n".into(), &[400]),
        ("EHLO evil.example\r\n".into(), &[400]),
        // An offer to go on otherwise is not taken.
        (
            "GET /forgot HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
                .into(),
            &[200],
        ),
        (
            "GET /forgot HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
                .into(),
            &[200],
        ),
    ] {
        assert_eq!(statuses(&world, &text).await, expected, "{text:?}");
    }
    assert_eq!(world.door().get("/healthz").await.status, 200);
}

/// A world that waits for nobody, so that each case comes to its end.
async fn world() -> World {
    World::builder()
        .set("http.limits.header", r#""1s""#)
        .set("http.limits.idle", r#""1s""#)
        .set("http.limits.body", r#""2s""#)
        .start()
        .await
}

/// The statuses of all that is answered to these bytes, until the door closes.
async fn statuses(world: &World, text: &str) -> Vec<u16> {
    let host = world.address().to_string();
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let hidden = format!("{POST}Content-Length: 11\r\n\r\nlogin=grace");
    let text = text.replace("{hidden}", &hidden).replace("{host}", &host).replace("{form}", form);
    // A door that is told more than it reads may break the connection behind its answer.
    let answer = world.door().try_raw(text.as_bytes()).await.unwrap_or_default();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let lines = answer.split("HTTP/1.1 ").skip(1).chain(answer.split("HTTP/1.0 ").skip(1));
    lines.map(|rest| rest[..3].parse().unwrap_or_else(|_| panic!("no status: {rest}"))).collect()
}

/// A request that comes after all of them is answered, and none was accepted for whom the hidden ones ask.
async fn nothing_hidden_was_done(world: &World) {
    world.forgets_and_gets_link("ada").await;
    world.all_is_sent().await;
    assert!(world.smtp().messages_to("grace@example.org").is_empty(), "a hidden request was read");
}
