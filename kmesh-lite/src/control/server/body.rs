//! Answers on their way: in pieces, as fast as they are read.

use super::slots::Turn;
use crate::memory::give_back;
use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

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

/// The writing side of a body, for a thread that may wait.
pub struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Pieces {
    /// Ends the body. A failure breaks the connection, so that nobody takes a part for the whole.
    pub fn end(mut self, written: io::Result<()>) {
        if let Err(error) = written.and_then(|()| self.flush()) {
            // Where the reader has gone, nobody is left to know.
            let _ = self.sender.blocking_send(Err(error));
        }
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
        let sent = self.sender.blocking_send(Ok(piece.into()));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
