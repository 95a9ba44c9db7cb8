//! A request over HTTP/1.1, and whether the answer is the one that was expected.

use super::tls::{self, Secrets, Spoken};
use super::{Deadline, Failed, Seen, socket};
use crate::api::{Check, HttpProbe};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::rt::{Read, Write};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;

/// Of the head of an answer.
const HEAD_BYTES: usize = 16 * 1024;
const CLOSED: &str = "closed before the end of the answer";
/// Of the body of an answer.
const BODY_BYTES: usize = 64 * 1024;

pub async fn probe(
    address: SocketAddr,
    check: &Check,
    http: &HttpProbe,
    secrets: &Secrets,
    until: Deadline,
) -> Seen {
    let request = request(address, http)?;
    let stream = socket::connect(address, check.source, until).await?;
    match &http.tls {
        None => ask(TokioIo::new(stream), request, http, until).await,
        Some(tls) => {
            let host = http.host.as_deref();
            let stream = secrets.connect(stream, address, tls, host, Spoken::Http1, until);
            ask(TokioIo::new(stream.await?), request, http, until).await
        }
    }
}

fn request(address: SocketAddr, http: &HttpProbe) -> Result<Request<Empty<Bytes>>, Failed> {
    let wrong = |what: &str, value: &str| format!("`{value}` cannot be sent as {what}");
    let value = |value: &str| {
        HeaderValue::from_str(value).map_err(|_| wrong("the value of a header", value))
    };
    let mut request = Request::builder()
        .method(http.method.as_str())
        .uri(http.path.as_str())
        .body(Empty::new())
        .map_err(|error| format!("the request cannot be made: {error}"))?;
    let headers = request.headers_mut();
    let host = http.host.clone().unwrap_or_else(|| address.to_string());
    headers.insert(HOST, value(&host)?);
    headers.insert(USER_AGENT, HeaderValue::from_static("kmesh-lite"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for (name, text) in &http.headers {
        let name: HeaderName = name
            .parse()
            .map_err(|_| wrong("the name of a header", name))?;
        headers.insert(name, value(text)?);
    }
    Ok(request)
}

async fn ask<S: Read + Write + Unpin + Send + 'static>(
    stream: S,
    request: Request<Empty<Bytes>>,
    http: &HttpProbe,
    until: Deadline,
) -> Seen {
    let shaken = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .handshake(stream)
        .await;
    let (mut sender, connection) = shaken.map_err(|error| words(&error))?;
    let exchange = async {
        let answer = until.no("answer", sender.send_request(request)).await?;
        let answer = answer.map_err(|error| words(&error))?;
        let status = answer.status();
        if !is_expected(status, http) {
            return Err(format!("status {}", status.as_u16()).into());
        }
        if let Some(expected) = &http.body {
            let body = answer.into_body();
            until.no("end of the body", find(body, expected)).await??;
        }
        Ok(format!("status {}", status.as_u16()).into())
    };
    along(connection, exchange).await
}

/// Does `work` while the connection below it lives. Nothing is left behind when it is given up.
pub async fn along<T>(connection: impl Future, work: impl Future<Output = T>) -> T {
    let connection = async {
        // Its error is that of the work as well.
        connection.await;
        pending::<()>().await;
    };
    tokio::select! {
        biased;
        done = work => done,
        () = connection => unreachable!("it is pending"),
    }
}

fn is_expected(status: StatusCode, http: &HttpProbe) -> bool {
    let is_in = |(first, last): &(u16, u16)| (*first..=*last).contains(&status.as_u16());
    http.status.iter().any(is_in)
}

/// Looks for `expected` in the first bytes of a body, and no further.
async fn find<B: Body<Data = Bytes, Error = hyper::Error> + Unpin>(
    mut body: B,
    expected: &str,
) -> Result<(), Failed> {
    let expected = expected.as_bytes();
    let mut read = Vec::new();
    let mut looked = 0;
    let is_in = |read: &[u8]| read.windows(expected.len()).any(|it| it == expected);
    while read.len() < BODY_BYTES {
        // Between two pieces it may lie in both.
        let from = usize::saturating_sub(looked, expected.len());
        if expected.is_empty() || is_in(read.get(from..).unwrap_or_default()) {
            return Ok(());
        }
        looked = read.len();
        match body.frame().await {
            None => break,
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                let most = BODY_BYTES - read.len();
                read.extend_from_slice(data.get(..most).unwrap_or(&data));
            }
            Some(Err(error)) => return Err(words(&error)),
        }
    }
    let from = usize::saturating_sub(looked, expected.len());
    if is_in(read.get(from..).unwrap_or_default()) {
        return Ok(());
    }
    let expected = String::from_utf8_lossy(expected);
    Err(format!("the body does not contain \"{expected}\"").into())
}

fn words(error: &hyper::Error) -> Failed {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof => CLOSED.into(),
                _ => tls::words(error),
            };
        }
        cause = inner.source();
    }
    if error.is_parse_too_large() {
        "the head of the answer is too long".into()
    } else if error.is_parse() {
        "the answer is no HTTP".into()
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        CLOSED.into()
    } else {
        error.to_string().into()
    }
}
