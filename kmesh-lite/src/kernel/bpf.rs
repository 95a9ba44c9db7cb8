//! The calls of bpf(2), and one of its neighbours, that aya has no public form of, and the error
//! behind those that it has.

use aya::maps::MapError;
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn call(command: bpf_cmd, attributes: &bpf_attr) -> io::Result<i32> {
    // SAFETY: the kernel reads at most the size given; what it writes to is the caller's to give.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            attributes,
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as i32)
    }
}

fn zeroed() -> bpf_attr {
    // SAFETY: a union of plain data, for which zeroes mean "not given".
    unsafe { std::mem::zeroed() }
}

/// Attaches a program to a cgroup; it stays until the link is closed.
pub fn link_create(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    attributes.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    attributes.link_create.__bindgen_anon_2.target_fd = cgroup.as_raw_fd() as u32;
    attributes.link_create.attach_type = attach_type;
    let fd = call(bpf_cmd::BPF_LINK_CREATE, &attributes)?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Replaces the program of a link, between two calls of it.
pub fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = zeroed();
    attributes.link_update.link_fd = link.as_raw_fd() as u32;
    attributes.link_update.__bindgen_anon_1.new_prog_fd = program.as_raw_fd() as u32;
    call(bpf_cmd::BPF_LINK_UPDATE, &attributes).map(drop)
}

/// Makes a program the one that sees what sockets of a socket map send. It stays as long as the map.
pub fn attach_to_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = zeroed();
    // SAFETY: a union of plain data; this command reads this member.
    let attach = unsafe { &mut attributes.__bindgen_anon_5 };
    attach.__bindgen_anon_1.target_fd = map.as_raw_fd() as u32;
    attach.attach_bpf_fd = program.as_raw_fd() as u32;
    attach.attach_type = bpf_attach_type::BPF_SK_MSG_VERDICT as u32;
    call(bpf_cmd::BPF_PROG_ATTACH, &attributes).map(drop)
}

/// Puts a socket into a socket map.
pub fn add_socket(map: BorrowedFd<'_>, key: u64, socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = zeroed();
    let socket = socket.as_raw_fd();
    // SAFETY: a union of plain data; this command reads this member.
    let element = unsafe { &mut attributes.__bindgen_anon_2 };
    element.map_fd = map.as_raw_fd() as u32;
    element.key = &raw const key as u64;
    element.__bindgen_anon_1.value = &raw const socket as u64;
    call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &attributes).map(drop)
}

/// Whether a socket map, with keys of 8 bytes, holds no socket but that of `key`.
pub fn has_no_other_socket(map: BorrowedFd<'_>, key: u64) -> io::Result<bool> {
    let first = next_key(map, None)?;
    Ok(match first {
        Some(first) if first == key => next_key(map, Some(key))?.is_none(),
        first => first.is_none(),
    })
}

fn next_key(map: BorrowedFd<'_>, key: Option<u64>) -> io::Result<Option<u64>> {
    let mut attributes = zeroed();
    let mut next = 0_u64;
    // SAFETY: a union of plain data; this command reads this member.
    let element = unsafe { &mut attributes.__bindgen_anon_2 };
    element.map_fd = map.as_raw_fd() as u32;
    element.key = key.as_ref().map_or(0, |key| &raw const *key as u64);
    element.__bindgen_anon_1.next_key = &raw mut next as u64;
    match call(bpf_cmd::BPF_MAP_GET_NEXT_KEY, &attributes) {
        Ok(_) => Ok(Some(next)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives an object a name in a bpf file system.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = zeroed();
    // SAFETY: a union of plain data; this command reads this member.
    let pin = unsafe { &mut attributes.__bindgen_anon_4 };
    pin.pathname = path.as_ptr() as u64;
    pin.bpf_fd = object.as_raw_fd() as u32;
    call(bpf_cmd::BPF_OBJ_PIN, &attributes).map(drop)
}

/// Waits until every program that runs now has ended.
///
/// `MEMBARRIER_CMD_GLOBAL` is the kernel's `synchronize_rcu()`, and cgroup programs run inside RCU
/// read sections. It takes about ten milliseconds.
pub fn grace_period() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: no pointers.
    match unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The error of the system call behind an error of aya's.
pub fn io_error(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(call) => call.io_error,
        MapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}
