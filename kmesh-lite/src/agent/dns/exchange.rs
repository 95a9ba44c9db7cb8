//! One question to one upstream: a datagram each way, or a connection where the answer is longer.

use crate::dns::{Asked, Flaw, ForeignAnswer};
use hickory_proto::op::Message;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Servers may send more than they were asked for.
const LONGEST: usize = 4_096;

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("it does not answer")]
    Silent,
    #[error("it cannot be asked: {0}")]
    Socket(io::Error),
    #[error("it cannot be asked by TCP, which it asks for as its answer is long: {0}")]
    Connection(io::Error),
    #[error("it gave {0}")]
    Flaw(Flaw),
}

/// Asks one upstream. `is_ours` knows names of the mesh, which nobody else has a say in.
pub async fn exchange(
    upstream: SocketAddr,
    asked: &Asked,
    patience: Duration,
    is_ours: &dyn Fn(&[u8]) -> bool,
) -> Result<ForeignAnswer, ExchangeError> {
    let exchange = async {
        let answer = once(upstream, asked, true, is_ours).await?;
        match answer.may_be_too_old() {
            true => once(upstream, asked, false, is_ours).await,
            false => Ok(answer),
        }
    };
    let answer = timeout(patience, exchange).await;
    answer.map_err(|_| ExchangeError::Silent)?
}

async fn once(
    upstream: SocketAddr,
    asked: &Asked,
    is_extended: bool,
    is_ours: &dyn Fn(&[u8]) -> bool,
) -> Result<ForeignAnswer, ExchangeError> {
    // Numbers of the crate are drawn by a generator that nobody foresees.
    let id = Message::query().metadata.id;
    let question = asked.onward(id, is_extended);
    let read = |bytes| ForeignAnswer::read(bytes, asked, id, is_ours);
    match datagram(upstream, &question, read).await {
        Ok(Err(Flaw::Truncated)) => {}
        Ok(read) => return read.map_err(ExchangeError::Flaw),
        Err(error) => return Err(ExchangeError::Socket(error)),
    }
    let answer = connection(upstream, &question).await;
    read(answer.map_err(ExchangeError::Connection)?).map_err(ExchangeError::Flaw)
}

/// The socket has a port of its own that nobody else knows, and takes datagrams of the upstream only.
async fn datagram(
    upstream: SocketAddr,
    question: &[u8],
    read: impl Fn(Vec<u8>) -> Result<ForeignAnswer, Flaw>,
) -> io::Result<Result<ForeignAnswer, Flaw>> {
    let own: SocketAddr = match upstream {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(upstream).await?;
    socket.send(question).await?;
    let mut buffer = [0; LONGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What answers another question may be forged. The answer may come behind it.
        match read(buffer[..length].to_vec()) {
            Err(Flaw::Stray) => {}
            read => return Ok(read),
        }
    }
}

async fn connection(upstream: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    let length = u16::try_from(question.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut whole = length.to_be_bytes().to_vec();
    whole.extend(question);
    stream.write_all(&whole).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
