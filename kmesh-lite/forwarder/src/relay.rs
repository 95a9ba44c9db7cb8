//! Bytes from one side to the other, both ways, until both have ended.

use crate::buffers::Buffers;
use crate::socket;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

/// One end of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Destination,
}

/// The reason why a relay ended before both streams did.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("cannot read from the {side}")]
    Read {
        side: Side,
        #[source]
        source: io::Error,
    },
    #[error("cannot write to the {side}")]
    Write {
        side: Side,
        #[source]
        source: io::Error,
    },
    #[error("no byte came from either side in {} s", .0.as_secs_f64())]
    Idle(Duration),
}

/// Relays until both sides have ended their stream. The end of one stream is passed on while the
/// other goes on. `first` holds the bytes that were read from the client already. A socket that did
/// not receive a whole stream is left to be reset when it is dropped.
pub async fn relay(
    client: &TcpStream,
    destination: &TcpStream,
    first: Vec<u8>,
    idle: Option<Duration>,
    buffers: &Buffers,
) -> Relayed {
    let activity = Activity::new();
    let client = RelaySocket {
        side: Side::Client,
        stream: client,
    };
    let destination = RelaySocket {
        side: Side::Destination,
        stream: destination,
    };
    let there = pump(client, destination, first, &activity, buffers);
    let back = pump(destination, client, Vec::new(), &activity, buffers);
    let (there, back) = tokio::select! {
        ended = both(there, back) => ended?,
        idle = activity.idle(idle) => return Err(RelayError::Idle(idle)),
    };
    // A side that received a whole stream is not reset, whatever became of the other one.
    if there.is_ok() {
        destination.ends_well()?;
    }
    if back.is_ok() {
        client.ends_well()?;
    }
    there.and(back)
}

type Relayed = Result<(), RelayError>;

/// Moves both directions to their end. When one direction cannot write any more, the other may still
/// hold the reason, such as an answer sent before the request was read; so the other may finish. A
/// direction that cannot read ends both.
async fn both(
    there: impl Future<Output = Relayed>,
    back: impl Future<Output = Relayed>,
) -> Result<(Relayed, Relayed), RelayError> {
    let readable = |direction: Relayed| match direction {
        Err(error @ RelayError::Read { .. }) => Err(error),
        ended => Ok(ended),
    };
    tokio::try_join!(async { readable(there.await) }, async {
        readable(back.await)
    })
}

#[derive(Clone, Copy)]
struct RelaySocket<'a> {
    side: Side,
    stream: &'a TcpStream,
}

impl RelaySocket<'_> {
    fn ends_well(self) -> Result<(), RelayError> {
        socket::ends_well(self.stream).map_err(|source| RelayError::Write {
            side: self.side,
            source,
        })
    }
}

async fn pump(
    from: RelaySocket<'_>,
    to: RelaySocket<'_>,
    first: Vec<u8>,
    activity: &Activity,
    buffers: &Buffers,
) -> Relayed {
    let read = |source| RelayError::Read {
        side: from.side,
        source,
    };
    let write = |source| RelayError::Write {
        side: to.side,
        source,
    };
    write_all(to.stream, &first, activity)
        .await
        .map_err(write)?;
    drop(first);
    loop {
        // A stream that never pauses must not keep others waiting.
        tokio::task::consume_budget().await;
        from.stream.readable().await.map_err(read)?;
        let mut buffer = buffers.take();
        match from.stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                activity.touch();
                write_all(to.stream, &buffer[..length], activity)
                    .await
                    .map_err(write)?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(read(error)),
        }
    }
    activity.touch();
    socket::end_stream(to.stream).map_err(write)
}

async fn write_all(to: &TcpStream, mut bytes: &[u8], activity: &Activity) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.try_write(bytes) {
            Ok(length) => {
                activity.touch();
                bytes = &bytes[length..];
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The time at which a byte was last moved.
struct Activity {
    start: Instant,
    /// Milliseconds from the start.
    last: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    fn touch(&self) {
        let now = self.start.elapsed().as_millis();
        self.last
            .store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns when nothing happened for `limit`; never without one.
    async fn idle(&self, limit: Option<Duration>) -> Duration {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let end = self.start + last + limit;
            if Instant::now() >= end {
                return limit;
            }
            sleep_until(end).await;
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Client => "client",
            Self::Destination => "destination",
        })
    }
}
