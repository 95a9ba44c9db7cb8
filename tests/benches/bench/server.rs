//! The server behind everything: a process of its own, one thread.
//!
//! A request begins with its length, itself included, as eight bytes; the answer to a whole request
//! is 64 bytes. So one server serves small exchanges and long streams.

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
const HEADER: usize = 8;
const BUFFER: usize = 64 * 1024;

/// A running server.
pub struct Server {
    _process: Process,
    /// At every address of loopback.
    pub port: u16,
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
        Ok(Self {
            port: line.trim().parse()?,
            _process: process,
        })
    }
}

/// One exchange: a request of `length` bytes, and its answer.
pub fn request(stream: &mut TcpStream, length: usize) -> io::Result<()> {
    let mut chunk = [0; BUFFER];
    chunk[..HEADER].copy_from_slice(&(length as u64).to_le_bytes());
    let mut left = length;
    while left > 0 {
        let size = left.min(chunk.len());
        stream.write_all(&chunk[..size])?;
        left -= size;
        chunk[..HEADER].fill(0);
    }
    stream.read_exact(&mut chunk[..ANSWER])
}

/// Serves until it is killed.
pub fn serve() -> Result<(), Error> {
    let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1024)?)?;
    println!("{}", listener.local_addr()?.port());
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    let watch = |fd: i32| EpollEvent::new(EpollFlags::EPOLLIN, fd as u64);
    epoll.add(&listener, watch(listener.as_raw_fd()))?;
    let mut clients = HashMap::new();
    let mut events = [EpollEvent::empty(); 64];
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            let fd = event.data() as i32;
            if fd == listener.as_raw_fd() {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                epoll.add(&stream, watch(stream.as_raw_fd()))?;
                clients.insert(stream.as_raw_fd(), Client { stream, left: 0 });
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
    /// Bytes of the request that are still to come.
    left: u64,
}

impl Client {
    /// Takes what is there; false when the client is gone, politely or not.
    fn serve(&mut self, buffer: &mut [u8]) -> bool {
        let size = match self.stream.read(buffer) {
            Ok(0) | Err(_) => return false,
            Ok(size) => size as u64,
        };
        if self.left == 0 {
            // Clients of ours send the length in one piece.
            let Some(header) = buffer.first_chunk::<HEADER>() else {
                return false;
            };
            self.left = u64::from_le_bytes(*header);
        }
        self.left = self.left.saturating_sub(size);
        self.left > 0 || self.stream.write_all(&[0; ANSWER]).is_ok()
    }
}
