//! What is remembered of clients: the endpoint that each keeps, and when its next connect is due.
//!
//! There is room for some of them only. Who connected longest ago is forgotten first, and then begins anew.

use crate::open;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use core::ptr::{addr_of_mut, read_volatile, write_volatile};
use kmesh_lite_common::{ClientKey, ClientRow, Held};

/// As many as the loader says.
#[map]
static CLIENTS: LruHashMap<ClientKey, ClientRow> = LruHashMap::with_max_entries(1, 0);

/// The endpoint that a client keeps, if it connected no more than `affinity` milliseconds ago, and if it is still the
/// one that had this id then.
#[inline(always)]
pub fn held(key: &ClientKey, affinity: u32) -> Option<Held> {
    let row = CLIENTS.get_ptr(key)?;
    // SAFETY: inside an element of the map. Volatile: other connects of the client write it.
    let row = unsafe { read_volatile(row) };
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    row.kept(now, affinity, open::terms(row.held.endpoint, None).0)
}

/// Notes where a client connects now.
#[inline(always)]
pub fn hold(key: &ClientKey, held: Held) {
    let row = ClientRow {
        // SAFETY: no arguments.
        moment: unsafe { bpf_ktime_get_ns() },
        held,
        term: open::terms(held.endpoint, None).0,
    };
    match CLIENTS.get_ptr_mut(key) {
        // SAFETY: as above. Whoever reads half of it finds no such endpoint, and picks anew.
        Some(there) => unsafe { write_volatile(there, row) },
        // Without memory it is as if the client came for the first time.
        None => drop(CLIENTS.insert(key, row, 0)),
    }
}

/// Whether a connect of a client is due, where `interval` nanoseconds lie between them.
#[inline(always)]
pub fn is_due(key: &ClientKey, interval: u64) -> bool {
    let row = match CLIENTS.get_ptr_mut(key) {
        Some(row) => row,
        None => {
            // Whoever is faster has done the same.
            let _ = CLIENTS.insert(key, ClientRow::default(), u64::from(BPF_NOEXIST));
            match CLIENTS.get_ptr_mut(key) {
                Some(row) => row,
                None => return true,
            }
        }
    };
    // SAFETY: inside an element of the map.
    open::spend(unsafe { addr_of_mut!((*row).moment) }, interval)
}
