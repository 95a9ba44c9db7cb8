//! The server behind the proxies: HTTP/1.1, a process of its own.

use crate::Error;
use crate::process::Process;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

/// Argument that makes this program the server.
pub const ARGUMENT: &str = "--serve-http";
/// It listens here, at every address of its network.
pub const PORT: u16 = 8080;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A running server in the network of the thread that started it.
pub struct Backend {
    _process: Process,
}

impl Backend {
    /// Returns when it listens.
    pub fn start() -> Result<Self, Error> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ARGUMENT).stdout(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let output = process.child().stdout.take();
        let output = output.ok_or("the server has a standard output")?;
        let mut line = String::new();
        match BufReader::new(output).read_line(&mut line)? {
            0 => Err("the HTTP server ended at once".into()),
            _ => Ok(Self { _process: process }),
        }
    }
}

/// Serves until it is killed.
pub fn serve() -> Result<(), Error> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    println!("listening");
    loop {
        let (stream, _) = listener.accept()?;
        // It fails when a client goes in the middle of a request, which concerns nobody else.
        thread::spawn(move || answer(&stream));
    }
}

/// Answers one request after the other, whatever is asked.
fn answer(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(length) = head(&mut reader)? {
        io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
        stream.write_all(ANSWER)?;
    }
    Ok(())
}

/// The length of the body of the next request; none when the client is done.
fn head(reader: &mut impl BufRead) -> io::Result<Option<u64>> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let field = line.trim_end().to_ascii_lowercase();
        if field.is_empty() {
            return Ok(Some(length));
        }
        if let Some(value) = field.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
}

/// A request of so many bytes, head and body.
pub fn request(size: usize) -> Vec<u8> {
    let head = |body: usize| {
        format!("POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: {body}\r\n\r\n").into_bytes()
    };
    let fits = |body: &usize| head(*body).len() + body == size;
    let body = (0..size).rev().find(fits).expect("a length that fits");
    let mut request = head(body);
    request.resize(size, b'x');
    request
}

/// Reads until the answer is whole.
pub fn whole_answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !answer.ends_with(b"\r\n\r\nok") {
        let size = stream.read(&mut chunk)?;
        answer.extend_from_slice(&chunk[..size]);
        if size == 0 {
            break;
        }
    }
    if answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"\r\n\r\nok") {
        return Ok(());
    }
    let answer = String::from_utf8_lossy(&answer);
    Err(io::Error::other(format!("the answer is {answer:?}")))
}
