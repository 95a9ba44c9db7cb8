//! Answers on their way: in pieces, as fast as they are read.

use super::slots::Turn;
use crate::api::ConnectionEvent;
use crate::control::{Idle, Lines};
use crate::memory::give_back;
use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

/// Bytes of a piece.
const PIECE: usize = 64 * 1024;
/// Pieces that wait to be read.
const AHEAD: usize = 2;

/// A body out of what is there as a whole. The turn lasts until the last piece is on its way.
pub fn whole(text: Vec<u8>, turn: Turn) -> Body {
    Body::new(Whole {
        text,
        sent: 0,
        _turn: turn,
    })
}

struct Whole {
    text: Vec<u8>,
    sent: usize,
    _turn: Turn,
}

impl Drop for Whole {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.text).len();
        let _ = give_back(bytes);
    }
}

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let rest = &self.text[self.sent..];
        // A copy: a piece that shared the text would keep all of it until that piece was read.
        let piece = Bytes::copy_from_slice(&rest[..rest.len().min(PIECE)]);
        self.sent += piece.len();
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.sent == self.text.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.text.len() - self.sent) as u64)
    }
}

/// A body that is written while it is read, and where to write it. Writing waits for the reader.
pub fn streamed(turn: Turn) -> (Body, Pieces) {
    let (sender, pieces) = mpsc::channel(AHEAD);
    let body = Streamed {
        pieces,
        _turn: turn,
    };
    let pieces = Pieces {
        sender,
        piece: Vec::with_capacity(PIECE),
        sent: 0,
    };
    (Body::new(body), pieces)
}

struct Streamed {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    _turn: Turn,
}

impl hyper::body::Body for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = self.pieces.poll_recv(context);
        piece.map(|piece| Some(piece?.map(Frame::data)))
    }
}

/// How often an endless body says that there is nothing to say. Whoever reads knows then that the daemon is
/// there, and the daemon learns that nobody reads any more.
const PULSE: Duration = Duration::from_secs(5);

/// A body of lines that ends when those who make them do. `gone` is called when it is over.
pub fn endless(lines: Lines, gone: impl FnOnce() + Send + 'static) -> Body {
    let mut pulse = tokio::time::interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Body::new(Endless {
        lines,
        pulse,
        gone: Some(Box::new(gone)),
    })
}

struct Endless {
    lines: Lines,
    pulse: Interval,
    gone: Option<Box<dyn FnOnce() + Send>>,
}

impl Drop for Endless {
    fn drop(&mut self) {
        // First, so that nobody counts us among the readers.
        self.lines.lines.close();
        if let Some(gone) = self.gone.take() {
            gone();
        }
    }
}

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut piece = String::new();
        let before = &mut self.lines.before;
        let mut taken = 0;
        while taken < before.len() && piece.len() < PIECE {
            piece.push_str(&before[taken]);
            taken += 1;
        }
        before.drain(..taken);
        while piece.len() < PIECE {
            match self.lines.lines.poll_recv(context) {
                Poll::Ready(Some(line)) => piece.push_str(&line),
                Poll::Ready(None) if piece.is_empty() => return Poll::Ready(None),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        // After what there was room for.
        let lost = self.lines.lost.swap(0, Ordering::Relaxed);
        if lost > 0
            && let Ok(line) = ConnectionEvent::loss(lost).line()
        {
            piece.push_str(&line);
        }
        if piece.is_empty() {
            ready!(self.pulse.poll_tick(context));
            let idle = self.lines.idle.as_mut();
            let line = idle.and_then(Idle::say);
            piece.push_str(line.as_deref().unwrap_or("\n"));
        }
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }
}

/// The writing side of a body, for a thread that may wait.
pub struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
    /// How many bytes there were before.
    sent: usize,
}

impl Pieces {
    /// Ends the body. A failure breaks the connection, so that nobody takes a part for the whole. What the text was
    /// made of has to be gone before.
    pub fn end(mut self, written: io::Result<()>) {
        if let Err(error) = written.and_then(|()| self.flush()) {
            // Where the reader has gone, nobody is left to know.
            let _ = self.sender.blocking_send(Err(error));
        }
        let _ = give_back(self.sent);
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE - self.piece.len();
        let taken = bytes.len().min(room);
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.sent += piece.len();
        let sent = self.sender.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
