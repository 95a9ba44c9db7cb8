//! A line between two network namespaces on which every packet is under way for a while.
//!
//! Each end is a TUN device, and a thread carries packets between them. It sleeps while no packet is
//! under way, and spins while one is. One thread serves both directions: two that spin would leave
//! no core to the rest of a machine that has two.

use crate::machine;
use kmesh_lite_tests::netns::NetNs;
use nix::sched::CpuSet;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Its name in either namespace.
const DEVICE: &str = "line";
/// More than a device of this kind hands out at once.
const PACKET: usize = 64 * 1024;

/// An end of a line in the calling thread's network namespace: a device with this address, from
/// which all of its /24 is reached. It is gone when the file is closed.
pub fn end(address: Ipv4Addr) -> io::Result<File> {
    let device = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    // SAFETY: plain data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: a descriptor that is open, and the request that belongs to this number.
    if unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    NetNs::ip(&["addr", "add", &format!("{address}/24"), "dev", DEVICE])?;
    NetNs::ip(&["link", "set", DEVICE, "up"])?;
    Ok(device)
}

/// Carries packets until it is dropped; then both devices are gone.
pub struct Line {
    /// Closed to stop the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    /// Packets take half of `round_trip` each way. The thread stays on `cores`.
    pub fn between(ends: [File; 2], round_trip: Duration, cores: CpuSet) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let thread = thread::Builder::new().name("line".into()).spawn(move || {
            let result = machine::stay_on(&cores);
            if let Err(error) = result.and_then(|()| carry(&ends, round_trip / 2, &stopped)) {
                // The clients run into their timeouts.
                eprintln!("the line is down: {error}");
            }
        })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn carry([near, far]: &[File; 2], delay: Duration, stop: &UnixStream) -> io::Result<()> {
    const STOP: u64 = 1;
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    epoll.add(near, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    epoll.add(far, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    epoll.add(stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
    let mut events = [EpollEvent::empty(); 3];
    let mut directions = [Direction::new(near, far), Direction::new(far, near)];
    loop {
        // One packet at a time, so that a burst one way holds up nothing that is due on the other.
        for direction in &mut directions {
            direction.take(delay)?;
            direction.deliver()?;
        }
        if directions.iter().any(|direction| !direction.is_empty()) {
            continue;
        }
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        if events[..count].iter().any(|event| event.data() == STOP) {
            return Ok(());
        }
    }
}

struct Direction<'a> {
    from: &'a File,
    to: &'a File,
    /// Packets under way, in their order, and when each is due.
    packets: VecDeque<(Instant, Vec<u8>)>,
    buffer: Vec<u8>,
}

impl<'a> Direction<'a> {
    fn new(from: &'a File, to: &'a File) -> Self {
        Self {
            from,
            to,
            packets: VecDeque::new(),
            buffer: vec![0; PACKET],
        }
    }

    fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    fn take(&mut self, delay: Duration) -> io::Result<()> {
        match self.from.read(&mut self.buffer) {
            Ok(size) => {
                let due = Instant::now() + delay;
                self.packets.push_back((due, self.buffer[..size].to_vec()));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn deliver(&mut self) -> io::Result<()> {
        let due = |(due, _): &mut (Instant, Vec<u8>)| *due <= Instant::now();
        match self.packets.pop_front_if(due) {
            Some((_, packet)) => self.to.write_all(&packet),
            None => Ok(()),
        }
    }
}
