//! What the kernel side is told that does not come from the mesh.

use super::store::{Group, NoStore, Store};
use crate::model::Limits;
use kmesh_lite_common::{Interest, Label, Settings};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// What does not come from the mesh.
#[derive(Clone)]
pub struct KernelOptions {
    /// A process whose connects are left alone: the daemon's own.
    pub daemon: Option<u32>,
    /// The same for the agent, which probes endpoints themselves.
    pub agent: Option<u32>,
    /// Tells the tables of several daemons on a host apart.
    pub instance: u64,
    /// What there may be of everything: of so much can open connections be counted.
    pub limits: Limits,
    /// Links and maps are kept here beyond this process.
    pub store: Arc<dyn Store>,
    /// Which moments of connections are told.
    pub interest: Interest,
}

impl Default for KernelOptions {
    fn default() -> Self {
        Self {
            daemon: None,
            agent: None,
            instance: 0,
            limits: Limits::default(),
            store: Arc::new(NoStore),
            interest: Interest::default(),
        }
    }
}

impl KernelOptions {
    pub(super) fn settings(&self) -> Settings {
        Settings {
            label: self.label(),
            daemon: self.daemon.unwrap_or(0),
            agent: self.agent.unwrap_or(0),
            interest: self.interest,
            ..Settings::default()
        }
    }

    fn label(&self) -> Label {
        Label {
            layout: Group::Tables.version(),
            ..Label::new(self.instance)
        }
    }
}

/// What tells the tables of the daemon on a control socket from those of another: FNV-1a of its path,
/// which has to be the same in every version.
pub fn instance(socket: &Path) -> u64 {
    let bytes = socket.as_os_str().as_bytes().iter();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
