//! A crowd of connections that want nothing: some say nothing at all, some say a byte a second.
//!
//! `flood ADDRESS SILENT DRIBBLING TEXT` holds so many of each, and comes back a few seconds after being sent away. Those
//! that dribble say the text. It is a program of its own because of its descriptors: a test program with as many would
//! hand the limit on to every server that it starts. Each 100 ms it prints how many are connected, and how many ever were.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::indexing_slicing)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// Loopback addresses that the crowd comes from, so that no range of ports is used up.
const SOURCES: u64 = 200;
/// How long one that was sent away waits before it comes back.
const PAUSE: Duration = Duration::from_secs(3);
/// Between two bytes of one that dribbles.
const DRIP: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Counts {
    now: AtomicU64,
    ever: AtomicU64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let address: SocketAddr = arguments[0].parse().expect("an address");
    let (silent, dribbling): (u64, u64) =
        (arguments[1].parse().expect("a count"), arguments[2].parse().expect("a count"));
    let text: Arc<[u8]> = arguments[3].replace("\\r\\n", "\r\n").into_bytes().into();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("a raised limit");
    let counts = Arc::new(Counts::default());
    for number in 0..silent + dribbling {
        let (counts, text) = (Arc::clone(&counts), Arc::clone(&text));
        tokio::spawn(async move {
            // Not all at once: the crowd grows within a second and stays spread out.
            tokio::time::sleep(Duration::from_millis(number * 1000 / (silent + dribbling))).await;
            loop {
                if let Ok(stream) = connect(address, number).await {
                    counts.now.fetch_add(1, Ordering::Relaxed);
                    counts.ever.fetch_add(1, Ordering::Relaxed);
                    hold(stream, if number < silent { &[] } else { &text }).await;
                    counts.now.fetch_sub(1, Ordering::Relaxed);
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    loop {
        let (now, ever) = (counts.now.load(Ordering::Relaxed), counts.ever.load(Ordering::Relaxed));
        println!("now={now} ever={ever}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn connect(address: SocketAddr, number: u64) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let last = u8::try_from(2 + number % SOURCES).unwrap_or(2);
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into())?;
    socket.connect(address).await
}

/// Stays until it is sent away. Whoever has said all says nothing more.
async fn hold(mut stream: TcpStream, text: &[u8]) {
    let mut heard = [0; 1024];
    let (mut from, mut to) = stream.split();
    let listen = async { while from.read(&mut heard).await.is_ok_and(|read| read > 0) {} };
    let say = async {
        for byte in text {
            if to.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(DRIP).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = listen => {}
        () = say => {}
    }
}
