//! What programs know of the agent as a DNS server, and whose questions it answers. It belongs to no mesh's generation: it
//! counts as soon as it is written.

use super::KernelMaps;
use crate::host::monotonic;
use crate::kernel::bpf::io_error;
use crate::tables::Askers;
use aya::maps::MapError;
use kmesh_lite_common::{Address, Asker, Nameserver, Port};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::LazyLock;

/// Where the agent answers questions that were sent to others: a listener for each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    pub v4: Option<SocketAddr>,
    pub v6: Option<SocketAddr>,
}

impl KernelMaps {
    /// The agent said just now that it answers there; none if it does not answer.
    pub fn hear_nameserver(&mut self, listening: Option<Listening>) -> io::Result<()> {
        let before = self.nameserver.get(&0, 0).map_err(io_error)?;
        let of = |at: Option<SocketAddr>| match at {
            Some(at) => (Address::from(at.ip()), Port::new(at.port())),
            None => (Address::default(), Port::EVERY),
        };
        let row = match listening {
            Some(Listening { v4, v6 }) => Nameserver {
                heartbeat: monotonic(),
                namespace: *NAMESPACE,
                v4: of(v4).0,
                v6: of(v6).0,
                v4_port: of(v4).1,
                v6_port: of(v6).1,
                ..before
            },
            None => Nameserver {
                heartbeat: 0,
                ..before
            },
        };
        self.set_nameserver(row, before)
    }

    /// From now on the questions of these are captured, or nobody's.
    pub fn follow_askers(&mut self, askers: Option<&Askers>) -> io::Result<()> {
        let nobody = Askers::default();
        let meant = askers.unwrap_or(&nobody);
        let there = self.askers()?;
        let before = self.nameserver.get(&0, 0).map_err(io_error)?;
        let row = match askers {
            Some(askers) => Nameserver {
                levels: askers.levels,
                listed: u32::from(askers.listed),
                ..before
            },
            None => Nameserver::default(),
        };
        // Cgroups are looked for where they were and where they will be, as long as they are not all there.
        let both = Nameserver {
            levels: row.levels | before.levels,
            ..row
        };
        self.set_nameserver(both, before)?;
        for (cgroup, asker) in &meant.cgroups {
            if there.get(cgroup) != Some(asker) {
                let put = self.askers.insert(cgroup, asker, 0);
                put.map_err(io_error)?;
            }
        }
        for cgroup in there.keys() {
            if !meant.cgroups.contains_key(cgroup) {
                self.askers.remove(cgroup).map_err(io_error)?;
            }
        }
        self.set_nameserver(row, both)
    }

    /// Makes other tables say the same.
    pub fn hand_over_nameserver(&self, to: &mut Self) -> io::Result<()> {
        for (cgroup, asker) in self.askers()? {
            to.askers.insert(cgroup, asker, 0).map_err(io_error)?;
        }
        let row = self.nameserver.get(&0, 0).map_err(io_error)?;
        to.nameserver.set(0, row, 0).map_err(io_error)
    }

    fn askers(&self) -> io::Result<BTreeMap<u64, Asker>> {
        let there: Result<_, MapError> = self.askers.iter().collect();
        there.map_err(io_error)
    }

    fn set_nameserver(&mut self, row: Nameserver, before: Nameserver) -> io::Result<()> {
        if row == before {
            return Ok(());
        }
        self.nameserver.set(0, row, 0).map_err(io_error)
    }
}

/// SO_NETNS_COOKIE of this process's network namespace, which is the agent's as well; 0 where the kernel does not tell (before
/// 5.14), for the first one of the host.
static NAMESPACE: LazyLock<u64> = LazyLock::new(namespace);

fn namespace() -> u64 {
    /// Of asm-generic/socket.h.
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let Ok(socket) = UdpSocket::bind(("127.0.0.1", 0)) else {
        return 0;
    };
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the value is as long as we say.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if outcome == 0 { cookie } else { 0 }
}
