//! Servers that are reached and make no sense: what they answer is no protocol that anybody asked for.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

/// Starts a server that answers whatever it hears in its own way, for as long as the test program lives. Gives its
/// address with the port.
pub fn server(answer: fn(&[u8]) -> Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            thread::spawn(move || {
                let mut heard = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut heard) {
                    if stream.write_all(&answer(&heard[..read])).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
