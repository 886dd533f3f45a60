//! The request for TLS on a connection that began in clear text (RFC 4511, 4.14), and what may follow it: nothing.
//!
//! Whatever arrives together with the answer was not protected. It is not thrown away in silence either: somebody in
//! between has put it there, so that the connection ends.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::wire::Failure;

/// ExtendedRequest, message 1, of the name 1.3.6.1.4.1.1466.20037.
const REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
/// The message that it is answered to, and the tags of the answer's parts.
const ID: &[u8] = &[1];
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const EXTENDED_RESPONSE: u8 = 0x78;
const ENUMERATED: u8 = 0x0a;
/// No answer to this is longer.
const MOST: usize = 4096;

/// Asks a server for TLS, and returns once it has agreed and said nothing else.
pub(super) async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(), Failure> {
    let ended = |error: std::io::Error| Failure::Unreachable(error.to_string());
    stream.write_all(REQUEST).await.map_err(ended)?;
    let mut heard = Vec::new();
    let mut bytes = [0; MOST];
    loop {
        let length = stream.read(&mut bytes).await.map_err(ended)?;
        heard.extend_from_slice(bytes.get(..length).unwrap_or_default());
        if length == 0 {
            return Err(Failure::Unreachable("it ended the connection when it was asked for StartTLS".into()));
        }
        match understood(&heard) {
            Some(Answer::Agreed) => return Ok(()),
            Some(Answer::Refused(code)) => return Err(Failure::Refused(format!("StartTLS is refused ({code})"))),
            Some(Answer::More) => {
                let why = "it said more than its answer before TLS began; somebody on the way may have put it there";
                return Err(Failure::Refused(why.into()));
            }
            None if heard.len() < MOST && heard.first() == Some(&SEQUENCE) => {}
            Some(Answer::Nonsense) | None => return Err(Failure::Unreachable("its answer makes no sense".into())),
        }
    }
}

/// What an answer says.
#[derive(Debug, Eq, PartialEq)]
enum Answer {
    /// TLS begins now.
    Agreed,
    /// It has no end where it should.
    More,
    /// It is none.
    Nonsense,
    /// No TLS, with the result code.
    Refused(u8),
}

/// `None` while the answer is not whole.
fn understood(heard: &[u8]) -> Option<Answer> {
    let (message, rest) = element(heard, SEQUENCE)?;
    if !rest.is_empty() {
        return Some(Answer::More);
    }
    let parts = element(message, INTEGER).filter(|(id, _)| *id == ID);
    let response = parts.and_then(|(_, rest)| element(rest, EXTENDED_RESPONSE));
    Some(match response.and_then(|(response, _)| element(response, ENUMERATED)) {
        Some(([0], _)) => Answer::Agreed,
        Some(([code], _)) => Answer::Refused(*code),
        _ => Answer::Nonsense,
    })
}

/// What an element of this tag holds, and what follows it; `None` where it is another one, or not whole.
fn element(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if *first >= 0x80 {
        // Some servers write lengths in four bytes, however small.
        let (long, after) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(long, _)| long.len() <= 4)?;
        length = long.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        rest = after;
    }
    rest.split_at_checked(length).filter(|_| *tag == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGREED: &[u8] = &[0x30, 0x0c, 2, 1, 1, 0x78, 7, 0x0a, 1, 0, 4, 0, 4, 0];

    #[test]
    fn t65_only_an_agreement_and_nothing_else_leads_to_tls() {
        let with = |at: usize, byte: u8| {
            let mut changed = AGREED.to_vec();
            changed.splice(at..=at, [byte]);
            changed
        };
        let long = [&[0x30, 0x84, 0, 0, 0, 0x0c][..], &AGREED[2..]].concat();
        for (heard, answer) in [
            (AGREED.to_vec(), Some(Answer::Agreed)),
            (long, Some(Answer::Agreed)),
            (with(9, 52), Some(Answer::Refused(52))),
            ([AGREED, &[0x30]].concat(), Some(Answer::More)),
            ([AGREED, AGREED].concat(), Some(Answer::More)),
            (with(4, 2), Some(Answer::Nonsense)),
            (with(5, 0x61), Some(Answer::Nonsense)),
            (vec![0x30, 0], Some(Answer::Nonsense)),
            (AGREED[..8].to_vec(), None),
            (vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff], None),
            (vec![0x30, 0xff], None),
            (b"HTTP/1.1 400".to_vec(), None),
            (vec![], None),
        ] {
            assert_eq!(understood(&heard), answer, "{heard:?}");
        }
    }

    #[test]
    fn the_request_is_whole() {
        let (message, rest) = element(REQUEST, SEQUENCE).unwrap_or_default();
        assert!(rest.is_empty() && message.ends_with(b"20037"));
    }
}
