//! The calls of bpf(2), and one of its neighbours, that aya has no public form of, and the error
//! behind those that it has.

use aya::maps::{MapData, MapError};
use aya_obj::generated::{
    BPF_F_QUERY_EFFECTIVE, bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type,
    bpf_map_type,
};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

fn call(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes at most the size given; what that points to is the caller's.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_mut(attributes),
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

/// Attaches a program to a cgroup or a network namespace; it stays until the link is closed.
pub fn link_create(
    program: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    attributes.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    attributes.link_create.__bindgen_anon_2.target_fd = target.as_raw_fd() as u32;
    attributes.link_create.attach_type = attach_type;
    let fd = call(bpf_cmd::BPF_LINK_CREATE, &mut attributes)?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Replaces the program of a link, between two calls of it.
pub fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = zeroed();
    attributes.link_update.link_fd = link.as_raw_fd() as u32;
    attributes.link_update.__bindgen_anon_1.new_prog_fd = program.as_raw_fd() as u32;
    call(bpf_cmd::BPF_LINK_UPDATE, &mut attributes).map(drop)
}

/// Counts a map among those of a program, which need not use it.
pub fn bind_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = zeroed();
    attributes.prog_bind_map.prog_fd = program.as_raw_fd() as u32;
    attributes.prog_bind_map.map_fd = map.as_raw_fd() as u32;
    call(bpf_cmd::BPF_PROG_BIND_MAP, &mut attributes).map(drop)
}

/// Elements of a hash map, many at a time.
pub struct Batch {
    /// Where the next call goes on: a bucket of the map.
    next: Option<u32>,
    is_over: bool,
}

impl Batch {
    pub fn new() -> Self {
        Self {
            next: None,
            is_over: false,
        }
    }

    /// Fills in the next elements; gives how many, 0 after the last. Both buffers have room for `room` of them. An
    /// error of ENOSPC means that one bucket of the map has more.
    pub fn read(
        &mut self,
        map: BorrowedFd<'_>,
        keys: &mut [u8],
        values: &mut [u8],
        room: u32,
    ) -> io::Result<u32> {
        if self.is_over {
            return Ok(0);
        }
        let mut next = 0;
        let mut attributes = zeroed();
        // SAFETY: a union of plain data; this command reads and writes this member.
        let batch = unsafe { &mut attributes.batch };
        batch.in_batch = self.next.as_ref().map_or(0, |it| &raw const *it as u64);
        batch.out_batch = &raw mut next as u64;
        batch.keys = keys.as_mut_ptr() as u64;
        batch.values = values.as_mut_ptr() as u64;
        batch.count = room;
        batch.map_fd = map.as_raw_fd() as u32;
        match call(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attributes) {
            Ok(_) => self.next = Some(next),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.is_over = true,
            Err(error) => return Err(error),
        }
        // SAFETY: as above.
        Ok(unsafe { attributes.batch.count })
    }
}

/// Makes a program one that can be called for each of what it iterates over.
pub fn iterator(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attributes = zeroed();
    attributes.link_create.__bindgen_anon_1.prog_fd = program.as_raw_fd() as u32;
    attributes.link_create.attach_type = bpf_attach_type::BPF_TRACE_ITER as u32;
    let fd = call(bpf_cmd::BPF_LINK_CREATE, &mut attributes)?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Calls the program of such a link for each of them, until there is none left. It writes nothing.
pub fn iterate(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = zeroed();
    attributes.iter_create.link_fd = link.as_raw_fd() as u32;
    let fd = call(bpf_cmd::BPF_ITER_CREATE, &mut attributes)?;
    // SAFETY: as above.
    let mut each = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    loop {
        match each.read(&mut [0; 64]) {
            Ok(0) => return Ok(()),
            // The kernel pauses after a million of them.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
}

/// Makes a program the one that sees what sockets of a socket map send. It stays as long as the map.
pub fn attach_to_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = zeroed();
    // SAFETY: a union of plain data; this command reads this member.
    let attach = unsafe { &mut attributes.__bindgen_anon_5 };
    attach.__bindgen_anon_1.target_fd = map.as_raw_fd() as u32;
    attach.attach_bpf_fd = program.as_raw_fd() as u32;
    attach.attach_type = bpf_attach_type::BPF_SK_MSG_VERDICT as u32;
    call(bpf_cmd::BPF_PROG_ATTACH, &mut attributes).map(drop)
}

/// Detaches a link, whoever else may hold it.
pub fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = zeroed();
    attributes.link_detach.link_fd = link.as_raw_fd() as u32;
    call(bpf_cmd::BPF_LINK_DETACH, &mut attributes).map(drop)
}

/// A link of a program to a cgroup or a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkAbout {
    /// Of the link.
    pub id: u32,
    /// Of the program.
    pub program: u32,
    /// `enum bpf_attach_type` of linux/bpf.h.
    pub attach_type: u32,
    /// Inode of the cgroup's folder, or of the namespace's file; 0 when it is gone, or the link is detached.
    pub target: u64,
}

/// What the link of a cgroup or a network namespace says of itself; an error for any other descriptor.
pub fn attached(link: BorrowedFd<'_>) -> io::Result<LinkAbout> {
    // The kernel would answer for another kind of object too, in another layout.
    expect_kind(link, "bpf-link")?;
    // SAFETY: plain data, for which zeroes mean "not known".
    let mut about: bpf_link_info = unsafe { std::mem::zeroed() };
    let mut attributes = zeroed();
    attributes.info.bpf_fd = link.as_raw_fd() as u32;
    attributes.info.info_len = size_of_val(&about) as u32;
    attributes.info.info = &raw mut about as u64;
    call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    // SAFETY: the member that belongs to each type of link.
    let (attach_type, target) = unsafe {
        let of = &about.__bindgen_anon_1;
        if about.type_ == bpf_link_type::BPF_LINK_TYPE_CGROUP as u32 {
            (of.cgroup.attach_type, of.cgroup.cgroup_id)
        } else if about.type_ == bpf_link_type::BPF_LINK_TYPE_NETNS as u32 {
            (of.netns.attach_type, of.netns.netns_ino.into())
        } else {
            let error = "the link is not one of a cgroup or a network namespace";
            return Err(io::Error::other(error));
        }
    };
    Ok(LinkAbout {
        id: about.id,
        program: about.prog_id,
        attach_type,
        target,
    })
}

/// Links of cgroups and network namespaces, of the whole host. Wants CAP_SYS_ADMIN.
pub fn links() -> io::Result<Vec<LinkAbout>> {
    let mut links = Vec::new();
    let mut id = 0;
    while let Some(next) = next_link(id)? {
        id = next;
        let mut attributes = zeroed();
        attributes.__bindgen_anon_6.__bindgen_anon_1.link_id = id;
        match call(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut attributes) {
            Ok(fd) => {
                // SAFETY: a new descriptor that nobody else owns.
                let link = unsafe { OwnedFd::from_raw_fd(fd) };
                links.extend(attached(link.as_fd()).ok());
            }
            // Gone meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(links)
}

fn next_link(id: u32) -> io::Result<Option<u32>> {
    let mut attributes = zeroed();
    attributes.__bindgen_anon_6.__bindgen_anon_1.start_id = id;
    match call(bpf_cmd::BPF_LINK_GET_NEXT_ID, &mut attributes) {
        // SAFETY: written by the kernel.
        Ok(_) => Ok(Some(unsafe { attributes.__bindgen_anon_6.next_id })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Programs attached to a cgroup (or a socket map) itself at one hook, with the flags of linux/bpf.h that say how it
/// shares the hook; or those that run there in `effect`, wherever they are attached.
pub fn programs_at(
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
    effect: bool,
) -> io::Result<(u32, Vec<u32>)> {
    // The kernel's limit is 64 a cgroup; those of all above it come on top.
    let mut ids = vec![0_u32; 1024];
    let mut attributes = zeroed();
    attributes.query.__bindgen_anon_1.target_fd = cgroup.as_raw_fd() as u32;
    attributes.query.attach_type = attach_type;
    attributes.query.query_flags = if effect { BPF_F_QUERY_EFFECTIVE } else { 0 };
    attributes.query.prog_ids = ids.as_mut_ptr() as u64;
    attributes.query.__bindgen_anon_2.prog_cnt = ids.len() as u32;
    call(bpf_cmd::BPF_PROG_QUERY, &mut attributes)?;
    // SAFETY: written by the kernel.
    let (flags, count) = unsafe {
        (
            attributes.query.attach_flags,
            attributes.query.__bindgen_anon_2.prog_cnt,
        )
    };
    ids.truncate(count as usize);
    Ok((flags, ids))
}

/// Id of the program that sees what sockets of a socket map send, if there is one. Kernels before 5.17
/// do not tell (EINVAL).
pub fn program_of_map(map: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let attach_type = bpf_attach_type::BPF_SK_MSG_VERDICT as u32;
    let (_, programs) = programs_at(map, attach_type, false)?;
    Ok(programs.first().copied())
}

/// Whether the kernel has this system call; whether we may use it is another question.
pub fn is_there() -> bool {
    !matches!(next_link(0), Err(error) if error.raw_os_error() == Some(libc::ENOSYS))
}

/// The only element of an array.
pub fn first_element(map: BorrowedFd<'_>, size: u32) -> io::Result<Vec<u8>> {
    let (key, mut value) = (0_u32, vec![0_u8; size as usize]);
    let mut attributes = zeroed();
    // SAFETY: a union of plain data; this command reads this member.
    let element = unsafe { &mut attributes.__bindgen_anon_2 };
    element.map_fd = map.as_raw_fd() as u32;
    element.key = &raw const key as u64;
    element.__bindgen_anon_1.value = value.as_mut_ptr() as u64;
    call(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attributes)?;
    Ok(value)
}

/// The number by which the kernel knows a map.
pub fn map_id(map: BorrowedFd<'_>) -> io::Result<u32> {
    let map = MapData::from_fd(map.try_clone_to_owned()?).map_err(io_error)?;
    Ok(map.info().map_err(io_error)?.id())
}

/// How many elements a map has room for.
pub fn map_rows(map: BorrowedFd<'_>) -> io::Result<u32> {
    let map = MapData::from_fd(map.try_clone_to_owned()?).map_err(io_error)?;
    Ok(map.info().map_err(io_error)?.max_entries())
}

/// An error unless the descriptor is of this kind: `bpf-link` or `bpf-map`, as /proc names it.
pub fn expect_kind(fd: BorrowedFd<'_>, kind: &str) -> io::Result<()> {
    let target = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    let text = target.to_string_lossy();
    // A new link is a `bpf_link`, one that was asked for by id a `bpf-link`.
    if text.replace('_', "-") == format!("anon-inode:{kind}") {
        Ok(())
    } else {
        Err(io::Error::other(format!("it is {text}, not a {kind}")))
    }
}

/// Puts `open` in the place of `replaced`, whose number stays what it was.
pub fn replace(replaced: BorrowedFd<'_>, open: BorrowedFd<'_>) -> io::Result<()> {
    let (open, replaced) = (open.as_raw_fd(), replaced.as_raw_fd());
    // SAFETY: two open descriptors; whoever owns `replaced` owns what is there afterwards.
    match unsafe { libc::dup3(open, replaced, libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Waits until every program that runs now has ended.
///
/// `MEMBARRIER_CMD_GLOBAL` is the kernel's `synchronize_rcu()`, and cgroup programs run inside RCU
/// read sections. It takes about ten milliseconds. Kernels with `nohz_full` refuse it, and some
/// sandboxes do; there an update of a map of maps waits in the same way, because the kernel promises
/// that no program goes on with the old inner map when the call returns.
pub fn grace_period() -> io::Result<()> {
    match membarrier(MEMBARRIER_CMD_GLOBAL) {
        Err(error) if refused(&error) => Inner::swap(),
        waited => waited.map(drop),
    }
}

/// Whether [`grace_period`] has the quicker way, without waiting for one.
pub fn has_membarrier() -> bool {
    const MEMBARRIER_CMD_QUERY: libc::c_int = 0;
    membarrier(MEMBARRIER_CMD_QUERY)
        .is_ok_and(|commands| commands & libc::c_long::from(MEMBARRIER_CMD_GLOBAL) != 0)
}

const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;

fn membarrier(command: libc::c_int) -> io::Result<libc::c_long> {
    // SAFETY: no pointers.
    match unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) } {
        answer @ 0.. => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}

fn refused(error: &io::Error) -> bool {
    let refusals = [libc::EINVAL, libc::ENOSYS, libc::EPERM];
    error
        .raw_os_error()
        .is_some_and(|error| refusals.contains(&error))
}

/// A map of maps that nobody reads, for what an update of it waits for.
struct Inner {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Inner {
    fn swap() -> io::Result<()> {
        static MAPS: OnceLock<Inner> = OnceLock::new();
        let maps = match MAPS.get() {
            Some(maps) => maps,
            None => {
                let made = Self::create()?;
                MAPS.get_or_init(|| made)
            }
        };
        let (key, inner) = (0_u32, maps.inner.as_raw_fd());
        let mut attributes = zeroed();
        // SAFETY: a union of plain data; this command reads this member.
        let element = unsafe { &mut attributes.__bindgen_anon_2 };
        element.map_fd = maps.outer.as_raw_fd() as u32;
        element.key = &raw const key as u64;
        element.__bindgen_anon_1.value = &raw const inner as u64;
        call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attributes).map(drop)
    }

    fn create() -> io::Result<Self> {
        use bpf_map_type::{BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_ARRAY_OF_MAPS};
        let inner = Self::array(BPF_MAP_TYPE_ARRAY, 0)?;
        let outer = Self::array(BPF_MAP_TYPE_ARRAY_OF_MAPS, inner.as_raw_fd() as u32)?;
        Ok(Self { outer, inner })
    }

    fn array(kind: bpf_map_type, inner: u32) -> io::Result<OwnedFd> {
        let mut attributes = zeroed();
        // SAFETY: a union of plain data; this command reads this member.
        let map = unsafe { &mut attributes.__bindgen_anon_1 };
        (map.map_type, map.key_size, map.value_size) = (kind as u32, 4, 4);
        (map.max_entries, map.inner_map_fd) = (1, inner);
        let fd = call(bpf_cmd::BPF_MAP_CREATE, &mut attributes)?;
        // SAFETY: a new descriptor that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_membarrier_is_refused_there_is_another_way_to_wait() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: not root");
            return;
        }
        for _ in 0..2 {
            Inner::swap().unwrap();
        }
    }
}
