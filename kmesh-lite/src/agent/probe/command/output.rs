//! What a command writes: the beginning is kept, and the rest is read so that it does not wait for us.

use super::Failed;
use std::convert::Infallible;
use std::future::pending;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use tokio::net::unix::pipe::Receiver;

/// What is kept.
const KEPT: usize = 4 * 1024;
/// What is read at a time.
const PIECE: usize = 4 * 1024;
/// After the end of the command, at most so many pieces: others may go on writing. It is more than a pipe holds.
const REST: usize = 64;

pub struct Output {
    pipe: Receiver,
    kept: Vec<u8>,
}

impl Output {
    pub fn new(pipe: PipeReader) -> io::Result<Self> {
        Ok(Self {
            pipe: Receiver::from_owned_fd(OwnedFd::from(pipe))?,
            kept: Vec::new(),
        })
    }

    /// Reads until it is dropped.
    pub async fn read(&mut self) -> Infallible {
        while self.pipe.readable().await.is_ok() {
            if let Ok(0) = self.piece() {
                break;
            }
            // A command that only writes would keep everybody else waiting.
            tokio::task::yield_now().await;
        }
        pending().await
    }

    /// Reads what is there.
    pub fn rest(&mut self) {
        for _ in 0..REST {
            if !matches!(self.piece(), Ok(1..)) {
                return;
            }
        }
    }

    /// `reason` and the first line, if there is one.
    pub fn after(&self, reason: String) -> Failed {
        let text = String::from_utf8_lossy(&self.kept);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        match line {
            Some(line) => format!("{reason}: {line}").into(),
            None => reason.into(),
        }
    }

    fn piece(&mut self) -> io::Result<usize> {
        let mut piece = [0; PIECE];
        let read = self.pipe.try_read(&mut piece)?;
        let most = read.min(KEPT - self.kept.len());
        self.kept
            .extend_from_slice(piece.get(..most).unwrap_or_default());
        Ok(read)
    }
}
