//! Asking the daemon.

use super::request::WARNING;
use crate::api::Failure;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use nix::unistd::{Gid, Group};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// For the daemon to answer anything at all: a thread that does nothing else does that.
const GREETING: Duration = Duration::from_secs(3);
/// For the loop to answer who only looks: afterwards the kernel is asked instead.
const LOOKING: Duration = Duration::from_secs(15);
/// For it to answer who wants something done. Longer than the daemon takes to say that it is busy.
const PATIENCE: Duration = Duration::from_secs(100);
/// For the next piece of an answer that has begun.
const PIECE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "nobody answers on {}: is kmesh-lite running? `systemctl status kmesh-lite` tells; \
         `--socket` names another socket", .0.display()
    )]
    NotRunning(PathBuf),
    #[error(
        "not allowed to use {}: be root{}", .socket.display(),
        .group.as_ref().map(|group| format!(" or in the group `{group}`")).unwrap_or_default()
    )]
    Denied {
        socket: PathBuf,
        group: Option<String>,
    },
    #[error("cannot connect to {}", .socket.display())]
    Connect {
        socket: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot start the client of the control socket")]
    Start(#[source] io::Error),
    #[error("cannot talk to the daemon on {}", .socket.display())]
    Talk {
        socket: PathBuf,
        #[source]
        source: hyper::Error,
    },
    #[error("cannot make a request to the daemon")]
    Request(#[source] hyper::http::Error),
    #[error("cannot write a request to the daemon as JSON")]
    Encode(#[source] serde_json::Error),
    #[error(
        "{} does not answer on {}: it hangs, is stopped by a signal, or is busy",
        process(*.pid), .socket.display()
    )]
    Silent { socket: PathBuf, pid: Option<i32> },
    /// Nothing else is asked then: half of an answer may have been shown.
    #[error("the answer of {} broke off", process(*.pid))]
    Broken { pid: Option<i32> },
    #[error("cannot write the answer of the daemon")]
    Write(#[source] io::Error),
    #[error("cannot understand the daemon's answer; is it of another version?")]
    Answer(#[source] serde_json::Error),
    /// The daemon's own words.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// "process 7", as far as the kernel tells.
pub fn process(pid: Option<i32>) -> String {
    pid.map_or_else(|| "the daemon".to_owned(), |pid| format!("process {pid}"))
}

/// A daemon by its control socket.
pub struct Client {
    socket: PathBuf,
    /// Instead of the usual times, which depend on what is asked.
    patience: Option<Duration>,
}

impl Client {
    pub fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            patience: None,
        }
    }

    /// Waits no longer than this for an answer.
    pub fn patient_for(self, patience: Duration) -> Self {
        Self {
            patience: Some(patience),
            ..self
        }
    }

    /// Asks for `/v1/{what}` with query parameters.
    pub fn get<T: DeserializeOwned>(
        &self,
        what: &str,
        query: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        let mut text = Vec::new();
        self.ask(
            Method::GET,
            &path(what, query),
            Bytes::new(),
            &mut text,
            &|_| (),
        )?;
        serde_json::from_slice(&text).map_err(ClientError::Answer)
    }

    /// The same where the answer is too long to be held: it is written as it comes.
    pub fn copy(&self, what: &str, to: &mut dyn io::Write) -> Result<(), ClientError> {
        let path = format!("/v1/{what}");
        self.ask(Method::GET, &path, Bytes::new(), to, &|_| ())
    }

    /// The same with query parameters, for an answer that never ends: signs of life are in it. What is hardly
    /// meant in the query is told before.
    pub fn stream(
        &self,
        what: &str,
        query: &[(&str, &str)],
        to: &mut dyn io::Write,
        warn: &dyn Fn(&str),
    ) -> Result<(), ClientError> {
        self.ask(Method::GET, &path(what, query), Bytes::new(), to, warn)
    }

    /// Posts to `/v1/{what}`, with a body or none.
    pub fn post<T: DeserializeOwned, B: Serialize>(
        &self,
        what: &str,
        body: Option<&B>,
    ) -> Result<T, ClientError> {
        let body = match body {
            Some(body) => serde_json::to_vec(body)
                .map_err(ClientError::Encode)?
                .into(),
            None => Bytes::new(),
        };
        let mut text = Vec::new();
        let path = format!("/v1/{what}");
        self.ask(Method::POST, &path, body, &mut text, &|_| ())?;
        serde_json::from_slice(&text).map_err(ClientError::Answer)
    }

    fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        to: &mut dyn io::Write,
        warn: &dyn Fn(&str),
    ) -> Result<(), ClientError> {
        let patience = self.patience.unwrap_or(match method {
            Method::GET => LOOKING,
            _ => PATIENCE,
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ClientError::Start)?;
        runtime.block_on(async {
            // A daemon that hangs does not even say that it knows no such path.
            let greeting = request(Method::GET, "/v1", Bytes::new())?;
            self.exchange(greeting, GREETING.min(patience)).await?;
            let request = request(method, path, body)?;
            let (response, pid) = self.send(request, patience).await?;
            for warning in response.headers().get_all(WARNING) {
                warn(&String::from_utf8_lossy(warning.as_bytes()));
            }
            let mut body = response.into_body();
            while let Some(piece) = self.piece(&mut body, pid).await? {
                to.write_all(&piece).map_err(ClientError::Write)?;
            }
            to.flush().map_err(ClientError::Write)
        })
    }

    /// The head of an answer of success, whose body is still to come, and who gives it.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<(Response<Incoming>, Option<i32>), ClientError> {
        let (response, pid) = self.exchange(request, patience).await?;
        if response.status().is_success() {
            return Ok((response, pid));
        }
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(piece) = self.piece(&mut body, pid).await? {
            text.extend_from_slice(&piece);
        }
        let failure: Failure = serde_json::from_slice(&text).map_err(ClientError::Answer)?;
        Err(failure.into())
    }

    /// The same with the whole body, which is short.
    pub async fn value<T: DeserializeOwned>(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<T, ClientError> {
        let text = self.text(request, patience).await?;
        serde_json::from_slice(&text).map_err(ClientError::Answer)
    }

    /// The same where the body is to be understood elsewhere.
    pub async fn text(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Vec<u8>, ClientError> {
        let (response, pid) = self.send(request, patience).await?;
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(piece) = self.piece(&mut body, pid).await? {
            text.extend_from_slice(&piece);
        }
        Ok(text)
    }

    /// The head of an answer, and who gives it.
    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<(Response<Incoming>, Option<i32>), ClientError> {
        // Before it waits for anything, a full queue of a daemon that accepts nobody included.
        let stream = match UnixStream::connect(&self.socket).await {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(self.silent(None));
            }
            Err(error) => return Err(refused(&self.socket, error)),
        };
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let response = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // It ends with the exchange; its error is the exchange's error.
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        match tokio::time::timeout(patience, response).await {
            Ok(Ok(response)) => Ok((response, pid)),
            Ok(Err(source)) => Err(self.talk(source)),
            Err(_) => Err(self.silent(pid)),
        }
    }

    /// The next piece of a body, none at its end.
    async fn piece(
        &self,
        body: &mut Incoming,
        pid: Option<i32>,
    ) -> Result<Option<Bytes>, ClientError> {
        let frame = tokio::time::timeout(PIECE, body.frame()).await;
        let frame = frame.map_err(|_| ClientError::Broken { pid })?;
        let frame = frame.transpose().map_err(|source| self.talk(source))?;
        Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    fn talk(&self, source: hyper::Error) -> ClientError {
        ClientError::Talk {
            socket: self.socket.clone(),
            source,
        }
    }

    fn silent(&self, pid: Option<i32>) -> ClientError {
        ClientError::Silent {
            socket: self.socket.clone(),
            pid,
        }
    }
}

/// `/v1/{what}` with query parameters.
fn path(what: &str, query: &[(&str, &str)]) -> String {
    let mut path = format!("/v1/{what}");
    for (number, (key, value)) in query.iter().enumerate() {
        let separator = if number == 0 { '?' } else { '&' };
        // Writing to a String cannot fail.
        let _ = write!(path, "{separator}{key}={}", escape(value));
    }
    path
}

pub fn request(
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, ClientError> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "kmesh-lite")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(ClientError::Request)
}

/// Why a connection failed, in the words of who can do something about it.
fn refused(socket: &Path, source: io::Error) -> ClientError {
    match source.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            ClientError::NotRunning(socket.to_owned())
        }
        ErrorKind::PermissionDenied => ClientError::Denied {
            socket: socket.to_owned(),
            group: group(socket),
        },
        _ => ClientError::Connect {
            socket: socket.to_owned(),
            source,
        },
    }
}

/// The group that may use the socket; root's needs no mention.
fn group(socket: &Path) -> Option<String> {
    let gid = socket.metadata().ok()?.gid();
    if gid == 0 {
        return None;
    }
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    Some(group.map_or_else(|| gid.to_string(), |group| group.name))
}

/// Percent-encodes everything that may not stand in a query's value.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(byte.into());
            }
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::FailureKind;
    use crate::cli::{CliError, Exit, Output};
    use serde_json::{Value, json};
    use std::io::{BufRead, BufReader, Write as _};
    use std::os::unix::net::UnixListener;
    use std::thread::{self, JoinHandle};

    /// Answers a greeting and a request, and gives the first line of the latter.
    fn daemon(socket: &Path, status: &'static str, body: &Value) -> JoinHandle<String> {
        let listener = UnixListener::bind(socket).unwrap();
        let body = body.to_string();
        let answer = move |status: &str, body: &str| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while !lines.next().unwrap().unwrap().is_empty() {}
            let length = body.len();
            // At once: the client goes as soon as the head tells it enough.
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(text.as_bytes()).unwrap();
            first
        };
        thread::spawn(move || {
            answer("404 Not Found", "{}");
            answer(status, &body)
        })
    }

    #[test]
    fn a_query_is_escaped_and_the_answer_decoded() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let daemon = daemon(&socket, "200 OK", &json!(["fine"]));
        let query = [("address", "[::1]:80"), ("protocol", "tcp")];
        let answer: Vec<String> = Client::new(socket).get("explain", &query).unwrap();
        assert_eq!(answer, ["fine"]);
        assert_eq!(
            daemon.join().unwrap(),
            "GET /v1/explain?address=%5B%3A%3A1%5D%3A80&protocol=tcp HTTP/1.1"
        );
    }

    #[test]
    fn an_invalid_configuration_has_an_exit_code_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let failure = Failure::new(FailureKind::InvalidConfiguration, "mesh.toml has 1 error");
        let failure = serde_json::to_value(failure).unwrap();
        let daemon = daemon(&socket, "422 Unprocessable Entity", &failure);
        let error = Client::new(socket)
            .post::<Value, Value>("reload", None)
            .unwrap_err();
        daemon.join().unwrap();
        assert_eq!(error.to_string(), "mesh.toml has 1 error");
        let exit = CliError::from(error).report(false, &mut Output::default());
        assert_eq!(exit, Exit::InvalidConfiguration);
    }

    #[test]
    fn without_a_daemon_the_error_says_how_to_find_out() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let ask = || Client::new(socket.clone()).get::<Value>("status", &[]);
        assert!(matches!(ask(), Err(ClientError::NotRunning(_))));
        // Its file may outlive it.
        drop(UnixListener::bind(&socket).unwrap());
        let error = ask().unwrap_err().to_string();
        assert!(error.contains("systemctl status kmesh-lite"), "{error}");
    }
}
