//! Asking the daemon.

use crate::api::Failure;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
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

/// Longer than the daemon takes to say that it is busy.
const PATIENCE: Duration = Duration::from_secs(90);

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
    #[error("the daemon on {} did not answer in time", .0.display())]
    Silent(PathBuf),
    #[error("cannot understand the daemon's answer; is it of another version?")]
    Answer(#[source] serde_json::Error),
    /// The daemon's own words.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// A daemon by its control socket.
pub struct Client {
    socket: PathBuf,
    patience: Duration,
}

impl Client {
    pub fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            patience: PATIENCE,
        }
    }

    /// Waits no longer than this for an answer.
    pub fn patient_for(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Asks for `/v1/{what}` with query parameters.
    pub fn get<T: DeserializeOwned>(
        &self,
        what: &str,
        query: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        let mut path = format!("/v1/{what}");
        for (number, (key, value)) in query.iter().enumerate() {
            let separator = if number == 0 { '?' } else { '&' };
            // Writing to a String cannot fail.
            let _ = write!(path, "{separator}{key}={}", escape(value));
        }
        self.ask(Method::GET, &path, Bytes::new())
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
        self.ask(Method::POST, &format!("/v1/{what}"), body)
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "kmesh-lite")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(ClientError::Request)?;
        let (fine, bytes) = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ClientError::Start)?
            .block_on(async { tokio::time::timeout(self.patience, self.exchange(request)).await })
            .map_err(|_| ClientError::Silent(self.socket.clone()))??;
        if fine {
            return serde_json::from_slice(&bytes).map_err(ClientError::Answer);
        }
        let failure: Failure = serde_json::from_slice(&bytes).map_err(ClientError::Answer)?;
        Err(failure.into())
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(bool, Bytes), ClientError> {
        let talk = |source| ClientError::Talk {
            socket: self.socket.clone(),
            source,
        };
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| refused(&self.socket, source))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(talk)?;
        // It ends with the exchange; its error is the exchange's error.
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(talk)?;
        let fine = response.status().is_success();
        let body = response.into_body().collect().await.map_err(talk)?;
        Ok((fine, body.to_bytes()))
    }
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

    /// Answers one request and gives its first line.
    fn daemon(socket: &Path, status: &'static str, body: &Value) -> JoinHandle<String> {
        let listener = UnixListener::bind(socket).unwrap();
        let body = body.to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while !lines.next().unwrap().unwrap().is_empty() {}
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .unwrap();
            first
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
