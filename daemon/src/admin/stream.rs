//! Answers of any length: lines of JSON that go out as a story tells them, with no more in memory than a few pages. A line
//! that nobody takes for minutes ends the answer, and so does the end of the daemon.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use serde::Serialize;
use tokio::sync::{mpsc, watch};

/// How many pieces may wait to be sent.
const AHEAD: usize = 2;
/// How long a reader may take for one piece.
const PATIENCE: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_mins(5) };
/// After so long without a line an empty one says that the story goes on.
const SIGN_OF_LIFE: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(10) };

/// The body of an answer.
pub(super) enum Sent {
    Lines(mpsc::Receiver<Bytes>),
    Whole(Full<Bytes>),
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Lines(lines) => lines.poll_recv(context).map(|line| line.map(|bytes| Ok(Frame::data(bytes)))),
            Self::Whole(whole) => Pin::new(whole).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Lines(_) => false,
            Self::Whole(whole) => whole.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Lines(_) => SizeHint::default(),
            Self::Whole(whole) => whole.size_hint(),
        }
    }
}

/// Writes what a story tells as lines. `words` makes the lines of one thing told; `stopped` is the last line where the daemon
/// ends first. Dropping the body ends the story: it hears that nobody listens.
pub(super) fn lines<T: Send + 'static, L: Serialize + Send + 'static>(
    mut told: mpsc::Receiver<T>,
    mut stop: watch::Receiver<bool>,
    words: impl Fn(T) -> Vec<L> + Send + 'static,
    stopped: L,
) -> mpsc::Receiver<Bytes> {
    let (out, body) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        loop {
            let piece = tokio::select! {
                biased;
                () = stopped_by(&mut stop) => {
                    drop(out.send_timeout(written(std::slice::from_ref(&stopped)), SIGN_OF_LIFE).await);
                    return;
                }
                next = tokio::time::timeout(SIGN_OF_LIFE, told.recv()) => match next {
                    Ok(Some(told)) => written(&words(told)),
                    Ok(None) => return,
                    Err(_) => Bytes::from_static(b"\n"),
                },
            };
            if !piece.is_empty() && out.send_timeout(piece, PATIENCE).await.is_err() {
                return;
            }
        }
    });
    body
}

/// Waits for the end of the daemon.
async fn stopped_by(stop: &mut watch::Receiver<bool>) {
    // Whoever could stop it is gone: that is an end, too.
    drop(stop.wait_for(|stop| *stop).await);
}

fn written(lines: &[impl Serialize]) -> Bytes {
    let mut text = Vec::new();
    for line in lines {
        match serde_json::to_vec(line) {
            Ok(line) => text.extend(line),
            Err(error) => log::error!("a line of an answer could not be written: {error}"),
        }
        text.push(b'\n');
    }
    text.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn lines_go_out_as_they_are_told_and_silence_is_filled() {
        let (tell, told) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let mut body = lines(told, stopped, |number: u8| vec![number; usize::from(number)], 0);
        tell.send(2).await.unwrap();
        assert_eq!(body.recv().await.unwrap(), "2\n2\n");
        assert_eq!(body.recv().await.unwrap(), "\n", "nothing is told for a while");
        stop.send(true).unwrap();
        assert_eq!(body.recv().await.unwrap(), "0\n");
        assert!(body.recv().await.is_none());
        tell.closed().await;
    }

    #[tokio::test]
    async fn a_reader_who_takes_nothing_ends_the_story() {
        let (tell, told) = mpsc::channel(1);
        let (_stop, stopped) = watch::channel(false);
        let _body = lines(told, stopped, |number: u8| vec![number], 0);
        let teller = tokio::spawn(async move { while tell.send(1).await.is_ok() {} });
        tokio::time::timeout(Duration::from_secs(20), teller).await.unwrap().unwrap();
    }
}
