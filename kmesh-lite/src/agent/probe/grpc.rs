//! The health protocol of gRPC.
//!
//! One call of <https://github.com/grpc/grpc/blob/master/doc/health-checking.md> over HTTP/2, as
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md> frames it. Its two messages have one field each, so
//! they are written and read here.

use super::http::along;
use super::tls::{self, Secrets, Spoken};
use super::{Deadline, Failed, Seen, socket};
use crate::api::{Check, GrpcProbe};
use h2::RecvStream;
use h2::client::{self, SendRequest};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use hyper::{Method, Request, StatusCode, Version};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncWrite};

/// Of an answer, which is some ten bytes long.
const BYTES: usize = 4 * 1024;
/// Of the heads of an answer.
const HEAD_BYTES: u32 = 16 * 1024;
/// Of everything that we have not read yet.
const WINDOW: u32 = 16 * 1024;

pub async fn probe(
    address: SocketAddr,
    check: &Check,
    grpc: &GrpcProbe,
    secrets: &Secrets,
    until: Deadline,
) -> Seen {
    let stream = socket::connect(address, check.source, until).await?;
    match &grpc.tls {
        None => ask(stream, address, grpc, until).await,
        Some(tls) => {
            let host = grpc.authority.as_deref();
            let stream = secrets.connect(stream, address, tls, host, Spoken::Http2, until);
            ask(stream.await?, address, grpc, until).await
        }
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    address: SocketAddr,
    grpc: &GrpcProbe,
    until: Deadline,
) -> Seen {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(HEAD_BYTES);
    let shaken = until.no("answer", builder.handshake(stream)).await?;
    let (sender, connection) = shaken.map_err(|error| words(&error))?;
    let call = async { until.no("answer", call(sender, address, grpc)).await? };
    along(connection, call).await
}

async fn call(sender: SendRequest<Bytes>, address: SocketAddr, grpc: &GrpcProbe) -> Seen {
    let scheme = if grpc.tls.is_some() { "https" } else { "http" };
    let authority = match &grpc.authority {
        Some(authority) => authority.clone(),
        None => address.to_string(),
    };
    let request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!(
            "{scheme}://{authority}/grpc.health.v1.Health/Check"
        ))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, "kmesh-lite")
        .body(())
        .map_err(|error| format!("the request cannot be made: {error}"))?;
    let mut sender = sender.ready().await.map_err(|error| words(&error))?;
    let (answer, mut body) = sender
        .send_request(request, false)
        .map_err(|error| words(&error))?;
    body.send_data(framed(&grpc.service), true)
        .map_err(|error| words(&error))?;
    let answer = answer.await.map_err(|error| words(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(format!("status {}", answer.status().as_u16()).into());
    }
    status(answer.headers(), &grpc.service)?;
    let (read, trailers) = receive(answer.into_body()).await?;
    status(&trailers, &grpc.service)?;
    match serving(&read) {
        Some(1) => Ok("SERVING".into()),
        Some(0) => Err("UNKNOWN".into()),
        Some(2) => Err("NOT_SERVING".into()),
        Some(3) => Err("SERVICE_UNKNOWN".into()),
        Some(other) => Err(format!("serving status {other}").into()),
        None => Err("the answer is not that of the health protocol".into()),
    }
}

async fn receive(mut body: RecvStream) -> Result<(Vec<u8>, HeaderMap), Failed> {
    let mut read = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|error| words(&error))?;
        if read.len() + piece.len() > BYTES {
            return Err("the answer is too long".into());
        }
        read.extend_from_slice(&piece);
        // Otherwise the window would be closed some day.
        let freed = body.flow_control().release_capacity(piece.len());
        freed.map_err(|error| words(&error))?;
    }
    let trailers = body.trailers().await.map_err(|error| words(&error))?;
    Ok((read, trailers.unwrap_or_default()))
}

/// Fails with what the server says of the call, if it says that it failed.
fn status(headers: &HeaderMap, service: &str) -> Result<(), Failed> {
    let code = headers.get("grpc-status").and_then(|it| it.to_str().ok());
    Err(match code {
        None | Some("0") => return Ok(()),
        Some("5") => format!("the server knows no service `{service}`").into(),
        Some("7") => "permission denied".into(),
        Some("12") => "the server does not know the health protocol".into(),
        Some("14") => "the server says that it is unavailable".into(),
        Some("16") => "not authenticated".into(),
        Some(code) => format!("gRPC status {code}").into(),
    })
}

/// `HealthCheckRequest { string service = 1; }`, uncompressed and with its length in front.
fn framed(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    frame.into()
}

/// The value of `HealthCheckResponse { ServingStatus status = 1; }` in a frame; 0 where it is not there, as
/// proto3 has it.
fn serving(frame: &[u8]) -> Option<u64> {
    let (head, message) = frame.split_at_checked(5)?;
    let (compressed, length) = head.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    if *compressed != 0 || u32::try_from(message.len()) != Ok(length) {
        return None;
    }
    let mut rest = message;
    let mut found = 0;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        match tag & 7 {
            0 => {
                let value = varint(&mut rest)?;
                if tag >> 3 == 1 {
                    found = value;
                }
            }
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(found)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn words(error: &h2::Error) -> Failed {
    match error.get_io() {
        Some(error) => tls::words(error),
        None => format!("no answer over HTTP/2: {error}").into(),
    }
}
