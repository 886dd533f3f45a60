//! Refuses heads that two programs could read in two ways, which is how a request hides in another.
//!
//! hyper is as lenient as RFC 9112 lets it be: a bare LF ends a line, a `Transfer-Encoding` silences a `Content-Length`,
//! a length may stand there twice. A proxy in front may read the same bytes otherwise. So each head is followed line by
//! line before hyper sees it; from the first odd byte on, NUL stands in the place of everything, which hyper answers with
//! 400 and an end. Nothing is mended.

/// The longest line that says how long a body is. Blanks can make it longer, and then it is odd.
const LONGEST: usize = 128;

/// Follows the bytes that one connection sends.
#[derive(Debug, Default)]
pub(super) struct Strict {
    at: At,
}

/// What hyper sees of bytes that come in pieces of this size; for tests and fuzzing.
pub fn believed(bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut strict, mut bytes) = (Strict::default(), bytes.to_vec());
    bytes.chunks_mut(piece.max(1)).for_each(|piece| strict.pass(piece));
    bytes
}

/// Where in its requests a connection is.
#[derive(Debug)]
enum At {
    /// In a head.
    Head(Head),
    /// In a body of a said length; so many bytes are left.
    Body(u64),
    /// In a chunked body. Its connection serves no other request, so what follows is never read as one.
    Chunked,
    /// Nothing more is believed.
    Odd,
}

#[derive(Debug)]
struct Head {
    /// The begin of the present line.
    line: [u8; LONGEST],
    /// How long the line is, which may be more than is kept of it.
    length: usize,
    last: u8,
    /// Whether the request line was there.
    begun: bool,
    body: Body,
}

/// What the head has said so far of its body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Body {
    Chunked,
    Length(u64),
    None,
}

/// A head that is refused.
struct Odd;

impl Default for At {
    fn default() -> Self {
        Self::Head(Head { line: [0; LONGEST], length: 0, last: 0, begun: false, body: Body::None })
    }
}

impl Strict {
    /// Looks at the next bytes, and makes them unreadable from the first odd one on.
    pub(super) fn pass(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let done = match &mut self.at {
                At::Head(head) => match head.pass(bytes) {
                    Ok((done, None)) => done,
                    Ok((done, Some(body))) => {
                        self.at = match body {
                            Body::Chunked => At::Chunked,
                            Body::Length(length @ 1..) => At::Body(length),
                            Body::Length(0) | Body::None => At::default(),
                        };
                        done
                    }
                    Err((done, Odd)) => {
                        self.at = At::Odd;
                        done
                    }
                },
                At::Body(left) => {
                    let done = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= done as u64;
                    if *left == 0 {
                        self.at = At::default();
                    }
                    done
                }
                At::Chunked => return,
                At::Odd => {
                    bytes.fill(0);
                    return;
                }
            };
            bytes = bytes.get_mut(done..).unwrap_or_default();
        }
    }
}

impl Head {
    /// Goes through bytes of the head: how many belong to it, and what its end says of the body. The error says how
    /// many were fine.
    fn pass(&mut self, bytes: &[u8]) -> Result<(usize, Option<Body>), (usize, Odd)> {
        for (place, &byte) in bytes.iter().enumerate() {
            match byte {
                0 => return Err((place, Odd)),
                b'\n' if self.last != b'\r' => return Err((place, Odd)),
                b'\n' => {
                    self.last = 0;
                    match self.end_line() {
                        Err(odd) => return Err((place, odd)),
                        Ok(false) => {}
                        Ok(true) => return Ok((place + 1, Some(self.body))),
                    }
                }
                _ if self.last == b'\r' => return Err((place, Odd)),
                b'\r' => self.last = byte,
                _ => {
                    self.last = byte;
                    if let Some(kept) = self.line.get_mut(self.length) {
                        *kept = byte;
                    }
                    self.length += 1;
                }
            }
        }
        Ok((bytes.len(), None))
    }

    /// Reads a whole line; true at the head's end.
    fn end_line(&mut self) -> Result<bool, Odd> {
        let length = std::mem::take(&mut self.length);
        if length == 0 {
            // An empty line before a request is one too many after the request before, and means nothing.
            return Ok(self.begun);
        }
        if !std::mem::replace(&mut self.begun, true) {
            return Ok(false);
        }
        let line = self.line.get(..length.min(LONGEST)).unwrap_or_default();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return Ok(false) };
        let (name, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
        let says_length = name.eq_ignore_ascii_case(b"content-length");
        if !says_length && !name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Ok(false);
        }
        // Said twice, or in both ways, or with something behind what is kept of the line.
        if self.body != Body::None || length > LONGEST {
            return Err(Odd);
        }
        let value = value.trim_ascii();
        self.body = if says_length {
            Body::Length(digits(value).ok_or(Odd)?)
        } else if value.eq_ignore_ascii_case(b"chunked") {
            Body::Chunked
        } else {
            return Err(Odd);
        };
        Ok(false)
    }
}

/// A number of decimal digits and nothing else.
fn digits(text: &[u8]) -> Option<u64> {
    let fine = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| fine)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of some bytes that come in pieces of this size.
    fn passed(text: &str, piece: usize) -> String {
        let mut strict = Strict::default();
        let mut bytes = text.as_bytes().to_vec();
        bytes.chunks_mut(piece).for_each(|piece| strict.pass(piece));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn t103_clear_requests_pass_as_they_are() {
        for text in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\na\nb\0GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length:0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\na\nb\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Lengths: x\r\nX-Transfer-Encoding: y\r\nno colon\r\n\r\n",
        ] {
            for piece in 1..=text.len() {
                assert_eq!(passed(text, piece), text, "in pieces of {piece}");
            }
        }
        let long = format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "a".repeat(9000));
        assert_eq!(passed(&long, 100), long);
    }

    #[test]
    fn t103_heads_that_can_be_read_in_two_ways_do_not_pass() {
        for head in [
            "GET / HTTP/1.1\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n\n",
            "GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\r\n\r\n",
            "GET / HTTP/1.1\r\nA: \0\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +4\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 4, 4\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0x4\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
        ] {
            let text = format!("{head}behind");
            for piece in 1..=text.len() {
                let left = passed(&text, piece);
                assert!(left.ends_with("\0\0\0\0\0\0"), "{head:?} in pieces of {piece}: {left:?}");
            }
        }
        let padded = format!("POST / HTTP/1.1\r\nContent-Length: {}4\r\n\r\n", " ".repeat(LONGEST));
        assert!(passed(&padded, padded.len()).ends_with('\0'));
    }

    #[test]
    fn t103_what_follows_a_body_is_a_head_again() {
        let text = "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\na\nb\nGET / HTTP/1.1\nHost: x\r\n\r\n";
        let left = passed(text, text.len());
        assert!(left.starts_with("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\na\nb\nGET / HTTP/1.1\0"), "{left:?}");
    }
}
