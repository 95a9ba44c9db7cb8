//! The server behind everything: a process of its own, one thread.
//!
//! A request begins with its length, itself included, as eight bytes; the answer to a whole request
//! is 64 bytes. So one server serves small exchanges and long streams. At ports of their own it is a
//! waypoint, which takes a header off first.

use crate::Error;
use crate::process::Process;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

/// Argument that makes this program the server.
pub const ARGUMENT: &str = "--serve";

pub const ANSWER: usize = 64;
const LENGTH: usize = 8;
const BUFFER: usize = 64 * 1024;

/// A running server, at every address of loopback.
pub struct Server {
    process: Process,
    pub port: u16,
    /// The same as a waypoint with headers of a kind.
    pub tlv: u16,
    pub proxy_v2: u16,
}

impl Server {
    pub fn start() -> Result<Self, Error> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ARGUMENT).stdout(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let output = process.child().stdout.take();
        let output = output.ok_or("the server has a standard output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let ports: Vec<_> = line.split_whitespace().map(str::parse).collect();
        match &ports[..] {
            [Ok(port), Ok(tlv), Ok(proxy_v2)] => Ok(Self {
                process,
                port: *port,
                tlv: *tlv,
                proxy_v2: *proxy_v2,
            }),
            _ => Err(format!("the server says {line:?} and not its ports").into()),
        }
    }

    /// What it has used of processors, in milliseconds.
    pub fn processor_time(&self) -> io::Result<f64> {
        self.process.processor_time()
    }
}

/// One exchange: a request of `length` bytes, and its answer.
pub fn request(stream: &mut TcpStream, length: usize) -> io::Result<()> {
    let mut chunk = [0; BUFFER];
    chunk[..LENGTH].copy_from_slice(&(length as u64).to_le_bytes());
    let mut left = length;
    while left > 0 {
        let size = left.min(chunk.len());
        stream.write_all(&chunk[..size])?;
        left -= size;
        chunk[..LENGTH].fill(0);
    }
    stream.read_exact(&mut chunk[..ANSWER])
}

/// Bytes before the first request, at each of the ports.
const HEADERS: [usize; 3] = [0, 16, 28];

/// Serves until it is killed.
pub fn serve() -> Result<(), Error> {
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let watch = |fd: i32| EpollEvent::new(EpollFlags::EPOLLIN, fd as u64);
    let mut listeners = HashMap::new();
    let mut ports = Vec::new();
    for header in HEADERS {
        let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1024)?)?;
        epoll.add(&listener, watch(listener.as_raw_fd()))?;
        ports.push(listener.local_addr()?.port().to_string());
        listeners.insert(listener.as_raw_fd(), (listener, header));
    }
    println!("{}", ports.join(" "));
    let mut clients = HashMap::new();
    let mut events = [EpollEvent::empty(); 64];
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            let fd = event.data() as i32;
            if let Some((listener, header)) = listeners.get(&fd) {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                epoll.add(&stream, watch(stream.as_raw_fd()))?;
                let client = Client {
                    header: *header,
                    left: 0,
                    stream,
                };
                clients.insert(client.stream.as_raw_fd(), client);
            } else if let Some(client) = clients.get_mut(&fd)
                && !client.serve(&mut buffer)
            {
                // Closing the descriptor ends the watch.
                clients.remove(&fd);
            }
        }
    }
}

struct Client {
    stream: TcpStream,
    /// Bytes of a header that are still to come.
    header: usize,
    /// Bytes of the request that are still to come.
    left: u64,
}

impl Client {
    /// Takes what is there; false when the client is gone, politely or not.
    fn serve(&mut self, buffer: &mut [u8]) -> bool {
        let Ok(size @ 1..) = self.stream.read(buffer) else {
            return false;
        };
        let taken = self.header.min(size);
        self.header -= taken;
        let request = &buffer[taken..size];
        if request.is_empty() {
            return true;
        }
        if self.left == 0 {
            // Clients of ours send the length in one piece.
            let Some(length) = request.first_chunk::<LENGTH>() else {
                return false;
            };
            self.left = u64::from_le_bytes(*length);
        }
        self.left = self.left.saturating_sub(request.len() as u64);
        self.left > 0 || self.stream.write_all(&[0; ANSWER]).is_ok()
    }
}
