//! Many requests that arrive at the same moment: each is sent up to its last byte, and then all last bytes go at once.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Connections that are kept from one volley to the next.
pub struct Volley {
    door: SocketAddr,
    lines: Vec<TcpStream>,
}

impl Volley {
    /// Opens so many connections.
    pub async fn open(door: SocketAddr, lines: usize) -> Self {
        let mut volley = Self { door, lines: Vec::new() };
        for _ in 0..lines {
            let line = volley.line().await;
            volley.lines.push(line);
        }
        volley
    }

    async fn line(&self) -> TcpStream {
        let line = TcpStream::connect(self.door).await.expect("a connection");
        // A last byte that waits for an acknowledgement would come late.
        line.set_nodelay(true).expect("no delay");
        line
    }

    /// Posts a body over each connection, with these headers, and gives status and body of each answer.
    pub async fn post(&mut self, path: &str, headers: &str, bodies: &[String]) -> Vec<(u16, String)> {
        assert_eq!(bodies.len(), self.lines.len());
        let host = self.door;
        for (line, body) in self.lines.iter_mut().zip(bodies) {
            let length = body.len();
            let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\n\r\n");
            let bytes = [head.as_bytes(), body.as_bytes()].concat();
            line.write_all(&bytes[..bytes.len() - 1]).await.expect("a sent request");
        }
        for (line, body) in self.lines.iter_mut().zip(bodies) {
            line.write_all(&body.as_bytes()[body.len() - 1..]).await.expect("a last byte");
        }
        let mut answers = Vec::new();
        for line in &mut self.lines {
            answers.push(read(line).await);
        }
        answers
    }
}

/// One answer of a connection that stays open.
async fn read(line: &mut TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().expect("a length"))
            });
            if body.len() >= length.unwrap_or(0) {
                let status = head.split(' ').nth(1).expect("a status").parse().expect("a status");
                return (status, body.to_owned());
            }
        }
        let count = line.read(&mut chunk).await.expect("an answer");
        assert!(count > 0, "the connection ends before the answer does: {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&chunk[..count]);
    }
}
