//! One connection through a proxy: what goes on unchanged, what is stopped, and what comes instead.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    Fate, Fault, Kind, Shared,
    message::{id, kind, read, reference, result},
};

/// So many bytes are more than anybody should read of one answer.
const FLOOD: usize = 24 << 20;

/// What is to happen to the answers of requests that are under way, by their message ids.
#[derive(Default)]
struct Marks(Mutex<HashMap<Vec<u8>, Mark>>);

#[derive(Clone)]
enum Mark {
    Fate(Fate),
    Fault(Fault),
}

/// What the client gets, and when.
struct Out {
    bytes: Vec<u8>,
    at: Instant,
    /// Whether the connection ends with it.
    last: bool,
}

impl Out {
    fn now(bytes: Vec<u8>) -> Self {
        Self { bytes, at: Instant::now(), last: false }
    }

    fn last(bytes: Vec<u8>) -> Self {
        Self { bytes, at: Instant::now(), last: true }
    }
}

/// Passes messages on, both ways, until one side ends or a fault ends it.
pub(super) async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(shared.target).await else { return };
    client.set_nodelay(true).expect("a socket");
    server.set_nodelay(true).expect("a socket");
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let marks = Marks::default();
    let (out, outs) = mpsc::unbounded_channel();
    // Whichever ends first ends the connection on both sides.
    tokio::select! {
        () = requests(from_client, to_server, &shared, &marks, &out) => {}
        () = answers(from_server, &shared, &marks, &out) => {}
        () = deliver(to_client, outs) => {}
    }
}

async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    shared: &Shared,
    marks: &Marks,
    out: &mpsc::UnboundedSender<Out>,
) {
    let mark = |message: &[u8], mark| marks.0.lock().expect("the marks").insert(id(message).to_vec(), mark);
    while let Some(message) = read(&mut client).await {
        let kind = kind(&message);
        shared.seen.lock().expect("what was seen").push(kind);
        if kind == Kind::Write {
            shared.writes.lock().expect("the writes").push(message.clone());
        }
        let fate = if kind == Kind::Write { shared.fate.lock().expect("the fate").take() } else { None };
        match fate {
            Some(Fate::LoseRequest) => {
                shared.stopped.notify_one();
                return;
            }
            Some(Fate::HoldRequest) => shared.wait().await,
            Some(Fate::LoseAfterHold) => {
                shared.wait().await;
                return;
            }
            Some(fate) => drop(mark(&message, Mark::Fate(fate))),
            None => {}
        }
        match shared.fault(&message) {
            Some(Fault::Silent) => continue,
            Some(Fault::Result(code, referral)) => {
                // The other side may have gone.
                drop(out.send(Out::now(result(&message, code, referral.as_deref()))));
                continue;
            }
            Some(Fault::Reference(uri)) if kind == Kind::Search => drop(out.send(Out::now(reference(&message, &uri)))),
            Some(fault) if fate.is_none() => drop(mark(&message, Mark::Fault(fault))),
            _ => {}
        }
        if server.write_all(&message).await.is_err() {
            return;
        }
    }
}

async fn answers(mut server: OwnedReadHalf, shared: &Shared, marks: &Marks, out: &mpsc::UnboundedSender<Out>) {
    while let Some(message) = read(&mut server).await.map(|message| shared.swapped(message)) {
        let mark = marks.0.lock().expect("the marks").get(id(&message)).cloned();
        let sent = match mark {
            None => Out::now(message),
            Some(Mark::Fate(Fate::LoseAnswer)) => {
                shared.stopped.notify_one();
                return;
            }
            Some(Mark::Fate(_)) => {
                shared.wait().await;
                Out::now(message)
            }
            Some(Mark::Fault(Fault::Cut)) => Out::last(message[..message.len() / 2].to_vec()),
            Some(Mark::Fault(Fault::Garbage(bytes))) => Out::now(bytes.to_vec()),
            Some(Mark::Fault(Fault::Flood(operation))) => {
                let one = [
                    &[0x30, u8::try_from(id(&message).len() + operation.len()).expect("a short one")],
                    id(&message),
                    operation,
                ];
                Out::now(one.concat().repeat(FLOOD / operation.len()))
            }
            Some(Mark::Fault(Fault::Mute)) => continue,
            Some(Mark::Fault(Fault::Slow(time))) => Out { at: Instant::now() + time, ..Out::now(message) },
            Some(Mark::Fault(_)) => Out::now(message),
        };
        // The other side may have gone.
        drop(out.send(sent));
    }
}

async fn deliver(mut client: OwnedWriteHalf, mut outs: mpsc::UnboundedReceiver<Out>) {
    while let Some(out) = outs.recv().await {
        sleep_until(out.at).await;
        if client.write_all(&out.bytes).await.is_err() || out.last {
            return;
        }
    }
}
