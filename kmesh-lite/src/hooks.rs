//! The hooks of the programs: which there are, which links a mesh wants, and the way there.
//!
//! In: the mesh, facts, and the links as they are read back from the kernel. Out: a plan that prints.
//! Pure; links are made and let go of in `kernel`.

mod plan;

pub use plan::{HookOp, HookPlan, captured, drift, outermost, plan};

use crate::model::{Cgroup, Namespace};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// A program and where it hooks in.
#[derive(Debug, PartialEq, Eq)]
pub struct Hook {
    pub name: &'static str,
    pub anchor: Anchor,
    /// `enum bpf_attach_type` of linux/bpf.h.
    pub attach_type: u32,
    pub need: Need,
    /// Whether it looks at what sockets remember from their connect.
    pub remembers: bool,
}

/// The kind of thing that a program is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// A cgroup of the mesh, by a link: the program sees the sockets that were made in it.
    Cgroup,
    /// The map of the sockets whose header is pending: the program sees what these send. It is
    /// attached as long as the map exists.
    PendingSockets,
    /// A network namespace, by a link: the program sees what arrives in it, before any socket does.
    Namespace,
}

/// When a hook has work to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Always,
    /// While some waypoint gets a header, or connections are accounted: the hook costs every connection a
    /// little.
    Lives,
    /// From the first service with UDP on, for as long as the cgroup is captured: the hook costs every
    /// datagram a little, and a socket that is connected to such a service, or sends to it, may live for any time.
    Datagrams,
    /// While some authorization policy says from where connections may arrive.
    Arrivals,
}

impl Need {
    /// Whether its programs are loaded when the first link to them is made, and not before: most meshes have no
    /// need of them, and the verifier takes as long over them as over all others.
    pub const fn is_rare(self) -> bool {
        matches!(self, Need::Datagrams | Need::Arrivals)
    }
}

/// Every hook. The order is that of attaching: sends and connects come last, so that no socket is redirected that
/// would lack its header, whose peer would have a wrong name, or whose end nobody would see.
pub const HOOKS: [Hook; 12] = {
    use aya_obj::generated::bpf_attach_type::{
        BPF_CGROUP_INET_SOCK_RELEASE, BPF_CGROUP_INET4_CONNECT, BPF_CGROUP_INET4_GETPEERNAME,
        BPF_CGROUP_INET6_CONNECT, BPF_CGROUP_INET6_GETPEERNAME, BPF_CGROUP_SOCK_OPS,
        BPF_CGROUP_UDP4_RECVMSG, BPF_CGROUP_UDP4_SENDMSG, BPF_CGROUP_UDP6_RECVMSG,
        BPF_CGROUP_UDP6_SENDMSG, BPF_SK_LOOKUP, BPF_SK_MSG_VERDICT,
    };
    const fn of_cgroup(name: &'static str, attach_type: u32, need: Need, remembers: bool) -> Hook {
        Hook {
            name,
            anchor: Anchor::Cgroup,
            attach_type,
            need,
            remembers,
        }
    }
    [
        Hook {
            name: "push_header",
            anchor: Anchor::PendingSockets,
            attach_type: BPF_SK_MSG_VERDICT as u32,
            need: Need::Always,
            remembers: true,
        },
        Hook {
            name: "inbound",
            anchor: Anchor::Namespace,
            attach_type: BPF_SK_LOOKUP as u32,
            need: Need::Arrivals,
            remembers: false,
        },
        of_cgroup("connections", BPF_CGROUP_SOCK_OPS as u32, Need::Lives, true),
        of_cgroup(
            "recvmsg4",
            BPF_CGROUP_UDP4_RECVMSG as u32,
            Need::Datagrams,
            true,
        ),
        of_cgroup(
            "recvmsg6",
            BPF_CGROUP_UDP6_RECVMSG as u32,
            Need::Datagrams,
            true,
        ),
        of_cgroup(
            "getpeername4",
            BPF_CGROUP_INET4_GETPEERNAME as u32,
            Need::Always,
            true,
        ),
        of_cgroup(
            "getpeername6",
            BPF_CGROUP_INET6_GETPEERNAME as u32,
            Need::Always,
            true,
        ),
        of_cgroup(
            "released",
            BPF_CGROUP_INET_SOCK_RELEASE as u32,
            Need::Always,
            true,
        ),
        of_cgroup(
            "sendmsg4",
            BPF_CGROUP_UDP4_SENDMSG as u32,
            Need::Datagrams,
            false,
        ),
        of_cgroup(
            "sendmsg6",
            BPF_CGROUP_UDP6_SENDMSG as u32,
            Need::Datagrams,
            false,
        ),
        of_cgroup(
            "connect4",
            BPF_CGROUP_INET4_CONNECT as u32,
            Need::Always,
            false,
        ),
        of_cgroup(
            "connect6",
            BPF_CGROUP_INET6_CONNECT as u32,
            Need::Always,
            false,
        ),
    ]
};

/// The hooks of every cgroup that is attached to.
pub fn of_cgroups() -> impl Iterator<Item = &'static Hook> {
    HOOKS.iter().filter(|hook| hook.anchor == Anchor::Cgroup)
}

/// The hooks of every network namespace in which what arrives is judged.
pub fn of_namespaces() -> impl Iterator<Item = &'static Hook> {
    HOOKS.iter().filter(|hook| hook.anchor == Anchor::Namespace)
}

/// Everything that is attached, read back from the kernel.
#[derive(Clone, Debug, Default)]
pub struct Attached {
    pub links: Vec<Link>,
    /// Ids of the cgroups that other daemons are kept away from.
    pub claimed: BTreeSet<u64>,
    /// Whether the program of the pending sockets is in its place; `None` where the kernel does not
    /// tell (before 5.17).
    pub pushes_headers: Option<bool>,
    /// Whether some socket waits for its header to leave.
    pub pending_headers: bool,
    /// The age of the oldest open connection, where links linger that open connections may need.
    pub oldest_connection: Option<Duration>,
}

impl Attached {
    /// Cgroups whose connects are handled: every program that is always needed is attached to them, and no
    /// other is in its place.
    pub fn whole(&self) -> BTreeSet<PathBuf> {
        let mut found: BTreeMap<&PathBuf, BTreeSet<&str>> = BTreeMap::new();
        let in_place = |link: &&Link| link.hook.anchor == Anchor::Cgroup && link.works();
        for link in self.links.iter().filter(in_place) {
            found.entry(&link.path).or_default().insert(link.hook.name);
        }
        let is_whole = |hooks: &BTreeSet<&str>| {
            let mut always = of_cgroups().filter(|hook| hook.need == Need::Always);
            always.all(|hook| hooks.contains(hook.name))
        };
        found.retain(|_, hooks| is_whole(hooks));
        found.into_keys().cloned().collect()
    }
}

/// A link to a program, of ours or of the process before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The number of the link in the kernel.
    pub id: u32,
    pub hook: &'static Hook,
    /// The cgroup or the network namespace that it was attached to.
    pub path: PathBuf,
    /// The number of that in the kernel.
    pub target: u64,
    pub state: LinkState,
    pub role: Role,
    /// Whether its program is about sockets that ours do not understand: then it is never switched, and
    /// ours is attached beside it.
    pub foreign: bool,
}

impl Link {
    /// Whether it does what it is there for: that of the process before runs a program of its own.
    fn works(&self) -> bool {
        match self.role {
            Role::Held => self.state == LinkState::Current,
            Role::Inherited => self.state != LinkState::Detached,
            Role::Lingering(_) | Role::Kept => false,
        }
    }
}

/// The state of a link, as the kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It runs the program that it should.
    Current,
    /// It runs another program: that of the process before, or somebody else's.
    Other,
    /// It is attached to nothing: somebody detached it, or the cgroup is gone.
    Detached,
}

/// The purpose of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// For the mesh.
    Held,
    /// The process before made it, and no pass has decided about it yet.
    Inherited,
    /// For connections that began while it was needed; since when it is needed no more.
    Lingering(Duration),
    /// For sockets that only its foreign program understands, however long those live.
    Kept,
}

/// Where a mesh wants hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub cgroups: Vec<Cgroup>,
    /// Whether some waypoint gets a header, or connections are accounted.
    pub lives: bool,
    /// Whether some service takes datagrams.
    pub datagrams: bool,
    /// Network namespaces in which policies say from where connections may arrive.
    pub namespaces: Vec<Namespace>,
    /// Whether such policies hold without the program that judges them (`on_error = "open"`).
    pub fails_open: bool,
}
