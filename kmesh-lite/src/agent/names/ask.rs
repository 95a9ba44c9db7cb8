//! One question to one server: a datagram each way, or a connection where the answer is longer.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// A datagram that no network on the way has to split (DNS flag day 2020).
const PAYLOAD: u16 = 1_232;
/// Servers may send more than they were asked for.
const LONGEST: usize = 4_096;

/// Why a server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("{0} does not answer")]
    Silent(SocketAddr),
    #[error("{0} cannot be asked: {1}")]
    Socket(SocketAddr, io::Error),
    #[error("{0} says {1}")]
    Refused(SocketAddr, ResponseCode),
    #[error("{0} answers with something else")]
    Garbled(SocketAddr),
    #[error("{0} cannot be asked by TCP, which it asks for as its answer is long: {1}")]
    Connection(SocketAddr, io::Error),
    #[error("{0} cuts its answer off, by TCP as well")]
    Truncated(SocketAddr),
    #[error("this cannot be asked")]
    Question,
}

/// Asks for records of a name. An answer is one that has some, or says with authority that there are none.
pub async fn ask(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    patience: Duration,
) -> Result<Message, AskError> {
    let exchange = async {
        let answer = exchange(server, name, kind, true).await?;
        match answer.metadata.response_code {
            // It is too old for extensions.
            ResponseCode::FormErr | ResponseCode::NotImp => {
                exchange(server, name, kind, false).await
            }
            _ => Ok(answer),
        }
    };
    let answer = timeout(patience, exchange)
        .await
        .map_err(|_| AskError::Silent(server))??;
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
        code => Err(AskError::Refused(server, code)),
    }
}

async fn exchange(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    is_extended: bool,
) -> Result<Message, AskError> {
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name.clone(), kind));
    if is_extended {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD).set_version(0);
        question.set_edns(edns);
    }
    let bytes = question.to_vec().map_err(|_| AskError::Question)?;
    let failed = |error| AskError::Socket(server, error);
    let answer = datagram(server, &question, &bytes).await.map_err(failed)?;
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    let failed = |error| AskError::Connection(server, error);
    let answer = connection(server, &bytes).await.map_err(failed)?;
    let answer = Message::from_vec(&answer).ok();
    let answer = answer.filter(|answer| answers(answer, &question));
    let answer = answer.ok_or(AskError::Garbled(server))?;
    // A part of it would look like all of it.
    match answer.metadata.truncation {
        true => Err(AskError::Truncated(server)),
        false => Ok(answer),
    }
}

/// The socket has a port of its own that nobody else knows, and takes datagrams of the server only.
async fn datagram(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let own: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; LONGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What answers another question may be forged. The answer may come behind it.
        if let Ok(answer) = Message::from_vec(&buffer[..length])
            && answers(&answer, question)
        {
            return Ok(answer);
        }
    }
}

async fn connection(server: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut whole = length.to_be_bytes().to_vec();
    whole.extend(bytes);
    stream.write_all(&whole).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn answers(answer: &Message, question: &Message) -> bool {
    let (found, asked) = (&answer.metadata, &question.metadata);
    let is_ours = found.id == asked.id
        && found.message_type == MessageType::Response
        && found.op_code == OpCode::Query;
    // A server that does not understand the question may leave it out.
    let is_refusal = !matches!(
        found.response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    );
    is_ours && (answer.queries == question.queries || (is_refusal && answer.queries.is_empty()))
}
